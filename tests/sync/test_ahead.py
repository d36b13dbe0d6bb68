"""What is done while uv looks for a Python, and what uv needn't look for again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.distributions import make_wheel
from tests.offline_projects import BUILT_BY_UV, FROM_INDEX, Offline
from uv_archive.digest import Digest
from uv_archive.errors import ArchiveError, DamagedArchiveError
from uv_archive.sync import completing, hashing
from uv_archive.sync.supply import Supplied
from uv_archive.uv import Completed

_PROJECT = """
[project]
name = "workflow"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["alpha", "beta", "gamma; sys_platform == 'nowhere'"]
[project.optional-dependencies]
more = ["delta"]
"""


@dataclass(kw_only=True)
class Slow(Offline):
    """Finds a Python only when something was hashed, and notes in which order."""

    events: list[str] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        if list(command[1:3]) == ["python", "find"]:
            until = time.monotonic() + 10
            while not self.events and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.2)
            self.events.append("found")
        return super().run(command, environment=environment, directory=directory, capture=capture)


@pytest.fixture
def slow(
    tmp_path: Path, uv: Path, no_network: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> Slow:
    slow = Slow(directory=tmp_path, uv=uv, python=Path(sys.executable), prefix=no_network)
    for name in ("alpha", "beta", "gamma", "delta"):
        make_wheel(slow.served, name, "1.0")
    make_wheel(slow.served, "beta", "1.0", tags="cp311-none-any")
    slow.write("pyproject.toml", _PROJECT + BUILT_BY_UV + FROM_INDEX)
    slow.write("src/workflow/__init__.py", "")
    slow.archived(slow.lock())
    really = hashing._is_right

    def noted(supplied: Supplied) -> bool:
        slow.events.append(supplied.name.partition("-")[0])
        return really(supplied)

    monkeypatch.setattr(hashing, "_is_right", noted)
    return slow


def test_only_wheels_of_what_is_asked_for_are_hashed_meanwhile(slow: Slow) -> None:
    assert slow.sync().status == 0, slow.shown[-1].stderr
    found = slow.events.index("found")
    assert sorted(slow.events[:found]) == ["alpha", "gamma"]
    assert slow.events[found + 1 :] == ["beta"]


def test_one_that_is_damaged_is_refused(slow: Slow) -> None:
    (slow.archive / "alpha-1.0-py3-none-any.whl").write_bytes(b"something else")
    with pytest.raises(DamagedArchiveError, match="alpha"):
        slow.sync()
    assert not (slow.root / ".venv").exists()


def test_one_that_is_a_pipe_is_not_waited_for(slow: Slow) -> None:
    path = slow.archive / "alpha-1.0-py3-none-any.whl"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArchiveError, match="alpha"):
        slow.sync()


def test_the_python_that_was_found_is_named(slow: Slow) -> None:
    assert slow.sync().status == 0, slow.shown[-1].stderr
    named = {
        command[1]: command[command.index("--python") + 1]
        for command in slow.commands
        if "--python" in command
    }
    assert named.keys() == {"lock", "sync"}
    assert len(set(named.values())) == 1
    again = len(slow.commands)
    assert slow.sync().status == 0, slow.shown[-1].stderr
    assert not any("--python" in command for command in slow.commands[again:])


def test_a_directory_keeps_no_file_open(tmp_path: Path) -> None:
    supplied = Supplied(name="it", path=tmp_path, digest=Digest("sha256", "0" * 64), locked=True)
    before = os.dup(0)
    os.close(before)
    assert not hashing._is_right(supplied)
    after = os.dup(0)
    os.close(after)
    assert after == before


def test_a_cache_is_removed_but_for_what_links_lead_to(tmp_path: Path) -> None:
    cached, kept = tmp_path / "cache" / "wheels" / "one", tmp_path / "kept" / "one"
    for directory in (cached, kept):
        directory.mkdir(parents=True)
    (tmp_path / "cache" / "link").symlink_to(kept.parent)
    with completing._removing(tmp_path / "cache"):
        pass
    assert not cached.exists()
    assert kept.exists()
