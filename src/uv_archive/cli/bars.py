"""Progress as bars on a terminal, as wide as there is room for.

Not imported where nothing is drawn: rich takes 50 ms.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from uv_archive.cli.output import UNITS, counted, printable, say, size
from uv_archive.download import Reporter

if TYPE_CHECKING:
    from rich.status import Status

# Seconds. A file that is over sooner needs no bar of its own.
_PATIENCE = 1.0
# More bars than this tell nobody anything.
_MOST_BARS = 8
# Seconds over which a rate is taken.
_WINDOW = 10.0
# Bytes. Fetching tells of a file first when it has this much more, so what goes beyond it in the
# first word was here before.
_FIRST_WORD = 512 * 1024
_LONGEST_NAME = 48


class Bars(Reporter):
    """Draw one bar for all files, and one for each that takes longer than a second."""

    def __init__(
        self, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._live: Progress | Status | None = None
        self._progress: Progress | None = None
        self._overall = TaskID(0)
        self._for_builds = False
        self._files = 0
        self._done = 0
        self._tasks: dict[str, TaskID] = {}
        self._sizes: dict[str, int | None] = {}
        self._began: dict[str, float] = {}
        self._received: dict[str, int] = {}
        self._paces: dict[str, Pace] = {}
        self._pace = Pace(clock)

    def close(self) -> None:
        """Leave the terminal as it was."""
        live, self._live, self._progress = self._live, None, None
        if live is not None:
            live.stop()

    def waiting(self, message: str) -> None:
        say(message)

    def hashing(self, files: int) -> None:
        self._step(f"Hashing {counted(files, 'file')}")

    def resolving(self, builds: int) -> None:
        self._for_builds = True
        self._step(f"Finding the build requirements of {counted(builds, 'distribution')}")

    def finding_tools(self, platforms: int) -> None:
        self._step(f"Finding uv and uv-archive for {counted(platforms, 'platform')}")

    def recording(self) -> None:
        self._step("Writing the archive's metadata")

    def building(self, wheels: int, python: str) -> None:
        self._step(f"Building {counted(wheels, 'wheel')} for {python}")

    def built(self, wheel: str) -> None:
        self._console.print(Text(printable(f"Built `{wheel}`")))

    def not_built(self, label: str, reason: str) -> None:
        self._console.print(Text(printable(f"No wheel of `{label}`: {reason}")))

    def total(self, files: int, size: int | None) -> None:
        self.close()
        self._files, self._done = files, 0
        for of_before in (self._tasks, self._sizes, self._began, self._received, self._paces):
            of_before.clear()
        self._pace = Pace(self._clock)
        self._progress = self._live = Fitting(self._console)
        self._overall = self._progress.add_task(
            self._title(), total=size, pace=self._pace, share=(0, files)
        )
        self._progress.start()

    def started(self, label: str, size: int | None) -> None:
        self._sizes[label] = size
        self._began[label] = self._clock()
        self._paces[label] = Pace(self._clock)

    def advanced(self, label: str, received: int) -> None:
        before = self._received.get(label)
        more = min(received, _FIRST_WORD) if before is None else max(0, received - before)
        self._received[label] = received
        self._pace.add(more)
        self._paces[label].add(more)
        if self._progress is None:
            return
        self._progress.update(self._overall, completed=sum(self._received.values()))
        if label in self._tasks:
            self._progress.update(self._tasks[label], completed=received)
        elif len(self._tasks) < _MOST_BARS and self._clock() - self._began[label] > _PATIENCE:
            self._tasks[label] = self._progress.add_task(
                printable(label),
                total=self._sizes[label],
                completed=received,
                pace=self._paces[label],
            )

    def retried(self, label: str, reason: str) -> None:
        self._console.print(
            printable(f"Trying `{label}` again: {reason}"), markup=False, highlight=False
        )

    def finished(self, label: str) -> None:
        self._done += 1
        self._forget(label)

    def failed(self, label: str, reason: str) -> None:
        del reason  # told in the end, with what to do
        self._forget(label)

    def _forget(self, label: str) -> None:
        task = self._tasks.pop(label, None)
        if self._progress is None:
            return
        if task is not None:
            self._progress.remove_task(task)
        self._progress.update(
            self._overall, description=self._title(), share=(self._done, self._files)
        )

    def _title(self) -> str:
        title = f"Downloading {self._done:,} of {self._files:,}"
        return f"{title} for builds" if self._for_builds else f"{title} files"

    def _step(self, text: str) -> None:
        """Draw something that goes on without an end in sight."""
        self.close()
        status = self._console.status(Text(text))
        status.start()
        self._live = status


class Pace:
    """How many bytes a second come, over the last seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._came: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        self._came.append((self._clock(), count))

    @property
    def rate(self) -> float | None:
        """Bytes a second; `None` until that can be said."""
        now = self._clock()
        while self._came and self._came[0][0] < now - _WINDOW:
            self._came.popleft()
        over = min(_WINDOW, now - self._began)
        return sum(count for _, count in self._came) / over if over >= _PATIENCE else None


