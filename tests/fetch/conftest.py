"""A server that fails on demand, and a fetch of which everything is kept."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fetch.server import FaultServer
from uv_archive.digest import Digest
from uv_archive.fetch import (
    Clock,
    Credentials,
    Failure,
    Fetched,
    FetchResult,
    Reporter,
    RetryPolicy,
    Transfer,
    fetch_all,
)
from uv_archive.fetch.client import ReqwestTransport
from uv_archive.fetch.unverified import UnverifiedHost
from uv_archive.url import Url

#: What must never be seen again, nor be sent elsewhere.
CANARY = "c4n4ry-d0-n0t-sh0w"
#: Long enough that every request for a part makes progress.
BODY = random.Random(20).randbytes(300_000)


def digest_of(body: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, body).hexdigest())


@dataclass
class Recorder(Reporter):
    """Keep every call, and notice two at the same time."""

    calls: list[tuple[str | int | None, ...]] = field(default_factory=list)
    overlapped: bool = False
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def _keep(self, *call: str | int | None) -> None:
        if not self._busy.acquire(blocking=False):
            self.overlapped = True
            return
        self.calls.append(call)
        self._busy.release()

    def total(self, files: int, size: int | None) -> None:
        self._keep("total", files, size)

    def started(self, label: str, size: int | None) -> None:
        self._keep("started", label, size)

    def advanced(self, label: str, received: int) -> None:
        self._keep("advanced", label, received)

    def retried(self, label: str, reason: str) -> None:
        self._keep("retried", label, reason)

    def finished(self, label: str) -> None:
        self._keep("finished", label)

    def failed(self, label: str, reason: str) -> None:
        self._keep("failed", label, reason)

    def named(self, kind: str) -> list[tuple[str | int | None, ...]]:
        return [call[1:] for call in self.calls if call[0] == kind]


@dataclass
class Bench:
    """Fetch into a directory, with time that passes at once, and check what must always hold."""

    directory: Path
    reporter: Recorder = field(default_factory=Recorder)
    waits: list[float] = field(default_factory=list)
    credentials: Credentials = field(default_factory=Credentials)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    unverified: Sequence[UnverifiedHost] = ()
    read_timeout: float = 30.0
    monotonic: Callable[[], float] | None = None
    now: float = 1_800_000_000.0
    commit: Callable[[Path, Path], object] = Path.rename

    def transfer(
        self, url: Url, body: bytes = BODY, *, digest: Digest | None = None, size: int | None = None
    ) -> Transfer:
        digest = digest or digest_of(body)
        return Transfer(
            url=url,
            digest=digest,
            size=size,
            partial=self.directory / ".partial" / digest.hex,
            destination=self.directory / f"{digest.hex[:8]}.whl",
            label=f"{digest.hex[:8]}.whl",
        )

    def fetch_all(self, transfers: Sequence[Transfer], *, jobs: int = 4) -> FetchResult:
        (self.directory / ".partial").mkdir(exist_ok=True)
        transport = ReqwestTransport(
            connect_timeout=30, read_timeout=self.read_timeout, unverified=self.unverified
        )
        clock = Clock(now=lambda: self.now, wait=self._wait, chance=lambda: 1.0)
        if self.monotonic is not None:
            clock = Clock(now=clock.now, wait=self._wait, monotonic=self.monotonic)
        try:
            result = fetch_all(
                transfers,
                transport=transport,
                commit=self.commit,
                credentials=self.credentials,
                reporter=self.reporter,
                policy=self.policy,
                clock=clock,
                jobs=jobs,
            )
        finally:
            transport.close()
        self._check(result)
        return result

    def done(self, url: Url, body: bytes = BODY, *, size: int | None = None) -> Fetched:
        """Fetch one file that is expected to come."""
        result = self.fetch_all([self.transfer(url, body, size=size)])
        assert not result.failed, result.failed
        return result.done[0]

    def failure(self, url: Url, body: bytes = BODY, *, size: int | None = None) -> Failure:
        """Fetch one file that is expected to fail."""
        result = self.fetch_all([self.transfer(url, body, size=size)])
        assert not result.done
        return result.failed[0]

    def leave(self, left: bytes, *, body: bytes = BODY) -> Path:
        """Leave the partial file of an earlier run."""
        partial = self.directory / ".partial" / digest_of(body).hex
        partial.parent.mkdir(exist_ok=True)
        partial.write_bytes(left)
        return partial

    @property
    def partials(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.directory.glob(".partial/*"))]

    @property
    def reasons(self) -> list[str]:
        return [str(reason) for _, reason in self.reporter.named("retried")]

    def _wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        return event.is_set()

    def _check(self, result: FetchResult) -> None:
        for fetched in result.done:
            body = fetched.transfer.destination.read_bytes()
            assert hashlib.sha256(body).hexdigest() == fetched.sha256
            assert len(body) == fetched.size
            digest = fetched.transfer.digest
            assert digest is None or digest_of(body, digest.algorithm) == digest
            assert not fetched.transfer.partial.exists()
        for failure in result.failed:
            assert not failure.transfer.destination.exists()
        assert not self.reporter.overlapped
        assert CANARY not in repr((result, self.reporter.calls))


@pytest.fixture(autouse=True)
def direct_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide proxies and certificate authorities of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.delenv("SSL_CLIENT_CERT", raising=False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def servers() -> Iterator[Callable[[], FaultServer]]:
    """Start as many servers as a test asks for, each an origin of its own."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(FaultServer().running())


@pytest.fixture
def server(servers: Callable[[], FaultServer]) -> FaultServer:
    return servers()
