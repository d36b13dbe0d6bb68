"""Digests, as locks write them: `sha256:` and the hexadecimal value."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _hashlib import HASH

# Hexadecimal digits of each algorithm that uv writes into a lock.
_HEX_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128, "blake2b": 128}

#: The algorithms whose agreement vouches for a file. md5 and sha1 don't: collisions can be made.
SECURE_ALGORITHMS = frozenset({"sha256", "sha384", "sha512", "blake2b"})


@dataclass(frozen=True, slots=True)
class Digest:
    """The value that a hash algorithm gives for a file's bytes, in lower-case hexadecimal."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `algorithm:hex`. Raises `ValueError` for anything else."""
        algorithm, colon, value = text.partition(":")
        digits = _HEX_DIGITS.get(algorithm)
        if not colon or digits is None:
            raise ValueError(f"expected one of {', '.join(_HEX_DIGITS)}, a colon and a digest")
        if not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", value):
            raise ValueError(f"a {algorithm} digest has {digits} hexadecimal digits")
        return cls(algorithm, value.lower())

    @property
    def is_secure(self) -> bool:
        """Whether nobody can make another file with this digest."""
        return self.algorithm in SECURE_ALGORITHMS

    def hasher(self) -> HASH:
        """Return a fresh hash object of this algorithm."""
        return hashlib.new(self.algorithm, usedforsecurity=self.is_secure)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
