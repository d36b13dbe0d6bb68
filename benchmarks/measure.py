"""Run commands in turn and take their times: whole processes, their children included."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One run. Times are in seconds, *memory* is the peak of its largest process in bytes."""

    wall: float
    processor: float
    memory: int


def nothing() -> None:
    """Prepare or check nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A command to measure.

    *prepare* runs before each run and isn't measured; *check* raises when the run didn't do its
    work. It runs *rounds* times at most: some peers take minutes.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    prepare: Callable[[], object] = nothing
    check: Callable[[], object] = nothing
    rounds: int = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The median of some figures, the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        return cls(median=statistics.median(figures), least=min(figures), greatest=max(figures))


@dataclass(kw_only=True, slots=True)
class Series:
    """The runs of one contestant, by round. *trouble* is why it has none, or no more."""

    name: str
    samples: dict[int, Sample] = field(default_factory=dict)
    trouble: str = ""

    @property
    def wall(self) -> Spread:
        return Spread.of([sample.wall for sample in self.samples.values()])

    @property
    def processor(self) -> Spread:
        return Spread.of([sample.processor for sample in self.samples.values()])

    @property
    def memory(self) -> Spread:
        return Spread.of([sample.memory for sample in self.samples.values()])


def interleave(
    contestants: Sequence[Contestant], *, rounds: int, log: Callable[[str], object]
) -> list[Series]:
    """Run all contestants in turn, round after round, each round beginning with another one."""
    taken = {one.name: Series(name=one.name) for one in contestants}
    for number in range(rounds):
        first = number % len(contestants)
        for one in (*contestants[first:], *contestants[:first]):
            series = taken[one.name]
            if series.trouble or number >= one.rounds:
                continue
            try:
                series.samples[number] = measured(one)
            except _Failed as failed:
                series.trouble = str(failed)
            log(f"{one.name}: {_told(series, number)}")
    return list(taken.values())


def measured(contestant: Contestant) -> Sample:
    """Run one contestant once."""
    contestant.prepare()
    # What earlier runs left to be written isn't this one's work.
    os.sync()
    started = time.perf_counter()
    process = subprocess.Popen(
        contestant.command,
        env=dict(contestant.environment),
        cwd=contestant.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise _Failed(f"exit {process.returncode}: {said.decode(errors='replace')[-300:].strip()}")
    contestant.check()
    return Sample(
        wall=wall,
        processor=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * 1024,
    )


def expect_files(directory: Path, count: int, *, suffix: str = ".whl") -> Callable[[], None]:
    """Make a check that *directory* has so many files, at any depth, and none that is empty."""

    def check() -> None:
        found = [path for path in directory.rglob(f"*{suffix}") if path.stat().st_size]
        if len(found) != count:
            raise _Failed(f"{len(found)} files of {count}")

    return check


def ratios(series: Series, base: Series) -> Spread | None:
    """Return wall time relative to *base*, taken round by round: what moves both cancels out."""
    common = series.samples.keys() & base.samples.keys()
    if not common:
        return None
    return Spread.of([series.samples[one].wall / base.samples[one].wall for one in common])


class _Failed(Exception):
    """A run that didn't do its work."""


def _told(series: Series, number: int) -> str:
    if series.trouble:
        return series.trouble
    sample = series.samples[number]
    return (
        f"{sample.wall:.2f} s, processor {sample.processor:.2f} s, {sample.memory / 2**20:.0f} MiB"
    )
