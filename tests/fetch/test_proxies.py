"""Proxies, as the environment names them."""

from __future__ import annotations

import pytest

from tests.fetch.conftest import BODY, CANARY, Bench
from tests.fetch.server import FaultServer, file, status
from uv_archive.url import Url

FAR = Url.parse("http://files.invalid/a.whl")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_http_goes_through_the_proxy(
    variable: str, bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, server.origin.replace("//", f"//me:{CANARY}@"))
    server.answer(FAR.exposed, file(BODY))
    bench.done(FAR)
    assert [request.path for request in server.requests] == [FAR.exposed]
    assert "proxy-authorization" in server.requests[0].headers
    assert server.logins() == [None]


def test_https_asks_the_proxy_for_a_tunnel(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.origin.replace("//", f"//me:{CANARY}@"))
    server.answer("files.invalid:443", status(502))
    failure = bench.failure(Url.parse("https://files.invalid/a.whl"))
    assert failure.reason.startswith("`files.invalid` can't be reached: ")
    assert {request.method for request in server.requests} == {"CONNECT"}


def test_no_proxy(bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    bench.done(server.route("/a.whl", file(BODY)))
