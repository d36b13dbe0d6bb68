"""What goes wrong on the way: either the right bytes come in the end, or the file fails alone."""

from __future__ import annotations

import errno
import gzip
import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typing_extensions import Buffer

from tests.fetch.conftest import BODY, Bench, digest_of
from tests.fetch.server import (
    FaultServer,
    Script,
    broken,
    chunked,
    file,
    part,
    raw,
    stalled,
    status,
    trickling,
    without_length,
)
from uv_archive.errors import StorageError
from uv_archive.fetch import RetryPolicy
from uv_archive.url import Url

LENGTH = len(BODY)
WRONG = bytes(reversed(BODY))
LOGIN_PAGE = b"\n<!DOCTYPE html><title>Sign in</title>"
GZIPPED = gzip.compress(BODY)


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Scripts after which the file is there. *offsets* are where the requests began.

    *patience* is in seconds: as much as a busy machine may need, but where a script stalls.
    """

    scripts: tuple[Script, ...]
    offsets: tuple[int | None, ...]
    reasons: tuple[str, ...] = ()
    patience: float = 30.0


RECOVERIES = {
    "reset": Recovery(
        scripts=(broken(BODY, 100_000, reset=True), file(BODY)),
        offsets=(None, 100_000),
        reasons=("the connection broke off: Connection reset by peer",),
    ),
    "early-close": Recovery(
        scripts=(broken(BODY, 100_000), file(BODY)),
        offsets=(None, 100_000),
        reasons=("the connection broke off: end of file before message length reached",),
    ),
    "early-close-twice-with-progress": Recovery(
        scripts=(*[broken(BODY, 70_000)] * 3, file(BODY)),
        offsets=(None, 70_000, 140_000, 210_000),
        reasons=("the connection broke off: end of file before message length reached",) * 3,
    ),
    "chunks-break-off": Recovery(
        scripts=(broken(BODY, 100_000, chunked=True), file(BODY)),
        offsets=(None, 100_000),
        reasons=("the connection broke off: unexpected EOF during chunk size line",),
    ),
    "closed-before-the-answer": Recovery(
        scripts=(raw(b""), file(BODY)),
        offsets=(None, None),
        reasons=("the connection broke off: connection closed before message completed",),
    ),
    "no-http": Recovery(
        scripts=(raw(b"\0\1\2\r\n\r\n"), file(BODY)),
        offsets=(None, None),
        reasons=("the connection broke off: invalid HTTP version parsed",),
    ),
    "chunked": Recovery(scripts=(chunked(BODY),), offsets=(None,)),
    "no-length": Recovery(scripts=(without_length(BODY),), offsets=(None,)),
    "no-length-and-cut": Recovery(
        scripts=(without_length(BODY[:1000]), file(BODY)),
        offsets=(None, None),
        reasons=("the server sent other bytes than the lock names",),
    ),
    "cut-with-matching-length": Recovery(
        scripts=(file(BODY[:-1]), file(BODY)),
        offsets=(None, None),
        reasons=("the server sent other bytes than the lock names",),
    ),
    "wrong-bytes-once": Recovery(
        scripts=(file(WRONG), file(BODY)),
        offsets=(None, None),
        reasons=("the server sent other bytes than the lock names",),
    ),
    "range-ignored": Recovery(
        scripts=(broken(BODY, 100_000), status(200, BODY)),
        offsets=(None, 100_000),
        reasons=("the connection broke off",),
    ),
    "changed-meanwhile": Recovery(
        scripts=(broken(WRONG, 100_000, etag='"old"'), file(BODY, etag='"new"')),
        offsets=(None, 100_000),
        reasons=("the connection broke off",),
    ),
    "range-not-satisfiable": Recovery(
        scripts=(broken(BODY, 100_000), status(416), file(BODY)),
        offsets=(None, 100_000, None),
        reasons=("the connection broke off", "the server has no such part of the file"),
    ),
    "part-from-another-offset": Recovery(
        scripts=(
            broken(BODY, 100_000),
            part(BODY[99_000:], f"bytes 99000-{LENGTH - 1}/{LENGTH}"),
            file(BODY),
        ),
        offsets=(None, 100_000, None),
        reasons=("the connection broke off", "the server sent another part of the file"),
    ),
    "part-without-range": Recovery(
        scripts=(broken(BODY, 100_000), part(BODY[100_000:], None), file(BODY)),
        offsets=(None, 100_000, None),
        reasons=("the connection broke off", "the server sent another part of the file"),
    ),
    "part-of-another-total": Recovery(
        scripts=(
            broken(BODY, 100_000),
            part(BODY[100_000:], f"bytes 100000-{LENGTH - 1}/{LENGTH + 1}"),
            file(BODY),
        ),
        offsets=(None, 100_000, None),
        reasons=("the connection broke off", "the file has another size on the server now"),
    ),
    "part-of-another-entity": Recovery(
        scripts=(
            broken(BODY, 100_000, etag='"one"'),
            part(BODY[100_000:], f"bytes 100000-{LENGTH - 1}/{LENGTH}", etag='"two"'),
            file(BODY),
        ),
        offsets=(None, 100_000, None),
        reasons=("the connection broke off", "the file has changed on the server"),
    ),
    "wrong-rest": Recovery(
        scripts=(
            broken(BODY, 100_000),
            part(WRONG[100_000:], f"bytes 100000-{LENGTH - 1}/{LENGTH}"),
            file(BODY),
        ),
        offsets=(None, 100_000, None),
        reasons=("the connection broke off", "the server sent other bytes than the lock names"),
    ),
    "stall": Recovery(
        scripts=(stalled(BODY, 100_000, seconds=60), file(BODY)),
        offsets=(None, 100_000),
        reasons=("no bytes came for too long",),
        patience=2.0,
    ),
    "408": Recovery(
        scripts=(status(408), file(BODY)),
        offsets=(None, None),
        reasons=("`127.0.0.1` answered 408",),
    ),
    "500": Recovery(
        scripts=(status(500, LOGIN_PAGE), file(BODY)),
        offsets=(None, None),
        reasons=("`127.0.0.1` answered 500",),
    ),
    "502-keeps-what-is-here": Recovery(
        scripts=(broken(BODY, 100_000), status(502), file(BODY)),
        offsets=(None, 100_000, 100_000),
        reasons=("the connection broke off", "`127.0.0.1` answered 502"),
    ),
}


@pytest.mark.parametrize("row", RECOVERIES.values(), ids=RECOVERIES)
def test_recovers(row: Recovery, bench: Bench, server: FaultServer) -> None:
    bench.read_timeout = row.patience
    url = server.route("/a.whl", *row.scripts)
    assert bench.done(url, size=LENGTH).size == LENGTH
    assert tuple(request.offset for request in server.requests) == row.offsets
    assert len(bench.reasons) == len(row.reasons)
    for told, expected in zip(bench.reasons, row.reasons, strict=True):
        assert told.startswith(expected)
    assert bench.reporter.named("finished")
    assert bench.reporter.named("advanced")[-1][1] == LENGTH
    assert not bench.partials


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Scripts after which the file is given up. *left* is how much of it stays to go on with."""

    scripts: tuple[Script, ...]
    requests: int
    reason: str
    hint: str | None = None
    left: int | None = None
    size: int | None = LENGTH
    patience: float = 30.0


