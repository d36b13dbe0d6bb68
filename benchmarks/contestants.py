"""The commands that are held against each other."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.corpus import Corpus
from benchmarks.measure import Contestant, expect_files, nothing
from benchmarks.server import Server

#: The peers from the index, as they were when the figures were taken.
PEERS = ("pip==26.3", "pex==2.105.2", "uv-wheel-download==0.1.1")
OURS = "uv-archive"
CURL = "curl --parallel"
PEX = "pex3 download"
PLAIN = "uv sync, relocated lock, and sha256"
#: Where the outputs of earlier runs go, below the working directory.
ASIDE = "aside"
#: Hashes the files that are named to it: OpenSSL, for what coreutils has is four times slower.
HASHING = f"xargs -0 -n 8 -P {os.cpu_count() or 1} openssl dgst -sha256"
# What ours opens by default; the others get as many.
_CONNECTIONS = 16
# Where uv finds Pythons. Not the caller's: a `python3` there may be a script of half a second.
_PATH = [
    str(Path(sys.executable).parent),
    str(Path(sys.base_prefix, "bin")),
    *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Where runs take place: *work* is for what they write, *peers* an environment with PEERS.

    *within* puts a command where the server can be reached.
    """

    work: Path
    peers: Path
    server: Server
    within: Callable[[Sequence[str]], list[str]]

    @property
    def output(self) -> Path:
        """Where files are fetched to, removed before each run."""
        return self.work / "output"

    @property
    def environment(self) -> Mapping[str, str]:
        """A bare environment: no configuration and no cache of the user's."""
        authority = str(self.server.authority)
        return {
            "HOME": str(self.work / "home"),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join(_PATH),
            "SSL_CERT_FILE": authority,
            "REQUESTS_CA_BUNDLE": authority,
            "PIP_CERT": authority,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_CACHE_DIR": str(self.work / "cache"),
            "UV_NO_CONFIG": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "XDG_CACHE_HOME": str(self.work / "cache"),
        }

    def contestant(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        prepare: Callable[[], object],
        check: Callable[[], object],
        more: Mapping[str, str] | None = None,
        rounds: int = 1_000,
    ) -> Contestant:
        """Make a contestant that runs where the server can be reached."""
        return Contestant(
            name=name,
            command=self.within(command),
            environment={**self.environment, **(more or {})},
            directory=directory,
            prepare=prepare,
            check=check,
            rounds=rounds,
        )

    def peer(self, name: str) -> str:
        return str(self.peers / "bin" / name)


def install_peers(directory: Path) -> None:
    """Make an environment with the peers, from the package index, unless it is there."""
    if (directory / "bin" / "pex3").is_file():
        return
    uv = str(own_program("uv"))
    subprocess.run([uv, "venv", "-q", "--clear", str(directory)], check=True)
    python = str(directory / "bin" / "python")
    subprocess.run([uv, "pip", "install", "-q", "--python", python, *PEERS], check=True)


def own_program(name: str) -> Path:
    """Return a program that is installed beside this interpreter."""
    return Path(sys.executable).with_name(name)


def put_aside(output: Path) -> None:
    """Free what a run fetched, but for the names and inodes of its files.

    For some minutes ext4 without a journal passes over inodes that were deleted, one by one: right
    after thousands were, making a file takes several times as long, for whoever comes next.
    """
    if not output.exists():
        return
    for path in output.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)
    aside = output.with_name(ASIDE)
    aside.mkdir(exist_ok=True)
    output.rename(aside / str(time.monotonic_ns()))


def ours(field: Field, corpus: Corpus) -> Contestant:
    """Download with this program, beginning with no archive."""

    def nothing_known() -> None:
        put_aside(field.output)
        shutil.rmtree(field.work / "cache" / "uv-archive", ignore_errors=True)

    return field.contestant(
        OURS,
        [str(own_program(OURS)), "download", "-q", "-o", str(field.output)],
        directory=corpus.project,
        prepare=nothing_known,
        check=expect_files(field.output, len(corpus.files)),
    )


def ours_again(field: Field, corpus: Corpus, archive: Path, *flags: str) -> Contestant:
    """Download with this program, into an archive that has everything."""
    return field.contestant(
        " ".join([OURS, "again", *flags]),
        [str(own_program(OURS)), "download", "-q", "-o", str(archive), *flags],
        directory=corpus.project,
        prepare=nothing,
        check=expect_files(archive, len(corpus.files)),
    )


