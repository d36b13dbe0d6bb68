"""Where the logs of builds are kept: outside of archives, which don't change by them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from uv_archive.archive.disk import storing
from uv_archive.archive.quick_check import cache_directory


def log_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory of the logs, made if need be. Raises `StorageError`."""
    cache = cache_directory(environment)
    if cache is None:
        return Path(tempfile.mkdtemp(prefix="uv-archive-logs-"))
    directory = cache / "builds"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError:  # a home that can't be written
        pass
    with storing(directory):
        return Path(tempfile.mkdtemp(prefix="uv-archive-logs-"))


def log_name(label: str, python: str) -> str:
    """Return the file name of a build's log; the next build of the same replaces it."""
    return re.sub(r"[^A-Za-z0-9._+=-]", "_", f"{label}-{python}")[:200] + ".log"
