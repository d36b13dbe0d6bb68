"""Where files lie: one place for one file, and no place outside the archive."""

from __future__ import annotations

import dataclasses
import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from tests.archive.samples import INDEX, OTHER, hexdigest, lock_of, package
from uv_archive.archive.layout import (
    bundle_path,
    check_twins,
    index_directory,
    is_metadata,
    large_files_path,
    locked_path,
    parse_path,
    partial_key,
    place,
    place_unlocked,
    public_source,
)
from uv_archive.digest import Digest
from uv_archive.errors import LockError
from uv_archive.filenames import parse_wheel
from uv_archive.lock import Distribution
from uv_archive.url import Url

WHEEL = "foo-1.0-py3-none-any.whl"
HERE, THERE = index_directory(INDEX), index_directory(OTHER)


def paths(*packages: str) -> list[str]:
    return list(place(lock_of(*packages)).values())


def twin(source: str, content: str | None, name: str = WHEEL) -> str:
    return package("foo", source=f'registry = "{source}"', wheels={f"{source}/{name}": content})


def unlocked(name: str, content: str, source: str = INDEX) -> Distribution:
    return Distribution(
        filename=parse_wheel(name),
        location=Url.parse(f"{source}/{name}"),
        source=source,
        digest=Digest("sha256", hexdigest(content)),
        size=None,
        place="",
    )


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        pytest.param([twin(INDEX, "a")], [WHEEL], id="alone"),
        pytest.param([twin(INDEX, "a"), twin(OTHER, "a")], [WHEEL, WHEEL], id="same-bytes"),
        pytest.param(
            [twin(INDEX, "a"), twin(OTHER, "b")],
            [f"index/{HERE}/{WHEEL}", f"index/{THERE}/{WHEEL}"],
            id="other-bytes",
        ),
        pytest.param(
            [twin(INDEX, None), twin(OTHER, None)],
            [f"index/{HERE}/{WHEEL}", f"index/{THERE}/{WHEEL}"],
            id="no-digests",
        ),
        pytest.param(
            [twin(INDEX, "a"), twin(OTHER, "a", WHEEL.replace("foo", "Foo"))],
            [f"index/{HERE}/{WHEEL}", f"index/{THERE}/{WHEEL.replace('foo', 'Foo')}"],
            id="names-equal-but-for-case",
        ),
        pytest.param(
            [package("foo", source=f'path = "vendor/{WHEEL}"')],
            [],
            id="a-path-source-without-files",
        ),
        pytest.param(
            [package("foo", wheels={"https://f.example/foo-1.0%2Bcpu-py3-none-any.whl?s=1": "a"})],
            ["foo-1.0+cpu-py3-none-any.whl"],
            id="percent-encoded",
        ),
        pytest.param(
            [package("foo", source='registry = "wheels"', wheels={WHEEL: "a"})],
            [WHEEL],
            id="a-directory-of-files",
        ),
    ],
)
def test_a_file_has_the_place_that_the_whole_lock_gives_it(
    packages: list[str], expected: list[str]
) -> None:
    assert paths(*packages) == expected


def test_a_path_source_has_a_place() -> None:
    digest = hexdigest("a")
    text = (
        '[[package]]\nname = "foo"\nversion = "1.0"\n'
        f'source = {{ path = "vendor/{WHEEL}" }}\n'
        f'wheels = [{{ filename = "{WHEEL}", hash = "sha256:{digest}" }}]\n'
    )
    assert paths(text) == [WHEEL]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param(WHEEL, "b", id="other-bytes"),
        pytest.param(WHEEL.replace("foo", "Foo"), "a", id="case"),
        pytest.param(WHEEL, None, id="one-digest-missing"),
    ],
)
def test_two_files_of_one_name_in_one_index_are_refused(name: str, content: str | None) -> None:
    both = {f"{INDEX}/1/{WHEEL}": "a", f"{INDEX}/2/{name}": content}
    with pytest.raises(LockError, match=r"more than one file .* \(at `package\[0\]\.wheels\[1\]"):
        paths(package("foo", wheels=both))


