"""uv's settings, as far as they decide which files are chosen and who may fetch them.

uv reads one project file (`uv.toml` beside or above the workspace's root, else `tool.uv` of a
`pyproject.toml` there), then the user's and the system's `uv.toml`. Arrays add up, the nearer
first; of other values the nearer one counts. Source: uv's `crates/uv-settings`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.errors import ProjectError
from uv_archive.project import read_pyproject, tool, tool_uv
from uv_archive.url import Url

_NOTHING: Mapping[str, Any] = {}
_TRUE = {"1", "true", "t", "yes", "y", "on"}

Authenticate = Literal["auto", "always", "never"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """An index as the user configured it. *url* may carry credentials; a directory has none."""

    name: str | None
    url: Url
    authenticate: Authenticate = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The merged settings. *options* has uv's own names for keys, such as `no-build-package`."""

    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def is_set(self, key: str) -> bool:
        """Whether a boolean setting is on, in the files or by its environment variable.

        As in uv the variable can't switch off what a file switches on.
        """
        variable = self.environment.get("UV_" + key.upper().replace("-", "_"), "")
        return variable.lower() in _TRUE or self.options.get(key) is True

    def names(self, key: str) -> frozenset[NormalizedName]:
        """Return a list of names: what the files say and what the environment variable says."""
        variable = self.environment.get("UV_" + key.upper().replace("-", "_"), "")
        listed = self._list(key)
        if not all(isinstance(name, str) for name in listed):
            raise ProjectError(f"uv's setting `{key}` is not a list of names")
        return frozenset(canonicalize_name(name) for name in (*listed, *variable.split()))

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The configured indexes that are reached by a URL: environment first, then the files.

        Pages of links count as well: uv takes credentials from their URLs, too.
        """
        return tuple(dict.fromkeys((*self._indexes_of_environment(), *self._indexes_of_files())))

    def _indexes_of_environment(self) -> Iterator[Index]:
        for key in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
            for text in self.environment.get(key, "").split():
                name, equals, url = text.partition("=")
                named = equals and "/" not in name
                yield from _index(name if named else None, url if named else text)
        for url in self.environment.get("UV_FIND_LINKS", "").split(","):
            yield from _index(None, url)

    def _indexes_of_files(self) -> Iterator[Index]:
        for table in self._list("index"):
            if isinstance(table, dict):
                yield from _index(table.get("name"), table.get("url"), table.get("authenticate"))
        yield from _index(None, self.options.get("index-url"))
        for url in (*self._list("extra-index-url"), *self._list("find-links")):
            yield from _index(None, url)

    def _list(self, key: str) -> list[Any]:
        value = self.options.get(key, [])
        if not isinstance(value, list):
            raise ProjectError(f"uv's setting `{key}` is not a list")
        return value


def _index(name: object, url: object, authenticate: object = None) -> Iterator[Index]:
    """Yield the index, unless it's a directory or can't be read: uv itself will say so."""
    if not isinstance(url, str):
        return
    try:
        parsed = Url.parse(url)
    except ValueError:
        return
    known = authenticate if authenticate in ("auto", "always", "never") else "auto"
    yield Index(
        name=name if isinstance(name, str) else None,
        url=parsed,
        authenticate=cast("Authenticate", known),
    )


def read_settings(
    root: Path, environment: Mapping[str, str], *, nearest: Mapping[str, Any] = _NOTHING
) -> Settings:
    """Read the settings that count for a workspace at *root*. Raises `ProjectError`.

    *nearest* go before all files: those that a script has in itself.
    """
    options: dict[str, Any] = dict(nearest)
    for source in _sources(root, environment):
        _merge(options, source)
    return Settings(options=options, environment=environment)


def _sources(root: Path, environment: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    chosen = environment.get("UV_CONFIG_FILE")
    if chosen:
        yield read_pyproject(Path(chosen))
    elif environment.get("UV_NO_CONFIG", "").lower() not in _TRUE:
        yield _project_options(root)
        yield from _user_and_system_options(environment)


def _project_options(root: Path) -> Mapping[str, Any]:
    for directory in (root, *root.parents):
        if (directory / "uv.toml").is_file():
            return read_pyproject(directory / "uv.toml")
        path = directory / "pyproject.toml"
        if path.is_file() and "uv" in tool(pyproject := read_pyproject(path)):
            return tool_uv(pyproject)
    return {}


def _user_and_system_options(environment: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    paths = [_user_directory(environment) / "uv" / "uv.toml"]
    if environment.get("UV_NO_SYSTEM_CONFIG", "").lower() not in _TRUE:
        paths += _system_files(environment)
    for path in paths:
        if path.is_file():
            yield read_pyproject(path)


def _user_directory(environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or os.sep)
    if os.name == "nt":
        return Path(environment.get("APPDATA") or home / "AppData" / "Roaming")
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config")


def _system_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the system's configuration file: the first of its places that has one."""
    if os.name == "nt":
        places = [Path(environment.get("PROGRAMDATA", r"C:\ProgramData"))]
    else:
        listed = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        places = [*(Path(place) for place in listed.split(":") if place), Path("/etc")]
    found = (place / "uv" / "uv.toml" for place in places)
    return [path for path in found if path.is_file()][:1]


def _merge(options: dict[str, Any], further: Mapping[str, Any]) -> None:
    for key, value in further.items():
        nearer = options.get(key)
        if isinstance(nearer, list) and isinstance(value, list):
            options[key] = [*nearer, *value]
        else:
            options.setdefault(key, value)
