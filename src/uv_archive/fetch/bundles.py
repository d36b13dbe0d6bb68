"""Bring commits of git repositories, each as a bundle with its history, tags and submodules.

A shallow history isn't enough: setuptools-scm and the like count the commits since a tag.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from packaging.utils import NormalizedName

from uv_archive.archive.disk import storing, sync_file
from uv_archive.archive.layout import (
    ArchivePath,
    bundle_path,
    index_directory,
    large_files_path,
)
from uv_archive.archive.manifest import Entry, Manifest, Origin, Why
from uv_archive.errors import DamagedArchiveError
from uv_archive.fetch.git import (
    REFERENCE,
    Git,
    GitError,
    LargeFilesError,
    Logins,
    Processes,
    Remote,
    Repository,
    with_login_of,
)
from uv_archive.fetch.large_files import check_lfs, fetch_arguments, pack
from uv_archive.fetch.mirrors import Mirrors
from uv_archive.fetch.parallel import in_threads
from uv_archive.fetch.reporter import Reporter
from uv_archive.fetch.retry import Clock, RetryPolicy
from uv_archive.lock.model import GitSource, Lock
from uv_archive.url import Url

BundleKey: TypeAlias = tuple[str, str]
"""What a bundle stands for: the public URL of a repository, and a commit of it."""

_CHUNK = 1024 * 1024
_HEADER_END = b"\n\n"

_Trouble = Literal["storage", "network", "access", "missing", "gone", "other"]
# git's own words in the C locale, those of curl, ssh and git LFS, and of the large hosts. The
# first that is found decides; an answer of the server counts before the end of the connection
# after it.
_TROUBLES: Sequence[tuple[_Trouble, re.Pattern[str]]] = (
    (
        "storage",
        re.compile(r"[Nn]o space left|quota exceeded|File too large|Read-only file system"),
    ),
    (
        "gone",
        re.compile(
            r"not our ref|upload-pack: .*unadvertised|couldn't find remote ref"
            r"|Object does not exist|remote missing object"
        ),
    ),
    (
        "access",
        re.compile(
            r"Authentication failed|could not read (?:Username|Password)|terminal prompts disabled"
            r"|Permission denied|Host key verification failed|returned error: 40[137]"
            r"|access denied|Authorization error|Git credentials for .* not found",
            re.IGNORECASE,
        ),
    ),
    (
        "missing",
        re.compile(
            r"repository '?.*'? not found|returned error: (?:404|410)|does not appear to be a git"
            r"|repository not found|repository not exported|no such repository"
            r"|not valid: is this a git repository",
            re.IGNORECASE,
        ),
    ),
    (
        "network",
        re.compile(
            r"could not resolve|failed to connect|couldn't connect|unable to connect|timed out"
            r"|connection (?:was )?(?:refused|reset|closed|aborted)|early EOF|RPC failed"
            r"|hung up unexpectedly|returned error: (?:408|429|5\d\d)|unexpected disconnect"
            r"|empty reply|too slow|network is unreachable|no route to host|bad pack header"
            r"|gnutls|SSL_(?:read|connect|ERROR)|expected flush|transfer closed"
            r"|invalid index-pack output|index-pack failed|unexpected EOF"
            r"|dial tcp|no such host|i/o timeout|from HTTP (?:408|429|5\d\d)",
            re.IGNORECASE,
        ),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle that is in the archive, or what git LFS keeps for its commit.

    *sha256* is in hexadecimal, *size* in bytes. *part_of* are the bundles that have it for a
    submodule; the lock itself may name it, too.
    """

    path: ArchivePath
    name: NormalizedName
    source: str
    commit: str
    sha256: str
    size: int
    part_of: tuple[ArchivePath, ...] = ()

    @property
    def key(self) -> BundleKey:
        return (self.source, self.commit)

    def entry(self, why: tuple[Why, ...]) -> Entry:
        """Return what the archive records of it. The commit vouches for all but the tags."""
        origin = Origin(
            name=self.name,
            version=None,
            source=self.source,
            why=why,
            vouched=True,
            commit=self.commit,
        )
        return Entry(size=self.size, sha256=self.sha256, origin=origin)


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFailure:
    """A commit that could not be brought. *label* is its repository, and its commit in short."""

    label: str
    reason: str
    hint: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleResult:
    """What is in the archive now, by path and sorted, and what isn't."""

    bundles: Mapping[ArchivePath, Bundle]
    failed: tuple[BundleFailure, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PresentBundle:
    """A bundle that was there already, and that has the digest that was recorded."""

    file: Path
    sha256: str
    size: int


def key_of(source: GitSource) -> BundleKey:
    """Return what the bundle of a lock's source stands for."""
    return (Remote.of(source).public(), source.commit)


def place_bundles(lock: Lock) -> Mapping[BundleKey, ArchivePath]:
    """Return the path of the bundle of every git source of *lock*.

    A bundle has its repository's name: packages of one repository and commit share it. Where
    forks of one name were locked at the same commit, a digest of the URL tells them apart. The
    whole lock decides, not a request.
    """
    remotes = {
        key_of(package.source): Remote.of(package.source)
        for package in lock.packages
        if isinstance(package.source, GitSource)
    }
    named = defaultdict(list)
    for key, remote in remotes.items():
        named[bundle_path(remote.name, key[1])].append(key)
    return {
        key: bundle_path(_name(remotes[key], alone=len(keys) == 1), key[1])
        for keys in named.values()
        for key in keys
    }


def _name(remote: Remote, *, alone: bool) -> NormalizedName:
    if alone:
        return remote.name
    return NormalizedName(f"{remote.name}-{index_directory(remote.public())}")


Recorded: TypeAlias = Mapping[BundleKey, tuple[ArchivePath, Entry]]
"""Files that an archive has recorded, by what they stand for."""


def recorded_bundles(manifest: Manifest) -> Recorded:
    """Return the bundles that an archive recorded."""
    return _recorded(manifest, ".bundle")


def recorded_large_files(manifest: Manifest) -> Recorded:
    """Return what an archive recorded that git LFS keeps."""
    return _recorded(manifest, ".lfs.tar")


def _recorded(manifest: Manifest, ending: str) -> Recorded:
    return {
        (origin.source, origin.commit): (path, entry)
        for path, (entry, origin) in sorted(manifest.distributions.items())
        if origin.commit is not None and path.endswith(ending)
    }


def check_out(bundle: Path, commit: str, *, git: Git, directory: Path) -> Path:
    """Write the files of a commit below *directory*, without its submodules; return where.

    It is for a look into them: nothing of the repository or its user is run. Raises
    `DamagedArchiveError`, `StorageError` and `ToolError`.
    """
    # Filters, such as that of git LFS, are commands of the user's settings.
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "0"}
    tree = directory / "tree"
    with storing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        try:
            repository = Repository.create(
                directory / "repository", git=git.adding(quiet), commit=commit
            )
            repository.take(bundle, commit)
            repository.check_out(commit, tree)
        except GitError as error:
            raise DamagedArchiveError(f"`{bundle}` can't be used: {error.reason}") from error
    return tree


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """A commit to be brought, and where it goes.

    *references* may lead to it, where a server gives out no commit by its name. With *lfs*, what
    git LFS keeps for it is brought as well.
    """

    remote: Remote
    fetched_from: Remote
    commit: str
    path: ArchivePath
    references: tuple[str, ...] = ()
    lfs: bool = False

    @property
    def key(self) -> BundleKey:
        return (self.remote.public(), self.commit)

    @property
    def label(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    bundle: Bundle
    large_files: Bundle | None
    submodules: tuple[_Wanted, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleBringer:
    """How bundles are brought.

    *directory* is private, on the archive's file system, and removed by who made it. *commit*
    gives a finished file of it its name in the archive. *git* is as `find_git` found it:
    credentials are its user's own, and those that the project wrote, *logins*. No others are
    sent.
    """

    git: Git
    directory: Path
    commit: Callable[[Path, ArchivePath], None]
    logins: Logins = field(default_factory=Logins)
    mirrors: Mirrors = field(default_factory=Mirrors)
    reporter: Reporter = field(default_factory=Reporter)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Clock = field(default_factory=Clock)
    jobs: int = 4

    def bring(
        self,
        sources: Iterable[GitSource],
        *,
        placed: Mapping[BundleKey, ArchivePath],
        present: Mapping[BundleKey, PresentBundle] | None = None,
        present_large_files: Mapping[BundleKey, PresentBundle] | None = None,
    ) -> BundleResult:
        """Bring every commit of *sources*, with all that they have for submodules.

        *placed* is `place_bundles` of the lock. What is *present* isn't fetched, but looked
        into. Goes on when some fail. Raises `StorageError` and `ToolError`.
        """
        bringing = _Bringing(
            bringer=self,
            placed=placed,
            present=present or {},
            present_large_files=present_large_files or {},
        )
        wanted = bringing.locked(sources)
        if any(one.lfs for one in wanted):
            check_lfs(self.git)
        return bringing.all(wanted)


@dataclass(kw_only=True, slots=True)
class _Bringing:
    """One call of `BundleBringer.bring`."""

    bringer: BundleBringer
    placed: Mapping[BundleKey, ArchivePath]
    present: Mapping[BundleKey, PresentBundle]
    present_large_files: Mapping[BundleKey, PresentBundle]
    processes: Processes = field(default_factory=Processes)
    stop: threading.Event = field(default_factory=threading.Event)
    telling: threading.Lock = field(default_factory=threading.Lock)

    def locked(self, sources: Iterable[GitSource]) -> Sequence[_Wanted]:
        """Return what the lock names, each commit once."""
        references: defaultdict[BundleKey, dict[str, None]] = defaultdict(dict)
        remotes: dict[BundleKey, Remote] = {}
        lfs: set[BundleKey] = set()
        for source in sources:
            key = key_of(source)
            lfs |= {key} if source.lfs else set()
            remotes[key] = Remote.of(source)
            if source.reference:
                references[key][source.reference[1]] = None
        return [
            _Wanted(
                remote=remotes[key],
                fetched_from=self._fetched_from(remotes[key], None),
                commit=key[1],
                path=self.placed[key],
                references=tuple(references[key]),
                lfs=key in lfs,
            )
            for key in sorted(remotes)
        ]

    def all(self, first: Sequence[_Wanted]) -> BundleResult:
        """Bring *first*, then their submodules, then theirs."""
        found: dict[ArchivePath, Bundle] = {}
        failed: list[BundleFailure] = []
        parents: defaultdict[BundleKey, set[ArchivePath]] = defaultdict(set)
        seen = {(wanted.key, lfs) for wanted in first for lfs in {wanted.lfs, False}}
        while first:
            outcomes = in_threads(
                first,
                self._one,
                jobs=self.bringer.jobs,
                stop=self.stop,
                interrupt=self.processes.stop,
            )
            following: dict[tuple[BundleKey, bool], _Wanted] = {}
            for outcome in outcomes:
                if isinstance(outcome, BundleFailure):
                    failed.append(outcome)
                    continue
                for brought in filter(None, (outcome.bundle, outcome.large_files)):
                    found[brought.path] = brought
                for wanted in outcome.submodules:
                    parents[wanted.key].add(outcome.bundle.path)
                    following.setdefault((wanted.key, wanted.lfs), wanted)
            first = [
                wanted
                for (key, lfs), wanted in following.items()
                # With its large files it is the same commit and more.
                if (key, lfs) not in seen and (lfs or (key, True) not in following)
            ]
            seen |= {(wanted.key, lfs) for wanted in first for lfs in {wanted.lfs, False}}
        return BundleResult(
            bundles={
                path: _part_of(bundle, parents[bundle.key])
                for path, bundle in sorted(found.items())
            },
            failed=tuple(failed),
        )

    def _one(self, wanted: _Wanted) -> _Found | BundleFailure:
        reporter = self.bringer.reporter
        directory = self.bringer.directory / f"{_short(wanted.key)}.git"
        try:
            with storing(directory):
                return self._found(wanted, directory)
        except GitError as error:
            failure = _failure(wanted, error)
            with self.telling:
                reporter.failed(wanted.label, failure.reason)
            return failure
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _found(self, wanted: _Wanted, directory: Path) -> _Found:
        git = self.bringer.git.online()
        repository = Repository.create(directory, git=git, commit=wanted.commit)
        present = self.present.get(wanted.key)
        if present is not None:
            repository.take(present.file, wanted.commit)
            sha256, size = present.sha256, present.size
            submodules = self._submodules(wanted, repository)
        else:
            self._tell("started", wanted.label, None)
            self._fetch(wanted, repository)
            submodules = self._submodules(wanted, repository)
            sha256, size = self._write(wanted, repository)
            self._tell("finished", wanted.label)
        return _Found(
            bundle=_bundle(wanted, wanted.path, sha256, size),
            large_files=self._large_files(wanted, repository) if wanted.lfs else None,
            submodules=submodules,
        )

    def _large_files(self, wanted: _Wanted, repository: Repository) -> Bundle:
        """Bring what git LFS keeps for the commit, be it nothing."""
        path = large_files_path(wanted.path)
        present = self.present_large_files.get(wanted.key)
        if present is not None:
            return _bundle(wanted, path, present.sha256, present.size)
        label = path.rpartition("/")[2]
        self._tell("started", label, None)
        file = self.bringer.directory / f"{_short(wanted.key)}.lfs.tar"
        try:
            self._patiently(
                wanted,
                repository,
                label,
                lambda remote: fetch_arguments(repository, remote.exposed, wanted.commit),
            )
            with storing(file):
                sha256, size = pack(repository, wanted.commit, file)
            self.bringer.commit(file, path)
        except GitError as error:
            raise LargeFilesError(error.said) from error
        finally:
            file.unlink(missing_ok=True)
        self._tell("finished", label)
        return _bundle(wanted, path, sha256, size)

    def _tell(self, what: str, *arguments: object) -> None:
        with self.telling:
            getattr(self.bringer.reporter, what)(*arguments)

    # Fetching

    def _fetched_from(self, remote: Remote, parent: Remote | None) -> Remote:
        """Return where to fetch from: a mirror, or the remote with what the project wrote."""
        if remote.scheme in ("http", "https"):
            url = Url(remote.exposed)
            moved = self.bringer.mirrors.apply(url)
            if moved != url:
                return Remote(moved.exposed)
        own = self.bringer.logins.apply(remote)
        if own == remote and parent is not None:
            return with_login_of(remote, parent)
        return own

    def _fetch(self, wanted: _Wanted, repository: Repository) -> None:
        """Fetch the commit's whole history, with the tags that point into it."""
        reference = f"{REFERENCE}/{wanted.commit}"
        try:
            self._fetch_specs(wanted, repository, f"{wanted.commit}:{reference}")
        except GitError as error:
            # Only a server that speaks protocol 2, or was told to, gives a commit by its name.
            if _trouble(error) not in ("gone", "other"):
                raise
            self._fetch_everything(wanted, repository)
            if not repository.has(wanted.commit):
                raise GitError(f"fatal: not our ref {wanted.commit}") from error
            repository.output("update-ref", reference, wanted.commit)
        # git then leaves the reference out, and says nothing of a failure.
        if wanted.commit not in _references(repository, reference).values():
            raise GitError("fatal: the server itself has only a part of the history")

    def _fetch_everything(self, wanted: _Wanted, repository: Repository) -> None:
        refs = [name for name in wanted.references if name.startswith("refs/")]
        for specs in (
            ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"),
            *((f"+{name}:refs/other/{position}",) for position, name in enumerate(refs)),
        ):
            if not repository.has(wanted.commit):
                self._fetch_specs(wanted, repository, *specs)

    def _fetch_specs(self, wanted: _Wanted, repository: Repository, *specs: str) -> None:
        policy = self.bringer.policy

        def arguments(remote: Remote) -> Sequence[str]:
            return repository.arguments(
                *("-c", f"http.lowSpeedLimit={policy.minimum_rate}"),
                *("-c", f"http.lowSpeedTime={policy.rate_window:.0f}"),
                *("fetch", "--progress", "--no-write-fetch-head"),
                *("--no-recurse-submodules", "--", remote.exposed, *specs),
            )

        self._patiently(wanted, repository, wanted.label, arguments)

    def _patiently(
        self,
        wanted: _Wanted,
        repository: Repository,
        label: str,
        arguments: Callable[[Remote], Sequence[str]],
    ) -> None:
        """Fetch, and try again while it's the network that fails. Raises `GitError`."""
        policy, clock = self.bringer.policy, self.bringer.clock
        remote, variables = _with_hidden_login(wanted.fetched_from, repository.git)
        for attempt in range(1, policy.attempts + 1):
            try:
                self.processes.run(
                    repository.git.adding(variables),
                    *arguments(remote),
                    hear=lambda received: self._tell("advanced", label, received),
                )
            except GitError as error:
                if _trouble(error) != "network" or attempt == policy.attempts:
                    raise
                self._tell("retried", label, error.reason)
                delay = policy.delay(attempt, retry_after=None, chance=clock.chance())
                clock.wait(self.stop, delay)
            else:
                return

    def _submodules(self, wanted: _Wanted, repository: Repository) -> tuple[_Wanted, ...]:
        return tuple(
            _Wanted(
                remote=submodule.remote,
                fetched_from=self._fetched_from(submodule.remote, wanted.fetched_from),
                commit=submodule.commit,
                path=self._submodule_path(submodule.remote, submodule.commit),
                lfs=wanted.lfs,
            )
            for submodule in repository.submodules(wanted.commit, wanted.remote)
        )

    def _submodule_path(self, remote: Remote, commit: str) -> ArchivePath:
        """Place a submodule. Which others there are isn't known, so its name is never alone."""
        locked = self.placed.get((remote.public(), commit))
        return locked or bundle_path(_name(remote, alone=False), commit)

    # Writing

    def _write(self, wanted: _Wanted, repository: Repository) -> tuple[str, int]:
        """Write the bundle, check it, and give it its name in the archive."""
        references = _keep_reachable(repository, wanted.commit)
        file = self.bringer.directory / f"{_short(wanted.key)}.bundle"
        try:
            repository.output("bundle", "create", "--quiet", str(file), "--all")
            with storing(file):
                sha256, size = _check(file, references)
            self.bringer.commit(file, wanted.path)
        finally:
            file.unlink(missing_ok=True)
        return sha256, size


def _bundle(wanted: _Wanted, path: ArchivePath, sha256: str, size: int) -> Bundle:
    return Bundle(
        path=path,
        name=NormalizedName(wanted.path.rpartition("/")[2].rpartition("-")[0]),
        source=wanted.remote.public(),
        commit=wanted.commit,
        sha256=sha256,
        size=size,
    )


def _part_of(bundle: Bundle, parents: Iterable[ArchivePath]) -> Bundle:
    return Bundle(
        path=bundle.path,
        name=bundle.name,
        source=bundle.source,
        commit=bundle.commit,
        sha256=bundle.sha256,
        size=bundle.size,
        part_of=tuple(sorted(parents)),
    )


def _short(key: BundleKey) -> str:
    return hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]


def _with_hidden_login(remote: Remote, git: Git) -> tuple[Remote, Mapping[str, str]]:
    """Hand a password to git by its environment: a command line is for all to read."""
    if "@" not in remote.exposed or remote.scheme not in ("http", "https"):
        return remote, {}
    bare = Remote(Url(remote.exposed).without_credentials().exposed)
    number = git.environment.get("GIT_CONFIG_COUNT", "")
    count = int(number) if number.isdecimal() else 0
    return bare, {
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": f"url.{remote.exposed}.insteadOf",
        f"GIT_CONFIG_VALUE_{count}": bare.exposed,
    }


def _keep_reachable(repository: Repository, commit: str) -> Mapping[str, str]:
    """Remove every reference but the commit's and the tags of its history; return those."""
    own = f"{REFERENCE}/{commit}"
    every = _references(repository)
    merged = _references(repository, f"--merged={commit}", "refs/tags")
    kept = {name: every[name] for name in (own, *merged)}
    gone = "".join(f"delete {name}\n" for name in every if name not in kept)
    repository.output("update-ref", "--no-deref", "--stdin", stdin=os.fsencode(gone))
    return kept


def _references(repository: Repository, *arguments: str) -> Mapping[str, str]:
    form = "--format=%(objectname) %(refname)"
    listed = repository.output("for-each-ref", form, *arguments)
    pairs = (line.split(" ", 1) for line in os.fsdecode(listed).splitlines())
    return {name: identity for identity, name in pairs}


def _check(file: Path, references: Mapping[str, str]) -> tuple[str, int]:
    """Read a bundle back: its references, and the digest at its end. Returns sha256 and size.

    What git fetched it has checked itself, so that this is about what the disk took.
    """
    with file.open("r+b") as bundle:
        header = _header(bundle.read(_CHUNK), bundle.read)
        digest = hashlib.sha256(header)
        found = dict(_header_references(header))
        name = "sha256" if b"@object-format=sha256" in header else "sha1"
        pack, trailer = hashlib.new(name, usedforsecurity=False), b""
        bundle.seek(len(header))
        while chunk := bundle.read(_CHUNK):
            digest.update(chunk)
            data = trailer + chunk
            pack.update(data[: -pack.digest_size])
            trailer = data[-pack.digest_size :]
        size = bundle.tell()
        sync_file(bundle.fileno())
    if found != references or pack.digest() != trailer:
        raise GitError("fatal: the bundle that git wrote doesn't read as it should")
    return digest.hexdigest(), size


def _header(start: bytes, read: Callable[[int], bytes]) -> bytes:
    """Return the lines before the empty one, and that."""
    while _HEADER_END not in start:
        more = read(_CHUNK)
        if not more:
            raise GitError("fatal: the bundle that git wrote has no end to its header")
        start += more
    return start[: start.index(_HEADER_END) + len(_HEADER_END)]


def _header_references(header: bytes) -> Iterator[tuple[str, str]]:
    for line in header.splitlines()[1:-1]:
        if not line.startswith((b"@", b"-")):
            identity, _, name = line.partition(b" ")
            yield os.fsdecode(name), identity.decode()


def _trouble(error: GitError) -> _Trouble:
    return next((kind for kind, words in _TROUBLES if words.search(error.said)), "other")


def _failure(wanted: _Wanted, error: GitError) -> BundleFailure:
    place = str(wanted.fetched_from)
    match _trouble(error):
        case "access":
            reason = f"`{place}` asks for credentials, or has no such repository: {error.reason}"
            hint = (
                "Give git access to it, by a credential helper or an SSH key: "
                f"`git ls-remote {wanted.fetched_from}` has to work without a question"
            )
        case "missing":
            reason = f"there is no repository at `{place}`: {error.reason}"
            hint = "If it has moved, `--mirror FROM=TO` leads to its new place"
        case "gone" if isinstance(error, LargeFilesError):
            reason = f"`{place}` no longer has all large files (git LFS) of commit {wanted.commit}"
            hint = "Fetch from a repository that still has them with `--mirror FROM=TO`"
        case "gone":
            reason = f"`{place}` no longer has commit {wanted.commit}"
            hint = (
                "Its branch may have been rewritten. Lock again, or fetch from a repository "
                "that still has it with `--mirror FROM=TO`"
            )
        case "storage":
            reason, hint = error.reason, "Make room for the archive, then run it again"
        case "network":
            reason, hint = f"`{place}` can't be reached: {error.reason}", "Run it again later"
        case _:
            return BundleFailure(label=wanted.label, reason=error.reason, hint=None)
    return BundleFailure(label=wanted.label, reason=reason, hint=hint)
