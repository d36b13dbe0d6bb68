"""Syncs that are killed at a chosen call, and what the next sync makes of it.

As a program: `python -m tests.sync.kills DIRECTORY [STRIDE]` kills a sync at every call of uv and
of this program that changes a directory, and prints what came of it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.distributions import make_sdist, make_wheel, sha256
from tests.offline_projects import BUILT_BY_UV, FROM_INDEX, Offline
from uv_archive.errors import UvArchiveError

#: What changes a directory, or fills a file of which uv has already made the name visible. Each
#: kind is counted by itself: else the calls by which uv fills its cache would come first, always.
CALLS = {
    "link": ("link", "linkat", "symlink", "symlinkat"),
    "rename": ("rename", "renameat", "renameat2"),
    "remove": ("unlink", "unlinkat", "rmdir"),
    "mkdir": ("mkdir", "mkdirat"),
    "fill": ("copy_file_range", "sendfile", "chmod", "fchmod", "fchmodat"),
}
#: What this program does beside that: make durable, start uv and wait for it.
OWN_CALLS = {**CALLS, "durable": ("fsync",), "uv": ("wait4", "vfork", "clone3")}
LINK_MODES = ("hardlink", "copy")
# Runs the real uv under strace where it is to install, and everything else as it is. One thread
# installs, so that the calls have an order.
_WRAPPER = """\
#!/bin/sh
case " $* " in
    *" sync "*" --dry-run "* | *" python find "* | *" --version "*) exec "{uv}" "$@" ;;
esac
"{strace}" -f -qqq -o "{log}" -e trace={calls} -e inject={calls}:signal=KILL:when="$KILL_AT" \\
    "{uv}" "$@"
