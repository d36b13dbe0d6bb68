"""One build: from exactly what it's given, and whatever it tries."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from packaging.utils import NormalizedName
from packaging.version import Version

from tests.build.sources import make_misdoer
from tests.conftest import give_up, without_privileges
from tests.distributions import make_sdist, make_wheel, sha256
from tests.git.repositories import Origin
from uv_archive.build import (
    Build,
    Built,
    Confinement,
    NotBuilt,
    Requirement,
    SdistSource,
    TreeSource,
    build_one,
    find_confinement,
)
from uv_archive.build.one import copy_tree
from uv_archive.build.repository import hide_change
from uv_archive.digest import Digest
from uv_archive.errors import ToolError
from uv_archive.target import Interpreter
from uv_archive.uv import Uv

NOW = 1_700_000_000


@dataclass(kw_only=True)
class Bench:
    """A place to build in."""

    directory: Path
    uv: Uv
    python: Path
    confinement: Confinement = field(default_factory=Confinement)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    count: int = 0

    @property
    def log(self) -> str:
        return (self.directory / f"log-{self.count}").read_text()

    def build(
        self,
        source: Path,
        *,
        name: str = "it",
        requirements: tuple[Path, ...] = (),
        settings: Mapping[str, object] | None = None,
        subdirectory: str | None = None,
        timeout: float = 60,
        stop: threading.Event | None = None,
    ) -> Built | NotBuilt:
        self.count += 1
        private = self.directory / f"private-{self.count}"
        private.mkdir()
        return build_one(
            Build(
                name=NormalizedName(name),
                version=Version("1.0"),
                source=SdistSource(path=source, digest=Digest.parse(sha256(source)))
                if source.is_file()
                else TreeSource(path=source, subdirectory=subdirectory),
                requirements=tuple(map(requirement, requirements)),
                python=self.python,
                settings=settings or {},
            ),
            uv=self.uv,
            environment=self.environment,
            private=private,
            log=self.directory / f"log-{self.count}",
            confinement=self.confinement,
            timeout=timeout,
            stop=stop,
        )


def requirement(path: Path) -> Requirement:
    name, version, *_ = path.name.split("-")
    return Requirement(
        path=path,
        name=NormalizedName(name),
        version=Version(version.removesuffix(".tar.gz")),
        digest=Digest.parse(sha256(path)),
    )


@pytest.fixture
def bench(tmp_path: Path, found_uv: Uv, interpreter: Interpreter) -> Bench:
    """Build with no confinement: what holds for it holds on every system."""
    return Bench(directory=tmp_path, uv=found_uv, python=interpreter.executable)


@pytest.fixture
def confined(bench: Bench, tmp_path: Path) -> Bench:
    """Build with all that this system can take away."""
    probe = tmp_path / "probe"
    probe.mkdir()
    bench.confinement = find_confinement(os.environ, private=probe)
    if not bench.confinement.has_no_network:
        give_up("this system allows no network namespace")
    return bench


def built(result: Built | NotBuilt) -> Built:
    assert isinstance(result, Built), result
    return result


def not_built(result: Built | NotBuilt) -> NotBuilt:
    assert isinstance(result, NotBuilt), result
    return result


def text(result: Built | NotBuilt, member: str) -> str:
    with zipfile.ZipFile(built(result).path) as wheel:
        return wheel.read(member).decode()


def test_a_wheel_comes_out_with_its_digest(bench: Bench, tmp_path: Path) -> None:
    result = built(bench.build(make_sdist(tmp_path, "it", "1.0")))

    assert result.filename.text == "it-1.0-py3-none-any.whl"
    content = result.path.read_bytes()
    assert (result.sha256, result.size) == (hashlib.sha256(content).hexdigest(), len(content))


def test_a_tree_is_built_from_a_copy(bench: Bench, tmp_path: Path) -> None:
    sdist = make_misdoer(tmp_path, "it", "open('left behind', 'w').close()")
    subprocess.run(["tar", "-xf", sdist], cwd=tmp_path, check=True)
    tree = tmp_path / "it-1.0"
    before = sorted(tree.rglob("*"))

    built(bench.build(tree))

    assert sorted(tree.rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "is_left_out"),
    [
        ("src/it/build/library.py", False),
        ("build/library.py", False),
        ("tests/data/other.egg-info/PKG-INFO", False),
        ("build/bdist.linux-x86_64/x", True),
        ("it.egg-info/PKG-INFO", True),
        ("src/it.egg-info/PKG-INFO", True),
        (".venv/pyvenv.cfg", True),
        ("it/__pycache__/it.pyc", True),
    ],
)
@pytest.mark.parametrize("pristine", [True, False], ids=["pristine", "worked-in"])
def test_only_what_work_has_left_is_left_out(
    tmp_path: Path, path: str, *, is_left_out: bool, pristine: bool
) -> None:
    tree, copied = tmp_path / "it", tmp_path / "copied"
    tree.joinpath(path).parent.mkdir(parents=True)
    tree.joinpath(path).touch()
    tree.joinpath("pyproject.toml").touch()
    copy_tree(TreeSource(path=tree, pristine=pristine), copied)
    assert copied.joinpath(path).exists() is (pristine or not is_left_out)


@pytest.mark.parametrize("pristine", [True, False], ids=["pristine", "worked-in"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_what_is_no_file_is_no_part_of_a_build(tmp_path: Path, *, pristine: bool) -> None:
    tree, copied = tmp_path / "it", tmp_path / "copied"
    tree.mkdir()
    tree.joinpath("pyproject.toml").touch()
    tree.joinpath("link").symlink_to("pyproject.toml")
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tree / "socket"))  # an absolute path may be too long
        copy_tree(TreeSource(path=tree, pristine=pristine), copied)
    assert {path.name for path in copied.iterdir()} == {"pyproject.toml", "link"}


_COPYING = """\
import sys
from pathlib import Path
from uv_archive.build.one import TreeSource, copy_tree
from uv_archive.errors import DamagedArchiveError

