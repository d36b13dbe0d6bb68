"""Whether a lock is still what its project asks for, as far as uv can tell without a network."""

from __future__ import annotations

import re
from collections.abc import Callable

from uv_archive.errors import RequestError, StaleLockError
from uv_archive.project import Project
from uv_archive.pylock import PylockFile
from uv_archive.script import Script
from uv_archive.sync.calls import variables_of
from uv_archive.sync.task import Task
from uv_archive.uv import Completed, uv_message

# A lock that isn't up to date would have to be resolved anew, which takes a network.
_STALE = re.compile(r"needs to be updated|No solution found")


def ask_whether_current(task: Task) -> Callable[[], None]:
    """Ask uv, and return what waits for its answer and gives judgement.

    A stale lock is refused with `--locked`, and warned of without: `RequestError` is raised. With
    `--frozen` it isn't asked, and nothing that could change stands behind a pylock file.
    """
    locked, owner = task.flags.locked, task.owner
    if task.flags.frozen or isinstance(owner, PylockFile):
        return lambda: None
    if task.request.use_archived_lock:
        if locked:
            raise RequestError("`--locked` and `--use-archived-lock` exclude each other")
        return lambda: None
    if locked:
        _judge(task, owner, _ask(task, owner))
        return lambda: None
    asked = task.meanwhile.submit(_ask, task, owner)
    return lambda: _judge(task, owner, asked.result())


def _ask(task: Task, owner: Project | Script) -> Completed:
    return task.uv.run(
        ["lock", "--check", "--offline", "--no-build", *owner.arguments],
        environment=task.request.environment if task.flags.locked else variables_of(task),
        directory=task.start,
    )


def _judge(task: Task, owner: Project | Script, checked: Completed) -> None:
    if checked.status == 0:
        return
    locked = task.flags.locked
    source = owner.path.name if isinstance(owner, Script) else "pyproject.toml"
    message = f"`{owner.lock_path}` isn't up to date with `{source}`"
    is_stale = _STALE.search(checked.stderr)
    if is_stale and locked:
        hint = "Run `uv lock` and `uv-archive download`, where there is a network"
        raise StaleLockError(message, hint=hint)
    if is_stale:
        task.reporter.warning(
            f"{message}, as far as uv can tell; it is installed as it stands",
            "`--locked` refuses such a lock, and `--frozen` leaves the question out",
        )
    elif locked:
        raise RequestError(
            f"uv can't tell whether `{owner.lock_path}` is up to date: {uv_message(checked.stderr)}"
        )
