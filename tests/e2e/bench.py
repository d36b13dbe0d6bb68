"""Where the tests run the program: a directory, an index, and commands as a user gives them."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from jsonschema import Draft202012Validator

from tests.e2e.index import Index

_SCHEMA = json.loads(files("uv_archive.cli").joinpath("download.schema.json").read_text())
#: What nobody may ever see: no message, no file of an archive.
CANARY = "c4n4ry-d0-n0t-sh0w"
#: Bytes, time of change and kind of a file, by its path.
Tree = Mapping[str, tuple[str, int, bytes]]
#: Variables that a command is given besides.
NOTHING: Mapping[str, str | None] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return f"{self.out}\n{self.err}"

    @property
    def json(self) -> dict[str, object]:
        """What `download --output-format json` wrote, held against its schema."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        Draft202012Validator(_SCHEMA).validate(document)
        return document


@dataclass(kw_only=True)
class Bench:
    """A directory of a test's own, with `project/` in it, and an index to fetch from."""

    directory: Path
    index: Index
    uv: Path
    offline: Sequence[str]
    variables: dict[str, str] = field(default_factory=dict)
    #: Seconds, after which a command hangs.
    patience: float = 120

    @property
    def root(self) -> Path:
        return self.directory / "project"

    @property
    def archive(self) -> Path:
        return self.root / "dist" / "dependencies"

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> str:
        return str(self.venv / "bin" / "python")

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UV_", "PIP_", "XDG_"))
            and not name.lower().endswith("_proxy")
            and name != "VIRTUAL_ENV"
        }
        return {
            **kept,
            "HOME": str(self.directory / "home"),
            "XDG_CONFIG_DIRS": str(self.directory / "home"),
            "PIP_CONFIG_FILE": os.devnull,
            "UV": str(self.uv),
            "UV_PYTHON": sys.executable,
            "UV_PYTHON_DOWNLOADS": "never",
            # uv's own cache lies elsewhere for every command, unless a test wants it kept.
            "UV_NO_CACHE": "1",
            **self.variables,
        }

    def write(self, path: str, text: str) -> Path:
        """Write a file below the project; common indentation goes."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text).lstrip("\n"))
        return target

    def run(
        self,
        *command: str | Path,
        offline: bool = False,
        prefix: Sequence[str] = (),
        cwd: Path | None = None,
        variables: Mapping[str, str | None] = NOTHING,
    ) -> Said:
        """Run a command in the project's directory. A variable that is `None` is taken away."""
        environment = {**self.environment, **variables}
        if command[1:2] == ("pip",):
            # Of all interpreters `uv pip` would change the one that runs the tests.
            environment = {"VIRTUAL_ENV": str(self.venv), **environment, "UV_PYTHON": None}
        done = subprocess.run(
            [*prefix, *(self.offline if offline else ()), *map(str, command)],
            cwd=cwd or self.root,
            env={name: value for name, value in environment.items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
            timeout=self.patience,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert CANARY not in done.stdout + done.stderr
        return Said(status=done.returncode, out=done.stdout, err=done.stderr)

    def uv_archive(
        self,
        *arguments: str | Path,
        offline: bool = False,
        prefix: Sequence[str] = (),
        cwd: Path | None = None,
        variables: Mapping[str, str | None] = NOTHING,
    ) -> Said:
        command = (sys.executable, "-m", "uv_archive", *arguments)
        return self.run(*command, offline=offline, prefix=prefix, cwd=cwd, variables=variables)

    def lock(self, *arguments: str, variables: Mapping[str, str | None] = NOTHING) -> None:
        """Let uv lock the project over the index."""
        done = self.run(self.uv, "lock", *arguments, variables=variables)
        assert done.status == 0, done.err

    def download(
        self, *arguments: str | Path, variables: Mapping[str, str | None] = NOTHING
    ) -> Said:
        """Run `uv-archive download`, which has to succeed."""
        said = self.uv_archive("download", *arguments, variables=variables)
        assert said.status == 0, said.text
        return said

    def sync(self, *arguments: str | Path) -> Said:
        """Run `uv-archive sync` without network, which has to succeed."""
        said = self.uv_archive("sync", *arguments, offline=True)
        assert said.status == 0, said.text
        return said

    def assert_nothing_left_to_do(self, *arguments: str) -> None:
        """Ask plain uv, in the untouched project, without network."""
        said = self.run(self.uv, "sync", "--locked", "--offline", "--dry-run", *arguments,
                        offline=True)  # fmt: skip
        assert said.status == 0, said.err
        assert "Would make no changes" in said.err, said.err

    def imports(self, *modules: str) -> None:
        """Import modules in the project's environment, without network."""
        said = self.run(self.python, "-c", f"import {', '.join(modules)}", offline=True)
        assert said.status == 0, said.err

    def clear_environment(self) -> None:
        shutil.rmtree(self.venv, ignore_errors=True)

    def manifest(self, archive: Path | None = None) -> dict[str, object]:
        document = json.loads((archive or self.archive).joinpath("uv-archive.json").read_bytes())
        assert isinstance(document, dict)
        return document

    def distributions(self, archive: Path | None = None) -> set[str]:
        """Return the paths of the wheels and sdists in the archive."""
        archive = archive or self.archive
        return {
            path.relative_to(archive).as_posix()
            for path in archive.rglob("*")
            if path.name.endswith((".whl", ".tar.gz", ".zip"))
        }


def installed(environment: Path) -> dict[str, dict[str, str]]:
    """Return each installed distribution's files with their digests, by `name-version`."""
    found = {}
    for record in environment.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        rows = {path: digest for path, digest, _ in csv.reader(record.read_text().splitlines())}
        for path in rows:
            assert (record.parent.parent / path).exists(), path
        # uv's own note of when a local file was last changed; of an index's files it has none.
        found[record.parent.name.removesuffix(".dist-info")] = {
            path: digest for path, digest in rows.items() if not path.endswith("uv_cache.json")
        }
    return found


def contents(environment: Path) -> dict[str, dict[str, str]]:
    """Return the digest of each file of each installed distribution, by `name-version`.

    Each is what its RECORD says, where that says anything.
    """
    found = {}
    for record in environment.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        rows = csv.reader(record.read_text().splitlines())
        recorded = {path: digest for path, digest, _ in rows if path.rpartition(".")[2] != "pyc"}
        digests = {path: _record_hash(record.parent.parent / path) for path in recorded}
        wrong = [path for path, said in recorded.items() if said and said != digests[path]]
        assert wrong == [], wrong
        # uv's own note of when a local file was last changed; of an index's files it has none.
        left_out = ("/RECORD", "/uv_cache.json")
        found[record.parent.name.removesuffix(".dist-info")] = {
            path: digest for path, digest in digests.items() if not path.endswith(left_out)
        }
    return found


def _record_hash(path: Path) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())
    return f"sha256={digest.decode().rstrip('=')}"


def tree(directory: Path) -> Tree:
    """Return everything below a directory, following no link."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        kind = "link" if path.is_symlink() else "directory" if path.is_dir() else "file"
        content = path.read_bytes() if kind == "file" else b""
        # A directory's time changes with what lies in it for a moment.
        modified = status.st_mtime_ns if kind == "file" else 0
        found[path.relative_to(directory).as_posix()] = (kind, modified, content)
    return found


def metadata(archive: Path) -> dict[str, bytes]:
    """Return the bytes of what the archive says of itself."""
    return {
        path.relative_to(archive).as_posix(): path.read_bytes()
        for path in sorted(archive.rglob("*"))
        if path.is_file() and not path.name.endswith((".whl", ".tar.gz", ".zip", ".bundle"))
    }


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bytes_of(archive: Path) -> dict[str, str]:
    """Return the digest of every file of an archive."""
    return {
        path.relative_to(archive).as_posix(): sha256_of(path)
        for path in sorted(archive.rglob("*"))
        if path.is_file()
    }


def difference(
    found: Mapping[str, Mapping[str, str]], expected: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Return what two environments don't have in common, a line for each file."""
    one, two = (
        {f"{name} {path} {digest}" for name, at in one.items() for path, digest in at.items()}
        for one in (found, expected)
    )
    return [f"+ {line}" for line in sorted(one - two)] + [f"- {line}" for line in sorted(two - one)]
