"""A request is read back from what an archive records of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from tests.lock.documents import lock_of, package, project, sdist
from uv_archive.errors import ArchiveError
from uv_archive.lock import Lock
from uv_archive.request import REPRESENTATIVE_PLATFORMS, Request
from uv_archive.selection import BuildOptions, Include
from uv_archive.target import Python, Target, parse_python, platform_named

PLATFORMS = [*REPRESENTATIVE_PLATFORMS, "windows", "macosx_14_0_arm64", "musllinux_1_2_x86_64"]
NAMES = st.sampled_from(["a", "b-c", "d1"]).map(canonicalize_name)
SEVERAL = st.sets(NAMES).map(lambda names: tuple(sorted(names)))
FEW = st.frozensets(NAMES)


def python(text: str) -> Python:
    found = parse_python(text, find=lambda _: None)
    assert isinstance(found, Python)
    return found


def target(text: str, platform: str) -> Target:
    return Target(python=python(text), platform=platform_named(platform))


PYTHONS = st.sampled_from(["3.9", "3.11.7", "3.13t", "3.14.0rc1", "pypy3.10", "3.12.0"]).map(python)
REQUESTS = st.builds(
    Request,
    project=st.none() | NAMES,
    include=st.builds(
        Include,
        packages=SEVERAL,
        all_packages=st.booleans(),
        extras=SEVERAL,
        all_extras=st.booleans(),
        no_extras=SEVERAL,
        groups=SEVERAL,
        all_groups=st.booleans(),
        no_groups=SEVERAL,
        only_groups=SEVERAL,
        no_default_groups=st.booleans(),
        dev=st.sampled_from(["include", "exclude", "only", None]),
    ),
    options=st.builds(
        BuildOptions,
        no_binary=st.booleans(),
        no_binary_packages=FEW,
        no_build=st.booleans(),
        no_build_packages=FEW,
    ),
    targets=st.lists(
        st.builds(Target, python=PYTHONS, platform=st.sampled_from(PLATFORMS).map(platform_named)),
        max_size=3,
    ).map(tuple),
    pythons=st.lists(PYTHONS, max_size=3).map(tuple),
    sdists=st.sampled_from([None, True, False]),
    build_requirements=st.booleans(),
    tools=st.booleans(),
)


@given(request=REQUESTS)
def test_a_request_is_read_back_as_it_was(request: Request) -> None:
    record = request.to_record()
    assert Request.from_record(json.loads(json.dumps(record))) == request


def test_a_plain_request_records_nothing() -> None:
    assert Request(project=None).to_record() == {}
    assert Request.from_record({}) == Request(project=None)


def test_names_are_recorded_sorted_and_once() -> None:
    names = tuple(map(canonicalize_name, ("b", "a", "b")))
    request = Request(project=None, include=Include(extras=names))
    assert request.to_record() == {"include": {"extras": ["a", "b"]}}


def test_a_record_has_the_words_of_the_command_line() -> None:
    request = Request(
        project=canonicalize_name("p"),
        include=Include(all_extras=True, dev="only"),
        options=BuildOptions(no_binary_packages=frozenset({canonicalize_name("x")})),
        targets=(target("3.11", "windows"),),
        sdists=False,
        build_requirements=False,
    )
    assert request.to_record() == {
        "project": "p",
        "include": {"all-extras": True, "dev": "only"},
        "options": {"no-binary-packages": ["x"]},
        "targets": [{"python": "3.11", "platform": "win_amd64"}],
        "sdists": False,
        "build-requirements": False,
    }


HOSTILE: list[object] = [
    None, 1, True, "a", "", [], ["a"], [1], [None], [[]], [{}], {}, {"a": 1}, {"": []},
    {"all-extras": 1}, {"all-extras": "yes"}, {"all-extras": "include"}, {"extras": "abc"},
    {"extras": {"a": 1}}, {"extras": [1]}, {"extras": ["a b"]}, {"dev": True}, {"dev": "sometimes"},
    {"no-binary": None}, {"no-binary-packages": "x"}, {"packages": None}, "../x", "a b", "\0", "3",
    ["3"], ["any"], ["/usr/bin/python3"], ["3.11", 3.11], [{"python": "3.11"}],
    [{"platform": "win32"}],
    [{"python": "3.11", "platform": 1}], [{"python": 3.11, "platform": "win32"}],
    [{"python": "/bin/sh", "platform": "win32"}], [{"python": "3.11", "platform": "../x"}],
    [{"python": "3.11", "platform": "win32", "markers": {"os_name": 1}}],
    [{"python": "3.11", "platform": "win32", "markers": [1]}], 1e400, -1, 10**400,
]  # fmt: skip
KEYS = ["project", "include", "options", "targets", "pythons", "sdists", "build-requirements"]


@pytest.mark.parametrize("key", KEYS)
def test_a_hostile_record_is_read_or_refused(key: str) -> None:
    for value in HOSTILE:
        try:
            request = Request.from_record({key: value})
        except ArchiveError as error:
            hint = error.hint
            assert hint == "Forget the recorded requests with `--replace`"
        else:
            assert Request.from_record(request.to_record()) == request


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(record=st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_record_is_read_or_refused(record: dict[str, object]) -> None:
    try:
        Request.from_record(record)
    except ArchiveError:
        return


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"sdists": "yes"}, id="sdists"),
        pytest.param({"build-requirements": 1}, id="build-requirements"),
        pytest.param({"project": 1}, id="project"),
        pytest.param({"project": "a b"}, id="project-name"),
        pytest.param({"include": {"extras": "abc"}}, id="a-text-for-a-list"),
        pytest.param({"include": {"all-extras": 1}}, id="a-number-for-a-flag"),
        pytest.param({"include": {"all-extras": "include"}}, id="a-word-for-a-flag"),
        pytest.param({"include": {"dev": True}}, id="a-flag-for-a-word"),
        pytest.param({"include": []}, id="include"),
        pytest.param({"options": "no-build"}, id="options"),
        pytest.param({"targets": {}}, id="targets"),
        pytest.param({"pythons": "3.11"}, id="pythons-in-a-text"),
        pytest.param({"pythons": ["3"]}, id="python-left-open"),
        pytest.param({"pythons": ["/usr/bin/python"]}, id="python-path"),
    ],
)
def test_a_record_of_other_types_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ArchiveError, match="records a request that can't be read"):
        Request.from_record(record)


def test_without_targets_a_request_is_for_all_platforms() -> None:
    lock = lock_of(
        project(needs=["a"]),
        package("a", wheels=["cp311-cp311-win_amd64", "cp312-cp312-win_amd64"], sdist=sdist("a")),
    )
    everything = Request(project=canonicalize_name("project"))
    assert everything.all_platforms
    assert {str(one.python) for one in everything.build_targets(lock)} == {"3.11", "3.12"}
    assert len(everything.build_targets(lock)) == 2 * len(REPRESENTATIVE_PLATFORMS)
    assert files(everything, lock) == [
        "a-1.0.tar.gz",
        "a-1.0-cp311-cp311-win_amd64.whl",
        "a-1.0-cp312-cp312-win_amd64.whl",
    ]


def test_pythons_limit_all_platforms_and_sdists_can_be_left_out() -> None:
    lock = lock_of(
        project(needs=["a"]),
        package(
            "a",
            wheels=["cp311-cp311-win_amd64", "cp312-abi3-any", "py3-none-any"],
            sdist=sdist("a"),
        ),
    )
    limited = Request(project=canonicalize_name("project"), pythons=(python("3.11"),), sdists=False)
    assert {str(one.python) for one in limited.build_targets(lock)} == {"3.11"}
    assert files(limited, lock) == [
        "a-1.0-cp311-cp311-win_amd64.whl",
        "a-1.0-py3-none-any.whl",
    ]


@pytest.mark.parametrize(
    ("sdists", "expected"),
    [
        (None, ["a-1.0-py3-none-any.whl"]),
        (True, ["a-1.0.tar.gz", "a-1.0-py3-none-any.whl"]),
        (False, ["a-1.0-py3-none-any.whl"]),
    ],
    ids=["unsaid", "sdists", "no-sdists"],
)
def test_for_a_target_sdists_have_to_be_asked_for(sdists: bool | None, expected: list[str]) -> None:
    lock = lock_of(project(needs=["a"]), package("a", sdist=sdist("a")))
    request = Request(
        project=canonicalize_name("project"), targets=(target("3.11", "windows"),), sdists=sdists
    )
    assert not request.all_platforms
    assert request.build_targets(lock) == request.targets
    assert files(request, lock) == expected


def files(request: Request, lock: Lock) -> list[str]:
    return [str(one.distribution.filename) for one in request.select(lock, ()).distributions]
