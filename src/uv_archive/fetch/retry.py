"""When to try again, and how long to wait."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_SECONDS = re.compile(r"[0-9]{1,9}", flags=re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How patient to be with one file. Times are in seconds, sizes in bytes.

    *attempts* is how many may follow one another without *progress* more bytes than ever
    before; *attempts_in_all* bounds them however well they go. A body that brings less than
    *minimum_rate* bytes a second over *rate_window* seconds counts as broken off.
    """

    attempts: int = 5
    attempts_in_all: int = 50
    progress: int = 64 * 1024
    first_delay: float = 0.5
    longest_delay: float = 20.0
    longest_retry_after: float = 120.0
    minimum_rate: int = 1024
    rate_window: float = 60.0

    def delay(self, fruitless: int, *, retry_after: float | None, chance: float) -> float:
        """Return how long to wait after so many attempts in vain; *chance* is from 0 to 1.

        Half of the delay is left to chance, so that many clients don't come back at once.
        """
        doubled: float = self.first_delay * 2 ** min(max(fruitless - 1, 0), 30)
        backoff = min(self.longest_delay, doubled) * (0.5 + chance / 2)
        return max(backoff, min(retry_after or 0.0, self.longest_retry_after))


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Time and chance, to be replaced in tests. `wait` returns early when the event is set."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    chance: Callable[[], float] = random.random


def retry_after_seconds(text: str | None, now: float) -> float | None:
    """Read `Retry-After`: seconds, or a date (RFC 9110, 10.2.3). Anything else is `None`."""
    if text is None:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow, rarely needed

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None