LOSSES = {
    "401": Loss(
        scripts=(status(401),),
        requests=1,
        reason="`127.0.0.1` refuses access (401)",
        hint="UV_INDEX_<NAME>_USERNAME",
    ),
    "403": Loss(
        scripts=(status(403),),
        requests=1,
        reason="`127.0.0.1` refuses access (403)",
        hint="netrc",
    ),
    "404": Loss(
        scripts=(status(404),),
        requests=1,
        reason="`127.0.0.1` doesn't have the file (404)",
        hint="credentials",
    ),
    "410": Loss(
        scripts=(status(410),),
        requests=1,
        reason="`127.0.0.1` doesn't have the file (410)",
        hint="--mirror",
    ),
    "407": Loss(
        scripts=(status(407),), requests=1, reason="the proxy wants credentials", hint="HTTPS_PROXY"
    ),
    "204": Loss(scripts=(status(204),), requests=1, reason="`127.0.0.1` answered 204"),
    "206-that-nobody-asked-for": Loss(
        scripts=(part(BODY, f"bytes 0-{LENGTH - 1}/{LENGTH}"),),
        requests=1,
        reason="`127.0.0.1` answered 206",
    ),
    "304": Loss(scripts=(status(304),), requests=1, reason="`127.0.0.1` answered 304"),
    "503-for-ever": Loss(
        scripts=(status(503),),
        requests=5,
        reason="`127.0.0.1` answered 503 (5 attempts)",
        hint="goes on from where it stopped",
        left=0,
    ),
    "closes-for-ever": Loss(
        scripts=(raw(b""),),
        requests=5,
        reason="the connection broke off: connection closed before message completed (5 attempts)",
        hint="goes on from where it stopped",
        left=0,
    ),
    "breaks-off-at-the-same-place": Loss(
        scripts=(broken(BODY, 100_000, ranges=False),),
        requests=5,
        reason="the connection broke off",
        left=100_000,
    ),
    "stalls-for-ever": Loss(
        scripts=(stalled(BODY, 1000, seconds=60), stalled(BODY, 0, seconds=60)),
        patience=1.0,
        requests=5,
        reason="`127.0.0.1` didn't answer in time (5 attempts)",
        left=1000,
    ),
    "wrong-bytes": Loss(
        scripts=(file(WRONG),),
        requests=2,
        reason=f"the server sent other bytes than the lock names: sha256 is {digest_of(WRONG).hex}",
    ),
    "cut-with-matching-length": Loss(
        scripts=(file(BODY[:-1]),), requests=2, reason="the server sent other bytes"
    ),
    "login-page": Loss(
        scripts=(status(200, LOGIN_PAGE, Content_Type="text/html; charset=utf-8"),),
        requests=2,
        reason="the server sent other bytes than the lock names",
        hint="it looks like a web page, as of a login",
    ),
    "login-page-in-disguise": Loss(
        scripts=(status(200, LOGIN_PAGE, Content_Type="application/octet-stream"),),
        requests=2,
        reason="the server sent other bytes than the lock names",
        hint="it looks like a web page, as of a login",
    ),
    "login-page-longer-than-the-file": Loss(
        scripts=(chunked(LOGIN_PAGE + b" " * LENGTH),),
        requests=2,
        reason=f"the server sent more than the {LENGTH} bytes",
        hint="it looks like a web page, as of a login",
    ),
    "empty": Loss(scripts=(file(b""),), requests=2, reason="the server sent an empty file"),
    "extra-bytes": Loss(
        scripts=(file(BODY + b"x"),),
        requests=2,
        reason=f"the server sent more than the {LENGTH} bytes that the lock gives",
    ),
    "extra-bytes-in-chunks": Loss(
        scripts=(chunked(BODY + b"x"),),
        requests=2,
        reason=f"the server sent more than the {LENGTH} bytes that the lock gives",
    ),
    "extra-bytes-without-a-size": Loss(
        scripts=(chunked(BODY + b"x"),),
        requests=2,
        reason="the server sent other bytes than the lock names",
        size=None,
    ),
    "gzip": Loss(
        scripts=(status(200, GZIPPED, Content_Encoding="gzip"),),
        requests=1,
        reason="the server sent the file with the content encoding 'gzip'",
        hint="proxy",
    ),
}


