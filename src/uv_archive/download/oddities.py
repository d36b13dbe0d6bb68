"""Distributions that have the right hash and are odd all the same, and what uv makes of them.

Names are judged, and of a ZIP file its directory and the three small files that say what a wheel
is. Nothing is extracted, and what is larger than it should be isn't read. What uv refuses was found
by experiment; `tests/oddities` holds it against the real uv.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from uv_archive.download.zip_directory import (
    DEFLATED,
    ENCRYPTED,
    STORED,
    ZSTANDARD,
    Directory,
    Member,
    NotZip,
    TooLarge,
    read_directory,
    read_member,
)
from uv_archive.filenames import SdistFilename, WheelFilename

# Names end here in file systems that encrypt them.
_LONG = 143
_LARGEST_RECORD = 16 * 1024 * 1024
_MANY_ROWS = 1000
_LARGEST_HEADERS = 64 * 1024
# "only STORED, DEFLATE and zstd are supported" since uv 0.12. APPNOTE.TXT 4.4.5 has the names.
_TAKEN_METHODS = frozenset({STORED, DEFLATED, ZSTANDARD})
_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 95: "xz", 98: "PPMd"}
# Since uv 0.12 as well.
_REFUSED_ENDINGS = frozenset(
    {".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.lz", ".tlz", ".tar.lzma"}
)
_MAGIC = {".tar.gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b", ".tar.zst": b"\x28\xb5\x2f\xfd"}
# A comment that holds another ZIP file has some of these.
_NOT_IN_COMMENTS = re.compile(rb"[\x01-\x08]")
_UNPRINTABLE = frozenset({"Cc", "Cf", "Co", "Cs"})
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")


@dataclass(frozen=True, kw_only=True, slots=True)
class Oddity:
    """Something odd about a file of the archive; *what* is a clause that goes on from "it".

    *refused* tells that uv won't install from the file; else it does, as if nothing were.
    """

    path: str
    what: str
    refused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """A distribution to look at; without *file* only its name is looked at."""

    path: str
    filename: WheelFilename | SdistFilename
    file: Path | None = None


class _Odd(NamedTuple):
    what: str
    refused: bool = False


def find_oddities(suspects: Iterable[Suspect]) -> tuple[Oddity, ...]:
    """Return what is odd about each distribution, in their order.

    What can't be read isn't judged: whoever needs it will say so.
    """
    return tuple(
        Oddity(path=suspect.path, what=one.what, refused=one.refused)
        for suspect in suspects
        for one in (*_of_name(suspect.filename), *_of_content(suspect))
    )


def _of_name(filename: WheelFilename | SdistFilename) -> Iterator[_Odd]:
    """Judge a name by the specifications of today, which older tools didn't know."""
    text = filename.text
    if isinstance(filename, SdistFilename):
        stem = text.removesuffix(filename.ending)
        if filename.ending in _REFUSED_ENDINGS:
            yield _Odd(f"is a `{filename.ending}` file", refused=True)
    else:
        stem = "-".join(text.split("-")[:2])
    # "Both name and version are normalized" (PEP 625; the specification of wheels likewise).
    today = f"{canonicalize_name(filename.name).replace('-', '_')}-{filename.version}"
    if stem != today:
        yield _Odd(f"would be called `{today}…` today")
    if len(text) > _LONG:
        yield _Odd(f"has a name of {len(text)} characters, more than some file systems take")


def _of_content(suspect: Suspect) -> Iterator[_Odd]:
    if suspect.file is None:
        return
    try:
        with suspect.file.open("rb") as file:
            match suspect.filename:
                case WheelFilename() as filename:
                    yield from _of_wheel(file, filename)
                case SdistFilename(ending=".zip"):
                    yield from _of_zip(file, read_directory(file))
                case SdistFilename(ending=ending):
                    magic = _MAGIC.get(ending, b"")
                    if file.read(len(magic)) != magic:
                        yield _Odd(f"isn't packed as `{ending}` says", refused=True)
    except NotZip:
        yield _Odd("is no ZIP file, or not a whole one", refused=True)
    except TooLarge:
        yield _Odd("has more members than are looked at")
    except OSError:
        return


