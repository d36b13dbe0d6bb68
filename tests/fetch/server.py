"""A server that does wrong what servers do wrong, over raw sockets, and remembers who asked."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import sys
import threading
import time
from array import array
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

from uv_archive.url import Url

if sys.platform == "linux":
    import fcntl
    import termios


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a client asked for; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def offset(self) -> int | None:
        """Where the range that is asked for begins."""
        match = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("range", ""))
        return int(match[1]) if match else None

    @property
    def login(self) -> str | None:
        """`user:password`, as basic authentication sends it."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return b64decode(token).decode() if kind == "Basic" else None


#: Answers one request; the connection is closed afterwards.
Script = Callable[[Request, socket.socket], None]


class FaultServer:
    """Answer each path by its scripts: the n-th request by the n-th, later ones by the last."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._tls = tls
        self._host = host
        self._routes: dict[str, list[Script]] = {}
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._lock = threading.Lock()
        self.requests: list[Request] = []

    @property
    def origin(self) -> str:
        port = self._socket.getsockname()[1]
        return f"{'https' if self._tls else 'http'}://{self._host}:{port}"

    def url(self, path: str) -> Url:
        return Url.parse(self.origin + path)

    def route(self, path: str, *scripts: Script) -> Url:
        """Let *scripts* answer at *path*; return its URL."""
        self.answer(path, *scripts)
        return self.url(path)

    def answer(self, target: str, *scripts: Script) -> None:
        """Let *scripts* answer a request target of any form, as proxies are asked."""
        self._routes[target] = list(scripts)

    def logins(self) -> list[str | None]:
        return [request.login for request in self.requests]

    @contextmanager
    def running(self) -> Iterator[FaultServer]:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that leaves in the middle is what many tests are about.
        with connection, suppress(OSError):
            if self._tls is None:
                self._answer(connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as secured:
                    self._answer(secured)

    def _answer(self, connection: socket.socket) -> None:
        request = _read_request(connection)
        if request is None:
            connection.sendall(head_of(400, {"Content-Length": 0}))
            return
        with self._lock:
            self.requests.append(request)
            scripts = self._routes.get(request.path, [status(404)])
            script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        script(request, connection)


def _read_request(connection: socket.socket) -> Request | None:
    head = b""
    while b"\r\n\r\n" not in head:
        received = connection.recv(65536)
        if not received:
            return None
        head += received
        if head.startswith(b"\x16"):  # TLS, which isn't spoken here
            return None
    first, *lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return Request(method=method, path=path, headers=headers)


def head_of(code: int, headers: Mapping[str, object]) -> bytes:
    lines = [f"HTTP/1.1 {code} {HTTPStatus(code).phrase}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def status(code: int, body: bytes = b"", **headers: object) -> Script:
    """Answer with a status, and with headers whose names are written with `_`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def script(request: Request, connection: socket.socket) -> None:
        connection.sendall(head_of(code, {"Content-Length": len(body), **named}) + body)

    return script


def file(
    body: bytes,
    *,
    etag: str | None = None,
    modified: str | None = None,
    kind: str = "application/octet-stream",
) -> Script:
    """Serve a file as a good server does: ranges, and `If-Range` where the file has a validator."""

    def script(request: Request, connection: socket.socket) -> None:
        code, rest, extra = _part(request, body, etag or modified)
        head = {"ETag": etag, "Last-Modified": modified, "Content-Type": kind, **extra}
        head["Content-Length"] = len(rest)
        connection.sendall(head_of(code, head))
        if request.method != "HEAD":
            connection.sendall(rest)

    return script


def _part(
    request: Request, body: bytes, validator: str | None
) -> tuple[int, bytes, dict[str, object]]:
    offset, condition = request.offset, request.headers.get("if-range")
    if offset is None or (condition is not None and condition != validator):
        return 200, body, {}
    if offset >= len(body):
        return 416, b"", {"Content-Range": f"bytes */{len(body)}"}
    end = len(body) - 1
    if request.headers["range"].endswith("-0"):
        end = 0
    span: dict[str, object] = {"Content-Range": f"bytes {offset}-{end}/{len(body)}"}
    return 206, body[offset : end + 1], span


def broken(
    body: bytes,
    after: int,
    *,
    reset: bool = False,
    etag: str | None = None,
    ranges: bool = True,
    chunked: bool = False,
) -> Script:
    """Announce a file (or its rest) and break off after so many bytes of what was asked for."""

    def script(request: Request, connection: socket.socket) -> None:
        code, rest, extra = _part(request, body, etag) if ranges else (200, body, {})
        head: dict[str, object] = {"ETag": etag, **extra}
        sent = rest[:after]
        if chunked:
            head["Transfer-Encoding"] = "chunked"
            sent = b"%x\r\n%s\r\n" % (len(sent), sent) if sent else b""
        else:
            head["Content-Length"] = len(rest)
        connection.sendall(head_of(code, head) + sent)
        if reset:
            _await_delivery(connection)  # what isn't would be thrown away with the connection
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return script


def _await_delivery(connection: socket.socket) -> None:
    """Wait until the other side has received everything that was sent."""
    if sys.platform != "linux":
        time.sleep(0.5)
        return
    left = array("i", [1])
    deadline = time.monotonic() + 30
    while left[0] and time.monotonic() < deadline:
        fcntl.ioctl(connection, termios.TIOCOUTQ, left)
        time.sleep(0.005)


def part(body: bytes, content_range: str | None, *, etag: str | None = None) -> Script:
    """Answer 206 with that body and that `Content-Range`, whatever was asked for."""
    return status(206, body, Content_Range=content_range, ETag=etag)


def chunked(body: bytes, *, size: int = 10_000) -> Script:
    """Send the file in chunks, without its length."""

    def script(request: Request, connection: socket.socket) -> None:
        connection.sendall(head_of(200, {"Transfer-Encoding": "chunked"}))
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")

    return script


def without_length(body: bytes) -> Script:
    """Send the file until the connection closes, as HTTP/1.0 did."""
    return raw(head_of(200, {}) + body)


def raw(answer: bytes) -> Script:
    """Send these bytes and close."""

    def script(request: Request, connection: socket.socket) -> None:
        connection.sendall(answer)

    return script


def stalled(body: bytes, after: int, *, seconds: float) -> Script:
    """Send the beginning of the file (or of its rest), then nothing for a while."""

    def script(request: Request, connection: socket.socket) -> None:
        code, rest, extra = _part(request, body, None)
        connection.sendall(head_of(code, {"Content-Length": len(rest), **extra}) + rest[:after])
        time.sleep(seconds)

    return script


def silent(*, seconds: float) -> Script:
    """Take the request and say nothing for a while."""

    def script(request: Request, connection: socket.socket) -> None:
        time.sleep(seconds)

    return script


def trickling(body: bytes, *, pause: float) -> Script:
    """Send the file byte by byte."""

    def script(request: Request, connection: socket.socket) -> None:
        code, rest, extra = _part(request, body, None)
        connection.sendall(head_of(code, {"Content-Length": len(rest), **extra}))
        for byte in rest:
            time.sleep(pause)
            connection.sendall(bytes([byte]))

    return script


def redirect(location: Url | str, code: int = 302) -> Script:
    target = location.exposed if isinstance(location, Url) else location
    return status(code, Location=target)


def guarded(login: str, script: Script, *, refusal: int = 401) -> Script:
    """Answer only those who send `user:password`."""

    def guard(request: Request, connection: socket.socket) -> None:
        (script if request.login == login else status(refusal))(request, connection)

    return guard
