"""Pythons that were asked for by their version, and that uv has never heard of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from uv_archive.download.outcome import Doubt
from uv_archive.target.python import Python, read_version
from uv_archive.uv import Uv

# The minor versions of CPython that the oldest uv knows, about which no uv is asked.
_KNOWN = range(8, 16)


def unknown_pythons(
    texts: Iterable[str], *, uv: Uv, environment: Mapping[str, str]
) -> Iterator[Doubt]:
    """Yield a doubt for each of *texts* that is a version which is neither known nor here.

    A version needs no interpreter, and a newer Python than uv's may well be what is meant: so
    it is no error, as it is none for `uv pip compile --python-version`.
    """
    for text in dict.fromkeys(texts):
        python = read_version(text)
        if python is None or (python.implementation == "cpython" and python.minor in _KNOWN):
            continue
        if not (_is_offered(python, uv, environment) or _is_here(python, uv, environment)):
            yield Doubt(
                message=f"uv {uv.version} knows no Python {text}, and there is none here",
                hint="Files were chosen for it all the same; if another one is meant, run this "
                "again with that one and with `--replace`",
            )


def _is_offered(python: Python, uv: Uv, environment: Mapping[str, str]) -> bool:
    listed = uv.run(
        ["python", "list", "--only-downloads", "--all-versions", "--offline",
         "--output-format", "json"],
        environment=environment,
    )  # fmt: skip
    wanted = (python.implementation, python.major, python.minor)
    try:
        return any(
            (one["implementation"], one["version_parts"]["major"], one["version_parts"]["minor"])
            == wanted
            for one in json.loads(listed.stdout)
        )
    except (ValueError, KeyError, TypeError):
        # A uv that says it in another way has said nothing.
        return True


def _is_here(python: Python, uv: Uv, environment: Mapping[str, str]) -> bool:
    found = uv.run(
        ["python", "find", "--no-project", "--offline", str(python)], environment=environment
    )
    return found.status == 0
