"""A file that isn't complete yet: its bytes on disk, and the hash of what is there."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Self

from uv_archive.digest import Digest
from uv_archive.errors import StorageError

_BLOCK = 1024 * 1024
# A file of 1 GB that is made durable only at its end is waited for as long as it was fetched.
_SEND_OFF = 64 * 1024 * 1024
_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_HINTS = {
    errno.ENOSPC: "free some space and run it again: it goes on from where it stopped",
    errno.EDQUOT: "free some of your quota and run it again: it goes on from where it stopped",
    errno.EFBIG: "the file system or a limit (`ulimit -f`) allows no file of this size",
    errno.EMFILE: "allow more open files (`ulimit -n`), or fewer transfers at a time",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the device failed: look for its errors in the system's log",
    errno.EPERM: "give yourself the right to write there",
    errno.ENFILE: "too many files are open on this machine: close some",
    errno.EACCES: "give yourself the right to write there",
}


class PartialFile:
    """The beginning of a file, written and hashed as it comes. Belongs to one thread.

    Its hashes are always those of exactly its bytes. Raises `StorageError`.
    """

    def __init__(self, path: Path, digest: Digest | None) -> None:
        """Open or make the file; what an earlier run left in it isn't read yet."""
        self._path = path
        self._digest = digest
        self.size = 0  # bytes that are hashed
        self._sent_off = 0  # bytes that were told to go to the disk
        self._on_the_way: _InBackground | None = None
        self._file: int | None
        with storage(path):
            self._file, self.on_disk = _opened(path)
        self._reset_hashes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._await_disk()
        with suppress(OSError):
            self._close()

    def take_up(self, keep_going: Callable[[], None]) -> None:
        """Hash what is there. *keep_going* raises when the work was called off."""
        with storage(self._path):
            while self.size < self.on_disk and (block := os.read(self._descriptor, _BLOCK)):
                keep_going()
                self._hash(block)

    def append(self, chunk: bytes | memoryview) -> None:
        self._hash(chunk)
        with storage(self._path):
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self.on_disk = max(self.on_disk, self.size)
        if self.size - self._sent_off >= _SEND_OFF:
            self._send_off()

    def clear(self) -> None:
        """Go back to nothing."""
        if self.size == self.on_disk == 0:
            return
        with storage(self._path):
            self._await_disk()
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.ftruncate(self._descriptor, 0)
        self.size = self.on_disk = self._sent_off = 0
        self._reset_hashes()

    def remove(self) -> None:
        """Close the file and take it away: its bytes are of no use."""
        with suppress(OSError):
            self._await_disk()
        with storage(self._path):
            self._close()
            self._path.unlink(missing_ok=True)

    def make_durable(self) -> None:
        """See to it that the bytes survive a power failure, and close the file."""
        try:
            with storage(self._path):
                self._await_disk()
                os.fsync(self._descriptor)
                self._close()
        except StorageError:
            # What isn't on the disk may look as if it were when it is read back.
            with suppress(OSError):
                self._path.unlink()
            raise

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def locked_hex(self) -> str | None:
        """The value of the lock's algorithm, if the lock has a digest."""
        if self._digest is None:
            return None
        return (self._other or self._sha256).hexdigest()

    @property
    def _descriptor(self) -> int:
        if self._file is None:
            raise ValueError("the file is closed")
        return self._file

    def _close(self) -> None:
        descriptor, self._file = self._file, None
        if descriptor is not None:
            os.close(descriptor)

    def _send_off(self) -> None:
        """Have the disk begin with what is there, so that little is left to wait for at the end."""
        with storage(self._path):
            self._await_disk()
        self._sent_off = self.size
        self._on_the_way = _InBackground(os.fsync, self._descriptor)

    def _await_disk(self) -> None:
        # A failure is told once for each open file: whoever asks first has to pass it on.
        way, self._on_the_way = self._on_the_way, None
        if way is None:
            return
        try:
            way.finish()
        except OSError:
            # The next run must not go on from bytes that only look as if they were on the disk.
            with suppress(OSError):
                self._path.unlink()
            raise

    def _hash(self, block: bytes | memoryview) -> None:
        self._sha256.update(block)
        if self._other is not None:
            self._other.update(block)
        self.size += len(block)

    def _reset_hashes(self) -> None:
        self._sha256 = sha256()
        other = self._digest is not None and self._digest.algorithm != "sha256"
        self._other = self._digest.hasher() if self._digest is not None and other else None


class _InBackground:
    """A call in a thread of its own, whose `OSError` is raised where it is waited for."""

    def __init__(self, work: Callable[[int], None], argument: int) -> None:
        self._trouble: OSError | None = None
        self._thread = threading.Thread(target=self._run, args=(work, argument), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        self._thread.join()
        if self._trouble is not None:
            raise self._trouble

    def _run(self, work: Callable[[int], None], argument: int) -> None:
        try:
            work(argument)
        except OSError as error:
            self._trouble = error


def _opened(path: Path) -> tuple[int, int]:
    """Open a file of one's own and return its descriptor and size; as a rule it is a new one."""
    flags = os.O_RDWR | os.O_CREAT | _FLAGS
    # Each call into the system lets another thread go first: a new file needs no more than one.
    with suppress(FileExistsError):
        return os.open(path, flags | os.O_EXCL, 0o666), 0
    _remove_unless_plain(path)
    descriptor = os.open(path, flags, 0o666)
    return descriptor, os.fstat(descriptor).st_size


def _remove_unless_plain(path: Path) -> None:
    """Take away what would lead the bytes somewhere else: links, pipes, files with two names."""
    with suppress(FileNotFoundError):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            path.unlink()


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Raise `StorageError` for what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"`{path}` can't be written: {error.strerror or error}",
            hint=_HINTS.get(error.errno or 0),
        ) from error
