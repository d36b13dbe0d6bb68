"""Whether a lock is still what its project asks for, as far as uv can tell without a network."""

from __future__ import annotations

import re
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from uv_archive.errors import RequestError, StaleLockError
from uv_archive.project import Project
from uv_archive.pylock import PylockFile
from uv_archive.script import Script
from uv_archive.sync.calls import naming, variables_of
from uv_archive.sync.task import Task
from uv_archive.uv import Completed, uv_message

# A lock that isn't up to date would have to be resolved anew, which takes a network.
_STALE = re.compile(r"needs to be updated|No solution found")
#: How uv is asked. It writes nothing, builds nothing and needs no network.
CHECK = ("lock", "--check", "--offline", "--no-build")


def is_stale(checked: Completed) -> bool:
    """Whether uv, asked with `CHECK`, says that a lock isn't what its project asks for."""
    return checked.status != 0 and _STALE.search(checked.stderr) is not None


def is_out_of_date(owner: Project | Script) -> str:
    """Say that the lock of *owner* is stale."""
    source = owner.path.name if isinstance(owner, Script) else "pyproject.toml"
    return f"`{owner.lock_path}` isn't up to date with `{source}`"


@dataclass(kw_only=True, slots=True)
class LockQuestion:
    """The question to uv whether the lock is current, which is answered meanwhile.

    With `--frozen` it isn't asked, and nothing that could change stands behind a pylock file.
    """

    task: Task
    _asked: Future[Completed] | None = None

    def ask(self, python: Path | None = None) -> None:
        """Ask, unless that was done. *python* is what an environment will be made with.

        With `--locked` a stale lock is refused at once: `RequestError` is raised.
        """
        task, owner = self.task, self.task.owner
        if self._asked is not None or task.flags.frozen or isinstance(owner, PylockFile):
            return
        if task.request.use_archived_lock:
            if task.flags.locked:
                raise RequestError("`--locked` and `--use-archived-lock` exclude each other")
            return
        self._asked = task.meanwhile.submit(_ask, task, owner, python)
        if task.flags.locked:
            self.judge()

    def judge(self) -> None:
        """Wait for the answer, and warn of a lock that is stale."""
        owner = self.task.owner
        if self._asked is not None and not isinstance(owner, PylockFile):
            _judge(self.task, owner, self._asked.result())


def _ask(task: Task, owner: Project | Script, python: Path | None) -> Completed:
    return task.uv.run(
        [*CHECK, *owner.arguments, *(naming(task, python) if python else ())],
        environment=task.request.environment if task.flags.locked else variables_of(task),
        directory=task.start,
    )


def _judge(task: Task, owner: Project | Script, checked: Completed) -> None:
    if checked.status == 0:
        return
    locked = task.flags.locked
    message, stale = is_out_of_date(owner), is_stale(checked)
    if stale and locked:
        hint = "Run `uv lock` and `uv-archive download`, where there is a network"
        raise StaleLockError(message, hint=hint)
    if stale:
        task.reporter.warning(
            f"{message}, as far as uv can tell; it is installed as it stands",
            "`--locked` refuses such a lock, and `--frozen` leaves the question out",
        )
    elif locked:
        raise RequestError(
            f"uv can't tell whether `{owner.lock_path}` is up to date: {uv_message(checked.stderr)}"
        )
