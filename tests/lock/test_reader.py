"""What a lock says, and what is wrong with one that can't be read."""

from __future__ import annotations

import hashlib
import time
import tracemalloc
from pathlib import Path
from urllib.parse import unquote

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.lock.documents import (
    FILES,
    INDEX,
    REGISTRY,
    Table,
    digest,
    document,
    dump,
    edge,
    lock_of,
    package,
    project,
    sdist,
    wheel,
)
from uv_archive.digest import Digest
from uv_archive.errors import LockError
from uv_archive.lock import Distribution, Lock, Package, parse_lock, read_lock
from uv_archive.lock.model import (
    ConflictItem,
    GitSource,
    LocalPath,
    PathSource,
    RegistrySource,
    Source,
    TreeSource,
    UrlSource,
)
from uv_archive.url import Url

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = Url.parse("https://git.example/team/a.git")
HASH = digest("a")


def one(*, source: Table | None = None, **more: object) -> Package:
    """Return the only package of a lock."""
    table: Table = {"name": "a", "version": "1.0", "source": source or dict(REGISTRY), **more}
    (found,) = lock_of(table).packages
    return found


def only(package: Package) -> Distribution:
    (found,) = package.distributions
    return found


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param(
            {"registry": INDEX}, RegistrySource(index=Url.parse(INDEX)), id="registry-url"
        ),
        pytest.param(
            {"registry": "../wheels"},
            RegistrySource(index=LocalPath("../wheels")),
            id="registry-relative-path",
        ),
        pytest.param(
            {"registry": "C:\\wheels"},
            RegistrySource(index=LocalPath("C:\\wheels")),
            id="registry-drive",
        ),
        pytest.param(
            {"registry": "file:///srv/my%20wheels"},
            RegistrySource(index=LocalPath("/srv/my wheels")),
            id="registry-file-url",
        ),
        pytest.param(
            {"git": f"https://git.example/team/a.git#{COMMIT}"},
            GitSource(url=REPOSITORY, commit=COMMIT),
            id="git-default-branch",
        ),
        pytest.param(
            {"git": f"file:///srv/a.git?tag=v1#{COMMIT}"},
            GitSource(
                url=Url.parse("file:///srv/a.git", hostless=("file",)),
                commit=COMMIT,
                reference=("tag", "v1"),
            ),
            id="git-on-this-machine",
        ),
        pytest.param(
            {"git": f"https://git.example/team/a.git?branch=feat%2Fx#{COMMIT}"},
            GitSource(url=REPOSITORY, commit=COMMIT, reference=("branch", "feat/x")),
            id="git-branch",
        ),
        pytest.param(
            {"git": f"https://git.example/team/a.git?subdirectory=sub%2Fdir&tag=v1#{COMMIT}"},
            GitSource(
                url=REPOSITORY, commit=COMMIT, reference=("tag", "v1"), subdirectory="sub/dir"
            ),
            id="git-tag-subdirectory",
        ),
        pytest.param(
            {"git": f"https://git.example/team/a.git?rev={COMMIT}#{COMMIT}"},
            GitSource(url=REPOSITORY, commit=COMMIT, reference=("rev", COMMIT)),
            id="git-rev",
        ),
        pytest.param(
            {"git": f"https://git.example/team/a.git?lfs=true#{COMMIT}"},
            GitSource(url=REPOSITORY, commit=COMMIT, lfs=True),
            id="git-lfs",
        ),
        pytest.param(
            {"git": f"https://git.example/team/a.git?path=dist%2Fa-1.0.tar.gz#{COMMIT}"},
            GitSource(url=REPOSITORY, commit=COMMIT, path="dist/a-1.0.tar.gz"),
            id="git-path",
        ),
        pytest.param(
            {"git": f"ssh://git@git.example/team/a.git#{COMMIT}"},
            GitSource(url=Url.parse("ssh://git@git.example/team/a.git"), commit=COMMIT),
            id="git-ssh",
        ),
        pytest.param(
            {"url": f"{FILES}/a-1.0.zip", "subdirectory": "python"},
            UrlSource(url=Url.parse(f"{FILES}/a-1.0.zip"), subdirectory="python"),
            id="url-subdirectory",
        ),
        pytest.param(
            {"path": "vendor/a-1.0.tar.gz"},
            PathSource(path=LocalPath("vendor/a-1.0.tar.gz")),
            id="path",
        ),
        pytest.param(
            {"directory": "../a"},
            TreeSource(kind="directory", path=LocalPath("../a")),
            id="directory",
        ),
        pytest.param(
            {"editable": "."}, TreeSource(kind="editable", path=LocalPath(".")), id="editable"
        ),
        pytest.param(
            {"virtual": "packages/a"},
            TreeSource(kind="virtual", path=LocalPath("packages/a")),
            id="virtual",
        ),
    ],
)
def test_a_source_is_read(written: Table, expected: Source) -> None:
    assert one(source=written).source == expected


