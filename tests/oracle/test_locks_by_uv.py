"""The selection beside uv, on locks that `uv lock` writes here and now."""

from __future__ import annotations

import os
import subprocess
import tempfile
import tomllib
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.distributions import make_sdist, make_wheel
from tests.oracle.comparison import Oracle, check
from tests.oracle.project import stand_in
from tests.oracle.sampling import EXAMPLES, places, random_requests, requests
from tests.oracle.server import Index
from tests.strategies import Released, Workspace, workspaces
from uv_archive.lock import read_lock

_REQUESTS = 6
_SCIENCE = """\
[project]
name = "science"
version = "0.1"
requires-python = ">=3.9"
dependencies = [
    "numpy", "pandas[excel,parquet]", "matplotlib; python_full_version >= '3.10.1'",
    "antlr4-python3-runtime==4.9.3", "jax[cpu]; sys_platform != 'win32'",
]
[project.optional-dependencies]
old = ["scipy<1.12", "scikit-learn<1.4"]
new = ["scipy>=1.13", "scikit-learn>=1.5"]
[dependency-groups]
dev = ["pytest", "hypothesis[numpy]", { include-group = "docs" }]
docs = ["sphinx", "mkdocs-material"]
[tool.uv]
conflicts = [[{ extra = "old" }, { extra = "new" }]]
"""
_WEB = """\
[project]
name = "web"
version = "0.1"
requires-python = ">=3.11"
dependencies = [
    "fastapi[standard]", "sqlalchemy[asyncio,postgresql-psycopgbinary]", "celery[redis]",
    "cryptography", "gunicorn; os_name != 'nt'", "waitress; os_name == 'nt'", "uvicorn[standard]",
]
[dependency-groups]
dev = ["mypy", "ruff", "ipython"]
[tool.uv]
environments = ["sys_platform == 'linux'", "sys_platform == 'win32'"]
"""
_LEARNING = """\
[project]
name = "learning"
version = "0.1"
requires-python = ">=3.10, <3.14"
dependencies = ["transformers[torch]", "datasets", "tensorboard", "safetensors[numpy]"]
[project.optional-dependencies]
notebook = ["jupyterlab", "ipywidgets"]
[dependency-groups]
dev = ["pytest"]
old = ["numpy<2"]
new = ["numpy>=2"]
[tool.uv]
default-groups = ["dev", "new"]
conflicts = [[{ group = "old" }, { group = "new" }]]
"""
_PROJECTS = {"science": _SCIENCE, "web": _WEB, "learning": _LEARNING}


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", _PROJECTS)
def test_selection_is_what_uv_asks_for_of_public_distributions(
    name: str, oracle: Oracle, index: Index, uv: Path, tmp_path: Path
) -> None:
    pyproject = tmp_path / name / "pyproject.toml"
    pyproject.parent.mkdir()
    pyproject.write_text(_PROJECTS[name])
    # Metadata of sdists that aren't static would have to be built; those here are.
    subprocess.run([uv, "lock", "--quiet", "--project", pyproject.parent], check=True)
    lock = read_lock(pyproject.with_name("uv.lock"))
    configured = tomllib.loads(_PROJECTS[name])["tool"]["uv"].get("default-groups")
    standin = stand_in(lock.document, index, tmp_path / "copy", default_groups=configured)
    where = places(lock, configured)
    check(
        oracle.difference(lock, standin, request)
        for request in islice(requests(lock, where, Random(name)), EXAMPLES or 40)
    )


@pytest.mark.slow
@pytest.mark.timeout(0)
@settings(
    max_examples=(EXAMPLES or 90) // _REQUESTS,
    deadline=None,
    # Every step of shrinking costs some syncs, and would go on for minutes.
    phases=[phase for phase in Phase if phase is not Phase.shrink],
    suppress_health_check=[*HealthCheck],
)
@given(workspace=workspaces(), seed=st.integers(0, 2**32))
def test_selection_is_what_uv_asks_for_with_a_lock_of_a_generated_workspace(
    oracle: Oracle, index: Index, uv: Path, workspace: Workspace, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "workspace")
        _write(workspace, root, Path(directory, "distributions"))
        assume(_locked(uv, root))
        lock = read_lock(root / "uv.lock")
        standin = stand_in(lock.document, index, Path(directory, "copy"))
        where = places(lock, None)
        check(
            oracle.difference(lock, standin, request)
            for request in islice(random_requests(lock, where, Random(seed)), _REQUESTS)
        )
        standin.close(index)


def _write(workspace: Workspace, root: Path, distributions: Path) -> None:
    for released in workspace.released:
        _release(released, distributions)
    for path, pyproject in workspace.pyprojects.items():
        file = root / path / "pyproject.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(tomli_w.dumps(pyproject))


def _release(released: Released, directory: Path) -> None:
    for tags in released.wheels:
        make_wheel(
            directory,
            released.name,
            released.version,
            tags=tags,
            requires=released.requires,
            extras=released.extras,
        )
    if released.sdist:
        make_sdist(directory, released.name, released.version, requires=released.requires)


def _locked(uv: Path, root: Path) -> bool:
    """Lock, and return whether there is a solution."""
    finished = subprocess.run(
        [uv, "lock", "--no-cache", "--offline", "--no-index", "--find-links", "../distributions"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
    )
    solved = finished.returncode == 0
    assert solved or "No solution found" in finished.stderr, finished.stderr
    return solved
