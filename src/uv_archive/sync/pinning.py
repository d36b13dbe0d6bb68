"""What each build of a sync may use: exactly the files that the archive recorded for it.

uv takes one version of a build requirement for all builds of a run. So those that want different
files are built alone, before uv runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from packaging.utils import NormalizedName
from packaging.version import Version

from uv_archive.archive.layout import ArchivePath
from uv_archive.lock.model import Package
from uv_archive.sync.supply import Supplied

#: The first uv that checks the hashes of build constraints in a lock.
CHECKS_HASHES = Version("0.12.16")


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildFile:
    """A file that a build uses."""

    name: NormalizedName
    version: Version
    file: Supplied


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedBuild:
    """Something that has to be built, and what the archive recorded for that.

    *paths* are what it needs itself, *files* also what those of them need that are built first.
    *movable* says that it can be built alone. Where nothing is recorded, a clause says why.
    """

    package: Package
    movable: bool
    paths: tuple[ArchivePath, ...] = ()
    files: tuple[BuildFile, ...] = ()
    unrecorded: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pins:
    """Who builds what, with which files.

    uv builds what isn't *alone*, with *together*. *disputed* are names that it would have to take
    in several versions, with the labels of the builds that want them, and *vague* are builds for
    which nothing is recorded.
    """

    together: tuple[BuildFile, ...] = ()
    alone: tuple[PlannedBuild, ...] = ()
    disputed: tuple[tuple[NormalizedName, tuple[str, ...]], ...] = ()
    vague: tuple[PlannedBuild, ...] = ()

    def constraints(self) -> Sequence[BuildFile]:
        """Return one file of each name that uv can be held to, in the order of the names."""
        disputed = {name for name, _ in self.disputed}
        named = {one.name: one for one in self.together if one.name not in disputed}
        return [named[name] for name in sorted(named)]


def pin(builds: Sequence[PlannedBuild]) -> Pins:
    """Decide what is built alone: what can be, and wants other files than the rest."""
    contested = _contested(builds)
    alone = [one for one in builds if one.movable and _wants(one, contested)]
    rest = [one for one in builds if one not in alone]
    # What builds in the same run after all, and can't be held to one file of these names.
    left = _contested(rest)
    return Pins(
        together=tuple(_distinct(file for one in rest for file in one.files)),
        alone=tuple(alone),
        disputed=tuple((name, _labels(rest, name)) for name in sorted(left)),
        vague=tuple(one for one in rest if one.unrecorded is not None),
    )


def _contested(builds: Iterable[PlannedBuild]) -> frozenset[NormalizedName]:
    """Return the names that builds want different files of."""
    wanted: defaultdict[NormalizedName, set[tuple[Version, str]]] = defaultdict(set)
    for one in builds:
        for file in one.files:
            wanted[file.name].add((file.version, file.file.digest.hex))
    return frozenset(name for name, files in wanted.items() if len(files) > 1)


def _wants(build: PlannedBuild, names: frozenset[NormalizedName]) -> bool:
    return any(file.name in names for file in build.files)


def _labels(builds: Iterable[PlannedBuild], name: NormalizedName) -> tuple[str, ...]:
    return tuple(str(one.package) for one in builds if _wants(one, frozenset({name})))


def _distinct(files: Iterable[BuildFile]) -> Iterator[BuildFile]:
    """Yield one of each file name, in the order of the names."""
    seen = {one.file.name: one for one in files}
    yield from sorted(seen.values(), key=lambda one: (one.name, one.version, one.file.name))
