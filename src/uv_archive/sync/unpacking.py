"""Unpack an sdist whose bytes were checked, as uv would."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

from uv_archive.errors import DamagedArchiveError


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
        else:
            with tarfile.open(archive) as members:
                members.extractall(temporary, filter=_without_time)  # noqa: S202 - filtered
        tops = list(temporary.iterdir())
        (tops[0] if len(tops) == 1 and tops[0].is_dir() else temporary).rename(directory)
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise DamagedArchiveError(f"`{archive}` can't be unpacked: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _without_time(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    # As uv unpacks: sdists may have times that a wheel, a ZIP file, can't hold.
    return tarfile.data_filter(member, path).replace(mtime=None, deep=False)  # type: ignore[arg-type]
