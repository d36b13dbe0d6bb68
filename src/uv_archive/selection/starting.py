"""Where an install starts: the roots, extras and groups that flags and defaults come to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.errors import SelectionError
from uv_archive.lock.model import ConflictItem, Lock, Package
from uv_archive.selection.model import Include, LeftOut, Root

_DEV = canonicalize_name("dev")


@dataclass(frozen=True, kw_only=True, slots=True)
class Starting:
    """What an install begins with; packages are positions in the lock.

    *production* are the packages taken with their dependencies. *groups* has, for a package
    or (`None`) for a workspace root that is no project, the groups taken of it.
    """

    production: tuple[int, ...]
    extras: Mapping[int, tuple[NormalizedName, ...]]
    groups: Mapping[int | None, tuple[NormalizedName, ...]]

    def items(self, lock: Lock) -> frozenset[ConflictItem]:
        """Return everything chosen here, in the terms that a lock's conflicts use."""
        found = set()
        for position in self.production:
            name = lock.packages[position].name
            found.add(ConflictItem(package=name, kind="project", name=None))
        for position, extras in self.extras.items():
            name = lock.packages[position].name
            found |= {ConflictItem(package=name, kind="extra", name=e) for e in extras}
        for owner, groups in self.groups.items():
            if owner is not None:
                name = lock.packages[owner].name
                found |= {ConflictItem(package=name, kind="group", name=g) for g in groups}
        return frozenset(found)

    def without(self, lock: Lock, dropped: frozenset[ConflictItem]) -> Starting:
        """Return the same start with some of its items left out."""

        def kept(position: int, kind: Literal["extra", "group"], name: NormalizedName) -> bool:
            package = lock.packages[position].name
            return ConflictItem(package=package, kind=kind, name=name) not in dropped

        out = {item.package for item in dropped if item.kind == "project"}
        production = tuple(p for p in self.production if lock.packages[p].name not in out)
        return Starting(
            production=production,
            extras={
                position: tuple(e for e in extras if kept(position, "extra", e))
                for position, extras in self.extras.items()
                if position in production
            },
            groups={
                owner: tuple(g for g in groups if owner is None or kept(owner, "group", g))
                for owner, groups in self.groups.items()
            },
        )


class _Groups:
    """Which groups the flags include. Source: uv's `DependencyGroups::from_history`."""

    def __init__(self, include: Include, root: Root) -> None:
        asked = {*include.groups, *include.only_groups}
        if include.dev in ("include", "only"):
            asked.add(_DEV)
        self._excluded = {*include.no_groups, *({_DEV} if include.dev == "exclude" else ())}
        self._asked = None if include.all_groups else asked
        only = bool(include.only_groups) or include.dev == "only"
        defaults = () if include.no_default_groups or only else root.default_groups
        self._all = include.all_groups or defaults == "all"
        self._included = asked | ({*defaults} if defaults != "all" else set())
        self.production = not only

    def __contains__(self, group: NormalizedName) -> bool:
        return group not in self._excluded and (self._all or group in self._included)

    def by_default(self, group: NormalizedName) -> bool:
        """Whether *group* is in only because it is a default."""
        asked = self._asked is None or group in self._asked
        return group in self and not (asked and group not in self._excluded)


def starting_point(lock: Lock, root: Root, include: Include) -> Starting:
    """Turn flags into roots, extras and groups, as `uv sync` does.

    Raises `SelectionError` for a package, extra or group that doesn't exist, and for a conflict
    of what a member that is only a dependency would contribute.
    """
    groups = _Groups(include, root)
    roots = _roots(lock, root, include)
    alone = _only_project(lock, root, include)
    _check_names(lock, roots, alone, include)
    starting = Starting(
        production=tuple(p.position for p in roots) if groups.production else (),
        extras={p.position: _extras(p, include) for p in roots} if groups.production else {},
        groups=_chosen_groups(lock, roots, alone, groups),
    )
    if lock.conflicts and not include.takes_everything_of_a_kind:
        _check_members(lock, starting, include, groups)
    return starting