def _of_zip(file: BinaryIO, directory: Directory) -> Iterator[_Odd]:
    file.seek(0)
    if directory.before or (directory.members and file.read(4) != b"PK\3\4"):
        yield _Odd("has something before its beginning", refused=True)
    if directory.after:
        yield _Odd("has something after its end", refused=True)
    if _NOT_IN_COMMENTS.search(directory.comment):
        yield _Odd("has a comment that may be another ZIP file", refused=True)
    if directory.announced != len(directory.members):
        yield _Odd("has another number of members than it says", refused=True)
    if any(member.flags & ENCRYPTED for member in directory.members):
        yield _Odd("has encrypted members", refused=True)
    methods = {member.method for member in directory.members} - _TAKEN_METHODS
    for method in sorted(methods):
        named = _METHODS.get(method, f"method {method}")
        yield _Odd(f"has members that are compressed with {named}", refused=True)
    yield from _of_names(directory.members)


def _of_names(members: Sequence[Member]) -> Iterator[_Odd]:
    if _are_plain([member.name for member in members]):
        return
    seen: dict[bytes, Member] = {}
    for member in members:
        name = member.name
        yield from _of_letters(name)
        if _leads_out(name):
            yield _Odd(f"has the member `{_shown(name)}`, which leads out of it and is left out")
        before = seen.setdefault(name, member)
        if before is not member:
            yield from _of_twins(before, member)


def _are_plain(names: Sequence[bytes]) -> bool:
    """Whether nothing can be odd about names. There may be very many, so it has to be quick."""
    every, text = {*names}, b"\n" + b"\n".join(names)
    is_printable = text.isascii() and text.replace(b"\n", b"").decode().isprintable()
    is_inside = b".." not in text and b"\n/" not in text
    return is_printable and is_inside and len(every) == len(names) and b"" not in every


def _of_letters(name: bytes) -> Iterator[_Odd]:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        yield _Odd(f"has the member `{_shown(name)}`, whose name isn't UTF-8", refused=True)
        return
    if not text or any(unicodedata.category(letter) in _UNPRINTABLE for letter in text):
        yield _Odd(f"has the member `{_shown(name)}`, whose name can't be printed", refused=True)


def _of_twins(one: Member, other: Member) -> Iterator[_Odd]:
    is_directory = one.name.endswith(b"/")
    if not is_directory and (one.crc, one.size) != (other.crc, other.size):
        yield _Odd(f"has `{_shown(one.name)}` twice, with different bytes", refused=True)
    elif not is_directory and one.mode != other.mode:
        yield _Odd(f"has `{_shown(one.name)}` twice, with different permissions", refused=True)
    else:
        yield _Odd(f"has `{_shown(one.name)}` twice")


def _of_wheel(file: BinaryIO, filename: WheelFilename) -> Iterator[_Odd]:
    directory = read_directory(file)
    yield from _of_zip(file, directory)
    members = {
        member.name: member for member in directory.members if not member.name.endswith(b"/")
    }
    tops = {name.partition(b"/")[0] for name in members if b".dist-info/" in name}
    infos = [top for top in tops if top.endswith(b".dist-info")]
    if len(infos) != 1:
        yield _Odd(f"has {len(infos)} `.dist-info` directories", refused=True)
        return
    own = {
        name: members.get(infos[0] + b"/" + name.encode())
        for name in ("METADATA", "WHEEL", "RECORD")
    }
    for name, member in own.items():
        if member is None:
            yield _Odd(f"has no `{name}`", refused=True)
    if own["WHEEL"] is not None:
        yield from _of_wheel_file(_headers(file, own["WHEEL"]))
    if own["METADATA"] is not None:
        yield from _of_metadata(_headers(file, own["METADATA"]), filename)
    record = own["RECORD"]
    if record is not None and record.size <= _LARGEST_RECORD:
        content = read_member(file, record, limit=record.size)
        if content is None:
            return
        if content.count(b"\n") > 2 * len(members) + _MANY_ROWS:
            yield _Odd("has a `RECORD` of many more files than there are")
        else:
            yield from _of_record(content, members, infos[0])


