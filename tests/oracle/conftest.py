"""What the comparisons with uv share, and the figures they end with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oracle.comparison import Oracle, Tally
from tests.oracle.install import Installer
from tests.oracle.interpreters import Interpreters
from tests.oracle.server import Index, running_index
from uv_archive.target import inspect_interpreter

_TALLIES = pytest.StashKey[dict[str, Tally]]()


@pytest.fixture(scope="session")
def index() -> Iterator[Index]:
    with running_index() as running:
        yield running


@pytest.fixture(scope="session")
def installer(uv: Path, index: Index, tmp_path_factory: pytest.TempPathFactory) -> Installer:
    return Installer(uv, index, Interpreters(tmp_path_factory.mktemp("interpreters"), uv))


@pytest.fixture
def silent_oracle(installer: Installer) -> Oracle:
    """Compares without leaving figures: what it is given differs on purpose."""
    return Oracle(installer, inspect_interpreter(Path(sys.executable)).target.platform)


@pytest.fixture
def oracle(request: pytest.FixtureRequest, silent_oracle: Oracle) -> Iterator[Oracle]:
    """Compares, and has its figures in the summary under the test's name."""
    oracle = silent_oracle
    yield oracle
    tallies = request.config.stash.setdefault(_TALLIES, {})
    tallies.setdefault(request.node.name.partition("[")[0], Tally()).add(oracle.tally)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tallies = terminalreporter.config.stash.get(_TALLIES, {})
    if tallies:
        terminalreporter.section("selection beside `uv sync`")
    total = Tally()
    for name, tally in tallies.items():
        terminalreporter.write_line(f"{name}: {tally}")
        total.add(tally)
    if len(tallies) > 1:
        terminalreporter.write_line(f"together: {total}")
