"""A copy of a project to build in, so that the project itself isn't touched."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from uv_archive.archive.disk import storing
from uv_archive.lock.model import LocalPath, Lock, PathSource, TreeSource
from uv_archive.owner import Owner
from uv_archive.project import Project
from uv_archive.pylock import PylockFile
from uv_archive.script import Script

# No build reads what lies in these.
_LEFT_OUT = frozenset({"__pycache__", "node_modules", ".tox", ".nox", ".mypy_cache"})
_GIT = ".git"
# What uv reads of a place where nothing is built.
_SETTINGS = ("pyproject.toml", ".python-version", ".python-versions", "uv.toml", "uv.lock")
# Bytes. No build changes a file of that size in place, so a link has to do.
_LARGE = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A copy of what a lock belongs to: where *start*, *script* or *pylock* is in it."""

    start: Path
    script: Path | None = None
    pylock: Path | None = None


def copy_owner(owner: Owner, lock: Lock, *, directory: Path, leave_out: Path) -> Copy:
    """Copy into *directory* what an install reads of *owner* and of the trees of its *lock*.

    Source trees are copied, large files of them as links, and without environments and
    *leave_out*, the archive. Everything keeps its place relative to everything else. Raises
    `StorageError`.
    """
    trees, files = set(_trees(owner, lock)), set(_files(owner, lock))
    repositories = {found for tree in trees if (found := _repository_above(tree))}
    places = {owner.root, *_places(owner), *trees, *(file.parent for file in files), *repositories}
    original = Path(os.path.commonpath(places))

    def at(path: Path) -> Path:
        return directory / path.relative_to(original)

    with storing(directory):
        for place in _places(owner):
            files |= {place / name for name in _SETTINGS}
        for tree in trees:
            _copy_tree(tree, at(tree), leave_out=leave_out)
        for file in files:
            if file.is_file() and not at(file).exists():
                at(file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, at(file))
        for repository in repositories:
            if not at(repository / _GIT).exists():
                at(repository / _GIT).symlink_to(repository / _GIT)
        match owner:
            case Project():
                return Copy(start=at(owner.directory))
            case Script():
                return Copy(start=at(owner.root), script=at(owner.path))
            case PylockFile():
                return Copy(start=at(owner.root), pylock=at(owner.lock_path))
            case _:
                assert_never(owner)


def trees_elsewhere(lock: Lock) -> tuple[str, ...]:
    """Return the source trees that a lock names by absolute paths: these can't be copied."""
    return tuple(
        path.text
        for package in lock.packages
        if isinstance(package.source, TreeSource) and package.source.kind != "virtual"
        if Path((path := package.source.path).text).is_absolute()
    )


def _places(owner: Owner) -> Iterator[Path]:
    if isinstance(owner, Project):
        yield from {owner.root, owner.directory, *owner.members.values()}


def _trees(owner: Owner, lock: Lock) -> Iterator[Path]:
    for package in lock.packages:
        source = package.source
        if isinstance(source, TreeSource) and source.kind != "virtual":
            yield _below(owner, source.path)


def _files(owner: Owner, lock: Lock) -> Iterator[Path]:
    yield owner.lock_path
    if isinstance(owner, Script):
        yield owner.path
    for package in lock.packages:
        if isinstance(package.source, PathSource):
            yield _below(owner, package.source.path)


def _below(owner: Owner, path: LocalPath) -> Path:
    # Lexically, as uv does: `..` after a symbolic link would otherwise lead elsewhere.
    return Path(os.path.normpath(owner.root / path.text))


def _repository_above(tree: Path) -> Path | None:
    """Return the repository that a tree is a part of, where it begins further up."""
    if (tree / _GIT).exists():
        return None
    return next((above for above in tree.parents if (above / _GIT).exists()), None)


def _copy_tree(source: Path, destination: Path, *, leave_out: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(source):
        path, copy = Path(entry.path), destination / entry.name
        status = entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            if not os.path.lexists(copy):
                copy.symlink_to(path.readlink())
        elif stat.S_ISDIR(status.st_mode):
            if not _is_left_out(path, leave_out):
                _copy_tree(path, copy, leave_out=leave_out)
        elif stat.S_ISREG(status.st_mode) and not copy.exists():
            if status.st_size >= _LARGE:
                copy.symlink_to(path.absolute())
            else:
                shutil.copy2(path, copy)


def _is_left_out(directory: Path, archive: Path) -> bool:
    return (
        directory.name in _LEFT_OUT
        or (directory / "pyvenv.cfg").exists()
        or (archive.exists() and directory.samefile(archive))
    )
