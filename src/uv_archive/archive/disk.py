"""Durable writes, careful reads, and what a file system's refusals mean."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uv_archive.errors import ArchiveError, StorageError

_GO_ON = "then run it again: it goes on where it stopped"
_HINTS = {
    errno.ENOSPC: f"The disk is full. Make room, {_GO_ON}",
    errno.EDQUOT: f"Your quota is used up. Make room, {_GO_ON}",
    errno.EFBIG: (
        "The file is larger than the file system (FAT32: 4 GiB) or `ulimit -f` allows. "
        f"Change that, {_GO_ON}"
    ),
    errno.EROFS: "The file system is mounted read-only",
    errno.EACCES: "You lack the permission for it",
    errno.EPERM: "You lack the permission for it",
    errno.EIO: f"The device failed. Look for its errors in the system's log, and {_GO_ON[5:]}",
    errno.EMFILE: f"Too many files are open. Raise `ulimit -n` or lower `--jobs`, {_GO_ON}",
    errno.ENFILE: f"Too many files are open on this machine. Close some, {_GO_ON}",
    errno.EISDIR: f"A directory is in its place. Move it elsewhere, {_GO_ON}",
}
# What file systems answer that can't make a directory durable on request.
_NO_DIRECTORY_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES})
#: What a device or a quota refuses, whatever it is that is written there.
REFUSALS_OF_DEVICES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def storage_error(error: OSError, path: Path, *, doing: str = "written") -> StorageError:
    """Say what the file system refused, and what to do about it."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    hint = _HINTS.get(error.errno) if error.errno else None
    return StorageError(f"`{path}` can't be {doing}: {reason}", hint=hint)


@contextmanager
def storing(path: Path, *, doing: str = "written") -> Iterator[None]:
    """Turn an `OSError` into a `StorageError` about *path*."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path, doing=doing) from error


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Have a directory for things of the moment, outside of any archive.

    Raises `StorageError` for what the file system refuses there. What can't be cleared away is
    left to the system.
    """
    try:
        with tempfile.TemporaryDirectory(
            prefix="uv-archive-", ignore_cleanup_errors=True
        ) as directory:
            yield Path(directory)
    except BrokenPipeError:
        raise  # Nobody reads what is said any more, which has nothing to do with files.
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError(
            f"Temporary files can't be written to `{error.filename or tempfile.gettempdir()}`: "
            f"{reason}",
            hint="Make room there, or name another directory in `TMPDIR`",
        ) from error


def sync_file(descriptor: int) -> None:
    """Make what was written to a file durable. A failure is final: the bytes may be lost."""
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, where the file system can."""
    if os.name == "nt":
        return  # Windows opens no directories; NTFS keeps names in order in its journal.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that doesn't exist yet, and make its bytes durable."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        sync_file(file.fileno())


def read_plain(path: Path, *, limit: int) -> bytes | None:
    """Return the bytes of a plain file, or `None` if nothing is there.

    No link is followed and no pipe waited for. Raises `ArchiveError` for whatever isn't a
    plain file of at most *limit* bytes, and `StorageError`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | _BINARY)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # A link; a socket.
            raise _not_plain(path) from error
        raise storage_error(error, path, doing="read") from error
    with storing(path, doing="read"):
        # Of a directory no file object can be made.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _not_plain(path)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(limit + 1)
    if len(content) > limit:
        raise ArchiveError(f"`{path}` is larger than {limit // 2**20} MiB")
    return content


def free_bytes(path: Path) -> int:
    """Return how many bytes can be written where *path* is, or will be."""
    nearest = path.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    with storing(nearest, doing="looked at"):
        return shutil.disk_usage(nearest).free


def _not_plain(path: Path) -> ArchiveError:
    return ArchiveError(
        f"`{path}` isn't a plain file",
        hint="Archives have no links. Copy the archive again so that links become files",
    )
