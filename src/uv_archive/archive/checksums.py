"""`SHA256SUMS`: what `sha256sum -c` reads."""

from __future__ import annotations

from collections.abc import Mapping

from uv_archive.archive.layout import ArchivePath


def checksums(digests: Mapping[ArchivePath, str]) -> bytes:
    """Write the sha256 of each path, in hexadecimal, sorted by path."""
    return "".join(f"{digests[path]}  {path}\n" for path in sorted(digests)).encode()
