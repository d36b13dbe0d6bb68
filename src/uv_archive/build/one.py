"""Build one wheel alone, by `uv build`, from exactly the files that it is given.

Nothing else is there: no index, no network where the system can take it away, no cache, no
settings but those that say how to build, no credentials. So a build that succeeds shows that its
recorded requirements are complete.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Literal, assert_never

import tomli_w
from packaging.utils import NormalizedName
from packaging.version import Version

from uv_archive.archive.disk import REFUSALS_OF_DEVICES, storage_error
from uv_archive.build.confinement import Confinement
from uv_archive.build.process import run_to_its_end
from uv_archive.build.repository import hide_change
from uv_archive.build.settings import add_requirements, for_package, variables_for
from uv_archive.build.surroundings import surroundings
from uv_archive.build.unpacking import EARLIEST, newest_member, set_times, unpack
from uv_archive.digest import Digest
from uv_archive.errors import DamagedArchiveError
from uv_archive.filenames import WheelFilename, parse_wheel
from uv_archive.uv import Uv

#: Seconds. Large C++ extensions take tens of minutes on a small machine.
DEFAULT_TIMEOUT = 3600.0
#: Lines of a log that a message shows.
LAST_LINES = 20

_CHUNK = 1024 * 1024
_LARGEST_LOG = 256 * 1024 * 1024
_LOG_TAIL = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class SdistSource:
    """An sdist, what its bytes have to be, and where in it the project is."""

    path: Path
    digest: Digest
    subdirectory: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSource:
    """A source tree that is copied before it's built, without what *ignored* says of a path.

    *subdirectory* is where in it the project is, *epoch* its `SOURCE_DATE_EPOCH` (seconds). In a
    *pristine* one nobody has worked, and nothing else is left out.
    """

    path: Path
    subdirectory: str | None = None
    epoch: int = EARLIEST
    ignored: tuple[Path, ...] = ()
    pristine: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """A file that a build needs, and what its bytes have to be."""

    path: Path
    name: NormalizedName
    version: Version
    digest: Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """One wheel to be built: of *name*, and where it is known *version*.

    *requirements* are all files that the build needs, one of a name; *python* is an interpreter,
    *settings* those of the project under uv's names.
    """

    name: NormalizedName
    source: SdistSource | TreeSource
    requirements: tuple[Requirement, ...]
    python: Path
    version: Version | None = None
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.name if self.version is None else f"{self.name}=={self.version}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """A wheel, in the build's own directory."""

    path: Path
    filename: WheelFilename
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NotBuilt:
    """Why there is no wheel, in a clause; *lines* are the last of the log."""

    kind: Literal["failed", "timeout", "stopped", "damaged", "wrong"]
    reason: str
    lines: tuple[str, ...] = ()


def build_one(
    build: Build,
    *,
    uv: Uv,
    environment: Mapping[str, str],
    private: Path,
    log: Path,
    confinement: Confinement,
    timeout: float = DEFAULT_TIMEOUT,
    stop: Event | None = None,
) -> Built | NotBuilt:
    """Build in *private*, an empty directory of nobody else's; all output goes to *log*.

    Whatever the build is to blame for is the answer. After *timeout* seconds, or when *stop* is
    set, it is killed with all it has started. Raises `StorageError` and `ToolError`.
    """
    try:
        laid_out = _lay_out(build, private, confinement, environment)
        with log.open("wb") as output:
            ended = run_to_its_end(
                confinement.command(_command(build, laid_out, uv), private=private),
                environment={
                    **surroundings(
                        environment, private=laid_out.seen(private), epoch=laid_out.epoch
                    ),
                    **variables_for(build.settings, build.name),
                },
                directory=private,
                output=output.fileno(),
                largest=_LARGEST_LOG,
                timeout=timeout,
                stop=stop,
            )
    except DamagedArchiveError as error:
        return NotBuilt(kind="damaged", reason=error.message)
    except OSError as error:
        raise storage_error(error, private) from error
    match ended:
        case 0:
            return _result(build, private / "out")
        case "timeout":
            reason = f"it wasn't done after {timeout:g} seconds"
            return NotBuilt(kind="timeout", reason=reason, lines=last_lines(log))
        case "stopped":
            return NotBuilt(kind="stopped", reason="it was stopped")
        case "log":
            reason = f"its log has more than {_LARGEST_LOG // 2**20} MiB"
            return NotBuilt(kind="failed", reason=reason)
        case _:
            reason = "its build failed"
            return NotBuilt(kind="failed", reason=reason, lines=last_lines(log))


