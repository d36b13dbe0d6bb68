"""Running it again: nothing is fetched twice, requests add up, a stopped run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.distributions import make_wheel
from tests.e2e.bench import Bench, bytes_of, tree
from tests.e2e.projects import PLAIN, write_project
from tests.e2e.validity import assert_valid

HERE = "delta-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
WINDOWS = "delta-1.0-cp311-cp311-win_amd64.whl"
#: The first long enough to be stopped in its middle.
BIG, SMALL = "big-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"
LINUX = ("-p", "3.11", "--python-platform", "linux")
ON_WINDOWS = ("-p", "3.11", "--python-platform", "windows")


@pytest.fixture
def simple(bench: Bench) -> Bench:
    """A project without a build, so that every file is the lock's."""
    write_project(bench, '["alpha==1.0"]', build="", more="[dependency-groups]\ngpu = ['delta']\n")
    bench.lock()
    bench.index.requests.clear()
    return bench


@pytest.fixture
def with_big(bench: Bench) -> Bench:
    noise = os.urandom(200_000)
    make_wheel(bench.index.at("main"), "big", "1.0", files={"big.bin": noise})
    write_project(bench, '["big", "beta"]', build="")
    bench.lock()
    bench.index.requests.clear()
    return bench


def requests_of(bench: Bench) -> Sequence[object]:
    found = bench.manifest()["requests"]
    assert isinstance(found, list)
    return found


class TestNothingToDo:
    def test_asks_no_server_and_changes_nothing(self, bench: Bench) -> None:
        PLAIN.write(bench)
        bench.lock()
        bench.download()
        before = tree(bench.root)
        bench.index.requests.clear()
        said = bench.download()
        assert bench.index.requests == []
        assert tree(bench.root) == before
        assert "Nothing to download: 14 distributions already in" in said.err

    def test_nor_without_a_home_for_quick_checks(self, simple: Bench) -> None:
        homeless = {"HOME": None}
        simple.download(variables=homeless)
        before = tree(simple.archive)
        simple.index.requests.clear()
        simple.download("--frozen", variables=homeless)
        assert simple.index.requests == []
        assert tree(simple.archive) == before

    def test_an_archive_that_was_copied_is_taken_up(self, simple: Bench, tmp_path: Path) -> None:
        simple.download()
        before = bytes_of(simple.archive)
        simple.archive.rename(tmp_path / "moved")
        simple.index.requests.clear()
        simple.download("--frozen", "-o", tmp_path / "moved", variables={"HOME": str(tmp_path)})
        assert simple.index.requests == []
        assert bytes_of(tmp_path / "moved") == before


