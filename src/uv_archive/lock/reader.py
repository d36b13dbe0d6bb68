"""Read `uv.lock` and script locks (`x.py.lock`), version 1, any revision.

Source: uv's `crates/uv-lock`, checked against uv 0.13.9. Later revisions of version 1 only
add keys, so unknown keys are passed over; a higher version is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import tomli
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.digest import Digest
from uv_archive.errors import LockError
from uv_archive.filenames import (
    SDIST_ENDINGS,
    SdistFilename,
    WheelFilename,
    parse_sdist,
    parse_version,
    parse_wheel,
)
from uv_archive.lock.model import (
    ConflictItem,
    Dependency,
    Distribution,
    GitSource,
    LocalPath,
    Lock,
    Manifest,
    Package,
    PathSource,
    RegistrySource,
    Requirement,
    Source,
    TreeSource,
    UrlSource,
)
from uv_archive.lock.toml import Table, with_shared_strings
from uv_archive.markers import Marker
from uv_archive.url import Url

SUPPORTED_VERSION = 1
# The largest public locks have a few megabytes.
_LARGEST = 100 * 1024 * 1024
# uv reads no deeper nesting either.
_DEEPEST = 80
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def read_lock(path: Path) -> Lock:
    """Read the lock at *path*. Raises `LockError`, whose message names the place."""
    return read_with(path, parse_lock, hint="Run `uv lock` first")


def read_with(path: Path, parse: Callable[[bytes], Lock], *, hint: str) -> Lock:
    """Read the lock at *path* with *parse*; *hint* says how to make one that is missing."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise LockError(f"There is no lock at `{path}`", hint=hint) from error
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise LockError(f"The lock `{path}` can't be read: {reason}") from error
    try:
        return parse(content)
    except LockError as error:
        raise LockError(f"`{path}` can't be used: {error.message}", hint=error.hint) from error


def parse_lock(content: bytes) -> Lock:
    """Read a lock from its bytes. Raises `LockError`."""
    document = parse_document(content)
    return _LockReader(Table(document), hashlib.sha256(content).hexdigest()).read()


def parse_document(content: bytes) -> dict[str, Any]:
    """Read the TOML of a lock of whatever kind. Raises `LockError`."""
    if len(content) > _LARGEST:
        raise LockError(f"it is larger than {_LARGEST // 2**20} MiB")
    try:
        document = tomli.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise LockError(f"it isn't TOML: {_first_line(error)}") from error
    shared: dict[str, Any] = with_shared_strings(document, deepest=_DEEPEST)
    return shared


def _first_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _name(text: str) -> NormalizedName:
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName as error:
        raise ValueError("not a valid name") from error


