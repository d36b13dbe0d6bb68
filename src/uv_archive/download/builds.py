"""The build requirements of what some request has to build."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.archive.build_settings import OF_EACH, public_settings
from uv_archive.archive.layout import ArchivePath, parse_path
from uv_archive.archive.manifest import JSON, JSONObject, Manifest
from uv_archive.build_requirements import (
    Answered,
    AskHooks,
    BuildSubject,
    BuildWants,
    Everywhere,
    Gathered,
    Record,
    Reporter,
    Wanted,
    gather,
)
from uv_archive.build_requirements.backends import ByVersion, Unknown
from uv_archive.build_requirements.gather import Obtain
from uv_archive.digest import Digest
from uv_archive.download.repositories import Sources, digest_of, tree_of
from uv_archive.filenames import parse_sdist, parse_wheel
from uv_archive.lock.model import (
    Distribution,
    GitSource,
    LocalPath,
    Lock,
    Package,
    TreeSource,
    UrlSource,
)
from uv_archive.owner import Owner
from uv_archive.request import Request
from uv_archive.script import Script
from uv_archive.selection import Build, Selection
from uv_archive.target import Target
from uv_archive.url import Url
from uv_archive.uv import Uv

_FOUND: Mapping[str, Literal["static", "table", "hook", "setting"]] = {
    "static": "static",
    "table": "table",
    "hook": "hook",
    "setting": "setting",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Builds:
    """What has to be built, gathered over all requests."""

    subjects: tuple[BuildSubject, ...]
    selected_versions: Mapping[tuple[NormalizedName, str], frozenset[Version]]

    @classmethod
    def of(
        cls,
        selected: Iterable[tuple[Request, Selection]],
        *,
        owner: Owner,
        directory: Path,
        placed: Mapping[Distribution, ArchivePath],
        sources: Sources,
        trees: Path,
    ) -> Builds:
        """Collect the builds of the requests that want build requirements.

        A source tree's place is below the project, an sdist's below *directory*, and that of a
        commit's files below *trees*.
        """
        places = _Places(
            owner=owner, directory=directory, placed=placed, sources=sources, trees=trees
        )
        targets: defaultdict[tuple[int, Distribution | None], _Targets] = defaultdict(_Targets)
        packages: dict[int, Package] = {}
        versions: defaultdict[tuple[NormalizedName, str], set[Version]] = defaultdict(set)
        for request, selection in selected:
            for build in selection.builds if request.build_requirements else ():
                packages[build.package.position] = build.package
                key = (build.package.position, build.distribution)
                targets[key].add(request, build)
            for one in selection.distributions:
                if one.package.version is not None:
                    for target in one.targets:
                        versions[one.package.name, target.label].add(one.package.version)
        subjects = []
        for (position, distribution), found in sorted(targets.items(), key=lambda item: item[0][0]):
            package = packages[position]
            subjects.append(
                BuildSubject(
                    label=str(package),
                    name=package.name,
                    where=places.of(package, distribution),
                    subdirectory=_subdirectory(package),
                    editable=_is_editable(package),
                    targets=found.sorted(),
                    digest=_digest(package, distribution),
                )
            )
        return cls(
            subjects=tuple(subjects),
            # Only builds ask for them.
            selected_versions={key: frozenset(found) for key, found in versions.items()}
            if subjects
            else {},
        )

    def gather(
        self,
        *,
        lock: Lock,
        owner: Owner,
        uv: Uv,
        environment: Mapping[str, str],
        recorded: Record,
        obtain: Obtain,
        ask_hooks: AskHooks | None,
        asking: Reporter,
    ) -> Gathered:
        """Find what they need, asking uv only what isn't *recorded*. Raises `ProjectError`."""
        versions: defaultdict[NormalizedName, list[Version]] = defaultdict(list)
        for package in lock.packages:
            if package.version is not None:
                versions[package.name].append(package.version)
        return gather(
            self.subjects,
            uv=uv,
            environment=environment,
            directory=owner.root,
            nearest=owner.settings if isinstance(owner, Script) else {},
            constraints=lock.manifest.build_constraints,
            requires_python=str(lock.requires_python),
            locked_versions=versions,
            selected_versions=self.selected_versions,
            recorded=recorded,
            obtain=obtain,
            ask_hooks=ask_hooks,
            reporter=asking,
        )


class _Targets:
    """What something is built for, over all requests."""

    def __init__(self) -> None:
        self._targets: dict[Target | Everywhere, None] = {}

    def add(self, request: Request, build: Build) -> None:
        if request.targets:
            self._targets.update(dict.fromkeys(build.targets))
        else:
            # `-p` limits build requirements as it limits locked wheels.
            self._targets.update(dict.fromkeys(map(Everywhere, request.pythons or (None,))))

    def sorted(self) -> tuple[Target | Everywhere, ...]:
        return tuple(sorted(self._targets, key=lambda target: target.label))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    """Where the things are that have to be built."""

    owner: Owner
    directory: Path
    placed: Mapping[Distribution, ArchivePath]
    sources: Sources
    trees: Path

    def of(self, package: Package, distribution: Distribution | None) -> Path:
        match package.source:
            case TreeSource(path=path):
                return self.owner.root / path.text
            case GitSource(path=inside) as source:
                tree = tree_of(source, self.sources.bundle_of(source), self.trees)
                return tree / inside if inside else tree
            case _ if distribution is not None:
                return self.directory / self.placed[distribution]
            case _:
                raise AssertionError("only trees and commits are built without an sdist")


