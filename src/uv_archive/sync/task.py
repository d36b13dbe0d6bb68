"""One sync: what is asked for, of what and where to, and what is read meanwhile."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from uv_archive.lock.model import Lock
from uv_archive.owner import Owner
from uv_archive.settings import Settings
from uv_archive.sync.flags import SyncFlags
from uv_archive.sync.hashing import Hashing
from uv_archive.sync.model import SyncReporter, SyncRequest
from uv_archive.sync.supply import Supply
from uv_archive.sync.unfinished import Marks
from uv_archive.target import Interpreter
from uv_archive.uv import Uv


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What is read while uv is asked its first question."""

    lock: Lock
    supply: Supply


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One sync, with everything it needs.

    uv is started in *start*. *private* lies beside *environment* and is removed at the end.
    *meanwhile* does things while something else is waited for; *hashing* hashes, then or when it is
    asked. *inspecting* asks the interpreter of an environment that is there already.
    """

    request: SyncRequest
    flags: SyncFlags
    uv: Uv
    reporter: SyncReporter
    start: Path
    owner: Owner
    archive: Path
    environment: Path
    settings: Settings
    private: Path
    marks: Marks
    meanwhile: Executor
    hashing: Hashing
    reading: Future[Read]
    inspecting: Future[Interpreter] | None

    @property
    def lock(self) -> Lock:
        """The lock. Raises `LockError` and what `supply` raises."""
        return self.reading.result().lock

    @property
    def supply(self) -> Supply:
        """What the archive has. Raises `ArchiveError`."""
        return self.reading.result().supply

    @property
    def thorough(self) -> bool:
        """Whether hashes are compared: sizes say little after an interruption."""
        return self.request.verify_install or bool(self.marks.left)

    @property
    def signed(self) -> bool:
        """Whether uv writes `INSTALLER` and the like."""
        return "--no-installer-metadata" not in self.flags.passed

    @property
    def view(self) -> Path:
        """Where the build requirements lie, and nothing else."""
        return self.private / "build-requirements"


def interpreter_of(environment: Path) -> Path:
    """Return where the interpreter of an environment is, or would be."""
    windows = environment / "Scripts" / "python.exe"
    return windows if os.name == "nt" or windows.exists() else environment / "bin" / "python"
