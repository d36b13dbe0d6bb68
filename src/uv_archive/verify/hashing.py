"""Digests of many files at a time, on all processors."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from uv_archive.digest import Digest

# Bytes. It stays in a processor's own cache; smaller and larger ones were slower.
_BLOCK = 256 * 1024
# Seconds.
_SWITCH = 0.0002
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A file to read. *size* is in bytes, as it was seen; *algorithms* always has sha256."""

    path: str
    size: int
    algorithms: tuple[str, ...] = ("sha256",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hashed:
    """The digests of a file's bytes, and how many bytes there were; or why it can't be read."""

    size: int = 0
    digests: Mapping[str, Digest] | None = None
    failure: str | None = None

    @property
    def sha256(self) -> Digest | None:
        return self.digests["sha256"] if self.digests else None


class Hashing:
    """Hashes files in the background, several at a time. `hashing` makes it."""

    def __init__(self, pool: ThreadPoolExecutor, worker: _Worker) -> None:
        self._pool = pool
        self._worker = worker
        self._begun: list[tuple[Task, Future[Hashed]]] = []

    def begin(self, tasks: Iterable[Task]) -> None:
        """Begin with files; those with more algorithms than before are read again."""
        # The largest first, so that none is left for one thread at the end.
        for task in sorted(tasks, key=lambda task: -task.size):
            self._begun.append((task, self._pool.submit(self._worker, task)))

    def results(self) -> Mapping[str, Hashed]:
        """Wait for all files, and return what came of each, by path."""
        return {task.path: future.result() for task, future in self._begun}


@contextmanager
def hashing(directory: Path, *, advanced: Callable[[str, int], None]) -> Iterator[Hashing]:
    """Hash files of *directory* while something else is done.

    Links aren't followed and pipes not waited for. *advanced* is told of each file's bytes,
    from several threads.
    """
    worker = _Worker(directory, advanced)
    interval = sys.getswitchinterval()
    # A thread that has hashed a block must not wait 5 ms for one that imports or parses.
    sys.setswitchinterval(_SWITCH)
    try:
        with ThreadPoolExecutor(max_workers=_processors()) as pool:
            try:
                yield Hashing(pool, worker)
            except BaseException:
                # Whoever stops a run doesn't want to wait for a file of some gigabytes.
                worker.stopped = True
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        sys.setswitchinterval(interval)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker:
    """Hashes one file at a time in each thread, with a buffer that is the thread's own."""

    def __init__(self, directory: Path, advanced: Callable[[str, int], None]) -> None:
        self._directory = os.fspath(directory)
        self._advanced = advanced
        self._own = threading.local()
        self.stopped = False

    def __call__(self, task: Task) -> Hashed:
        try:
            descriptor = os.open(f"{self._directory}/{task.path}", _FLAGS)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return Hashed(failure="it isn't a plain file any more")
                return self._read(descriptor, task)
            finally:
                os.close(descriptor)
        except OSError as error:
            return Hashed(failure=error.strerror or str(error))

    def _read(self, descriptor: int, task: Task) -> Hashed:
        hashers = [hashlib.new(name, usedforsecurity=False) for name in task.algorithms]
        size = 0
        for block in self._blocks(descriptor):
            for hasher in hashers:
                hasher.update(block)
            size += len(block)
            self._advanced(task.path, len(block))
        digests = {
            name: Digest(name, hasher.hexdigest())
            for name, hasher in zip(task.algorithms, hashers, strict=True)
        }
        return Hashed(size=size, digests=digests)

    def _blocks(self, descriptor: int) -> Iterable[memoryview]:
        buffer = self._buffer()
        while not self.stopped and (count := _read_into(descriptor, buffer)):
            yield buffer if count == _BLOCK else buffer[:count]

    def _buffer(self) -> memoryview:
        found: memoryview | None = getattr(self._own, "buffer", None)
        if found is None:
            found = self._own.buffer = memoryview(bytearray(_BLOCK))
        return found


if hasattr(os, "readv"):

    def _read_into(descriptor: int, buffer: memoryview) -> int:
        return os.readv(descriptor, [buffer])

else:

    def _read_into(descriptor: int, buffer: memoryview) -> int:
        data = os.read(descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)
