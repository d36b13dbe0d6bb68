"""Which names source trees would take from elsewhere than uv is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import NormalizedName, canonicalize_name

from uv_archive.lock.model import GitSource, Lock, TreeSource
from uv_archive.project import read_pyproject, tool_uv

if TYPE_CHECKING:
    from uv_archive.sync.git import GitSupply


def sourced(lock: Lock, *, root: Path, git: GitSupply | None) -> set[NormalizedName]:
    """Return the names that some source tree has a `tool.uv.sources` entry for.

    uv reads it for build requirements from the tree itself, and would look elsewhere. Raises
    `ProjectError`.
    """
    trees = {
        root / package.source.path.text
        for package in lock.packages
        if isinstance(package.source, TreeSource)
    }
    paths = [tree / "pyproject.toml" for tree in (root, *trees)]
    documents = [read_pyproject(path) for path in paths if path.is_file()]
    for package in lock.packages if git else ():
        if git and isinstance(package.source, GitSource):
            documents += git.pyprojects(package.source)
    names: set[NormalizedName] = set()
    for document in documents:
        sources = tool_uv(document).get("sources")
        if isinstance(sources, dict):
            names.update(canonicalize_name(name) for name in sources)
    return names
