"""Selection: which distributions of a lock some targets need, given extras, groups, packages.

Pure: it reads no file and asks no clock, so the answer is the same on both sides of the air
gap. It follows `uv sync` step by step: `starting` (roots, extras and groups), `walk` (the
packages they reach in an environment), `choice` (the file of a package for a target).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from uv_archive.errors import SelectionError, TargetError
from uv_archive.filenames import WheelFilename
from uv_archive.lock.model import ConflictItem, Dependency, Distribution, Lock, Package
from uv_archive.markers import Marker
from uv_archive.selection.choice import Choice, Missing, Nothing, Source, Wheel, choose
from uv_archive.selection.model import (
    Build,
    BuildOptions,
    Gap,
    Include,
    LeftOut,
    Root,
    Selected,
    Selection,
)
from uv_archive.selection.starting import (
    Starting,
    conflicts_of,
    consistent,
    left_out,
    number_of_consistent,
    starting_point,
)
from uv_archive.selection.walk import reached
from uv_archive.target import Python, Target, patch_releases, python_abis

__all__ = [
    "Build",
    "BuildOptions",
    "Gap",
    "Include",
    "LeftOut",
    "Root",
    "Selected",
    "Selection",
    "conflicting",
    "mentions",
    "representative_pythons",
    "select",
    "select_all_platforms",
]

# Above this many ways to satisfy the conflicts, their markers are taken for true instead.
_MOST_STARTS = 256
# The minor versions of Python 3 that uv installs for, and those that may come.
_MINORS = range(8, 40)
_NO_OPTIONS = BuildOptions()


def select(
    lock: Lock,
    *,
    root: Root,
    include: Include,
    targets: Sequence[Target],
    options: BuildOptions = _NO_OPTIONS,
    sdists: bool = False,
) -> Selection:
    """Select what `uv sync` with the flags *include* would install on each of *targets*.

    A target that stands for every patch release of a minor version gets what any of them
    needs. With *sdists*, the sdist of every package reached is taken too. Packages that have
    no file for a target are the selection's gaps. Raises `SelectionError` for names that
    don't exist or that conflict, and `TargetError` for a target that the lock excludes.
    """
    starting = starting_point(lock, root, include)
    starts = _starts(lock, starting, include)
    collected = _Collected(lock)
    for target in targets:
        for position in _reached_by(lock, starts, target):
            collected.add(lock.packages[position], target, options)
    if sdists:
        for package in collected.packages:
            collected.take(package, package.sdist)
    return collected.selection(left_out(lock, starting))


def select_all_platforms(
    lock: Lock,
    *,
    root: Root,
    include: Include,
    pythons: Sequence[Python],
    representatives: Sequence[Target],
    options: BuildOptions = _NO_OPTIONS,
    sdists: bool = True,
) -> Selection:
    """Select every file of the packages that *include* reaches, environment markers left aside.

    *pythons*, if any, limit wheels by their Python and ABI tags. No list of platforms is
    complete, so *representatives* serve for what can only be said of one: which packages
    have to be built somewhere, and which have no file there (the selection's gaps, notes
    here). Without *sdists* only those that a representative builds, or that are a package's
    only file, are taken. Raises `SelectionError` for names that don't exist or that conflict.
    """
    starting = starting_point(lock, root, include)
    starts = _starts(lock, starting, include)
    collected = _Collected(lock)
    for target in representatives:
        if _environments(lock, target):
            for position in _reached_by(lock, starts, target):
                collected.note(lock.packages[position], target, options)
    fits = _python_filter(pythons)
    for position in sorted(_reached_anywhere(lock, starts)):
        package = lock.packages[position]
        collected.reach(package)
        wheels = () if options.forbids_wheel(package.name) else tuple(filter(fits, package.wheels))
        for wheel in wheels:
            collected.take(package, wheel)
        if (sdists or not wheels) and not options.forbids_build(package.name):
            collected.take(package, package.sdist)
    return collected.selection(left_out(lock, starting))


def conflicting(lock: Lock, root: Root, include: Include) -> tuple[ConflictItem, ...]:
    """Return what *include* takes together although no install can, in the lock's order."""
    together = conflicts_of(lock, starting_point(lock, root, include))
    return tuple(dict.fromkeys(item for items in together for item in items))


