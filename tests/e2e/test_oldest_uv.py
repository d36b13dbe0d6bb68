"""The same with the oldest uv that is supported: whatever kind of source, it is enough.

`UV_ARCHIVE_TEST_UV=PATH` runs every test with another uv than the installed one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import test_git, test_install, test_pylock, test_script
from tests.e2e.bench import Bench
from tests.e2e.conftest import benched
from tests.e2e.projects import SCENARIOS, Scenario
from tests.git.server import GitServer

pytestmark = pytest.mark.network

scripted = test_script.scripted
server = test_git.server
locked = test_git.locked
TRIED = {"every-kind-of-source", "workspace-member", "conflicting-extras-of-two-indexes"}


@pytest.fixture
def bench(
    tmp_path: Path, catalogue: Path, oldest_uv: Path, no_network: tuple[str, ...]
) -> Iterator[Bench]:
    with benched(
        tmp_path / "bench", catalogue=catalogue, uv=oldest_uv, offline=no_network
    ) as bench:
        yield bench


@pytest.mark.parametrize(
    "scenario",
    [scenario for scenario in SCENARIOS if scenario.name in TRIED],
    ids=lambda scenario: scenario.name,
)
def test_projects(bench: Bench, scenario: Scenario) -> None:
    test_install.test_installs_offline_what_uv_sync_installs_online(bench, scenario)


def test_scripts(scripted: Bench) -> None:
    test_script.test_a_script_runs_offline_with_what_uv_would_have_installed(scripted)


def test_git_sources(locked: Bench, server: GitServer) -> None:
    test_git.test_travel_as_bundles(locked, server)


def test_pylock_files(bench: Bench) -> None:
    test_pylock.test_a_commit_comes_along_as_a_bundle(bench)
