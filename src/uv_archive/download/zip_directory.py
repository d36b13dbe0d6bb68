"""The central directory of a ZIP file, read as it stands: nothing is extracted, nothing believed.

Specification: APPNOTE.TXT. The standard library's reader takes several times as long, puts names
right and passes over what is the point here: what lies before and after, and double names.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

# 4.3.16, 4.3.14, 4.3.15, 4.3.12 and 4.3.7.
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s4x2H4x3L3H4x2L")
_LOCAL = struct.Struct("<4s2B4H3L2H")
_FULL_32 = 0xFFFFFFFF
_LARGEST_COMMENT = 0xFFFF
# Real wheels have some 10,000 members; a directory of this size has 100,000 and more.
_LARGEST_DIRECTORY = 16 * 1024 * 1024
_SIZES = struct.Struct("<Q")

STORED, DEFLATED, ZSTANDARD = 0, 8, 93
#: Of a member's flags.
ENCRYPTED = 1


class NotZip(Exception):
    """There is no directory where one has to be, or it isn't whole."""


class TooLarge(Exception):
    """It is larger than any that is read."""


class Member(NamedTuple):
    """What the directory says of a member. *name* is as it stands there; *mode* is Unix's."""

    name: bytes
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    mode: int
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Directory:
    """All members in the directory's order, and what surrounds them.

    *announced* is how many members the end record says there are, *before* and *after* how many
    bytes don't belong to the ZIP file.
    """

    members: tuple[Member, ...]
    announced: int
    comment: bytes
    before: int
    after: int


class _End(NamedTuple):
    """Where the directory ends and begins, as its end record has it."""

    place: int
    offset: int
    size: int
    entries: int
    comment: bytes
    after: int


def read_directory(file: BinaryIO) -> Directory:
    """Read the directory of a ZIP file. Raises `NotZip`, `TooLarge` and `OSError`."""
    end = _find_end(file)
    if end.size > _LARGEST_DIRECTORY:
        raise TooLarge
    before = end.place - end.size - end.offset
    if before < 0:
        raise NotZip
    file.seek(end.place - end.size)
    content = file.read(end.size)
    return Directory(
        members=_members(content),
        announced=end.entries,
        comment=end.comment,
        before=before,
        after=end.after,
    )


def read_member(file: BinaryIO, member: Member, *, limit: int) -> bytes | None:
    """Return the first *limit* bytes of a member; `None` where it can't be read. Checks no CRC."""
    file.seek(member.offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\3\4"):
        return None
    *_, name_length, extra_length = _LOCAL.unpack(head)
    file.seek(name_length + extra_length, 1)
    content = file.read(min(member.compressed, limit))
    if member.method == STORED:
        return content
    if member.method != DEFLATED:
        return None
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, limit)
    except zlib.error:
        return None


def _find_end(file: BinaryIO) -> _End:
    """Find the end record: the one that lies where it says, since a comment may hold another."""
    total = file.seek(0, 2)
    found = None
    # Next to none has a comment.
    for length in (_END.size, _END.size + _LARGEST_COMMENT):
        start = max(0, total - length)
        file.seek(start)
        found = _find_end_in(file, file.read(), start)
        if found is not None and (found.offset + found.size == found.place or start == 0):
            return found
    if found is None:
        raise NotZip
    return found


def _find_end_in(file: BinaryIO, tail: bytes, start: int) -> _End | None:
    candidate = None
    at = tail.find(b"PK\5\6")
    while 0 <= at <= len(tail) - _END.size:
        _, _, _, _, count, size, offset, length = _END.unpack_from(tail, at)
        end = at + _END.size + length
        found = _End(
            place=start + at,
            offset=offset,
            size=size,
            entries=count,
            comment=tail[at + _END.size : end],
            after=max(0, len(tail) - end),
        )
        if _FULL_32 in {size, offset} or count == 0xFFFF:
            found = _wide(file, found)
        if found.offset + found.size == found.place:
            return found
        candidate = found
        at = tail.find(b"PK\5\6", at + 1)
    return candidate


def _wide(file: BinaryIO, end: _End) -> _End:
    """Take the figures from the ZIP64 records, if they are there."""
    place = end.place - _LOCATOR.size
    if place < 0:
        return end
    file.seek(place)
    signature, _, at, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if signature != b"PK\6\7" or at > place - _END_64.size:
        return end
    file.seek(at)
    signature, *_, count, size, offset = _END_64.unpack(file.read(_END_64.size))
    if signature != b"PK\6\6":
        return end
    return end._replace(place=at, entries=count, size=size, offset=offset)


def _members(content: bytes) -> tuple[Member, ...]:
    """Take the directory apart. There are tens of thousands of members, so every step counts."""
    found = []
    at, end, fixed, unpack = 0, len(content), _CENTRAL.size, _CENTRAL.unpack_from
    while at < end:
        if end - at < fixed:
            raise NotZip
        (signature, flags, method, crc, compressed, size, name_length, extra_length,
         comment_length, external, offset) = unpack(content, at)  # fmt: skip
        if signature != b"PK\1\2":
            raise NotZip
        name_end = at + fixed + name_length
        if _FULL_32 in (compressed, size, offset):
            extra = content[name_end : name_end + extra_length]
            size, compressed, offset = _wide_sizes(extra, size, compressed, offset)
        name = content[at + fixed : name_end]
        found.append(Member(name, flags, method, crc, compressed, size, external >> 16, offset))
        at = name_end + extra_length + comment_length
    return tuple(found)


def _wide_sizes(extra: bytes, *sizes: int) -> tuple[int, ...]:
    """Put the figures of the ZIP64 extra field in the place of those that are full (4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(
                _SIZES.unpack_from(extra, place)[0]
                for place in range(at + 4, min(at + 4 + length, len(extra)) - 7, 8)
            )
            return tuple(next(wide, size) if size == _FULL_32 else size for size in sizes)
        at += 4 + length
    return sizes
