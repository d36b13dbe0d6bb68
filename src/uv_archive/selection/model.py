"""What is asked of a selection, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from packaging.utils import NormalizedName

from uv_archive.lock.model import Distribution, Package
from uv_archive.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """Where `uv sync` would start: the project found, and the groups it takes unasked.

    *project* is `None` for a workspace root that isn't a project, and for a script.
    """

    project: NormalizedName | None
    default_groups: tuple[NormalizedName, ...] | Literal["all"] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Include:
    """The selection flags of `uv sync`, with their meaning there.

    *dev* is `--dev`, `--no-dev` or `--only-dev`; unlike the groups that are named, `dev`
    needn't exist.
    """

    packages: tuple[NormalizedName, ...] = ()
    all_packages: bool = False
    extras: tuple[NormalizedName, ...] = ()
    all_extras: bool = False
    no_extras: tuple[NormalizedName, ...] = ()
    groups: tuple[NormalizedName, ...] = ()
    all_groups: bool = False
    no_groups: tuple[NormalizedName, ...] = ()
    only_groups: tuple[NormalizedName, ...] = ()
    no_default_groups: bool = False
    dev: Literal["include", "exclude", "only"] | None = None

    def flags(self) -> tuple[str, ...]:
        """Return the flags of `uv sync` that say this."""
        named = (
            ("--package", self.packages),
            ("--extra", self.extras),
            ("--no-extra", self.no_extras),
            ("--group", self.groups),
            ("--no-group", self.no_groups),
            ("--only-group", self.only_groups),
        )
        switches = (
            ("--all-packages", self.all_packages),
            ("--all-extras", self.all_extras),
            ("--all-groups", self.all_groups),
            ("--no-default-groups", self.no_default_groups),
            ("--dev", self.dev == "include"),
            ("--no-dev", self.dev == "exclude"),
            ("--only-dev", self.dev == "only"),
        )
        return (
            *(flag for flag, is_set in switches if is_set),
            *(part for flag, names in named for name in names for part in (flag, name)),
        )

    @property
    def takes_everything_of_a_kind(self) -> bool:
        """Whether conflicting items were asked for together on purpose: files lie side by side."""
        return self.all_extras or self.all_groups or self.all_packages


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """`--no-binary`, `--no-build` and their `-package` forms, settings included."""

    no_binary: bool = False
    no_binary_packages: frozenset[NormalizedName] = frozenset()
    no_build: bool = False
    no_build_packages: frozenset[NormalizedName] = frozenset()

    def flags(self) -> tuple[str, ...]:
        """Return the flags of `uv sync` that say this."""
        switches = (("--no-binary", self.no_binary), ("--no-build", self.no_build))
        named = (
            ("--no-binary-package", self.no_binary_packages),
            ("--no-build-package", self.no_build_packages),
        )
        return (
            *(flag for flag, is_set in switches if is_set),
            *(part for flag, names in named for name in sorted(names) for part in (flag, name)),
        )

    def forbids_wheel(self, name: NormalizedName) -> bool:
        """Whether wheels of *name* are out; `--no-build-package` excepts from `--no-binary`."""
        if self.no_binary:
            return self.no_build or name not in self.no_build_packages
        return name in self.no_binary_packages

    def forbids_build(self, name: NormalizedName) -> bool:
        """Whether *name* isn't built; `--no-binary-package` excepts from `--no-build`."""
        if self.no_build:
            return self.no_binary or name not in self.no_binary_packages
        return name in self.no_build_packages

    def forbidding(self, name: NormalizedName) -> Iterator[str]:
        """Yield the flags that forbid wheels or builds of *name*."""
        if self.forbids_wheel(name):
            yield "--no-binary" if self.no_binary else f"--no-binary-package {name}"
        if self.forbids_build(name):
            yield "--no-build" if self.no_build else f"--no-build-package {name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """One distribution, and the targets that install it.

    No target means that it is taken without one that needs it: all platforms, or `--sdists`.
    """

    package: Package
    distribution: Distribution
    targets: tuple[Target, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """Something that *targets* have to build.

    It is an sdist, or without a *distribution* a source tree or a commit.
    """

    package: Package
    distribution: Distribution | None
    targets: tuple[Target, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """A package that the lock has no file of that *target* could install."""

    package: Package
    target: Target
    reason: str

    @property
    def is_forbidden(self) -> bool:
        """Whether the build options stand in the way, of all or of what the lock has."""
        return "allowed" in self.reason

    def __str__(self) -> str:
        return f"{self.package} for {self.target.label}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """What the lock offers and the selection doesn't take: extras and groups with their package."""

    packages: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What the targets need, everything in the lock's order.

    *packages* are those reached, whether or not they have a file.
    """

    distributions: tuple[Selected, ...]
    builds: tuple[Build, ...]
    packages: tuple[Package, ...]
    gaps: tuple[Gap, ...]
    left_out: LeftOut
