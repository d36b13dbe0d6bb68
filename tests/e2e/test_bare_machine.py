"""From an archive to an installed project on a machine that has Python and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Protocol

import pytest

from tests.conftest import give_up
from tests.e2e.bare import ELSEWHERE, HERE, offer_tools, own_directory, pythons, run_bare
from tests.e2e.bench import Bench, Said, bytes_of, installed, tree
from tests.e2e.bench import metadata as metadata_of
from tests.e2e.conftest import benched
from tests.e2e.index import Index
from tests.e2e.projects import write_project
from tests.e2e.validity import assert_valid


class Run(Protocol):
    """Runs the script, with variables of its own."""

    def __call__(self, *arguments: str | Path, python: Path = ..., **variables: str) -> Said: ...


@pytest.fixture(scope="module", autouse=True)
def program_is_installed() -> None:
    try:
        metadata.distribution("uv-archive")
    except metadata.PackageNotFoundError:
        give_up("`uv-archive` isn't installed")


@pytest.fixture(scope="module")
def near(
    tmp_path_factory: pytest.TempPathFactory,
    catalogue: Path,
    uv: Path,
    no_network: tuple[str, ...],
) -> Iterator[Bench]:
    """A project and its archive with tools. Tests look at it, and change only copies."""
    directory = tmp_path_factory.mktemp("near") / "bench"
    with benched(directory, catalogue=catalogue, uv=uv, offline=no_network) as bench:
        offer_tools(bench.index.at("main"), uv)
        write_project(bench, '["alpha==1.0", "gamma"]', requires_python=">=3.8")
        bench.lock()
        bench.download("--with-tools")
        yield bench


@pytest.fixture
def far(near: Bench, tmp_path: Path) -> Bench:
    """The project and the archive on another machine, at a path that isn't plain."""
    bench = Bench(
        directory=tmp_path / "fär [side]; it's 1",
        index=Index(tmp_path / "nothing"),
        uv=near.uv,
        offline=near.offline,
    )
    bench.directory.joinpath("home").mkdir(parents=True)
    shutil.copytree(near.root, bench.root)
    return bench


@pytest.fixture(scope="session")
def old_python() -> Path:
    """An interpreter that is too old for this program, but not for the script."""
    old = [version for version in pythons() if (3, 8) <= version < (3, 11)]
    if not old:
        give_up("there is no Python from 3.8 to 3.10")
    return pythons()[min(old)]


