"""The large files of a commit that git LFS keeps outside of its repository.

They are named by the sha256 of their bytes, so that a commit vouches for them. In an archive
they lie in a tar file beside the commit's bundle, under the paths that git LFS gives them in
`.git/lfs/objects`.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from uv_archive.archive.disk import sync_file
from uv_archive.errors import ToolError
from uv_archive.fetch.git import Git, GitError, Repository

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_HOW_TO_GET_LFS = (
    "Install git LFS (the package is called `git-lfs`): the lock has git sources with `lfs = true`"
)
_POINTER = re.compile(r"([0-9a-f]{64}) [*-] ")
_MEMBER = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")
_CHUNK = 1024 * 1024

# What `git lfs install` writes into its user's settings.
FILTER = """\
[filter "lfs"]
\tclean = git-lfs clean -- %f
\tsmudge = git-lfs smudge -- %f
\tprocess = git-lfs filter-process
\trequired = true
"""


def check_lfs(git: Git) -> None:
    """Raise `ToolError` unless git has its extension for large files."""
    if git.run("lfs", "version").returncode:
        raise ToolError("git LFS was not found", hint=_HOW_TO_GET_LFS)


def fetch_arguments(repository: Repository, remote: str, commit: str) -> tuple[str, ...]:
    """Return what to call git with to fetch all that *commit* needs, whatever its user excludes."""
    # Relative to each repository, which is the default: a store that is shared with the user's
    # own repositories would be shared with a remote on this machine as well.
    return (
        *repository.arguments("-c", "lfs.storage=lfs", "lfs", "fetch"),
        *("--include=", "--exclude=", "--", remote, commit),
    )


def listed(repository: Repository, commit: str) -> Collection[str]:
    """Return the names of the large files of *commit*, sorted. Raises `GitError`."""
    said = repository.output("lfs", "ls-files", "--long", commit).decode(errors="replace")
    return sorted({match[1] for line in said.splitlines() if (match := _POINTER.match(line))})


def pack(repository: Repository, commit: str, file: Path) -> tuple[str, int]:
    """Write *file*, the same bytes for the same commit; return its sha256 and its size.

    Raises `GitError` where a large file is missing or isn't what its name says.
    """
    directory = repository.directory / "lfs" / "objects"
    with file.open("xb") as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name in listed(repository, commit):
                _add(tar, f"{name[:2]}/{name[2:4]}/{name}", directory)
        sync_file(stream.fileno())
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()


def _add(tar: tarfile.TarFile, member: str, directory: Path) -> None:
    try:
        with (directory / member).open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != member[6:]:
                raise GitError(f"fatal: the large file {member[6:]} isn't what its name says")
            entry = tarfile.TarInfo(member)
            entry.size = content.tell()
            content.seek(0)
            tar.addfile(entry, content)
    except FileNotFoundError:
        raise GitError(f"fatal: remote missing object {member[6:]}") from None


class NotLargeFiles(Exception):
    """The file isn't what was recorded, or has something else in it than large files."""


def unpack(file: Path, sha256: str, directory: Path) -> None:
    """Write the large files of *file* below *directory*, if its digest is *sha256*.

    What was written before it is found out that it isn't stays there. Raises `NotLargeFiles`.
    """
    try:
        with file.open("rb") as stream:
            reading = _Reading(stream)
            with tarfile.open(fileobj=reading, mode="r|") as tar:
                for entry in tar:
                    _take(tar, entry, directory)
            while reading.read(_CHUNK):
                pass
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise NotLargeFiles(f"{error}") from error
    if reading.digest.hexdigest() != sha256:
        raise NotLargeFiles("its digest isn't the recorded one")


class _Reading(io.RawIOBase):
    """A stream whose digest is known once it has been read."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        count = self._stream.readinto(view)
        self.digest.update(view[:count])
        return count


def _take(tar: tarfile.TarFile, entry: tarfile.TarInfo, directory: Path) -> None:
    content = tar.extractfile(entry) if entry.isreg() and not entry.issparse() else None
    if content is None or not _MEMBER.fullmatch(entry.name):
        raise NotLargeFiles("it has something else in it than large files")
    target = directory / entry.name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != target.name:
        raise NotLargeFiles("a large file isn't what its name says")
