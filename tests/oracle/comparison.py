"""The selection beside what uv asks for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import pytest
from packaging.utils import canonicalize_name

from tests.oracle.install import Asked, Installer
from tests.oracle.project import Standin, commit_name
from uv_archive.errors import SelectionError, TargetError
from uv_archive.lock.model import ConflictItem, Distribution, GitSource, Lock, TreeSource
from uv_archive.selection import BuildOptions, Include, Root, Selection, select
from uv_archive.target import Platform, Python, Target, platform_named
from uv_archive.url import Url

#: A file by the position of its package in the lock, and its name.
File = tuple[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is installed where.

    A *python* without a `micro` stands for every patch release. *platform* is a name that
    `uv sync --python-platform` takes, or `None` for this machine's.
    """

    root: Root
    include: Include = field(default_factory=Include)
    options: BuildOptions = field(default_factory=BuildOptions)
    python: Python
    platform: str | None
    directory: str = "."

    def flags(self) -> list[str]:
        """Return the request as flags of `uv sync`."""
        include, options = self.include, self.options
        named = {
            "--package": include.packages,
            "--extra": include.extras,
            "--no-extra": include.no_extras,
            "--group": include.groups,
            "--no-group": include.no_groups,
            "--only-group": include.only_groups,
            "--no-binary-package": sorted(options.no_binary_packages),
            "--no-build-package": sorted(options.no_build_packages),
        }
        switches = {
            "--all-packages": include.all_packages,
            "--all-extras": include.all_extras,
            "--all-groups": include.all_groups,
            "--no-default-groups": include.no_default_groups,
            "--dev": include.dev == "include",
            "--no-dev": include.dev == "exclude",
            "--only-dev": include.dev == "only",
            "--no-binary": options.no_binary,
            "--no-build": options.no_build,
        }
        flags = [part for flag, names in named.items() for name in names for part in (flag, name)]
        return flags + [flag for flag, given in switches.items() if given]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The files to install and the names of what is installed, or why it can't be."""

    files: frozenset[File] = frozenset()
    installed: frozenset[str] = frozenset()
    refusal: str | None = None
    conflicts: bool = False


@dataclass(slots=True)
class Tally:
    """What was tried, for the record."""

    tried: int = 0
    large: int = 0
    refused: int = 0
    differed: int = 0
    unions: int = 0
    passed_over: int = 0
    files: int = 0

    def count(self, request: Request, answer: Answer, *, differs: bool) -> None:
        self.tried += 1
        self.differed += differs
        self.large += len(answer.files) > 20
        self.refused += answer.refusal is not None and not differs
        self.unions += request.python.micro is None
        self.files += len(answer.files)

    def add(self, other: Tally) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        return (
            f"{self.tried} combinations tried, {self.differed} differed; "
            f"{self.large} selected more than 20 files ({self.files} files in all), "
            f"{self.unions} were unions over patch releases, {self.refused} refused by both; "
            f"{self.passed_over} more can't be asked of uv"
        )


# What conflicts can be left out in more ways than are worth a sync each.
_MOST_WAYS = 40


class NotComparableError(Exception):
    """A request that isn't compared: it stands for too many installs, or for none of uv's."""


