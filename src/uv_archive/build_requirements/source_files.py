"""A few small files out of an sdist or a source tree, without unpacking anything.

An sdist is foreign: its headers may lie, and a few kilobytes of it may unpack to petabytes.
What is read here is bounded in bytes and members, and nothing of it names a path of ours.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from uv_archive.errors import BuildRequirementsError

#: The longest file that is read, and the longest extended header of a tar archive, in bytes.
LONGEST_FILE = 1024 * 1024
#: How much of an unpacked sdist is looked through, in bytes. The largest on the index have 1 GB.
LONGEST_ARCHIVE = 4 * 1024**3
#: How many members of an sdist are looked at.
MOST_MEMBERS = 1_000_000

_BLOCK = 512
_CHUNK = 256 * 1024
_REGULAR = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_HINT = (
    "Have it built elsewhere and locked as a wheel, or leave build requirements out with "
    "`--no-build-requirements`"
)


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Special:
    """A member that isn't a file of its own: a link, a device, a pipe."""

    kind: str


@dataclass(slots=True)
class _Candidates:
    """What lies where the files asked for may lie, until the top of the archive is known.

    An sdist has one directory at its top; where it hasn't, uv takes the whole archive for the
    source tree. Two places are all that can come true, so no more is kept.
    """

    names: frozenset[str]
    subdirectory: tuple[str, ...]
    top: str | None = None
    single: bool = True
    below_top: dict[str, bytes | _Special] = field(default_factory=dict)
    at_root: dict[str, bytes | _Special] = field(default_factory=dict)

    def place(self, member: str, *, is_directory: bool) -> dict[str, bytes | _Special] | None:
        """Note the top that *member* shows; return where its content belongs, if it is wanted."""
        parts = tuple(part for part in member.split("/") if part not in ("", "."))
        if not parts or ".." in parts or member.startswith("/"):
            return None  # no installer unpacks these
        if self.top is None:
            self.top = parts[0]
        if parts[0] != self.top or (len(parts) == 1 and not is_directory):
            self.single = False
        if is_directory or parts[-1] not in self.names:
            return None
        if parts[:-1] == self.subdirectory:
            return self.at_root
        if parts[1:-1] == self.subdirectory and parts[0] == self.top:
            return self.below_top
        return None

    def found(self) -> Mapping[str, bytes | _Special]:
        return self.below_top if self.single else self.at_root


