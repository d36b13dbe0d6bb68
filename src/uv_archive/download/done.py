"""What one download has done so far in an archive, and how it does it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from uv_archive.archive.disk import storing
from uv_archive.archive.layout import (
    MANIFEST,
    ArchivePath,
    is_tool,
    locked_path,
)
from uv_archive.archive.manifest import (
    Entry,
    JSONObject,
    LockRecord,
    Manifest,
    Origin,
    canonical_requests,
)
from uv_archive.archive.metadata import Metadata, compose
from uv_archive.archive.quick_check import QuickCheck
from uv_archive.archive.store import Writer
from uv_archive.build_requirements import Gathered
from uv_archive.digest import Digest
from uv_archive.download.beforehand import (
    absent_sdists,
    kept_wheels,
    list_wheels,
    replaced_by_wheels,
)
from uv_archive.download.bring import Arrived
from uv_archive.download.builds import build_settings, builds_record, recorded_answers
from uv_archive.download.contents import Content
from uv_archive.download.exports_ahead import ExportsAhead
from uv_archive.download.oddities import Suspect, find_oddities
from uv_archive.download.outcome import Failed, File, Outcome
from uv_archive.download.presence import present_files
from uv_archive.download.repositories import (
    check_out_tree,
    recorded_repositories,
    tree_of,
    trees_of,
)
from uv_archive.download.run import Run, Situation
from uv_archive.download.tools import Tools, with_answers
from uv_archive.errors import RequestError
from uv_archive.fetch.bundles import BundleBringer
from uv_archive.fetch.git import Logins, find_git
from uv_archive.owner import default_groups_of, documents_of
from uv_archive.plan import Plan, Present, Wanted
from uv_archive.scratch import kept_settings

_NOTHING: Mapping[str, Present] = {}


@dataclass(kw_only=True, slots=True)
class Done:
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
    strange: set[str] = field(default_factory=set)
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
        self._check_places(planned)
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
        replaced = {one.wanted.path for one in planned.replace} | self.strange
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
                directory=trees_of(store),
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
            source = sources.source_at(subject.where, trees_of(store))
            if source is not None and not self.run.is_recorded(subject, known):
                own = sources.bundle_of(source)
                tree = tree_of(source, own, trees_of(store))
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
        entries = self._entries(contents)
        removed = self._remove(entries)
        entries |= self._left_over(entries, removed)
        builds = self._builds(contents, gathered)
        recorded = self._recorded_already(entries, builds)
        if recorded is not None and not removed:
            self.writer.leave_as_it_is()
            return recorded
        self.run.reporter.recording()
        self.mended = self._damaged_metadata()
        metadata = self._metadata(entries, builds)
        self.writer.finish(metadata.manifest, metadata.documents, remove=removed)
        self._remember(metadata.manifest)
        # What was written needn't be made once more to say what its digest is.
        written = self.writer.store.path(MANIFEST)
        with storing(written, doing="read"):
            digest = hashlib.sha256(written.read_bytes()).hexdigest()
        return replace(metadata.manifest, read_digest=digest)

    def draft(self, contents: Mapping[ArchivePath, Content], gathered: Gathered) -> Manifest:
        """Return what would be recorded if it were complete, and write nothing."""
        copy, lock = locked_path(self.run.owner.lock_path.name), self.run.lock
        entry = Entry(size=self.run.owner.lock_path.stat().st_size, sha256=lock.sha256)
        entries = self._entries(contents)
        unneeded = {path: one for path, (one, _) in self._unneeded(entries).items()}
        return Manifest(
            project=self.run.owner.identity,
            lock=LockRecord(path=copy, sha256=lock.sha256),
            requests=self._requests(),
            files={**unneeded, **entries, copy: entry},
            builds=self._builds(contents, gathered),
        )

    def _entries(self, contents: Mapping[ArchivePath, Content]) -> dict[ArchivePath, Entry]:
        """Return the entries of all that requests need, and of what was built from it."""
        entries = {
            path: content.entry(size=self.known[path].size, sha256=self.known[path].sha256)
            for path, content in contents.items()
        } | dict(self.bundles)
        self.spare |= self.spare_bundles
        return entries | dict(self._built(entries))

    def _builds(self, contents: Mapping[ArchivePath, Content], gathered: Gathered) -> JSONObject:
        files = [(path, content.distribution) for path, content in contents.items()]
        answers = with_answers(gathered.record.answers, self.situation.tools)
        builds = builds_record(
            replace(gathered.record, answers=answers), files, gathered=gathered.builds
        )
        return {**builds, **build_settings(self.run.settings.options, gathered.builds)}

    def _damaged_metadata(self) -> tuple[str, ...]:
        """Return the files of metadata that aren't as they were recorded; missing ones don't count.

        Without `--verify` only the manifest is looked at.
        """
        own = (MANIFEST,) if self.writer.is_damaged and not self.situation.is_lost else ()
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
        damaged = [
            path
            for path, sha256 in recorded.items()
            if _has_other(present, path, sha256) or self.writer.store.has_another_type(path)
        ]
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

    def suspects(self) -> Iterator[Suspect]:
        """Yield what to look at: all names, and what is in the files that came or are verified."""
        for path, content in self.contents.items():
            came = path in self.fetched or path in self.replaced
            verified = path in self.kept and self.run.asked.verify
            yield Suspect(
                path=path,
                filename=content.distribution.filename,
                file=self.writer.store.path(path) if came or verified else None,
            )

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

    def _check_places(self, planned: Plan) -> None:
        """Look where something is to be written, and note what will be replaced that is no file."""
        store = self.writer.store
        moved = (wanted for _, wanted in planned.move)
        wanted = [ArchivePath(one.path) for one in (*planned.transfers, *moved)]
        if not self.known:  # Later something has been done, and a directory ends that.
            store.check_places(wanted)
        self.strange |= {path for path in wanted if store.has_another_type(path)}

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
        kind[wanted.path] = File(
            path=wanted.path, size=found.size, was_plain=wanted.path not in self.strange
        )

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
        return {
            path: replace(entry, origin=replace(origin, why=(), vouched=False))
            for path, (entry, origin) in self._unneeded(contents).items()
            if path not in removed
        }

    def _unneeded(
        self, contents: Collection[ArchivePath]
    ) -> Mapping[ArchivePath, tuple[Entry, Origin]]:
        """Return what is recorded of files that aren't among *contents*, and are there."""
        recorded = self.situation.recorded
        return {
            path: (entry, origin)
            for path, (entry, origin) in (recorded.distributions if recorded else {}).items()
            if path in self.spare and path not in contents
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


def _has_other(present: Mapping[str, Present], path: str, sha256: str) -> bool:
    return path in present and present[path].sha256 != sha256


def _present(wanted: Wanted, arrived: Arrived) -> Present:
    digests = {Digest("sha256", arrived.sha256)}
    if wanted.digest is not None:
        # As a rule it is the same one, and the lock has it already.
        digests = {wanted.digest, *digests}
    return Present(path=wanted.path, size=arrived.size, digests=frozenset(digests))


def _sorted(files: Mapping[str, File]) -> tuple[File, ...]:
    return tuple(files[path] for path in sorted(files))