def _check_members(lock: Lock, starting: Starting, include: Include, groups: _Groups) -> None:
    """Raise `SelectionError` where the flags name conflicting items of the members reached.

    uv looks at the flags alone, whatever the markers say and whether or not it would install
    the item: a group of a member that is only a dependency counts. Source: uv's
    `detect_conflicts` and `InstallTarget::packages`.
    """

    def asked(item: ConflictItem) -> bool:
        if item.name is None:
            return groups.production
        if item.kind == "group":
            return item.name in groups
        chosen = include.all_extras or item.name in include.extras
        return chosen and item.name not in include.no_extras

    members = _reached_names(lock, starting)
    for conflict in lock.conflicts:
        together = [item for item in conflict if item.package in members and asked(item)]
        if len(together) > 1:
            items = " and ".join(
                f"`{item.package}{f' {item.kind} {item.name}' if item.name else ''}`"
                for item in together
            )
            raise SelectionError(
                f"{items} conflict, and can't be installed together",
                hint="Ask for one of them at a time; requests add up in the archive",
            )


def _reached_names(lock: Lock, starting: Starting) -> frozenset[NormalizedName]:
    """Return the names of all packages that *starting* leads to, markers left aside."""
    packages = lock.packages
    queue: list[tuple[int, NormalizedName | None]] = [(p, None) for p in starting.production]
    queue += [(p, extra) for p, extras in starting.extras.items() for extra in extras]
    for owner, groups in starting.groups.items():
        for group in groups if owner is not None else ():
            for edge in packages[owner or 0].dependency_groups[group]:
                queue += [(edge.package, extra) for extra in (None, *edge.extras)]
    seen = set(queue)
    while queue:
        position, wanted = queue.pop()
        found = packages[position]
        edges = found.optional_dependencies.get(wanted, ()) if wanted else found.dependencies
        for edge in edges:
            for node in ((edge.package, extra) for extra in (None, *edge.extras)):
                if node not in seen:
                    seen.add(node)
                    queue.append(node)
    return frozenset(packages[position].name for position, _ in seen)


def _roots(lock: Lock, root: Root, include: Include) -> tuple[Package, ...]:
    if include.all_packages:
        names: Iterable[NormalizedName] = lock.members
    elif include.packages:
        unknown = [name for name in include.packages if name not in lock.members]
        if unknown:
            raise SelectionError(
                f"`{unknown[0]}` is not a member of the workspace",
                hint=f"Members are {_listed(lock.members)}",
            )
        names = include.packages
    elif root.project is not None:
        names = (root.project,)
    else:
        names = lock.manifest.members
    return tuple(_root_package(lock, name) for name in names)


def _root_package(lock: Lock, name: NormalizedName) -> Package:
    found = lock.named(name)
    if len(found) != 1:
        raise SelectionError(
            f"The lock has {'no' if not found else 'more than one'} package `{name}`",
            hint="Run `uv lock`",
        )
    return found[0]


def _only_project(lock: Lock, root: Root, include: Include) -> Package | None:
    """Return the one project that is installed, where it is one: it inherits the root's groups."""
    if include.all_packages or len(include.packages) > 1:
        return None
    name = include.packages[0] if include.packages else root.project
    return _root_package(lock, name) if name is not None else None


def _extras(package: Package, include: Include) -> tuple[NormalizedName, ...]:
    return tuple(
        extra
        for extra in package.optional_dependencies
        if extra not in include.no_extras and (include.all_extras or extra in include.extras)
    )


