"""Every error that a user of uv-archive can cause, one class for each thing the user does next.

Library code raises these and nothing else; only the command line turns them
into text and an exit status. Foreign exceptions are wrapped where they enter.
"""

from __future__ import annotations

from typing import ClassVar


class UvArchiveError(Exception):
    """The root: a message of one sentence, and a hint where there is something to do.

    *exit_status* is what the command line exits with: 2 where the request can't
    be carried out as it stands, 1 where the work was begun and failed.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RequestError(UvArchiveError):
    """What was asked for can't be carried out: change the request or the project."""

    exit_status = 2


class ProjectError(RequestError):
    """There is no project here, or its `pyproject.toml` can't be read."""


class LockError(RequestError):
    """The lock is missing, unreadable or of a version this program doesn't know.

    *place* is the key path of what is wrong, such as `package[3].wheels[0].hash`.
    """

    def __init__(self, message: str, *, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"{message} (at `{place}`)" if place else message, hint=hint)
        self.place = place


class StaleLockError(RequestError):
    """The lock doesn't say what `pyproject.toml` asks for: lock again."""


class TargetError(RequestError):
    """A Python or a platform that isn't known, or that the lock excludes."""


class SelectionError(RequestError):
    """An extra, a group or a package that the lock doesn't have, or that can't go together."""


class CoverageError(RequestError):
    """The lock has no file that some target could install for some package."""


class ArchiveError(RequestError):
    """The directory isn't the archive that the request needs."""


class ToolError(RequestError):
    """uv is missing, or too old for what was asked."""


class FetchError(UvArchiveError):
    """Some distributions could not be fetched; the others are in the archive."""


class StorageError(UvArchiveError):
    """The file system refused to write, read or list."""


class BuildRequirementsError(UvArchiveError):
    """The build requirements of some distribution could not be found out or resolved."""


class DamagedArchiveError(UvArchiveError):
    """A file of the archive isn't what its metadata or the lock say it is."""


class UnfinishedError(UvArchiveError):
    """An environment isn't whole after a sync, and installing again what is short didn't help."""


class BuildError(UvArchiveError):
    """Some distribution could not be built."""
