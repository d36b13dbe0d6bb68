"""Questions that are asked before their answers are needed.

uv and the interpreter answer in processes of their own, which take as long as reading the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from uv_archive.download.asked import Asked, default_interpreter, is_plainly_current
from uv_archive.owner import Owner
from uv_archive.pylock import PylockFile
from uv_archive.target import Interpreter
from uv_archive.uv import Uv


@dataclass(frozen=True, kw_only=True, slots=True)
class Ahead:
    """Answers to come; calling one waits for it, and raises what asking it raises.

    *is_current* is that of `is_plainly_current`. *interpreter* is missing where none may be
    needed, and where it depends on the lock.
    """

    is_current: Callable[[], bool]
    interpreter: Callable[[], Interpreter] | None


@contextmanager
def asking_ahead(
    asked: Asked, *, owner: Owner, uv: Uv, environment: Mapping[str, str]
) -> Iterator[Ahead]:
    """Ask what *asked* makes necessary; the end of the block waits for all answers."""
    needs_interpreter = not (asked.all_platforms or asked.pythons or isinstance(owner, PylockFile))
    with ThreadPoolExecutor(2) as aside:
        current = None if asked.frozen else aside.submit(is_plainly_current, owner, uv, environment)
        interpreter = (
            aside.submit(default_interpreter, owner, uv=uv, environment=environment)
            if needs_interpreter
            else None
        )
        yield Ahead(
            is_current=current.result if current else lambda: True,
            interpreter=interpreter.result if interpreter else None,
        )
