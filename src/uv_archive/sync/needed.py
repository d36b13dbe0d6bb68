"""The files that a sync uses, and what is missing of them."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import NormalizedName

from uv_archive.archive.disk import storing
from uv_archive.errors import ArchiveError, CoverageError, ProjectError, UvArchiveError
from uv_archive.lock.model import GitSource, Package, PathSource, RegistrySource, UrlSource
from uv_archive.owner import documents_of
from uv_archive.pylock import PylockFile
from uv_archive.request import Request
from uv_archive.selection import Selected, Selection
from uv_archive.sync.calls import variables_of
from uv_archive.sync.case import Case, file_of, was_built_otherwise, wheels_built
from uv_archive.sync.installed import installed
from uv_archive.sync.pinning import Pins, pin
from uv_archive.sync.supply import Supplied, absent, listed
from uv_archive.sync.task import Task

if TYPE_CHECKING:
    from uv_archive.sync.git import GitSupply


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """The files that a sync uses.

    *locked* and *built* wheels are installed or built from, *own* likewise, which are the
    project's; *unpacked* are those of *locked* whose project lies in a subdirectory. *pins* say
    who builds what with which of the *build_requirements*. *compared* are wheels of what is
    already installed. *git* has repositories made of bundles. *missing* are file names. *causes*
    stand in the way. *wheels* are installed in place of what a package at some position in the
    lock is: they were built from it.
    """

    locked: Sequence[Supplied] = ()
    own: Sequence[Supplied] = ()
    unpacked: Sequence[tuple[Package, Supplied]] = ()
    built: Sequence[Supplied] = ()
    build_requirements: Sequence[Supplied] = ()
    pins: Pins = field(default_factory=Pins)
    wheels: Mapping[int, Sequence[Supplied]] = field(default_factory=dict)
    compared: Sequence[Supplied] = ()
    git: GitSupply | None = None
    missing: Sequence[str] = ()
    causes: Sequence[UvArchiveError] = ()

    @property
    def unlocked(self) -> Sequence[Supplied]:
        """What the lock doesn't vouch for."""
        used = (*self.locked, *self.own, *self.built, *self.build_requirements)
        return [supplied for supplied in used if not supplied.locked]

    @property
    def distributions(self) -> int:
        """How many of the archive's are installed or built from."""
        return len(self.locked) + (len(self.git.bundles) if self.git else 0)


def needed_files(task: Task, case: Case, install: frozenset[NormalizedName]) -> Needed:
    """Return the files that installing *install* takes, and what stands in its way."""
    packages = [package for package in case.selection.packages if package.name in install]
    # Where the lock has a wheel that fits, that is what is installed.
    unserved = {one.package.position for one in case.selection.builds}
    unserved |= {one.package.position for one in case.selection.gaps}
    wheels = {
        package.position: found
        for package in packages
        if package.position in unserved and (found := wheels_built(task, case.target, package))
    }
    needed = replace(
        _supplied(task, case.selection, install, built=wheels.keys()),
        wheels=wheels,
        built=[wheel for found in wheels.values() for wheel in found],
    )
    if any(build.package.name in install for build in case.selection.builds):
        # Here, and where git is needed: importing them takes as long as much of the rest.
        from uv_archive.sync.builds import planned_builds  # noqa: PLC0415

        pins = pin(planned_builds(task, case, install))
        needed = _with_build_requirements(task, needed, pins)
    git = _git(task, [p for p in packages if p.position not in wheels])
    if git is not None:
        needed = replace(needed, git=git, missing=[*needed.missing, *git.missing])
    if task.thorough:
        needed = _with_compared(task, needed, case, install)
    unsupplied = [n for n in _unsupplied(task, case, install) if n not in needed.missing]
    needed = replace(needed, missing=[*needed.missing, *unsupplied])
    return replace(needed, causes=[*_causes(task, case, install, needed), *needed.causes])


def _supplied(
    task: Task,
    selection: Selection,
    names: frozenset[NormalizedName],
    *,
    built: Collection[int] = (),
) -> Needed:
    """Return what the packages of these *names* are installed or built from.

    What wheels were *built* of needn't be there itself.
    """
    own: list[Supplied] = []
    found: list[tuple[Package, Supplied]] = []
    missing: list[str] = []
    causes: list[UvArchiveError] = []
    for selected in selection.distributions:
        package = selected.package
        if package.name not in names or isinstance(package.source, GitSource):
            continue  # A commit's files lie in the repository.
        if package.position in built and not selected.distribution.is_wheel:
            continue
        supplied = file_of(task, selected.distribution, package)
        if supplied is None:
            missing += _missing(task, selected)
            causes += _not_there(task, package)
        elif supplied.path.is_relative_to(task.archive):
            found.append((package, supplied))
        else:
            own.append(supplied)
    gone = {supplied.name for supplied in absent(supplied for _, supplied in found)}
    there = [(package, supplied) for package, supplied in found if supplied.name not in gone]
    return Needed(
        locked=[supplied for _, supplied in there],
        own=own,
        unpacked=[(package, supplied) for package, supplied in there if is_unpacked(package)],
        missing=[*missing, *sorted(gone)],
        causes=causes,
    )


def _missing(task: Task, selected: Selected) -> Iterator[str]:
    is_own = isinstance(selected.package.source, PathSource)
    if is_own and not isinstance(task.owner, PylockFile):
        return
    # What differs from lock to lock has been named as that.
    if selected.package.name not in task.supply.differing:
        yield str(selected.distribution.filename)


def _not_there(task: Task, package: Package) -> Iterator[UvArchiveError]:
    if isinstance(package.source, PathSource) and not isinstance(task.owner, PylockFile):
        path = task.owner.root / package.source.path.text
        yield ProjectError(
            f"`{path}`, a file of the project that the lock names, isn't there",
            hint="The archive has a copy of it; put that where the project had it",
        )


