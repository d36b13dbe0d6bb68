"""What there is to do, decided before anything is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.archive.build_settings import public_settings, settings_digest, with_given
from uv_archive.errors import RequestError, ToolError, UvArchiveError
from uv_archive.lock.model import Distribution, Package, PathSource, TreeSource
from uv_archive.lock.relocate import Lent
from uv_archive.owner import default_groups_of
from uv_archive.pylock import PylockFile
from uv_archive.selection import (
    BuildOptions,
    Include,
    Root,
    Selection,
    select,
    select_all_platforms,
)
from uv_archive.selection.starting import starting_point
from uv_archive.sync.calls import variables_of
from uv_archive.sync.flags import settings_given, with_environment
from uv_archive.sync.supply import Supplied
from uv_archive.sync.task import Task, interpreter_of
from uv_archive.sync.whole import Expected
from uv_archive.target import Target, inspect_interpreter, platform_named
from uv_archive.uv import Completed


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What uv would do. *python* is that of the environment, if it stays the one there is."""

    installs: frozenset[NormalizedName] = frozenset()
    uninstalls: frozenset[NormalizedName] = frozenset()
    python: Path | None = None

    @property
    def is_nothing(self) -> bool:
        return not self.installs and not self.uninstalls and self.python is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What there is to do: uv's *changes*, and of the *selection* the names to *install* anew.

    *python* is the interpreter. *expected* are the distributions that have to be whole
    afterwards. *causes* stand in the way, whatever the archive has.
    """

    changes: Changes
    python: Path
    target: Target
    selection: Selection
    install: frozenset[NormalizedName]
    expected: Sequence[Expected]
    causes: Sequence[UvArchiveError] = ()


def case_of(
    task: Task,
    changes: Changes,
    *,
    python: Path,
    target: Target,
    selection: Selection,
    install: frozenset[NormalizedName],
    causes: Sequence[UvArchiveError] = (),
) -> Case:
    """Put together what there is to do."""
    return Case(
        changes=changes,
        python=python,
        target=target,
        selection=selection,
        install=install,
        expected=tuple(_expected(task, selection, install)),
        causes=causes,
    )


def read_changes(asked: Completed) -> Changes:
    """Read uv's report. Its schema is a preview, so whatever is missing is a `ToolError`."""
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
    return Changes(
        installs=frozenset(name for name, action in changes if action != "uninstalled"),
        uninstalls=frozenset(name for name, action in changes if action == "uninstalled"),
        python=python,
    )


def target_of(task: Task, python: Path) -> Target:
    """Return what is installed for, with *python*. Raises `ToolError`."""
    ahead = task.inspecting if python == interpreter_of(task.environment) else None
    target = (ahead.result() if ahead else inspect_interpreter(python)).target
    if task.flags.platform is not None:
        platform = platform_named(task.flags.platform, task.request.environment)
        target = Target(python=target.python, platform=platform)
    return target


def selection_for(task: Task, target: Target) -> Selection:
    """Return what *task* asks for, for one target. Raises `SelectionError`."""
    owner = task.owner
    return select(
        task.lock,
        root=Root(project=owner.name, default_groups=default_groups_of(owner, owner.name)),
        include=_include(task),
        targets=[target],
        options=build_options(task),
    )


def selection_anywhere(task: Task) -> Selection:
    """Return what *task* asks for, on whatever platform. Raises `SelectionError`."""
    owner = task.owner
    return select_all_platforms(
        task.lock,
        root=Root(project=owner.name, default_groups=default_groups_of(owner, owner.name)),
        include=_include(task),
        pythons=(),
        representatives=(),
        options=build_options(task),
        sdists=False,
    )


def lent_groups(task: Task, selection: Selection) -> Lent | None:
    """Return what groups, maybe none, the workspace's root lends to a member that depends on it.

    `None` where it can't lend any. Raises `RequestError` where that can't be installed.
    """
    lock, root = task.lock, task.lock.root
    if root is None or isinstance(task.owner, PylockFile) or root not in selection.packages:
        return None
    owner = task.owner
    start = Root(project=owner.name, default_groups=default_groups_of(owner, owner.name))
    starting = starting_point(lock, start, _include(task))
    groups = starting.groups.get(root.position, ())
    members = [position for position in starting.production if position != root.position]
    if root.position in starting.production or (not groups and len(members) != 1):
        return None
    conflicting = {item.name for items in lock.conflicts for item in items if item.kind == "group"}
    if len(members) != 1 or conflicting & set(groups):
        named = " and ".join(f"`{group}`" for group in groups)
        raise RequestError(
            f"uv can't install the group {named} of the workspace's root here, and `{root.name}` "
            "itself as well",
            hint="Install the root by itself with that group: leave `--package` out",
        )
    return Lent(to=members[0], groups=groups)


