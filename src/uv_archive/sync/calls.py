"""How uv is called: with which variables, which cache, and which Python it would take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w

from uv_archive.archive.disk import storing
from uv_archive.errors import ToolError
from uv_archive.pylock import PylockFile
from uv_archive.scratch import kept_settings, scrubbed
from uv_archive.script import Script
from uv_archive.sync.script import of_script, without_active
from uv_archive.sync.task import Task
from uv_archive.uv import Completed

if TYPE_CHECKING:
    from uv_archive.sync.git import GitSupply

_NO_BUILD = frozenset({"no-build", "no-build-package"})
_NO_BUILD_VARIABLES = frozenset({"UV_NO_BUILD", "UV_NO_BUILD_PACKAGE"})
# The directory of a Python that uv has installed.
_INSTALLED_BY_UV = re.compile(r"(?:cpython|pypy|graalpy|pyodide)-[0-9]")


def variables_of(task: Task) -> dict[str, str]:
    """Return what uv gets of the environment's variables, and where its cache is."""
    variables = scrubbed(task.request.environment)
    match task.owner:
        case Script():
            variables = of_script(variables, task.environment)
        case PylockFile():
            # What they mean was asked already, and uv would take them for something else.
            for name in ("VIRTUAL_ENV", "UV_PYTHON"):
                variables.pop(name, None)
        case _:
            variables["UV_PROJECT_ENVIRONMENT"] = str(task.environment)
    # Beside the environment, so that files can be linked; uv trusts what lies in a cache, so
    # nobody else may have written there, and it doesn't outlive the sync.
    variables["UV_CACHE_DIR"] = str(task.private / "cache")
    return variables


def run_uv(
    task: Task,
    arguments: Sequence[str],
    *,
    capture: bool,
    git: GitSupply | None = None,
    again: bool = False,
    asking: bool = False,
) -> Completed:
    """Run uv over what the archive has. What is installed *again* has a cache of its own.

    What was installed from the first may be linked to it, and be damaged there too. *asking* is
    about the project's own lock, where `no-build` would leave no answer: of wheels that were built
    beforehand it knows nothing.
    """
    variables = variables_of(task)
    if asking and task.supply.built:
        variables = {k: v for k, v in variables.items() if k.upper() not in _NO_BUILD_VARIABLES}
    if git is not None:
        variables = git.variables(variables)
    if again:
        variables["UV_CACHE_DIR"] = str(task.private / "second-cache")
    return task.uv.run(arguments, environment=variables, directory=task.start, capture=capture)


def settings_file(task: Task, *, building: bool = False) -> Path:
    """Write the settings that uv gets, once. Raises `StorageError`.

    *building* leaves out what keeps uv from building.
    """
    path = task.private / ("settings-to-ask-with.toml" if building else "settings.toml")
    if not path.exists():
        kept = kept_settings(task.settings.options)
        kept = {k: v for k, v in kept.items() if not (building and k in _NO_BUILD)}
        with storing(path):
            path.write_bytes(tomli_w.dumps(kept).encode())
    return path


def naming(task: Task, python: Path) -> Sequence[str]:
    """Return the arguments by which uv takes the *python* that it has found for a new environment.

    It would look for it each time. That takes as long as all the rest of a question where what
    is on `PATH` is a script that chooses a Python. One that uv has installed is found quickly, and
    would be linked otherwise if it were named.
    """
    if task.flags.python is not None or task.environment.exists():
        return ()
    if isinstance(task.owner, Script) or any(map(_INSTALLED_BY_UV.match, python.parts)):
        return ()
    return ("--python", str(python))


def find_python(task: Task, *, where: Sequence[str], wanted: str | None) -> Path:
    """Ask uv which Python it would make the environment with. Raises `ToolError`."""
    found = task.uv.run(
        ["python", "find", "--offline", *where, *task.flags.python_choice]
        + ([wanted] if wanted else []),
        environment=without_active(variables_of(task)),
        directory=task.start,
    )
    if found.status != 0:
        raise ToolError(f"uv finds no Python to install for: {found.stderr.strip()}")
    return Path(found.stdout.strip())
