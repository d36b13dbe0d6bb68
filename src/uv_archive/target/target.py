"""Targets: a Python on a platform, and the tags and markers the two give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from packaging.tags import Tag
from packaging.version import Version

from uv_archive.errors import TargetError
from uv_archive.target.platforms import Platform, platform_named
from uv_archive.target.python import Python, read_version

_IMPLEMENTATION_NAMES = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalVM"}
_LANGUAGE_TAGS = {"cpython": "cp", "pypy": "pp", "graalpy": "graalpy"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A Python on a platform."""

    python: Python
    platform: Platform

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        """What messages call the target: `cp311 on manylinux_2_28_x86_64`."""
        language = f"{_language(self.python, self.python.minor)}{self.python.flags}"
        fixed = "" if self.python.micro is None else f" ({self.python})"
        return f"{language}{fixed} on {self.platform.name}"

    def environments(self, micro: str) -> tuple[Mapping[str, str], ...]:
        """Return the marker environments (PEP 508) of one patch release, without `extra`.

        There is one for each set of markers of the platform, in its order.
        """
        python = self.python
        minor = f"{python.major}.{python.minor}"
        full = f"{minor}.{micro}"
        # uv compares python_full_version without pre-release: to 3.14.0rc1, `>= '3.14'` is true.
        release = ".".join(map(str, Version(full).release))
        own = {
            "implementation_name": python.implementation,
            "implementation_version": python.implementation_version or full,
            "platform_python_implementation": _IMPLEMENTATION_NAMES[python.implementation],
            "python_version": minor,
            "python_full_version": release,
        }
        return tuple(MappingProxyType({**markers, **own}) for markers in self.platform.markers)

    def priorities(self) -> Mapping[tuple[str, str, str], int]:
        """Return the priority of each compatible (python, abi, platform) tag, higher is better."""
        return _priorities(self.python, self.platform.tags)

    def wheel_priority(self, tags: Iterable[Tag]) -> int | None:
        """Return the priority of the best of a wheel's *tags*, `None` if none is compatible.

        Two wheels with equal priorities are told apart by their build tags.
        """
        return self.ranking()(frozenset(tags))

    def ranking(self) -> Callable[[frozenset[Tag]], int | None]:
        """Return `wheel_priority` for many wheels; most of a lock's have the same few tags."""
        return _ranking(self.python, self.platform.tags)

    def to_record(self) -> dict[str, object]:
        """Return what an archive keeps of the target, for `from_record`. Keys are optional.

        What the platform's name implies isn't said again: `markers` has only what an
        interpreter says otherwise.
        """
        record: dict[str, object] = {"python": str(self.python)}
        if self.python.implementation_version is not None:
            record["implementation_version"] = self.python.implementation_version
        record["platform"] = self.platform.name
        named = platform_named(self.platform.name)
        if self.platform.markers != named.markers:
            (markers,) = self.platform.markers
            record["markers"] = {
                variable: value
                for variable, value in sorted(markers.items())
                if value != named.markers[0][variable]
            }
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Target:
        """Read what `to_record` wrote. Raises `TargetError` for anything else."""
        version = None
        if "implementation_version" in record:
            version = _text(record, "implementation_version")
        text = _text(record, "python")
        python = read_version(text, version)
        if python is None:
            raise TargetError(f"`{text}` is no version of Python (at `python`)")
        platform = platform_named(_text(record, "platform"))
        if "markers" in record:
            platform = replace(platform, markers=(_overridden(platform, record["markers"]),))
        return cls(python=python, platform=platform)


def python_abis(python: Python) -> frozenset[tuple[str, str]]:
    """Return the (python, abi) tags that *python* takes on one platform or another."""
    return frozenset(_binaries(python))


def _text(record: Mapping[str, object], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise TargetError(f"A recorded target has no text (at `{key}`)")
    return value


def _overridden(platform: Platform, recorded: object) -> Mapping[str, str]:
    markers = dict(platform.markers[0])
    if not isinstance(recorded, Mapping):
        raise TargetError("A recorded target has no table (at `markers`)")
    for variable, value in recorded.items():
        if variable not in markers or not isinstance(value, str):
            raise TargetError(f"A recorded target has an unknown marker (at `markers.{variable}`)")
        markers[variable] = value
    return MappingProxyType(markers)


def _machine(platform_tag: str) -> str:
    # uv reads `armv8l` in a wheel's name as `armv7l`.
    stem = platform_tag.removesuffix("_armv8l")
    return platform_tag if stem == platform_tag else f"{stem}_armv7l"


def _language(python: Python, minor: int) -> str:
    return f"{_LANGUAGE_TAGS[python.implementation]}{python.major}{minor}"


def _abi(python: Python) -> str:
    version = f"{python.major}{python.minor}"
    if python.implementation == "cpython":
        # Up to 3.7 there was a flag for pymalloc.
        return f"cp{version}{python.flags}{'m' if python.minor < 8 else ''}"
    release = "".join((python.implementation_version or "").split(".")[:2])
    if python.implementation == "pypy":
        return f"pypy{version}_pp{release}"
    return f"graalpy{release}_{version}_native"


@lru_cache(maxsize=256)
def _priorities(python: Python, platforms: tuple[str, ...]) -> Mapping[tuple[str, str, str], int]:
    ordered = list(_ordered(python, platforms))
    return MappingProxyType(
        {tag: priority for priority, tag in enumerate(reversed(ordered), start=1)}
    )


@lru_cache(maxsize=256)
def _ranking(python: Python, platforms: tuple[str, ...]) -> Callable[[frozenset[Tag]], int | None]:
    # uv looks first whether a free-threaded Python takes one of the wheel's ABI tags at all. It
    # takes no others than stand here, so that needs no step of its own.
    priorities = _priorities(python, platforms)

    @lru_cache(maxsize=4096)
    def best(tags: frozenset[Tag]) -> int | None:
        return max(
            (
                priority
                for tag in tags
                if (priority := priorities.get((tag.interpreter, tag.abi, _machine(tag.platform))))
            ),
            default=None,
        )

    return best


def _ordered(python: Python, platforms: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield the compatible tags, the preferred first. Source: uv's `Tags::from_env`."""
    for language, abi in _binaries(python):
        for platform in platforms:
            yield language, abi, platform
    # "4. no binary"
    if python.implementation == "cpython":
        yield _language(python, python.minor), "none", "any"
    for language in _generic_languages(python):
        yield language, "none", "any"


def _binaries(python: Python) -> Iterator[tuple[str, str]]:
    own = _language(python, python.minor)
    # "1. This exact c api version"
    yield own, _abi(python)
    if python.implementation == "cpython":
        # "1a. For CPython 3.8+, debug builds are ABI-compatible with release builds"
        if python.debug and python.minor >= 8:
            yield own, _abi(replace(python, debug=False))
        # "2. abi3/abi3t and no abi"
        stable = "abi3t" if python.free_threaded else "abi3"
        for minor in range(python.minor, 1, -1):
            yield _language(python, minor), stable
            if minor == python.minor:
                yield own, "none"
    # "3. no abi", an executable for example
    for language in _generic_languages(python):
        yield language, "none"


def _generic_languages(python: Python) -> Iterator[str]:
    yield f"py{python.major}{python.minor}"
    # "After the matching version emit `none` tags for the major version i.e. `py3`"
    yield f"py{python.major}"
    for minor in range(python.minor - 1, -1, -1):
        yield f"py{python.major}{minor}"
