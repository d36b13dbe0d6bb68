"""A plan brings an archive to what is wanted, and touches nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uv_archive.digest import Digest
from uv_archive.plan import Plan, Present, Wanted, plan
from uv_archive.url import Url

PATHS = ["a.whl", "b.whl", "c.tar.gz", "d.zip", "index/0123/a.whl"]
CONTENTS = ["x" * 64, "y" * 64, "z" * 64]


def sha256(content: str) -> Digest:
    return Digest("sha256", content)


def wanted_file(path: str, content: str, *, locked: bool = True) -> Wanted:
    return Wanted(
        path=path,
        origin=Url.parse(f"https://files.example/{path}"),
        digest=sha256(content) if locked else None,
        recorded=None if locked else content,
    )


def present_file(path: str, content: str) -> Present:
    return Present(path=path, size=1, digests=frozenset({sha256(content)}))


def archive(files: Mapping[str, str]) -> dict[str, Present]:
    return {path: present_file(path, content) for path, content in files.items()}


def carried_out(
    decided: Plan, files: Mapping[str, str], contents: Mapping[str, str], *, prune: bool
) -> dict[str, str]:
    """Return what the archive has after *decided*; *contents* is what the network gives."""
    after = dict(files)
    for found, one in decided.move:
        after[one.path] = after.pop(found.path)
    for one in decided.transfers:
        after[one.path] = contents[one.path]
    for found in decided.spare if prune else ():
        del after[found.path]
    return after


def placed(decided: Plan) -> list[Wanted]:
    """Return every wanted file of *decided*, wherever it landed."""
    return [
        *(one for _, one in decided.keep),
        *(one for _, one in decided.move),
        *decided.fetch,
        *(replacement.wanted for replacement in decided.replace),
    ]


FILES = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(CONTENTS))


@given(
    contents=FILES,
    files=FILES,
    recorded=st.lists(st.sampled_from(PATHS), unique=True),
    prune=st.booleans(),
    locked=st.booleans(),
)
def test_a_plan_is_complete_careful_and_final(
    contents: dict[str, str],
    files: dict[str, str],
    recorded: Sequence[str],
    prune: bool,
    locked: bool,
) -> None:
    wanted = [wanted_file(path, content, locked=locked) for path, content in contents.items()]
    decided = plan(wanted, archive(files), recorded=recorded)
    # Every wanted file lands in exactly one place.
    assert sorted(placed(decided), key=lambda one: one.path) == sorted(
        wanted, key=lambda one: one.path
    )
    # Only what was recorded, and what nothing wants, is moved away or can be done without.
    given_up = [found.path for found in decided.spare] + [found.path for found, _ in decided.move]
    assert len(given_up) == len(set(given_up))
    assert set(given_up) == set(recorded) & files.keys() - contents.keys()
    after = carried_out(decided, files, contents, prune=prune)
    # What nobody recorded or wanted is as it was.
    unknown = files.keys() - contents.keys() - set(recorded)
    assert {path: after[path] for path in unknown} == {path: files[path] for path in unknown}
    # Everything wanted is there and right, and there is nothing left to do.
    assert {path: after[path] for path in contents} == contents
    still_recorded = [path for path in {*recorded, *contents} if path in after]
    again = plan(wanted, archive(after), recorded=still_recorded)
    assert [one for _, one in again.keep] == wanted
    assert (again.move, again.transfers) == ((), ())
    if prune:
        assert again.spare == ()
        assert after.keys() == contents.keys() | unknown


def only(decided: Plan) -> str:
    (name,) = (name for name in Plan.__slots__ if getattr(decided, name))
    return str(name)


@pytest.mark.parametrize(
    ("files", "recorded", "expected"),
    [
        pytest.param({}, [], "fetch", id="missing"),
        pytest.param({"a.whl": "x"}, [], "keep", id="there-and-right"),
        pytest.param({"a.whl": "y"}, ["a.whl"], "replace", id="other-bytes"),
        pytest.param({"b.whl": "x"}, ["b.whl"], "move", id="recorded-elsewhere"),
        pytest.param({"b.whl": "x"}, [], "fetch", id="unrecorded-elsewhere"),
        pytest.param({"a.whl": "y", "b.whl": "x"}, ["b.whl"], "move", id="moved-over-other-bytes"),
    ],
)
def test_what_becomes_of_a_file(files: dict[str, str], recorded: list[str], expected: str) -> None:
    present = archive({path: letter * 64 for path, letter in files.items()})
    assert only(plan([wanted_file("a.whl", CONTENTS[0])], present, recorded=recorded)) == expected


def test_spare_files_are_in_order_of_path() -> None:
    present = archive(dict.fromkeys(["c", "a", "b"], CONTENTS[0]))
    decided = plan([], present, recorded=["c", "b", "gone"])
    assert [found.path for found in decided.spare] == ["b", "c"]


def test_a_file_without_any_hash_is_fetched_again() -> None:
    one = Wanted(path="a.whl", origin=Url.parse("https://files.example/a.whl"), digest=None)
    decided = plan([one], archive({"a.whl": CONTENTS[0]}))
    assert [replacement.wanted for replacement in decided.replace] == [one]


def test_a_digest_of_another_algorithm_counts_if_it_is_known_of_the_file() -> None:
    weak = Digest("md5", "0" * 32)
    one = Wanted(path="a.whl", origin=Url.parse("https://files.example/a.whl"), digest=weak)
    known = Present(path="a.whl", size=1, digests=frozenset({weak, sha256(CONTENTS[0])}))
    assert only(plan([one], {"a.whl": known})) == "keep"
    assert only(plan([one], archive({"a.whl": CONTENTS[0]}))) == "replace"


def test_one_file_is_moved_once() -> None:
    wanted = [wanted_file("a.whl", CONTENTS[0]), wanted_file("b.whl", CONTENTS[0])]
    decided = plan(wanted, archive({"c.tar.gz": CONTENTS[0]}), recorded=["c.tar.gz"])
    assert [one.path for _, one in decided.move] == ["a.whl"]
    assert [one.path for one in decided.fetch] == ["b.whl"]


def test_transfers_are_in_order_of_path() -> None:
    wanted = [wanted_file(path, CONTENTS[0]) for path in ("c", "b", "a")]
    decided = plan(wanted, archive({"b": CONTENTS[1]}))
    assert [one.path for one in decided.transfers] == ["a", "b", "c"]
