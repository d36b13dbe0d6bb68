"""What an archive shall hold: the files that requests select, and why each is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.utils import NormalizedName

from uv_archive.archive.layout import ArchivePath, public_source
from uv_archive.archive.manifest import BuildRequirement, Entry, Locked, Manifest, Origin, Why
from uv_archive.build_requirements import RequiredFile
from uv_archive.errors import CoverageError, RequestError
from uv_archive.lock.model import Distribution, GitSource, Lock
from uv_archive.owner import Owner, default_groups_of
from uv_archive.plan import Wanted
from uv_archive.request import Request
from uv_archive.selection import Gap, Selection

_LOCKED = (Locked(),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """A file that the archive shall hold, and the reasons."""

    path: ArchivePath
    distribution: Distribution
    why: tuple[Why, ...]

    @property
    def is_locked(self) -> bool:
        return any(isinstance(why, Locked) for why in self.why)

    @property
    def is_vouched(self) -> bool:
        """Whether the lock's own digest, a secure one, says which bytes these are."""
        digest = self.distribution.digest
        return self.is_locked and digest is not None and digest.is_secure

    def wanted(self, recorded: Manifest | None) -> Wanted:
        """Return what a plan has to know."""
        entry = recorded.files.get(self.path) if recorded else None
        same = (
            entry is not None
            and entry.origin is not None
            and (entry.origin.source == public_source(self.distribution))
        )
        return Wanted(
            path=self.path,
            origin=self.distribution.location,
            digest=self.distribution.digest,
            size=self.distribution.size,
            recorded=entry.sha256 if entry and same else None,
        )

    def entry(self, *, size: int, sha256: str) -> Entry:
        """Return what the archive records of the file."""
        filename = self.distribution.filename
        origin = Origin(
            name=filename.name,
            version=str(filename.version),
            source=public_source(self.distribution),
            why=self.why,
            vouched=self.is_vouched,
        )
        return Entry(size=size, sha256=sha256, origin=origin)


def select_all(
    requests: Sequence[Request], lock: Lock, owner: Owner, *, own: Request
) -> tuple[tuple[Request, Selection], ...]:
    """Select what each request needs. Raises `CoverageError` where the lock has no usable file.

    A package without a file for some platform is only a gap of the selection where all
    platforms were asked for. Of requests other than this run's *own*, which the archive recorded,
    an error says so, and how to forget them.
    """
    selected = tuple(
        (request, _selection(request, lock, owner, is_own=request == own)) for request in requests
    )
    gaps = {
        request: selection.gaps
        for request, selection in selected
        if request.targets and selection.gaps
    }
    if gaps:
        every = sorted({str(gap) for found in gaps.values() for gap in found})
        listed = "".join(f"\n  {gap}" for gap in every)
        error = CoverageError(
            f"The lock has no usable file for {len(every)} of the packages asked for:{listed}",
            hint=_remedy(gaps),
        )
        raise error if own in gaps else _earlier(next(iter(gaps)), error)
    return selected


def _remedy(gaps: Mapping[Request, Iterable[Gap]]) -> str:
    """Say what to change; an option or setting that forbids what there is goes first."""
    forbidding = [
        flag
        for request, found in gaps.items()
        for gap in found
        if gap.is_forbidden
        for flag in request.options.forbidding(gap.package.name)
    ]
    if not forbidding:
        return "Choose other targets, or leave out the extra or group that needs them"
    flags = " and ".join(f"`{flag}`" for flag in dict.fromkeys(forbidding))
    return f"Leave out {flags}, which may be one of uv's settings, or choose other targets"


def _selection(request: Request, lock: Lock, owner: Owner, *, is_own: bool) -> Selection:
    try:
        return request.select(lock, default_groups_of(owner, request.project))
    except RequestError as error:
        if is_own:
            raise
        raise _earlier(request, error) from error


def _earlier(request: Request, error: RequestError) -> RequestError:
    """Say that what stands in the way was asked for by an earlier run."""
    return type(error)(
        f"What was downloaded earlier, for {request}, can't be had by this lock: {error.message}",
        hint="`--replace` forgets what was asked for earlier; `--prune` then removes its files",
    )


def locked_contents(
    selected: Iterable[tuple[Request, Selection]], placed: Mapping[Distribution, ArchivePath]
) -> Mapping[ArchivePath, Content]:
    """Return the locked files that the requests need, by path, sorted."""
    found: dict[ArchivePath, Content] = {}
    for _, selection in selected:
        for one in selection.distributions:
            if isinstance(one.package.source, GitSource):
                continue  # It lies in the repository, and travels in its bundle.
            path = placed[one.distribution]
            content = Content(path=path, distribution=one.distribution, why=_LOCKED)
            found.setdefault(path, content)
    return dict(sorted(found.items()))


def with_requirements(
    locked: Mapping[ArchivePath, Content],
    required: Iterable[RequiredFile],
    placed: Mapping[Distribution, ArchivePath],
) -> Mapping[ArchivePath, Content]:
    """Return *locked* and the build requirements; a file that is both has both reasons."""
    found = dict(locked)
    for file in required:
        path = placed[file.distribution]
        why = tuple(
            BuildRequirement(
                of=reason.of,
                requested=reason.requested or file.distribution.filename.name,
                found=reason.found,
                targets=reason.targets,
                marker=reason.marker,
            )
            for reason in file.reasons
        )
        before = found.get(path)
        if before is None:
            found[path] = Content(path=path, distribution=file.distribution, why=why)
        else:
            found[path] = replace(before, why=(*before.why, *why))
    return dict(sorted(found.items()))


def refuse_unhashed(
    contents: Iterable[Content], *, allowed: frozenset[NormalizedName], all_allowed: bool
) -> tuple[str, ...]:
    """Return the locked files that no secure hash vouches for.

    Raises `RequestError` for those that weren't allowed by name.
    """
    unvouched = [content for content in contents if content.is_locked and not content.is_vouched]
    refused = {
        content.distribution.filename.name: content
        for content in unvouched
        if not all_allowed and content.distribution.filename.name not in allowed
    }
    if refused:
        names = ", ".join(f"`{name}`" for name in sorted(refused))
        flags = " ".join(f"--allow-unhashed {name}" for name in sorted(refused))
        raise RequestError(
            f"The lock has no secure hash for files of {names}, so nothing can vouch for them",
            hint=f"Lock again with an index that gives hashes, or take them as they come: {flags}",
        )
    return tuple(content.path for content in unvouched)