class _LockReader:
    """Reads one document; packages first by identity, so that edges can be resolved."""

    def __init__(self, document: Table, sha256: str) -> None:
        self._document = document
        self._sha256 = sha256
        self._identities: list[_Identity] = []
        self._by_identity: dict[_Identity, int] = {}
        self._by_name: dict[NormalizedName, list[int]] = defaultdict(list)

    def read(self) -> Lock:
        document = self._document
        self._check_version()
        tables = document.tables("package")
        for table in tables:
            self._identify(table)
        return Lock(
            version=SUPPORTED_VERSION,
            revision=document.optional_integer("revision") or 0,
            requires_python=document.optional_parsed("requires-python", SpecifierSet)
            or SpecifierSet(),
            supported_markers=document.parsed_texts("supported-markers", Marker.parse),
            conflicts=self._conflicts(),
            manifest=self._manifest(document.table("manifest")),
            packages=tuple(self._package(i, table) for i, table in enumerate(tables)),
            sha256=self._sha256,
            document=document.value,
        )

    def _check_version(self) -> None:
        version = self._document.integer("version")
        if version != SUPPORTED_VERSION:
            raise LockError(
                f"the lock has version {version}, and this program reads {SUPPORTED_VERSION}",
                place="version",
                hint="Look for a newer uv-archive",
            )
        if "distribution" in self._document:
            raise LockError(
                "the lock is of a uv from before August 2024",
                place="distribution",
                hint="Run `uv lock` with a newer uv",
            )

    def _identify(self, table: Table) -> None:
        name = table.parsed("name", _name)
        version = table.optional_parsed("version", parse_version)
        source = _source(table.table("source"))
        if version is None and isinstance(source, RegistrySource):
            raise table.fail("version", "the lock lacks a key")
        identity = (name, version, source)
        if identity in self._by_identity:
            raise LockError("the lock has a package twice", place=table.place)
        self._by_name[name].append(len(self._identities))
        self._by_identity[identity] = len(self._identities)
        self._identities.append(identity)

    def _conflicts(self) -> tuple[tuple[ConflictItem, ...], ...]:
        sets: Any = self._document.value.get("conflicts", [])
        if not isinstance(sets, list):
            raise self._document.fail("conflicts", "expected an array")
        found = []
        for position, value in enumerate(sets):
            if not isinstance(value, list):
                raise self._document.fail(f"conflicts[{position}]", "expected an array")
            key = f"conflicts[{position}]"
            items = Table({key: value}).tables(key)
            found.append(tuple(_conflict_item(item) for item in items))
        return tuple(found)

    def _manifest(self, manifest: Table) -> Manifest:
        groups = manifest.table("dependency-groups")
        return Manifest(
            members=manifest.parsed_texts("members", _name),
            requirements=tuple(_requirement(table) for table in manifest.tables("requirements")),
            dependency_groups={
                _key_name(groups, key): tuple(_requirement(t) for t in groups.tables(key))
                for key in groups.keys()
            },
            build_constraints=tuple(
                _build_constraint(table) for table in manifest.tables("build-constraints")
            ),
        )

    def _package(self, position: int, table: Table) -> Package:
        name, version, source = self._identities[position]
        metadata = table.table("metadata")
        declared = metadata.table(_either(metadata, "requires-dev", "dependency-groups"))
        return Package(
            position=position,
            name=name,
            version=version,
            source=source,
            fork_markers=table.parsed_texts("resolution-markers", Marker.parse),
            dependencies=self._dependencies(table, "dependencies"),
            optional_dependencies=self._named_dependencies(table.table("optional-dependencies")),
            dependency_groups=self._named_dependencies(
                table.table(_either(table, "dev-dependencies", "dependency-groups"))
            ),
            provides_extras=frozenset(metadata.parsed_texts("provides-extras", _name)) or _NONE,
            declares_groups=frozenset(_key_name(declared, key) for key in declared.keys()) or _NONE,
            sdist=_sdist(table, name, version, source),
            wheels=tuple(_wheel(t, name, version, source) for t in table.tables("wheels")),
        )

    def _named_dependencies(self, table: Table) -> Mapping[NormalizedName, tuple[Dependency, ...]]:
        if not table.value:
            return _NO_EDGES
        return {_key_name(table, key): self._dependencies(table, key) for key in table.keys()}

    def _dependencies(self, table: Table, key: str) -> tuple[Dependency, ...]:
        return tuple(self._dependency(edge) for edge in table.tables(key))

    def _dependency(self, edge: Table) -> Dependency:
        return Dependency(
            package=self._resolve(edge),
            extras=edge.parsed_texts("extra", _name),
            marker=edge.optional_parsed("marker", Marker.parse),
        )

    def _resolve(self, edge: Table) -> int:
        """Find the package an edge leads to.

        An edge says its version and source where several packages have the name. The version
        of a source tree may be missing on both sides.
        """
        name = edge.parsed("name", _name)
        version = edge.optional_parsed("version", parse_version)
        source = _source(edge.table("source")) if "source" in edge else None
        named = self._by_name.get(name, ())
        if len(named) == 1:
            _, only_version, only_source = self._identities[named[0]]
            if version in (None, only_version) and source in (None, only_source):
                return named[0]
        elif named and source is None:
            raise edge.fail("name", "the lock has several packages for a dependency")
        elif source is not None and (name, version, source) in self._by_identity:
            return self._by_identity[(name, version, source)]
        raise edge.fail("name", "the lock has no package for a dependency")


# Shared by nearly all packages of a lock.
_NO_EDGES: Mapping[NormalizedName, tuple[Dependency, ...]] = MappingProxyType({})
_NONE: frozenset[NormalizedName] = frozenset()