def last_lines(log: Path, most: int = LAST_LINES) -> tuple[str, ...]:
    """Return the last lines of a log, as far as they can be printed."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _LOG_TAIL))
        text = file.read().decode(errors="replace")
    lines = [_printable(line) for line in text.splitlines() if line.strip()]
    return tuple(lines[-most:])


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in line.rstrip())


# Laying out


@dataclass(frozen=True, kw_only=True, slots=True)
class _LaidOut:
    """A build's directory, with everything in it."""

    private: Path
    project: Path
    epoch: int
    confinement: Confinement

    def seen(self, path: Path) -> Path:
        return self.confinement.seen(path, private=self.private)


def _lay_out(
    build: Build, private: Path, confinement: Confinement, environment: Mapping[str, str]
) -> _LaidOut:
    """Fill the directory: what is hashed is the copy that the build uses."""
    for name in ("home", "tmp", "view", "out", "empty"):
        (private / name).mkdir(exist_ok=True)
    (private / "nothing").touch()
    for requirement in build.requirements:
        copy_checked(requirement.path, private / "view", requirement.digest)
    (private / "constraints.txt").write_text("".join(map(_constraint, build.requirements)))
    (private / "uv.toml").write_bytes(
        tomli_w.dumps(for_package(build.settings, build.name)).encode()
    )
    tree = private / "source" / build.name
    match build.source:
        case SdistSource(path=path, digest=digest):
            copy = copy_checked(path, private, digest)
            epoch = newest_member(copy)
            unpack(copy, tree)
            copy.unlink()
        case TreeSource(epoch=epoch):
            copy_tree(build.source, tree)
        case _:
            assert_never(build.source)
    inside = build.source.subdirectory
    project = _below(tree, inside) if inside else tree
    changed = add_requirements(project, build.settings, build.name)
    if changed is not None and isinstance(build.source, TreeSource):
        hide_change(changed, tree=tree, environment=environment)
    set_times(tree, epoch)
    return _LaidOut(
        private=private,
        project=project,
        epoch=epoch,
        confinement=confinement,
    )


def copy_checked(path: Path, directory: Path, digest: Digest) -> Path:
    """Copy a file into *directory*. Raises `DamagedArchiveError` if it hasn't the *digest*.

    The bytes that are hashed are the ones that are written, so nothing can be put in their
    place afterwards.
    """
    copy = directory / path.name
    hasher = digest.hasher()
    if path.exists() and not path.is_file():  # A pipe would be waited for.
        raise DamagedArchiveError(f"`{path}` isn't a plain file")
    try:
        source = path.open("rb")
    except OSError as error:
        raise DamagedArchiveError(f"`{path}` can't be read: {error.strerror}") from error
    with source, copy.open("xb") as file:
        while chunk := source.read(_CHUNK):
            hasher.update(chunk)
            file.write(chunk)
    if hasher.hexdigest() != digest.hex:
        raise DamagedArchiveError(f"`{path}` isn't what was recorded: it hasn't {digest}")
    return copy


def _constraint(requirement: Requirement) -> str:
    return f"{requirement.name}=={requirement.version} --hash={requirement.digest}\n"


