"""How a download goes, drawn on a terminal or said in quiet lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from uv_archive.cli import output
from uv_archive.cli.output import counted, is_terminal, say
from uv_archive.download import Reporter

# Seconds between lines where nothing is drawn.
_INTERVAL = 10.0


@contextmanager
def reporting(*, quiet: bool, draw: bool) -> Iterator[Reporter]:
    """Give a reporter for one run: bars on a terminal, lines elsewhere, nothing if *quiet*."""
    if quiet:
        yield Reporter()
    elif draw and is_terminal():
        from uv_archive.cli.bars import Bars

        bars = Bars()
        try:
            yield bars
        finally:
            bars.close()
    else:
        yield Lines()


class Lines(Reporter):
    """Say a line now and then, so that a log shows that something goes on."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + _INTERVAL
        self._for_builds = False
        self._files = 0
        self._done = 0
        self._size: int | None = None
        self._received: dict[str, int] = {}
        self._reasons: set[str] = set()

    def waiting(self, message: str) -> None:
        say(message)

    def hashing(self, files: int) -> None:
        if files > 1:
            say(f"Hashing {counted(files, 'file')} that are already there")

    def resolving(self, builds: int) -> None:
        self._for_builds = True
        say(f"Finding the build requirements of {counted(builds, 'distribution')}")

    def finding_tools(self, platforms: int) -> None:
        say(f"Finding uv and uv-archive for {counted(platforms, 'platform')}")

    def building(self, wheels: int, python: str) -> None:
        say(f"Building {counted(wheels, 'wheel')} for {python}")

    def built(self, wheel: str) -> None:
        say(f"Built `{wheel}`")

    def not_built(self, label: str, reason: str) -> None:
        say(f"No wheel of `{label}`: {reason}")

    def total(self, files: int, size: int | None) -> None:
        self._files, self._done, self._size = files, 0, size
        self._received.clear()
        what = " for builds" if self._for_builds else ""
        known = f" ({output.size(size)})" if size else ""
        say(f"Downloading {counted(files, 'distribution')}{what}{known}")

    def advanced(self, label: str, received: int) -> None:
        self._received[label] = received
        if self._clock() < self._next:
            return
        self._next = self._clock() + _INTERVAL
        come = output.size(sum(self._received.values()))
        known = f" of {output.size(self._size)}" if self._size else ""
        say(f"{self._done:,} of {counted(self._files, 'distribution')}, {come}{known}")

    def retried(self, label: str, reason: str) -> None:
        # A host that is down is down for every file.
        if reason not in self._reasons:
            self._reasons.add(reason)
            say(f"Trying `{label}` again: {reason}")

    def finished(self, label: str) -> None:
        del label
        self._done += 1
