"""What is asked of a verification, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from uv_archive.digest import Digest

if TYPE_CHECKING:
    from uv_archive.download import Asked

Type = Literal["file", "directory", "symlink", "pipe", "socket", "device"]
"""What lies at a path, by the file system."""

Kind = Literal[
    "missing",
    "changed",
    "renamed",
    "wrong type",
    "unreadable",
    "extra",
    "unrecorded",
    "twin",
    "unfinished",
    "unexpected",
    "contradiction",
    "other lock",
    "not as locked",
    "lacking",
    "refused by uv",
    "rehearsal failed",
]
"""What a finding is about; `docs/reference/verify-json.md` says what each means."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a file is, or what it has to be. *size* is in bytes; what isn't known is `None`."""

    type: Type | None = "file"
    size: int | None = None
    digest: Digest | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that isn't as it should be.

    *path* is relative to the archive, with `/`, and *elsewhere* is a second one: where the bytes
    of a renamed file are, whose bytes a changed one has, whose twin it is. *target* is the label
    of the one that is concerned. *message* is one sentence.
    """

    kind: Kind
    message: str
    path: str | None = None
    elsewhere: str | None = None
    target: str | None = None
    expected: Facts | None = None
    found: Facts | None = None
    hint: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A target that was asked about.

    *distributions* is how many files an install on it takes, *lacking* how many of these aren't
    in the archive or aren't right. *by_uv* tells that uv said so as well; where not, *reason*
    says why uv couldn't be asked.
    """

    target: str
    distributions: int
    lacking: int
    by_uv: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """An install in a throw-away environment. *reason* says why it wasn't done, or failed.

    *network_off* tells that the system kept uv and what it runs from any network; without, it
    was only told not to use one.
    """

    target: str
    succeeded: bool | None
    network_off: bool
    distributions: int = 0
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyRequest:
    """What a verification is asked for.

    *directory* is the archive's, by default that of the project. *asked* names a project and
    targets, as `download` takes them: with it the archive is held against the project's own lock
    and each recorded request, with *targets* also against what these need. *expect* is what the
    archive's digest has to be. *environment* is that of the process.
    """

    directory: Path | None = None
    asked: Asked | None = None
    targets: bool = False
    rehearse: bool = False
    expect: Digest | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a verification found. *files* and *size* (bytes) are what was read.

    *digest* is the archive's, in hexadecimal; `None` without a readable manifest. *expected*
    tells that it is the one that was expected. *lock* is the project's lock that was compared;
    *doubt* says so where that lock is stale; it isn't a finding about the archive.
    """

    directory: Path
    findings: tuple[Finding, ...]
    files: int
    size: int
    digest: str | None = None
    expected: bool = False
    lock: Path | None = None
    doubt: str | None = None
    targets: tuple[Checked, ...] = ()
    rehearsals: tuple[Rehearsal, ...] = ()


class Reporter:
    """Hears how a verification goes. Every method does nothing by default.

    `advanced` may be called from several threads at a time.
    """

    def hashing(self, files: int, size: int) -> None:
        """So many files with so many bytes are about to be read."""

    def advanced(self, label: str, count: int) -> None:
        """*count* more bytes of a file were read."""

    def asking(self, target: str) -> None:
        """Uv is about to be asked about a target."""

    def rehearsing(self, target: str) -> None:
        """An install for a target is about to be rehearsed."""
