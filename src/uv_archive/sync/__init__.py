"""Sync: install a project from an archive, by real `uv sync` over a relocated lock.

The project isn't touched: uv works on a scratch copy, whose lock names the archive's files,
with a cache of its own. Locked files are checked against the project's own lock, and build
requirements against the archive's metadata, before anything is changed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import tomli_w
from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.archive.disk import storing
from uv_archive.digest import Digest
from uv_archive.errors import (
    ArchiveError,
    CoverageError,
    DamagedArchiveError,
    LockError,
    ProjectError,
    RequestError,
    StaleLockError,
    ToolError,
    UnfinishedError,
    UvArchiveError,
)
from uv_archive.lock.model import (
    Distribution,
    GitSource,
    Lock,
    Package,
    PathSource,
    RegistrySource,
    TreeSource,
    UrlSource,
)
from uv_archive.lock.relocate import FileKey, anchor, relocate
from uv_archive.owner import default_groups_of, documents_of, lock_of, settings_of
from uv_archive.project import Project, find_project
from uv_archive.request import Request
from uv_archive.scratch import (
    Scratch,
    kept_settings,
    private_directory,
    scrubbed,
    write_scratch,
)
from uv_archive.script import Script, find_script
from uv_archive.selection import BuildOptions, Root, Selection, select
from uv_archive.settings import Settings
from uv_archive.sync.flags import SyncFlags, environment_path, parse_flags, with_environment
from uv_archive.sync.installed import DirectUrl, installed, restore_direct_urls
from uv_archive.sync.model import SyncReporter, SyncRequest, SyncResult
from uv_archive.sync.refusals import refuse
from uv_archive.sync.script import of_script, script_environment, without_active
from uv_archive.sync.sourced import sourced
from uv_archive.sync.supply import (
    Supplied,
    Supply,
    absent,
    archive_directory,
    archived_lock,
    copy_verified,
    damaged,
    listed,
    open_supply,
)
from uv_archive.sync.unfinished import Marks, marks, remove_debris
from uv_archive.sync.unpacking import unpack
from uv_archive.sync.whole import Expected, find_short, is_made, without_record
from uv_archive.target import Interpreter, Target, inspect_interpreter, platform_named
from uv_archive.uv import Completed, Uv, uv_message

if TYPE_CHECKING:
    from uv_archive.sync.git import GitSupply

__all__ = ["SyncReporter", "SyncRequest", "SyncResult", "sync"]

# What keeps uv to the files it is given.
_CLOSED = ("--frozen", "--offline", "--no-index")
# How uv exits where it gives up by itself. All others are of signals.
_FAILED = (1, 2)


def sync(request: SyncRequest, *, uv: Uv, reporter: SyncReporter | None = None) -> SyncResult:
    """Install the project that *request* finds from its archive.

    uv's exit status is passed through. Raises `RequestError` and its subclasses where the
    request can't be carried out, `DamagedArchiveError` for files that aren't what they should
    be, and `StorageError`; all of them before the environment is changed. Afterwards every
    distribution of the selection is compared with the archive's; `UnfinishedError` is raised for
    those that can't be made whole.
    """
    reporter = reporter or SyncReporter()
    flags = parse_flags(request.arguments)
    start = request.directory / (flags.directory or Path())
    if request.pylock is not None:
        # Here, and where git is needed: importing them takes as long as all the rest.
        from uv_archive.sync.pylock import sync_pylock  # noqa: PLC0415

        return sync_pylock(request, flags, start=start, uv=uv, reporter=reporter)
    project: Project | Script
    if flags.script is not None:
        project = find_script(start / flags.script)
    else:
        project = find_project(start / (flags.project or Path()))
    archive = archive_directory(request, project.root)
    environment = environment_path(project.root, flags, request.environment, start=start)
    if isinstance(project, Script):
        environment = script_environment(
            project, uv=uv, flags=flags, variables=request.environment, start=start
        )

    def read() -> _Read:
        lock = _lock(request, project, archive, reporter)
        supply = open_supply(archive, lock=lock, project=project, expect=request.expect)
        return _Read(lock=lock, supply=supply)

    with ThreadPoolExecutor(max_workers=2) as meanwhile:
        reading = meanwhile.submit(read)
        python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        inspecting = meanwhile.submit(inspect_interpreter, python) if python.is_file() else None
        if request.use_archived_lock:
            reading.result()
        with private_directory(environment) as private, marks(environment) as found:
            return _Sync(
                uv=uv,
                flags=flags,
                start=start,
                project=project,
                reading=reading,
                python=python,
                inspecting=inspecting,
                settings=settings_of(project, request.environment),
                archived_lock=request.use_archived_lock,
                environment=environment,
                variables=request.environment,
                private=private,
                only_locked=request.only_locked,
                verify_install=request.verify_install,
                marks=found,
                reporter=reporter,
            ).run()


def _lock(
    request: SyncRequest, project: Project | Script, archive: Path, reporter: SyncReporter
) -> Lock:
    if not request.use_archived_lock:
        if not project.lock_path.is_file():
            raise LockError(
                f"There is no lock at `{project.lock_path}`",
                hint="Bring the project's own along, or take the archive's with "
                "`--use-archived-lock`",
            )
        return lock_of(project)
    path = archived_lock(
        archive,
        identity=project.identity,
        own=project.lock_path,
        expect=request.expect,
        reporter=reporter,
    )
    return lock_of(project, at=path)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What is read while uv is asked its first question."""

    lock: Lock
    supply: Supply


