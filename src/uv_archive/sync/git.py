"""Git sources of a sync: repositories made from bundles, and settings that lead git to them.

uv goes on to call git with the locked URLs, and git finds there what the archive has. It finds
nothing else: every transport but that to local repositories is closed.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from uv_archive.archive.disk import storing
from uv_archive.archive.manifest import Manifest
from uv_archive.digest import Digest
from uv_archive.errors import RequestError
from uv_archive.fetch.bundles import (
    BundleKey,
    Recorded,
    recorded_bundles,
    recorded_large_files,
)
from uv_archive.fetch.git import Git, GitError, Logins, Remote, Repository
from uv_archive.fetch.large_files import FILTER, NotLargeFiles, check_lfs, unpack
from uv_archive.lock.model import GitSource
from uv_archive.sync.supply import Supplied, copy_verified

# Variables of git that say where git itself is, and where it stops looking for a repository.
_KEPT = frozenset({"GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM"})
# What git and uv are told beside the file of settings.
_CLOSED: Mapping[str, str] = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # uv says so for its own fetches under `--offline`, and not for submodules.
    "GIT_ALLOW_PROTOCOL": "file",
    "UV_NO_GITHUB_FAST_PATH": "1",
}
# In a file: what `GIT_CONFIG_COUNT` sets doesn't reach the git at the other end of a local fetch.
# The archive, and what was made from it, may belong to somebody else. Paths are long on Windows.
_SETTINGS = """\
[safe]
\tdirectory = *
[protocol "file"]
\tallow = always
[core]
\tlongpaths = true
[advice]
\tdetachedHead = false
[init]
\tdefaultBranch = main
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GitSupply:
    """What the archive has for the git sources of a sync.

    *bundles* were used; *missing* are commits without one, and *damaged* are those that can't
    be. Only with neither may uv be run, with `variables`.
    """

    settings: Path
    bundles: tuple[Supplied, ...] = ()
    missing: tuple[str, ...] = ()
    damaged: tuple[Path, ...] = ()
    repositories: Mapping[str, Repository] = field(default_factory=dict, repr=False)

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return *environment* with nothing of git's but what leads to the repositories."""
        kept = {
            name: value
            for name, value in environment.items()
            if not name.upper().startswith("GIT_") or name.upper() in _KEPT
        }
        return {**kept, **_CLOSED, "GIT_CONFIG_GLOBAL": str(self.settings)}

    def pyprojects(self, source: GitSource) -> Iterator[Mapping[str, object]]:
        """Yield the `pyproject.toml` of a source, and those above it: it may be a member.

        What can't be read is left out; uv will say so if it matters.
        """
        remote = Remote.of(source)
        parts = (source.subdirectory or "").split("/") if source.subdirectory else []
        for count in range(len(parts), -1, -1):
            path = "/".join((*parts[:count], "pyproject.toml"))
            with suppress(GitError, UnicodeDecodeError, tomllib.TOMLDecodeError):
                content = self.repositories[remote.public()].read(source.commit, path)
                if content is not None:
                    yield tomllib.loads(content.decode())


def open_repositories(
    sources: Iterable[GitSource],
    *,
    archive: Path,
    manifest: Manifest,
    git: Git,
    directory: Path,
    logins: Logins | None = None,
) -> GitSupply:
    """Make repositories of all that *sources* need, submodules included, below *directory*.

    *archive* is where the files of *manifest* lie; it is only read. *directory* is private,
    exists, and is removed by who made it. *logins* are what the project writes into its URLs:
    uv gives them to git, though nobody will ask for them. Raises `RequestError` for a source
    that is no repository's, `ToolError` (also where git LFS is needed and missing) and
    `StorageError`.
    """
    repositories = _Repositories(
        archive=archive,
        manifest=manifest,
        git=git.adding(_CLOSED),
        directory=directory,
        logins=logins or Logins(),
    )
    with storing(directory):
        for source in sources:
            repositories.need(Remote.of(source), source.commit, lfs=source.lfs)
        return repositories.supply()


