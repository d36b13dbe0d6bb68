"""What is written can't control a terminal, and reads well."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uv_archive.cli import output
from uv_archive.cli.output import counted, give, printable, say, show_error, size, warn
from uv_archive.cli.summary import show_outcome
from uv_archive.download import Failed, File, Outcome
from uv_archive.errors import RequestError

CONTROL = [
    pytest.param("\x1b]0;title\x07", "\\x1b]0;title\\x07", id="the window's title"),
    pytest.param("\x1b[2J", "\\x1b[2J", id="clear the screen"),
    pytest.param("\x9b2J", "\\x9b2J", id="the same in one byte less"),
    pytest.param("a\rb", "a\\rb", id="carriage return"),
    pytest.param("a\bb", "a\\x08b", id="backspace"),
    pytest.param("\u202egnp.whl", "\\u202egnp.whl", id="right to left"),
    pytest.param("a\u2066b\u2069", "a\\u2066b\\u2069", id="isolates"),
    pytest.param("a\u2028b", "a\\u2028b", id="line separator"),
    pytest.param("a\nb\tc", "a\nb\tc", id="line ends and tabs stay"),
    pytest.param("é → 日本 ✓", "é → 日本 ✓", id="what people write stays"),
]


@pytest.mark.parametrize(("text", "shown"), CONTROL)
def test_control_characters_are_shown_and_not_done(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_that_is_written_controls_a_terminal(text: str) -> None:
    shown = printable(text)
    assert all(ord(one) >= 32 or one in "\n\t" for one in shown)
    assert not any(0x7F <= ord(one) <= 0x9F for one in shown)
    assert printable(shown) == shown


@pytest.mark.parametrize("write", [say, warn])
def test_talk_goes_to_stderr_escaped(write: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(write)
    write("`a\x1b[2Jb` is odd")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("`a\\x1b[2Jb` is odd\n")


def test_data_goes_to_stdout_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    give("a\x07b")
    assert capsys.readouterr() == ("a\\x07b\n", "")


def test_an_error_and_its_hint_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(RequestError("that\x1b won't do", hint="do this"))
    assert capsys.readouterr().err.splitlines() == ["error: that\\x1b won't do", "hint: Do this"]


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_labels_are_coloured_unless_no_color_is_set(
    no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(click, "echo", lambda text, err: written.append(text))
    warn("look")
    assert written == ["\x1b[33m\x1b[1mwarning\x1b[0m: look" if coloured else "warning: look"]


@pytest.mark.parametrize(
    ("tty", "term", "expected"),
    [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)],
)
def test_a_dumb_terminal_is_none_to_draw_on(
    tty: bool, term: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: tty, raising=False)
    monkeypatch.setenv("TERM", term)
    assert output.is_terminal() is expected


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (2_040_109_466, "1.9 GiB"),
        (3 * 1024**4, "3.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes_are_in_powers_of_1024(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 files"), (1, "1 file"), (2, "2 files"), (12345, "12,345 files")],
)
def test_a_number_agrees_with_its_noun(count: int, text: str) -> None:
    assert counted(count, "file") == text


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert (counted(1, "entry", "entries"), counted(2, "entry", "entries")) == (
        "1 entry",
        "2 entries",
    )


FILES = (File(path="a.whl", size=1024), File(path="b.whl", size=1024 * 1024))
FAILED = (Failed(name="c.whl", reason="the server says 404", hint=None),)


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        pytest.param(
            Outcome(directory=Path("x"), dry_run=False, fetched=FILES),
            "2 distributions downloaded (1.0 MiB) to x",
            id="all new",
        ),
        pytest.param(
            Outcome(directory=Path("x"), dry_run=False, fetched=FILES[:1], kept=FILES[1:]),
            "1 distribution downloaded (1.0 KiB) to x, 1 already there",
            id="some new",
        ),
        pytest.param(
            Outcome(directory=Path("x"), dry_run=False, kept=FILES),
            "Nothing to download: 2 distributions already in x",
            id="nothing new",
        ),
        pytest.param(
            Outcome(directory=Path("x"), dry_run=False, kept=FILES, removed=("d.whl",)),
            "Nothing to download: 2 distributions already in x, 1 removed",
            id="nothing new, one less",
        ),
        pytest.param(
            Outcome(directory=Path("x"), dry_run=False, kept=FILES, failures=FAILED),
            "0 distributions downloaded (0 B) to x, 2 already there, 1 failed",
            id="nothing came",
        ),
        pytest.param(
            Outcome(directory=Path("x"), dry_run=True, fetched=FILES),
            "2 distributions would be in x",
            id="a dry run",
        ),
    ],
)
def test_the_last_line_counts(
    outcome: Outcome, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_outcome(outcome, quiet=False)
    assert line in capsys.readouterr().err.splitlines()


def test_a_dry_run_gives_the_total_first(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = File(path="c.tar.gz", size=None)
    show_outcome(
        Outcome(directory=Path("x"), dry_run=True, fetched=(*FILES, unknown), removed=("d.whl",)),
        quiet=False,
    )
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "3 distributions to download (1.0 MiB and 1 file of unknown size)",
        "download 1.0 KiB a.whl",
        "download 1.0 MiB b.whl",
        "download unknown size c.tar.gz",
        "remove d.whl",
    ]


def test_quiet_says_nothing_but_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    show_outcome(Outcome(directory=Path("x"), dry_run=False, fetched=FILES), quiet=True)
    assert capsys.readouterr() == ("", "")
    show_outcome(Outcome(directory=Path("x"), dry_run=False, failures=FAILED), quiet=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "c.whl" in err
    assert "404" in err