def _digest(package: Package, distribution: Distribution | None) -> Digest | None:
    if isinstance(package.source, GitSource):
        return digest_of(package.source)
    return distribution.digest if distribution else None


def _subdirectory(package: Package) -> str | None:
    match package.source:
        case UrlSource(subdirectory=subdirectory) | GitSource(subdirectory=subdirectory):
            return subdirectory
        case _:
            return None


def _is_editable(package: Package) -> bool:
    return isinstance(package.source, TreeSource) and package.source.kind == "editable"


def builds_record(
    record: Record,
    files: Iterable[tuple[ArchivePath, Distribution]],
    *,
    gathered: Mapping[str, Sequence[str]],
) -> JSONObject:
    """Write down what was asked about builds, and the answers, for the archive's record.

    An answer with a file that isn't among the archive's *files* only led to another question,
    and isn't kept. *gathered* are the builds with the labels of their targets.
    """
    paths = {_identity(distribution): path for path, distribution in files}
    return {
        "answers": {
            key: [_answer_record(one, paths) for one in answer]
            for key, answer in record.answers.items()
            if all(_identity(one.distribution) in paths for one in answer)
        },
        "gathered": gathered,
        "wants": {
            key: {
                "backend": wants.backend,
                "wanted": [asdict(one) for one in wants.wanted],
                "uncertain": [asdict(one) for one in wants.uncertain],
                "asked": wants.asked,
                "only_asked": wants.only_asked,
                "by_version": [asdict(one) for one in wants.by_version],
            }
            for key, wants in record.wants.items()
        },
    }


def _answer_record(
    answered: Answered, paths: Mapping[tuple[str, Digest | None], ArchivePath]
) -> JSONObject:
    distribution = answered.distribution
    marker: JSONObject = {} if answered.marker is None else {"marker": answered.marker}
    return {"path": paths[_identity(distribution)], "index": distribution.source, **marker}


def _identity(distribution: Distribution) -> tuple[str, Digest | None]:
    return (distribution.filename.text, distribution.digest)


def recorded_answers(manifest: Manifest | None) -> Record:
    """Read what `builds_record` wrote; what can't be read is asked again."""
    if manifest is None:
        return Record()
    try:
        return Record(
            wants={key: _wants(value) for key, value in _object(manifest.builds, "wants")},
            answers={
                key: tuple(_recorded_answer(manifest, one) for one in _objects(value))
                for key, value in _object(manifest.builds, "answers")
            },
        )
    except (KeyError, TypeError, ValueError):
        return Record()


def _object(value: JSON, key: str) -> Iterable[tuple[str, JSON]]:
    if not isinstance(value, Mapping) or not isinstance(found := value[key], Mapping):
        raise TypeError("expected an object")
    return found.items()


def _wants(value: JSON) -> BuildWants:
    if not isinstance(value, Mapping):
        raise TypeError("expected an object")
    return BuildWants(
        backend=str(value["backend"]),
        wanted=tuple(
            Wanted(requirement=str(one["requirement"]), found=_FOUND[str(one["found"])])
            for one in _objects(value["wanted"])
        ),
        uncertain=tuple(
            Unknown(
                clause=str(one["clause"]),
                hint=str(one["hint"]),
                hook_tells=one["hook_tells"] is True,
            )
            for one in _objects(value["uncertain"])
        ),
        asked=str(value["asked"]),
        only_asked=value["only_asked"] is True,
        by_version=tuple(
            ByVersion(
                canonicalize_name(str(one["backend"])),
                str(one["versions"]),
                str(one["requirement"]),
                optional=one["optional"] is True,
            )
            for one in _objects(value["by_version"])
        ),
    )


def _objects(value: JSON) -> Sequence[JSONObject]:
    if not isinstance(value, Sequence) or not all(isinstance(item, Mapping) for item in value):
        raise TypeError("expected an array of objects")
    return [item for item in value if isinstance(item, Mapping)]


def _recorded_answer(manifest: Manifest, recorded: JSONObject) -> Answered:
    marker = recorded.get("marker")
    return Answered(
        distribution=_recorded_file(manifest, recorded),
        marker=None if marker is None else str(marker),
    )


def _recorded_file(manifest: Manifest, recorded: JSONObject) -> Distribution:
    path = str(recorded["path"])
    entry = manifest.files[parse_path(path)]
    if entry.origin is None:
        raise ValueError("not a distribution")
    name = path.rpartition("/")[2]
    is_wheel = name.endswith(".whl")
    source = entry.origin.source
    return Distribution(
        filename=parse_wheel(name) if is_wheel else parse_sdist(name, entry.origin.name),
        location=Url.parse(source) if "://" in source else LocalPath(source),
        source=str(recorded["index"]),
        digest=Digest("sha256", entry.sha256),
        size=entry.size,
        place="",
    )


def build_settings(settings: Mapping[str, object], labels: Collection[str]) -> JSONObject:
    """Return what is recorded of how builds are to be done, under `settings`.

    *labels* are the recorded builds. Whatever may be a secret isn't among it.
    """
    names = {canonicalize_name(label.partition("==")[0]) for label in labels}
    recorded: dict[str, JSON] = {}
    for key, value in public_settings(settings).items() if names else ():
        own = value
        if key in OF_EACH and isinstance(value, Mapping):
            own = {name: each for name, each in value.items() if canonicalize_name(name) in names}
        if own:
            recorded[key] = own
    return {"settings": recorded} if recorded else {}
