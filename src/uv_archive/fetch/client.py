"""The transport over pyreqwest. `docs/adr/0002-http-client.md` says why this one.

Not imported by `uv_archive.fetch`: loading the client takes time, and most commands fetch nothing.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    ClientClosedError,
    PyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.http import Url as WhatwgUrl
from pyreqwest.request import SyncStreamRequest
from pyreqwest.response import SyncResponse

from uv_archive.errors import FetchError, RequestError
from uv_archive.fetch.transport import ConnectionLost, Refused, Stopped
from uv_archive.fetch.unverified import UnverifiedHost
from uv_archive.url import Url

_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", flags=re.DOTALL
)
# Up to the path: nothing after it has a part in what is read as the host.
_HEAD = re.compile(r"https?://[^/?#]+/")
_OS_ERROR = re.compile(r" \(os error \d+\)")


class ReqwestResponse:
    """An answer of `ReqwestTransport`."""

    def __init__(self, url: Url, request: SyncStreamRequest, response: SyncResponse) -> None:
        self._url = url
        self._request = request
        self._response = response
        self._reader = response.body_reader

    @property
    def status(self) -> int:
        return self._response.status

    def header(self, name: str) -> str | None:
        try:
            return self._response.get_header(name)
        except ValueError:  # bytes that are no text
            return None

    def read(self) -> memoryview | None:
        try:
            # Whatever has arrived: `read(n)` gathers n bytes first, which doubles the memory.
            chunk = self._reader.read_chunk()
        except PyreqwestError as error:
            raise _translated(error, self._url, connected=True) from None
        return None if chunk is None else memoryview(chunk)

    def close(self) -> None:
        with suppress(PyreqwestError):
            self._request.__exit__(None, None, None)


class ReqwestTransport:
    """Speak HTTP/1.1 over TLS as rustls does it.

    Times are in seconds. Proxies are those of HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
    Trusted are the system's certificate authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR
    alone; beside them where the system verifies certificates itself (macOS, Windows). To a
    server that asks, the certificate of SSL_CLIENT_CERT is shown. The certificates of
    *unverified* hosts aren't checked.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
        user_agent: str = "uv-archive",
        unverified: Iterable[UnverifiedHost] = (),
    ) -> None:
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._user_agent = user_agent
        self._unverified = tuple(unverified)
        self._lock = threading.Lock()
        # One that checks certificates, and one that doesn't.
        self._built: dict[bool, SyncClient] = {}
        self._closed = False

    def open(self, method: str, url: Url, headers: Mapping[str, str]) -> ReqwestResponse:
        _check_unambiguous(url)
        try:
            request = self._client(url).request(method, url.without_credentials().exposed)
            for name, value in headers.items():
                request = request.header(name, value, is_sensitive=name == "Authorization")
            # By default the client gathers 64 KiB before it hands over the head of the answer, and
            # a server that trickles would keep it from us for hours.
            streamed = request.streamed_read_buffer_limit(1).build_streamed()
            response = streamed.__enter__()
        except PyreqwestError as error:
            raise _translated(error, url, connected=False) from None
        return ReqwestResponse(url, streamed, response)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            built, self._built = self._built, {}
        for client in built.values():
            client.close()

    def _client(self, url: Url) -> SyncClient:
        is_verified = not any(host.covers(url) for host in self._unverified)
        with self._lock:
            if self._closed:
                raise Stopped("the work was called off")
            if is_verified not in self._built:
                self._built[is_verified] = self._build(is_verified=is_verified)
            return self._built[is_verified]

    def _build(self, *, is_verified: bool) -> SyncClient:
        builder = (
            SyncClientBuilder()
            .user_agent(self._user_agent)
            .follow_redirects(enable=False)
            .referer(enable=False)
            .gzip(enable=False).brotli(enable=False).zstd(enable=False).deflate(enable=False)
            .connect_timeout(timedelta(seconds=self._connect_timeout))
            .read_timeout(timedelta(seconds=self._read_timeout))
        )  # fmt: skip
        if not is_verified:
            builder = builder.danger_accept_invalid_certs(enable=True)
        builder = _with_own_identity(builder, os.environ)
        authorities = list(_own_authorities(os.environ))
        # Elsewhere rustls-native-certs reads the two variables, and then nothing else.
        if sys.platform in ("darwin", "win32"):
            for authority in authorities:
                builder = builder.add_root_certificate_pem(authority)
        try:
            return builder.build()
        except BuilderError:
            raise RequestError(
                "no certificate authorities were found on this system",
                hint="install them (`ca-certificates`), or name a file of them in `SSL_CERT_FILE`",
            ) from None


