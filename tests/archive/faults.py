"""File systems that fail, and processes that die, at a chosen call.

As a program: `python -m tests.archive.faults DIRECTORY` kills a run at every call that changes
anything, and prints what came of it.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

import pytest
from typing_extensions import Buffer

from tests.archive.bringing import Files, bring, tree, untruths
from tests.archive.samples import contents
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import JSONObject

P = ParamSpec("P")
T = TypeVar("T")

#: What pathlib and this program call to change anything, or to make it durable; writing is another.
CALLS = ("replace", "unlink", "mkdir", "rmdir", "fsync", "ftruncate", "open")


@contextmanager
def at_call(number: int, act: Callable[[str], None]) -> Iterator[Callable[[], int]]:
    """Call *act* instead of the call of that number, from 1; yield how many there were."""
    count = 0

    def disturbed(name: str, original: Callable[P, T]) -> Callable[P, T]:
        def call(*arguments: P.args, **options: P.kwargs) -> T:
            nonlocal count
            count += 1
            if count == number:
                act(name)
            return original(*arguments, **options)

        return call

    class Written(io.FileIO):
        """A file of which half of what is to be written arrives before the disturbance."""

        def write(self, data: Buffer, /) -> int:
            nonlocal count
            count += 1
            if count == number:
                super().write(memoryview(data)[: memoryview(data).nbytes // 2])
                act("write")
            return super().write(data)

    fdopen, open_path, write = os.fdopen, Path.open, os.write

    def write_half(descriptor: int, data: Buffer) -> int:
        nonlocal count
        if descriptor > 2:
            count += 1
            if count == number:
                write(descriptor, memoryview(data)[: memoryview(data).nbytes // 2])
                act("write")
        return write(descriptor, data)

    def fdopen_written(descriptor: int, mode: str = "r", buffering: int = -1) -> IO[bytes]:
        if buffering == 0 and "+" in mode:
            return Written(descriptor, mode)
        return fdopen(descriptor, mode, buffering)

    def open_written(path: Path, mode: str = "r", *arguments: int, **options: str) -> object:
        if mode not in {"xb", "wb"}:
            return open_path(path, mode, *arguments, **options)  # type: ignore[call-overload]
        return io.BufferedWriter(disturbed("open", Written)(path, mode))

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, disturbed(name, getattr(os, name)))
        patch.setattr(os, "write", write_half)
        patch.setattr(os, "fdopen", fdopen_written)
        patch.setattr(Path, "open", open_written)
        yield lambda: count


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one run wants of the archive that the run before left."""

    name: str
    files: Files
    requests: tuple[JSONObject, ...]
    prune: bool = False
    lock: bytes = b"version = 1\n"


def _all_steps() -> Iterator[Step]:
    first: JSONObject = {"groups": ["dev"]}
    second: JSONObject = {"groups": ["gpu"]}
    files = contents(3)
    yield Step(name="first", files=files, requests=(first,))
    more = {**files, ArchivePath("index/89abcdef/twin-1.0-py3-none-any.whl"): b"a third"}
    yield Step(name="second", files=more, requests=(first, second))
    changed = dict(more)
    del changed[ArchivePath("part1-1.0-py3-none-any.whl")]
    del changed[ArchivePath("index/89abcdef/twin-1.0-py3-none-any.whl")]
    changed[ArchivePath("part0-1.0-py3-none-any.whl")] = b"other bytes of the same name"
    yield Step(
        name="changed",
        files=changed,
        requests=(second,),
        prune=True,
        lock=b"version = 1\nrevision = 3\n",
    )


STEPS = tuple(_all_steps())
#: What a file under its final name may hold.
KNOWN: dict[str, set[bytes]] = {}
for _step in STEPS:
    for _path, _content in _step.files.items():
        KNOWN.setdefault(_path, set()).add(_content)


def step(directory: Path, number: int) -> None:
    """Bring what one step wants."""
    one = STEPS[number]
    bring(directory, one.files, requests=one.requests, prune=one.prune, lock=one.lock)


def references(directory: Path) -> list[Path]:
    """Make the archives that undisturbed steps give."""
    made = []
    current = directory / "undisturbed"
    for number in range(len(STEPS)):
        step(current, number)
        copy = directory / f"reference-{number}"
        shutil.copytree(current, copy)
        made.append(copy)
    return made


def disturbances(
    directory: Path, disturb: Callable[[Path, int, int], bool]
) -> Iterator[tuple[str, int, list[str]]]:
    """Disturb every step at every call, and yield what is wrong afterwards.

    *disturb* gets the archive, the step and the number of the call, and returns whether there
    was a call of that number.
    """
    made = references(directory)
    for number, one in enumerate(STEPS):
        for call in itertools.count(1):
            archive = directory / "disturbed"
            shutil.rmtree(archive, ignore_errors=True)
            if number:
                shutil.copytree(made[number - 1], archive)
            if not disturb(archive, number, call):
                break
            wrong = untruths(archive, KNOWN)
            step(archive, number)
            if tree(archive) != tree(made[number]):
                wrong.append("a second run gives another archive")
            yield one.name, call, wrong


def kill(archive: Path, number: int, call: int) -> bool:
    """Run a step in a child that dies at a call."""
    child = os.fork()
    if child == 0:
        with at_call(call, lambda _: os.kill(os.getpid(), signal.SIGKILL)):
            step(archive, number)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main() -> int:
    kills, wrong = 0, []
    for name, call, untrue in disturbances(Path(sys.argv[1]), kill):
        kills += 1
        wrong += [f"{name}, call {call}: {text}" for text in untrue]
    print(f"{kills} kills, {len(wrong)} wrong")
    print("\n".join(wrong))
    return 1 if wrong or not kills else 0


if __name__ == "__main__":
    raise SystemExit(main())