def test_a_file_of_an_index_is_read() -> None:
    entry = {**wheel("a"), "upload-time": "2025-01-01T00:00:00Z", "zstd": {"hash": HASH}}
    found = only(one(wheels=[entry]))
    assert (str(found.filename), found.is_wheel, found.size) == (
        "a-1.0-py3-none-any.whl",
        True,
        1000,
    )
    assert found.digest == Digest.parse(str(entry["hash"]))
    assert (found.location, found.source) == (Url.parse(str(entry["url"])), INDEX)


def test_the_sdist_comes_before_the_wheels_and_they_keep_their_order() -> None:
    tags = ("py3-none-any", "cp311-cp311-win_amd64", "cp310-abi3-any")
    found = one(wheels=[wheel("a", tags=tag) for tag in tags], sdist=sdist("a"))
    assert [str(d.filename) for d in found.distributions] == [
        "a-1.0.tar.gz",
        *(f"a-1.0-{tag}.whl" for tag in tags),
    ]


def test_hash_and_size_may_be_missing() -> None:
    found = only(one(wheels=[{"url": f"{FILES}/a-1.0-py3-none-any.whl"}]))
    assert (found.digest, found.size) == (None, None)


@pytest.mark.parametrize(
    ("url", "filename"),
    [
        pytest.param("a-1.0%2Bcpu-py3-none-any.whl", "a-1.0+cpu-py3-none-any.whl", id="plus"),
        pytest.param("a-1.0-py3-none-any.whl?sig=x%2F", "a-1.0-py3-none-any.whl", id="query"),
        pytest.param("a-1.0-py3-none-any.whl#sha256=0", "a-1.0-py3-none-any.whl", id="fragment"),
        pytest.param("../x/a-1.0-py3-none-any.whl", "a-1.0-py3-none-any.whl", id="dots-before"),
        pytest.param("A-1.0-py3-none-any.whl", "A-1.0-py3-none-any.whl", id="case"),
        pytest.param("a-1.0-1-py3-none-any.whl", "a-1.0-1-py3-none-any.whl", id="build-tag"),
        pytest.param("a-1.0.0-py3-none-any.whl", "a-1.0.0-py3-none-any.whl", id="equal-version"),
    ],
)
def test_a_file_name_is_the_last_segment_decoded_once(url: str, filename: str) -> None:
    found = only(one(wheels=[{"url": f"{FILES}/{url}"}]))
    assert str(found.filename) == filename
    assert isinstance(found.location, Url)
    assert found.location.exposed == f"{FILES}/{url}"


def test_a_file_may_have_a_local_version_that_the_package_leaves_out() -> None:
    found = one(wheels=[wheel("a", "1.0+cpu")])
    assert (found.version, only(found).filename.version) == (Version("1.0"), Version("1.0+cpu"))


def test_files_of_a_flat_index_are_relative_to_it() -> None:
    found = one(
        source={"registry": "../wheels"},
        wheels=[{"path": "a-1.0-py3-none-any.whl", "hash": HASH}],
        sdist={"path": "old/a-1.0.tar.gz"},
    )
    assert [d.location for d in found.distributions] == [
        LocalPath("../wheels/old/a-1.0.tar.gz"),
        LocalPath("../wheels/a-1.0-py3-none-any.whl"),
    ]


def test_a_file_url_is_a_path() -> None:
    found = only(one(wheels=[{"url": "file:///srv/my%20wheels/a-1.0-py3-none-any.whl"}]))
    assert found.location == LocalPath("/srv/my wheels/a-1.0-py3-none-any.whl")


