"""What the two ways to install have in common, by `uv sync` and by `uv pip sync`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from packaging.utils import NormalizedName

from uv_archive.archive.disk import storing
from uv_archive.errors import DamagedArchiveError
from uv_archive.filenames import parse_wheel
from uv_archive.lock.model import GitSource, Package, RegistrySource, UrlSource
from uv_archive.sync.case import Case
from uv_archive.sync.installed import DirectUrl, restore_direct_urls
from uv_archive.sync.model import SyncResult
from uv_archive.sync.needed import Needed
from uv_archive.sync.sourced import sourced
from uv_archive.sync.supply import Supplied, copy_verified
from uv_archive.sync.task import Task
from uv_archive.target import Target


class Installer(Protocol):
    """A way to have uv install from an archive. It holds one sync, and is called in this order."""

    def case(self, *, found: Callable[[Path], None]) -> Case | SyncResult:
        """Decide what there is to do; a result is uv's, which can't do it.

        *found* may be told, as soon as it is known, of which Python an environment will be made.
        """

    def show(self, case: Case, needed: Needed) -> SyncResult:
        """Have uv say what it would do, or that there is nothing to do."""

    def install(
        self, case: Case, needed: Needed, *, again: Collection[NormalizedName] = ()
    ) -> SyncResult:
        """Install. What is installed *again* isn't shown, and comes from a cache of its own."""

    def touched(self, short: Collection[NormalizedName]) -> frozenset[NormalizedName]:
        """Return which of *short* may be installed again: flags may leave some as they are."""


def reinstall(names: Collection[NormalizedName]) -> tuple[str, ...]:
    """Return the arguments by which uv installs what it thinks is there."""
    return tuple(part for name in sorted(names) for part in ("--reinstall-package", name))


def build_arguments(task: Task, needed: Needed) -> Sequence[str]:
    """Return the arguments by which uv finds the build requirements, and nothing else."""
    names = task.supply.build_requirements.keys() & sourced(
        task.lock, root=task.owner.root, git=needed.git
    )
    # As a URL, because uv takes `#` in a path for the beginning of a fragment.
    arguments = ["--find-links", task.view.as_uri()]
    return [*arguments, *(p for name in sorted(names) for p in ("--no-sources-package", name))]


def unpacked_tree(task: Task, package: Package) -> Path:
    """Return where an sdist is unpacked whose project lies in a subdirectory of it."""
    return task.private / "trees" / str(package.position)


def tree_of(task: Task, package: Package) -> Path | None:
    """Return the directory that *package* is built in, if its sdist has to be unpacked."""
    match package.source:
        case UrlSource(subdirectory=str(subdirectory)):
            return unpacked_tree(task, package) / subdirectory
        case _:
            return None


def unpack_all(task: Task, needed: Needed) -> None:
    """Unpack what is built in a subdirectory, from copies whose bytes were checked.

    Raises `DamagedArchiveError` and `StorageError`.
    """
    for package, supplied in needed.unpacked:
        if not unpacked_tree(task, package).exists():
            _unpack(task, supplied, unpacked_tree(task, package))


def _unpack(task: Task, supplied: Supplied, directory: Path) -> None:
    copies = task.private / "sdists"
    with storing(copies):
        copies.mkdir(exist_ok=True)
        if not copy_verified(supplied, copies):
            raise DamagedArchiveError(f"`{supplied.path}` has changed while it was in use")
    from uv_archive.build.unpacking import unpack  # noqa: PLC0415 - seldom needed

    unpack(copies / supplied.name, directory)


def replacing_wheels(task: Task, case: Case, needed: Needed) -> Mapping[int, Supplied]:
    """Return the wheels that stand for something else than an index's file, by position."""
    return {
        package.position: max(wheels, key=lambda wheel: _priority(wheel, case.target))
        for package in task.lock.packages
        if not isinstance(package.source, RegistrySource)
        if (wheels := needed.wheels.get(package.position))
    }


def _priority(wheel: Supplied, target: Target) -> int:
    priority = target.wheel_priority(parse_wheel(wheel.name).tags)
    return -1 if priority is None else priority


def restore_urls(task: Task, needed: Needed) -> None:
    """Make what was installed from files name the locked URLs again. Raises `StorageError`."""
    urls = {
        package.name: DirectUrl.of(package.source)
        for package in task.lock.packages
        if isinstance(package.source, UrlSource)
        or (isinstance(package.source, GitSource) and package.position in needed.wheels)
    }
    with storing(task.environment):
        restore_direct_urls(task.environment, urls)
