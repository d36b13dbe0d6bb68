"""What an archive supplies to a sync: which of its files stands for which distribution."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import NormalizedName

from uv_archive.archive.disk import read_plain
from uv_archive.archive.layout import MANIFEST, ArchivePath, place
from uv_archive.archive.manifest import (
    LARGEST,
    BuildRequirement,
    BuiltFrom,
    Entry,
    Manifest,
    from_json,
)
from uv_archive.digest import Digest
from uv_archive.errors import ArchiveError, LockError
from uv_archive.lock.model import Distribution, Lock, Package
from uv_archive.lock.reader import read_lock
from uv_archive.project import Project

_CHUNK = 1024 * 1024
_MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Supplied:
    """A file, its absolute path, what its bytes have to be, and whether the lock says so."""

    name: str
    path: Path
    digest: Digest
    locked: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """An archive that is for the lock at hand.

    *build_requirements* has files by name, *built* has wheels by the sha256 of their sdist.
    """

    directory: Path
    manifest: Manifest
    places: Mapping[Distribution, ArchivePath]
    build_requirements: Mapping[NormalizedName, Sequence[Supplied]]
    built: Mapping[str, Sequence[Supplied]]

    def of(self, distribution: Distribution) -> Supplied | None:
        """Return the archive's file for *distribution*, if it recorded one.

        The lock's digest decides, where it has a secure one, and the archive's own where not.
        """
        path = self.places[distribution]
        entry = self.manifest.files.get(path)
        if entry is None:
            return None
        return _supplied(self.directory, path, entry, distribution.digest)

    def built_wheels(self, package: Package) -> Sequence[Supplied]:
        """Return the wheels that were built from the sdist of *package*."""
        sdist = self.of(package.sdist) if package.sdist and self.built else None
        return self.built.get(sdist.digest.hex, ()) if sdist else ()


def open_supply(
    directory: Path, *, lock: Lock, project: Project, expect: Digest | None = None
) -> Supply:
    """Read the archive in *directory*, and check that it is for *lock*.

    *expect* is what the archive's digest has to be. Raises `ArchiveError` and `StorageError`.
    """
    manifest = _read_manifest(directory)
    if expect is not None and expect != Digest("sha256", manifest.digest):
        raise ArchiveError(
            f"The archive in `{directory}` has the digest sha256:{manifest.digest}, not {expect}",
            hint="It was changed on the way, or it is another one: copy it again",
        )
    if manifest.lock.sha256 != lock.sha256:
        _check_same(directory, manifest, lock=lock, project=project)
    places = place(lock)
    digests = {path: distribution.digest for distribution, path in places.items()}
    requirements: defaultdict[NormalizedName, list[Supplied]] = defaultdict(list)
    built: defaultdict[str, list[Supplied]] = defaultdict(list)
    for path, (entry, origin) in sorted(manifest.distributions.items()):
        supplied = _supplied(directory, path, entry, digests.get(path))
        if any(isinstance(why, BuildRequirement) for why in origin.why):
            requirements[origin.name].append(supplied)
        for why in origin.why:
            if isinstance(why, BuiltFrom):
                built[why.sha256].append(supplied)
    return Supply(
        directory=directory,
        manifest=manifest,
        places=places,
        build_requirements=requirements,
        built=built,
    )


def _supplied(directory: Path, path: ArchivePath, entry: Entry, digest: Digest | None) -> Supplied:
    """Make a file of the archive; *digest* is the lock's."""
    locked = digest is not None and digest.is_secure
    return Supplied(
        name=path.rpartition("/")[2],
        path=directory / path,
        digest=digest if digest and locked else Digest("sha256", entry.sha256),
        locked=locked,
    )


def _read_manifest(directory: Path) -> Manifest:
    content = read_plain(directory / MANIFEST, limit=LARGEST)
    if content is None:
        raise ArchiveError(
            f"There is no complete archive in `{directory}`: it has no `{MANIFEST}`",
            hint="Name the archive with `--dist-archive`, or make it with `uv-archive download`",
        )
    return from_json(content)


def _check_same(directory: Path, manifest: Manifest, *, lock: Lock, project: Project) -> None:
    """Raise `ArchiveError` unless the two locks name the same files, in other words.

    A checkout may have changed the ends of lines, and a newer uv adds keys.
    """
    if manifest.project != project.identity:
        raise ArchiveError(
            f"`{directory}` is the archive of `{manifest.project}`, not of `{project.identity}`"
        )
    hint = "Run `uv-archive download` again with this lock, where there is a network"
    try:
        archived = read_lock(directory / manifest.lock.path)
    except LockError as error:
        message = f"`{directory}` is for another state of `{project.lock_path}`"
        raise ArchiveError(message, hint=hint) from error
    differing = sorted(_contents(archived) ^ _contents(lock))
    if differing:
        names = dict.fromkeys(f"{name} {version}".rstrip() for name, version, *_ in differing)
        raise ArchiveError(
            f"`{directory}` is for another state of `{project.lock_path}`; "
            f"these differ: {listed(names)}",
            hint=hint,
        )


def _contents(lock: Lock) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for package in lock.packages:
        identity = (package.name, str(package.version or ""))
        found.add(identity)
        for distribution in package.distributions:
            found.add((*identity, str(distribution.filename), str(distribution.digest)))
    return found


def listed(names: Iterable[str]) -> str:
    """Name the first few, and count the others."""
    every = [f"`{name}`" for name in names]
    rest = len(every) - _MOST_NAMED
    return ", ".join(every[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def absent(files: Iterable[Supplied]) -> Iterator[Supplied]:
    """Yield those that aren't regular files on disk."""
    for supplied in files:
        try:
            mode = supplied.path.stat().st_mode
        except OSError:
            yield supplied
            continue
        if not stat.S_ISREG(mode):
            yield supplied


def damaged(files: Sequence[Supplied]) -> Sequence[Supplied]:
    """Return those whose bytes don't have their digest. Reads several at a time."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return [s for s, right in zip(files, pool.map(_is_right, files), strict=True) if not right]


def _is_right(supplied: Supplied) -> bool:
    try:
        with supplied.path.open("rb", buffering=0) as file:
            found = hashlib.file_digest(file, supplied.digest.hasher)
    except OSError:
        return False
    return found.hexdigest() == supplied.digest.hex


def copy_verified(supplied: Supplied, directory: Path) -> bool:
    """Copy a file into *directory*, and tell whether the copy has the right bytes.

    The bytes that are hashed are the ones that are written, so nothing can be put in their
    place afterwards. Neither links nor write access to the archive are needed. Raises
    `OSError` where the copy can't be written.
    """
    hasher = supplied.digest.hasher()
    try:
        source = supplied.path.open("rb")
    except OSError:
        return False
    with source, (directory / supplied.name).open("wb") as copy:
        while chunk := source.read(_CHUNK):
            hasher.update(chunk)
            copy.write(chunk)
    return hasher.hexdigest() == supplied.digest.hex
