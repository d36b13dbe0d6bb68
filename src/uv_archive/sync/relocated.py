"""Install projects and scripts: real `uv sync` over a scratch copy with a relocated lock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.archive.disk import storing
from uv_archive.digest import Digest
from uv_archive.errors import ToolError, UvArchiveError
from uv_archive.lock.model import RegistrySource, UrlSource
from uv_archive.lock.relocate import BuildConstraint, FileKey, Lent, anchor, relocate
from uv_archive.project import Project
from uv_archive.scratch import Scratch, write_scratch
from uv_archive.script import Script
from uv_archive.selection import Selection
from uv_archive.sync.ahead import hash_ahead
from uv_archive.sync.calls import find_python, naming, run_uv, settings_file, variables_of
from uv_archive.sync.case import (
    Case,
    Changes,
    case_of,
    installable,
    lent_groups,
    read_changes,
    selection_for,
    target_of,
    wheels_built,
)
from uv_archive.sync.installed import installed
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
from uv_archive.sync.refusals import refuse
from uv_archive.sync.task import Task
from uv_archive.uv import Completed

# What keeps uv to the files it is given.
_CLOSED = ("--frozen", "--offline", "--no-index")
_REPORT = ("--dry-run", "--output-format", "json")


@dataclass(kw_only=True)
class RelocatedInstaller:
    """Installs a project or a script. uv is asked about that itself, and installs the copy."""

    task: Task
    owner: Project | Script

    def case(self, *, found: Callable[[Path], None]) -> Case | SyncResult:
        case = self._foreseen(found) or self._asked()
        if isinstance(case, Case):
            lent_groups(self.task, case.selection)  # Refused before anything is changed.
        return case

    def _asked(self) -> Case | SyncResult:
        """Ask uv what it would do. If it would fail, that is the result."""
        asked = self._uv((*self._asking, *_REPORT), capture=True, asking=True)
        if asked.status != 0:
            contradiction = self.task.supply.contradiction
            refuse([contradiction] if contradiction else [])
            # Extras that don't exist or that conflict, a Python that isn't there: uv has said it.
            return SyncResult(status=asked.status, stderr=asked.stderr)
        changes = read_changes(asked)
        python = changes.python or self._python_to_be()
        target = target_of(self.task, python)
        selection = selection_for(self.task, target)
        install = changes.installs
        if not changes.is_nothing:
            install |= self._installed_again(selection, changes)
        return case_of(
            self.task, changes, python=python, target=target, selection=selection, install=install
        )

    def _foreseen(self, found: Callable[[Path], None]) -> Case | None:
        """Foresee what uv would do where there is no environment yet: install the selection.

        Asking takes as long as all else that is done here. Whatever isn't plain is asked.
        """
        flags = self.task.flags
        if self.task.environment.exists() or flags.changes_nothing or flags.leaves_some:
            return None
        if any(name.startswith("UV_NO_INSTALL") for name in variables_of(self.task)):
            return None
        ahead = self.task.meanwhile.submit(hash_ahead, self.task)
        try:
            python = self._python_to_be()
            found(python)
            target = target_of(self.task, python)
            selection = selection_for(self.task, target)
        except UvArchiveError:
            self.task.reading.result()  # What is wrong with the lock or the archive goes first.
            return None
        finally:
            ahead.result()
        wheels = self.task.supply.built_wheels
        if any(not wheels(gap.package, target) for gap in selection.gaps):
            return None
        install = frozenset(package.name for package in installable(selection))
        return case_of(
            self.task,
            Changes(),
            python=python,
            target=target,
            selection=selection,
            install=install,
        )

    def _installed_again(self, selection: Selection, changes: Changes) -> frozenset[NormalizedName]:
        """Return what uv installs again though it needn't.

        An installed distribution names its URL, and the relocated lock names a file.
        """
        there = installed(self.task.environment).keys() - changes.uninstalls
        return frozenset(
            package.name
            for package in selection.packages
            if isinstance(package.source, UrlSource) and package.name in there
        )

    def show(self, case: Case, needed: Needed) -> SyncResult:
        del case, needed
        return self._shown(self._asking, scratch=None, needed=Needed())

    def install(
        self, case: Case, needed: Needed, *, again: Collection[NormalizedName] = ()
    ) -> SyncResult:
        lent = lent_groups(self.task, case.selection)
        scratch = write_scratch(
            self.owner,
            lock=self._relocated(case, needed, lent),
            directory=self.task.private,
            settings=self.task.settings.options,
        )
        unpack_all(self.task, needed)
        arguments = [*_without_groups(self.task.flags.passed, self._borrowed(lent))]
        arguments += [*scratch.arguments(), *build_arguments(self.task, needed)]
        arguments += self._python_of_script(scratch)
        arguments += naming(self.task, case.python)
        try:
            if again:
                arguments += reinstall(again)
                return self._quietly(arguments, scratch=scratch, needed=needed)
            return self._shown(arguments, scratch=scratch, needed=needed)
        finally:
            restore_urls(self.task, needed)

    def _borrowed(self, lent: Lent | None) -> Collection[NormalizedName]:
        """Return the groups that uv doesn't know of the member that it installs."""
        root = self.task.lock.root
        if lent is None or root is None:
            return ()
        member = self.task.lock.packages[lent.to]
        return root.dependency_groups.keys() - member.dependency_groups.keys()

    def touched(self, short: Collection[NormalizedName]) -> frozenset[NormalizedName]:
        asked = self._uv(
            (*self._asking, *reinstall(short), *_REPORT),
            capture=True,
            asking=True,
            # The first cache is being removed meanwhile.
            again=True,
        )
        if asked.status != 0:
            raise ToolError(f"uv can't say what it would install again: {asked.stderr.strip()}")
        return read_changes(asked).installs & frozenset(short)

    # The copy

    def _relocated(self, case: Case, needed: Needed, lent: Lent | None) -> bytes:
        files: dict[FileKey, Path] = {}
        digests: dict[FileKey, Digest] = {}
        lock, supply = self.task.lock, self.task.supply
        for package in lock.packages:
            supplied = [s for d in package.distributions if (s := supply.of(d))]
            if isinstance(package.source, RegistrySource):
                supplied += needed.wheels.get(package.position, ())
                # Of what stays installed uv wants a file, too.
                supplied = supplied or list(wheels_built(self.task, case.target, package))
            for one in supplied:
                files[package.position, one.name] = one.path
                digests[package.position, one.name] = one.digest
        return relocate(
            lock,
            files=files,
            digests=digests,
            project_root=self.owner.root,
            trees={p.position: tree for p in lock.packages if (tree := tree_of(self.task, p))},
            wheels={
                position: (wheel.path, wheel.digest)
                for position, wheel in replacing_wheels(self.task, case, needed).items()
            },
            build_constraints=[
                BuildConstraint(name=one.name, version=one.version, digest=one.file.digest)
                for one in needed.pins.constraints()
            ],
            root_lends=lock.root not in case.selection.packages,
            lent=lent,
        )

    def _python_of_script(self, scratch: Scratch) -> Sequence[str]:
        """Name the Python of an environment to be made, which lies far from `.python-version`."""
        task = self.task
        if isinstance(self.owner, Project) or task.flags.python or task.environment.exists():
            return ()
        in_project = (*self.owner.arguments, "--config-file", str(scratch.config_file))
        return ("--python", str(self._python_with(in_project)))

    # Calling uv

    @cached_property
    def _asking(self) -> Sequence[str]:
        """The arguments by which uv is asked about the project itself.

        With `--no-build` it wouldn't answer: of wheels that were built its lock knows nothing.
        """
        passed, in_project = self.task.flags.passed, self._in_project
        if not self.task.supply.built:
            return (*passed, *in_project)
        settings = ("--config-file", str(settings_file(self.task, building=True)))
        return (*_without_no_build(passed), *in_project[:-2], *settings)

    @cached_property
    def _in_project(self) -> Sequence[str]:
        """The arguments by which uv works on the project itself, with its own lock.

        Where it has none, there is a scratch copy, with the archived lock as it is.
        """
        task = self.task
        if not task.request.use_archived_lock:
            return (*self.owner.arguments, "--config-file", str(settings_file(task)))
        directory = task.private / "as-locked"
        with storing(directory):
            directory.mkdir()
        return write_scratch(
            self.owner,
            lock=anchor(task.lock, project_root=self.owner.root),
            directory=directory,
            settings=task.settings.options,
        ).arguments()

    def _python_to_be(self) -> Path:
        return self._python_with(self._in_project)

    def _python_with(self, in_project: Sequence[str]) -> Path:
        task = self.task
        asked = task.flags.python or task.request.environment.get("UV_PYTHON")
        where = ["--system", *in_project]
        if isinstance(self.owner, Script):
            where = ["--no-project", *in_project[-2:]] if asked else [*in_project]
        return find_python(task, where=where, wanted=asked)

    def _shown(
        self, arguments: Sequence[str], *, scratch: Scratch | None, needed: Needed
    ) -> SyncResult:
        """Run uv so that the user sees its output, with the project's own paths in it."""
        flags = self.task.flags
        finished = self._uv(
            (*arguments, *flags.output),
            capture=flags.names_paths and scratch is not None,
            needed=needed,
            asking=scratch is None,
        )
        result = SyncResult(status=finished.status, stdout=finished.stdout, stderr=finished.stderr)
        return _translated(result, scratch) if scratch else result

    def _quietly(self, arguments: Sequence[str], *, scratch: Scratch, needed: Needed) -> SyncResult:
        finished = self._uv(arguments, capture=True, needed=needed, again=True)
        return _translated(SyncResult(status=finished.status, stderr=finished.stderr), scratch)

    def _uv(
        self,
        arguments: Sequence[str],
        *,
        capture: bool,
        needed: Needed | None = None,
        again: bool = False,
        asking: bool = False,
    ) -> Completed:
        # uv's own place for a script's environment is in the cache, which here is another one.
        active = isinstance(self.owner, Script) and not self.task.flags.active
        return run_uv(
            self.task,
            ["sync", *arguments, *_CLOSED, *(("--active",) if active else ())],
            capture=capture,
            git=needed.git if needed else None,
            again=again,
            asking=asking,
        )


def _without_no_build(flags: Sequence[str]) -> Iterator[str]:
    rest = iter(flags)
    for flag in rest:
        match flag.partition("="):
            case ("--no-build-package", "", _):
                next(rest, None)
            case ("--no-build" | "--no-build-package", _, _):
                continue
            case _:
                yield flag


def _without_groups(flags: Sequence[str], groups: Collection[NormalizedName]) -> Iterator[str]:
    """Yield *flags* but for those that name *groups*."""
    rest = iter(flags)
    for flag in rest:
        name, equals, value = flag.partition("=")
        is_one = name in ("--group", "--no-group")
        text = [flag] if equals or not is_one else [flag, value := next(rest, "")]
        if not is_one or canonicalize_name(value) not in groups:
            yield from text


def _translated(result: SyncResult, scratch: Scratch) -> SyncResult:
    return replace(
        result,
        stdout=scratch.translate(result.stdout),
        stderr=scratch.translate(result.stderr),
    )
