"""Verify: see that every file of an archive is there, is right, and that there is nothing else.

What has to be there comes from the archive's metadata, what is there from a scan and from
digests, and a pure function holds the one against the other (`decide`). Nothing is written in
the archive, and nothing in the project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uv_archive.archive.disk import read_plain
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import LARGEST, Manifest
from uv_archive.digest import Digest
from uv_archive.errors import ArchiveError, LockError
from uv_archive.verify.decide import decide, to_read
from uv_archive.verify.examined import Examined
from uv_archive.verify.hashing import Task, hashing
from uv_archive.verify.model import (
    Checked,
    Facts,
    Finding,
    Kind,
    Rehearsal,
    Report,
    Reporter,
    VerifyRequest,
)
from uv_archive.verify.reading import Reading, read_archive
from uv_archive.verify.scan import scan

if TYPE_CHECKING:
    from uv_archive.lock.model import Lock
    from uv_archive.verify.own_lock import OwnLock

__all__ = [
    "Checked",
    "Facts",
    "Finding",
    "Kind",
    "Rehearsal",
    "Report",
    "Reporter",
    "VerifyRequest",
    "verify",
]


def verify(request: VerifyRequest, *, reporter: Reporter | None = None) -> Report:
    """Hold an archive against its metadata, and with a project, against the project's lock.

    Raises `RequestError` and its subclasses where there is nothing to verify, or the project or
    a target can't be used; whatever is wrong with the archive itself is a finding.
    """
    reporter = reporter or Reporter()
    own = _own_lock(request) if request.asked is not None else None
    directory = request.directory or (own.default_directory if own else Path())
    reading = read_archive(directory, expect=request.expect)
    examined = _examined(directory, reading, own.lock if own else None, reporter)
    report = Report(
        directory=directory,
        findings=(*reading.findings, *examined.findings),
        files=len(examined.hashed),
        size=sum(one.size for one in examined.hashed.values()),
        digest=reading.digest,
        expected=request.expect is not None
        and request.expect == Digest("sha256", reading.digest or ""),
    )
    if reading.manifest is not None:
        findings = tuple(_statements(directory, reading.manifest, examined))
        report = replace(report, findings=report.findings + findings)
    return own.hold(report, reading.manifest, examined, reporter) if own else report


def _own_lock(request: VerifyRequest) -> OwnLock:
    # What belongs to projects takes longer to import than many an archive to verify.
    from uv_archive.verify.own_lock import OwnLock  # noqa: PLC0415

    return OwnLock.of(request)


def _examined(directory: Path, reading: Reading, own: Lock | None, reporter: Reporter) -> Examined:
    """Look at every file, and read those whose bytes matter."""
    if reading.expected is None:
        return Examined(findings=(), hashed={}, archived=LockError("nothing says where it is"))
    there = scan(directory, needed=reading.expected.files)
    with hashing(directory, advanced=reporter.advanced) as hasher:
        first = [
            Task(path=path, size=there.entries[path].size)
            for path in to_read(reading.expected, there)
        ]
        reporter.hashing(len(first), sum(task.size for task in first))
        hasher.begin(first)
        # Meanwhile the lock is read, and what it takes for that is imported.
        archived = _archived_lock(directory, reading.manifest)
        digests = _locked_digests([own, archived])
        recorded = reading.expected.files
        others = {path: digest for path, digest in digests.items() if path not in recorded}
        expected = replace(reading.expected, locked=others)
        read = {task.path: task for task in first}
        more = [
            Task(
                path=path, size=there.entries[path].size, algorithms=_algorithms(digests.get(path))
            )
            for path in to_read(expected, there)
        ]
        hasher.begin(task for task in more if task != read.get(task.path))
        hashed = hasher.results()
    return Examined(findings=decide(expected, there, hashed), hashed=hashed, archived=archived)


def _algorithms(digest: Digest | None) -> tuple[str, ...]:
    others = {digest.algorithm} - {"sha256"} if digest else ()
    return ("sha256", *others)


def _archived_lock(directory: Path, manifest: Manifest | None) -> Lock | LockError:
    """Read the lock's copy. What is wrong with its bytes is found elsewhere."""
    if manifest is None:
        return LockError("nothing says where it is")
    path = manifest.lock.path
    try:
        content = read_plain(directory / path, limit=LARGEST)
    except ArchiveError as error:
        return LockError(error.message)
    if content is None:
        return LockError("it isn't there")
    try:
        return _parsed(path, content)
    except LockError as error:
        return error


def _parsed(path: ArchivePath, content: bytes) -> Lock:
    """Read a lock's copy by what its name says that it is. Raises `LockError`."""
    if re.fullmatch(r"locked/pylock(\.[^.]+)?\.toml", path):
        from uv_archive.lock.pylock import parse_pylock  # noqa: PLC0415

        return parse_pylock(content)
    from uv_archive.lock.reader import parse_lock  # noqa: PLC0415

    return parse_lock(content)


def _locked_digests(locks: Iterable[Lock | LockError | None]) -> Mapping[str, Digest | None]:
    """Return what the first lock that can be archived says of each file by its path."""
    from uv_archive.verify.statements import locked_digests  # noqa: PLC0415

    for lock in locks:
        if lock is not None and not isinstance(lock, LockError):
            try:
                return {str(path): digest for path, digest in locked_digests(lock).items()}
            except LockError:
                continue
    return {}


def _statements(directory: Path, manifest: Manifest, examined: Examined) -> Iterable[Finding]:
    from uv_archive.verify.statements import against_lock, contradictions  # noqa: PLC0415

    documents: dict[ArchivePath, bytes] = {}
    for path, entry in manifest.files.items():
        if entry.origin is None and examined.is_right(path):
            content = read_plain(directory / path, limit=LARGEST)
            if content is not None:
                documents[path] = content
    archived = examined.archived if manifest.lock.path in documents else None
    yield from contradictions(manifest, documents, lock=archived)
    if archived is not None and not isinstance(archived, LockError):
        yield from against_lock(
            manifest,
            archived,
            hashed=examined.hashed,
            kind="contradiction",
            named=f"`{manifest.lock.path}`",
        )
