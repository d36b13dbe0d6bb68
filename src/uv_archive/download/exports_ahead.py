"""Exports that are made beside the transfers, from what the files will be if all goes well."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import Entry
from uv_archive.download.contents import Content

# What exporting takes beside more transfers than these is too much memory at a time.
_MOST = 4_000

Files = Mapping[ArchivePath, Entry]
Exports = Mapping[str, Pylock]


class ExportsAhead:
    """Makes exports, once at most ahead of time.

    *export* makes them of the archive's files, of which only those among *locked* matter.
    """

    def __init__(
        self, export: Callable[[Files], Exports], *, locked: Collection[ArchivePath]
    ) -> None:
        self._export = export
        self._locked = frozenset(locked)
        self._expected: Mapping[ArchivePath, tuple[int, str]] = {}
        self._begun: Future[Exports] | None = None

    def begin(self, contents: Mapping[ArchivePath, Content]) -> None:
        """Begin, if the lock says of all *contents* how large they are and what their sha256 is."""
        if len(contents) > _MOST:
            return
        files = {path: _expected(content) for path, content in contents.items()}
        known = {path: entry for path, entry in files.items() if entry is not None}
        if len(known) < len(files):
            return
        self._expected = self._facts(known)
        aside = ThreadPoolExecutor(1)
        self._begun = aside.submit(self._export, known)
        aside.shutdown(wait=False)

    def of(self, files: Files) -> Exports:
        """Return the exports of *files*: those begun, if what was expected came. Raises."""
        if self._begun is not None and self._facts(files) == self._expected:
            return self._begun.result()
        return self._export(files)

    def wait(self) -> None:
        """Wait for what was begun, whatever comes of it."""
        if self._begun is not None:
            wait_for([self._begun])

    def _facts(self, files: Files) -> Mapping[ArchivePath, tuple[int, str]]:
        return {
            path: (entry.size, entry.sha256)
            for path, entry in files.items()
            if path in self._locked
        }


def _expected(content: Content) -> Entry | None:
    digest, size = content.distribution.digest, content.distribution.size
    if digest is None or digest.algorithm != "sha256" or size is None:
        return None
    return content.entry(size=size, sha256=digest.hex)
