"""What stands in the way of a sync, all of it at once."""

from __future__ import annotations

from collections.abc import Sequence

from uv_archive.errors import RequestError, UvArchiveError


class RefusedError(RequestError):
    """Several things stand in the way. *causes* has an error for each."""

    def __init__(self, causes: Sequence[UvArchiveError]) -> None:
        lines = [f"This sync can't be carried out, for {len(causes)} reasons:"]
        lines += [f"  * {cause.message}" for cause in causes]
        hints = dict.fromkeys(cause.hint for cause in causes if cause.hint)
        super().__init__("\n".join(lines), hint="\n      ".join(hints) or None)
        self.causes = tuple(causes)


def refuse(causes: Sequence[UvArchiveError]) -> None:
    """Raise the one error that there is, or all of them as one; return if there is none."""
    if len(causes) == 1:
        raise causes[0]
    if causes:
        raise RefusedError(causes)