@pytest.mark.parametrize("row", LOSSES.values(), ids=LOSSES)
def test_gives_up(row: Loss, bench: Bench, server: FaultServer) -> None:
    bench.read_timeout = row.patience
    failure = bench.failure(server.route("/a.whl", *row.scripts), size=row.size)
    assert failure.reason.startswith(row.reason)
    assert row.hint is None or row.hint in (failure.hint or "")
    assert len(server.requests) == row.requests
    assert bench.partials == ([] if row.left is None else [BODY[: row.left]])
    assert bench.reporter.named("failed") == [(failure.transfer.label, failure.reason)]


def test_asks_for_the_file_as_it_is(bench: Bench, server: FaultServer) -> None:
    bench.done(server.route("/a.whl", file(BODY)))
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_continues_only_the_same_file(bench: Bench, server: FaultServer) -> None:
    url = server.route("/a.whl", broken(BODY, 9, etag='"tag"'), file(BODY, etag='"tag"'))
    bench.done(url)
    assert server.requests[1].headers["if-range"] == '"tag"'
    assert server.requests[1].offset == 9


def test_weak_tags_are_no_validators(bench: Bench, server: FaultServer) -> None:
    bench.done(server.route("/a.whl", broken(BODY, 9, etag='W/"tag"'), file(BODY)))
    assert "if-range" not in server.requests[1].headers


@pytest.mark.parametrize("left", [1, 100_000, LENGTH - 1])
def test_continues_what_an_earlier_run_left(left: int, bench: Bench, server: FaultServer) -> None:
    bench.leave(BODY[:left])
    bench.done(server.route("/a.whl", file(BODY, etag='"tag"')), size=LENGTH)
    assert [request.offset for request in server.requests] == [left]
    assert "if-range" not in server.requests[0].headers


