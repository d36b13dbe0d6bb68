"""What uv's settings say of one package's build, in the form that building it alone takes.

`uv build` knows the name of what it builds only where `project.name` says it, and then not for
all settings. So what a project says of a package by its name is said here without one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import tomli_w
from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.archive.build_settings import merged, own_table, table_of
from uv_archive.archive.disk import REFUSALS_OF_DEVICES
from uv_archive.build_requirements.build_system import LEGACY_BACKEND, LEGACY_REQUIRES
from uv_archive.errors import DamagedArchiveError

#: Settings of uv that say how something is built. What is built from is settled, so `no-build`
#: and the like aren't among them; nor is `no-build-isolation`: what such a build finds in its
#: environment is recorded like any other requirement.
BUILD_SETTINGS = (
    *("config-settings", "config-settings-package"),
    *("extra-build-dependencies", "extra-build-variables"),
)
_AS_THEY_ARE = ("preview", "preview-features")


def for_package(settings: Mapping[str, object], name: NormalizedName) -> Mapping[str, object]:
    """Return the settings to build *name* with, under uv's names."""
    kept = {key: settings[key] for key in _AS_THEY_ARE if key in settings}
    own = own_table(settings, "config-settings-package", name)
    config = merged(own, table_of(settings.get("config-settings")))
    return {**kept, "config-settings": config} if config else kept


def variables_for(settings: Mapping[str, object], name: NormalizedName) -> Mapping[str, str]:
    """Return the environment variables that the build of *name* gets."""
    own = own_table(settings, "extra-build-variables", name)
    return {key: value for key, value in own.items() if isinstance(value, str)}


def add_requirements(
    project: Path, settings: Mapping[str, object], name: NormalizedName
) -> Path | None:
    """Have the build of *name* ask for what the project adds to its requirements.

    That is `tool.uv.extra-build-dependencies`. The version that `match-runtime` stands for is
    among the constraints. *project* is the build's own copy of the source. Return the file that
    was changed, if one was. Raises `DamagedArchiveError`.
    """
    extra = list(_extra_requirements(settings, name))
    if not extra:
        return None
    path = project / "pyproject.toml"
    try:
        document = tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
        system = document.get("build-system")
        if not isinstance(system, dict):
            system = {"requires": list(LEGACY_REQUIRES), "build-backend": LEGACY_BACKEND}
        document["build-system"] = {**system, "requires": [*system.get("requires", []), *extra]}
        content = tomli_w.dumps(document).encode()
        # What a link leads to isn't the build's.
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno in REFUSALS_OF_DEVICES:
            raise
        raise DamagedArchiveError(f"Its `pyproject.toml` can't be used: {error}") from error
    return path


def _extra_requirements(settings: Mapping[str, object], name: NormalizedName) -> Iterator[str]:
    tables = table_of(settings.get("extra-build-dependencies"))
    for key, entries in tables.items():
        if canonicalize_name(key) != name or not isinstance(entries, Sequence):
            continue
        for entry in entries:
            requirement = entry.get("requirement") if isinstance(entry, Mapping) else entry
            if isinstance(requirement, str):
                yield requirement
