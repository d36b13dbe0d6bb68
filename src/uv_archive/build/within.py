"""Build, inside an archive and from nothing but it, the wheels that a machine has none for."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from uv_archive.archive import disk
from uv_archive.archive.built import built_wheels, place_built, source_key, with_built_wheels
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import BuiltFrom, Entry, Manifest, Origin
from uv_archive.archive.metadata import Metadata, compose
from uv_archive.archive.store import Store, Writer
from uv_archive.build.confinement import find_confinement
from uv_archive.build.logs import log_directory
from uv_archive.build.many import FailedBuild, Reporter, Workshop
from uv_archive.build.one import DEFAULT_TIMEOUT, Built
from uv_archive.build.wanted import (
    Tree,
    Unbuildable,
    Wanted,
    lacking,
    recorded_settings,
    wanted_of_tree,
)
from uv_archive.errors import ArchiveError, DamagedArchiveError, LockError, TargetError
from uv_archive.fetch.git import find_git
from uv_archive.lock.model import Lock
from uv_archive.lock.pylock import read_pylock
from uv_archive.lock.reader import read_lock
from uv_archive.request import Request
from uv_archive.target import Interpreter, inspect_interpreter
from uv_archive.uv import Uv, uv_message

_CHUNK = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What was asked for. *pythons* are as uv's `--python` takes them; *timeout* is in seconds.

    *trees* are built besides, or alone.
    """

    pythons: Sequence[str] = ()
    jobs: int = 1
    timeout: float = DEFAULT_TIMEOUT
    trees: Sequence[Tree] = ()
    only_trees: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What an archive can't record yet, since what some builds need isn't known, and its lock."""

    manifest: Manifest
    lock: Lock


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltFile:
    """A wheel that was built, and of what; *size* is in bytes."""

    label: str
    path: ArchivePath
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOutcome:
    """What came of building in an archive, whose *digest* is given unless it's incomplete.

    *there* are built wheels that did already. *targets* are what was built for, in words, and
    *elsewhere* what no request needs to have built for these. *confined* tells whether builds
    had no network. *logs* is where their output is.
    """

    directory: Path
    digest: str | None
    targets: tuple[str, ...]
    built: tuple[BuiltFile, ...]
    there: tuple[ArchivePath, ...]
    failed: tuple[FailedBuild, ...]
    elsewhere: tuple[str, ...]
    confined: bool
    logs: Path


def build_archive(
    directory: Path,
    options: Options,
    *,
    uv: Uv,
    environment: Mapping[str, str],
    reporter: Reporter | None = None,
) -> BuildOutcome:
    """Build what the archive in *directory* lacks on this machine. Raises `RequestError` & Co.

    What can't be built is the outcome's; everything else is kept.
    """
    reporter = reporter or Reporter()
    store = Store.open(directory)
    if store.recorded() is None:
        store.manifest()  # It says what is wrong.
    with store.writing(notify=reporter.waiting) as writer:
        return build_within(writer, options, uv=uv, environment=environment, reporter=reporter)


def build_within(
    writer: Writer,
    options: Options,
    *,
    uv: Uv,
    environment: Mapping[str, str],
    reporter: Reporter | None = None,
    interpreters: Sequence[Interpreter] | None = None,
    draft: Draft | None = None,
) -> BuildOutcome:
    """Build what a complete archive lacks, and write its metadata anew, the manifest last.

    *interpreters* are those to build for, or else those that *options* name. In an archive that
    has only a *draft* of its manifest, what was built is remembered for the run that completes it.
    """
    found = writer.store.find_manifest()
    manifest = draft.manifest if draft else found or what_is_left(writer.store)
    lock = draft.lock if draft else archived_lock(writer.store, manifest)
    if interpreters is None:
        interpreters = find_interpreters(
            options.pythons, manifest=manifest, lock=lock, uv=uv, environment=environment
        )
    with tempfile.TemporaryDirectory(prefix="uv-archive-", ignore_cleanup_errors=True) as scratch:
        work = _Work(
            writer=writer,
            lock=lock,
            options=options,
            uv=uv,
            environment=environment,
            reporter=reporter or Reporter(),
            scratch=Path(scratch),
            logs=log_directory(environment),
            before=manifest,
            manifest=manifest,
            is_recorded=found is not None,
            is_draft=draft is not None,
        )
        return work.outcome(interpreters)


def what_is_left(store: Store) -> Manifest:
    """Return what is true of the record that a stopped build has put aside.

    A build changes nothing but built wheels; those that aren't as recorded are left out. Raises
    `ArchiveError` if anything else isn't: then it was no build.
    """
    aside = store.recorded()
    if aside is None:
        return store.manifest()
    needed = {*aside.distributions, aside.lock.path}
    wrong = {path for path in needed if not _is_as_recorded(store.path(path), aside.files[path])}
    if wrong - {wheel.path for wheel in built_wheels(aside.files)}:
        return store.manifest()
    return replace(
        aside,
        files={path: entry for path, entry in aside.files.items() if path not in wrong},
        read_digest=None,
    )


def _is_as_recorded(path: Path, entry: Entry) -> bool:
    if not path.is_file():  # A pipe would be waited for.
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except OSError:
        return False


def archived_lock(store: Store, manifest: Manifest) -> Lock:
    """Read the lock that an archive was made for. Raises `LockError`."""
    path = store.path(manifest.lock.path)
    if path.exists() and not path.is_file():  # A pipe would be waited for.
        raise LockError(f"`{path}` isn't a plain file")
    if path.name.startswith("pylock.") and path.suffix == ".toml":
        return read_pylock(path)
    return read_lock(path)


def find_interpreters(
    pythons: Sequence[str],
    *,
    manifest: Manifest,
    lock: Lock,
    uv: Uv,
    environment: Mapping[str, str],
) -> tuple[Interpreter, ...]:
    """Find those that *pythons* name, or the one that uv would take for the archive's lock.

    Where the archive was made for other Pythons than that one, it's one of those. Raises
    `TargetError`.
    """
    asked = pythons or [text for text in (environment.get("UV_PYTHON"),) if text]
    if asked:
        return tuple(find_interpreter(text, uv, environment) for text in asked)
    targets = [
        target for record in manifest.requests for target in Request.from_record(record).targets
    ]
    versions = dict.fromkeys(f"{t.python.major}.{t.python.minor}" for t in targets)
    requires = str(lock.requires_python)
    found = []
    for text in (requires, *versions):
        try:
            one = find_interpreter(text, uv, environment)
        except TargetError:
            continue
        found.append(one)
        python = one.target.python
        if not versions or f"{python.major}.{python.minor}" in versions:
            return (one,)
    if not found:
        return (find_interpreter(requires, uv, environment),)  # It says why there is none.
    return (found[0],)


def find_interpreter(text: str, uv: Uv, environment: Mapping[str, str]) -> Interpreter:
    """Find what *text* means to uv's `--python`. Raises `TargetError`."""
    said = uv.run(
        ["python", "find", "--no-project", "--offline", *([text] if text else [])],
        environment=environment,
    )
    if said.status:
        raise TargetError(
            f"uv finds no Python `{text}`: {uv_message(said.stderr)}",
            hint="Name one with `-p`, by its version or its path",
        )
    return inspect_interpreter(Path(said.stdout.strip()))


