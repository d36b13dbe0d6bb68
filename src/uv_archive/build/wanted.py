"""Which wheels an archive lacks on a target: a pure function of what the archive records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.utils import NormalizedName
from packaging.version import Version

from uv_archive.archive.build_settings import settings_digest
from uv_archive.archive.built import BuiltWheel, built_wheels, source_key
from uv_archive.archive.layout import ArchivePath, place
from uv_archive.archive.manifest import BuiltFrom, Locked, Manifest
from uv_archive.archive.recorded_builds import (
    RecordedBuild,
    Unrecorded,
    build_files,
    recorded_builds,
)
from uv_archive.build.one import TreeSource
from uv_archive.fetch.bundles import key_of, place_bundles
from uv_archive.lock import model
from uv_archive.lock.model import Distribution, GitSource, Lock, Package, UrlSource
from uv_archive.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A wheel to be built with *files*, from the archive's file or bundle at *path*, or a *tree*.

    *git* is a bundle's source; *why* is what will be recorded of the wheel.
    """

    label: str
    name: NormalizedName
    version: Version | None
    files: tuple[ArchivePath, ...]
    why: BuiltFrom
    path: ArchivePath | None = None
    git: GitSource | None = None
    tree: TreeSource | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unbuildable:
    """Something that has no wheel and can't be built, with the reason in a sentence."""

    label: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Lacking:
    """What a target lacks: wheels *wanted*, what can't be built, and built wheels that do.

    *elsewhere* are sources that no request needs on such a target, by their labels.
    """

    wanted: tuple[Wanted, ...]
    unbuildable: tuple[Unbuildable, ...]
    there: tuple[BuiltWheel, ...]
    elsewhere: tuple[str, ...]


def python_tag(target: Target) -> str:
    """Return the tag of a target's Python, such as `cp312` or `cp313t`."""
    return target.label.partition(" ")[0]


def lacking(manifest: Manifest, lock: Lock, target: Target) -> Lacking:
    """Find what of the archive has no wheel for *target*. *lock* is the one it was made for.

    Locked wheels go before built ones, and a built one does that was built elsewhere, or here
    with the same requirements and settings. Raises `ArchiveError` for requests that can't be read.
    """
    finding = _Finding(manifest, lock, target)
    for package in lock.packages:
        finding.look_at(package)
    return Lacking(
        wanted=tuple(finding.wanted),
        unbuildable=tuple(finding.unbuildable),
        there=tuple(finding.there),
        elsewhere=tuple(finding.elsewhere),
    )


