"""The same lock and the same requests give the same metadata, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.bench import Bench, bytes_of, sha256_of
from tests.e2e.projects import PLAIN, SCENARIOS
from tests.e2e.validity import assert_valid

REQUESTS = (
    ("-p", "3.11", "--python-platform", "linux"),
    ("-p", "3.12", "--python-platform", "windows"),
    ("--extra", "fast", "--no-dev"),
    ("--all-platforms",),
)


@pytest.fixture
def locked(bench: Bench) -> Bench:
    PLAIN.write(bench)
    bench.write(
        "pyproject.toml",
        bench.root.joinpath("pyproject.toml")
        .read_text()
        .replace("[dependency-groups]", "[project.optional-dependencies]\nfast = ['beta']\n"
                 "[dependency-groups]\ngpu = ['forge']"),
    )  # fmt: skip
    bench.lock()
    return bench


def download_all(bench: Bench, archive: Path, requests: tuple[tuple[str, ...], ...]) -> str:
    said = None
    for request in requests:
        said = bench.download(*request, "--output-format", "json", "-o", archive)
    assert said is not None
    return str(said.json["digest"])


@pytest.mark.parametrize("pair", [REQUESTS[:2], REQUESTS[2:]], ids=["targets", "selections"])
def test_order_of_requests_does_not_matter(
    locked: Bench, pair: tuple[tuple[str, ...], ...]
) -> None:
    one, two = locked.directory / "one", locked.directory / "elsewhere" / "two"
    digest = download_all(locked, one, pair)
    assert download_all(locked, two, pair[::-1]) == digest
    assert bytes_of(one) == bytes_of(two)
    assert_valid(locked, one)


def test_neither_the_machine_nor_its_user_matters(locked: Bench, tmp_path: Path) -> None:
    """Number of jobs, umask, language, time zone, home, project's place, working directory."""
    one = locked.directory / "one"
    digest = download_all(locked, one, (REQUESTS[0], (*REQUESTS[0], "--group", "gpu")))
    moved = tmp_path / "a" / "much longer" / "path"
    shutil.copytree(locked.root, moved)
    (tmp_path / "home").mkdir()
    other: dict[str, str | None] = {
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path),
        "LC_ALL": "C",
        "LANG": "C",
        "PYTHONHASHSEED": "7",
        "PYTHONUTF8": "0",
        "TZ": "Pacific/Kiritimati",
        "USER": "somebody",
    }
    two = tmp_path / "two"
    umask = ("sh", "-c", 'umask 077; exec "$@"', "sh")
    command = ("download", "--project", moved, "-j", "1", "-o", two, *REQUESTS[0])
    for flags in (("--group", "gpu"), ()):
        said = locked.uv_archive(*command, *flags, prefix=umask, cwd=tmp_path, variables=other)
        assert said.status == 0, said.err
    assert bytes_of(one) == bytes_of(two)
    assert f"sha256:{sha256_of(one / 'uv-archive.json')}" == digest


def test_a_second_download_elsewhere_is_the_same(bench: Bench) -> None:
    scenario = next(one for one in SCENARIOS if one.name == "conflicting-extras-of-two-indexes")
    scenario.write(bench)
    bench.lock()
    one, two = bench.directory / "one", bench.directory / "two"
    bench.download(*scenario.download, "-o", one)
    bench.download(*scenario.download, "-o", two)
    assert bytes_of(one) == bytes_of(two)
