"""Which files can't have changed since they were hashed: known outside the archive.

What is written here is a convenience. A cache that is missing, damaged or read-only means that
files are hashed again, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from uv_archive.archive.store import FileState

_VERSION = 1
#: Nanoseconds. A file can change once more within one tick of the file system's clock, and its
#: times stay what they are; ticks of 10 ms are the longest that Linux has.
_TICK = 100_000_000

_Row = tuple[int, int, int, int, str]


@dataclass(kw_only=True, slots=True)
class QuickCheck:
    """The digests of an archive's files, each with what the file system said of the file then.

    *inputs* stands for what the metadata were made from, where that isn't in the archive.
    """

    path: Path | None
    archive: str
    rows: dict[str, _Row] = field(default_factory=dict)
    inputs: str = ""
    changed: bool = False

    @classmethod
    def load(cls, cache: Path | None, archive: Path) -> QuickCheck:
        """Read what is known of *archive* from the directory *cache*. Never fails."""
        real = os.path.realpath(archive)
        if cache is None:
            return cls(path=None, archive=real)
        name = hashlib.sha256(os.fsencode(real)).hexdigest()[:32]
        check = cls(path=cache / "quick-check" / f"{name}.json", archive=real)
        check._read()
        return check

    def known_digest(self, path: str, state: FileState) -> str | None:
        """Return the sha256 of a file if its size, times and inode are as they were."""
        row = self.rows.get(path)
        if row is None or row[:4] != (state.size, state.modified, state.changed, state.inode):
            return None
        return row[4]

    def record(self, path: str, state: FileState, sha256: str, *, now: int) -> None:
        """Remember a digest, unless the file changed so lately that its times say nothing.

        *state* is from before the bytes were read. *now* is in nanoseconds since the epoch.
        """
        if max(state.changed, state.modified) > now - _TICK:
            self.changed = self.rows.pop(path, None) is not None or self.changed
            return
        row = (state.size, state.modified, state.changed, state.inode, sha256)
        if self.rows.get(path) != row:
            self.rows[path] = row
            self.changed = True

    def made_from(self, inputs: str) -> None:
        """Remember what the metadata were made from beside the lock and the requests."""
        if self.inputs != inputs:
            self.inputs = inputs
            self.changed = True

    def keep(self, paths: set[str]) -> None:
        """Forget every file but *paths*."""
        for path in self.rows.keys() - paths:
            del self.rows[path]
            self.changed = True

    def save(self) -> None:
        """Write it down if anything is new. Never fails."""
        if self.path is None or not self.changed:
            return
        document = {
            "version": _VERSION,
            "archive": self.archive,
            "inputs": self.inputs,
            "files": self.rows,
        }
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with suppress(OSError, ValueError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_text(json.dumps(document), encoding="utf-8")
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)
        self.changed = False

    def _read(self) -> None:
        if self.path is None:
            return
        try:
            document: object = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return
        match document:
            case {
                "version": 1,
                "archive": self.archive,
                "inputs": str(inputs),
                "files": dict(files),
            }:
                self.inputs = inputs
                self.rows = {path: row for path, value in files.items() if (row := _row(value))}
            case _:
                return


def _row(value: object) -> _Row | None:
    match value:
        case [int(size), int(modified), int(changed), int(inode), str(sha256)]:
            return (size, modified, changed, inode, sha256) if len(sha256) == 64 else None
        case _:
            return None


def cache_directory(environment: Mapping[str, str]) -> Path | None:
    """Return where this program keeps what lies outside of archives; `None` without a home."""
    if environment.get("XDG_CACHE_HOME"):
        return Path(environment["XDG_CACHE_HOME"]) / "uv-archive"
    for variable, below in (("LOCALAPPDATA", "uv-archive"), ("HOME", ".cache/uv-archive")):
        if environment.get(variable):
            return Path(environment[variable]) / below
    return None