def representative_pythons(lock: Lock) -> tuple[Python, ...]:
    """Return the CPythons that a lock is plainly made for, oldest first, for want of a request.

    They are those that `requires-python` allows and that at least half of the packages with
    wheels for single Pythons have wheels for. A lock without such wheels is made for all that
    `requires-python` allows, and the oldest stands for them.
    """
    counted: Counter[int] = Counter()
    total = 0
    for package in lock.packages:
        minors = {
            int(tag.interpreter[3:])
            for wheel in package.wheels
            if isinstance(wheel.filename, WheelFilename)
            for tag in wheel.filename.tags
            if re.fullmatch(r"cp3\d+", tag.interpreter) and tag.abi == tag.interpreter
        }
        total += bool(minors)
        counted.update(minors)
    pythons = (
        Python(major=3, minor=minor)
        for minor, count in sorted(counted.items())
        if 2 * count >= total
    )
    every = (Python(major=3, minor=minor) for minor in _MINORS)
    boundaries = _boundaries(lock)
    allowed = [p for p in pythons if patch_releases(p, boundaries, lock.requires_python)]
    if not allowed:
        found = (p for p in every if patch_releases(p, boundaries, lock.requires_python))
        allowed = [oldest] if (oldest := next(found, None)) else []
    return tuple(allowed)


class _Collected:
    """Gathers choices target by target, and gives them out in the lock's order."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._members = frozenset(lock.members)
        self._reached: set[int] = set()
        self._taken: dict[tuple[int, Distribution], list[Target]] = {}
        self._builds: defaultdict[tuple[int, Distribution | None], list[Target]] = defaultdict(list)
        self._gaps: list[Gap] = []

    @property
    def packages(self) -> tuple[Package, ...]:
        return tuple(self._lock.packages[position] for position in sorted(self._reached))

    def reach(self, package: Package) -> None:
        self._reached.add(package.position)

    def take(self, package: Package, distribution: Distribution | None) -> None:
        """Take a file that needn't be any target's."""
        if distribution is not None:
            self._taken.setdefault((package.position, distribution), [])

    def add(self, package: Package, target: Target, options: BuildOptions) -> None:
        """Take what *target* installs of *package*."""
        self.reach(package)
        match self._choose(package, target, options):
            case Wheel(distribution):
                self._taken.setdefault((package.position, distribution), []).append(target)
            case Source(distribution):
                if distribution is not None:
                    self._taken.setdefault((package.position, distribution), []).append(target)
                self._builds[(package.position, distribution)].append(target)
            case Missing(reason):
                self._gaps.append(Gap(package=package, target=target, reason=reason))
            case Nothing():
                pass
            case never:
                assert_never(never)

    def _choose(self, package: Package, target: Target, options: BuildOptions) -> Choice:
        return choose(package, target, options, first_party=package.name in self._members)

    def note(self, package: Package, target: Target, options: BuildOptions) -> None:
        """Note what *target* would build or lack of *package*, and take only sdists it builds."""
        match self._choose(package, target, options):
            case Source(distribution):
                self.take(package, distribution)
                self._builds[(package.position, distribution)].append(target)
            case Missing(reason):
                self._gaps.append(Gap(package=package, target=target, reason=reason))
            case Wheel() | Nothing():
                pass
            case never:
                assert_never(never)

    def selection(self, left_out: LeftOut) -> Selection:
        packages = self._lock.packages
        order = {
            (package.position, distribution): rank
            for package in packages
            for rank, distribution in enumerate(package.distributions)
        }
        taken = sorted(self._taken, key=lambda key: (key[0], order[key]))
        builds = sorted(self._builds, key=lambda key: key[0])
        found = {package.name for package in self.packages}
        return Selection(
            distributions=tuple(
                Selected(
                    package=packages[position],
                    distribution=distribution,
                    targets=tuple(self._taken[(position, distribution)]),
                )
                for position, distribution in taken
            ),
            builds=tuple(
                Build(
                    package=packages[position],
                    distribution=distribution,
                    targets=tuple(self._builds[(position, distribution)]),
                )
                for position, distribution in builds
            ),
            packages=self.packages,
            gaps=tuple(self._gaps),
            left_out=replace(
                left_out, packages=tuple(n for n in left_out.packages if n not in found)
            ),
        )


@dataclass(frozen=True, slots=True)
class _Starts:
    """The starts to walk from, and the pseudo-extras to leave undecided while doing so.

    With *side_by_side* conflicting items that dependencies activate are taken together too.
    """

    starts: Sequence[Starting]
    undecided: frozenset[str] = frozenset()
    side_by_side: bool = False


def _starts(lock: Lock, starting: Starting, include: Include) -> _Starts:
    """Return *starting*, or where it takes conflicting items on purpose, what makes it up."""
    together = tuple(conflicts_of(lock, starting))
    side_by_side = include.takes_everything_of_a_kind
    if not together:
        return _Starts((starting,), _negated(lock, include), side_by_side=side_by_side)
    if not side_by_side:
        items = " and ".join(
            f"`{item.package}{f' {item.kind} {item.name}' if item.name else ''}`"
            for item in together[0]
        )
        raise SelectionError(
            f"{items} conflict, and can't be installed together",
            hint="Ask for one of them at a time; requests add up in the archive",
        )
    if number_of_consistent(lock, starting) <= _MOST_STARTS:
        return _Starts(tuple(consistent(lock, starting)), side_by_side=True)
    undecided = frozenset(item.pseudo_extra() for items in together for item in items)
    return _Starts((starting,), undecided, side_by_side=True)


def _negated(lock: Lock, include: Include) -> frozenset[str]:
    """Return what a pylock file has alternatives to, where everything of its kind is taken."""
    kinds = [
        *(["extra-"] if include.all_extras else []),
        *(["group-"] if include.all_groups else []),
    ]
    return frozenset(name for name in lock.negated if name.startswith(tuple(kinds)))


def _reached_by(lock: Lock, starts: _Starts, target: Target) -> Sequence[int]:
    """Return what some patch release of *target* reaches from some start, in the lock's order."""
    environments = _environments(lock, target)
    if not environments:
        raise TargetError(
            f"The lock doesn't cover {target.label}",
            hint=_coverage_of(lock),
        )
    found: set[int] = set()
    for environment in environments:
        found |= _union(lock, starts, environment)
    return sorted(found)


