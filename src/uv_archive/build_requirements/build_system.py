"""What builds a source: the `build-system` table of its `pyproject.toml`, or setuptools."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from uv_archive.build_requirements.source_files import read_source_files
from uv_archive.digest import Digest
from uv_archive.errors import BuildRequirementsError

#: What uv takes for a source without a `build-system` table. Source: uv's `uv-build-frontend`.
LEGACY_REQUIRES = ("setuptools >= 40.8.0",)
LEGACY_BACKEND = "setuptools.build_meta:__legacy__"

# Settings of backends that change what their hooks ask for lie in these.
_FILES = frozenset({"pyproject.toml", "setup.py", "setup.cfg", "hatch.toml"})
_HINT = (
    "uv can't build it either. Report it to its authors, or leave build requirements out with "
    "`--no-build-requirements`"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSystem:
    """What a source says about its build.

    *requires* are requirement strings (PEP 508) as written. *backend* is `None` where the table
    names none; then, and without a table, frontends call setuptools' old interface (*legacy*).
    *pyproject* and *files* are what settings of backends are read from, *digest* stands for both.
    *module_source* is the module, where flit would read a version or a description from it.
    """

    requires: tuple[str, ...]
    backend: str | None
    backend_path: tuple[str, ...] = ()
    legacy: bool = False
    pyproject: Mapping[str, object] = field(default_factory=dict, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    module_source: str | None = field(default=None, repr=False)
    digest: Digest | None = field(default=None, compare=False, repr=False)

    @property
    def module(self) -> str:
        """The module that has the hooks, such as `hatchling.build`."""
        return (self.backend or LEGACY_BACKEND).partition(":")[0].strip()


def read_build_system(where: Path, *, subdirectory: str | None = None) -> BuildSystem:
    """Read the build system of an sdist or a source tree, without running anything of it.

    Nothing is unpacked, and what is read is bounded. Raises `BuildRequirementsError`. Source:
    PEP 517, PEP 518 and uv's `extract_pep517_backend`.
    """
    contents = read_source_files(where, _FILES, subdirectory=subdirectory)
    digest = _digest(contents)
    files = {
        name: content.decode(errors="replace")
        for name, content in contents.items()
        if name != "pyproject.toml"
    }
    pyproject = _toml(where, contents.get("pyproject.toml"))
    if pyproject is None and "setup.py" not in files:
        raise BuildRequirementsError(
            f"`{where.name}` has neither `pyproject.toml` nor `setup.py`", hint=_HINT
        )
    pyproject = pyproject or {}
    if "build-system" not in pyproject:
        return BuildSystem(
            requires=LEGACY_REQUIRES,
            backend=None,
            legacy=True,
            pyproject=pyproject,
            files=files,
            digest=digest,
        )
    table = pyproject["build-system"]
    if not isinstance(table, dict):
        raise _malformed(where, "build-system", "expected a table")
    backend = table.get("build-backend")
    if backend is not None and not isinstance(backend, str):
        raise _malformed(where, "build-system.build-backend", "expected a string")
    return BuildSystem(
        requires=_requires(where, table),
        backend=backend,
        backend_path=_texts(where, table, "backend-path"),
        legacy=backend is None,
        pyproject=pyproject,
        files=files,
        module_source=_module_source(where, backend, pyproject, subdirectory),
        digest=digest,
    )


def _module_source(
    where: Path, backend: str | None, pyproject: Mapping[str, object], subdirectory: str | None
) -> str | None:
    """Read the module that flit builds, `None` if it isn't asked for or isn't found."""
    name = _flit_module(pyproject) if backend and backend.startswith("flit") else None
    if name is None:
        return None
    parent, _, stem = name.replace(".", "/").rpartition("/")
    for top in ("", "src/"):
        for directory, filename in ((f"{parent}/{stem}", "__init__.py"), (parent, f"{stem}.py")):
            below = f"{subdirectory or ''}/{top}{directory}".strip("/")
            found = read_source_files(where, frozenset({filename}), subdirectory=below)
            if filename in found:
                return found[filename].decode(errors="replace")
    return None


def _flit_module(pyproject: Mapping[str, object]) -> str | None:
    """Return the name of the module, if something about the project stands only in there."""
    project, tool = pyproject.get("project"), pyproject.get("tool")
    flit = tool.get("flit") if isinstance(tool, dict) else None
    tables = [flit.get(key) for key in ("module", "metadata")] if isinstance(flit, dict) else []
    named = [table.get("name", table.get("module")) for table in tables if isinstance(table, dict)]
    if isinstance(project, dict):
        dynamic = project.get("dynamic")
        if not isinstance(dynamic, list) or not {"version", "description"} & set(map(str, dynamic)):
            return None
        named.append(str(project.get("name", "")).replace("-", "_"))
    name = next((name for name in named if isinstance(name, str)), "")
    return name if re.fullmatch(r"\w+(\.\w+)*", name) else None


def _digest(contents: Mapping[str, bytes]) -> Digest:
    hasher = hashlib.sha256()
    for name, content in sorted(contents.items()):
        hasher.update(f"{name} {len(content)}\n".encode() + content)
    return Digest("sha256", hasher.hexdigest())


def _toml(where: Path, content: bytes | None) -> Mapping[str, object] | None:
    if content is None:
        return None
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or ["nested too deeply"])[0]
        raise BuildRequirementsError(
            f"The `pyproject.toml` of `{where.name}` isn't TOML: {reason}", hint=_HINT
        ) from error


def _requires(where: Path, table: Mapping[str, object]) -> tuple[str, ...]:
    # PEP 518: "The [build-system] table is used to store build-related data. Initially only one
    # key of the table will be valid and is mandatory for the table: requires."
    if "requires" not in table:
        raise _malformed(where, "build-system.requires", "the key is missing")
    requires = _texts(where, table, "requires")
    for position, text in enumerate(requires):
        try:
            Requirement(text)
        except InvalidRequirement as error:
            place = f"build-system.requires[{position}]"
            raise _malformed(where, place, f"`{text}` is no requirement") from error
    return requires


def _texts(where: Path, table: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise _malformed(where, f"build-system.{key}", "expected an array")
    for position, text in enumerate(value):
        if not isinstance(text, str):
            raise _malformed(where, f"build-system.{key}[{position}]", "expected a string")
    return tuple(value)


def _malformed(where: Path, place: str, reason: str) -> BuildRequirementsError:
    return BuildRequirementsError(
        f"The `pyproject.toml` of `{where.name}` is malformed: {reason} (at `{place}`)", hint=_HINT
    )
