"""What lies in a directory: every entry once, with its type, and no link followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from uv_archive.archive.disk import storing
from uv_archive.archive.layout import DIRECTORIES, INDEX, PARTIAL
from uv_archive.verify.model import Type

_TYPES: tuple[tuple[int, Type], ...] = (
    (stat.S_IFREG, "file"),
    (stat.S_IFDIR, "directory"),
    (stat.S_IFLNK, "symlink"),
    (stat.S_IFIFO, "pipe"),
    (stat.S_IFSOCK, "socket"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What lies at a path. *size* is in bytes, of plain files only."""

    type: Type
    size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """The entries of a directory by path, with `/` between its parts.

    Directories that no archive has are entries, and were not looked into. *unreadable* are
    directories with what the system said.
    """

    entries: Mapping[str, Seen]
    unreadable: Mapping[str, str]


def scan(directory: Path, *, needed: Collection[str]) -> Scan:
    """Look at every entry of *directory*, and of the directories that an archive may have.

    *needed* are paths of files whose directories are looked into as well. Raises `StorageError`
    where *directory* itself can't be read.
    """
    entries: dict[str, Seen] = {}
    unreadable: dict[str, str] = {}
    into = {*DIRECTORIES, PARTIAL, *_directories(needed)}
    with storing(directory, doing="read"):
        pending = [("", _listed(directory))]
    while pending:
        prefix, found = pending.pop()
        for name, seen in found:
            path = prefix + name
            entries[path] = seen
            if seen.type == "directory" and (path in into or prefix == f"{INDEX}/"):
                try:
                    pending.append((f"{path}/", _listed(directory / path)))
                except OSError as error:
                    unreadable[path] = error.strerror or str(error)
    return Scan(entries=entries, unreadable=unreadable)


def _listed(directory: Path) -> list[tuple[str, Seen]]:
    with os.scandir(directory) as entries:
        return [(entry.name, _seen(entry.stat(follow_symlinks=False))) for entry in entries]


def _seen(status: os.stat_result) -> Seen:
    kind = stat.S_IFMT(status.st_mode)
    found: Type = next((name for mode, name in _TYPES if mode == kind), "device")
    return Seen(type=found, size=status.st_size if found == "file" else 0)


def _directories(paths: Collection[str]) -> Iterator[str]:
    for path in paths:
        above = path.rpartition("/")[0]
        while above:
            yield above
            above = above.rpartition("/")[0]
