"""What the fetching needs of an HTTP client, and the three ways in which an exchange fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from uv_archive.errors import FetchError
from uv_archive.url import Url

Origin = tuple[str, str, int | None]


class Response(Protocol):
    """An answer whose body hasn't been read yet. Belongs to one thread."""

    @property
    def status(self) -> int: ...

    def header(self, name: str) -> str | None:
        """Return the first header of that name in any case, or `None`, also if undecodable."""

    def read(self) -> bytes | memoryview | None:
        """Return the next piece of the body, of bounded size; `None` at its proper end.

        Raises `ConnectionLost` where the body ends before its announced end, or stalls.
        """

    def close(self) -> None:
        """Let go of the connection, at any point of the body."""


class Transport(Protocol):
    """An HTTP client, used by many threads at once.

    It follows no redirects, undoes no content encoding, and sends no credentials but those in
    *headers*. Proxies and certificate authorities are its own affair.
    """

    def open(self, method: str, url: Url, headers: Mapping[str, str]) -> Response:
        """Send a request and wait for the head of the answer. Raises `FetchError`."""

    def close(self) -> None:
        """Let nothing more be opened, and interrupt what waits for an answer: `Stopped`.

        Reading a body may go on.
        """


class ConnectionLost(FetchError):
    """Something that may go better next time.

    *unreachable* is the origin to which no connection came about. *retry_after* is in seconds.
    *slow* tells that bytes came, but too few to wait for.
    """

    def __init__(
        self,
        message: str,
        *,
        unreachable: Origin | None = None,
        retry_after: float | None = None,
        slow: bool = False,
    ) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        self.retry_after = retry_after
        self.slow = slow


class Refused(FetchError):
    """Something that stays as it is however often it is tried."""


class Stopped(FetchError):
    """The work was called off."""
