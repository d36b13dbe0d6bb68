"""How a download goes, drawn on a terminal or said in quiet lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from uv_archive.cli.output import counted, is_terminal, printable, say, size
from uv_archive.download import Reporter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# Seconds. What is over sooner needs no progress.
_PATIENCE = 1.0
# Seconds between lines where nothing is drawn.
_INTERVAL = 10.0
# More bars than this tell nobody anything.
_MOST_BARS = 8


@contextmanager
def reporting(*, quiet: bool, draw: bool) -> Iterator[Reporter]:
    """Give a reporter for one run: bars on a terminal, lines elsewhere, nothing if *quiet*."""
    if quiet:
        yield Reporter()
    elif draw and is_terminal():
        bars = _Bars()
        try:
            yield bars
        finally:
            bars.close()
    else:
        yield _Lines()


class _Lines(Reporter):
    """Says a line now and then, so that a log shows that something goes on."""

    def __init__(self) -> None:
        self._files = 0
        self._done = 0
        self._received: dict[str, int] = {}
        self._next = time.monotonic() + _INTERVAL

    def waiting(self, message: str) -> None:
        say(message)

    def hashing(self, files: int) -> None:
        if files > 1:
            say(f"Hashing {counted(files, 'file')} that are already there")

    def resolving(self, builds: int) -> None:
        say(f"Finding the build requirements of {counted(builds, 'distribution')}")

    def total(self, files: int, size: int | None) -> None:
        self._files, self._done = files, 0
        known = f" ({_size(size)})" if size else ""
        say(f"Downloading {counted(files, 'distribution')}{known}")

    def advanced(self, label: str, received: int) -> None:
        self._received[label] = received
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _INTERVAL
            received = sum(self._received.values())
            say(f"{self._done} of {self._files} distributions, {_size(received)}")

    def retried(self, label: str, reason: str) -> None:
        say(f"Trying `{label}` again: {reason}")

    def finished(self, label: str) -> None:
        self._done += 1


class _Bars(Reporter):
    """Draws one bar for all files and one for each that takes longer than a second."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._overall: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._sizes: dict[str, int | None] = {}
        self._received: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._files = 0
        self._done = 0

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def waiting(self, message: str) -> None:
        say(message)

    def hashing(self, files: int) -> None:
        self._step(f"Hashing {counted(files, 'file')}")

    def resolving(self, builds: int) -> None:
        self._step(f"Finding the build requirements of {counted(builds, 'distribution')}")

    def recording(self) -> None:
        self._step("Writing the archive's metadata")

    def total(self, files: int, size: int | None) -> None:
        self.close()
        self._files, self._done = files, 0
        self._received.clear()
        progress = self._started()
        self._overall = progress.add_task(self._title(), total=size)

    def started(self, label: str, size: int | None) -> None:
        self._sizes[label] = size
        self._began[label] = time.monotonic()

    def advanced(self, label: str, received: int) -> None:
        self._received[label] = received
        if self._progress is None or self._overall is None:
            return
        self._progress.update(self._overall, completed=sum(self._received.values()))
        if label in self._tasks:
            self._progress.update(self._tasks[label], completed=received)
        elif len(self._tasks) < _MOST_BARS and self._is_slow(label):
            name = printable(label if len(label) <= 48 else f"{label[:45]}...")
            self._tasks[label] = self._progress.add_task(
                name, total=self._sizes.get(label), completed=received
            )

    def retried(self, label: str, reason: str) -> None:
        if self._progress is not None:
            self._progress.console.print(
                printable(f"Trying `{label}` again: {reason}"), markup=False, highlight=False
            )

    def finished(self, label: str) -> None:
        self._done += 1
        self._forget(label)

    def failed(self, label: str, reason: str) -> None:
        self._forget(label)

    def _is_slow(self, label: str) -> bool:
        return time.monotonic() - self._began.get(label, time.monotonic()) > _PATIENCE

    def _forget(self, label: str) -> None:
        task = self._tasks.pop(label, None)
        if self._progress is None or self._overall is None:
            return
        if task is not None:
            self._progress.remove_task(task)
        self._progress.update(self._overall, description=self._title())

    def _title(self) -> str:
        return f"Downloading {self._done}/{self._files}"

    def _step(self, text: str) -> None:
        """Draw something that goes on without an end in sight."""
        self.close()
        self._overall = None
        self._started().add_task(text, total=None)

    def _started(self) -> Progress:
        # Takes 50 ms to import, and only a terminal needs it.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._progress.start()
        return self._progress


_size = size