@pytest.mark.parametrize(
    ("source", "entry", "filename"),
    [
        pytest.param(
            {"url": f"{FILES}/a-1.0.tar.gz"}, {"hash": HASH}, "a-1.0.tar.gz", id="url-named-well"
        ),
        pytest.param(
            {"url": f"{FILES}/archive/v1.0.tar.gz"}, {"hash": HASH}, "a-1.0.tar.gz", id="url-tag"
        ),
        pytest.param(
            {"url": f"{FILES}/refs/heads/main.zip"}, {"hash": HASH}, "a-1.0.zip", id="url-branch"
        ),
        pytest.param(
            {"url": f"{FILES}/other-2.tar.gz"}, {"hash": HASH}, "a-1.0.tar.gz", id="url-other-name"
        ),
        pytest.param(
            {"url": f"{FILES}/v1.0.tar.gz?token=x#y"},
            {"hash": HASH},
            "a-1.0.tar.gz",
            id="url-query",
        ),
        pytest.param({"url": f"{FILES}/v1.0.tar.gz"}, None, "a-1.0.tar.gz", id="url-no-table"),
        pytest.param({"path": "vendor/v1.tar.gz"}, {}, "a-1.0.tar.gz", id="path-no-hash"),
        pytest.param({"path": "vendor/a-1.0.zip"}, None, "a-1.0.zip", id="path-no-table"),
        pytest.param(
            {"git": f"https://git.example/r?path=d%2Fa-1.0.tar.gz#{COMMIT}"},
            None,
            "a-1.0.tar.gz",
            id="git-path-no-table",
        ),
    ],
)
def test_an_sdist_that_is_its_own_source_is_read(
    source: Table, entry: Table | None, filename: str
) -> None:
    found = one(source=source) if entry is None else one(source=source, sdist=entry)
    assert found.sdist is not None
    assert str(found.sdist.filename) == filename
    assert found.sdist.digest == (Digest.parse(HASH) if entry else None)


@pytest.mark.parametrize(
    ("source", "entry"),
    [
        pytest.param(
            {"url": f"{FILES}/a-1.0-py3-none-any.whl"},
            {"url": f"{FILES}/a-1.0-py3-none-any.whl", "hash": HASH},
            id="url",
        ),
        pytest.param(
            {"path": "vendor/a-1.0-py3-none-any.whl"},
            {"filename": "a-1.0-py3-none-any.whl", "hash": HASH},
            id="path",
        ),
        pytest.param(
            {"git": f"https://git.example/r?path=a-1.0-py3-none-any.whl#{COMMIT}"},
            {"filename": "a-1.0-py3-none-any.whl"},
            id="git-path",
        ),
    ],
)
def test_a_wheel_that_is_its_own_source_is_read(source: Table, entry: Table) -> None:
    found = one(source=source, wheels=[entry])
    assert (str(only(found).filename), found.sdist) == ("a-1.0-py3-none-any.whl", None)


def test_a_url_goes_before_a_filename() -> None:
    found = only(one(wheels=[{**wheel("a"), "filename": "other-2-py3-none-any.whl"}]))
    assert str(found.filename) == "a-1.0-py3-none-any.whl"


def test_edges_carry_extras_and_markers() -> None:
    lock = lock_of(
        project(
            needs=[edge("a", extra=["X.y"], marker="sys_platform == 'linux'")],
            extras={"More": ["b"]},
            groups={"Dev_Group": ["b"], "empty": []},
        ),
        package("a"),
        package("b"),
    )
    root = lock.packages[0]
    (dependency,) = root.dependencies
    assert (dependency.package, dependency.extras) == (1, ("x-y",))
    assert dependency.marker is not None
    assert dependency.marker.text == "sys_platform == 'linux'"
    assert [d.package for d in root.optional_dependencies[canonicalize_name("more")]] == [2]
    assert root.provides_extras == {"more"}
    assert root.declares_groups == {"dev-group", "empty"}


def versions_lock(*edges: Table) -> Lock:
    other = {"registry": "https://other.example/simple"}
    return lock_of(
        package("a", "1.0"),
        package("a", "2.0"),
        package("a", "2.0", source=other),
        package("a", None, source={"directory": "a"}),
        project(needs=edges),
    )


