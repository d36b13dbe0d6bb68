"""Wheels that were built beforehand: what each is good for, where it lies, and who lists it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.version import Version

from uv_archive.archive.layout import INDEX, ArchivePath, index_directory, parse_path
from uv_archive.archive.manifest import BuiltFrom, Entry
from uv_archive.errors import ArchiveError
from uv_archive.filenames import WheelFilename, parse_wheel
from uv_archive.lock.model import Lock
from uv_archive.target import Target

if TYPE_CHECKING:
    from uv_archive.archive.exports import Pylock


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltWheel:
    """A recorded wheel that was built, and from what."""

    path: ArchivePath
    filename: WheelFilename
    entry: Entry
    why: BuiltFrom

    def serves(self, target: Target) -> bool:
        """Whether it can be installed on *target*, and works there as far as tags can tell.

        A build calls what it made for its own libc `linux_x86_64`, which says nothing of how old
        a libc may be: only the one it was built on, or a later one, will do.
        """
        if target.wheel_priority(self.filename.tags) is None:
            return False
        platforms = {tag.platform for tag in self.filename.tags}
        if not any(platform.startswith("linux_") for platform in platforms):
            return True
        return self.why.platform is None or self.why.platform in target.platform.tags


def source_key(why: BuiltFrom) -> tuple[str | None, ...]:
    """Return what two wheels of one source have in common."""
    return (why.sha256, why.commit, why.tree, why.subdirectory)


def built_wheels(files: Mapping[ArchivePath, Entry]) -> Iterator[BuiltWheel]:
    """Yield the wheels that were built, in the order of their paths."""
    for path, entry in sorted(files.items()):
        for why in entry.origin.why if entry.origin else ():
            if isinstance(why, BuiltFrom):
                filename = parse_wheel(path.rpartition("/")[2])
                yield BuiltWheel(path=path, filename=filename, entry=entry, why=why)


def place_built(filename: WheelFilename, why: BuiltFrom, *, lock: Lock) -> ArchivePath:
    """Return where a built wheel lies: at the top, unless *lock* has its name for another file."""
    locked = {
        str(wheel.filename).casefold() for package in lock.packages for wheel in package.wheels
    }
    if filename.text.casefold() not in locked:
        return parse_path(filename.text)
    directory = index_directory(" ".join(("built from", *filter(None, source_key(why)))))
    return parse_path(f"{INDEX}/{directory}/{filename}")


def with_built_wheels(pylock: Pylock, files: Mapping[ArchivePath, Entry]) -> Pylock:
    """List what was built: beside the sdist, and in place of a commit, which needs a network.

    *files* are all of the archive. What was listed and isn't there any more goes, so that the
    same archive gives the same file, whatever it was before.
    """
    built = list(built_wheels(files))
    packages = pylock.document.get("packages", [])
    if not isinstance(packages, Sequence):
        raise ArchiveError("A `pylock.toml` of the archive can't be used: it has no packages")
    listed = [_package(package, built, files) for package in packages]
    document = {**pylock.document, "packages": [package for package in listed if package]}
    return replace(pylock, document=document)


def _package(
    package: Mapping[str, object], built: Sequence[BuiltWheel], files: Mapping[ArchivePath, Entry]
) -> dict[str, object] | None:
    wheels = sorted(
        (wheel for wheel in built if _is_of(wheel, package)), key=lambda wheel: wheel.path
    )
    content = {key: value for key, value in package.items() if key not in _SOURCES}
    kept = {key: package[key] for key in _SOURCES if key in package}
    own = {wheel.path for wheel in built}
    kept["wheels"] = sorted(
        [
            *(
                wheel
                for wheel in _tables(kept.get("wheels"))
                if wheel.get("path") in files and wheel.get("path") not in own
            ),
            *({"path": w.path, "size": w.entry.size, "hashes": _hashes(w)} for w in wheels),
        ],
        key=lambda wheel: str(wheel["path"]),
    )
    if wheels and "version" not in content:
        content = {"name": content["name"], "version": str(wheels[0].filename.version)} | content
    if wheels and "archive" in kept and _replaces_archive(kept["archive"], wheels):
        archive = kept.pop("archive")
        if isinstance(archive, Mapping) and "subdirectory" not in archive:
            kept["sdist"] = archive
    if wheels:
        # "vcs", "directory" and "archive" are mutually exclusive with "sdist" and "wheels".
        kept.pop("vcs", None)
    sdist = kept.get("sdist")
    if isinstance(sdist, Mapping) and sdist.get("path") not in files:
        del kept["sdist"]
    if not kept["wheels"] or "archive" in kept:
        del kept["wheels"]
    content |= {key: kept[key] for key in _SOURCES if key in kept}
    return content if any(key in content for key in _SOURCES) else None


_SOURCES = ("vcs", "directory", "archive", "sdist", "wheels")


def _is_of(wheel: BuiltWheel, package: Mapping[str, object]) -> bool:
    if wheel.filename.name != package.get("name"):
        return False
    match package:
        case {"vcs": {"commit-id": str(commit), "subdirectory": subdirectory}}:
            return (wheel.why.commit, wheel.why.subdirectory) == (commit, subdirectory)
        case {"vcs": {"commit-id": str(commit)}}:
            return (wheel.why.commit, wheel.why.subdirectory) == (commit, None)
        case {"archive": {"hashes": {"sha256": str(digest)}}}:
            return wheel.why.sha256 == digest
        case {"sdist": {"hashes": {"sha256": str(digest)}}}:
            return wheel.why.sha256 == digest
        case {"version": str(version)}:
            # Its source isn't listed any more since there is a wheel.
            return wheel.why.tree is None and wheel.filename.version == Version(version)
        case _:
            return False


def _replaces_archive(archive: object, wheels: Iterable[BuiltWheel]) -> bool:
    """Whether the wheels do, or can be listed beside an sdist: not if that has a subdirectory."""
    if isinstance(archive, Mapping) and "subdirectory" not in archive:
        return True
    return any(tag.platform == "any" for wheel in wheels for tag in wheel.filename.tags)


def _tables(value: object) -> list[Mapping[str, object]]:
    found = value if isinstance(value, Sequence) else ()
    return [table for table in found if isinstance(table, Mapping)]


def _hashes(wheel: BuiltWheel) -> Mapping[str, str]:
    return {"sha256": wheel.entry.sha256}
