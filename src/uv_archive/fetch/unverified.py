"""Hosts whose certificates aren't checked: `allow-insecure-host`, as uv reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from uv_archive.errors import RequestError
from uv_archive.settings import Settings
from uv_archive.url import Url

_HOST = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>[^:/]+)(?::(?P<port>[0-9]{1,5}))?(?:/.*)?", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnverifiedHost:
    """A host, on any port and with any scheme where none is given. `*` is every host."""

    host: str
    scheme: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> UnverifiedHost:
        """Read `host`, `host:port` or a URL. Raises `RequestError`."""
        match = _HOST.fullmatch(text)
        if match is None:
            raise RequestError(
                "`allow-insecure-host` takes a host, a host with a port, or a URL without "
                "credentials"
            )
        return cls(
            host=match["host"].lower(),
            scheme=match["scheme"] and match["scheme"].lower(),
            port=int(match["port"]) if match["port"] else None,
        )

    def covers(self, url: Url) -> bool:
        """Whether *url* is of that host."""
        if self.host == "*":
            return True
        scheme, host, port = url.origin
        return (
            host == self.host
            and self.scheme in (None, scheme)
            and (self.port is None or self.port == port)
        )


def unverified_hosts(settings: Settings) -> tuple[UnverifiedHost, ...]:
    """Return those of `UV_INSECURE_HOST` and of the settings. Raises `RequestError`."""
    return tuple(dict.fromkeys(map(UnverifiedHost.parse, _texts(settings))))


def _texts(settings: Settings) -> Iterator[str]:
    yield from settings.environment.get("UV_INSECURE_HOST", "").split()
    listed = settings.options.get("allow-insecure-host", [])
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise RequestError("uv's setting `allow-insecure-host` is not a list of hosts")
    yield from listed
