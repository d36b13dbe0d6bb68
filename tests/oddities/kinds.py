"""Distributions that have the right hash and something odd about them, each of one kind."""

from __future__ import annotations

import io
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.distributions import make_sdist, make_wheel

_INFO = "odd-1.0.dist-info"
_RECORD = f"{_INFO}/RECORD"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LONGEST = 255 - len("-1.0-py3-none-any.whl")

Content = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """How an odd file is made in a directory, and what uv does with it.

    *said* has a part of each thing that a look at it says. Its distribution is called *name*.
    """

    make: Callable[[Path], Path]
    said: tuple[str, ...] = ()
    refused: bool = False
    name: str = "odd"


def _content(*, change: Mapping[str, bytes] | None = None, drop: str = "") -> Content:
    """Return the members of the wheel `odd`, some of them changed."""
    rows = [(f"{_INFO}/METADATA", _metadata("odd", "1.0")), (f"{_INFO}/WHEEL", _wheel("1.0"))]
    content = {"odd/__init__.py": b'__version__ = "1.0"\n', **dict(rows)}
    content[_RECORD] = _record(*content)
    content |= change or {}
    return [(name, data) for name, data in content.items() if name != drop]


def _metadata(name: str, version: str) -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()


def _wheel(version: str) -> bytes:
    return (
        f"Wheel-Version: {version}\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    ).encode()


def _record(*names: str, hashed: str = "", size: str = "") -> bytes:
    return "".join(f"{name},{hashed},{size}\n" for name in (*names, _RECORD)).encode()


def _packed(
    content: Content,
    *,
    method: int = zipfile.ZIP_STORED,
    comment: bytes = b"",
    modes: Mapping[int, int] | None = None,
) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as file:
        warnings.simplefilter("ignore")  # names that are there twice
        for number, (name, data) in enumerate(content):
            information = zipfile.ZipInfo(name, _EPOCH)
            information.external_attr = (modes or {}).get(number, 0o100644) << 16
            information.compress_type = method
            file.writestr(information, data)
        file.comment = comment
    return buffer.getvalue()


def wheel(packed: bytes, *, name: str = "odd-1.0-py3-none-any.whl") -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        path = directory / name
        path.write_bytes(packed)
        return path

    return make


def _with(*added: tuple[str, bytes]) -> Content:
    """Return the wheel with members more, all of which its RECORD lists."""
    own = _content()
    names = [name for name, _ in (*own, *added) if name != _RECORD]
    return [*((n, d) for n, d in own if n != _RECORD), *added, (_RECORD, _record(*names))]


def _with_record(record: bytes) -> Callable[[Path], Path]:
    return wheel(_packed(_content(change={_RECORD: record})))


def _with_metadata(name: str, version: str) -> Callable[[Path], Path]:
    return wheel(_packed(_content(change={f"{_INFO}/METADATA": _metadata(name, version)})))


def _with_info(directory: str) -> Callable[[Path], Path]:
    """Make the wheel with another name of its `.dist-info` directory."""
    content = [
        (name.replace(_INFO, directory), data.replace(_INFO.encode(), directory.encode()))
        for name, data in _content()
    ]
    return wheel(_packed(content))


def _encrypted() -> bytes:
    packed = bytearray(_packed(_content()))
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        packed[packed.find(signature) + place] |= 1
    return bytes(packed)


def _miscounted() -> bytes:
    packed = bytearray(_packed(_content()))
    struct.pack_into("<2H", packed, packed.rfind(b"PK\5\6") + 8, 3, 3)
    return bytes(packed)


class _Pipe(io.RawIOBase):
    """Takes bytes one after the other, with no way back."""

    def __init__(self) -> None:
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        assert isinstance(data, bytes | bytearray | memoryview)
        self.content += bytes(data)
        return len(data)


def _streamed() -> bytes:
    """Pack the wheel into a pipe, so that sizes come after the bytes."""
    pipe = _Pipe()
    with zipfile.ZipFile(io.BufferedWriter(pipe), "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in _content():
            file.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return pipe.content


def _wide() -> bytes:
    """Pack the wheel with 64-bit sizes in its members' headers."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in _content():
            with file.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as member:
                member.write(data)
    return buffer.getvalue()


def _renamed(make: Callable[[Path], Path], name: str) -> Callable[[Path], Path]:
    def renamed(directory: Path) -> Path:
        path = make(directory)
        return path.rename(path.with_name(name))

    return renamed


def _sdist(directory: Path) -> Path:
    return make_sdist(directory, "odd", "1.0")


def _tarred(ending: str, mode: Literal["w:", "w:gz", "w:bz2", "w:xz"]) -> Callable[[Path], Path]:
    """Make the sdist with another ending, packed in another way."""

    def make(directory: Path) -> Path:
        path = _sdist(directory)
        buffer = io.BytesIO()
        with tarfile.open(path) as old, tarfile.open(fileobj=buffer, mode=mode) as new:
            for one in old:
                new.addfile(one, old.extractfile(one))
        path.unlink()
        path = directory / f"odd-1.0{ending}"
        path.write_bytes(buffer.getvalue())
        return path

    return make


def _zipped(method: int) -> Callable[[Path], Path]:
    """Make the sdist a ZIP file, as many were."""

    def make(directory: Path) -> Path:
        path = _sdist(directory)
        with tarfile.open(path) as old:
            content = [(one.name, file.read()) for one in old if (file := old.extractfile(one))]
        path.unlink()
        path = directory / "odd-1.0.zip"
        path.write_bytes(_packed(content, method=method))
        return path

    return make


def _long(directory: Path) -> Path:
    return make_wheel(directory, "o" * _LONGEST, "1.0")


_A = ("odd/a.py", b"a = 1\n")

KINDS: Mapping[str, Kind] = {
    # Nothing is odd about these.
    "plain": Kind(make=wheel(_packed(_content()))),
    "deflated": Kind(make=wheel(_packed(_content(), method=zipfile.ZIP_DEFLATED))),
    "streamed": Kind(make=wheel(_streamed())),
    "64-bit-sizes": Kind(make=wheel(_wide())),
    "comment": Kind(make=wheel(_packed(_content(), comment=b"a comment"))),
    "directory-entries": Kind(make=wheel(_packed([*_content(), ("odd/", b"")]))),
    "minor-format": Kind(
        make=wheel(_packed(_content(change={f"{_INFO}/WHEEL": _wheel("1.9")}))),
    ),
    "dist-info-in-capitals": Kind(make=_with_info("ODD-1.0.dist-info")),
    "dist-info-of-another-name": Kind(make=_with_info("ode-2.0.dist-info")),
    "record-with-dots": Kind(make=_with_record(_record(*(f"./{n}" for n, _ in _content()[:-1])))),
    # How members are packed.
    "bzip2": Kind(
        make=wheel(_packed(_content(), method=zipfile.ZIP_BZIP2)), said=("bzip2",), refused=True
    ),
    "lzma": Kind(
        make=wheel(_packed(_content(), method=zipfile.ZIP_LZMA)), said=("lzma",), refused=True
    ),
    "encrypted": Kind(make=wheel(_encrypted()), said=("encrypted",), refused=True),
    # What members there are.
    "twice-the-same": Kind(make=wheel(_packed(_with(_A, _A))), said=("`odd/a.py` twice",)),
    "twice-with-other-bytes": Kind(
        make=wheel(_packed(_with(_A, ("odd/a.py", b"b")))),
        said=("`odd/a.py` twice, with different bytes",),
        refused=True,
    ),
    "twice-with-other-permissions": Kind(
        make=wheel(_packed(_with(_A, _A), modes={4: 0o100755})),
        said=("`odd/a.py` twice, with different permissions",),
        refused=True,
    ),
    "absolute-member": Kind(
        make=wheel(_packed(_with(("/tmp/odd.py", b"")))),
        said=("`/tmp/odd.py`, which leads out", "`RECORD` with `tmp/odd.py`"),
    ),
    "member-above": Kind(
        make=wheel(_packed(_with(("../odd.py", b"")))),
        said=("`../odd.py`, which leads out",),
    ),
    "control-character": Kind(
        make=wheel(_packed(_with(("odd/a\tb.py", b"")))),
        said=("`odd/a\ufffdb.py`, whose name can't be printed",),
        refused=True,
    ),
    "not-utf-8": Kind(
        make=wheel(_packed(_with(("odd/abc.py", b""))).replace(b"d/abc.", b"d/\xff\xfec.")),
        said=("whose name isn't UTF-8", "can't be read"),
        refused=True,
    ),
    # What surrounds them.
    "before-the-beginning": Kind(
        make=wheel(b"#!/bin/sh\n" + _packed(_content())), said=("before its beg",), refused=True
    ),
    "after-the-end": Kind(
        make=wheel(_packed(_content()) + b"more"), said=("after its end",), refused=True
    ),
    "zip-in-the-comment": Kind(
        make=wheel(_packed(_content(), comment=b"PK\5\6" + b"\0" * 18)),
        said=("another ZIP file",),
        refused=True,
    ),
    "miscounted": Kind(make=wheel(_miscounted()), said=("number of members",), refused=True),
    "no-zip": Kind(make=wheel(b"<html>"), said=("no ZIP file",), refused=True),
    "cut-off": Kind(make=wheel(_packed(_content())[:-30]), said=("no ZIP file",), refused=True),
    # What the wheel says of itself.
    "no-dist-info": Kind(
        make=wheel(_packed([_A])), said=("0 `.dist-info` directories",), refused=True
    ),
    "two-dist-infos": Kind(
        make=wheel(_packed(_with(("other-1.0.dist-info/METADATA", b"")))),
        said=("2 `.dist-info` directories",),
        refused=True,
    ),
    "no-metadata": Kind(
        make=wheel(_packed(_content(drop=f"{_INFO}/METADATA"))),
        said=("no `METADATA`", "`RECORD` with"),
        refused=True,
    ),
    "no-wheel-file": Kind(
        make=wheel(_packed(_content(drop=f"{_INFO}/WHEEL"))),
        said=("no `WHEEL`", "`RECORD` with"),
        refused=True,
    ),
    "next-format": Kind(
        make=wheel(_packed(_content(change={f"{_INFO}/WHEEL": _wheel("2.0")}))),
        said=("format '2.0'",),
        refused=True,
    ),
    "no-format": Kind(
        make=wheel(_packed(_content(change={f"{_INFO}/WHEEL": b"Root-Is-Purelib: true\n"}))),
        said=("format ''",),
        refused=True,
    ),
    "another-name": Kind(
        make=_with_metadata("ode", "1.0"), said=("its name is 'ode'",), refused=True
    ),
    "another-version": Kind(
        make=_with_metadata("odd", "2.0"), said=("its version is '2.0'",), refused=True
    ),
    "no-version": Kind(
        make=_with_metadata("odd", "one"), said=("its version is 'one'",), refused=True
    ),
    "another-spelling-of-both": Kind(make=_with_metadata("ODD", "1.0.0")),
    # Its RECORD.
    "no-record": Kind(
        make=wheel(_packed(_content(drop=_RECORD))), said=("no `RECORD`",), refused=True
    ),
    "empty-record": Kind(make=_with_record(b""), said=("`RECORD` without",)),
    "record-with-more": Kind(
        make=_with_record(_record(*(n for n, _ in _content()[:-1]), "odd/more.py")),
        said=("`RECORD` with `odd/more.py`, which isn't there",),
    ),
    "record-with-less": Kind(
        make=wheel(_packed([*_content(), _A])), said=("`RECORD` without `odd/a.py`",)
    ),
    "record-with-other-sizes": Kind(
        make=_with_record(_record(*(n for n, _ in _content()[:-1]), size="7")),
        said=("`RECORD` with another size",),
    ),
    # Nobody notices before `sync --verify-install`, and then the wheel decides.
    "record-with-other-hashes": Kind(
        make=_with_record(_record(*(n for n, _ in _content()[:-1]), hashed=f"sha256={'A' * 43}"))
    ),
    "record-that-leads-out": Kind(
        make=_with_record(_record(*(n for n, _ in _content()[:-1]), "../../../bin/odd")),
        said=("`RECORD` with `../../../bin/odd`",),
    ),
    "record-with-absolute-paths": Kind(
        make=_with_record(_record(*(f"/{n}" for n, _ in _content()[:-1])))
    ),
    "record-of-two-columns": Kind(
        make=_with_record(b"odd/__init__.py,\n"), said=("can't be read",), refused=True
    ),
    "record-with-a-word-for-a-size": Kind(
        make=_with_record(b"odd/__init__.py,,big\n"), said=("can't be read",), refused=True
    ),
    "record-that-is-not-utf-8": Kind(
        make=_with_record(b"odd/\xff.py,,\n"), said=("can't be read",), refused=True
    ),
    # Names.
    "name-in-capitals": Kind(
        make=wheel(_packed(_content()), name="Odd-1.0-py3-none-any.whl"),
        said=("would be called `odd-1.0",),
    ),
    "version-spelt-otherwise": Kind(
        make=wheel(_packed(_content()), name="odd-01.0-py3-none-any.whl"),
        said=("would be called `odd-1.0",),
    ),
    "longest-name": Kind(make=_long, said=("name of 255 characters",), name="o" * _LONGEST),
    # sdists.
    "sdist": Kind(make=_sdist),
    "sdist-in-capitals": Kind(
        make=_renamed(_sdist, "Odd-1.0.tar.gz"), said=("would be called `odd-1.0",)
    ),
    "sdist-version-spelt-otherwise": Kind(
        make=_renamed(_sdist, "odd-v01.0.tar.gz"), said=("would be called `odd-1.0",)
    ),
    "tgz": Kind(make=_tarred(".tgz", "w:gz")),
    "tar": Kind(make=_tarred(".tar", "w:")),
    "zip": Kind(make=_zipped(zipfile.ZIP_DEFLATED)),
    "zip-with-bzip2": Kind(make=_zipped(zipfile.ZIP_BZIP2), said=("bzip2",), refused=True),
    "tar-bz2": Kind(make=_tarred(".tar.bz2", "w:bz2"), said=("a `.tar.bz2` file",), refused=True),
    "tbz": Kind(make=_tarred(".tbz", "w:bz2"), said=("a `.tbz` file",), refused=True),
    "tar-xz": Kind(make=_tarred(".tar.xz", "w:xz"), said=("a `.tar.xz` file",), refused=True),
    "txz": Kind(make=_tarred(".txz", "w:xz"), said=("a `.txz` file",), refused=True),
    "gz-that-is-none": Kind(
        make=_tarred(".tar.gz", "w:"), said=("isn't packed as `.tar.gz` says",), refused=True
    ),
}
