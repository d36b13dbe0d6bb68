"""How large files are, asked of servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fetch.conftest import BODY
from tests.fetch.server import FaultServer, Script, chunked, file, raw, redirect, status
from uv_archive.fetch import content_lengths
from uv_archive.fetch.client import ReqwestTransport
from uv_archive.url import Url


@pytest.fixture
def transport() -> Iterator[ReqwestTransport]:
    transport = ReqwestTransport(read_timeout=30)
    yield transport
    transport.close()


@pytest.mark.parametrize(
    ("scripts", "size"),
    [
        pytest.param((file(BODY),), len(BODY), id="head"),
        pytest.param((status(405), file(BODY)), len(BODY), id="no-head-but-ranges"),
        pytest.param((status(405), status(200, BODY)), len(BODY), id="neither"),
        pytest.param((status(405), chunked(BODY)), None, id="no-length"),
        pytest.param((status(404),), None, id="missing"),
        pytest.param((raw(b""),), None, id="closed"),
        pytest.param((redirect("/there"),), len(BODY), id="redirect"),
        pytest.param((redirect("ftp://files.example/x"),), None, id="refused-redirect"),
    ],
)
def test_content_lengths(
    scripts: tuple[Script, ...],
    size: int | None,
    server: FaultServer,
    transport: ReqwestTransport,
) -> None:
    server.route("/there", file(BODY))
    url = server.route("/a.whl", *scripts)
    assert content_lengths([url], transport=transport) == {url: size}


def test_many(server: FaultServer, transport: ReqwestTransport) -> None:
    urls = {server.route(f"/{n}", file(b"x" * n)): n for n in range(1, 40)}
    urls[Url.parse("http://127.0.0.1:1/a")] = 0
    found = content_lengths(list(urls), transport=transport, jobs=8)
    assert found == {url: size or None for url, size in urls.items()}
