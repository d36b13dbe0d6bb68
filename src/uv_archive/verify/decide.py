"""Which findings a scan and its digests come to. Pure: everything comes in as values."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from uv_archive.archive.layout import DIRECTORIES, MANIFEST, PARTIAL
from uv_archive.digest import Digest
from uv_archive.verify.hashing import Hashed
from uv_archive.verify.model import Facts, Finding
from uv_archive.verify.scan import Scan, Seen

_AGAIN = "Copy the archive again, or repair it with `uv-archive download --verify`"
_HINTS = {"symlink": "Archives have no links. ", "directory": "Move it elsewhere first. "}
_NO_PART = "It is no part of the archive. Remove it, if nothing else needs it"
_GO_ON = (
    "A run was stopped, or is at work. Run `uv-archive download` again: it goes on where it stopped"
)
_NO_DIGESTS: Mapping[str, Digest | None] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What the metadata say of a file; *size* is in bytes, `None` where they don't say it."""

    size: int | None
    sha256: str

    @property
    def facts(self) -> Facts:
        return Facts(size=self.size, digest=Digest("sha256", self.sha256))


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What an archive has to hold.

    *files* are recorded. *locked* are files that the lock has and that needn't be there; what
    isn't known to be right or wrong is *unjudged*.
    """

    files: Mapping[str, Recorded]
    locked: Mapping[str, Digest | None] = field(default_factory=dict)
    unjudged: frozenset[str] = frozenset()


def to_read(expected: Expected, scan: Scan) -> Sequence[str]:
    """Return the paths whose bytes have to be known to decide, sorted.

    That are all recorded files, and those others that may be locked, or renamed.
    """
    missing = {
        recorded.size for path, recorded in expected.files.items() if path not in scan.entries
    }
    return sorted(
        path
        for path, seen in scan.entries.items()
        if seen.type == "file" and path != MANIFEST and not _is_partial(path)
        if path in expected.files
        or path in expected.locked
        or seen.size in missing
        or (None in missing and path not in expected.unjudged)
    )


def decide(expected: Expected, scan: Scan, hashed: Mapping[str, Hashed]) -> tuple[Finding, ...]:
    """Hold what is there against what has to be there; return one finding for each difference.

    *hashed* has what `to_read` asked for. Findings are in order of their paths.
    """
    comparison = _Comparison(expected, scan, hashed)
    found = [*comparison.recorded(), *comparison.others(), *comparison.unreadable()]
    return tuple(sorted(found, key=lambda finding: (finding.path or "", finding.kind)))


def shown(path: str) -> str:
    """Write a path that needn't be text: bytes that aren't UTF-8 become escapes."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


