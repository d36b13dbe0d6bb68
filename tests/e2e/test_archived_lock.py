"""`sync --use-archived-lock`: the archive's lock for a project that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.bench import Bench, difference, installed, tree
from tests.e2e.projects import PLAIN, SCENARIOS, Scenario


@pytest.mark.parametrize(
    "scenario", [PLAIN, *SCENARIOS[2:3], *SCENARIOS[5:6]], ids=lambda scenario: scenario.name
)
def test_installs_what_the_project_s_own_lock_would(bench: Bench, scenario: Scenario) -> None:
    scenario.write(bench)
    bench.lock()
    bench.download(*scenario.download)
    flags, modules = scenario.installs[0]
    bench.sync(*flags)
    expected = installed(bench.venv)
    bench.clear_environment()
    lock = bench.root.joinpath("uv.lock").read_bytes()
    bench.root.joinpath("uv.lock").unlink()
    before = tree(bench.root)

    said = bench.sync(*flags, "--use-archived-lock")

    assert "The lock is the archive's own" in said.err
    assert "--expect" in said.err
    assert difference(installed(bench.venv), expected) == []
    bench.imports(*modules)
    assert {path: tree(bench.root).get(path) for path in before} == before
    assert not bench.root.joinpath("uv.lock").exists()
    bench.root.joinpath("uv.lock").write_bytes(lock)
    bench.assert_nothing_left_to_do(*flags)


@pytest.fixture
def unlocked(carried: Bench, finished: Bench) -> Bench:
    """A far side with the finished archive and project, but for the lock."""
    assert finished.archive.is_dir()
    carried.root.joinpath("uv.lock").unlink()
    return carried


def test_is_said_by_nobody_but_the_flag(unlocked: Bench) -> None:
    said = unlocked.uv_archive("sync", offline=True)
    assert said.status == 2
    assert "There is no lock" in said.err


def test_a_changed_copy_is_refused(unlocked: Bench) -> None:
    path: Path = unlocked.archive / "locked" / "uv.lock"
    path.write_text(path.read_text().replace('version = "1.0"', 'version = "1.1"', 1))
    said = unlocked.uv_archive("sync", "--use-archived-lock", offline=True)
    assert said.status == 1
    assert "isn't what the archive recorded" in said.err
    assert not unlocked.venv.exists()


def test_another_project_s_archive_is_refused(unlocked: Bench) -> None:
    path = unlocked.root / "pyproject.toml"
    path.write_text(path.read_text().replace('name = "app"', 'name = "another"'))
    said = unlocked.uv_archive("sync", "--use-archived-lock", offline=True)
    assert said.status == 2
    assert "is the archive of `app`, not of `another`" in said.err


def test_locked_asks_for_more_than_there_is(unlocked: Bench) -> None:
    said = unlocked.uv_archive("sync", "--use-archived-lock", "--locked", offline=True)
    assert said.status == 2
    assert "exclude each other" in said.err


def test_a_lock_that_is_there_goes_before(carried: Bench) -> None:
    said = carried.uv_archive("sync", "--use-archived-lock", offline=True)
    assert said.status == 2
    assert "is for where there is none" in said.err
