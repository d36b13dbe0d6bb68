"""What is installed is compared with the archive's wheels, and installed again if it is short."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from tests.distributions import make_sdist, make_wheel
from tests.offline_projects import BUILT_BY_UV, FROM_INDEX, Offline
from uv_archive.errors import ArchiveError, DamagedArchiveError, UnfinishedError
from uv_archive.sync.record import Row, read_record, record_of_wheel
from uv_archive.sync.unfinished import alone, marks
from uv_archive.sync.whole import Expected, find_short
from uv_archive.uv import Completed

ALPHA, BETA = canonicalize_name("alpha"), canonicalize_name("beta")


@pytest.fixture
def offline(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Offline:
    return Offline(directory=tmp_path, uv=uv, python=Path(sys.executable), prefix=no_network)


def project(offline: Offline, dependencies: Sequence[str]) -> None:
    offline.write(
        "pyproject.toml",
        f"""
        [project]
        name = "workflow"
        version = "1.0"
        requires-python = ">=3.11"
        dependencies = {list(dependencies)}
        """,
    )
    with (offline.root / "pyproject.toml").open("a") as file:
        file.write(BUILT_BY_UV + FROM_INDEX)
    offline.write("src/workflow/__init__.py", "")


@pytest.fixture
def synced(offline: Offline) -> Offline:
    """A project that has been installed: a wheel with scripts, another, and an sdist."""
    files = {
        "alpha/__init__.py": "def main(): pass\n",
        "alpha/data.txt": "some text\n",
        "alpha-1.0.data/scripts/alpha-tool": "#!python\nimport alpha\n",
        "alpha-1.0.data/data/share/alpha.dat": "data\n",
    }
    make_wheel(
        offline.served, "alpha", "1.0", files=files, entry_points={"alpha-run": "alpha:main"}
    )
    make_wheel(offline.served, "beta", "1.0")
    make_sdist(offline.served, "gamma", "1.0")
    project(offline, ["alpha", "beta", "gamma"])
    offline.archived(offline.lock())
    result = offline.sync()
    assert (result.status, result.short) == (0, ())
    return offline


def site(offline: Offline) -> Path:
    (found,) = (offline.root / ".venv").glob("lib/*/site-packages")
    return found


def contents(offline: Offline) -> dict[str, bytes]:
    environment = offline.root / ".venv"
    return {
        str(path.relative_to(environment)): path.read_bytes()
        for path in sorted(environment.rglob("*"))
        if path.is_file() and path.name not in (".lock", "uv_cache.json")
        if not (path.name == "RECORD" and "uv_cache.json" in path.read_text())
    }


def _truncate(path: Path) -> None:
    _replace(path, path.read_bytes()[:-1])


def _replace(path: Path, content: bytes) -> None:
    # Never in place: it may be a link to a file that another environment has too.
    path.unlink()
    path.write_bytes(content)


def _make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


Damage = Callable[[Path], None]
DAMAGES: Mapping[str, tuple[str, Damage]] = {
    "missing": ("alpha/data.txt", Path.unlink),
    "truncated": ("alpha/data.txt", _truncate),
    "empty": ("alpha/data.txt", lambda path: _replace(path, b"")),
    "a directory": ("alpha/data.txt", _make_directory),
    "RECORD missing": ("alpha-1.0.dist-info/RECORD", Path.unlink),
    "RECORD truncated": ("alpha-1.0.dist-info/RECORD", _truncate),
    "RECORD cut off": (
        "alpha-1.0.dist-info/RECORD",
        lambda path: _replace(path, b"\n".join(path.read_bytes().splitlines()[:-3])),
    ),
    "METADATA missing": ("alpha-1.0.dist-info/METADATA", Path.unlink),
    "script missing": ("../../../bin/alpha-run", Path.unlink),
    "script not executable": ("../../../bin/alpha-run", lambda path: path.chmod(0o644)),
    "rewritten script missing": ("../../../bin/alpha-tool", Path.unlink),
    "data missing": ("../../../share/alpha.dat", Path.unlink),
    "of an sdist missing": ("gamma.py", Path.unlink),
    "of the project missing": ("workflow-1.0.dist-info/METADATA", Path.unlink),
}


class TestRepair:
    @pytest.mark.parametrize("name", DAMAGES)
    def test_of_what_sizes_tell(self, synced: Offline, name: str) -> None:
        path, damage = DAMAGES[name]
        before = contents(synced)
        if not (site(synced) / path).exists():
            path = path.replace("gamma.py", "gamma/__init__.py")
        damage(site(synced) / path)

        checked = synced.sync("--check")
        assert (checked.status, len(checked.short)) == (1, 1)
        result = synced.sync()
        assert (result.status, result.short) == (0, checked.short)
        assert contents(synced) == before
        assert synced.sync().short == ()
        assert list(synced.root.glob(".uv-archive-*")) == []

    @pytest.mark.parametrize("path", ["alpha/data.txt", "../../../bin/alpha-run"])
    def test_of_what_only_hashes_tell(self, synced: Offline, path: str) -> None:
        before = contents(synced)
        changed = (site(synced) / path).read_bytes().swapcase()
        _replace(site(synced) / path, changed)
        (site(synced) / path).chmod(0o755)
        assert synced.sync().short == ()
        assert synced.sync(verify_install=True).short == (ALPHA,)
        assert contents(synced) == before
        assert synced.sync(verify_install=True).short == ()

    def test_together_with_its_record(self, synced: Offline) -> None:
        """The environment's record is no witness: the wheel's is."""
        record = site(synced) / "alpha-1.0.dist-info" / "RECORD"
        rows = [row for row in record.read_text().splitlines() if "data.txt" not in row]
        _replace(record, ("\n".join(rows) + "\n").encode())
        (site(synced) / "alpha" / "data.txt").unlink()
        assert synced.sync().short == (ALPHA,)
        assert (site(synced) / "alpha" / "data.txt").is_file()

    def test_leaves_what_flags_leave(self, synced: Offline) -> None:
        (site(synced) / "alpha" / "data.txt").unlink()
        result = synced.sync("--no-install-package", "alpha")
        assert (result.status, result.short) == (0, ())
        assert not (site(synced) / "alpha" / "data.txt").exists()

    def test_needs_the_file_in_the_archive(self, synced: Offline) -> None:
        wheel = synced.archive / "alpha-1.0-py3-none-any.whl"
        (site(synced) / "alpha" / "data.txt").unlink()
        wheel.write_bytes(wheel.read_bytes() + b" ")
        with pytest.raises(DamagedArchiveError, match="alpha"):
            synced.sync()
        wheel.unlink()
        with pytest.raises(ArchiveError, match=r"lacks 1 .*alpha"):
            synced.sync()

    def test_comparing_hashes_needs_every_file_in_the_archive(self, synced: Offline) -> None:
        (synced.archive / "beta-1.0-py3-none-any.whl").unlink()
        assert synced.sync().status == 0
        with pytest.raises(ArchiveError, match=r"lacks 1 .*beta"):
            synced.sync(verify_install=True)

    def test_that_does_not_help_is_an_error_that_names_it(self, synced: Offline) -> None:
        (site(synced) / "alpha" / "data.txt").unlink()
        breaking = _Breaking(synced, site(synced) / "alpha" / "data.txt")
        with pytest.raises(UnfinishedError, match=r"`alpha`: `alpha/data.txt` is missing"):
            breaking.sync()
        assert list(synced.root.glob(".uv-archive-.venv.unfinished/*.mark"))
        assert synced.sync().short == (ALPHA,)
        assert list(synced.root.glob(".uv-archive-*")) == []

    def test_of_what_was_just_installed(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0", files={"alpha/data.txt": "some text\n"})
        project(offline, ["alpha"])
        offline.archived(offline.lock())
        (offline.root / ".venv" / "lib").mkdir(parents=True, exist_ok=True)
        (offline.root / ".venv" / "lib").rmdir()
        (offline.root / ".venv").rmdir()
        breaking = _Breaking(offline, None)
        result = breaking.sync()
        assert (result.status, result.short) == (0, (ALPHA,))
        assert (site(offline) / "alpha" / "data.txt").is_file()

    @pytest.mark.parametrize("flag", [(), ("--no-installer-metadata",)], ids=["", "no metadata"])
    def test_is_not_needed_where_nothing_is_short(
        self, synced: Offline, flag: tuple[str, ...]
    ) -> None:
        assert synced.sync("--reinstall", *flag, verify_install=True).short == ()
        assert synced.sync("--link-mode", "copy", "--reinstall", verify_install=True).short == ()


class _Breaking(Offline):
    """Removes a file whenever uv has installed: *path* each time, without one it the first time."""

    def __init__(self, offline: Offline, path: Path | None) -> None:
        super().__init__(
            directory=offline.directory,
            uv=offline.uv,
            python=offline.python,
            prefix=offline.prefix,
        )
        self.path, self.first = path, path is None

    def run(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        done = super().run(command, environment=environment, directory=directory, capture=capture)
        if "sync" in command and "--dry-run" not in command:
            path = self.path
            if self.first:
                path, self.first = site(self) / "alpha" / "data.txt", False
            if path is not None:
                path.unlink(missing_ok=True)
        return done


_RACE = """
import os, sys
from pathlib import Path
from uv_archive.sync.unfinished import alone, marks

