"""Pythons that are asked for by a version that uv doesn't know."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from uv_archive.download.unknown_pythons import unknown_pythons
from uv_archive.uv import OLDEST_UV, Completed, Uv, find_uv


@pytest.mark.parametrize("text", ["3.12", "3.8", "3.14t", "cp311", "pypy3.10", "name"])
def test_those_that_uv_knows_raise_no_doubt(uv: Path, text: str) -> None:
    found = find_uv({"UV": str(uv)})
    assert list(unknown_pythons([text], uv=found, environment=os.environ)) == []


@pytest.mark.parametrize("text", ["3.99", "cpython3.99t", "3.7"])
def test_those_that_it_does_not_know_raise_one(uv: Path, text: str, tmp_path: Path) -> None:
    # Whatever this machine has, nothing of it is on the search path.
    nothing = {"PATH": str(tmp_path), "HOME": str(tmp_path), "UV_PYTHON_SEARCH_PATH": str(tmp_path)}
    found = find_uv({"UV": str(uv)})
    (doubt,) = unknown_pythons([text, text], uv=found, environment=nothing)
    assert doubt.message == f"uv {found.version} knows no Python {text}, and there is none here"
    assert "--replace" in doubt.hint


@pytest.mark.parametrize("says", ["[]", "what?"])
def test_one_that_is_here_raises_none(says: str) -> None:
    def run(command: Sequence[str], /, **_: object) -> Completed:
        return Completed(status=0, stdout=says if "list" in command else "/python", stderr="")

    uv = Uv(executable=Path("uv"), version=OLDEST_UV, runner=run)
    assert list(unknown_pythons(["3.99"], uv=uv, environment={})) == []
