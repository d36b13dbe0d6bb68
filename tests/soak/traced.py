"""The program as it is installed, with everything that it starts, under strace.

As a program: `python -m tests.soak.traced DIRECTORY [STRIDE]` has every *STRIDE*-th system call of
a kind fail or kill its process, and prints what came of it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.soak.downloads import Trial
from tests.soak.ground import ALWAYS, STEPS, Ground

#: What changes a directory or makes it durable. Each kind is counted by itself, and in each thread
#: of its own: strace has it so. A `write` would be one to a terminal or to a wakened thread, too.
CALLS = {
    "rename": ("rename", "renameat", "renameat2"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "mkdir": ("mkdir", "mkdirat"),
    "sync": ("fsync", "fdatasync"),
    "truncate": ("ftruncate",),
}
FAULTS = ("signal=KILL", "error=ENOSPC", "error=EIO", "error=EROFS", "error=EACCES")


def traced(
    ground: Ground, strace: str, *, stride: int = 1, faults: Sequence[str] = FAULTS
) -> Iterator[Trial]:
    """Disturb the first and the last step at every *stride*-th call of each kind and thread."""
    for number, fault, kind in itertools.product((0, 2), faults, CALLS):
        for call in itertools.count(1, stride):
            ground.start(number)
            done, fired = _run(ground, number, strace, f"{fault}:when={call}", CALLS[kind])
            if not fired:
                break
            name = f"{list(STEPS)[number]}, {fault} at {kind} {call}"
            yield Trial(name=name, fired=True, wrong=_wrong(done) + ground.wrongs(number))


def _run(
    ground: Ground, number: int, strace: str, fault: str, calls: Sequence[str]
) -> tuple[subprocess.CompletedProcess[str], bool]:
    log = ground.directory / "said" / "strace"
    named = ",".join(f"?{call}" for call in calls)
    command = [
        strace,
        "-f",
        "-o",
        str(log),
        "-e",
        f"trace={named}",
        "-e",
        f"inject={named}:{fault}",
    ]
    command += [sys.executable, "-m", "uv_archive", *ALWAYS, "-o", str(ground.archive)]
    done = subprocess.run(
        [*command, *list(STEPS.values())[number]],
        cwd=ground.project(number),
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith(("UV_", "XDG_"))},
            "HOME": str(ground.home),
            # Else most of the calls are those by which the interpreter keeps what it compiled.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )
    said = log.read_text(errors="replace")
    log.unlink()
    return done, "(INJECTED)" in said or "killed by SIGKILL" in said


def _wrong(done: subprocess.CompletedProcess[str]) -> list[str]:
    # A uv that is killed, or that panics, is one that failed.
    if "Traceback" in done.stderr or done.returncode not in (0, 1, 2, 137, -9):
        return [f"ends with {done.returncode}: {done.stderr}"]
    return []


def main() -> int:
    stride = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    strace = shutil.which("strace")
    assert strace
    with Ground.prepared(Path(sys.argv[1])) as ground:
        trials = list(traced(ground, strace, stride=stride))
    wrong = [f"{trial.name}: {text}" for trial in trials for text in trial.wrong]
    for text in wrong:
        print(text, file=sys.stderr)
    print(f"{len(trials)} faults: {len(wrong)} with a traceback, wrong or not converged")
    return 1 if wrong or not trials else 0


if __name__ == "__main__":
    raise SystemExit(main())
