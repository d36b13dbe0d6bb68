"""A sync that is killed leaves nothing that the next one takes for whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.offline_projects import Offline
from tests.sync.kills import Kill, Killing, kills, table
from uv_archive.uv import Completed

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


class _Watching(Offline):
    """Notes the cache of each run of uv, by whether it is to install something again."""

    def __init__(self, offline: Offline) -> None:
        super().__init__(
            directory=offline.directory, uv=offline.uv, python=offline.python, prefix=offline.prefix
        )
        self.caches: dict[bool, set[str]] = {True: set(), False: set()}

    def run(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        if "sync" in command:
            again = "--reinstall-package" in command
            self.caches[again].add(Path(environment["UV_CACHE_DIR"]).name)
        return super().run(command, environment=environment, directory=directory, capture=capture)


def test_a_repair_uses_no_cache_that_is_being_removed(killing: Killing) -> None:
    """The first one is removed while everything is compared, and uv can't lock what is gone."""
    watching = _Watching(killing.offline)
    (module,) = killing.environment.glob("lib/python*/site-packages/beta/0.py")
    module.unlink()
    assert watching.sync().short == ("beta",)
    assert watching.caches[True]
    assert watching.caches[True].isdisjoint(watching.caches[False])
