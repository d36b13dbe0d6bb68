"""Read `pylock.toml` of any tool (PEP 751), version 1.

A pylock file has no edges: every package says itself, by a marker, for which environments,
extras and groups it is. Here a root that isn't installed depends on all of them, with extras and
groups of its own, so that the rest of the program sees a lock like any other.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from packaging.pylock import (
    Pylock,
    PylockUnsupportedVersionError,
    PylockValidationError,
    is_valid_pylock_path,
)
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.digest import Digest
from uv_archive.errors import LockError
from uv_archive.filenames import SdistFilename, WheelFilename, parse_sdist, parse_wheel
from uv_archive.lock.model import (
    Dependency,
    Distribution,
    GitSource,
    LocalPath,
    Lock,
    Manifest,
    Package,
    PathSource,
    RegistrySource,
    Source,
    TreeSource,
    UrlSource,
    pseudo_extra,
)
from uv_archive.lock.reader import named_sdist, parse_document, read_with, url_or_file
from uv_archive.lock.toml import Table
from uv_archive.markers import Marker
from uv_archive.url import Url

#: The root that has every package for a dependency. No package has that name: it isn't normalised.
ROOT = NormalizedName("pylock.toml")

# The strongest first: one of them is checked, and each of the secure ones alone would do.
_ALGORITHMS = ("sha512", "blake2b", "sha384", "sha256", "sha1", "md5")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)

# `packaging` logs a minor version that it doesn't know. Here that is `unknown_minor_version`.
logging.getLogger("packaging.pylock").addHandler(logging.NullHandler())


def read_pylock(path: Path) -> Lock:
    """Read the pylock file at *path*. Raises `LockError`, whose message names the place."""
    if not is_valid_pylock_path(path):
        raise LockError(
            f"`{path.name}` is no name of a pylock file",
            hint="It has to be `pylock.toml` or `pylock.<name>.toml`",
        )
    return read_with(path, parse_pylock, hint="Name the file that your locking tool wrote")


def parse_pylock(content: bytes) -> Lock:
    """Read a pylock file from its bytes. Raises `LockError`."""
    document = parse_document(content)
    try:
        pylock = Pylock.from_dict(document)
    except PylockUnsupportedVersionError as error:
        raise LockError(
            f"it has version {document.get('lock-version')}, and this program reads version 1",
            place="lock-version",
            hint="Look for a newer uv-archive",
        ) from error
    except PylockValidationError as error:
        raise LockError(
            f"it isn't a valid pylock file: {error.message}", place=error.context
        ) from error
    return _PylockReader(document, pylock).read(hashlib.sha256(content).hexdigest())


def unknown_minor_version(lock: Lock) -> str | None:
    """Return the version of a pylock file that may say more than this program reads.

    "If a tool supports the major version but not the minor version, a tool SHOULD warn when an
    unknown key is seen." PEP 751, "lock-version".
    """
    written = str(lock.document.get("lock-version"))
    return written if Version(written) > Version("1.0") else None


def default_groups(lock: Lock) -> tuple[NormalizedName, ...]:
    """Return the groups that are installed unasked."""
    return tuple(map(canonicalize_name, lock.document.get("default-groups", ())))


def active_extras(
    extras: Iterable[NormalizedName], groups: Iterable[NormalizedName]
) -> frozenset[str]:
    """Return the pseudo-extras that markers of a pylock file compare with."""
    return frozenset(
        {
            *(pseudo_extra("extra", ROOT, name) for name in extras),
            *(pseudo_extra("group", ROOT, name) for name in groups),
        }
    )


class _PylockReader:
    """Reads a document that `packaging` has validated."""

    def __init__(self, document: Mapping[str, Any], pylock: Pylock) -> None:
        self._document = Table(document)
        self._pylock = pylock
        self._sets = {
            "extras": lambda name: pseudo_extra("extra", ROOT, canonicalize_name(name)),
            "dependency_groups": lambda name: pseudo_extra("group", ROOT, canonicalize_name(name)),
        }

    def read(self, sha256: str) -> Lock:
        tables = self._document.tables("packages")
        packages = tuple(
            self._package(position, table) for position, table in enumerate(tables, start=1)
        )
        edges = tuple(
            Dependency(package=package.position, extras=(), marker=self._marker(table))
            for package, table in zip(packages, tables, strict=True)
        )
        return Lock(
            version=1,
            revision=1,
            requires_python=self._pylock.requires_python or SpecifierSet(),
            supported_markers=self._document.parsed_texts("environments", Marker.parse),
            conflicts=(),
            manifest=Manifest(members=(ROOT,)),
            packages=(self._root(edges), *packages),
            sha256=sha256,
            document=self._document.value,
            negated=frozenset(n for edge in edges if edge.marker for n in edge.marker.negated),
        )

    def _root(self, edges: tuple[Dependency, ...]) -> Package:
        extras = self._document.parsed_texts("extras", _name)
        groups = self._document.parsed_texts("dependency-groups", _name)
        return Package(
            position=0,
            name=ROOT,
            version=None,
            source=TreeSource(kind="virtual", path=LocalPath(".")),
            fork_markers=(),
            dependencies=edges,
            optional_dependencies=dict.fromkeys(extras, ()),
            dependency_groups=dict.fromkeys((*groups, *self._default_groups()), ()),
            provides_extras=frozenset(extras),
            declares_groups=frozenset(groups),
            sdist=None,
            wheels=(),
        )

    def _default_groups(self) -> tuple[NormalizedName, ...]:
        # A tool may make up a name for what it installs by default, and list it only here.
        return self._document.parsed_texts("default-groups", _name)

    def _marker(self, table: Table) -> Marker | None:
        return table.optional_parsed(
            "marker", lambda text: Marker.parse_pylock(text, sets=self._sets)
        )

    def _package(self, position: int, table: Table) -> Package:
        name = NormalizedName(table.text("name"))
        version = table.optional_parsed("version", Version)
        source = _source(table)
        sdist, wheels = _files(table, name, version)
        return Package(
            position=position,
            name=name,
            version=version,
            source=source,
            fork_markers=(),
            dependencies=(),
            optional_dependencies={},
            dependency_groups={},
            provides_extras=frozenset(),
            declares_groups=frozenset(),
            sdist=sdist,
            wheels=wheels,
            requires_python=table.optional_parsed("requires-python", SpecifierSet),
        )


def _name(text: str) -> NormalizedName:
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName as error:
        raise ValueError("not a valid name") from error


def _source(package: Table) -> Source:
    """Return where a package is from. `packaging` has checked that it is one of these."""
    if "vcs" in package:
        return _git_source(package.table("vcs"))
    if "directory" in package:
        return _tree_source(package.table("directory"))
    if "archive" in package:
        archive = package.table("archive")
        _, location = _location(archive)
        match location:
            case Url():
                subdirectory = archive.optional_text("subdirectory")
                return UrlSource(url=location, subdirectory=subdirectory)
            case LocalPath():
                return PathSource(path=location)
    if "index" in package:
        return RegistrySource(index=package.parsed("index", url_or_file))
    files = (*package.tables("wheels"), *([package.table("sdist")] if "sdist" in package else []))
    return RegistrySource(index=_above(_location(files[0])[1]))


def _git_source(vcs: Table) -> GitSource:
    if vcs.text("type") != "git":
        raise vcs.fail("type", "the only version control that is supported is git")
    if "url" not in vcs:
        raise vcs.fail("path", "a repository on the machine that locked can't be archived")
    commit = vcs.text("commit-id")
    if not _COMMIT.fullmatch(commit):
        raise vcs.fail("commit-id", "expected a commit of 40 or 64 hexadecimal digits")
    requested = vcs.optional_text("requested-revision")
    reference: tuple[Literal["rev"], str] | None = ("rev", requested) if requested else None
    return GitSource(
        url=vcs.parsed("url", Url.parse),
        commit=commit,
        reference=reference,
        subdirectory=vcs.optional_text("subdirectory"),
    )


def _tree_source(directory: Table) -> TreeSource:
    path = directory.parsed("path", _path)
    subdirectory = directory.optional_text("subdirectory")
    if subdirectory:
        path = LocalPath(f"{path}/{subdirectory}")
    editable = directory.value.get("editable") is True
    return TreeSource(kind="editable" if editable else "directory", path=path)


def _files(
    package: Table, name: NormalizedName, version: Version | None
) -> tuple[Distribution | None, tuple[Distribution, ...]]:
    """Return the sdist and the wheels of a package, or its archive as one of the two."""
    index = package.optional_text("index")
    if "archive" in package:
        file = _archive(package.table("archive"), name, version)
        return (None, (file,)) if file.is_wheel else (file, ())
    sdist = _sdist(package.table("sdist"), name, index) if "sdist" in package else None
    return sdist, tuple(_wheel(table, index) for table in package.tables("wheels"))


def _archive(table: Table, name: NormalizedName, version: Version | None) -> Distribution:
    key, location = _location(table)
    written = _last_segment(table, key, location)
    filename: WheelFilename | SdistFilename
    try:
        filename = parse_wheel(written) if written.endswith(".whl") else parse_sdist(written, name)
    except ValueError as error:
        if written.endswith(".whl"):
            raise _unnamed(table, key, error) from error
        # It may be called anything, such as `v1.0.tar.gz`.
        filename = named_sdist(written, name, version, table, key)
    if filename.name != name:
        raise table.fail(key, f"the lock names a file of `{filename.name}` for `{name}`")
    return _distribution(table, key, filename, location, str(location))


def _sdist(table: Table, name: NormalizedName, index: str | None) -> Distribution:
    key, location = _location(table)
    try:
        filename = parse_sdist(_written_name(table, key, location), name)
    except ValueError as error:
        raise _unnamed(table, key, error) from error
    return _distribution(table, key, filename, location, index)


def _wheel(table: Table, index: str | None) -> Distribution:
    key, location = _location(table)
    try:
        filename = parse_wheel(_written_name(table, key, location))
    except ValueError as error:
        raise _unnamed(table, key, error) from error
    return _distribution(table, key, filename, location, index)


def _unnamed(table: Table, key: str, error: ValueError) -> LockError:
    return table.fail("name" if "name" in table else key, f"the lock names a file badly: {error}")


def _written_name(table: Table, key: str, location: Url | LocalPath) -> str:
    # A URL may end in anything; then the file's name stands beside it.
    return table.optional_text("name") or _last_segment(table, key, location)


def _location(table: Table) -> tuple[str, Url | LocalPath]:
    """Return where a file is, and the key that says so. A URL leads there from anywhere."""
    if "url" in table:
        return "url", table.parsed("url", url_or_file)
    return "path", table.parsed("path", _path)


def _path(text: str) -> LocalPath:
    if "\0" in text:
        raise ValueError("a path has no NUL")
    # "If the path is relative it MAY use POSIX-style path separators explicitly for portability."
    return LocalPath(text if "/" in text else text.replace("\\", "/"))


def _last_segment(table: Table, key: str, location: Url | LocalPath) -> str:
    if isinstance(location, LocalPath):
        return location.text.rpartition("/")[2]
    try:
        return location.last_segment
    except ValueError as error:
        raise table.fail(key, "the lock has a URL whose file name can't be decoded") from error


def _above(location: Url | LocalPath) -> Url | LocalPath:
    """Return the directory of a file: what stands for an index where none is named."""
    match location:
        case Url():
            return Url.parse(location.public().rpartition("/")[0])
        case LocalPath(text=text):
            return LocalPath(text.rpartition("/")[0] or ".")


def _distribution(
    table: Table,
    key: str,
    filename: WheelFilename | SdistFilename,
    location: Url | LocalPath,
    index: str | None,
) -> Distribution:
    return Distribution(
        filename=filename,
        location=location,
        source=_public(index) if index else str(_above(location)),
        digest=_digest(table.table("hashes")),
        size=table.optional_integer("size"),
        place=table.place_of(key),
    )


def _public(index: str) -> str:
    return str(url_or_file(index)) if "://" in index else index


def _digest(hashes: Table) -> Digest | None:
    """Return the strongest digest; one of an algorithm that isn't known is as good as none."""
    algorithm = next((name for name in _ALGORITHMS if name in hashes), None)
    if algorithm is None:
        return None
    return hashes.parsed(algorithm, lambda text: Digest.parse(f"{algorithm}:{text}"))
