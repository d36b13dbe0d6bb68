"""Where each file lies in an archive: the one place that turns foreign text into paths.

A path of an archive is relative, with `/` between its parts, and means the same on every file
system: `docs/reference/archive-format.md`, "Paths".
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NewType

from packaging.utils import NormalizedName

from uv_archive.errors import LockError
from uv_archive.filenames import WheelFilename
from uv_archive.lock.model import Distribution, LocalPath, Lock
from uv_archive.url import Url

ArchivePath = NewType("ArchivePath", str)
"""A path that was checked by `parse_path`, or made by this module."""

MANIFEST = ArchivePath("uv-archive.json")
CHECKSUMS = ArchivePath("SHA256SUMS")
README = ArchivePath("README.md")
INSTALL = ArchivePath("install.py")
PARTIAL = ".partial"
INDEX = "index"
GIT = "git"
LOCKED = "locked"
TOOLS = "tools"

#: The directories of an archive that have files of their own; `index/` has directories.
DIRECTORIES = (INDEX, GIT, LOCKED, TOOLS)

# What a name of a distribution, of an export or of the metadata is made of.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_INDEX_DIRECTORY = re.compile(r"[0-9a-f]{8}")
# What FAT, NTFS or a terminal can't take in a name, and the two halves of a surrogate pair.
_NOWHERE = re.compile(r'[\x00-\x1f\x7f-\x9f"*/:<>?\\|\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
# Windows takes these, with any ending, for devices.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_LONGEST = 255
# The name of an export has no dot in its label (PEP 751, "File Name").
_METADATA = re.compile(
    r"README\.md|SHA256SUMS|install\.py|pylock(?:\.[^./]+)?\.toml|requirements(?:\.[^./]+)?\.txt"
)


def place(lock: Lock) -> Mapping[Distribution, ArchivePath]:
    """Return the path of every distribution that *lock* names.

    A file lies at the top under its own name. Where the lock has one file name, compared
    without regard to case, for different files, each of them lies in `index/<digest8>/`
    instead. The whole lock decides, not a request, so that a path never depends on what was
    asked for before. Raises `LockError` where even that leaves two files in one place.
    """
    placed: dict[Distribution, ArchivePath] = {}
    occupied: dict[str, _Identity] = {}
    for group in _by_name(_distributions(lock)).values():
        at_top = len({_identity(distribution) for distribution in group}) == 1
        for distribution in group:
            path = _path(distribution, at_top=at_top)
            placed[distribution] = _occupy(occupied, path, distribution)
    return placed


def place_unlocked(
    distributions: Iterable[Distribution], *, locked: Mapping[Distribution, ArchivePath]
) -> Mapping[Distribution, ArchivePath]:
    """Return the paths of files that no lock names, such as build requirements.

    A file that the lock has as well, by name and digest, is that file. Locked files never make
    room: an unlocked one whose name they have for other bytes goes to `index/<digest8>/`, as
    do unlocked ones that differ among themselves. Give it the files of all requests at once,
    so that the order of requests doesn't matter. Raises `LockError` as `place` does.
    """
    known = {_identity(distribution): path for distribution, path in locked.items()}
    locked_names = {str(distribution.filename).casefold() for distribution in locked}
    occupied = {path.casefold(): _identity(found) for found, path in locked.items()}
    placed: dict[Distribution, ArchivePath] = {}
    for folded, group in _by_name(distributions).items():
        unknown = {_identity(found) for found in group} - known.keys()
        at_top = folded not in locked_names and len(unknown) == 1
        for distribution in group:
            path = known.get(_identity(distribution)) or _path(distribution, at_top=at_top)
            placed[distribution] = _occupy(occupied, path, distribution)
    return placed


def index_directory(source: str) -> str:
    """Return the name of a source's own directory: 8 hexadecimal digits of its digest."""
    return hashlib.sha256(source.encode()).hexdigest()[:8]


def bundle_path(name: NormalizedName, commit: str) -> ArchivePath:
    """Return the path of a git source's bundle. *commit* is the whole commit."""
    return parse_path(f"{GIT}/{name}-{commit[:12]}.bundle")


def large_files_path(bundle: ArchivePath) -> ArchivePath:
    """Return the path of what git LFS keeps for the commit of a bundle."""
    return parse_path(f"{bundle.removesuffix('.bundle')}.lfs.tar")


def tool_path(filename: WheelFilename) -> ArchivePath:
    """Return the path of something to install with."""
    return parse_path(f"{TOOLS}/{filename}")


