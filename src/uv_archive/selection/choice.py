"""Which file of a package a target installs: the best wheel, else the sdist."""

from __future__ import annotations

from dataclasses import dataclass

from uv_archive.filenames import WheelFilename
from uv_archive.lock.model import Distribution, GitSource, Package, TreeSource
from uv_archive.selection.model import BuildOptions
from uv_archive.target import Target, patch_releases


@dataclass(frozen=True, slots=True)
class Wheel:
    """The target installs this wheel."""

    distribution: Distribution


@dataclass(frozen=True, slots=True)
class Source:
    """The target builds this sdist or, without one, the package's source tree or commit."""

    distribution: Distribution | None


@dataclass(frozen=True, slots=True)
class Nothing:
    """A virtual package: only its dependencies are installed."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The target can't install the package."""

    reason: str


Choice = Wheel | Source | Nothing | Missing


def choose(package: Package, target: Target, options: BuildOptions, *, first_party: bool) -> Choice:
    """Choose what uv would. Source: uv's `Package::to_dist` and `find_best_wheel`.

    Of a *first_party* package, a member of the workspace, the tree is built in any case: "such
    as projects in the workspace, will still be built" (`uv help sync`, `--no-build`).
    """
    requires = package.requires_python
    if requires is not None and not patch_releases(target.python, (), requires):
        return Missing(f"it requires Python {requires}")
    forbids_wheel = options.forbids_wheel(package.name)
    wheel = None if forbids_wheel else best_wheel(package, target)
    if wheel is not None:
        return Wheel(wheel)
    match package.source:
        case TreeSource(kind="virtual"):
            return Nothing()
        case TreeSource() if first_party:
            return Source(None)
        case TreeSource():
            source: Source | None = Source(None)
        case GitSource(path=None):
            source = Source(None)
        case _:
            source = Source(package.sdist) if package.sdist else None
    if source is not None and not options.forbids_build(package.name):
        return source
    return Missing(_reason(package, forbids_wheel=forbids_wheel, has_source=source is not None))


def best_wheel(package: Package, target: Target) -> Distribution | None:
    """Return the wheel with the best tag; among equals the highest build tag, then the first."""
    priority_of = target.ranking()
    best: tuple[tuple[int, tuple[()] | tuple[int, str]], Distribution] | None = None
    for wheel in package.wheels:
        if not isinstance(wheel.filename, WheelFilename):
            continue
        priority = priority_of(wheel.filename.tags)
        if priority is None:
            continue
        rank = (priority, wheel.filename.build)
        if best is None or rank > best[0]:
            best = (rank, wheel)
    return best[1] if best else None


def _reason(package: Package, *, forbids_wheel: bool, has_source: bool) -> str:
    if forbids_wheel and has_source:
        return "neither wheels nor builds are allowed"
    if forbids_wheel:
        return "wheels aren't allowed, and the lock has no sdist"
    if has_source:
        return "no wheel fits, and builds aren't allowed"
    return "no wheel fits, and the lock has no sdist" if package.wheels else "no files"
