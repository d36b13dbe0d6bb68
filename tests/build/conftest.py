"""What builds need of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from uv_archive.target import Interpreter, inspect_interpreter
from uv_archive.uv import Uv, find_uv


@pytest.fixture(scope="session")
def interpreter() -> Interpreter:
    return inspect_interpreter(Path(sys.executable))


@pytest.fixture(scope="session")
def found_uv(uv: Path) -> Uv:
    return find_uv({"UV": str(uv)})
