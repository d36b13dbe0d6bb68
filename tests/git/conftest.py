"""What the tests of git sources share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.git.repositories import Origin
from tests.git.server import GitServer, serving
from uv_archive.archive.layout import ArchivePath
from uv_archive.fetch.bundles import BundleBringer
from uv_archive.fetch.git import Git, Logins, find_git
from uv_archive.fetch.reporter import Reporter
from uv_archive.fetch.retry import Clock


@pytest.fixture(scope="session")
def git(tool: Callable[[str], Path]) -> Git:
    """The machine's git, with nothing of its user's settings."""
    tool("git")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return find_git({**kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull})


@dataclass(kw_only=True)
class Place:
    """A server with repositories, and an archive of them."""

    directory: Path
    server: GitServer
    git: Git
    committed: list[ArchivePath] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    def origin(self, name: str) -> Origin:
        return Origin.create(self.directory / "trees", self.directory / "served", name)

    def bringer(
        self,
        *,
        git: Git | None = None,
        logins: Logins | None = None,
        reporter: Reporter | None = None,
    ) -> BundleBringer:
        """Return what brings bundles into the archive. It doesn't wait before it tries again."""
        scratch = self.archive / ".partial" / "git"
        scratch.mkdir(parents=True, exist_ok=True)
        return BundleBringer(
            git=git or self.git,
            directory=scratch,
            commit=self._commit,
            logins=logins or Logins(),
            reporter=reporter or Reporter(),
            clock=Clock(wait=lambda stop, seconds: False),
        )

    def _commit(self, partial: Path, path: ArchivePath) -> None:
        self.committed.append(path)
        (self.archive / path).parent.mkdir(parents=True, exist_ok=True)
        partial.replace(self.archive / path)


@pytest.fixture
def place(tmp_path: Path, git: Git) -> Iterator[Place]:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as server:
        yield Place(directory=tmp_path, server=server, git=git)
