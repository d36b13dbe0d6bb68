"""An index on the loopback interface that has a tiny valid distribution for every name."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

# Takes the wheel that lies ready beside it, so that a build costs two starts of Python.
_BACKEND = """\
import os

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    here = os.path.dirname(os.path.abspath(__file__))
    name = next(name for name in os.listdir(here) if name.endswith(".whl"))
    with open(os.path.join(here, name), "rb") as ready:
        content = ready.read()
    with open(os.path.join(wheel_directory, name), "wb") as wheel:
        wheel.write(content)
    return name

build_editable = build_wheel
"""
_BUILD_SYSTEM = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One file of the index: its name, and the project and version it has to be of."""

    filename: str
    name: str
    version: str

    def content(self) -> bytes:
        """Make the file, byte for byte the same on every call."""
        if self.filename.endswith(".whl"):
            return wheel_content(self.filename)
        return _sdist_content(self.filename, self.name, self.version)

    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content()).hexdigest()}"


class Index:
    """What is served, and what was asked for.

    Files are offered in a room of their own for each install, under a number: the same file
    name can be in a room twice, as two indexes can serve it.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._served: dict[str, Served] = {}
        self._asked: dict[str, set[tuple[int, str]]] = {}
        self._rooms = 0

    def new_room(self) -> str:
        with self._lock:
            self._rooms += 1
            room = f"room{self._rooms}"
            self._asked[room] = set()
        return room

    def offer(self, room: str, number: int, served: Served) -> str:
        """Serve a file, and return its URL."""
        path = f"/{room}/{number}/{quote(served.filename, safe='')}"
        self._served[path] = served
        return f"{self._address}{path}"

    def take_asked(self, room: str) -> frozenset[tuple[int, str]]:
        """Return number and file name of everything that was asked for since the last call."""
        with self._lock:
            asked, self._asked[room] = frozenset(self._asked[room]), set()
        return asked

    def close_room(self, room: str) -> None:
        with self._lock:
            del self._asked[room]
        for path in [path for path in self._served if path.startswith(f"/{room}/")]:
            del self._served[path]

    def answer(self, path: str) -> bytes | None:
        served = self._served.get(path)
        if served is None:
            return None
        _, room, number, _ = path.split("/")
        with self._lock:
            self._asked[room].add((int(number), served.filename))
        return _content(served)


@contextmanager
def running_index() -> Iterator[Index]:
    """Run an index until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def do_GET(self) -> None:
            content = index.answer(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *arguments: object) -> None:
            """Say nothing: uv drops its connections when it gives up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        index = Index(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()


def wheel_content(filename: str) -> bytes:
    """Make the wheel that *filename* describes: its name, version and tags as they are written."""
    parts = filename.removesuffix(".whl").split("-")
    name, version = parts[0], parts[1]
    pythons, abis, platforms = (part.split(".") for part in parts[-3:])
    information = f"{name}-{version}.dist-info"
    tags = [f"Tag: {p}-{a}-{q}" for p in pythons for a in abis for q in platforms]
    build = [f"Build: {parts[2]}"] if len(parts) == 6 else []
    return _zipped(
        {
            f"{information}/METADATA": _lines(*_metadata(name, version)),
            f"{information}/WHEEL": _lines(
                "Wheel-Version: 1.0", "Generator: tests", "Root-Is-Purelib: true", *build, *tags
            ),
            f"{information}/RECORD": _lines(
                f"{information}/METADATA,,", f"{information}/WHEEL,,", f"{information}/RECORD,,"
            ),
        }
    )


def source_tree(name: str, version: str) -> dict[str, bytes]:
    """Return the files of a tree that builds itself, without `pyproject.toml`."""
    stem = name.replace("-", "_")
    wheel = f"{stem}-{version}-py3-none-any.whl"
    return {"backend.py": _BACKEND.encode(), wheel: wheel_content(wheel)}


def build_system() -> str:
    """Return what a `pyproject.toml` needs so that the tree builds itself."""
    return _BUILD_SYSTEM


@lru_cache(maxsize=4096)
def _content(served: Served) -> bytes:
    return served.content()


def _sdist_content(filename: str, name: str, version: str) -> bytes:
    top = f"{name.replace('-', '_')}-{version}"
    files = {
        "PKG-INFO": _lines(*_metadata(name, version)),
        "pyproject.toml": _BUILD_SYSTEM.encode(),
    } | source_tree(name, version)
    members = {f"{top}/{member}": data for member, data in files.items()}
    return _zipped(members) if filename.endswith(".zip") else _tarred(members)


def _metadata(name: str, version: str) -> tuple[str, ...]:
    return ("Metadata-Version: 2.2", f"Name: {name}", f"Version: {version}")


def _zipped(members: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), data)
    return packed.getvalue()


def _tarred(members: Mapping[str, bytes]) -> bytes:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, data in members.items():
            information = tarfile.TarInfo(member)
            information.size = len(data)
            archive.addfile(information, io.BytesIO(data))
    return gzip.compress(tar.getvalue(), compresslevel=0, mtime=0)


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
