"""What is asked of a gathering of build requirements, and what it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from packaging.utils import NormalizedName

from uv_archive.build_requirements.answers import Answered, Everywhere, Question
from uv_archive.build_requirements.backends import ByVersion, Found, Unknown, Wanted
from uv_archive.build_requirements.build_system import BuildSystem
from uv_archive.digest import Digest
from uv_archive.filenames import SdistFilename, WheelFilename
from uv_archive.lock.model import Distribution, LocalPath
from uv_archive.target import Target
from uv_archive.url import Url

# Part of the key of every record: what an older table of backends said is not taken up.
_TABLE_VERSION = 2
ConfigSettings = Mapping[str, str | Sequence[str]]
"""What a frontend tells the hooks of a backend (PEP 517): uv's `config-settings`."""

_NO_SETTINGS: ConfigSettings = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSubject:
    """Something to be built: an sdist in the archive, or a source tree.

    *label* is what messages and archives call it, *name* the package. *targets* are what it is
    built for. *digest* is that of an sdist; with it, what an earlier run read is taken up.
    """

    label: str
    name: NormalizedName
    where: Path
    subdirectory: str | None = None
    editable: bool = False
    targets: tuple[Target | Everywhere, ...] = (Everywhere(),)
    digest: Digest | None = None

    def key(
        self, config_settings: ConfigSettings = _NO_SETTINGS, digest: Digest | None = None
    ) -> str | None:
        """Return what an earlier reading of the same source was recorded under.

        A source tree has no digest of its own; *digest* stands for what it said.
        """
        own = self.digest or digest
        if own is None:
            return None
        asked = [_TABLE_VERSION, str(own), self.subdirectory, self.editable]
        if config_settings:
            asked.append(dict(config_settings))
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildWants:
    """What a source asks for: the part of a record that spares reading it again.

    *backend* is the module with the hooks. They were *asked* themselves on a machine such as
    `linux x86_64`, or weren't; *only_asked* tells that nothing else says what they want.
    *by_version* is what some versions of it want besides.
    """

    backend: str
    wanted: tuple[Wanted, ...]
    uncertain: tuple[Unknown, ...]
    asked: str = ""
    only_asked: bool = False
    by_version: tuple[ByVersion, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What a later run with the same questions needs, in order to ask nobody.

    *wants* is by `BuildSubject.key`, *answers* by `Question.key`.
    """

    wants: Mapping[str, BuildWants] = field(default_factory=dict)
    answers: Mapping[str, tuple[Answered, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Why a file is needed: the build, and the requirement that the file meets.

    A file that another build requirement depends on meets none itself. *targets* are the labels
    of what it was resolved for; on all platforms, *marker* (PEP 508) may say where it is needed.
    """

    of: str
    requested: str | None
    found: Found | Literal["dependency"]
    targets: tuple[str, ...] = ()
    marker: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RequiredFile:
    """A file that builds need. There is one reason for each build and requirement of its."""

    distribution: Distribution
    reasons: tuple[Reason, ...]

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

    *builds* are those whose requirements are known, sdists that others need among them, with the
    labels of the targets. Everything is in an order that depends on nothing but the content.
    """

    files: tuple[RequiredFile, ...]
    uncertain: tuple[Uncertainty, ...]
    failures: tuple[Failure, ...]
    record: Record
    builds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class AskHooks(Protocol):
    """Runs the hooks of a build backend: code of others, which no other function here runs."""

    def __call__(
        self,
        subject: BuildSubject,
        system: BuildSystem,
        *,
        config_settings: ConfigSettings,
        make_environment: Callable[[Path], Path],
    ) -> tuple[str, ...]:
        """Return what the hooks of *system* ask for to build *subject* on this machine.

        *make_environment* makes an environment with the static requirements in a directory, and
        returns its interpreter. May be called from several threads. Raises
        `BuildRequirementsError` where the hooks are to blame, and `StorageError`.
        """
        ...


class Reporter:
    """Hears how it goes. The methods may be called from several threads, and do nothing."""

    def asking(self, question: Question) -> None:
        """Uv is about to be asked."""

    def answered(self, question: Question) -> None:
        """Uv has answered, or failed to."""
