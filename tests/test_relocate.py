"""Relocating a lock: the same packages and edges, with files somewhere else."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from uv_archive.digest import Digest
from uv_archive.lock import Lock, Package, parse_lock
from uv_archive.lock.model import Dependency, RegistrySource, UrlSource
from uv_archive.lock.relocate import FileKey, relocate

ROOT = Path("/home/user/project")
ARCHIVE = Path("/media/archive")
HASH = "sha256:" + "0" * 64
OTHER_HASH = "sha256:" + "1" * 64
INDEX = "https://index.example/simple"
FILES = "https://files.example"


def lock_of(*packages: Mapping[str, object], **more: object) -> Lock:
    document = {"version": 1, "requires-python": ">=3.11", **more, "package": list(packages)}
    return parse_lock(tomli_w.dumps(document).encode())


def all_files(lock: Lock) -> dict[FileKey, Path]:
    return {
        (package.position, str(distribution.filename)): ARCHIVE / str(distribution.filename)
        for package in lock.packages
        for distribution in package.distributions
    }


def tables(content: bytes) -> list[dict[str, object]]:
    packages: list[dict[str, object]] = tomllib.loads(content.decode())["package"]
    return packages


def wheel(name: str, version: str = "1.0", **more: object) -> dict[str, object]:
    return {"url": f"{FILES}/{name}-{version}-py3-none-any.whl", "hash": HASH, **more}


ALPHA = {
    "name": "alpha",
    "version": "1.0",
    "source": {"registry": INDEX},
    "sdist": {"url": f"{FILES}/alpha-1.0.tar.gz", "hash": HASH, "size": 3},
    "wheels": [wheel("alpha", size=5)],
}


def test_registry_files_are_named_by_absolute_paths() -> None:
    lock = lock_of(ALPHA)
    (table,) = tables(relocate(lock, files=all_files(lock), project_root=ROOT))
    assert table["sdist"] == {"path": f"{ARCHIVE}/alpha-1.0.tar.gz", "hash": HASH, "size": 3}
    assert table["wheels"] == [
        {"path": f"{ARCHIVE}/alpha-1.0-py3-none-any.whl", "hash": HASH, "size": 5}
    ]


def test_a_brief_lock_says_of_a_file_where_it_is_and_its_hash() -> None:
    lock = lock_of({**ALPHA, "wheels": [wheel("alpha", size=5, **{"upload-time": "2026"})]})
    (table,) = tables(relocate(lock, files=all_files(lock), project_root=ROOT, brief=True))
    assert table["sdist"] == {"path": f"{ARCHIVE}/alpha-1.0.tar.gz", "hash": HASH}
    assert table["wheels"] == [{"path": f"{ARCHIVE}/alpha-1.0-py3-none-any.whl", "hash": HASH}]


def test_unusual_texts_are_written_as_they_were() -> None:
    odd = {"a b": 'q"\\\n\t\x7f\u2028é', "": [], "n": [1, True, 2.5, {}]}
    lock = lock_of({**ALPHA, "metadata": odd})
    (table,) = tables(relocate(lock, files={}, project_root=ROOT))
    assert table["metadata"] == odd


def test_absent_files_are_left_out() -> None:
    lock = lock_of(ALPHA)
    files = {(0, "alpha-1.0.tar.gz"): ARCHIVE / "alpha-1.0.tar.gz"}
    (table,) = tables(relocate(lock, files=files, project_root=ROOT))
    assert "wheels" not in table
    (table,) = tables(relocate(lock, files={}, project_root=ROOT))
    assert table.keys() == {"name", "version", "source"}


def test_a_built_wheel_is_added_with_its_digest() -> None:
    lock = lock_of(ALPHA)
    name = "alpha-1.0-cp311-cp311-linux_x86_64.whl"
    (table,) = tables(
        relocate(
            lock,
            files={(0, name): ARCHIVE / name},
            digests={(0, name): Digest.parse(OTHER_HASH)},
            project_root=ROOT,
        )
    )
    assert table["wheels"] == [{"path": f"{ARCHIVE}/{name}", "hash": OTHER_HASH}]


def test_one_version_of_two_indexes_stays_two_packages() -> None:
    first = {**ALPHA, "source": {"registry": INDEX}}
    second = {**ALPHA, "source": {"registry": f"{INDEX}?flavour=2"}}
    edges = [
        {"name": "alpha", "version": "1.0", "source": first["source"], "marker": "os_name == 'a'"},
        {"name": "alpha", "version": "1.0", "source": second["source"], "marker": "os_name == 'b'"},
    ]
    root = {"name": "root", "source": {"virtual": "."}, "dependencies": edges}
    lock = lock_of(first, second, root)
    again = parse_lock(relocate(lock, files=all_files(lock), project_root=ROOT))
    assert [edge.package for edge in again.packages[2].dependencies] == [0, 1]


def test_a_direct_url_becomes_a_path() -> None:
    url = f"{FILES}/alpha-1.0-py3-none-any.whl"
    package = {
        "name": "alpha",
        "version": "1.0",
        "source": {"url": url},
        "wheels": [{"url": url, "hash": HASH}],
    }
    lock = lock_of(package)
    (table,) = tables(relocate(lock, files=all_files(lock), project_root=ROOT))
    name = "alpha-1.0-py3-none-any.whl"
    assert table["source"] == {"path": f"{ARCHIVE}/{name}"}
    assert table["wheels"] == [{"filename": name, "hash": HASH}]

    (table,) = tables(relocate(lock, files={}, project_root=ROOT))
    assert table == package


def test_a_source_distribution_of_a_direct_url_has_only_a_hash() -> None:
    source = {"url": f"{FILES}/v1.0.tar.gz", "subdirectory": "inner"}
    package = {"name": "alpha", "version": "1.0", "source": source, "sdist": {"hash": HASH}}
    lock = lock_of(package)
    (table,) = tables(relocate(lock, files=all_files(lock), project_root=ROOT))
    assert table["source"] == {"path": f"{ARCHIVE}/alpha-1.0.tar.gz"}
    assert table["sdist"] == {"hash": HASH}

    tree = Path("/tmp/tree/inner")
    (table,) = tables(relocate(lock, files=all_files(lock), project_root=ROOT, trees={0: tree}))
    assert table == {"name": "alpha", "version": "1.0", "source": {"directory": str(tree)}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"editable": "."}, {"editable": str(ROOT)}),
        ({"virtual": "packages/one"}, {"virtual": str(ROOT / "packages/one")}),
        ({"directory": "../beside"}, {"directory": str(ROOT.parent / "beside")}),
        ({"editable": "/elsewhere"}, {"editable": "/elsewhere"}),
        ({"path": "vendored/x-1-py3-none-any.whl"},
         {"path": str(ROOT / "vendored/x-1-py3-none-any.whl")}),
        ({"git": f"https://git.example/x?tag=v1#{'a' * 40}"},
         {"git": f"https://git.example/x?tag=v1#{'a' * 40}"}),
    ],
)  # fmt: skip
def test_the_projects_own_sources_are_absolute(
    source: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    lock = lock_of({"name": "x", "version": "1", "source": source})
    (table,) = tables(relocate(lock, files={}, project_root=ROOT))
    assert table["source"] == expected


def test_everything_else_is_kept() -> None:
    more: dict[str, object] = {
        "revision": 3,
        "resolution-markers": ["os_name == 'posix'"],
        "options": {"exclude-newer": "2025-01-01T00:00:00Z"},
        "manifest": {"members": ["x"], "requirements": [{"name": "y", "index": INDEX}]},
        "tool-of-somebody": {"key": [1, 2.5, True]},
    }
    lock = lock_of({"name": "x", "source": {"virtual": "."}, "unknown": "kept"}, **more)
    document = tomllib.loads(relocate(lock, files={}, project_root=ROOT).decode())
    assert {key: document[key] for key in more} == more
    assert document["package"][0]["unknown"] == "kept"


# Property: whatever the graph is, relocating leaves it as it is.

_NAMES = ("alpha", "beta", "gamma")
_SOURCES = (
    {"registry": INDEX},
    {"registry": "https://other.example/simple"},
    {"registry": "../wheels"},
    {"url": "URL"},
    {"path": "vendored/FILE"},
    {"git": f"https://git.example/x#{'a' * 40}"},
    {"directory": "trees/x"},
    {"editable": "trees/y"},
)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    identities = draw(
        st.lists(
            st.tuples(
                st.sampled_from(_NAMES), st.sampled_from(("1.0", "2.0")), st.sampled_from(_SOURCES)
            ),
            unique_by=lambda identity: (identity[0], identity[1], str(identity[2])),
            min_size=1,
            max_size=8,
        )
    )
    packages = [_package(*identity) for identity in identities]
    for package in packages:
        edges = st.lists(st.sampled_from(packages).map(_edge_to(packages)), max_size=3)
        package["dependencies"] = draw(edges)
        package["optional-dependencies"] = {"Some_Extra": draw(edges)}
        package["dev-dependencies"] = {"dev": draw(edges), "docs": draw(edges)}
    return lock_of(*packages)


def _package(name: str, version: str, source: Mapping[str, str]) -> dict[str, object]:
    file = f"{name}-{version}-py3-none-any.whl"
    source = {key: value.replace("URL", f"{FILES}/{file}").replace("FILE", file)
              for key, value in source.items()}  # fmt: skip
    package: dict[str, object] = {"name": name, "version": version, "source": source}
    if "url" in source:
        package["wheels"] = [{"url": f"{FILES}/{file}", "hash": HASH}]
    elif "path" in source:
        package["wheels"] = [{"filename": file, "hash": HASH}]
    elif "registry" in source:
        key, place = ("path", "") if source["registry"] == "../wheels" else ("url", f"{FILES}/")
        package["sdist"] = {key: f"{place}{name}-{version}.tar.gz", "hash": HASH}
        package["wheels"] = [{key: f"{place}{file}", "hash": HASH}]
    return package


class _edge_to:  # noqa: N801 - used as a function
    def __init__(self, packages: list[dict[str, object]]) -> None:
        self._names = [package["name"] for package in packages]

    def __call__(self, package: Mapping[str, object]) -> dict[str, object]:
        if self._names.count(package["name"]) == 1:
            return {"name": package["name"], "extra": ["some-extra"]}
        return {key: package[key] for key in ("name", "version", "source")}


@given(lock=locks(), data=st.data())
def test_the_graph_stays_the_same(lock: Lock, data: st.DataObject) -> None:
    files = all_files(lock)
    kept = data.draw(st.sets(st.sampled_from(sorted(files)))) if files else set()
    present = {key: path for key, path in files.items() if key in kept}
    again = parse_lock(relocate(lock, files=present, project_root=ROOT))
    assert [_graph(package) for package in again.packages] == [
        _graph(package) for package in lock.packages
    ]
    for old, new in zip(lock.packages, again.packages, strict=True):
        names = {str(distribution.filename) for distribution in old.distributions}
        if isinstance(old.source, RegistrySource):
            names = {name for name in names if (old.position, name) in kept}
        assert {str(distribution.filename) for distribution in new.distributions} == names


@given(lock=locks())
def test_no_address_is_left(lock: Lock) -> None:
    content = relocate(lock, files=all_files(lock), project_root=ROOT).decode()
    assert "index.example" not in content
    assert "files.example" not in content
    for package in parse_lock(content.encode()).packages:
        assert not isinstance(package.source, UrlSource)


def _graph(package: Package) -> tuple[object, ...]:
    return (
        package.name,
        package.version,
        _edges(package.dependencies),
        {name: _edges(edges) for name, edges in package.optional_dependencies.items()},
        {name: _edges(edges) for name, edges in package.dependency_groups.items()},
    )


def _edges(edges: tuple[Dependency, ...]) -> list[tuple[object, ...]]:
    return [(edge.package, edge.extras, edge.marker) for edge in edges]


def test_a_root_that_lends_its_groups_stays_where_the_lock_is() -> None:
    root = {"name": "root", "version": "1.0", "source": {"editable": "."}}
    member = {"name": "member", "version": "1.0", "source": {"editable": "member"}}
    lock = lock_of(member, root, manifest={"members": ["member", "root"]})
    found = tables(relocate(lock, files={}, project_root=ROOT, root_lends=True))
    assert [table["source"] for table in found] == [
        {"editable": f"{ROOT}/member"},
        {"editable": "."},
    ]
