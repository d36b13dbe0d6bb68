"""Whole or not at all: look at what was installed, and install again what isn't whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from packaging.utils import NormalizedName

from uv_archive.archive.disk import storing
from uv_archive.errors import UnfinishedError
from uv_archive.sync.case import Case
from uv_archive.sync.installed import installed
from uv_archive.sync.installer import Installer
from uv_archive.sync.preparing import prepare
from uv_archive.sync.task import Task
from uv_archive.sync.unfinished import remove_debris
from uv_archive.sync.whole import find_short, is_made, without_record

# More than there are processors, on many machines: they wait for the disk.
_REMOVERS = 4

#: What isn't whole, and of each what is wrong with it.
Faults = Mapping[NormalizedName, str]


def complete(
    task: Task, installer: Installer, case: Case, looking: Future[Faults] | None = None
) -> tuple[NormalizedName, ...]:
    """Install what isn't whole once more, and return its names. Raises `UnfinishedError`.

    *looking* has begun to look for it.
    """
    with _removing(task.private / "cache"):
        short = looking.result() if looking else find_faults(task, case)
        return _repaired(task, installer, case, short) if short else ()


def find_faults(task: Task, case: Case) -> Faults:
    """Return what is installed and isn't whole, and what is wrong with it."""
    expected = case.expected
    if task.flags.changes_nothing:
        expected = [replace(one, required=False) for one in expected]
    with storing(task.environment, doing="read"):
        short = find_short(task.environment, expected, thorough=task.thorough, signed=task.signed)
        there = installed(task.environment).keys() if task.marks.left else frozenset()
    begun = {name for mark in task.marks.left for name in mark.names}
    unsure = {
        one.name: "it was being installed when a sync was stopped"
        for one in expected
        # Of these the archive has no record to compare with.
        if one.wheel is None and one.name in begun - case.install and one.name in there
    }
    return {**unsure, **short}


def is_as_whole_as_before(task: Task, case: Case) -> bool:
    """Whether uv, which failed, has left nothing half done, such as after a failed build."""
    if task.environment.exists() and not is_made(task.environment):
        return False
    expected = [replace(one, required=False) for one in case.expected]
    with storing(task.environment, doing="read"):
        there = installed(task.environment).keys()
        unsure = {one.name for one in expected if one.wheel is None} & case.install & there
        if unsure or any(without_record(task.environment)):
            return False
        return not find_short(task.environment, expected, thorough=True, signed=task.signed)


def _repaired(
    task: Task, installer: Installer, case: Case, short: Faults
) -> tuple[NormalizedName, ...]:
    """Install what is *short* again, from a cache of its own."""
    again = installer.touched(short.keys())
    faults = {name: fault for name, fault in short.items() if name in again}
    if not faults:
        return ()
    task.reporter.short(faults, repairing=True)
    needed, case = prepare(task, case, again)
    task.marks.begin(again, creating=False)
    remove_debris(task.environment, again)
    result = installer.install(case, needed, again=again)
    if result.status == 0:
        case = replace(case, install=case.install | again)
        faults = _only(find_faults(task, case), again)
        if not faults:
            return tuple(sorted(again))
    raise UnfinishedError(
        f"{len(faults)} of the distributions aren't whole, and installing them again didn't "
        "help: " + "; ".join(f"`{name}`: {fault}" for name, fault in sorted(faults.items())),
        hint=(result.stderr.strip() or None) if result.status else "Remove the environment",
    )


def _only(faults: Faults, names: Collection[NormalizedName]) -> dict[NormalizedName, str]:
    return {name: fault for name, fault in faults.items() if name in names}


@contextmanager
def _removing(directory: Path) -> Iterator[None]:
    """Remove most of *directory* in the meantime: a cache has as many files as the environment.

    Processes of their own do it in a fraction of the time, and not at the cost of what goes on
    here. What they leave is removed with all that is private.
    """
    program = shutil.which("rm") if os.name == "posix" else None
    entries = _entries_of_entries(directory) if program else []
    with ExitStack() as removals:
        for first in range(min(_REMOVERS, len(entries))):
            share = [str(program), "-rf", "--", *entries[first::_REMOVERS]]
            removals.enter_context(
                subprocess.Popen(share, cwd=directory, stderr=subprocess.DEVNULL)  # noqa: S603 - no shell
            )
        yield


def _entries_of_entries(directory: Path) -> Sequence[str]:
    """Return what is two levels below *directory*, from there. No link is followed."""
    found: list[str] = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += [f"{entry.name}/{name}" for name in os.listdir(entry)]  # noqa: PTH208
    return found
