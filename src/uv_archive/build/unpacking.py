"""Unpack an sdist whose bytes were checked, as uv would."""

from __future__ import annotations

import calendar
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from uv_archive.errors import DamagedArchiveError

# What the standard library raises for archives that are damaged, encrypted, compressed in ways it
# doesn't know, or that have times which aren't any.
_UNREADABLE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(OSError, EOFError, ValueError, OverflowError, RuntimeError),
)
#: Seconds since 1970: 1980-01-01 and the end of 2107, all that a ZIP file, and so a wheel, holds.
EARLIEST, LATEST = 315532800, 4354819198


def unpack(archive: Path, directory: Path) -> None:
    """Unpack an sdist into *directory*, without its one directory at the top.

    Raises `DamagedArchiveError`.
    """
    temporary = directory.with_name(f"{directory.name}.unpacking")
    temporary.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as members:
                members.extractall(temporary)  # noqa: S202 - verified; it drops `..`
                _make_executable(members, temporary)
        else:
            with tarfile.open(archive) as members:
                members.extractall(temporary, filter=_without_time)  # noqa: S202 - filtered
        tops = list(temporary.iterdir())
        (tops[0] if len(tops) == 1 and tops[0].is_dir() else temporary).rename(directory)
    except _UNREADABLE as error:
        raise DamagedArchiveError(f"`{archive}` can't be unpacked: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def newest_member(archive: Path) -> int:
    """Return when the newest file of an sdist was changed, as far as a wheel can hold it.

    In seconds since 1970. Raises `DamagedArchiveError`.
    """
    try:
        newest = max(_times(archive), default=EARLIEST)
    except _UNREADABLE as error:
        raise DamagedArchiveError(f"`{archive}` can't be read: {error}") from error
    return min(max(newest, EARLIEST), LATEST)


def set_times(directory: Path, epoch: int) -> None:
    """Give every file and directory below *directory* one time, in seconds since 1970.

    What some backends write down is a file's time, not `SOURCE_DATE_EPOCH`.
    """
    for path, directories, files in os.walk(directory):
        for name in (*files, *directories):
            with suppress(OSError, NotImplementedError):
                os.utime(Path(path, name), (epoch, epoch), follow_symlinks=False)


def _times(archive: Path) -> Iterator[int]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            yield from (calendar.timegm((*one.date_time, 0, 0, 0)) for one in members.infolist())
    else:
        with tarfile.open(archive) as tar:
            yield from (int(one.mtime) for one in tar)


def _without_time(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    # As uv unpacks: sdists may have times that a wheel, a ZIP file, can't hold.
    return tarfile.data_filter(member, path).replace(mtime=None, deep=False)  # type: ignore[arg-type]


def _make_executable(members: zipfile.ZipFile, directory: Path) -> None:
    """Do what `extractall` doesn't: a script that was executable is."""
    for member in members.infolist():
        path = directory / member.filename
        if (member.external_attr >> 16) & 0o111 and path.is_file():
            path.chmod(path.stat().st_mode | 0o111)
