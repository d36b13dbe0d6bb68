"""Locks on open files, that the kernel drops when their holder dies."""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

# What file systems answer that have no locks, such as some network file systems.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

if sys.platform == "win32":
    import msvcrt

    # Far behind the content: Windows doesn't let others read what is locked.
    _PLACE = 2**30
    _PAUSE = 0.1

    def hold(descriptor: int) -> bool | None:
        """Lock an open file, unless somebody else has; `None` where there are no locks.

        Raises `OSError`.
        """
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            return None
        return True

    def wait(descriptor: int) -> None:
        """Lock an open file as soon as nobody else does."""
        while hold(descriptor) is False:
            time.sleep(_PAUSE)

else:
    import fcntl

    def hold(descriptor: int) -> bool | None:
        """Lock an open file, unless somebody else has; `None` where there are no locks.

        Raises `OSError`.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return None
        return True

    def wait(descriptor: int) -> None:
        """Lock an open file as soon as nobody else does."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_held(path: Path) -> bool:
    """Whether another open file holds the lock of the file at *path*, as far as can be known."""
    with suppress(OSError), path.open("r+b") as file:
        return hold(file.fileno()) is False
    return False
