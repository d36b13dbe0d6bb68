"""The selection beside uv, on locks that no project has."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.oracle.comparison import Oracle, check
from tests.oracle.project import Table, stand_in
from tests.oracle.sampling import EXAMPLES, places, random_requests
from tests.oracle.server import Index
from tests.strategies import locks
from uv_archive.lock import parse_lock

_REQUESTS = 3


@pytest.mark.slow
@pytest.mark.timeout(0)
@settings(
    max_examples=(EXAMPLES or 300) // _REQUESTS,
    deadline=None,
    # Every step of shrinking costs some syncs, and would go on for minutes.
    phases=[phase for phase in Phase if phase is not Phase.shrink],
    suppress_health_check=[*HealthCheck],
)
@given(
    document=locks(),
    default_groups=st.sampled_from((None, ["dev"], ["test", "docs"], [], "all")),
    seed=st.integers(0, 2**32),
)
def test_selection_is_what_uv_asks_for_with_a_generated_lock(
    oracle: Oracle,
    index: Index,
    document: Table,
    default_groups: list[str] | str | None,
    seed: int,
) -> None:
    lock = parse_lock(tomli_w.dumps(document).encode())
    with tempfile.TemporaryDirectory() as directory:
        standin = stand_in(document, index, Path(directory), default_groups=default_groups)
        where = places(lock, default_groups)
        check(
            oracle.difference(lock, standin, request)
            for request in islice(random_requests(lock, where, Random(seed)), _REQUESTS)
        )
        standin.close(index)
