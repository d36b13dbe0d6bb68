"""Digests as locks write them."""

from __future__ import annotations

import hashlib

import pytest

from uv_archive.digest import SECURE_ALGORITHMS, Digest

VALUES = {
    name: hashlib.new(name, b"bytes").hexdigest()
    for name in ("md5", "sha1", "sha256", "sha384", "sha512")
} | {"blake2b": hashlib.blake2b(b"bytes").hexdigest()}


@pytest.mark.parametrize("algorithm", VALUES)
def test_a_digest_is_read_written_and_computed(algorithm: str) -> None:
    digest = Digest.parse(f"{algorithm}:{VALUES[algorithm].upper()}")
    assert str(digest) == f"{algorithm}:{VALUES[algorithm]}"
    assert Digest.parse(str(digest)) == digest
    hasher = digest.hasher()
    hasher.update(b"bytes")
    assert hasher.hexdigest() == digest.hex


def test_only_digests_that_nobody_can_forge_are_secure() -> None:
    secure = {name for name in VALUES if Digest.parse(f"{name}:{VALUES[name]}").is_secure}
    assert secure == SECURE_ALGORITHMS == VALUES.keys() - {"md5", "sha1"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("sha256", id="no-colon"),
        pytest.param("sha256:", id="no-value"),
        pytest.param(VALUES["sha256"], id="no-algorithm"),
        pytest.param(f"SHA256:{VALUES['sha256']}", id="algorithm-in-capitals"),
        pytest.param(f"crc32:{VALUES['sha256']}", id="unknown-algorithm"),
        pytest.param(f"sha256:{VALUES['sha256'][:-1]}", id="too-short"),
        pytest.param(f"sha256:{VALUES['sha256']}0", id="too-long"),
        pytest.param(f"sha256:{VALUES['sha256'][:-1]}g", id="not-hexadecimal"),
        pytest.param(f"sha256:{VALUES['sha256']}\n", id="line-end"),
        pytest.param(f"sha256:{VALUES['sha256'][:-1]}٣", id="another-digit"),
        pytest.param(f"sha512:{VALUES['sha256']}", id="another-length"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        Digest.parse(text)