status=$?
if [ $status -eq 137 ] && [ "$KILL_BOTH" ]; then kill -KILL $PPID; fi
exit $status
"""


@dataclass(kw_only=True)
class Killing:
    """A project in two states, and environments of both that no sync was killed for."""

    offline: Offline
    strace: Path
    trees: list[dict[str, str]] = field(default_factory=list)

    def prepare(self) -> None:
        """Make both states, and install one after the other undisturbed."""
        _distributions(self.offline.served)
        for number, dependencies in enumerate(
            ('["alpha==1.0", "beta", "gamma", "delta"]', '["alpha==2.0", "beta", "gamma"]')
        ):
            _project(self.offline, dependencies)
            shutil.rmtree(self.offline.archive, ignore_errors=True)
            self.offline.archived(self.offline.lock())
            state = self._state(number)
            state.mkdir()
            for path in ("pyproject.toml", "uv.lock"):
                shutil.copyfile(self.offline.root / path, state / path)
            shutil.copytree(self.offline.archive, state / "archive")
            assert self.offline.sync().status == 0, self.offline.shown[-1].stderr
            self.trees.append(self.tree())
            shutil.copytree(self.environment, state / "environment", symlinks=True)

    @property
    def environment(self) -> Path:
        return self.offline.root / ".venv"

    def _state(self, number: int) -> Path:
        return self.offline.directory / f"state-{number}"

    def start(self, number: int) -> None:
        """Put everything as it was before the sync of state *number*."""
        for left in self.offline.root.glob(".uv-archive-*"):
            shutil.rmtree(left)
        shutil.rmtree(self.environment, ignore_errors=True)
        shutil.rmtree(self.offline.archive)
        if number:
            shutil.copytree(
                self._state(number - 1) / "environment", self.environment, symlinks=True
            )
        state = self._state(number)
        for path in ("pyproject.toml", "uv.lock"):
            shutil.copyfile(state / path, self.offline.root / path)
        shutil.copytree(state / "archive", self.offline.archive)

    def tree(self) -> dict[str, str]:
        """Return every file of the environment, with its content, or where it leads."""
        return {
            str(path.relative_to(self.environment)): _content(path)
            for path in sorted(self.environment.rglob("*"))
            if not path.is_dir() or path.is_symlink()
            # Whose content is the time of the install.
            if path.suffix != ".pyc" and path.name not in (".lock", "uv_cache.json")
        }

    def kill_uv(self, kind: str, call: int, link_mode: str, *, both: bool) -> bool:
        """Sync with a uv that dies at a call, and this program with it; whether it came to that."""
        wrapper = self.offline.directory / "bin" / "uv"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(
            _WRAPPER.format(
                uv=self.offline.uv,
                strace=self.strace,
                log=os.devnull,
                calls=",".join(f"?{name}" for name in CALLS[kind]),
            )
        )
        wrapper.chmod(0o755)
        done = self._run(
            [],
            link_mode,
            UV=str(wrapper),
            KILL_AT=str(call),
            KILL_BOTH="1" if both else "",
            UV_CONCURRENT_INSTALLS="1",
        )
        return done in (137, -9)

    def kill_ourselves(self, kind: str, call: int, link_mode: str) -> bool:
        """Sync with a program that dies at a call of its own; a uv that it started goes on."""
        calls = ",".join(f"?{name}" for name in OWN_CALLS[kind])
        strace = [str(self.strace), "-qqq", "-o", os.devnull, "-e", f"trace={calls}"]
        strace += ["-e", f"inject={calls}:signal=KILL:when={call}"]
        return self._run(strace, link_mode, UV=str(self.offline.uv)) in (137, -9)

    def _run(self, prefix: Sequence[str], link_mode: str, **variables: str) -> int:
        command = [*self.offline.prefix, *prefix, sys.executable, "-m", "uv_archive", "sync"]
        command += ["--dist-archive", str(self.offline.archive), "--link-mode", link_mode]
        return subprocess.run(
            command,
            cwd=self.offline.root,
            env={**self.offline.environment, **variables},
            capture_output=True,
            check=False,
        ).returncode

    def verdict(self, number: int) -> tuple[str, list[str]]:
        """Sync again, and say what came of it: `whole`, `repaired`, `refused` or `broken`."""
        before = self.tree()
        try:
            result = self.offline.sync()
        except UvArchiveError as error:
            return "refused", [str(error)]
        after, right = self.tree(), self.trees[number]
        if result.status != 0:
            return "refused", [result.stderr or self.offline.shown[-1].stderr]
        wrong = [path for path in right if after.get(path) != right[path]]
        wrong += [str(path.name) for path in self.offline.root.glob(".uv-archive-*")]
        if wrong:
            return "broken", wrong
        return ("whole" if before == after else "repaired"), sorted(after.keys() - right.keys())


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    if path.name == "RECORD":
        rows = path.read_text().splitlines()
        return "\n".join(row for row in rows if "/uv_cache.json," not in row)
    return f"{sha256(path)} {path.stat().st_mode & 0o111:o}"


def _project(offline: Offline, dependencies: str) -> None:
    offline.write(
        "pyproject.toml",
        f"""
        [project]
        name = "workflow"
        version = "1.0"
        requires-python = ">=3.11"
        dependencies = {dependencies}
        [project.scripts]
        workflow = "workflow:main"
        """,
    )
    with (offline.root / "pyproject.toml").open("a") as file:
        file.write(BUILT_BY_UV + FROM_INDEX)
    offline.write("src/workflow/__init__.py", "def main(): pass\n")


def _distributions(directory: Path) -> None:
    for version in ("1.0", "2.0"):
        files = {f"alpha/part{n}/of_{version[0]}_{n}.py": f"n = {n}{version}\n" for n in range(5)}
        files |= {f"alpha/{n}.txt": "text " * 40 for n in ("one", "two")}
        files["alpha/__init__.py"] = f"version = {version!r}\n\ndef main(): pass\n"
        files[f"alpha-{version}.data/scripts/alpha-tool"] = "#!python\nimport alpha\n"
        files[f"alpha-{version}.data/scripts/alpha-shell"] = "#!/bin/sh\necho alpha\n"
        files[f"alpha-{version}.data/data/share/alpha/{version}.dat"] = "data\n"
        files[f"alpha-{version}.data/purelib/alpha/pure.py"] = "pure = True\n"
        make_wheel(
            directory, "alpha", version, files=files, entry_points={"alpha-run": "alpha:main"}
        )
    make_wheel(directory, "beta", "1.0", files={f"beta/{n}.py": f"n = {n}\n" for n in range(6)})
    make_wheel(directory, "delta", "1.0", files={f"delta/{n}.py": f"n = {n}\n" for n in range(3)})
    make_sdist(directory, "gamma", "1.0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One kill, and what came of it."""

    who: str
    state: int
    link_mode: str
    kind: str
    call: int
    verdict: str
    details: Sequence[str]

    def __str__(self) -> str:
        scene = ("fresh", "upgrade")[self.state]
        named = textwrap.shorten(", ".join(self.details), 300)
        where = f"{self.who}, {scene}, {self.link_mode}, {self.kind} {self.call}"
        return f"{where}: {self.verdict} {named}"


