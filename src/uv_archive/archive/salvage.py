"""What can still be read of a damaged `uv-archive.json`.

Nothing of it is believed by itself: digests come from `SHA256SUMS`, requests have to stand in
`README.md` too, and what was answered about builds is asked again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

from uv_archive.archive.layout import ArchivePath, parse_path
from uv_archive.archive.manifest import (
    FORMAT_VERSION,
    JSON,
    Entry,
    JSONObject,
    LockRecord,
    Manifest,
    from_json,
)
from uv_archive.errors import ArchiveError
from uv_archive.request import Request

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_MEMBER = re.compile(r'^    ("(?:[^"\\\n]|\\.)*"): ', re.MULTILINE)
_DECODER = json.JSONDecoder()
_UNKNOWN = "0" * 64


def salvage(content: bytes, *, checksums: bytes, readme: bytes, project: str) -> Manifest:
    """Read what can be read of a damaged manifest of *project*'s archive.

    *checksums* is `SHA256SUMS`, whose digests go before the manifest's, and *readme* is
    `README.md`, which says in words what was requested; either may be empty. A request or a file
    that can't be read is left out.
    """
    text = content.decode(errors="replace")
    sums = _sums(checksums.decode(errors="replace"))
    found = {path: _entry(path, recorded, sums) for path, recorded in _members(text, "files")}
    return Manifest(
        project=project,
        lock=_lock(dict(_members(text, "lock")), sums),
        requests=tuple(_requests(text, readme.decode(errors="replace"))),
        files={ArchivePath(path): entry for path, entry in found.items() if entry},
    )


def _members(text: str, key: str) -> Iterator[tuple[str, JSON]]:
    """Yield the members of an object of the document, each read by itself.

    The canonical form has each of them on lines of its own, so that damage stays where it is.
    """
    for match in _MEMBER.finditer(_section(text, key)):
        with suppress(ValueError, RecursionError):
            name = json.loads(match[1])
            value: JSON = _DECODER.raw_decode(match.string, match.end())[0]
            yield name, value


def _section(text: str, key: str) -> str:
    """Return the lines of the value of a key of the document itself."""
    found = re.search(
        rf'^  "{key}": [\[{{]\n(.*?)(?=^  [\]}}],?$|\Z)', text, re.MULTILINE | re.DOTALL
    )
    return found[1] if found else ""


def _object(value: JSON) -> JSONObject:
    return value if isinstance(value, Mapping) else {}


def _requests(text: str, readme: str) -> Iterator[JSONObject]:
    section = _section(text, "requests")
    for match in re.finditer(r"^    (?=\{)", section, re.MULTILINE):
        with suppress(ArchiveError, ValueError, RecursionError):
            request = _object(_DECODER.raw_decode(section, match.end())[0])
            read = Request.from_record(request)
            # A key that was damaged would be passed over, and the request be another one.
            if read.to_record() == request and str(read) in readme:
                yield request


def _entry(path: str, recorded: JSON, sums: Mapping[str, str]) -> Entry | None:
    """Read a file's record as a manifest that has nothing else."""
    entry = {**_object(recorded), "sha256": sums.get(path, _object(recorded).get("sha256"))}
    lock = {"path": "locked/uv.lock", "sha256": _UNKNOWN}
    document = {
        "format-version": FORMAT_VERSION,
        "project": "",
        "lock": lock,
        "requests": [],
        "files": {"locked/uv.lock": {"size": 0, "sha256": _UNKNOWN}, path: entry},
    }
    try:
        return from_json(json.dumps(document).encode()).files[ArchivePath(path)]
    except (ArchiveError, UnicodeEncodeError):
        return None


def _lock(recorded: JSONObject, sums: Mapping[str, str]) -> LockRecord:
    copies = (path for path in sums if path.startswith("locked/"))
    path = next(copies, str(recorded.get("path")))
    try:
        return LockRecord(path=parse_path(path), sha256=_UNKNOWN)
    except ValueError:
        return LockRecord(path=ArchivePath("locked/uv.lock"), sha256=_UNKNOWN)


def _sums(text: str) -> Mapping[str, str]:
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {match[2]: match[1] for match in found if match}
