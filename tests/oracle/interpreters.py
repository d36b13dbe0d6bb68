"""Make uv see an interpreter of any version, without changing uv.

uv runs the program that `--python` names with a script of its own, which prints what it finds
as JSON; uv's own tests put such output in an interpreter's place, and so does this. The
output is uv's, of an interpreter that is here, with the version and the build's kind changed.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from uv_archive.target import Python

_CAPTURE = """\
#!/bin/sh
{python} "$@" > {output}
exec cat {output}
"""
_ANSWER = """\
#!/bin/sh
exec cat {answer}
"""
_IMPLEMENTATIONS = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalVM"}


class Interpreters:
    """Programs below *directory* that look like interpreters to uv."""

    def __init__(self, directory: Path, uv: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._real = _answer_of_this_interpreter(directory, uv)

    def like(self, python: Python) -> Path:
        """Return the path of a program that uv takes for *python*, on this platform."""
        program = self._directory / f"python-{python}"
        if not program.exists():
            answer = self._directory / f"{python}.json"
            answer.write_text(json.dumps(_pretend(self._real, python)))
            program.write_text(_ANSWER.format(answer=shlex.quote(str(answer))))
            program.chmod(0o755)
        return program


def _answer_of_this_interpreter(directory: Path, uv: Path) -> dict[str, object]:
    output, program = directory / "real.json", directory / "capture"
    program.write_text(
        _CAPTURE.format(python=shlex.quote(sys.executable), output=shlex.quote(str(output)))
    )
    program.chmod(0o755)
    subprocess.run(
        [uv, "python", "find", "--no-cache", "--no-config", program],
        check=True,
        capture_output=True,
        cwd=directory,
        env=dict(os.environ),
    )
    answer: dict[str, object] = json.loads(output.read_text())
    return answer


def _pretend(real: dict[str, object], python: Python) -> dict[str, object]:
    markers, virtualenv = real["markers"], real["virtualenv"]
    assert isinstance(markers, dict)
    assert isinstance(virtualenv, dict)
    minor = f"{python.major}.{python.minor}"
    full = f"{minor}.{python.micro}"
    # Directories are named after the minor version.
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    theirs = f"python{minor}{'t' if python.free_threaded else ''}"
    return {
        **real,
        "markers": {
            **markers,
            "implementation_name": python.implementation,
            "platform_python_implementation": _IMPLEMENTATIONS[python.implementation],
            "implementation_version": python.implementation_version or full,
            "python_full_version": full,
            "python_version": minor,
        },
        "virtualenv": {key: path.replace(ours, theirs) for key, path in virtualenv.items()},
        "gil_disabled": python.free_threaded,
        "debug_enabled": python.debug,
    }
