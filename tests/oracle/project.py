"""A project that stands for a lock: a copy of the lock whose files come from the local index.

Only where files come from is changed. Versions, edges, markers, extras, groups and conflicts
stay as they are, so that uv walks the same graph and chooses among the same files.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import tomli_w

from tests.oracle.server import Index, Served, build_system, source_tree

Toml: TypeAlias = "str | int | float | bool | list[Toml] | dict[str, Toml]"
Table: TypeAlias = dict[str, Toml]

_TREES = ("editable", "directory", "virtual")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standin:
    """A project that uv can sync. *directory* has it, *room* is the index's room for it."""

    directory: Path
    room: str
    script: str | None

    def close(self, index: Index) -> None:
        index.close_room(self.room)


def commit_name(package: str) -> str:
    """Return the name of the file that stands for a commit, which has none in the lock."""
    return f"commit-{package}.tar.gz"


def stand_in(
    document: Mapping[str, Toml],
    index: Index,
    directory: Path,
    *,
    default_groups: Sequence[str] | str | None = None,
    script: str | None = None,
) -> Standin:
    """Write a project into *directory* that has *document* for a lock.

    *default_groups* is what `tool.uv.default-groups` says. *script* is the file name of a
    script whose lock this is.
    """
    room = index.new_room()
    copy: Table = json.loads(json.dumps(document, default=str))
    packages = _tables(copy.get("package"))
    relocated = _Sources(index, room, packages)
    for position, package in enumerate(packages):
        relocated.localise(position, package)
    for table in _edges(packages):
        relocated.redirect(table)
    # These name indexes and settings of the resolver, which `--frozen` doesn't look at.
    for package in packages:
        package.pop("metadata", None) if script else _trim_metadata(package)
    directory.mkdir(parents=True, exist_ok=True)
    lock = f"{script}.lock" if script else "uv.lock"
    (directory / lock).write_text(tomli_w.dumps(copy), encoding="utf-8")
    if script:
        _write_script(directory / script, copy)
    else:
        _write_trees(directory, copy, packages, default_groups)
    return Standin(directory=directory, room=room, script=script)


class _Sources:
    """Rewrites packages so that their files come from the index; remembers changed sources."""

    def __init__(self, index: Index, room: str, packages: Sequence[Table]) -> None:
        self._index = index
        self._room = room
        self._changed: dict[tuple[str, str], Table] = {}
        self._outside = 0
        self._versions = {str(package["name"]): package for package in packages}

    def localise(self, position: int, package: Table) -> None:
        source = _table(package["source"])
        before = json.dumps(source, sort_keys=True)
        if "registry" in source:
            self._registry(position, package)
        elif any(kind in source for kind in _TREES):
            self._tree(source)
        else:
            self._direct(position, package, source)
        if json.dumps(source, sort_keys=True) != before:
            self._changed[str(package["name"]), before] = source

    def redirect(self, edge: Table) -> None:
        """Let an edge lead to the source that its package has now."""
        if "source" in edge:
            key = (str(edge["name"]), json.dumps(edge["source"], sort_keys=True))
            edge["source"] = self._changed.get(key, edge["source"])

    def _registry(self, position: int, package: Table) -> None:
        for file in _files(package):
            location = str(file.pop("url", None) or file.pop("path"))
            filename = posixpath.basename(unquote(urlsplit(location).path))
            for key in ("hash", "size", "upload-time", "zstd"):
                file.pop(key, None)
            file["url"] = self._offer(position, package, filename).url

    def _direct(self, position: int, package: Table, source: Table) -> None:
        """Turn a URL, a file of the project or a commit into a URL of the index."""
        if "git" in source and "path=" not in urlsplit(str(source["git"])).query:
            filename = commit_name(str(package["name"]))
            package["sdist"] = {}
        else:
            location = str(source.get("url") or source.get("path") or source["git"])
            filename = posixpath.basename(unquote(urlsplit(location).path))
        files = list(_files(package))
        for file in files:
            filename = str(file.pop("filename", filename))
            file.pop("size", None)
        offered = self._offer(position, package, filename)
        source.clear()
        source["url"] = offered.url
        for file in files:
            file["hash"] = offered.served.digest()
            if file is not package.get("sdist"):
                file["url"] = offered.url

    def _tree(self, source: Table) -> None:
        kind = next(kind for kind in _TREES if kind in source)
        path = posixpath.normpath(str(source[kind]) or ".")
        if path.startswith(("/", "..")):
            self._outside += 1
            path = f"outside/{self._outside}"
        source[kind] = path

    def _offer(self, position: int, package: Table, filename: str) -> _Offered:
        served = Served(
            filename=filename,
            name=str(package["name"]),
            version=str(package.get("version", "0")),
        )
        return _Offered(served=served, url=self._index.offer(self._room, position, served))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Offered:
    served: Served
    url: str


