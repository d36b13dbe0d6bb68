"""One run at a time: a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uv_archive.archive.disk import storing
from uv_archive.archive.locking import hold, wait
from uv_archive.errors import ArchiveError

_MOST_ATTEMPTS = 1000


@contextmanager
def exclusive(path: Path, *, notify: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file *path*, waiting for another holder; it is gone afterwards.

    *notify* is told who is waited for, and where the file system has no locks. It may raise to
    give up. Everything that makes the lock file's directory has to be inside, too: the holder
    before may take it away. Raises `ArchiveError` and `StorageError`.
    """
    descriptor = _acquire(path, notify)
    try:
        yield
    finally:
        if os.name == "nt":
            os.close(descriptor)  # An open file can't be removed there.
        with suppress(OSError):
            path.unlink()
        if os.name != "nt":
            os.close(descriptor)


def _acquire(path: Path, notify: Callable[[str], None]) -> int:
    told = False
    while True:
        with storing(path):
            descriptor = _open(path)
        try:
            with storing(path, doing="locked"):
                got = hold(descriptor)
            if got is False:
                if not told:
                    notify(_waiting(descriptor, path))
                    told = True
                with storing(path, doing="locked"):
                    wait(descriptor)
            if _is_still(descriptor, path):
                if got is None:
                    notify(f"`{path.parent.parent}` can't be locked; start no second run there")
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The holder took the file away, so it locks nothing any more.
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock file, making it and its directory, which another run may take away again."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    attempts = 0
    while True:
        attempts += 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o666)
        except (FileNotFoundError, FileExistsError):
            # There are places where nothing can be made, and that say so in these words.
            in_the_way = (os.path.lexists(above) and not above.is_dir() for above in path.parents)
            if attempts > _MOST_ATTEMPTS or any(in_the_way):
                raise
            continue  # The holder before took the directory away in between.
        state = os.fstat(descriptor)
        # A link would have this process write into a file outside the archive.
        if stat.S_ISREG(state.st_mode) and state.st_nlink <= 1:
            return descriptor
        os.close(descriptor)
        raise ArchiveError(f"`{path}` isn't a plain file", hint="Remove it")


def _is_still(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        here, there = os.fstat(descriptor), path.lstat()
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    return False


def _sign(descriptor: int) -> None:
    """Write down who holds the lock, for the message of whoever waits for it."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, str(os.getpid()).encode())


def _waiting(descriptor: int, path: Path) -> str:
    holder = ""
    with suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = os.read(descriptor, 20).decode(errors="replace")
    process = f" (process {holder})" if holder.isdecimal() else ""
    return f"Another run{process} is at work in `{path.parent.parent}`; waiting for it to end"