def is_unpacked(package: Package) -> bool:
    """Whether the project lies in a subdirectory of an sdist.

    uv builds no subdirectory of a local sdist: it looks at the top.
    """
    return isinstance(package.source, UrlSource) and bool(package.source.subdirectory)


def _with_build_requirements(task: Task, needed: Needed, pins: Pins) -> Needed:
    every = _files(task, pins)
    gone = {file.path for file in absent(every)}
    return replace(
        needed,
        pins=pins,
        build_requirements=[file for file in every if file.path not in gone],
        missing=[*needed.missing, *sorted(path.name for path in gone)],
    )


def _files(task: Task, pins: Pins) -> Sequence[Supplied]:
    """Return all files that builds may use: of those that nothing is known of, every one."""
    files = [one.file for one in pins.together]
    files += [one.file for build in pins.alone for one in build.files]
    if pins.vague:
        files += [file for found in task.supply.build_requirements.values() for file in found]
    return list({file.path: file for file in files}.values())


def _with_compared(
    task: Task, needed: Needed, case: Case, install: frozenset[NormalizedName]
) -> Needed:
    """Add the wheels of what is installed already and is compared with them."""
    there = installed(task.environment).keys() - install - case.changes.uninstalls
    more = _supplied(task, case.selection, frozenset(there))
    compared = [s for s in (*more.locked, *more.own) if s.path.suffix == ".whl"]
    missing = [name for name in more.missing if name.endswith(".whl")]
    return replace(needed, compared=compared, missing=[*needed.missing, *missing])


def _unsupplied(task: Task, case: Case, install: frozenset[NormalizedName]) -> Iterator[str]:
    """Yield the files of what stays installed that the archive has none for.

    uv wants every package of a lock to have one, whether or not it installs it.
    """
    excluding = any(name.startswith("UV_NO_INSTALL") for name in variables_of(task))
    if isinstance(task.owner, PylockFile) or task.flags.leaves_some or excluding:
        return
    there: Collection[NormalizedName] = ()
    if not case.changes.is_nothing:
        there = installed(task.environment).keys() - install - case.changes.uninstalls
    for selected in case.selection.distributions:
        package = selected.package
        if package.name not in there or not isinstance(package.source, RegistrySource):
            continue
        supplied = any(task.supply.of(distribution) for distribution in package.distributions)
        if not (supplied or wheels_built(task, case.target, package)):
            yield from _missing(task, selected)


def _git(task: Task, packages: Sequence[Package]) -> GitSupply | None:
    """Make repositories of the bundles of what is installed from git, if anything is."""
    sources = [p.source for p in packages if isinstance(p.source, GitSource)]
    if not sources:
        return None
    with storing(task.private):
        directory = Path(tempfile.mkdtemp(prefix="git-", dir=task.private))
    from uv_archive.fetch.git import Logins, find_git  # noqa: PLC0415
    from uv_archive.sync.git import open_repositories  # noqa: PLC0415

    return open_repositories(
        sources,
        archive=task.supply.directory,
        manifest=task.supply.manifest,
        git=find_git(task.request.environment),
        directory=directory,
        logins=Logins.of(documents_of(task.owner)),
    )


def _causes(
    task: Task, case: Case, install: frozenset[NormalizedName], needed: Needed
) -> Iterator[UvArchiveError]:
    if task.supply.contradiction:
        yield task.supply.contradiction
    yield from case.causes
    gaps = [gap for gap in case.selection.gaps if gap.package.name in install]
    lacking = [str(gap) for gap in gaps if gap.package.position not in needed.wheels]
    if lacking:
        yield CoverageError(f"The lock has no file of {listed(lacking)}")
    missing = needed.missing
    if lacking or missing:
        yield from _built_otherwise(task, case, install, needed)
    if missing:
        yield ArchiveError(
            f"`{task.archive}` lacks {len(missing)} of the files that this sync needs "
            f"for {case.target.label}: {listed(missing)}{_made_for(task)}",
            hint=f"Where there is a network, run `{shlex.join(_download(task, case))}`",
        )


def _built_otherwise(
    task: Task, case: Case, install: frozenset[NormalizedName], needed: Needed
) -> Iterator[UvArchiveError]:
    """Say of which packages there are wheels that aren't taken: something else isn't there."""
    selection = case.selection
    unserved = (*(b.package for b in selection.builds), *(g.package for g in selection.gaps))
    names = [
        str(package)
        for package in unserved
        if package.name in install and package.position not in needed.wheels
        if was_built_otherwise(task, case.target, package)
    ]
    if names:
        yield ArchiveError(
            f"The wheels that `{task.archive}` has of {listed(names)} were built with other "
            "settings than those of this sync, so they have to be built anew",
            hint="Compare `config-settings`, `config-settings-package` and "
            "`extra-build-variables` in uv's settings, and `-C`: it speaks to every build, and "
            "`--config-settings-package` to one",
        )


def _made_for(task: Task) -> str:
    requests = [str(Request.from_record(one)) for one in task.supply.manifest.requests]
    return f". It was made for {listed(requests)}" if requests else ""


def _download(task: Task, case: Case) -> Sequence[str]:
    """Return the command that would have brought everything."""
    command = ["uv-archive", "download", "-o", str(task.archive)]
    if isinstance(task.owner, PylockFile):
        command += ["--pylock", task.owner.identity]
    python = case.target.python
    command += ["--python", f"{python.major}.{python.minor}"]
    return [*command, "--python-platform", case.target.platform.name, *task.flags.selecting]
