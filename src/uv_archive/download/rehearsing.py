"""Say what a download would do, and do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from uv_archive.archive.store import Store
from uv_archive.build_requirements import Gathered
from uv_archive.download.beforehand import kept_wheels
from uv_archive.download.builds import recorded_answers
from uv_archive.download.oddities import Suspect, find_oddities
from uv_archive.download.outcome import File, Outcome, must_compile
from uv_archive.download.run import Run, Situation
from uv_archive.download.tools import with_tools
from uv_archive.fetch import content_lengths
from uv_archive.plan import Plan, Wanted
from uv_archive.url import Url


def rehearse(run: Run, store: Store) -> Outcome:
    """Say what would be done. Nothing is written, and nothing fetched but sizes."""
    situation = run.situation(store)
    contents, gathered = situation.contents, _gathered_before(run, situation)
    if gathered is not None:
        contents = run.with_requirements(situation, gathered)
    contents = with_tools(contents, situation.tools)
    planned = run.plan(store, situation, contents, run.quick_check(store))
    sizes = _sizes(run, planned.transfers)
    compiled = must_compile(situation.beforehand.to_compile(situation.selected))
    return replace(
        run.outcome(store, situation, gathered),
        kept=tuple(File(path=one.path, size=found.size) for found, one in planned.keep),
        moved=tuple(File(path=one.path, size=found.size) for found, one in planned.move),
        fetched=(
            *(File(path=one.path, size=sizes[one.path]) for one in planned.fetch),
            *_bundles_to_fetch(situation),
        ),
        replaced=tuple(
            File(path=one.wanted.path, size=sizes[one.wanted.path]) for one in planned.replace
        ),
        removed=_removed(run, situation, planned, gathered),
        oddities=find_oddities(
            Suspect(path=path, filename=content.distribution.filename)
            for path, content in contents.items()
        ),
        builds_unresolved=0 if gathered is not None else len(situation.builds.subjects),
        to_build=tuple(one.package for one in compiled) if run.asked.build else (),
    )


def _bundles_to_fetch(situation: Situation) -> Iterator[File]:
    """Yield the bundles that aren't recorded; how large one gets, nobody can say before."""
    for path in situation.sources.unrecorded(situation.recorded):
        yield File(path=path, size=None)


def _gathered_before(run: Run, situation: Situation) -> Gathered | None:
    """Return what builds need if that can be said without fetching anything."""
    record = recorded_answers(situation.recorded)
    missing = [
        subject
        for subject in situation.builds.subjects
        # No hook runs only to say what would be done.
        if (run.asked.run_hooks or not subject.where.exists())
        and not run.is_recorded(subject, record)
    ]
    return None if missing else run.gather(situation)


def _removed(
    run: Run, situation: Situation, planned: Plan, gathered: Gathered | None
) -> tuple[str, ...]:
    if not run.asked.prune or gathered is None:
        return ()
    spare = {present.path: present for present in planned.spare}
    packages = (p for _, selection in situation.selected for p in selection.packages)
    kept = kept_wheels(situation.recorded, spare, entries={}, packages=packages)
    return tuple(path for path in spare if path not in kept)


def _sizes(run: Run, wanted: Iterable[Wanted]) -> Mapping[str, int | None]:
    """Return the sizes of files; the server is asked for those that the lock doesn't give."""
    sizes = {one.path: one.size for one in wanted}
    unknown = {
        one.path: run.bringer.mirrors.apply(one.origin)
        for one in wanted
        if one.size is None and isinstance(one.origin, Url)
    }
    if unknown:
        transport = run.bringer.transport()
        try:
            asked = content_lengths(
                list(unknown.values()),
                transport=transport,
                credentials=run.bringer.credentials,
                jobs=run.asked.jobs,
            )
        finally:
            transport.close()
        sizes |= {path: asked[url] for path, url in unknown.items()}
    return sizes
