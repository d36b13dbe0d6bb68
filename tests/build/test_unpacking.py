"""Sdists that can't be unpacked are named as that, whatever is wrong with them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from uv_archive.build.unpacking import newest_member, unpack
from uv_archive.errors import DamagedArchiveError


def test_a_time_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "it-1.0.tar.gz"
    member = tarfile.TarInfo("it-1.0/setup.py")
    member.pax_headers = {"mtime": "inf"}
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member, io.BytesIO())
    with pytest.raises(DamagedArchiveError, match=r"it-1\.0\.tar\.gz"):
        newest_member(path)


@pytest.mark.parametrize(
    "spoil", [b"\x78\x9c broken", b"\xff" * 40], ids=["no-deflate-stream", "other-bytes"]
)
def test_a_member_that_is_no_stream(tmp_path: Path, spoil: bytes) -> None:
    path = tmp_path / "it-1.0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("it-1.0/setup.py", "print('x')\n" * 100)
    content = path.read_bytes()
    begin = content.index(b"setup.py") + len(b"setup.py")
    path.write_bytes(content[:begin] + spoil + content[begin + len(spoil) :])
    with pytest.raises(DamagedArchiveError, match=r"it-1\.0\.zip"):
        unpack(path, tmp_path / "unpacked")