# What tells the packages of a lock apart.
_Identity = tuple[NormalizedName, Version | None, Source]


def _key_name(table: Table, key: str) -> NormalizedName:
    try:
        return _name(key)
    except ValueError as error:
        raise table.fail(key, f"the lock has a key that can't be read: {error}") from error


def _either(table: Table, key: str, alias: str) -> str:
    # uv reads the second name too, and may come to write it.
    return alias if alias in table and key not in table else key


def _conflict_item(item: Table) -> ConflictItem:
    kind: Literal["extra", "group", "project"] = "project"
    if "extra" in item:
        kind = "extra"
    elif "group" in item:
        kind = "group"
    name = item.parsed(kind, _name) if kind != "project" else None
    return ConflictItem(package=item.parsed("package", _name), kind=kind, name=name)


def _requirement(table: Table) -> Requirement:
    return Requirement(
        name=table.parsed("name", _name),
        extras=table.parsed_texts("extras", _name),
        marker=table.optional_parsed("marker", Marker.parse),
    )


def _build_constraint(table: Table) -> str:
    """Write a constraint of the manifest as a requirement (PEP 508)."""
    text = table.parsed("name", _name) + (table.optional_text("specifier") or "")
    url = table.optional_text("url")
    if url:
        text = f"{text} @ {url}"
    marker = table.optional_parsed("marker", Marker.parse)
    return f"{text} ; {marker.text}" if marker else text


def _source(table: Table) -> Source:
    kinds = [key for key in ("registry", "git", "url", "path", *_TREES) if key in table]
    if len(kinds) != 1:
        raise LockError("the lock has a source of a kind that isn't known", place=table.place)
    kind = kinds[0]
    match kind:
        case "registry":
            return RegistrySource(index=_url_or_path(table, kind))
        case "git":
            return table.parsed(kind, _git_source)
        case "url":
            url = table.parsed(kind, Url.parse)
            return UrlSource(url=url, subdirectory=table.optional_text("subdirectory"))
        case "path":
            return PathSource(path=table.parsed(kind, _local_path))
        case _:
            tree = _TREES[kind]
            return TreeSource(kind=tree, path=table.parsed(kind, _local_path))


_TREES: Mapping[str, Literal["directory", "editable", "virtual"]] = {
    "directory": "directory",
    "editable": "editable",
    "virtual": "virtual",
}


def _git_source(text: str) -> GitSource:
    """Read `https://host/repository?subdirectory=x&tag=v1#<commit>`, or `file:///repository#…`."""
    Url.parse(text, hostless=("file",))
    parts = urlsplit(text)
    if not re.fullmatch(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", parts.fragment):
        raise ValueError("a git source has a commit of 40 or 64 hexadecimal digits")
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    reference: tuple[Literal["branch", "tag", "rev"], str] | None = None
    for kind in _REFERENCES:
        if kind in query:
            reference = (kind, query[kind])
    return GitSource(
        url=Url.parse(
            urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), hostless=("file",)
        ),
        commit=parts.fragment,
        reference=reference,
        subdirectory=query.get("subdirectory"),
        path=query.get("path"),
        lfs=query.get("lfs", "").lower() == "true",
    )


_REFERENCES: tuple[Literal["branch", "tag", "rev"], ...] = ("branch", "tag", "rev")


def _local_path(text: str) -> LocalPath:
    if "\0" in text:
        raise ValueError("a path has no NUL")
    return LocalPath(text)


def _url_or_path(table: Table, key: str) -> Url | LocalPath:
    """uv takes a string for a URL if it begins with a scheme."""
    if _SCHEME.match(table.text(key)):
        return table.parsed(key, url_or_file)
    return table.parsed(key, _local_path)


def url_or_file(text: str) -> Url | LocalPath:
    """Read a URL; one of a file is a path. Raises `ValueError`."""
    if text.startswith("file://"):
        return _local_path(unquote(urlsplit(text).path, errors="strict"))
    return Url.parse(text)


