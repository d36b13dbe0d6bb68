"""Marks of syncs under way: what is left of one that was killed says that nothing is sure.

A mark is durable before the first change, and is removed after the last check. It lies beside
the environment, which uv may remove and make anew; where nothing can be written there, in it.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from uv_archive.archive.disk import read_plain, storing, sync_directory, sync_file
from uv_archive.archive.exclusive import exclusive
from uv_archive.archive.locking import hold, is_held
from uv_archive.errors import ArchiveError, StorageError
from uv_archive.sync.whole import directories, dist_infos, named_by, without_record

_SUFFIX = ".mark"
_LOCK = "lock"
_IGNORED = ".gitignore"
_LARGEST = 16 * 1024 * 1024
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_TEXT = """\
# `uv-archive sync` is changing the environment here or, if none is running, was stopped while it
# did. Run it again: it compares every file, and installs again what isn't whole.
"""
# Written in place of a name: the environment was being made.
_CREATING = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What an earlier sync left: it was about to install *names*, and maybe to make it all."""

    path: Path
    names: frozenset[NormalizedName]
    creating: bool


@dataclass(kw_only=True, slots=True)
class Marks:
    """The marks at an environment: those *left* by syncs that ended early, and our own."""

    environment: Path
    left: Sequence[Mark]
    _own: list[Path] = field(default_factory=list)
    _held: ExitStack = field(default_factory=ExitStack)

    def begin(self, names: Iterable[NormalizedName], *, creating: bool) -> None:
        """Mark the environment durably, before anything in it is changed.

        Raises `StorageError`.
        """
        lines = [*([_CREATING] if creating else []), *sorted(names)]
        content = (_TEXT + "".join(f"{line}\n" for line in lines)).encode()
        with storing(self.environment.parent):
            try:
                self._write(_beside(self.environment), content)
            except OSError as error:
                if error.errno not in _NOT_OURS or not self.environment.is_dir():
                    raise
                self._write(_inside(self.environment), content)

    def end(self) -> None:
        """Remove our own marks and those of earlier syncs: everything was found whole."""
        _remove([mark.path for mark in self.left])
        self.withdraw()

    def clear_up(self) -> None:
        """Remove what earlier syncs left that uv would stumble over. Raises `StorageError`.

        That is an environment that was still being made and has nothing in it, which uv takes
        for somebody else's directory, and what `remove_debris` removes.
        """
        environment = self.environment
        with storing(environment, doing="removed"):
            if any(mark.creating for mark in self.left) and not dist_infos(environment):
                if environment.is_dir() and not environment.is_symlink():
                    shutil.rmtree(environment)
                return
        remove_debris(environment, {name for mark in self.left for name in mark.names})

    def withdraw(self) -> None:
        """Remove our own marks only: nothing was changed after all."""
        self._held.close()
        _remove(self._own)
        self._own.clear()
        for directory in (_beside(self.environment), _inside(self.environment)):
            _remove_empty(directory)

    def _write(self, directory: Path, content: bytes) -> None:
        _make(directory)
        # What is there of it before it is complete says enough: nothing has been changed then.
        descriptor, path = tempfile.mkstemp(suffix=_SUFFIX, dir=directory)
        file = self._held.enter_context(os.fdopen(descriptor, "wb"))
        with suppress(OSError):
            hold(descriptor)
        self._own.append(Path(path))
        file.write(content)
        file.flush()
        sync_file(descriptor)
        sync_directory(directory)
        sync_directory(directory.parent)


@contextmanager
def alone(environment: Path, *, notify: Callable[[str], None]) -> Iterator[None]:
    """Keep other syncs from *environment*; *notify* is told of one that is waited for.

    Where nothing can be written, there is nothing to keep them from. What is left is removed but
    for marks. Raises `ArchiveError`.
    """
    with ExitStack() as held:
        for directory in (_beside(environment), _inside(environment)):
            if not directory.parent.is_dir():
                continue
            held.callback(_remove_empty, directory)
            with suppress(StorageError):
                held.enter_context(exclusive(directory / _LOCK, notify=notify))
                with suppress(OSError):
                    _make(directory)
                break
        yield


@contextmanager
def marks(environment: Path) -> Iterator[Marks]:
    """Find what earlier syncs left at *environment*; a mark that isn't ended stays.

    Those of syncs that are still running aren't counted. Raises `StorageError`.
    """
    found = Marks(environment=environment, left=tuple(_left(environment)))
    with found._held:  # noqa: SLF001 - its own class's neighbour
        yield found


def remove_debris(environment: Path, names: Collection[NormalizedName]) -> None:
    """Remove what keeps uv from installing *names* again. Raises `StorageError`.

    That is what a wheel has for other places than the modules', unpacked beside those and with
    files in it that no RECORD names; and a distribution without a whole RECORD, which uv can't
    remove.
    """
    with storing(environment, doing="removed"):
        for directory in [*directories(environment, ".data"), *without_record(environment)]:
            if named_by(directory) in names:
                shutil.rmtree(directory)


def _beside(environment: Path) -> Path:
    return environment.parent / f".uv-archive-{environment.name}.unfinished"


def _inside(environment: Path) -> Path:
    return environment / ".uv-archive.unfinished"


def _left(environment: Path) -> Iterator[Mark]:
    for directory in (_beside(environment), _inside(environment)):
        for path in sorted(directory.glob(f"*{_SUFFIX}")):
            if not is_held(path):
                yield _read(path)


def _read(path: Path) -> Mark:
    try:
        content = read_plain(path, limit=_LARGEST) or b""
    except ArchiveError:
        content = b""
    lines = [line for line in content.decode(errors="replace").splitlines() if line[:1] != "#"]
    return Mark(path=path, names=frozenset(_names(lines)), creating=_CREATING in lines)


def _names(lines: Iterable[str]) -> Iterator[NormalizedName]:
    for line in lines:
        with suppress(InvalidName):
            yield canonicalize_name(line, validate=True)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _make(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    # git would show what is new in a working tree, and some versions are made from that.
    (directory / _IGNORED).write_text("*\n")


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):
        names = {entry.name for entry in directory.iterdir()}
        if names <= {_IGNORED}:
            _remove([directory / _IGNORED])
            directory.rmdir()
