"""The uv executable: find it, know its version, run it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from packaging.version import Version

from uv_archive.errors import ToolError

#: The oldest uv whose later `uv sync --locked` finds nothing to change, for every kind of source.
OLDEST_UV = Version("0.11.29")

_NEEDED = f"uv {OLDEST_UV} or later is needed"
_HOW_TO_GET_UV = (
    f"{_NEEDED}. Install it, for example with `pip install 'uv>={OLDEST_UV}'`; or let "
    "`download --with-tools` bring it, and run the archive's `install.py`"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """What a finished uv said. *stdout* and *stderr* are empty where they went to the terminal."""

    status: int
    stdout: str
    stderr: str


class Runner(Protocol):
    """Runs a command to its end. With *capture* off, its output goes where ours goes."""

    def __call__(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed: ...


def run_process(
    command: Sequence[str],
    /,
    *,
    environment: Mapping[str, str],
    directory: Path | None,
    capture: bool,
) -> Completed:
    """Run *command* as a child process. Raises `OSError` if it can't be started."""
    finished = subprocess.run(  # noqa: S603 - an argument vector, no shell
        command,
        env=dict(environment),
        cwd=directory,
        capture_output=capture,
        check=False,
        stdin=subprocess.DEVNULL if capture else None,
    )
    return Completed(
        status=finished.returncode,
        stdout=(finished.stdout or b"").decode(errors="replace"),
        stderr=(finished.stderr or b"").decode(errors="replace"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Uv:
    """A uv that was found, and how to run it."""

    executable: Path
    version: Version
    runner: Runner = run_process

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path | None = None,
        capture: bool = True,
    ) -> Completed:
        """Run uv with *arguments* in *environment*, and nothing of ours added to it.

        Raises `ToolError` if it can't be started.
        """
        command = [str(self.executable), *arguments]
        try:
            return self.runner(
                command, environment=environment, directory=directory, capture=capture
            )
        except OSError as error:
            raise ToolError(
                f"`{self.executable}` can't be run: {error.strerror}", hint=_HOW_TO_GET_UV
            ) from error


def find_uv(
    environment: Mapping[str, str] | None = None,
    *,
    runner: Runner = run_process,
    archive: Path | None = None,
) -> Uv:
    """Find uv: what `UV` names, else the one installed beside this program, else on `PATH`.

    uv itself sets `UV` for the programs it runs (`uv run`, `uvx`). Raises `ToolError` if there
    is none, or none that is new enough; its hint tells of the one that *archive* brings.
    """
    environment = os.environ if environment is None else environment
    how_to_get_uv = _how_to_get_uv(archive)
    executable = _locate(environment)
    if executable is None:
        raise ToolError("uv was not found", hint=how_to_get_uv)
    try:
        said = runner(
            [str(executable), "--version"], environment=environment, directory=None, capture=True
        )
    except OSError as error:
        raise ToolError(
            f"`{executable}` can't be run: {error.strerror}", hint=how_to_get_uv
        ) from error
    match = re.match(r"uv (\d+\.\d+\.\d+)", said.stdout)
    if match is None:
        raise ToolError(f"`{executable}` isn't uv", hint=how_to_get_uv)
    version = Version(match[1])
    if version < OLDEST_UV:
        raise ToolError(f"`{executable}` is uv {version}, which is too old", hint=how_to_get_uv)
    return Uv(executable=executable, version=version, runner=runner)


def _how_to_get_uv(archive: Path | None) -> str:
    """Say what to do without uv. An archive with tools has one, and a script that runs it."""
    script = archive / "install.py" if archive else None
    if script is None or not script.is_file():
        return _HOW_TO_GET_UV
    return f"{_NEEDED}, and the archive brings one: run `python3 {shlex.quote(str(script))}`"


def _locate(environment: Mapping[str, str]) -> Path | None:
    named = environment.get("UV")
    if named and Path(named).is_file():
        return Path(named)
    name = "uv.exe" if os.name == "nt" else "uv"
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return beside
    found = shutil.which(name, path=environment.get("PATH"))
    return Path(found) if found else None


def uv_message(stderr: str) -> str:
    """Return what uv says went wrong, without its label."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    return (said or lines or ["no reason given"])[-1 if not said else 0]
