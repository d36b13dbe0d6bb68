"""The environment of a script, which lies in the user's cache, and how uv is led to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from uv_archive.errors import ToolError
from uv_archive.scratch import scrubbed
from uv_archive.script import Script
from uv_archive.sync.flags import SyncFlags
from uv_archive.uv import Uv

# What decides where the user's cache is: that of the later `uv run`.
_OF_CACHE = ("UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_NO_CONFIG", "UV_NO_SYSTEM_CONFIG")
# A script has no groups and is no project; uv refuses what would choose them.
_OF_PROJECTS = frozenset(
    {
        *("UV_NO_DEV", "UV_DEV", "UV_NO_GROUP", "UV_NO_DEFAULT_GROUPS"),
        *("UV_NO_INSTALL_LOCAL", "UV_NO_INSTALL_PROJECT", "UV_NO_INSTALL_WORKSPACE"),
        *("UV_PROJECT_ENVIRONMENT", "VIRTUAL_ENV"),
    }
)
_SAID = re.compile(r"script environment at: (.+)$", re.MULTILINE)


def script_environment(
    script: Script,
    *,
    uv: Uv,
    flags: SyncFlags,
    variables: Mapping[str, str],
    start: Path,
) -> Path:
    """Return where uv, started in *start*, would put the environment of *script*.

    With `--active` it is the active one. Raises `ToolError`.
    """
    active = variables.get("VIRTUAL_ENV")
    if flags.active and active:
        return start / active
    environment = _without(scrubbed(variables))
    environment |= {name: variables[name] for name in _OF_CACHE if name in variables}
    python = ("--python", flags.python) if flags.python else ()
    # The lock may be the archive's: then uv can't say what it would install, but says where.
    locked = ("--frozen", "--output-format", "json") if script.lock_path.is_file() else ()
    said = uv.run(
        [
            *("sync", *script.arguments, *python, *flags.python_choice),
            *("--offline", "--dry-run", *locked),
        ],
        environment=environment,
        directory=start,
    )
    path = _reported(said.stdout) or _shown(said.stderr)
    if path is None:
        raise ToolError(f"uv can't say where the script's environment is: {said.stderr.strip()}")
    return start / path


def of_script(variables: Mapping[str, str], environment: Path) -> dict[str, str]:
    """Return *variables* with *environment* for the active one."""
    return {**_without(variables), "VIRTUAL_ENV": str(environment)}


def without_active(variables: Mapping[str, str]) -> dict[str, str]:
    """Return *variables* without an active environment."""
    return {name: value for name, value in variables.items() if name != "VIRTUAL_ENV"}


def _without(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in _OF_PROJECTS}


def _reported(report: str) -> str | None:
    try:
        path: object = json.loads(report)["sync"]["environment"]["path"]
    except (ValueError, KeyError, TypeError):
        return None
    return path if isinstance(path, str) else None


def _shown(said: str) -> str | None:
    match = _SAID.search(said)
    return match[1].strip() if match else None
