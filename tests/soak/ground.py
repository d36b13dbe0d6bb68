"""Where whole downloads are disturbed: a project in three states, and a server for its files.

Each run is the command line's own entry point in a process of its own, forked from one that has
imported everything, so that ten thousand of them take minutes. Two answers of uv are taken once and
then from memory: its version and its exports. All else is as a user has it: the lock is uv's, the
files come over HTTP, and the archive is a directory on a disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import uv_archive.cli.download
import uv_archive.cli.progress
import uv_archive.download.run
import uv_archive.fetch.client
from tests.archive.bringing import tree, untruths
from tests.distributions import make_sdist, make_wheel
from tests.e2e.index import Index
from uv_archive.archive.exports import Pylock
from uv_archive.cli.main import run
from uv_archive.uv import find_uv

#: What `download` is asked for in each step; the archive of a step is where the next one begins.
STEPS: Mapping[str, Sequence[str]] = {
    "first": (),
    "second": ("--group", "gpu"),
    "changed": ("--prune", "--group", "gpu"),
}
#: Beside that.
ALWAYS = (
    *("download", "--frozen", "-p", "3.11", "--python-platform", "linux"),
    *("--no-build-requirements", "-j", "4"),
)
#: How a run ends that a foreign exception has ended.
CRASHED = 99


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a run ended; *signal* is the one that killed it, or 0."""

    status: int
    signal: int
    said: str


