"""Download: copy what a lock names for some targets into an archive.

Decisions come first (`asked`, `contents`, the plan), then effects (`bring`), and the archive's
metadata last, so that a run that is stopped leaves an archive that says of itself what is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from uv_archive.archive.store import Store
from uv_archive.download.asked import Asked, check_lock_is_current, find_owner, request_of
from uv_archive.download.bring import Bringer
from uv_archive.download.outcome import Doubt, Failed, File, MustCompile, Outcome, Reporter
from uv_archive.download.run import Run
from uv_archive.fetch import Credentials, Mirrors, Transport
from uv_archive.owner import Owner, lock_of, settings_of
from uv_archive.settings import Settings
from uv_archive.uv import find_uv

__all__ = [
    "Asked",
    "Doubt",
    "Failed",
    "File",
    "MustCompile",
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
    uv = find_uv(environment)
    owner = find_owner(asked)
    lock = lock_of(owner)
    is_checked = asked.frozen or check_lock_is_current(owner, uv, environment)
    settings = settings_of(owner, environment)
    request = request_of(
        asked, owner=owner, lock=lock, settings=settings, uv=uv, environment=environment
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
        bringer=_bringer(asked, owner, settings, environment, reporter),
        reporter=reporter,
        is_checked=is_checked,
    )
    store = Store.open(asked.directory or owner.root / DEFAULT_DIRECTORY)
    if asked.dry_run:
        return run.rehearse(store)
    with store.writing(notify=reporter.waiting) as writer:
        return run.carry_out(writer)


def _bringer(
    asked: Asked,
    owner: Owner,
    settings: Settings,
    environment: Mapping[str, str],
    reporter: Reporter,
) -> Bringer:
    def transport() -> Transport:
        # The client takes time to import, and not every run fetches something.
        from uv_archive.fetch.client import ReqwestTransport  # noqa: PLC0415

        return ReqwestTransport()

    return Bringer(
        root=owner.root,
        transport=transport,
        credentials=Credentials.from_environment(environment, indexes=settings.indexes),
        mirrors=Mirrors.parse(asked.mirrors),
        reporter=reporter,
        jobs=asked.jobs,
    )
