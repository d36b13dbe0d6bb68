"""Whole downloads, disturbed now and then; `make soak` does it at every call and 10,000 times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lock.hostile import decide, mutations
from tests.soak.downloads import Trial, crowds, errors, kills_at_every_call, kills_at_random
from tests.soak.ground import Ground
from tests.soak.rows import ROWS
from tests.soak.table import DOCUMENT, read_kept, with_table
from tests.soak.traced import traced


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground.prepared(tmp_path_factory.mktemp("ground") / "downloads") as ground:
        yield ground


def assert_harmless(trials: Iterator[Trial], *, least: int) -> None:
    """Carry them out. What was wrong is said of each."""
    found = list(trials)
    assert [(trial.name, trial.wrong) for trial in found if trial.wrong] == []
    assert sum(trial.fired for trial in found) >= least


def test_a_kill_at_a_call(ground: Ground) -> None:
    assert_harmless(kills_at_every_call(ground, stride=25), least=9)


def test_a_signal_at_any_time(ground: Ground) -> None:
    assert_harmless(kills_at_random(ground, range(24)), least=4)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EMFILE", "EROFS"])
def test_an_error_from_a_call(ground: Ground, error: str) -> None:
    assert_harmless(errors(ground, [error], stride=40), least=6)


def test_several_at_once(ground: Ground) -> None:
    assert_harmless(crowds(ground, range(4)), least=4)


@pytest.mark.slow
def test_a_fault_of_the_installed_program(ground: Ground, tool: Callable[[str], Path]) -> None:
    faults = ("signal=KILL", "error=ENOSPC")
    assert_harmless(traced(ground, str(tool("strace")), stride=20, faults=faults), least=4)


class TestTheSweeps:
    """A sweep that could find nothing would always be content."""

    def test_notice_what_is_not_complete(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Have the last file of a first run come without its end."""

        def cut(path: Path) -> None:
            path.write_bytes(path.read_bytes()[:-1])

        ground.start(0)
        ended = ground.run(0, lambda: _after_commit(monkeypatch, cut))
        assert ended.status == 0
        assert any("isn't complete" in text for text in ground.wrongs(0))

    def test_notice_what_is_changed_outside(self, ground: Ground) -> None:
        ground.start(0)
        ground.run(0, lambda: Path("stray").touch())
        assert any("project-0` was changed" in text for text in ground.wrongs(0))
        (ground.project(0) / "stray").unlink()

    def test_notice_a_traceback(self, ground: Ground) -> None:
        def broken() -> None:
            raise RuntimeError

        ground.start(0)
        assert "Traceback" in ground.run(0, broken).said


def _after_commit(patch: pytest.MonkeyPatch, act: Callable[[Path], None]) -> None:
    from uv_archive.archive.store import Writer  # noqa: PLC0415 - in the process it is patched in

    commit = Writer.commit

    def committed(writer: Writer, partial: Path, path: object) -> None:
        if str(path).endswith(".whl"):
            act(partial)
        commit(writer, partial, path)  # type: ignore[arg-type]

    patch.setattr(Writer, "commit", committed)


def test_mutated_locks_have_no_effect() -> None:
    tally = mutations(range(400))
    assert tally.wrong == []
    assert tally.read > 20
    assert tally.refused > 200


def test_effects_of_a_lock_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def writing(content: bytes) -> None:
        decide(content)
        (tmp_path / "written").write_bytes(b"")

    monkeypatch.setattr("tests.lock.hostile.decide", writing)
    assert any("written" in text for text in mutations(range(60)).wrong)


def test_the_table_is_what_the_sweeps_said() -> None:
    text = DOCUMENT.read_text()
    assert with_table(text, read_kept()) == text
    assert len({row.name for row in ROWS}) == len(ROWS)
