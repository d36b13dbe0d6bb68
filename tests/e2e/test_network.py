"""With distributions that people use: fetched from a real index, installed without a network."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.bench import Bench, installed
from tests.e2e.index import Index
from tests.e2e.validity import assert_valid

pytestmark = [pytest.mark.network, pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "examples" / "workflow"
HATCHLING = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


@pytest.fixture
def online(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Bench:
    """A bench that fetches from this machine's index, with this machine's settings."""
    kept = ("UV_", "PIP_", "SSL_", "XDG_CONFIG")
    variables = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    proxies = {name: value for name, value in os.environ.items() if "proxy" in name.lower()}
    bench = Bench(
        directory=tmp_path,
        index=Index(tmp_path / "nothing"),
        uv=uv,
        offline=no_network,
        variables={**variables, **proxies, "UV_PYTHON": sys.executable},
    )
    bench.directory.joinpath("home").mkdir()
    bench.root.mkdir()
    return bench


def assert_round_trip(
    bench: Bench, *, download: tuple[str, ...], installs: Mapping[tuple[str, ...], str]
) -> None:
    """Download once, then install each selection without network and run a line of Python."""
    bench.lock()
    bench.download(*download)
    assert_valid(bench)
    for flags, program in installs.items():
        bench.clear_environment()
        online = bench.run(bench.uv, "sync", "--locked", *flags)
        assert online.status == 0, online.err
        expected = installed(bench.venv).keys()
        bench.clear_environment()
        bench.sync(*flags)
        assert installed(bench.venv).keys() == expected
        bench.assert_nothing_left_to_do(*flags)
        said = bench.run(bench.python, "-c", program, offline=True)
        assert said.status == 0, said.err


def member(bench: Bench, name: str, dependencies: str, *, more: str = "", at: str = ".") -> None:
    head = f'[project]\nname = "{name}"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
    bench.write(f"{at}/pyproject.toml", f"{head}dependencies = {dependencies}\n{more}{HATCHLING}")
    bench.write(f"{at}/src/{name}/__init__.py", "")


def test_the_example(online: Bench) -> None:
    online.root.rmdir()
    ignored = shutil.ignore_patterns(".venv", "dist", "uv.lock", "plot.png", "__pycache__")
    shutil.copytree(EXAMPLE, online.root, ignore=ignored)
    assert_round_trip(
        online,
        download=(),
        installs={(): "import docopt, matplotlib, numpy, pandas, workflow"},
    )
    workflow = online.venv / "bin" / "workflow"
    said = online.run(workflow, "--output", "plot.png", offline=True)
    assert said.status == 0, said.err
    assert online.root.joinpath("plot.png").stat().st_size > 1000


def test_a_workspace_of_three_that_need_each_other(online: Bench) -> None:
    sources = "[tool.uv.sources]\nmiddle = { workspace = true }\nbottom = { workspace = true }\n"
    workspace = '[tool.uv.workspace]\nmembers = ["members/*"]\n'
    member(online, "top", '["middle", "click"]', more=workspace + sources)
    member(online, "middle", '["bottom", "pyyaml"]', at="members/middle")
    member(online, "bottom", '["docopt==0.6.2"]', at="members/bottom")
    assert_round_trip(
        online,
        download=("--all-packages",),
        installs={
            (): "import top, middle, bottom, click, yaml, docopt",
            ("--package", "bottom"): "import bottom, docopt",
            ("--all-packages",): "import top, middle, bottom",
        },
    )


def test_conflicting_groups(online: Bench) -> None:
    member(
        online,
        "app",
        "[]",
        more='[dependency-groups]\nold = ["markupsafe==2.1.5"]\nnew = ["markupsafe==3.0.2"]\n'
        '[tool.uv]\nconflicts = [[{ group = "old" }, { group = "new" }]]\n',
    )
    version = "from importlib.metadata import version; assert version('markupsafe') == '{}'"
    assert_round_trip(
        online,
        download=("--all-groups", "-p", "3.11", "--python-platform", "linux",
                  "--python-platform", "windows"),
        installs={
            ("--group", "old"): version.format("2.1.5"),
            ("--group", "new"): version.format("3.0.2"),
        },
    )  # fmt: skip
