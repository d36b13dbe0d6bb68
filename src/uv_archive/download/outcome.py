"""What a download tells while it runs, and what it answers in the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uv_archive import fetch
from uv_archive.download.oddities import Oddity
from uv_archive.lock.model import TreeSource
from uv_archive.request import Request
from uv_archive.selection import LeftOut, Selection

if TYPE_CHECKING:
    from uv_archive.build import BuildOutcome


class Reporter(fetch.Reporter):
    """Hears how a download goes. Every method does nothing by default."""

    def waiting(self, message: str) -> None:
        """Another run is at work in the archive."""

    def hashing(self, files: int) -> None:
        """So many files that are already there are about to be hashed."""

    def resolving(self, builds: int) -> None:
        """The build requirements of so many builds are about to be gathered."""

    def finding_tools(self, platforms: int) -> None:
        """Uv is about to be asked for the tools of so many platforms."""

    def recording(self) -> None:
        """The archive's metadata are about to be written."""

    def building(self, wheels: int, python: str) -> None:
        """So many wheels are about to be built."""

    def built(self, wheel: str) -> None:
        """A wheel was built, and is in the archive."""

    def not_built(self, label: str, reason: str) -> None:
        """A build came to nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of the archive. *size* is in bytes, `None` where it isn't known.

    *was_plain* is false where it took the place of a link, a pipe or the like.
    """

    path: str
    size: int | None
    was_plain: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A file that could not be brought, or a build whose requirements weren't found."""

    name: str
    reason: str
    hint: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MustCompile:
    """An sdist that some targets have to build, by their labels."""

    package: str
    targets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """Something that couldn't be known, and what to do about it."""

    message: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a download did, or with *dry_run* what it would do.

    *digest* is the archive's, missing while it is incomplete. *kept* were there already, *moved*
    and *replaced* too but under another path or with other bytes; *mended* is metadata that wasn't
    as it was recorded. *gaps* are platforms
    that the lock has no file for, said where all of them were asked for; *unvouched* are files
    without a secure hash in the lock. *oddities* are those of all names, and of what is in the
    files that came. *flags* are what a sync takes to select the same. With *tools* there is an
    `install.py`; with *is_default* a sync finds *directory* by itself.
    """

    directory: Path
    dry_run: bool
    digest: str | None = None
    fetched: tuple[File, ...] = ()
    kept: tuple[File, ...] = ()
    moved: tuple[File, ...] = ()
    replaced: tuple[File, ...] = ()
    mended: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    failures: tuple[Failed, ...] = ()
    left_out: LeftOut = LeftOut()
    must_compile: tuple[MustCompile, ...] = ()
    builds_unresolved: int = 0
    gaps: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    oddities: tuple[Oddity, ...] = ()
    unvouched: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    tools: bool = False
    to_build: tuple[str, ...] = ()
    builds: BuildOutcome | None = None
    is_default: bool = False

    @property
    def files(self) -> tuple[File, ...]:
        """Every file that a request needs and that is there, or in a dry run would be."""
        return (*self.kept, *self.moved, *self.fetched, *self.replaced)


def must_compile(selected: Iterable[tuple[Request, Selection]]) -> tuple[MustCompile, ...]:
    """Name each sdist that a target has to build. Trees of the project itself go without saying."""
    found: dict[str, dict[str, None]] = {}
    for request, selection in selected:
        for build in selection.builds:
            if isinstance(build.package.source, TreeSource):
                continue
            labels = found.setdefault(str(build.package), {})
            # Representatives aren't what was asked for.
            labels.update(dict.fromkeys(t.label for t in build.targets if request.targets))
    return tuple(
        MustCompile(package=package, targets=tuple(sorted(labels)))
        for package, labels in sorted(found.items())
    )
