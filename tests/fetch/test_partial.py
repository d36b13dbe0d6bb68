"""Large files go to the disk while they are fetched; a failure of that is never lost."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from uv_archive.errors import StorageError
from uv_archive.fetch import partial
from uv_archive.fetch.partial import PartialFile

BLOCK = b"x" * 1000


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Send off every 1,000 bytes; return the sizes that files had when they were synced."""
    seen: list[int] = []

    def sync(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(partial, "_SEND_OFF", len(BLOCK))
    monkeypatch.setattr(os, "fsync", sync)
    return seen


def failing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first sync fail: as on Linux, the later ones know nothing of it."""
    told: list[int] = []

    def sync(descriptor: int) -> None:
        told.append(descriptor)
        if len(told) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(partial, "_SEND_OFF", len(BLOCK))
    monkeypatch.setattr(os, "fsync", sync)


def test_the_disk_begins_before_the_end(tmp_path: Path, syncs: list[int]) -> None:
    with PartialFile(tmp_path / "file", None) as file:
        for _ in range(3):
            file.append(BLOCK)
        file.make_durable()
    assert len(syncs) == 4
    assert syncs[-1] == 3 * len(BLOCK)
    assert file.sha256 == hashlib.sha256(BLOCK * 3).hexdigest()


def test_it_begins_anew_after_a_fresh_start(tmp_path: Path, syncs: list[int]) -> None:
    with PartialFile(tmp_path / "file", None) as file:
        file.append(BLOCK)
        file.clear()
        file.append(BLOCK[:10])
        file.make_durable()
    assert len(syncs) == 2
    assert (tmp_path / "file").read_bytes() == BLOCK[:10]


@pytest.mark.parametrize(
    "go_on",
    [
        pytest.param(lambda file: file.append(BLOCK), id="at-the-next-bytes"),
        pytest.param(lambda file: file.make_durable(), id="at-the-end"),
        pytest.param(lambda file: file.clear(), id="at-a-fresh-start"),
    ],
)
def test_a_failure_on_the_way_is_told_and_leaves_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, go_on: Callable[[PartialFile], None]
) -> None:
    failing_once(monkeypatch)
    with PartialFile(tmp_path / "file", None) as file:
        file.append(BLOCK)
        with pytest.raises(StorageError, match="can't be written"):
            go_on(file)
    assert not (tmp_path / "file").exists()


def test_a_failure_that_nobody_waits_for_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(monkeypatch)
    with PartialFile(tmp_path / "file", None) as file:
        file.append(BLOCK)
    assert not (tmp_path / "file").exists()
