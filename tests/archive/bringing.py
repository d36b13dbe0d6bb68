"""A download without a network, to disturb: what is wanted comes from memory.

As a program: `python -m tests.archive.bringing DIRECTORY [WAIT]` brings the sample files, after
so many seconds with the archive to itself, or with `-`, when its input ends.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.archive.samples import contents, entries, hexdigest, metadata
from uv_archive.archive.disk import storing
from uv_archive.archive.layout import MANIFEST, PARTIAL, ArchivePath
from uv_archive.archive.manifest import JSONObject
from uv_archive.archive.store import Store
from uv_archive.errors import UvArchiveError

Files = Mapping[ArchivePath, bytes]


def bring(
    directory: Path,
    files: Files,
    *,
    requests: tuple[JSONObject, ...] = ({"groups": ["dev"]},),
    prune: bool = False,
    lock: bytes = b"version = 1\n",
    notify: Callable[[str], None] = lambda _: None,
    inside: Callable[[], None] = lambda: None,
) -> bool:
    """Make an archive of *files*, as `download` does; return whether anything was recorded."""
    store = Store.open(directory)
    with store.writing(notify=notify) as writer:
        inside()
        recorded = store.recorded()
        present = store.scan().files
        for path, content in files.items():
            if path not in present or store.path(path).read_bytes() != content:
                partial = writer.partial(hexdigest(content))
                with storing(partial), partial.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                writer.commit(partial, path)
        made = metadata(entries(files), requests=requests, lock=lock)
        before = recorded.distributions.keys() if recorded else set()
        return writer.finish(
            made.manifest, made.documents, remove=before - files.keys() if prune else ()
        )


def tree(directory: Path) -> dict[str, bytes]:
    """Return every file of a directory with its bytes, and its empty directories."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
        if path.is_file() or not any(path.iterdir())
    }


def untruths(directory: Path, known: Mapping[str, set[bytes]]) -> list[str]:
    """Say what an archive must not have, at any instant.

    *known* has, for each name of a distribution, what it may hold.
    """
    found: list[str] = []
    if not directory.exists():
        return found
    there = {path: data for path, data in tree(directory).items() if not is_partial(path)}
    for path, data in there.items():
        if path in known and data not in known[path]:
            found.append(f"`{path}` isn't complete")
    if MANIFEST in there:
        try:
            files = Store(directory).manifest().files
        except UvArchiveError as error:
            return [*found, error.message]
        for path, entry in files.items():
            if hexdigest(there.get(path, b"missing")) != entry.sha256:
                found.append(f"the manifest is wrong about `{path}`")
    return found


def is_partial(path: str) -> bool:
    return path == PARTIAL or path.startswith(f"{PARTIAL}/")


def main() -> int:
    directory = Path(sys.argv[1])
    wait = sys.argv[2] if len(sys.argv) > 2 else "0"

    def hold() -> None:
        print("holding", flush=True)
        if wait == "-":
            sys.stdin.read()
        else:
            time.sleep(float(wait))

    try:
        bring(directory, contents(), inside=hold, notify=lambda text: print(text, flush=True))
    except UvArchiveError as error:
        print(f"{type(error).__name__}: {error.message}\nhint: {error.hint}")
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
