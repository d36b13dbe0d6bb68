"""What is asked of a gathering of build requirements, and what it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from packaging.utils import NormalizedName

from uv_archive.build_requirements.answers import Question
from uv_archive.build_requirements.backends import Unknown, Wanted
from uv_archive.digest import Digest
from uv_archive.filenames import SdistFilename, WheelFilename
from uv_archive.lock.model import Distribution, LocalPath
from uv_archive.target import Target
from uv_archive.url import Url

# Part of the key of every record: what an older table of backends said is not taken up.
_TABLE_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSubject:
    """Something to be built: an sdist in the archive, or a source tree.

    *label* is what messages call it, *name* the package. *targets* is `None` for all platforms.
    *digest* is that of an sdist; with it, what an earlier run read is taken up.
    """

    label: str
    name: NormalizedName
    where: Path
    subdirectory: str | None = None
    editable: bool = False
    targets: tuple[Target, ...] | None = None
    digest: Digest | None = None

    @property
    def key(self) -> str | None:
        """What an earlier reading of the same sdist was recorded under."""
        if self.digest is None:
            return None
        asked = [_TABLE_VERSION, str(self.digest), self.subdirectory, self.editable]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildWants:
    """What a source asks for: the part of a record that spares reading it again.

    *backend* is the module with the hooks.
    """

    backend: str
    wanted: tuple[Wanted, ...]
    uncertain: tuple[Unknown, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What a later run with the same questions needs, in order to ask nobody.

    *wants* is by `BuildSubject.key`, *answers* by `Question.key`.
    """

    wants: Mapping[str, BuildWants] = field(default_factory=dict)
    answers: Mapping[str, tuple[Distribution, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why a file is needed: the build, and the requirement that the file meets.

    A file that another build requirement depends on meets none itself.
    """

    of: str
    requested: str | None
    found: Literal["static", "table", "setting", "dependency"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RequiredFile:
    """A file that builds need; no *targets* stands for all platforms."""

    distribution: Distribution
    reasons: tuple[Reason, ...]
    targets: tuple[str, ...]

    @property
    def filename(self) -> WheelFilename | SdistFilename:
        return self.distribution.filename

    @property
    def location(self) -> Url | LocalPath:
        return self.distribution.location

    @property
    def digest(self) -> Digest | None:
        return self.distribution.digest

    @property
    def size(self) -> int | None:
        return self.distribution.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncertainty:
    """What isn't known about the build *of* something, in one sentence, and what to do."""

    of: str
    message: str
    hint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why the build requirements *of* something are missing, and what to do."""

    of: str
    message: str
    hint: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """What builds need, what isn't known and what failed; and the record for the next run.

    Everything is in an order that depends on nothing but the content.
    """

    files: tuple[RequiredFile, ...]
    uncertain: tuple[Uncertainty, ...]
    failures: tuple[Failure, ...]
    record: Record


class Reporter:
    """Hears how it goes. The methods may be called from several threads, and do nothing."""

    def asking(self, question: Question) -> None:
        """Uv is about to be asked."""

    def answered(self, question: Question) -> None:
        """Uv has answered, or failed to."""
