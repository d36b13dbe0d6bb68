"""What is asked of a sync, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import NormalizedName

from uv_archive.digest import Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncRequest:
    """What a sync is asked for.

    *arguments* are flags of `uv sync`, as given. *archive* is relative to *directory*, the
    working directory; without one it is `dist/dependencies` below the workspace's root.
    *environment* is that of the process, of which uv gets what can't bring in other files.
    *pylock* is the lock itself, relative to *directory*; then no project is looked for. With
    *use_archived_lock* the lock in the archive stands for one that isn't here.
    *only_locked* refuses files that no lock vouches for, *expect* an archive with another digest.
    *verify_install* compares every installed file's hash afterwards, and not only its size.
    """

    arguments: Sequence[str] = ()
    archive: Path | None = None
    directory: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=dict)
    only_locked: bool = False
    expect: Digest | None = None
    pylock: Path | None = None
    use_archived_lock: bool = False
    verify_install: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncResult:
    """How uv ended. *stdout* and *stderr* are what it hasn't already shown itself.

    *distributions* were checked against the lock, *unlocked* (build requirements and wheels
    built beforehand) against the archive's own metadata. *short* were installed and not whole,
    and have been installed again, unless nothing was to be changed.
    """

    status: int
    stdout: str = ""
    stderr: str = ""
    distributions: int = 0
    unlocked: int = 0
    short: tuple[NormalizedName, ...] = ()


class SyncReporter:
    """Hears what a sync does. Every method does nothing by default."""

    def checking(self, files: int) -> None:
        """Called before *files* files are hashed."""

    def warning(self, message: str, hint: str) -> None:
        """Called with what somebody who relies on the result should know."""

    def waiting(self, message: str) -> None:
        """Called where another sync of the environment is waited for, or can't be."""

    def interrupted(self) -> None:
        """Called where an earlier sync was stopped before its end."""

    def short(self, faults: Mapping[NormalizedName, str], *, repairing: bool) -> None:
        """Called with what is installed and not whole, and what is wrong with each."""