def test_a_place_does_not_depend_on_the_order_of_the_lock() -> None:
    packages = [twin(INDEX, "a"), twin(OTHER, "b"), twin("https://third.example/s", "a")]
    placements = []
    for order in permutations(packages):
        lock = lock_of(*order)
        placements.append({found.source: path for found, path in place(lock).items()})
    assert all(placement == placements[0] for placement in placements)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["foo", "Foo", "bar"]),
            st.sampled_from(["a", "b", None]),
            st.sampled_from([INDEX, OTHER, "https://third.example/s"]),
        ),
        max_size=6,
    )
)
def test_two_files_never_have_one_place(files: list[tuple[str, str | None, str]]) -> None:
    packages: dict[tuple[str, str], dict[str, str | None]] = {}
    for position, (name, content, source) in enumerate(files):
        wheels = packages.setdefault((name.lower(), source), {})
        wheels[f"{source}/{position}/{name}-1.0-py3-none-any.whl"] = content
    lock = lock_of(
        *(
            package(name, source=f'registry = "{source}"', wheels=wheels)
            for (name, source), wheels in packages.items()
        )
    )
    try:
        placed = place(lock)
    except LockError:
        return
    for one, path in placed.items():
        assert parse_path(path) == path
        for other, other_path in placed.items():
            if path.casefold() == other_path.casefold():
                same_bytes = one.digest is not None and one.digest == other.digest
                assert str(one.filename) == str(other.filename)
                assert same_bytes or one.location == other.location


class TestUnlocked:
    def place(self, lock: list[str], *others: Distribution) -> list[str]:
        return list(place_unlocked(others, locked=place(lock_of(*lock))).values())

    def test_a_new_name_lies_at_the_top(self) -> None:
        assert self.place([twin(INDEX, "a")], unlocked("bar-1-py3-none-any.whl", "b")) == [
            "bar-1-py3-none-any.whl"
        ]

    def test_a_locked_file_is_taken_as_it_is(self) -> None:
        assert self.place([twin(INDEX, "a")], unlocked(WHEEL, "a", OTHER)) == [WHEEL]

    def test_a_locked_file_makes_no_room(self) -> None:
        assert self.place([twin(INDEX, "a")], unlocked(WHEEL, "b", OTHER)) == [
            f"index/{THERE}/{WHEEL}"
        ]

    def test_locked_twins_keep_the_name_from_the_top(self) -> None:
        third = "https://third.example/s"
        lock = [twin(INDEX, "a"), twin(OTHER, "b")]
        assert self.place(lock, unlocked(WHEEL, "c", third)) == [
            f"index/{index_directory(third)}/{WHEEL}"
        ]
        assert self.place(lock, unlocked(WHEEL, "b", third)) == [f"index/{THERE}/{WHEEL}"]

    def test_two_that_differ_lie_apart_in_either_order(self) -> None:
        one, other = unlocked(WHEEL, "a"), unlocked(WHEEL, "b", OTHER)
        assert self.place([], one, other) == [f"index/{HERE}/{WHEEL}", f"index/{THERE}/{WHEEL}"]
        assert self.place([], other, one) == [f"index/{THERE}/{WHEEL}", f"index/{HERE}/{WHEEL}"]

    def test_two_of_one_index_are_refused(self) -> None:
        with pytest.raises(LockError, match="more than one file"):
            self.place([], unlocked(WHEEL, "a"), unlocked(WHEEL, "b"))


@pytest.mark.parametrize(
    "text",
    [
        WHEEL,
        "foo-1!2.0+local.1.tar.gz",
        f"index/0123abcd/{WHEEL}",
        "git/foo-0123456789ab.bundle",
        "git/foo-0123456789ab.lfs.tar",
        "locked/uv.lock",
        f"tools/{WHEEL}",
        "locked/größe 1.py.lock",
        "pylock.group-gpu.toml",
        "SHA256SUMS",
    ],
)
def test_a_path_of_an_archive_is_taken(text: str) -> None:
    assert parse_path(text) == text


