"""Build several wheels of an archive at a time, each alone."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from packaging.utils import NormalizedName

from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import BuiltFrom, Manifest
from uv_archive.archive.recorded_builds import RecordedBuild, Unrecorded, recorded_builds
from uv_archive.build.checkout import clone
from uv_archive.build.confinement import Confinement
from uv_archive.build.logs import log_name
from uv_archive.build.one import (
    Build,
    Built,
    NotBuilt,
    Requirement,
    SdistSource,
    TreeSource,
    build_one,
)
from uv_archive.build.wanted import Wanted, python_tag
from uv_archive.digest import Digest
from uv_archive.errors import ArchiveError, DamagedArchiveError, ToolError
from uv_archive.fetch.git import Git
from uv_archive.fetch.parallel import in_threads
from uv_archive.filenames import parse_sdist, parse_wheel
from uv_archive.target import Interpreter
from uv_archive.uv import Uv

# A build requirement that is an sdist has build requirements, and so on.
_DEEPEST = 4


class Reporter:
    """Hears how builds go. Methods may be called from several threads, and do nothing."""

    def waiting(self, message: str) -> None:
        """Another run is at work in the archive."""

    def building(self, wheels: int, python: str) -> None:
        """So many wheels are about to be built."""

    def began(self, label: str) -> None:
        """A build has begun."""

    def built(self, label: str, wheel: str) -> None:
        """A wheel is in the archive."""

    def failed(self, label: str, reason: str) -> None:
        """A build came to nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedBuild:
    """What has no wheel, why, and the last lines of its *log*, if it came to have one."""

    label: str
    reason: str
    lines: tuple[str, ...] = ()
    log: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """All that builds share.

    The files of *manifest* lie in *archive*; they are only read. *scratch* is private and
    removed by who made it, *logs* is kept. *find_git* is asked where something comes from git.
    """

    archive: Path
    manifest: Manifest
    interpreter: Interpreter
    uv: Uv
    environment: Mapping[str, str]
    settings: Mapping[str, object]
    confinement: Confinement
    scratch: Path
    logs: Path
    timeout: float
    find_git: Callable[[], Git]
    reporter: Reporter = field(default_factory=Reporter)
    stop: threading.Event = field(default_factory=threading.Event)

    def build(
        self, wanted: Sequence[Wanted], *, jobs: int, take: Callable[[Wanted, Built], None]
    ) -> tuple[FailedBuild, ...]:
        """Build all, and hand each wheel to *take*, one at a time; return what failed.

        One that fails keeps no other from being built; *take* may raise `DamagedArchiveError`.
        Raises `StorageError` and `ToolError`.
        """
        building = _Building(self)
        taking = threading.Lock()

        def one(wanted: Wanted) -> FailedBuild | None:
            self.reporter.began(wanted.label)
            with building.directory() as directory:
                made = building.make(wanted, directory)
                if isinstance(made, Built):
                    with taking:
                        made = _taken(wanted, made, take)
                match made:
                    case Built():
                        self.reporter.built(wanted.label, made.filename.text)
                        return None
                    case FailedBuild():
                        self.reporter.failed(wanted.label, made.reason)
                        return made
                    case _:
                        assert_never(made)

        found = in_threads(wanted, one, jobs=jobs, stop=self.stop, interrupt=lambda: None)
        return tuple(failed for failed in found if failed is not None)


def _taken(
    wanted: Wanted, made: Built, take: Callable[[Wanted, Built], None]
) -> Built | FailedBuild:
    try:
        take(wanted, made)
    except DamagedArchiveError as error:
        return FailedBuild(label=wanted.label, reason=error.message)
    return made


