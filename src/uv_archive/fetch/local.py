"""Copy files of this machine, with the care that fetched ones get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uv_archive.digest import Digest
from uv_archive.fetch.partial import PartialFile

_BLOCK = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """A file that was copied and verified. *sha256* is in hexadecimal, *size* in bytes."""

    sha256: str
    size: int


def copy_local(
    source: Path,
    *,
    digest: Digest | None,
    partial: Path,
    commit: Callable[[Path], None],
) -> Copied | str:
    """Copy *source* by way of *partial*; return the reason, if it can't be or is another file.

    *commit* gives the verified file its final name. Raises `StorageError` for the far end.
    """
    try:
        file = source.open("rb")
    except OSError as error:
        return f"`{source}` can't be read: {error.strerror}"
    with file, PartialFile(partial, digest) as copy:
        copy.clear()
        while block := file.read(_BLOCK):
            copy.append(block)
        if digest is not None and copy.locked_hex != digest.hex:
            reason = f"`{source}` isn't the file that was locked: {digest.algorithm} is "
            reason += f"{copy.locked_hex}, not {digest.hex}"
            copy.remove()
            return reason
        copy.make_durable()
        commit(partial)
        return Copied(sha256=copy.sha256, size=copy.size)