tree, copy = map(Path, sys.argv[1:])
try:
    copy_tree(TreeSource(path=tree), copy)
except DamagedArchiveError as error:
    print(error.message)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize("unreadable", ["a file", "a directory/"])
def test_what_cannot_be_read_is_named(tmp_path: Path, unreadable: str) -> None:
    tree = tmp_path / "it"
    path = tree / unreadable
    tree.mkdir()
    path.mkdir() if unreadable.endswith("/") else path.touch()
    path.chmod(0)
    command = [*without_privileges(), sys.executable, "-c", _COPYING]
    try:
        said = subprocess.check_output([*command, tree, tmp_path / "copied"], text=True)
    finally:
        path.chmod(0o700)
    assert said == f"`{path}` can't be copied: Permission denied\n"


def test_a_full_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: str, target: str, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    monkeypatch.setattr(shutil, "copyfile", refuse)
    tmp_path.joinpath("it").mkdir()
    tmp_path.joinpath("it", "file").touch()
    with pytest.raises(OSError, match="No space left") as caught:
        copy_tree(TreeSource(path=tmp_path / "it"), tmp_path / "copied")
    assert caught.value.errno == errno.ENOSPC


_ASKING_GIT = """\
import subprocess
import zipfile

import helper


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "it-1.0-py3-none-any.whl"
    asked = (["describe", "--tags", "--dirty"], ["status", "--porcelain", "--untracked-files=no"])
    said = [subprocess.check_output(["git", *one], text=True) for one in asked]
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        wheel.writestr("version", "".join(said))
        wheel.writestr("it-1.0.dist-info/METADATA", "Metadata-Version: 2.2\\nName: it\\n")
        wheel.writestr("it-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\n")
    return name
"""


@pytest.mark.parametrize("subdirectory", [None, "packages/it"])
def test_what_is_added_to_requirements_makes_no_commit_dirty(
    bench: Bench, tmp_path: Path, subdirectory: str | None, tool: Callable[[str], Path]
) -> None:
    tool("git")
    origin = Origin.create(tmp_path / "trees", tmp_path / "served", "it")
    below = subdirectory or "."
    backend = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    origin.write(f"{below}/pyproject.toml", f'{backend}[project]\nname = "it"\nversion = "1.0"\n')
    origin.write(f"{below}/own.py", _ASKING_GIT)
    origin.commit(tag="v1.0")
    helper = make_wheel(tmp_path, "helper", "2.0")
    settings = {"extra-build-dependencies": {"it": ["helper"]}}

    result = bench.build(
        origin.tree, requirements=(helper,), settings=settings, subdirectory=subdirectory
    )

    assert text(result, "version") == "v1.0\n"
    assert origin.git("ls-files", "-v", "--", f"{below}/pyproject.toml").startswith("H ")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_is_replaced_and_what_it_leads_to_stays(bench: Bench, tmp_path: Path) -> None:
    tree, elsewhere = tmp_path / "it", tmp_path / "elsewhere.toml"
    backend = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    elsewhere.write_text(backend)
    tree.mkdir()
    tree.joinpath("pyproject.toml").symlink_to(elsewhere)
    tree.joinpath("own.py").write_text(_TELLING)
    settings = {"extra-build-dependencies": {"it": ["helper"]}}

    result = bench.build(
        tree, requirements=(make_wheel(tmp_path, "helper", "2.0"),), settings=settings
    )

    assert text(result, "helper") == "2.0"
    assert elsewhere.read_text() == backend


