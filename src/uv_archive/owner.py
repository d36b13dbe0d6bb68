"""What a lock belongs to: a project, a script, or nothing but itself (`pylock.toml`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, assert_never

from packaging.utils import NormalizedName

from uv_archive.lock.model import Lock
from uv_archive.lock.reader import parse_lock, read_with
from uv_archive.project import Project, member_default_groups, read_pyproject
from uv_archive.pylock import PylockFile
from uv_archive.script import Script
from uv_archive.settings import Settings, read_settings

#: All of them have *root*, which paths of the lock are relative to, *lock_path*, *name* (of the
#: package, if there is one) and *identity*, what names it in an archive.
Owner = Project | Script | PylockFile


def lock_of(owner: Owner, *, at: Path | None = None) -> Lock:
    """Read the owner's lock, or that *at* another place. Raises `LockError`."""
    path = at or owner.lock_path
    match owner:
        case Project():
            return read_with(path, parse_lock, hint="Run `uv lock` first")
        case Script():
            hint = f"Run `uv lock --script {owner.path.name}` first"
            # A tree beside a script may be one of its dependencies, and is not its project.
            return replace(read_with(path, parse_lock, hint=hint), has_root=False)
        case PylockFile():
            if at is None:
                return owner.lock
            from uv_archive.lock.pylock import read_pylock  # noqa: PLC0415 - seldom needed

            return read_pylock(at)
        case _:
            assert_never(owner)


def settings_of(owner: Owner, environment: Mapping[str, str]) -> Settings:
    """Return uv's settings for the owner. Raises `ProjectError`."""
    nearest = owner.settings if isinstance(owner, Script) else {}
    return read_settings(owner.root, environment, nearest=nearest)


def cautions(owner: Owner) -> Iterator[tuple[str, str]]:
    """Yield what somebody who relies on the lock should know: messages with hints."""
    if not isinstance(owner, PylockFile):
        return
    from uv_archive.lock.pylock import unknown_minor_version  # noqa: PLC0415 - seldom needed

    version = unknown_minor_version(owner.lock)
    if version is not None:
        yield (
            f"`{owner.identity}` has version {version}, and this program knows 1.0",
            "It may say more than is heeded here: look for a newer uv-archive",
        )


def default_groups_of(
    owner: Owner, member: NormalizedName | None
) -> tuple[NormalizedName, ...] | Literal["all"]:
    """Return the groups that are installed unasked, of a member if the owner has some.

    Raises `ProjectError`.
    """
    match owner:
        case Project():
            return member_default_groups(owner, member)
        case Script():
            return ()
        case PylockFile():
            return owner.default_groups
        case _:
            assert_never(owner)


def documents_of(owner: Owner) -> Sequence[Mapping[str, object]]:
    """Return the `pyproject.toml` documents of a project and its workspace.

    Raises `ProjectError` for one that can't be read.
    """
    if not isinstance(owner, Project):
        return ()
    paths = [directory / "pyproject.toml" for directory in owner.members.values()]
    members = [read_pyproject(path) for path in paths if path.is_file()]
    return (owner.pyproject, owner.root_pyproject, *members)
