"""What `download --with-tools` brings: enough, and no more, for a sync."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from io import BytesIO
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import give_up
from tests.distributions import make_sdist, make_wheel
from uv_archive.download.own_wheel import own_wheel, wheel_of
from uv_archive.download.tools import NEEDED_BY_SYNC, find_tools
from uv_archive.errors import ToolError
from uv_archive.request import Request
from uv_archive.target import Python, Target, platform_named
from uv_archive.uv import Completed, Uv, find_uv

PYTHON = Python(major=3, minor=12)


@pytest.fixture(autouse=True)
def program_is_installed() -> None:
    try:
        metadata.distribution("uv-archive")
    except metadata.PackageNotFoundError:
        give_up("`uv-archive` isn't installed")


def request_for(*platforms: str, tools: bool = True) -> Request:
    targets = tuple(Target(python=PYTHON, platform=platform_named(name)) for name in platforms)
    return Request(project=None, targets=targets, tools=tools)


def test_sync_imports_nothing_but_what_comes_along() -> None:
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import uv_archive.cli.sync\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # A compiled distribution has a module beside its package, named by a digest.
    names = {name for name in done.stdout.split() if not name.endswith("__mypyc")}
    foreign = names - sys.stdlib_module_names - {"uv_archive"}
    assert {canonicalize_name(name) for name in foreign} <= NEEDED_BY_SYNC


def test_what_sync_needs_is_among_the_dependencies() -> None:
    requires = metadata.requires("uv-archive") or ()
    assert {canonicalize_name(Requirement(text).name) for text in requires} >= NEEDED_BY_SYNC


def test_the_own_wheel_is_the_program_that_runs(tmp_path: Path, uv: Path) -> None:
    wheel = own_wheel()
    assert wheel.content == own_wheel().content
    assert str(wheel.filename.version) == metadata.version("uv-archive")
    (tmp_path / wheel.filename.text).write_bytes(wheel.content)
    environment = tmp_path / "environment"
    for command in (
        ("venv", "--python", sys.executable, str(environment)),
        ("pip", "install", "--no-deps", "--python", str(environment), wheel.filename.text),
    ):
        quietly = ("--offline", "--no-cache", "-q")
        subprocess.run([uv, *command, *quietly], check=True, cwd=tmp_path)
    (there,) = environment.glob("lib/*/site-packages/uv_archive")
    here = Path(sys.modules["uv_archive"].__file__ or "").parent
    assert {p.relative_to(there) for p in there.rglob("*.*") if "__pycache__" not in p.parts} == {
        p.relative_to(here) for p in here.rglob("*.*") if "__pycache__" not in p.parts
    }
    assert environment.joinpath("bin", "uv-archive").is_file()


def test_a_wheel_has_no_time_of_a_clock_and_its_record_last() -> None:
    wheel = wheel_of(metadata.distribution("click"), package=Path(click.__file__).parent)
    with zipfile.ZipFile(BytesIO(wheel.content)) as members:
        assert {member.date_time for member in members.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        names = members.namelist()
        assert names[-1].endswith(".dist-info/RECORD")
        recorded = members.read(names[-1]).decode().splitlines()
        assert sorted(line.partition(",")[0] for line in recorded) == sorted(names)
    assert not any(name.endswith((".pyc", "INSTALLER", "direct_url.json")) for name in names)


class TestAsking:
    @pytest.fixture
    def index(self, tmp_path: Path, uv: Path) -> Path:
        """A flat index with the tools, uv's for two platforms."""
        directory = tmp_path / "index"
        version = str(find_uv({"UV": str(uv)}).version)
        for tag in ("manylinux_2_17_x86_64", "win_amd64"):
            make_wheel(directory, "uv", version, tags=f"py3-none-{tag}")
        for name in NEEDED_BY_SYNC:
            make_wheel(directory, name, "99.0")
        return directory

    @pytest.fixture
    def asked(self) -> list[int]:
        return []

    def environment(self, index: Path, tmp_path: Path) -> dict[str, str]:
        settings = f'no-index = true\nfind-links = ["{index.as_posix()}"]\n'
        tmp_path.joinpath("uv.toml").write_text(settings)
        return {"HOME": str(tmp_path), "UV_NO_CACHE": "1"}

    def test_each_platform_is_asked_for_once(
        self, index: Path, tmp_path: Path, uv: Path, asked: list[int]
    ) -> None:
        environment = self.environment(index, tmp_path)
        requests = [
            request_for("linux", "windows"),
            request_for("windows"),
            request_for("macos", tools=False),
        ]
        found = find_tools(
            requests, uv=find_uv({"UV": str(uv)}), environment=environment, directory=tmp_path,
            recorded={}, asking=asked.append,
        )  # fmt: skip
        assert found is not None
        assert asked == [2]
        names = {path.split("-")[0] for path in found.contents}
        assert names == {
            "tools/uv",
            "tools/uv_archive",
            "tools/click",
            "tools/packaging",
            "tools/tomli",
            "tools/tomli_w",
        }
        assert len(found.contents) == 7
        again = find_tools(
            requests[::-1], uv=find_uv({"UV": str(uv)}), environment=environment,
            directory=tmp_path, recorded=found.answers, asking=asked.append,
        )  # fmt: skip
        assert asked == [2]
        assert again == found

    def test_nobody_is_asked_without_a_request_for_tools(self, tmp_path: Path, uv: Path) -> None:
        def never(command: Sequence[str], /, **_: object) -> Completed:
            raise AssertionError(command)

        nobody = Uv(executable=uv, version=find_uv({"UV": str(uv)}).version, runner=never)
        requests = [request_for("linux", tools=False)]
        assert (
            find_tools(requests, uv=nobody, environment={}, directory=tmp_path, recorded={},
                       asking=lambda _: None)
            is None
        )  # fmt: skip

    def test_every_platform_that_lacks_something_is_named(
        self, index: Path, tmp_path: Path, uv: Path, asked: list[int]
    ) -> None:
        requests = [request_for("linux", "macosx_14_0_arm64", "musllinux_1_2_x86_64")]
        with pytest.raises(ToolError) as caught:
            find_tools(
                requests, uv=find_uv({"UV": str(uv)}), directory=tmp_path, recorded={},
                environment=self.environment(index, tmp_path), asking=asked.append,
            )  # fmt: skip
        assert "for 2 of the platforms" in caught.value.message
        assert "macosx_14_0_arm64: " in caught.value.message
        assert "musllinux_1_2_x86_64: " in caught.value.message
        assert "build-requirements" not in f"{caught.value.message}{caught.value.hint}"

    def test_an_sdist_will_not_do(
        self, index: Path, tmp_path: Path, uv: Path, asked: list[int]
    ) -> None:
        next(index.glob("click-*")).unlink()
        make_sdist(index, "click", "99.0")
        with pytest.raises(ToolError, match=r"click-99\.0\.tar\.gz"):
            find_tools(
                [request_for("linux")], uv=find_uv({"UV": str(uv)}), directory=tmp_path,
                environment=self.environment(index, tmp_path), recorded={}, asking=asked.append,
            )  # fmt: skip
