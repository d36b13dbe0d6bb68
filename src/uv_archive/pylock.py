"""A `pylock.toml` of any tool, that stands for itself: there is no project to hold it against."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import NormalizedName

from uv_archive.lock.model import Lock


@dataclass(frozen=True, kw_only=True, slots=True)
class PylockFile:
    """A pylock file on disk. Paths in it are relative to *root*, where it lies."""

    lock_path: Path
    lock: Lock = field(repr=False)

    #: It is no package, and has no settings of its own.
    name = None

    @property
    def root(self) -> Path:
        return self.lock_path.parent

    @property
    def identity(self) -> str:
        """What names it in an archive: its file name."""
        return self.lock_path.name

    @property
    def default_groups(self) -> tuple[NormalizedName, ...]:
        """The groups that are installed unasked."""
        from uv_archive.lock.pylock import default_groups  # noqa: PLC0415 - it takes time

        return default_groups(self.lock)

    @property
    def settings(self) -> Mapping[str, object]:
        return {}


def find_pylock(path: Path) -> PylockFile:
    """Read the pylock file at *path*. Raises `LockError`."""
    from uv_archive.lock.pylock import read_pylock  # noqa: PLC0415 - it takes time

    lock = read_pylock(path)
    return PylockFile(lock_path=Path(os.path.abspath(path)), lock=lock)  # noqa: PTH100