def read_source_files(
    where: Path, names: frozenset[str], *, subdirectory: str | None = None
) -> Mapping[str, bytes]:
    """Return those of the files *names* that the source at *where* has, at its top.

    *where* is an sdist (`.tar.gz`, `.tar.bz2`, `.tar.xz`, `.tar`, `.zip`) or a directory;
    *subdirectory* is relative to the source's top. Of two members of one name the last counts,
    as for installers. Raises `BuildRequirementsError`.
    """
    below = _subdirectory(subdirectory)
    if where.is_dir():
        return _from_tree(where.joinpath(*below), names)
    candidates = _Candidates(names=names, subdirectory=below)
    try:
        if where.name.lower().endswith(".zip"):
            _scan_zip(where, candidates)
        else:
            _scan_tar(where, candidates)
    except OSError as error:
        if error.errno is None:  # gzip, bz2 and lzma report bad data like this
            raise _damaged(where, "it isn't an archive, or is damaged") from error
        raise BuildRequirementsError(f"`{where}` can't be read: {error.strerror}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(where, "it is damaged") from error
    found = {}
    for name, content in candidates.found().items():
        if isinstance(content, _Special):
            raise _damaged(where, f"its `{name}` is {content.kind}")
        found[name] = content
    return found


def _subdirectory(text: str | None) -> tuple[str, ...]:
    parts = tuple(part for part in (text or "").split("/") if part not in ("", "."))
    if ".." in parts or (text or "").startswith("/"):
        raise BuildRequirementsError(f"The subdirectory `{text}` lies outside of its source")
    return parts


def _damaged(where: Path, reason: str) -> BuildRequirementsError:
    return BuildRequirementsError(f"`{where.name}` can't be looked into: {reason}", hint=_HINT)


def _from_tree(directory: Path, names: frozenset[str]) -> Mapping[str, bytes]:
    found = {}
    for name in sorted(names):
        path = directory / name
        try:
            if not path.is_file():
                continue
            with path.open("rb") as file:
                content = file.read(LONGEST_FILE + 1)
        except OSError as error:
            raise BuildRequirementsError(f"`{path}` can't be read: {error.strerror}") from error
        if len(content) > LONGEST_FILE:
            raise BuildRequirementsError(f"`{path}` is longer than {LONGEST_FILE} bytes")
        found[name] = content
    return found


def _scan_zip(where: Path, candidates: _Candidates) -> None:
    try:
        with zipfile.ZipFile(where) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise _damaged(where, f"it has more than {MOST_MEMBERS} members")
            for member in members:
                place = candidates.place(member.filename, is_directory=member.is_dir())
                if place is not None:
                    place[Path(member.filename).name] = _zip_member(where, archive, member)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        # `RuntimeError` is an encrypted member, `NotImplementedError` an unknown compression.
        raise _damaged(where, "it isn't a ZIP archive, or is damaged") from error


def _zip_member(where: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | _Special:
    if (member.external_attr >> 16) & 0o170000 == 0o120000:
        return _Special("a link")
    with archive.open(member) as file:
        content = file.read(LONGEST_FILE + 1)
    if len(content) > LONGEST_FILE:
        raise _damaged(where, f"`{member.filename}` is longer than {LONGEST_FILE} bytes")
    return content


# `tarfile` reads an extended header of any length into memory and seeks where a header tells it
# to, so only its reading of a single header is used.
def _scan_tar(where: Path, candidates: _Candidates) -> None:
    with closing(_open(where)) as stream:
        for count, member in enumerate(_tar_members(where, stream)):
            if count >= MOST_MEMBERS:
                raise _damaged(where, f"it has more than {MOST_MEMBERS} members")
            place = candidates.place(member.name, is_directory=member.header.isdir())
            if place is None:
                continue
            name = member.name.rpartition("/")[2]
            if member.header.type in _REGULAR:
                place[name] = member.read()
            else:
                linked = member.header.islnk() or member.header.issym()
                place[name] = _Special("a link" if linked else "no regular file")


@dataclass(frozen=True, slots=True)
class _Member:
    """A member while the stream stands at its content."""

    name: str
    header: tarfile.TarInfo
    read: Callable[[], bytes]


@dataclass(slots=True)
class _Reader:
    """A stream that is read up to a limit."""

    where: Path
    stream: _Stream
    left: int

    def exactly(self, size: int) -> bytes:
        self._spend(size)
        content = self.stream.read(size)
        if len(content) < size:
            raise _damaged(self.where, "it is cut short")
        return content

    def block(self) -> bytes:
        """Return the next block, or nothing at the end of the file."""
        self._spend(_BLOCK)
        block = self.stream.read(_BLOCK)
        if block and len(block) < _BLOCK:
            raise _damaged(self.where, "it is cut short")
        return block

    def skip(self, size: int) -> None:
        self._spend(size)
        while size > 0:
            read = len(self.stream.read(min(size, _CHUNK)))
            if not read:
                raise _damaged(self.where, "it is cut short")
            size -= read

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _damaged(self.where, f"it unpacks to more than {LONGEST_ARCHIVE} bytes")


def _tar_members(where: Path, stream: _Stream) -> Iterator[_Member]:
    """Yield the members in order, each to be read before the next is asked for."""
    reader = _Reader(where, stream, LONGEST_ARCHIVE)
    name: str | None = None
    size: int | None = None
    while (block := reader.block()) and block.strip(b"\0"):
        header = _header(where, block)
        padding = -header.size % _BLOCK
        if header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
            records = _pax_records(where, _extended(reader, header))
            reader.skip(padding)
            if header.type != tarfile.XGLTYPE:
                name = records.get("path", name)
                size = _pax_size(where, records)
            continue
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            content = _extended(reader, header)
            reader.skip(padding)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                name = content.rstrip(b"\0").decode(errors="replace")
            continue
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise _damaged(where, "it has a sparse file")
        length = header.size if size is None else size
        # "Links, devices and directories have no content, whatever their size says."
        length = length if header.type in _REGULAR or not header.type.isdigit() else 0
        consumed = 0

        def read(length: int = length, full_name: str = name or header.name) -> bytes:
            nonlocal consumed
            if length > LONGEST_FILE:
                raise _damaged(where, f"`{full_name}` is longer than {LONGEST_FILE} bytes")
            consumed = length
            return reader.exactly(length)

        yield _Member(name or header.name, header, read)
        reader.skip(length - consumed + -length % _BLOCK)
        name = size = None


def _header(where: Path, block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        raise _damaged(where, "it isn't a tar archive, or a header of it is damaged") from error
    if header.size < 0:
        raise _damaged(where, "a header of it has a negative size")
    return header


def _extended(reader: _Reader, header: tarfile.TarInfo) -> bytes:
    if header.size > LONGEST_FILE:
        raise _damaged(reader.where, f"it has a header of more than {LONGEST_FILE} bytes")
    return reader.exactly(header.size)


def _pax_records(where: Path, content: bytes) -> Mapping[str, str]:
    """Read `length key=value` lines. Specification: POSIX pax, extended header."""
    records: dict[str, str] = {}
    while content.strip(b"\0"):
        digits, space, _ = content.partition(b" ")
        if not space or not digits.isdigit() or len(digits) > 8:
            raise _damaged(where, "an extended header of it is damaged")
        length = int(digits)
        record, content = content[len(digits) + 1 : length], content[length:]
        key, equals, value = record.partition(b"=")
        if not equals or length <= len(digits):
            raise _damaged(where, "an extended header of it is damaged")
        records[key.decode(errors="replace")] = value.removesuffix(b"\n").decode(errors="replace")
    return records


def _pax_size(where: Path, records: Mapping[str, str]) -> int | None:
    text = records.get("size")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _damaged(where, "an extended header of it is damaged")
    return int(text)


def _open(where: Path) -> _Stream:
    """Open an archive unpacked, by its first bytes: file names are not to be relied on."""
    with where.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(where, "rb")
    if magic.startswith(b"BZh"):
        return bz2.open(where, "rb")
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(where, "rb")
    plain: BinaryIO = where.open("rb")
    return plain