class TestRequests:
    def test_add_up(self, simple: Bench) -> None:
        simple.download(*LINUX, "--group", "gpu")
        assert simple.distributions() == {"alpha-1.0-py3-none-any.whl", SMALL, HERE}
        simple.index.requests.clear()
        said = simple.download(*ON_WINDOWS, "--group", "gpu")
        assert simple.index.fetched == [WINDOWS]
        assert "1 distribution downloaded" in said.err
        assert "3 already there" in said.err
        assert simple.distributions() == {"alpha-1.0-py3-none-any.whl", SMALL, HERE, WINDOWS}
        assert len(requests_of(simple)) == 2
        simple.download(*ON_WINDOWS, "--group", "gpu")
        assert len(requests_of(simple)) == 2
        assert_valid(simple)

    def test_replace_forgets_and_prune_removes_what_was_recorded(self, simple: Bench) -> None:
        simple.download(*LINUX, "--group", "gpu")
        simple.download(*ON_WINDOWS, "--group", "gpu")
        foreign = simple.archive / "foreign-1.0-py3-none-any.whl"
        foreign.write_bytes(b"whose is it?")
        (simple.archive / "notes.txt").write_text("mine")

        simple.download(*LINUX, "--replace")
        assert len(requests_of(simple)) == 1
        assert {HERE, WINDOWS} <= simple.distributions()
        rehearsed = simple.download(*LINUX, "--prune", "--dry-run")
        assert {HERE, WINDOWS} <= simple.distributions()
        said = simple.download(*LINUX, "--prune")

        assert simple.distributions() == {"alpha-1.0-py3-none-any.whl", SMALL, foreign.name}
        assert foreign.read_bytes() == b"whose is it?"
        assert (simple.archive / "notes.txt").read_text() == "mine"
        assert "2 removed" in said.err
        for name in (HERE, WINDOWS):
            assert f"remove {name}".split() in [line.split() for line in rehearsed.out.splitlines()]
        foreign.unlink()
        (simple.archive / "notes.txt").unlink()
        assert_valid(simple)
        fresh = simple.directory / "fresh"
        simple.download(*LINUX, "-o", fresh)
        assert bytes_of(fresh) == bytes_of(simple.archive)

    def test_are_planned_again_when_the_lock_changes(self, bench: Bench) -> None:
        """Every earlier request, and nothing that is still needed is fetched again."""
        write_project(bench, '["alpha"]', build="", more="[dependency-groups]\nd = ['delta']\n")
        bench.lock("--upgrade-package", "alpha==1.0")
        bench.download(*LINUX)
        bench.download(*ON_WINDOWS, "--group", "d")
        assert "alpha-1.0-py3-none-any.whl" in bench.distributions()
        bench.lock("--upgrade-package", "alpha==2.0")
        bench.index.requests.clear()

        said = bench.download(*LINUX)
        assert bench.index.fetched == ["alpha-2.0-py3-none-any.whl"]
        assert len(requests_of(bench)) == 2
        assert {SMALL, WINDOWS, "alpha-1.0-py3-none-any.whl"} <= bench.distributions()
        assert "1 distribution downloaded" in said.err
        bench.sync()
        bench.download(*LINUX, "--prune")
        assert bench.distributions() == {SMALL, WINDOWS, "alpha-2.0-py3-none-any.whl"}

    def test_one_that_the_lock_cannot_meet_any_more_is_forgotten_with_replace(
        self, bench: Bench
    ) -> None:
        write_project(bench, '["alpha"]', build="", more="[dependency-groups]\nd = ['delta']\n")
        bench.lock()
        bench.download(*LINUX, "--group", "d")
        write_project(bench, '["alpha"]', build="")
        bench.lock()

        said = bench.uv_archive("download", *LINUX)
        assert said.status == 2
        assert "What was downloaded earlier" in said.err
        assert "(--group d), can't be had by this lock: The group" in said.err
        assert "hint: `--replace` forgets" in said.err
        bench.download(*LINUX, "--replace")
        assert bench.distributions() >= {SMALL}
        own = bench.uv_archive("download", *LINUX, "--group", "d")
        assert own.status == 2
        assert "--replace" not in own.err

    def test_a_build_requirement_that_becomes_locked_is_not_fetched_again(
        self, bench: Bench
    ) -> None:
        write_project(bench, '["gamma"]', build="")
        bench.lock()
        bench.download()
        assert "forge-1.0-py3-none-any.whl" in bench.distributions()
        write_project(bench, '["gamma", "forge"]', build="")
        bench.lock()
        bench.index.requests.clear()
        bench.download()
        assert bench.index.fetched == []
        recorded = bench.manifest()["files"]
        assert isinstance(recorded, dict)
        assert recorded["forge-1.0-py3-none-any.whl"]["vouched"] is True


class TestVerify:
    def test_repairs_a_damaged_file_and_says_so(self, simple: Bench) -> None:
        simple.download()
        before = bytes_of(simple.archive)
        damaged = simple.archive / SMALL
        status, content = damaged.stat(), damaged.read_bytes()
        damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
        simple.index.requests.clear()
        said = simple.download("--verify")
        assert simple.index.fetched == [SMALL]
        assert f"`{SMALL}`" in said.err
        assert bytes_of(simple.archive) == before

    def test_leaves_a_sound_archive_alone(self, simple: Bench) -> None:
        simple.download()
        before = tree(simple.archive)
        simple.index.requests.clear()
        simple.download("--verify", "--frozen")
        assert simple.index.requests == []
        assert tree(simple.archive) == before

    @pytest.mark.parametrize("how", ["truncated", "removed", "replaced-by-a-link"])
    def test_what_can_be_seen_is_repaired_without_it(self, simple: Bench, how: str) -> None:
        simple.download()
        before = bytes_of(simple.archive)
        path = simple.archive / SMALL
        if how == "truncated":
            path.write_bytes(path.read_bytes()[:100])
        else:
            path.unlink()
        if how == "replaced-by-a-link":
            path.symlink_to(simple.index.directory / "main" / SMALL)
        simple.index.requests.clear()
        simple.download("--frozen")
        assert simple.index.fetched == [SMALL]
        assert bytes_of(simple.archive) == before
        assert_valid(simple)


