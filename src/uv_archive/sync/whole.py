"""Whether what is installed is whole: each distribution against the archive's wheel of it.

Specifications: recording installed projects; binary distribution format.

uv takes the presence of a `.dist-info` directory for the whole distribution, and makes it visible
before the last file is there. So every file is looked at: that it is there, how large it is
and, where a check is thorough, what is in it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import posixpath
import stat
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from uv_archive.sync.glance import is_installers, is_plainly_whole, is_program, scripts
from uv_archive.sync.record import Row, read_record, record_of_wheel

_CHUNK = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A distribution that an environment should have.

    *wheel* is the archive's, which it was installed from. Without one it was built on this
    machine, and has to agree with the environment's own record of it. Without *required* it may
    be missing altogether: then it wasn't asked for.
    """

    name: NormalizedName
    version: Version | None
    wheel: Path | None
    required: bool = True


def find_short(
    environment: Path, expected: Iterable[Expected], *, thorough: bool, signed: bool
) -> Mapping[NormalizedName, str]:
    """Return what isn't whole in *environment*, and of each the first thing that is wrong.

    Files are looked for and their sizes compared, or with *thorough* their hashes. Files that
    nobody expects aren't noticed. A file that several distributions bring may be any of theirs.
    *signed* says that uv writes `INSTALLER` and the like, as it does unless it is told not to.
    """
    look = _Look(environment=environment, thorough=thorough, signed=signed)
    found = ((one.name, look.fault(one)) for one in expected)
    return {name: fault for name, fault in found if fault is not None}


def dist_infos(environment: Path) -> Mapping[NormalizedName, tuple[Path, ...]]:
    """Return the `.dist-info` directories in *environment* by name: as a rule one of each."""
    found: defaultdict[NormalizedName, list[Path]] = defaultdict(list)
    for info in directories(environment, ".dist-info"):
        found[named_by(info)].append(info)
    return {name: tuple(infos) for name, infos in found.items()}


def is_made(environment: Path) -> bool:
    """Whether uv has written all of an environment itself, as far as one can see."""
    if not (environment / "pyvenv.cfg").is_file():
        return False
    # What uv makes last, where it makes it.
    last = "lib64/*/site-packages" if sys.platform == "linux" else "[Ll]ib/**/site-packages"
    return any(environment.glob(last))


def directories(environment: Path, suffix: str) -> Sequence[Path]:
    """Return the directories of distributions in *environment*: `.dist-info` or `.data` ones."""
    found: dict[str, Path] = {}
    # `lib64` is a link to `lib` on most systems, and the same directory then.
    for pattern in ("lib*/*/site-packages", "Lib/site-packages"):
        for site in sorted(environment.glob(pattern), reverse=True):
            found |= {path.name: path for path in site.glob(f"*{suffix}")}
    return [path for path in found.values() if path.is_dir() and not path.is_symlink()]


def without_record(environment: Path) -> Iterator[Path]:
    """Yield the `.dist-info` directories whose RECORD isn't there, or was cut off."""
    for info in directories(environment, ".dist-info"):
        record = info / "RECORD"
        if not record.is_file() or not record.read_bytes().endswith(b"\n"):
            yield info


def named_by(directory: Path) -> NormalizedName:
    """Return the distribution's name, of which such a directory has the name."""
    return canonicalize_name(directory.stem.rpartition("-")[0])


