"""Findings are a pure function of what is recorded, what is there, and digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uv_archive.digest import Digest
from uv_archive.verify.decide import Expected, Recorded, decide, shown, to_read
from uv_archive.verify.hashing import Hashed
from uv_archive.verify.model import Finding, Type
from uv_archive.verify.scan import Scan, Seen

Tree = Mapping[str, bytes | Type]

PATHS = st.sampled_from(
    [
        "alpha-1.0.whl",
        "Alpha-1.0.whl",
        "beta-1.0.whl",
        "git/gamma.bundle",
        "index/0123abcd/alpha-1.0.whl",
        "locked/uv.lock",
        "README.md",
    ]
)
CONTENTS = st.sampled_from([b"", b"one", b"two", b"three", b"four and more"])
FILES = st.dictionaries(PATHS, CONTENTS)


def digest(content: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest())


def expected(files: Mapping[str, bytes], locked: Mapping[str, bytes] | None = None) -> Expected:
    return Expected(
        files={
            path: Recorded(size=len(content), sha256=digest(content).hex)
            for path, content in files.items()
        },
        locked={path: digest(content) for path, content in (locked or {}).items()},
    )


def scanned(tree: Tree) -> Scan:
    entries: dict[str, Seen] = {}
    for path, what in tree.items():
        for position, letter in enumerate(path):
            if letter == "/":
                entries[path[:position]] = Seen(type="directory")
        if isinstance(what, bytes):
            entries[path] = Seen(type="file", size=len(what))
        else:
            entries[path] = Seen(type=what)
    return Scan(entries=entries, unreadable={})


def decided(recorded: Expected, tree: Tree) -> tuple[Finding, ...]:
    there = scanned(tree)
    hashed = {}
    for path in to_read(recorded, there):
        content = tree[path]
        assert isinstance(content, bytes)
        hashed[path] = Hashed(size=len(content), digests={"sha256": digest(content)})
    return decide(recorded, there, hashed)


def said(recorded: Expected, tree: Tree) -> list[tuple[str, str | None, str | None]]:
    return [(one.kind, one.path, one.elsewhere) for one in decided(recorded, tree)]


@given(FILES)
def test_what_is_as_recorded_has_no_findings(files: Mapping[str, bytes]) -> None:
    assert decided(expected(files), {**files, "uv-archive.json": b"{}"}) == ()


@given(FILES, FILES)
def test_there_is_a_finding_exactly_if_the_two_sets_differ(
    recorded: Mapping[str, bytes], there: Mapping[str, bytes]
) -> None:
    findings = decided(expected(recorded), there)
    assert bool(findings) == (recorded != there)
    # Each finding is about one path, and no path has two.
    about = [one.path for one in findings]
    assert len(about) == len(set(about))
    # Every difference is named: a renamed file stands for two of them.
    differing = {path for path, _ in recorded.items() ^ there.items()}
    named = {*about, *(one.elsewhere for one in findings if one.kind == "renamed")}
    assert named == differing


@given(FILES, FILES)
def test_files_with_the_recorded_bytes_are_never_named(
    recorded: Mapping[str, bytes], there: Mapping[str, bytes]
) -> None:
    named = {one.path for one in decided(expected(recorded), there)}
    assert named.isdisjoint(path for path, _ in recorded.items() & there.items())


@given(FILES, FILES)
def test_the_order_of_what_is_found_makes_no_difference(
    recorded: Mapping[str, bytes], there: Mapping[str, bytes]
) -> None:
    backwards = dict(reversed(list(there.items())))
    assert decided(expected(recorded), there) == decided(expected(recorded), backwards)


FILES_OF_TWO = {"alpha.whl": b"alpha", "beta.whl": b"beta!"}


@pytest.mark.parametrize(
    ("tree", "findings"),
    [
        pytest.param({"alpha.whl": b"alpha"}, [("missing", "beta.whl", None)], id="missing"),
        pytest.param(
            {"alpha.whl": b"alpha", "beta.whl": b""}, [("changed", "beta.whl", None)], id="empty"
        ),
        pytest.param(
            {"alpha.whl": b"beta!", "beta.whl": b"alpha"},
            [("changed", "alpha.whl", "beta.whl"), ("changed", "beta.whl", "alpha.whl")],
            id="swapped",
        ),
        pytest.param(
            {"alpha.whl": b"alpha", "gamma.whl": b"beta!"},
            [("renamed", "beta.whl", "gamma.whl")],
            id="renamed",
        ),
        pytest.param(
            {"alpha.whl": b"alpha", "BETA.whl": b"beta!", "gamma.whl": b"beta!"},
            [("renamed", "beta.whl", "BETA.whl"), ("extra", "gamma.whl", None)],
            id="renamed-by-case-and-copied",
        ),
        pytest.param(
            {**FILES_OF_TWO, "Beta.whl": b"other"}, [("twin", "Beta.whl", "beta.whl")], id="twin"
        ),
        pytest.param(
            {**FILES_OF_TWO, "caf\u00e9": b"", "cafe\u0301": b""},
            [("twin", "cafe\u0301", "caf\u00e9"), ("twin", "caf\u00e9", "cafe\u0301")],
            id="twins-of-another-form",
        ),
        pytest.param(
            {**FILES_OF_TWO, "beta.whl": "symlink"}, [("wrong type", "beta.whl", None)], id="link"
        ),
        pytest.param(
            {**FILES_OF_TWO, "beta.whl": "directory"},
            [("wrong type", "beta.whl", None)],
            id="directory",
        ),
        pytest.param({**FILES_OF_TWO, "x": "pipe"}, [("extra", "x", None)], id="extra-pipe"),
        pytest.param({**FILES_OF_TWO, "git": b""}, [("wrong type", "git", None)], id="git-a-file"),
        pytest.param(
            {**FILES_OF_TWO, "git": "directory"}, [("extra", "git", None)], id="empty-directory"
        ),
        pytest.param(
            {**FILES_OF_TWO, ".partial/lock": b"1", ".partial/next.json": b""},
            [("unfinished", ".partial/lock", None), ("unfinished", ".partial/next.json", None)],
            id="unfinished",
        ),
        pytest.param(
            {**FILES_OF_TWO, ".partial": "directory"},
            [("unfinished", ".partial", None)],
            id="empty-partial",
        ),
    ],
)
def test_every_kind_of_damage_is_named(
    tree: Tree, findings: list[tuple[str, str | None, str | None]]
) -> None:
    assert said(expected(FILES_OF_TWO), tree) == findings


def test_what_a_stopped_request_left_is_told_from_what_no_lock_names() -> None:
    recorded = expected({"alpha.whl": b"alpha"}, locked={"beta.whl": b"beta!", "gamma.whl": b"g"})
    tree = {"alpha.whl": b"alpha", "beta.whl": b"beta!", "gamma.whl": b"no", "delta.whl": b""}
    assert said(recorded, tree) == [
        ("unrecorded", "beta.whl", None),
        ("extra", "delta.whl", None),
        ("extra", "gamma.whl", None),
    ]


def test_what_cant_be_read_is_named() -> None:
    recorded = expected({"alpha.whl": b"alpha"})
    there = scanned({"alpha.whl": b"alpha"})
    (finding,) = decide(recorded, there, {"alpha.whl": Hashed(failure="Input/output error")})
    assert (finding.kind, finding.path) == ("unreadable", "alpha.whl")
    assert "Input/output error" in finding.message


def test_a_name_that_isnt_text_can_be_shown() -> None:
    assert shown("na\udcffme") == r"na\xffme"
