"""This program as a wheel, made of the files that it runs from.

So a machine without a network gets the very program that made the archive, whether that came from
an index, from a checkout or from somebody's patch, and nothing has to be built or found for it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from uv_archive.digest import Digest
from uv_archive.errors import ToolError
from uv_archive.filenames import WheelFilename, parse_wheel
from uv_archive.lock.model import Distribution, LocalPath

NAME = "uv-archive"

# 1980-01-01, the first instant that a ZIP file can hold: wheels have no times of a clock.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_WHEEL = b"Wheel-Version: 1.0\nGenerator: uv-archive\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnWheel:
    """The wheel of an installed distribution of pure Python."""

    filename: WheelFilename
    content: bytes

    @property
    def distribution(self) -> Distribution:
        """The wheel as if a lock named it."""
        return Distribution(
            filename=self.filename,
            location=LocalPath(self.filename.text),
            source=self.filename.text,
            digest=Digest("sha256", hashlib.sha256(self.content).hexdigest()),
            size=len(self.content),
            place="",
        )


def installed() -> metadata.Distribution:
    """Return what is installed of this program. Raises `ToolError` if it isn't."""
    try:
        return metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        raise ToolError(
            f"`{NAME}` runs without being installed, so `--with-tools` can't bring it along",
            hint=f"Install it, for example with `pip install {NAME}`",
        ) from None


def own_wheel() -> OwnWheel:
    """Return the wheel of this program. Raises `ToolError` where it can't be made."""
    return wheel_of(installed(), package=Path(__file__).parents[1])


def wheel_of(distribution: metadata.Distribution, *, package: Path) -> OwnWheel:
    """Make a wheel of an installed *distribution* whose only import package is *package*.

    The same files give the same bytes, in whichever way they were installed. Specification:
    binary distribution format. Raises `ToolError` where files are lacking.
    """
    stem = f"{re.sub(r'[-_.]+', '_', distribution.name).lower()}-{distribution.version}"
    information = f"{stem}.dist-info"
    members = {**_package(package), **_information(distribution, information)}
    rows = [f"{name},{_record_hash(data)},{len(data)}" for name, data in sorted(members.items())]
    record = "".join(f"{row}\n" for row in (*rows, f"{information}/RECORD,,"))
    # "Archivers are encouraged to place the .dist-info files physically at the end."
    ordered = sorted(members.items(), key=lambda item: (item[0].startswith(information), item[0]))
    return OwnWheel(
        filename=parse_wheel(f"{stem}-py3-none-any.whl"),
        content=_zipped({**dict(ordered), f"{information}/RECORD": record.encode()}),
    )


def _package(directory: Path) -> Mapping[str, bytes]:
    if not directory.is_dir():
        raise ToolError(f"`{directory}` isn't a directory, so `--with-tools` can't bring it along")
    return {
        f"{directory.name}/{path.relative_to(directory).as_posix()}": path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _information(distribution: metadata.Distribution, directory: str) -> Mapping[str, bytes]:
    """Return the `.dist-info` files that say something of the program, not of its installation."""
    described = distribution.read_text("METADATA")
    if described is None:
        raise ToolError(
            f"The installation of `{distribution.name}` has no metadata",
            hint=f"Install it anew, for example with `pip install --force-reinstall {NAME}`",
        )
    found = {f"{directory}/METADATA": described.encode(), f"{directory}/WHEEL": _WHEEL}
    entry_points = distribution.read_text("entry_points.txt")
    if entry_points is not None:
        found[f"{directory}/entry_points.txt"] = entry_points.encode()
    for file in distribution.files or ():
        _, dist_info, rest = file.as_posix().partition(".dist-info/licenses/")
        if dist_info:
            found[f"{directory}/licenses/{rest}"] = file.read_binary()
    return found


def _record_hash(data: bytes) -> str:
    # "The hash is the algorithm, an equals sign, and the urlsafe-base64-nopad encoded digest."
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"sha256={digest}"


def _zipped(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    # Stored: what deflate makes of the same bytes depends on the library.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3  # Unix, wherever this runs
            member.external_attr = 0o100644 << 16
            archive.writestr(member, data)
    return packed.getvalue()
