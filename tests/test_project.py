"""The project that is found is the one that uv finds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from uv_archive.errors import ProjectError
from uv_archive.project import Project, find_project, member_default_groups


def project(directory: Path, name: str, more: str = "") -> Path:
    """Write a project into *directory*."""
    directory.mkdir(parents=True, exist_ok=True)
    text = f'[project]\nname = "{name}"\nversion = "1"\nrequires-python = ">=3.9"\n{more}\n'
    (directory / "pyproject.toml").write_text(text)
    return directory


def workspace(members: str, exclude: str = "") -> str:
    return f"[tool.uv.workspace]\nmembers = [{members}]\nexclude = [{exclude}]\n"


def alone(root: Path) -> None:
    project(root, "p")


def below_the_project(root: Path) -> None:
    project(root.parents[1], "p")
    root.mkdir(parents=True)


def workspace_root(root: Path) -> None:
    project(root, "root", workspace('"packages/*"'))
    project(root / "packages" / "b", "B.Name")
    project(root / "packages" / "a", "a")
    (root / "packages" / "file").write_text("")
    (root / "packages" / ".hidden").mkdir()


def member(root: Path) -> None:
    project(root.parents[1], "root", workspace(f'"{root.parent.name}/*"'))
    project(root, "m")
    project(root.parent / "other", "other")


def excluded_member(root: Path) -> None:
    project(root.parent, "root", workspace('"*"', f'"{root.name}"'))
    project(root, "m")


def excluded_with_what_is_below(root: Path) -> None:
    project(root, "root", workspace('"packages/*/sub"', '"packages/*"'))
    project(root / "packages" / "a" / "sub", "a")


def excluded_at_any_depth(root: Path) -> None:
    project(root, "root", workspace('"packages/**"', '"packages/**/old"'))
    for name in ("a", "old", "b/old", "b/c/old", "b/c/new"):
        project(root / "packages" / name, name.replace("/", "-"))
    project(root / "packages", "packages")
    project(root / "packages" / "b", "b")
    project(root / "packages" / "b" / "c", "c")


def not_a_member(root: Path) -> None:
    project(root.parent, "root", workspace('"packages/*"'))
    project(root, "stranger")


def virtual_root(root: Path) -> None:
    root.mkdir()
    (root / "pyproject.toml").write_text(workspace('"a"'))
    project(root / "a", "a")


def below_a_virtual_root(root: Path) -> None:
    root.mkdir(parents=True)
    (root.parent / "pyproject.toml").write_text(workspace('"a"'))
    project(root.parent / "a", "a")


def plain_project_between(root: Path) -> None:
    project(root.parents[1], "top", workspace(f'"{root.parent.name}/*"'))
    project(root.parent, "between")
    project(root, "low")


def nested_workspace(root: Path) -> None:
    project(root.parent, "top", workspace(f'"{root.name}x"'))
    project(root, "own", workspace('"a"'))
    project(root / "a", "a")


def outside_the_root(root: Path) -> None:
    project(root, "root", workspace('"../outside"'))
    project(root.parent / "outside", "outside")


def outside_seen_from_itself(root: Path) -> None:
    project(root.parent / "root", "root", workspace(f'"../{root.name}"'))
    project(root, "outside")


def unmanaged_member(root: Path) -> None:
    project(root, "root", workspace('"*"'))
    project(root / "a", "a")
    project(root / "b", "b", "[tool.uv]\nmanaged = false")


def written_oddly(root: Path) -> None:
    project(root, "root", workspace('"./a/../packages/*/"', '"./packages/b/"'))
    project(root / "packages" / "a", "a")
    project(root / "packages" / "b", "b")


def pattern_with_a_set(root: Path) -> None:
    project(root, "root", workspace('"packages/[ab]?"'))
    for name in ("a1", "b2", "c3", "a12"):
        project(root / "packages" / name, name)


LAYOUTS = [
    alone, below_the_project, workspace_root, member, excluded_member, excluded_with_what_is_below,
    excluded_at_any_depth, not_a_member, virtual_root, below_a_virtual_root, plain_project_between,
    nested_workspace, outside_the_root, outside_seen_from_itself, unmanaged_member, written_oddly,
    pattern_with_a_set,
]  # fmt: skip


def uv_says(uv: Path, directory: Path, *command: str) -> list[str]:
    done = subprocess.run(
        [uv, "workspace", *command], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check_against_uv(uv: Path, directory: Path, found: Project) -> None:
    assert [os.fspath(found.root)] == uv_says(uv, directory, "dir")
    listed = {os.path.normpath(path) for path in uv_says(uv, directory, "list", "--paths")}
    assert {os.fspath(path) for path in found.members.values()} == listed
    assert sorted(found.members) == sorted(uv_says(uv, directory, "list"))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_workspace_is_what_uv_says(
    tmp_path: Path, uv: Path, layout: Callable[[Path], None]
) -> None:
    root = tmp_path / "x" / "y" / "z"
    root.parent.mkdir(parents=True)
    layout(root)
    check_against_uv(uv, root, find_project(root))


def test_a_path_with_spaces_and_brackets_is_a_path(tmp_path: Path, uv: Path) -> None:
    root = project(tmp_path / "with space [é]", "root", workspace('"*"'))
    project(root / "a [x]", "a")
    found = find_project(root / "a [x]")
    check_against_uv(uv, root / "a [x]", found)
    assert (found.name, found.directory, found.root) == ("a", root / "a [x]", root)


def test_a_link_to_a_project_is_followed_no_further(tmp_path: Path, uv: Path) -> None:
    virtual_root(tmp_path / "v")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "v" / "a")
    done = subprocess.run(
        [uv, "workspace", "dir", "--project", link], capture_output=True, text=True, check=True
    )
    found = find_project(link)
    assert os.fspath(found.root) == done.stdout.strip() == os.fspath(link)


def test_a_path_with_dots_is_the_same_project(tmp_path: Path, uv: Path) -> None:
    root = project(tmp_path / "p", "p")
    (root / "sub").mkdir()
    assert find_project(root / "sub" / ".." / ".").root == root


def test_a_directory_whose_name_is_no_text_is_no_obstacle(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"p\xff")
    try:
        project(root, "p", workspace('"*"'))
    except OSError as error:
        pytest.skip(f"this file system has only names in UTF-8: {error}")
    project(root / "a", "a")
    assert sorted(find_project(root / "a").members) == ["a", "p"]


def test_a_project_says_what_it_is(tmp_path: Path) -> None:
    workspace_root(tmp_path / "w")
    root = find_project(tmp_path / "w")
    member = find_project(tmp_path / "w" / "packages" / "b")
    assert (root.name, root.directory, root.lock_path) == ("root", root.root, root.root / "uv.lock")
    assert (member.name, member.root, member.identity) == ("b-name", root.root, "root")
    assert "root_pyproject" not in repr(root)


def test_a_virtual_root_is_known_by_its_members(tmp_path: Path) -> None:
    virtual_root(tmp_path / "v")
    found = find_project(tmp_path / "v")
    assert (found.name, found.identity, list(found.members)) == (None, "workspace of a", ["a"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", ("dev",), id="nothing"),
        pytest.param("[tool.uv]\ndefault-groups = []", (), id="none"),
        pytest.param("[tool.uv]\ndefault-groups = ['Dev_X', 'y']", ("dev-x", "y"), id="list"),
        pytest.param("[tool.uv]\ndefault-groups = 'all'", "all", id="all"),
    ],
)
def test_default_groups_have_several_forms(
    tmp_path: Path, text: str, expected: tuple[str, ...] | str
) -> None:
    assert find_project(project(tmp_path, "p", text)).default_groups == expected


def test_default_groups_are_those_of_the_member(tmp_path: Path) -> None:
    project(tmp_path, "root", workspace('"*"') + "[tool.uv]\ndefault-groups = ['r']")
    project(tmp_path / "a", "a", "[tool.uv]\ndefault-groups = ['a']")
    project(tmp_path / "b", "b")
    found = find_project(tmp_path / "a")
    assert found.default_groups == ("a",)
    members = {name: member_default_groups(found, name) for name in (*found.members, None)}
    assert members == {"root": ("r",), "a": ("a",), "b": ("dev",), None: ("r",)}


@pytest.mark.parametrize("value", ["1", "'dev'", "[1]", "{}", "true"])
def test_default_groups_of_another_type_are_an_error(tmp_path: Path, value: str) -> None:
    found = find_project(project(tmp_path, "p", f"[tool.uv]\ndefault-groups = {value}"))
    with pytest.raises(ProjectError, match="neither a list of groups nor `all`"):
        _ = found.default_groups


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"x = ", "isn't TOML", id="no-toml"),
        pytest.param(b"x = '\xff'", "isn't TOML", id="no-text"),
        pytest.param(b"x = " + b"[" * 10_000, "isn't TOML: .*deep", id="too-deep"),
        pytest.param(b"project.name = 'a b'", "no valid project name", id="name"),
        pytest.param(b"tool.uv.managed = false", "managed = false", id="unmanaged"),
        pytest.param(b"tool.uv.workspace.members = 1", "not a list", id="members"),
        pytest.param(
            b"tool.uv.workspace.exclude = 'x'\ntool.uv.workspace.members = ['x']",
            "not a list",
            id="exclude",
        ),
        pytest.param(b"tool.uv.workspace.members = ['a***']", "no pattern", id="stars"),
        pytest.param(b"tool.uv.workspace.members = ['/x/*']", "no pattern", id="absolute"),
        pytest.param(b"tool.uv.workspace.members = ['a\\u0000b']", None, id="nul"),
        pytest.param(b"tool.uv.workspace.members = ['[', '']", None, id="odd-patterns"),
        pytest.param(b"tool = 1", None, id="tool-is-no-table"),
        pytest.param(b"project = 1\ntool.uv = 2", None, id="project-is-no-table"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_a_bad_pyproject_is_an_error_or_no_project(
    tmp_path: Path, content: bytes, message: str | None
) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)
    if message is None:
        assert find_project(tmp_path).name is None
    else:
        with pytest.raises(ProjectError, match=message):
            find_project(tmp_path)


def test_no_project_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"There is no `pyproject\.toml` in") as caught:
        find_project(tmp_path)
    assert "--project" in str(caught.value.hint)


def test_a_pyproject_that_cant_be_read_is_an_error(tmp_path: Path) -> None:
    root = project(tmp_path / "root", "root", workspace('"*"'))
    path = root / "a" / "pyproject.toml"
    path.parent.mkdir()
    path.symlink_to(path)
    assert list(find_project(root).members) == ["root"]
