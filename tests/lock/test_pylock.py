"""`pylock.toml` (PEP 751), read as a lock."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from packaging.pylock import Pylock
from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.archive.layout import parse_path, place
from uv_archive.errors import LockError, SelectionError
from uv_archive.lock.model import (
    GitSource,
    LocalPath,
    Package,
    PathSource,
    RegistrySource,
    TreeSource,
    UrlSource,
)
from uv_archive.lock.pylock import parse_pylock, unknown_minor_version
from uv_archive.selection import Include, Root, select
from uv_archive.target import Python, Target, platform_named

SHA = "0" * 64
LINUX = Target(
    python=Python(major=3, minor=12, micro="1"), platform=platform_named("x86_64-manylinux_2_28")
)


NOTHING = Include()


def names(*texts: str) -> tuple[NormalizedName, ...]:
    return tuple(map(canonicalize_name, texts))


def wheel(name: str, version: str = "1.0", tags: str = "py3-none-any") -> dict[str, object]:
    file = f"{name}-{version}-{tags}.whl"
    return {"url": f"https://files.example/{file}", "hashes": {"sha256": SHA}}


def package(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "version": "1.0", "wheels": [wheel(name)], **more}


def pylock(*packages: Mapping[str, object], **more: object) -> bytes:
    head = {"lock-version": "1.0", "created-by": "a test", **more}
    return tomli_w.dumps({**head, "packages": list(packages)}).encode()


def only(table: Mapping[str, object]) -> Package:
    return parse_pylock(pylock({"name": "a", **table})).packages[1]


HASHES = {"hashes": {"sha256": SHA}}
COMMIT = "f" * 40


class TestSources:
    def test_an_index(self) -> None:
        found = only({"version": "1.0", "index": "https://index.example/simple",
                      "wheels": [wheel("a")]})  # fmt: skip
        assert isinstance(found.source, RegistrySource)
        assert str(found.source.index) == "https://index.example/simple"
        assert found.wheels[0].source == "https://index.example/simple"

    def test_files_of_no_index_are_of_the_directory_they_lie_in(self) -> None:
        found = only({"version": "1.0", "wheels": [wheel("a")]})
        assert found.wheels[0].source == "https://files.example"

    def test_an_archive_by_its_url(self) -> None:
        url = "https://files.example/v1.0.tar.gz"
        found = only({"version": "1.0", "archive": {"url": url, "subdirectory": "sub", **HASHES}})
        assert isinstance(found.source, UrlSource)
        assert found.source.subdirectory == "sub"
        assert [str(file.filename) for file in found.distributions] == ["a-1.0.tar.gz"]

    def test_an_archive_by_its_path(self) -> None:
        found = only({"archive": {"path": "x/a-1.0-py3-none-any.whl", **HASHES}})
        assert isinstance(found.source, PathSource)
        assert str(found.wheels[0].location) == "x/a-1.0-py3-none-any.whl"

    def test_a_tree(self) -> None:
        found = only({"directory": {"path": "sub", "editable": True, "subdirectory": "in"}})
        assert found.source == TreeSource(kind="editable", path=LocalPath("sub/in"))

    def test_a_commit(self) -> None:
        vcs = {"type": "git", "url": "https://git.example/a.git", "commit-id": COMMIT,
               "requested-revision": "v1", "subdirectory": "sub"}  # fmt: skip
        found = only({"vcs": vcs})
        assert isinstance(found.source, GitSource)
        assert (found.source.commit, found.source.reference) == (COMMIT, ("rev", "v1"))

    @pytest.mark.parametrize(
        ("vcs", "place"),
        [
            ({"type": "hg", "url": "https://hg.example/a"}, "packages[0].vcs.type"),
            ({"type": "git", "path": "../a"}, "packages[0].vcs.path"),
            ({"type": "git", "url": "https://git.example/a", "commit-id": "main"},
             "packages[0].vcs.commit-id"),
        ],
    )  # fmt: skip
    def test_other_repositories_are_refused(self, vcs: dict[str, str], place: str) -> None:
        with pytest.raises(LockError) as raised:
            only({"vcs": {"commit-id": COMMIT, **vcs}})
        assert raised.value.place == place


class TestHashes:
    @pytest.mark.parametrize(
        ("hashes", "expected"),
        [
            ({"sha256": SHA, "md5": "0" * 32}, f"sha256:{SHA}"),
            ({"sha256": SHA, "sha512": "1" * 128}, f"sha512:{'1' * 128}"),
            ({"md5": "0" * 32, "sha1": "0" * 40}, f"sha1:{'0' * 40}"),
            ({"sha3_256": SHA}, "None"),
        ],
    )
    def test_the_strongest_counts(self, hashes: dict[str, str], expected: str) -> None:
        found = only({"version": "1.0", "wheels": [{**wheel("a"), "hashes": hashes}]})
        assert str(found.wheels[0].digest) == expected

    def test_a_malformed_one_is_refused(self) -> None:
        with pytest.raises(LockError) as raised:
            only({"version": "1.0", "wheels": [{**wheel("a"), "hashes": {"sha256": "x"}}]})
        assert raised.value.place == "packages[0].wheels[0].hashes.sha256"


class TestSelection:
    def selected(self, content: bytes, include: Include = NOTHING) -> set[str]:
        lock = parse_pylock(content)
        groups = tuple(map(canonicalize_name, lock.document.get("default-groups", ())))
        selection = select(
            lock,
            root=Root(project=None, default_groups=groups),
            include=include,
            targets=[LINUX],
        )
        return {str(one.distribution.filename.name) for one in selection.distributions}

    @pytest.mark.parametrize(
        ("marker", "include", "expected"),
        [
            ("sys_platform == 'linux'", NOTHING, True),
            ("sys_platform == 'win32'", NOTHING, False),
            ("'x' in extras", NOTHING, False),
            ("'x' in extras", Include(extras=names("x")), True),
            ("'x' in extras", Include(all_extras=True), True),
            ("'X.' in extras", Include(extras=names("x")), False),
            ("'x' not in extras", NOTHING, True),
            ("'x' not in extras", Include(extras=names("x")), False),
            ("'x' in extras and sys_platform == 'win32'", Include(extras=names("x")), False),
            ("'G_g' in dependency_groups", Include(groups=names("g-g")), True),
            ("'d' in dependency_groups", NOTHING, True),
            ("'d' in dependency_groups", Include(no_default_groups=True), False),
            ("'d' in dependency_groups", Include(no_groups=names("d")), False),
            ("'g-g' in dependency_groups or 'x' in extras", Include(extras=names("x")), True),
        ],
    )
    def test_markers_choose(self, marker: str, include: Include, expected: bool) -> None:
        content = pylock(
            package("a", marker=marker),
            package("b"),
            extras=["x"],
            **{"dependency-groups": ["g_g"], "default-groups": ["d"]},
        )
        assert self.selected(content, include) == {"b", *(["a"] if expected else [])}

    def test_alternatives_lie_side_by_side(self) -> None:
        content = pylock(
            package("a", marker="'cpu' in extras and 'gpu' not in extras"),
            package("b", marker="'gpu' in extras and 'cpu' not in extras"),
            package("c", marker="'d' not in dependency_groups"),
            extras=["cpu", "gpu"],
            **{"default-groups": ["d"]},
        )
        assert self.selected(content, Include(all_extras=True)) == {"a", "b"}
        assert self.selected(content, Include(extras=names("cpu", "gpu"))) == set()
        assert self.selected(content, Include(extras=names("gpu"))) == {"b"}
        assert self.selected(content, Include(all_groups=True)) == {"c"}

    def test_an_extra_that_isnt_there_is_refused(self) -> None:
        with pytest.raises(SelectionError, match="isn't defined"):
            self.selected(pylock(package("a")), Include(extras=names("x")))

    @pytest.mark.parametrize("marker", ["extra == 'x'", "'x' == extras", "extras in 'x'", "x"])
    def test_markers_that_mean_nothing_are_refused(self, marker: str) -> None:
        with pytest.raises(LockError) as raised:
            parse_pylock(pylock(package("a", marker=marker)))
        assert raised.value.place == "packages[0].marker"

    @given(
        markers=st.lists(
            st.sampled_from(
                [
                    "'x' in extras", "'y' not in extras", "'g' in dependency_groups",
                    "sys_platform == 'linux'", "python_version < '3.12'",
                    "'x' in extras and ('y' in extras or 'g' in dependency_groups)",
                    "os_name == 'posix' or 'x' in extras", "python_full_version >= '3.12.1'",
                ]
            ),
            min_size=1,
        ),
        extras=st.sets(st.sampled_from(["x", "y"])),
        groups=st.sets(st.sampled_from(["g", "h"])),
    )  # fmt: skip
    def test_packaging_selects_the_same(
        self, markers: list[str], extras: set[str], groups: set[str]
    ) -> None:
        content = pylock(
            *(package(f"p{i}", marker=marker) for i, marker in enumerate(markers)),
            extras=["x", "y"],
            **{"dependency-groups": ["g", "h"]},
        )
        reference = Pylock.from_dict(parse_pylock(content).document).select(
            environment=dict(next(iter(LINUX.environments("1")))),  # type: ignore[arg-type]
            extras=extras,
            dependency_groups=groups,
        )
        assert self.selected(
            content, Include(extras=names(*sorted(extras)), groups=names(*sorted(groups)))
        ) == {one.name for one, _ in reference}


class TestHostile:
    @pytest.mark.parametrize(
        "url",
        [
            "https://files.example/..%2f..%2fa-1.0-py3-none-any.whl",
            "https://files.example/%2e%2e%2fa-1.0-py3-none-any.whl",
            "https://files.example/%252e%252e%252fa-1.0-py3-none-any.whl",
            "https://files.example/..%5ca-1.0-py3-none-any.whl",
            "https://files.example/a-1.0-py3-none-any.whl%00",
            "https://files.example/c%3aa-1.0-py3-none-any.whl",
            "https://files.example/b-1.0-py3-none-any.whl",
            "https://files.example/a-1.1-py3-none-any.whl",
            "https://files.example/a-1.0.whl",
            "ftp:a-1.0-py3-none-any.whl",
        ],
    )
    def test_names_in_urls_that_arent_this_wheel_s_are_refused(self, url: str) -> None:
        with pytest.raises(LockError):
            only({"version": "1.0", "wheels": [{"url": url, **HASHES}]})

    @pytest.mark.parametrize(
        "name", ["../a-1.0-py3-none-any.whl", "/a-1.0-py3-none-any.whl", "aux", "a-1.0.tar.gz\n"]
    )
    def test_names_beside_a_url_are_held_to_the_same(self, name: str) -> None:
        with pytest.raises(LockError):
            only({"version": "1.0", "wheels": [{**wheel("a"), "name": name}]})
        with pytest.raises(LockError):
            only({"version": "1.0", "sdist": {**wheel("a"), "name": name}})

    @pytest.mark.parametrize(
        "path",
        [
            "../../a-1.0-py3-none-any.whl",
            "/etc/a-1.0-py3-none-any.whl",
            "..\\a-1.0-py3-none-any.whl",
        ],
    )
    def test_a_path_that_leaves_leads_to_no_place_outside_the_archive(self, path: str) -> None:
        lock = parse_pylock(
            pylock({"name": "a", "version": "1.0", "wheels": [{"path": path, **HASHES}]})
        )
        (placed,) = place(lock).values()
        assert parse_path(placed) == "a-1.0-py3-none-any.whl"

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"\xff", b"[" * 10_000, b"lock-version = 1", b'packages = "x"',
            b'lock-version = "1.0"\ncreated-by = "x"\npackages = [1]',
            b'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "a"\nwheels = {}',
            b'lock-version = "2.0"\ncreated-by = "x"\npackages = []',
            b'lock-version = "x"\ncreated-by = "x"\npackages = []',
        ],
    )  # fmt: skip
    def test_what_is_no_pylock_is_one_clear_error(self, content: bytes) -> None:
        with pytest.raises(LockError) as raised:
            parse_pylock(content)
        assert "\n" not in raised.value.message

    def test_a_package_called_like_the_root_is_none(self) -> None:
        with pytest.raises(LockError, match="not normalized"):
            parse_pylock(pylock(package("pylock.toml")))


def test_a_minor_version_that_isnt_known_is_told() -> None:
    lock = parse_pylock(pylock(package("a"), **{"lock-version": "1.1"}))
    assert unknown_minor_version(lock) == "1.1"
    assert unknown_minor_version(parse_pylock(pylock(package("a")))) is None


def test_an_empty_pylock_is_one() -> None:
    assert len(parse_pylock(pylock()).packages) == 1