def installs(field: Field, corpus: Corpus, archive: Path) -> list[Contestant]:
    """Return everything that installs from *archive*, each from an empty cache."""
    project = field.work / "project"
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(corpus.project, project)
    environment = project / ".venv"
    sync = [str(own_program(OURS)), "sync", "-q", "--dist-archive", str(archive)]
    into = [str(own_program("uv")), "pip", "sync", "-q", "--offline", "--no-index"]
    pip = [field.peer("pip"), "--python", str(environment), "install", "-q", "--no-cache-dir"]
    found = ["--no-index", "--find-links", str(archive)]

    def empty() -> None:
        for directory in (environment, field.work / "cache-of-peer"):
            shutil.rmtree(directory, ignore_errors=True)

    def bare() -> None:
        empty()
        uv = str(own_program("uv"))
        subprocess.run([uv, "venv", "-q", str(environment)], check=True, env=field.environment)

    def contestant(name: str, command: Sequence[str], prepare: Callable[[], object]) -> Contestant:
        return Contestant(
            name=name,
            command=command,
            environment={
                **field.environment,
                "UV_CACHE_DIR": str(field.work / "cache-of-peer"),
                "UV_PROJECT_ENVIRONMENT": str(environment),
                "VIRTUAL_ENV": str(environment),
            },
            directory=project,
            prepare=prepare,
            check=expect_files(environment, len(corpus.files), suffix="RECORD"),
        )

    plain = _plain_sync(field, project, archive)
    return [
        contestant(PLAIN, ["sh", "-c", plain], empty),
        contestant(f"{OURS} sync", sync, empty),
        contestant(f"{OURS} sync again", sync, nothing),
        contestant("uv pip sync", [*into, *found[1:], str(archive / "pylock.toml")], bare),
        contestant(
            "pip install",
            [*pip, *found, "--require-hashes", "-r", str(archive / "requirements.txt")],
            bare,
        ),
    ]


def _plain_sync(field: Field, project: Path, archive: Path) -> str:
    """Relocate the lock into a scratch directory, and return what syncs from there and hashes."""
    scratch = field.work / "relocated"
    shutil.rmtree(scratch, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.relocated", str(project), str(archive)]
    said = subprocess.run([*command, str(scratch)], check=True, capture_output=True, text=True)
    uv = [str(own_program("uv")), "sync", "-q", *said.stdout.split("\n")[:-1], "--frozen"]
    sync = shlex.join([*uv, "--offline", "--no-index", "--find-links", str(archive)])
    wheels = shlex.quote(str(archive))
    return f"{sync} && find {wheels} -name '*.whl' -print0 | {HASHING}"


def downloads(field: Field, corpus: Corpus, *, slow_peers: int) -> list[Contestant]:
    """Return everything that downloads; peers without parallel transfers run *slow_peers* times."""
    output = field.output
    requirements = [
        "--no-deps",
        "--require-hashes",
        "-r",
        str(corpus.directory / "requirements.txt"),
    ]
    index = f"{corpus.base}/{corpus.shape.name}/simple/"
    exported = ["--pylock", str(corpus.directory / "pylock.toml")]
    return [
        curl(field, corpus),
        ours(field, corpus),
        aria2(field, corpus),
        _into_empty(
            field,
            corpus,
            "uv-wheel-download",
            [field.peer("uv-wheel-download"), "-d", str(output), "--no-requirements"],
            rounds=max(slow_peers, 1),
        ),
        _into_empty(
            field,
            corpus,
            "pip download",
            [field.peer("pip"), "download", "-q", "--no-cache-dir", "-d", str(output),
             "-i", index, *requirements],
            rounds=slow_peers,
        ),
        _into_empty(
            field,
            corpus,
            PEX,
            [field.peer("pex3"), "download", "-d", str(output), "--no-pypi", "-i", index,
             "--pip-version", "vendored", "-j", str(_CONNECTIONS), *exported],
            # Two minutes of processor time each.
            rounds=min(slow_peers, 2),
            more={"PEX_ROOT": str(field.work / "cache" / "pex")},
        ),
    ]  # fmt: skip


def curl(field: Field, corpus: Corpus) -> Contestant:
    """Fetch with curl: the floor, for it neither hashes nor makes anything durable."""
    flags = ["--parallel", "--parallel-max", str(_CONNECTIONS), "--http1.1", "--fail", "-s"]
    listed = field.work / f"curl-{corpus.shape.name}"
    listed.write_text(
        "".join(
            f'url = "{corpus.url(file)}"\noutput = "{field.output / file.filename}"\n'
            for file in corpus.files
        )
    )
    authority = ["--cacert", str(field.server.authority)]
    return _into_empty(field, corpus, CURL, ["curl", *flags, *authority, "--config", str(listed)])


def aria2(field: Field, corpus: Corpus) -> Contestant:
    """Fetch with aria2, checksums checked, large files in parts."""
    listed = field.work / f"aria2-{corpus.shape.name}"
    listed.write_text(
        "".join(f"{corpus.url(one)}\n checksum=sha-256={one.sha256}\n" for one in corpus.files)
    )
    flags = ["-q", "-j", str(_CONNECTIONS), "-x", "4", "-s", "4", "--file-allocation=none",
             "--ca-certificate", str(field.server.authority)]  # fmt: skip
    return _into_empty(
        field, corpus, "aria2c", ["aria2c", *flags, "-d", str(field.output), "-i", str(listed)]
    )


def _into_empty(
    field: Field,
    corpus: Corpus,
    name: str,
    command: Sequence[str],
    *,
    rounds: int = 1_000,
    more: Mapping[str, str] | None = None,
) -> Contestant:
    own_cache = {"UV_CACHE_DIR": str(field.work / "cache-of-peer")}

    def prepare() -> None:
        put_aside(field.output)
        shutil.rmtree(field.work / "cache-of-peer", ignore_errors=True)
        shutil.rmtree(field.work / "cache" / "pex", ignore_errors=True)
        field.output.mkdir(parents=True)

    return field.contestant(
        name,
        command,
        directory=corpus.project,
        prepare=prepare,
        check=expect_files(field.output, len(corpus.files)),
        more={**own_cache, **(more or {})},
        rounds=rounds,
    )
