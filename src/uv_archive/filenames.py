"""File names of distributions: the grammar that foreign text must fit before it names a file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.utils import (
    BuildTag,
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from packaging.tags import Tag

# Most file systems end a name at 255 bytes.
_LONGEST = 255
# What versions (PEP 440), names and tags are written with; `!` is an epoch, `+` a local version.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*[A-Za-z0-9]")
# Windows takes these for devices, whatever follows the first dot.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)
# Compressed tag sets multiply, so that a short name could mean thousands of tags.
_MOST_TAGS = 1000

#: Endings of sdists. PEP 625 allows the first, and older releases have a `.zip`. The others
#: are kept as locked, though newer installers refuse them.
SDIST_ENDINGS = (
    ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz",
    ".tar.zst", ".tar.lz", ".tlz", ".tar.lzma", ".tar",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelFilename:
    """A wheel's name, taken apart. Specification: binary distribution format."""

    text: str
    name: NormalizedName
    version: Version
    build: BuildTag
    tags: frozenset[Tag]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True, slots=True)
class SdistFilename:
    """An sdist's name, taken apart. Specification: source distribution format."""

    text: str
    name: NormalizedName
    version: Version
    ending: str

    def __str__(self) -> str:
        return self.text


def check_safe(text: str) -> None:
    """Raise `ValueError` unless *text* is a plain file name on every file system.

    Letters, digits and `._+!-` only: no separator, no drive, no control character and no
    trailing dot can be among them. Names that Windows reserves, such as `aux.x`, are out too.
    """
    if not _SAFE.fullmatch(text) or _RESERVED.match(text):
        raise ValueError("not the name of a distribution")
    if len(text) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters")


@lru_cache(maxsize=8192)
def parse_version(text: str) -> Version:
    """Read a version (PEP 440); the same text gives the same object. Raises `InvalidVersion`.

    A lock has each version at least twice, and versions were a tenth of its memory.
    """
    return Version(text)


@lru_cache(maxsize=16384)
def parse_wheel(text: str) -> WheelFilename:
    """Take a wheel's file name apart. Raises `ValueError`."""
    check_safe(text)
    written_name, dash, rest = text.partition("-")
    try:
        # uv takes a name with several underscores in a row, `packaging` doesn't.
        single = re.sub("_{2,}", "_", written_name)
        head, tags = _halves(single + dash + rest)
        name, version, build, _ = _parse_head(head)
        return WheelFilename(
            text=text, name=name, version=version, build=build, tags=_parse_tags(tags)
        )
    except InvalidWheelFilename as error:
        raise ValueError("not the name of a wheel") from error


def _halves(text: str) -> tuple[str, str]:
    """Split a wheel's name before its tags.

    A package's wheels have the first half in common, and a lock's wheels a few second ones, so
    each is parsed once: a lock has thousands of names, and reading them was most of reading it.
    """
    parts = text.rsplit("-", 3)
    if len(parts) < 4:
        raise InvalidWheelFilename("too few parts")
    return parts[0], "-".join(parts[1:])


@lru_cache(maxsize=64)
def _parse_head(head: str) -> tuple[NormalizedName, Version, BuildTag, frozenset[Tag]]:
    name, version, build, tags = parse_wheel_filename(f"{head}-py3-none-any.whl")
    return name, parse_version(str(version)), build, tags


@lru_cache(maxsize=4096)
def _parse_tags(tags: str) -> frozenset[Tag]:
    if math.prod(part.count(".") + 1 for part in tags.split("-")) > _MOST_TAGS:
        raise ValueError("not the name of a wheel: it has too many tags")
    return parse_wheel_filename(f"a-0-{tags}")[3]


def parse_sdist(text: str, name: NormalizedName) -> SdistFilename:
    """Take the file name of an sdist of *name* apart. Raises `ValueError`.

    The project's name has to be known: in `a-1-1.zip` the version may be `1` or `1-1`.
    """
    check_safe(text)
    ending = next((ending for ending in SDIST_ENDINGS if text.endswith(ending)), None)
    if ending is None:
        raise ValueError("not the name of an sdist")
    stem = text.removesuffix(ending)
    head, tail = stem[: len(name)], stem[len(name) :]
    if canonicalize_name(head) != name or not tail.startswith("-"):
        raise ValueError(f"not the name of an sdist of `{name}`")
    try:
        version = Version(tail[1:])
    except InvalidVersion as error:
        raise ValueError("not the name of an sdist: its version can't be read") from error
    return SdistFilename(text=text, name=name, version=version, ending=ending)