def _write_trees(
    root: Path,
    lock: Table,
    packages: Sequence[Table],
    default_groups: Sequence[str] | str | None,
) -> None:
    """Write the `pyproject.toml` of the workspace, its members and other trees."""
    manifest = _table(lock.get("manifest", {}))
    members = [str(name) for name in _list(manifest.get("members"))]
    documents: dict[str, Table] = {"": {}}
    listed: list[Toml] = []
    for package in packages:
        path = _tree_path(package)
        if path is None:
            continue
        documents[path] = _pyproject(package)
        if package["name"] in members and path:
            listed.append(path)
        _write_files(root / path, package)
    top = documents[""]
    settings: Table = {"workspace": {"members": listed}} if members else {}
    if "project" in top:
        _table(top["project"])["requires-python"] = lock.get("requires-python", ">=3.8")
    else:
        settings.setdefault("workspace", {})
    for name in _table(manifest.get("dependency-groups", {})):
        _table(top.setdefault("dependency-groups", {})).setdefault(name, [])
    for path, document in documents.items():
        uv = dict(settings) if not path else {}
        if default_groups is not None:
            uv["default-groups"] = _defaults(default_groups, document)
        if uv:
            document["tool"] = {"uv": uv}
        backend = build_system() if _builds(document) else ""
        file = root / path / "pyproject.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(tomli_w.dumps(document) + backend, encoding="utf-8")


def _defaults(default_groups: Sequence[str] | str, document: Table) -> Toml:
    """Return those default groups that exist: uv refuses the others."""
    if isinstance(default_groups, str):
        return default_groups
    groups = _table(document.get("dependency-groups", {}))
    return [group for group in default_groups if group in groups]


def _pyproject(package: Table) -> Table:
    metadata = _table(package.get("metadata", {}))
    project: Table = {
        "name": package["name"],
        "version": package.get("version", "0"),
    }
    extras = {*_table(package.get("optional-dependencies", {}))}
    extras |= {str(extra) for extra in _list(metadata.get("provides-extras"))}
    if extras:
        project["optional-dependencies"] = {extra: [] for extra in sorted(extras)}
    groups = {*_table(package.get("dev-dependencies", {}))}
    groups |= {*_table(metadata.get("requires-dev", {}))}
    document: Table = {"project": project}
    if groups:
        document["dependency-groups"] = {group: [] for group in sorted(groups)}
    return document


def _builds(document: Table) -> bool:
    return "project" in document


def _write_files(directory: Path, package: Table) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tree = source_tree(str(package["name"]), str(package.get("version", "0")))
    for name, content in tree.items():
        (directory / name).write_bytes(content)


def _write_script(path: Path, lock: Table) -> None:
    requirements = _tables(_table(lock.get("manifest", {})).get("requirements"))
    lines = [
        "# /// script",
        f"# requires-python = {json.dumps(lock.get('requires-python', '>=3.8'))}",
        "# dependencies = [",
        *(f"#   {json.dumps(requirement['name'])}," for requirement in requirements),
        "# ]",
        "# ///",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _tree_path(package: Table) -> str | None:
    source = _table(package["source"])
    for kind in _TREES:
        if kind in source:
            path = str(source[kind])
            return "" if path == "." else path
    return None


def _trim_metadata(package: Table) -> None:
    metadata = _table(package.get("metadata", {}))
    metadata.pop("requires-dist", None)
    for group in _table(metadata.get("requires-dev", {})):
        _table(metadata["requires-dev"])[group] = []


def _edges(packages: Iterable[Table]) -> Iterator[Table]:
    for package in packages:
        yield from _tables(package.get("dependencies"))
        for key in ("optional-dependencies", "dev-dependencies"):
            for edges in _table(package.get(key, {})).values():
                yield from _tables(edges)


def _files(package: Table) -> Iterator[Table]:
    if "sdist" in package:
        yield _table(package["sdist"])
    yield from _tables(package.get("wheels"))


def _table(value: Toml) -> Table:
    assert isinstance(value, dict)
    return value


def _list(value: Toml | None) -> list[Toml]:
    assert value is None or isinstance(value, list)
    return value or []


def _tables(value: Toml | None) -> list[Table]:
    return [_table(item) for item in _list(value)]
