"""Ctrl-C: nothing is waited for any more, and what has arrived stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fetch.conftest import BODY, Bench, digest_of
from tests.fetch.server import FaultServer, file, silent, stalled, status, trickling

PROGRAM = textwrap.dedent("""
    import sys
    from pathlib import Path
    from uv_archive.digest import Digest
    from uv_archive.fetch import Transfer, fetch_all
    from uv_archive.fetch.client import ReqwestTransport
    from uv_archive.url import Url

    directory, *urls = sys.argv[1:]
    transfers = [
        Transfer(
            url=Url.parse(url), digest=Digest("sha256", "0" * 64), size=None,
            partial=Path(directory, f"{number}.partial"),
            destination=Path(directory, f"{number}.whl"), label=str(number),
        )
        for number, url in enumerate(urls)
    ]
    fetch_all(transfers, transport=ReqwestTransport(), commit=Path.rename)
""")


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_sigint_waits_for_nothing(server: FaultServer, tmp_path: Path) -> None:
    """Every transfer waits for a minute. How soon it ends then is up to the machine."""
    stalling = [server.route(f"/{n}", stalled(BODY, 100_000, seconds=60)) for n in range(3)]
    waiting = server.route("/busy", status(503, Retry_After="60"))
    mute = server.route("/silent", silent(seconds=60))
    urls = [url.exposed for url in (*stalling, waiting, mute)]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *urls],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    partials = [tmp_path / f"{number}.partial" for number in range(3)]
    try:
        until(lambda: all(p.exists() and p.stat().st_size == 100_000 for p in partials))
        until(lambda: len(server.requests) == 5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert errors.decode().strip().endswith("KeyboardInterrupt")
    assert [partial.read_bytes() for partial in partials] == [BODY[:100_000]] * 3
    assert not list(tmp_path.glob("*.whl"))


def test_interrupted_in_the_waiting_thread(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.route("/a.whl", stalled(BODY, 100_000, seconds=60), file(BODY))
    bench.read_timeout = 60
    join = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name.startswith("fetch-") and bench.partials == [BODY[:100_000]]:
            monkeypatch.undo()
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        bench.done(url)
    assert time.monotonic() - began < 20
    assert bench.partials == [BODY[:100_000]]
    # The next run goes on from there.
    assert bench.done(url).sha256 == digest_of(BODY).hex
    assert server.requests[-1].offset == 100_000


def test_threads_that_get_bytes_or_wait_for_an_answer_are_gone(
    bench: Bench, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [
        server.route("/trickle", trickling(BODY, pause=0.01)),
        server.route("/silent", silent(seconds=30)),
    ]
    join = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name.startswith("fetch-") and len(server.requests) == 2:
            monkeypatch.undo()
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    before = set(threading.enumerate())
    transfers = [bench.transfer(url, body) for url, body in zip(urls, (BODY, b"2"), strict=True)]
    with pytest.raises(KeyboardInterrupt):
        bench.fetch_all(transfers)
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name.startswith("fetch-")]