@dataclass(kw_only=True)
class Ground:
    """A directory with the project in each state, archives that undisturbed runs gave, and one."""

    directory: Path
    known: dict[str, set[bytes]] = field(default_factory=dict)
    trees: list[dict[str, bytes]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def prepared(cls, directory: Path) -> Iterator[Ground]:
        """Lock the project, and make the archives that undisturbed runs give."""
        ground = cls(directory=directory.absolute())
        shutil.rmtree(directory, ignore_errors=True)
        directory.joinpath("said").mkdir(parents=True)
        with _serving(ground.directory / "index") as address, pytest.MonkeyPatch.context() as patch:
            uv = find_uv(os.environ)
            patch.setattr("uv_archive.download.find_uv", lambda _: uv)
            patch.setattr("uv_archive.download.run.export_all", ground._exports)
            for number in range(len(STEPS)):
                ground._lock(number, address, str(uv.executable))
            for number in range(len(STEPS)):
                ended = ground.run(number)
                assert ended.status == 0, ended.said
                shutil.copytree(ground.archive, ground.reference(number))
                ground.trees.append(tree(ground.archive))
            yield ground

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    @property
    def home(self) -> Path:
        return self.directory / "home"

    def project(self, number: int) -> Path:
        return self.directory / f"project-{min(number, 2) // 2}"

    def reference(self, number: int) -> Path:
        return self.directory / f"reference-{number}"

    def start(self, number: int) -> None:
        """Put everything as it was before a step."""
        shutil.rmtree(self.archive, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)
        if number:
            shutil.copytree(self.reference(number - 1), self.archive)

    def spawn(self, number: int, within: Callable[[], object] = lambda: None) -> int:
        """Begin a step in a process of its own, which first calls *within*; return its id."""
        child = os.fork()
        if child:
            return child
        status = CRASHED
        # From here on Ctrl-C is the program's to answer, not ours.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._enter(number)
            arguments = [*ALWAYS, "-o", str(self.archive), *list(STEPS.values())[number]]
            within()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status = run(arguments)
        except BaseException:  # noqa: BLE001 - shown, and counted
            traceback.print_exc()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            sys.stderr.flush()
            os._exit(status)

    def wait(self, child: int) -> Ended:
        _, status = os.waitpid(child, 0)
        return Ended(
            status=os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            said=self._said(child),
        )

    def _said(self, child: int) -> str:
        path = self.directory / "said" / str(child)
        if not path.exists():
            return ""
        text = path.read_text(errors="replace")
        path.unlink()
        return text

    def run(self, number: int, within: Callable[[], object] = lambda: None) -> Ended:
        """Carry out a step in a process of its own."""
        return self.wait(self.spawn(number, within))

    def wrongs(self, number: int) -> list[str]:
        """Say what is wrong after a disturbed step, and after another one that nothing disturbs."""
        wrong = untruths(self.archive, self.known)
        wrong += [f"`{path}` was changed" for path in self._changed_outside()]
        ended = self.run(number)
        if ended.status != 0:
            return [*wrong, f"a second run fails: {ended.said}"]
        found = tree(self.archive)
        if found != self.trees[number]:
            other = {*found.items()} ^ {*self.trees[number].items()}
            wrong.append(f"a second run differs in {sorted({path for path, _ in other})}")
        return wrong

    def _enter(self, number: int) -> None:
        own = self.directory / "said" / str(os.getpid())
        said = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.dup2(said, 2)
        # Whoever runs the tests may have put streams of its own in their place.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
        sys.stderr = os.fdopen(2, "w", closefd=False, errors="replace")
        os.chdir(self.project(number))
        for name in [*os.environ]:
            if name.startswith(("UV_", "XDG_")):
                del os.environ[name]
        os.environ["HOME"] = str(self.home)

    def _exports(self, requests: Sequence[object], **how: object) -> Mapping[str, Pylock]:
        """Answer as uv did the first time, for the same requests of the same lock."""
        asked = [sorted(str(request) for request in requests), str(how["owner"])]
        key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        kept = self.directory / f"export-{key[:16]}"
        if kept.exists():
            known: Mapping[str, Pylock] = pickle.loads(kept.read_bytes())  # noqa: S301 - our own
            return known
        made = uv_archive.download.exporting.export_all(requests, **how)  # type: ignore[arg-type]
        kept.write_bytes(pickle.dumps(made))
        return made

    def _changed_outside(self) -> list[str]:
        """Return what isn't as `prepared` left it: in the projects and beside the archive."""
        found = []
        for number in (0, 2):
            left = self.directory / f"untouched-{number}"
            if tree(self.project(number)) != tree(left):
                found.append(str(self.project(number)))
        names = {path.name for path in self.directory.iterdir()}
        return [*found, *sorted(names - self._names())]

    def _names(self) -> set[str]:
        own = {"archive", "home", "index", "said"}
        own |= {path.name for path in self.directory.glob("export-*")}
        for number in range(len(STEPS)):
            own |= {f"reference-{number}", f"project-{number // 2}", f"untouched-{number}"}
        return own

    def _lock(self, number: int, address: str, uv: str) -> None:
        """Write the project of a step and let uv lock it; the files are made before."""
        project = self.project(number)
        if project.exists():
            return
        project.mkdir()
        index = self.directory / "index" / ("other" if number else "main")
        for path in _distributions(index, number):
            self.known.setdefault(path.name, set()).add(path.read_bytes())
        dependencies = '["alpha", "beta", "delta"]' if number else '["alpha", "beta", "gamma"]'
        (project / "pyproject.toml").write_text(
            f"[project]\nname = 'app'\nversion = '1.0'\nrequires-python = '>=3.11'\n"
            f"dependencies = {dependencies}\n"
            "[dependency-groups]\ngpu = ['epsilon']\n"
            f"[[tool.uv.index]]\nurl = '{address}/{index.name}/simple'\ndefault = true\n"
        )
        command = [uv, "lock", "--no-cache", "--python", sys.executable]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shutil.copytree(project, self.directory / f"untouched-{number}")


def _distributions(directory: Path, number: int) -> list[Path]:
    """Make what the project needs; in the second state one file has other bytes."""
    noise = random.Random(number)
    files: dict[str, str | bytes] = {"alpha/data.bin": noise.randbytes(200_000)}
    return [
        make_wheel(directory, "alpha", "1.0", files=files),
        make_wheel(directory, "beta", "1.0"),
        make_sdist(directory, "delta" if number else "gamma", "1.0"),
        make_wheel(directory, "epsilon", "1.0", tags="cp311-cp311-manylinux_2_17_x86_64"),
    ]


@contextmanager
def _serving(directory: Path) -> Iterator[str]:
    """Serve the index from a process without our threads: those don't survive a fork."""
    directory.mkdir()
    reader, writer = os.pipe()
    ended, alive = os.pipe()
    server = os.fork()
    if server == 0:
        os.close(alive)
        with Index(directory).running() as index:
            os.write(writer, index.address.encode())
            os.close(writer)
            os.read(ended, 1)  # That ends when we do, however that comes.
        os._exit(0)
    os.close(writer)
    os.close(ended)
    try:
        yield os.read(reader, 100).decode()
    finally:
        os.close(reader)
        os.close(alive)
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
