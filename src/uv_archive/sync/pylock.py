"""Sync from a pylock file: real `uv pip sync` over a copy that names the archive's files.

The copy has only what is installed here, with one file for each package: what the markers say
was decided before, for the same Python.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w
from packaging.utils import NormalizedName

from uv_archive.archive.disk import storing
from uv_archive.errors import (
    ArchiveError,
    CoverageError,
    DamagedArchiveError,
    LockError,
    ProjectError,
    RequestError,
    ToolError,
    UnfinishedError,
    UvArchiveError,
)
from uv_archive.fetch.git import find_git
from uv_archive.lock.model import (
    Distribution,
    GitSource,
    Package,
    PathSource,
    RegistrySource,
    TreeSource,
    UrlSource,
)
from uv_archive.lock.pylock import ROOT, read_pylock
from uv_archive.owner import cautions, settings_of
from uv_archive.pylock import PylockFile, find_pylock
from uv_archive.scratch import kept_settings, private_directory, scrubbed
from uv_archive.selection import BuildOptions, Include, Root, Selection, select
from uv_archive.settings import Settings
from uv_archive.sync.flags import (
    SyncFlags,
    environment_path,
    flags_for_pylock,
    with_environment,
)
from uv_archive.sync.git import GitSupply, open_repositories
from uv_archive.sync.installed import DirectUrl, restore_direct_urls
from uv_archive.sync.model import SyncReporter, SyncRequest, SyncResult
from uv_archive.sync.refusals import refuse
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
from uv_archive.sync.unfinished import Marks, marks
from uv_archive.sync.unpacking import unpack
from uv_archive.sync.whole import Expected, find_short
from uv_archive.target import Target, inspect_interpreter, platform_named
from uv_archive.uv import Uv

# What keeps uv to the files it is given.
_CLOSED = ("--offline", "--no-index", "--preview-features", "pylock")


def sync_pylock(
    request: SyncRequest, flags: SyncFlags, *, start: Path, uv: Uv, reporter: SyncReporter
) -> SyncResult:
    """Install what the pylock file that *request* names selects.

    It is installed into `.venv` beside the file, which is made if it isn't there, or what
    `--python` names. Raises as `sync` does.
    """
    passed = flags_for_pylock(request.arguments)
    path = start / (request.pylock or "pylock.toml")
    archive = archive_directory(request, path.parent)
    file = _file(request, path, archive, reporter)
    for message, hint in cautions(file):
        reporter.warning(message, hint)
    supply = open_supply(archive, lock=file.lock, project=file, expect=request.expect)
    environment = _named_environment(flags, start) or environment_path(
        file.root, flags, request.environment, start=start
    )
    with private_directory(environment) as private, marks(environment) as found:
        return _PylockSync(
            uv=uv,
            flags=flags,
            passed=passed,
            start=start,
            file=file,
            supply=supply,
            settings=settings_of(file, request.environment),
            environment=environment,
            variables=request.environment,
            private=private,
            request=request,
            marks=found,
            reporter=reporter,
        ).run()


def _file(request: SyncRequest, path: Path, archive: Path, reporter: SyncReporter) -> PylockFile:
    if not request.use_archived_lock:
        return find_pylock(path)
    found = archived_lock(
        archive, identity=path.name, own=path, expect=request.expect, reporter=reporter
    )
    return PylockFile(lock_path=Path(os.path.abspath(path)), lock=read_pylock(found))  # noqa: PTH100


def _named_environment(flags: SyncFlags, start: Path) -> Path | None:
    """Return the environment that `--python` names by a path: of it, or of its interpreter."""
    if flags.python is None or not (start / flags.python).exists():
        return None
    path = start / flags.python
    return path if path.is_dir() else path.parent.parent


@dataclass(frozen=True, kw_only=True, slots=True)
class _Needed:
    """The files that a sync uses; *chosen* is what each package is installed or built from."""

    chosen: Mapping[int, Supplied]
    built: Mapping[int, Sequence[Supplied]]
    build_requirements: Sequence[Supplied]
    git: GitSupply | None

    @property
    def unlocked(self) -> Sequence[Supplied]:
        built = [one for wheels in self.built.values() for one in wheels]
        used = (*self.chosen.values(), *built, *self.build_requirements)
        return [one for one in used if not one.locked]


@dataclass(frozen=True, kw_only=True, slots=True)
class _PylockSync:
    """One sync, with everything it needs."""

    uv: Uv
    flags: SyncFlags
    passed: Sequence[str]
    start: Path
    file: PylockFile
    supply: Supply
    settings: Settings
    environment: Path
    variables: Mapping[str, str]
    private: Path
    request: SyncRequest
    marks: Marks
    reporter: SyncReporter

    def run(self) -> SyncResult:
        python = self._python()
        selection = self._selection(self._target(python))
        needed = self._needed(selection)
        self._check(needed)
        if self.marks.left:
            self.reporter.interrupted()
            if not self.flags.changes_nothing:
                self.marks.clear_up()
        result = self._carried_out(python, selection, needed)
        return replace(
            result,
            distributions=len(needed.chosen) + (len(needed.git.bundles) if needed.git else 0),
            unlocked=len(needed.unlocked),
        )

    def _carried_out(self, python: Path, selection: Selection, needed: _Needed) -> SyncResult:
        copy = self._copy(selection, needed)
        if self.flags.changes_nothing:
            environment = self.environment
            if not self._exists:
                environment = self.private / "environment"
                self._make(environment, python)
            return self._install(copy, environment, needed)
        names = {package.name for package in _installable(selection)}
        self.marks.begin(names, creating=not self._exists)
        if not self._exists:
            self._make(self.environment, python)
        result = self._install(copy, self.environment, needed)
        if result.status != 0:
            return result
        short = self._repair(copy, selection, needed)
        self.marks.end()
        return replace(result, short=short)

    # The Python

    @property
    def _exists(self) -> bool:
        return (self.environment / "pyvenv.cfg").is_file() or self._named

    @property
    def _named(self) -> bool:
        return _named_environment(self.flags, self.start) is not None

    def _python(self) -> Path:
        """Return the interpreter of the environment, or that which it would be made with."""
        if self._exists:
            return interpreter_of(self.environment)
        asked = self.flags.python or self.variables.get("UV_PYTHON")
        wanted = asked or str(self.file.lock.requires_python)
        found = self.uv.run(
            [
                *("python", "find", "--system", "--no-project", "--offline", *self._configured),
                *(*self.flags.python_choice, *([wanted] if wanted else [])),
            ],
            environment=self._variables,
            directory=self.start,
        )
        if found.status != 0:
            raise ToolError(f"uv finds no Python to install for: {found.stderr.strip()}")
        return Path(found.stdout.strip())

    def _target(self, python: Path) -> Target:
        target = inspect_interpreter(python).target
        if self.flags.platform is not None:
            platform = platform_named(self.flags.platform, self.variables)
            target = Target(python=target.python, platform=platform)
        return target

    def _make(self, environment: Path, python: Path) -> None:
        made = self.uv.run(
            [
                *("venv", str(environment), "--python", str(python), "--offline"),
                *("--no-project", *self._configured),
            ],
            environment=self._variables,
            directory=self.start,
        )
        if made.status != 0:
            raise ToolError(f"uv can't make `{environment}`: {made.stderr.strip()}")

    # What is needed

    def _selection(self, target: Target) -> Selection:
        options, settings = self.flags.options, self.settings
        no_binary, no_build = "no-binary-package", "no-build-package"
        return select(
            self.file.lock,
            root=Root(project=None, default_groups=self.file.default_groups),
            include=self._include(),
            targets=[target],
            options=BuildOptions(
                no_binary=options.no_binary or settings.is_set("no-binary"),
                no_binary_packages=options.no_binary_packages | settings.names(no_binary),
                no_build=options.no_build or settings.is_set("no-build"),
                no_build_packages=options.no_build_packages | settings.names(no_build),
            ),
        )

    def _include(self) -> Include:
        """Return the selection flags; what is asked for altogether is named.

        So many go together in an archive, and not in an install.
        """
        include = with_environment(self.flags.include, self._variables)
        root = self.file.lock.packages[0]
        extras = tuple(root.optional_dependencies) if include.all_extras else include.extras
        groups = tuple(root.dependency_groups) if include.all_groups else include.groups
        return replace(include, extras=extras, all_extras=False, groups=groups, all_groups=False)

    def _needed(self, selection: Selection) -> _Needed:
        chosen: dict[int, Supplied] = {}
        missing: list[str] = []
        for selected in selection.distributions:
            supplied = self._supplied(selected.distribution, selected.package)
            if supplied is None:
                missing.append(str(selected.distribution.filename))
            else:
                chosen[selected.package.position] = supplied
        missing += [one.name for one in absent(chosen.values())]
        git = self._git(selection)
        missing += git.missing if git else ()
        refuse([*self._causes(selection, missing)])
        built = {p.position: self.supply.built_wheels(p) for p in selection.packages if p.sdist}
        requirements = [file for files in self.supply.build_requirements.values() for file in files]
        return _Needed(
            chosen=chosen,
            built={position: wheels for position, wheels in built.items() if wheels},
            build_requirements=requirements if selection.builds else (),
            git=git,
        )

    def _git(self, selection: Selection) -> GitSupply | None:
        """Make repositories of the bundles of what is installed from git, if anything is."""
        sources = [p.source for p in selection.packages if isinstance(p.source, GitSource)]
        if not sources:
            return None
        directory = self.private / "git"
        with storing(directory):
            directory.mkdir()
        return open_repositories(
            sources,
            archive=self.supply.directory,
            manifest=self.supply.manifest,
            git=find_git(self.variables),
            directory=directory,
        )

    def _supplied(self, distribution: Distribution, package: Package) -> Supplied | None:
        """Return the archive's file, or for a path of one's own, if it has none, that."""
        supplied = self.supply.of(distribution)
        if supplied is None and isinstance(package.source, PathSource):
            path = self.file.root / package.source.path.text
            digest = distribution.digest
            if digest is not None and digest.is_secure and path.is_file():
                return Supplied(name=path.name, path=path, digest=digest, locked=True)
        return supplied

    def _causes(self, selection: Selection, missing: Sequence[str]) -> Iterator[UvArchiveError]:
        """Yield what stands in the way."""
        if self.supply.contradiction:
            yield self.supply.contradiction
        counted = Counter(package.name for package in selection.packages)
        several = sorted(name for name, number in counted.items() if number > 1)
        if several:
            # "An error about the ambiguity MUST be raised": PEP 751, "Installation".
            yield LockError(f"`{self.file.identity}` has several of {listed(several)} for here")
        if selection.gaps:
            yield CoverageError(f"The lock has no file of {listed(map(str, selection.gaps))}")
        if missing:
            where = self.supply.directory
            yield ArchiveError(
                f"`{where}` lacks {len(missing)} of the files that this sync needs: "
                f"{listed(missing)}",
                hint=f"Where there is a network, run `uv-archive download --pylock "
                f"{self.file.identity} -o {where}`",
            )
        yield from self._tree_causes(selection)

    def _tree_causes(self, selection: Selection) -> Iterator[UvArchiveError]:
        for package in selection.packages:
            if not isinstance(package.source, TreeSource) or package.name == ROOT:
                continue
            tree = Path(os.path.normpath(self.file.root / package.source.path.text))
            if self.request.use_archived_lock and not tree.is_relative_to(self.file.root):
                yield LockError(f"The archived lock names `{tree}`, which isn't the archive's")
            elif not tree.is_dir():
                yield ProjectError(f"`{tree}`, a source tree that the lock names, isn't there")

    def _check(self, needed: _Needed) -> None:
        built = [one for wheels in needed.built.values() for one in wheels]
        files = [*needed.chosen.values(), *built]
        self.reporter.checking(len(files))
        wrong = [supplied.path for supplied in damaged(files)]
        with storing(self._view):
            self._view.mkdir()
            wrong += [
                one.path for one in needed.build_requirements if not copy_verified(one, self._view)
            ]
        wrong += needed.git.damaged if needed.git else ()
        if wrong:
            raise DamagedArchiveError(
                f"{len(wrong)} of the files that this sync needs aren't what they should be: "
                f"{listed(map(str, wrong))}",
                hint="Nothing was changed. Copy the archive again, or repair it with "
                "`uv-archive download`",
            )
        if self.request.only_locked and needed.unlocked:
            names = sorted(supplied.name for supplied in needed.unlocked)
            raise RequestError(
                f"The lock doesn't vouch for {listed(names)}, which this sync needs",
                hint="Without `--only-locked` they are checked against the archive's metadata",
            )

    # Doing it

    @property
    def _view(self) -> Path:
        return self.private / "build-requirements"

    @property
    def _configured(self) -> Sequence[str]:
        path = self.private / "uv.toml"
        if not path.exists():
            with storing(path):
                path.write_bytes(tomli_w.dumps(kept_settings(self.settings.options)).encode())
        return ("--config-file", str(path))

    @property
    def _variables(self) -> Mapping[str, str]:
        variables = scrubbed(self.variables)
        variables.pop("VIRTUAL_ENV", None)
        # What it means was asked already, and uv would take it for another environment.
        variables.pop("UV_PYTHON", None)
        return {**variables, "UV_CACHE_DIR": str(self.private / "cache")}

    def _copy(self, selection: Selection, needed: _Needed) -> Path:
        document: dict[str, object] = {"lock-version": "1.0", "created-by": "uv-archive"}
        document["packages"] = [self._entry(package, needed) for package in _installable(selection)]
        path = self.private / "pylock.toml"
        with storing(path):
            path.write_bytes(tomli_w.dumps(document).encode())
        return path

    def _entry(self, package: Package, needed: _Needed) -> dict[str, object]:
        entry: dict[str, object] = {"name": package.name}
        if package.version is not None:
            entry["version"] = str(package.version)
        match package.source:
            case TreeSource(kind=kind, path=path):
                tree = os.path.normpath(self.file.root / path.text)
                return {**entry, "directory": {"path": tree, "editable": kind == "editable"}}
            case UrlSource(subdirectory=str(subdirectory)):
                tree = str(self._unpacked(needed.chosen[package.position]) / subdirectory)
                return {**entry, "directory": {"path": tree}}
            case UrlSource() | PathSource():
                return {**entry, "archive": _described(needed.chosen[package.position])}
            case RegistrySource():
                return {**entry, **_files(package, needed)}
            case GitSource():
                table = self.file.lock.document["packages"][package.position - 1]
                return {**entry, "vcs": table["vcs"]}

    def _unpacked(self, supplied: Supplied) -> Path:
        copies, trees = self.private / "sdists", self.private / "trees"
        with storing(copies):
            copies.mkdir(exist_ok=True)
            trees.mkdir(exist_ok=True)
            if not copy_verified(supplied, copies):
                raise DamagedArchiveError(f"`{supplied.path}` has changed while it was in use")
        unpack(copies / supplied.name, trees / supplied.name)
        return trees / supplied.name

    def _install(
        self,
        copy: Path,
        environment: Path,
        needed: _Needed,
        *,
        again: Sequence[NormalizedName] = (),
    ) -> SyncResult:
        names = sorted(
            self.supply.build_requirements.keys()
            & sourced(self.file.lock, root=self.file.root, git=needed.git)
        )
        python = self.flags.python if self._named else None
        arguments = [
            *("pip", "sync", str(copy), "--python", python or str(interpreter_of(environment))),
            *("--find-links", self._view.as_uri(), *self._configured, *_CLOSED),
            *(part for name in names for part in ("--no-sources-package", name)),
            *self.passed,
            *(part for name in again for part in ("--reinstall-package", name)),
        ]
        variables = needed.git.variables(self._variables) if needed.git else self._variables
        if again:
            # What was installed from the first may be linked to it, and be damaged there too.
            variables = {**variables, "UV_CACHE_DIR": str(self.private / "second-cache")}
        finished = self.uv.run(
            arguments, environment=variables, directory=self.start, capture=bool(again)
        )
        if not self.flags.changes_nothing:
            with storing(environment):
                restore_direct_urls(environment, self._direct_urls())
        return SyncResult(status=finished.status, stdout=finished.stdout, stderr=finished.stderr)

    def _direct_urls(self) -> Mapping[NormalizedName, DirectUrl]:
        return {
            package.name: DirectUrl(
                url=package.source.url.exposed, subdirectory=package.source.subdirectory
            )
            for package in self.file.lock.packages
            if isinstance(package.source, UrlSource)
        }

    def _repair(
        self, copy: Path, selection: Selection, needed: _Needed
    ) -> tuple[NormalizedName, ...]:
        """Install what isn't whole again, once. Raises `UnfinishedError`."""
        short = self._short(selection)
        if not short:
            return ()
        self.reporter.short(short, repairing=True)
        result = self._install(copy, self.environment, needed, again=sorted(short))
        left = self._short(selection)
        if result.status == 0 and not left:
            return tuple(sorted(short))
        raise UnfinishedError(
            f"{len(left or short)} of the distributions aren't whole, and installing them again "
            "didn't help: " + "; ".join(f"`{n}`: {f}" for n, f in sorted((left or short).items())),
            hint="Remove the environment",
        )

    def _short(self, selection: Selection) -> Mapping[NormalizedName, str]:
        wheels = {
            selected.package.position: supplied.path
            for selected in selection.distributions
            if selected.distribution.is_wheel
            if (supplied := self._supplied(selected.distribution, selected.package))
        }
        expected = [
            Expected(name=package.name, version=package.version, wheel=wheels.get(package.position))
            for package in _installable(selection)
        ]
        with storing(self.environment, doing="read"):
            return find_short(
                self.environment,
                expected,
                thorough=self.request.verify_install or bool(self.marks.left),
                signed=True,
            )


def _installable(selection: Selection) -> Sequence[Package]:
    return [package for package in selection.packages if package.name != ROOT]


def _files(package: Package, needed: _Needed) -> dict[str, object]:
    chosen = needed.chosen[package.position]
    if chosen.name.endswith(".whl"):
        return {"wheels": [_described(chosen)]}
    built = [_described(wheel) for wheel in needed.built.get(package.position, ())]
    return {"sdist": _described(chosen), **({"wheels": built} if built else {})}


def _described(supplied: Supplied) -> dict[str, object]:
    return {
        "path": str(supplied.path),
        "hashes": {supplied.digest.algorithm: supplied.digest.hex},
    }


def interpreter_of(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    windows = environment / "Scripts" / "python.exe"
    return windows if windows.exists() else environment / "bin" / "python"
