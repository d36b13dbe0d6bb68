"""Odd distributions: what is said of them, cheaply, and whether the real uv agrees."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from tests.distributions import make_wheel, sha256
from tests.e2e.bench import Bench
from tests.e2e.conftest import benched
from tests.e2e.projects import write_project
from tests.oddities.kinds import KINDS, Kind
from uv_archive.download.oddities import Oddity, Suspect, find_oddities
from uv_archive.filenames import parse_sdist, parse_wheel

# Read here because the tests don't see variables of uv's.
PLACES = [at for at in os.environ.get("UV_ARCHIVE_DISTRIBUTIONS", "").split(os.pathsep) if at]
ENDINGS = (".whl", ".tar.gz", ".zip")


def look_at(path: Path, name: str = "odd") -> tuple[Oddity, ...]:
    is_wheel = path.suffix == ".whl"
    filename = (
        parse_wheel(path.name) if is_wheel else parse_sdist(path.name, canonicalize_name(name))
    )
    return find_oddities([Suspect(path=path.name, filename=filename, file=path)])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_it_is_said(kind: Kind, tmp_path: Path) -> None:
    found = look_at(kind.make(tmp_path), kind.name)
    assert len(found) == len(kind.said), found
    for one, said in zip(found, kind.said, strict=True):
        assert said in one.what
    assert any(one.refused for one in found) == kind.refused


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_uv_does_what_is_said(kind: Kind, uv: Path, tmp_path: Path) -> None:
    """Let the real uv install each from a relocated lock, as `sync` does."""
    odd = kind.make(tmp_path)
    write_lock(tmp_path, odd, kind.name, source=".", location=f'path = "{odd.name}"')
    head = f"[project]\nname = 'app'\nversion = '1.0'\ndependencies = ['{kind.name}']\n"
    (tmp_path / "pyproject.toml").write_text(head + "requires-python = '>=3.11'\n")
    command = [str(uv), "sync", "--frozen", "--offline", "--no-config"]
    command += ["--cache-dir", str(tmp_path / "cache"), "--python", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == kind.refused, done.stderr


def write_lock(directory: Path, odd: Path, name: str, *, source: str, location: str) -> None:
    """Write a lock that names the odd file, as an index might have had it at the time."""
    begin, end = ("wheels = [{", "}]") if odd.suffix == ".whl" else ("sdist = {", "}")
    text = f"""
        version = 1
        revision = 3
        requires-python = ">=3.11"

        [[package]]
        name = "app"
        version = "1.0"
        source = {{ virtual = "." }}
        dependencies = [{{ name = "{name}" }}]

        [package.metadata]
        requires-dist = [{{ name = "{name}" }}]

        [[package]]
        name = "{name}"
        version = "1.0"
        source = {{ registry = "{source}" }}
        {begin} {location}, hash = "{sha256(odd)}" {end}
        """
    (directory / "uv.lock").write_text(textwrap.dedent(text))


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory, uv: Path, no_network: tuple[str, ...]
) -> Iterator[Bench]:
    nothing = tmp_path_factory.mktemp("nothing")
    directory = tmp_path_factory.mktemp("odd") / "bench"
    with benched(directory, catalogue=nothing, uv=uv, offline=no_network) as bench:
        yield bench


@contextmanager
def locked(bench: Bench, kind: str) -> Iterator[Path]:
    """Have a project whose lock names an odd file of that kind, which an index serves."""
    odd, name = KINDS[kind].make(bench.index.at("main")), KINDS[kind].name
    write_project(bench, f'["{name}"]', build="")
    location = f'url = "{bench.index.url(odd)}"'
    write_lock(bench.root, odd, name, source=bench.index.simple(), location=location)
    try:
        yield odd
    finally:
        odd.unlink()
        shutil.rmtree(bench.archive)
        bench.clear_environment()


@pytest.mark.parametrize(
    "kind",
    [
        *("member-above", "absolute-member", "twice-the-same", "longest-name"),
        *("record-with-other-hashes", "record-with-other-sizes", "record-that-leads-out"),
    ],
)
def test_what_uv_takes_is_stored_and_installed(kind: str, bench: Bench) -> None:
    with locked(bench, kind) as odd:
        said = bench.download("--frozen", "--output-format", "json").json["oddities"]
        assert isinstance(said, list)
        assert [one["path"] for one in said] == [odd.name] * len(KINDS[kind].said)
        assert not any(one["refused"] for one in said)
        assert (bench.archive / odd.name).read_bytes() == odd.read_bytes()
        bench.sync("--frozen")
        bench.sync("--frozen", "--verify-install")


def test_what_uv_refuses_is_stored_and_warned_of(bench: Bench) -> None:
    with locked(bench, "bzip2") as odd:
        said = bench.download("--frozen")
        assert f"warning: uv won't install from `{odd.name}`: it has members that" in said.err
        assert "hint: It is in the archive as it was locked" in said.err
        assert (bench.archive / odd.name).read_bytes() == odd.read_bytes()
        # Nothing came, so nothing is looked into; `--verify` looks again.
        assert "won't install" not in bench.download("--frozen").err
        assert "won't install" in bench.download("--frozen", "--verify").err
        installed = bench.uv_archive("sync", "--frozen", offline=True)
        assert installed.status == 1
        assert "unsupported compression method" in installed.err


def test_names_are_judged_in_a_dry_run(bench: Bench) -> None:
    with locked(bench, "tar-bz2") as odd:
        bench.archive.mkdir(parents=True)
        said = bench.download("--frozen", "--dry-run", "--no-build-requirements")
        assert f"uv won't install from `{odd.name}`: it is a `.tar.bz2` file" in said.err


def test_what_uv_takes_is_no_warning(bench: Bench) -> None:
    with locked(bench, "name-in-capitals") as odd:
        said = bench.download("--frozen")
        assert f"Odd, and taken by uv all the same: `{odd.name}` would be" in said.err
        assert "warning" not in said.err


@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 10**6),
)
def test_no_bytes_cause_an_exception(
    kind: str, changes: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp() / "mutated"
    directory.mkdir(exist_ok=True)
    path = KINDS[kind].make(directory)
    content = bytearray(path.read_bytes())
    for position, byte in changes:
        content[-1 - position % len(content)] = byte
    path.write_bytes(content[: len(content) - cut % len(content) if cut % 3 == 0 else None])
    for one in look_at(path, KINDS[kind].name):
        assert one.what.isprintable()
    path.unlink()


class TestHostileFiles:
    """Files that are made to cost time or memory."""

    @contextmanager
    def cheaply(self, *, seconds: float = 2.0, mebibytes: int = 100) -> Iterator[None]:
        tracemalloc.start()
        began = time.process_time()
        try:
            yield
            assert time.process_time() - began < seconds
            assert tracemalloc.get_traced_memory()[1] < mebibytes * 2**20
        finally:
            tracemalloc.stop()

    def test_a_record_that_is_a_bomb(self, tmp_path: Path) -> None:
        path = make_wheel(tmp_path, "odd", "1.0")
        with zipfile.ZipFile(path) as file:
            content = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in content.items():
                bomb = b"\0" * (200 * 2**20) if name.endswith(("RECORD", "METADATA")) else data
                file.writestr(name, bomb)
        assert path.stat().st_size < 2**20
        with self.cheaply():
            assert any(one.refused for one in look_at(path))

    def test_a_record_of_very_many_rows(self, tmp_path: Path) -> None:
        path = make_wheel(tmp_path, "odd", "1.0")
        with zipfile.ZipFile(path) as file:
            content = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in content.items():
                file.writestr(name, b"a,,\n" * 2**21 if name.endswith("RECORD") else data)
        with self.cheaply():
            assert "many more files" in look_at(path)[0].what

    def test_a_record_that_says_it_is_small(self, tmp_path: Path) -> None:
        path = make_wheel(tmp_path, "odd", "1.0")
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr("other-1.0.dist-info/RECORD", b"a,,\n" * (10 * 2**20))
        packed = path.read_bytes().replace(struct.pack("<L", 4 * 10 * 2**20), struct.pack("<L", 9))
        path.write_bytes(packed.replace(b"odd-1.0.dist-info/", b"odd-1.0.dist-inf0/"))
        with self.cheaply(mebibytes=40):
            look_at(path)

    def test_very_many_members(self, tmp_path: Path) -> None:
        entry = struct.pack("<4s4B4H3L5H2L", b"PK\1\2", *[0] * 11, 1, *[0] * 6) + b"a"
        count = 400_000
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(entry) * count, 0, 0)
        path = tmp_path / "odd-1.0-py3-none-any.whl"
        path.write_bytes(entry * count + end)
        with self.cheaply():
            assert [one.what for one in look_at(path)] == ["has more members than are looked at"]

    def test_a_directory_that_says_it_is_anywhere(self, tmp_path: Path) -> None:
        path = tmp_path / "odd-1.0-py3-none-any.whl"
        for offset in (0, 1, 2**31, 2**32 - 1):
            for size in (0, 46, 2**31, 2**32 - 1):
                end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, offset, 0)
                path.write_bytes(b"x" * 100 + end)
                assert look_at(path)

    def test_a_file_that_is_gone_is_passed_over(self, tmp_path: Path) -> None:
        assert look_at(tmp_path / "odd-1.0-py3-none-any.whl") == ()


@pytest.mark.slow
@pytest.mark.skipif(
    not PLACES,
    reason="`UV_ARCHIVE_DISTRIBUTIONS` names no directories with real distributions",
)
def test_real_distributions_are_refused_only_by_uv_too(uv: Path, tmp_path: Path) -> None:
    """Look at every distribution below the directories, and ask uv about those said to be refused.

    A false refusal frightens; a missed one is told at the install.
    """
    every = (path for at in PLACES for path in Path(at).rglob("*"))
    paths = {path.name: path for path in every if path.name.endswith(ENDINGS)}
    found = {name: look_at(path, re.split(r"-(?=\d)", name)[0]) for name, path in paths.items()}
    strange = sum(map(bool, found.values()))
    refused = {name: odd for name, odd in found.items() if any(one.refused for one in odd)}
    false = {}
    for name, odd in refused.items():
        command = [str(uv), "pip", "install", "--target", str(tmp_path), "--no-deps", "--offline"]
        done = subprocess.run([*command, str(paths[name])], capture_output=True, check=False)
        if done.returncode == 0:
            false[name] = [one.what for one in odd]
    print(
        f"{len(paths):,} distributions, {strange} odd, {len(refused)} said to be refused, "
        f"{len(false)} falsely"
    )
    assert paths
    assert json.dumps(false) == "{}"
