"""`pylock.toml` and `requirements.txt`: what other installers need to install from an archive.

uv writes the markers, by `uv export` over a relocated lock (`docs/adr`); here its absolute paths
become relative ones. Specifications: PEP 751, pip's requirements file format.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import tomli
import tomli_w
from packaging.utils import NormalizedName

from uv_archive.archive.layout import INDEX, ArchivePath
from uv_archive.archive.locked import without_credentials
from uv_archive.archive.manifest import Entry
from uv_archive.errors import ArchiveError
from uv_archive.lock.toml import with_shared_strings
from uv_archive.selection import Include

_LONGEST_LABEL = 100
_DEV = {"include": "dev", "exclude": "no-dev", "only": "only-dev"}
_PYLOCK_HEADER = """\
# Written by uv-archive. From the directory of this file:
#
#     uv pip sync --offline --no-index --find-links . {name}
#     pip install --no-index --find-links . -r {name}

"""
_REQUIREMENTS_HEADER = """\
# Written by uv-archive. From the directory of this file:
#
#     pip install --no-index --find-links . --require-hashes -r {name}

"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pylock:
    """A pylock file (PEP 751) with relative paths, and the packages it can't have."""

    document: Mapping[str, object]
    left_out: tuple[str, ...]

    def to_toml(self, name: str) -> bytes:
        """Write it down. *name* is its file name, for the comment at the top."""
        written = BytesIO(_PYLOCK_HEADER.format(name=name).encode())
        written.seek(0, SEEK_END)
        # Not `dumps`: it holds the text three times before it returns it.
        tomli_w.dump(self.document, written)
        return written.getvalue()


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirements:
    """A requirements file for pip, and the packages it can't have."""

    text: str
    left_out: tuple[str, ...]

    def to_text(self, name: str) -> bytes:
        """Write it down. *name* is its file name, for the comment at the top."""
        return (_REQUIREMENTS_HEADER.format(name=name) + self.text).encode()


def export_label(include: Include, *, member: NormalizedName | None = None) -> str:
    """Return what names a selection's exports: `group-gpu`, or nothing for the default one.

    *member* is the member of the workspace that was asked for, if it isn't the root. Targets
    have no part in it, since markers make an export good for all of them. `_` is between the
    parts, since no normalised name has one.
    """
    flags = [
        *([f"member-{member}"] if member else []),
        *_named("all-extras", include.all_extras),
        *_named("all-groups", include.all_groups),
        *_named("all-packages", include.all_packages),
        *([_DEV[include.dev]] if include.dev else []),
        *_each("extra", include.extras),
        *_each("group", include.groups),
        *_named("no-default-groups", include.no_default_groups),
        *_each("no-extra", include.no_extras),
        *_each("no-group", include.no_groups),
        *_each("only-group", include.only_groups),
        *_each("package", include.packages),
    ]
    label = "_".join(sorted(flags))
    if len(label) <= _LONGEST_LABEL:
        return label
    return f"{label[:_LONGEST_LABEL]}_{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def export_names(labels: Iterable[str]) -> Mapping[str, tuple[ArchivePath, ArchivePath]]:
    """Return the names of `pylock.toml` and `requirements.txt` for each label.

    The first in order of the labels has the plain names. That is the default selection if any
    request asked for it, whichever came first.
    """
    names = {}
    for position, label in enumerate(sorted(set(labels))):
        middle = f".{label}" if position else ""
        names[label] = (
            ArchivePath(f"pylock{middle}.toml"),
            ArchivePath(f"requirements{middle}.txt"),
        )
    return names


def relative_pylock(
    exported: str,
    *,
    files: Mapping[ArchivePath, Entry],
    subdirectories: Mapping[ArchivePath, str] | None = None,
) -> Pylock:
    """Make a pylock file of an archive from what uv exported.

    *exported* is what `uv export --format pylock.toml` wrote over a relocated lock. Where its
    paths lead doesn't matter: a file is known by its name and its sha256, and *files* tells
    where it lies; what that lacks is left out. *subdirectories* has the sdists whose project
    isn't at their top. Source trees of the project are left out: no archive has them.

    Raises `ArchiveError` if it isn't what uv writes.
    """
    try:
        document: dict[str, object] = with_shared_strings(tomli.loads(exported), deepest=_DEEPEST)
    except ValueError as error:
        raise _not_a_pylock(f"it isn't TOML ({error})") from error
    places: dict[tuple[str, str], ArchivePath] = {}
    for path in sorted(files):
        places.setdefault((PurePosixPath(path).name, files[path].sha256), path)
    rewriting = _Rewriting(files=files, places=places, subdirectories=subdirectories or {})
    packages, left_out = [], []
    for package in _tables(document, "packages"):
        rewritten = rewriting.package(package)
        if rewritten is None:
            left_out.append(_title(package))
        else:
            packages.append(rewritten)
    kept = {key: document[key] for key in _TOP_LEVEL if key in document}
    return Pylock(
        document=kept | {"created-by": "uv-archive", "packages": packages},
        left_out=tuple(left_out),
    )


