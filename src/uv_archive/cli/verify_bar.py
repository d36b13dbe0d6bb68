"""The progress of a verification on a terminal. Not imported where nothing is drawn."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.text import Text

from uv_archive.cli.bars import Fitting, Pace
from uv_archive.cli.output import counted, printable
from uv_archive.verify import Reporter

if TYPE_CHECKING:
    from rich.status import Status


class VerifyBar(Reporter):
    """Draw one bar for all bytes."""

    def __init__(self, *, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live: Progress | Status | None = None
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._pace = Pace(time.monotonic)
        self._guard = threading.Lock()

    def close(self) -> None:
        """Leave the terminal as it was."""
        live, self._live, self._progress = self._live, None, None
        if live is not None:
            live.stop()

    def hashing(self, files: int, size: int) -> None:
        self.close()
        self._pace = Pace(time.monotonic)
        self._progress = self._live = Fitting(self._console)
        self._task = self._progress.add_task(
            f"Reading {counted(files, 'file')}", total=size, pace=self._pace
        )
        self._progress.start()

    def advanced(self, label: str, count: int) -> None:
        del label
        if self._progress is not None:
            with self._guard:
                self._pace.add(count)
                self._progress.advance(self._task, count)

    def asking(self, target: str) -> None:
        self._step(f"Asking uv about {target}")

    def rehearsing(self, target: str) -> None:
        self._step(f"Rehearsing the install for {target}")

    def _step(self, text: str) -> None:
        self.close()
        status = self._console.status(Text(printable(text)))
        status.start()
        self._live = status
