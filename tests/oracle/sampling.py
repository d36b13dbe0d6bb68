"""Requests to try on a lock: flags, Pythons and platforms, from what the lock itself has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from packaging.utils import NormalizedName, canonicalize_name

from tests.oracle.comparison import Request
from uv_archive.lock.model import Lock, Package, TreeSource
from uv_archive.selection import BuildOptions, Include, Root
from uv_archive.target import Python

#: Names of uv, the common ones several times; `None` is this machine.
PLATFORMS = (
    *("linux", "windows", "macos", "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"),
    *("linux", "windows", "macos", "x86_64-apple-darwin", "x86_64-manylinux2014", None),
    *("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl", "i686-pc-windows-msvc"),
    *("aarch64-pc-windows-msvc", "x86_64-manylinux_2_40", "aarch64-manylinux_2_17"),
    *("aarch64-manylinux_2_31", "riscv64-unknown-linux", "aarch64-linux-android"),
    *("x86_64-linux-android", "arm64-apple-ios", "x86_64-apple-ios-simulator"),
    *("wasm32-pyodide2024", "wasm32-pyodide2025", "s390x-unknown-linux-gnu"),
    "powerpc64le-unknown-linux-gnu",
)
#: How many combinations each test tries instead of its own number. Read here, as tests run without
#: the variables that begin like uv's own.
EXAMPLES = int(os.environ.get("UV_ARCHIVE_ORACLE_EXAMPLES", "0"))
_MINORS = range(8, 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a sync starts: the workspace's root or a member, and what it takes unasked.

    For a script there are no *flags* to select with.
    """

    directory: str
    root: Root
    flags: bool = True


def requests(lock: Lock, places: tuple[Place, ...], random: Random) -> Iterator[Request]:
    """Yield requests without end, the plain ones first."""
    pythons = allowed_pythons(lock)
    for python in pythons:
        for platform in ("linux", "windows", "macos", None):
            yield Request(root=places[0].root, python=python, platform=platform)
    yield from random_requests(lock, places, random)


def random_requests(lock: Lock, places: tuple[Place, ...], random: Random) -> Iterator[Request]:
    """Yield requests without end, of every kind from the first."""
    pythons = allowed_pythons(lock)
    while True:
        place = random.choice(places)
        yield Request(
            root=place.root,
            include=_include(lock, place, random) if place.flags else Include(),
            options=_options(lock, random),
            python=_variant(random.choice(pythons), random),
            platform=random.choice(PLATFORMS),
            directory=place.directory,
        )


def allowed_pythons(lock: Lock) -> tuple[Python, ...]:
    """Return a patch release of each minor version that the lock allows."""
    found = []
    for minor in _MINORS:
        micros = (m for m in (7, 13, 20, 1, 0) if lock.requires_python.contains(f"3.{minor}.{m}"))
        micro = next(micros, None)
        if micro is not None:
            found.append(Python(major=3, minor=minor, micro=str(micro)))
    return tuple(found)


def _variant(python: Python, random: Random) -> Python:
    chance = random.random()
    if chance < 0.15:
        return replace(python, micro=None)
    if chance < 0.25 and python.minor >= 13:
        return replace(python, free_threaded=True)
    if chance < 0.3:
        return replace(python, debug=True)
    return replace(python, micro=str(random.choice((python.micro, 0, 1, 2, 3, 4, 8, 12))))


def _include(lock: Lock, place: Place, random: Random) -> Include:
    members = lock.members
    include = Include()
    if members and random.random() < 0.3:
        if random.random() < 0.3:
            include = replace(include, all_packages=True)
        else:
            chosen = random.sample(members, min(len(members), random.choice((1, 1, 2))))
            include = replace(include, packages=tuple(chosen))
    roots = _roots(lock, place, include)
    extras = sorted({extra for root in roots for extra in root.provides_extras})
    groups = sorted({group for root in roots for group in root.dependency_groups})
    groups = sorted({*groups, *lock.manifest.dependency_groups})
    match random.choice(("none", "one", "one", "some", "all", "all but one")):
        case "one" if extras:
            include = replace(include, extras=(random.choice(extras),))
        case "some":
            include = replace(include, extras=_some(extras, random))
        case "all":
            include = replace(include, all_extras=True)
        case "all but one" if extras:
            include = replace(include, all_extras=True, no_extras=(random.choice(extras),))
        case _:
            pass
    match random.choice(("none", "some", "only", "all", "no default", "not", "no dev", "only dev")):
        case "some":
            return replace(include, groups=_some(groups, random))
        case "only" if groups and not (include.extras or include.all_extras):
            return replace(include, only_groups=(random.choice(groups),))
        case "all":
            return replace(include, all_groups=True)
        case "no default":
            return replace(include, no_default_groups=True)
        case "not" if groups:
            return replace(include, no_groups=(random.choice(groups),))
        case "no dev":
            return replace(include, dev="exclude")
        case "only dev" if not (include.extras or include.all_extras):
            return replace(include, dev="only")
        case _:
            return include


def _roots(lock: Lock, place: Place, include: Include) -> list[Package]:
    if include.all_packages:
        names: tuple[NormalizedName, ...] = lock.members
    elif include.packages:
        names = include.packages
    else:
        names = (place.root.project,) if place.root.project else lock.members
    return [package for package in lock.packages if package.name in names]


def _options(lock: Lock, random: Random) -> BuildOptions:
    if random.random() < 0.7 or not lock.packages:
        return BuildOptions()
    names = [package.name for package in lock.packages]

    def some() -> frozenset[NormalizedName]:
        return frozenset(random.sample(names, min(len(names), random.choice((0, 1, 3, 10)))))

    return BuildOptions(
        no_binary=random.random() < 0.1,
        no_build=random.random() < 0.2,
        no_binary_packages=some(),
        no_build_packages=some(),
    )


def _some(names: list[NormalizedName], random: Random) -> tuple[NormalizedName, ...]:
    return tuple(random.sample(names, random.randint(0, min(3, len(names)))))


Configured = Sequence[str] | Literal["all"] | None


def places(lock: Lock, default_groups: Configured) -> tuple[Place, ...]:
    """Return where a sync of the lock's project can start, the workspace's root first.

    *default_groups* are those that the stand-in was given: members take only what they have.
    """
    root = lock.root
    found = [_place(".", root, default_groups, lock)]
    members = {
        package.source.path.text: package
        for package in lock.packages
        if isinstance(package.source, TreeSource) and package.name in lock.members
    }
    for path, package in members.items():
        # Below another member uv finds no workspace: it stops at the nearest project.
        nested = any(path.startswith(f"{other}/") for other in members)
        if package != root and not nested and not re.match(r"/|\.\.", path):
            found.append(_place(path, package, default_groups, lock))
    return tuple(found)


def _place(directory: str, package: Package | None, configured: Configured, lock: Lock) -> Place:
    project = package.name if package else None
    if configured is None:
        # "uv includes the dev dependency group by default", whether or not there is one.
        defaults: tuple[NormalizedName, ...] | Literal["all"] = (canonicalize_name("dev"),)
    elif isinstance(configured, str):
        defaults = "all"
    else:
        known = (
            {*package.declares_groups, *package.dependency_groups}
            if package
            else {*lock.manifest.dependency_groups}
        )
        named = [canonicalize_name(group) for group in configured]
        defaults = tuple(group for group in named if group in known)
    return Place(directory=directory, root=Root(project=project, default_groups=defaults))
