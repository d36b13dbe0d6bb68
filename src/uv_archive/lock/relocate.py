"""Relocate a lock: rewrite its sources so that uv takes every file from where it is now.

Pure: it looks at no file. Found by experiment with uv 0.13.9; what uv makes of the result
under `--frozen` is held by the tests of `sync`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import tomli_w
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.digest import Digest
from uv_archive.errors import RequestError
from uv_archive.lock.model import (
    Dependency,
    Distribution,
    LocalPath,
    Lock,
    Package,
    PathSource,
    RegistrySource,
    TreeSource,
    UrlSource,
)
from uv_archive.lock.toml import array_entry

#: A file of a lock: the position of its package, and its name.
FileKey = tuple[int, str]

# What a file entry says of how to get the file. The rest of it is kept; `zstd` describes
# another file of the index.
_LOCATING = frozenset({"url", "path", "filename", "zstd"})
_DESCRIBING = frozenset({"size", "upload-time"})
_NOTHING: Mapping[FileKey, Digest] = {}
_NO_TREES: Mapping[int, Path] = {}
_NO_WHEELS: Mapping[int, tuple[Path, Digest]] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Lent:
    """Groups of a workspace's root that are installed with a member, *to* its position."""

    to: int
    groups: Sequence[NormalizedName]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildConstraint:
    """The one version of a build requirement that uv may build with, and the bytes it has."""

    name: NormalizedName
    version: Version
    digest: Digest


def relocate(
    lock: Lock,
    *,
    files: Mapping[FileKey, Path],
    project_root: Path,
    digests: Mapping[FileKey, Digest] = _NOTHING,
    trees: Mapping[int, Path] = _NO_TREES,
    wheels: Mapping[int, tuple[Path, Digest]] = _NO_WHEELS,
    build_constraints: Sequence[BuildConstraint] = (),
    root_lends: bool = False,
    lent: Lent | None = None,
    brief: bool = False,
) -> bytes:
    """Return the lock as TOML with *files*, absolute paths, in place of what it names.

    Registry packages become packages of a flat index, one per original index, with only the
    files that are there; a wheel in *files* that the lock doesn't have is added. A direct URL
    becomes a path; one without a file stays. The project's own files and source trees are
    made absolute below *project_root*, where the lock lies. *trees* names the unpacked source
    tree to build a package from in place of its file, *wheels* what was built of a package that
    isn't an index's. *digests* go before the lock's. Edges follow their packages, *build
    constraints* replace those of their names, and everything else is kept as it stands.

    uv knows a workspace's root by its place, which is the lock's. With *root_lends* it is left
    there, so that its groups can be installed with a member; it can't be installed itself then.
    Where it has to be, what its groups name is *lent*, as if the member depended on that.
    A *brief* lock says of files where they are and what their hash is, and nothing else.
    """
    relocation = _Relocation(lock, files, project_root, digests, trees, brief=brief)
    for position, (path, digest) in wheels.items():
        relocation.replace(position, path, digest)
    if root_lends and lock.root is not None:
        relocation.leave(lock.root)
    if lent is not None and lock.root is not None:
        relocation.lend(lock.root, lent)
    return _dumped(lock, relocation, build_constraints)


def anchor(lock: Lock, *, project_root: Path) -> bytes:
    """Return the lock as TOML for another directory: the project's own paths become absolute.

    What it names of indexes, URLs and repositories stays.
    """
    return _dumped(lock, _Anchoring(lock, {}, project_root, _NOTHING, _NO_TREES))


def _dumped(
    lock: Lock, relocation: _Relocation, build_constraints: Sequence[BuildConstraint] = ()
) -> bytes:
    document = {key: value for key, value in lock.document.items() if key != "package"}
    if build_constraints:
        document["manifest"] = _constrained(document.get("manifest", {}), build_constraints)
    if lock.root is not None and not lock.manifest.members:
        # uv knows a project that is alone by its place, and this one's is elsewhere now.
        document["manifest"] = {**document.get("manifest", {}), "members": [lock.root.name]}
    written = [tomli_w.dumps(document)]
    # One after the other: all packages are most of a lock, and there is one of each already.
    written.extend(f"\n{array_entry('package', relocation.package(p))}" for p in lock.packages)
    return "".join(written).encode()


