"""Locks that are mutated, and all that a download decides of them before it does anything.

As a program: `python -m tests.lock.hostile FROM TO` carries out the mutations of those numbers, and
prints what came of them as JSON. Whatever is opened for writing, made, removed, started or
connected to meanwhile is counted.
"""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w
from packaging.utils import canonicalize_name

from tests.lock.test_hostile import EVERYTHING, mutate
from uv_archive.archive.layout import parse_path, place
from uv_archive.archive.locked import without_secrets
from uv_archive.errors import UvArchiveError
from uv_archive.lock import parse_lock
from uv_archive.lock.relocate import relocate
from uv_archive.request import Request
from uv_archive.selection import Include
from uv_archive.target import Python, Target, platform_named

#: No lock of this size may take longer; the whole of it takes some milliseconds.
SECONDS = 5.0
_CHANGING = frozenset(
    {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
    | {"os.chmod", "os.system", "subprocess.Popen", "socket.connect", "os.exec", "os.fork"}
)
_PROJECT = canonicalize_name("project")
_HERE = Target(python=Python(major=3, minor=12, micro="0"), platform=platform_named("linux"))
REQUESTS = (
    Request(project=_PROJECT, targets=(_HERE,)),
    Request(project=_PROJECT, include=Include(all_extras=True, all_groups=True)),
)


@dataclass(kw_only=True)
class Tally:
    """What became of mutations: how many were read and refused, and what was wrong."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    effects: Counter[str] = field(default_factory=Counter)

    @property
    def tried(self) -> int:
        return self.read + self.refused


def decide(content: bytes) -> None:
    """Take every step of a download that is decided by the lock. Raises `UvArchiveError`."""
    lock = parse_lock(content)
    for path in place(lock).values():
        parse_path(path)
    for request in REQUESTS:
        request.select(lock, ())
    relocate(lock, files={}, project_root=Path("/project"))
    without_secrets(content)


def mutated(number: int) -> bytes:
    chance = random.Random(number)
    table = copy.deepcopy(EVERYTHING)
    for _ in range(chance.randint(1, 6)):
        mutate(table, chance)
    return tomli_w.dumps(table).encode(errors="surrogatepass")


def mutations(numbers: Iterable[int]) -> Tally:
    """Try them all."""
    tally = Tally()
    watched = _watch(tally.effects)
    for number in numbers:
        content = mutated(number)
        began = time.process_time()
        watched.append(True)
        try:
            decide(content)
            tally.read += 1
        except UvArchiveError as error:
            tally.refused += 1
            said = f"{error.message}\n{error.hint or ''}"
            if not error.message or error.message.count("\n") > 20 or len(said) > 20_000:
                tally.wrong.append(f"{number}: says too much or too little")
        except Exception:  # noqa: BLE001 - counted
            tally.wrong.append(f"{number}: {traceback.format_exc(limit=-2)}")
        finally:
            watched.pop()
        took = time.process_time() - began
        tally.slowest = max(tally.slowest, took)
        if took > SECONDS:
            tally.wrong.append(f"{number}: took {took:.1f} s")
    tally.wrong += [f"{event}: {count} times" for event, count in tally.effects.items()]
    return tally


def _watch(effects: Counter[str]) -> list[bool]:
    """Count what changes anything as long as the list that is returned has something in it."""
    watching: list[bool] = []

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if not watching:
            return
        if event in _CHANGING:
            effects[event] += 1
        if event == "open" and len(arguments) == 3:
            flags = arguments[2]
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                effects[f"open {arguments[0]!r}"] += 1

    sys.addaudithook(hear)
    return watching


def main() -> int:
    tally = mutations(range(int(sys.argv[1]), int(sys.argv[2])))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    said = {
        "trials": tally.tried,
        "read": tally.read,
        "slowest": tally.slowest,
        "mebibytes": memory,
        "wrong": tally.wrong,
    }
    print(json.dumps(said))
    return 1 if tally.wrong or not tally.tried else 0


if __name__ == "__main__":
    raise SystemExit(main())
