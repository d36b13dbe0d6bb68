"""A request: what a `download` was asked for, and how an archive records it.

The record leaves out what only the machine that asked knows: a request made for "the Python
here" is recorded as that Python on that platform, so that anybody can plan it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.errors import ArchiveError, UvArchiveError
from uv_archive.lock.model import Lock
from uv_archive.selection import (
    BuildOptions,
    Include,
    Root,
    Selection,
    representative_pythons,
    select,
    select_all_platforms,
)
from uv_archive.target import Python, Target, parse_python, platform_named

#: The platforms that stand for all of them where something can only be said of one.
REPRESENTATIVE_PLATFORMS = (
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)

_BY_DEFAULT = Include()
_NO_OPTIONS = BuildOptions()

T = TypeVar("T", Include, BuildOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What one `download` asks for.

    Without *targets* it is for all platforms, and *pythons* limit its wheels. *project* is the
    workspace member it starts from. *sdists* is `--sdists` or `--no-sdists`, where given.
    *tools* are those that a machine needs to install with. With *wheels_only* a source goes as
    soon as a wheel that was built from it serves all of the targets.
    """

    project: NormalizedName | None
    include: Include = _BY_DEFAULT
    options: BuildOptions = _NO_OPTIONS
    targets: tuple[Target, ...] = ()
    pythons: tuple[Python, ...] = ()
    sdists: bool | None = None
    build_requirements: bool = True
    tools: bool = False
    wheels_only: bool = False

    @property
    def all_platforms(self) -> bool:
        return not self.targets

    def build_targets(self, lock: Lock) -> tuple[Target, ...]:
        """Return the targets that builds are judged for: with all platforms, representatives."""
        if self.targets:
            return self.targets
        pythons = self.pythons or representative_pythons(lock)
        platforms = [platform_named(name) for name in REPRESENTATIVE_PLATFORMS]
        return tuple(
            Target(python=python, platform=platform) for python in pythons for platform in platforms
        )

    def select(
        self, lock: Lock, default_groups: tuple[NormalizedName, ...] | Literal["all"]
    ) -> Selection:
        """Select what the request needs of *lock*. Raises as `selection.select` does."""
        root = Root(project=self.project, default_groups=default_groups)
        if self.targets:
            return select(
                lock,
                root=root,
                include=self.include,
                targets=self.targets,
                options=self.options,
                sdists=bool(self.sdists),
            )
        return select_all_platforms(
            lock,
            root=root,
            include=self.include,
            pythons=self.pythons,
            representatives=self.build_targets(lock),
            options=self.options,
            sdists=self.sdists is not False,
        )

    def __str__(self) -> str:
        """What the request is for, in words: targets, and flags if there are any."""
        where = ", ".join(target.label for target in self.targets) or "all platforms"
        if self.pythons:
            where += " for Python " + ", ".join(str(python) for python in self.pythons)
        flags = " ".join((*self.include.flags(), *self.options.flags()))
        return f"{where} ({flags})" if flags else where

    def to_record(self) -> dict[str, Any]:
        """Return the request as JSON values; what has its default is left out."""
        record: dict[str, Any] = {
            "project": self.project,
            "include": _changed(self.include),
            "options": _changed(self.options),
            "targets": [target.to_record() for target in self.targets],
            "pythons": [str(python) for python in self.pythons],
            "sdists": self.sdists,
        }
        record = {key: value for key, value in record.items() if value not in (None, {}, [])}
        if not self.build_requirements:
            record["build-requirements"] = False
        if self.tools:
            record["tools"] = True
        if self.wheels_only:
            record["wheels-only"] = True
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Request:
        """Read a recorded request. Raises `ArchiveError`."""
        try:
            return cls(
                project=_project(record.get("project")),
                include=_read(Include, record.get("include", {})),
                options=_read(BuildOptions, record.get("options", {})),
                targets=tuple(Target.from_record(one) for one in _list(record, "targets")),
                pythons=tuple(_recorded_python(text) for text in _list(record, "pythons")),
                sdists=_flag(record["sdists"]) if "sdists" in record else None,
                build_requirements=_flag(record.get("build-requirements", True)),
                tools=_flag(record.get("tools", False)),
                wheels_only=_flag(record.get("wheels-only", False)),
            )
        except (TypeError, ValueError, AttributeError, KeyError, UvArchiveError) as error:
            raise ArchiveError(
                f"The archive records a request that can't be read: {error}",
                hint="Forget the recorded requests with `--replace`",
            ) from error


def _recorded_python(text: str) -> Python:
    python = parse_python(text, find=lambda _: None)
    if not isinstance(python, Python):
        raise TypeError(f"`{text}` is no Python version")
    return python


def _project(recorded: object) -> NormalizedName | None:
    return None if recorded is None else _name(recorded)


def _name(recorded: object) -> NormalizedName:
    if not isinstance(recorded, str):
        raise TypeError("expected a name")
    return canonicalize_name(recorded, validate=True)


def _list(record: Mapping[str, Any], key: str) -> list[Any]:
    recorded = record.get(key, [])
    if not isinstance(recorded, list):
        raise TypeError("expected a list")
    return recorded


def _flag(recorded: object) -> bool:
    if not isinstance(recorded, bool):
        raise TypeError("expected true or false")
    return recorded


def _changed(value: Include | BuildOptions) -> dict[str, Any]:
    """Return the fields that aren't at their default; sets and tuples become sorted lists."""
    default = type(value)()
    changed = {}
    for one in fields(value):
        found = getattr(value, one.name)
        if found != getattr(default, one.name):
            listed = isinstance(found, (tuple, frozenset))
            changed[one.name.replace("_", "-")] = sorted(set(found)) if listed else found
    return changed


def _read(kind: type[T], record: Mapping[str, Any]) -> T:
    if not isinstance(record, dict):
        raise TypeError("expected a table")
    default = kind()
    values: dict[str, Any] = {
        one.name: _value(getattr(default, one.name), record[key])
        for one in fields(kind)
        if (key := one.name.replace("_", "-")) in record
    }
    return replace(default, **values)


def _value(default: object, recorded: object) -> object:
    """Read a field; its default says of which kind it is."""
    match (default, recorded):
        case (bool(), _):
            return _flag(recorded)
        case (tuple(), list()):
            return tuple(_name(one) for one in recorded)
        case (frozenset(), list()):
            return frozenset(_name(one) for one in recorded)
        case (None, "include" | "exclude" | "only"):
            return recorded
        case _:
            raise TypeError(f"unexpected value {recorded!r}")