class _Finding:
    def __init__(self, manifest: Manifest, lock: Lock, target: Target) -> None:
        self.wanted: list[Wanted] = []
        self.unbuildable: list[Unbuildable] = []
        self.there: list[BuiltWheel] = []
        self.elsewhere: list[str] = []
        self._manifest = manifest
        self._target = target
        self._places = place(lock)
        self._bundles = place_bundles(lock)
        self._builds = recorded_builds(manifest)
        self._built: defaultdict[tuple[str | None, ...], list[BuiltWheel]] = defaultdict(list)
        for wheel in built_wheels(manifest.files):
            self._built[source_key(wheel.why)].append(wheel)

    def look_at(self, package: Package) -> None:
        path = self._source(package)
        if path is None or self._has_wheel(package):
            return
        label = str(package)
        build = self._builds.get(label)
        files = build.files(self._target) if build else self._unknown(label)
        match files:
            case Unrecorded() if self._is_for_others(build):
                self.elsewhere.append(label)
            case Unrecorded():
                self.unbuildable.append(Unbuildable(label=label, reason=str(files)))
            case _:
                self._want(package, path, files)

    def _want(self, package: Package, path: ArchivePath, files: Sequence[ArchivePath]) -> None:
        why = self._why(package, path, files)
        there = [w for w in self._built[source_key(why)] if w.serves(self._target)]
        there = [w for w in there if not _is_outdated(w.why, why)]
        if there:
            self.there += there
            return
        git = package.source if isinstance(package.source, GitSource) else None
        self.wanted.append(
            Wanted(
                label=str(package),
                name=package.name,
                version=package.version,
                path=path,
                files=tuple(files),
                why=why,
                git=git,
            )
        )

    def _why(self, package: Package, path: ArchivePath, files: Sequence[ArchivePath]) -> BuiltFrom:
        is_git = isinstance(package.source, GitSource)
        return replace(
            built_with(self._manifest, files, self._target, name=package.name),
            sha256=None if is_git else self._manifest.files[path].sha256,
            commit=package.source.commit if isinstance(package.source, GitSource) else None,
            subdirectory=subdirectory_of(package),
        )

    def _source(self, package: Package) -> ArchivePath | None:
        """Return where the archive has what *package* would be built from."""
        match package.source:
            case model.TreeSource():
                return None
            case GitSource(path=inside) as source:
                path = self._bundles[key_of(source)]
                is_wheel = inside is not None and inside.endswith(".whl")
                return path if self._is_locked(path) and not is_wheel else None
            case _ if package.sdist is not None:
                path = self._places[package.sdist]
                return path if self._is_locked(path) else None
            case _:
                return None

    def _has_wheel(self, package: Package) -> bool:
        return any(map(self._is_usable, package.wheels))

    def _is_usable(self, wheel: Distribution) -> bool:
        tags = getattr(wheel.filename, "tags", ())
        path = self._places[wheel]
        return self._is_locked(path) and self._target.wheel_priority(tags) is not None

    def _is_locked(self, path: ArchivePath) -> bool:
        entry = self._manifest.files.get(path)
        whys = entry.origin.why if entry and entry.origin else ()
        return any(isinstance(why, Locked) for why in whys)

    def _unknown(self, label: str) -> Unrecorded:
        return Unrecorded(of=label, reason="the archive has no build requirements of it")

    def _is_for_others(self, build: RecordedBuild | None) -> bool:
        """Whether a build was recorded, and for other targets alone."""
        if build is not None:
            return not build.covers(self._target)
        # Some request left out nothing, and didn't need this one built.
        return bool(self._builds)


def built_with(
    manifest: Manifest, files: Sequence[ArchivePath], target: Target, *, name: NormalizedName
) -> BuiltFrom:
    """Return what is recorded of the means to build *name*; its source is still to be said."""
    by = sorted((file.rpartition("/")[2], manifest.files[file].sha256) for file in files)
    return BuiltFrom(
        by=tuple(by),
        settings=settings_digest(recorded_settings(manifest), name),
        python=python_tag(target),
        platform=target.platform.tags[0],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A source tree of the project that a wheel is wanted of.

    *label* is what archives call its build, *path* where it is, relative to the lock.
    """

    label: str
    name: NormalizedName
    version: Version | None
    path: str
    source: TreeSource


def wanted_of_tree(tree: Tree, manifest: Manifest, target: Target) -> Wanted | Unbuildable:
    """Return how a tree is built on *target*. Nothing tells whether it has changed since.

    Raises `ArchiveError` for requests that can't be read.
    """
    files = build_files(manifest, of=tree.label, target=target)
    if isinstance(files, Unrecorded):
        return Unbuildable(label=tree.label, reason=str(files))
    return Wanted(
        label=tree.label,
        name=tree.name,
        version=tree.version,
        files=files,
        why=replace(built_with(manifest, files, target, name=tree.name), tree=tree.path),
        tree=tree.source,
    )


def subdirectory_of(package: Package) -> str | None:
    """Return where in its source the project of *package* is."""
    match package.source:
        case UrlSource(subdirectory=subdirectory) | GitSource(subdirectory=subdirectory):
            return subdirectory
        case _:
            return None


def _is_outdated(there: BuiltFrom, wanted: BuiltFrom) -> bool:
    """Whether a wheel was built here, with other requirements or settings than recorded now."""
    here = (there.python, there.platform) == (wanted.python, wanted.platform)
    return here and (there.by, there.settings) != (wanted.by, wanted.settings)


def recorded_settings(manifest: Manifest) -> Mapping[str, object]:
    """Return how the project has its distributions built, under uv's names."""
    settings = manifest.builds.get("settings")
    return dict(settings) if isinstance(settings, Mapping) else {}
