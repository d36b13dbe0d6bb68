"""The plan: what an archive keeps, fetches and gives up, decided before anything is done.

Pure: what is wanted and what is there come in as values, the decision goes out as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from uv_archive.digest import Digest
from uv_archive.lock.model import LocalPath
from uv_archive.url import Url


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A file the archive shall have.

    *path* is relative to the archive, with `/`. *digest* is what the lock or a resolution
    says of it; without one, *recorded*, the sha256 that an earlier run recorded, decides
    whether a file that is there will do. *size* is in bytes, where it is known.
    """

    path: str
    origin: Url | LocalPath
    digest: Digest | None
    size: int | None = None
    recorded: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Present:
    """A regular file that lies in the archive: its size in bytes, and the digests known of it."""

    path: str
    size: int
    digests: frozenset[Digest]

    @property
    def sha256(self) -> str:
        """The sha256 in hexadecimal, which is always among the digests."""
        return next(digest.hex for digest in self.digests if digest.algorithm == "sha256")


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """A file that isn't what it should be and is fetched again."""

    wanted: Wanted
    found: Present


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do: every wanted file is kept, moved, fetched or replaced.

    *keep* and *move* have the present file and the wanted one whose bytes it holds. *spare* are
    files that were recorded and that nothing wants any more.
    """

    keep: tuple[tuple[Present, Wanted], ...]
    move: tuple[tuple[Present, Wanted], ...]
    fetch: tuple[Wanted, ...]
    replace: tuple[Replacement, ...]
    spare: tuple[Present, ...]

    @property
    def transfers(self) -> tuple[Wanted, ...]:
        """Everything that has to be brought, in order of path."""
        brought = (*self.fetch, *(replacement.wanted for replacement in self.replace))
        return tuple(sorted(brought, key=lambda wanted: wanted.path))


def plan(
    wanted: Sequence[Wanted],
    present: Mapping[str, Present],
    *,
    recorded: Sequence[str] = (),
) -> Plan:
    """Decide for each wanted file what becomes of it, and which *recorded* ones are spare.

    A file that is there but has other bytes is replaced; one whose bytes lie under another
    path that nothing wants is moved. Files that were never recorded are left alone.
    """
    keep: list[tuple[Present, Wanted]] = []
    fetch: list[Wanted] = []
    replace: list[Replacement] = []
    move: list[tuple[Present, Wanted]] = []
    paths = {one.path for one in wanted}
    spare = {path: present[path] for path in recorded if path in present and path not in paths}
    holders = _by_digest(spare.values())
    for one in wanted:
        found = present.get(one.path)
        if found is not None and _is_right(one, found):
            keep.append((found, one))
        elif elsewhere := [path for path in holders.get(_digest(one), ()) if path in spare]:
            move.append((spare.pop(elsewhere[0]), one))
        elif found is not None:
            replace.append(Replacement(wanted=one, found=found))
        else:
            fetch.append(one)
    return Plan(
        keep=tuple(keep),
        move=tuple(move),
        fetch=tuple(fetch),
        replace=tuple(replace),
        spare=tuple(spare[path] for path in sorted(spare)),
    )


def _is_right(wanted: Wanted, found: Present) -> bool:
    return _digest(wanted) in found.digests


def _digest(wanted: Wanted) -> Digest | None:
    """Return what the file's bytes have to have."""
    if wanted.digest is None and wanted.recorded is not None:
        return Digest("sha256", wanted.recorded)
    return wanted.digest


def _by_digest(files: Iterable[Present]) -> Mapping[Digest | None, Sequence[str]]:
    """Return the paths of files by each of their digests."""
    found: defaultdict[Digest | None, list[str]] = defaultdict(list)
    for file in files:
        for digest in file.digests:
            found[digest].append(file.path)
    return found