@pytest.mark.parametrize(
    ("dependency", "position"),
    [
        pytest.param(edge("a", version="1.0", source=REGISTRY), 0, id="the-first"),
        pytest.param(edge("a", version="2.0.0", source=REGISTRY), 1, id="equal-version"),
        pytest.param(
            edge("a", version="2.0", source={"registry": "https://other.example/simple"}),
            2,
            id="other-index",
        ),
        pytest.param(edge("a", source={"directory": "a"}), 3, id="dynamic-version"),
    ],
)
def test_an_edge_says_which_of_several_versions_it_means(dependency: Table, position: int) -> None:
    (found,) = versions_lock(dependency).packages[4].dependencies
    assert found.package == position


@pytest.mark.parametrize(
    ("dependency", "message"),
    [
        pytest.param(edge("a"), "several packages", id="nothing-said"),
        pytest.param(edge("a", version="1.0"), "several packages", id="no-source"),
        pytest.param(edge("a", source=REGISTRY), "no package", id="no-version"),
        pytest.param(edge("a", version="3.0", source=REGISTRY), "no package", id="other-version"),
        pytest.param(edge("b"), "no package", id="unknown-name"),
    ],
)
def test_an_edge_has_to_lead_to_one_package(dependency: Table, message: str) -> None:
    with pytest.raises(LockError, match=message) as caught:
        versions_lock(dependency)
    assert caught.value.place == "package[4].dependencies[0].name"


def test_cycles_are_legal() -> None:
    lock = lock_of(package("a", needs=["b"]), package("b", needs=["a", "b"]))
    assert [d.package for p in lock.packages for d in p.dependencies] == [1, 0, 1]


def test_conflicts_are_read() -> None:
    lock = lock_of(
        conflicts=[
            [{"package": "P", "extra": "Cpu"}, {"package": "p", "group": "gpu"}],
            [{"package": "p"}, {"package": "q"}],
        ]
    )
    (extra, group), (first, second) = lock.conflicts
    assert [item.pseudo_extra() for item in (extra, group, first)] == [
        "extra-1-p-cpu",
        "group-1-p-gpu",
        "project-1-p",
    ]
    assert second == ConflictItem(package=canonicalize_name("q"), kind="project", name=None)


def test_a_manifest_is_read() -> None:
    lock = lock_of(
        package("a"),
        manifest={
            "members": ["A.b", "c"],
            "requirements": [{"name": "a", "extras": ["x"], "marker": "os_name == 'nt'"}],
            "dependency-groups": {"Dev": [{"name": "a"}]},
            "build-constraints": [
                {"name": "setuptools", "specifier": "<70"},
                {"name": "x", "url": "https://files.example/x.whl", "marker": "os_name == 'nt'"},
            ],
        },
    )
    manifest = lock.manifest
    assert manifest.members == lock.members == ("a-b", "c")
    assert [(r.name, r.extras) for r in manifest.requirements] == [("a", ("x",))]
    assert {k: [r.name for r in v] for k, v in manifest.dependency_groups.items()} == {"dev": ["a"]}
    assert manifest.build_constraints == (
        "setuptools<70",
        "x @ https://files.example/x.whl ; os_name == 'nt'",
    )


@pytest.mark.parametrize("kind", ["editable", "virtual"])
def test_a_project_that_is_alone_is_the_only_member(kind: str) -> None:
    lock = lock_of(package("a"), project("p", kind=kind))
    assert (lock.root, lock.members) == (lock.packages[1], ("p",))


def test_a_script_lock_has_no_members() -> None:
    lock = lock_of(package("a"), manifest={"requirements": [{"name": "a"}]})
    assert (lock.root, lock.members) == (None, ())


def test_the_top_is_read() -> None:
    content = dump(
        document(
            requires_python=">=3.11, <3.14",
            supported_markers=["sys_platform == 'linux'"],
            resolution_markers=["python_full_version >= '3.12'"],
        )
    )
    lock = parse_lock(content)
    assert (lock.version, lock.revision, str(lock.requires_python)) == (1, 3, "<3.14,>=3.11")
    assert [marker.text for marker in lock.supported_markers] == ["sys_platform == 'linux'"]
    assert lock.sha256 == hashlib.sha256(content).hexdigest()


def test_only_the_version_is_required() -> None:
    lock = parse_lock(b"version = 1\n")
    assert (lock.packages, lock.revision, str(lock.requires_python)) == ((), 0, "")


