"""A work tree of a commit, from the bundles of an archive, as git would have cloned it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import Entry, Manifest
from uv_archive.build.one import copy_checked
from uv_archive.build.repository import QUIET
from uv_archive.build.unpacking import EARLIEST, LATEST
from uv_archive.digest import Digest
from uv_archive.errors import DamagedArchiveError
from uv_archive.fetch.bundles import BundleKey, recorded_bundles, recorded_large_files
from uv_archive.fetch.git import Git, GitError, Remote, Repository
from uv_archive.fetch.large_files import FILTER, NotLargeFiles, check_lfs, unpack
from uv_archive.lock.model import GitSource

# A submodule of a submodule, and so on.
_DEEPEST = 10


def clone(
    source: GitSource, *, archive: Path, manifest: Manifest, git: Git, directory: Path
) -> int:
    """Make a work tree with its `.git` and submodules in *directory*; return the commit's time.

    Backends such as setuptools-scm and hatch-vcs ask git for the version. The time is in
    seconds since 1970, as far as a wheel can hold it. Raises `DamagedArchiveError` and
    `ToolError`.
    """
    bundles = recorded_bundles(manifest)
    large = recorded_large_files(manifest) if source.lfs else {}
    if source.lfs:
        check_lfs(git)
    cloning = _Cloning(archive, bundles, large, git.adding(QUIET), directory.parent)
    try:
        repository = cloning.clone(Remote.of(source), source.commit, directory)
        time = repository.output("log", "-1", "--format=%ct", source.commit)
    except GitError as error:
        raise DamagedArchiveError(f"`{source.commit[:12]}` can't be had: {error.reason}") from error
    return min(max(int(time), EARLIEST), LATEST)


class _Cloning:
    def __init__(
        self,
        archive: Path,
        bundles: Mapping[BundleKey, tuple[ArchivePath, Entry]],
        large_files: Mapping[BundleKey, tuple[ArchivePath, Entry]],
        git: Git,
        scratch: Path,
    ) -> None:
        self._archive = archive
        self._bundles = bundles
        self._large_files = large_files
        self._git = git
        self._scratch = scratch

    def clone(self, remote: Remote, commit: str, tree: Path, depth: int = 0) -> Repository:
        found = self._bundles.get((remote.public(), commit))
        if found is None or depth > _DEEPEST:
            raise DamagedArchiveError(f"The archive has no bundle of {remote} at {commit[:12]}")
        tree.mkdir(parents=True, exist_ok=True)
        repository = self._repository(found, commit, tree / ".git")
        own = (f"--git-dir={repository.directory}", f"--work-tree={tree}")
        self._git.output(*own, "config", "core.bare", "false")
        self._have_large_files((remote.public(), commit), repository)
        # Links that lead outside do so in what the build itself can do anyhow.
        self._git.output(*own, "checkout", "--quiet", "--force", "--detach", commit)
        for submodule in repository.submodules(commit, remote):
            inside = tree / submodule.path
            if not inside.resolve().is_relative_to(tree.resolve()):
                raise DamagedArchiveError(f"The submodule at `{submodule.path}` leads outside")
            self.clone(submodule.remote, submodule.commit, inside, depth + 1)
        return repository

    def _have_large_files(self, key: BundleKey, repository: Repository) -> None:
        """Put what git LFS keeps for a commit where it looks, and tell git to ask it.

        That is said in the repository: a backend that asks git whether something was changed
        asks it from another environment.
        """
        if key not in self._large_files:
            return
        path, entry = self._large_files[key]
        try:
            unpack(self._archive / path, entry.sha256, repository.directory / "lfs" / "objects")
        except (NotLargeFiles, OSError) as error:
            raise DamagedArchiveError(f"`{path}` can't be used: {error}") from error
        nowhere = repository.directory / "nowhere"
        with (repository.directory / "config").open("a", encoding="utf-8") as config:
            config.write(f"{FILTER}[lfs]\n\turl = {nowhere.as_uri()}\n")

    def _repository(
        self, found: tuple[ArchivePath, Entry], commit: str, directory: Path
    ) -> Repository:
        path, entry = found
        taken = self._scratch / f"taken-{commit[:12]}"
        taken.mkdir()
        try:
            digest = Digest("sha256", entry.sha256)
            bundle = copy_checked(self._archive / path, taken, digest)
            repository = Repository.create(directory, git=self._git, commit=commit)
            repository.take(bundle, commit)
        finally:
            shutil.rmtree(taken)
        return repository
