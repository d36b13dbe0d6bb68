"""The archive's directory: what is in it, and durable changes to it.

At any instant every file under its final name is complete, and `uv-archive.json` is absent or
true: before anything that it records changes, it goes into `.partial/`, and the new one comes
last.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from uv_archive.archive import disk
from uv_archive.archive.exclusive import exclusive
from uv_archive.archive.layout import (
    CHECKSUMS,
    DIRECTORIES,
    INDEX,
    LOCKED,
    MANIFEST,
    PARTIAL,
    README,
    ArchivePath,
    is_metadata,
    parse_path,
)
from uv_archive.archive.manifest import LARGEST, Manifest, from_json
from uv_archive.archive.salvage import salvage
from uv_archive.errors import ArchiveError, StorageError

_KEY = re.compile(r"[0-9a-f]{64}")
# What every archive has beside its manifest.
_SIGNS = frozenset({CHECKSUMS, README, LOCKED})
_LOCK = "lock"
_NEXT = "next.json"
_BUILT = "built.json"
_TEMPORARY = "write-"
# Metadata is read back whole, to see whether it changed. A lock has at most 100 MiB.
_LARGEST_METADATA = 256 * 1024 * 1024
_NOT_YOURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@dataclass(frozen=True, kw_only=True, slots=True)
class FileState:
    """What the file system says of a plain file: size in bytes, times in nanoseconds, inode."""

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        return cls(
            size=status.st_size,
            modified=status.st_mtime_ns,
            changed=status.st_ctime_ns,
            inode=status.st_ino,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What a directory holds, by path with `/` between its parts; `.partial/` isn't counted.

    *others* is whatever can't be a file of an archive: links, pipes, directories of other
    names. What is in those was not looked at.
    """

    files: Mapping[str, FileState]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """An archive's directory, for reading. It needn't exist yet.

    With *rebuild_for*, the name of a project, a manifest that can't be used counts as none, and
    what can still be read of it as that project's.
    """

    directory: Path
    rebuild_for: str | None = None

    @classmethod
    def open(cls, directory: Path, *, rebuild_for: str | None = None) -> Store:
        """Check that *directory* is an archive, an unfinished one, empty or absent.

        Raises `ArchiveError` for a file and for somebody else's directory.
        """
        store = cls(directory, rebuild_for)
        store.check()
        return store

    def check(self) -> None:
        """Raise `ArchiveError` unless the directory is an archive or can become one."""
        try:
            names = set(os.listdir(self.directory))  # noqa: PTH208 - a Path each isn't needed
        except FileNotFoundError:
            if not os.path.lexists(self.directory):
                return
            raise self._not_a_directory() from None  # A link to nothing.
        except NotADirectoryError:
            raise self._not_a_directory() from None
        except OSError as error:
            raise disk.storage_error(error, self.directory, doing="read") from error
        if names and MANIFEST not in names and PARTIAL not in names:
            self._check_signs(names)
        for name in {PARTIAL, *DIRECTORIES} & names:
            self._check_directory(self.directory / name)

    def _check_signs(self, names: Collection[str]) -> None:
        """Take a directory for an archive without its manifest, if that is to be made anew."""
        if not _SIGNS.issubset(names):
            raise ArchiveError(
                f"`{self.directory}` is no archive, and it isn't empty",
                hint=f"Choose another directory; an archive has a `{MANIFEST}`",
            )
        if self.rebuild_for is None:
            raise ArchiveError(
                f"`{self.directory}` has lost its `{MANIFEST}`",
                hint="`uv-archive download --verify` makes it anew",
            )

    def check_places(self, paths: Iterable[ArchivePath]) -> None:
        """Raise `ArchiveError` where a directory lies in a file's place: its files are somebody's.

        A link or a pipe may be replaced; it has no content of its own.
        """
        for path in paths:
            if self.has_another_type(path, stat.S_ISDIR):
                raise ArchiveError(
                    f"`{self.path(path)}` is a directory, where a file of the archive has to be",
                    hint="Move it elsewhere, then run it again",
                )

    def has_another_type(
        self, path: ArchivePath, is_one: Callable[[int], bool] | None = None
    ) -> bool:
        """Whether something else than a plain file is there; with *is_one*, if it is such a one."""
        try:
            mode = os.lstat(f"{self.directory}/{path}").st_mode
        except OSError:
            return False
        return is_one(mode) if is_one else not stat.S_ISREG(mode)

    def path(self, path: ArchivePath) -> Path:
        """Return where *path* is on this machine."""
        return self.directory / path

    def find_manifest(self) -> Manifest | None:
        """Return what the archive says of itself, or `None` while it is incomplete."""
        try:
            return self._readable(MANIFEST)
        except ArchiveError:
            if self.rebuild_for is None:
                raise
            return None

    @property
    def is_damaged(self) -> bool:
        """Whether there is a manifest that can't be used, or none any more."""
        try:
            self._readable(MANIFEST)
        except ArchiveError:
            return True
        return self.rebuild_for is not None and self.has_lost_manifest

    def manifest(self) -> Manifest:
        """Return what the archive says of itself. Raises `ArchiveError` if it is incomplete."""
        found = self.find_manifest()
        if found is not None:
            return found
        if not self.directory.is_dir():
            raise ArchiveError(
                f"There is no archive at `{self.directory}`", hint="Run `uv-archive download` first"
            )
        raise ArchiveError(
            f"The archive in `{self.directory}` is incomplete: it has no `{MANIFEST}`",
            hint="Run `uv-archive download` again: it goes on where it stopped",
        )

    def recorded(self) -> Manifest | None:
        """Return what the last run that came to its end recorded: requests, files.

        That is the manifest, or the one that a stopped run has put aside. In the second case the
        requests count, but some of the files may have changed.
        """
        for path in (MANIFEST, f"{PARTIAL}/{MANIFEST}"):
            try:
                found = self._readable(path)
            except ArchiveError:
                if self.rebuild_for is None:
                    raise
                return self._salvaged(path, self.rebuild_for)
            if found is not None:
                return found
        if self.rebuild_for is not None and self.has_lost_manifest:
            return self._salvaged(MANIFEST, self.rebuild_for)
        return None

    @property
    def has_lost_manifest(self) -> bool:
        """Whether a run came to its end here, and what it recorded is gone.

        One that was stopped has put the manifest aside, or has left its plan.
        """
        left = (MANIFEST, f"{PARTIAL}/{MANIFEST}", f"{PARTIAL}/{_NEXT}")
        return os.path.lexists(self.directory / CHECKSUMS) and not any(
            os.path.lexists(self.directory / path) for path in left
        )

    def remembered(self) -> Manifest | None:
        """Return what `recorded` says, with the files of a run that built and could record nothing.

        Where nothing was recorded before, it has those files alone, and no requests.
        """
        recorded, built = self.recorded(), None
        with suppress(ArchiveError):  # They are built again.
            built = self._readable(f"{PARTIAL}/{_BUILT}")
        if recorded is None or built is None:
            return recorded or built
        files = {path: entry for path, entry in built.files.items() if entry.origin}
        return replace(recorded, files={**files, **recorded.files}, read_digest=None)

    def _readable(self, path: str) -> Manifest | None:
        """Return the manifest at *path*, if there is one. Raises `ArchiveError`."""
        content = disk.read_plain(self.directory / path, limit=LARGEST)
        return None if content is None else _parsed(content)

    def _salvaged(self, path: str, project: str) -> Manifest:
        return salvage(
            self._whatever(path),
            checksums=self._whatever(CHECKSUMS),
            readme=self._whatever(README),
            project=project,
        )

    def _whatever(self, path: str) -> bytes:
        """Return the bytes of a plain file, and nothing of what isn't one."""
        with suppress(ArchiveError):
            return disk.read_plain(self.directory / path, limit=LARGEST) or b""
        return b""

    def scan(self) -> Contents:
        """Look at every file once, following no link. An absent directory is an empty one."""
        files: dict[str, FileState] = {}
        others: list[str] = []
        if self.directory.is_dir():
            with disk.storing(self.directory, doing="read"):
                self._scan("", files, others)
        return Contents(files=files, others=tuple(sorted(others)))

    def free_bytes(self) -> int:
        """Return how many bytes can be written there."""
        return disk.free_bytes(self.directory)

    @contextmanager
    def writing(self, *, notify: Callable[[str], None]) -> Iterator[Writer]:
        """Make the directory if need be, and keep every other run out of it meanwhile.

        *notify* is told whom it waits for. Manifest and contents have to be read inside, since
        the run that was waited for changes them. Raises `ArchiveError` where nothing can be
        written, and `StorageError`.
        """
        self.check()
        partial = self.directory / PARTIAL
        fresh = not os.path.lexists(self.directory)
        with ExitStack() as stack:
            stack.callback(self._remove_empty, partial, *([self.directory] if fresh else []))
            with _owned():
                stack.enter_context(exclusive(partial / _LOCK, notify=notify))
            self.check()
            writer = Writer(self)
            stack.callback(writer.leave)
            yield writer

    def _scan(self, prefix: str, files: dict[str, FileState], others: list[str]) -> None:
        with os.scandir(self.directory / prefix) as entries:
            for entry in entries:
                path = prefix + entry.name
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    files[path] = FileState.of(status)
                elif not stat.S_ISDIR(status.st_mode):
                    others.append(path)
                elif path in DIRECTORIES or prefix == f"{INDEX}/":
                    self._scan(f"{path}/", files, others)
                elif path != PARTIAL:
                    others.append(f"{path}/")

    def _remove_empty(self, *directories: Path) -> None:
        for directory in directories:
            with suppress(OSError):
                directory.rmdir()

    def _not_a_directory(self) -> ArchiveError:
        return ArchiveError(
            f"`{self.directory}` isn't a directory",
            hint="Name another one; `download` takes it by `--out-dir`",
        )

    def _check_directory(self, path: Path) -> None:
        try:
            with disk.storing(path, doing="looked at"):
                is_directory = stat.S_ISDIR(path.lstat().st_mode)
        except StorageError:
            if not os.path.lexists(path):
                return  # Another run, which is still at work, took it away since it was listed.
            raise
        if not is_directory:
            # A link would have this program write outside the archive.
            raise ArchiveError(
                f"`{path}` isn't a directory",
                hint="Archives have no links. Choose another directory, or remove it",
            )


