"""URLs that hide their credentials when printed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

# What RFC 3986 has no place for. HTTP clients take a backslash for a slash, `urllib` doesn't:
# the two would disagree about the host, and credentials go to a host.
_FOREIGN = re.compile(r"[\x00-\x20\x7f\\]")
# What nearly all URLs of locks look like, and nothing can be wrong with: it spares taking apart.
_COMMON = re.compile(
    r"https?://[a-z0-9][a-z0-9.-]*(?::(?:[0-9]{1,4}|[1-5][0-9]{4}))?/[A-Za-z0-9/._~%+=-]*"
)


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL. `str()` leaves out credentials, query string and fragment.

    Signed URLs carry their secret in the query string, so only `exposed`, which
    is for the wire, has one.
    """

    exposed: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, hostless: Collection[str] = ()) -> Url:
        """Check that *text* is an absolute URL with a host. Raises `ValueError`.

        Those of the schemes *hostless*, such as `file`, may have a path alone.
        """
        if _COMMON.fullmatch(text):
            return cls(text)
        if _FOREIGN.search(text):
            raise ValueError("a URL has no white space, backslash or control character")
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError:
            # The message of `urllib` quotes what stands before the host: credentials.
            raise ValueError("the host or port of the URL is malformed") from None
        is_hostless = parts.scheme.lower() in hostless and parts.path.startswith("/")
        if not parts.scheme or not (parts.hostname or is_hostless):
            raise ValueError("expected a URL with a scheme and a host")
        return cls(text)

    @property
    def scheme(self) -> str:
        return urlsplit(self.exposed).scheme.lower()

    @property
    def host(self) -> str:
        """The host name in lower case, without the port."""
        return (urlsplit(self.exposed).hostname or "").lower()

    @property
    def origin(self) -> tuple[str, str, int | None]:
        """Scheme, host and port: what credentials belong to."""
        parts = urlsplit(self.exposed)
        default = {"http": 80, "https": 443}.get(self.scheme)
        return (self.scheme, self.host, default if parts.port is None else parts.port)

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User name and password of the URL itself, decoded."""
        parts = urlsplit(self.exposed)
        if parts.username is None and parts.password is None:
            return None
        return (unquote(parts.username or ""), unquote(parts.password or ""))

    @property
    def last_segment(self) -> str:
        """The last segment of the path, percent-decoded once."""
        if _COMMON.fullmatch(self.exposed):
            segment = self.exposed.rpartition("/")[2]
            return unquote(segment, errors="strict") if "%" in segment else segment
        return unquote(urlsplit(self.exposed).path.rpartition("/")[2], errors="strict")

    def without_credentials(self) -> Url:
        """The same place without user name and password; the query string stays."""
        parts = urlsplit(self.exposed)
        return Url(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))

    def public(self) -> str:
        """What may be written down: no credentials, no query string, no fragment."""
        if _COMMON.fullmatch(self.exposed):
            return self.exposed
        parts = urlsplit(self.exposed)
        netloc = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, netloc, parts.path, "", ""))

    def __str__(self) -> str:
        return self.public()

    def __repr__(self) -> str:
        return f"Url({self.public()!r})"