environment = Path(sys.argv[1])
inside = environment.with_name("inside")
for _ in range(50):
    with alone(environment, notify=lambda _: None), marks(environment) as own:
        assert own.left == ()
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        own.begin(["alpha"], creating=True)
        assert len(list(environment.parent.glob("*/*.mark"))) == 1
        own.end()
        inside.unlink()
"""


class TestMarks:
    def test_one_that_is_left_makes_the_next_sync_compare_hashes(self, synced: Offline) -> None:
        environment = synced.root / ".venv"
        _replace(site(synced) / "alpha" / "data.txt", b"SOME TEXT\n")
        with marks(environment) as own:
            own.begin([BETA], creating=False)
        assert synced.sync().short == (ALPHA,)
        assert list(synced.root.glob(".uv-archive-*")) == []

    def test_what_was_built_here_is_built_again(self, synced: Offline) -> None:
        with marks(synced.root / ".venv") as own:
            own.begin([canonicalize_name("gamma")], creating=False)
        assert synced.sync().short == ("gamma",)

    def test_of_a_sync_that_is_running_are_not_counted(self, tmp_path: Path) -> None:
        environment = tmp_path / "env"
        with marks(environment) as running:
            running.begin([ALPHA], creating=True)
            with marks(environment) as other:
                assert other.left == ()
                other.begin([BETA], creating=False)
                other.end()
            assert len(list(tmp_path.glob("*/*.mark"))) == 1
        with marks(environment) as later:
            (mark,) = later.left
            assert (set(mark.names), mark.creating) == ({ALPHA}, True)
            later.end()
        assert list(tmp_path.iterdir()) == []

    def test_syncs_of_one_environment_wait_for_each_other(self, tmp_path: Path) -> None:
        environment = tmp_path / "env"
        heard: list[str] = []
        order: list[str] = []

        def second() -> None:
            with alone(environment, notify=heard.append), marks(environment) as own:
                order.append("second")
                assert own.left == ()

        with alone(environment, notify=heard.append), marks(environment) as own:
            own.begin([ALPHA], creating=True)
            thread = Thread(target=second)
            thread.start()
            while not heard:
                time.sleep(0.01)
            own.end()
            order.append("first")
        thread.join()
        assert order == ["first", "second"]
        assert re.fullmatch(r"Another run \(process \d+\) is at work in `.*`; .*", heard[0])
        assert list(tmp_path.iterdir()) == []

    def test_two_syncs_at_once_end_with_everything_there(self, synced: Offline) -> None:
        (site(synced) / "alpha" / "data.txt").unlink()
        with ThreadPoolExecutor() as pool:
            first, second = (pool.submit(synced.sync) for _ in range(2))
        assert (first.result().status, second.result().status) == (0, 0)
        assert sorted([first.result().short, second.result().short]) == [(), (ALPHA,)]
        assert (site(synced) / "alpha" / "data.txt").is_file()
        assert list(synced.root.glob(".uv-archive-*")) == []

    def test_many_processes_race_for_their_directory(self, tmp_path: Path) -> None:
        """Nobody finds another's mark or the directory gone, which the last one takes away."""
        command = [sys.executable, "-c", _RACE, str(tmp_path / "env")]
        racing = [subprocess.Popen(command) for _ in range(4)]
        assert [process.wait() for process in racing] == [0, 0, 0, 0]
        assert list(tmp_path.iterdir()) == []

    def test_lie_in_the_environment_where_nothing_can_be_written_beside_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        environment = tmp_path / "env"
        environment.mkdir()
        make = Path.mkdir

        def mkdir(path: Path, *, exist_ok: bool = False) -> None:
            if path.parent == tmp_path:
                raise PermissionError(13, "Permission denied")
            make(path, exist_ok=exist_ok)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        with marks(environment) as own:
            own.begin([ALPHA], creating=False)
        assert [path.name for path in tmp_path.iterdir()] == ["env"]
        with marks(environment) as later:
            assert [set(mark.names) for mark in later.left] == [{ALPHA}]
            later.end()
        assert list(environment.iterdir()) == []

    def test_git_does_not_see_them(self, tmp_path: Path, tool: Callable[[str], Path]) -> None:
        git = [str(tool("git")), "-C", str(tmp_path)]
        subprocess.run([*git, "init", "-q"], check=True)
        with marks(tmp_path / ".venv") as own:
            own.begin([ALPHA], creating=True)
        said = subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True)
        assert said.stdout == b""


