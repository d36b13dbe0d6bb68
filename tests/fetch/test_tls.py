"""Certificates: who is trusted, and what is said of those who aren't."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
import trustme

from tests.fetch.conftest import BODY, Bench
from tests.fetch.server import FaultServer, file, redirect
from uv_archive.errors import RequestError
from uv_archive.fetch.unverified import UnverifiedHost
from uv_archive.url import Url


class Start(Protocol):
    def __call__(self, certificate: trustme.LeafCert | None = None) -> FaultServer: ...


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def start(authority: trustme.CA) -> Iterator[Start]:
    """Start a server with a certificate of our authority."""
    with ExitStack() as stack:

        def begin(certificate: trustme.LeafCert | None = None) -> FaultServer:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            (certificate or authority.issue_cert("localhost")).configure_cert(context)
            return stack.enter_context(FaultServer(tls=context, host="localhost").running())

        yield begin


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name our authority in `SSL_CERT_FILE`."""
    bundle = tmp_path / "authorities.pem"
    bundle.write_bytes(trustme.CA().cert_pem.bytes() + authority.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return bundle


def test_own_authority_in_a_file(bench: Bench, start: Start, trusted: Path) -> None:
    bench.done(start().route("/a.whl", file(BODY)))


def test_own_authority_in_a_directory(
    bench: Bench, start: Start, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = trusted.parent / "authorities"
    directory.mkdir()
    trusted.rename(directory / "ours.pem")
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))
    bench.done(start().route("/a.whl", file(BODY)))


def expired(authority: trustme.CA) -> trustme.LeafCert:
    past = datetime.now(UTC) - timedelta(days=10)
    return authority.issue_cert("localhost", not_before=past, not_after=past + timedelta(days=1))


def early(authority: trustme.CA) -> trustme.LeafCert:
    future = datetime.now(UTC) + timedelta(days=10)
    return authority.issue_cert("localhost", not_before=future)


def misnamed(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("other.example")


def foreign(authority: trustme.CA) -> trustme.LeafCert:
    return trustme.CA().issue_cert("localhost")


@pytest.mark.parametrize(
    ("certificate", "reason", "hint"),
    [
        pytest.param(expired, "has expired or isn't valid yet", "clock", id="expired"),
        pytest.param(early, "has expired or isn't valid yet", "clock", id="not-valid-yet"),
        pytest.param(misnamed, "is for another host name", "SSL_CERT_FILE", id="wrong-host"),
        pytest.param(foreign, "is from an authority unknown here", "SSL_CERT_FILE", id="unknown"),
    ],
)
def test_refused_at_once(
    *,
    certificate: Callable[[trustme.CA], trustme.LeafCert],
    reason: str,
    hint: str,
    bench: Bench,
    start: Start,
    authority: trustme.CA,
    trusted: Path,
) -> None:
    server = start(certificate(authority))
    failure = bench.failure(server.route("/a.whl", file(BODY)))
    assert failure.reason == f"the certificate of `localhost` {reason}"
    assert hint in (failure.hint or "")
    assert not bench.waits
    assert not server.requests


def test_the_system_doesnt_know_our_authority(bench: Bench, start: Start) -> None:
    failure = bench.failure(start().route("/a.whl", file(BODY)))
    assert failure.reason == "the certificate of `localhost` is from an authority unknown here"


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "x"])
def test_variables_that_name_no_certificate(
    *,
    variable: str,
    content: bytes | None,
    bench: Bench,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "place"
    if content is not None and variable == "SSL_CERT_DIR":
        place.mkdir()
        (place / "a.pem").write_bytes(content)
    elif content is not None:
        place.write_bytes(content)
    monkeypatch.setenv(variable, str(place))
    with pytest.raises(RequestError, match=f"`{variable}` names .*, where no certificate"):
        bench.failure(start().route("/a.whl", file(BODY)))


def test_never_down_to_http(bench: Bench, start: Start, trusted: Path, server: FaultServer) -> None:
    plain = server.route("/b.whl", file(BODY))
    failure = bench.failure(start().route("/a.whl", redirect(plain)))
    assert failure.reason.startswith("`localhost` redirects from https to http")
    assert not server.requests


def test_a_server_without_tls(bench: Bench, server: FaultServer) -> None:
    url = Url.parse(server.url("/a.whl").exposed.replace("http://", "https://"))
    assert bench.failure(url).reason == "`127.0.0.1` doesn't speak TLS as this program does"
    assert not bench.waits


class TestClientCertificate:
    @pytest.fixture
    def strict(self, authority: trustme.CA) -> Iterator[FaultServer]:
        """Start a server that talks only to those who show a certificate of our authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        with FaultServer(tls=context, host="localhost").running() as server:
            yield server

    def test_is_shown(
        self,
        *,
        bench: Bench,
        strict: FaultServer,
        trusted: Path,
        authority: trustme.CA,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        own = trusted.parent / "own.pem"
        own.write_bytes(
            authority.issue_cert("me@example.org").private_key_and_cert_chain_pem.bytes()
        )
        monkeypatch.setenv("SSL_CLIENT_CERT", str(own))
        bench.done(strict.route("/a.whl", file(BODY)))

    def test_is_missed_by_the_server(
        self, bench: Bench, strict: FaultServer, trusted: Path
    ) -> None:
        failure = bench.failure(strict.route("/a.whl", file(BODY)))
        assert failure.reason.startswith("`localhost` wants a certificate of this machine")
        assert "SSL_CLIENT_CERT" in (failure.hint or "")

    @pytest.mark.parametrize("content", [None, b"", b"nonsense"], ids=["missing", "empty", "x"])
    def test_unreadable(
        self,
        *,
        content: bytes | None,
        bench: Bench,
        server: FaultServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        own = tmp_path / "own.pem"
        if content is not None:
            own.write_bytes(content)
        monkeypatch.setenv("SSL_CLIENT_CERT", str(own))
        with pytest.raises(RequestError, match=r"`SSL_CLIENT_CERT` names .*, where no certificate"):
            bench.failure(server.route("/a.whl", file(BODY)))


class TestUnverifiedHosts:
    def test_any_certificate_will_do(self, bench: Bench, start: Start) -> None:
        bench.unverified = [UnverifiedHost.parse("localhost")]
        bench.done(start().route("/a.whl", file(BODY)))

    def test_but_not_of_another_host(self, bench: Bench, start: Start) -> None:
        other = start()
        bench.unverified = [UnverifiedHost.parse(other.origin)]
        target = start().route("/a.whl", file(BODY))
        failure = bench.failure(other.route("/a.whl", redirect(target)))
        assert failure.reason == "the certificate of `localhost` is from an authority unknown here"