def test_unknown_keys_are_passed_over() -> None:
    table = package("a", wheels=[{**wheel("a"), "new": 1}], new={"x": [1, 2.5]})
    table["source"] = {**REGISTRY, "new": True}
    lock = lock_of(table, project(needs=[edge("a", new="x")]), new="x", options={"y": 1})
    assert [str(p) for p in lock.packages] == ["a==1.0", "project==0.1"]


def test_the_largest_revision_is_read() -> None:
    assert lock_of(revision=2**63 - 1).revision == 2**63 - 1


@pytest.mark.parametrize("key", ["dev-dependencies", "dependency-groups"])
def test_groups_have_two_spellings(key: str) -> None:
    table = project()
    table[key] = {"dev": [{"name": "a"}]}
    (root, _) = lock_of(table, package("a")).packages
    assert list(root.dependency_groups) == ["dev"]


BAD_FILES = [
    pytest.param("..%2f..%2fa-1.0-py3-none-any.whl", id="encoded-slash"),
    pytest.param("%2e%2e%2fa-1.0-py3-none-any.whl", id="encoded-dots"),
    pytest.param("..%5ca-1.0-py3-none-any.whl", id="encoded-backslash"),
    pytest.param("%252e%252e%252fa-1.0-py3-none-any.whl", id="encoded-twice"),
    pytest.param("%2fa-1.0-py3-none-any.whl", id="encoded-absolute"),
    pytest.param("%5c%5chost%5ca-1.0-py3-none-any.whl", id="encoded-share"),
    pytest.param("..\\a-1.0-py3-none-any.whl", id="backslash"),
    pytest.param("a-1.0-py3-none-any.whl%00", id="nul"),
    pytest.param("a-1.0-py3-none-any.whl%0a", id="line-end"),
    pytest.param("a-1.0-py3-none-any.whl%1b%5b2J", id="escape"),
    pytest.param("a-1.0-py3-none-any.whl%FF", id="not-utf-8"),
    pytest.param("a-1.0-py3-none-any.whl.", id="trailing-dot"),
    pytest.param("a-1.0-py3-none-any.whl%20", id="trailing-space"),
    pytest.param("C%3aa-1.0-py3-none-any.whl", id="drive"),
    pytest.param("a-1.0-py3-none-any.whl:stream", id="stream"),
    pytest.param("%E2%85%B0-1.0-py3-none-any.whl", id="unicode"),
    pytest.param("aux.a-1.0-py3-none-any.whl", id="reserved"),
    pytest.param("b-1.0-py3-none-any.whl", id="another-project"),
    pytest.param("a-2.0-py3-none-any.whl", id="another-version"),
    pytest.param("a-1.0.whl", id="too-few-parts"),
    pytest.param("a-1.0.tar.gz", id="an-sdist"),
    pytest.param("a-1.0-py3-none-any.zip", id="another-ending"),
    pytest.param("", id="nothing"),
    pytest.param(f"a-1.0-py3-none-{'x' * 300}.whl", id="too-long"),
    pytest.param(
        f"a-1.0-{'.'.join('abcdefghijk')}-{'.'.join('abcdefghijk')}-{'.'.join('abcdefghijk')}.whl",
        id="too-many-tags",
    ),
]


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_name_that_is_no_wheel_of_the_package_is_refused(name: str) -> None:
    with pytest.raises(LockError) as caught:
        one(wheels=[wheel("a"), {"url": f"{FILES}/{name}"}])
    assert caught.value.place == "package[0].wheels[1].url"
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("name", BAD_FILES)
def test_such_a_name_is_refused_in_a_path(name: str) -> None:
    decoded = unquote(name, errors="replace")
    with pytest.raises(LockError) as caught:
        one(source={"path": "x"}, wheels=[{"filename": decoded}])
    assert caught.value.place == "package[0].wheels[0].filename"


@pytest.mark.parametrize(
    "name",
    [
        "b-1.0.tar.gz",
        "a-2.0.tar.gz",
        "a-1.0.exe",
        "a.tar.gz",
        "..%2fa-1.0.tar.gz",
        "a-1.0.tar.gz%00",
    ],
)
def test_a_name_that_is_no_sdist_of_the_package_is_refused(name: str) -> None:
    with pytest.raises(LockError) as caught:
        one(sdist={"url": f"{FILES}/{name}"})
    assert caught.value.place == "package[0].sdist.url"


def changed(key: str, value: object) -> Table:
    return {**package("a"), key: value}