@pytest.fixture(scope="session")
def only(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Return what gives a search path with one interpreter."""
    made: dict[Path, str] = {}

    def path(python: Path) -> str:
        if python not in made:
            directory = tmp_path_factory.mktemp("path") / "bin"
            made[python] = str(own_directory(python, directory))
        return made[python]

    return path


@pytest.fixture
def bare(far: Bench, old_python: Path, only: Callable[[Path], str]) -> Run:
    """Run the script by an old Python, with the Python of the tests on the search path."""

    def run(*arguments: str | Path, python: Path = old_python, **more: str) -> Said:
        variables = {"PATH": only(Path(sys.executable)), "LANG": "C", **more}
        return run_bare(far, *arguments, python=python, variables=variables)

    return run


class TestTheArchive:
    def test_has_the_tools_and_says_so(self, near: Bench) -> None:
        assert_valid(near)
        names = {path.partition("-")[0] for path in near.distributions() if "/" in path}
        assert names == {
            f"tools/{name}"
            for name in ("uv", "uv_archive", "click", "packaging", "tomli", "tomli_w")
        }
        files = near.manifest()["files"]
        assert isinstance(files, dict)
        tools = {path for path in files if path.startswith("tools/")}
        assert all(files[path]["why"] == [{"kind": "tool"}] for path in tools)
        sums = near.archive.joinpath("SHA256SUMS").read_text()
        assert all(f"  {path}\n" in sums for path in (*tools, "install.py"))
        assert "python3 DIR/install.py" in near.archive.joinpath("README.md").read_text()
        assert "tools/" not in near.archive.joinpath("pylock.toml").read_text()

    def test_is_the_same_after_another_run_that_asks_nobody(self, near: Bench, far: Bench) -> None:
        asked = len(near.index.requests)
        said = far.uv_archive("download", "--with-tools")
        assert said.status == 0, said.err
        assert near.index.requests[asked:] == []
        assert bytes_of(far.archive) == bytes_of(near.archive)

    def test_is_the_same_when_made_anew(self, near: Bench, far: Bench) -> None:
        again = far.directory / "again"
        far.download("--with-tools", "-o", again)
        assert metadata_of(again) == metadata_of(near.archive)
        assert bytes_of(again) == bytes_of(near.archive)

    def test_gives_the_tools_up_when_no_request_wants_them(self, far: Bench) -> None:
        far.download("--replace", "--prune")
        assert not far.archive.joinpath("tools").exists()
        assert not far.archive.joinpath("install.py").exists()
        assert_valid(far)

    def test_has_a_uv_for_each_platform(self, far: Bench) -> None:
        there = far.directory / "both"
        platforms = ["--python-platform", HERE, "--python-platform", ELSEWHERE]
        far.download("--with-tools", *platforms, "-o", there)
        found = {path for path in far.distributions(there) if path.startswith("tools/")}
        assert any(path.endswith(f"{ELSEWHERE}.whl") for path in found)
        assert len([path for path in found if "/uv-" in path]) == 2

    def test_is_not_begun_where_a_platform_has_no_uv(self, far: Bench) -> None:
        there = far.directory / "none"
        said = far.uv_archive("download", "--with-tools", "--all-platforms", "-o", there)
        assert said.status == 2
        assert "`--with-tools` can't be met for" in said.err
        assert "macosx" in said.err
        assert not there.exists()

    def test_dry_run_lists_them(self, far: Bench) -> None:
        there = far.directory / "none"
        said = far.uv_archive("download", "--with-tools", "--dry-run", "-o", there)
        assert said.status == 0, said.err
        assert "tools/uv_archive-" in said.out
        assert not there.exists()


class TestABareMachine:
    @pytest.mark.parametrize("home", ["none", "empty"])
    def test_gets_the_whole_project(
        self, near: Bench, far: Bench, bare: Run, tmp_path: Path, home: str
    ) -> None:
        before = tree(far.archive)
        said = bare() if home == "none" else bare(HOME=str(tmp_path))
        assert said.status == 0, said.err
        assert tree(far.archive) == before
        assert {path.name for path in far.root.iterdir()} == {
            *(path.name for path in near.root.iterdir()), ".venv",
        }  # fmt: skip
        far.imports("app", "alpha", "gamma")
        far.assert_nothing_left_to_do()
        assert installed(far.venv).keys() == {"alpha-1.0", "app-1.0", "beta-2.0", "gamma-1.0"}

    @pytest.mark.slow
    def test_may_have_any_python(self, far: Bench, bare: Run) -> None:
        for version, python in sorted(pythons().items()):
            if version < (3, 8):
                continue
            far.clear_environment()
            said = bare(python=python)
            assert said.status == 0, (version, said.err)
            assert "Warning" not in said.err
            far.imports("app", "alpha")

    def test_may_be_asked_from_elsewhere(self, far: Bench, bare: Run, tmp_path: Path) -> None:
        said = bare("--project", far.root, "--no-install-package", "gamma")
        assert said.status == 0, said.err
        assert "gamma-1.0" not in installed(far.venv)

    def test_needs_no_search_path_beside_the_python_that_runs_it(
        self, far: Bench, bare: Run, only: Callable[[Path], str]
    ) -> None:
        python = Path(only(Path(sys.executable)), "python3")
        said = bare(python=python, PATH="/nowhere")
        assert said.status == 0, said.err

    def test_gets_the_exit_status_of_sync(self, far: Bench, bare: Run) -> None:
        said = bare("--extra", "nonsense")
        assert said.status == 2
        assert "nonsense" in said.err
        assert not far.venv.exists()

    def test_says_how_to_use_it(self, bare: Run) -> None:
        said = bare("--help")
        assert said.status == 0
        assert "usage: python3 DIR/install.py" in said.out

    def test_stays_clean_when_it_is_stopped(
        self, far: Bench, old_python: Path, only: Callable[[Path], str]
    ) -> None:
        environment = {"PATH": only(Path(sys.executable))}
        script = far.archive / "install.py"
        with subprocess.Popen(
            [*far.offline, old_python, script], cwd=far.root, env=environment,
            stderr=subprocess.DEVNULL,
        ) as child:  # fmt: skip
            while not list(far.root.glob(".install-uv-archive-*/alive")):
                assert child.poll() is None
                time.sleep(0.005)
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 143
        assert not list(far.root.glob(".install-uv-archive-*"))

    def test_cleans_up_what_a_killed_run_left(self, far: Bench, bare: Run) -> None:
        left = far.root / ".install-uv-archive-killed"
        left.mkdir()
        left.joinpath("alive").touch()
        assert bare().status == 0
        assert not left.exists()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _link(path: Path) -> None:
    path.rename(path.parent.parent / "x")
    path.symlink_to("../x")


DAMAGES: Mapping[str, Callable[[Path], None]] = {
    "changed": _flip,
    "missing": Path.unlink,
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "a link": _link,
}


class TestWhatIsRefused:
    """Before anything of the archive runs, and before anything in the project changes."""

    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize("pattern", ["tools/uv-*", "tools/uv_archive-*", "tools/click-*"])
    def test_a_damaged_tool(self, far: Bench, bare: Run, pattern: str, damage: str) -> None:
        (path,) = far.archive.glob(pattern)
        DAMAGES[damage](path)
        said = bare()
        assert said.status == 1
        assert path.name in said.err
        assert "hint: Copy the archive again" in said.err
        assert not far.venv.exists()

    @pytest.mark.parametrize("change", ["a line more", "unrecorded"])
    def test_itself(self, far: Bench, bare: Run, change: str) -> None:
        if change == "a line more":
            with far.archive.joinpath("install.py").open("a") as file:
                file.write("# a line more\n")
        else:
            path = far.archive / "uv-archive.json"
            document = json.loads(path.read_bytes())
            del document["files"]["install.py"]
            path.write_text(json.dumps(document))
        said = bare()
        assert said.status == 1
        assert "install.py" in said.err

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[]", b'{"format-version": 1}', b'{"format-version": 1, "files": [1]}',
         b'{"format-version": 1, "files": {"install.py": 7}}', b"[" * 100_000, b"\xff"],
        ids=range(8),
    )  # fmt: skip
    def test_metadata_that_say_nothing(self, far: Bench, bare: Run, content: bytes) -> None:
        far.archive.joinpath("uv-archive.json").write_bytes(content)
        said = bare()
        assert said.status == 1
        assert "uv-archive.json" in said.err

    def test_an_archive_without_metadata(self, far: Bench, bare: Run) -> None:
        far.archive.joinpath("uv-archive.json").unlink()
        said = bare()
        assert said.status == 1
        assert "There is no file" in said.err

    def test_another_format(self, far: Bench, bare: Run) -> None:
        far.archive.joinpath("uv-archive.json").write_text('{"format-version": 2}')
        said = bare()
        assert said.status == 2
        assert "format 2" in said.err

    def test_another_archive_than_expected(self, far: Bench, bare: Run) -> None:
        said = bare("--expect", f"sha256:{'0' * 64}")
        assert said.status == 2
        assert "digest" in said.err
        assert not far.venv.exists()

    def test_another_directory(self, bare: Run) -> None:
        said = bare("--dist-archive", "elsewhere")
        assert said.status == 2
        assert "--dist-archive" in said.err

    def test_a_project_that_is_not_there(self, bare: Run) -> None:
        said = bare("--project", "nowhere")
        assert said.status == 2
        assert "nowhere" in said.err

    def test_a_machine_that_the_archive_has_no_uv_for(self, far: Bench, bare: Run) -> None:
        far.download("--with-tools", "--replace", "--prune", "--python-platform", "windows")
        said = bare()
        assert said.status == 2
        assert ELSEWHERE in said.err
        assert "--python-platform manylinux_2_" in said.err

    def test_a_project_whose_python_is_missing(self, far: Bench, bare: Run) -> None:
        path = far.root / "pyproject.toml"
        path.write_text(path.read_text().replace(">=3.8", ">=3.99"))
        said = bare()
        assert said.status == 2
        assert "Python >=3.99" in said.err
        assert "Found: " in said.err
        assert f"{sys.version_info.major}.{sys.version_info.minor}." in said.err
        assert not far.venv.exists()

    def test_a_machine_without_the_python_that_the_archive_is_for(
        self, far: Bench, bare: Run
    ) -> None:
        far.download("--with-tools", "--replace", "-p", "3.29")
        said = bare()
        assert said.status == 2
        assert "The archive is for Python 3.29, which isn't on this machine" in said.err
        assert not far.venv.exists()

    def test_a_machine_whose_pythons_are_too_old_for_the_program(
        self, far: Bench, bare: Run, old_python: Path, only: Callable[[Path], str]
    ) -> None:
        path = far.root / "pyproject.toml"
        path.write_text(path.read_text().replace(">=3.11", ">=3.8"))
        said = bare("--python", old_python, PATH=only(old_python))
        assert said.status == 2
        assert "uv-archive needs a Python >=3.11 to run" in said.err
        assert not far.venv.exists()
