"""What uv's settings say of builds, as archives record it, and what tells two builds apart by it.

Flags of uv may say more for one run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.archive.manifest import JSON, JSONObject

#: Settings of uv that say how a package is built, and are tables by package.
OF_EACH = ("config-settings-package", "extra-build-dependencies", "extra-build-variables")
_OF_ALL = ("config-settings",)
_TOLD = ("config-settings-package", "extra-build-variables")
_SECRET = re.compile(r"TOKEN|PASSW|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY|AUTH", re.IGNORECASE)
_USER_IN_URL = re.compile(r"://[^/\s]*@")


def public_settings(settings: Mapping[str, object]) -> JSONObject:
    """Return what *settings* say of builds, of all packages and without what may be a secret."""
    public: dict[str, JSON] = {key: _public(settings[key]) for key in _OF_ALL if settings.get(key)}
    for key in OF_EACH:
        tables = settings.get(key)
        if isinstance(tables, Mapping) and tables:
            public[key] = {str(package): _public(table) for package, table in tables.items()}
    return public


def settings_digest(settings: Mapping[str, object], name: NormalizedName) -> str | None:
    """Return what tells two builds of *name* apart that public *settings* have done otherwise.

    It is a sha256, and missing where they say nothing. What they add to the requirements isn't
    counted: a build's files show it.
    """
    own = [own_table(settings, key, name) for key in _TOLD]
    said = [settings.get("config-settings") or None, *({name: one} if one else {} for one in own)]
    if not any(said):
        return None
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def with_given(
    settings: Mapping[str, object], given: Mapping[str, Mapping[str, object]]
) -> Mapping[str, object]:
    """Return *settings* with what uv was *given* on its command line for backends."""
    joined = dict(settings)
    if config := given.get("config-settings"):
        joined["config-settings"] = merged(config, table_of(settings.get("config-settings")))
    tables = {
        canonicalize_name(package): table_of(table)
        for package, table in table_of(settings.get("config-settings-package")).items()
    }
    for package, table in given.get("config-settings-package", {}).items():
        name = canonicalize_name(package)
        tables[name] = merged(table_of(table), tables.get(name, {}))
    return {**joined, "config-settings-package": tables} if tables else joined


def merged(first: Mapping[str, object], further: Mapping[str, object]) -> Mapping[str, object]:
    """Merge settings of a backend as uv does: values of one key add up."""
    both = dict(first)
    for key, value in further.items():
        both[key] = [*_listed(both[key]), *_listed(value)] if key in both else value
    return both


def table_of(value: object) -> Mapping[str, object]:
    """Return a setting that is a table, and an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def own_table(
    settings: Mapping[str, object], key: str, name: NormalizedName
) -> Mapping[str, object]:
    """Return what a setting that is a table by package says of *name*, however that is spelled."""
    for package, table in table_of(settings.get(key)).items():
        if canonicalize_name(package) == name:
            return table_of(table)
    return {}


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _public(value: object) -> JSON:
    match value:
        case bool() | int() | str():
            return value
        case Mapping():
            return {
                str(key): _public(item)
                for key, item in value.items()
                if not _SECRET.search(str(key)) and not _USER_IN_URL.search(json.dumps(str(item)))
            }
        case list() | tuple():
            return [_public(item) for item in value]
        case _:
            return str(value)
