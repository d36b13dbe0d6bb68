"""Whether an archive's metadata say the same of its files. Pure: it looks at no file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import tomli

from uv_archive.archive.checksums import checksums
from uv_archive.archive.layout import (
    CHECKSUMS,
    INSTALL,
    README,
    ArchivePath,
    large_files_path,
    place,
)
from uv_archive.archive.manifest import Entry, Locked, Manifest, Origin
from uv_archive.digest import Digest
from uv_archive.errors import ArchiveError, LockError
from uv_archive.fetch.bundles import key_of, place_bundles
from uv_archive.lock.model import GitSource, Lock
from uv_archive.request import Request
from uv_archive.verify.hashing import Hashed
from uv_archive.verify.model import Facts, Finding, Kind
from uv_archive.verify.reading import read_checksums

_HASH = re.compile(r"--hash=sha256:(\S+)")
_FORGED = "Nobody but who made the archive writes such metadata: get it again from a trusted place"
_MOST = 3


def contradictions(
    manifest: Manifest, documents: Mapping[ArchivePath, bytes], *, lock: Lock | LockError | None
) -> Iterator[Finding]:
    """Yield where *documents* contradict the *manifest*.

    These are files of metadata by path, those that have the bytes that were recorded. *lock* is
    what the lock's copy says, or why it can't be read, if it is one of them.
    """
    yield from _about_requests(manifest)
    yield from _about_checksums(manifest, documents)
    for path, content in documents.items():
        if re.fullmatch(r"pylock(\..*)?\.toml", path):
            yield from _about_pylock(path, content, manifest)
        elif re.fullmatch(r"requirements(\..*)?\.txt", path):
            yield from _about_requirements(path, content, manifest)
    has_tools = any(entry.is_tool for entry in manifest.files.values())
    if has_tools != (INSTALL in manifest.files):
        yield _contradiction(INSTALL, "is there exactly if there are tools to install with")
    if isinstance(lock, LockError):
        yield _contradiction(manifest.lock.path, f"can't be read: {lock.message}")


def against_lock(
    manifest: Manifest,
    lock: Lock,
    *,
    hashed: Mapping[str, Hashed],
    kind: Kind,
    named: str,
) -> Iterator[Finding]:
    """Yield where the manifest says of files that the lock named them, and it doesn't.

    *hashed* has the bytes' digests, in each algorithm that the lock uses. *named* is what to
    call the lock, *kind* that of the findings.
    """
    try:
        digests, repositories = _digests_by_path(lock), set(_of_git(lock))
    except LockError as error:
        yield Finding(kind=kind, message=f"{named} has no archive: {error.message}")
        return
    for path, (entry, origin) in manifest.distributions.items():
        if not any(isinstance(why, Locked) for why in origin.why):
            continue
        if origin.commit is not None:
            is_right = (origin.source, origin.commit, path) in repositories
            reason = None if is_right else f"it has no commit {origin.commit} of `{origin.source}`"
        else:
            reason = _wrong_file(entry, origin, digests.get(path), hashed.get(path))
        if reason is not None:
            yield Finding(
                kind=kind,
                path=path,
                message=f"`{path}` isn't what {named} names: {reason}",
                expected=_of_lock(digests.get(path)),
                found=Facts(size=entry.size, digest=Digest("sha256", entry.sha256)),
                hint=_FORGED,
            )


def locked_digests(lock: Lock) -> Mapping[ArchivePath, Digest | None]:
    """Return the digest of each file of *lock* by its place in an archive of it.

    Bundles have none. Raises `LockError`.
    """
    return {
        **{path: found[0] for path, found in _digests_by_path(lock).items()},
        **{path: None for _, _, path in _of_git(lock)},
    }


def _of_git(lock: Lock) -> Iterator[tuple[str, str, ArchivePath]]:
    """Yield the public URL and commit of each git source, and where a file of it lies."""
    bundles = place_bundles(lock)
    for package in lock.packages:
        if isinstance(package.source, GitSource):
            key = key_of(package.source)
            yield (*key, bundles[key])
            if package.source.lfs:
                yield (*key, large_files_path(bundles[key]))


def _digests_by_path(lock: Lock) -> Mapping[ArchivePath, Sequence[Digest | None]]:
    git = {
        distribution
        for package in lock.packages
        if isinstance(package.source, GitSource)
        for distribution in package.distributions
    }
    found: defaultdict[ArchivePath, list[Digest | None]] = defaultdict(list)
    for distribution, path in place(lock).items():
        if distribution not in git:
            found[path].append(distribution.digest)
    return found


def _wrong_file(
    entry: Entry,
    origin: Origin,
    digests: Sequence[Digest | None] | None,
    hashed: Hashed | None,
) -> str | None:
    if digests is None:
        return "it has no such file"
    found = {"sha256": Digest("sha256", entry.sha256)}
    if hashed is not None and hashed.sha256 == found["sha256"]:
        found.update(hashed.digests or {})
    for digest in digests:
        if digest is None or digest.algorithm not in found:
            continue
        if found[digest.algorithm] != digest:
            return f"it has {digest}"
    if origin.vouched and not any(digest and digest.is_secure for digest in digests):
        return "it has no secure hash of it, and the archive says that it vouched for the file"
    return None


def _of_lock(digests: Sequence[Digest | None] | None) -> Facts | None:
    return Facts(digest=digests[0]) if digests else None


def _about_requests(manifest: Manifest) -> Iterator[Finding]:
    for record in manifest.requests:
        try:
            Request.from_record(record)
        except ArchiveError as error:
            yield Finding(kind="contradiction", message=error.message, hint=error.hint)


def _about_checksums(
    manifest: Manifest, documents: Mapping[ArchivePath, bytes]
) -> Iterator[Finding]:
    if CHECKSUMS not in manifest.files:
        yield _contradiction(CHECKSUMS, "isn't among the files that are recorded")
    if CHECKSUMS not in documents:
        return
    recorded = {
        path: entry.sha256
        for path, entry in manifest.files.items()
        if path not in {CHECKSUMS, README}
    }
    if documents[CHECKSUMS] == checksums(recorded):
        return
    try:
        written = read_checksums(documents[CHECKSUMS])
    except ValueError as error:
        yield _contradiction(CHECKSUMS, f"can't be used: {error}")
        return
    differing = sorted({path for path, _ in written.items() ^ recorded.items()})
    where = f"about {_listed(differing)}" if differing else "in its form"
    yield _contradiction(CHECKSUMS, f"says something else than `uv-archive.json` {where}")


def _about_pylock(path: ArchivePath, content: bytes, manifest: Manifest) -> Iterator[Finding]:
    """A pylock file's own paths have to lead to files of the archive, with their hashes."""
    try:
        files = list(_pylock_files(tomli.loads(content.decode())))
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        yield _contradiction(path, f"can't be read: {error}")
        return
    recorded = {name: entry.sha256 for name, entry in manifest.files.items()}
    wrong = [name for name, sha256 in files if recorded.get(ArchivePath(name)) != sha256]
    if wrong:
        yield _contradiction(
            path, f"says something else than `uv-archive.json` about {_listed(wrong)}"
        )


def _pylock_files(document: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    packages = document.get("packages", [])
    for package in packages if isinstance(packages, list) else []:
        tables = [package.get("sdist"), package.get("archive"), *package.get("wheels", [])]
        for table in tables:
            if table is not None:
                yield str(table.get("path")), str(table.get("hashes", {}).get("sha256"))


def _about_requirements(path: ArchivePath, content: bytes, manifest: Manifest) -> Iterator[Finding]:
    recorded = {entry.sha256 for entry in manifest.files.values()}
    named = _HASH.findall(content.decode(errors="replace"))
    unknown = sorted({sha256 for sha256 in named if sha256 not in recorded})
    if unknown:
        yield _contradiction(path, f"names hashes of no file: {_listed(unknown)}")


def _contradiction(path: ArchivePath, what: str) -> Finding:
    return Finding(kind="contradiction", path=path, message=f"`{path}` {what}", hint=_FORGED)


def _listed(names: Iterable[str]) -> str:
    every = [f"`{name}`" for name in names]
    rest = len(every) - _MOST
    return ", ".join(every[:_MOST]) + (f" and {rest} more" if rest > 0 else "")