def locked_path(filename: str) -> ArchivePath:
    """Return the path of the lock's copy; *filename* is the lock's own.

    A script's lock may have any name. What not every file system takes becomes `_`.
    """
    name = _NOWHERE.sub("_", filename)
    while len(name.encode()) >= _LONGEST:
        name = name[1:]  # The ending says what it is.
    name = name.strip(" ").rstrip(". ")
    if not name or name.startswith(".") or _DEVICE.fullmatch(name):
        name = f"_{name}"
    return parse_path(f"{LOCKED}/{name}")


def public_source(distribution: Distribution) -> str:
    """Return where a file comes from, as it may be written down.

    That is its URL without credentials, query string and fragment, or its path relative to the
    lock. An absolute path says something of one machine only, so its last part has to do.
    """
    match distribution.location:
        case Url() as url:
            return url.public()
        case LocalPath(text=text):
            is_absolute = text.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", text)
            return re.split(r"[/\\]", text)[-1] if is_absolute else text


def partial_key(distribution: Distribution) -> str:
    """Return the name of a distribution's unfinished transfer: 64 hexadecimal digits.

    It is a digest of the file's name and of what the lock says it is: two names may have the
    same bytes, and each is a transfer of its own.
    """
    return hashlib.sha256("\n".join(_identity(distribution)).encode()).hexdigest()


def parse_path(text: str) -> ArchivePath:
    """Check that *text* is the path of a file in an archive. Raises `ValueError`.

    Files lie at the top, in `index/<digest8>/`, `git/`, `locked/` and `tools/`, and nowhere else.
    """
    match text.split("/"):
        case [name]:
            _check_name(name)
        case ["index", directory, name] if _INDEX_DIRECTORY.fullmatch(directory):
            _check_name(name)
        case ["git", name] if name.endswith((".bundle", ".lfs.tar")):
            _check_name(name)
        case ["tools", name] if name.endswith(".whl"):
            _check_name(name)
        case ["locked", name]:
            _check_foreign_name(name)
        case _:
            raise ValueError("not a path of a file in an archive")
    return ArchivePath(text)


def check_twins(paths: Iterable[str]) -> None:
    """Raise `ValueError` if some file systems would take two of the *paths* for one."""
    seen: dict[str, str] = {}
    for path in paths:
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            raise ValueError(f"`{other}` and `{path}` differ only by case")


def is_metadata(path: ArchivePath) -> bool:
    """Whether a path is that of something this program writes itself, and no distribution's."""
    return path.startswith(f"{LOCKED}/") or bool(_METADATA.fullmatch(path))


def is_tool(path: ArchivePath) -> bool:
    """Whether a path is that of something to install with."""
    return path.startswith(f"{TOOLS}/")


def _distributions(lock: Lock) -> Iterator[Distribution]:
    return (found for package in lock.packages for found in package.distributions)


def _by_name(distributions: Iterable[Distribution]) -> Mapping[str, list[Distribution]]:
    groups: defaultdict[str, list[Distribution]] = defaultdict(list)
    for distribution in distributions:
        groups[str(distribution.filename).casefold()].append(distribution)
    return groups


def _path(distribution: Distribution, *, at_top: bool) -> ArchivePath:
    name = str(distribution.filename)
    if at_top:
        return ArchivePath(name)
    return ArchivePath(f"{INDEX}/{index_directory(distribution.source)}/{name}")


_Identity = tuple[str, ...]


def _identity(distribution: Distribution) -> _Identity:
    """What makes two entries one file: name and digest, or without one, name and whole origin."""
    name = str(distribution.filename)
    if distribution.digest is not None:
        return (name, str(distribution.digest))
    match distribution.location:
        case Url(exposed=exposed):
            return (name, distribution.source, exposed)
        case LocalPath(text=text):
            return (name, distribution.source, text)


def _occupy(
    occupied: dict[str, _Identity], path: ArchivePath, distribution: Distribution
) -> ArchivePath:
    identity = _identity(distribution)
    if occupied.setdefault(path.casefold(), identity) == identity:
        return path
    raise LockError(
        f"`{distribution.source}` has more than one file that is called "
        f"`{distribution.filename}`, compared without regard to case",
        place=distribution.place or None,
        hint="An archive has one place for a file name of one source",
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError("a name has letters, digits and `._+!-` only")
    _check_foreign_name(name)


def _check_foreign_name(name: str) -> None:
    if _NOWHERE.search(name) or name in {"", ".", ".."} or name != name.strip(" "):
        raise ValueError("a name that some file systems can't have")
    if name.endswith(".") or _DEVICE.fullmatch(name):
        raise ValueError("a name that Windows can't have")
    if len(name.encode()) > _LONGEST:
        raise ValueError(f"a name of more than {_LONGEST} bytes")
