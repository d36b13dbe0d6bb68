"""Ask servers how large files are."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing

from uv_archive.errors import FetchError
from uv_archive.fetch.credentials import Credentials
from uv_archive.fetch.exchange import Exchange
from uv_archive.fetch.parallel import in_threads
from uv_archive.fetch.transport import Stopped, Transport
from uv_archive.url import Url

_TOTAL = re.compile(r"bytes 0-0/([0-9]+)", flags=re.ASCII)


def content_lengths(
    urls: Sequence[Url],
    *,
    transport: Transport,
    credentials: Credentials | None = None,
    jobs: int = 16,
) -> Mapping[Url, int | None]:
    """Return the size in bytes of each file, `None` where the server doesn't say.

    A server that doesn't answer `HEAD` is asked for the first byte. Nothing is tried twice.
    """
    exchange = Exchange(transport, credentials or Credentials())

    def ask(url: Url) -> int | None:
        try:
            found = _by_head(exchange, url)
            return found if found is not None else _by_range(exchange, url)
        except Stopped:
            raise
        except FetchError:
            return None

    stop = threading.Event()
    sizes = in_threads(urls, ask, jobs=jobs, stop=stop, interrupt=transport.close)
    return dict(zip(urls, sizes, strict=True))


def _by_head(exchange: Exchange, url: Url) -> int | None:
    with closing(exchange.open("HEAD", url, {})) as response:
        return _number(response.header("Content-Length")) if response.status == 200 else None


def _by_range(exchange: Exchange, url: Url) -> int | None:
    with closing(exchange.open("GET", url, {"Range": "bytes=0-0"})) as response:
        if response.status == 206:
            match = _TOTAL.fullmatch(response.header("Content-Range") or "")
            return int(match[1]) if match else None
        return _number(response.header("Content-Length")) if response.status == 200 else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