def test_takes_what_an_earlier_run_had_finished(bench: Bench, server: FaultServer) -> None:
    bench.leave(BODY)
    bench.done(server.url("/a.whl"))
    assert not server.requests


@pytest.mark.parametrize(
    ("left", "offsets"),
    [
        pytest.param(b"garbage", (7, None), id="wrong-beginning"),
        pytest.param(WRONG, (None,), id="wrong-and-complete"),
        pytest.param(BODY + b"x", (None,), id="longer-than-the-file"),
        pytest.param(b"", (None,), id="empty"),
    ],
)
def test_damaged_partial_file_is_fetched_anew(
    left: bytes, offsets: tuple[int | None, ...], bench: Bench, server: FaultServer
) -> None:
    bench.leave(left)
    bench.done(server.route("/a.whl", file(BODY)), size=LENGTH)
    assert tuple(request.offset for request in server.requests) == offsets


@pytest.mark.parametrize("kind", ["symlink", "hard-link", "fifo"])
def test_partial_file_leads_nowhere_else(
    kind: str, bench: Bench, server: FaultServer, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    partial = bench.leave(b"")
    partial.unlink()
    match kind:
        case "symlink":
            partial.symlink_to(other)
        case "hard-link":
            partial.hardlink_to(other)
        case _:
            os.mkfifo(partial)
    bench.done(server.route("/a.whl", file(BODY)))
    assert other.read_bytes() == b"mine"


def test_without_a_digest_nothing_old_is_continued(bench: Bench, server: FaultServer) -> None:
    bench.leave(WRONG[:1000])
    url = server.route("/a.whl", broken(BODY, 100_000), file(BODY))
    transfer = replace(bench.transfer(url), digest=None)
    fetched = bench.fetch_all([transfer]).done[0]
    assert fetched.sha256 == digest_of(BODY).hex
    # The server gave nothing to tell by whether its file is still the same one.
    assert [request.offset for request in server.requests] == [None, None]


def test_without_a_digest_the_same_entity_is_continued(bench: Bench, server: FaultServer) -> None:
    tag = '"tag"'
    url = server.route("/a.whl", broken(BODY, 100_000, etag=tag), file(BODY, etag=tag))
    fetched = bench.fetch_all([replace(bench.transfer(url), digest=None)]).done[0]
    assert fetched.sha256 == digest_of(BODY).hex
    assert [request.offset for request in server.requests] == [None, 100_000]


@pytest.mark.parametrize("algorithm", ["md5", "sha384", "sha512"])
def test_other_algorithms_of_locks(algorithm: str, bench: Bench, server: FaultServer) -> None:
    url = server.route("/a.whl", broken(BODY, 100_000), file(BODY))
    transfer = bench.transfer(url, digest=digest_of(BODY, algorithm))
    assert bench.fetch_all([transfer]).done[0].sha256 == digest_of(BODY).hex
    wrong = bench.transfer(server.route("/b", file(WRONG)), digest=digest_of(b"", algorithm))
    assert algorithm in bench.fetch_all([wrong]).failed[0].reason


def test_one_byte_a_second_counts_as_broken_off(bench: Bench, server: FaultServer) -> None:
    bench.monotonic = itertools.count(step=20).__next__
    failure = bench.failure(server.route("/a.whl", trickling(BODY, pause=0.01)))
    assert failure.reason == "fewer than 1024 bytes a second came (5 attempts)"
    assert len(server.requests) == 5


def test_attempts_are_bounded_even_with_progress(bench: Bench, server: FaultServer) -> None:
    bench.policy = RetryPolicy(attempts_in_all=7, progress=1)
    failure = bench.failure(server.route("/a.whl", broken(BODY, 10)))
    assert failure.reason.endswith("(7 attempts)")
    assert bench.partials == [BODY[:70]]


def test_waits_longer_each_time(bench: Bench, server: FaultServer) -> None:
    bench.failure(server.route("/a.whl", status(500)))
    assert bench.waits == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("Fri, 15 Jan 2027 08:00:30 GMT", 30.0, id="date"),
        pytest.param("Fri, 15 Jan 2027 07:00:00 GMT", 0.5, id="past"),
        pytest.param("86400", 120.0, id="huge"),
        pytest.param("9" * 400, 0.5, id="absurd"),
        pytest.param("Thu, 31 Dec 2099 00:00:00 GMT", 120.0, id="far-date"),
        pytest.param("-5", 0.5, id="negative"),
        pytest.param("soon", 0.5, id="garbage"),
        pytest.param("Fri, 99 Foo 2027", 0.5, id="garbage-date"),
        pytest.param("", 0.5, id="empty"),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after(
    code: int, text: str, seconds: float, bench: Bench, server: FaultServer
) -> None:
    bench.done(server.route("/a.whl", status(code, Retry_After=text), file(BODY)))
    assert bench.waits == [seconds]


def test_unreachable_host_is_given_up_once_for_all(bench: Bench) -> None:
    bodies = [f"file {number}".encode() for number in range(100)]
    transfers = [bench.transfer(Url.parse("http://127.0.0.1:1/a"), body) for body in bodies]
    failed = bench.fetch_all(transfers, jobs=4).failed
    assert len(failed) == 100
    assert {failure.reason.partition(" (")[0] for failure in failed} == {
        "`127.0.0.1` can't be reached: Connection refused"
    }
    assert len(bench.waits) < 30


def test_unknown_host(bench: Bench) -> None:
    # A part longer than DNS knows is refused by this machine, and no name server is asked.
    host = f"{'f' * 64}.invalid"
    failure = bench.failure(Url.parse(f"http://{host}/a.whl"))
    assert failure.reason.startswith(f"`{host}` can't be reached: failed to lookup address")


def test_many_files_fail_and_come_in_the_order_given(bench: Bench, server: FaultServer) -> None:
    transfers, expected = [], []
    for number in range(40):
        body = f"file {number}".encode() * (number % 7 + 1)
        good = number % 3 != 0
        url = server.route(f"/{number}", file(body) if good else status(404))
        transfers.append(bench.transfer(url, body, size=len(body)))
        if good:
            expected.append(transfers[-1])
    result = bench.fetch_all(transfers, jobs=8)
    assert [fetched.transfer for fetched in result.done] == expected
    assert len(result.failed) == 14
    assert bench.reporter.calls[0] == ("total", 40, sum(t.size or 0 for t in transfers))
    assert len(bench.reporter.named("started")) == 40


def test_a_limit_of_the_file_system_stops_everything(bench: Bench, server: FaultServer) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    url = server.route("/a.whl", file(BODY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="File too large") as caught:
            bench.done(url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "ulimit -f" in (caught.value.hint or "")
    assert bench.partials == [BODY[:100_000]]
    bench.done(url)
    assert server.requests[-1].offset == 100_000


def test_full_disk_stops_everything_with_a_hint(bench: Bench, server: FaultServer) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    bench.commit = lambda partial, _: full.write_bytes(partial.read_bytes())
    with pytest.raises(StorageError, match="No space left") as caught:
        bench.done(server.route("/a.whl", file(BODY)))
    assert "free some space" in (caught.value.hint or "")
    assert bench.partials == [BODY]


def test_bytes_that_may_not_be_on_the_disk_arent_trusted_again(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        bench.done(server.route("/a.whl", file(BODY)))
    assert not bench.partials


def test_a_file_system_that_takes_only_a_part_is_given_the_rest(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, taken = os.write, 0

    def short(descriptor: int, data: Buffer) -> int:
        nonlocal taken
        taken += 1
        return write(descriptor, memoryview(data)[:777])

    monkeypatch.setattr(os, "write", short)
    assert bench.done(server.route("/a.whl", file(BODY))).size == LENGTH
    assert taken > LENGTH // 777


def test_a_file_is_durable_before_it_has_its_name(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        order.append("fsync")
        assert os.fstat(descriptor).st_size == LENGTH
        fsync(descriptor)

    def named(partial: Path, destination: Path) -> None:
        order.append("commit")
        partial.rename(destination)

    monkeypatch.setattr(os, "fsync", synced)
    bench.commit = named
    bench.done(server.route("/a.whl", file(BODY)))
    assert order == ["fsync", "commit"]


def test_directory_that_is_missing_is_a_storage_error(bench: Bench, server: FaultServer) -> None:
    transfer = bench.transfer(server.route("/a.whl", file(BODY)))
    lost = replace(transfer, partial=transfer.partial / "x")
    with pytest.raises(StorageError, match="No such file or directory"):
        bench.fetch_all([lost])


def test_two_transfers_to_one_file_are_a_mistake(bench: Bench, server: FaultServer) -> None:
    transfer = bench.transfer(server.url("/a.whl"))
    with pytest.raises(ValueError, match="the same file"):
        bench.fetch_all([transfer, transfer])
