"""Bits that turn over, one at a time, and what a verification says of each.

As a program: `python -m tests.verify.bit_rot [DIRECTORY]` turns over every bit of a 64 KiB
archive and 100,000 of a larger one, verifies 1,000 times without damage, and prints the figures.
`UV_ARCHIVE_BIT_ROT_STEP` takes only every so manieth of them.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from tests.verify.archives import distributions, findings, flip, make

#: Bytes, all files together.
SMALL = 64 * 1024
SAMPLES = 100_000
CLEAN_RUNS = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many damages there were, and those that weren't found or weren't named."""

    tried: int
    wrong: tuple[str, ...]


def small(directory: Path) -> Path:
    """Make an archive of 64 KiB, metadata included."""
    for size in range(16_000, 0, -50):
        archive = make(directory / str(size), distributions(4, size))
        if sum(length for _, length in files(archive)) <= SMALL:
            return archive
    raise AssertionError("metadata alone are larger")


def large(directory: Path) -> Path:
    """Make an archive of some megabytes."""
    return make(directory, distributions(24, 200_000))


def files(archive: Path) -> list[tuple[str, int]]:
    """Return the paths in an archive with their sizes in bytes."""
    return [
        (path.relative_to(archive).as_posix(), path.stat().st_size)
        for path in sorted(archive.rglob("*"))
        if path.is_file()
    ]


def every_bit(archive: Path) -> Iterator[tuple[str, int]]:
    for path, size in files(archive):
        for bit in range(size * 8):
            yield path, bit


def some_bits(archive: Path, number: int, *, seed: int = 1) -> Iterator[tuple[str, int]]:
    """Choose bits of the archive as a whole, so that large files are hit more often."""
    rng = random.Random(seed)
    paths, sizes = zip(*files(archive), strict=True)
    for path in rng.choices(paths, weights=sizes, k=number):
        yield path, rng.randrange(sizes[paths.index(path)] * 8)


def rot(archive: Path, bits: Iterable[tuple[str, int]]) -> Tally:
    """Turn each bit over, verify, and turn it back."""
    tried, wrong = 0, []
    for path, bit in bits:
        flip(archive / path, bit)
        found = findings(archive)
        flip(archive / path, bit)
        tried += 1
        if found != [("changed", path)]:
            wrong.append(f"bit {bit} of {path}: {found or 'nothing was found'}")
    return Tally(tried=tried, wrong=tuple(wrong))


def clean(archive: Path, runs: int) -> Tally:
    """Verify without damage."""
    wrong = [str(found) for _ in range(runs) if (found := findings(archive))]
    return Tally(tried=runs, wrong=tuple(wrong))


def _small_part(directory: str, part: int, parts: int, step: int) -> Tally:
    archive = small(Path(directory) / f"small{part}")
    bits = list(every_bit(archive))[::step]
    return rot(archive, bits[part::parts])


def _large_part(directory: str, part: int, parts: int, step: int) -> Tally:
    archive = large(Path(directory) / f"large{part}")
    return rot(archive, list(some_bits(archive, SAMPLES))[::step][part::parts])


def _joined(tallies: Iterable[Tally]) -> Tally:
    every = list(tallies)
    return Tally(
        tried=sum(one.tried for one in every),
        wrong=tuple(text for one in every for text in one.wrong),
    )


def main() -> int:
    step = int(os.environ.get("UV_ARCHIVE_BIT_ROT_STEP", "1"))
    parts = len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as directory,
        ProcessPoolExecutor(parts) as pool,
    ):
        arguments = (repeat(directory), range(parts), repeat(parts), repeat(step))
        of_small = _joined(pool.map(_small_part, *arguments))
        of_large = _joined(pool.map(_large_part, *arguments))
        untouched = clean(small(Path(directory) / "untouched"), CLEAN_RUNS // step)
    for text in (*of_small.wrong, *of_large.wrong, *untouched.wrong):
        print(text, file=sys.stderr)
    print(
        f"bit rot: {of_small.tried - len(of_small.wrong)} of {of_small.tried} bits of 64 KiB and "
        f"{of_large.tried - len(of_large.wrong)} of {of_large.tried} samples found and named; "
        f"{len(untouched.wrong)} false alarms in {untouched.tried} clean runs"
    )
    return 1 if of_small.wrong or of_large.wrong or untouched.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
