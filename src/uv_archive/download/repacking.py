"""The export of a pylock file: itself, for one selection, over the archive's files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import tomli_w
from packaging.utils import NormalizedName

from uv_archive.archive.exports import Pylock, relative_pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import Entry
from uv_archive.lock.model import Distribution, Lock, Package, UrlSource
from uv_archive.lock.pylock import active_extras
from uv_archive.lock.toml import Table
from uv_archive.markers import Marker, marker_text
from uv_archive.selection import Include, Root
from uv_archive.selection.starting import starting_point


def repacked(
    lock: Lock,
    include: Include,
    default_groups: tuple[NormalizedName, ...] | Literal["all"],
    *,
    placed: Mapping[Distribution, ArchivePath],
    files: Mapping[ArchivePath, Entry],
) -> Pylock:
    """Return what *include* selects of a pylock file, with the paths of an archive.

    Extras and groups are decided, since few installers can choose them. The environment is not.
    """
    root = Root(project=None, default_groups=default_groups)
    starting = starting_point(lock, root, include)
    repacking = _Repacking(
        active=active_extras(starting.extras.get(0, ()), starting.groups.get(0, ())),
        placed=placed,
        files=files,
    )
    tables = Table(lock.document).tables("packages")
    entries = [
        repacking.entry(lock.packages[edge.package], edge.marker, table)
        for edge, table in zip(lock.packages[0].dependencies, tables, strict=True)
    ]
    document = {key: lock.document[key] for key in _KEPT if key in lock.document}
    return relative_pylock(
        tomli_w.dumps({**document, "packages": [entry for entry in entries if entry]}),
        files=files,
        subdirectories={
            placed[file]: package.source.subdirectory
            for package in lock.packages
            if isinstance(package.source, UrlSource) and package.source.subdirectory
            for file in package.distributions
        },
    )


# What isn't kept chooses extras and groups, or says who wrote the file.
_KEPT = ("lock-version", "environments", "requires-python")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Repacking:
    active: Collection[str]
    placed: Mapping[Distribution, ArchivePath]
    files: Mapping[ArchivePath, Entry]

    def entry(
        self, package: Package, marker: Marker | None, table: Table
    ) -> dict[str, object] | None:
        """Return a package's table, or `None` where the selection doesn't have it."""
        left = marker.resolved(self.active) if marker else True
        if left is False:
            return None
        kept = ("name", "version", "requires-python", "vcs", "directory")
        entry: dict[str, object] = {key: table.value[key] for key in kept if key in table}
        if marker is not None and not isinstance(left, bool):
            entry["marker"] = marker.text if left == marker.expression else marker_text(left)
        if "archive" in table:
            return {**entry, "archive": self._file(package.distributions[0])}
        if package.sdist is not None:
            entry["sdist"] = self._file(package.sdist)
        if package.wheels:
            entry["wheels"] = [self._file(wheel) for wheel in package.wheels]
        return entry

    def _file(self, file: Distribution) -> dict[str, object]:
        entry = self.files.get(self.placed[file])
        return {
            "path": str(file.filename),
            "hashes": {"sha256": entry.sha256} if entry else {},
        }