def requirements(pylock: Pylock) -> Requirements:
    """Make a requirements file for pip of the same packages, markers and hashes.

    Files are named by version and hash, and found by `--find-links`. pip refuses git sources
    where hashes are required, and finds no project below the top of an sdist.
    """
    lines, left_out, directories = [], list(pylock.left_out), set()
    for package in _tables(pylock.document, "packages"):
        files = _files(package)
        if not files or "version" not in package or _has_subdirectory(package):
            left_out.append(_title(package))
            continue
        marker = f" ; {package['marker']}" if "marker" in package else ""
        hashes = sorted({_sha256(file) for file in files})
        head = f"{package['name']}=={package['version']}{marker}"
        lines.append(" \\\n    ".join([head, *(f"--hash=sha256:{value}" for value in hashes)]))
        paths = (PurePosixPath(_string(file, "path")) for file in files)
        directories |= {path.parent for path in paths if path.parts[0] == INDEX}
    lines = [*(f"--find-links {directory}" for directory in sorted(directories)), *lines]
    return Requirements(text="".join(f"{line}\n" for line in lines), left_out=tuple(left_out))


# uv's own output isn't nested deeper than a few levels.
_DEEPEST = 80
# PEP 751's top-level keys, but for those that say who wrote the file.
_TOP_LEVEL = (
    "lock-version",
    "environments",
    "requires-python",
    "extras",
    "dependency-groups",
    "default-groups",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rewriting:
    files: Mapping[ArchivePath, Entry]
    places: Mapping[tuple[str, str], ArchivePath]
    subdirectories: Mapping[ArchivePath, str]

    def package(self, package: Mapping[str, object]) -> dict[str, object] | None:
        """Return a `[[packages]]` entry with relative paths, or `None` if nothing is left."""
        content = self._content(package)
        if not content:
            return None
        # `index` isn't kept: it is a path of this machine.
        head = ("name", "version", "marker", "requires-python")
        return {key: package[key] for key in head if key in package} | content

    def _content(self, package: Mapping[str, object]) -> dict[str, object]:
        # "vcs", "directory" and "archive" are mutually exclusive with "sdist" and "wheels".
        if "vcs" in package:
            vcs = _table(package, "vcs")
            if "url" not in vcs:
                return {}  # a repository of this machine
            url = without_credentials(_string(vcs, "url"), of_git=True)
            return {"vcs": {**vcs, "url": url}}
        if "archive" in package:
            archive = self._file(_table(package, "archive"))
            return {"archive": archive} if archive else {}
        content: dict[str, object] = {}
        sdist = self._file(_table(package, "sdist")) if "sdist" in package else None
        if sdist:
            content["sdist"] = sdist
        found = (self._file(wheel) for wheel in _tables(package, "wheels"))
        wheels = sorted((wheel for wheel in found if wheel), key=lambda w: str(w["path"]))
        if wheels:
            content["wheels"] = wheels
        return content

    def _file(self, file: Mapping[str, object]) -> dict[str, object] | None:
        hashes = _table(file, "hashes")
        path = self.places.get((_filename(file), str(hashes.get("sha256"))))
        if path is None:
            return None
        entry = self.files[path]
        described: dict[str, object] = {
            "path": path,
            "size": entry.size,
            "hashes": {"sha256": entry.sha256},
        }
        if path in self.subdirectories:
            described["subdirectory"] = self.subdirectories[path]
        return described


def _filename(file: Mapping[str, object]) -> str:
    """Return the name of a file, from its URL or its path on any system."""
    if "path" in file:
        return re.split(r"[/\\]", _string(file, "path"))[-1]
    return unquote(urlsplit(_string(file, "url")).path.rpartition("/")[2])


def _named(flag: str, is_set: bool) -> list[str]:
    return [flag] if is_set else []


def _each(flag: str, names: Iterable[NormalizedName]) -> list[str]:
    return [f"{flag}-{name}" for name in sorted(set(names))]


def _files(package: Mapping[str, object]) -> list[Mapping[str, object]]:
    single = [_table(package, key) for key in ("sdist", "archive") if key in package]
    return [*single, *_tables(package, "wheels")]


def _has_subdirectory(package: Mapping[str, object]) -> bool:
    return "archive" in package and "subdirectory" in _table(package, "archive")


def _sha256(file: Mapping[str, object]) -> str:
    return _string(_table(file, "hashes"), "sha256")


def _title(package: Mapping[str, object]) -> str:
    name = _string(package, "name")
    return f"{name}=={package['version']}" if "version" in package else name


def _table(table: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = table.get(key)
    if not isinstance(value, Mapping):
        raise _not_a_pylock(f"`{key}` isn't a table")
    return value


def _tables(table: Mapping[str, object], key: str) -> Sequence[Mapping[str, object]]:
    value = table.get(key, [])
    if not isinstance(value, Sequence) or not all(isinstance(item, Mapping) for item in value):
        raise _not_a_pylock(f"`{key}` isn't an array of tables")
    return value


def _string(table: Mapping[str, object], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise _not_a_pylock(f"`{key}` isn't a string")
    return value


def _not_a_pylock(reason: str) -> ArchiveError:
    return ArchiveError(
        f"uv exported a `pylock.toml` that can't be used: {reason}",
        hint="Look for a newer uv-archive",
    )
