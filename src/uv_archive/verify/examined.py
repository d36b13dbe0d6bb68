"""What was found of an archive on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uv_archive.errors import LockError
from uv_archive.verify.hashing import Hashed
from uv_archive.verify.model import Finding

if TYPE_CHECKING:
    from uv_archive.lock.model import Lock


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """What was found on disk. *archived* is what the lock's copy says."""

    findings: tuple[Finding, ...]
    hashed: Mapping[str, Hashed]
    archived: Lock | LockError

    def is_right(self, path: str) -> bool:
        """Whether a file is there and has the bytes that were recorded."""
        return path in self.hashed and all(finding.path != path for finding in self.findings)
