"""Fetch many files: each streamed to disk while it is hashed, resumed, retried, then checked."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from uv_archive.digest import Digest
from uv_archive.errors import FetchError
from uv_archive.fetch.credentials import Credentials
from uv_archive.fetch.exchange import Exchange
from uv_archive.fetch.parallel import in_threads
from uv_archive.fetch.partial import PartialFile, storage
from uv_archive.fetch.reporter import Reporter
from uv_archive.fetch.retry import Clock, RetryPolicy, retry_after_seconds
from uv_archive.fetch.transport import ConnectionLost, Refused, Response, Stopped, Transport
from uv_archive.url import Url

_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", flags=re.ASCII)
_AGAIN = "run the same command again: it goes on from where it stopped"
# Progress is told in steps, because a call for each chunk would cost more than its hash.
_TOLD_EVERY = 256 * 1024
_LOOKED_AT = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """A file to fetch.

    *size* is in bytes; a longer body is refused, and other sizes are left to the digest.
    *partial* takes the bytes until they are verified, in the file system of *destination*; what
    an earlier run left there is continued where there is a digest to check it by. *label* names
    the file in progress and messages.
    """

    url: Url
    digest: Digest | None
    size: int | None
    partial: Path
    destination: Path
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A transfer whose file has its final name. *sha256* is in hexadecimal, *size* in bytes."""

    transfer: Transfer
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A transfer that was given up; nothing has its final name."""

    transfer: Transfer
    reason: str
    hint: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchResult:
    """What became of all transfers, in the order in which they were given."""

    done: tuple[Fetched, ...]
    failed: tuple[Failure, ...]


def fetch_all(
    transfers: Sequence[Transfer],
    *,
    transport: Transport,
    commit: Callable[[Path, Path], object],
    credentials: Credentials | None = None,
    reporter: Reporter | None = None,
    policy: RetryPolicy | None = None,
    clock: Clock | None = None,
    jobs: int = 16,
) -> FetchResult:
    """Fetch every file, *jobs* at a time, and go on when some fail.

    A file that the digest agrees with is made durable, then *commit* gives it its final name;
    it is called from several threads. Raises `StorageError` when the file system refuses, and
    whatever interrupts the waiting thread; then *transport* is closed, partial files stay, and
    nothing more is written. (A thread that waits for a silent server ends with its read.)
    """
    partials = {transfer.partial for transfer in transfers}
    destinations = {transfer.destination for transfer in transfers}
    if not len(partials) == len(destinations) == len(transfers):
        raise ValueError("two transfers have the same file")
    stop = threading.Event()
    crew = _Crew(
        exchange=Exchange(transport, credentials or Credentials()),
        commit=commit,
        reporter=_OneAtATime(reporter or Reporter()),
        policy=policy or RetryPolicy(),
        clock=clock or Clock(),
        stop=stop,
    )
    sizes = [transfer.size for transfer in transfers]
    known = [size for size in sizes if size is not None]
    crew.reporter.total(len(sizes), sum(known) if len(known) == len(sizes) else None)
    # The largest first: one that begins last would be waited for alone.
    order = sorted(range(len(sizes)), key=lambda position: -(sizes[position] or 0))
    outcomes = in_threads(
        [transfers[position] for position in order],
        crew.fetch,
        jobs=jobs,
        stop=stop,
        interrupt=transport.close,
    )
    ordered = [outcome for _, outcome in sorted(zip(order, outcomes, strict=True), key=_position)]
    return FetchResult(
        done=tuple(outcome for outcome in ordered if isinstance(outcome, Fetched)),
        failed=tuple(outcome for outcome in ordered if isinstance(outcome, Failure)),
    )


def _position(pair: tuple[int, Fetched | Failure]) -> int:
    return pair[0]


class _OneAtATime(Reporter):
    """Pass on what is told, one call at a time."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()

    def total(self, files: int, size: int | None) -> None:
        with self._lock:
            self._reporter.total(files, size)

    def started(self, label: str, size: int | None) -> None:
        with self._lock:
            self._reporter.started(label, size)

    def advanced(self, label: str, received: int) -> None:
        with self._lock:
            self._reporter.advanced(label, received)

    def retried(self, label: str, reason: str) -> None:
        with self._lock:
            self._reporter.retried(label, reason)

    def finished(self, label: str) -> None:
        with self._lock:
            self._reporter.finished(label)

    def failed(self, label: str, reason: str) -> None:
        with self._lock:
            self._reporter.failed(label, reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Crew:
    """What all transfers of one call share."""

    exchange: Exchange
    commit: Callable[[Path, Path], object]
    reporter: Reporter
    policy: RetryPolicy
    clock: Clock
    stop: threading.Event

    def fetch(self, transfer: Transfer) -> Fetched | Failure:
        self.reporter.started(transfer.label, transfer.size)
        try:
            fetched = _Fetching(transfer, self).run()
        except Stopped:
            raise
        except FetchError as error:
            self.reporter.failed(transfer.label, error.message)
            return Failure(transfer=transfer, reason=error.message, hint=error.hint)
        self.reporter.finished(transfer.label)
        return fetched

    def check(self) -> None:
        if self.stop.is_set():
            raise Stopped("the work was called off")


class _WrongBytes(FetchError):
    """The body came to its end, or past it, and isn't the file."""


class _Mismatch(FetchError):
    """The rest that the server offers isn't the rest of what is here."""


class _Fetching:
    """One transfer under way."""

    def __init__(self, transfer: Transfer, crew: _Crew) -> None:
        self._transfer = transfer
        self._crew = crew
        self._validator: str | None = None  # of the file that the bytes here are from
        self._total: int | None = None  # its size, as the server gave it
        self._resumable = True
        self._afresh = False  # whether wrong bytes were thrown away once already
        self._most = 0  # bytes that were here at any time
        self._attempts = 0
        self._fruitless = 0
        self._beginning = b""
        self._is_html = False

    def run(self) -> Fetched:
        partial = PartialFile(self._transfer.partial, self._transfer.digest)
        with partial:
            self._take_up(partial)
            complete = partial.size > 0 and partial.locked_hex == self._wanted
            while not complete:
                complete = self._attempt(partial)
            return self._finish(partial)

    def _take_up(self, partial: PartialFile) -> None:
        """Go on with what an earlier run left, where the digest will show whether it was right."""
        cap = self._transfer.size
        too_long = cap is not None and partial.on_disk > cap
        if self._wanted is None or too_long:
            partial.clear()
        else:
            partial.take_up(self._crew.check)
        if partial.size == cap and partial.locked_hex != self._wanted:
            partial.clear()
        self._most = partial.size

    def _attempt(self, partial: PartialFile) -> bool:
        """Try once; return whether the file is complete and right."""
        before = self._most
        try:
            self._receive(partial)
            self._check(partial)
        except ConnectionLost as lost:
            self._wait_after(lost, gained=self._most - before)
        except _Mismatch as mismatch:
            # Without ranges this can't come a second time.
            self._resumable = False
            self._start_over(partial, mismatch.message)
        except _WrongBytes as wrong:
            if self._afresh:
                partial.remove()
                raise Refused(wrong.message, hint=wrong.hint) from None
            self._afresh = True
            self._start_over(partial, wrong.message)
        except Refused:
            if not partial.size:
                partial.remove()
            raise
        else:
            return True
        return False

    def _receive(self, partial: PartialFile) -> None:
        """Make one request and take its body. Raises `FetchError` of all kinds."""
        self._crew.check()
        if not self._resumable or (self._wanted is None and self._validator is None):
            partial.clear()
        headers = self._headers(partial.size)
        with closing(self._crew.exchange.open("GET", self._transfer.url, headers)) as response:
            if response.status == 206 and partial.size:
                self._check_range(response, partial.size)
            elif response.status == 416 and partial.size:
                raise _Mismatch("the server has no such part of the file")
            elif response.status == 200:
                partial.clear()
            else:
                raise self._refusal(response)
            self._check_head(response, partial.size)
            self._stream(response, partial)

    def _headers(self, have: int) -> Mapping[str, str]:
        if not have:
            return {}
        headers = {"Range": f"bytes={have}-"}
        if self._validator is not None:
            headers["If-Range"] = self._validator
        return headers

    def _check_range(self, response: Response, have: int) -> None:
        """Raise `_Mismatch` unless the part begins at *have* and is of the same file."""
        match = _CONTENT_RANGE.fullmatch((response.header("Content-Range") or "").strip())
        if match is None or int(match[1]) != have:
            raise _Mismatch("the server sent another part of the file than was asked for")
        total = None if match[3] == "*" else int(match[3])
        if total is not None and self._total not in (None, total):
            raise _Mismatch("the file has another size on the server now")
        validator = _validator(response)
        if self._validator is not None and validator not in (None, self._validator):
            raise _Mismatch("the file has changed on the server")

    def _check_head(self, response: Response, have: int) -> None:
        encoding = (response.header("Content-Encoding") or "identity").strip().lower()
        if encoding not in ("identity", ""):
            raise Refused(
                f"the server sent the file with the content encoding {encoding[:20]!a}, which "
                "wasn't asked for",
                hint="a proxy that compresses may be in the way",
            )
        self._is_html = (response.header("Content-Type") or "").lower().startswith("text/html")
        length = response.header("Content-Length")
        if length is not None and length.isascii() and length.isdigit():
            self._total = have + int(length)
            self._check_cap(self._total)
        elif not have:
            self._total = None
        self._validator = _validator(response) or (self._validator if have else None)

    def _stream(self, response: Response, partial: PartialFile) -> None:
        policy, clock, label = self._crew.policy, self._crew.clock, self._transfer.label
        told = partial.size
        window_began, window_size = clock.monotonic(), partial.size
        while (chunk := response.read()) is not None:
            self._crew.check()
            self._check_cap(partial.size + len(chunk))
            if partial.size < _LOOKED_AT:
                self._look_at(chunk, partial.size)
            partial.append(chunk)
            self._most = max(self._most, partial.size)
            if partial.size - told >= _TOLD_EVERY:
                told = partial.size
                self._crew.reporter.advanced(label, told)
            elapsed = clock.monotonic() - window_began
            if elapsed >= policy.rate_window:
                if partial.size - window_size < policy.minimum_rate * elapsed:
                    raise ConnectionLost(
                        f"fewer than {policy.minimum_rate} bytes a second came", slow=True
                    )
                window_began, window_size = window_began + elapsed, partial.size
        self._crew.reporter.advanced(label, partial.size)

    def _look_at(self, chunk: bytes | memoryview, position: int) -> None:
        self._beginning = self._beginning[:position] + bytes(chunk[:_LOOKED_AT])

    def _check_cap(self, size: int) -> None:
        cap = self._transfer.size
        if cap is not None and size > cap:
            raise self._wrong(f"the server sent more than the {cap} bytes that the lock gives")

    def _check(self, partial: PartialFile) -> None:
        cap = self._transfer.size
        if self._wanted is None and cap is not None and partial.size != cap:
            raise self._wrong(f"the server sent {partial.size} bytes, and the lock gives {cap}")
        if self._wanted is None or partial.locked_hex == self._wanted:
            return
        if not partial.size:
            raise self._wrong("the server sent an empty file")
        digest = self._transfer.digest
        algorithm = digest.algorithm if digest is not None else ""
        raise self._wrong(
            f"the server sent other bytes than the lock names: {algorithm} is "
            f"{partial.locked_hex}, not {self._wanted}"
        )

    def _wrong(self, reason: str) -> _WrongBytes:
        start = self._beginning.lstrip(b"\xef\xbb\xbf \t\r\n")
        if self._is_html or start.startswith(b"<"):
            hint = f"it looks like a web page, as of a login: {self._login_hint()}"
            return _WrongBytes(reason, hint=hint)
        return _WrongBytes(reason)

    def _refusal(self, response: Response) -> FetchError:
        """Return the error for a status that brings no file."""
        status, host = response.status, self._transfer.url.host
        if status in (401, 403):
            return Refused(f"`{host}` refuses access ({status})", hint=self._login_hint())
        if status in (404, 410):
            return Refused(
                f"`{host}` doesn't have the file ({status}): `{self._transfer.url}`",
                hint="if the index is a private one, it may want credentials: " + self._login_hint()
                if status == 404
                else "it was removed; another mirror may still have it (`--mirror`)",
            )
        if status == 407:
            return Refused(
                "the proxy wants credentials (407)",
                hint="put them into the URL in `HTTPS_PROXY` or `HTTP_PROXY`",
            )
        if status in (408, 429) or 500 <= status < 600:
            after = retry_after_seconds(response.header("Retry-After"), self._crew.clock.now())
            return ConnectionLost(f"`{host}` answered {status}", retry_after=after)
        return Refused(f"`{host}` answered {status}")

    def _login_hint(self) -> str:
        return self._crew.exchange.hint(self._transfer.url)

    def _start_over(self, partial: PartialFile, reason: str) -> None:
        partial.clear()
        self._validator = self._total = None
        self._beginning = b""
        self._crew.reporter.retried(self._transfer.label, reason)
        self._crew.reporter.advanced(self._transfer.label, 0)

    def _wait_after(self, lost: ConnectionLost, *, gained: int) -> None:
        """Wait before the next attempt. Raises `Refused` when there were enough."""
        policy, clock = self._crew.policy, self._crew.clock
        self._attempts += 1
        went_on = gained >= policy.progress and not lost.slow
        self._fruitless = 1 if went_on else self._fruitless + 1
        if self._fruitless >= policy.attempts or self._attempts >= policy.attempts_in_all:
            if lost.unreachable is not None:
                self._crew.exchange.give_up_on(lost.unreachable, lost.message)
            raise Refused(f"{lost.message} ({self._attempts} attempts)", hint=_AGAIN)
        self._crew.reporter.retried(self._transfer.label, lost.message)
        delay = policy.delay(self._fruitless, retry_after=lost.retry_after, chance=clock.chance())
        clock.wait(self._crew.stop, delay)
        self._crew.check()

    def _finish(self, partial: PartialFile) -> Fetched:
        partial.make_durable()
        with storage(self._transfer.destination):
            self._crew.commit(self._transfer.partial, self._transfer.destination)
        return Fetched(transfer=self._transfer, sha256=partial.sha256, size=partial.size)

    @property
    def _wanted(self) -> str | None:
        return None if self._transfer.digest is None else self._transfer.digest.hex


def _validator(response: Response) -> str | None:
    """Return what `If-Range` takes: a strong entity tag, else the date (RFC 9110, 13.1.5)."""
    tag = response.header("ETag")
    if tag is not None and tag.startswith('"'):
        return tag
    return response.header("Last-Modified")
