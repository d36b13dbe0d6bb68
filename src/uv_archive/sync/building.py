"""Build alone, before uv runs, what wants other build requirements than the rest of a sync."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uv_archive.archive.disk import storing
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import BuiltFrom
from uv_archive.build.confinement import find_confinement
from uv_archive.build.logs import log_directory
from uv_archive.build.many import FailedBuild, Workshop
from uv_archive.build.one import DEFAULT_TIMEOUT, Built
from uv_archive.build.wanted import Wanted, subdirectory_of
from uv_archive.digest import Digest
from uv_archive.errors import BuildError
from uv_archive.fetch.bundles import key_of, place_bundles
from uv_archive.fetch.git import find_git
from uv_archive.lock.model import GitSource, Package
from uv_archive.sync.case import Case, settings_for_builds
from uv_archive.sync.pinning import Pins, PlannedBuild
from uv_archive.sync.supply import Supplied
from uv_archive.sync.task import Task
from uv_archive.target import Interpreter


def build_alone(task: Task, case: Case, pins: Pins) -> Mapping[int, Supplied]:
    """Build what has to be built alone; return the wheels by the position of their packages.

    Raises `BuildError` with all that can't be built, and `StorageError`.
    """
    building = _Building(task=task, case=case)
    failed = building.shop().build(
        [building.wanted(one) for one in pins.alone], jobs=1, take=building.take
    )
    if failed:
        raise _error(failed)
    return building.wheels


@dataclass(kw_only=True)
class _Building:
    task: Task
    case: Case
    wheels: dict[int, Supplied] = field(default_factory=dict)
    _positions: dict[tuple[str, ArchivePath | None], int] = field(default_factory=dict)

    @property
    def _directory(self) -> Path:
        return self.task.private / "alone"

    def shop(self) -> Workshop:
        task, variables = self.task, self.task.request.environment
        probe = self._directory / "probe"
        with storing(probe):
            probe.mkdir(parents=True, exist_ok=True)
            (self._directory / "wheels").mkdir(exist_ok=True)
        return Workshop(
            archive=task.archive,
            manifest=task.supply.manifest,
            interpreter=Interpreter(
                python=self.case.target.python,
                platform=self.case.target.platform,
                executable=self.case.python,
            ),
            uv=task.uv,
            environment=variables,
            settings=settings_for_builds(task),
            confinement=find_confinement(variables, private=probe),
            scratch=self._directory,
            logs=log_directory(variables),
            timeout=DEFAULT_TIMEOUT,
            find_git=lambda: find_git(variables),
        )

    def wanted(self, build: PlannedBuild) -> Wanted:
        package = build.package
        path = self._path(package)
        self._positions[str(package), path] = package.position
        git = package.source if isinstance(package.source, GitSource) else None
        return Wanted(
            label=str(package),
            name=package.name,
            version=package.version,
            path=path,
            files=build.paths,
            why=BuiltFrom(subdirectory=subdirectory_of(package)),
            git=git,
        )

    def _path(self, package: Package) -> ArchivePath:
        if isinstance(package.source, GitSource):
            return place_bundles(self.task.lock)[key_of(package.source)]
        places = self.task.supply.places
        return next(places[one] for one in package.distributions if not one.is_wheel)

    def take(self, wanted: Wanted, made: Built) -> None:
        """Keep a wheel, whose build's directory is about to go."""
        path = self._directory / "wheels" / made.filename.text
        made.path.rename(path)
        self.wheels[self._positions[wanted.label, wanted.path]] = Supplied(
            name=path.name, path=path, digest=Digest("sha256", made.sha256), locked=False
        )


def _error(failed: tuple[FailedBuild, ...]) -> BuildError:
    lines = [f"{len(failed)} of the builds of this sync failed; nothing was changed:"]
    for one in failed:
        lines.append(f"  * `{one.label}`: {one.reason}")
        lines += [f"      {line}" for line in one.lines]
    logs = ", ".join(f"`{one.log}`" for one in failed if one.log)
    return BuildError("\n".join(lines), hint=f"All they said is in {logs}" if logs else None)
