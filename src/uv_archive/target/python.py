"""Pythons to install for, as `-p/--python` names them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from uv_archive.errors import TargetError

# `cp` and the like are the short names of uv; `python` stands for the usual implementation.
_IMPLEMENTATIONS = {
    "": "cpython", "python": "cpython", "cpython": "cpython", "cp": "cpython",
    "pypy": "pypy", "pp": "pypy",
    "graalpy": "graalpy", "gp": "graalpy",
}  # fmt: skip
_REQUEST = re.compile(
    r"""
    (?: (?P<implementation> cpython | cp | python | pypy | pp | graalpy | gp ) [@-]? )?
    (?P<major> [0-9] )
    (?:
        \. (?P<minor> [0-9]{1,2} ) (?: \. (?P<micro> [0-9]{1,3} ) )?
      | (?P<joined> [0-9]{1,2} )
    )?
    (?P<pre> (?: a | b | rc ) [0-9]{1,3} )?
    (?: \+? (?P<variant>
        freethreaded\+debug | freethreaded | debug | gil\+debug | gil | td | t | d
    ) )?
    """,
    re.VERBOSE,
)
_FREE_THREADED = frozenset({"t", "td", "freethreaded", "freethreaded+debug"})
_DEBUG = frozenset({"d", "td", "debug", "freethreaded+debug", "gil+debug"})
_FIRST_FREE_THREADED = (3, 13)
# The last release for each Python, where a release of the implementation isn't given: its
# number is part of the ABI tag. `pypy310_pp73` has held for every PyPy since 2019; GraalPy's
# changes with each feature release, and is 2.42 for 24.2 (uv reads `graalpy242` so).
_LAST_RELEASES = {
    ("pypy", 6): "7.3.3", ("pypy", 7): "7.3.9", ("pypy", 8): "7.3.11", ("pypy", 9): "7.3.16",
    ("pypy", 10): "7.3.19", ("pypy", 11): "7.3.23",
    ("graalpy", 8): "2.23", ("graalpy", 10): "2.40", ("graalpy", 11): "2.42",
    ("graalpy", 12): "2.52",
}  # fmt: skip
_MINOR_HINT = "Give a minor version such as `3.11`, a full one such as `3.11.7`, or a path"


@dataclass(frozen=True, kw_only=True, slots=True)
class Python:
    """A Python to install for.

    *micro* is the patch release, with a pre-release suffix where there is one (`7`, `0rc2`);
    `None` stands for every patch release of the minor version. *implementation_version* is
    `None` for CPython, whose version it is.
    """

    implementation: str = "cpython"
    major: int
    minor: int
    micro: str | None = None
    implementation_version: str | None = None
    free_threaded: bool = False
    debug: bool = False

    def __str__(self) -> str:
        """What `parse_python` reads back, except for *implementation_version*."""
        implementation = "" if self.implementation == "cpython" else self.implementation
        micro = "" if self.micro is None else f".{self.micro}"
        return f"{implementation}{self.major}.{self.minor}{micro}{self.flags}"

    @property
    def flags(self) -> str:
        """The letters of the ABI tag (PEP 3149, PEP 703)."""
        return ("t" if self.free_threaded else "") + ("d" if self.debug else "")


def parse_python(text: str, *, find: Callable[[str], str | None] = shutil.which) -> Python | Path:
    """Read what `-p/--python` is given: a version of some implementation, or an interpreter.

    A version needs no interpreter. Everything that isn't one is a path if it has a separator
    or names a file or a directory, or else an executable for *find* to find. Order and spelling
    are uv's. Raises `TargetError`, also for what leaves the minor version open.
    """
    if python := read_version(text):
        return python
    if "/" in text or "\\" in text or (text and Path(text).exists()):
        return Path(text)
    if text.lower() in _IMPLEMENTATIONS or re.search(r"[<>=~!,*]|^any$|^default$", text.lower()):
        raise TargetError(f"`{text}` leaves the Python version open", hint=_MINOR_HINT)
    if found := find(text):
        return Path(found)
    raise TargetError(f"`{text}` is neither a Python version nor an interpreter", hint=_MINOR_HINT)


def read_version(text: str, implementation_version: str | None = None) -> Python | None:
    """Read a Python version with a minor version, `None` if *text* isn't any version.

    Raises `TargetError` for a version that there isn't, or that leaves the minor version open.
    """
    match = _REQUEST.fullmatch(text.lower())
    if match is None:
        return None
    minor = match["minor"] or match["joined"]
    if minor is None:
        raise TargetError(f"`{text}` leaves the minor version open", hint=_MINOR_HINT)
    micro = match["micro"] or ("0" if match["pre"] else None)
    if micro is not None:
        micro = f"{int(micro)}{match['pre'] or ''}"
    variant = match["variant"] or ""
    return checked(
        Python(
            implementation=_IMPLEMENTATIONS[match["implementation"] or ""],
            major=int(match["major"]),
            minor=int(minor),
            micro=micro,
            implementation_version=implementation_version,
            free_threaded=variant in _FREE_THREADED,
            debug=variant in _DEBUG,
        )
    )


def checked(python: Python) -> Python:
    """Return *python* with a version of its implementation, or raise `TargetError`."""
    if python.major != 3:
        raise TargetError(f"Python {python} isn't supported: only Python 3 is")
    if python.implementation == "cpython":
        if python.free_threaded and (python.major, python.minor) < _FIRST_FREE_THREADED:
            raise TargetError(f"There is no Python {python}: free threading came with 3.13")
        return python
    if python.free_threaded or python.debug:
        raise TargetError(f"There is no Python {python}: only CPython has such builds")
    if python.implementation_version is not None:
        return python
    version = _LAST_RELEASES.get((python.implementation, python.minor))
    if version is None:
        raise TargetError(
            f"Python {python} isn't known", hint="Give the path of an interpreter instead"
        )
    return replace(python, implementation_version=version)


def patch_releases(
    python: Python, boundaries: Iterable[str], requires_python: SpecifierSet
) -> tuple[str, ...]:
    """Return the patch releases of *python* that stand for all others, ascending.

    *boundaries* are the versions that markers compare with. Two patch releases with none of
    them at or between get the same answers, so one on either side of each will do, and the
    release itself. Only what *requires_python* allows is returned: nothing, where it excludes
    the minor version. A fixed *micro* stands for itself. Pre-releases stand only for themselves.
    """
    if python.micro is not None:
        candidates = [python.micro]
    else:
        literals = [*boundaries, *(specifier.version for specifier in requires_python)]
        named = [micro for literal in literals for micro in _micros(python, literal)]
        around = {0} | {micro + step for micro in named for step in (-1, 0, 1)}
        candidates = [str(micro) for micro in sorted(around) if micro >= 0]
    return tuple(micro for micro in candidates if _allows(requires_python, python, micro))


def _micros(python: Python, literal: str) -> Iterable[int]:
    try:
        release = Version(literal.removesuffix(".*")).release
    except InvalidVersion:
        return
    if release[:2] == (python.major, python.minor):
        yield release[2] if len(release) > 2 else 0


def _allows(requires_python: SpecifierSet, python: Python, micro: str) -> bool:
    # uv compares the release alone: with `>=3.14`, 3.14.0rc1 is welcome.
    release = Version(f"{python.major}.{python.minor}.{micro}").release
    return requires_python.contains(".".join(map(str, release)))