@pytest.mark.parametrize("content", ["no table [", "[build-system]\nrequires = 3\n", "\0"])
def test_what_cannot_be_added_to_is_named(bench: Bench, tmp_path: Path, content: str) -> None:
    sdist = make_sdist(tmp_path, "it", "1.0", files={"pyproject.toml": content})
    settings = {"extra-build-dependencies": {"it": ["helper"]}}

    result = not_built(bench.build(sdist, settings=settings))

    assert result.kind == "damaged"
    assert "`pyproject.toml` can't be used" in result.reason


def test_a_file_that_is_added_is_none_that_git_would_tell_of(
    tmp_path: Path, tool: Callable[[str], Path]
) -> None:
    tool("git")
    origin = Origin.create(tmp_path / "trees", tmp_path / "served", "it")
    origin.write("odd [dir]/setup.py", "")
    origin.commit(tag="v1.0")
    added = origin.tree / "odd [dir]" / "pyproject.toml"
    added.touch()
    assert origin.git("status", "--porcelain") != ""

    hide_change(added, tree=origin.tree, environment=os.environ)

    assert origin.git("status", "--porcelain") == ""


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("link", [".git", ".git/index", ".git/info", ".git/info/exclude"])
def test_no_repository_of_somebody_is_changed_through_a_link(
    tmp_path: Path, link: str, tool: Callable[[str], Path]
) -> None:
    tool("git")
    origin = Origin.create(tmp_path / "trees", tmp_path / "served", "it")
    origin.write("pyproject.toml", "")
    origin.commit(tag="v1.0")
    exclude = origin.tree / ".git" / "info" / "exclude"
    before = exclude.read_bytes()
    copied = tmp_path / "copied"
    shutil.copytree(origin.tree, copied)
    place = copied / link
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(origin.tree / link)
    for name in ("pyproject.toml", "setup.py"):
        copied.joinpath(name).write_text("changed")

        hide_change(copied / name, tree=copied, environment=os.environ)

    assert origin.git("ls-files", "-v", "--", "pyproject.toml").startswith("H ")
    assert exclude.read_bytes() == before


def test_requirements_are_there_and_nothing_else(bench: Bench, tmp_path: Path) -> None:
    helper = make_wheel(tmp_path, "helper", "2.0")
    decoys = tmp_path / "decoys"
    make_wheel(decoys, "helper", "3.0")
    bench.environment = {
        **bench.environment,
        "UV_FIND_LINKS": str(decoys),
        "PIP_FIND_LINKS": str(decoys),
        "PYTHONPATH": str(decoys),
    }
    sdist = make_sdist(
        tmp_path,
        "it",
        "1.0",
        build_requires=["helper"],
        files={"ready/helper": "", "backend.py": _TELLING},
    )

    assert text(bench.build(sdist, requirements=(helper,)), "helper") == "2.0"
    refused = not_built(bench.build(sdist))
    assert "helper" in "\n".join(refused.lines)


_TELLING = """\
import zipfile

import helper


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "it-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        wheel.writestr("helper", helper.__version__)
        wheel.writestr("it-1.0.dist-info/METADATA", "Metadata-Version: 2.2\\nName: it\\n")
        wheel.writestr("it-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\n")
    return name
"""


def test_a_file_that_was_changed_is_not_built(bench: Bench, tmp_path: Path) -> None:
    sdist = make_sdist(tmp_path, "it", "1.0")
    recorded = sha256(sdist)
    sdist.write_bytes(sdist.read_bytes() + b"\0")
    private = tmp_path / "private"
    private.mkdir()

    result = build_one(
        Build(
            name=NormalizedName("it"),
            source=SdistSource(path=sdist, digest=Digest.parse(recorded)),
            requirements=(),
            python=bench.python,
        ),
        uv=bench.uv,
        environment={},
        private=private,
        log=tmp_path / "log",
        confinement=Confinement(),
    )

    assert not_built(result).kind == "damaged"
    assert not (tmp_path / "log").exists()