BAD = [
    pytest.param({"version": 2}, "version", "version 2", id="version-2"),
    pytest.param({"version": 0}, "version", "version 0", id="version-0"),
    pytest.param({"version": "1"}, "version", "an integer", id="version-text"),
    pytest.param({"version": True}, "version", "an integer", id="version-true"),
    pytest.param({"version": 2**63}, "version", "64 bits", id="version-huge"),
    pytest.param({"revision": -1}, "revision", "64 bits", id="revision-negative"),
    pytest.param({"revision": 1.0}, "revision", "an integer", id="revision-float"),
    pytest.param({"requires-python": 3}, "requires-python", "a string", id="requires-type"),
    pytest.param({"requires-python": "3"}, "requires-python", "can't be read", id="requires-text"),
    pytest.param({"supported-markers": "x"}, "supported-markers", "an array", id="markers-type"),
    pytest.param(
        {"supported-markers": ["x"]}, "supported-markers[0]", "can't be read", id="markers-text"
    ),
    pytest.param({"conflicts": {}}, "conflicts", "an array", id="conflicts-type"),
    pytest.param({"conflicts": [1]}, "conflicts[0]", "an array", id="conflict-type"),
    pytest.param({"conflicts": [[1]]}, "conflicts[0][0]", "a table", id="conflict-item"),
    pytest.param(
        {"conflicts": [[{"extra": "x"}]]},
        "conflicts[0][0].package",
        "lacks a key",
        id="conflict-of",
    ),
    pytest.param({"manifest": []}, "manifest", "a table", id="manifest-type"),
    pytest.param({"manifest": {"members": [1]}}, "manifest.members[0]", "a string", id="member"),
    pytest.param(
        {"manifest": {"members": ["-"]}}, "manifest.members[0]", "valid name", id="member-name"
    ),
    pytest.param(
        {"manifest": {"requirements": [{}]}},
        "manifest.requirements[0].name",
        "lacks a key",
        id="requirement-name",
    ),
    pytest.param(
        {"manifest": {"dependency-groups": {"!": []}}},
        "manifest.dependency-groups.!",
        "can't be read",
        id="group-name",
    ),
    pytest.param({"package": {}}, "package", "an array", id="package-type"),
    pytest.param({"package": [1]}, "package[0]", "a table", id="package-item"),
    pytest.param({"distribution": []}, "distribution", "uv", id="older-than-packages"),
    pytest.param({"package": [{}]}, "package[0].name", "lacks a key", id="name-missing"),
    *(
        pytest.param(
            {"package": [changed(key, value)]}, f"package[0].{place}", message, id=f"package-{name}"
        )
        for name, key, value, place, message in [
            ("name-type", "name", 1, "name", "a string"),
            ("name-text", "name", "a b", "name", "valid name"),
            ("name-control", "name", "a\x1b", "name", "valid name"),
            ("name-unicode", "name", "ä", "name", "valid name"),
            ("version-type", "version", 1.0, "version", "a string"),
            ("version-text", "version", "one", "version", "can't be read"),
            ("source-type", "source", "x", "source", "a table"),
            ("source-none", "source", {}, "source", "a kind that isn't known"),
            ("source-kind", "source", {"ftp": "x"}, "source", "a kind that isn't known"),
            ("source-two", "source", {"path": "x", "git": "y"}, "source", "a kind that isn't"),
            ("registry-type", "source", {"registry": 1}, "source.registry", "a string"),
            ("registry-url", "source", {"registry": "https://"}, "source.registry", "a host"),
            ("registry-space", "source", {"registry": "https://a b"}, "source.registry", "space"),
            ("git-no-commit", "source", {"git": "https://h/r"}, "source.git", "a commit"),
            ("git-short", "source", {"git": "https://h/r#abc"}, "source.git", "a commit"),
            ("git-no-url", "source", {"git": f"x#{COMMIT}"}, "source.git", "a scheme"),
            ("url-type", "source", {"url": []}, "source.url", "a string"),
            (
                "subdirectory-type",
                "source",
                {"url": "https://h/a.zip", "subdirectory": 1},
                "source.subdirectory",
                "a string",
            ),
            ("path-nul", "source", {"path": "a\0b"}, "source.path", "NUL"),
            ("path-type", "source", {"editable": True}, "source.editable", "a string"),
            ("markers-type", "resolution-markers", {}, "resolution-markers", "an array"),
            ("edges-type", "dependencies", {}, "dependencies", "an array"),
            ("edge-type", "dependencies", ["a"], "dependencies[0]", "a table"),
            ("edge-name", "dependencies", [{}], "dependencies[0].name", "lacks a key"),
            (
                "edge-extra",
                "dependencies",
                [{"name": "a", "extra": "x"}],
                "dependencies[0].extra",
                "an array",
            ),
            (
                "edge-marker",
                "dependencies",
                [{"name": "a", "marker": "x == "}],
                "dependencies[0].marker",
                "can't be read",
            ),
            ("extras-type", "optional-dependencies", [], "optional-dependencies", "a table"),
            (
                "extra-edge",
                "optional-dependencies",
                {"x": [{"name": "b"}]},
                "optional-dependencies.x[0].name",
                "no package",
            ),
            ("groups-type", "dev-dependencies", "x", "dev-dependencies", "a table"),
            ("metadata-type", "metadata", 1, "metadata", "a table"),
            (
                "provides-type",
                "metadata",
                {"provides-extras": {}},
                "metadata.provides-extras",
                "an array",
            ),
            ("wheels-type", "wheels", {}, "wheels", "an array"),
            ("wheel-type", "wheels", [1], "wheels[0]", "a table"),
            ("wheel-url-missing", "wheels", [{}], "wheels[0].url", "lacks a key"),
            ("wheel-url-type", "wheels", [{"url": 1}], "wheels[0].url", "a string"),
            ("wheel-url-text", "wheels", [{"url": "x"}], "wheels[0].url", "a scheme"),
            (
                "hash-algorithm",
                "wheels",
                [{**wheel("a"), "hash": "crc32:0"}],
                "wheels[0].hash",
                "can't be read",
            ),
            ("hash-type", "wheels", [{**wheel("a"), "hash": 1}], "wheels[0].hash", "a string"),
            (
                "hash-short",
                "wheels",
                [wheel("a", tags="cp311-cp311-any"), {**wheel("a"), "hash": "sha256:00"}],
                "wheels[1].hash",
                "64 hexadecimal digits",
            ),
            ("size-negative", "wheels", [{**wheel("a"), "size": -1}], "wheels[0].size", "64 bits"),
            ("size-huge", "wheels", [{**wheel("a"), "size": 2**64}], "wheels[0].size", "64 bits"),
            ("size-text", "wheels", [{**wheel("a"), "size": "1"}], "wheels[0].size", "an integer"),
            ("sdist-type", "sdist", [], "sdist", "a table"),
            ("sdist-url-missing", "sdist", {"hash": HASH}, "sdist.url", "lacks a key"),
        ]
    ),
    pytest.param(
        {"package": [package("a"), package("A", "1.0.0")]}, "package[1]", "twice", id="twice"
    ),
    pytest.param(
        {"package": [{"name": "a", "source": REGISTRY}]},
        "package[0].version",
        "lacks a key",
        id="registry-without-version",
    ),
    pytest.param(
        {"package": [{**project(), "sdist": {"hash": HASH}}]},
        "package[0].sdist",
        "source tree",
        id="sdist-of-a-tree",
    ),
]