HOSTILE = [
    "", ".", "..", "/", "../foo.whl", "a/../foo.whl", "index/../foo.whl", "/etc/passwd",
    "index/0123abcd/../../x", "index//x", "index/0123abcd/", "index/0123ABCD/x", "index/x",
    "index/0123abcd/a/b", "git/x", "git/x.tar", "git/../x.bundle",
    "tools/x", "tools/../x.whl", "tools/a/x.whl",
    "locked/", "locked/..", "locked/a/b",
    "locked/a\\b", "locked/a\nb", "locked/a\x00b", "locked/a:b", "locked/a.", "locked/a ",
    "locked/ a", "locked/\ud800", "locked/a\u202eb", "locked/nul", "locked/COM1.lock",
    "C:\\x", "c:x", "\\\\host\\x", "foo\x00.whl", "foo .whl", "föö.whl", ".hidden", "-rf.whl",
    "con", "NUL.whl", "aux.tar.gz", "foo.", "%2e%2e/foo", "~/foo", "a/foo.whl", ".partial/x",
    "x" * 256, "locked/" + "ö" * 128,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_any_other_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_path(text)


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("uv.lock", "locked/uv.lock"),
        ("größe.py.lock", "locked/größe.py.lock"),
        ("a:b|c\\d.py.lock", "locked/a_b_c_d.py.lock"),
        ("con.py.lock", "locked/_con.py.lock"),
        ("..lock", "locked/_..lock"),
        ("x" * 300 + ".lock", "locked/" + "x" * 249 + ".lock"),
    ],
)
def test_a_script_may_have_any_name(filename: str, expected: str) -> None:
    assert locked_path(filename) == expected


@given(st.text(alphabet=st.characters(exclude_characters="/\0"), min_size=1, max_size=300))
def test_a_lock_of_any_name_has_a_path(filename: str) -> None:
    path = locked_path(filename)
    assert parse_path(path) == path


def test_names_that_differ_only_by_case_are_found() -> None:
    with pytest.raises(ValueError, match=r"`README.md` and `readme.MD`"):
        check_twins(["a", "README.md", "b", "readme.MD"])
    check_twins(["a", "b"])


def test_metadata_and_distributions_are_told_apart() -> None:
    ours = ["README.md", "SHA256SUMS", "pylock.toml", "pylock.group-gpu.toml", "requirements.txt",
            "requirements.extra-a_group-b.txt", "locked/uv.lock", "install.py"]  # fmt: skip
    assert all(is_metadata(parse_path(path)) for path in ours)
    others = [WHEEL, "foo-1.tar.gz", "git/a-b.bundle", "git/a-b.lfs.tar", "pylock.a.b.toml",
              f"index/0123abcd/{WHEEL}", f"tools/{WHEEL}"]  # fmt: skip
    assert not any(is_metadata(parse_path(path)) for path in others)


def test_a_bundle_is_named_by_its_commit() -> None:
    bundle = bundle_path(NormalizedName("foo"), "0123456789abcdef" * 4)
    assert bundle == "git/foo-0123456789ab.bundle"
    assert large_files_path(bundle) == "git/foo-0123456789ab.lfs.tar"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"https://user:canary@f.example/{WHEEL}?sig=canary#canary", f"https://f.example/{WHEEL}"),
        (f"../vendor/{WHEEL}", f"../vendor/{WHEEL}"),
        (f"file:///home/canary/{WHEEL}", WHEEL),
        (f"file:///C:/canary/{WHEEL}", WHEEL),
    ],
)
def test_where_a_file_comes_from_says_nothing_of_a_machine(text: str, expected: str) -> None:
    if text.startswith(".."):
        lock = lock_of(package("foo", source='registry = "../vendor"', wheels={WHEEL: "a"}))
    else:
        lock = lock_of(package("foo", wheels={text: "a"}))
    (found,) = place(lock)
    assert public_source(found) == expected


def test_every_file_has_an_unfinished_transfer_of_its_own() -> None:
    found = unlocked(WHEEL, "a")
    twin = dataclasses.replace(found, filename=parse_wheel("twin-1.0-py3-none-any.whl"))
    without = dataclasses.replace(found, digest=None)

    keys = [partial_key(one) for one in (found, twin, without)]

    assert len(set(keys)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys)
    assert partial_key(unlocked(WHEEL, "a")) == keys[0]
