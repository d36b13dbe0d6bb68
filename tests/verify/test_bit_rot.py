"""A reduced count of `python -m tests.verify.bit_rot`."""

from __future__ import annotations

from pathlib import Path

from tests.verify.bit_rot import clean, every_bit, files, large, rot, small, some_bits

#: Of every so many bits of the small archive, one: a prime, so that all bits of a byte come.
STRIDE = 499


def test_bits_all_over_a_small_archive_are_found_and_named(tmp_path: Path) -> None:
    archive = small(tmp_path)
    assert 60 * 1024 < sum(size for _, size in files(archive)) <= 64 * 1024
    tally = rot(archive, list(every_bit(archive))[::STRIDE])
    assert tally.tried > 1_000
    assert tally.wrong == ()


def test_every_byte_of_the_manifest_counts(tmp_path: Path) -> None:
    archive = small(tmp_path)
    length = archive.joinpath("uv-archive.json").stat().st_size
    bits = ((position * 8 + position % 8) for position in range(0, length, 3))
    assert rot(archive, (("uv-archive.json", bit) for bit in bits)).wrong == ()


def test_samples_of_a_large_archive_are_found_and_named(tmp_path: Path) -> None:
    archive = large(tmp_path)
    assert rot(archive, some_bits(archive, 200)).wrong == ()


def test_no_false_alarms(tmp_path: Path) -> None:
    assert clean(small(tmp_path), 100).wrong == ()