@pytest.mark.parametrize(("top", "place", "message"), BAD)
def test_a_bad_lock_is_refused_with_the_place(top: Table, place: str, message: str) -> None:
    with pytest.raises(LockError, match=message) as caught:
        parse_lock(dump({**document(package("a")), **top}))
    assert caught.value.place == place
    assert caught.value.message.endswith(f"(at `{place}`)")


def test_the_version_is_checked_before_anything_else() -> None:
    with pytest.raises(LockError, match="version 7") as caught:
        parse_lock(b'version = 7\nrequires-python = 3\npackage = "x"\n')
    assert caught.value.hint == "Look for a newer uv-archive"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="json"),
        pytest.param(b"version = 1\nversion = 1\n", id="duplicate-key"),
        pytest.param(b"version = 1\n[manifest]\n[manifest]\n", id="duplicate-table"),
        pytest.param(b"\xef\xbb\xbfversion = 1\n", id="byte-order-mark"),
        pytest.param("version = 1\n".encode("utf-16"), id="utf-16"),
        pytest.param(b'version = 1\nx = "\xff"\n', id="not-utf-8"),
        pytest.param(b'version = 1\nx = "\0"\n', id="nul"),
        pytest.param(b'version = 1\nx = "\x1b[2J"\n', id="control-character"),
        pytest.param(b"version = 1\nx = " + b"9" * 5000, id="huge-integer"),
        pytest.param(b"version = 1\nx = 99:99:99\n", id="bad-time"),
        pytest.param(b"version = 1\nx = " + b"[" * 100_000, id="nested-arrays"),
        pytest.param(b"version = 1\nx = " + b"{x=" * 100_000, id="nested-tables"),
        pytest.param(b"version = 1\n[x" + b".x" * 500 + b"]\n", id="nested-header"),
        pytest.param(b"version = 1\nx" + b".x" * 500 + b" = 1\n", id="nested-key"),
        pytest.param(b"version = 1\nx = " + b"[" * 90 + b"]" * 90, id="nested-too-deeply-for-uv"),
        pytest.param(bytes(range(256)), id="any-bytes"),
    ],
)
def test_what_is_no_lock_is_refused(content: bytes) -> None:
    with pytest.raises(LockError) as caught:
        parse_lock(content)
    assert "\n" not in caught.value.message


