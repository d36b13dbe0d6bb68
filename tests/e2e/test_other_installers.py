"""An archive installs without this program, in a namespace without network."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.bench import Bench, installed

#: What the plain project needs, but for itself.
NEEDED = {
    *("alpha-1.0", "beta-2.0", "delta-1.0", "direct-1.0", "directsource-1.0"),
    *("epsilon-1.0+local.1", "gamma-1.0", "vendored-1.0", "vendoredsource-1.0"),
}
UV = ("pip", "sync", "--offline", "--no-index", "--find-links", ".")
PIP = ("install", "--no-index", "--find-links", ".")


@pytest.fixture
def copied(carried: Bench) -> Bench:
    """The archive alone, in a directory that no project is near."""
    shutil.move(carried.archive, carried.directory / "only")
    shutil.rmtree(carried.root)
    carried.directory.joinpath("only").rename(carried.root)
    done = carried.run(carried.uv, "venv", carried.directory / "env", offline=True)
    assert done.status == 0, done.err
    return carried


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((*UV, "pylock.toml"), id="uv-pip-sync-pylock"),
        pytest.param((*UV, "--require-hashes", "requirements.txt"), id="uv-pip-sync-requirements"),
        pytest.param((*PIP, "-r", "pylock.toml"), id="pip-install-pylock"),
        pytest.param(
            (*PIP, "--require-hashes", "-r", "requirements.txt"), id="pip-install-requirements"
        ),
    ],
)
def test_installs_everything_but_the_project(copied: Bench, arguments: tuple[str, ...]) -> None:
    environment = copied.directory / "env"
    if arguments[0] == "pip":
        variables = {"VIRTUAL_ENV": str(environment), "UV_PYTHON": None}
        said = copied.run(copied.uv, *arguments, offline=True, variables=variables)
    else:
        pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
        said = copied.run(*pip, *arguments, offline=True)
    assert said.status == 0, said.text
    assert installed(environment).keys() == NEEDED


@pytest.mark.parametrize("name", ["pylock.toml", "requirements.txt"])
def test_refuses_other_bytes(copied: Bench, name: str) -> None:
    """The hashes in these files count: a changed wheel isn't installed."""
    wheel = copied.root / "beta-2.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    pip = (sys.executable, "-m", "pip", "--python", copied.directory / "env" / "bin" / "python")
    hashes = ("--require-hashes",) if name == "requirements.txt" else ()
    said = copied.run(*pip, *PIP, *hashes, "-r", name, offline=True)
    assert said.status != 0
    assert "beta" in said.err


def test_sums_are_those_of_sha256sum(
    finished: Bench, tool: Callable[[str], Path], tmp_path: Path
) -> None:
    archive = shutil.copytree(finished.archive, tmp_path / "archive")
    check = (tool("sha256sum"), "-c", "--strict", "--quiet", "SHA256SUMS")
    assert finished.run(*check, cwd=archive).status == 0
    listed = {line.split("  ", 1)[1] for line in (archive / "SHA256SUMS").read_text().splitlines()}
    there = {p.relative_to(archive).as_posix() for p in archive.rglob("*") if p.is_file()}
    # "every file above": what comes after it in the list is younger than the sums.
    assert there - listed == {"SHA256SUMS", "README.md", "uv-archive.json"}
    archive.joinpath("pylock.toml").write_text("")
    assert finished.run(*check, cwd=archive).status == 1
