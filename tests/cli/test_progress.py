"""How a download goes, on terminals of any width and in logs."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import pytest
from rich.console import Console

from uv_archive.cli import progress
from uv_archive.cli.bars import Bars, Pace, amount, columns_for, duration
from uv_archive.cli.progress import Lines, reporting
from uv_archive.download import Reporter

MIB = 1024 * 1024


@dataclass
class Clock:
    """A clock that goes on when it is told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A terminal of a given width, and the bars drawn on it."""

    def __init__(self, width: int, *, no_color: bool = True) -> None:
        self.clock = Clock()
        self.console = Console(
            file=io.StringIO(),
            width=width,
            height=40,
            force_terminal=True,
            no_color=no_color,
            color_system="standard",
            get_time=self.clock,
        )
        self.bars = Bars(console=self.console, clock=self.clock)

    @property
    def written(self) -> str:
        assert isinstance(self.console.file, io.StringIO)
        return self.console.file.getvalue()

    def rows(self) -> list[str]:
        """Return what is drawn now, without the codes that draw it."""
        live = self.bars._progress
        assert live is not None
        paper = Console(file=io.StringIO(), width=self.console.width, color_system=None)
        with paper.capture() as capture:
            paper.print(live.get_renderable())
        return [row.rstrip() for row in capture.get().splitlines() if row.strip()]


@pytest.fixture
def screen(request: pytest.FixtureRequest) -> Screen:
    return Screen(getattr(request, "param", 120))


def half_way(screen: Screen, *, size: int | None = 40 * MIB) -> None:
    """Bring one of two files, and after ten seconds half of the other."""
    bars, clock = screen.bars, screen.clock
    bars.total(2, None if size is None else size + MIB)
    bars.started("small-1.0-py3-none-any.whl", MIB)
    bars.started("large-2.0-cp312-cp312-manylinux_2_17_x86_64.whl", size)
    bars.advanced("small-1.0-py3-none-any.whl", MIB // 2)
    bars.finished("small-1.0-py3-none-any.whl")
    for second in range(1, 11):
        clock.now = second
        bars.advanced("large-2.0-cp312-cp312-manylinux_2_17_x86_64.whl", second * 2 * MIB)


def test_the_first_row_is_of_all_files_and_the_others_of_slow_ones(screen: Screen) -> None:
    half_way(screen)
    overall, large = screen.rows()
    screen.bars.close()
    assert overall.startswith("Downloading 1 of 2 files")
    assert "20.5/41.0 MiB" in overall
    assert large.startswith("large-2.0-cp312")
    assert "20.0/40.0 MiB" in large
    # Nine steps of 2 MiB in ten seconds, and of the first only what surely came now.
    assert "1.8 MiB/s" in large
    assert "11s left" in large
    assert "━" in large


@pytest.mark.parametrize(
    ("screen", "there", "not_there"),
    [
        pytest.param(200, ("━", "20.0/40.0 MiB", "MiB/s", "left"), "%", id="wide"),
        pytest.param(80, ("━", "20.0/40.0 MiB", "MiB/s", "left"), "%", id="80 columns"),
        pytest.param(64, ("━", "20.0/40.0 MiB", "left"), "/s", id="64 columns"),
        pytest.param(44, ("20.0/40.0 MiB",), "━", id="44 columns"),
        pytest.param(30, ("50%",), "MiB", id="30 columns"),
        pytest.param(8, ("50%",), "MiB", id="8 columns"),
    ],
    indirect=["screen"],
)
def test_a_narrow_terminal_shows_what_matters_most(
    screen: Screen, there: tuple[str, ...], not_there: str
) -> None:
    half_way(screen)
    rows = screen.rows()
    screen.bars.close()
    assert all(part in rows[1] for part in there), rows
    assert not_there not in rows[1]
    assert len(rows) == 2, "a row was broken"
    assert max(map(len, rows)) <= screen.console.width - len("^C")


@pytest.mark.parametrize("width", [*range(1, 140)])
def test_columns_fit_at_every_width(width: int) -> None:
    assert columns_for(width)
    screen = Screen(width + len("^C"))
    half_way(screen)
    rows = screen.rows()
    screen.bars.close()
    if width > 6:
        assert len(rows) == 2


def test_without_sizes_files_are_counted_and_no_time_is_told(screen: Screen) -> None:
    half_way(screen, size=None)
    overall, large = screen.rows()
    screen.bars.close()
    assert overall.startswith("Downloading 1 of 2 files")
    assert "20.5 MiB" in overall
    assert "left" not in overall + large
    assert overall.count("━") == 10, "half of the bar for one of two files"


def test_a_file_that_was_here_in_part_makes_the_rate_no_better(screen: Screen) -> None:
    bars, clock = screen.bars, screen.clock
    bars.total(1, 1000 * MIB)
    bars.started("a.whl", 1000 * MIB)
    bars.advanced("a.whl", 900 * MIB)
    clock.now = 2.0
    bars.advanced("a.whl", 904 * MIB)
    overall = screen.rows()[0]
    bars.close()
    assert "904.0/1000.0 MiB" in overall
    assert "2.2 MiB/s" in overall


def test_a_file_that_begins_anew_takes_its_bytes_back(screen: Screen) -> None:
    half_way(screen)
    screen.bars.advanced("large-2.0-cp312-cp312-manylinux_2_17_x86_64.whl", 0)
    overall = screen.rows()[0]
    screen.bars.close()
    assert "0.5/41.0 MiB" in overall


def test_no_more_than_eight_files_have_bars(screen: Screen) -> None:
    screen.bars.total(12, 12 * MIB)
    for number in range(12):
        screen.bars.started(f"{number}.whl", MIB)
    screen.clock.now = 2.0
    for number in range(12):
        screen.bars.advanced(f"{number}.whl", 1000)
    rows = screen.rows()
    screen.bars.close()
    assert len(rows) == 1 + 8


def test_names_of_files_cant_control_the_terminal() -> None:
    screen = Screen(120)
    screen.bars.total(1, MIB)
    screen.bars.started("a\x1b[2Jb.whl", MIB)
    screen.clock.now = 2.0
    screen.bars.advanced("a\x1b[2Jb.whl", 1000)
    screen.bars.retried("a\x1b[2Jb.whl", "bad\x07 [bold]luck[/bold]")
    drawn = screen.rows()[1]
    screen.bars.close()
    assert drawn.startswith("a\\x1b[2Jb.whl")
    assert "\x1b[2J" not in screen.written
    assert "Trying `a\\x1b[2Jb.whl` again: bad\\x07 [bold]luck[/bold]" in screen.written


@pytest.mark.parametrize("no_color", [True, False])
def test_colours_are_left_out_where_they_arent_wanted(no_color: bool) -> None:
    screen = Screen(120, no_color=no_color)
    half_way(screen)
    live = screen.bars._progress
    assert live is not None
    live.refresh()
    screen.bars.close()
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", screen.written)) is not no_color


def test_the_cursor_is_visible_again_in_the_end(screen: Screen) -> None:
    screen.bars.hashing(3)
    half_way(screen)
    screen.bars.resolving(2)
    screen.bars.recording()
    screen.bars.close()
    screen.bars.close()
    assert screen.written.count("\x1b[?25l") == screen.written.count("\x1b[?25h") == 4
    assert screen.written.endswith(("\x1b[2K", "\x1b[?25h"))


def test_what_is_for_builds_says_so(screen: Screen) -> None:
    screen.bars.resolving(1)
    screen.bars.total(7, MIB)
    overall = screen.rows()[0]
    screen.bars.close()
    assert overall.startswith("Downloading 0 of 7 for builds")


def test_a_log_gets_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = Lines(clock=clock)
    lines.hashing(1)
    lines.hashing(3)
    lines.total(2, 3 * MIB)
    lines.started("a.whl", MIB)
    lines.advanced("a.whl", MIB)
    lines.finished("a.whl")
    for second in range(1, 26):
        clock.now = second
        lines.advanced("b.whl", second * 1000)
    lines.retried("b.whl", "the connection broke off\x1b[2J")
    lines.resolving(1)
    lines.total(1, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Hashing 3 files that are already there",
        "Downloading 2 distributions (3.0 MiB)",
        "1 of 2 distributions, 1.0 MiB of 3.0 MiB",
        "1 of 2 distributions, 1.0 MiB of 3.0 MiB",
        "Trying `b.whl` again: the connection broke off\\x1b[2J",
        "Finding the build requirements of 1 distribution",
        "Downloading 1 distribution for builds",
    ]


@pytest.mark.parametrize(
    ("quiet", "draw", "terminal", "kind"),
    [
        (True, True, True, Reporter),
        (True, False, False, Reporter),
        (False, True, False, Lines),
        (False, False, True, Lines),
        (False, True, True, Bars),
    ],
)
def test_bars_are_for_terminals_and_for_those_who_want_them(
    quiet: bool,
    draw: bool,
    terminal: bool,
    kind: type[Reporter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "is_terminal", lambda: terminal)
    with reporting(quiet=quiet, draw=draw) as reporter:
        assert type(reporter) is kind


def test_a_pace_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.add(1000)
    rates = [pace.rate]
    for now in (2.0, 20.0):
        clock.now = now
        rates.append(pace.rate)
    pace.add(50)
    assert [*rates, pace.rate] == [None, 500, 0, 5]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (125, "2m 05s"), (3900, "1h 05m"), (-1, "0s")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("received", "total", "text"),
    [
        (0, 800, "0/800 B"),
        (512 * 1024, 2 * MIB, "0.5/2.0 MiB"),
        (3 * MIB, None, "3.0 MiB"),
        (100 * MIB, 2048 * MIB, "0.1/2.0 GiB"),
    ],
)
def test_amounts_have_the_unit_of_the_whole(received: int, total: int | None, text: str) -> None:
    assert amount(received, total) == text