@dataclass(kw_only=True, slots=True)
class _Work:
    """Building for one interpreter after the other.

    *before* is what was recorded at the start, *manifest* what there is so far. A stopped run has
    left an archive that isn't recorded; one that *is_draft* can't be.
    """

    writer: Writer
    lock: Lock
    options: Options
    uv: Uv
    environment: Mapping[str, str]
    reporter: Reporter
    scratch: Path
    logs: Path
    before: Manifest
    manifest: Manifest
    is_recorded: bool
    is_draft: bool
    built: dict[ArchivePath, BuiltFile] = field(default_factory=dict)
    there: dict[ArchivePath, None] = field(default_factory=dict)
    failed: list[FailedBuild] = field(default_factory=list)
    elsewhere: dict[str, None] = field(default_factory=dict)

    def outcome(self, interpreters: Sequence[Interpreter]) -> BuildOutcome:
        probe = self.scratch / "probe"
        probe.mkdir()
        confinement = find_confinement(self.environment, private=probe)
        for interpreter in interpreters:
            shop = Workshop(
                archive=self.writer.store.directory.absolute(),
                manifest=self.manifest,
                interpreter=interpreter,
                uv=self.uv,
                environment=self.environment,
                settings=recorded_settings(self.manifest),
                confinement=confinement,
                scratch=self.scratch,
                logs=self.logs,
                timeout=self.options.timeout,
                find_git=lambda: find_git(self.environment),
                reporter=self.reporter,
                stop=threading.Event(),
            )
            try:
                self._build(shop)
            except BaseException:
                self._record()  # What is done needn't be done again.
                raise
        self._record()
        return BuildOutcome(
            directory=self.writer.store.directory,
            digest=None if self.is_draft else self.manifest.digest,
            targets=tuple(one.target.label for one in interpreters),
            built=tuple(self.built[path] for path in sorted(self.built)),
            there=tuple(sorted(self.there)),
            failed=tuple(self.failed),
            elsewhere=tuple(self.elsewhere),
            confined=confinement.has_no_network,
            logs=self.logs,
        )

    def _build(self, shop: Workshop) -> None:
        wanted = [] if self.options.only_trees else self._lacking(shop)
        for tree in self.options.trees:
            match wanted_of_tree(tree, self.manifest, shop.interpreter.target):
                case Wanted() as one:
                    wanted.append(one)
                case Unbuildable(label=label, reason=reason):
                    self.failed.append(FailedBuild(label=label, reason=reason))
        if wanted:
            self.reporter.building(len(wanted), shop.interpreter.target.label)
            self.failed += shop.build(wanted, jobs=self.options.jobs, take=self._take)

    def _lacking(self, shop: Workshop) -> list[Wanted]:
        lacks = lacking(self.manifest, self.lock, shop.interpreter.target)
        self.failed += [
            FailedBuild(label=one.label, reason=one.reason) for one in lacks.unbuildable
        ]
        again = [wheel for wheel in lacks.there if not self._is_intact(wheel.path)]
        self.there.update(dict.fromkeys(w.path for w in lacks.there if w not in again))
        if again:
            # Without their record they are wanted.
            gone = {wheel.path for wheel in again}
            files = {p: entry for p, entry in self.manifest.files.items() if p not in gone}
            lacks = lacking(replace(self.manifest, files=files), self.lock, shop.interpreter.target)
        return list(lacks.wanted)

    def _is_intact(self, path: ArchivePath) -> bool:
        return _is_as_recorded(self.writer.store.path(path), self.manifest.files[path])

    def _take(self, wanted: Wanted, made: Built) -> None:
        """Put a wheel into the archive, under its final name once it's complete."""
        path = place_built(made.filename, wanted.why, lock=self.lock)
        self._put(path, made)
        entry = Entry(
            size=made.size,
            sha256=made.sha256,
            origin=Origin(
                name=made.filename.name,
                version=str(made.filename.version),
                source=self._source(wanted),
                why=(wanted.why,),
                vouched=False,
            ),
        )
        self.manifest = replace(
            self.manifest,
            files={**self._without_replaced(path, wanted.why), path: entry},
            read_digest=None,
        )
        self.built[path] = BuiltFile(label=wanted.label, path=path, size=made.size)

    def _put(self, path: ArchivePath, made: Built) -> None:
        partial = self.writer.partial(hashlib.sha256(f"built {path}".encode()).hexdigest())
        hasher = hashlib.sha256()
        with (
            disk.storing(partial),
            made.path.open("rb") as source,
            partial.open("wb") as copy,
        ):
            while chunk := source.read(_CHUNK):
                hasher.update(chunk)
                copy.write(chunk)
            copy.flush()
            disk.sync_file(copy.fileno())
        if hasher.hexdigest() != made.sha256:
            partial.unlink()
            raise DamagedArchiveError(f"`{made.filename}` was changed after it was built")
        self.writer.commit(partial, path)

    def _source(self, wanted: Wanted) -> str:
        if wanted.path is None:
            return wanted.why.tree or "."
        origin = self.manifest.files[wanted.path].origin
        if origin is None:
            raise ArchiveError(f"The archive records `{wanted.path}` without an origin")
        return origin.source

    def _without_replaced(self, path: ArchivePath, why: BuiltFrom) -> Mapping[ArchivePath, Entry]:
        """Return the files, without a wheel of the same source and interpreter that isn't *path*.

        Backends may give another version's requirements another name.
        """
        outdated = {
            wheel.path
            for wheel in built_wheels(self.manifest.files)
            if source_key(wheel.why) == source_key(why) and wheel.path != path
            if (wheel.why.python, wheel.why.platform) == (why.python, why.platform)
        }
        return {p: entry for p, entry in self.manifest.files.items() if p not in outdated}

    def _record(self) -> None:
        if self.is_draft:
            self._remember()
            return
        if not self.built and self.is_recorded:
            self.writer.leave_as_it_is()
            return
        store, before = self.writer.store, self.before
        metadata = recomposed(
            before, self.manifest.files, read=lambda p: store.path(p).read_bytes()
        )
        removed = [p for p in before.distributions if p not in metadata.manifest.files]
        self.writer.finish(metadata.manifest, metadata.documents, remove=removed)
        self.manifest = metadata.manifest

    def _remember(self) -> None:
        if any(built_wheels(self.manifest.files)):
            self.writer.remember_built(
                replace(self.manifest, requests=(), builds={}, read_digest=None)
            )


