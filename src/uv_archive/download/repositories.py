"""Git sources: their bundles in the archive, and their files for a look into them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uv_archive.archive.layout import PARTIAL, ArchivePath, large_files_path
from uv_archive.archive.manifest import Entry, Locked, Manifest, SubmoduleOf, Why
from uv_archive.archive.store import Store
from uv_archive.digest import Digest
from uv_archive.fetch.bundles import (
    Bundle,
    BundleBringer,
    BundleKey,
    BundleResult,
    PresentBundle,
    Recorded,
    check_out,
    key_of,
    place_bundles,
    recorded_bundles,
    recorded_large_files,
)
from uv_archive.fetch.git import Git
from uv_archive.lock.model import GitSource, Lock, Package
from uv_archive.plan import Present
from uv_archive.selection import Selection

# Below `.partial/`: repositories that bundles are made from, and source trees to look into.
_SCRATCH = "git"


def trees_of(store: Store) -> Path:
    """Return where repositories and source trees lie while a run lasts."""
    return store.directory / PARTIAL / _SCRATCH


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """The git sources that some request reaches, each commit once, and where bundles lie."""

    packages: tuple[Package, ...]
    placed: Mapping[BundleKey, ArchivePath]

    @classmethod
    def of(cls, selections: Iterable[Selection], lock: Lock) -> Sources:
        """Collect the packages whose source is a commit, in the lock's order."""
        found = {
            package.position: package
            for selection in selections
            for package in selection.packages
            if isinstance(package.source, GitSource)
        }
        return cls(
            packages=tuple(found[position] for position in sorted(found)),
            placed=place_bundles(lock) if found else {},
        )

    @property
    def sources(self) -> Sequence[GitSource]:
        return [p.source for p in self.packages if isinstance(p.source, GitSource)]

    def recorded(
        self, manifest: Manifest | None, present: Mapping[str, Present]
    ) -> Mapping[ArchivePath, Bundle] | None:
        """Return the bundles of an earlier run, if they are all that is needed, and intact.

        *present* are the archive's files with their digests.
        """
        if manifest is None:
            return None
        entries = recorded_repositories(manifest)
        needed = set(self._locked())
        while more := {path for path in entries if _parents(entries[path]) & needed} - needed:
            needed |= more
        if not all(path in entries and _is_intact(entries[path], path, present) for path in needed):
            return None
        return {path: _bundle(path, entries[path]) for path in sorted(needed)}

    def bring(
        self, bringer: BundleBringer, manifest: Manifest | None, present: Mapping[str, Present]
    ) -> BundleResult:
        """Bring the bundles; those that are there as recorded are only looked into."""

        def intact(recorded: Recorded) -> Mapping[BundleKey, PresentBundle]:
            root = bringer.directory.parent.parent
            return {
                key: PresentBundle(file=root / path, sha256=entry.sha256, size=entry.size)
                for key, (path, entry) in recorded.items()
                if _is_intact(entry, path, present)
            }

        return bringer.bring(
            self.sources,
            placed=self.placed,
            present=intact(recorded_bundles(manifest) if manifest else {}),
            present_large_files=intact(recorded_large_files(manifest) if manifest else {}),
        )

    def unrecorded(self, manifest: Manifest | None) -> Sequence[ArchivePath]:
        """Return what the lock itself names and no earlier run has brought, sorted."""
        recorded = recorded_repositories(manifest) if manifest else {}
        return sorted(set(self._locked()) - recorded.keys())

    def _locked(self) -> Iterator[ArchivePath]:
        """Yield the paths of what the lock itself names."""
        for source in self.sources:
            yield self.bundle_of(source)
            if source.lfs:
                yield large_files_path(self.bundle_of(source))

    def bundle_of(self, source: GitSource) -> ArchivePath:
        """Return the path of a source's own bundle."""
        return self.placed[key_of(source)]

    def source_at(self, where: Path, directory: Path) -> GitSource | None:
        """Return the source whose files `tree_of` puts at *where* or above it."""
        for source in self.sources:
            if where.is_relative_to(tree_of(source, self.bundle_of(source), directory)):
                return source
        return None

    def entries(self, bundles: Mapping[ArchivePath, Bundle]) -> Mapping[ArchivePath, Entry]:
        """Return what the archive records of its bundles, and why each is there."""
        locked = set(self._locked())
        return {path: bundle.entry(_why(bundle, locked)) for path, bundle in bundles.items()}


def recorded_repositories(manifest: Manifest) -> Mapping[ArchivePath, Entry]:
    """Return the bundles that an archive recorded, and what git LFS keeps for them."""
    recorded = (recorded_bundles(manifest), recorded_large_files(manifest))
    return {path: entry for found in recorded for path, entry in found.values()}


def tree_of(source: GitSource, bundle: ArchivePath, directory: Path) -> Path:
    """Return where the files of a commit are put, for a look into them, below *directory*."""
    return directory / bundle.rpartition("/")[2] / source.commit[:12] / "tree"


def check_out_tree(source: GitSource, bundle: Path, *, git: Git, tree: Path) -> None:
    """Write the files of a commit where `tree_of` says, unless they are there."""
    if not tree.is_dir():
        check_out(bundle, source.commit, git=git, directory=tree.parent)


def digest_of(source: GitSource) -> Digest:
    """Return what stands for the digest of a commit's files, in the record of its builds."""
    identity = "\n".join(key_of(source))
    return Digest("sha256", hashlib.sha256(identity.encode()).hexdigest())


def _why(bundle: Bundle, locked: set[ArchivePath]) -> tuple[Why, ...]:
    own: tuple[Why, ...] = (Locked(),) if bundle.path in locked else ()
    return own + tuple(SubmoduleOf(path=path) for path in bundle.part_of)


def _parents(entry: Entry) -> set[ArchivePath]:
    whys = entry.origin.why if entry.origin else ()
    return {why.path for why in whys if isinstance(why, SubmoduleOf)}


def _is_intact(entry: Entry, path: ArchivePath, present: Mapping[str, Present]) -> bool:
    return path in present and present[path].sha256 == entry.sha256


def _bundle(path: ArchivePath, entry: Entry) -> Bundle:
    origin = entry.origin
    if origin is None or origin.commit is None:
        raise ValueError("not a bundle")
    return Bundle(
        path=path,
        name=origin.name,
        source=origin.source,
        commit=origin.commit,
        sha256=entry.sha256,
        size=entry.size,
        part_of=tuple(sorted(_parents(entry))),
    )
