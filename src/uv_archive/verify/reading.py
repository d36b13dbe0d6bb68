"""The manifest, read so that what is wrong with it is a finding wherever that is possible."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uv_archive.archive.disk import read_plain, storing
from uv_archive.archive.layout import (
    CHECKSUMS,
    LOCKED,
    MANIFEST,
    PARTIAL,
    README,
    ArchivePath,
    parse_path,
)
from uv_archive.archive.manifest import LARGEST, Manifest, from_json, is_as_written
from uv_archive.digest import Digest
from uv_archive.errors import ArchiveError
from uv_archive.verify.decide import Expected, Recorded
from uv_archive.verify.model import Facts, Finding

_REBUILD = (
    "Copy it again from where the archive is whole, or have it made anew with `uv-archive "
    "download --verify`"
)
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
# Any of these says that a directory without a manifest was to be an archive.
_SIGNS = frozenset({PARTIAL, CHECKSUMS, LOCKED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What the archive says of itself, and what is wrong with how it says it.

    *manifest* is `None` where it can't be trusted to be what was written; then *expected* is
    what `SHA256SUMS` says, or nothing where that can't be read either. *digest* is that of the
    manifest's bytes, in hexadecimal.
    """

    manifest: Manifest | None
    digest: str | None
    expected: Expected | None
    findings: tuple[Finding, ...] = ()


def read_archive(directory: Path, *, expect: Digest | None) -> Reading:
    """Read the manifest of *directory*, or failing that, `SHA256SUMS`.

    *expect* is what the archive's digest has to be. Raises `ArchiveError` where there is no
    archive, or one that this program can't read though it is undamaged, and `StorageError`.
    """
    _check_is_archive(directory)
    try:
        content = read_plain(directory / MANIFEST, limit=LARGEST)
    except ArchiveError as error:
        return _without_manifest(directory, None, _not_plain(directory, error))
    if content is None:
        return _without_manifest(directory, None, _missing(directory))
    digest = hashlib.sha256(content).hexdigest()
    is_expected = expect is not None and expect == Digest("sha256", digest)
    intact = is_expected or is_as_written(content)
    try:
        manifest = from_json(content)
    except ArchiveError as error:
        if intact:
            raise
        return _without_manifest(directory, digest, _changed(error.message, digest, expect))
    if not intact:
        reason = f"`{MANIFEST}` isn't what was written: its checksum is another one"
        return _without_manifest(directory, digest, _changed(reason, digest, expect))
    findings = () if is_expected or expect is None else (_unexpected(digest, expect),)
    return Reading(
        manifest=manifest, digest=digest, expected=_expected(manifest), findings=findings
    )


def read_checksums(content: bytes) -> Mapping[ArchivePath, str]:
    """Read `SHA256SUMS`: a digest in hexadecimal for each path. Raises `ValueError`."""
    found: dict[ArchivePath, str] = {}
    for number, line in enumerate(content.decode().splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} hasn't a digest and a path")
        path = parse_path(match[2])
        if path in found:
            raise ValueError(f"line {number} names a path once more")
        found[path] = match[1]
    return found


def _check_is_archive(directory: Path) -> None:
    if not directory.is_dir():
        raise ArchiveError(
            f"There is no archive at `{directory}`", hint="Name the directory of one"
        )
    with storing(directory, doing="read"):
        names = set(os.listdir(directory))  # noqa: PTH208 - a Path each isn't needed
    if MANIFEST not in names and not names & _SIGNS:
        raise ArchiveError(f"`{directory}` is no archive: it has no `{MANIFEST}`")


def _without_manifest(directory: Path, digest: str | None, finding: Finding) -> Reading:
    """Take what `SHA256SUMS` says for what has to be there; it doesn't say it of two files."""
    expected = None
    try:
        content = read_plain(directory / CHECKSUMS, limit=LARGEST)
        if content is not None:
            expected = Expected(
                files={
                    path: Recorded(size=None, sha256=sha256)
                    for path, sha256 in read_checksums(content).items()
                },
                unjudged=frozenset({CHECKSUMS, README}),
            )
    except (ArchiveError, ValueError) as error:
        reason = error.message if isinstance(error, ArchiveError) else str(error)
        found = Finding(
            kind="changed",
            path=CHECKSUMS,
            message=f"`{CHECKSUMS}` can't be used: {reason}",
            hint=_REBUILD,
        )
        return Reading(manifest=None, digest=digest, expected=None, findings=(finding, found))
    return Reading(manifest=None, digest=digest, expected=expected, findings=(finding,))


def _expected(manifest: Manifest) -> Expected:
    return Expected(
        files={
            path: Recorded(size=entry.size, sha256=entry.sha256)
            for path, entry in manifest.files.items()
        }
    )


def _missing(directory: Path) -> Finding:
    goes_on = "Run `uv-archive download` again: it goes on where it stopped"
    return Finding(
        kind="missing",
        path=MANIFEST,
        message=f"`{MANIFEST}` isn't there, so the archive is incomplete",
        hint=goes_on if (directory / PARTIAL).is_dir() else _REBUILD,
    )


def _not_plain(directory: Path, error: ArchiveError) -> Finding:
    is_link = (directory / MANIFEST).is_symlink()
    return Finding(
        kind="wrong type",
        path=MANIFEST,
        message=error.message.replace(f"`{directory / MANIFEST}`", f"`{MANIFEST}`"),
        expected=Facts(),
        found=Facts(type="symlink" if is_link else None),
        hint=_REBUILD,
    )


def _changed(reason: str, digest: str, expect: Digest | None) -> Finding:
    return Finding(
        kind="changed",
        path=MANIFEST,
        message=reason,
        expected=Facts(digest=expect),
        found=Facts(digest=Digest("sha256", digest)),
        hint=_REBUILD,
    )


def _unexpected(digest: str, expect: Digest) -> Finding:
    return Finding(
        kind="unexpected",
        path=MANIFEST,
        message=f"The archive has the digest sha256:{digest}, not {expect}",
        expected=Facts(digest=expect),
        found=Facts(digest=Digest("sha256", digest)),
        hint="It was changed on the way, or it is another one",
    )
