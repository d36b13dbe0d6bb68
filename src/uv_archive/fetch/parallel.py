"""Do the same to many things in threads, and stop promptly when that is called off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TypeVar

from uv_archive.fetch.transport import Stopped

Thing = TypeVar("Thing")
Outcome = TypeVar("Outcome")

# How long to wait for threads that were told to stop. One that waits for a silent server is left
# behind: it ends with its read, and does nothing more.
_PATIENCE = 0.5
# A wait without an end can't be interrupted on Windows.
_MOMENT = 0.2


def in_threads(
    things: Sequence[Thing],
    work: Callable[[Thing], Outcome],
    *,
    jobs: int,
    stop: threading.Event,
    interrupt: Callable[[], None],
) -> list[Outcome]:
    """Return what *work* gives for each of *things*, in their order, *jobs* at a time.

    The first exception, or one that reaches the waiting thread (as Ctrl-C does), sets *stop*,
    calls *interrupt*, waits for the threads and is raised.
    """
    todo = iter(enumerate(things))
    lock = threading.Lock()
    outcomes: dict[int, Outcome] = {}
    troubles: list[BaseException] = []

    def run() -> None:
        while not stop.is_set():
            with lock:
                position, thing = next(todo, (-1, None))
            if thing is None:
                return
            try:
                outcomes[position] = work(thing)
            except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
                troubles.append(error)
                stop.set()
                interrupt()

    threads = [
        threading.Thread(target=run, name=f"fetch-{number}", daemon=True)
        for number in range(min(jobs, len(things)))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_MOMENT)
    except BaseException:
        stop.set()
        interrupt()
        _join(threads)
        raise
    _raise_first(troubles)
    return [outcomes[position] for position in range(len(things))]


def _join(threads: Iterable[threading.Thread]) -> None:
    deadline = monotonic() + _PATIENCE
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - monotonic()))


def _raise_first(troubles: Sequence[BaseException]) -> None:
    """Raise the cause, not the `Stopped` of those that it stopped."""
    for trouble in troubles:
        if not isinstance(trouble, Stopped):
            raise trouble
    for trouble in troubles:
        raise trouble
