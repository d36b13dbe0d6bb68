"""The project that uv would find, and what its `pyproject.toml` says about locked installs.

A project is a directory with a `pyproject.toml`, alone or a member of a workspace; the lock
lies at the workspace's root. Source: uv's `crates/uv-workspace`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import tomli
from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from uv_archive.errors import ProjectError


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A project on disk.

    *root* is the workspace's directory, where the lock lies; *directory* the project's own,
    at or below it (or beside it, for a member from outside). *name* is `None` for a workspace
    root that isn't a project. *members* has every project of the workspace, the root included,
    by name; their directories are absolute. *pyproject* is that of *directory*,
    *root_pyproject* that of *root*.
    """

    root: Path
    directory: Path
    name: NormalizedName | None
    members: Mapping[NormalizedName, Path]
    pyproject: Mapping[str, Any] = field(repr=False)
    root_pyproject: Mapping[str, Any] = field(repr=False)

    @property
    def lock_path(self) -> Path:
        return self.root / "uv.lock"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What tells uv which project is meant."""
        return ("--project", str(self.directory))

    @property
    def identity(self) -> str:
        """What names the project in an archive: its root's name, or the members' names."""
        root = project_name(self.root_pyproject)
        return root or "workspace of " + ", ".join(sorted(self.members))

    @property
    def default_groups(self) -> tuple[NormalizedName, ...] | Literal["all"]:
        """The groups that `uv sync` takes unasked: `tool.uv.default-groups`, else `dev`."""
        return _default_groups(self.pyproject, self.directory)

    @property
    def settings(self) -> Mapping[str, Any]:
        """`tool.uv` of the workspace's root, where uv looks for settings."""
        return tool_uv(self.root_pyproject)


def find_project(start: Path) -> Project:
    """Find the project of *start* as uv does: the nearest `pyproject.toml`, then its workspace.

    Raises `ProjectError`.
    """
    if not start.is_dir():
        raise ProjectError(f"There is no directory `{start}`", hint="Look at `--project`")
    # Not `resolve`: uv leaves symbolic links as they are.
    directory = _nearest(Path(os.path.abspath(start)))  # noqa: PTH100
    pyproject = read_pyproject(directory / "pyproject.toml")
    if not is_managed(pyproject):
        raise ProjectError(f"`{directory / 'pyproject.toml'}` says `tool.uv.managed = false`")
    if "workspace" in tool_uv(pyproject):
        root, root_pyproject = directory, pyproject
    else:
        root, root_pyproject = _workspace_above(directory) or (directory, pyproject)
    return Project(
        root=root,
        directory=directory,
        name=project_name(pyproject),
        members=_members(root, root_pyproject),
        pyproject=pyproject,
        root_pyproject=root_pyproject,
    )


def member_default_groups(
    project: Project, member: NormalizedName | None
) -> tuple[NormalizedName, ...] | Literal["all"]:
    """Return the default groups of a member, or with `None` those of the workspace's root.

    Raises `ProjectError`.
    """
    if member == project.name:
        return project.default_groups
    if member is None or member not in project.members:
        return _default_groups(project.root_pyproject, project.root)
    directory = project.members[member]
    return _default_groups(read_pyproject(directory / "pyproject.toml"), directory)


def _default_groups(
    pyproject: Mapping[str, Any], directory: Path
) -> tuple[NormalizedName, ...] | Literal["all"]:
    configured = tool_uv(pyproject).get("default-groups", ["dev"])
    if configured == "all":
        return "all"
    if not isinstance(configured, list) or not all(isinstance(g, str) for g in configured):
        raise ProjectError(
            f"`tool.uv.default-groups` in `{directory / 'pyproject.toml'}` is neither "
            "a list of groups nor `all`"
        )
    return tuple(canonicalize_name(group) for group in configured)


def read_pyproject(path: Path) -> Mapping[str, Any]:
    """Read a `pyproject.toml`. Raises `ProjectError`."""
    try:
        return tomli.loads(path.read_bytes().decode())
    except OSError as error:
        raise ProjectError(f"`{path}` can't be read: {error.strerror}") from error
    except RecursionError as error:
        raise ProjectError(f"`{path}` isn't TOML: nested too deeply") from error
    except ValueError as error:
        raise ProjectError(f"`{path}` isn't TOML: {str(error).splitlines()[0]}") from error


