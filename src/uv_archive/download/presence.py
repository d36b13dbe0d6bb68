"""What already lies in the archive: every file of interest, with the digests of its bytes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from uv_archive.archive.disk import storing
from uv_archive.archive.quick_check import QuickCheck
from uv_archive.archive.store import FileState, Store
from uv_archive.digest import Digest
from uv_archive.plan import Present, Wanted

_BLOCK = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class _Task:
    path: str
    state: FileState
    algorithms: tuple[str, ...]


def present_files(
    store: Store,
    wanted: Iterable[Wanted],
    *,
    recorded: Collection[str],
    known: Mapping[str, Present],
    quick_check: QuickCheck,
    verify: bool,
    jobs: int,
    hashing: Callable[[int], None],
) -> Mapping[str, Present]:
    """Return the files of interest that are there: those wanted, and those *recorded*.

    Those *known* were looked at or brought a moment ago. Another one that didn't change since it
    was hashed isn't hashed again, unless *verify* says so.
    *hashing* is told how many files are. Raises `StorageError` for what can't be read.
    """
    algorithms: dict[str, set[str]] = {path: {"sha256"} for path in recorded}
    for one in wanted:
        algorithms.setdefault(one.path, {"sha256"})
        if one.digest is not None:
            algorithms[one.path].add(one.digest.algorithm)
    found: dict[str, Present] = {}
    tasks = []
    if not algorithms:
        return found
    for path, state in store.scan().files.items():
        if path not in algorithms:
            continue
        if path in known:
            found[path] = known[path]
            continue
        unchanged = None if verify else quick_check.known_digest(path, state)
        if unchanged is not None and algorithms[path] == {"sha256"}:
            digests = frozenset({Digest("sha256", unchanged)})
            found[path] = Present(path=path, size=state.size, digests=digests)
        else:
            wanted_algorithms = tuple(sorted(algorithms[path]))
            tasks.append(_Task(path=path, state=state, algorithms=wanted_algorithms))
    if tasks:
        hashing(len(tasks))
        with ThreadPoolExecutor(max_workers=min(jobs, os.cpu_count() or 1)) as pool:
            hashed = pool.map(lambda task: _hash(store.directory / task.path, task), tasks)
            for task, present in zip(tasks, hashed, strict=True):
                found[task.path] = present
                sha256 = next(d.hex for d in present.digests if d.algorithm == "sha256")
                quick_check.record(task.path, task.state, sha256, now=time.time_ns())
    return found


def _hash(path: Path, task: _Task) -> Present:
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in task.algorithms}
    with storing(path, doing="read"), path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            for hasher in hashers.values():
                hasher.update(block)
    digests = frozenset(Digest(name, hasher.hexdigest()) for name, hasher in hashers.items())
    return Present(path=task.path, size=task.state.size, digests=digests)