def test_a_message_has_no_credentials() -> None:
    for url in (
        "https://user:secret@h:port/s",
        "https://user:se/cret@h/",
        "https://u:secret@ho℀st",
    ):
        with pytest.raises(LockError) as caught:
            one(wheels=[{"url": url}])
        assert "secret" not in caught.value.message
        assert "se'" not in caught.value.message


def test_what_was_read_has_no_secrets_when_printed() -> None:
    index = {"registry": "https://user:secret@index.example/simple"}
    signed = {"url": f"{FILES}/a-1.0-py3-none-any.whl?signature=secret"}
    git = {"git": f"https://user:secret@git.example/b#{COMMIT}"}
    lock = lock_of(package("a", source=index) | {"wheels": [signed]}, package("b", source=git))
    found = only(lock.packages[0])
    assert found.source == "https://index.example/simple"
    for printed in (repr(lock), str(lock), repr(found), f"{found.location}", str(lock.packages)):
        assert "secret" not in printed
        assert "user" not in printed


def test_reading_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "uv.lock"
    with pytest.raises(LockError, match="There is no lock at") as caught:
        read_lock(path)
    assert caught.value.hint == "Run `uv lock` first"
    path.write_bytes(b"version = 2\n")
    with pytest.raises(LockError, match=f"`{path}` can't be used: the lock has version 2"):
        read_lock(path)
    with pytest.raises(LockError, match="can't be read: Is a directory"):
        read_lock(tmp_path)
    path.write_bytes(dump(document(package("a"))))
    assert [str(p) for p in read_lock(path).packages] == ["a==1.0"]


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "uv.lock"
    with path.open("wb") as file:
        file.truncate(100 * 2**20 + 1)
    with pytest.raises(LockError, match="larger than 100 MiB"):
        read_lock(path)


def many(count: int, *, same_name: bool) -> bytes:
    lines = ["version = 1"]
    for number in range(count):
        name = "a" if same_name else f"a{number}"
        source = f'source = {{ registry = "{INDEX}" }}'
        edge = f'{{ name = "{name}", version = "{number}", {source} }}'
        url = f"{FILES}/{name}-{number}-py3-none-any.whl"
        lines += ["[[package]]", f'name = "{name}"', f'version = "{number}"', source]
        lines += [f"dependencies = [{edge}]", f'wheels = [{{ url = "{url}" }}]']
    return "\n".join(lines).encode()


@pytest.mark.slow
@pytest.mark.parametrize("same_name", [False, True], ids=["names-differ", "one-name"])
def test_a_hundred_thousand_packages_are_read_in_bounded_time(same_name: bool) -> None:
    content = many(100_000, same_name=same_name)
    started = time.process_time()
    assert len(parse_lock(content).packages) == 100_000
    # Measured: 9 to 15 seconds. What grows with the square takes hours.
    assert time.process_time() - started < 100


def test_memory_grows_with_the_lock() -> None:
    content = many(2_000, same_name=False)
    tracemalloc.start()
    try:
        lock = parse_lock(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Measured: 5 KiB for each of these packages.
    assert peak / len(lock.packages) < 20 * 1024
