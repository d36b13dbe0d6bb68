"""With distributions that people use: what is installed offline is what plain uv installs.

`UV_ARCHIVE_MATRIX=all` takes the cases that the everyday count leaves out, and `-s` shows the
table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.e2e.bare import own_directory, pythons, run_bare
from tests.e2e.bench import Said, contents, difference
from tests.e2e.index import Index
from tests.e2e.real import CASES, Case, Site, write_project
from tests.e2e.validity import assert_valid
from tests.git.server import serving

pytestmark = [pytest.mark.network, pytest.mark.slow]

# Read here because the tests don't see variables of uv's.
ALL = os.environ.get("UV_ARCHIVE_MATRIX") == "all"
SCRIPT = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["idna", "docopt==0.6.2"]
# ///
import docopt, idna

print(idna.encode("example").decode())
"""
Contents = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows that are printed in the end."""
    rows: list[str] = []
    yield rows
    print("\n\n| case | flags | distributions | files | against plain uv |\n|---|---|---|---|---|")
    print("\n".join(rows))


@pytest.fixture
def site(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Iterator[Site]:
    """A site that fetches from this machine's index, with this machine's settings."""
    kept = ("UV_", "PIP_", "SSL_", "XDG_CONFIG")
    variables = {n: v for n, v in os.environ.items() if n.startswith(kept) or "proxy" in n.lower()}
    for name in ("home", "project", "git"):
        tmp_path.joinpath(name).mkdir()
    with Index(tmp_path / "index").running() as index, serving(tmp_path / "git") as git:
        yield Site(
            directory=tmp_path,
            index=index,
            uv=uv,
            offline=no_network,
            variables={**variables, "UV_PYTHON": sys.executable},
            git=git,
        )


def online(site: Site) -> dict[str, str]:
    """The cache of whoever has a network, which is empty when the lock is made."""
    return {"UV_CACHE_DIR": str(site.directory / "cache"), "UV_NO_CACHE": "0"}


def row(table: list[str], name: str, flags: Sequence[str], found: Contents) -> None:
    files = sum(map(len, found.values()))
    flags = [Path(flag).parent.parent.name if "/" in flag else flag for flag in flags]
    table.append(f"| {name} | `{' '.join(flags)}` | {len(found)} | {files} | equal |")


def assert_nothing_left_to_run(site: Site, flags: Sequence[str], program: str) -> None:
    """Let plain uv run a line of Python, in the untouched project, without network."""
    before = contents(site.venv)
    said = site.run(site.uv, "run", "--offline", *flags, "python", "-c", program, offline=True)
    assert said.status == 0, said.err
    assert not {"Installed", "Uninstalled", "Built", "Prepared"} & set(said.err.split()), said.err
    assert difference(contents(site.venv), before) == []


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name) for case in CASES if case.everyday or ALL],
)
def test_projects(site: Site, case: Case, table: list[str]) -> None:
    installs = {**case.installs, **(case.write(site) or {})}
    site.lock(variables=online(site))
    expected = {}
    for flags in installs:
        synced = site.run(site.uv, "sync", "--locked", *flags, variables=online(site))
        assert synced.status == 0, synced.err
        expected[flags] = contents(site.venv)
        site.clear_environment()
    site.download(*case.download, variables=online(site))
    assert_valid(site)
    for flags, program in installs.items():
        site.sync(*flags)
        found = contents(site.venv)
        assert found
        assert difference(found, expected[flags]) == []
        site.assert_nothing_left_to_do(*flags)
        assert_nothing_left_to_run(site, flags, program)
        site.clear_environment()
        row(table, case.name, flags, found)


def test_a_script(site: Site, table: list[str]) -> None:
    # The script's environment lies in the user's cache.
    site.variables |= {"UV_CACHE_DIR": str(site.directory / "home/cache"), "UV_NO_CACHE": "0"}
    site.write("x.py", SCRIPT)
    site.lock("--script", "x.py", variables=online(site))
    script = ("sync", "--script", "x.py", "--locked")
    synced = site.run(site.uv, *script, "--output-format", "json")
    assert synced.status == 0, synced.err
    environment = Path(json.loads(synced.out)["sync"]["environment"]["path"])
    expected = contents(environment)
    shutil.rmtree(site.directory / "home" / "cache")

    site.download("--script", "x.py", variables=online(site))
    assert_valid(site)
    site.sync("--script", "x.py")

    found = contents(environment)
    assert difference(found, expected) == []
    said = site.run(site.uv, *script, "--offline", "--dry-run", offline=True)
    assert "Would make no changes" in said.err, said.err
    said = site.run(site.uv, "run", "--offline", "--script", "x.py", offline=True)
    assert (said.status, said.out) == (0, "example\n"), said.err
    assert difference(contents(environment), expected) == []
    row(table, "script", ("--script", "x.py"), found)


def pip_sync(
    site: Site,
    *flags: str,
    offline: bool = False,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Said:
    """Let plain uv install `pylock.toml` into the project's environment."""
    command = ("pip", "sync", "pylock.toml", "--python", str(site.venv), *flags)
    said = site.run(
        site.uv, *command, offline=offline, variables={"VIRTUAL_ENV": None, **variables}
    )
    assert said.status == 0, said.err
    return said


def test_a_pylock_by_pip(site: Site, table: list[str]) -> None:
    pip = [sys.executable, "-m", "pip", "lock", "--quiet", "--no-cache-dir", "-o", "pylock.toml"]
    subprocess.run([*pip, "jinja2", "docopt==0.6.2"], cwd=site.root, check=True)
    packages = tomllib.loads((site.root / "pylock.toml").read_text())["packages"]
    assert {package["name"] for package in packages} == {"docopt", "jinja2", "markupsafe"}
    site.run(site.uv, "venv", site.venv)
    pip_sync(site, variables=online(site))
    expected = contents(site.venv)
    site.clear_environment()

    site.download("--pylock", "pylock.toml", variables=online(site))
    assert_valid(site)
    site.sync("--pylock", "pylock.toml")

    found = contents(site.venv)
    assert difference(found, expected) == []
    assert "Would make no changes" in pip_sync(site, "--dry-run", "--offline", offline=True).err
    row(table, "pylock by pip", ("--pylock", "pylock.toml"), found)


def test_a_bare_machine(site: Site, table: list[str]) -> None:
    """Through `install.py`, with an empty home, and a Python that is too old for the program."""
    write_project(site, ["jinja2", "docopt==0.6.2"])
    site.lock(variables=online(site))
    synced = site.run(site.uv, "sync", "--locked", variables=online(site))
    assert synced.status == 0, synced.err
    expected = contents(site.venv)
    site.clear_environment()
    site.download("--with-tools", "--all-platforms", variables=online(site))
    assert_valid(site)
    assert len(list(site.archive.glob("tools/uv-*"))) == 5
    oldest = min(version for version in pythons() if version >= (3, 8))
    home = site.directory / "empty"
    home.mkdir()
    path = own_directory(Path(sys.executable), site.directory / "path" / "bin")

    said = run_bare(
        site, python=pythons()[oldest], variables={"PATH": str(path), "HOME": str(home)}
    )

    assert said.status == 0, said.err
    assert list(home.iterdir()) == []
    found = contents(site.venv)
    assert difference(found, expected) == []
    site.assert_nothing_left_to_do()
    assert_nothing_left_to_run(site, (), "import jinja2, docopt, app")
    row(table, "bare machine", ("install.py",), found)
