"""Which files a request or a target takes from an archive, and which of them it lacks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from uv_archive.archive.build_settings import public_settings
from uv_archive.archive.built import built_wheels
from uv_archive.archive.layout import ArchivePath, large_files_path, place
from uv_archive.archive.manifest import Manifest
from uv_archive.download.beforehand import Beforehand
from uv_archive.errors import ArchiveError, UvArchiveError
from uv_archive.fetch.bundles import key_of, place_bundles
from uv_archive.lock.model import Distribution, GitSource, Lock, Package
from uv_archive.owner import Owner, default_groups_of
from uv_archive.request import Request
from uv_archive.selection import Selection
from uv_archive.settings import Settings
from uv_archive.verify.model import Finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where the files of a lock lie in an archive, and which of them are there.

    *beforehand* are the wheels there that were built, which may stand for what they are of.
    """

    lock: Lock
    manifest: Manifest
    distributions: Mapping[Distribution, ArchivePath]
    beforehand: Beforehand
    is_right: Callable[[str], bool]

    @classmethod
    def of(
        cls,
        lock: Lock,
        manifest: Manifest,
        *,
        settings: Settings,
        is_right: Callable[[str], bool] | None = None,
    ) -> Places:
        """Take for there what is recorded, and for which *is_right*. Raises `LockError`."""
        right = is_right or (lambda _: True)
        wheels = tuple(wheel for wheel in built_wheels(manifest.files) if right(wheel.path))
        return cls(
            lock=lock,
            manifest=manifest,
            distributions=place(lock),
            beforehand=Beforehand(wheels=wheels, settings=public_settings(settings.options)),
            is_right=lambda path: path in manifest.files and right(path),
        )

    def needed(self, selection: Selection) -> Mapping[str, Package]:
        """Return the paths that a selection needs, each with a package that it is for."""
        found: dict[str, Package] = {}
        for selected in selection.distributions:
            if not isinstance(selected.package.source, GitSource):
                found.setdefault(self.distributions[selected.distribution], selected.package)
        bundles = place_bundles(self.lock)
        for package in selection.packages:
            if isinstance(package.source, GitSource):
                bundle = bundles[key_of(package.source)]
                found.setdefault(bundle, package)
                if package.source.lfs:
                    found.setdefault(large_files_path(bundle), package)
        return found

    def why(self, path: str) -> str:
        """Say why a path that is lacking doesn't count."""
        return "isn't right" if path in self.manifest.files else "isn't in the archive"

    def lacking(self, selection: Selection) -> Mapping[str, Package]:
        """Return those of the paths that a selection needs where no right file is."""
        return {
            path: package
            for path, package in self.needed(selection).items()
            if not self.is_right(path)
        }


def lacking_for_requests(
    manifest: Manifest, *, lock: Lock, owner: Owner, settings: Settings
) -> Iterator[Finding]:
    """Yield what recorded requests need of *lock* and the manifest doesn't record."""
    places = Places.of(lock, manifest, settings=settings)
    told: set[str] = set()
    for record in manifest.requests:
        try:
            request = Request.from_record(record)
        except ArchiveError:
            continue  # A contradiction of its own.
        try:
            selection = request.select(lock, default_groups_of(owner, request.project))
        except UvArchiveError as error:
            yield Finding(
                kind="lacking",
                target=str(request),
                message=f"What was requested for {request} can't be selected: {error.message}",
                hint=error.hint,
            )
            continue
        ((_, needed),) = places.beforehand.sources([(request, selection)])
        for finding in findings_of(needed, places, target=str(request), gaps=bool(request.targets)):
            about = finding.path or finding.message
            if about not in told:
                told.add(about)
                yield finding


def findings_of(
    selection: Selection,
    places: Places,
    *,
    target: str,
    gaps: bool,
    how: str = "",
    command: str = "uv-archive download",
) -> Iterator[Finding]:
    """Yield a finding for each file that a selection lacks, and with *gaps* each package.

    *how* is added to each message: who says so. *command* would bring the files.
    """
    for path, package in places.lacking(selection).items():
        yield Finding(
            kind="lacking",
            path=path,
            target=target,
            message=f"`{path}` of {package}, which {target} needs, {places.why(path)}{how}",
            hint=f"Where there is a network, run `{command}`",
        )
    for gap in selection.gaps if gaps else ():
        yield Finding(
            kind="lacking",
            target=target,
            message=f"The lock has no file of {gap}{how}",
            hint="No archive of this lock serves that target",
        )