class TestWheels:
    """Distributions that are whole although what their wheels say of themselves isn't true."""

    def installed(self, offline: Offline, *wheels: Path) -> Path:
        environment = offline.directory / "env"
        offline.root.mkdir()
        assert offline.plain("venv", "-p", str(offline.python), str(environment)).status == 0
        for wheel in wheels:
            arguments = ["--no-deps", "--no-index", "-p", str(environment), str(wheel)]
            done = offline.plain("pip", "install", *arguments, directory=offline.directory)
            assert done.status == 0, done.stderr
        return environment

    def short(
        self, environment: Path, *wheels: Path, thorough: bool = True
    ) -> Mapping[NormalizedName, str]:
        expected = [
            Expected(
                name=canonicalize_name(wheel.name.split("-")[0]),
                version=Version(wheel.name.split("-")[1]),
                wheel=wheel,
            )
            for wheel in wheels
        ]
        return find_short(environment, expected, thorough=thorough, signed=True)

    @pytest.mark.parametrize("thorough", [False, True])
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            pytest.param("alpha/data.txt,sha256=", "alpha/data.txt,sha256=x", id="hash"),
            pytest.param(",10\n", ",11\n", id="size"),
            pytest.param("alpha/data.txt,", "./alpha/data.txt,", id="spelling"),
            pytest.param("alpha/data.txt,", "alpha/none.txt,", id="another file"),
        ],
    )
    def test_with_a_wrong_record(
        self, offline: Offline, old: str, new: str, *, thorough: bool
    ) -> None:
        wheel = make_wheel(
            offline.directory, "alpha", "1.0", files={"alpha/data.txt": "some text\n"}
        )
        _change_record(wheel, old, new)
        environment = self.installed(offline, wheel)
        assert self.short(environment, wheel, thorough=thorough) == {}
        (path,) = environment.glob("lib/*/site-packages/alpha/data.txt")
        _replace(path, b"SOME TEXT\n" if thorough else b"some\n")
        assert self.short(environment, wheel, thorough=thorough).keys() == {ALPHA}

    def test_that_share_a_file(self, offline: Offline) -> None:
        wheels = [
            make_wheel(offline.directory, name, "1.0", files={"shared/__init__.py": text})
            for name, text in (("alpha", "of = 'alpha'\n"), ("beta", "of = 'beta, longer'\n"))
        ]
        environment = self.installed(offline, *wheels)
        assert self.short(environment, *wheels) == {}
        (path,) = environment.glob("lib/*/site-packages/shared/__init__.py")
        _replace(path, b"of = 'nobody'\n")
        assert self.short(environment, *wheels).keys() == {ALPHA, BETA}

    def test_in_two_versions(self, offline: Offline) -> None:
        wheels = [make_wheel(offline.directory, "alpha", v) for v in ("1.0", "2.0")]
        environment = self.installed(offline, wheels[0])
        (info,) = environment.glob("lib/*/site-packages/alpha-1.0.dist-info")
        info.with_name("alpha-2.0.dist-info").mkdir()
        assert self.short(environment, wheels[0]) == {ALPHA: "it is there more than once"}

    def test_that_were_not_installed(self, offline: Offline) -> None:
        environment = self.installed(offline)
        wheel = make_wheel(offline.directory, "alpha", "1.0")
        assert self.short(environment, wheel) == {ALPHA: "it isn't installed"}
        optional = Expected(name=ALPHA, version=Version("1.0"), wheel=wheel, required=False)
        assert find_short(environment, [optional], thorough=True, signed=True) == {}


