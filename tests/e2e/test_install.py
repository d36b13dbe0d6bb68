"""Download, then install without a network: what is installed is what plain uv installs."""

from __future__ import annotations

import pytest

from tests.e2e.bench import Bench, difference, installed, tree
from tests.e2e.projects import PLAIN, SCENARIOS, Scenario
from tests.e2e.validity import assert_valid


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_installs_offline_what_uv_sync_installs_online(bench: Bench, scenario: Scenario) -> None:
    scenario.write(bench)
    bench.lock()
    expected = {}
    for flags, _ in scenario.installs:
        online = bench.run(bench.uv, "sync", "--locked", *flags)
        assert online.status == 0, online.err
        expected[tuple(flags)] = installed(bench.venv)
        bench.clear_environment()
    before = tree(bench.root)

    bench.download(*scenario.download)
    assert_valid(bench)
    for flags, modules in scenario.installs:
        bench.clear_environment()
        bench.sync(*flags)
        assert difference(installed(bench.venv), expected[tuple(flags)]) == []
        bench.imports(*modules)
        bench.assert_nothing_left_to_do(*flags)
        bench.clear_environment()

    after = {path: state for path, state in tree(bench.root).items() if path in before}
    assert after == before
    assert {path.split("/")[0] for path in tree(bench.root)} - {
        path.split("/")[0] for path in before
    } == {"dist"}


def test_all_platforms_install_here_too(bench: Bench) -> None:
    PLAIN.write(bench)
    bench.lock()
    bench.download("--all-platforms")
    assert_valid(bench)
    assert {path for path in bench.distributions() if path.startswith("delta")} == {
        *("delta-1.0-cp311-cp311-macosx_11_0_arm64.whl", "delta-1.0-cp311-cp311-win_amd64.whl"),
        *("delta-1.0-cp312-cp312-win_amd64.whl", "delta-1.0.tar.gz"),
        "delta-1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
        "delta-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
    }
    bench.sync()
    bench.assert_nothing_left_to_do()


@pytest.mark.parametrize("quiet", ["-q", "--quiet"])
def test_a_quiet_sync_says_nothing(carried: Bench, quiet: str) -> None:
    talk = carried.sync().err
    assert "Checking" in talk
    assert "to build with" in talk
    carried.clear_environment()
    said = carried.sync(quiet)
    assert said.text.strip() == "", said.text
