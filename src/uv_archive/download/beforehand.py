"""Wheels that were built before: what they stand for, and which of them stay."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from uv_archive.archive.build_settings import settings_digest
from uv_archive.archive.built import BuiltWheel, built_wheels, with_built_wheels
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import Entry, Manifest
from uv_archive.lock.model import Distribution, GitSource, Lock, Package, TreeSource, UrlSource
from uv_archive.plan import Present
from uv_archive.request import Request
from uv_archive.selection import Build, BuildOptions, Selection


@dataclass(frozen=True, kw_only=True, slots=True)
class Beforehand:
    """The wheels that an archive has built already, and that are as they were recorded.

    *settings* of uv, as they are recorded, are those that builds are done with now.
    """

    wheels: tuple[BuiltWheel, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(
        cls, recorded: Manifest | None, directory: Path, *, settings: Mapping[str, object]
    ) -> Beforehand:
        """Look at the recorded wheels in *directory*."""
        wheels = built_wheels(recorded.files) if recorded else ()
        intact = tuple(wheel for wheel in wheels if _is_intact(wheel, directory))
        return cls(wheels=intact, settings=settings)

    def serve(self, build: Build, options: BuildOptions) -> bool:
        """Whether each of the targets that would have to build it has a wheel instead."""
        own = self.of_source(build.package, build.distribution, options)
        return bool(build.targets) and all(
            any(wheel.serves(target) for wheel in own) for target in build.targets
        )

    def of_source(
        self, package: Package, sdist: Distribution | None, options: BuildOptions
    ) -> tuple[BuiltWheel, ...]:
        """Return the wheels that would be built of a package anew, with the same settings.

        Where *options* forbid a wheel, none is installed.
        """
        if options.forbids_wheel(package.name):
            return ()
        digest = settings_digest(self.settings, package.name)
        return tuple(
            wheel
            for wheel in self.wheels
            if _is_of(wheel, package, sdist) and wheel.why.settings == digest
        )

    def without_served(self, request: Request, selection: Selection) -> Selection:
        """Return what is still to be compiled, and needed for it, by a request."""
        served = {
            build.package.position
            for build in selection.builds
            if request.targets and self.serve(build, request.options)
        }
        return replace(
            selection,
            builds=tuple(b for b in selection.builds if b.package.position not in served),
            distributions=tuple(
                one
                for one in selection.distributions
                if one.package.position not in served or one.distribution.is_wheel
            ),
            packages=tuple(
                package
                for package in selection.packages
                if package.position not in served or not isinstance(package.source, GitSource)
            ),
        )

    def to_compile(
        self, selected: Iterable[tuple[Request, Selection]]
    ) -> tuple[tuple[Request, Selection], ...]:
        """Return the selections with only those builds that no wheel spares."""
        return tuple((r, self.without_served(r, selection)) for r, selection in selected)

    def sources(
        self, selected: Iterable[tuple[Request, Selection]]
    ) -> tuple[tuple[Request, Selection], ...]:
        """Return the selections without the sources that requests want no more than wheels of."""
        return tuple(
            (request, self.without_served(request, selection) if request.wheels_only else selection)
            for request, selection in selected
        )


def _is_intact(wheel: BuiltWheel, directory: Path) -> bool:
    path = directory / wheel.path
    if not path.is_file():  # A pipe would be waited for.
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == wheel.entry.sha256
    except OSError:
        return False


def _is_of(wheel: BuiltWheel, package: Package, sdist: Distribution | None) -> bool:
    match package.source:
        case GitSource(commit=commit, subdirectory=subdirectory):
            own = (wheel.why.commit, wheel.why.subdirectory)
            return wheel.filename.name == package.name and own == (commit, subdirectory)
        case UrlSource(subdirectory=subdirectory) if wheel.why.subdirectory != subdirectory:
            return False
        case _:
            return _is_from(wheel, sdist)


def _is_from(wheel: BuiltWheel, sdist: Distribution | None) -> bool:
    digest = sdist.digest if sdist else None
    return digest is not None and (digest.algorithm, digest.hex) == ("sha256", wheel.why.sha256)


def kept_wheels(
    recorded: Manifest | None,
    present: Mapping[str, Present],
    *,
    entries: Mapping[ArchivePath, Entry],
    packages: Iterable[Package],
) -> Mapping[ArchivePath, Entry]:
    """Return the entries of the wheels that were built from what requests still reach.

    *present* are the files that nothing else needs, *entries* are needed, *packages* are those
    that requests reach.
    """
    digests = {entry.sha256 for entry in entries.values()}
    commits = {entry.origin.commit for entry in entries.values() if entry.origin}
    reached = list(packages)
    kept = {}
    for wheel in built_wheels(recorded.files) if recorded else ():
        there = present.get(wheel.path)
        is_wanted = (
            (wheel.why.sha256 in digests)
            or (wheel.why.commit is not None and wheel.why.commit in commits)
            or any(_is_of(wheel, package, package.sdist) for package in reached)
            or (wheel.why.tree is not None and _is_tree(wheel, reached))
        )
        if is_wanted and there is not None and there.sha256 == wheel.entry.sha256:
            kept[wheel.path] = wheel.entry
    return kept


def _is_tree(wheel: BuiltWheel, packages: Iterable[Package]) -> bool:
    return any(
        isinstance(package.source, TreeSource) and package.name == wheel.filename.name
        for package in packages
    )


def absent_sdists(
    selected: Iterable[tuple[Request, Selection]],
    placed: Mapping[Distribution, ArchivePath],
    entries: Mapping[ArchivePath, Entry],
) -> Mapping[ArchivePath, Entry]:
    """Return entries for sdists that wheels stand for, so that uv exports their packages."""
    return {
        placed[build.distribution]: Entry(
            size=build.distribution.size or 0, sha256=build.distribution.digest.hex
        )
        for request, selection in selected
        if request.wheels_only
        for build in selection.builds
        if build.distribution is not None
        and build.distribution.digest is not None
        and build.distribution.digest.algorithm == "sha256"
        and placed[build.distribution] not in entries
    }


def list_wheels(
    exports: Mapping[str, Pylock], entries: Mapping[ArchivePath, Entry]
) -> Mapping[str, Pylock]:
    """Return the exports with the built wheels among *entries*."""
    return {label: with_built_wheels(one, entries) for label, one in exports.items()}


def replaced_by_wheels(
    recorded: Manifest | None,
    spare: Collection[str],
    requests: Iterable[Request],
    *,
    lock: Lock,
) -> tuple[str, ...]:
    """Return what of the *spare* files goes because a request wants wheels alone.

    That is what the same requests of the same lock needed until the wheels were there.
    """
    if recorded is None or recorded.lock.sha256 != lock.sha256:
        return ()
    if not any(request.wheels_only for request in requests):
        return ()
    needed = recorded.distributions
    return tuple(
        path
        for path in spare
        if (found := needed.get(ArchivePath(path))) is not None and found[1].why
    )