class Oracle:
    """Asks uv and the selection the same question, and says where they differ."""

    def __init__(self, installer: Installer, host: Platform) -> None:
        self._installer = installer
        self._host = host
        self.tally = Tally()

    def difference(self, lock: Lock, standin: Standin, request: Request) -> str | None:
        """Return how the two answers differ, or `None` where they don't."""
        selected = self.selected(lock, request)
        try:
            asked = self.asked(lock, standin, request)
        except NotComparableError:
            self.tally.passed_over += 1
            return None
        difference = _difference(selected, asked)
        self.tally.count(request, asked, differs=difference is not None)
        if difference is None:
            return None
        return (
            f"uv sync {' '.join(request.flags())} for Python {request.python} "
            f"on {request.platform or 'this machine'} in `{request.directory}`\n{difference}"
        )

    def selected(self, lock: Lock, request: Request) -> Answer:
        """Return what the selection answers."""
        platform = platform_named(request.platform) if request.platform else self._host
        # Where interpreters disagree about the markers of a platform, the first are uv's.
        target = Target(
            python=request.python, platform=replace(platform, markers=platform.markers[:1])
        )
        try:
            selection = select(
                lock,
                root=request.root,
                include=request.include,
                targets=[target],
                options=request.options,
            )
        except (SelectionError, TargetError) as error:
            return Answer(refusal=str(error))
        if selection.gaps:
            return Answer(refusal="; ".join(map(str, selection.gaps)))
        return Answer(files=_files(selection), installed=_installed(selection))

    def asked(self, lock: Lock, standin: Standin, request: Request) -> Answer:
        """Return what uv asks for: for a minor version, on any of its patch releases."""
        ways = list(islice(_without_conflicts(lock, request), _MOST_WAYS + 1))
        if len(ways) > _MOST_WAYS:
            raise NotComparableError
        together = [
            _union(
                [
                    self._installer.asked(
                        standin,
                        replace(request.python, micro=micro),
                        platform=request.platform,
                        flags=[*request.flags(), *dropped],
                        directory=request.directory,
                    )
                    for micro in _micros(lock, request.python)
                ]
            )
            for dropped in ways
        ]
        everything = request.include.takes_everything_of_a_kind
        if everything and any(answer.conflicts for answer in together):
            # Dependencies ask for what conflicts, and uv has no flag to leave that out.
            raise NotComparableError
        served = [answer for answer in together if answer.refusal is None]
        if len(served) < len(together):
            return next(answer for answer in together if answer.refusal is not None)
        return Answer(
            files=frozenset().union(*(answer.files for answer in served)),
            installed=frozenset().union(*(answer.installed for answer in served)),
        )


def check(differences: Iterable[str | None]) -> None:
    """Fail with every difference there is."""
    found = [difference for difference in differences if difference is not None]
    if found:
        pytest.fail(f"{len(found)} differ\n\n" + "\n\n".join(found), pytrace=False)


def _difference(selected: Answer, asked: Answer) -> str | None:
    if selected.refusal is not None and asked.refusal is not None:
        return None
    if asked.refusal is not None:
        return f"selected {len(selected.files)} files, but uv refused: {asked.refusal}"
    if selected.refusal is not None:
        return f"refused ({selected.refusal}), but uv asked for {len(asked.files)} files"
    lines = [
        f"  {'only selected' if file in selected.files else 'only asked by uv'}: {file}"
        for file in sorted(selected.files ^ asked.files)
    ] + [
        f"  {'only selected' if name in selected.installed else 'only installed by uv'}: {name}"
        for name in sorted(selected.installed ^ asked.installed)
    ]
    return "\n".join(lines) or None


def _files(selection: Selection) -> frozenset[File]:
    files = {
        (chosen.package.position, _name_at_its_place(chosen.distribution))
        for chosen in selection.distributions
    }
    # A commit is built, and has no file in the lock; the stand-in has one for it.
    commits = {
        (build.package.position, commit_name(build.package.name))
        for build in selection.builds
        if isinstance(build.package.source, GitSource) and build.distribution is None
    }
    return frozenset(files | commits)


def _name_at_its_place(distribution: Distribution) -> str:
    # A direct URL can end in anything, and the archive gives such a file a name of its own.
    match distribution.location:
        case Url() as url:
            return url.last_segment
        case path:
            return path.text.rpartition("/")[2]


def _installed(selection: Selection) -> frozenset[str]:
    return frozenset(
        package.name
        for package in selection.packages
        if not (isinstance(package.source, TreeSource) and package.source.kind == "virtual")
    )


