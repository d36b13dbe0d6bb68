"""Install from a pylock file: real `uv pip sync` over a copy that names the archive's files.

The copy has only what is installed here, with one file for each package: what the markers say
was decided before, for the same Python.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tomli_w
from packaging.utils import NormalizedName

from uv_archive.archive.disk import storing
from uv_archive.errors import LockError, ProjectError, ToolError, UvArchiveError
from uv_archive.lock.model import (
    GitSource,
    Package,
    PathSource,
    RegistrySource,
    TreeSource,
    UrlSource,
)
from uv_archive.lock.pylock import ROOT
from uv_archive.pylock import PylockFile
from uv_archive.selection import Selection
from uv_archive.sync.calls import find_python, run_uv, settings_file
from uv_archive.sync.case import (
    Case,
    Changes,
    case_of,
    file_of,
    installable,
    selection_for,
    target_of,
)
from uv_archive.sync.installer import (
    build_arguments,
    reinstall,
    replacing_wheels,
    restore_urls,
    tree_of,
    unpack_all,
)
from uv_archive.sync.model import SyncResult
from uv_archive.sync.needed import Needed
from uv_archive.sync.reading import named_environment
from uv_archive.sync.supply import Supplied, listed
from uv_archive.sync.task import Task, interpreter_of
from uv_archive.sync.whole import dist_infos, has_version

# What keeps uv to the files it is given.
_CLOSED = ("--offline", "--no-index", "--preview-features", "pylock")


# What makes uv install what is there.
_ANEW = ("--reinstall", "--force-reinstall", "--config-setting", "-C")


@dataclass(kw_only=True)
class PylockInstaller:
    """Installs what a pylock file selects, into an environment that is made if need be."""

    task: Task
    file: PylockFile

    def case(self, *, found: Callable[[Path], None]) -> Case | SyncResult:
        found(self._python)
        target = target_of(self.task, self._python)
        selection = selection_for(self.task, target)
        files = self._files(selection)
        changes = self._changes(selection, files)
        return case_of(
            self.task,
            changes,
            python=self._python,
            target=target,
            selection=selection,
            install=changes.installs,
            causes=tuple(self._causes(selection)),
        )

    def show(self, case: Case, needed: Needed) -> SyncResult:
        environment = self.task.environment
        if not self._exists:
            environment = self.task.private / "environment"
            self._make(environment)
        return self._run(case, needed, environment=environment)

    def install(
        self, case: Case, needed: Needed, *, again: Collection[NormalizedName] = ()
    ) -> SyncResult:
        environment = self.task.environment
        if not self._exists:
            self._make(environment)
        try:
            return self._run(case, needed, environment=environment, again=again)
        finally:
            restore_urls(self.task, needed)

    def touched(self, short: Collection[NormalizedName]) -> frozenset[NormalizedName]:
        return frozenset(short)

    # What there is to do

    def _changes(self, selection: Selection, files: Mapping[int, Supplied]) -> Changes:
        """Foresee what uv would do: all of that, and maybe more.

        It asks what is installed for its version and where it came from.
        """
        packages = installable(selection)
        every = frozenset(package.name for package in packages)
        if not self._exists:
            return Changes(installs=every)
        there = dist_infos(self.task.environment)
        anew = any(flag.startswith(_ANEW) for flag in self.task.flags.passed)
        stay = (
            package.name
            for package in packages
            if package.position in files and _is_there(package, there.get(package.name, ()))
        )
        return Changes(
            installs=every if anew else every.difference(stay),
            uninstalls=frozenset(there.keys() - every),
            python=self._python,
        )

    def _causes(self, selection: Selection) -> Iterator[UvArchiveError]:
        """Yield what stands in the way, whatever the archive has."""
        counted = Counter(package.name for package in selection.packages)
        several = sorted(name for name, number in counted.items() if number > 1)
        if several:
            # "An error about the ambiguity MUST be raised": PEP 751, "Installation".
            yield LockError(f"`{self.file.identity}` has several of {listed(several)} for here")
        for package in selection.packages:
            if isinstance(package.source, TreeSource) and package.name != ROOT:
                yield from self._tree_causes(package.source)

    def _tree_causes(self, source: TreeSource) -> Iterator[UvArchiveError]:
        tree = Path(os.path.normpath(self.file.root / source.path.text))
        if self.task.request.use_archived_lock and not tree.is_relative_to(self.file.root):
            yield LockError(f"The archived lock names `{tree}`, which isn't the archive's")
        elif not tree.is_dir():
            yield ProjectError(f"`{tree}`, a source tree that the lock names, isn't there")

    # The environment

    @property
    def _exists(self) -> bool:
        return self._is_named or (self.task.environment / "pyvenv.cfg").is_file()

    @property
    def _is_named(self) -> bool:
        return named_environment(self.task.flags, self.task.start) is not None

    @cached_property
    def _python(self) -> Path:
        """The interpreter of the environment, or that which it would be made with."""
        task = self.task
        if self._exists:
            return interpreter_of(task.environment)
        asked = task.flags.python or task.request.environment.get("UV_PYTHON")
        wanted = asked or str(self.file.lock.requires_python)
        where = ["--system", "--no-project", "--config-file", str(settings_file(task))]
        return find_python(task, where=where, wanted=wanted)

    def _make(self, environment: Path) -> None:
        made = run_uv(
            self.task,
            [
                *("venv", str(environment), "--python", str(self._python), "--offline"),
                *("--no-project", "--config-file", str(settings_file(self.task))),
            ],
            capture=True,
        )
        if made.status != 0:
            raise ToolError(f"uv can't make `{environment}`: {made.stderr.strip()}")

    # Doing it

    def _run(
        self,
        case: Case,
        needed: Needed,
        *,
        environment: Path,
        again: Collection[NormalizedName] = (),
    ) -> SyncResult:
        task = self.task
        unpack_all(task, needed)
        python = task.flags.python if self._is_named else None
        arguments = [
            *("pip", "sync", str(self._copy(case, needed))),
            *("--python", python or str(interpreter_of(environment))),
            *("--config-file", str(settings_file(task)), *_CLOSED),
            *self._constraints(needed),
            *(*build_arguments(task, needed), *task.flags.passed, *reinstall(again)),
        ]
        finished = run_uv(task, arguments, capture=bool(again), git=needed.git, again=bool(again))
        return SyncResult(status=finished.status, stdout=finished.stdout, stderr=finished.stderr)

    def _constraints(self, needed: Needed) -> Sequence[str]:
        lines = [
            f"{one.name}=={one.version} --hash={one.file.digest}\n"
            for one in needed.pins.constraints()
        ]
        if not lines:
            return ()  # uv warns of a file that constrains nothing.
        path = self.task.private / "build-constraints.txt"
        with storing(path):
            path.write_text("".join(lines))
        return ("--build-constraints", str(path))

    def _copy(self, case: Case, needed: Needed) -> Path:
        files = {**self._files(case.selection), **replacing_wheels(self.task, case, needed)}
        entries = [self._entry(package, files, needed) for package in installable(case.selection)]
        document = {"lock-version": "1.0", "created-by": "uv-archive", "packages": entries}
        path = self.task.private / "pylock.toml"
        with storing(path):
            path.write_bytes(tomli_w.dumps(document).encode())
        return path

    def _files(self, selection: Selection) -> Mapping[int, Supplied]:
        """Return the file that each package is installed or built from, by its position."""
        return {
            selected.package.position: supplied
            for selected in selection.distributions
            if (supplied := file_of(self.task, selected.distribution, selected.package))
        }

    def _entry(
        self, package: Package, files: Mapping[int, Supplied], needed: Needed
    ) -> dict[str, object]:
        entry: dict[str, object] = {"name": package.name}
        if package.version is not None:
            entry["version"] = str(package.version)
        wheels = needed.wheels.get(package.position, ())
        match package.source:
            case RegistrySource():
                return {**entry, **_choice(files.get(package.position), wheels)}
            case _ if wheels:
                return {**entry, "archive": _described(files[package.position])}
            case TreeSource(kind=kind, path=path):
                tree = os.path.normpath(self.file.root / path.text)
                return {**entry, "directory": {"path": tree, "editable": kind == "editable"}}
            case UrlSource(subdirectory=str()):
                return {**entry, "directory": {"path": str(tree_of(self.task, package))}}
            case UrlSource() | PathSource():
                return {**entry, "archive": _described(files[package.position])}
            case GitSource():
                table = self.file.lock.document["packages"][package.position - 1]
                return {**entry, "vcs": table["vcs"]}


def _is_there(package: Package, infos: Sequence[Path]) -> bool:
    """Whether uv takes what is installed for *package*: of others than an index's it asks more."""
    if len(infos) != 1 or not isinstance(package.source, RegistrySource):
        return False
    return has_version(infos[0], package.version) and not (infos[0] / "direct_url.json").exists()


def _choice(file: Supplied | None, built: Sequence[Supplied]) -> dict[str, object]:
    if file is not None and file.name.endswith(".whl"):
        return {"wheels": [_described(file)]}
    sdist: dict[str, object] = {"sdist": _described(file)} if file else {}
    return sdist | ({"wheels": [_described(wheel) for wheel in built]} if built else {})


def _described(supplied: Supplied) -> dict[str, object]:
    return {
        "path": str(supplied.path),
        "hashes": {supplied.digest.algorithm: supplied.digest.hex},
    }
