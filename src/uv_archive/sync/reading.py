"""Begin a sync: find what is to be installed and where, and read the lock and the archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from uv_archive.errors import LockError
from uv_archive.lock.model import Lock
from uv_archive.owner import Owner, cautions, lock_of, settings_of
from uv_archive.project import find_project
from uv_archive.pylock import PylockFile, find_pylock
from uv_archive.scratch import private_directory
from uv_archive.script import Script, find_script
from uv_archive.sync.flags import SyncFlags, environment_path, flags_for_pylock, parse_flags
from uv_archive.sync.hashing import Hashing
from uv_archive.sync.model import SyncReporter, SyncRequest
from uv_archive.sync.script import script_environment
from uv_archive.sync.supply import archive_directory, archived_lock, open_supply
from uv_archive.sync.task import Read, Task, interpreter_of
from uv_archive.sync.unfinished import alone, marks
from uv_archive.target import inspect_interpreter
from uv_archive.uv import Uv


@contextmanager
def begun(request: SyncRequest, *, uv: Uv, reporter: SyncReporter) -> Iterator[Task]:
    """Find what *request* means, and go on reading while it is carried out.

    Raises `RequestError`, `ProjectError`, `LockError`, `ArchiveError` and `StorageError`.
    """
    flags = parse_flags(request.arguments, request.environment)
    start = request.directory / (flags.directory or Path())
    if request.pylock is not None:
        flags = replace(flags, passed=flags_for_pylock(request.arguments))
    owner = _owner(request, flags, start, reporter)
    archive = archive_directory(request, owner.root)
    environment = _environment(request, owner, uv=uv, flags=flags, start=start)
    for message, hint in cautions(owner):
        reporter.warning(message, hint)

    def read() -> Read:
        lock = _lock(request, owner, archive, reporter)
        supply = open_supply(archive, lock=lock, project=owner, expect=request.expect)
        return Read(lock=lock, supply=supply)

    with ExitStack() as held:
        if not flags.changes_nothing:
            held.enter_context(alone(environment, notify=reporter.waiting))
        meanwhile = held.enter_context(ThreadPoolExecutor(max_workers=3))
        reading = meanwhile.submit(read)
        python = interpreter_of(environment)
        inspecting = meanwhile.submit(inspect_interpreter, python) if python.is_file() else None
        if request.use_archived_lock:
            reading.result()
        private = held.enter_context(private_directory(environment))
        found = held.enter_context(marks(environment))
        # A uv that is still running would make anew what is removed under it.
        held.callback(meanwhile.shutdown, cancel_futures=True)
        hashing = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
        held.callback(hashing.shutdown, cancel_futures=True)
        yield Task(
            request=request,
            flags=flags,
            uv=uv,
            reporter=reporter,
            start=start,
            owner=owner,
            archive=archive,
            environment=environment,
            settings=settings_of(owner, request.environment),
            private=private,
            marks=found,
            meanwhile=meanwhile,
            hashing=Hashing(pool=hashing),
            reading=reading,
            inspecting=inspecting,
        )


def _owner(request: SyncRequest, flags: SyncFlags, start: Path, reporter: SyncReporter) -> Owner:
    if request.pylock is not None:
        return _pylock(request, start / request.pylock, reporter)
    if flags.script is not None:
        return find_script(start / flags.script)
    return find_project(start / (flags.project or Path()))


def _pylock(request: SyncRequest, path: Path, reporter: SyncReporter) -> PylockFile:
    if not request.use_archived_lock:
        return find_pylock(path)
    found = archived_lock(
        archive_directory(request, path.parent),
        identity=path.name,
        own=path,
        expect=request.expect,
        reporter=reporter,
    )
    return replace(find_pylock(found), lock_path=Path(os.path.abspath(path)))  # noqa: PTH100


def _environment(
    request: SyncRequest, owner: Owner, *, uv: Uv, flags: SyncFlags, start: Path
) -> Path:
    variables = request.environment
    match owner:
        case Script():
            return script_environment(owner, uv=uv, flags=flags, variables=variables, start=start)
        case PylockFile() if named := named_environment(flags, start):
            return named
        case _:
            return environment_path(owner.root, flags, variables, start=start)


def named_environment(flags: SyncFlags, start: Path) -> Path | None:
    """Return the environment that `--python` names by a path: of it, or of its interpreter."""
    if flags.python is None or not (start / flags.python).exists():
        return None
    path = start / flags.python
    return path if path.is_dir() else path.parent.parent


def _lock(request: SyncRequest, owner: Owner, archive: Path, reporter: SyncReporter) -> Lock:
    if isinstance(owner, PylockFile):
        return owner.lock
    if request.use_archived_lock:
        path = archived_lock(
            archive,
            identity=owner.identity,
            own=owner.lock_path,
            expect=request.expect,
            reporter=reporter,
        )
        return lock_of(owner, at=path)
    if not owner.lock_path.is_file():
        raise LockError(
            f"There is no lock at `{owner.lock_path}`",
            hint="Bring the project's own along, or take the archive's with `--use-archived-lock`",
        )
    return lock_of(owner)
