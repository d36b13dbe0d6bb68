"""Have uv export what each request selects, for installers that don't know `uv.lock`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from packaging.utils import NormalizedName

from uv_archive.archive.disk import temporary_directory
from uv_archive.archive.exports import Pylock, export_label, relative_pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import Entry
from uv_archive.archive.store import Store
from uv_archive.digest import Digest
from uv_archive.errors import ToolError
from uv_archive.lock.model import ConflictItem, Distribution, Lock, UrlSource
from uv_archive.lock.relocate import FileKey, relocate
from uv_archive.owner import Owner, default_groups_of
from uv_archive.project import Project
from uv_archive.pylock import PylockFile
from uv_archive.request import Request
from uv_archive.scratch import Scratch, scrubbed, write_scratch
from uv_archive.script import Script
from uv_archive.selection import Include, Root, conflicting
from uv_archive.settings import Settings
from uv_archive.uv import Uv

# What would change a selection beside the flags that a request recorded.
_SELECTING = frozenset(
    {"UV_DEV", "UV_NO_DEV", "UV_NO_GROUP", "UV_NO_DEFAULT_GROUPS", "UV_NO_EDITABLE"}
)


def export_all(
    requests: Sequence[Request],
    *,
    owner: Owner,
    settings: Settings,
    lock: Lock,
    store: Store,
    placed: Mapping[Distribution, ArchivePath],
    files: Mapping[ArchivePath, Entry],
    uv: Uv,
    environment: Mapping[str, str],
) -> Mapping[str, Pylock]:
    """Return what each request's selection exports, by label; targets make no difference.

    uv works over a lock that names the archive's files, so nothing is fetched and nothing is
    missing. A pylock file is its own export. Raises `ToolError` where uv refuses.
    """
    if isinstance(owner, PylockFile):
        from uv_archive.download.repacking import repacked  # noqa: PLC0415 - seldom needed

        return {
            export_label(request.include): repacked(
                lock, request.include, owner.default_groups, placed=placed, files=files
            )
            for request in requests
        }
    includes = {
        export_label(include, member=_member(owner, request)): (request, include)
        for request in requests
        for include in _exportable(request, owner, lock)
    }
    with temporary_directory() as directory:
        scratch = write_scratch(
            owner,
            lock=_relocated(owner, lock, store, placed, files),
            directory=directory,
            settings=settings.options,
        )
        exporter = _Exporter(scratch, uv, environment, files, _subdirectories(lock, placed))
        with ThreadPoolExecutor(max_workers=2) as pool:
            exported = pool.map(
                lambda one: exporter.export(_arguments(owner, scratch, one[0]), one[1]),
                includes.values(),
            )
            return dict(zip(includes, exported, strict=True))


class _Exporter:
    def __init__(
        self,
        scratch: Scratch,
        uv: Uv,
        environment: Mapping[str, str],
        files: Mapping[ArchivePath, Entry],
        subdirectories: Mapping[ArchivePath, str],
    ) -> None:
        self._scratch = scratch
        self._uv = uv
        self._environment = {
            name: value for name, value in scrubbed(environment).items() if name not in _SELECTING
        }
        self._files = files
        self._subdirectories = subdirectories

    def export(self, arguments: Sequence[str], include: Include) -> Pylock:
        said = self._uv.run(
            [
                *("export", "--frozen", "--offline", "--format", "pylock.toml", "--no-header"),
                *(*arguments, "--config-file", str(self._scratch.config_file)),
                *include.flags(),
            ],
            environment=self._environment,
        )
        if said.status != 0:
            raise ToolError(f"uv can't export the selection: {said.stderr.strip()}")
        return relative_pylock(said.stdout, files=self._files, subdirectories=self._subdirectories)


def _member(project: Project | Script, request: Request) -> NormalizedName | None:
    """Return the member whose name tells an export from that of the workspace's root."""
    if isinstance(project, Script):
        return None
    is_root = project.members.get(request.project) == project.root if request.project else True
    return None if is_root or request.include.packages else request.project


def _arguments(project: Project | Script, scratch: Scratch, request: Request) -> Sequence[str]:
    """Return what tells uv which copy is meant: that of the member a request starts from."""
    if isinstance(project, Script):
        return ("--script", str(scratch.script))
    own = project.members.get(request.project, project.root) if request.project else project.root
    return ("--project", str(scratch.base / own.relative_to(scratch.original)))


def _exportable(request: Request, owner: Owner, lock: Lock) -> Iterator[Include]:
    """Yield the selections of a request that one install can have.

    Extras and groups that conflict lie side by side in the archive, but one export has only one
    of them: there is one export without any of them, and one more for each.
    """
    include = request.include
    groups = default_groups_of(owner, request.project)
    items = conflicting(lock, Root(project=request.project, default_groups=groups), include)
    if not items:
        yield include
        return
    for kept in (None, *items):
        others = [item for item in items if item != kept]
        yield replace(
            include,
            no_extras=include.no_extras + _names(others, "extra"),
            no_groups=include.no_groups + _names(others, "group"),
        )


def _names(
    items: Sequence[ConflictItem], kind: Literal["extra", "group"]
) -> tuple[NormalizedName, ...]:
    return tuple(item.name for item in items if item.kind == kind and item.name is not None)


def _subdirectories(
    lock: Lock, placed: Mapping[Distribution, ArchivePath]
) -> Mapping[ArchivePath, str]:
    """Return the sdists whose project isn't at their top, with the place where it is."""
    return {
        placed[package.sdist]: package.source.subdirectory
        for package in lock.packages
        if isinstance(package.source, UrlSource)
        and package.source.subdirectory
        and package.sdist is not None
    }


def _relocated(
    owner: Owner,
    lock: Lock,
    store: Store,
    placed: Mapping[Distribution, ArchivePath],
    files: Mapping[ArchivePath, Entry],
) -> bytes:
    directory = store.directory.absolute()
    paths: dict[FileKey, Path] = {}
    digests: dict[FileKey, Digest] = {}
    for package in lock.packages:
        for distribution in package.distributions:
            path = placed[distribution]
            if path in files:
                key = (package.position, str(distribution.filename))
                paths[key] = directory / path
                digests[key] = Digest("sha256", files[path].sha256)
    # What else a lock says of files isn't exported, and uv has ten thousand of them in 150 MB.
    # And since nothing is installed, the root may stay where its groups count for members.
    return relocate(
        lock, files=paths, project_root=owner.root, digests=digests, root_lends=True, brief=True
    )
