"""Carry a download out: bring what is missing, in an order, and record it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from uv_archive.archive.disk import storing
from uv_archive.archive.manifest import Manifest
from uv_archive.archive.store import Store, Writer
from uv_archive.download.done import Done
from uv_archive.download.exports_ahead import ExportsAhead
from uv_archive.download.oddities import find_oddities
from uv_archive.download.outcome import Failed, Outcome
from uv_archive.download.repositories import trees_of
from uv_archive.download.run import Run
from uv_archive.download.tools import with_tools


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """What came of bringing; *draft* is what would be recorded, if only builds are in doubt.

    Every file is there, and of some builds isn't known what they need.
    """

    outcome: Outcome
    draft: Manifest | None = None


def bring_all(run: Run, writer: Writer) -> Brought:
    """Bring locked files first, since what builds need stands in the sdists among them."""
    store = writer.store
    situation = run.situation(store)
    quick_check = run.quick_check(store)
    done = Done(
        writer=writer,
        run=run,
        situation=situation,
        quick_check=quick_check,
        exports=ExportsAhead(
            lambda files: run.export(store, situation, files), locked=situation.placed.values()
        ),
    )
    try:
        if situation.recorded is None:
            done.exports.begin(situation.contents)
        failed = done.bring(situation.contents)
        if failed:
            return Brought(outcome=done.outcome(run.outcome(store, situation, None), failed))
        with _scratch(store):
            failed = done.bring_bundles()
            if failed:
                return Brought(outcome=done.outcome(run.outcome(store, situation, None), failed))
            gathered = run.gather(situation)
        contents = run.with_requirements(situation, gathered)
        failed = done.bring(contents)
        if situation.tools is not None:
            # After the others: one of these may be one of those as well, and a file's
            # unfinished transfer has one place.
            contents = with_tools(contents, situation.tools)
            failed += done.bring_tools(situation.tools, contents)
        outcome = run.outcome(store, situation, gathered)
        unknown = tuple(
            Failed(name=one.of, reason=one.message, hint=one.hint) for one in gathered.failures
        )
        if failed or unknown:
            draft = None if failed else done.draft(contents, gathered)
            return Brought(outcome=done.outcome(outcome, (*failed, *unknown)), draft=draft)
        with ThreadPoolExecutor(1) as aside:
            # uv exports meanwhile, in processes of its own.
            oddities = aside.submit(find_oddities, done.suspects())
            manifest = done.record(contents, gathered)
        outcome = replace(outcome, oddities=oddities.result())
        return Brought(outcome=replace(done.outcome(outcome, ()), digest=manifest.digest))
    finally:
        quick_check.save()
        done.exports.wait()


@contextmanager
def _scratch(store: Store) -> Iterator[None]:
    """Have a place for repositories and source trees, and clear it away afterwards."""
    directory = trees_of(store)
    with storing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)
