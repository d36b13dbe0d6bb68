"""A sync that is killed leaves nothing that the next one takes for whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.offline_projects import Offline
from tests.sync.kills import Kill, Killing, kills, table

#: Every how manieth call; `UV_ARCHIVE_KILL_STRIDE=1` kills at each of them, which takes an hour.
STRIDE = int(os.environ.get("UV_ARCHIVE_KILL_STRIDE", "24"))


@pytest.fixture
def killing(
    tmp_path: Path, uv: Path, no_network: tuple[str, ...], tool: Callable[[str], Path]
) -> Killing:
    offline = Offline(directory=tmp_path, uv=uv, python=Path(sys.executable), prefix=no_network)
    killing = Killing(offline=offline, strace=tool("strace"))
    killing.prepare()
    return killing


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_next_sync_completes_it(killing: Killing) -> None:
    found: list[Kill] = list(kills(killing, stride=STRIDE, sample=6 if STRIDE > 1 else 1))
    print(table(found))
    assert len(found) >= 12
    assert [str(kill) for kill in found if kill.verdict not in ("whole", "repaired")] == []
    assert any(kill.verdict == "repaired" for kill in found)


def test_a_repair_that_does_not_compare_is_caught(
    killing: Killing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hold against a test above that can't fail: uv alone takes what is short for whole."""
    monkeypatch.setattr("uv_archive.sync.completing.find_short", lambda *_, **__: {})
    verdicts = set()
    for call in range(9, 34, 2):
        killing.start(0)
        assert killing.kill_uv("link", call, "hardlink", both=True)
        verdicts.add(killing.verdict(0)[0])
        if "broken" in verdicts:
            break
    assert "broken" in verdicts