class TestDryRun:
    def test_writes_nothing_at_all(self, simple: Bench) -> None:
        before = tree(simple.directory)
        said = simple.download("--dry-run")
        assert tree(simple.directory) == before
        assert simple.index.fetched == []
        first, *files = said.out.splitlines()
        assert first.startswith("2 distributions to download (")
        assert [line.split()[-1] for line in files] == ["alpha-1.0-py3-none-any.whl", SMALL]

    def test_of_an_archive_writes_nothing_either(self, simple: Bench) -> None:
        simple.download(*LINUX)
        before = tree(simple.directory)
        simple.index.requests.clear()
        said = simple.download(*ON_WINDOWS, "--group", "gpu", "--dry-run", "--frozen")
        assert tree(simple.directory) == before
        assert simple.index.fetched == []
        assert said.out.startswith("1 distribution to download (")
        kinds = [(line.split()[0], line.split()[-1]) for line in said.out.splitlines()[1:]]
        assert kinds == [("download", WINDOWS), ("keep", "alpha-1.0-py3-none-any.whl"),
                         ("keep", SMALL)]  # fmt: skip

    def test_names_what_the_run_then_does(self, simple: Bench) -> None:
        rehearsed = simple.download("--dry-run", "--output-format", "json").json
        done = simple.download("--output-format", "json").json
        assert rehearsed["fetched"] == done["fetched"]
        assert (rehearsed["dry_run"], done["dry_run"]) == (True, False)
        assert rehearsed["digest"] is None


@contextmanager
def stopped_in_the_middle(bench: Bench, number: signal.Signals) -> Iterator[tuple[int, str]]:
    """Start a download, send it a signal while a file is half there, and wait for its end."""
    bench.index.held = {BIG}
    process = subprocess.Popen(
        [sys.executable, "-m", "uv_archive", "download", "--frozen"],
        cwd=bench.root,
        env=bench.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        deadline = time.monotonic() + 120
        partial = bench.archive / ".partial"
        while not any(p.stat().st_size > 90_000 for p in partial.glob("*") if p.is_file()):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    bench.index.held = set()
    bench.index.release.set()
    yield process.returncode, said


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_a_stopped_run_goes_on_where_it_was(
    with_big: Bench, number: signal.Signals, status: int
) -> None:
    with stopped_in_the_middle(with_big, number) as (returned, said):
        assert returned == status
        assert "Traceback" not in said
        assert ("run it again" in said) == (number != signal.SIGKILL)
        assert not (with_big.archive / "uv-archive.json").exists()
        assert not (with_big.archive / BIG).exists()
    incomplete = with_big.uv_archive("sync", offline=True)
    assert incomplete.status == 2
    assert "no complete archive" in incomplete.err

    with_big.index.requests.clear()
    with_big.download("--frozen")
    # The rest of the one, and of the other at most what it hadn't got.
    assert with_big.index.fetched.count(BIG) == 1
    assert_valid(with_big)
    fresh = with_big.directory / "fresh"
    with_big.download("--frozen", "-o", fresh)
    assert bytes_of(fresh) == bytes_of(with_big.archive)


def test_a_stopped_second_request_keeps_what_the_first_gave(with_big: Bench) -> None:
    with_big.download("--frozen")
    write_project(with_big, '["beta"]', build="", more="[dependency-groups]\ng = ['big']\n")
    with_big.lock()
    with_big.download("--replace", "--prune")
    before = bytes_of(with_big.archive)
    write_project(with_big, '["beta", "big"]', build="", more="[dependency-groups]\ng = ['big']\n")
    with_big.lock()
    with stopped_in_the_middle(with_big, signal.SIGKILL) as (returned, _):
        assert returned == -9
    after = bytes_of(with_big.archive)
    assert {path: after.get(path) for path in before if path.endswith(".whl")} == {
        path: digest for path, digest in before.items() if path.endswith(".whl")
    }
    with_big.download()
    assert_valid(with_big)
    with_big.sync()
