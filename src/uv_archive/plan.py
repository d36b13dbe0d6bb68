"""The plan: what an archive keeps, fetches and gives up, decided before anything is done.

Pure: what is wanted and what is there come in as values, the decision goes out as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    for one in wanted:
        found = present.get(one.path)
        if found is not None and _is_right(one, found):
            keep.append((found, one))
        elif (elsewhere := _elsewhere(one, spare)) is not None:
            move.append((spare.pop(elsewhere.path), one))
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
    if wanted.digest is not None:
        return wanted.digest in found.digests
    return wanted.recorded is not None and Digest("sha256", wanted.recorded) in found.digests


def _elsewhere(wanted: Wanted, spare: Mapping[str, Present]) -> Present | None:
    return next((found for found in spare.values() if _is_right(wanted, found)), None)
