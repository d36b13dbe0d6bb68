"""`download --verify` where something else than a file lies in a file's place."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.bench import Bench, bytes_of, tree
from tests.e2e.catalogue import fill
from tests.e2e.conftest import benched
from tests.e2e.projects import write_project
from uv_archive.build.one import copy_checked
from uv_archive.digest import Digest
from uv_archive.errors import DamagedArchiveError

ALPHA = "alpha-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, uv: Path, no_network: tuple[str, ...]
) -> Iterator[Bench]:
    """A project with its archive, and a copy of that in `whole`."""
    directory = tmp_path_factory.mktemp("repair")
    fill(directory / "catalogue")
    with benched(
        directory / "bench", catalogue=directory / "catalogue", uv=uv, offline=no_network
    ) as bench:
        write_project(bench, '["alpha==1.0"]', build="")
        bench.lock()
        bench.download()
        shutil.copytree(bench.archive, bench.directory / "whole")
        yield bench


@pytest.fixture
def bench(made: Bench) -> Bench:
    shutil.rmtree(made.archive)
    shutil.copytree(made.directory / "whole", made.archive)
    made.index.requests.clear()
    return made


def assert_whole(bench: Bench) -> None:
    assert bytes_of(bench.archive) == bytes_of(bench.directory / "whole")
    assert not [path for path in bench.archive.rglob("*") if path.is_symlink()]
    assert bench.uv_archive("verify", "--project", ".", offline=True).status == 0


@pytest.mark.parametrize(
    ("place", "flags"),
    [
        pytest.param(ALPHA, "--verify", id="a-distribution"),
        pytest.param(ALPHA, "--frozen", id="a-distribution-without-verify"),
        pytest.param("uv-archive.json", "--verify", id="the-manifest"),
        pytest.param("README.md", "--replace", id="metadata"),
        pytest.param("locked/uv.lock", "--verify", id="the-lock"),
    ],
)
def test_a_directory_is_somebodys_and_stays(
    bench: Bench, place: str, flags: str, tmp_path: Path
) -> None:
    path = bench.archive / place
    path.unlink()
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    before = tree(bench.archive)
    said = bench.uv_archive("download", flags)
    assert said.status == 2, said.text
    assert f"`{path}` is a directory" in said.err
    assert "hint: Move it elsewhere" in said.err
    assert tree(bench.archive) == before
    assert bench.index.fetched == []
    moved = path.rename(tmp_path / "moved")
    bench.download("--verify")
    assert_whole(bench)
    assert (moved / "thesis.txt").read_text() == "mine"


def link(path: Path, kept: Path) -> None:
    """Leave a link to the very bytes."""
    path.rename(kept / "file")
    path.symlink_to(kept / "file")


def link_to_nothing(path: Path, kept: Path) -> None:
    path.unlink()
    path.symlink_to(kept / "nothing")


def link_to_a_directory(path: Path, kept: Path) -> None:
    path.unlink()
    path.symlink_to(kept)


def pipe(path: Path, kept: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def bound_socket(path: Path, kept: Path) -> None:
    path.unlink()
    # The path of a socket has at most 107 bytes.
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("put", "place"),
    [
        pytest.param(link, ALPHA, id="link"),
        pytest.param(link_to_a_directory, ALPHA, id="link-to-a-directory"),
        pytest.param(pipe, ALPHA, id="pipe"),
        pytest.param(link, "uv-archive.json", id="manifest-a-link"),
        pytest.param(bound_socket, "uv-archive.json", id="manifest-a-socket"),
        pytest.param(pipe, "locked/uv.lock", id="lock-a-pipe"),
        pytest.param(link_to_nothing, "README.md", id="metadata-a-link"),
    ],
)
def test_what_has_no_content_is_replaced_and_that_is_said(
    *,
    bench: Bench,
    put: Callable[[Path, Path], None],
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "thesis.txt").write_text("mine")
    path = bench.archive / place
    monkeypatch.chdir(path.parent)
    put(path, kept)
    elsewhere = bytes_of(kept)
    said = bench.download("--verify")
    assert f"`{place}`, which was no plain file" in said.err or f"`{place}` anew" in said.err
    assert bytes_of(kept) == elsewhere
    assert_whole(bench)


@pytest.mark.parametrize("name", ["locked", ".partial"])
def test_a_file_in_the_place_of_a_directory_is_refused(bench: Bench, name: str) -> None:
    path = bench.archive / name
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("mine")
    before = tree(bench.archive)
    said = bench.uv_archive("download", "--verify")
    assert said.status == 2, said.text
    assert f"`{path}` isn't a directory" in said.err
    assert tree(bench.archive) == before


def test_a_build_waits_for_no_pipe(bench: Bench, tmp_path: Path) -> None:
    lock = bench.archive / "locked" / "uv.lock"
    pipe(lock, tmp_path)
    said = bench.uv_archive("build", str(bench.archive), offline=True)
    assert said.status == 2, said.text
    assert f"`{lock}` isn't a plain file" in said.err
    sdist = tmp_path / "it-1.0.tar.gz"
    os.mkfifo(sdist)
    with pytest.raises(DamagedArchiveError, match="isn't a plain file"):
        copy_checked(sdist, tmp_path / "copies", Digest("sha256", "0" * 64))


def test_a_lost_manifest_is_made_anew(bench: Bench) -> None:
    (bench.archive / "uv-archive.json").unlink()
    before = tree(bench.archive)
    found = bench.uv_archive("verify", str(bench.archive), offline=True)
    assert "`uv-archive.json` isn't there" in found.text
    assert "hint: Copy it again from where the archive is whole, or have it made anew" in found.err
    refused = bench.uv_archive("download")
    assert refused.status == 2
    assert "has lost its `uv-archive.json`" in refused.err
    assert "hint: `uv-archive download --verify`" in refused.err
    assert tree(bench.archive) == before
    said = bench.download("--verify")
    assert "`uv-archive.json` was missing. It is made anew for" in said.err
    assert "damaged" not in said.err
    assert "wasn't as it was written" not in said.err
    assert "What else was requested before" in said.err
    assert bench.index.fetched == []
    assert_whole(bench)


def test_what_only_looks_like_an_archive_is_somebodys(bench: Bench) -> None:
    (bench.archive / "uv-archive.json").unlink()
    (bench.archive / "SHA256SUMS").unlink()
    before = tree(bench.archive)
    said = bench.uv_archive("download", "--verify")
    assert said.status == 2
    assert "is no archive, and it isn't empty" in said.err
    assert tree(bench.archive) == before
