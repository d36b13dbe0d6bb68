"""What is measured, and the bars that the figures are held against."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contestants
from benchmarks.contestants import CURL, OURS, Field, own_program
from benchmarks.corpus import Corpus, Shape, make_corpus
from benchmarks.link import slow_link
from benchmarks.measure import Contestant, Sample, Series, interleave, ratios
from benchmarks.server import BASE

MIB = 2**20
SCIENTIFIC = Shape(name="scientific", packages=128, total=214_000_000)
LARGE = Shape(name="large", packages=1_700, total=2_000_000_000)
ONE = Shape(name="one", packages=1, total=1_000_000_000)
TINY = Shape(name="tiny", packages=10_000, total=40_000_000, even=True)
# 300 packages, each with a wheel for this machine and nine for others.
WIDE = Shape(name="wide", packages=300, total=1_200_000, even=True, wheels=10)
GROWING = (100, 316, 1_000, 3_162, 10_000)
SHA256 = "sha256 on all cores"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A limit, and what was reached. *unit* follows the figure: `×`, ` s`, ` MiB`."""

    text: str
    limit: float
    reached: float
    unit: str
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The series of one scenario. Ratios are to *base*; *number* is the count of its files."""

    key: str
    title: str
    base: str
    series: Sequence[Series]
    bars: Sequence[Bar]
    number: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What all scenarios share. *quick* leaves out what takes long."""

    field: Field
    corpora: Path
    quick: bool
    log: Callable[[str], object]

    @property
    def rounds(self) -> int:
        return 5

    @property
    def few(self) -> int:
        """How often to run what takes long."""
        return 2 if self.quick else 5

    def corpus(self, shape: Shape) -> Corpus:
        return make_corpus(shape, root=self.corpora, base=BASE)

    def run(self, contestants: Sequence[Contestant], *, rounds: int | None = None) -> list[Series]:
        return interleave(contestants, rounds=rounds or self.rounds, log=self.log)


def scientific(bench: Bench) -> Result:
    """128 files, as a scientific project has them."""
    peers = contestants.downloads(bench.field, bench.corpus(SCIENTIFIC), slow_peers=bench.few)
    if bench.quick:
        peers = [one for one in peers if one.name != contestants.PEX]
    series = bench.run(peers)
    return Result(
        key="scientific",
        title="128 files, 214 MB",
        base=CURL,
        series=series,
        bars=[*_relative(series, OURS, CURL, 1.5), *_faster(series)],
    )


def large(bench: Bench) -> Result:
    """1,700 files and 2 GB."""
    peers = contestants.downloads(bench.field, bench.corpus(LARGE), slow_peers=bench.few)
    slow = {"aria2c", "uv-wheel-download", "pip download"} if bench.quick else set()
    # pex3 takes a minute for 128 files.
    series = bench.run(
        [one for one in peers if one.name not in {contestants.PEX, *slow}], rounds=bench.few
    )
    return Result(
        key="large",
        title="1,700 files, 2 GB",
        base=CURL,
        series=series,
        bars=[*_relative(series, OURS, CURL, 1.2), *_faster(series), *_memory(series)],
    )


def one_file(bench: Bench) -> Result:
    """One file of 1 GB."""
    field, corpus = bench.field, bench.corpus(ONE)
    series = bench.run(
        [
            contestants.curl(field, corpus),
            contestants.ours(field, corpus),
            contestants.aria2(field, corpus),
        ],
        rounds=bench.few,
    )
    return Result(
        key="one", title="one file of 1 GB", base=CURL, series=series, bars=_memory(series)
    )


def slow(bench: Bench) -> Result:
    """The 128 files from far away."""
    field, corpus = bench.field, bench.corpus(SCIENTIFIC)
    with slow_link(field.server) as (namespace, means):
        far = Field(
            work=field.work,
            peers=field.peers,
            server=field.server,
            within=lambda command: ["ip", "netns", "exec", namespace, *command],
        )
        series = bench.run(
            [
                contestants.curl(far, corpus),
                contestants.ours(far, corpus),
                contestants.aria2(far, corpus),
            ],
            rounds=bench.few,
        )
    return Result(
        key="slow",
        title=f"128 files, 214 MB, 50 ms and 200 Mbit/s away (by {means})",
        base=CURL,
        series=series,
        bars=[
            bar
            for other in (_quicker(series, CURL, "aria2c"),)
            for bar in _relative(series, OURS, other, 1.1)
        ],
    )


def nothing_to_do(bench: Bench) -> Result:
    """A finished archive of 1,700 files, looked at again."""
    field, corpus = bench.field, bench.corpus(LARGE)
    archive = _fill(bench, corpus)
    again = contestants.ours_again(field, corpus, archive)
    hashed = contestants.ours_again(field, corpus, archive, "--verify")
    plain = _sha256(field, archive)
    series = bench.run([again, hashed, plain, *_verify(field, corpus, archive)])
    return Result(
        key="again",
        title="1,700 files, 2 GB, nothing to do",
        base=SHA256,
        series=series,
        bars=[
            *_absolute(series, again.name, 0.5),
            *_relative(series, f"{OURS} verify", SHA256, 1 / 0.9),
        ],
    )