def _change_record(wheel: Path, old: str, new: str) -> None:
    with zipfile.ZipFile(wheel) as members:
        content = {name: members.read(name) for name in members.namelist()}
    (record,) = (name for name in content if name.endswith("/RECORD"))
    text = content[record].decode()
    assert old in text
    content[record] = text.replace(old, new, 1).encode()
    with zipfile.ZipFile(wheel, "w") as members:
        for name, data in content.items():
            members.writestr(name, data)


class TestRecord:
    def test_rows(self) -> None:
        content = b'a.py,sha256=x,3\n"with,comma \xe2\x80\xa8.py",,\n/b.py,md5=y,0\n'
        assert list(read_record(content)) == [
            Row("a.py", "sha256=x", 3),
            Row("with,comma \u2028.py", "", None),
            Row("b.py", "md5=y", 0),
        ]

    @pytest.mark.parametrize("content", [b"a,b\n", b"a,b,c\n", b"\xff,,\n", b'a,"b,1'])
    def test_what_is_none(self, content: bytes) -> None:
        with pytest.raises(ValueError, match=r"."):
            list(read_record(content))

    @pytest.mark.parametrize("comment", [b"", b"a comment that hides the end"])
    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    @pytest.mark.parametrize("last", [True, False])
    def test_is_found_in_any_wheel(
        self, tmp_path: Path, comment: bytes, compression: int, *, last: bool
    ) -> None:
        wheel = tmp_path / "alpha-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", compression) as members:
            if last:
                members.writestr("alpha/vendored/x-1.dist-info/RECORD", "no,,\n")
            members.writestr("alpha-1.0.dist-info/RECORD", "alpha.py,,1\n")
            if not last:
                members.writestr("alpha/vendored/x-1.dist-info/RECORD", "no,,\n")
            members.comment = comment
        assert record_of_wheel(wheel) == b"alpha.py,,1\n"

    def test_is_missing(self, tmp_path: Path) -> None:
        wheel = tmp_path / "alpha-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as members:
            members.writestr("alpha.py", "")
        with pytest.raises(ValueError, match="no RECORD"):
            record_of_wheel(wheel)
