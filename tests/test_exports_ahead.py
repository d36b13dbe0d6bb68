"""Exports begun beside the transfers count only for the files that did come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.archive.samples import lock_text, package
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath, place
from uv_archive.archive.manifest import Entry, Locked
from uv_archive.download import exports_ahead
from uv_archive.download.contents import Content
from uv_archive.download.exports_ahead import Exports, ExportsAhead, Files
from uv_archive.errors import ToolError
from uv_archive.lock import parse_lock

A, B = "a-1.0-py3-none-any.whl", "b-1.0-py3-none-any.whl"
URLS = {name: f"https://files.example/{name}" for name in (A, B)}
LOCK = parse_lock(
    lock_text(
        package("a", wheels={URLS[A]: "a"}),
        package("b", wheels={URLS[B]: "b"}),
    ).encode()
)
PLACED = place(LOCK)


class Exporter:
    """Notes which files it was asked for."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []

    def __call__(self, files: Files) -> Exports:
        self.asked.append(set(files))
        return {str(len(self.asked)): Pylock(document={}, left_out=())}


def contents(*, size: int | None = 10) -> Mapping[ArchivePath, Content]:
    return {
        path: Content(path=path, distribution=replace(one, size=size), why=(Locked(),))
        for one, path in PLACED.items()
    }


def entries() -> dict[ArchivePath, Entry]:
    came = {}
    for path, one in contents().items():
        assert one.distribution.digest is not None
        came[path] = one.entry(size=10, sha256=one.distribution.digest.hex)
    return came


def test_what_was_begun_is_taken_if_just_that_came() -> None:
    exporter = Exporter()
    exports = ExportsAhead(exporter, locked=PLACED.values())
    exports.begin(contents())
    other = ArchivePath("unlocked-1.0-py3-none-any.whl")
    came = entries()
    assert set(exports.of({**came, other: next(iter(came.values()))})) == {"1"}
    assert exporter.asked == [{A, B}]


@pytest.mark.parametrize("change", ["size", "sha256", "missing"])
def test_it_is_made_anew_if_anything_else_came(change: str) -> None:
    exporter = Exporter()
    exports = ExportsAhead(exporter, locked=PLACED.values())
    exports.begin(contents())
    came = entries()
    match change:
        case "size":
            came[ArchivePath(A)] = replace(came[ArchivePath(A)], size=11)
        case "sha256":
            came[ArchivePath(A)] = replace(came[ArchivePath(A)], sha256="0" * 64)
        case _:
            del came[ArchivePath(A)]
    exports.wait()
    assert set(exports.of(came)) == {"2"}
    assert exporter.asked[1] == set(came)


def test_nothing_is_begun_where_the_lock_gives_no_size() -> None:
    exporter = Exporter()
    exports = ExportsAhead(exporter, locked=PLACED.values())
    exports.begin(contents(size=None))
    exports.wait()
    assert exporter.asked == []
    assert set(exports.of(entries())) == {"1"}


def test_nothing_is_begun_beside_very_many_transfers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports_ahead, "_MOST", 1)
    exporter = Exporter()
    exports = ExportsAhead(exporter, locked=PLACED.values())
    exports.begin(contents())
    exports.wait()
    assert exporter.asked == []


def test_a_failure_is_raised_where_the_exports_are_wanted() -> None:
    def refuse(_: Files) -> Exports:
        raise ToolError("uv can't")

    exports = ExportsAhead(refuse, locked=PLACED.values())
    exports.begin(contents())
    exports.wait()
    with pytest.raises(ToolError, match="uv can't"):
        exports.of(entries())