class Fitting(Progress):
    """Progress whose columns are those that the terminal has room for, whenever it is drawn."""

    def __init__(self, console: Console) -> None:
        self._terminal = console
        super().__init__(console=console, transient=True)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        # A terminal writes `^C` behind the last line; if that wrapped, a line would be left over.
        self.columns = columns_for(self._terminal.width - len("^C"))
        return super().make_tasks_table(tasks)


def columns_for(width: int) -> tuple[ProgressColumn, ...]:
    """Return what fits into *width* cells: the name always, then bytes, time left, bar, rate."""
    columns: tuple[tuple[ProgressColumn, int], ...]
    if width >= 78:
        bar = 10 if width < 98 else 20
        columns = ((Bar(bar), bar), (Amount(), 15), (Rate(), 11), (TimeLeft(), 12))
    elif width >= 58:
        columns = ((Bar(10), 10), (Amount(), 15), (TimeLeft(), 12))
    elif width >= 38:
        columns = ((Amount(), 15),)
    else:
        columns = ((Percent(), 4),)
    room = width - sum(cells + 1 for _, cells in columns)
    return (Name(max(1, min(room, _LONGEST_NAME))), *(column for column, _ in columns))


class Name(ProgressColumn):
    """What is fetched, cut at the end."""

    def __init__(self, width: int) -> None:
        super().__init__(Column(width=width, no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        return Text(task.description)


class Bar(ProgressColumn):
    """A bar of bytes, or where their number isn't known, of files."""

    def __init__(self, width: int) -> None:
        super().__init__(Column(width=width))
        self._width = width

    def render(self, task: Task) -> ProgressBar:
        done, of = task.completed, task.total
        if of is None:
            done, of = task.fields.get("share", (0, None))
        return ProgressBar(
            total=of, completed=done, width=self._width, animation_time=task.get_time()
        )


class Amount(ProgressColumn):
    """Bytes here, and in all: `96.0/294.5 MiB`."""

    def __init__(self) -> None:
        super().__init__(Column(min_width=15, no_wrap=True, justify="right"))

    def render(self, task: Task) -> Text:
        total = None if task.total is None else int(task.total)
        return Text(amount(int(task.completed), total), "progress.download")


class Percent(ProgressColumn):
    """How much is here, in per cent."""

    def __init__(self) -> None:
        super().__init__(Column(min_width=4, no_wrap=True, justify="right"))

    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:.0f}%" if task.total else "", "progress.percentage")


class Rate(ProgressColumn):
    """Bytes a second."""

    def __init__(self) -> None:
        super().__init__(Column(min_width=11, no_wrap=True, justify="right"))

    def render(self, task: Task) -> Text:
        rate = task.fields["pace"].rate
        return Text("" if rate is None else f"{size(int(rate))}/s", "progress.data.speed")


class TimeLeft(ProgressColumn):
    """How long it takes if it goes on like this."""

    def __init__(self) -> None:
        super().__init__(Column(min_width=12, no_wrap=True, justify="right"))

    def render(self, task: Task) -> Text:
        rate = task.fields["pace"].rate
        if not rate or task.total is None:
            return Text("")
        return Text(f"{duration((task.total - task.completed) / rate)} left", "progress.remaining")


def amount(received: int, total: int | None) -> str:
    """Write how many of how many bytes are here, both in the unit that suits the whole."""
    if total is None:
        return size(received)
    whole, _, unit = size(total).partition(" ")
    factor = 1024 ** UNITS.index(unit)
    part = str(received) if factor == 1 else f"{received / factor:.1f}"
    return f"{part}/{whole} {unit}"


def duration(seconds: float) -> str:
    """Write a time as `7s`, `2m 05s` or `1h 05m`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
