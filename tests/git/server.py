"""A git server on the loopback interface: `git http-backend` behind a small HTTP server."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(kw_only=True)
class GitServer:
    """What is served below *directory*, and how.

    *logins* are `user:password` by the first segment of a path. *old* leaves out everything but
    version 0 of the protocol. *failures* is how many requests to answer with a 503 first.
    """

    directory: Path
    address: str = ""
    logins: dict[str, str] = field(default_factory=dict)
    old: bool = False
    failures: int = 0
    requests: list[str] = field(default_factory=list)
    authorizations: list[tuple[str, str]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


@contextmanager
def serving(directory: Path) -> Iterator[GitServer]:
    """Serve the bare repositories below *directory* while the context lasts."""
    server = GitServer(directory=directory)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            server.requests.append(self.path)
            said = self.headers.get("Authorization")
            if said:
                server.authorizations.append((self.path, _decoded(said)))
            if server.failures:
                server.failures -= 1
                self._refuse(503)
                return
            wanted = server.logins.get(self.path.split("/")[1])
            if wanted is not None and (said is None or _decoded(said) != wanted):
                self._refuse(401)
                return
            if "/info/lfs/" in self.path:
                self._serve_large_files()
            else:
                self._run()

        def _serve_large_files(self) -> None:
            """Answer as git LFS's own protocol has it, without a separate place for the files."""
            repository, _, rest = self.path.strip("/").partition("/info/lfs/")
            objects = server.directory / repository / "lfs" / "objects"
            if rest != "objects/batch":
                name = rest.rpartition("/")[2]
                self._send("application/octet-stream", _large_file(objects, name).read_bytes())
                return
            asked = json.loads(self._body())["objects"]
            answer = [_offer(one, objects, f"{server.address}{self.path}") for one in asked]
            document = {"transfer": "basic", "objects": answer}
            self._send("application/vnd.git-lfs+json", json.dumps(document).encode())

        def _send(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _refuse(self, status: int) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _run(self) -> None:
            parts = urlsplit(self.path)
            body = self._body()
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(server.directory),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_ADDR": "127.0.0.1",
            }
            if not server.old:
                environment["GIT_PROTOCOL"] = self.headers.get("Git-Protocol", "")
            done = subprocess.run(
                ["git", "http-backend"],
                env=environment,
                input=body,
                capture_output=True,
                check=False,
            )
            header, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in header.decode().split("\r\n") if line)
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.address = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _large_file(objects: Path, name: str) -> Path:
    return objects / name[:2] / name[2:4] / name


def _offer(asked: dict[str, object], objects: Path, url: str) -> dict[str, object]:
    name = str(asked["oid"])
    if not _large_file(objects, name).is_file():
        return {**asked, "error": {"code": 404, "message": "Object does not exist"}}
    return {**asked, "actions": {"download": {"href": f"{url.removesuffix('batch')}{name}"}}}


def _decoded(authorization: str) -> str:
    return base64.b64decode(authorization.partition(" ")[2]).decode()
