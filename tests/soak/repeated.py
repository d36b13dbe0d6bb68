"""A plugin of pytest that carries out each test several times: `-p tests.soak.repeated`."""

from __future__ import annotations

import os

import pytest

TIMES = int(os.environ.get("UV_ARCHIVE_TIMES", "1"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if TIMES > 1:
        metafunc.fixturenames.append("_time")
        metafunc.parametrize("_time", range(TIMES))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = {kind: len(reports) for kind, reports in terminalreporter.stats.items() if kind}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    terminalreporter.write_line(f"tried {counts.get('passed', 0) + failed}, failed {failed}")
