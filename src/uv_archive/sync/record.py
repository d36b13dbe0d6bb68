"""RECORD files: what an installed distribution, or a wheel, says of its files.

Specifications: recording installed projects; binary distribution format.
"""

from __future__ import annotations

import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_RECORD = b".dist-info/RECORD"
# APPNOTE.TXT 4.3.16, 4.3.12 and 4.3.7.
_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_STORED, _DEFLATED = 0, 8


class Row(NamedTuple):
    """A row of a RECORD; *digest* is `sha256=` and so on, or empty, as it stands there."""

    path: str
    digest: str
    size: int | None


def read_record(content: bytes) -> Iterator[Row]:
    """Yield the rows of a RECORD. Raises `ValueError` for what is none."""
    try:
        for row in csv.reader(io.StringIO(content.decode(), newline="")):
            if not row:
                continue
            path, digest, size = row
            yield Row(path.removeprefix("/"), digest, int(size) if size else None)
    except csv.Error as error:
        raise ValueError(str(error)) from error


def record_of_wheel(wheel: Path) -> bytes:
    """Return a wheel's RECORD. Raises `OSError` and `ValueError`."""
    return _quickly(wheel) or _carefully(wheel)


def _carefully(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as members:
            for name in members.namelist():
                if name.encode().endswith(_RECORD) and name.count("/") == 1:
                    return members.read(name)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"`{wheel}` has no RECORD")


def _quickly(wheel: Path) -> bytes | None:
    """Read RECORD without taking the whole directory of a ZIP file apart.

    That takes several times as long as all the rest. Returns `None` for whatever is unusual.
    """
    with wheel.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - _END.size))
        tail = file.read()
        if len(tail) < _END.size:
            return None
        signature, _, _, _, count, size, offset, comment = _END.unpack(tail)
        if signature != b"PK\5\6" or comment or count == 0xFFFF or 0xFFFFFFFF in (size, offset):
            return None
        file.seek(offset)
        directory = file.read(size)
        # "Archivers are encouraged to place the .dist-info files physically at the end."
        place = directory.rfind(_RECORD)
        header = directory.rfind(b"PK\1\2", 0, place)
        if place < 0 or header < 0 or len(directory) < header + _CENTRAL.size:
            return None
        fields = _CENTRAL.unpack_from(directory, header)
        method, compressed, name_length = fields[6], fields[10], fields[12]
        begin = header + _CENTRAL.size
        name = directory[begin : begin + name_length]
        if begin + name_length != place + len(_RECORD) or name.count(b"/") != 1:
            return None
        file.seek(fields[-1])
        local = _LOCAL.unpack(file.read(_LOCAL.size))
        if local[0] != b"PK\3\4":
            return None
        file.seek(local[-2] + local[-1], 1)
        content = file.read(compressed)
    if method == _STORED:
        return content
    try:
        return zlib.decompress(content, -zlib.MAX_WBITS) if method == _DEFLATED else None
    except zlib.error:
        return None