def build_options(task: Task) -> BuildOptions:
    """Return what may be built, and what has to be."""
    options, settings = task.flags.options, task.settings
    no_binary, no_build = "no-binary-package", "no-build-package"
    return BuildOptions(
        no_binary=options.no_binary or settings.is_set("no-binary"),
        no_binary_packages=options.no_binary_packages | settings.names(no_binary),
        no_build=options.no_build or settings.is_set("no-build"),
        no_build_packages=options.no_build_packages | settings.names(no_build),
    )


def _include(task: Task) -> Include:
    """Return the selection flags; what is asked for of a pylock file altogether is named.

    So many go together in an archive, and not in an install.
    """
    include = with_environment(task.flags.include, variables_of(task))
    if not isinstance(task.owner, PylockFile):
        return include
    root = task.lock.packages[0]
    extras = tuple(root.optional_dependencies) if include.all_extras else include.extras
    groups = tuple(root.dependency_groups) if include.all_groups else include.groups
    return replace(include, extras=extras, all_extras=False, groups=groups, all_groups=False)


def installable(selection: Selection) -> Sequence[Package]:
    """Return the packages of which something is installed."""
    return [package for package in selection.packages if not _is_virtual(package)]


def _is_virtual(package: Package) -> bool:
    return isinstance(package.source, TreeSource) and package.source.kind == "virtual"


def wheels_built(task: Task, target: Target, package: Package) -> Sequence[Supplied]:
    """Return the wheels of *package* that were built beforehand, and that may be installed.

    What builds are told now is what these were told.
    """
    return [supplied for supplied, is_alike in _built(task, target, package) if is_alike]


def was_built_otherwise(task: Task, target: Target, package: Package) -> bool:
    """Whether *package* has wheels that would do, had they been built with these settings."""
    return any(not is_alike for _, is_alike in _built(task, target, package))


def _built(task: Task, target: Target, package: Package) -> Sequence[tuple[Supplied, bool]]:
    if build_options(task).forbids_wheel(package.name) or isinstance(package.source, TreeSource):
        return ()
    wheels = task.supply.built_wheels(package, target)
    if not wheels:
        return ()
    digest = settings_digest(public_settings(settings_for_builds(task)), package.name)
    return [(supplied, wheel.why.settings == digest) for wheel, supplied in wheels]


def settings_for_builds(task: Task) -> Mapping[str, object]:
    """Return uv's settings, and what flags tell build backends besides."""
    return with_given(task.settings.options, settings_given(task.request.arguments))


def file_of(task: Task, distribution: Distribution, package: Package) -> Supplied | None:
    """Return the file that stands for *distribution*, as far as is recorded.

    A path in a project's lock is the project's own file; of a pylock file's the archive has one.
    """
    supplied = task.supply.of(distribution)
    if not isinstance(package.source, PathSource):
        return supplied
    if supplied is not None and isinstance(task.owner, PylockFile):
        return supplied
    path = task.owner.root / package.source.path.text
    digest = distribution.digest
    if digest is None or not path.is_file():
        return None
    if not digest.is_secure and isinstance(task.owner, PylockFile):
        return None
    name = str(distribution.filename)
    return Supplied(name=name, path=path, digest=digest, locked=digest.is_secure)


def _expected(
    task: Task, selection: Selection, install: frozenset[NormalizedName]
) -> Iterator[Expected]:
    wheels = {
        selected.package.position: supplied.path
        for selected in selection.distributions
        if selected.distribution.is_wheel
        # Where it isn't there, comparing sizes, the environment's record may do instead.
        if (supplied := file_of(task, selected.distribution, selected.package))
        if supplied.path.is_file()
    }
    for package in installable(selection):
        yield Expected(
            name=package.name,
            version=package.version,
            wheel=wheels.get(package.position),
            required=package.name in install,
        )