def start(bench: Bench) -> Result:
    """How long it takes until something happens."""
    field, corpus = bench.field, bench.corpus(WIDE)
    program = str(own_program(OURS))

    def command(name: str, *words: str) -> Contestant:
        return Contestant(
            name=name,
            command=words,
            environment=field.environment,
            directory=corpus.project,
        )

    python = "python -c pass"
    series = bench.run(
        [
            command(python, sys.executable, "-c", "pass"),
            command(f"{OURS} --version", program, "--version"),
            command(f"{OURS} --help", program, "--help"),
            command(f"{OURS} download --help", program, "download", "--help"),
        ],
        rounds=20,
    )
    planning = Series(name="reading, selecting and planning 3,000 files")
    for number in range(bench.rounds * 2):
        planning.samples[number] = _planned(bench, corpus)
    return Result(
        key="start",
        title="Start",
        base=python,
        series=[*series, planning],
        bars=[
            *_relative(series, f"{OURS} --version", python, 3),
            *_relative(series, f"{OURS} --help", python, 3),
            *_absolute([planning], planning.name, 0.15),
        ],
    )


def growth(bench: Bench) -> Iterator[Result]:
    """Yield what more and more files take, from 100 to 10,000."""
    numbers = GROWING[:3] if bench.quick else GROWING
    for number in numbers:
        shape = TINY if number == TINY.packages else _growing(number)
        field, corpus = bench.field, bench.corpus(shape)
        peers = [contestants.curl(field, corpus), contestants.ours(field, corpus)]
        if number == TINY.packages:
            peers.append(contestants.aria2(field, corpus))
        series = bench.run(peers, rounds=2 if bench.quick else 5)
        yield Result(
            key=f"grow-{number}",
            title=f"{number:,} files of 4 kB",
            base=CURL,
            series=series,
            bars=_memory(series),
            number=number,
        )


def installs(bench: Bench) -> Result:
    """The 128 files installed: by uv over a relocated lock, by this program, and by others."""
    field, corpus = bench.field, bench.corpus(SCIENTIFIC)
    archive = _fill(bench, corpus)
    series = bench.run(contestants.installs(field, corpus, archive), rounds=bench.rounds)
    return Result(
        key="install",
        title="128 files, 214 MB, installed",
        base=contestants.PLAIN,
        series=series,
        bars=[
            *_relative(series, f"{OURS} sync", contestants.PLAIN, 1.1),
            *_absolute(series, f"{OURS} sync again", 0.5),
        ],
    )


def _growing(number: int) -> Shape:
    return Shape(name=f"tiny{number}", packages=number, total=number * 4_000, even=True)


def _fill(bench: Bench, corpus: Corpus) -> Path:
    """Make an archive of *corpus*, to be looked at and installed from."""
    bench.run([contestants.ours(bench.field, corpus)], rounds=1)
    kept = bench.field.work / f"archive-{corpus.shape.name}"
    shutil.rmtree(kept, ignore_errors=True)
    bench.field.output.rename(kept)
    return kept


def _planned(bench: Bench, corpus: Corpus) -> Sample:
    command = [sys.executable, "-m", "benchmarks.planning", str(corpus.project)]
    said = subprocess.run(
        command, check=True, capture_output=True, env=dict(bench.field.environment)
    )
    seconds, processor, memory = map(float, said.stdout.split())
    return Sample(wall=seconds, processor=processor, memory=int(memory))


def _sha256(field: Field, directory: Path) -> Contestant:
    """Hash all files of *directory*, as many at a time as there are cores."""
    script = f"find {directory} -name '*.whl' -print0 | {contestants.HASHING}"
    return Contestant(
        name=SHA256,
        command=["sh", "-c", script],
        environment=field.environment,
        directory=directory,
    )


def _verify(field: Field, corpus: Corpus, archive: Path) -> Iterator[Contestant]:
    program = str(own_program(OURS))
    said = subprocess.run([program, "verify", "--help"], check=False, capture_output=True)
    if said.returncode == 0:
        yield Contestant(
            name=f"{OURS} verify",
            command=[program, "verify", str(archive)],
            environment=field.environment,
            directory=corpus.project,
        )


def _named(series: Sequence[Series], name: str) -> Series | None:
    return next((one for one in series if one.name == name and one.samples), None)


def _relative(series: Sequence[Series], name: str, base: str, limit: float) -> Iterator[Bar]:
    one, other = _named(series, name), _named(series, base)
    spread = ratios(one, other) if one and other else None
    if spread is not None:
        text = f"{name} beside {base}"
        yield Bar(text=text, limit=limit, reached=spread.median, unit="×")


def _faster(series: Sequence[Series]) -> Iterator[Bar]:
    for name, limit in (("uv-wheel-download", 3.0), ("pip download", 10.0)):
        for bar in _relative(series, name, OURS, limit):
            text = f"{name} beside {OURS}, at least"
            yield Bar(text=text, limit=limit, reached=bar.reached, unit="×", at_least=True)


def _absolute(series: Sequence[Series], name: str, limit: float) -> Iterator[Bar]:
    one = _named(series, name)
    if one is not None:
        yield Bar(text=name, limit=limit, reached=one.wall.median, unit=" s")


def _memory(series: Sequence[Series]) -> Sequence[Bar]:
    one = _named(series, OURS)
    if one is None:
        return ()
    reached = one.memory.greatest / MIB
    return (Bar(text=f"{OURS}, memory", limit=150e6 / MIB, reached=reached, unit=" MiB"),)


def _quicker(series: Sequence[Series], *names: str) -> str:
    found = [one for name in names if (one := _named(series, name))]
    return min(found, key=lambda one: one.wall.median).name