def _headers(file: BinaryIO, member: Member) -> Mapping[str, str] | None:
    """Return the first value of each header of a file in the form of e-mail."""
    content = read_member(file, member, limit=_LARGEST_HEADERS)
    if content is None:
        return None
    found: dict[str, str] = {}
    for line in content.decode(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if not line:
            break
        if colon and not name[0:1].isspace():
            found.setdefault(name.lower(), value.strip())
    return found


def _of_wheel_file(headers: Mapping[str, str] | None) -> Iterator[_Odd]:
    if headers is None:
        return
    version = headers.get("wheel-version", "")
    major, dot, _ = version.partition(".")
    # "abort if major version is greater"; one wheel of old is of version 0.1.
    if not dot or (major != "1" and version != "0.1"):
        yield _Odd(f"is of the wheel format {version[:20]!a}, which isn't 1.x", refused=True)


def _of_metadata(headers: Mapping[str, str] | None, filename: WheelFilename) -> Iterator[_Odd]:
    if headers is None:
        return
    name, version = headers.get("name", ""), headers.get("version", "")
    if canonicalize_name(name) != filename.name:
        yield _Odd(f"says that its name is {name[:100]!a}", refused=True)
        return
    try:
        said = Version(version)
    except InvalidVersion:
        yield _Odd(f"says that its version is {version[:100]!a}", refused=True)
        return
    if said not in (filename.version, Version(filename.version.public)):
        yield _Odd(f"says that its version is {version[:100]!a}", refused=True)


def _of_record(content: bytes, members: Mapping[bytes, Member], info: bytes) -> Iterator[_Odd]:
    try:
        listed = _rows(content)
    except ValueError:
        yield _Odd("has a `RECORD` that can't be read", refused=True)
        return
    exempt = {info + b"/" + name.encode() for name in _SIGNATURES}
    more = min(listed.keys() - members.keys(), default=None)
    unlisted = members.keys() - listed.keys() - exempt
    less = min((name for name in unlisted if not _leads_out(name)), default=None)
    sizes = (
        name
        for name, size in listed.items()
        if size is not None and name in members and members[name].size != size
    )
    if more is not None:
        yield _Odd(f"has a `RECORD` with `{_shown(more)}`, which isn't there")
    if less is not None:
        yield _Odd(f"has a `RECORD` without `{_shown(less)}`")
    if wrong := next(sizes, None):
        yield _Odd(f"has a `RECORD` with another size of `{_shown(wrong)}`")


def _rows(content: bytes) -> Mapping[bytes, int | None]:
    """Return the sizes of the files in a RECORD. Raises `ValueError` for what uv can't read."""
    text = content.decode()
    lines = [line.rstrip("\r") for line in text.split("\n")]
    try:
        rows = csv.reader(lines, strict=True) if '"' in text else (row.split(",") for row in lines)
        found: dict[bytes, int | None] = {}
        for row in rows:
            if row in ([], [""]):
                continue
            path, _, size = row
            # "selenium uses absolute paths for some reason" (uv).
            path = path.lstrip("/")
            if "./" in path:
                path = path.replace("/./", "/").removeprefix("./")
            found[path.encode()] = int(size) if size else None
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return found


def _leads_out(name: bytes) -> bool:
    """Whether a path is absolute, or goes above where it begins at any point."""
    if b".." not in name:
        return name.startswith(b"/")
    depth = 0
    for part in name.split(b"/"):
        depth += -1 if part == b".." else part not in (b"", b".")
        if depth < 0:
            return True
    return name.startswith(b"/")


def _shown(name: bytes) -> str:
    """Write a member's name so that it does nothing to a terminal."""
    text = name[:100].decode(errors="replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
