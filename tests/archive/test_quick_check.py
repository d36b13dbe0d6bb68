"""What is known of files without reading them: never wrong, and never needed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.archive.samples import hexdigest
from uv_archive.archive.quick_check import QuickCheck
from uv_archive.archive.store import FileState, Store

LATER = 10**18 * 9  # nanoseconds: long after any file here was written
DIGEST = hexdigest("content")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    directory = tmp_path / "archive"
    directory.mkdir()
    directory.joinpath("a.whl").write_bytes(b"content")
    return directory


def state(archive: Path) -> FileState:
    return Store(archive).scan().files["a.whl"]


def remembered(archive: Path, cache: Path) -> QuickCheck:
    check = QuickCheck.load(cache, archive)
    check.record("a.whl", state(archive), DIGEST, now=LATER)
    check.save()
    return QuickCheck.load(cache, archive)


def test_an_unchanged_file_is_known(archive: Path, tmp_path: Path) -> None:
    check = remembered(archive, tmp_path / "cache")
    assert check.known_digest("a.whl", state(archive)) == DIGEST
    assert check.known_digest("b.whl", state(archive)) is None


@pytest.mark.parametrize("change", ["content", "size", "times", "replaced", "restored-times"])
def test_a_changed_file_is_not(archive: Path, tmp_path: Path, change: str) -> None:
    check = remembered(archive, tmp_path / "cache")
    path = archive / "a.whl"
    before = path.stat()
    match change:
        case "content":
            path.write_bytes(b"CONTENT")
        case "size":
            path.write_bytes(b"content and more")
        case "times":
            os.utime(path, ns=(0, 0))
        case "replaced":
            path.rename(archive / "old.whl")
            path.write_bytes(b"content")
        case _:
            path.write_bytes(b"CONTENT")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert check.known_digest("a.whl", state(archive)) is None


def test_a_file_that_changed_just_now_is_not_remembered(archive: Path, tmp_path: Path) -> None:
    check = QuickCheck.load(tmp_path / "cache", archive)
    found = state(archive)
    for now in (found.changed, found.changed + 10**7, found.changed - 10**12):
        check.record("a.whl", found, DIGEST, now=now)
        assert check.known_digest("a.whl", found) is None
    check.record("a.whl", found, DIGEST, now=found.changed + 10**9)
    assert check.known_digest("a.whl", found) == DIGEST


def test_each_archive_has_its_own(archive: Path, tmp_path: Path) -> None:
    remembered(archive, tmp_path / "cache")
    other = archive.with_name("other")
    assert QuickCheck.load(tmp_path / "cache", other).rows == {}
    (tmp_path / "link").symlink_to(archive)
    linked = QuickCheck.load(tmp_path / "cache", tmp_path / "link")
    assert linked.known_digest("a.whl", state(archive)) == DIGEST


def test_files_that_are_gone_are_forgotten(archive: Path, tmp_path: Path) -> None:
    check = remembered(archive, tmp_path / "cache")
    check.keep(set())
    check.save()
    assert QuickCheck.load(tmp_path / "cache", archive).rows == {}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"\xff", id="not-UTF-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"version": 2}', id="another-version"),
        pytest.param(b'{"version": 1, "archive": "/elsewhere", "files": {}}', id="another-archive"),
    ],
)
def test_a_damaged_cache_is_passed_over(archive: Path, tmp_path: Path, content: bytes) -> None:
    check = remembered(archive, tmp_path / "cache")
    assert check.path is not None
    check.path.write_bytes(content)
    assert QuickCheck.load(tmp_path / "cache", archive).rows == {}
    assert remembered(archive, tmp_path / "cache").rows != {}


def test_damaged_rows_are_passed_over(archive: Path, tmp_path: Path) -> None:
    check = remembered(archive, tmp_path / "cache")
    assert check.path is not None
    document = json.loads(check.path.read_bytes())
    document["files"] |= {"b": None, "c": [1, 2], "d": [1, 2, 3, 4, "short"], "e": ["1"] * 5}
    check.path.write_text(json.dumps(document), encoding="utf-8")
    assert QuickCheck.load(tmp_path / "cache", archive).rows.keys() == {"a.whl"}


def test_a_cache_that_cannot_be_written_is_passed_over(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    check = QuickCheck.load(tmp_path / "file", archive)
    check.record("a.whl", state(archive), DIGEST, now=LATER)
    check.save()
    assert (tmp_path / "file").read_bytes() == b"kept"
    none = QuickCheck.load(None, archive)
    none.record("a.whl", state(archive), DIGEST, now=LATER)
    none.save()
    assert none.known_digest("a.whl", state(archive)) == DIGEST


def test_1700_files_are_compared_in_a_moment(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(1700):
        (archive / f"distribution{number}-1.0-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    check = QuickCheck.load(tmp_path / "cache", archive)
    for path, found in Store(archive).scan().files.items():
        check.record(path, found, DIGEST, now=LATER)
    check.save()
    fastest = 1.0
    for _ in range(5):
        began = time.process_time()  # Others may keep this machine busy.
        again = QuickCheck.load(tmp_path / "cache", archive)
        files = Store(archive).scan().files
        known = [again.known_digest(path, found) for path, found in files.items()]
        fastest = min(fastest, time.process_time() - began)
        assert known == [DIGEST] * 1700
    print(f"1,700 files looked at and compared in {fastest * 1000:.0f} ms")
    assert fastest < 0.2  # the bar for a whole run with nothing to do is 0.5 s