def _chosen_groups(
    lock: Lock, roots: tuple[Package, ...], alone: Package | None, groups: _Groups
) -> dict[int | None, tuple[NormalizedName, ...]]:
    """Return the groups taken of each root, of the workspace's root, and of the manifest.

    "Workspace-root groups must be requested explicitly when a member is selected", and a
    group of that name in the member goes before: uv's `InstallTarget::includes_group`.
    """

    def inherited(group: NormalizedName) -> bool:
        if alone is None:
            return group in groups
        own = {*alone.declares_groups, *alone.dependency_groups}
        return group in groups and not groups.by_default(group) and group not in own

    chosen: dict[int | None, tuple[NormalizedName, ...]] = {
        package.position: tuple(g for g in package.dependency_groups if g in groups)
        for package in roots
    }
    workspace_root = lock.root
    if alone is not None and workspace_root is not None and workspace_root != alone:
        chosen[workspace_root.position] = tuple(
            group for group in workspace_root.dependency_groups if inherited(group)
        )
    chosen[None] = tuple(g for g in lock.manifest.dependency_groups if inherited(g))
    return chosen


def _check_names(
    lock: Lock, roots: tuple[Package, ...], alone: Package | None, include: Include
) -> None:
    # Locks before revision 1 don't say which extras exist; uv doesn't check them either.
    extras = {extra for package in roots for extra in package.provides_extras}
    extras |= {extra for package in roots for extra in package.optional_dependencies}
    if lock.revision >= 1:
        _check("extra", {*include.extras, *include.no_extras}, extras)
    owners = (*roots, *((lock.root,) if alone and lock.root else ()))
    groups = {group for package in owners for group in package.declares_groups}
    groups |= {group for package in owners for group in package.dependency_groups}
    groups |= {*lock.manifest.dependency_groups}
    _check("group", {*include.groups, *include.no_groups, *include.only_groups}, groups)


def _check(kind: str, asked: set[NormalizedName], known: set[NormalizedName]) -> None:
    unknown = sorted(asked - known)
    if unknown:
        raise SelectionError(
            f"The {kind} `{unknown[0]}` isn't defined in the project",
            hint=f"It defines {_listed(sorted(known))}" if known else f"It defines no {kind}",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def left_out(lock: Lock, starting: Starting) -> LeftOut:
    """Name the members, extras and groups of the workspace that *starting* doesn't take."""
    taken = {lock.packages[position].name for position in starting.production}
    extras, groups = [], []
    names = frozenset(lock.members)
    members = [package for package in lock.packages if package.name in names]
    for package in members:
        chosen_extras = starting.extras.get(package.position, ())
        extras += [
            f"{package.name}[{extra}]"
            for extra in package.optional_dependencies
            if extra not in chosen_extras
        ]
        chosen_groups = starting.groups.get(package.position, ())
        groups += [
            f"{package.name}:{group}"
            for group in package.dependency_groups
            if group not in chosen_groups
        ]
    chosen_groups = starting.groups.get(None, ())
    groups += [g for g in lock.manifest.dependency_groups if g not in chosen_groups]
    return LeftOut(
        packages=tuple(p.name for p in members if p.name not in taken),
        extras=tuple(extras),
        groups=tuple(groups),
    )


def conflicts_of(lock: Lock, starting: Starting) -> Iterator[tuple[ConflictItem, ...]]:
    """Yield, for each of the lock's conflict sets, the items of it that were chosen together."""
    chosen = starting.items(lock)
    for conflict in lock.conflicts:
        together = tuple(item for item in conflict if item in chosen)
        if len(together) > 1:
            yield together


def consistent(lock: Lock, starting: Starting) -> Iterator[Starting]:
    """Yield every start that takes at most one item of each conflict set, or none of it.

    Together they are what some install can ask for, when items that can't be installed
    together may still lie side by side.
    """
    sets = tuple(conflicts_of(lock, starting))
    seen = set()
    for kept in product(*[(None, *items) for items in sets]):
        dropped = frozenset(
            item for items, one in zip(sets, kept, strict=True) for item in items if item != one
        )
        if dropped not in seen:
            seen.add(dropped)
            yield starting.without(lock, dropped)


def number_of_consistent(lock: Lock, starting: Starting) -> int:
    """Return an upper bound of how many starts `consistent` yields."""
    count = 1
    for items in conflicts_of(lock, starting):
        count *= len(items) + 1
    return count
