"""Which packages of a lock an install reaches in one environment.

Source: uv's `lock/installable.rs`. Where extras, groups or projects conflict, the markers of
a lock ask which of them are active (`extra == 'extra-7-project-cpu'`), and that is known
only once the graph was walked: so uv walks twice, and so does this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from packaging.utils import NormalizedName

from uv_archive.errors import SelectionError
from uv_archive.lock.model import (
    ConflictItem,
    Dependency,
    Lock,
    Package,
    Requirement,
    pseudo_extra,
)
from uv_archive.markers import All, Expression, Marker, is_active
from uv_archive.selection.starting import Starting

# A package, or one of its extras, whose dependencies are wanted.
_Node = tuple[int, NormalizedName | None]
# Under which alternative conditions a node is reached: each is a set of open expressions, all
# of which have to hold. `_ALWAYS` is reached unconditionally.
_Conditions = frozenset[frozenset[Expression]]
_ALWAYS: _Conditions = frozenset({frozenset()})
_MOST_ALTERNATIVES = 64


def reached(
    lock: Lock,
    starting: Starting,
    environment: Mapping[str, str] | None,
    *,
    undecided: frozenset[str] = frozenset(),
    side_by_side: bool = False,
) -> frozenset[int]:
    """Return the positions of the packages that an install in *environment* has.

    Without an environment every comparison of one is taken for true, and so is every
    comparison of a pseudo-extra that is *undecided*. Raises `SelectionError` where the graph
    activates extras that conflict; with *side_by_side* those are undecided too.
    """
    if environment is None and lock.conflicts:
        undecided |= _undecided_anywhere(lock, starting, undecided)
    walk = _Walk(lock, starting, environment, undecided)
    while conflict := walk.activated_conflict():
        if not side_by_side:
            first, second = conflict[:2]
            raise SelectionError(
                f"`{first.package}[{first.name}]` and `{second.package}[{second.name}]` "
                "conflict, and the selection asks for both"
            )
        undecided |= {item.pseudo_extra() for item in conflict}
        walk = _Walk(lock, starting, environment, undecided)
    return walk.installed()


def _undecided_anywhere(
    lock: Lock, starting: Starting, undecided: frozenset[str]
) -> frozenset[str]:
    """Return the pseudo-extras that dependencies activate in some environments only."""
    everywhere = _Walk(lock, starting, None, undecided, unknown=False).active
    found: frozenset[str] = frozenset()
    while more := _Walk(lock, starting, None, undecided | found).active - everywhere - found:
        found |= more
    return found


class _Walk:
    """Walks once to see which extras are active, and then to see what is installed.

    *unknown* is what comparisons count as where there is no environment to compare with.
    """

    def __init__(
        self,
        lock: Lock,
        starting: Starting,
        environment: Mapping[str, str] | None,
        undecided: frozenset[str],
        *,
        unknown: bool = True,
    ) -> None:
        self._lock = lock
        self._starting = starting
        self._environment = environment
        self._undecided = undecided
        self._unknown = unknown
        self._given: dict[Marker, Expression | bool] = {}
        self._active: set[str] = set()
        self._conditions: dict[_Node, _Conditions] = {}
        self._queue: deque[_Node] = deque()
        self._installed: set[int] = set(starting.production)
        self._activate_starting()
        self._enqueue_starting()
        self._start = tuple(self._queue)
        if lock.conflicts:
            self._activate_transitive()

    @property
    def active(self) -> frozenset[str]:
        """The pseudo-extras that the start and its dependencies activate."""
        return frozenset(self._active)

    def activated_conflict(self) -> Sequence[ConflictItem]:
        """Return extras that conflict and are active all the same, if there are any."""
        for conflict in self._lock.conflicts:
            active = [
                item
                for item in conflict
                if item.kind == "extra" and item.pseudo_extra() in self._active - self._undecided
            ]
            if len(active) > 1:
                return active
        return ()

    def installed(self) -> frozenset[int]:
        self._traverse(self._start)
        return frozenset(self._installed)

    def _activate_starting(self) -> None:
        starting, packages = self._starting, self._lock.packages
        for position in starting.production:
            self._active.add(pseudo_extra("project", packages[position].name))
        for position, extras in starting.extras.items():
            for extra in extras:
                self._active.add(pseudo_extra("extra", packages[position].name, extra))
        for owner, groups in starting.groups.items():
            for group in groups if owner is not None else ():
                self._active.add(pseudo_extra("group", packages[owner or 0].name, group))

    def _enqueue_starting(self) -> None:
        for position in self._starting.production:
            self._enqueue(position, (), _ALWAYS)
        for position, extras in self._starting.extras.items():
            self._enqueue(position, extras, _ALWAYS)
        for owner, groups in self._starting.groups.items():
            if owner is not None:
                for group in groups:
                    self._enqueue_group(self._lock.packages[owner].dependency_groups[group])
        if self._starting.production or not self._lock.members:
            self._enqueue_requirements(self._lock.manifest.requirements)
        for group in self._starting.groups.get(None, ()):
            self._enqueue_requirements(self._lock.manifest.dependency_groups[group])

    def _enqueue_group(self, dependencies: tuple[Dependency, ...]) -> None:
        for dependency in dependencies:
            expression = self._expression(dependency.marker)
            own = self._pseudo_extras(dependency)
            if is_active(expression, self._active | own):
                # "Persist any self-extras activated by this group dependency."
                self._active |= own
                self._installed.add(dependency.package)
                self._enqueue(dependency.package, dependency.extras, _conditions(expression))

    def _enqueue_requirements(self, requirements: tuple[Requirement, ...]) -> None:
        for requirement in requirements:
            expression = self._expression(requirement.marker)
            if not is_active(expression, ()):
                continue
            for package in self._candidates(requirement):
                for extra in requirement.extras:
                    self._active.add(pseudo_extra("extra", package.name, extra))
                self._installed.add(package.position)
                self._enqueue(package.position, requirement.extras, _ALWAYS)

    def _candidates(self, requirement: Requirement) -> Iterator[Package]:
        """Yield the packages that a requirement of the manifest means in this environment."""
        found = 0
        for package in self._lock.named(requirement.name):
            forks = [self._expression(marker) for marker in package.fork_markers]
            if not forks or any(is_active(fork, ()) for fork in forks):
                found += 1
                yield package
        if (found == 0 and self._unknown) or (found > 1 and self._environment is not None):
            raise SelectionError(
                f"The lock has {'several packages' if found else 'no package'} "
                f"`{requirement.name}` for one environment",
                hint="Run `uv lock`",
            )

    def _enqueue(
        self, package: int, extras: tuple[NormalizedName, ...], conditions: _Conditions
    ) -> None:
        for node in ((package, None), *((package, extra) for extra in extras)):
            known = self._conditions.get(node, frozenset())
            combined = _absorbed(known | conditions)
            if combined != known:
                self._conditions[node] = combined
                self._queue.append(node)

    def _activate_transitive(self) -> None:
        """Collect the extras that dependencies activate, walking the graph provisionally.

        A dependency may be visited here before all active extras are known; the second walk
        leaves it out then. Its condition includes that of its parent, as uv simplifies a
        marker under the conditions that lead to it.
        """
        while self._queue:
            package, extra = self._queue.popleft()
            parent = self._conditions[(package, extra)]
            for dependency in self._dependencies(package, extra):
                conditions = _both(parent, self._expression(dependency.marker))
                own = self._pseudo_extras(dependency)
                if _hold(conditions, self._active | own):
                    self._active |= own
                    self._enqueue(dependency.package, dependency.extras, conditions)

    def _traverse(self, start: tuple[_Node, ...]) -> None:
        seen = set(start)
        queue = deque(start)
        while queue:
            package, extra = queue.popleft()
            for dependency in self._dependencies(package, extra):
                if not is_active(self._expression(dependency.marker), self._active):
                    continue
                self._installed.add(dependency.package)
                for wanted in (None, *dependency.extras):
                    node = (dependency.package, wanted)
                    if node not in seen:
                        seen.add(node)
                        queue.append(node)

    def _dependencies(self, package: int, extra: NormalizedName | None) -> tuple[Dependency, ...]:
        found = self._lock.packages[package]
        return found.dependencies if extra is None else found.optional_dependencies.get(extra, ())

    def _pseudo_extras(self, dependency: Dependency) -> set[str]:
        name = self._lock.packages[dependency.package].name
        return {pseudo_extra("extra", name, extra) for extra in dependency.extras}

    def _expression(self, marker: Marker | None) -> Expression | bool:
        if marker is None:
            return True
        if marker not in self._given:
            self._given[marker] = marker.given(
                self._environment, self._undecided, unknown=self._unknown
            )
        return self._given[marker]


def _conditions(expression: Expression | bool) -> _Conditions:
    if isinstance(expression, bool):
        return _ALWAYS if expression else frozenset()
    return frozenset({frozenset({expression})})


def _both(conditions: _Conditions, expression: Expression | bool) -> _Conditions:
    if isinstance(expression, bool):
        return conditions if expression else frozenset()
    return _absorbed(frozenset(alternative | {expression} for alternative in conditions))


def _absorbed(conditions: _Conditions) -> _Conditions:
    """Drop alternatives that ask for more than another one does.

    Their number can double with every package on the way. Where no real lock has so many, they
    are given up: what is then taken for reached may only activate too much.
    """
    if len(conditions) > _MOST_ALTERNATIVES:
        return _ALWAYS
    return frozenset(one for one in conditions if not any(other < one for other in conditions))


def _hold(conditions: _Conditions, active: Collection[str]) -> bool:
    return any(is_active(All(tuple(alternative)), active) for alternative in conditions)