def recomposed(
    manifest: Manifest,
    files: Mapping[ArchivePath, Entry],
    *,
    read: Callable[[ArchivePath], bytes],
) -> Metadata:
    """Make an archive's metadata anew for other *files*, from those that it has.

    *read* returns the bytes of one of its documents. What `download` would write for the same
    files has the same bytes. Raises `ArchiveError`.
    """
    distributions = {path: entry for path, entry in files.items() if entry.origin}
    exports = {
        path.removeprefix("pylock").removesuffix("toml").strip("."): _pylock(read(path))
        for path in manifest.files
        if path.startswith("pylock.") and path.endswith(".toml") and "/" not in path
    }
    metadata = compose(
        project=manifest.project,
        lock_name=manifest.lock.path.rpartition("/")[2],
        lock=read(manifest.lock.path),
        requests=manifest.requests,
        distributions=distributions,
        exports={label: with_built_wheels(one, distributions) for label, one in exports.items()},
        coverage=[str(Request.from_record(record)) for record in manifest.requests],
        builds=manifest.builds,
    )
    # The copy of the lock lacks the credentials that URLs may have had; the digest is the lock's.
    return replace(metadata, manifest=replace(metadata.manifest, lock=manifest.lock))


def _pylock(content: bytes) -> Pylock:
    try:
        return Pylock(document=tomllib.loads(content.decode()), left_out=())
    except ValueError as error:
        raise ArchiveError(
            f"A `pylock.toml` of the archive can't be read: {error}",
            hint="Run `uv-archive download` again: it writes them anew",
        ) from error