def _micros(lock: Lock, python: Python) -> list[str]:
    """Return patch releases up to one beyond the last that the lock mentions, and all below."""
    if python.micro is not None:
        return [python.micro]
    named = re.findall(rf"\b{python.major}\.{python.minor}\.(\d+)", repr(lock.document))
    return [str(micro) for micro in range(max((int(n) for n in named), default=0) + 2)]


def _union(answers: list[Asked]) -> Answer:
    """Return what any patch release needs, those aside that the lock isn't for."""
    covered = [answer for answer in answers if not answer.excluded]
    if not covered:
        return Answer(refusal=answers[0].refusal)
    refused = next((answer for answer in covered if answer.refusal), None)
    if refused is not None:
        return Answer(refusal=refused.refusal, conflicts=refused.conflicts)
    return Answer(
        files=frozenset().union(*(answer.files for answer in covered)),
        installed=frozenset(name for answer in covered for name, _ in answer.installed),
    )


def _without_conflicts(lock: Lock, request: Request) -> Iterator[list[str]]:
    """Yield flags that leave out what conflicts, in every way, where all was asked for.

    uv refuses to install conflicting extras or groups together; their files can lie side by
    side, and what is needed is what any of the possible installs needs.
    """
    if not (lock.conflicts and request.include.takes_everything_of_a_kind):
        yield []
        return
    chosen = _chosen(lock, request)
    sets = [{item for item in _items(conflict) if chosen[item]} for conflict in lock.conflicts]
    sets = [conflict for conflict in sets if len(conflict) > 1]
    if any(chosen[item] > 1 for conflict in sets for item in conflict):
        # The flag would leave out the other package's too, which conflicts with nothing.
        raise NotComparableError
    items = sorted({item for conflict in sets for item in conflict})
    for together in _compatible(items, sets):
        dropped = [item for item in items if item not in together]
        yield [part for item in dropped for part in item]


_Item = tuple[str, str]


def _items(conflict: Iterable[ConflictItem]) -> Iterator[_Item]:
    """Yield the flags that leave the items out."""
    yield from ((f"--no-{item.kind}", item.name) for item in conflict if item.name is not None)


def _chosen(lock: Lock, request: Request) -> Counter[_Item]:
    """Count in how many packages each extra and group is chosen, by the flag that undoes it."""
    include, root = request.include, request.root
    names = lock.members if include.all_packages or root.project is None else (root.project,)
    roots = [p for p in lock.packages if p.name in (include.packages or names)]
    extras = Counter(extra for package in roots for extra in package.optional_dependencies)
    # A member that is installed alone inherits the groups of the workspace's root.
    inherited = [lock.root] if lock.root and lock.root not in roots and len(roots) == 1 else []
    owners = [*roots, *inherited]
    groups = Counter(group for package in owners for group in package.dependency_groups)
    defaults = () if include.no_default_groups or include.only_groups else root.default_groups
    asked = {*include.groups, *include.only_groups, *(() if defaults == "all" else defaults)}
    if include.dev is not None:
        asked.add(canonicalize_name("dev"))
    every_group = include.all_groups or defaults == "all"
    return Counter(
        {
            ("--no-extra", extra): count
            for extra, count in extras.items()
            if (include.all_extras or extra in include.extras) and extra not in include.no_extras
        }
        | {
            ("--no-group", group): count
            for group, count in groups.items()
            if (every_group or group in asked)
            and group not in include.no_groups
            and not (group == "dev" and include.dev == "exclude")
        }
    )


def _compatible(items: list[_Item], sets: list[set[_Item]]) -> Iterator[frozenset[_Item]]:
    """Yield every choice of *items* that has at most one of each set."""
    if not items:
        yield frozenset()
        return
    first, rest = items[0], items[1:]
    yield from _compatible(rest, sets)
    excluded = {item for conflict in sets if first in conflict for item in conflict}
    for chosen in _compatible([item for item in rest if item not in excluded], sets):
        yield chosen | {first}
