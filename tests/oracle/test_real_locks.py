"""The selection beside uv, on locks of real projects.

Their locks aren't part of this repository. `UV_ARCHIVE_LOCKS` names a directory with a
directory for each: `uv.lock` and `pyproject.toml` as the project has them, or a script beside
its lock.
"""

from __future__ import annotations

import os
import tomllib
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from tests.oracle.comparison import Oracle, check
from tests.oracle.project import stand_in
from tests.oracle.sampling import EXAMPLES, Place, places, requests
from tests.oracle.server import Index
from uv_archive.lock import read_lock
from uv_archive.project import tool_uv
from uv_archive.selection import Root

_VARIABLE = "UV_ARCHIVE_LOCKS"
_LOCKS = sorted(Path(os.environ[_VARIABLE]).glob("*/*.lock")) if _VARIABLE in os.environ else []


@pytest.mark.slow
@pytest.mark.skipif(not _LOCKS, reason=f"{_VARIABLE} names no directory of locks")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("path", _LOCKS, ids=lambda path: path.parent.name)
def test_selection_is_what_uv_asks_for_with_a_real_lock(
    path: Path, oracle: Oracle, index: Index, tmp_path: Path
) -> None:
    lock = read_lock(path)
    script = None if path.name == "uv.lock" else path.name.removesuffix(".lock")
    pyproject = path.with_name("pyproject.toml")
    document = tomllib.loads(pyproject.read_text()) if pyproject.exists() else {}
    configured = tool_uv(document).get("default-groups")
    standin = stand_in(lock.document, index, tmp_path, default_groups=configured, script=script)
    where = places(lock, configured)
    if script:
        where = (Place(directory=".", root=Root(project=None), flags=False),)
    random = Random(path.parent.name)
    differences = [
        oracle.difference(lock, standin, request)
        for request in islice(requests(lock, where, random), EXAMPLES or 30)
    ]
    check(differences)
