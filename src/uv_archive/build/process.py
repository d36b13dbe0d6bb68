"""Run code of others to its end, and leave nothing of it running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Literal

from uv_archive.errors import ToolError

_PAUSE = 0.05

Ended = int | Literal["timeout", "stopped", "log"]
"""How something ended: its status, or why it was killed."""


def run_to_its_end(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    output: int,
    largest: int,
    timeout: float,
    stop: Event | None = None,
) -> Ended:
    """Run *command* in *directory*, and kill it and all it has started.

    What it says goes to the file *output*, of at most *largest* bytes. It has *timeout* seconds,
    and ends when *stop* is set. Raises `ToolError` if it can't be run.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - an argument vector, no shell
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Windows has neither.
            umask=-1 if sys.platform == "win32" else 0o022,
        )
    except OSError as error:
        raise ToolError(f"`{command[0]}` can't be run: {error.strerror}") from error
    end = time.monotonic() + timeout
    try:
        while True:
            try:
                return process.wait(_PAUSE)
            except subprocess.TimeoutExpired:
                if stop is not None and stop.is_set():
                    return "stopped"
                if time.monotonic() > end:
                    return "timeout"
                if os.fstat(output).st_size > largest:
                    return "log"
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process and its group; a leader that has ended has left one too."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