def test_settings_of_the_project_reach_the_backend(bench: Bench, tmp_path: Path) -> None:
    sdist = make_misdoer(
        tmp_path, "it", "said['level'] = settings['level']; said['own'] = os.environ['OWN']"
    )
    settings: Mapping[str, object] = {
        "config-settings": {"level": "3"},
        "extra-build-variables": {"it": {"OWN": "yes"}},
        "no-build": True,
        "index-url": "https://index.example/simple",
    }

    result = bench.build(sdist, settings=settings)

    assert (text(result, "level"), text(result, "own")) == ("3", "yes")


# What hostile builds try


SECRETS = {
    "UV_INDEX_PRIVATE_PASSWORD": "hunter2",
    "PIP_INDEX_URL": "https://me:hunter2@index.example/simple",
    "NETRC": "/hunter2/netrc",
    "GITHUB_TOKEN": "hunter2",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "HTTPS_PROXY": "http://me:hunter2@proxy.example",
    "CMAKE_PREFIX_TOKEN": "hunter2",
    "PKG_CONFIG_PATH": "https://me:hunter2@host.example/",
    "SOMETHING": "hunter2",
}


def test_no_secret_of_the_environment_reaches_a_build(bench: Bench, tmp_path: Path) -> None:
    bench.environment = {**bench.environment, **SECRETS, "CFLAGS": "-O2"}
    sdist = make_misdoer(tmp_path, "it", "said['all'] = repr(dict(os.environ))")

    seen = text(bench.build(sdist), "all")

    assert "hunter2" not in seen
    assert "'CFLAGS': '-O2'" in seen


def test_the_home_of_a_build_is_empty(bench: Bench, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine index.example login me password secret\n")
    bench.environment = {**bench.environment, "HOME": str(home)}
    sdist = make_misdoer(tmp_path, "it", "open(os.path.expanduser('~/.netrc')).read()")

    result = not_built(bench.build(sdist))

    assert result.kind == "failed"
    assert any("FileNotFoundError" in line and ".netrc" in line for line in result.lines)


def test_credentials_in_the_real_home_are_hidden(confined: Bench, tmp_path: Path) -> None:
    if confined.confinement.place is None:
        give_up("this system allows no mount namespace")
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text("hunter2")
    (home / ".netrc").write_text("hunter2")
    confined.environment = {**confined.environment, "HOME": str(home)}
    confined.confinement = find_confinement(confined.environment, private=tmp_path / "probe")
    misdeed = f"said['all'] = open('{home}/.netrc').read() + repr(os.listdir('{home}/.aws'))"

    result = confined.build(make_misdoer(tmp_path, "it", misdeed))

    assert text(result, "all") == "[]"
    assert (home / ".netrc").read_text() == "hunter2"


def test_the_network_is_out_of_reach(confined: Bench, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        misdeed = (
            "import socket\n"
            f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), timeout=5)"
        )
        result = not_built(confined.build(make_misdoer(tmp_path, "it", misdeed)))

        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert result.kind == "failed"
    assert any("unreachable" in line or "refused" in line for line in result.lines)


def test_a_build_that_never_ends_is_killed_with_all_it_started(
    bench: Bench, tmp_path: Path
) -> None:
    mark = f"sleeps-{os.getpid()}-{tmp_path.name}"
    misdeed = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', '{mark}'])\n"
        "time.sleep(600)"
    )

    began = time.monotonic()
    result = not_built(bench.build(make_misdoer(tmp_path, "it", misdeed), timeout=3))

    assert time.monotonic() - began < 120
    assert (result.kind, result.reason) == ("timeout", "it wasn't done after 3 seconds")
    assert not running(mark)


def test_a_process_that_leaves_its_group_dies_too(confined: Bench, tmp_path: Path) -> None:
    if "--pid" not in confined.confinement.unshare:
        give_up("this system allows no process namespace")
    mark = f"escapes-{os.getpid()}-{tmp_path.name}"
    misdeed = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-c', 'import time; time.sleep(600)', '{mark}']\n"
        "nothing = subprocess.DEVNULL\n"
        "subprocess.Popen(command, start_new_session=True, stdout=nothing, stderr=nothing)"
    )

    built(confined.build(make_misdoer(tmp_path, "it", misdeed)))

    assert not running(mark)