def _reached_anywhere(lock: Lock, starts: _Starts) -> frozenset[int]:
    return _union(lock, starts, None)


def _union(lock: Lock, starts: _Starts, environment: Mapping[str, str] | None) -> frozenset[int]:
    """Return what is reached from any start."""
    found: frozenset[int] = frozenset()
    for start in starts.starts:
        found |= reached(
            lock,
            start,
            environment,
            undecided=starts.undecided,
            side_by_side=starts.side_by_side,
        )
    return found


def _environments(lock: Lock, target: Target) -> Sequence[Mapping[str, str]]:
    """Return the marker environments of *target* that the lock covers."""
    micros = patch_releases(target.python, _boundaries(lock), lock.requires_python)
    environments = [found for micro in micros for found in target.environments(micro)]
    if not lock.supported_markers:
        return environments
    return [
        environment
        for environment in environments
        if any(marker.holds(environment) for marker in lock.supported_markers)
    ]


def _coverage_of(lock: Lock) -> str:
    covers = f"It is for Python {lock.requires_python}" if str(lock.requires_python) else ""
    if lock.supported_markers:
        markers = ", ".join(f"`{marker.text}`" for marker in lock.supported_markers)
        covers += f"{' and ' if covers else 'It is for '}environments {markers}"
    return covers


def _boundaries(lock: Lock) -> frozenset[str]:
    """Return the Python versions that the lock's markers tell apart."""
    return frozenset(
        version
        for marker in _markers(lock)
        for variable in ("python_full_version", "implementation_version")
        for version in marker.versions(variable)
    )


def _markers(lock: Lock) -> Iterator[Marker]:
    seen: set[Marker] = set()
    for marker in _all_markers(lock):
        if marker is not None and marker not in seen:
            seen.add(marker)
            yield marker


def mentions(lock: Lock, variable: str) -> bool:
    """Whether some marker of the lock compares *variable*."""
    return any(marker.versions(variable) for marker in _markers(lock))


def _all_markers(lock: Lock) -> Iterator[Marker | None]:
    yield from lock.supported_markers
    for requirements in (lock.manifest.requirements, *lock.manifest.dependency_groups.values()):
        yield from (requirement.marker for requirement in requirements)
    for package in lock.packages:
        yield from package.fork_markers
        edges: Iterable[tuple[Dependency, ...]] = (
            package.dependencies,
            *package.optional_dependencies.values(),
            *package.dependency_groups.values(),
        )
        for dependencies in edges:
            yield from (dependency.marker for dependency in dependencies)


def _python_filter(pythons: Sequence[Python]) -> Callable[[Distribution], bool]:
    """Return whether a wheel's Python and ABI tags fit any of *pythons*, on whatever platform."""
    accepted = frozenset(pair for python in pythons for pair in python_abis(python))

    def fits(wheel: Distribution) -> bool:
        if not accepted or not isinstance(wheel.filename, WheelFilename):
            return True
        return any((tag.interpreter, tag.abi) in accepted for tag in wheel.filename.tags)

    return fits
