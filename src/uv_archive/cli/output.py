"""What is written to the terminal: data to stdout, talk to stderr, nothing that controls it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from uv_archive.errors import UvArchiveError

# A lock is foreign text: what would move the cursor or turn the writing is shown, not done.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
#: Powers of 1,024.
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def printable(text: str) -> str:
    """Replace control characters by their escapes; line ends and tabs stay."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def say(text: str = "") -> None:
    """Write a line of talk."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """Write a warning, in one line."""
    _labelled("warning", "yellow", text)


def fail(text: str) -> None:
    """Write what went wrong, in one line."""
    _labelled("error", "red", text)


def give(text: str) -> None:
    """Write a line of data."""
    click.echo(printable(text))


def show_error(error: UvArchiveError) -> None:
    """Write an error in one line, and its hint in another."""
    fail(error.message)
    if error.hint:
        show_hint(error.hint)


def show_hint(hint: str) -> None:
    """Write what to do, on a line of its own."""
    _labelled("hint", "cyan", hint[:1].upper() + hint[1:])


def _labelled(label: str, colour: str, text: str) -> None:
    # Where the stream is no terminal click takes the colour out; it doesn't know NO_COLOR.
    if not os.environ.get("NO_COLOR"):
        label = click.style(label, fg=colour, bold=True)
    click.echo(f"{label}: {printable(text)}", err=True)


def size(count: int) -> str:
    """Write a number of bytes as a person reads it: `1.9 GiB`, powers of 1,024."""
    amount = float(count)
    for unit in UNITS:
        # What would be rounded to 1024.0 has the next unit.
        if amount < 1023.95 or unit == UNITS[-1]:
            break
        amount /= 1024
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def shown(directory: Path) -> str:
    """Write a path as short as it is right: relative to the working directory if it's below."""
    try:
        relative = os.path.relpath(directory)
    except ValueError:  # another drive
        return str(directory)
    return str(directory) if relative.startswith("..") else relative


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun: `1 distribution`, `248 distributions`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def is_terminal() -> bool:
    """Whether talk goes to a terminal, where lines may be drawn over."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
