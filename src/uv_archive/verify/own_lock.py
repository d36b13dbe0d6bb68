"""The archive held against the project's own lock, and what targets take from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from uv_archive.archive.disk import read_plain
from uv_archive.archive.locked import without_secrets
from uv_archive.archive.manifest import LARGEST, Manifest
from uv_archive.download import DEFAULT_DIRECTORY, Asked
from uv_archive.download.asked import find_owner
from uv_archive.errors import ToolError
from uv_archive.lock.model import Lock
from uv_archive.owner import Owner, lock_of, settings_of
from uv_archive.pylock import PylockFile
from uv_archive.scratch import scrubbed
from uv_archive.settings import Settings
from uv_archive.sync.stale import CHECK, is_out_of_date, is_stale
from uv_archive.sync.supply import open_supply
from uv_archive.uv import find_uv
from uv_archive.verify.coverage import Places, lacking_for_requests
from uv_archive.verify.examined import Examined
from uv_archive.verify.model import (
    Checked,
    Finding,
    Rehearsal,
    Report,
    Reporter,
    VerifyRequest,
)
from uv_archive.verify.rehearsal import rehearse
from uv_archive.verify.statements import against_lock
from uv_archive.verify.targets import Wanted, check_targets


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnLock:
    """A project, script or pylock file with its lock."""

    request: VerifyRequest
    asked: Asked
    owner: Owner
    lock: Lock
    settings: Settings

    @classmethod
    def of(cls, request: VerifyRequest) -> OwnLock:
        """Find what a request is about. Raises `RequestError` and its subclasses."""
        asked = request.asked or Asked(start=Path())
        owner = find_owner(asked)
        return cls(
            request=request,
            asked=asked,
            owner=owner,
            lock=lock_of(owner),
            settings=settings_of(owner, request.environment),
        )

    @property
    def default_directory(self) -> Path:
        return self.owner.root / DEFAULT_DIRECTORY

    def hold(
        self, report: Report, manifest: Manifest | None, examined: Examined, reporter: Reporter
    ) -> Report:
        """Add to a report what the lock says of the archive, and how targets fare.

        Raises `ArchiveError` for another project's archive, and as `Wanted.of` does.
        """
        report = replace(report, lock=self.owner.lock_path, doubt=self._doubt())
        if manifest is None:
            return report
        findings = tuple(self._against(report.directory, manifest, examined))
        report = replace(report, findings=report.findings + findings)
        places = Places.of(self.lock, manifest, settings=self.settings, is_right=examined.is_right)
        return self._tried(report, places, reporter)

    def _doubt(self) -> str | None:
        """Say so if the lock is stale, as far as a uv that is at hand can tell."""
        if isinstance(self.owner, PylockFile):
            return None
        try:
            checked = find_uv(self.request.environment).run(
                # uv's own cache isn't to be written either.
                [*CHECK, "--no-cache", *self.owner.arguments],
                environment=scrubbed(self.request.environment),
            )
        except ToolError:
            return None
        return is_out_of_date(self.owner) if is_stale(checked) else None

    def _against(
        self, directory: Path, manifest: Manifest, examined: Examined
    ) -> Iterator[Finding]:
        """Yield what the lock says otherwise, and what recorded requests need of it."""
        supply = open_supply(directory, lock=self.lock, project=self.owner)
        if supply.contradiction is not None:
            yield Finding(
                kind="other lock",
                path=manifest.lock.path,
                message=supply.contradiction.message,
                hint=supply.contradiction.hint,
            )
            return
        yield from against_lock(
            manifest,
            self.lock,
            hashed=examined.hashed,
            kind="not as locked",
            named=f"`{self.owner.lock_path}`",
        )
        if manifest.lock.sha256 == self.lock.sha256 and examined.is_right(manifest.lock.path):
            yield from self._about_copy(directory, manifest)
        yield from lacking_for_requests(
            manifest, lock=self.lock, owner=self.owner, settings=self.settings
        )

    def _about_copy(self, directory: Path, manifest: Manifest) -> Iterator[Finding]:
        """The copy has to be the lock itself, less its secrets."""
        path = manifest.lock.path
        content = without_secrets(self.owner.lock_path.read_bytes())
        if read_plain(directory / path, limit=LARGEST) != content:
            yield Finding(
                kind="not as locked",
                path=path,
                message=f"`{path}` isn't a copy of `{self.owner.lock_path}`",
            )

    def _tried(self, report: Report, places: Places, reporter: Reporter) -> Report:
        """Add what targets lack, and how rehearsals went."""
        request, directory = self.request, report.directory
        if not (request.targets or request.rehearse):
            return report
        wanted = Wanted.of(
            self.asked,
            owner=self.owner,
            lock=self.lock,
            uv=find_uv(request.environment),
            environment=request.environment,
        )
        checked: list[tuple[Checked, tuple[Finding, ...]]] = []
        rehearsed: list[tuple[Rehearsal, tuple[Finding, ...]]] = []
        if request.targets:
            checked += check_targets(wanted, places, directory=directory, reporter=reporter)
        if request.rehearse:
            rehearsed += rehearse(
                wanted.here(), directory=directory, expect=request.expect, reporter=reporter
            )
        findings = [one for _, found in (*checked, *rehearsed) for one in found]
        return replace(
            report,
            findings=(*report.findings, *findings),
            targets=tuple(one for one, _ in checked),
            rehearsals=tuple(one for one, _ in rehearsed),
        )
