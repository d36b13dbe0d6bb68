"""The sweeps, a row of the table each: what is done how often, and what has to come of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PARTS = os.cpu_count() or 1
#: What part of the full count is carried out; the table says so.
PART = max(1, int(os.environ.get("UV_ARCHIVE_SOAK_PART", "1")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """What came of a sweep, in words and numbers, and whether it is what has to come of it."""

    said: str
    good: bool
    wrong: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A sweep at its full count. *needs* are programs without which it can't be carried out."""

    name: str
    what: str
    reach: str
    carry_out: Callable[[Path], Figure]
    needs: Sequence[str] = ()


def _run(
    *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sum:
    """What the parts of a sweep came to."""

    trials: int
    fired: int
    read: int
    slowest: float
    mebibytes: int
    wrong: Sequence[str]


def _in_parts(count: int, command: Callable[[int], Sequence[str]]) -> Sum:
    """Carry out numbers 0 to *count* in as many processes as there are processors."""
    bounds = [count * part // _PARTS for part in range(_PARTS + 1)]
    parts = [
        (*command(part), str(bounds[part]), str(bounds[part + 1]))
        for part in range(_PARTS)
        if bounds[part] < bounds[part + 1]
    ]
    with ThreadPoolExecutor(_PARTS) as pool:
        every = list(pool.map(_document, parts))
    return Sum(
        trials=sum(_number(one, "trials") for one in every),
        fired=sum(_number(one, "fired") for one in every),
        read=sum(_number(one, "read") for one in every),
        slowest=max(float(str(one.get("slowest", 0))) for one in every),
        mebibytes=max(_number(one, "mebibytes") for one in every),
        wrong=[text for one in every for text in _texts(one)],
    )


def _document(arguments: Sequence[str]) -> Mapping[str, object]:
    done = _run(*arguments)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return {"wrong": [f"{' '.join(arguments)}: {done.stdout}{done.stderr}"]}
    assert isinstance(document, dict)
    return document


def _number(document: Mapping[str, object], key: str) -> int:
    value = document.get(key, 0)
    return value if isinstance(value, int) else 0


def _texts(document: Mapping[str, object]) -> Iterator[str]:
    match document.get("wrong"):
        case list(texts):
            yield from map(str, texts)
        case _:
            return


def _downloads(sweep: str, count: int, said: str) -> Callable[[Path], Figure]:
    """Return what carries out a sweep of `tests.soak.downloads`."""

    def carry_out(directory: Path) -> Figure:
        found = _in_parts(
            count,
            lambda part: ("-m", "tests.soak.downloads", str(directory / f"{part}"), sweep),
        )
        return Figure(
            said=said.format(trials=found.trials, fired=found.fired, wrong=len(found.wrong)),
            good=not found.wrong and found.fired > 0,
            wrong=found.wrong,
        )

    return carry_out


def _locks(_: Path) -> Figure:
    count = 100_000 // PART
    found = _in_parts(count, lambda _: ("-m", "tests.lock.hostile"))
    return Figure(
        said=f"{found.trials:,} mutations, {found.trials - found.read:,} refused in one clear "
        f"message each; {len(found.wrong)} wrong; at most {found.slowest:.2f} s and "
        f"{found.mebibytes} MiB",
        good=not found.wrong and found.trials == count,
        wrong=found.wrong,
    )


def _pytest(
    *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    quiet = ("-q", "-p", "no:cacheprovider", "-p", "tests.soak.repeated", "--timeout", "20000")
    return _run("-m", "pytest", *quiet, *arguments, variables={"CI": "true", **(variables or {})})


def _network(directory: Path) -> Figure:
    """Carry out each test of a network fault 25 times; none may take longer than a minute."""
    times, modules = -(-25 // PART), ("faults", "redirects", "tls", "interruption")
    done = _pytest(
        *(f"tests/fetch/test_{module}.py" for module in modules),
        *("--timeout", "60", "--basetemp", str(directory / "pytest")),
        variables={"UV_ARCHIVE_TIMES": str(times)},
    )
    tried, failed = _counted(r"tried (\d+), failed (\d+)", done.stdout)
    return Figure(
        said=f"{tried // times} faults, {times} times each: {failed} with wrong bytes or no end",
        good=done.returncode == 0 and tried > 0,
        wrong=_complaints(done),
    )


def _counted(pattern: str, text: str) -> tuple[int, ...]:
    match = re.search(pattern, text)
    return tuple(map(int, match.groups())) if match else (0,) * re.compile(pattern).groups


def _complaints(done: subprocess.CompletedProcess[str]) -> Sequence[str]:
    return [] if done.returncode == 0 else [done.stdout[-4000:] + done.stderr[-2000:]]


def _power_loss(directory: Path) -> Figure:
    done = _pytest(
        *("tests/archive/test_store.py", "-k", "power_loss_at_any", "-s"),
        *("--basetemp", str(directory / "pytest")),
    )
    (states,) = _counted(r"(\d+) states after", done.stdout)
    said = f"{states} states that a disk may be in: " + ("0 wrong" if not done.returncode else "?")
    return Figure(said=said, good=done.returncode == 0 and states > 0, wrong=_complaints(done))


def _bit_rot(directory: Path) -> Figure:
    step = {"UV_ARCHIVE_BIT_ROT_STEP": str(PART)}
    done = _run("-m", "tests.verify.bit_rot", str(directory), variables=step)
    said = done.stdout.strip().removeprefix("bit rot: ")
    return Figure(said=said, good=done.returncode == 0, wrong=_complaints(done))


def _sync_kills(directory: Path) -> Figure:
    done = _run("-m", "tests.sync.kills", str(directory / "kills"), str(PART))
    rows = re.findall(r"(\w+) killed: (\d+) times; then ([^;]*)", done.stdout)
    counts = {
        kind: sum(int(one) for _, _, said in rows for one in re.findall(rf"(\d+) {kind}", said))
        for kind in ("whole", "repaired", "refused", "broken")
    }
    total = sum(int(count) for _, count, _ in rows)
    said = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return Figure(
        said=f"{total:,} kills: {said}",
        good=done.returncode == 0 and total > 0,
        wrong=_complaints(done),
    )


def _decoys(directory: Path) -> Figure:
    done = _pytest(
        *("tests/sync/test_decoys.py", "-s", "--basetemp", str(directory / "pytest")),
        variables={"UV_ARCHIVE_DECOY_LOCKS": str(-(-20 // PART))},
    )
    match = re.search(r"\d+ decoys: .*", done.stdout)
    return Figure(
        said=match[0] if match else "no figure",
        good=done.returncode == 0 and match is not None,
        wrong=_complaints(done),
    )


def _whole_programs(directory: Path) -> Figure:
    done = _run("-m", "tests.soak.traced", str(directory / "traced"), str(PART))
    said = done.stdout.strip().rpartition("\n")[2]
    return Figure(said=said, good=done.returncode == 0, wrong=_complaints(done))


ROWS = (
    Row(
        name="kills",
        what="SIGKILL at every call of a download that changes anything: a first one, one that "
        "adds, one after the lock changed",
        reach="0 wrong files, all converge",
        carry_out=_downloads("kills", 1, "{fired:,} kills: {wrong} wrong or not converged"),
    ),
    Row(
        name="random-kills",
        what="SIGKILL, SIGINT or SIGTERM at 10,000 random instants of such downloads",
        reach="0 wrong files, all converge",
        carry_out=_downloads(
            "random-kills",
            10_000 // PART,
            "{trials:,} signals, {fired:,} in time: {wrong} wrong or not converged",
        ),
    ),
    Row(
        name="errors",
        what="ENOSPC, EDQUOT, EFBIG, EIO, EMFILE, EROFS, EACCES, EPERM from every such call",
        reach="0 tracebacks, 0 wrong files",
        carry_out=_downloads(
            "errors",
            8,
            "{fired:,} errors: {wrong} without a message and a hint, wrong or not converged",
        ),
    ),
    Row(
        name="whole-programs",
        what="the installed program under strace: errors and SIGKILL at every such system call of "
        "it and of the uv that it starts",
        reach="0 tracebacks, 0 wrong files",
        carry_out=_whole_programs,
        needs=("strace",),
    ),
    Row(
        name="crowds",
        what="8 downloads into one archive at once, 100 times; in every other one is killed",
        reach="one at a time, nothing blocks",
        carry_out=_downloads(
            "crowds", -(-100 // PART), "{trials} rounds: {wrong} wrong or not converged"
        ),
    ),
    Row(
        name="power-loss",
        what="every order in which a disk may lose what wasn't synced",
        reach="0 wrong files",
        carry_out=_power_loss,
    ),
    Row(
        name="network",
        what="every network fault, 25 times",
        reach="0 wrong bytes accepted, 0 hangs",
        carry_out=_network,
    ),
    Row(
        name="bit-rot",
        what="`verify` after every single bit of a 64 KiB archive, and 100,000 of a larger one, "
        "turned over; 1,000 runs over sound archives",
        reach="all found, 0 false alarms",
        carry_out=_bit_rot,
    ),
    Row(
        name="locks",
        what="locks with 1 to 6 mutations: read, placed, selected from, copied, relocated",
        reach="0 tracebacks, 0 effects",
        carry_out=_locks,
    ),
    Row(
        name="sync-kills",
        what="SIGKILL at every call by which uv or `sync` changes the environment, then `sync`",
        reach="never exit 0 with a file missing",
        carry_out=_sync_kills,
        needs=("strace", "unshare"),
    ),
    Row(
        name="decoys",
        what="each decoy alone and all together, on 20 locks",
        reach="what is installed is what the lock names",
        carry_out=_decoys,
        needs=("unshare",),
    ),
)


def carry_out(row: Row) -> Figure:
    """Carry out a sweep in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="uv-archive-soak-") as directory:
        return row.carry_out(Path(directory))
