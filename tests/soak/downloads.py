"""Downloads that are killed, interrupted, refused by the file system, or several at once.

As a program: `python -m tests.soak.downloads DIRECTORY SWEEP FROM TO` carries out a part of a
sweep, and prints what came of it as JSON.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.archive.bringing import tree
from tests.archive.faults import at_call
from tests.soak.ground import CRASHED, STEPS, Ended, Ground

ERRORS = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EMFILE", "EROFS", "EACCES", "EPERM")
#: Which signal, and how the program says that it was stopped by it.
SIGNALS = {signal.SIGKILL: -1, signal.SIGINT: 130, signal.SIGTERM: 143}
_FIRED = "\0fired\0"
_KEPT = ExitStack()
_PROCESSES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One disturbance, whether it came to it, and what was wrong afterwards."""

    name: str
    fired: bool
    wrong: Sequence[str]


def disturb_at(call: int, act: Callable[[str], None]) -> None:
    """Have *act* happen at a call of this process; for its whole life."""

    def acted(name: str) -> None:
        os.write(2, _FIRED.encode())
        act(name)

    _KEPT.enter_context(at_call(call, acted))


def kills_at_every_call(ground: Ground, *, stride: int = 1) -> Iterator[Trial]:
    """Kill each step at every *stride*-th call that changes anything."""

    def die(_: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    for number, step in enumerate(STEPS):
        for call in itertools.count(1, stride):
            ground.start(number)
            ended = ground.run(number, partial(disturb_at, call, die))
            if ended.signal != signal.SIGKILL:
                break
            name = f"{step}, killed at call {call}"
            yield Trial(name=name, fired=True, wrong=ground.wrongs(number))


def kills_at_random(ground: Ground, seeds: Iterable[int]) -> Iterator[Trial]:
    """Send a run a signal at some instant, or let another one be quicker."""
    durations = [_duration(ground, number) for number in range(len(STEPS))]
    for seed in seeds:
        chance = random.Random(seed)
        number = chance.randrange(len(STEPS))
        sent = chance.choices(list(SIGNALS), weights=(8, 1, 1))[0]
        ground.start(number)
        child = ground.spawn(number)
        time.sleep(chance.uniform(0, durations[number] * 1.2))
        os.kill(child, sent)
        ended = ground.wait(child)
        name = f"{list(STEPS)[number]}, seed {seed}, {sent.name}"
        wrong = _wrong_endings(ended, sent) + ground.wrongs(number)
        yield Trial(name=name, fired=ended.status != 0, wrong=wrong)


def errors(ground: Ground, names: Sequence[str] = ERRORS, *, stride: int = 1) -> Iterator[Trial]:
    """Have every *stride*-th call that changes anything fail with each error."""
    for number, step in enumerate(STEPS):
        for name in names:
            code = getattr(errno, name)
            yield from _errors(ground, number, f"{step}, {name}", code, stride)


def _errors(ground: Ground, number: int, name: str, code: int, stride: int) -> Iterator[Trial]:
    def fail(_: str) -> None:
        raise OSError(code, os.strerror(code))

    for call in itertools.count(1, stride):
        ground.start(number)
        ended = ground.run(number, partial(disturb_at, call, fail))
        if _FIRED not in ended.said:
            break
        wrong = _wrong_answers(ended, code)
        if ended.status == 0 and _finished(ground.archive) != ground.trees[number]:
            wrong.append("it says that it is done, and isn't")
        wrong += ground.wrongs(number)
        yield Trial(name=f"{name} at call {call}", fired=True, wrong=wrong)


def crowds(ground: Ground, rounds: Iterable[int]) -> Iterator[Trial]:
    """Start several runs on one archive at once; in every other round one of them is killed."""
    for turn in rounds:
        chance = random.Random(turn)
        number = turn % len(STEPS)
        ground.start(number)
        children = [ground.spawn(number) for _ in range(_PROCESSES)]
        if turn % 2:
            time.sleep(chance.uniform(0, 0.3))
            os.kill(children[chance.randrange(_PROCESSES)], signal.SIGKILL)
        ended = [ground.wait(child) for child in children]
        wrong = [f"ends with {one.status}: {one.said}" for one in ended if one.status > 0]
        if tree(ground.archive) != ground.trees[number]:
            wrong.append("the archive is another one")
        wrong += ground.wrongs(number)
        yield Trial(name=f"round {turn}", fired=True, wrong=wrong)


def _finished(archive: Path) -> dict[str, bytes]:
    """Return the archive without a lock file that couldn't be taken away."""
    left = {".partial", ".partial/lock"}
    return {path: data for path, data in tree(archive).items() if path not in left}


def _duration(ground: Ground, number: int) -> float:
    """Return how long a step takes here at the least, which is what leaves no signal too late."""
    durations = []
    for _ in range(3):
        ground.start(number)
        began = time.monotonic()
        ground.run(number)
        durations.append(time.monotonic() - began)
    return min(durations)


def _wrong_endings(ended: Ended, sent: signal.Signals) -> list[str]:
    # A run may be done before, and one that has just begun has no answer to SIGTERM yet.
    if ended.status in (0, SIGNALS[sent]) or ended.signal == sent:
        return ["a traceback"] if "Traceback" in ended.said else []
    return [f"ends with {ended.status}: {ended.said}"]


def _wrong_answers(ended: Ended, code: int) -> list[str]:
    said = ended.said
    if "Traceback" in said or ended.status == CRASHED:
        return [f"a traceback: {said}"]
    if ended.status == 0:
        return []
    if ended.status not in (1, 2) or os.strerror(code) not in said or "hint: " not in said:
        return [f"ends with {ended.status}, and says {said!r}"]
    return []


#: The sweeps that can be done in parts; the numbers are seeds, rounds, or nothing.
SWEEPS: dict[str, Callable[[Ground, Sequence[int]], Iterator[Trial]]] = {
    "kills": lambda ground, _: kills_at_every_call(ground),
    "random-kills": kills_at_random,
    "errors": lambda ground, part: errors(ground, ERRORS[part[0] : part[-1] + 1]),
    "crowds": crowds,
}


def main() -> int:
    directory, sweep, begin, end = sys.argv[1:]
    with Ground.prepared(Path(directory)) as ground:
        trials = list(SWEEPS[sweep](ground, range(int(begin), int(end))))
    wrong = [f"{trial.name}: {text}" for trial in trials for text in trial.wrong]
    fired = sum(trial.fired for trial in trials)
    print(json.dumps({"trials": len(trials), "fired": fired, "wrong": wrong}))
    return 1 if wrong or not fired else 0


if __name__ == "__main__":
    raise SystemExit(main())
