"""A quick look at an installed distribution: most are plainly whole, and need no other.

Lines of RECORDs are compared as they stand, and nothing is made of them: an environment has tens
of thousands of files.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from uv_archive.sync.record import record_of_wheel

# Written by installers; what a wheel has in their place counts for nothing.
_INSTALLERS_OWN = frozenset(
    {
        *("RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED"),
        *("direct_url.json", "uv_cache.json", "uv_build.json"),
    }
)
# uv takes this script of a wheel of pip for one of another Python, and makes its own.
_VERSIONED_PIP = re.compile(r"pip3\.\d+")


def is_plainly_whole(info: Path, wheel: Path) -> bool:
    """Whether all files of the distribution at *info* have the sizes that *wheel* says.

    `False` says nothing: what is unusual takes a closer look.
    """
    try:
        lines = _lines(info)
        return lines is not None and _agrees(lines, wheel) and _is_all_there(lines, info)
    except (OSError, ValueError):
        return False


def _lines(info: Path) -> Sequence[bytes] | None:
    """Return the lines of RECORD, or `None` for one that was cut off, or has quotes in it."""
    content = (info / "RECORD").read_bytes()
    if b'"' in content or not content.endswith(b"\n"):
        return None
    return content.splitlines()


def _agrees(lines: Sequence[bytes], wheel: Path) -> bool:
    """Whether every line of the wheel's RECORD is there, but for those of installers' files."""
    others = frozenset(record_of_wheel(wheel).splitlines()).difference(lines)
    return all(not line or is_installers(_path(line)) for line in others)


def _path(line: bytes) -> str:
    return line.rsplit(b",", 2)[0].decode()


def _is_all_there(lines: Sequence[bytes], info: Path) -> bool:
    name = info.name.encode()
    unpacked = name.removesuffix(b".dist-info") + b".data/"
    has_scripts = False
    outside: list[str] = []
    with _Site(info.parent) as site:
        for line in lines:
            path, _, size = line.rsplit(b",", 2)
            if b"__pycache__/" in path:
                continue
            if path.startswith((b"../", unpacked)):
                if path.startswith(unpacked):
                    return False
                outside.append(path.decode())
            elif path.endswith(b"/entry_points.txt") and path.startswith(name):
                has_scripts = True
            if not site.has(path, size):
                return False
    if not has_scripts:
        return True
    there = {path.rpartition("/")[2]: path for path in outside}
    wanted = (there.get(one) or there.get(f"{one}.exe") for one in scripts(info))
    return all(path is not None and is_program(f"{info.parent}/{path}") for path in wanted)


class _Site:
    """A directory that files are looked for in, which needn't be found again for each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._descriptor: int | None = None
        if os.stat in os.supports_dir_fd:
            self._descriptor = os.open(self._path, os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)

    def has(self, path: bytes, size: bytes) -> bool:
        """Whether a plain file is there, of some size if one is given. Raises `OSError`."""
        if self._descriptor is None:
            path = os.path.join(os.fsencode(self._path), path)  # noqa: PTH118 - a `Path` costs as much again
        found = os.stat(path, dir_fd=self._descriptor)
        return stat.S_ISREG(found.st_mode) and (not size or found.st_size == int(size))


def is_installers(path: str) -> bool:
    """Whether a file of a distribution is written by who installs it."""
    top, _, name = path.partition("/")
    return name in _INSTALLERS_OWN and top.endswith(".dist-info")


def is_program(path: str) -> bool:
    """Whether a plain file is there that can be run."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and (os.name == "nt" or os.access(path, os.X_OK))


def scripts(info: Path) -> Iterator[str]:
    """Yield the names of the scripts that an `entry_points.txt` asks for."""
    import configparser  # noqa: PLC0415 - most distributions have no scripts

    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their case
    try:
        parser.read_string((info / "entry_points.txt").read_text("utf-8"))
    except (OSError, ValueError, configparser.Error):
        return
    for section in ("console_scripts", "gui_scripts"):
        if parser.has_section(section):
            for name in parser.options(section):
                if not _VERSIONED_PIP.fullmatch(name):
                    yield name
