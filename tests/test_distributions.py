"""The factories make what installers take for real."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.distributions import make_sdist, make_wheel


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def install(uv: Path, site: Path, index: Path, *requirements: str) -> None:
    """Install from the files in *index* alone, with nothing fetched and no cache shared."""
    command: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--offline",
        "--no-index",
        "--find-links",
        index,
    ]
    command += ["--cache-dir", site.parent / "cache", "--target", site, *requirements]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_uv_installs_a_wheel_with_its_requirements_and_extras(
    tmp_path: Path, site: Path, uv: Path
) -> None:
    make_wheel(tmp_path, "Some.Thing", "1.0", requires=["base>=2"], extras={"more": ["extra-one"]})
    make_wheel(tmp_path, "base", "2.5")
    make_wheel(tmp_path, "extra-one", "3")
    install(uv, site, tmp_path, "some-thing[more]")
    assert (site / "some_thing" / "__init__.py").read_text() == '__version__ = "1.0"\n'
    assert sorted(path.name for path in site.glob("*.dist-info")) == [
        "base-2.5.dist-info",
        "extra_one-3.dist-info",
        "some_thing-1.0.dist-info",
    ]


def test_uv_prefers_the_higher_build_tag(tmp_path: Path, site: Path, uv: Path) -> None:
    make_wheel(tmp_path, "thing", "1", build="2", files={"thing.py": "which = 2"})
    make_wheel(tmp_path, "thing", "1", build="10", files={"thing.py": "which = 10"})
    install(uv, site, tmp_path, "thing")
    assert (site / "thing.py").read_text() == "which = 10"


def test_uv_passes_over_a_wheel_of_another_platform(tmp_path: Path, uv: Path, site: Path) -> None:
    make_wheel(tmp_path, "thing", "2", tags="cp311-cp311-win_amd64")
    make_wheel(tmp_path, "thing", "1")
    install(uv, site, tmp_path, "thing")
    assert (site / "thing-1.dist-info").is_dir()


def test_uv_builds_an_in_tree_sdist_with_an_empty_index(
    tmp_path: Path, site: Path, uv: Path
) -> None:
    make_sdist(tmp_path / "index", "thing", "1.2")
    install(uv, site, tmp_path / "index", "thing")
    assert (site / "thing" / "__init__.py").read_text() == '__version__ = "1.2"\n'


def test_an_sdist_needs_its_build_requirements(tmp_path: Path, site: Path, uv: Path) -> None:
    make_sdist(tmp_path, "thing", "1.2", build_requires=["helper"])
    with pytest.raises(AssertionError, match="helper"):
        install(uv, site, tmp_path, "thing")
    make_wheel(tmp_path, "helper", "1")
    install(uv, site, tmp_path, "thing")


def test_a_legacy_sdist_asks_for_setuptools(tmp_path: Path, site: Path, uv: Path) -> None:
    make_sdist(tmp_path, "thing", "1.2", style="legacy")
    with pytest.raises(AssertionError, match="setuptools"):
        install(uv, site, tmp_path, "thing")


def test_two_calls_give_the_same_bytes(tmp_path: Path) -> None:
    for make in (make_wheel, make_sdist):
        once = make(tmp_path / "once", "thing", "1", requires=["a", "b"])
        again = make(tmp_path / "again", "thing", "1", requires=["a", "b"])
        os.utime(once, (0, 0))
        assert once.read_bytes() == again.read_bytes()