def tool_uv(pyproject: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the table `tool.uv`, empty where there is none."""
    return _table(tool(pyproject), "uv")


def tool(pyproject: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the table `tool`, empty where there is none."""
    return _table(pyproject, "tool")


def is_managed(pyproject: Mapping[str, Any]) -> bool:
    """Whether uv locks and installs the project: `tool.uv.managed`."""
    return tool_uv(pyproject).get("managed") is not False


def project_name(pyproject: Mapping[str, Any]) -> NormalizedName | None:
    """Return `project.name`, normalised, or `None` where the file has no `project` table."""
    name = _table(pyproject, "project").get("name")
    if not isinstance(name, str):
        return None
    try:
        return canonicalize_name(name, validate=True)
    except InvalidName as error:
        raise ProjectError(f"`{name}` is no valid project name") from error


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _nearest(start: Path) -> Path:
    for directory in (start, *start.parents):
        if (directory / "pyproject.toml").is_file():
            return directory
    raise ProjectError(
        f"There is no `pyproject.toml` in `{start}` or above it",
        hint="Go to the project's directory, or name it with `--project`",
    )


def _workspace_above(directory: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """Find the workspace that lists *directory* among its members.

    The nearest `pyproject.toml` above decides, as in uv: if it doesn't list the directory, the
    project is alone.
    """
    for parent in directory.parents:
        path = parent / "pyproject.toml"
        if path.is_file():
            pyproject = read_pyproject(path)
            workspace = _table(tool_uv(pyproject), "workspace")
            return (parent, pyproject) if directory in _listed(parent, workspace) else None
    return None


def _listed(root: Path, workspace: Mapping[str, Any]) -> Sequence[Path]:
    """Return the directories that `members` matches and `exclude` doesn't, sorted."""
    found = {path for pattern in _patterns(workspace, "members") for path in _glob(root, pattern)}
    excluding = _patterns(workspace, "exclude")
    return sorted(
        path for path in found if not any(_excludes(root, pattern, path) for pattern in excluding)
    )


def _patterns(workspace: Mapping[str, Any], key: str) -> Sequence[str]:
    patterns = workspace.get(key, [])
    if not isinstance(patterns, list):
        raise ProjectError(f"`tool.uv.workspace.{key}` is not a list of patterns")
    return [pattern for pattern in patterns if isinstance(pattern, str)]


def _excludes(root: Path, pattern: str, path: Path) -> bool:
    """Whether *pattern* matches *path*. As in uv a `*` matches `/` too, and `**/` nothing."""
    written = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    pattern = os.path.normpath(pattern)
    return any(fnmatchcase(written, one) for one in (pattern, pattern.replace("**/", "")))


def _glob(root: Path, pattern: str) -> Sequence[Path]:
    pattern = os.path.normpath(pattern)
    # A member may lie outside the root (`../other`), which `Path.glob` doesn't follow.
    base = root
    while pattern.startswith("../"):
        base, pattern = base.parent, pattern.removeprefix("../")
    if pattern.endswith("**"):
        # In uv, `**` at the end is what lies below, not the directory itself.
        pattern += "/*"
    if pattern in (".", ".."):
        return [base if pattern == "." else base.parent]
    try:
        return [path for path in base.glob(pattern) if path.is_dir()]
    except (NotImplementedError, ValueError) as error:
        raise ProjectError(f"`{pattern}` is no pattern for workspace members") from error


def _members(root: Path, root_pyproject: Mapping[str, Any]) -> dict[NormalizedName, Path]:
    members: dict[NormalizedName, Path] = {}
    own_name = project_name(root_pyproject)
    if own_name is not None:
        members[own_name] = root
    for directory in _listed(root, _table(tool_uv(root_pyproject), "workspace")):
        path = directory / "pyproject.toml"
        if not path.is_file() or directory == root:
            continue
        pyproject = read_pyproject(path)
        name = project_name(pyproject)
        if name is not None and is_managed(pyproject):
            members[name] = directory
    return members