class _Building:
    """The builds of one call; a build requirement without a wheel is built once for all."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._recorded: Mapping[str, RecordedBuild] = recorded_builds(shop.manifest)
        self._guard = threading.RLock()
        self._nested: dict[ArchivePath, Requirement | FailedBuild] = {}

    def directory(self) -> _Removed:
        return _Removed(Path(tempfile.mkdtemp(prefix="build-", dir=self._shop.scratch)))

    def make(self, wanted: Wanted, directory: Path, depth: int = 0) -> Built | FailedBuild:
        """Build one wheel in *directory*, and before it what it needs that has none."""
        shop = self._shop
        requirements = []
        for path in wanted.files:
            found = self._requirement(path, depth)
            if isinstance(found, FailedBuild):
                reason = f"`{found.label}`, which it needs, has no wheel: {found.reason}"
                return FailedBuild(
                    label=wanted.label, reason=reason, lines=found.lines, log=found.log
                )
            requirements.append(found)
        log = shop.logs / log_name(wanted.label, python_tag(shop.interpreter.target))
        private = directory / "build"
        private.mkdir()
        try:
            source = self._source(wanted, directory)
        except (DamagedArchiveError, ToolError) as error:
            return FailedBuild(label=wanted.label, reason=error.message)
        made = build_one(
            Build(
                name=wanted.name,
                version=wanted.version,
                source=source,
                requirements=tuple(requirements),
                python=shop.interpreter.executable,
                settings=shop.settings,
            ),
            uv=shop.uv,
            environment=shop.environment,
            private=private,
            log=log,
            confinement=shop.confinement,
            timeout=shop.timeout,
            stop=shop.stop,
        )
        return self._checked(wanted, made, log)

    def _checked(self, wanted: Wanted, made: Built | NotBuilt, log: Path) -> Built | FailedBuild:
        match made:
            case Built(filename=filename):
                if self._shop.interpreter.target.wheel_priority(filename.tags) is not None:
                    return made
                reason = f"it left `{filename}`, which isn't for this Python"
                return FailedBuild(label=wanted.label, reason=reason)
            case NotBuilt(kind="damaged", reason=reason):
                return FailedBuild(label=wanted.label, reason=reason)
            case NotBuilt(reason=reason, lines=lines):
                return FailedBuild(label=wanted.label, reason=reason, lines=lines, log=log)
            case _:
                assert_never(made)

    def _source(self, wanted: Wanted, directory: Path) -> SdistSource | TreeSource:
        shop = self._shop
        if wanted.tree is not None:
            return wanted.tree
        if wanted.path is not None and wanted.git is None:
            return SdistSource(
                path=shop.archive / wanted.path,
                digest=Digest("sha256", shop.manifest.files[wanted.path].sha256),
                subdirectory=wanted.why.subdirectory,
            )
        if wanted.git is None:
            raise AssertionError("a source is a tree, a file or a commit")
        tree = directory / "clone"
        epoch = clone(
            wanted.git,
            archive=shop.archive,
            manifest=shop.manifest,
            git=shop.find_git(),
            directory=tree,
        )
        if wanted.git.path is not None:
            return _inside(tree, wanted.git.path)
        return TreeSource(
            path=tree, subdirectory=wanted.why.subdirectory, epoch=epoch, pristine=True
        )

    def _requirement(self, path: ArchivePath, depth: int) -> Requirement | FailedBuild:
        if path.endswith(".whl"):
            filename = parse_wheel(path.rpartition("/")[2])
            return Requirement(
                path=self._shop.archive / path,
                name=filename.name,
                version=filename.version,
                digest=Digest("sha256", self._shop.manifest.files[path].sha256),
            )
        with self._guard:
            if path not in self._nested:
                self._nested[path] = self._from_sdist(path, depth)
            return self._nested[path]

    def _name(self, path: ArchivePath) -> NormalizedName:
        origin = self._shop.manifest.files[path].origin
        if origin is None:
            raise ArchiveError(f"The archive records `{path}` as a build requirement without name")
        return origin.name

    def _from_sdist(self, path: ArchivePath, depth: int) -> Requirement | FailedBuild:
        """Build a build requirement, for this run only."""
        entry = self._shop.manifest.files[path]
        filename = parse_sdist(path.rpartition("/")[2], self._name(path))
        label = f"{filename.name}=={filename.version}"
        recorded = self._recorded.get(label)
        files = recorded.files(self._shop.interpreter.target) if recorded else None
        if files is None or isinstance(files, Unrecorded) or depth > _DEEPEST:
            reason = "the archive doesn't say what builds it" if files is None else str(files)
            return FailedBuild(label=label, reason=reason)
        directory = Path(tempfile.mkdtemp(prefix="needed-", dir=self._shop.scratch))
        wanted = Wanted(
            label=label,
            name=filename.name,
            version=filename.version,
            path=path,
            files=files,
            why=BuiltFrom(sha256=entry.sha256),
        )
        made = self.make(wanted, directory, depth + 1)
        if isinstance(made, FailedBuild):
            return made
        return Requirement(
            path=made.path,
            name=filename.name,
            version=made.filename.version,
            digest=Digest("sha256", made.sha256),
        )


def _inside(tree: Path, path: str) -> SdistSource:
    """Return an sdist that lies in a repository: the commit vouches for it."""
    file = tree / path
    if not file.resolve().is_relative_to(tree.resolve()) or not file.is_file():
        raise DamagedArchiveError(f"The commit has no file `{path}`")
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    return SdistSource(path=file, digest=Digest("sha256", digest.hexdigest()))


class _Removed:
    """A directory that goes at the end, with all that a build made read-only in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> Path:
        return self._directory

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