@dataclass(frozen=True, kw_only=True, slots=True)
class _Changes:
    """What uv says that it would do."""

    installs: frozenset[NormalizedName]
    uninstalls: frozenset[NormalizedName]
    python: Path | None

    @property
    def is_nothing(self) -> bool:
        return not self.installs and not self.uninstalls and self.python is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """What there is to do: uv's *changes*, and of the *selection* the names to *install* anew.

    *expected* are the distributions that have to be whole afterwards. *in_project* are the
    arguments by which uv works on the project itself.
    """

    changes: _Changes
    target: Target
    selection: Selection
    install: frozenset[NormalizedName]
    expected: Sequence[Expected]
    in_project: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Needed:
    """The files that a sync uses.

    *locked* and *built* wheels are installed or built from, *own* likewise, which are the
    project's; *unpacked* are those of *locked* whose project lies in a subdirectory. *compared*
    are wheels of what is already installed. *git* has repositories made of bundles. *missing* are
    file names.
    """

    locked: Sequence[Supplied]
    own: Sequence[Supplied]
    unpacked: Sequence[tuple[Package, Supplied]]
    built: Sequence[Supplied] = ()
    build_requirements: Sequence[Supplied] = ()
    compared: Sequence[Supplied] = ()
    git: GitSupply | None = None
    missing: Sequence[str] = ()
    causes: Sequence[UvArchiveError] = ()

    @property
    def unlocked(self) -> Sequence[Supplied]:
        """What the lock doesn't vouch for."""
        used = (*self.locked, *self.own, *self.built, *self.build_requirements)
        return [supplied for supplied in used if not supplied.locked]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sync:
    """One sync, with everything it needs."""

    uv: Uv
    flags: SyncFlags
    start: Path
    project: Project | Script
    reading: Future[_Read]
    python: Path
    inspecting: Future[Interpreter] | None
    settings: Settings
    archived_lock: bool
    environment: Path
    variables: Mapping[str, str]
    private: Path
    only_locked: bool
    verify_install: bool
    marks: Marks
    reporter: SyncReporter

    @property
    def lock(self) -> Lock:
        return self.reading.result().lock

    @property
    def supply(self) -> Supply:
        return self.reading.result().supply

    def run(self) -> SyncResult:
        if not self.flags.frozen:
            self.reading.result()
            self._check_lock_is_current()
        self._clear_up()
        settings = self.private / "settings.toml"
        with storing(settings):
            settings.write_bytes(tomli_w.dumps(kept_settings(self.settings.options)).encode())
        in_project = self._in_project(settings)
        case = self._foreseen(in_project) or self._asked(in_project)
        if isinstance(case, SyncResult):
            return case
        needed = self._needed(case, case.install)
        self._check(needed)
        return replace(
            self._carried_out(case, needed),
            distributions=len(needed.locked) + (len(needed.git.bundles) if needed.git else 0),
            unlocked=len(needed.unlocked),
        )

    def _asked(self, in_project: Sequence[str]) -> _Case | SyncResult:
        """Ask uv what it would do. If it would fail, that is the result."""
        asked = self._uv(
            (*self.flags.passed, *in_project, "--dry-run", "--output-format", "json"), capture=True
        )
        contradiction = self.supply.contradiction
        if asked.status != 0:
            refuse([contradiction] if contradiction else [])
            # Extras that don't exist or that conflict, a Python that isn't there: uv has said it.
            return SyncResult(status=asked.status, stderr=asked.stderr)
        return self._case(_changes(asked), in_project)

    def _foreseen(self, in_project: Sequence[str]) -> _Case | None:
        """Foresee what uv would do where there is no environment yet: install the selection.

        Asking takes as long as all else that is done here. Whatever isn't plain is asked.
        """
        if self.environment.exists() or self.flags.changes_nothing or self.flags.leaves_some:
            return None
        if any(name.startswith("UV_NO_INSTALL") for name in self._variables):
            return None
        nothing = _Changes(installs=frozenset(), uninstalls=frozenset(), python=None)
        try:
            case = self._case(nothing, in_project)
        except UvArchiveError:
            self.reading.result()  # What is wrong with the lock or the archive goes first.
            return None
        if case.selection.gaps:
            return None
        install = frozenset(
            package.name
            for package in case.selection.packages
            if not (isinstance(package.source, TreeSource) and package.source.kind == "virtual")
        )
        expected = tuple(self._expected(case.selection, install))
        return replace(case, install=install, expected=expected)

    def _carried_out(self, case: _Case, needed: _Needed) -> SyncResult:
        if self.flags.changes_nothing:
            result = self._shown(case.in_project, scratch=None)
            short = self._short(case)
            if short:
                self.reporter.short(short, repairing=False)
                status = result.status or int("--check" in self.flags.output)
                return replace(result, status=status, short=tuple(short))
            return result
        if case.changes.is_nothing:
            result = self._shown(case.in_project, scratch=None)
        else:
            self.marks.begin(case.install, creating=case.changes.python is None)
            result = self._install(needed)
        if result.status != 0:
            if result.status in _FAILED and self._is_as_whole_as_before(case):
                self.marks.withdraw()
            return result
        with _removing(self.private / "cache"):
            repaired = self._repair(case)
        self.marks.end()
        return replace(result, short=repaired)

    # Whole or not at all

    @property
    def _thorough(self) -> bool:
        """Whether hashes are compared: sizes say little after an interruption."""
        return self.verify_install or bool(self.marks.left)

    def _clear_up(self) -> None:
        if self.marks.left:
            self.reporter.interrupted()
            if not self.flags.changes_nothing:
                self.marks.clear_up()

    def _is_as_whole_as_before(self, case: _Case) -> bool:
        """Whether uv, which failed, has left nothing half done, such as after a failed build."""
        if self.environment.exists() and not is_made(self.environment):
            return False
        expected = [replace(one, required=False) for one in case.expected]
        with storing(self.environment, doing="read"):
            there = installed(self.environment).keys()
            unsure = {one.name for one in expected if one.wheel is None} & case.install & there
            if unsure or any(without_record(self.environment)):
                return False
            return not find_short(self.environment, expected, thorough=True, signed=self._signed)

    @property
    def _signed(self) -> bool:
        return "--no-installer-metadata" not in self.flags.passed

    def _case(self, changes: _Changes, in_project: Sequence[str]) -> _Case:
        target = self._target(changes, in_project)
        selection = self._selection(target)
        install = changes.installs
        if not changes.is_nothing:
            install |= self._installed_again(selection, changes)
        return _Case(
            changes=changes,
            target=target,
            selection=selection,
            install=install,
            expected=tuple(self._expected(selection, install)),
            in_project=in_project,
        )

    def _expected(
        self, selection: Selection, install: frozenset[NormalizedName]
    ) -> Iterator[Expected]:
        wheels = {
            selected.package.position: self._path(selected.distribution, selected.package)
            for selected in selection.distributions
            if selected.distribution.is_wheel
        }
        for package in selection.packages:
            match package.source:
                case TreeSource(kind="virtual"):
                    continue
                case _:
                    yield Expected(
                        name=package.name,
                        version=package.version,
                        wheel=wheels.get(package.position),
                        required=package.name in install,
                    )

    def _path(self, distribution: Distribution, package: Package) -> Path | None:
        """Return where a file is, if it is there: comparing sizes, the record may do instead."""
        if isinstance(package.source, PathSource):
            path = self.project.root / package.source.path.text
        else:
            supplied = self.supply.of(distribution)
            if supplied is None:
                return None
            path = supplied.path
        return path if path.is_file() else None

    def _short(self, case: _Case) -> Mapping[NormalizedName, str]:
        """Return what is installed and isn't whole, and what is wrong with it."""
        expected = case.expected
        if self.flags.changes_nothing:
            expected = [replace(one, required=False) for one in expected]
        with storing(self.environment, doing="read"):
            short = find_short(
                self.environment,
                expected,
                thorough=self._thorough,
                signed=self._signed,
            )
            there = installed(self.environment).keys()
        begun = {name for mark in self.marks.left for name in mark.names}
        unsure = {
            one.name: "it was being installed when a sync was stopped"
            for one in expected
            # Of these the archive has no record to compare with.
            if one.wheel is None and one.name in begun - case.install and one.name in there
        }
        return {**unsure, **short}

    def _repair(self, case: _Case) -> tuple[NormalizedName, ...]:
        """Install what is short again, from a cache of its own. Raises `UnfinishedError`."""
        short = self._short(case)
        if not short:
            return ()
        again = self._reinstalled(short, case.in_project)
        faults = {name: fault for name, fault in short.items() if name in again}
        if not faults:
            return ()
        self.reporter.short(faults, repairing=True)
        needed = self._needed(case, again)
        self._check(needed)
        self.marks.begin(again, creating=False)
        remove_debris(self.environment, again)
        result = self._install(needed, again=sorted(again))
        if result.status == 0:
            case = replace(case, install=case.install | again)
            faults = {n: fault for n, fault in self._short(case).items() if n in again}
            if not faults:
                return tuple(sorted(again))
        raise UnfinishedError(
            f"{len(faults)} of the distributions aren't whole, and installing them again didn't "
            "help: " + "; ".join(f"`{name}`: {fault}" for name, fault in sorted(faults.items())),
            hint=(result.stderr.strip() or None) if result.status else "Remove the environment",
        )

    def _reinstalled(
        self, short: Iterable[NormalizedName], in_project: Sequence[str]
    ) -> frozenset[NormalizedName]:
        """Ask uv which of *short* it would install: flags may leave some as they are."""
        report = ("--dry-run", "--output-format", "json")
        asked = self._uv(
            (*self.flags.passed, *in_project, *_reinstall(short), *report), capture=True
        )
        if asked.status != 0:
            raise ToolError(f"uv can't say what it would install again: {asked.stderr.strip()}")
        return _changes(asked).installs & frozenset(short)

    # Asking uv

    def _in_project(self, settings: Path) -> Sequence[str]:
        """Return the arguments by which uv works on the project itself, with its own lock.

        Where it has none, there is a scratch copy, with the archived lock as it is.
        """
        if not self.archived_lock:
            return (*self.project.arguments, "--config-file", str(settings))
        directory = self.private / "as-locked"
        with storing(directory):
            directory.mkdir()
        return write_scratch(
            self.project,
            lock=anchor(self.lock, project_root=self.project.root),
            directory=directory,
            settings=self.settings.options,
        ).arguments()

    def _uv(
        self,
        arguments: Sequence[str],
        *,
        capture: bool,
        cache: str = "cache",
        git: GitSupply | None = None,
    ) -> Completed:
        variables = git.variables(self._variables) if git else dict(self._variables)
        variables["UV_CACHE_DIR"] = str(self.private / cache)
        return self.uv.run(
            ["sync", *arguments, *_CLOSED, *self._active],
            environment=variables,
            directory=self.start,
            capture=capture,
        )

    @property
    def _variables(self) -> Mapping[str, str]:
        variables = scrubbed(self.variables)
        if isinstance(self.project, Script):
            variables = of_script(variables, self.environment)
        else:
            variables["UV_PROJECT_ENVIRONMENT"] = str(self.environment)
        # Beside the environment, so that files can be linked; uv trusts what lies in a cache, so
        # nobody else may have written there, and it doesn't outlive the sync.
        variables["UV_CACHE_DIR"] = str(self.private / "cache")
        return variables

    @property
    def _active(self) -> Sequence[str]:
        # uv's own place for a script's environment is in the cache, which here is another one.
        return ("--active",) if isinstance(self.project, Script) and not self.flags.active else ()

    def _check_lock_is_current(self) -> None:
        """Refuse a stale lock with `--locked`, and warn of it without."""
        if self.archived_lock:
            if self.flags.locked:
                raise RequestError("`--locked` and `--use-archived-lock` exclude each other")
            return
        checked = self.uv.run(
            ["lock", "--check", "--offline", "--no-build", *self.project.arguments],
            environment=self.variables if self.flags.locked else self._variables,
            directory=self.start,
        )
        if checked.status == 0:
            return
        # A lock that isn't up to date would have to be resolved anew, which takes a network.
        is_stale = re.search(r"needs to be updated|No solution found", checked.stderr)
        message = f"`{self.project.lock_path}` isn't up to date with `{_source_of(self.project)}`"
        if is_stale and self.flags.locked:
            hint = "Run `uv lock` and `uv-archive download`, where there is a network"
            raise StaleLockError(message, hint=hint)
        if is_stale:
            self.reporter.warning(
                f"{message}, as far as uv can tell; it is installed as it stands",
                "`--locked` refuses such a lock, and `--frozen` leaves the question out",
            )
        elif self.flags.locked:
            raise RequestError(
                f"uv can't tell whether `{self.project.lock_path}` is up to date: "
                f"{uv_message(checked.stderr)}"
            )

    def _target(self, changes: _Changes, in_project: Sequence[str]) -> Target:
        python = changes.python or self._python_to_be(in_project)
        ahead = self.inspecting if python == self.python else None
        target = (ahead.result() if ahead else inspect_interpreter(python)).target
        if self.flags.platform is not None:
            platform = platform_named(self.flags.platform, self.variables)
            target = Target(python=target.python, platform=platform)
        return target

    def _python_to_be(self, in_project: Sequence[str]) -> Path:
        """Ask uv which Python it would make the environment with."""
        asked = self.flags.python or self.variables.get("UV_PYTHON")
        python = [*self.flags.python_choice, *([asked] if asked else [])]
        where = ["--system", *in_project]
        if isinstance(self.project, Script):
            where = ["--no-project", *in_project[-2:]] if asked else [*in_project]
        found = self.uv.run(
            ["python", "find", "--offline", *where, *python],
            environment=without_active(self._variables),
            directory=self.start,
        )
        if found.status != 0:
            raise ToolError(f"uv finds no Python to install for: {found.stderr.strip()}")
        return Path(found.stdout.strip())

    # What is needed

    def _needed(self, case: _Case, install: frozenset[NormalizedName]) -> _Needed:
        """Return the files that installing *install* takes, and what stands in its way."""
        packages = [package for package in case.selection.packages if package.name in install]
        builds = any(_is_built(package) for package in packages) or any(
            build.package.name in install for build in case.selection.builds
        )
        needed = replace(
            self._supplied(case.selection, install),
            built=[w for p in packages if p.sdist for w in self.supply.built_wheels(p)],
            build_requirements=self._build_requirements() if builds else (),
        )
        gone = {file.path for file in absent(needed.build_requirements)}
        if gone:
            there = [file for file in needed.build_requirements if file.path not in gone]
            names = sorted(path.name for path in gone)
            missing = [*needed.missing, *names]
            needed = replace(needed, build_requirements=there, missing=missing)
        git = self._git(packages)
        if git is not None:
            needed = replace(needed, git=git, missing=[*needed.missing, *git.missing])
        if self._thorough:
            needed = self._with_compared(needed, case, install)
        causes: list[UvArchiveError | None] = [
            self.supply.contradiction,
            self._gaps_cause(case.selection, install),
            self._missing_cause(needed.missing, case.target),
        ]
        found = [cause for cause in causes if cause is not None]
        return replace(needed, causes=[*found, *needed.causes])

    def _with_compared(
        self, needed: _Needed, case: _Case, install: frozenset[NormalizedName]
    ) -> _Needed:
        """Add the wheels of what is installed already and is compared with them."""
        there = installed(self.environment).keys() - install - case.changes.uninstalls
        more = self._supplied(case.selection, frozenset(there))
        compared = [s for s in (*more.locked, *more.own) if s.path.suffix == ".whl"]
        missing = [name for name in more.missing if name.endswith(".whl")]
        return replace(needed, compared=compared, missing=[*needed.missing, *missing])

    def _build_requirements(self) -> Sequence[Supplied]:
        return [file for files in self.supply.build_requirements.values() for file in files]

    def _selection(self, target: Target) -> Selection:
        options = self.flags.options
        settings = self.settings
        no_binary, no_build = "no-binary-package", "no-build-package"
        return select(
            self.lock,
            root=Root(
                project=self.project.name,
                default_groups=default_groups_of(self.project, self.project.name),
            ),
            include=with_environment(self.flags.include, self._variables),
            targets=[target],
            options=BuildOptions(
                no_binary=options.no_binary or settings.is_set("no-binary"),
                no_binary_packages=options.no_binary_packages | settings.names(no_binary),
                no_build=options.no_build or settings.is_set("no-build"),
                no_build_packages=options.no_build_packages | settings.names(no_build),
            ),
        )

    def _installed_again(
        self, selection: Selection, changes: _Changes
    ) -> frozenset[NormalizedName]:
        """Return what uv installs again though it needn't.

        An installed distribution names its URL, and the relocated lock names a file.
        """
        there = installed(self.environment).keys() - changes.uninstalls
        return frozenset(
            package.name
            for package in selection.packages
            if isinstance(package.source, UrlSource) and package.name in there
        )

    def _git(self, packages: Sequence[Package]) -> GitSupply | None:
        """Make repositories of the bundles of what is installed from git, if anything is."""
        sources = [p.source for p in packages if isinstance(p.source, GitSource)]
        if not sources:
            return None
        with storing(self.private):
            directory = Path(tempfile.mkdtemp(prefix="git-", dir=self.private))
        from uv_archive.fetch.git import Logins, find_git  # noqa: PLC0415
        from uv_archive.sync.git import open_repositories  # noqa: PLC0415

        return open_repositories(
            sources,
            archive=self.supply.directory,
            manifest=self.supply.manifest,
            git=find_git(self.variables),
            directory=directory,
            logins=Logins.of(documents_of(self.project)),
        )

    def _gaps_cause(
        self, selection: Selection, install: frozenset[NormalizedName]
    ) -> UvArchiveError | None:
        gaps = [str(gap) for gap in selection.gaps if gap.package.name in install]
        return CoverageError(f"The lock has no file of {listed(gaps)}") if gaps else None

    def _supplied(self, selection: Selection, names: frozenset[NormalizedName]) -> _Needed:
        locked, own, unpacked, missing = [], [], [], []
        causes: list[UvArchiveError] = []
        for selected in selection.distributions:
            package, distribution = selected.package, selected.distribution
            if package.name not in names:
                continue
            if isinstance(package.source, GitSource):
                continue  # It lies in the repository.
            if isinstance(package.source, PathSource):
                try:
                    own.append(self._own_file(distribution, package.source))
                except ProjectError as error:
                    causes.append(error)
                continue
            supplied = self.supply.of(distribution)
            if supplied is None:
                # What differs from lock to lock has been named as that.
                if package.name not in self.supply.differing:
                    missing.append(str(distribution.filename))
                continue
            locked.append(supplied)
            if isinstance(package.source, UrlSource) and package.source.subdirectory:
                unpacked.append((package, supplied))
        gone = [supplied.name for supplied in absent(locked)]
        return _Needed(
            locked=[supplied for supplied in locked if supplied.name not in gone],
            own=own,
            unpacked=unpacked,
            missing=[*missing, *gone],
            causes=causes,
        )

    def _own_file(self, distribution: Distribution, source: PathSource) -> Supplied:
        path = self.project.root / source.path.text
        digest = distribution.digest
        if digest is None or not path.is_file():
            raise ProjectError(
                f"`{path}`, a file of the project that the lock names, isn't there",
                hint="The archive has a copy of it; put that where the project had it",
            )
        name = str(distribution.filename)
        return Supplied(name=name, path=path, digest=digest, locked=digest.is_secure)

    def _missing_cause(self, missing: Sequence[str], target: Target) -> UvArchiveError | None:
        if not missing:
            return None
        command = ["uv-archive", "download", "-o", str(self.supply.directory)]
        command += ["--python", f"{target.python.major}.{target.python.minor}"]
        command += ["--python-platform", target.platform.name, *self.flags.selecting]
        return ArchiveError(
            f"`{self.supply.directory}` lacks {len(missing)} of the files that this sync needs "
            f"for {target.label}: {listed(missing)}{self._made_for}",
            hint=f"Where there is a network, run `{shlex.join(command)}`",
        )

    @property
    def _made_for(self) -> str:
        requests = [str(Request.from_record(one)) for one in self.supply.manifest.requests]
        return f". It was made for {listed(requests)}" if requests else ""

    def _check(self, needed: _Needed) -> None:
        """Hash the files that are *needed*. Raises everything that stands in the way, at once."""
        files = [*needed.locked, *needed.own, *needed.built, *needed.compared]
        if files or needed.build_requirements:
            self.reporter.checking(len(files))
        wrong = [supplied.path for supplied in damaged(files)]
        wrong += self._fill_view(needed.build_requirements)
        wrong += needed.git.damaged if needed.git else ()
        causes = list(needed.causes)
        if wrong:
            changed = (
                "Nothing was changed. Copy the archive again, or repair it with "
                "`uv-archive download`"
            )
            causes.append(
                DamagedArchiveError(
                    f"{len(wrong)} of the files that this sync needs aren't what they should be: "
                    f"{listed(str(path) for path in wrong)}",
                    hint=changed,
                )
            )
        if self.only_locked and needed.unlocked:
            names = sorted(supplied.name for supplied in needed.unlocked)
            causes.append(
                RequestError(
                    f"The lock doesn't vouch for {listed(names)}, which this sync needs",
                    hint="Without `--only-locked` they are checked against the archive's metadata",
                )
            )
        refuse(causes)

    # Doing it

    @property
    def _view(self) -> Path:
        path = self.private / "build-requirements"
        path.mkdir(exist_ok=True)
        return path

    def _fill_view(self, files: Sequence[Supplied]) -> list[Path]:
        """Copy the build requirements to where uv may look for them; return the damaged ones.

        Raises `ArchiveError` for two of one name: a build could be given the other's.
        """
        digests: dict[str, Digest] = {}
        for file in files:
            if digests.setdefault(file.name, file.digest) != file.digest:
                raise ArchiveError(
                    f"The archive has two build requirements named `{file.name}`, and uv would "
                    "take one for both",
                    hint="Install what has to be built in separate syncs, or as wheels",
                )
        with storing(self._view):
            return [file.path for file in files if not copy_verified(file, self._view)]

    def _relocated(self) -> bytes:
        files: dict[FileKey, Path] = {}
        digests: dict[FileKey, Digest] = {}
        for package in self.lock.packages:
            supplied = [s for d in package.distributions if (s := self.supply.of(d))]
            if isinstance(package.source, RegistrySource):
                supplied += self.supply.built_wheels(package)
            for one in supplied:
                files[package.position, one.name] = one.path
                digests[package.position, one.name] = one.digest
        return relocate(
            self.lock,
            files=files,
            digests=digests,
            project_root=self.project.root,
            trees={p.position: tree for p in self.lock.packages if (tree := self._tree(p))},
        )

    def _tree(self, package: Package) -> Path | None:
        """Return where an sdist is unpacked whose project lies in a subdirectory of it.

        uv builds no subdirectory of a local sdist: it looks at the top.
        """
        match package.source:
            case UrlSource(subdirectory=str(subdirectory)):
                return self._unpacked(package) / subdirectory
            case _:
                return None

    def _unpacked(self, package: Package) -> Path:
        return self.private / "trees" / str(package.position)

    def _install(self, needed: _Needed, *, again: Sequence[NormalizedName] = ()) -> SyncResult:
        """Let uv install over the scratch copy; what is installed *again* isn't shown."""
        scratch = write_scratch(
            self.project,
            lock=self._relocated(),
            directory=self.private,
            settings=self.settings.options,
        )
        for package, supplied in needed.unpacked:
            self._unpack(package, supplied)
        names = sorted(
            self.supply.build_requirements.keys()
            & sourced(self.lock, root=self.project.root, git=needed.git)
        )
        # As a URL, because uv takes `#` in a path for the beginning of a fragment.
        arguments = [*scratch.arguments(), "--find-links", self._view.as_uri()]
        arguments += self._python_of_script(scratch)
        arguments += [part for name in names for part in ("--no-sources-package", name)]
        try:
            if again:
                arguments += _reinstall(again)
                return self._quietly(arguments, scratch=scratch, git=needed.git)
            return self._shown(arguments, scratch=scratch, git=needed.git)
        finally:
            self._restore_direct_urls()

    def _python_of_script(self, scratch: Scratch) -> Sequence[str]:
        """Name the Python of an environment to be made, which lies far from `.python-version`."""
        if not isinstance(self.project, Script) or self.flags.python or self.environment.exists():
            return ()
        in_project = (*self.project.arguments, "--config-file", str(scratch.config_file))
        return ("--python", str(self._python_to_be(in_project)))

    def _unpack(self, package: Package, supplied: Supplied) -> None:
        """Unpack a copy whose bytes were checked while they were copied."""
        if self._unpacked(package).exists():
            return
        copies = self.private / "sdists"
        copies.mkdir(exist_ok=True)
        with storing(copies):
            if not copy_verified(supplied, copies):
                raise DamagedArchiveError(f"`{supplied.path}` has changed while it was in use")
        unpack(copies / supplied.name, self._unpacked(package))

    def _shown(
        self, arguments: Sequence[str], *, scratch: Scratch | None, git: GitSupply | None = None
    ) -> SyncResult:
        """Run uv so that the user sees its output, with the project's own paths in it."""
        finished = self._uv(
            (*self.flags.passed, *self.flags.output, *arguments),
            capture=self.flags.names_paths and scratch is not None,
            git=git,
        )
        translate = scratch.translate if scratch else str
        return SyncResult(
            status=finished.status,
            stdout=translate(finished.stdout),
            stderr=translate(finished.stderr),
        )

    def _quietly(
        self, arguments: Sequence[str], *, scratch: Scratch, git: GitSupply | None
    ) -> SyncResult:
        finished = self._uv(
            (*self.flags.passed, *arguments), capture=True, cache="second-cache", git=git
        )
        return SyncResult(status=finished.status, stderr=scratch.translate(finished.stderr))

    def _restore_direct_urls(self) -> None:
        urls = {
            package.name: DirectUrl(
                url=package.source.url.exposed, subdirectory=package.source.subdirectory
            )
            for package in self.lock.packages
            if isinstance(package.source, UrlSource)
        }
        with storing(self.environment):
            restore_direct_urls(self.environment, urls)


