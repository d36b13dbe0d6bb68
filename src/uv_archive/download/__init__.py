"""Download: copy what a lock names for some targets into an archive.

Decisions come first (`asked`, `contents`, the plan), then effects (`bring`), and the archive's
metadata last, so that a run that is stopped leaves an archive that says of itself what is true:

    asked → run → rehearsing, with --dry-run
                → carrying_out (done, bring) → building, with --build
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from uv_archive.download.ahead import asking_ahead
from uv_archive.download.asked import Asked, check_lock_is_current, find_owner, request_of
from uv_archive.download.oddities import Oddity
from uv_archive.download.outcome import Doubt, Failed, File, MustCompile, Outcome, Reporter
from uv_archive.owner import lock_of, settings_of
from uv_archive.uv import find_uv

__all__ = [
    "Asked",
    "Doubt",
    "Failed",
    "File",
    "MustCompile",
    "Oddity",
    "Outcome",
    "Reporter",
    "download",
]

DEFAULT_DIRECTORY = Path("dist", "dependencies")


def download(
    asked: Asked, *, environment: Mapping[str, str], reporter: Reporter | None = None
) -> Outcome:
    """Bring an archive to what *asked* and every earlier request need.

    *environment* is that of the process: credentials, proxies, uv's variables. Files that
    can't be brought are the outcome's failures, and everything else is kept. Raises
    `RequestError` and its subclasses before anything is changed, and `StorageError`.
    """
    environment = asked.environment(environment)
    uv = find_uv(environment)
    owner = find_owner(asked)
    with asking_ahead(asked, owner=owner, uv=uv, environment=environment) as ahead:
        # Importing the rest and reading the lock take as long as the answers.
        from uv_archive.archive.store import Store  # noqa: PLC0415
        from uv_archive.download.bring import bringer_of  # noqa: PLC0415
        from uv_archive.download.carrying_out import bring_all  # noqa: PLC0415
        from uv_archive.download.run import Run  # noqa: PLC0415
        from uv_archive.lock.relocate import refuse_unnameable  # noqa: PLC0415

        lock = lock_of(owner)
        is_checked = ahead.is_current() or check_lock_is_current(owner, uv, environment)
        settings = settings_of(owner, environment)
        request = request_of(
            asked,
            owner=owner,
            lock=lock,
            settings=settings,
            uv=uv,
            environment=environment,
            ahead=ahead.interpreter,
        )
    reporter = reporter or Reporter()
    run = Run(
        asked=asked,
        request=request,
        owner=owner,
        lock=lock,
        settings=settings,
        uv=uv,
        environment=environment,
        bringer=bringer_of(asked, owner=owner, settings=settings, uv=uv, reporter=reporter),
        reporter=reporter,
        is_checked=is_checked,
    )
    directory = asked.directory or owner.root / DEFAULT_DIRECTORY
    refuse_unnameable(directory)
    store = Store.open(
        directory,
        rebuild_for=owner.identity if asked.verify or asked.replace else None,
    )
    if asked.dry_run:
        from uv_archive.download.rehearsing import rehearse  # noqa: PLC0415

        return rehearse(run, store)
    with store.writing(notify=reporter.waiting) as writer:
        brought = bring_all(run, writer)
        if not asked.builds or (brought.outcome.failures and brought.draft is None):
            return brought.outcome
        from uv_archive.download.building import build_beside  # noqa: PLC0415

        return build_beside(run, writer, brought)
