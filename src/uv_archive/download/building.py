"""Wheels that are built beside a download: what they stand for, and which of them stay."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from uv_archive.archive.built import BuiltWheel, built_wheels, with_built_wheels
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import JSON, Entry, JSONObject, Manifest
from uv_archive.archive.store import Writer
from uv_archive.download.asked import default_interpreter
from uv_archive.download.outcome import Outcome, Reporter, must_compile
from uv_archive.errors import TargetError
from uv_archive.lock.model import Distribution, GitSource, Lock, Package, TreeSource, UrlSource
from uv_archive.plan import Present
from uv_archive.request import Request
from uv_archive.selection import Build, Selection

if TYPE_CHECKING:
    from uv_archive.build import BuildReporter, Tree
    from uv_archive.download.run import Run
    from uv_archive.target import Interpreter

# Settings of uv that say how a package is built, and which of them are tables by package.
_OF_ALL = ("config-settings",)
_OF_EACH = ("config-settings-package", "extra-build-dependencies", "extra-build-variables")
_SECRET = re.compile(r"TOKEN|PASSW|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY|AUTH", re.IGNORECASE)
_USER_IN_URL = re.compile(r"://[^/\s]*@")


@dataclass(frozen=True, kw_only=True, slots=True)
class Beforehand:
    """The wheels that an archive has built already, and that are as they were recorded."""

    wheels: tuple[BuiltWheel, ...] = ()

    @classmethod
    def of(cls, recorded: Manifest | None, directory: Path) -> Beforehand:
        """Look at the recorded wheels in *directory*."""
        wheels = built_wheels(recorded.files) if recorded else ()
        return cls(wheels=tuple(wheel for wheel in wheels if _is_intact(wheel, directory)))

    def serve(self, build: Build) -> bool:
        """Whether each of the targets that would have to build it has a wheel instead."""
        own = [wheel for wheel in self.wheels if _is_of(wheel, build.package, build.distribution)]
        return bool(build.targets) and all(
            any(wheel.serves(target) for wheel in own) for target in build.targets
        )

    def without_served(self, request: Request, selection: Selection) -> Selection:
        """Return what is still to be compiled, and needed for it, by a request."""
        served = {
            build.package.position
            for build in selection.builds
            if request.targets and self.serve(build)
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
    try:
        with (directory / wheel.path).open("rb") as file:
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


def build_settings(settings: Mapping[str, object], labels: Collection[str]) -> JSONObject:
    """Return what is recorded of how builds are to be done, under `settings`.

    *labels* are the recorded builds. Whatever may be a secret isn't among it.
    """
    names = {canonicalize_name(label.partition("==")[0]) for label in labels}
    recorded: dict[str, JSON] = {}
    for key in _OF_ALL:
        if names and settings.get(key):
            recorded[key] = _public(settings[key])
    for key in _OF_EACH:
        tables = settings.get(key)
        own = {
            str(package): _public(table)
            for package, table in (tables.items() if isinstance(tables, Mapping) else ())
            if canonicalize_name(str(package)) in names
        }
        if own:
            recorded[key] = own
    return {"settings": recorded} if recorded else {}


def _public(value: object) -> JSON:
    match value:
        case bool() | int() | str():
            return value
        case Mapping():
            return {
                str(key): _public(item)
                for key, item in value.items()
                if not _SECRET.search(str(key)) and not _USER_IN_URL.search(json.dumps(str(item)))
            }
        case list() | tuple():
            return [_public(item) for item in value]
        case _:
            return str(value)


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


def build_beside(run: Run, writer: Writer, outcome: Outcome) -> Outcome:
    """Build what a complete archive lacks for the Pythons of this machine that were asked for.

    Where only wheels are wanted, what they were built from and with goes afterwards.
    """
    from uv_archive.build import Options, build_within  # noqa: PLC0415

    built = build_within(
        writer,
        Options(
            jobs=run.asked.build_jobs,
            timeout=run.asked.build_timeout,
            trees=_trees(run, writer) if run.asked.build_project else (),
            only_trees=not run.asked.build,
        ),
        uv=run.uv,
        environment=run.environment,
        reporter=_telling(run.reporter),
        interpreters=_interpreters_here(run),
    )
    if run.request.wheels_only and built.built:
        after = run.bring_all(writer)
        outcome = replace(outcome, digest=after.digest, must_compile=after.must_compile)
    else:
        situation = run.situation(writer.store)
        left = situation.beforehand.to_compile(situation.selected)
        outcome = replace(outcome, digest=built.digest, must_compile=must_compile(left))
    return replace(outcome, builds=built)


def _trees(run: Run, writer: Writer) -> tuple[Tree, ...]:
    """Return the project and those of its members that the request reaches."""
    from uv_archive.build import Tree  # noqa: PLC0415
    from uv_archive.build import TreeSource as Source  # noqa: PLC0415

    root = run.owner.root.absolute()
    situation = run.situation(writer.store)
    ((_, selection),) = (one for one in situation.selected if one[0] == run.request)
    trees = []
    for package in selection.packages:
        if not isinstance(package.source, TreeSource) or package.source.kind == "virtual":
            continue
        # Not resolved: what the lock says of the place is recorded.
        place = Path(os.path.normpath(root / package.source.path.text))
        base = _copied_with(place, root)
        trees.append(
            Tree(
                label=str(package),
                name=package.name,
                version=package.version,
                path=_relative(place, root),
                source=Source(
                    path=base,
                    subdirectory=None if place == base else place.relative_to(base).as_posix(),
                    ignored=(writer.store.directory,),
                ),
            )
        )
    return tuple(trees)


def _copied_with(place: Path, root: Path) -> Path:
    """Return what is copied so that the build of a tree finds what it may look for.

    That is its repository, which says the version, or else the workspace.
    """
    for directory in (place, *place.parents):
        if (directory / ".git").exists():
            return directory
    return root if place.is_relative_to(root) else place


def _relative(place: Path, root: Path) -> str:
    """Return a path relative to the lock; of another drive it's the last part."""
    try:
        return Path(os.path.relpath(place, root)).as_posix()
    except ValueError:
        return place.name


def _telling(reporter: Reporter) -> BuildReporter:
    from uv_archive.build import BuildReporter  # noqa: PLC0415

    class Telling(BuildReporter):
        def building(self, wheels: int, python: str) -> None:
            reporter.building(wheels, python)

        def built(self, label: str, wheel: str) -> None:
            del label
            reporter.built(wheel)

        def failed(self, label: str, reason: str) -> None:
            reporter.not_built(label, reason)

    return Telling()


def _interpreters_here(run: Run) -> tuple[Interpreter, ...]:
    """Return the interpreters of this machine that a download is for; others can't build."""
    from uv_archive.build.within import find_interpreter  # noqa: PLC0415

    found: list[Interpreter] = []
    for text in run.asked.pythons:
        with suppress(TargetError):
            found.append(find_interpreter(text, run.uv, run.environment))
    if run.asked.pythons:
        return tuple(found)
    own = default_interpreter(
        run.owner,
        uv=run.uv,
        environment=run.environment,
        requires_python=str(run.lock.requires_python),
    )
    return (own,)
