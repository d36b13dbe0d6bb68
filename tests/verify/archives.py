"""Archives to damage, whole in all their parts, made without a network."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path

from tests.archive.samples import INDEX, entries, hexdigest, lock_text
from uv_archive.archive.exports import Pylock
from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.metadata import compose
from uv_archive.archive.store import Store
from uv_archive.verify import Report, VerifyRequest, verify


def distributions(number: int, size: int) -> dict[ArchivePath, bytes]:
    """Return so many wheels of about *size* bytes each, the first of them of a whole block."""
    rng = random.Random(number)
    sizes = [size - size % 512, *(size + rng.randrange(-99, 99) for _ in range(number - 1))]
    return {
        ArchivePath(f"part{i:04}-1.0-py3-none-any.whl"): rng.randbytes(each)
        for i, each in enumerate(sizes)
    }


def make(directory: Path, files: Mapping[ArchivePath, bytes]) -> Path:
    """Make an archive of *files*, with a lock and exports that name them."""
    metadata = compose(
        project="example",
        lock_name="uv.lock",
        lock=lock_text(*(_package(path, content) for path, content in files.items())).encode(),
        requests=({},),
        distributions=entries(files),
        exports={"": _pylock(files)},
        coverage=["all platforms"],
        builds={},
    )
    with Store.open(directory).writing(notify=lambda _: None) as writer:
        for path, content in files.items():
            writer.write(path, content)
        writer.finish(metadata.manifest, metadata.documents)
    return directory


def verified(directory: Path) -> Report:
    return verify(VerifyRequest(directory=directory))


def findings(directory: Path) -> list[tuple[str, str | None]]:
    """Return what a verification says: kinds and paths."""
    return [(finding.kind, finding.path) for finding in verified(directory).findings]


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over, and leave everything else as it is."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        byte = os.pread(descriptor, 1, bit // 8)[0]
        os.pwrite(descriptor, bytes([byte ^ 1 << bit % 8]), bit // 8)
    finally:
        os.close(descriptor)


def _package(path: ArchivePath, content: bytes) -> str:
    return f"""
[[package]]
name = "{path.partition("-")[0]}"
version = "1.0"
source = {{ registry = "{INDEX}" }}
wheels = [
    {{ url = "https://files.example/{path}", hash = "sha256:{hexdigest(content)}" }},
]
"""


def _pylock(files: Mapping[ArchivePath, bytes]) -> Pylock:
    packages = [
        {
            "name": path.partition("-")[0],
            "version": "1.0",
            "wheels": [
                {"path": path, "size": len(content), "hashes": {"sha256": hexdigest(content)}}
            ],
        }
        for path, content in files.items()
    ]
    document = {"lock-version": "1.0", "created-by": "uv-archive", "packages": packages}
    return Pylock(document=document, left_out=())
