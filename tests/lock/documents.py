"""Small locks, made from tables that a test can change."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import tomli_w

from uv_archive.lock import Lock, parse_lock

#: A TOML table.
Table = dict[str, object]

INDEX = "https://index.example/simple"
FILES = "https://files.example"
REGISTRY: Mapping[str, object] = {"registry": INDEX}
PROJECT: Mapping[str, object] = {"virtual": "."}


def digest(text: str) -> str:
    """Return a hash that nothing has, as a lock writes it."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def wheel(name: str, version: str = "1.0", tags: str = "py3-none-any", build: str = "") -> Table:
    """Return the entry of a wheel of an index."""
    stem = "-".join(filter(None, (name.replace("-", "_"), version, build, tags)))
    return {"url": f"{FILES}/{stem}.whl", "hash": digest(stem), "size": 1000}


def sdist(name: str, version: str = "1.0") -> Table:
    """Return the entry of an sdist of an index."""
    stem = f"{name.replace('-', '_')}-{version}"
    return {"url": f"{FILES}/{stem}.tar.gz", "hash": digest(f"{stem}.tar.gz"), "size": 2000}


def edge(name: str, *, marker: str | None = None, **more: object) -> Table:
    """Return a dependency; *more* are its `extra`, `version` and `source`."""
    return {"name": name, **more, **({} if marker is None else {"marker": marker})}


def package(
    name: str,
    version: str | None = "1.0",
    *,
    source: Mapping[str, object] = REGISTRY,
    needs: Collection[str | Table] = (),
    extras: Mapping[str, Iterable[str | Table]] | None = None,
    groups: Mapping[str, Iterable[str | Table]] | None = None,
    forks: Sequence[str] = (),
    wheels: Sequence[str | Table] = ("py3-none-any",),
    **more: object,
) -> Table:
    """Return a package.

    *needs*, *extras* and *groups* have names or edges, *wheels* tags or entries, *forks* markers.
    The metadata say which extras and groups there are, as uv's do for a project.
    """
    table: Table = {"name": name, "source": dict(source)}
    if version is not None:
        table["version"] = version
    if forks:
        table["resolution-markers"] = list(forks)
    entries = [
        wheel(name, version or "", tags) if isinstance(tags, str) else tags
        for tags in wheels
        if source == REGISTRY or not isinstance(tags, str)
    ]
    if entries:
        table["wheels"] = entries
    if needs:
        table["dependencies"] = _edges(needs)
    metadata: Table = {}
    if extras:
        table["optional-dependencies"] = {key: _edges(value) for key, value in extras.items()}
        metadata["provides-extras"] = list(extras)
    if groups:
        table["dev-dependencies"] = {key: _edges(value) for key, value in groups.items()}
        metadata["requires-dev"] = {key: [] for key in groups}
    if metadata:
        table["metadata"] = metadata
    return {**table, **more}


def project(
    name: str = "project",
    *,
    needs: Collection[str | Table] = (),
    extras: Mapping[str, Iterable[str | Table]] | None = None,
    groups: Mapping[str, Iterable[str | Table]] | None = None,
    path: str = ".",
    kind: str = "virtual",
) -> Table:
    """Return a member of the workspace, by default its root."""
    return package(
        name, "0.1", source={kind: path}, needs=needs, extras=extras, groups=groups, wheels=()
    )


def document(*packages: Mapping[str, object], **more: object) -> Table:
    """Return a whole lock; *more* are top-level keys, with `_` for `-`."""
    top = {key.replace("_", "-"): value for key, value in more.items()}
    return {
        "version": 1,
        "revision": 3,
        "requires-python": ">=3.9",
        **top,
        "package": list(packages),
    }


def dump(table: Mapping[str, object]) -> bytes:
    return tomli_w.dumps(table).encode()


def lock_of(*packages: Mapping[str, object], **more: object) -> Lock:
    """Return the lock of *packages*, read."""
    return parse_lock(dump(document(*packages, **more)))


def _edges(needs: Iterable[str | Table]) -> list[Table]:
    return [{"name": need} if isinstance(need, str) else need for need in needs]