def _sdist(
    package: Table, name: NormalizedName, version: Version | None, source: Source
) -> Distribution | None:
    if "sdist" not in package and not _is_sdist(source):
        return None
    table = package.table("sdist")
    key, location = _location(table, source)
    written = _last_segment(table, key, location)
    try:
        filename = parse_sdist(written, name)
        if version is not None and not _fits(filename.version, version):
            raise ValueError(f"its version isn't {version}")
    except ValueError as error:
        if isinstance(source, RegistrySource):
            message = f"the lock names a file that can't be an sdist of `{name}`: {error}"
            raise table.fail(key, message) from error
        # A direct URL may end in anything, such as `v1.0.tar.gz`.
        filename = named_sdist(written, name, version, table, key)
    return _distribution(table, key, filename, location, source)


def _is_sdist(source: Source) -> bool:
    """Whether the source is itself an sdist: the lock needn't say so again."""
    match source:
        case UrlSource(url=url):
            return url.public().endswith(SDIST_ENDINGS)
        case PathSource(path=LocalPath(text)) | GitSource(path=str(text)):
            return text.endswith(SDIST_ENDINGS)
        case _:
            return False


def named_sdist(
    written: str, name: NormalizedName, version: Version | None, table: Table, key: str
) -> SdistFilename:
    """Name an sdist by what the lock says of it, as its own name says nothing."""
    ending = next((ending for ending in SDIST_ENDINGS if written.endswith(ending)), "")
    stem = name.replace("-", "_")
    try:
        return parse_sdist(f"{stem}-{version or Version('0')}{ending}", name)
    except ValueError as error:
        message = f"the lock names a file that can't be an sdist of `{name}`: {error}"
        raise table.fail(key, message) from error


def _wheel(
    table: Table, name: NormalizedName, version: Version | None, source: Source
) -> Distribution:
    key, location = _location(table, source)
    written = _last_segment(table, key, location)
    try:
        filename = parse_wheel(written)
        if filename.name != name:
            raise ValueError("it is another project's")
        if version is not None and not _fits(filename.version, version):
            raise ValueError(f"its version isn't {version}")
    except ValueError as error:
        message = f"the lock names a file that can't be a wheel of `{name}`: {error}"
        raise table.fail(key, message) from error
    return _distribution(table, key, filename, location, source)


def _fits(named: Version, locked: Version) -> bool:
    # uv allows a file to have a local version that the package's version leaves out.
    return locked == named or (named.local is not None and locked == Version(named.public))


def _location(table: Table, source: Source) -> tuple[str, Url | LocalPath]:
    """Return where a file is, and the key that says so."""
    match source:
        case RegistrySource(index=index):
            if "url" in table:
                return "url", table.parsed("url", url_or_file)
            if isinstance(index, LocalPath):
                # "path relative to the index": a flat directory of files.
                return "path", LocalPath(f"{index.text}/{table.parsed('path', _local_path)}")
            raise table.fail("url", "the lock lacks a key")
        case UrlSource(url=url):
            return ("url" if "url" in table else "hash"), url
        case PathSource(path=path):
            return ("filename" if "filename" in table else "hash"), path
        case GitSource(path=str(path)):
            return ("filename" if "filename" in table else "hash"), LocalPath(path)
        case _:
            raise LockError("the lock names a file for a source tree", place=table.place)


def _last_segment(table: Table, key: str, location: Url | LocalPath) -> str:
    if key == "filename":
        return table.text("filename")
    if isinstance(location, LocalPath):
        return location.text.rpartition("/")[2]
    try:
        return location.last_segment
    except ValueError as error:
        raise table.fail(key, "the lock has a URL whose file name can't be decoded") from error


def _distribution(
    table: Table,
    key: str,
    filename: WheelFilename | SdistFilename,
    location: Url | LocalPath,
    source: Source,
) -> Distribution:
    match source:
        case RegistrySource(index=index):
            origin = str(index)
        case UrlSource(url=url) | GitSource(url=url):
            origin = str(url)
        case _:
            origin = str(location)
    return Distribution(
        filename=filename,
        location=location,
        source=origin,
        digest=table.optional_parsed("hash", Digest.parse),
        size=table.optional_integer("size"),
        place=table.place_of(key),
    )
