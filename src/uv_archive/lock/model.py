"""What a lock says, as values: packages, their distributions and the edges between them.

Everything here was read and checked by `uv_archive.lock.reader`; past it, names are
normalised, markers parse, edges lead to packages of the same lock, and a file name can't
leave the directory it is put into.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from uv_archive.digest import Digest
from uv_archive.filenames import SdistFilename, WheelFilename
from uv_archive.markers import Marker
from uv_archive.url import Url


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A path as the lock writes it: `/` between its parts, relative to the lock or absolute."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistrySource:
    """An index: a URL, or a directory of files (`--find-links`)."""

    index: Url | LocalPath


@dataclass(frozen=True, kw_only=True, slots=True)
class GitSource:
    """A commit of a repository.

    *url* is the repository's, without query and fragment; *commit* has 40 or 64 hexadecimal
    digits. *path* names a wheel or sdist inside the repository.
    """

    url: Url
    commit: str
    reference: tuple[Literal["branch", "tag", "rev"], str] | None = None
    subdirectory: str | None = None
    path: str | None = None
    lfs: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class UrlSource:
    """One wheel or sdist by its URL."""

    url: Url
    subdirectory: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PathSource:
    """One wheel or sdist of the project's own files."""

    path: LocalPath


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSource:
    """A source tree of the project's own files.

    A *virtual* one is not installed, only its dependencies are.
    """

    kind: Literal["directory", "editable", "virtual"]
    path: LocalPath


Source = RegistrySource | GitSource | UrlSource | PathSource | TreeSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """One wheel or sdist that the lock names.

    *location* is absolute for a URL; a path is relative to the directory of the lock.
    *source* is the public form of where it comes from: the index, or the direct URL. *size*
    is in bytes. *digest* and *size* are missing where the index didn't give them.
    """

    filename: WheelFilename | SdistFilename
    location: Url | LocalPath
    source: str
    digest: Digest | None
    size: int | None
    place: str = field(compare=False)

    def __hash__(self) -> int:
        # Made anew for each look-up; the other parts would hash a version and all tags every time.
        return hash(self.filename.text)

    @property
    def is_wheel(self) -> bool:
        return isinstance(self.filename, WheelFilename)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependency:
    """An edge to another package of the lock; *package* is its position in `Lock.packages`."""

    package: int
    extras: tuple[NormalizedName, ...]
    marker: Marker | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A `[[package]]` entry. *position* is where it stands in the lock, from 0.

    *version* is missing for a source tree whose version is dynamic. *fork_markers* say for
    which environments this one of several versions is, and *requires_python* what a pylock file
    says beside them.
    """

    position: int
    name: NormalizedName
    version: Version | None
    source: Source
    fork_markers: tuple[Marker, ...]
    dependencies: tuple[Dependency, ...]
    optional_dependencies: Mapping[NormalizedName, tuple[Dependency, ...]]
    dependency_groups: Mapping[NormalizedName, tuple[Dependency, ...]]
    provides_extras: frozenset[NormalizedName]
    declares_groups: frozenset[NormalizedName]
    sdist: Distribution | None
    wheels: tuple[Distribution, ...]
    requires_python: SpecifierSet | None = None

    @property
    def distributions(self) -> tuple[Distribution, ...]:
        """Every file of the package: the sdist first, then the wheels in the lock's order."""
        return ((self.sdist,) if self.sdist else ()) + self.wheels

    def __str__(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class ConflictItem:
    """An extra, a group or a whole project that can't be installed beside the others of its set."""

    package: NormalizedName
    kind: Literal["extra", "group", "project"]
    name: NormalizedName | None

    def pseudo_extra(self) -> str:
        """Return what stands for it in the lock's markers, such as `extra-7-project-cpu`."""
        return pseudo_extra(self.kind, self.package, self.name)


def pseudo_extra(
    kind: Literal["extra", "group", "project"], package: str, name: str | None = None
) -> str:
    """Encode an extra, group or project as uv does in markers; the number is the name's length."""
    encoded = f"{kind}-{len(package)}-{package}"
    return f"{encoded}-{name}" if name is not None else encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """A requirement of the lock's manifest: what a script or a bare workspace root asks for."""

    name: NormalizedName
    extras: tuple[NormalizedName, ...]
    marker: Marker | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What the lock was made from, beyond the packages' own metadata.

    *build_constraints* are requirement strings (PEP 508) with exact or ranged versions.
    """

    members: tuple[NormalizedName, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    dependency_groups: Mapping[NormalizedName, tuple[Requirement, ...]] = field(
        default_factory=dict
    )
    build_constraints: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """A lock, read and checked. *document* is the TOML as it stands; *sha256* that of its bytes.

    The lock of a script has no root, even if a package lies beside it. *negated* are the
    pseudo-extras of a pylock file whose absence some marker asks for.
    """

    version: int
    revision: int
    requires_python: SpecifierSet
    supported_markers: tuple[Marker, ...]
    conflicts: tuple[tuple[ConflictItem, ...], ...]
    manifest: Manifest
    packages: tuple[Package, ...]
    sha256: str
    document: Mapping[str, Any] = field(repr=False, compare=False)
    has_root: bool = True
    negated: frozenset[str] = frozenset()

    def named(self, name: NormalizedName) -> tuple[Package, ...]:
        """Return the packages of that name, in the lock's order."""
        return tuple(package for package in self.packages if package.name == name)

    @property
    def root(self) -> Package | None:
        """The package that lies beside the lock, if the workspace's root is a project."""
        for package in self.packages if self.has_root else ():
            match package.source:
                case TreeSource(kind="editable" | "virtual", path=path) if path.text in (".", ""):
                    return package
                case _:
                    continue
        return None

    @property
    def members(self) -> tuple[NormalizedName, ...]:
        """The workspace's members. A project that is alone isn't listed in its lock."""
        if self.manifest.members:
            return self.manifest.members
        return (self.root.name,) if self.root else ()
