"""Package indexes on the loopback interface, which remember what they were asked for."""

from __future__ import annotations

import hashlib
import html
import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

from packaging.utils import canonicalize_name

_JSON = "application/vnd.pypi.simple.v1+json"
_PIECE = 16 * 1024


@dataclass
class Index:
    """Serve each directory below *directory* as an index of its own name, and every file in it.

    `/main/simple/` is the index of `main/`, in HTML and in JSON as the client likes;
    `/main/alpha-1.0-py3-none-any.whl` a file. What is asked for stands in *requests*.

    *logins* demands `user:password` for an index and its files. *answers* gives a path a status
    instead of the file. *unhashed* indexes don't say their files' hashes. *held* files stop in
    their middle until *release* is set.
    """

    directory: Path
    logins: dict[str, str] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    unhashed: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    release: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def at(self, name: str) -> Path:
        """Return the directory of an index."""
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def simple(self, name: str = "main") -> str:
        return f"{self.address}/{name}/simple"

    def url(self, file: Path) -> str:
        return f"{self.address}/{quote(file.relative_to(self.directory).as_posix())}"

    @property
    def fetched(self) -> list[str]:
        """The names of the files that were asked for, in order, with repetitions."""
        return [
            path.rpartition("/")[2]
            for method, _, path in (request.partition(" ") for request in self.requests)
            if method == "GET" and "/simple/" not in path and not path.endswith(".metadata")
        ]

    @contextmanager
    def running(self) -> Iterator[Index]:
        server = _Server(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            self.release.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle is what some tests are about."""


def _handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            index.requests.append(f"{self.command} {path}")
            name, _, rest = path.strip("/").partition("/")
            login = index.logins.get(name)
            if login is not None and login != _login(self.headers.get("Authorization", "")):
                self._answer(401, b"", "text/plain", {"WWW-Authenticate": "Basic"})
            elif path.strip("/") in index.answers:
                self._answer(index.answers[path.strip("/")], b"", "text/plain")
            elif rest.startswith("simple/"):
                self._list(name, rest.removeprefix("simple/"))
            else:
                self._file(index.directory / path.strip("/"))

        do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

        def _list(self, name: str, project: str) -> None:
            files = [
                file
                for file in sorted(index.directory.joinpath(name).iterdir())
                if canonicalize_name(re.split(r"-\d", file.name)[0]) == project
            ]
            hashed = name not in index.unhashed
            if not files:
                self._answer(404, b"", "text/plain")
            elif _JSON in self.headers.get("Accept", ""):
                self._answer(200, _as_json(project, files, hashed=hashed), _JSON)
            else:
                self._answer(200, _as_html(files, hashed=hashed), "text/html")

        def _file(self, path: Path) -> None:
            if not path.is_file():
                self._answer(404, b"", "text/plain")
                return
            content, extra = path.read_bytes(), {"ETag": f'"{_sha256(path)}"'}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked is None:
                self._answer(200, content, "application/octet-stream", extra, hold=path.name)
                return
            first, last = int(asked[1]), int(asked[2] or len(content) - 1)
            part = content[first : last + 1]
            extra["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            self._answer(206, part, "application/octet-stream", extra)

        def _answer(
            self,
            status: int,
            body: bytes,
            kind: str,
            extra: dict[str, str] | None = None,
            *,
            hold: str = "",
        ) -> None:
            self.send_response(HTTPStatus(status))
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (extra or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if hold in index.held:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                index.release.wait()
                body = body[len(body) // 2 :]
            for start in range(0, len(body), _PIECE):
                self.wfile.write(body[start : start + _PIECE])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


def _login(header: str) -> str | None:
    kind, _, token = header.partition(" ")
    with suppress(ValueError):
        return b64decode(token).decode() if kind == "Basic" else None
    return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _as_html(files: list[Path], *, hashed: bool) -> bytes:
    links = [
        f'<a href="../../{quote(file.name)}{f"#sha256={_sha256(file)}" if hashed else ""}">'
        f"{html.escape(file.name)}</a>"
        for file in files
    ]
    return "\n".join(("<!DOCTYPE html>", "<body>", *links, "</body>")).encode()


def _as_json(project: str, files: list[Path], *, hashed: bool) -> bytes:
    document = {
        "meta": {"api-version": "1.1"},
        "name": project,
        "files": [
            {
                "filename": file.name,
                "url": f"../../{quote(file.name)}",
                "hashes": {"sha256": _sha256(file)} if hashed else {},
                "size": file.stat().st_size,
            }
            for file in files
        ],
    }
    return json.dumps(document).encode()
