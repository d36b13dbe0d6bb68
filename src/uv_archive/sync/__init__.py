"""Sync: install what a lock selects from an archive, by real uv, and from nothing else.

A project isn't touched: uv works on a scratch copy, whose lock names the archive's files, with a
cache of its own. Locked files are checked against the project's own lock, and build requirements
against the archive's metadata, before anything is changed. In this order:

    reading → case → preparing (needed, checking, building) → an installer (relocated, pylock)
    → completing
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

from uv_archive.pylock import PylockFile
from uv_archive.sync.case import Case
from uv_archive.sync.completing import Faults, complete, find_faults, is_as_whole_as_before
from uv_archive.sync.installer import Installer
from uv_archive.sync.model import SyncReporter, SyncRequest, SyncResult
from uv_archive.sync.needed import Needed
from uv_archive.sync.preparing import prepare
from uv_archive.sync.reading import begun
from uv_archive.sync.relocated import RelocatedInstaller
from uv_archive.sync.stale import LockQuestion
from uv_archive.sync.task import Task
from uv_archive.uv import Uv

__all__ = ["SyncReporter", "SyncRequest", "SyncResult", "sync"]

# How uv exits where it gives up by itself. All others are of signals.
_FAILED = (1, 2)


def sync(request: SyncRequest, *, uv: Uv, reporter: SyncReporter | None = None) -> SyncResult:
    """Install what *request* finds from its archive.

    uv's exit status is passed through. Raises `RequestError` and its subclasses where the
    request can't be carried out, `DamagedArchiveError` for files that aren't what they should
    be, and `StorageError`; all of them before the environment is changed. Afterwards every
    distribution of the selection is compared with the archive's; `UnfinishedError` is raised for
    those that can't be made whole.
    """
    with begun(request, uv=uv, reporter=reporter or SyncReporter()) as task:
        installer = _installer(task)
        if task.flags.locked:
            task.reading.result()  # What is wrong with the lock or the archive goes first.
        question = LockQuestion(task=task)
        # Where there is no environment yet, uv has less to find out once it was asked for a Python.
        if task.flags.locked or task.environment.exists():
            question.ask()
        _clear_up(task)
        case = installer.case(found=question.ask)
        if isinstance(case, SyncResult):
            return case
        question.ask(case.python)
        needed, case = prepare(task, case, case.install)
        question.judge()
        result = _carried_out(task, installer, case, needed)
        return replace(result, distributions=needed.distributions, unlocked=len(needed.unlocked))


def _installer(task: Task) -> Installer:
    if not isinstance(task.owner, PylockFile):
        return RelocatedInstaller(task=task, owner=task.owner)
    from uv_archive.sync.pylock import PylockInstaller  # noqa: PLC0415 - most syncs have none

    return PylockInstaller(task=task, file=task.owner)


def _clear_up(task: Task) -> None:
    if task.marks.left:
        task.reporter.interrupted()
        if not task.flags.changes_nothing:
            task.marks.clear_up()


def _carried_out(task: Task, installer: Installer, case: Case, needed: Needed) -> SyncResult:
    if task.flags.changes_nothing:
        return _rehearsed(task, installer, case, needed)
    looking: Future[Faults] | None = None
    if case.changes.is_nothing:
        looking = task.meanwhile.submit(find_faults, task, case)
        result = installer.show(case, needed)
    else:
        task.marks.begin(case.install, creating=case.changes.python is None)
        result = installer.install(case, needed)
    if result.status != 0:
        if result.status in _FAILED and is_as_whole_as_before(task, case):
            task.marks.withdraw()
        return result
    repaired = complete(task, installer, case, looking)
    task.marks.end()
    return replace(result, short=repaired)


def _rehearsed(task: Task, installer: Installer, case: Case, needed: Needed) -> SyncResult:
    """Say what would be done, and what is there and isn't whole."""
    result = installer.show(case, needed)
    short = find_faults(task, case)
    if not short:
        return result
    task.reporter.short(short, repairing=False)
    status = result.status or int("--check" in task.flags.output)
    return replace(result, status=status, short=tuple(short))