@dataclass(kw_only=True)
class _Look:
    """One look at an environment. Texts, not paths: there are tens of thousands of files."""

    environment: Path
    thorough: bool
    signed: bool
    _rows: dict[Path, Mapping[str, Row] | None] = field(default_factory=dict)
    _lines: dict[Path, frozenset[bytes]] = field(default_factory=dict)

    def fault(self, expected: Expected) -> str | None:
        """Return the first thing that is wrong with a distribution, or `None`."""
        every = self.dist_infos.get(expected.name, ())
        these = [info for info in every if has_version(info, expected.version)]
        if not these:
            return "it isn't installed" if expected.required else None
        if len(every) > 1:
            return "it is there more than once"
        info = these[0]
        if expected.wheel and not self.thorough and is_plainly_whole(info, expected.wheel):
            return None
        own = self._own(info)
        if own is None:
            return f"`{info.name}/RECORD` can't be read"
        return self._unfinished(own, info) or self._differing(own, info, expected.wheel)

    @cached_property
    def dist_infos(self) -> Mapping[NormalizedName, tuple[Path, ...]]:
        return dist_infos(self.environment)

    def _own(self, info: Path) -> Mapping[str, Row] | None:
        if info not in self._rows:
            try:
                content = (info / "RECORD").read_bytes()
                rows = {row.path: row for row in read_record(content)}
                # Without an end of its last line it was cut off.
                self._rows[info] = rows if content.endswith(b"\n") else None
                self._lines[info] = frozenset(content.split(b"\n"))
            except (OSError, ValueError):
                self._rows[info] = None
        return self._rows[info]

    def _unfinished(self, own: Mapping[str, Row], info: Path) -> str | None:
        """Say what isn't there yet of what uv writes after the wheel's files."""
        data = info.name.removesuffix(".dist-info") + ".data/"
        if any(path.startswith(data) for path in own) or (
            # Then the record is the wheel's still.
            self.thorough and self.signed and f"{info.name}/INSTALLER" not in own
        ):
            return f"`{info.name}/RECORD` isn't finished"
        if f"{info.name}/entry_points.txt" not in own:
            return None
        recorded = {path.rpartition("/")[2]: path for path in own if path.startswith("../")}
        for script in scripts(info):
            path = recorded.get(script) or recorded.get(f"{script}.exe")
            if path is None or not is_program(f"{info.parent}/{path}"):
                return f"the script `{script}` isn't there"
        return None

    def _differing(self, own: Mapping[str, Row], info: Path, wheel: Path | None) -> str | None:
        """Compare the wheel with the environment's record, and that with the files."""
        wrong = next(self._wrong_rows(own, info), None)
        if wheel is None:
            return wrong and _changed(wrong)
        if wrong is None and _agrees(own, self._lines[info], wheel, info):
            return None
        # Wheels exist whose RECORD is wrong; what is in them decides.
        try:
            with zipfile.ZipFile(wheel) as members:
                return self._unlike_members(own, info, members)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            return f"`{wheel}` can't be read: {error}"

    def _wrong_rows(self, own: Mapping[str, Row], info: Path) -> Iterator[str]:
        site = f"{info.parent}/"
        itself = f"{info.name}/RECORD"
        for path, row in own.items():
            if path == itself or "__pycache__/" in path:
                continue
            if not self._is_right(site + path, row) and not self._is_anothers(path, info):
                yield path

    def _is_right(self, path: str, row: Row) -> bool:
        size = _size(path)
        if size is None or row.size not in (None, size):
            return False
        return not self.thorough or not row.digest or row.digest == _digest(path, row.digest)

    def _is_anothers(self, path: str, info: Path) -> bool:
        """Whether the file is as another distribution has it that brings it too."""
        for other in (one for every in self.dist_infos.values() for one in every):
            row = (self._own(other) or {}).get(path) if other.parent == info.parent else None
            if other != info and row and self._is_right(f"{info.parent}/{path}", row):
                return True
        return False

    def _unlike_members(
        self, own: Mapping[str, Row], info: Path, members: zipfile.ZipFile
    ) -> str | None:
        """Compare the files with those in the wheel, whatever any RECORD says of them."""
        packed: set[str] = set()
        outside = _outside(own)
        for member in members.infolist():
            path = posixpath.normpath(member.filename)
            # "Skipping unsafe file name" (uv): absolute, or above where it is unpacked.
            if member.is_dir() or is_installers(path) or path.startswith(("/", "../")):
                continue
            row = _row_of(own, outside, path, info)
            if row is not None:
                packed.add(row.path)
            if _is_script(path):
                # Rewritten, or not there because an entry point has its name.
                ok = row is None or is_program(f"{info.parent}/{row.path}")
            else:
                ok = row is not None and self._is_like(f"{info.parent}/{row.path}", members, member)
            if not ok and not (row and self._is_anothers(row.path, info)):
                return _changed(row.path if row else path)
        wrong = (path for path in self._wrong_rows(own, info) if path not in packed)
        return next(map(_changed, wrong), None)

    def _is_like(self, path: str, members: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
        if _size(path) != member.file_size:
            return False
        if not self.thorough:
            return True
        with members.open(member) as packed:
            hasher = hashlib.sha256()
            while chunk := packed.read(_CHUNK):
                hasher.update(chunk)
        right = base64.urlsafe_b64encode(hasher.digest()).rstrip(b"=").decode()
        return _digest(path, "sha256") == f"sha256={right}"


def _changed(path: str) -> str:
    return f"`{path}` is missing or changed"


def _size(path: str) -> int | None:
    """Return the size of a plain file, or `None` if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a `Path` would cost as much again
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _agrees(own: Mapping[str, Row], lines: frozenset[bytes], wheel: Path, info: Path) -> bool:
    """Whether every row of the wheel's RECORD is in the environment's, but for what is rewritten.

    The files themselves are then compared with the environment's. *lines* are those of its
    RECORD: most stand there as they stand in the wheel's, and needn't be taken apart twice.
    """
    try:
        content = record_of_wheel(wheel).replace(b"\r\n", b"\n")
        rows = list(read_record(b"\n".join(frozenset(content.split(b"\n")) - lines)))
    except (OSError, ValueError):
        return False
    outside = _outside(own)
    for row in rows:
        found = own.get(row.path)
        if found == row or is_installers(row.path):
            continue
        found = found or _row_of(own, outside, row.path, info)
        if found is None or (
            (found.digest, found.size) != (row.digest, row.size) and not _is_script(row.path)
        ):
            return False
    return True


def _outside(own: Mapping[str, Row]) -> Mapping[str, Sequence[Row]]:
    """Return the rows of what lies elsewhere than the modules do, by the last part of its path."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for path, row in own.items():
        if path.startswith("../"):
            found[path.rpartition("/")[2]].append(row)
    return found


def _row_of(
    own: Mapping[str, Row], outside: Mapping[str, Sequence[Row]], path: str, info: Path
) -> Row | None:
    """Return the environment's row of a wheel's file: what lies in `.data` is moved elsewhere."""
    if path in own:
        return own[path]
    top, _, below = path.partition("/")
    scheme, _, rest = below.partition("/")
    if not top.endswith(".data") or not rest:
        return None
    match scheme:
        case "purelib" | "platlib":
            return own.get(rest)
        case "scripts":
            ends: tuple[str, ...] = (f"/bin/{rest}", f"/Scripts/{rest}")
        case "headers":
            ends = (f"/{named_by(info)}/{rest}",)
        case _:
            ends = (f"/{rest}",)
    named = outside.get(rest.rpartition("/")[2], ())
    return next((row for row in named if row.path.endswith(ends)), None)


def _is_script(path: str) -> bool:
    return ".data/scripts/" in path


def has_version(info: Path, version: Version | None) -> bool:
    """Whether a `.dist-info` directory is of *version*, if that is known."""
    if version is None:
        return True
    try:
        return Version(info.name.removesuffix(".dist-info").rpartition("-")[2]) == version
    except InvalidVersion:
        return False


def _digest(path: str, like: str) -> str | None:
    """Return the digest of a file as a RECORD writes it, by the algorithm of another one."""
    algorithm = like.partition("=")[0]
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            found = hashlib.file_digest(file, algorithm).digest()
    except ValueError:
        return like  # An algorithm that nobody knows any more says nothing.
    except OSError:
        return None
    return f"{algorithm}={base64.urlsafe_b64encode(found).rstrip(b'=').decode()}"
