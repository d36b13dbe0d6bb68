"""Carry a download out: bring what is missing, in an order, and record it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from uv_archive.archive.disk import storing
from uv_archive.archive.store import Store, Writer
from uv_archive.download.done import Done
from uv_archive.download.exports_ahead import ExportsAhead
from uv_archive.download.oddities import find_oddities
from uv_archive.download.outcome import Failed, Outcome
from uv_archive.download.repositories import trees_of
from uv_archive.download.run import Run
from uv_archive.download.tools import with_tools


def bring_all(run: Run, writer: Writer) -> Outcome:
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
            return done.outcome(run.outcome(store, situation, None), failed)
        with _scratch(store):
            failed = done.bring_bundles()
            if failed:
                return done.outcome(run.outcome(store, situation, None), failed)
            gathered = run.gather(situation)
        contents = run.with_requirements(situation, gathered)
        failed = done.bring(contents) + tuple(
            Failed(name=one.of, reason=one.message, hint=one.hint) for one in gathered.failures
        )
        if situation.tools is not None:
            # After the others: one of these may be one of those as well, and a file's
            # unfinished transfer has one place.
            contents = with_tools(contents, situation.tools)
            failed += done.bring_tools(situation.tools, contents)
        outcome = run.outcome(store, situation, gathered)
        if failed:
            return done.outcome(outcome, failed)
        with ThreadPoolExecutor(1) as aside:
            # uv exports meanwhile, in processes of its own.
            oddities = aside.submit(find_oddities, done.suspects())
            manifest = done.record(contents, gathered)
        outcome = replace(outcome, oddities=oddities.result())
        return replace(done.outcome(outcome, ()), digest=manifest.digest)
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
