"""One download: from what is asked for and what is there to an archive that has it all."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from uv_archive.archive.disk import storing, temporary_directory
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import (
    MANIFEST,
    PARTIAL,
    ArchivePath,
    is_tool,
    place,
    place_unlocked,
)
from uv_archive.archive.manifest import Entry, JSONObject, Manifest, canonical_requests
from uv_archive.archive.metadata import Metadata, compose
from uv_archive.archive.quick_check import QuickCheck, cache_directory
from uv_archive.archive.store import Store, Writer
from uv_archive.build_requirements import (
    BuildSubject,
    Gathered,
    Question,
    Record,
    Uncertainty,
    is_recorded,
)
from uv_archive.build_requirements import Reporter as BuildReporter
from uv_archive.digest import Digest
from uv_archive.download.asked import Asked
from uv_archive.download.bring import Arrived, Bringer
from uv_archive.download.building import (
    Beforehand,
    absent_sdists,
    build_beside,
    build_settings,
    kept_wheels,
    list_wheels,
    replaced_by_wheels,
)
from uv_archive.download.builds import Builds, builds_record, recorded_answers
from uv_archive.download.contents import (
    Content,
    locked_contents,
    refuse_unhashed,
    select_all,
    with_requirements,
)
from uv_archive.download.exporting import export_all
from uv_archive.download.exports_ahead import ExportsAhead
from uv_archive.download.oddities import Suspect, find_oddities
from uv_archive.download.outcome import Doubt, Failed, File, Outcome, Reporter, must_compile
from uv_archive.download.presence import present_files
from uv_archive.download.repositories import (
    SCRATCH,
    Sources,
    check_out_tree,
    recorded_repositories,
    tree_of,
)
from uv_archive.download.tools import Tools, find_tools, with_answers
from uv_archive.download.unknown_pythons import unknown_pythons
from uv_archive.errors import ArchiveError, RequestError
from uv_archive.fetch import content_lengths
from uv_archive.fetch.bundles import BundleBringer
from uv_archive.fetch.git import Logins, find_git
from uv_archive.lock.model import Distribution, Lock
from uv_archive.owner import Owner, cautions, default_groups_of, documents_of
from uv_archive.plan import Plan, Present, Wanted, plan
from uv_archive.request import Request
from uv_archive.scratch import kept_settings
from uv_archive.selection import Selection
from uv_archive.settings import Settings
from uv_archive.url import Url
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
    only what could still be read.
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

    def rehearse(self, store: Store) -> Outcome:
        """Say what would be done. Nothing is written, and nothing fetched but sizes."""
        situation = self.situation(store)
        contents, gathered = situation.contents, self._gathered_before(situation)
        if gathered is not None:
            contents = self._with_requirements(situation, gathered)
        contents = _with_tools(contents, situation.tools)
        planned = self.plan(store, situation, contents, self._quick_check(store))
        sizes = self._sizes(planned.transfers)
        compiled = must_compile(situation.beforehand.to_compile(situation.selected))
        return replace(
            self._outcome(store, situation, gathered),
            kept=tuple(File(path=one.path, size=found.size) for found, one in planned.keep),
            moved=tuple(File(path=one.path, size=found.size) for found, one in planned.move),
            fetched=(
                *(File(path=one.path, size=sizes[one.path]) for one in planned.fetch),
                *self._bundles_to_fetch(situation),
            ),
            replaced=tuple(
                File(path=one.wanted.path, size=sizes[one.wanted.path]) for one in planned.replace
            ),
            removed=self._removed(situation, planned, gathered),
            oddities=find_oddities(
                Suspect(path=path, filename=content.distribution.filename)
                for path, content in contents.items()
            ),
            builds_unresolved=0 if gathered is not None else len(situation.builds.subjects),
            to_build=tuple(one.package for one in compiled) if self.asked.build else (),
        )

    def _bundles_to_fetch(self, situation: Situation) -> Iterator[File]:
        """Yield the bundles that aren't recorded; how large one gets, nobody can say before."""
        for path in situation.sources.unrecorded(situation.recorded):
            yield File(path=path, size=None)

    def carry_out(self, writer: Writer) -> Outcome:
        """Do it, and build what is to be built from it."""
        outcome = self.bring_all(writer)
        if not self.asked.builds or outcome.failures:
            return outcome
        return build_beside(self, writer, outcome)

    def bring_all(self, writer: Writer) -> Outcome:
        """Bring locked files first, since what builds need stands in the sdists among them."""
        store = writer.store
        situation = self.situation(store)
        quick_check = self._quick_check(store)
        done = _Done(
            writer=writer,
            run=self,
            situation=situation,
            quick_check=quick_check,
            exports=ExportsAhead(
                lambda files: self.export(store, situation, files), locked=situation.placed.values()
            ),
        )
        try:
            if situation.recorded is None:
                done.exports.begin(situation.contents)
            failed = done.bring(situation.contents)
            if failed:
                return done.outcome(self._outcome(store, situation, None), failed)
            with _scratch(store):
                failed = done.bring_bundles()
                if failed:
                    return done.outcome(self._outcome(store, situation, None), failed)
                gathered = self._gather(situation)
            contents = self._with_requirements(situation, gathered)
            failed = done.bring(contents) + tuple(
                Failed(name=one.of, reason=one.message, hint=one.hint) for one in gathered.failures
            )
            if situation.tools is not None:
                # After the others: one of these may be one of those as well, and a file's
                # unfinished transfer has one place.
                contents = _with_tools(contents, situation.tools)
                failed += done.bring_tools(situation.tools, contents)
            outcome = self._outcome(store, situation, gathered)
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
        recorded = None if self.asked.replace and not store.directory.exists() else store.recorded()
        self._check_project(store, recorded)
        requests = [self.request]
        if recorded is not None and not self.asked.replace:
            requests = [*map(Request.from_record, recorded.requests), self.request]
        requests = list(dict.fromkeys(requests))
        selected = select_all(requests, self.lock, self.owner)
        beforehand = Beforehand.of(recorded, store.directory)
        needed = beforehand.sources(selected)
        placed = place(self.lock)
        contents = locked_contents(needed, placed)
        sources = Sources.of((selection for _, selection in needed), self.lock)
        return Situation(
            recorded=recorded,
            is_damaged=store.is_damaged,
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
                trees=_trees(store),
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

    def _quick_check(self, store: Store) -> QuickCheck:
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

    def _gathered_before(self, situation: Situation) -> Gathered | None:
        """Return what builds need if that can be said without fetching anything."""
        record = recorded_answers(situation.recorded)
        missing = [
            subject
            for subject in situation.builds.subjects
            # No hook runs only to say what would be done.
            if (self.asked.run_hooks or not subject.where.exists())
            and not self.is_recorded(subject, record)
        ]
        return None if missing else self._gather(situation)

    def is_recorded(self, subject: BuildSubject, record: Record) -> bool:
        """Whether *record* spares looking into the files of *subject*."""
        return is_recorded(
            subject, record, settings=self.settings.options, hooks=self.asked.run_hooks
        )

    def _gather(self, situation: Situation) -> Gathered:
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

    def _with_requirements(
        self, situation: Situation, gathered: Gathered
    ) -> Mapping[ArchivePath, Content]:
        placed = place_unlocked(
            [file.distribution for file in gathered.files], locked=situation.placed
        )
        return with_requirements(situation.contents, gathered.files, placed)

    def _removed(
        self, situation: Situation, planned: Plan, gathered: Gathered | None
    ) -> tuple[str, ...]:
        if not self.asked.prune or gathered is None:
            return ()
        spare = {present.path: present for present in planned.spare}
        packages = (p for _, selection in situation.selected for p in selection.packages)
        kept = kept_wheels(situation.recorded, spare, entries={}, packages=packages)
        return tuple(path for path in spare if path not in kept)

    def _sizes(self, wanted: Iterable[Wanted]) -> Mapping[str, int | None]:
        """Return the sizes of files; the server is asked for those that the lock doesn't give."""
        sizes = {one.path: one.size for one in wanted}
        unknown = {
            one.path: self.bringer.mirrors.apply(one.origin)
            for one in wanted
            if one.size is None and isinstance(one.origin, Url)
        }
        if unknown:
            transport = self.bringer.transport()
            try:
                asked = content_lengths(
                    list(unknown.values()),
                    transport=transport,
                    credentials=self.bringer.credentials,
                    jobs=self.asked.jobs,
                )
            finally:
                transport.close()
            sizes |= {path: asked[url] for path, url in unknown.items()}
        return sizes

    def _outcome(self, store: Store, situation: Situation, gathered: Gathered | None) -> Outcome:
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
            flags=(*self.asked.flags(), *self.request.include.flags()),
            is_default=self.asked.directory is None,
            tools=situation.tools is not None,
        )