def _united(*edges: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all edges, each of them once: uv takes no lock that names one twice."""
    united: list[dict[str, Any]] = []
    for edge in chain(*edges):
        if edge not in united:
            united.append(edge)
    return united


def _constrained(
    manifest: Mapping[str, Any], constraints: Sequence[BuildConstraint]
) -> dict[str, Any]:
    names = {one.name for one in constraints}
    kept = [
        table
        for table in manifest.get("build-constraints", [])
        if canonicalize_name(table["name"]) not in names
    ]
    pinned = [
        {"name": one.name, "specifier": f"=={one.version}", "hashes": [str(one.digest)]}
        for one in constraints
    ]
    return {**manifest, "build-constraints": [*kept, *pinned]}


class _Relocation:
    """The new sources of a lock's packages, and the tables written with them."""

    def __init__(
        self,
        lock: Lock,
        files: Mapping[FileKey, Path],
        project_root: Path,
        digests: Mapping[FileKey, Digest],
        trees: Mapping[int, Path],
        *,
        brief: bool = False,
    ) -> None:
        self._left_out = _LOCATING | _DESCRIBING if brief else _LOCATING
        self._tables: list[dict[str, Any]] = lock.document.get("package", [])
        self._lock = lock
        self._files = files
        self._files_of: defaultdict[int, list[FileKey]] = defaultdict(list)
        for key in sorted(files):
            self._files_of[key[0]].append(key)
        self._root = project_root
        self._digests = digests
        self._trees = trees
        self._indexes: dict[str, str] = {}
        self._registries: dict[str, dict[str, Any]] = {}
        self._wheels: dict[int, tuple[Path, Digest]] = {}
        self._lent: dict[int, list[dict[str, Any]]] = {}
        # In the order of the packages, so that the result doesn't depend on who asks first.
        self._sources = [self._source(package) for package in lock.packages]

    def replace(self, position: int, path: Path, digest: Digest) -> None:
        """Put a wheel for the source of the package at *position*."""
        self._wheels[position] = (path, digest)
        self._sources[position] = {"path": _text(path)}

    def leave(self, package: Package) -> None:
        """Leave the source of *package* as it is."""
        self._sources[package.position] = self._tables[package.position]["source"]

    def lend(self, root: Package, lent: Lent) -> None:
        """Give a member the edges of groups of *root*. All sources have to be known by now."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for key in ("dev-dependencies", "dependency-groups"):
            table = self._tables[root.position].get(key, {})
            groups |= self._named_edges(table, root.dependency_groups)
        self._lent[lent.to] = [edge for name in lent.groups for edge in groups.get(name, ())]

    def package(self, package: Package) -> dict[str, Any]:
        """Return the table of *package*."""
        table = dict(self._tables[package.position])
        table["source"] = self._sources[package.position]
        if "dependencies" in table:
            table["dependencies"] = self._edges(table["dependencies"], package.dependencies)
        if lent := self._lent.get(package.position):
            table["dependencies"] = _united(table.get("dependencies", ()), lent)
        for key, edges in (
            ("optional-dependencies", package.optional_dependencies),
            ("dev-dependencies", package.dependency_groups),
            ("dependency-groups", package.dependency_groups),
        ):
            if key in table:
                table[key] = self._named_edges(table[key], edges)
        return self._with_files(table, package)

    def _named_edges(
        self,
        tables: Mapping[str, list[dict[str, Any]]],
        edges: Mapping[NormalizedName, tuple[Dependency, ...]],
    ) -> dict[str, list[dict[str, Any]]]:
        return {
            name: self._edges(entries, edges[canonicalize_name(name)])
            for name, entries in tables.items()
        }

    def _edges(
        self, tables: list[dict[str, Any]], edges: tuple[Dependency, ...]
    ) -> list[dict[str, Any]]:
        """Rewrite the `source` that edges carry where the lock has a name more than once."""
        return [
            {**table, "source": self._sources[edge.package]} if "source" in table else table
            for table, edge in zip(tables, edges, strict=True)
        ]

    def _source(self, package: Package) -> dict[str, Any]:
        kept: dict[str, Any] = self._tables[package.position]["source"]
        if package.position in self._trees:
            return {"directory": _text(self._trees[package.position])}
        match package.source:
            case RegistrySource():
                index = self._index(kept["registry"])
                return self._registries.setdefault(index, {"registry": index})
            case UrlSource():
                file = next(self._present(package), None)
                return {"path": _text(file[1])} if file else kept
            case PathSource(path=path):
                return {**kept, "path": self._own(path)}
            case TreeSource(kind=kind, path=path):
                return {**kept, kind: self._own(path)}
            case _:
                return kept

    def _own(self, path: LocalPath) -> str:
        # Lexically, as uv does: `..` after a symbolic link would otherwise lead elsewhere.
        return _text(Path(os.path.normpath(self._root / path.text)))

    def _index(self, original: str) -> str:
        """Name the flat index that stands for *original*.

        There is no such directory: a file's `path` is relative to it or, as here, absolute.
        Two indexes may serve one name and version, so each keeps a name of its own.
        """
        return self._indexes.setdefault(
            original, _text(self._root / f".uv-archive-index-{len(self._indexes)}")
        )

    def _present(self, package: Package) -> Iterator[tuple[Distribution, Path]]:
        for distribution in package.distributions:
            path = self._files.get((package.position, str(distribution.filename)))
            if path is not None:
                yield distribution, path

    def _with_files(self, table: dict[str, Any], package: Package) -> dict[str, Any]:
        match package.source:
            case _ if package.position in self._wheels:
                path, digest = self._wheels[package.position]
                entry = {"filename": path.name, "hash": str(digest)}
                return {**_without_files(table), "wheels": [entry]}
            case _ if package.position in self._trees:
                return _without_files(table)
            case RegistrySource():
                return self._with_registry_files(table, package)
            case UrlSource() if any(self._present(package)):
                return self._with_path_files(table, package)
            case _:
                return table

    def _with_registry_files(self, table: dict[str, Any], package: Package) -> dict[str, Any]:
        entries = _entries(table, package)
        result = _without_files(table)
        wheels: list[dict[str, Any]] = []
        named = set()
        for distribution, path in self._present(package):
            name = str(distribution.filename)
            named.add(name)
            entry = self._entry((package.position, name), entries[name], "path", _text(path))
            if distribution.is_wheel:
                wheels.append(entry)
            else:
                result["sdist"] = entry
        wheels.extend(self._added_wheels(package, named))
        return {**result, "wheels": wheels} if wheels else result

    def _added_wheels(self, package: Package, named: set[str]) -> Iterator[dict[str, Any]]:
        """Make entries for wheels that were built: uv prefers them to the sdist beside them."""
        for key in self._files_of.get(package.position, ()):
            if key[1] not in named:
                yield self._entry(key, {}, "path", _text(self._files[key]))

    def _with_path_files(self, table: dict[str, Any], package: Package) -> dict[str, Any]:
        entries = _entries(table, package)
        result = _without_files(table)
        for distribution, _ in self._present(package):
            name = str(distribution.filename)
            key = (package.position, name)
            if distribution.is_wheel:
                result["wheels"] = [self._entry(key, entries[name], "filename", name)]
            else:
                result["sdist"] = self._entry(key, entries[name], None, "")
        return result

    def _entry(
        self, key: FileKey, kept: Mapping[str, Any], locating: str | None, location: str
    ) -> dict[str, Any]:
        entry = {locating: location} if locating else {}
        entry.update({name: value for name, value in kept.items() if name not in self._left_out})
        if key in self._digests:
            entry["hash"] = str(self._digests[key])
        return entry


class _Anchoring(_Relocation):
    def _index(self, original: str) -> str:
        return original

    def _with_files(self, table: dict[str, Any], package: Package) -> dict[str, Any]:
        del package
        return table


def _entries(table: Mapping[str, Any], package: Package) -> dict[str, Mapping[str, Any]]:
    """Return the lock's file entries by file name."""
    entries: dict[str, Mapping[str, Any]] = {}
    if package.sdist is not None:
        entries[str(package.sdist.filename)] = table.get("sdist", {})
    for wheel, entry in zip(package.wheels, table.get("wheels", []), strict=True):
        entries[str(wheel.filename)] = entry
    return entries


def _without_files(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in ("sdist", "wheels")}


def _text(path: Path) -> str:
    # uv writes and reads `/` on every system.
    text = path.as_posix()
    if not text.isascii():
        refuse_unnameable(path)
    return text


def refuse_unnameable(path: Path) -> None:
    """Raise `RequestError` for a path that no lock can name: TOML is UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"`{path}` has a name that isn't UTF-8, so no lock can name what is in it",
            hint="Move it, or reach it by a link with another name",
        ) from error
