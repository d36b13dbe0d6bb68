"""Files of an archive are checked against every digest that is known of them."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from uv_archive.digest import Digest
from uv_archive.sync.hashing import Hashing
from uv_archive.sync.supply import Supplied, copy_verified

CONTENT = b"the bytes of a file"


def supplied(directory: Path, *, weak: str) -> Supplied:
    path = directory / "alpha-1.0-py3-none-any.whl"
    path.write_bytes(CONTENT)
    return Supplied(
        name=path.name,
        path=path,
        digest=Digest("sha256", hashlib.sha256(CONTENT).hexdigest()),
        locked=False,
        weak=Digest.parse(weak),
    )


@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_what_a_lock_says_in_md5_or_sha1_has_to_agree_as_well(
    tmp_path: Path, algorithm: str
) -> None:
    own = Digest(algorithm, hashlib.new(algorithm, CONTENT, usedforsecurity=False).hexdigest())
    right = supplied(tmp_path, weak=str(own))
    wrong = supplied(tmp_path, weak=str(Digest(algorithm, "0" * len(own.hex))))
    (tmp_path / "copies").mkdir()
    with ThreadPoolExecutor() as pool:
        assert Hashing(pool=pool).damaged([right, wrong]) == [wrong]
    assert copy_verified(right, tmp_path / "copies")
    assert not copy_verified(wrong, tmp_path / "copies")