@dataclass(kw_only=True, slots=True)
class _Done:
    """What one run has done so far in an archive."""

    writer: Writer
    run: Run
    situation: Situation
    quick_check: QuickCheck
    exports: ExportsAhead
    contents: dict[ArchivePath, Content] = field(default_factory=dict)
    known: dict[str, Present] = field(default_factory=dict)
    fetched: dict[str, File] = field(default_factory=dict)
    replaced: dict[str, File] = field(default_factory=dict)
    moved: dict[str, File] = field(default_factory=dict)
    kept: dict[str, File] = field(default_factory=dict)
    spare: dict[str, Present] = field(default_factory=dict)
    bundles: Mapping[ArchivePath, Entry] = field(default_factory=dict)
    spare_bundles: Mapping[str, Present] = field(default_factory=dict)
    mended: tuple[str, ...] = ()

    def bring(self, contents: Mapping[ArchivePath, Content]) -> tuple[Failed, ...]:
        """Bring what of *contents* isn't there; return what couldn't be brought."""
        is_known = bool(contents) and contents.keys() == self.contents.keys()
        self.contents |= contents
        if is_known:
            return ()
        planned = self.run.plan(
            self.writer.store, self.situation, contents, self.quick_check, known=self.known
        )
        self._check_space(planned)
        for found, wanted in planned.keep:
            if wanted.path not in self.known:
                self._note(wanted, found, self.kept)
        for found, wanted in planned.move:
            self.writer.move(ArchivePath(found.path), ArchivePath(wanted.path))
            self._note(wanted, replace(found, path=wanted.path), self.moved)
        self.spare = {present.path: present for present in planned.spare}
        transfers = [contents[ArchivePath(one.path)] for one in planned.transfers]
        brought = self.run.bringer.bring(transfers, self.writer)
        replaced = {one.wanted.path for one in planned.replace}
        for one in planned.transfers:
            arrived = brought.arrived.get(ArchivePath(one.path))
            if arrived is not None:
                kind = self.replaced if one.path in replaced else self.fetched
                self._note(one, _present(one, arrived), kind)
        return brought.failed

    def bring_bundles(self) -> tuple[Failed, ...]:
        """Bring the git sources, and put the files of those to be looked into where builds look."""
        sources, recorded = self.situation.sources, self.situation.recorded
        store = self.writer.store
        present = self._present_bundles()
        if not sources.packages:
            return ()
        found = sources.recorded(recorded, present)
        git = find_git(self.run.environment)
        if found is None:
            bringer = BundleBringer(
                git=git,
                directory=_trees(store),
                commit=self.writer.commit,
                logins=Logins.of(documents_of(self.run.owner)),
                mirrors=self.run.bringer.mirrors,
                reporter=self.run.reporter,
                jobs=min(4, self.run.asked.jobs),
            )
            brought = sources.bring(bringer, recorded, present)
            if brought.failed:
                return tuple(
                    Failed(name=one.label, reason=one.reason, hint=one.hint)
                    for one in brought.failed
                )
            found = brought.bundles
        for path, bundle in found.items():
            same = path in present and present[path].sha256 == bundle.sha256
            other = self.replaced if path in present else self.fetched
            kind = self.kept if same else other
            kind[path] = File(path=path, size=bundle.size)
        self.bundles = sources.entries(found)
        known = recorded_answers(recorded)
        for subject in self.situation.builds.subjects:
            source = sources.source_at(subject.where, _trees(store))
            if source is not None and not self.run.is_recorded(subject, known):
                own = sources.bundle_of(source)
                tree = tree_of(source, own, _trees(store))
                check_out_tree(source, store.path(own), git=git, tree=tree)
        return ()

    def _present_bundles(self) -> Mapping[str, Present]:
        """Look at the recorded bundles; what no request needs any more is spare."""
        recorded = self.situation.recorded
        paths = recorded_repositories(recorded) if recorded else []
        self.spare_bundles = present_files(
            self.writer.store,
            (),
            recorded=paths,
            known=_NOTHING,
            quick_check=self.quick_check,
            verify=self.run.asked.verify,
            jobs=self.run.asked.jobs,
            hashing=self.run.reporter.hashing,
        )
        return self.spare_bundles

    def bring_tools(
        self, tools: Tools, contents: Mapping[ArchivePath, Content]
    ) -> tuple[Failed, ...]:
        """Bring what of *contents* isn't there, after writing the one file that is made here."""
        content = contents[tools.own_path]
        wanted = content.wanted(self.situation.recorded)
        arrived = Arrived(
            sha256=hashlib.sha256(tools.own.content).hexdigest(), size=len(tools.own.content)
        )
        is_new = self.writer.write_changed(tools.own_path, tools.own.content)
        self._note(wanted, _present(wanted, arrived), self.fetched if is_new else self.kept)
        return self.bring(contents)

    def record(self, contents: Mapping[ArchivePath, Content], gathered: Gathered) -> Manifest:
        """Write the archive's metadata, unless they are as they should be; the manifest last."""
        entries = {
            path: content.entry(size=self.known[path].size, sha256=self.known[path].sha256)
            for path, content in contents.items()
        } | dict(self.bundles)
        self.spare |= self.spare_bundles
        built = self._built(entries)
        entries |= built
        removed = self._remove(entries)
        entries |= self._left_over(entries, removed)
        files = [(path, content.distribution) for path, content in contents.items()]
        answers = with_answers(gathered.record.answers, self.situation.tools)
        builds = builds_record(
            replace(gathered.record, answers=answers), files, gathered=gathered.builds
        )
        builds = {**builds, **build_settings(self.run.settings.options, gathered.builds)}
        recorded = self._recorded_already(entries, builds)
        if recorded is not None and not removed:
            self.writer.leave_as_it_is()
            return recorded
        self.run.reporter.recording()
        self.mended = self._damaged_metadata()
        metadata = self._metadata(entries, builds)
        self.writer.finish(metadata.manifest, metadata.documents, remove=removed)
        self._remember(metadata.manifest)
        return metadata.manifest

    def _damaged_metadata(self) -> tuple[str, ...]:
        """Return the files of metadata that have other bytes than were recorded.

        Without `--verify` only the manifest is looked at.
        """
        own = (MANIFEST,) if self.writer.is_damaged else ()
        if not self.run.asked.verify or self.situation.recorded is None:
            return own
        described = self.situation.recorded.files.items()
        recorded = {path: entry.sha256 for path, entry in described if entry.origin is None}
        present = present_files(
            self.writer.store,
            (),
            recorded=recorded.keys(),
            known=_NOTHING,
            quick_check=self.quick_check,
            verify=True,
            jobs=self.run.asked.jobs,
            hashing=lambda _: None,
        )
        damaged = [path for path, sha256 in recorded.items() if _has_other(present, path, sha256)]
        return tuple(sorted((*damaged, *own)))

    def _recorded_already(
        self, entries: Mapping[ArchivePath, Entry], builds: JSONObject
    ) -> Manifest | None:
        """Return the archive's manifest if it says all this, and its metadata are intact.

        uv takes some tenths of a second to export a selection, so nothing is made anew that
        would come out the same.
        """
        manifest = self.writer.store.find_manifest()
        if manifest is None or self.run.asked.verify or self._inputs != self.quick_check.inputs:
            return None
        described = {path: one for path, one in manifest.files.items() if one.origin is None}
        as_recorded = replace(
            manifest,
            lock=replace(manifest.lock, sha256=self.run.lock.sha256),
            requests=self._requests(),
            files={**described, **entries},
            builds=builds,
            read_digest=None,
        )
        if as_recorded.digest != manifest.digest:
            return None
        return manifest if self._is_intact(manifest) else None

    def _is_intact(self, manifest: Manifest) -> bool:
        """Whether every file of metadata still has the bytes that were recorded."""
        states = self.writer.store.scan().files
        for path, entry in manifest.files.items():
            if entry.origin is not None:
                continue
            state = states.get(path)
            if state is None or state.size != entry.size:
                return False
            if self.quick_check.known_digest(path, state) != entry.sha256:
                content = self.writer.store.path(path).read_bytes()
                if hashlib.sha256(content).hexdigest() != entry.sha256:
                    return False
                self.quick_check.record(path, state, entry.sha256, now=time.time_ns())
        return True

    def _requests(self) -> tuple[JSONObject, ...]:
        return canonical_requests(request.to_record() for request in self.situation.requests)

    def suspects(self) -> list[Suspect]:
        """Return what to look at: all names, and what is in the files that came or are verified."""
        came = {path for path in self.contents if path in self.fetched or path in self.replaced}
        return [
            Suspect(
                path=path,
                filename=content.distribution.filename,
                file=self.writer.store.path(path)
                if path in came or (path in self.kept and self.run.asked.verify)
                else None,
            )
            for path, content in self.contents.items()
        ]

    def outcome(self, outcome: Outcome, failed: tuple[Failed, ...]) -> Outcome:
        return replace(
            outcome,
            oddities=find_oddities(self.suspects()) if failed else outcome.oddities,
            fetched=_sorted(self.fetched),
            kept=_sorted(self.kept),
            moved=_sorted(self.moved),
            replaced=_sorted(self.replaced),
            mended=self.mended,
            removed=tuple(sorted(self.spare)) if self.run.asked.prune and not failed else (),
            failures=failed,
        )

    def _check_space(self, planned: Plan) -> None:
        needed = sum(one.size or 0 for one in planned.transfers)
        free = self.writer.store.free_bytes()
        if needed > free:
            raise RequestError(
                f"`{self.writer.store.directory}` has {free} bytes free, and {needed} are needed",
                hint="Make room, or choose another directory with `--out-dir`",
            )

    def _note(self, wanted: Wanted, found: Present, kind: dict[str, File]) -> None:
        """Note that a wanted file is there, and how it came to be."""
        self.known[wanted.path] = found
        kind[wanted.path] = File(path=wanted.path, size=found.size)

    def _built(self, entries: Mapping[ArchivePath, Entry]) -> Mapping[ArchivePath, Entry]:
        """Return the entries of what was built, and is for what requests still reach."""
        packages = (p for _, selection in self.situation.selected for p in selection.packages)
        kept = kept_wheels(self.situation.recorded, self.spare, entries=entries, packages=packages)
        for path, entry in kept.items():
            self.spare.pop(path, None)
            self.kept[path] = File(path=path, size=entry.size)
        return kept

    def _remove(self, contents: Collection[ArchivePath]) -> Collection[ArchivePath]:
        spare: Collection[str] = self.spare
        if not self.run.asked.prune:
            spare = replaced_by_wheels(
                self.situation.recorded, self.spare, self.situation.requests, lock=self.run.lock
            )
        return [ArchivePath(path) for path in spare if path not in contents]

    def _left_over(
        self, contents: Collection[ArchivePath], removed: Collection[ArchivePath]
    ) -> Mapping[ArchivePath, Entry]:
        """Return the entries of recorded files that no request needs any more and that stay."""
        recorded = self.situation.recorded
        if recorded is None:
            return {}
        return {
            path: replace(entry, origin=replace(origin, why=(), vouched=False))
            for path, (entry, origin) in recorded.distributions.items()
            if path in self.spare and path not in contents and path not in removed
            if self.spare[path].sha256 == entry.sha256
        }

    def _metadata(self, entries: Mapping[ArchivePath, Entry], builds: JSONObject) -> Metadata:
        run, requests = self.run, self.situation.requests
        exports = self.exports.of(
            {
                **{path: entry for path, entry in entries.items() if not is_tool(path)},
                **absent_sdists(self.situation.selected, self.situation.placed, entries),
            }
        )
        return compose(
            project=run.owner.identity,
            lock_name=run.owner.lock_path.name,
            lock=run.owner.lock_path.read_bytes(),
            requests=self._requests(),
            distributions=entries,
            exports=list_wheels(exports, entries),
            coverage=[str(request) for request in requests],
            builds=builds,
        )

    def _remember(self, manifest: Manifest) -> None:
        """Note the digests of what was just written or fetched, for a quick next run."""
        now, states = time.time_ns(), self.writer.store.scan().files
        for path, entry in manifest.files.items():
            if path in states:
                self.quick_check.record(path, states[path], entry.sha256, now=now)
        self.quick_check.keep({*manifest.files})
        self.quick_check.made_from(self._inputs)

    @property
    def _inputs(self) -> str:
        """Return a digest of what exports depend on beside the lock and the requests."""
        run = self.run
        asked = [
            str(run.uv.version),
            [default_groups_of(run.owner, one.project) for one in self.situation.requests],
            kept_settings(run.settings.options),
            documents_of(run.owner),
        ]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def _with_tools(
    contents: Mapping[ArchivePath, Content], tools: Tools | None
) -> Mapping[ArchivePath, Content]:
    return contents if tools is None else dict(sorted({**contents, **tools.contents}.items()))


def _salvaged(situation: Situation) -> tuple[Doubt]:
    """Say that requests may have been lost."""
    names = ", ".join(f"`{request}`" for request in situation.requests)
    return (
        Doubt(
            message=f"`{MANIFEST}` was damaged. It is made anew for {names}",
            hint="What else was requested before, request again: files that are there are kept",
        ),
    )


def _has_other(present: Mapping[str, Present], path: str, sha256: str) -> bool:
    return path in present and present[path].sha256 != sha256


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


def _trees(store: Store) -> Path:
    return store.directory / PARTIAL / SCRATCH


@contextmanager
def _scratch(store: Store) -> Iterator[None]:
    """Have a place for repositories and source trees, and clear it away afterwards."""
    directory = _trees(store)
    with storing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _present(wanted: Wanted, arrived: Arrived) -> Present:
    digests = {Digest("sha256", arrived.sha256)}
    if wanted.digest is not None:
        digests.add(wanted.digest)
    return Present(path=wanted.path, size=arrived.size, digests=frozenset(digests))


def _sorted(files: Mapping[str, File]) -> tuple[File, ...]:
    return tuple(files[path] for path in sorted(files))