class Writer:
    """Changes to an archive that nobody else changes meanwhile. `Store.writing` makes it.

    Methods may be called from several threads, but for `finish`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._partial = store.directory / PARTIAL
        store.check_places((MANIFEST, README, CHECKSUMS))
        self._clean_partial()
        recorded = store.remembered()
        self.is_damaged = store.is_damaged
        self._recorded: Collection[ArchivePath] = recorded.files if recorded else ()
        store.check_places(self._recorded)
        self._own = {path for path in self._recorded if is_metadata(path)} | self._planned()
        self._guard = threading.Lock()
        self._aside = False
        self._temporary = 0
        # A dictionary is a set that threads can add to while it is copied.
        self._directories: dict[Path, None] = {store.directory: None}

    def partial(self, key: str) -> Path:
        """Return where the unfinished transfer *key* lies, by `layout.partial_key`."""
        if not _KEY.fullmatch(key):
            raise ValueError("a key has 64 hexadecimal digits")
        return self._partial / key

    def commit(self, partial: Path, path: ArchivePath) -> None:
        """Give a complete, checked and synced file of `.partial/` its final name.

        The name is durable after `sync_directories`, which `finish` calls.
        """
        self._before_changing(path)
        destination = self._make_way(path)
        with disk.storing(destination):
            partial.replace(destination)

    def move(self, source: ArchivePath, path: ArchivePath) -> None:
        """Give a file that the archive's manifest recorded another name.

        Raises `ValueError` for a file that it didn't: whose that is can't be known.
        """
        self._check_recorded(source)
        self._before_changing(source)
        self._directories[self.store.path(source).parent] = None
        self.commit(self.store.path(source), path)

    def write(self, path: ArchivePath, content: bytes) -> None:
        """Write a whole file under its final name, durably but for the name."""
        self.commit(self._write_temporary(content), path)

    def write_changed(self, path: ArchivePath, content: bytes) -> bool:
        """Write a file unless it has this content already; return whether it was written."""
        if self._read(path) == content:
            return False
        self.write(path, content)
        return True

    def remove(self, paths: Collection[ArchivePath]) -> None:
        """Remove files that the archive's manifest recorded; missing ones are fine.

        Raises `ValueError` for a file that it didn't: whose that is can't be known.
        """
        for path in paths:
            self._check_recorded(path)
        for path in paths:
            self._before_changing(path)
            destination = self.store.path(path)
            with disk.storing(destination, doing="removed"), suppress(FileNotFoundError):
                destination.unlink()
            self._directories[destination.parent] = None

    def sync_directories(self) -> None:
        """Make every name that was given so far durable."""
        for directory in tuple(self._directories):
            with disk.storing(directory), suppress(FileNotFoundError):
                disk.sync_directory(directory)

    def finish(
        self,
        manifest: Manifest,
        documents: Mapping[ArchivePath, bytes],
        *,
        remove: Collection[ArchivePath] = (),
    ) -> bool:
        """Write metadata, remove what isn't wanted, and the manifest last; return if it changed.

        *documents* is the metadata, all of it but `uv-archive.json`; earlier metadata that it
        lacks goes. Afterwards `.partial/` is empty.
        """
        self._check_complete(manifest, documents)
        if not manifest.files.keys().isdisjoint(remove):
            raise ValueError("the manifest describes a file that is to be removed")
        content = manifest.to_json()
        stale = {path for path in self._own - documents.keys() if self._exists(path)}
        changed = [path for path, data in documents.items() if self._read(path) != data]
        if self._read(MANIFEST) == content and not (changed or stale or remove or self._aside):
            self.sync_directories()
            self._discard()
            return False
        # A full disk has to show before anything changes.
        ready = {path: self._write_temporary(documents[path]) for path in changed}
        last = self._write_temporary(content)
        self._plan(documents.keys())
        for path, temporary in ready.items():
            self.commit(temporary, path)
        self.remove({*remove, *stale})
        self.sync_directories()
        self._replace_manifest(last)
        self._recorded = manifest.files
        self._own = set(documents)
        self._discard()
        return True

    def remember_built(self, manifest: Manifest) -> None:
        """Write down the files of an archive that wheels were built in and that can't be recorded.

        They are those of *manifest*, whose requests don't count.
        """
        self.sync_directories()
        temporary = self._write_temporary(manifest.to_json())
        with disk.storing(self._partial):
            temporary.replace(self._partial / _BUILT)
            disk.sync_directory(self._partial)

    def leave_as_it_is(self) -> None:
        """End a run that found nothing to write: names become durable, `.partial/` empty."""
        self.sync_directories()
        self._discard()

    def leave(self) -> None:
        """Take away what isn't worth keeping; unfinished transfers are.

        `.partial/` stays, too, where it is all that tells a stopped first run from somebody
        else's directory.
        """
        with suppress(OSError):
            for path in self._partial.glob(f"{_TEMPORARY}*"):
                path.unlink()
            left = {path.name for path in self._partial.iterdir()} - {_LOCK}
            files = {path.name for path in self.store.directory.iterdir()} - {PARTIAL}
            if not left and files and MANIFEST not in files:
                self._partial.joinpath(_NEXT).touch()

    def _check_complete(self, manifest: Manifest, documents: Mapping[ArchivePath, bytes]) -> None:
        described = {path for path, entry in manifest.files.items() if entry.origin is None}
        if described != documents.keys():
            raise ValueError("the manifest describes other metadata than there is")
        for path, data in documents.items():
            if manifest.files[path].sha256 != hashlib.sha256(data).hexdigest():
                raise ValueError(f"the manifest has another digest for `{path}`")

    def _check_recorded(self, path: ArchivePath) -> None:
        if path not in self._recorded and path not in self._own:
            raise ValueError(f"`{path}` isn't recorded")

    def _before_changing(self, path: ArchivePath) -> None:
        """Put the manifest aside, durably, before the first change to what it records."""
        if path not in self._recorded:
            return
        with self._guard:
            if self._aside:
                return
            current = self.store.directory / MANIFEST
            with disk.storing(current):
                with suppress(FileNotFoundError):
                    current.replace(self._partial / MANIFEST)
                disk.sync_directory(self._partial)
                disk.sync_directory(self.store.directory)
            self._aside = True

    def _make_way(self, path: ArchivePath) -> Path:
        destination = self.store.path(path)
        parts = path.split("/")[:-1]
        directory = self.store.directory
        for part in parts:
            above, directory = directory, directory / part
            if directory not in self._directories:
                with disk.storing(directory):
                    directory.mkdir(exist_ok=True)
                self.store._check_directory(directory)  # noqa: SLF001 - same module
                self._directories[above] = None
                self._directories[directory] = None
        return destination

    def _write_temporary(self, content: bytes) -> Path:
        with self._guard:
            self._temporary += 1
            path = self._partial / f"{_TEMPORARY}{self._temporary}"
        with disk.storing(path):
            disk.write_new(path, content)
        return path

    def _plan(self, paths: Collection[ArchivePath]) -> None:
        """Write down which metadata there may be from now on, for the run after a stopped one."""
        temporary = self._write_temporary(json.dumps(sorted({*self._own, *paths})).encode())
        with disk.storing(self._partial):
            temporary.replace(self._partial / _NEXT)
            disk.sync_directory(self._partial)

    def _planned(self) -> set[ArchivePath]:
        """Return the metadata that a stopped run may have left."""
        with suppress(ArchiveError, ValueError, RecursionError):
            content = disk.read_plain(self._partial / _NEXT, limit=LARGEST)
            match json.loads(content or b"[]"):
                case list(texts):
                    paths = {parse_path(text) for text in texts if isinstance(text, str)}
                    return {path for path in paths if is_metadata(path)}
                case _:
                    pass
        return set()

    def _replace_manifest(self, temporary: Path) -> None:
        destination = self.store.directory / MANIFEST
        with disk.storing(destination):
            temporary.replace(destination)
            disk.sync_directory(self.store.directory)
        self._aside = False

    def _read(self, path: ArchivePath) -> bytes | None:
        with suppress(ArchiveError):  # A link or a pipe is replaced.
            return disk.read_plain(self.store.path(path), limit=_LARGEST_METADATA)
        return None

    def _exists(self, path: ArchivePath) -> bool:
        return os.path.lexists(self.store.path(path))

    def _clean_partial(self) -> None:
        """Remove what this program doesn't leave there; a link would lead its writes outside."""
        for path in self._entries():
            with disk.storing(path, doing="removed"):
                status = path.lstat()
                if stat.S_ISDIR(status.st_mode):
                    shutil.rmtree(path)
                elif (
                    not stat.S_ISREG(status.st_mode)
                    or status.st_nlink > 1
                    or path.name.startswith(_TEMPORARY)
                ):
                    path.unlink()

    def _discard(self) -> None:
        """Remove what only an unfinished archive has."""
        for path in self._entries():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)  # The archive is complete without it.
                continue
            with disk.storing(path, doing="removed"):
                path.unlink()
        # A stopped run may have left directories empty, so all of them are tried.
        with suppress(OSError):
            for directory in (self.store.directory / INDEX).iterdir():
                with suppress(OSError):
                    directory.rmdir()
        for name in DIRECTORIES:
            with suppress(OSError):
                (self.store.directory / name).rmdir()

    def _entries(self) -> list[Path]:
        with disk.storing(self._partial, doing="read"):
            return [path for path in self._partial.iterdir() if path.name != _LOCK]


@lru_cache(maxsize=2)
def _parsed(content: bytes) -> Manifest:
    """Read a manifest; one run asks several times, and it has an entry for every file."""
    return from_json(content)


@contextmanager
def _owned() -> Iterator[None]:
    """Say at the outset, as a fault of the request, that nothing can be written."""
    try:
        yield
    except StorageError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _NOT_YOURS:
            raise ArchiveError(error.message, hint=error.hint) from cause
        raise