def kills(killing: Killing, *, stride: int, sample: int = 1) -> Iterator[Kill]:
    """Kill a sync at every *stride*-th call of a kind, until none dies any more.

    Of the combinations of who is killed, where and at which kind of call, each *sample*-th is
    taken. This program makes fewer calls than uv does, so its strides are shorter.
    """
    every = [
        (who, state, link_mode, kind)
        for who in ("uv", "both", "ourselves")
        for state, link_mode in itertools.product((0, 1), LINK_MODES)
        for kind in (OWN_CALLS if who == "ourselves" else CALLS)
    ]
    for who, state, link_mode, kind in every[::sample]:
        step = -(-stride // 8) if who == "ourselves" else stride
        for call in itertools.count(-(-step // 2), step):
            killing.start(state)
            if who == "ourselves":
                died = killing.kill_ourselves(kind, call, link_mode)
            else:
                died = killing.kill_uv(kind, call, link_mode, both=who == "both")
            if not died:
                break
            verdict, details = killing.verdict(state)
            yield Kill(
                who=who,
                state=state,
                link_mode=link_mode,
                kind=kind,
                call=call,
                verdict=verdict,
                details=details,
            )


def table(found: Sequence[Kill]) -> str:
    """Count what came of kills."""
    lines = []
    for who in ("uv", "both", "ourselves"):
        counts = Counter(kill.verdict for kill in found if kill.who == who)
        every = ", ".join(
            f"{counts[name]} {name}" for name in ("whole", "repaired", "refused", "broken")
        )
        left = sum(bool(k.details) for k in found if k.who == who and k.verdict == "repaired")
        lines.append(f"{who} killed: {counts.total()} times; then {every}; {left} with leftovers")
    return "\n".join(lines)


def main() -> int:
    directory = Path(sys.argv[1]).absolute()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    uv, strace, unshare = (shutil.which(name) for name in ("uv", "strace", "unshare"))
    assert uv
    assert strace
    assert unshare
    offline = Offline(
        directory=directory, uv=Path(uv), python=Path(sys.executable), prefix=(unshare, "-rn")
    )
    killing = Killing(offline=offline, strace=Path(strace))
    killing.prepare()
    found: list[Kill] = []
    try:
        for kill in kills(killing, stride=int(sys.argv[2]) if len(sys.argv) > 2 else 1):
            found.append(kill)
            if kill.verdict in ("broken", "refused") or kill.details:
                print(kill, flush=True)
    finally:
        # Also of a sweep that is interrupted, which takes an hour.
        print(table(found), flush=True)
    return 1 if any(kill.verdict in ("broken", "refused") for kill in found) or not found else 0


if __name__ == "__main__":
    raise SystemExit(main())
