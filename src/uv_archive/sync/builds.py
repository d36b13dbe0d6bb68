"""What a sync has to build, and what the archive recorded for each build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import NormalizedName

from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.recorded_builds import RecordedBuild, Unrecorded, recorded_builds
from uv_archive.filenames import parse_sdist, parse_wheel
from uv_archive.lock.model import GitSource, PathSource, TreeSource
from uv_archive.selection import Build
from uv_archive.sync.case import Case, build_options, wheels_built
from uv_archive.sync.pinning import BuildFile, PlannedBuild
from uv_archive.sync.task import Task
from uv_archive.target import Target


def planned_builds(
    task: Task, case: Case, install: frozenset[NormalizedName]
) -> Sequence[PlannedBuild]:
    """Return what installing *install* has to build. Raises `ArchiveError`."""
    builds = [
        build
        for build in case.selection.builds
        if build.package.name in install and not wheels_built(task, case.target, build.package)
    ]
    recorded = _Recorded(
        task=task,
        target=case.target,
        builds=recorded_builds(task.supply.manifest) if builds else {},
    )
    return [recorded.planned(build) for build in builds]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recorded:
    """What the archive recorded for one target."""

    task: Task
    target: Target
    builds: Mapping[str, RecordedBuild]

    def planned(self, build: Build) -> PlannedBuild:
        label = str(build.package)
        paths = self._paths(label)
        if isinstance(paths, Unrecorded):
            return PlannedBuild(package=build.package, movable=False, unrecorded=paths.reason)
        return PlannedBuild(
            package=build.package,
            movable=self._is_movable(build),
            paths=paths,
            files=tuple(self._file(path) for path in dict.fromkeys(self._with_nested(paths))),
        )

    def _paths(self, label: str) -> tuple[ArchivePath, ...] | Unrecorded:
        build = self.builds.get(label)
        if build is None:
            return Unrecorded(of=label, reason="the archive has no build of that name")
        return build.files(self.target)

    def _with_nested(
        self, paths: Sequence[ArchivePath], seen: frozenset[ArchivePath] = frozenset()
    ) -> Iterator[ArchivePath]:
        """Yield *paths*, and what builds those of them that are sdists."""
        for path in paths:
            yield path
            if not path.endswith(".whl") and path not in seen:
                file = self._file(path)
                nested = self._paths(f"{file.name}=={file.version}")
                if not isinstance(nested, Unrecorded):
                    yield from self._with_nested(nested, seen | {path})

    def _file(self, path: ArchivePath) -> BuildFile:
        origin = self.task.supply.manifest.distributions[path][1]
        supplied = self.task.supply.recorded(path)
        if path.endswith(".whl"):
            version = parse_wheel(supplied.name).version
        else:
            version = parse_sdist(supplied.name, origin.name).version
        return BuildFile(name=origin.name, version=version, file=supplied)

    def _is_movable(self, build: Build) -> bool:
        """Whether it can be built alone: it is the archive's, and its place doesn't matter."""
        if build_options(self.task).forbids_wheel(build.package.name):
            return False
        match build.package.source:
            case TreeSource() | PathSource():
                return False
            case GitSource(path=path):
                return path is None
            case _:
                supply, distribution = self.task.supply, build.distribution
                return distribution is not None and supply.is_as_locked(distribution)
