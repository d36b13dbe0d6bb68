"""A bench for each test: its own directory, project and index."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.bench import Bench
from tests.e2e.catalogue import fill
from tests.e2e.index import Index
from tests.e2e.projects import PLAIN


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distributions that every index begins with; not to be written to."""
    directory = tmp_path_factory.mktemp("catalogue")
    fill(directory)
    return directory


@contextmanager
def benched(
    directory: Path, *, catalogue: Path, uv: Path, offline: tuple[str, ...]
) -> Iterator[Bench]:
    """Make a bench in *directory*, whose index is served for as long as the context lasts."""
    directory.joinpath("home").mkdir(parents=True)
    directory.joinpath("project").mkdir()
    shutil.copytree(catalogue, directory / "index")
    with Index(directory / "index").running() as index:
        yield Bench(directory=directory, index=index, uv=uv, offline=offline)


@pytest.fixture
def bench(
    tmp_path: Path, catalogue: Path, uv: Path, no_network: tuple[str, ...]
) -> Iterator[Bench]:
    with benched(tmp_path / "bench", catalogue=catalogue, uv=uv, offline=no_network) as bench:
        yield bench


@pytest.fixture(scope="module")
def module_bench(
    tmp_path_factory: pytest.TempPathFactory,
    catalogue: Path,
    uv: Path,
    no_network: tuple[str, ...],
) -> Iterator[Bench]:
    """One bench for all tests of a module, which don't get into each other's way."""
    directory = tmp_path_factory.mktemp("module") / "bench"
    with benched(directory, catalogue=catalogue, uv=uv, offline=no_network) as bench:
        yield bench


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    catalogue: Path,
    uv: Path,
    no_network: tuple[str, ...],
) -> Iterator[Bench]:
    """A project with an archive that is done. Tests look at it, and change only copies."""
    directory = tmp_path_factory.mktemp("finished") / "bench"
    with benched(directory, catalogue=catalogue, uv=uv, offline=no_network) as bench:
        PLAIN.write(bench)
        bench.lock()
        bench.download()
        yield bench


@pytest.fixture
def carried(finished: Bench, tmp_path: Path) -> Bench:
    """The finished project and archive on another machine: other paths, and nothing is served."""
    bench = Bench(
        directory=tmp_path / "far side",
        index=Index(tmp_path / "nothing"),
        uv=finished.uv,
        offline=finished.offline,
    )
    bench.directory.joinpath("home").mkdir(parents=True)
    shutil.copytree(finished.root, bench.root)
    return bench
