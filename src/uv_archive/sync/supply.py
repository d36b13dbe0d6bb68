"""What an archive supplies to a sync: which of its files stands for which distribution."""

from __future__ import annotations

import hashlib
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import NormalizedName

from uv_archive.archive.built import BuiltWheel, built_wheels, source_key
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
from uv_archive.errors import ArchiveError, DamagedArchiveError, LockError, RequestError
from uv_archive.lock.model import Distribution, GitSource, Lock, Package, UrlSource
from uv_archive.owner import Owner, lock_of
from uv_archive.sync.model import SyncReporter, SyncRequest
from uv_archive.target import Target

_DEFAULT_ARCHIVE = Path("dist", "dependencies")
_CHUNK = 1024 * 1024
_MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Supplied:
    """A file, its absolute path, what its bytes have to be, and whether the lock says so.

    *weak* is what the lock says where that is worth little: it has to agree as well.
    """

    name: str
    path: Path
    digest: Digest
    locked: bool
    weak: Digest | None = None

    @property
    def digests(self) -> Sequence[Digest]:
        return (self.digest,) if self.weak is None else (self.digest, self.weak)


@dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """What an archive has of the lock at hand.

    *build_requirements* has files by name, *built* has wheels by what they were built from. With
    a *contradiction* the archive is of another state of the lock, in which the *differing*
    packages aren't the same, and mustn't be installed from.
    """

    directory: Path
    manifest: Manifest
    places: Mapping[Distribution, ArchivePath]
    digests: Mapping[ArchivePath, Digest | None]
    build_requirements: Mapping[NormalizedName, Sequence[Supplied]]
    built: Mapping[tuple[str | None, ...], Sequence[tuple[BuiltWheel, Supplied]]]
    contradiction: ArchiveError | None = None
    differing: frozenset[str] = frozenset()

    def of(self, distribution: Distribution) -> Supplied | None:
        """Return the archive's file for *distribution*, if it recorded one.

        The lock's digest decides, where it has a secure one, and the archive's own where not.
        """
        path = self.places[distribution]
        entry = self.manifest.files.get(path)
        if entry is None or (self.contradiction and _is_another(entry, distribution.digest)):
            return None
        return _supplied(self.directory, path, entry, distribution.digest)

    def is_as_locked(self, distribution: Distribution) -> bool:
        """Whether the archive recorded the bytes that the lock names, as far as that tells."""
        entry = self.manifest.files.get(self.places[distribution])
        return entry is not None and not _is_another(entry, distribution.digest)

    def recorded(self, path: ArchivePath) -> Supplied:
        """Return a file that the manifest has, such as one that something is built with."""
        return _supplied(self.directory, path, self.manifest.files[path], self.digests.get(path))

    def built_wheels(
        self, package: Package, target: Target
    ) -> Sequence[tuple[BuiltWheel, Supplied]]:
        """Return the wheels that were built from what *package* is, and that *target* can use."""
        key = self._source_key(package) if self.built else None
        return [
            (wheel, supplied)
            for wheel, supplied in (self.built.get(key, ()) if key else ())
            if wheel.filename.name == package.name and wheel.serves(target)
        ]

    def _source_key(self, package: Package) -> tuple[str | None, ...] | None:
        match package.source:
            case GitSource(commit=commit, subdirectory=subdirectory, path=None):
                return source_key(BuiltFrom(commit=commit, subdirectory=subdirectory))
            case UrlSource(subdirectory=inside):
                subdirectory = inside
            case _:
                subdirectory = None
        digest = self._sha256(package.sdist) if package.sdist else None
        return source_key(BuiltFrom(sha256=digest, subdirectory=subdirectory)) if digest else None

    def _sha256(self, distribution: Distribution) -> str | None:
        """Return what the archive calls a file by, which needn't be in it any more."""
        entry, digest = self.manifest.files.get(self.places[distribution]), distribution.digest
        if digest is not None and digest.algorithm == "sha256":
            return digest.hex
        return entry.sha256 if entry else None


def archive_directory(request: SyncRequest, root: Path) -> Path:
    """Return where the archive is: by default below *root*."""
    named = request.archive
    return ((request.directory / named) if named else root / _DEFAULT_ARCHIVE).absolute()


def archived_lock(
    directory: Path, *, identity: str, own: Path, expect: Digest | None, reporter: SyncReporter
) -> Path:
    """Return where the archive in *directory* has the lock that isn't at *own*.

    Raises `RequestError` where there is a lock at *own*, `ArchiveError` where the archive isn't
    that of *identity* or of another kind of lock, and `DamagedArchiveError`.
    """
    if own.exists():
        raise RequestError(
            f"There is a lock at `{own}`, and `--use-archived-lock` is for where there is none",
            hint="Leave the flag out",
        )
    manifest = _read_manifest(directory)
    path = manifest.lock.path
    if manifest.project != identity or path.rpartition("/")[2] != own.name:
        raise ArchiveError(
            f"`{directory}` is the archive of `{manifest.project}`, not of `{identity}`"
        )
    entry = manifest.files.get(path)
    content = read_plain(directory / path, limit=LARGEST)
    if entry is None or content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise DamagedArchiveError(
            f"`{directory / path}` isn't what the archive recorded",
            hint="Nothing was changed. Copy the archive again",
        )
    if expect is None:
        reporter.warning(
            f"The lock is the archive's own, `{path}`, and nothing vouches for it",
            "`--expect` compares the archive with the digest that `download` printed",
        )
    return directory / path


