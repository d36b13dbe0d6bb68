"""Errors say what happened, what to do, and what the command exits with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from uv_archive import errors
from uv_archive.errors import LockError, UvArchiveError

# The request can't be carried out as it stands; everything else is work that failed.
USAGE = {
    errors.RequestError,
    errors.ProjectError,
    errors.LockError,
    errors.StaleLockError,
    errors.TargetError,
    errors.SelectionError,
    errors.CoverageError,
    errors.ArchiveError,
    errors.ToolError,
}


def every_error(root: type[UvArchiveError] = UvArchiveError) -> Iterator[type[UvArchiveError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from every_error(kind)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_a_message_a_hint_and_an_exit_status(kind: type[UvArchiveError]) -> None:
    error = kind("it went wrong", hint="do this")
    assert (error.message, str(error), error.hint) == ("it went wrong", "it went wrong", "do this")
    assert kind("it went wrong").hint is None
    assert kind.exit_status == (2 if kind in USAGE else 1)


def test_a_lock_error_says_the_place() -> None:
    error = LockError("expected a string", place="package[3].name", hint="lock again")
    assert str(error) == error.message == "expected a string (at `package[3].name`)"
    assert (error.place, error.hint) == ("package[3].name", "lock again")
