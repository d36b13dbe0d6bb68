"""Hash files before they are used."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from uv_archive.digest import Digest
from uv_archive.sync.supply import Supplied

_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hashing:
    """Hashes files in *pool*, several at a time."""

    pool: Executor
    _ahead: dict[Supplied, Future[bool]] = field(default_factory=dict)

    def begin(self, files: Iterable[Supplied]) -> None:
        """Begin with files that will be asked for next, in all probability."""
        for file in files:
            self._ahead[file] = self.pool.submit(_is_right, file)

    def damaged(self, files: Sequence[Supplied]) -> Sequence[Supplied]:
        """Return those whose bytes don't have their digest.

        What was begun with serves once: a file that is asked for again is read again.
        """
        ahead = {file: self._ahead.pop(file) for file in files if file in self._ahead}
        for unneeded in self._ahead.values():
            unneeded.cancel()
        self._ahead.clear()
        answers = [ahead.get(file) or self.pool.submit(_is_right, file) for file in files]
        return [file for file, right in zip(files, answers, strict=True) if not right.result()]


def _is_right(supplied: Supplied) -> bool:
    try:
        return all(_has(supplied.path, digest) for digest in supplied.digests)
    except OSError:
        return False


def _has(path: Path, digest: Digest) -> bool:
    # A pipe has nobody who writes into it, and a device may have no end.
    descriptor = os.open(path, os.O_RDONLY | _AT_ONCE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)  # Of a directory no file object can be made.
        return False
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        return hashlib.file_digest(file, digest.hasher).hexdigest() == digest.hex