def open_supply(
    directory: Path, *, lock: Lock, project: Owner, expect: Digest | None = None
) -> Supply:
    """Read the archive in *directory*, and compare it with *lock*.

    *expect* is what the archive's digest has to be. Raises `ArchiveError` where it is another
    project's or isn't the one expected, and `StorageError`.
    """
    manifest = _read_manifest(directory)
    if expect is not None and expect != Digest("sha256", manifest.digest):
        raise ArchiveError(
            f"The archive in `{directory}` has the digest sha256:{manifest.digest}, not {expect}",
            hint="It was changed on the way, or it is another one: copy it again",
        )
    contradiction, differing = None, frozenset[str]()
    if manifest.lock.sha256 != lock.sha256:
        contradiction, differing = _contradiction(directory, manifest, lock=lock, project=project)
    places = place(lock)
    digests = {path: distribution.digest for distribution, path in places.items()}
    requirements: defaultdict[NormalizedName, list[Supplied]] = defaultdict(list)
    built: defaultdict[tuple[str | None, ...], list[tuple[BuiltWheel, Supplied]]]
    built = defaultdict(list)
    for path, (entry, origin) in sorted(manifest.distributions.items()):
        supplied = _supplied(directory, path, entry, digests.get(path))
        if any(isinstance(why, BuildRequirement) for why in origin.why):
            requirements[origin.name].append(supplied)
    for wheel in built_wheels(manifest.files):
        supplied = _supplied(directory, wheel.path, wheel.entry, None)
        built[source_key(wheel.why)].append((wheel, supplied))
    return Supply(
        directory=directory,
        manifest=manifest,
        places=places,
        digests=digests,
        build_requirements=requirements,
        built=built,
        contradiction=contradiction,
        differing=differing,
    )


def _is_another(entry: Entry, digest: Digest | None) -> bool:
    return digest is not None and digest.algorithm == "sha256" and digest.hex != entry.sha256


def _supplied(directory: Path, path: ArchivePath, entry: Entry, digest: Digest | None) -> Supplied:
    """Make a file of the archive; *digest* is the lock's."""
    locked = digest is not None and digest.is_secure
    return Supplied(
        name=path.rpartition("/")[2],
        path=directory / path,
        digest=digest if digest and locked else Digest("sha256", entry.sha256),
        locked=locked,
        weak=None if locked else digest,
    )


def _read_manifest(directory: Path) -> Manifest:
    if directory.exists() and not directory.is_dir():
        raise ArchiveError(
            f"`{directory}` isn't a directory, so it is no archive",
            hint="Name the archive's directory with `--dist-archive DIR`",
        )
    content = read_plain(directory / MANIFEST, limit=LARGEST)
    if content is None:
        raise ArchiveError(
            f"There is no complete archive in `{directory}`: it has no `{MANIFEST}`",
            hint="Name the archive with `--dist-archive`, or make it with `uv-archive download`",
        )
    return from_json(content)


def _contradiction(
    directory: Path, manifest: Manifest, *, lock: Lock, project: Owner
) -> tuple[ArchiveError | None, frozenset[str]]:
    """Say in what the two locks differ, unless they name the same files in other words.

    A checkout may have changed the ends of lines, and a newer uv adds keys.
    """
    if manifest.project != project.identity:
        raise ArchiveError(
            f"`{directory}` is the archive of `{manifest.project}`, not of `{project.identity}`"
        )
    hint = "Run `uv-archive download` again with this lock, where there is a network"
    copy = directory / manifest.lock.path
    try:
        if copy.exists() and not copy.is_file():  # A pipe would be waited for.
            raise LockError(f"`{copy}` isn't a plain file")
        archived = lock_of(project, at=copy)
    except LockError as error:
        message = f"`{directory}` is for another state of `{project.lock_path}`"
        message += f", and its copy can't be read: {error.message}"
        return ArchiveError(message, hint=hint), frozenset()
    differing = sorted(_contents(archived) ^ _contents(lock))
    if not differing:
        return None, frozenset()
    names = dict.fromkeys(f"{name} {version}".rstrip() for name, version, *_ in differing)
    contradiction = ArchiveError(
        f"`{directory}` is for another state of `{project.lock_path}`; "
        f"these differ: {listed(names)}",
        hint=hint,
    )
    return contradiction, frozenset(name for name, *_ in differing)


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


def copy_verified(supplied: Supplied, directory: Path) -> bool:
    """Copy a file into *directory*, and tell whether the copy has the right bytes.

    The bytes that are hashed are the ones that are written, so nothing can be put in their
    place afterwards. Neither links nor write access to the archive are needed. Raises
    `OSError` where the copy can't be written.
    """
    hashers = [digest.hasher() for digest in supplied.digests]
    try:
        source = supplied.path.open("rb")
    except OSError:
        return False
    with source, (directory / supplied.name).open("wb") as copy:
        while chunk := source.read(_CHUNK):
            for hasher in hashers:
                hasher.update(chunk)
            copy.write(chunk)
    expected = [digest.hex for digest in supplied.digests]
    return [hasher.hexdigest() for hasher in hashers] == expected
