"""Sync: install a project from an archive, by real `uv sync` over a relocated lock.

The project isn't touched: uv works on a scratch copy, whose lock names the archive's files,
with a cache of its own. Locked files are checked against the project's own lock, and build
requirements against the archive's metadata, before anything is changed.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.archive.disk import storing
from uv_archive.digest import Digest
from uv_archive.errors import (
    ArchiveError,
    CoverageError,
    DamagedArchiveError,
    ProjectError,
    RequestError,
    StaleLockError,
    ToolError,
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
from uv_archive.lock.reader import read_lock
from uv_archive.lock.relocate import FileKey, relocate
from uv_archive.project import Project, find_project, read_pyproject, tool_uv
from uv_archive.scratch import Scratch, private_directory, scrubbed, write_scratch
from uv_archive.selection import BuildOptions, Root, Selection, select
from uv_archive.settings import Settings, read_settings
from uv_archive.sync.flags import SyncFlags, environment_path, parse_flags, with_environment
from uv_archive.sync.installed import DirectUrl, installed, restore_direct_urls
from uv_archive.sync.supply import (
    Supplied,
    Supply,
    absent,
    copy_verified,
    damaged,
    listed,
    open_supply,
)
from uv_archive.target import Target, inspect_interpreter, platform_named
from uv_archive.uv import Completed, Uv

__all__ = ["SyncReporter", "SyncRequest", "SyncResult", "sync"]

DEFAULT_ARCHIVE = Path("dist", "dependencies")
# What keeps uv to the files it is given.
_CLOSED = ("--frozen", "--offline", "--no-index")


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncRequest:
    """What a sync is asked for.

    *arguments* are flags of `uv sync`, as given. *archive* is relative to *directory*, the
    working directory; without one it is `dist/dependencies` below the workspace's root.
    *only_locked* refuses files that no lock vouches for, *expect* an archive with another digest.
    """

    arguments: Sequence[str] = ()
    archive: Path | None = None
    directory: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=dict)
    only_locked: bool = False
    expect: Digest | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncResult:
    """How uv ended. *stdout* and *stderr* are what it hasn't already shown itself.

    *distributions* were checked against the lock, *unlocked* (build requirements and wheels
    built beforehand) against the archive's own metadata.
    """

    status: int
    stdout: str = ""
    stderr: str = ""
    distributions: int = 0
    unlocked: int = 0


class SyncReporter:
    """Hears what a sync does. Every method does nothing by default."""

    def checking(self, files: int) -> None:
        """Called before *files* files are hashed."""


def sync(request: SyncRequest, *, uv: Uv, reporter: SyncReporter | None = None) -> SyncResult:
    """Install the project that *request* finds from its archive.

    uv's exit status is passed through. Raises `RequestError` and its subclasses where the
    request can't be carried out, `DamagedArchiveError` for files that aren't what they should
    be, and `StorageError`; all of them before the environment is changed.
    """
    flags = parse_flags(request.arguments)
    if flags.script is not None:
        raise RequestError("`sync --script` isn't supported yet")
    start = request.directory / (flags.directory or Path())
    project = find_project(start / (flags.project or Path()))
    lock = read_lock(project.lock_path)
    archive = (
        request.directory / request.archive if request.archive else project.root / DEFAULT_ARCHIVE
    )
    supply = open_supply(archive.absolute(), lock=lock, project=project, expect=request.expect)
    environment = environment_path(project.root, flags, request.environment, start=start)
    with private_directory(environment) as private:
        return _Sync(
            uv=uv,
            flags=flags,
            start=start,
            project=project,
            lock=lock,
            supply=supply,
            settings=read_settings(project.root, request.environment),
            environment=environment,
            variables=request.environment,
            private=private,
            only_locked=request.only_locked,
            reporter=reporter or SyncReporter(),
        ).run()


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
class _Needed:
    """The files that a sync uses.

    *locked* and *built* wheels are installed or built from, *own* likewise, which are the
    project's; *unpacked* are those of *locked* whose project lies in a subdirectory.
    """

    locked: Sequence[Supplied]
    own: Sequence[Supplied]
    unpacked: Sequence[tuple[Package, Supplied]]
    built: Sequence[Supplied] = ()
    build_requirements: Sequence[Supplied] = ()

    @property
    def unlocked(self) -> Sequence[Supplied]:
        """What the lock doesn't vouch for."""
        return [s for s in (*self.built, *self.build_requirements) if not s.locked]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sync:
    """One sync, with everything it needs."""

    uv: Uv
    flags: SyncFlags
    start: Path
    project: Project
    lock: Lock
    supply: Supply
    settings: Settings
    environment: Path
    variables: Mapping[str, str]
    private: Path
    only_locked: bool
    reporter: SyncReporter

    def run(self) -> SyncResult:
        if self.flags.locked:
            self._check_lock_is_current()
        scratch = write_scratch(
            self.project,
            lock=self._relocated(),
            directory=self.private,
            settings=self.settings.options,
        )
        settings = ("--config-file", str(scratch.config_file))
        in_project = ("--project", str(self.project.directory), *settings)
        asked = self._uv(
            (*self.flags.passed, *in_project, "--dry-run", "--output-format", "json"), capture=True
        )
        if asked.status != 0:
            # Extras that don't exist or that conflict, a Python that isn't there: uv has said it.
            return SyncResult(status=asked.status, stderr=asked.stderr)
        changes = _changes(asked)
        if changes.is_nothing:
            return self._shown(in_project, scratch=None)
        needed = self._needed(changes, in_project)
        self._check(needed)
        if self.flags.changes_nothing:
            result = self._shown(in_project, scratch=None)
        else:
            result = self._install(scratch, needed)
        return replace(result, distributions=len(needed.locked), unlocked=len(needed.unlocked))

    # Asking uv

    def _uv(self, arguments: Sequence[str], *, capture: bool) -> Completed:
        return self.uv.run(
            ["sync", *arguments, *_CLOSED],
            environment=self._variables,
            directory=self.start,
            capture=capture,
        )

    @property
    def _variables(self) -> Mapping[str, str]:
        variables = scrubbed(self.variables)
        variables["UV_PROJECT_ENVIRONMENT"] = str(self.environment)
        # Beside the environment, so that files can be linked; uv trusts what lies in a cache, so
        # nobody else may have written there, and it doesn't outlive the sync.
        variables["UV_CACHE_DIR"] = str(self.private / "cache")
        return variables

    def _check_lock_is_current(self) -> None:
        checked = self.uv.run(
            ["lock", "--check", "--offline", "--project", str(self.project.directory)],
            environment=self.variables,
            directory=self.start,
        )
        if checked.status != 0:
            said = (checked.stderr.strip().splitlines() or ["uv said nothing"])[-1]
            raise StaleLockError(
                f"`{self.project.lock_path}` isn't up to date: {said}",
                hint="Run `uv lock` and `uv-archive download`, where there is a network",
            )

    def _target(self, changes: _Changes, in_project: Sequence[str]) -> Target:
        python = changes.python or self._python_to_be(in_project)
        target = inspect_interpreter(python).target
        if self.flags.platform is not None:
            platform = platform_named(self.flags.platform, self.variables)
            target = Target(python=target.python, platform=platform)
        return target

    def _python_to_be(self, in_project: Sequence[str]) -> Path:
        """Ask uv which Python it would make the environment with."""
        asked = self.flags.python or self.variables.get("UV_PYTHON")
        python = [*self.flags.python_choice, *([asked] if asked else [])]
        found = self.uv.run(
            ["python", "find", "--system", "--offline", *in_project, *python],
            environment=self._variables,
            directory=self.start,
        )
        if found.status != 0:
            raise ToolError(f"uv finds no Python to install for: {found.stderr.strip()}")
        return Path(found.stdout.strip())

    # What is needed

    def _needed(self, changes: _Changes, in_project: Sequence[str]) -> _Needed:
        target = self._target(changes, in_project)
        selection = self._selection(target)
        names = changes.installs | self._installed_again(selection, changes)
        packages = [package for package in selection.packages if package.name in names]
        self._refuse_git(packages)
        gaps = [gap for gap in selection.gaps if gap.package.name in names]
        if gaps:
            raise CoverageError(f"The lock has no file of {listed(map(str, gaps))}")
        builds = any(_is_built(package) for package in packages) or any(
            build.package.name in names for build in selection.builds
        )
        return replace(
            self._supplied(selection, names, target),
            built=[w for p in packages if p.sdist for w in self.supply.built_wheels(p)],
            build_requirements=self._build_requirements() if builds else (),
        )

    def _build_requirements(self) -> Sequence[Supplied]:
        return [file for files in self.supply.build_requirements.values() for file in files]

    def _selection(self, target: Target) -> Selection:
        options = self.flags.options
        settings = self.settings
        no_binary, no_build = "no-binary-package", "no-build-package"
        return select(
            self.lock,
            root=Root(project=self.project.name, default_groups=self.project.default_groups),
            include=with_environment(self.flags.include, self.variables),
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

    def _refuse_git(self, packages: Sequence[Package]) -> None:
        found = [str(package) for package in packages if isinstance(package.source, GitSource)]
        if found:
            raise RequestError(
                f"`sync` doesn't support git sources yet, and needs {listed(found)}",
                hint="Leave them out with `--no-install-package`",
            )

    def _supplied(
        self, selection: Selection, names: frozenset[NormalizedName], target: Target
    ) -> _Needed:
        locked, own, unpacked, missing = [], [], [], []
        for selected in selection.distributions:
            package, distribution = selected.package, selected.distribution
            if package.name not in names:
                continue
            if isinstance(package.source, PathSource):
                own.append(self._own_file(distribution, package.source))
                continue
            supplied = self.supply.of(distribution)
            if supplied is None:
                missing.append(str(distribution.filename))
                continue
            locked.append(supplied)
            if isinstance(package.source, UrlSource) and package.source.subdirectory:
                unpacked.append((package, supplied))
        missing.extend(supplied.name for supplied in absent(locked))
        if missing:
            self._report_missing(missing, target)
        return _Needed(locked=locked, own=own, unpacked=unpacked)

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

    def _report_missing(self, missing: Sequence[str], target: Target) -> None:
        command = ["uv-archive", "download", "-o", str(self.supply.directory)]
        command += ["--python", f"{target.python.major}.{target.python.minor}"]
        command += ["--python-platform", target.platform.name, *self.flags.selecting]
        raise ArchiveError(
            f"`{self.supply.directory}` lacks {len(missing)} of the files that this sync needs: "
            f"{listed(missing)}",
            hint=f"Where there is a network, run `{' '.join(command)}`",
        )

    def _check(self, needed: _Needed) -> None:
        files = [*needed.locked, *needed.own, *needed.built]
        self.reporter.checking(len(files))
        wrong = [supplied.path for supplied in damaged(files)]
        wrong += self._fill_view(needed.build_requirements)
        if wrong:
            raise DamagedArchiveError(
                f"{len(wrong)} of the files that this sync needs aren't what they should be: "
                f"{listed(str(path) for path in wrong)}",
                hint="Nothing was changed. Copy the archive again, or repair it with "
                "`uv-archive download`",
            )
        if self.only_locked and needed.unlocked:
            names = sorted(supplied.name for supplied in needed.unlocked)
            raise RequestError(
                f"The lock doesn't vouch for {listed(names)}, which this sync needs",
                hint="Without `--only-locked` they are checked against the archive's metadata",
            )

    # Doing it

    @property
    def _view(self) -> Path:
        path = self.private / "build-requirements"
        path.mkdir(exist_ok=True)
        return path

    def _fill_view(self, files: Sequence[Supplied]) -> list[Path]:
        """Copy the build requirements to where uv may look for them; return the damaged ones."""
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

    def _install(self, scratch: Scratch, needed: _Needed) -> SyncResult:
        for package, supplied in needed.unpacked:
            self._unpack(package, supplied)
        names = sorted(self.supply.build_requirements.keys() & self._sourced())
        arguments = [*scratch.arguments(), "--find-links", str(self._view)]
        arguments += [part for name in names for part in ("--no-sources-package", name)]
        try:
            return self._shown(arguments, scratch=scratch)
        finally:
            self._restore_direct_urls()

    def _unpack(self, package: Package, supplied: Supplied) -> None:
        """Unpack a copy whose bytes were checked while they were copied."""
        copies = self.private / "sdists"
        copies.mkdir(exist_ok=True)
        with storing(copies):
            if not copy_verified(supplied, copies):
                raise DamagedArchiveError(f"`{supplied.path}` has changed while it was in use")
        _unpack(copies / supplied.name, self._unpacked(package))

    def _sourced(self) -> set[NormalizedName]:
        """Return the names that some source tree has a `tool.uv.sources` entry for.

        uv reads it for build requirements from the tree itself, and would look elsewhere.
        """
        trees = {
            self.project.root / package.source.path.text
            for package in self.lock.packages
            if isinstance(package.source, TreeSource)
        }
        names: set[NormalizedName] = set()
        for tree in (self.project.root, *trees):
            path = tree / "pyproject.toml"
            sources = tool_uv(read_pyproject(path)).get("sources") if path.is_file() else None
            if isinstance(sources, dict):
                names.update(canonicalize_name(name) for name in sources)
        return names

    def _shown(self, arguments: Sequence[str], *, scratch: Scratch | None) -> SyncResult:
        """Run uv so that the user sees its output, with the project's own paths in it."""
        finished = self._uv(
            (*self.flags.passed, *self.flags.output, *arguments),
            capture=self.flags.names_paths and scratch is not None,
        )
        translate = scratch.translate if scratch else str
        return SyncResult(
            status=finished.status,
            stdout=translate(finished.stdout),
            stderr=translate(finished.stderr),
        )

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


def _is_built(package: Package) -> bool:
    match package.source:
        case TreeSource(kind=kind):
            return kind != "virtual"
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


def _without_time(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    # As uv unpacks: sdists may have times that a wheel, a ZIP file, can't hold.
    return tarfile.data_filter(member, path).replace(mtime=None, deep=False)  # type: ignore[arg-type]


def _unpack(archive: Path, directory: Path) -> None:
    """Unpack an sdist into *directory*, without its one directory at the top."""
    temporary = directory.with_name(f"{directory.name}.unpacking")
    temporary.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as members:
                members.extractall(temporary)  # noqa: S202 - verified; it drops `..`
        else:
            with tarfile.open(archive) as members:
                members.extractall(temporary, filter=_without_time)  # noqa: S202 - filtered
        tops = list(temporary.iterdir())
        (tops[0] if len(tops) == 1 and tops[0].is_dir() else temporary).rename(directory)
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise DamagedArchiveError(f"`{archive}` can't be unpacked: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
