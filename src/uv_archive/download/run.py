"""One download: what is asked for in all, and what each of its steps takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from uv_archive.archive.build_settings import public_settings
from uv_archive.archive.disk import temporary_directory
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import (
    MANIFEST,
    ArchivePath,
    place,
    place_unlocked,
)
from uv_archive.archive.manifest import Entry, Manifest
from uv_archive.archive.quick_check import QuickCheck, cache_directory
from uv_archive.archive.store import Store
from uv_archive.build_requirements import (
    BuildSubject,
    Gathered,
    Question,
    Record,
    Uncertainty,
    is_recorded,
)
from uv_archive.build_requirements import Reporter as BuildReporter
from uv_archive.download.asked import Asked
from uv_archive.download.beforehand import Beforehand
from uv_archive.download.bring import Bringer
from uv_archive.download.builds import Builds, recorded_answers
from uv_archive.download.contents import (
    Content,
    locked_contents,
    refuse_unhashed,
    select_all,
    with_requirements,
)
from uv_archive.download.exporting import export_all
from uv_archive.download.outcome import Doubt, Outcome, Reporter, must_compile
from uv_archive.download.presence import present_files
from uv_archive.download.repositories import (
    Sources,
    trees_of,
)
from uv_archive.download.tools import Tools, find_tools
from uv_archive.download.unknown_pythons import unknown_pythons
from uv_archive.errors import ArchiveError
from uv_archive.lock.model import Distribution, Lock
from uv_archive.owner import Owner, cautions
from uv_archive.plan import Plan, Present, Wanted, plan
from uv_archive.request import Request
from uv_archive.selection import Selection
from uv_archive.settings import Settings
from uv_archive.uv import Uv

if TYPE_CHECKING:
    from uv_archive.build.hooks import HooksAsker

_NOTHING: Mapping[str, Present] = {}
_WITH_NETWORK = Uncertainty(
    of="",
    message="Build backends were asked with the network on: this system can't take it from them",
    hint="What they fetch won't be there later; ask them on Linux, where namespaces are allowed",
)
_UNCHECKED = Doubt(
    message="Whether the lock is up to date isn't known: uv would have to build something for that",
    hint="Run `uv lock --check` where that may run; `--frozen` leaves the question out",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What is asked for in all, decided before anything is done.

    *contents* are the locked files; what builds need is known only once the sdists are there.
    *tools* are those to install with, if they were asked for. *is_damaged* tells that *recorded* is
    only what could still be read, and *is_lost* that there was no manifest any more.
    """

    recorded: Manifest | None
    requests: tuple[Request, ...]
    selected: tuple[tuple[Request, Selection], ...]
    placed: Mapping[Distribution, ArchivePath]
    contents: Mapping[ArchivePath, Content]
    unvouched: tuple[str, ...]
    sources: Sources
    builds: Builds
    tools: Tools | None
    is_damaged: bool
    is_lost: bool
    beforehand: Beforehand


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One download, with everything it needs.

    *is_checked* tells that the lock is known to be up to date, or isn't asked to be.
    """

    asked: Asked
    request: Request
    owner: Owner
    lock: Lock
    settings: Settings
    uv: Uv
    environment: Mapping[str, str]
    bringer: Bringer
    reporter: Reporter
    is_checked: bool = True

    def export(
        self, store: Store, situation: Situation, files: Mapping[ArchivePath, Entry]
    ) -> Mapping[str, Pylock]:
        """Return the exports of all requests over *files*. Raises `ToolError`."""
        return export_all(
            situation.requests,
            owner=self.owner,
            settings=self.settings,
            lock=self.lock,
            store=store,
            placed=situation.placed,
            files=files,
            uv=self.uv,
            environment=self.environment,
        )

    def situation(self, store: Store) -> Situation:
        """Decide what is asked for in all. Raises `RequestError` and its subclasses."""
        is_new = self.asked.replace and not store.directory.exists()
        recorded = None if is_new else store.remembered()
        self._check_project(store, recorded)
        requests = [self.request]
        if recorded is not None and not self.asked.replace:
            requests = [*map(Request.from_record, recorded.requests), self.request]
        requests = list(dict.fromkeys(requests))
        selected = select_all(requests, self.lock, self.owner, own=self.request)
        beforehand = Beforehand.of(
            recorded, store.directory, settings=public_settings(self.settings.options)
        )
        needed = beforehand.sources(selected)
        placed = place(self.lock)
        contents = locked_contents(needed, placed)
        sources = Sources.of((selection for _, selection in needed), self.lock)
        return Situation(
            recorded=recorded,
            is_damaged=store.is_damaged,
            is_lost=store.has_lost_manifest,
            requests=tuple(requests),
            selected=selected,
            placed=placed,
            contents=contents,
            unvouched=refuse_unhashed(
                contents.values(),
                allowed=self.asked.allow_unhashed,
                all_allowed=self.asked.allow_unhashed_all,
            ),
            sources=sources,
            beforehand=beforehand,
            builds=Builds.of(
                needed,
                owner=self.owner,
                directory=store.directory,
                placed=placed,
                sources=sources,
                trees=trees_of(store),
            ),
            tools=find_tools(
                requests,
                uv=self.uv,
                environment=self.environment,
                directory=self.owner.root,
                recorded=recorded_answers(recorded).answers,
                asking=self.reporter.finding_tools,
            ),
        )

    def _check_project(self, store: Store, recorded: Manifest | None) -> None:
        if recorded is not None and recorded.project != self.owner.identity:
            raise ArchiveError(
                f"`{store.directory}` is the archive of `{recorded.project}`, and this project "
                f"is `{self.owner.identity}`",
                hint="Choose another directory with `--out-dir`",
            )

    def quick_check(self, store: Store) -> QuickCheck:
        return QuickCheck.load(cache_directory(self.environment), store.directory)

    def plan(
        self,
        store: Store,
        situation: Situation,
        contents: Mapping[ArchivePath, Content],
        quick_check: QuickCheck,
        *,
        known: Mapping[str, Present] = _NOTHING,
    ) -> Plan:
        """Hold what is wanted against what is there. *known* files needn't be looked at."""
        recorded = situation.recorded
        wanted = [_as_known(content.wanted(recorded), known) for content in contents.values()]
        recorded_paths = _recorded_files(recorded)
        present = present_files(
            store,
            wanted,
            recorded=recorded_paths,
            known=known,
            quick_check=quick_check,
            verify=self.asked.verify,
            jobs=self.asked.jobs,
            hashing=self.reporter.hashing,
        )
        return plan(wanted, present, recorded=recorded_paths)

    def is_recorded(self, subject: BuildSubject, record: Record) -> bool:
        """Whether *record* spares looking into the files of *subject*."""
        return is_recorded(
            subject, record, settings=self.settings.options, hooks=self.asked.run_hooks
        )

    def gather(self, situation: Situation) -> Gathered:
        ask_hooks = self._ask_hooks()
        with temporary_directory() as scratch:
            gathered = situation.builds.gather(
                lock=self.lock,
                owner=self.owner,
                uv=self.uv,
                environment=self.environment,
                recorded=recorded_answers(situation.recorded),
                obtain=lambda wanted: self.bringer.obtain(wanted, scratch),
                ask_hooks=ask_hooks,
                asking=self._asking(len(situation.builds.subjects)),
            )
        if ask_hooks is None or ask_hooks.confinement.has_no_network:
            return gathered
        return replace(gathered, uncertain=(*gathered.uncertain, _WITH_NETWORK))

    def _ask_hooks(self) -> HooksAsker | None:
        if not self.asked.run_hooks or self.asked.dry_run:
            return None
        from uv_archive.build.hooks import hooks_asker  # noqa: PLC0415 - seldom needed

        return hooks_asker(self.environment)

    def _asking(self, builds: int) -> BuildReporter:
        """Return what says that something is asked, once, when it is."""
        reporter = self.reporter

        class Asking(BuildReporter):
            told = False

            def asking(self, question: Question) -> None:
                del question
                if not self.told:
                    self.told = True
                    reporter.resolving(builds)

        return Asking()

    def with_requirements(
        self, situation: Situation, gathered: Gathered
    ) -> Mapping[ArchivePath, Content]:
        placed = place_unlocked(
            [file.distribution for file in gathered.files], locked=situation.placed
        )
        return with_requirements(situation.contents, gathered.files, placed)

    def outcome(self, store: Store, situation: Situation, gathered: Gathered | None) -> Outcome:
        """Return all of the outcome that can be said without looking at files."""
        own = [selection for request, selection in situation.selected if request == self.request]
        everywhere = [(r, s) for r, s in situation.selected if r.all_platforms]
        return Outcome(
            directory=store.directory,
            dry_run=self.asked.dry_run,
            left_out=own[0].left_out,
            must_compile=must_compile(situation.beforehand.to_compile(situation.selected)),
            gaps=tuple(sorted({str(gap) for _, s in everywhere for gap in s.gaps})),
            doubts=(
                *(() if self.is_checked else (_UNCHECKED,)),
                *(_salvaged(situation) if situation.is_damaged else ()),
                *(Doubt(message=message, hint=hint) for message, hint in cautions(self.owner)),
                *unknown_pythons(self.asked.pythons, uv=self.uv, environment=self.environment),
                *(
                    Doubt(message=one.message, hint=one.hint)
                    for one in (gathered.uncertain if gathered else ())
                ),
            ),
            unvouched=situation.unvouched,
            flags=(
                *self.asked.flags(),
                *self.request.include.flags(),
                *self.asked.options.flags(),
            ),
            is_default=self.asked.directory is None,
            tools=situation.tools is not None,
        )


def _salvaged(situation: Situation) -> tuple[Doubt]:
    """Say that requests may have been lost."""
    names = ", ".join(f"`{request}`" for request in situation.requests)
    what = "missing" if situation.is_lost else "damaged"
    return (
        Doubt(
            message=f"`{MANIFEST}` was {what}. It is made anew for {names}",
            hint="What else was requested before, request again: files that are there are kept",
        ),
    )


def _as_known(wanted: Wanted, known: Mapping[str, Present]) -> Wanted:
    """Take a file for right that was brought in this run, if nothing else says what is."""
    if wanted.digest is None and wanted.path in known:
        return replace(wanted, recorded=known[wanted.path].sha256)
    return wanted


def _recorded_files(recorded: Manifest | None) -> tuple[ArchivePath, ...]:
    """Return the recorded distributions; bundles are no distributions, and known by commit."""
    if recorded is None:
        return ()
    return tuple(
        path for path, (_, origin) in recorded.distributions.items() if origin.commit is None
    )
