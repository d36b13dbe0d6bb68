"""What real `uv sync --frozen` asks for."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.oracle.interpreters import Interpreters
from tests.oracle.project import Standin
from tests.oracle.server import Index
from uv_archive.target import Python

# What uv says when a request can't be carried out. Everything else that goes wrong is a fault of
# this harness, and mustn't pass for a refusal.
_CONFLICT = r"incompatible with the (declared )?conflicts|[Cc]onflicting (extra|group|project)s?"
_EXCLUDED = r"lockfile's supported environments|(project's|locked) Python requirement"
_REFUSALS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"can't be installed because",
        r"doesn't have a source distribution or wheel",
        _CONFLICT,
        r"is not defined in",
        _EXCLUDED,
        r"[Ff]ound multiple (packages|entries)",
        r"[Cc]ould not find root package",
        r"not found in (the )?workspace",
    )
)


class HarnessError(Exception):
    """uv failed in a way that says nothing about the selection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Number and name of each file, and name and version of each distribution installed.

    Where uv refused, *refusal* is what it said.
    """

    files: frozenset[tuple[int, str]] = frozenset()
    installed: frozenset[tuple[str, str]] = frozenset()
    refusal: str | None = None

    @property
    def conflicts(self) -> bool:
        """Whether uv refused because extras or groups can't be installed together."""
        return self.refusal is not None and bool(re.search(_CONFLICT, _joined(self.refusal)))

    @property
    def excluded(self) -> bool:
        """Whether uv refused because the lock isn't for that Python or platform."""
        return self.refusal is not None and bool(re.search(_EXCLUDED, _joined(self.refusal)))


class Installer:
    """Runs `uv sync --frozen` over stand-ins, each time with an empty cache."""

    def __init__(self, uv: Path, index: Index, interpreters: Interpreters) -> None:
        self._uv = uv
        self._index = index
        self._interpreters = interpreters

    def asked(
        self,
        standin: Standin,
        python: Python,
        *,
        platform: str | None = None,
        flags: Iterable[str] = (),
        directory: str = ".",
    ) -> Asked:
        """Sync *standin* for *python* and return what was asked of the index.

        *directory*, below the stand-in's, is the member that the sync starts from.
        """
        self._index.take_asked(standin.room)
        with tempfile.TemporaryDirectory() as scratch:
            environment = Path(scratch, "environment")
            command = [str(self._uv), "sync", "--frozen", *flags]
            command += ["--python", str(self._interpreters.like(python))]
            if platform:
                command += ["--python-platform", platform]
            if standin.script:
                command += ["--script", standin.script]
            finished = subprocess.run(
                command,
                cwd=standin.directory / directory,
                env=_environment(Path(scratch, "cache"), environment),
                capture_output=True,
                text=True,
                check=False,
            )
            files = self._index.take_asked(standin.room)
            if finished.returncode == 0:
                return Asked(files=files, installed=_installed(environment, Path(scratch)))
        said = finished.stderr
        if any(refusal.search(_joined(said)) for refusal in _REFUSALS):
            return Asked(files=files, refusal=said)
        raise HarnessError(f"{' '.join(command)}\n{said}")


def _joined(said: str) -> str:
    return " ".join(said.split())


def _environment(cache: Path, environment: Path) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    return kept | {
        "UV_CACHE_DIR": str(cache),
        "UV_PROJECT_ENVIRONMENT": str(environment),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_HTTP_RETRIES": "0",
        # Nothing but the index on the loopback interface can be reached.
        "UV_NO_INDEX": "1",
        "NO_PROXY": "*",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _installed(environment: Path, scratch: Path) -> frozenset[tuple[str, str]]:
    """Read name and version of what is installed; a script's environment is in the cache."""
    base = environment if environment.exists() else scratch / "cache" / "environments-v2"
    found = set()
    for information in base.glob("**/site-packages/*.dist-info"):
        name, _, version = information.name.removesuffix(".dist-info").partition("-")
        found.add((re.sub(r"[-_.]+", "-", name).lower(), version))
    return frozenset(found)