def running(mark: str) -> bool:
    """Whether a process has *mark* among its arguments, a moment after it was killed."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        if not any(mark in line for line in said.stdout.splitlines()):
            return False
        time.sleep(0.1)
    return True


def test_a_build_can_be_stopped(bench: Bench, tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    sdist = make_misdoer(tmp_path, "it", "import time; time.sleep(600)")

    assert not_built(bench.build(sdist, stop=stop)).kind == "stopped"


@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        ("os._exit(0)", "its build failed"),
        ("raise SystemExit(0)", "its build failed"),
        ("print('why: the compiler is missing', flush=True); raise OSError", "its build failed"),
        ("open(f'{wheel_directory}/more', 'w').close()", "it left 2 files where a wheel"),
    ],
    ids=["exits", "leaves", "fails", "leaves-more"],
)
def test_a_failure_is_told(bench: Bench, tmp_path: Path, misdeed: str, reason: str) -> None:
    result = not_built(bench.build(make_misdoer(tmp_path, "it", misdeed)))

    assert result.reason.startswith(reason)
    if "why" in misdeed:
        assert any("why: the compiler is missing" in line for line in result.lines)
        assert "why: the compiler is missing" in bench.log


@pytest.mark.parametrize("name", ["other", "it"])
def test_a_wheel_of_something_else_is_not_taken(bench: Bench, tmp_path: Path, name: str) -> None:
    version = "1.0" if name == "other" else "2.0"
    sdist = make_sdist(tmp_path, name, version)

    result = not_built(bench.build(sdist, name="it"))

    assert (result.kind, "something else" in result.reason) == ("wrong", True)


def test_a_link_is_no_wheel(bench: Bench, tmp_path: Path) -> None:
    sdist = make_sdist(
        tmp_path,
        "it",
        "1.0",
        files={
            "backend.py": "import os\n\n\n"
            "def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):\n"
            "    os.symlink(__file__, f'{wheel_directory}/it-1.0-py3-none-any.whl')\n"
            "    return 'it-1.0-py3-none-any.whl'\n"
        },
    )

    result = not_built(bench.build(sdist))

    assert result.kind in ("wrong", "failed")


def test_a_log_does_not_write_to_the_terminal(bench: Bench, tmp_path: Path) -> None:
    misdeed = "print('\\x1b[2J\\x1b]0;title\\x07gone', flush=True); raise OSError"

    result = not_built(bench.build(make_misdoer(tmp_path, "it", misdeed)))

    assert "\x1b" not in "".join(result.lines)


# The same bytes


def test_a_build_depends_neither_on_the_time_nor_on_the_place(
    confined: Bench, tmp_path: Path
) -> None:
    told = "said['all'] = repr((os.environ['SOURCE_DATE_EPOCH'], hash('x'), os.getcwd(), NAME))"
    sdist = make_misdoer(tmp_path, "it", told)

    first, second = built(confined.build(sdist)), built(confined.build(sdist))

    if confined.confinement.place is not None:
        assert first.sha256 == second.sha256
    assert "'315532800'" in text(first, "all")


def test_files_of_a_build_have_the_time_of_the_sdist(bench: Bench, tmp_path: Path) -> None:
    told = "said['time'] = str(int(os.stat('backend.py').st_mtime)), oct(os.umask(0))"
    sdist = make_misdoer(tmp_path, "it", told.replace("), oct", ") + oct"))

    before = os.umask(0o077)
    try:
        assert text(bench.build(sdist), "time") == "3155328000o22"
    finally:
        os.umask(before)


def test_a_uv_that_is_gone_is_no_failure_of_the_build(bench: Bench, tmp_path: Path) -> None:
    bench.uv = Uv(executable=tmp_path / "nowhere", version=bench.uv.version)

    with pytest.raises(ToolError, match="nowhere"):
        bench.build(make_sdist(tmp_path, "it", "1.0"))


def test_where_there_is_no_unshare_a_build_has_the_network(tmp_path: Path) -> None:
    assert find_confinement({"PATH": str(tmp_path)}, private=tmp_path) == Confinement()
    assert not Confinement().has_no_network


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
def test_a_system_that_refuses_is_asked_for_less(tmp_path: Path) -> None:
    program = tmp_path / "unshare"
    program.write_text('#!/bin/sh\ncase "$*" in *--mount*|*--pid*) exit 1;; esac\n')
    program.chmod(0o755)

    found = find_confinement({"PATH": str(tmp_path)}, private=tmp_path)

    assert found.has_no_network
    assert (found.place, found.hidden) == (None, ())