class _Comparison:
    def __init__(self, expected: Expected, scan: Scan, hashed: Mapping[str, Hashed]) -> None:
        self._files = expected.files
        self._locked = expected.locked
        self._unjudged = expected.unjudged
        self._scan = scan
        self._hashed = hashed
        self._needed = {above for path in self._files for above in _above(path)}
        self._holding = {recorded.sha256: path for path, recorded in self._files.items()}
        self._twins = _by_fold(scan.entries, self._files)
        self._renamed = self._pair_up()

    def recorded(self) -> Iterator[Finding]:
        """Yield what is wrong with recorded files."""
        for path, recorded in self._files.items():
            seen = self._scan.entries.get(path)
            if seen is None:
                yield self._gone(path, recorded)
            elif seen.type != "file":
                yield _wrong_type(path, seen, recorded.facts)
            elif finding := self._compared(path, recorded, self._hashed[path]):
                yield finding

    def others(self) -> Iterator[Finding]:
        """Yield what is there and isn't recorded."""
        occupied = {above for path in self._scan.entries for above in _above(path)}
        for path, seen in self._scan.entries.items():
            if path in self._files or path == MANIFEST or path in self._unjudged:
                continue
            if _is_partial(path) or path == PARTIAL:
                yield from self._unfinished(path, seen, is_empty=path not in occupied)
            elif path in self._needed or path in DIRECTORIES:
                yield from self._directory(path, seen, is_empty=path not in occupied)
            elif path in self._renamed.values() or (
                # Its files are named.
                seen.type == "directory" and path in occupied
            ):
                continue
            else:
                yield self._other(path, seen)

    def unreadable(self) -> Iterator[Finding]:
        for path, reason in self._scan.unreadable.items():
            yield Finding(
                kind="unreadable",
                path=shown(path),
                message=f"`{shown(path)}` can't be read: {reason}",
                found=Facts(type="directory"),
            )

    def _pair_up(self) -> Mapping[str, str]:
        """Return for missing files under which other name their bytes lie, each but once."""
        holders: defaultdict[str, list[str]] = defaultdict(list)
        for path in sorted(self._hashed):
            sha256 = self._hashed[path].sha256
            if sha256 is not None and path not in self._files and path not in self._locked:
                holders[sha256.hex].append(path)
        found: dict[str, str] = {}
        for path in sorted(self._files.keys() - self._scan.entries.keys()):
            names = holders[self._files[path].sha256]
            alike = [name for name in names if _fold(name) == _fold(path)]
            if names:
                found[path] = (alike or names)[0]
                names.remove(found[path])
        return found

    def _gone(self, path: str, recorded: Recorded) -> Finding:
        other = self._renamed.get(path)
        if other is None:
            return Finding(
                kind="missing",
                path=path,
                message=f"`{path}` isn't there",
                expected=recorded.facts,
                hint=_AGAIN,
            )
        only = ", which differs only by case or form" if _fold(other) == _fold(path) else ""
        return Finding(
            kind="renamed",
            path=path,
            elsewhere=shown(other),
            message=f"`{path}` is called `{shown(other)}` here{only}",
            expected=recorded.facts,
            hint="Give it its name again",
        )

    def _compared(self, path: str, recorded: Recorded, hashed: Hashed) -> Finding | None:
        found = hashed.sha256
        if found is None:
            return Finding(
                kind="unreadable",
                path=path,
                message=f"`{path}` can't be read: {hashed.failure}",
                expected=recorded.facts,
                hint=_AGAIN,
            )
        if found.hex == recorded.sha256:
            return None
        other = self._holding.get(found.hex)
        return Finding(
            kind="changed",
            path=path,
            elsewhere=other,
            message=_change(path, recorded, hashed.size, other),
            expected=recorded.facts,
            found=Facts(size=hashed.size, digest=found),
            hint=_AGAIN,
        )

    def _unfinished(self, path: str, seen: Seen, *, is_empty: bool) -> Iterator[Finding]:
        if path == PARTIAL and seen.type != "directory":
            yield _wrong_type(path, seen, Facts(type="directory"))
        elif path != PARTIAL or is_empty:
            yield Finding(
                kind="unfinished",
                path=shown(path),
                message=f"`{shown(path)}` is left of a run that didn't come to its end",
                found=Facts(type=seen.type, size=_size(seen)),
                hint=_GO_ON,
            )

    def _directory(self, path: str, seen: Seen, *, is_empty: bool) -> Iterator[Finding]:
        if seen.type != "directory":
            yield _wrong_type(path, seen, Facts(type="directory"))
        elif is_empty and path not in self._needed and path not in self._scan.unreadable:
            yield self._other(path, seen)

    def _other(self, path: str, seen: Seen) -> Finding:
        found = Facts(type=seen.type, size=_size(seen))
        twin = next((name for name in self._twins[_fold(path)] if name != path), None)
        if twin is not None:
            return Finding(
                kind="twin",
                path=shown(path),
                elsewhere=shown(twin),
                message=f"`{shown(path)}` differs only by case or form from `{shown(twin)}`",
                found=found,
                hint="Some file systems take the two for one. " + _NO_PART,
            )
        if path in self._locked and seen.type == "file":
            return self._unrecorded(path, found)
        what = "" if seen.type == "file" else f", a {seen.type},"
        return Finding(
            kind="extra",
            path=shown(path),
            message=f"`{shown(path)}`{what} isn't recorded",
            found=found,
            hint=_NO_PART,
        )

    def _unrecorded(self, path: str, found: Facts) -> Finding:
        digest, hashed = self._locked[path], self._hashed[path]
        if digest is None or (hashed.digests or {}).get(digest.algorithm) != digest:
            return Finding(
                kind="extra",
                path=path,
                message=f"`{path}` isn't recorded, and hasn't the bytes that the lock names",
                expected=Facts(digest=digest),
                found=found,
                hint=_NO_PART,
            )
        return Finding(
            kind="unrecorded",
            path=path,
            message=f"`{path}`, which the lock names, isn't recorded",
            expected=Facts(digest=digest),
            found=found,
            hint=_GO_ON,
        )


def _change(path: str, recorded: Recorded, size: int, other: str | None) -> str:
    if other is not None:
        return f"`{path}` has the bytes of `{other}`"
    if recorded.size is None or size == recorded.size:
        return f"`{path}` has other bytes than were recorded"
    if not size:
        return f"`{path}` is empty"
    which = "only " if size < recorded.size else ""
    return f"`{path}` has {which}{size} bytes, and {recorded.size} were recorded"


def _wrong_type(path: str, seen: Seen, expected: Facts) -> Finding:
    return Finding(
        kind="wrong type",
        path=shown(path),
        message=f"`{shown(path)}` is a {seen.type}, not a {_plain(expected)}",
        expected=expected,
        found=Facts(type=seen.type, size=_size(seen)),
        hint=_HINTS.get(seen.type, "") + _AGAIN,
    )


def _plain(facts: Facts) -> str:
    return "plain file" if facts.type == "file" else str(facts.type)


def _size(seen: Seen) -> int | None:
    return seen.size if seen.type == "file" else None


def _is_partial(path: str) -> bool:
    return path.startswith(f"{PARTIAL}/")


def _above(path: str) -> Iterator[str]:
    """Yield the directories that a path lies in."""
    parts = path.split("/")
    for number in range(1, len(parts)):
        yield "/".join(parts[:number])


def _fold(path: str) -> str:
    """Return what is equal for names that some file system takes for one."""
    folded = unicodedata.normalize("NFC", path).casefold()
    return unicodedata.normalize("NFC", folded)


def _by_fold(*groups: Iterable[str]) -> Mapping[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in dict.fromkeys(path for group in groups for path in sorted(group)):
        found[_fold(path)].append(path)
    return found