@dataclass(kw_only=True, slots=True)
class _Repositories:
    """The repositories made so far, one for each public URL, and the URLs that lead there."""

    archive: Path
    manifest: Manifest
    git: Git
    directory: Path
    logins: Logins
    made: dict[str, Repository] = field(default_factory=dict)
    urls: dict[str, Path] = field(default_factory=dict)
    seen: set[tuple[str, str, bool]] = field(default_factory=set)
    large_files: set[BundleKey] = field(default_factory=set)
    bundles: dict[BundleKey, Supplied] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    damaged: dict[Path, None] = field(default_factory=dict)

    def need(self, remote: Remote, commit: str, *, lfs: bool) -> None:
        """Take in a commit and its submodules, once for each way to write its URL.

        With *lfs*, also what git LFS keeps for them: uv then lets git put it into submodules, too.
        """
        todo = [(remote, commit)]
        while todo:
            remote, commit = todo.pop()
            if (remote.exposed, commit, lfs) in self.seen:
                continue
            self.seen.add((remote.exposed, commit, lfs))
            repository = self._taken(remote, commit)
            if repository is None:
                continue
            for written in (remote, self.logins.apply(remote)):
                self.urls[written.exposed] = repository.directory
            if lfs:
                self._take_large_files(remote, commit)
            todo += self._submodules(repository, remote, commit)

    def _submodules(
        self, repository: Repository, remote: Remote, commit: str
    ) -> Sequence[tuple[Remote, str]]:
        try:
            found = repository.submodules(commit, remote)
        except GitError as error:
            raise RequestError(f"`{remote}` can't be used at {commit}: {error.reason}") from error
        return [(submodule.remote, submodule.commit) for submodule in found]

    def _taken(self, remote: Remote, commit: str) -> Repository | None:
        """Return the repository with *commit* in it, or note that its bundle is missing or bad."""
        key = (remote.public(), commit)
        if key in self.bundles:
            return self.made[key[0]]
        supplied = self._supplied(key, recorded_bundles(self.manifest), str(remote))
        return self._expanded(key, supplied) if supplied else None

    def _supplied(self, key: BundleKey, recorded: Recorded, what: str) -> Supplied | None:
        """Return the file that was recorded, or note that it is missing."""
        if key not in recorded:
            self.missing[f"{what} at {key[1][:12]}"] = None
            return None
        path, entry = recorded[key]
        if not (self.archive / path).is_file():
            self.missing[path] = None
            return None
        return Supplied(
            name=path.rpartition("/")[2],
            path=self.archive / path,
            digest=Digest("sha256", entry.sha256),
            locked=True,
        )

    def _take_large_files(self, remote: Remote, commit: str) -> None:
        """Put what git LFS keeps for a commit where every git of the sync finds it."""
        key = (remote.public(), commit)
        if key in self.large_files:
            return
        if not self.large_files:
            check_lfs(self.git)
        self.large_files.add(key)
        what = f"the large files (git LFS) of {remote}"
        supplied = self._supplied(key, recorded_large_files(self.manifest), what)
        if supplied is None:
            return
        try:
            unpack(supplied.path, supplied.digest.hex, self._store / "objects")
        except NotLargeFiles:
            self.damaged[supplied.path] = None

    @property
    def _store(self) -> Path:
        return self.directory / "lfs"

    def _expanded(self, key: BundleKey, supplied: Supplied) -> Repository | None:
        """Make a repository of a copy, so that what was checked is what is used."""
        copy = self.directory / supplied.name
        try:
            if copy_verified(supplied, self.directory):
                repository = self._repository(key)
                repository.take(copy, key[1])
                self.bundles[key] = supplied
                return repository
        except GitError:
            pass
        finally:
            copy.unlink(missing_ok=True)
        self.damaged[supplied.path] = None
        return None

    def _repository(self, key: BundleKey) -> Repository:
        source, commit = key
        if source not in self.made:
            # No URL in the table is another's path: what follows a prefix is put after it.
            directory = self.directory / str(len(self.made)) / "repository"
            directory.parent.mkdir()
            self.made[source] = Repository.create(directory, git=self.git, commit=commit)
        return self.made[source]

    def supply(self) -> GitSupply:
        settings = self.directory / "gitconfig"
        store = self._store if self.large_files else None
        settings.write_bytes(_settings(self.urls, store))
        return GitSupply(
            settings=settings,
            bundles=tuple(self.bundles.values()),
            missing=tuple(self.missing),
            damaged=tuple(self.damaged),
            repositories=dict(self.made),
        )


def _settings(urls: Mapping[str, Path], store: Path | None) -> bytes:
    """Write a file of settings by which git finds the repositories at their URLs.

    "When more than one insteadOf strings match a given URL, the longest match is used." In
    *store* git LFS finds every large file before it would ask for one; the URL that it would
    ask, which a repository may name as well, leads nowhere.
    """
    lines = [_SETTINGS]
    if store is not None:
        lines.append(FILTER)
        lines.append(f"[lfs]\n\tstorage = {_quoted(store.as_posix())}\n")
        lines.append(f"\turl = {_quoted(store.with_name('nowhere').as_uri())}\n")
    for url, directory in sorted(urls.items()):
        lines.append(f"[url {_quoted(directory.as_posix())}]\n\tinsteadOf = {_quoted(url)}\n")
    return os.fsencode("".join(lines))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