@contextmanager
def _removing(directory: Path) -> Iterator[None]:
    """Remove *directory* in the meantime: the cache has as many files as the environment."""
    removal = Thread(target=shutil.rmtree, args=(directory,), kwargs={"ignore_errors": True})
    removal.start()
    try:
        yield
    finally:
        removal.join()


def _reinstall(names: Iterable[NormalizedName]) -> tuple[str, ...]:
    return tuple(part for name in sorted(names) for part in ("--reinstall-package", name))


def _source_of(project: Project | Script) -> str:
    return project.path.name if isinstance(project, Script) else "pyproject.toml"


def _is_built(package: Package) -> bool:
    match package.source:
        case TreeSource(kind=kind):
            return kind != "virtual"
        case GitSource(path=path):
            return path is None or not path.endswith(".whl")
        case _:
            return False


def _changes(asked: Completed) -> _Changes:
    """Read uv's report. Its schema is a preview, so whatever is missing is an error."""
    try:
        report = json.loads(asked.stdout)["sync"]
        changes = [(canonicalize_name(c["name"]), c["action"]) for c in report["changes"]]
        exists = report["action"] == "check"
        python = Path(report["environment"]["python"]["path"]) if exists else None
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            "uv's report on what it would install can't be read",
            hint="Look for a newer uv-archive",
        ) from error
    return _Changes(
        installs=frozenset(name for name, action in changes if action != "uninstalled"),
        uninstalls=frozenset(name for name, action in changes if action == "uninstalled"),
        python=python,
    )
