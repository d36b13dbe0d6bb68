"""An archive that was moved, copied, given away or mounted read-only is the same archive."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import give_up
from tests.e2e.bench import Bench, tree


def assert_installs(bench: Bench, archive: Path, *, prefix: tuple[str, ...] = ()) -> None:
    before = tree(archive)
    bench.clear_environment()
    said = bench.uv_archive("sync", "--dist-archive", archive, offline=not prefix, prefix=prefix)
    assert said.status == 0, said.err
    bench.imports("alpha", "gamma", "direct", "directsource", "app")
    bench.assert_nothing_left_to_do()
    assert tree(archive) == before


def test_moved(carried: Bench) -> None:
    moved = carried.directory / "moved"
    carried.archive.rename(moved)
    assert_installs(carried, moved)
    assert_installs(carried, Path(os.path.relpath(moved, carried.root)))


def test_copied_without_links_modes_and_times(carried: Bench) -> None:
    """What a FAT file system keeps: names and bytes; every file is as executable as any other."""
    fat = carried.directory / "fat"
    for path in sorted(carried.archive.rglob("*")):
        copy = fat / path.relative_to(carried.archive)
        if path.is_dir():
            copy.mkdir(parents=True, mode=0o777)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o777)
        os.utime(copy, (946684800, 946684800))
    shutil.rmtree(carried.archive)
    assert_installs(carried, fat)


def test_given_to_somebody_else(carried: Bench) -> None:
    if os.geteuid() != 0:
        give_up("only root can give files away")
    for path in (carried.archive, *carried.archive.rglob("*")):
        os.chown(path, 65534, 65534)
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert_installs(carried, carried.archive)


@pytest.fixture
def mounted_read_only(carried: Bench, tool: Callable[[str], Path]) -> tuple[str, ...]:
    """What to put before a command that shall see the archive mounted read-only."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    prefix = (str(tool("unshare")), "-rmn", "sh", "-c", script, str(carried.archive))
    done = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if done.returncode:
        give_up("this system allows no mount namespace")
    return prefix


def test_mounted_read_only(carried: Bench, mounted_read_only: tuple[str, ...]) -> None:
    refused = carried.run("touch", carried.archive / "new", prefix=mounted_read_only)
    assert "Read-only file system" in refused.err
    assert_installs(carried, carried.archive, prefix=mounted_read_only)


def test_a_download_into_a_read_only_archive_is_refused(
    carried: Bench, mounted_read_only: tuple[str, ...]
) -> None:
    before = tree(carried.archive)
    said = carried.uv_archive("download", "--frozen", prefix=mounted_read_only)
    assert said.status == 2
    assert "Read-only file system" in said.err
    assert tree(carried.archive) == before
