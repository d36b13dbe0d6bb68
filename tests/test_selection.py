"""What flags, markers, tags and conflicts select from small locks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName, canonicalize_name

from tests.lock.documents import (
    INDEX,
    REGISTRY,
    Table,
    edge,
    lock_of,
    package,
    project,
    sdist,
    wheel,
)
from uv_archive.errors import SelectionError, TargetError
from uv_archive.lock import Lock
from uv_archive.selection import (
    BuildOptions,
    Include,
    Root,
    Selection,
    representative_pythons,
    select,
    select_all_platforms,
)
from uv_archive.target import Python, Target, platform_named

Groups = tuple[NormalizedName, ...] | Literal["all"]


def names(*written: str) -> tuple[NormalizedName, ...]:
    return tuple(map(canonicalize_name, written))


def python(minor: int, micro: str | None = None) -> Python:
    return Python(major=3, minor=minor, micro=micro)


def target(platform: str = "x86_64-unknown-linux-gnu", minor: int = 11) -> Target:
    return Target(python=python(minor), platform=platform_named(platform))


LINUX = target()
WINDOWS = target("windows")
MACOS = target("aarch64-apple-darwin")
DEV = names("dev")


def root(name: str | None = "project", default_groups: Groups = DEV) -> Root:
    return Root(
        project=None if name is None else canonicalize_name(name), default_groups=default_groups
    )


def chosen(
    lock: Lock,
    include: Include | None = None,
    *,
    of: Root | None = None,
    targets: Sequence[Target] = (LINUX,),
) -> set[str]:
    """Return the packages that are selected, as `name==version`."""
    selection = select(lock, root=of or root(), include=include or Include(), targets=targets)
    return {str(package) for package in selection.packages}


def anywhere(lock: Lock, include: Include | None = None, *, of: Root | None = None) -> Selection:
    return select_all_platforms(
        lock,
        root=of or root(),
        include=include or Include(),
        pythons=(),
        representatives=(LINUX, WINDOWS, MACOS),
    )


def files(selection: Selection) -> list[str]:
    return [str(one.distribution.filename) for one in selection.distributions]


def without_version(packages: set[str]) -> set[str]:
    return {package.partition("==")[0] for package in packages}


# --- flags: extras and groups ---------------------------------------------------------------

ONE_PROJECT = lock_of(
    project(
        needs=["base"],
        extras={"x": ["in-x"], "y": ["in-y"]},
        groups={"dev": ["in-dev"], "docs": ["in-docs"], "self": [edge("project", extra=["y"])]},
    ),
    *(package(name) for name in ("base", "in-x", "in-y", "in-dev", "in-docs")),
)


@pytest.mark.parametrize(
    ("include", "default_groups", "expected"),
    [
        pytest.param(Include(), DEV, "project base in-dev", id="nothing-said"),
        pytest.param(Include(), (), "project base", id="no-defaults"),
        pytest.param(Include(), "all", "project base in-dev in-docs in-y", id="all-by-default"),
        pytest.param(Include(), names("gone"), "project base", id="default-that-isnt-there"),
        pytest.param(Include(extras=names("x")), (), "project base in-x", id="extra"),
        pytest.param(Include(all_extras=True), (), "project base in-x in-y", id="all-extras"),
        pytest.param(
            Include(all_extras=True, no_extras=names("x")), (), "project base in-y", id="no-extra"
        ),
        pytest.param(
            Include(extras=names("x"), no_extras=names("x")), (), "project base", id="no-wins"
        ),
        pytest.param(Include(groups=names("docs")), (), "project base in-docs", id="group"),
        pytest.param(
            Include(groups=names("docs")), DEV, "project base in-dev in-docs", id="group-adds"
        ),
        pytest.param(
            Include(all_groups=True), (), "project base in-dev in-docs in-y", id="all-groups"
        ),
        pytest.param(
            Include(all_groups=True, no_groups=names("docs")),
            (),
            "project base in-dev in-y",
            id="all-groups-but-one",
        ),
        pytest.param(
            Include(groups=names("docs"), no_groups=names("docs")),
            (),
            "project base",
            id="no-group",
        ),
        pytest.param(Include(no_groups=names("dev")), DEV, "project base", id="no-default-group"),
        pytest.param(
            Include(no_groups=names("dev")), "all", "project base in-docs in-y", id="no-of-all"
        ),
        pytest.param(Include(no_default_groups=True), DEV, "project base", id="no-defaults-flag"),
        pytest.param(
            Include(no_default_groups=True, groups=names("dev")),
            DEV,
            "project base in-dev",
            id="no-defaults-but-asked",
        ),
        pytest.param(Include(dev="exclude"), DEV, "project base", id="no-dev"),
        pytest.param(Include(dev="include"), (), "project base in-dev", id="dev"),
        pytest.param(Include(dev="only"), names("docs"), "in-dev", id="only-dev"),
        pytest.param(Include(only_groups=names("docs")), DEV, "in-docs", id="only-group"),
        pytest.param(
            Include(only_groups=names("docs"), groups=names("dev")),
            (),
            "in-docs in-dev",
            id="only-group-and-group",
        ),
        pytest.param(
            Include(only_groups=names("docs"), extras=names("x")),
            DEV,
            "in-docs",
            id="only-no-extra",
        ),
        pytest.param(
            Include(only_groups=names("self")), DEV, "project base in-y", id="only-group-of-itself"
        ),
    ],
)
def test_flags_select_as_in_uv(include: Include, default_groups: Groups, expected: str) -> None:
    found = chosen(ONE_PROJECT, include, of=root(default_groups=default_groups))
    assert without_version(found) == set(expected.split())


@pytest.mark.parametrize(
    ("include", "message", "hint"),
    [
        pytest.param(Include(extras=names("z")), "extra `z`", "`x`, `y`", id="extra"),
        pytest.param(Include(no_extras=names("z")), "extra `z`", "`x`, `y`", id="no-extra"),
        pytest.param(Include(groups=names("z")), "group `z`", "`dev`, `docs`, `self`", id="group"),
        pytest.param(Include(no_groups=names("z")), "group `z`", "`dev`", id="no-group"),
        pytest.param(Include(only_groups=names("z")), "group `z`", "`dev`", id="only-group"),
        pytest.param(
            Include(packages=names("z")), "`z` is not a member", "`project`", id="package"
        ),
        pytest.param(
            Include(packages=names("base")), "is not a member", "`project`", id="no-member"
        ),
    ],
)
def test_a_name_that_isnt_there_is_an_error(include: Include, message: str, hint: str) -> None:
    with pytest.raises(SelectionError, match=message) as caught:
        chosen(ONE_PROJECT, include)
    assert hint in str(caught.value.hint)


def test_dev_neednt_exist() -> None:
    lock = lock_of(project(needs=["a"]), package("a"))
    for dev in ("include", "exclude", "only"):
        found = chosen(lock, Include(dev=dev))
        assert without_version(found) == (set() if dev == "only" else {"project", "a"})


def test_an_extra_or_group_may_be_empty() -> None:
    table = project(needs=["a"])
    table["metadata"] = {"provides-extras": ["none"], "requires-dev": {"nothing": []}}
    lock = lock_of(table, package("a"))
    found = chosen(lock, Include(extras=names("none"), groups=names("nothing")))
    assert without_version(found) == {"project", "a"}


def test_locks_before_revision_1_dont_know_their_extras() -> None:
    lock = lock_of(project(), revision=0)
    assert without_version(chosen(lock, Include(extras=names("any")))) == {"project"}


def test_what_is_left_out_is_named() -> None:
    selection = select(
        ONE_PROJECT, root=root(), include=Include(extras=names("x")), targets=[LINUX]
    )
    assert selection.left_out.extras == ("project[y]",)
    assert selection.left_out.groups == ("project:docs", "project:self")
    assert selection.left_out.packages == ()


# --- flags: workspaces ----------------------------------------------------------------------


def workspace(*, root_is_project: bool = True) -> Lock:
    members = [
        project("a", path="a", needs=["in-a"], groups={"dev": ["a-dev"], "own": ["a-own"]}),
        project("b", path="b", needs=["a"], extras={"x": ["b-x"]}),
    ]
    packages = [
        package(n) for n in ("in-a", "a-dev", "a-own", "b-x", "in-root", "r-dev", "r-lint", "r-own")
    ]
    groups = {"dev": ["r-dev"], "lint": ["r-lint"], "own": ["r-own"]}
    if root_is_project:
        top = project("root", needs=["in-root"], groups=groups)
        return lock_of(top, *members, *packages, manifest={"members": ["a", "b", "root"]})
    manifest = {
        "members": ["a", "b"],
        "dependency-groups": {key: [{"name": n} for n in value] for key, value in groups.items()},
    }
    return lock_of(*members, *packages, manifest=manifest)


@pytest.mark.parametrize(
    ("of", "include", "expected"),
    [
        pytest.param("root", Include(), "root in-root r-dev", id="root"),
        pytest.param("a", Include(), "a in-a a-dev", id="member-without-the-roots-defaults"),
        pytest.param("b", Include(), "b a in-a", id="member-that-needs-a-member"),
        pytest.param(
            "a", Include(groups=names("lint")), "a in-a a-dev r-lint", id="group-of-the-root"
        ),
        pytest.param("a", Include(groups=names("own")), "a in-a a-dev a-own", id="own-group-first"),
        pytest.param("b", Include(dev="include"), "b a in-a r-dev", id="dev-of-the-root"),
        pytest.param(
            "b",
            Include(all_groups=True),
            "b a in-a r-dev r-lint r-own",
            id="all-groups-of-the-root",
        ),
        pytest.param(
            "a", Include(only_groups=names("lint")), "r-lint", id="only-a-group-of-the-root"
        ),
        pytest.param("root", Include(packages=names("a")), "a in-a a-dev", id="package"),
        pytest.param(
            "root",
            Include(packages=names("a", "b"), extras=names("x")),
            "a b in-a a-dev b-x",
            id="packages",
        ),
        pytest.param(
            "a", Include(all_packages=True), "root in-root r-dev a in-a a-dev b", id="all-packages"
        ),
        pytest.param(
            "a",
            Include(all_packages=True, all_extras=True, all_groups=True),
            "root in-root r-dev r-lint r-own a in-a a-dev a-own b b-x",
            id="all",
        ),
    ],
)
def test_workspaces_are_selected_as_in_uv(of: str, include: Include, expected: str) -> None:
    found = chosen(workspace(), include, of=root(of))
    assert without_version(found) == set(expected.split())


@pytest.mark.parametrize(
    ("of", "include", "expected"),
    [
        pytest.param(None, Include(), "a in-a a-dev b r-dev", id="every-member"),
        pytest.param(None, Include(no_default_groups=True), "a in-a b", id="no-defaults"),
        pytest.param(
            None, Include(groups=names("lint")), "a in-a a-dev b r-dev r-lint", id="group"
        ),
        pytest.param(None, Include(only_groups=names("lint")), "r-lint", id="only-group"),
        pytest.param(None, Include(packages=names("b")), "b a in-a", id="package"),
        pytest.param("b", Include(), "b a in-a", id="member"),
        pytest.param("b", Include(groups=names("lint")), "b a in-a r-lint", id="group-of-the-root"),
        pytest.param("a", Include(groups=names("own")), "a in-a a-dev a-own", id="own-group-first"),
    ],
)
def test_virtual_workspaces_are_selected_as_in_uv(
    of: str | None, include: Include, expected: str
) -> None:
    found = chosen(workspace(root_is_project=False), include, of=root(of))
    assert without_version(found) == set(expected.split())


def test_members_and_their_extras_that_are_left_out_are_named() -> None:
    selection = select(workspace(), root=root("a"), include=Include(), targets=[LINUX])
    assert selection.left_out.packages == ("root", "b")
    assert selection.left_out.extras == ("b[x]",)
    assert selection.left_out.groups == ("root:dev", "root:lint", "root:own", "a:own")


def test_members_that_others_need_are_not_left_out() -> None:
    selection = select(workspace(), root=root("b"), include=Include(), targets=[LINUX])
    assert selection.left_out.packages == ("root",)
    anywhere = select_all_platforms(
        workspace(), root=root("b"), include=Include(), pythons=(), representatives=[LINUX]
    )
    assert anywhere.left_out.packages == ("root",)


def test_the_flags_of_build_options_are_those_of_uv() -> None:
    options = BuildOptions(no_build=True, no_binary_packages=frozenset(names("b", "a")))
    expected = "--no-build --no-binary-package a --no-binary-package b"
    assert " ".join(options.flags()) == expected
    assert BuildOptions().flags() == ()


def test_a_script_has_its_requirements() -> None:
    lock = lock_of(
        package("a", extras={"x": ["in-x"]}, needs=["b"]),
        package("b"),
        package("in-x"),
        package("w"),
        manifest={
            "requirements": [
                {"name": "a", "extras": ["x"]},
                {"name": "w", "marker": "sys_platform == 'win32'"},
            ]
        },
    )
    assert without_version(chosen(lock, of=root(None))) == {"a", "b", "in-x"}
    with pytest.raises(SelectionError, match="extra `x` isn't defined"):
        chosen(lock, Include(extras=names("x")), of=root(None))


def test_a_script_has_the_version_for_its_environment() -> None:
    lock = lock_of(
        package("a", "1.0", forks=["sys_platform == 'win32'"]),
        package("a", "2.0", forks=["sys_platform != 'win32'"]),
        manifest={"requirements": [{"name": "a"}]},
    )
    assert chosen(lock, of=root(None)) == {"a==2.0"}
    assert chosen(lock, of=root(None), targets=[WINDOWS]) == {"a==1.0"}
    found = anywhere(lock, of=root(None))
    assert {str(one) for one in found.packages} == {"a==1.0", "a==2.0"}


def test_a_requirement_without_a_package_is_an_error() -> None:
    lock = lock_of(manifest={"requirements": [{"name": "a"}]})
    with pytest.raises(SelectionError, match="no package `a`"):
        chosen(lock, of=root(None))


# --- the walk -------------------------------------------------------------------------------


def test_markers_decide_which_edges_are_walked() -> None:
    lock = lock_of(
        project(
            needs=[
                edge("w", marker="sys_platform == 'win32'"),
                edge("u", marker="os_name == 'posix'"),
            ]
        ),
        package("w", needs=["of-w"]),
        package("of-w"),
        package("u"),
    )
    assert without_version(chosen(lock)) == {"project", "u"}
    assert without_version(chosen(lock, targets=[WINDOWS])) == {"project", "w", "of-w"}
    assert without_version(chosen(lock, targets=[LINUX, WINDOWS])) == {"project", "u", "w", "of-w"}
    assert {one.name for one in anywhere(lock).packages} == {"project", "u", "w", "of-w"}


def test_every_patch_release_of_a_minor_version_counts() -> None:
    lock = lock_of(
        project(
            needs=[
                edge("early", marker="python_full_version < '3.11.3'"),
                edge("late", marker="python_full_version >= '3.11.3'"),
                edge("never", marker="python_full_version < '3.11'"),
            ]
        ),
        *(package(name) for name in ("early", "late", "never")),
    )
    assert without_version(chosen(lock)) == {"project", "early", "late"}
    fixed = Target(python=python(11, "3"), platform=LINUX.platform)
    assert without_version(chosen(lock, targets=[fixed])) == {"project", "late"}


def test_patch_releases_that_the_lock_excludes_dont_count() -> None:
    lock = lock_of(
        project(needs=[edge("early", marker="python_full_version < '3.11.3'")]),
        package("early"),
        requires_python=">=3.11.3",
    )
    assert without_version(chosen(lock)) == {"project"}


def test_extras_of_dependencies_are_walked_and_add_up() -> None:
    lock = lock_of(
        project(needs=[edge("a", extra=["x"]), "b"]),
        package("a", needs=["a0"], extras={"x": ["ax"], "y": ["ay"], "z": ["az"]}),
        package("b", needs=[edge("a", extra=["y"])]),
        *(package(name) for name in ("a0", "ax", "ay", "az")),
    )
    assert without_version(chosen(lock)) == {"project", "a", "b", "a0", "ax", "ay"}


def test_cycles_end() -> None:
    lock = lock_of(
        project(needs=[edge("a", extra=["x"])]),
        package(
            "a", needs=["b"], extras={"x": [edge("a", extra=["y"])], "y": [edge("a", extra=["x"])]}
        ),
        package("b", needs=["a", "b", "project"]),
    )
    assert without_version(chosen(lock)) == {"project", "a", "b"}


def test_an_extra_that_a_package_doesnt_have_adds_nothing() -> None:
    lock = lock_of(project(needs=[edge("a", extra=["gone"])]), package("a"))
    assert without_version(chosen(lock)) == {"project", "a"}


def test_a_target_that_the_lock_excludes_is_an_error() -> None:
    lock = lock_of(
        project(), requires_python=">=3.12", supported_markers=["sys_platform == 'linux'"]
    )
    for one in (LINUX, target("windows", 12)):
        with pytest.raises(TargetError, match="The lock doesn't cover") as caught:
            chosen(lock, targets=[one])
        assert caught.value.hint == (
            "It is for Python >=3.12 and environments `sys_platform == 'linux'`"
        )
    assert without_version(chosen(lock, targets=[target(minor=12)])) == {"project"}


def test_representatives_that_the_lock_excludes_are_passed_over() -> None:
    lock = lock_of(
        project(needs=["a"]),
        package("a", wheels=["cp311-cp311-manylinux_2_17_x86_64"]),
        supported_markers=["sys_platform == 'linux'"],
    )
    assert anywhere(lock).gaps == ()


# --- conflicts ------------------------------------------------------------------------------

CPU, GPU = "extra == 'extra-7-project-cpu'", "extra == 'extra-7-project-gpu'"
NEITHER = "extra != 'extra-7-project-cpu' and extra != 'extra-7-project-gpu'"


def versions(*needs: tuple[str, str]) -> list[Table]:
    """Return edges to `lib`: its version, and the marker."""
    return [
        edge("lib", version=version, source=REGISTRY, marker=marker) for version, marker in needs
    ]


def torch() -> Lock:
    """Return a lock whose extras `cpu` and `gpu` conflict over the version of `lib`."""
    return lock_of(
        project(
            needs=["user"],
            extras={
                "cpu": [edge("lib", version="1.0", source=REGISTRY)],
                "gpu": [edge("lib", version="2.0", source=REGISTRY)],
                "free": ["free"],
            },
        ),
        package("user", needs=versions(("1.0", CPU), ("2.0", GPU), ("3.0", NEITHER))),
        package("free"),
        *(package("lib", version) for version in ("1.0", "2.0", "3.0")),
        conflicts=[
            [{"package": "project", "extra": "cpu"}, {"package": "project", "extra": "gpu"}]
        ],
    )


@pytest.mark.parametrize(
    ("include", "expected"),
    [
        pytest.param(Include(), "3.0", id="neither"),
        pytest.param(Include(extras=names("cpu")), "1.0", id="cpu"),
        pytest.param(Include(extras=names("gpu", "free")), "2.0", id="gpu"),
        pytest.param(Include(all_extras=True, no_extras=names("cpu")), "2.0", id="all-but-one"),
        pytest.param(Include(all_extras=True), "1.0 2.0 3.0", id="all-side-by-side"),
    ],
)
def test_conflicting_extras_select_their_versions(include: Include, expected: str) -> None:
    versions = {f"lib=={version}" for version in expected.split()}
    assert {one for one in chosen(torch(), include) if one.startswith("lib")} == versions
    everywhere = {str(one) for one in anywhere(torch(), include).packages}
    assert {one for one in everywhere if one.startswith("lib")} == versions


def test_conflicting_extras_that_are_asked_for_together_are_an_error() -> None:
    with pytest.raises(SelectionError, match="conflict, and can't be installed together") as caught:
        chosen(torch(), Include(extras=names("cpu", "gpu")))
    assert "`project extra cpu` and `project extra gpu`" in caught.value.message


def test_groups_and_projects_conflict_too() -> None:
    lock = lock_of(
        project("a", path="a", needs=[edge("lib", version="1.0", source=REGISTRY)]),
        project("b", path="b", needs=[edge("lib", version="2.0", source=REGISTRY)]),
        project(
            "c",
            path="c",
            groups={
                "one": versions(("1.0", "os_name != ''")),
                "two": versions(("2.0", "os_name != ''")),
            },
        ),
        package("lib", "1.0"),
        package("lib", "2.0"),
        manifest={"members": ["a", "b", "c"]},
        conflicts=[
            [{"package": "a"}, {"package": "b"}],
            [{"package": "c", "group": "one"}, {"package": "c", "group": "two"}],
        ],
    )
    assert chosen(lock, of=root("a")) == {"a==0.1", "lib==1.0"}
    with pytest.raises(SelectionError, match="`a` and `b` conflict"):
        chosen(lock, Include(packages=names("a", "b")))
    with pytest.raises(SelectionError, match="`c group one` and `c group two` conflict"):
        chosen(lock, Include(groups=names("one", "two")), of=root("c"))
    everything = {"a==0.1", "b==0.1", "c==0.1", "lib==1.0", "lib==2.0"}
    assert chosen(lock, Include(all_packages=True, all_groups=True)) == everything
    assert chosen(lock, Include(all_groups=True), of=root("c")) == everything - {"a==0.1", "b==0.1"}


def test_many_conflicts_are_taken_together() -> None:
    letters = "abcdefghij"
    extras = {f"{letter}{side}": [f"{letter}{side}"] for letter in letters for side in "12"}
    needs = [
        edge(
            f"both-{letter}",
            marker=f"extra == 'extra-7-project-{letter}1' or extra != 'extra-7-project-{letter}2'",
        )
        for letter in letters
    ]
    lock = lock_of(
        project(needs=needs, extras=extras),
        *(package(name) for name in extras),
        *(package(f"both-{letter}") for letter in letters),
        conflicts=[
            [{"package": "project", "extra": f"{letter}{side}"} for side in "12"]
            for letter in letters
        ],
    )
    found = without_version(chosen(lock, Include(all_extras=True)))
    assert found == {"project", *extras, *(f"both-{letter}" for letter in letters)}


def member_lock(*needs: Table, extras: dict[str, list[str | Table]] | None = None) -> Lock:
    """Return a lock whose project needs a member with the conflicting extras `cpu` and `gpu`."""
    cpu, gpu = "extra == 'extra-1-m-cpu'", "extra == 'extra-1-m-gpu'"
    neither = "extra != 'extra-1-m-cpu' and extra != 'extra-1-m-gpu'"
    return lock_of(
        project(needs=needs, extras=extras),
        package(
            "m",
            source={"editable": "m"},
            extras={
                "cpu": [edge("lib", version="1.0", source=REGISTRY)],
                "gpu": [edge("lib", version="2.0", source=REGISTRY)],
            },
            needs=versions(("1.0", cpu), ("2.0", gpu), ("3.0", neither)),
            wheels=(),
        ),
        *(package("lib", version) for version in ("1.0", "2.0", "3.0")),
        manifest={"members": ["m", "project"]},
        conflicts=[[{"package": "m", "extra": "cpu"}, {"package": "m", "extra": "gpu"}]],
    )


def test_an_extra_that_a_dependency_activates_counts() -> None:
    assert chosen(member_lock(edge("m", extra=["gpu"]))) >= {"lib==2.0"}
    assert not chosen(member_lock(edge("m", extra=["gpu"]))) & {"lib==1.0", "lib==3.0"}


def test_extras_that_dependencies_activate_together_are_an_error() -> None:
    with pytest.raises(SelectionError, match=r"`m\[cpu\]` and `m\[gpu\]` conflict"):
        chosen(member_lock(edge("m", extra=["cpu", "gpu"])))


BY_PLATFORM = (
    edge("m", extra=["cpu"], marker="sys_platform == 'win32'"),
    edge("m", extra=["gpu"], marker="sys_platform == 'linux'"),
    edge("m", marker="sys_platform == 'darwin'"),
)


def test_an_extra_may_depend_on_the_platform() -> None:
    lock = member_lock(*BY_PLATFORM)
    for one, version in ((WINDOWS, "1.0"), (LINUX, "2.0"), (MACOS, "3.0")):
        found = chosen(lock, targets=[one])
        assert {package for package in found if package.startswith("lib")} == {f"lib=={version}"}


def test_all_platforms_take_what_each_platform_does() -> None:
    lock = member_lock(*BY_PLATFORM)
    found = {str(one) for one in anywhere(lock).packages}
    assert found == {"project==0.1", "m==1.0", "lib==1.0", "lib==2.0", "lib==3.0"}


def test_all_platforms_take_what_is_there_where_an_extra_isnt() -> None:
    lock = member_lock(edge("m"), edge("m", extra=["cpu"], marker="sys_platform == 'win32'"))
    found = {str(one) for one in anywhere(lock).packages}
    assert found >= {"lib==1.0", "lib==3.0"}
    assert "lib==2.0" not in found


def test_all_extras_take_those_that_activate_conflicting_ones() -> None:
    lock = member_lock(extras={"c": [edge("m", extra=["cpu"])], "g": [edge("m", extra=["gpu"])]})
    found = chosen(lock, Include(all_extras=True))
    assert found >= {"lib==1.0", "lib==2.0"}


# --- files ----------------------------------------------------------------------------------


def choice(
    package_table: Table, *, of: Target = LINUX, options: BuildOptions | None = None
) -> Selection:
    lock = lock_of(project(needs=["a"]), package_table)
    return select(
        lock, root=root(), include=Include(), targets=[of], options=options or BuildOptions()
    )


FILES = (
    "py3-none-any",
    "cp311-cp311-manylinux_2_17_x86_64",
    "cp311-abi3-manylinux_2_17_x86_64",
    "cp311-cp311-win_amd64",
    "cp312-cp312-manylinux_2_17_x86_64",
)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        pytest.param(LINUX, "cp311-cp311-manylinux_2_17_x86_64", id="the-most-specific"),
        pytest.param(WINDOWS, "cp311-cp311-win_amd64", id="of-the-platform"),
        pytest.param(MACOS, "py3-none-any", id="the-one-for-all"),
        pytest.param(target(minor=13), "cp311-abi3-manylinux_2_17_x86_64", id="stable-abi"),
    ],
)
def test_the_best_wheel_is_chosen(of: Target, expected: str) -> None:
    selection = choice(package("a", wheels=FILES, sdist=sdist("a")), of=of)
    assert files(selection) == [f"a-1.0-{expected}.whl"]
    assert selection.distributions[0].targets == (of,)
    assert [build.package.name for build in selection.builds] == []


def test_among_equals_the_highest_build_tag_is_chosen_then_the_first() -> None:
    tags = "py3-none-any"
    wheels = [wheel("a", build=build) for build in ("2", "10", "10", "9x")]
    wheels[2]["url"] = f"{INDEX}/a-1.0-10-{tags}.whl"
    selection = choice(package("a", wheels=wheels))
    assert files(selection) == [f"a-1.0-10-{tags}.whl"]
    assert str(selection.distributions[0].distribution.location).startswith("https://files")


def test_without_a_usable_wheel_the_sdist_is_built() -> None:
    selection = choice(package("a", wheels=["cp312-cp312-win_amd64"], sdist=sdist("a")))
    assert files(selection) == ["a-1.0.tar.gz"]
    (build,) = selection.builds
    assert (build.package.name, build.targets) == ("a", (LINUX,))
    assert build.distribution == selection.distributions[0].distribution


@pytest.mark.parametrize(
    ("table", "options", "expected"),
    [
        pytest.param(
            package("a", wheels=["cp312-cp312-any"]),
            BuildOptions(),
            "no wheel fits, and the lock has no sdist",
            id="no-file",
        ),
        pytest.param(package("a", wheels=()), BuildOptions(), "no files", id="no-files"),
        pytest.param(
            package("a", wheels=["cp312-cp312-any"], sdist=sdist("a")),
            BuildOptions(no_build=True),
            "no wheel fits, and builds aren't allowed",
            id="no-build",
        ),
        pytest.param(
            package("a"),
            BuildOptions(no_binary=True),
            "wheels aren't allowed, and the lock has no sdist",
            id="no-binary",
        ),
        pytest.param(
            package("a", sdist=sdist("a")),
            BuildOptions(no_binary=True, no_build=True),
            "neither wheels nor builds are allowed",
            id="neither",
        ),
    ],
)
def test_a_package_without_a_file_for_a_target_is_a_gap(
    table: Table, options: BuildOptions, expected: str
) -> None:
    # The project itself is virtual: it is never built, and `--no-build` doesn't matter to it.
    (gap,) = choice(table, options=options).gaps
    assert (gap.package.name, gap.target, gap.reason) == ("a", LINUX, expected)
    assert str(gap) == f"a==1.0 for {LINUX.label}: {expected}"


A, B = names("a"), names("b")


@pytest.mark.parametrize(
    ("options", "wheel_is_out", "build_is_out"),
    [
        pytest.param(BuildOptions(), False, False, id="nothing-said"),
        pytest.param(BuildOptions(no_binary=True), True, False, id="no-binary"),
        pytest.param(
            BuildOptions(no_binary_packages=frozenset(A)), True, False, id="no-binary-package"
        ),
        pytest.param(BuildOptions(no_binary_packages=frozenset(B)), False, False, id="of-another"),
        pytest.param(
            BuildOptions(no_binary=True, no_build_packages=frozenset(A)),
            False,
            True,
            id="excepted-from-no-binary",
        ),
        pytest.param(
            BuildOptions(no_binary=True, no_build_packages=frozenset(B)),
            True,
            False,
            id="another-excepted",
        ),
        pytest.param(BuildOptions(no_build=True), False, True, id="no-build"),
        pytest.param(
            BuildOptions(no_build=True, no_binary_packages=frozenset(A)),
            True,
            False,
            id="excepted-from-no-build",
        ),
        pytest.param(
            BuildOptions(no_build=True, no_binary_packages=frozenset(B)),
            False,
            True,
            id="another-excepted-from-no-build",
        ),
        pytest.param(BuildOptions(no_build=True, no_binary=True), True, True, id="both"),
        pytest.param(
            BuildOptions(
                no_build=True,
                no_binary=True,
                no_build_packages=frozenset(A),
                no_binary_packages=frozenset(A),
            ),
            True,
            True,
            id="both-and-excepted",
        ),
    ],
)
def test_build_options_are_combined_as_in_uv(
    options: BuildOptions, wheel_is_out: bool, build_is_out: bool
) -> None:
    (a,) = A
    assert (options.forbids_wheel(a), options.forbids_build(a)) == (wheel_is_out, build_is_out)


def test_source_trees_and_commits_are_built_and_virtual_ones_arent() -> None:
    commit = "0" * 40
    sources = {
        "e": {"editable": "e"},
        "d": {"directory": "d"},
        "g": {"git": f"https://h/g#{commit}"},
    }
    lock = lock_of(
        project(needs=[*sources, "v"]),
        package("v", source={"virtual": "v"}),
        *(package(name, source=source) for name, source in sources.items()),
    )
    selection = select(lock, root=root(), include=Include(), targets=[LINUX, WINDOWS])
    assert [(b.package.name, b.distribution, b.targets) for b in selection.builds] == [
        (name, None, (LINUX, WINDOWS)) for name in sources
    ]
    assert (selection.distributions, selection.gaps) == ((), ())


def test_sdists_are_added_when_asked_for() -> None:
    lock = lock_of(project(needs=["a", "b"]), package("a", sdist=sdist("a")), package("b"))
    selection = select(lock, root=root(), include=Include(), targets=[LINUX], sdists=True)
    assert files(selection) == ["a-1.0.tar.gz", "a-1.0-py3-none-any.whl", "b-1.0-py3-none-any.whl"]
    assert selection.distributions[0].targets == ()


def test_all_platforms_take_every_file_and_say_what_is_missing_where() -> None:
    lock = lock_of(
        project(needs=["a", edge("w", marker="sys_platform == 'win32'")]),
        package("a", wheels=["cp311-cp311-win_amd64", "cp312-cp312-win_amd64"], sdist=sdist("a")),
        package("w", wheels=["cp311-cp311-win32"]),
        package("unused"),
    )
    selection = anywhere(lock)
    assert files(selection) == [
        "a-1.0.tar.gz",
        "a-1.0-cp311-cp311-win_amd64.whl",
        "a-1.0-cp312-cp312-win_amd64.whl",
        "w-1.0-cp311-cp311-win32.whl",
    ]
    assert [(str(g.package), g.target) for g in selection.gaps] == [("w==1.0", WINDOWS)]
    assert [(b.package.name, b.targets) for b in selection.builds] == [("a", (LINUX, MACOS))]


def test_all_platforms_without_sdists_keep_those_that_are_needed() -> None:
    lock = lock_of(
        project(needs=["built", "only", "spare"]),
        package("built", wheels=["cp311-cp311-win_amd64"], sdist=sdist("built")),
        package("only", wheels=(), sdist=sdist("only")),
        package("spare", sdist=sdist("spare")),
    )
    selection = select_all_platforms(
        lock,
        root=root(),
        include=Include(),
        pythons=(),
        representatives=(LINUX, WINDOWS),
        sdists=False,
    )
    assert files(selection) == [
        "built-1.0.tar.gz",
        "built-1.0-cp311-cp311-win_amd64.whl",
        "only-1.0.tar.gz",
        "spare-1.0-py3-none-any.whl",
    ]


@pytest.mark.parametrize(
    ("minors", "expected"),
    [
        pytest.param([], "cp311 cp312 cp313t abi3 py3 py38", id="no-limit"),
        pytest.param([11], "cp311 abi3 py3 py38", id="one"),
        pytest.param([12], "cp312 abi3 py3 py38", id="another"),
        pytest.param([9], "py3 py38", id="too-old-for-the-stable-abi"),
        pytest.param([11, 12], "cp311 cp312 abi3 py3 py38", id="two"),
    ],
)
def test_pythons_limit_the_wheels_of_all_platforms(minors: list[int], expected: str) -> None:
    tags = {
        "cp311": "cp311-cp311-win_amd64",
        "cp312": "cp312-cp312-macosx_11_0_arm64",
        "cp313t": "cp313-cp313t-win_amd64",
        "abi3": "cp310-abi3-ios_13_0_arm64_iphoneos",
        "py3": "py3-none-any",
        "py38": "py38-none-win32",
    }
    lock = lock_of(project(needs=["a"]), package("a", wheels=list(tags.values())))
    selection = select_all_platforms(
        lock,
        root=root(),
        include=Include(),
        pythons=[python(minor) for minor in minors],
        representatives=(),
    )
    assert files(selection) == [f"a-1.0-{tags[key]}.whl" for key in expected.split()]


def test_build_options_count_for_all_platforms() -> None:
    lock = lock_of(
        project(needs=["a", "b"]), package("a", sdist=sdist("a")), package("b", sdist=sdist("b"))
    )
    selection = select_all_platforms(
        lock,
        root=root(),
        include=Include(),
        pythons=(),
        representatives=(LINUX,),
        options=BuildOptions(
            no_binary_packages=frozenset(names("a")), no_build_packages=frozenset(names("b"))
        ),
    )
    assert files(selection) == ["a-1.0.tar.gz", "b-1.0-py3-none-any.whl"]


def test_representative_pythons_are_those_that_the_lock_has_wheels_for() -> None:
    lock = lock_of(
        package("a", wheels=[f"cp3{minor}-cp3{minor}-any" for minor in (8, 9, 11, 12)]),
        package("b", wheels=[f"cp3{minor}-cp3{minor}-any" for minor in (11, 12, 13)]),
        package("c", wheels=[f"cp3{minor}-cp3{minor}-any" for minor in (12, 13)]),
        package("pure"),
        package("stable", wheels=["cp37-abi3-any"]),
    )
    assert [str(one) for one in representative_pythons(lock)] == ["3.11", "3.12", "3.13"]


def test_without_wheels_for_single_pythons_the_oldest_allowed_one_is_representative() -> None:
    lock = lock_of(package("pure"))
    oldest = next(minor for minor in range(8, 40) if f"3.{minor}.0" in lock.requires_python)

    assert [str(one) for one in representative_pythons(lock)] == [f"3.{oldest}"]


# --- laws -----------------------------------------------------------------------------------

MARKERS = st.sampled_from(
    [None, "sys_platform == 'win32'", "sys_platform != 'win32'", CPU, GPU, NEITHER,
     f"sys_platform == 'linux' and {CPU}", "python_full_version < '3.11.4'"]
)  # fmt: skip


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    """Draw a lock of eight packages whose extras `cpu` and `gpu` conflict."""
    others = [f"p{number}" for number in range(8)]

    def edges() -> list[str | Table]:
        needed = draw(st.lists(st.sampled_from(others), max_size=3, unique=True))
        return [edge(name, marker=draw(MARKERS)) for name in needed]

    return lock_of(
        project(
            needs=edges(),
            extras={"cpu": edges(), "gpu": edges(), "free": edges()},
            groups={"dev": edges()},
        ),
        *(package(name, needs=edges()) for name in others),
        conflicts=[
            [{"package": "project", "extra": "cpu"}, {"package": "project", "extra": "gpu"}]
        ],
    )


@given(lock=locks())
def test_everything_is_what_its_parts_are_together(lock: Lock) -> None:
    parts: set[str] = set()
    for extras in ((), ("free",), ("cpu", "free"), ("gpu", "free")):
        for one in (LINUX, WINDOWS):
            parts |= chosen(lock, Include(extras=names(*extras)), targets=[one])
    together = chosen(lock, Include(all_extras=True), targets=[LINUX, WINDOWS])
    assert together == parts
    assert together <= {str(one) for one in anywhere(lock, Include(all_extras=True)).packages}


@given(lock=locks(), extra=st.sampled_from(["cpu", "gpu", "free"]))
def test_all_platforms_take_at_least_what_a_target_does(lock: Lock, extra: str) -> None:
    include = Include(extras=names(extra))
    found = {str(one) for one in anywhere(lock, include).packages}
    for one in (LINUX, WINDOWS, MACOS):
        assert chosen(lock, include, targets=[one]) <= found


def test_many_ways_through_the_graph_are_walked_in_bounded_time() -> None:
    count = 40
    pseudo = "extra-7-project-x"
    ways = [
        [
            edge(f"n{number + 1}", marker=f"extra == '{pseudo}{number}a'"),
            edge(f"n{number + 1}", marker=f"extra != '{pseudo}{number}b'"),
        ]
        for number in range(count)
    ]
    extras: dict[str, list[str | Table]] = {
        f"x{number}{side}": [] for number in range(count) for side in "ab"
    }
    lock = lock_of(
        project(needs=["n0"], extras=extras),
        *(package(f"n{number}", needs=edges) for number, edges in enumerate(ways)),
        package(f"n{count}"),
        conflicts=[
            [{"package": "project", "extra": f"x{number}{side}"} for side in "ab"]
            for number in range(count)
        ],
    )
    include = Include(extras=names(*(f"x{number}a" for number in range(count))))
    started = time.process_time()
    assert len(chosen(lock, include)) == count + 2
    assert len(chosen(lock, Include(all_extras=True))) == count + 2
    assert time.process_time() - started < 20
