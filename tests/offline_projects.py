"""Locked projects and archives of them, made in a directory of the test's own.

Locks are real: uv writes them over an index on the loopback interface, whose address is then
replaced by one that leads nowhere.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.distributions import sha256
from uv_archive.archive.layout import ArchivePath, place
from uv_archive.archive.manifest import (
    BuildRequirement,
    BuiltFrom,
    Entry,
    Locked,
    LockRecord,
    Manifest,
    Origin,
    Why,
)
from uv_archive.lock import Lock, Package, read_lock
from uv_archive.lock.model import GitSource, TreeSource
from uv_archive.project import find_project
from uv_archive.sync import SyncRequest, SyncResult, sync
from uv_archive.uv import Completed, Uv

#: Where the locks say that their files are.
INDEX = "https://index.example"
#: What makes a project's `pyproject.toml` name that index.
FROM_INDEX = f"""
[[tool.uv.index]]
url = "{INDEX}/simple"
default = true
"""
#: A project that uv builds by itself, with nothing to fetch.
BUILT_BY_UV = """
[build-system]
requires = ["uv_build>=0.9,<1000"]
build-backend = "uv_build"
"""


@dataclass(kw_only=True)
class Offline:
    """A place for projects, and the files that an index would serve for them."""

    directory: Path
    uv: Path
    python: Path
    prefix: Sequence[str] = ()
    shown: list[Completed] = field(default_factory=list)
    commands: list[Sequence[str]] = field(default_factory=list)

    @property
    def served(self) -> Path:
        """Files in `served/` are the index's; those in `served/direct/` have direct URLs only."""
        path = self.directory / "served"
        (path / "direct").mkdir(parents=True, exist_ok=True)
        return path

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    def write(self, path: str, text: str) -> Path:
        """Write a file of a project; the root is `project`."""
        target = self.directory / "project" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text).lstrip("\n"))
        return target

    @property
    def root(self) -> Path:
        return self.directory / "project"

    def lock(self, environment: Mapping[str, str] | None = None) -> Lock:
        """Let uv lock the project, as if the index were at `INDEX`."""
        pyprojects = [*self.directory.rglob("pyproject.toml")]
        with served(self.served) as address:
            for path in pyprojects:
                path.write_text(path.read_text().replace(INDEX, address))
            done = subprocess.run(
                [str(self.uv), "lock", "--project", str(self.root), "--no-cache"],
                env={**self.environment, **(environment or {})},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            for path in (*pyprojects, self.root / "uv.lock"):
                path.write_text(path.read_text().replace(address, INDEX))
        return read_lock(self.root / "uv.lock")

    def archived(
        self,
        lock: Lock,
        *,
        build_requirements: Sequence[Path] = (),
        builds: Mapping[str, Sequence[Path]] | None = None,
        built: Mapping[Path, str | BuiltFrom] | None = None,
        leave_out: Sequence[str] = (),
    ) -> Path:
        """Make an archive of every file of *lock*, but for those that are left out.

        *build_requirements* are those of every build that there may be; *builds* say more.
        """
        self.archive.mkdir()
        entries: dict[ArchivePath, Entry] = {}
        for package in lock.packages:
            for distribution in package.distributions:
                path = place(lock)[distribution]
                if path in leave_out:
                    continue
                source = self._source(str(distribution.filename), str(distribution.digest))
                entries[path] = self._added(
                    path, source, package.name, distribution.source, (Locked(),)
                )
        labels = [str(package) for package in lock.packages if _may_be_built(package)]
        wanted = builds or dict.fromkeys(labels, build_requirements)
        for file in dict.fromkeys(file for files in wanted.values() for file in files):
            path = ArchivePath(file.name)
            digest = sha256(file).removeprefix("sha256:")
            reasons: tuple[Why, ...] = tuple(
                BuildRequirement(of=label, requested=_name(file), found="static")
                for label, files in wanted.items()
                if file in files
            )
            if path in entries and entries[path].sha256 == digest:
                reasons = (Locked(), *reasons)
            elif path in entries:
                path = ArchivePath(f"index/{digest[:8]}/{file.name}")
            entries[path] = self._added(path, file, _name(file), INDEX, reasons)
        for file, origin in (built or {}).items():
            path = ArchivePath(file.name)
            why = BuiltFrom(sha256=origin) if isinstance(origin, str) else origin
            entries[path] = self._added(path, file, _name(file), INDEX, (why,))
        copy = ArchivePath("locked/uv.lock")
        (self.archive / "locked").mkdir()
        shutil.copyfile(self.root / "uv.lock", self.archive / copy)
        entries[copy] = _entry(self.archive / copy)
        manifest = Manifest(
            project=find_project(self.root).identity,
            lock=LockRecord(path=copy, sha256=lock.sha256),
            requests=(),
            files=entries,
        )
        (self.archive / "uv-archive.json").write_bytes(manifest.to_json())
        return self.archive

    def _added(
        self, path: ArchivePath, source: Path, name: str, origin: str, why: tuple[Why, ...]
    ) -> Entry:
        target = self.archive / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        version = Version(source.name.removesuffix(".tar.gz").split("-")[1])
        return _entry(
            target,
            Origin(
                name=canonicalize_name(name),
                version=str(version),
                source=origin,
                why=why,
                vouched=any(isinstance(one, Locked) for one in why),
            ),
        )

    def _source(self, name: str, digest: str) -> Path:
        places = (self.served, self.root)
        return next(
            path for place in places for path in place.rglob(name) if sha256(path) == digest
        )

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UV_", "PIP_")) and name != "VIRTUAL_ENV"
        }
        return {
            **kept,
            "UV_PYTHON": str(self.python),
            "UV_PYTHON_DOWNLOADS": "never",
            "HOME": str(self.directory),
        }

    def sync(
        self, *arguments: str, environment: Mapping[str, str] | None = None, **more: object
    ) -> SyncResult:
        """Sync in a namespace without network. What uv showed is the last of `shown`."""
        request = SyncRequest(
            arguments=arguments,
            archive=self.archive,
            directory=Path(str(more.pop("directory", self.root))),
            environment={**self.environment, **(environment or {})},
            only_locked=bool(more.pop("only_locked", False)),
            verify_install=bool(more.pop("verify_install", False)),
        )
        assert not more
        return sync(request, uv=Uv(executable=self.uv, version=Version("0.13.9"), runner=self.run))

    def run(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        """Run without network; what would go to the terminal is kept in `shown`."""
        self.commands.append(command)
        done = subprocess.run(
            [*self.prefix, *command],
            env=dict(environment),
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        completed = Completed(status=done.returncode, stdout=done.stdout, stderr=done.stderr)
        if capture:
            return completed
        self.shown.append(completed)
        return Completed(status=done.returncode, stdout="", stderr="")

    def plain(self, *arguments: str, directory: Path | None = None) -> Completed:
        """Run plain uv in the untouched project, with an empty cache and no network."""
        return self.run(
            [str(self.uv), *arguments, "--offline", "--cache-dir", str(self.directory / "fresh")],
            environment=self.environment,
            directory=directory or self.root,
            capture=True,
        )

    def has(self) -> set[str]:
        """Return what is installed, as `name==version`."""
        listed = self.plain("pip", "list", "--format", "freeze", "-p", str(self.root / ".venv"))
        assert listed.status == 0, listed.stderr
        return set(listed.stdout.split())


def _may_be_built(package: Package) -> bool:
    return package.sdist is not None or isinstance(package.source, (TreeSource, GitSource))


def _name(file: Path) -> str:
    return file.name.partition("-")[0]


def _entry(path: Path, origin: Origin | None = None) -> Entry:
    digest = sha256(path).removeprefix("sha256:")
    return Entry(size=path.stat().st_size, sha256=digest, origin=origin)


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve *directory* and each directory in it as an index, and yield the address."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(directory))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            index, simple, name = self.path.partition("/simple/")
            if not simple:
                return super().do_GET()
            body = "".join(_links(directory, index.strip("/"), name.strip("/"))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return None

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _links(directory: Path, index: str, name: str) -> Iterator[str]:
    for path in sorted((directory / index).iterdir()):
        if path.is_file() and canonicalize_name(path.name.split("-")[0]) == name:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield f'<a href="/{path.relative_to(directory)}#sha256={digest}">{path.name}</a>\n'