def copy_tree(source: TreeSource, tree: Path) -> None:
    """Copy what is to be built to *tree*; sockets, pipes and devices are no part of it.

    Raises `DamagedArchiveError` for what can't be copied.
    """
    left_out = {path.absolute() for path in source.ignored}

    def is_ignored(path: Path) -> bool:
        with suppress(PermissionError):  # Copying it says what is wrong.
            if not source.pristine and (path in left_out or _is_debris(path)):
                return True
        kind = path.lstat().st_mode
        return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind))

    def ignore(directory: str, names: Sequence[str]) -> list[str]:
        return [name for name in names if is_ignored(Path(directory).absolute() / name)]

    try:
        shutil.copytree(source.path, tree, symlinks=True, ignore=ignore)
    except shutil.Error as error:
        path, _, said = error.args[0][0]
        number = re.match(r"\[Errno (\d+)\] ", str(said))
        if number and int(number[1]) in REFUSALS_OF_DEVICES:
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(tree)) from error
        # Of an error that says "[Errno 13] Permission denied: ..." all that is left is this text.
        reason = str(said).partition("] ")[2].partition(":")[0] or said
        raise DamagedArchiveError(f"`{path}` can't be copied: {reason}") from error


def _is_debris(path: Path) -> bool:
    """Whether something is in a tree only because somebody has worked there."""
    if path.name == "__pycache__":
        return True
    if any((path / name).is_file() for name in ("pyvenv.cfg", "uv-archive.json")):
        return True
    if path.name.endswith(".egg-info"):
        beside = path.parent.parent if path.parent.name == "src" else path.parent
        return _is_project(beside)
    # What setuptools leaves, and would take into a wheel although its source is gone.
    return path.name == "build" and _is_project(path.parent) and any(path.glob("bdist.*"))


def _is_project(directory: Path) -> bool:
    return any((directory / name).is_file() for name in ("pyproject.toml", "setup.py"))


def _below(tree: Path, subdirectory: str) -> Path:
    found = tree / subdirectory
    if not found.resolve().is_relative_to(tree.resolve()) or not found.is_dir():
        raise DamagedArchiveError(f"`{tree.name}` has no directory `{subdirectory}`")
    return found


# Running


def _command(build: Build, laid_out: _LaidOut, uv: Uv) -> Sequence[str]:
    private = laid_out.private

    def seen(name: str) -> str:
        return str(laid_out.seen(private / name))

    # uv warns of a file that constrains nothing.
    constraints: tuple[str, ...] = (
        "--build-constraints",
        seen("constraints.txt"),
        "--require-hashes",
    )
    if not build.requirements:
        constraints = ()
    return [
        str(uv.executable),
        *("build", str(laid_out.seen(laid_out.project)), "--wheel", "--out-dir", seen("out")),
        *("--offline", "--no-index", "--find-links", seen("view")),
        *constraints,
        *("--config-file", seen("uv.toml"), "--cache-dir", seen("cache")),
        # What the recorded requirements were resolved without.
        "--no-sources",
        *("--python", str(build.python), "--no-python-downloads"),
        *("--no-create-gitignore", "--color", "never", "--no-progress"),
    ]


# The wheel


def _result(build: Build, out: Path) -> Built | NotBuilt:
    """Take the one wheel there is, if it is one and of what was to be built."""
    paths = sorted(out.iterdir())
    if len(paths) != 1:
        reason = f"it left {len(paths)} files where a wheel was expected"
        return NotBuilt(kind="wrong", reason=reason)
    (path,) = paths
    try:
        filename = parse_wheel(path.name)
    except ValueError as error:
        return NotBuilt(kind="wrong", reason=f"it left `{_printable(path.name)}`: {error}")
    versions = {filename.version, build.version or filename.version}
    if filename.name != build.name or len(versions) > 1:
        return NotBuilt(kind="wrong", reason=f"it left `{filename}`, which is something else")
    if not stat.S_ISREG(path.lstat().st_mode):
        return NotBuilt(kind="wrong", reason=f"`{filename}` isn't a plain file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return Built(path=path, filename=filename, sha256=digest.hexdigest(), size=path.stat().st_size)