def _with_own_identity(builder: SyncClientBuilder, environ: Mapping[str, str]) -> SyncClientBuilder:
    """Add the certificate and private key that `SSL_CLIENT_CERT` names.

    Raises `RequestError` where they can't be read.
    """
    named = environ.get("SSL_CLIENT_CERT")
    if not named:
        return builder
    try:
        return builder.identity_pem(Path(named).read_bytes())
    except (OSError, BuilderError, ValueError):
        raise RequestError(
            f"`SSL_CLIENT_CERT` names `{named}`, where no certificate with its key can be read",
            hint="name one file with both in PEM form, or unset the variable",
        ) from None


def _own_authorities(environ: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the certificates that the two variables name. Raises `RequestError` for none."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = environ.get(variable)
        if not value:
            continue
        found = [pem for path in _named(variable, value) for pem in _certificates(path)]
        if not found:
            raise RequestError(
                f"`{variable}` names `{value}`, where no certificate can be read",
                hint="name certificates in PEM form, or unset the variable",
            )
        yield from found


def _named(variable: str, value: str) -> Iterator[Path]:
    if variable == "SSL_CERT_FILE":
        yield Path(value)
        return
    for directory in value.split(os.pathsep):
        with suppress(OSError):
            yield from sorted(path for path in Path(directory).iterdir() if path.is_file())


def _certificates(path: Path) -> list[bytes]:
    try:
        return _CERTIFICATE.findall(path.read_bytes())
    except OSError:
        return []


def _check_unambiguous(url: Url) -> None:
    """Refuse a URL whose host this program and the client would read differently.

    The client reads URLs as browsers do: a backslash ends the host, `127.1` is an address,
    and wide digits are digits. Credentials are chosen by what is read here.
    """
    head = _HEAD.match(url.exposed)
    # Thousands of files have one host; a backslash may end it anywhere.
    if not _is_unambiguous(head[0] if head and "\\" not in url.exposed else url.exposed):
        raise Refused(f"the URL `{url}` can be read in more than one way")


@lru_cache(maxsize=64)
def _is_unambiguous(text: str) -> bool:
    try:
        parsed = WhatwgUrl(text)
        host = (parsed.host_str or "").strip("[]")
        same = (parsed.scheme, host, parsed.port_or_known_default) == Url(text).origin
    except ValueError:
        return False
    return same


def _translated(error: PyreqwestError, url: Url, *, connected: bool) -> FetchError:
    """Say in one line what the client reports in many, without its URLs."""
    if isinstance(error, ClientClosedError):
        return Stopped("the work was called off")
    details = getattr(error, "details", None) or {}
    causes = [cause["message"] for cause in details.get("causes") or []]
    innermost = causes[-1] if causes else ""
    if any("invalid peer certificate" in cause for cause in causes):
        return _untrusted(innermost, url.host)
    if "received fatal alert: CertificateRequired" in innermost:
        return Refused(
            f"`{url.host}` wants a certificate of this machine",
            hint="name a file with certificate and private key (PEM) in `SSL_CLIENT_CERT`",
        )
    if "received corrupt message" in innermost or "received fatal alert" in innermost:
        return Refused(f"`{url.host}` doesn't speak TLS as this program does")
    unreachable = url.origin if "client error (Connect)" in causes else None
    if isinstance(error, RequestTimeoutError):
        if connected:
            return ConnectionLost("no bytes came for too long")
        return ConnectionLost(f"`{url.host}` didn't answer in time", unreachable=unreachable)
    if unreachable is None:
        return ConnectionLost(f"the connection broke off: {_plain(innermost)}")
    return ConnectionLost(
        f"`{url.host}` can't be reached: {_plain(innermost)}", unreachable=unreachable
    )


def _untrusted(cause: str, host: str) -> Refused:
    own = "for an authority of your own, name its certificate (PEM) in `SSL_CERT_FILE`"
    if "UnknownIssuer" in cause:
        return Refused(f"the certificate of `{host}` is from an authority unknown here", hint=own)
    if "expired" in cause or "not valid yet" in cause:
        return Refused(
            f"the certificate of `{host}` has expired or isn't valid yet",
            hint=f"check this machine's clock; {own}",
        )
    if "not valid for" in cause.lower() or "NotValidForName" in cause:
        return Refused(f"the certificate of `{host}` is for another host name", hint=own)
    return Refused(f"the certificate of `{host}` can't be accepted", hint=own)


def _plain(cause: str) -> str:
    """Shorten a cause to its first clause; what has a URL in it isn't repeated."""
    text = _OS_ERROR.sub("", cause).partition(": http")[0]
    return text if text and "://" not in text else "no reason given"
