"""Whatever else a machine offers, a sync installs the lock's distributions from the archive."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.distributions import make_sdist, make_wheel
from tests.offline_projects import BUILT_BY_UV, FROM_INDEX, INDEX, Offline
from uv_archive.errors import UvArchiveError
from uv_archive.lock import Lock
from uv_archive.uv import Completed

#: Says which version of its build requirement built it.
_TELLING_BACKEND = """\
import tool
import zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "sourced-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        wheel.writestr("sourced.py", f"built_with = {tool.__version__!r}\\n")
        wheel.writestr("sourced-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\\nName: sourced\\nVersion: 1.0\\n")
        wheel.writestr("sourced-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("sourced-1.0.dist-info/RECORD", "")
    return name
"""

Variables = dict[str, str]
Decoy = Callable[[Offline, Path], Variables]


@pytest.fixture
def offline(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Offline:
    return Offline(directory=tmp_path, uv=uv, python=Path(sys.executable), prefix=no_network)


def _project(offline: Offline, dependencies: Sequence[str], more: str = "") -> None:
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
        file.write(textwrap.dedent(more) + BUILT_BY_UV + FROM_INDEX)
    offline.write("src/workflow/__init__.py", "")


def _wheel(directory: Path, name: str, **more: Sequence[str]) -> Path:
    files = {f"{name}.py": "__version__ = '1.0'\n"}
    return make_wheel(directory, name, "1.0", files=files, requires=more.get("requires", ()))


def _sourced(offline: Offline) -> Path:
    make_sdist(
        offline.served,
        "sourced",
        "1.0",
        build_requires=["tool"],
        files={"backend.py": _TELLING_BACKEND},
    )
    return _wheel(offline.served, "tool")


def _plain(offline: Offline) -> Path:
    _wheel(offline.served, "alpha", requires=["beta"])
    _wheel(offline.served, "beta")
    tool = _sourced(offline)
    _project(offline, ["alpha", "sourced"])
    return tool


def _direct(offline: Offline) -> Path:
    wheel = _wheel(offline.served / "direct", "alpha", requires=["beta>=1"])
    _wheel(offline.served, "beta")
    tool = _sourced(offline)
    _project(offline, [f"alpha @ {INDEX}/direct/{wheel.name}", "sourced"])
    return tool


def _own_files(offline: Offline) -> Path:
    _wheel(offline.root / "wheels", "alpha")
    _wheel(offline.served, "beta")
    tool = _sourced(offline)
    sources = """
        [tool.uv.sources]
        alpha = { path = "wheels/alpha-1.0-py3-none-any.whl" }
        """
    _project(offline, ["alpha", "beta", "sourced"], sources)
    return tool


LOCKS = {"index": _plain, "direct URL": _direct, "path": _own_files}


@pytest.fixture(params=LOCKS)
def locked(request: pytest.FixtureRequest, offline: Offline) -> Lock:
    tool = LOCKS[request.param](offline)
    lock = offline.lock()
    offline.archived(lock, build_requirements=[tool])
    return lock


def _decoys(offline: Offline) -> Path:
    """Return a directory with a higher version of everything, and the locked one with others."""
    place = offline.directory / "decoys"
    for name in ("alpha", "beta", "sourced", "tool"):
        for version in ("1.0", "99"):
            make_wheel(place, name, version, files={f"{name}.py": "__version__ = 'decoy'\n"})
        index = place / "simple" / name / "index.html"
        index.parent.mkdir(parents=True)
        links = (f'<a href="{path.as_uri()}">{path.name}</a>' for path in place.glob(f"{name}-*"))
        index.write_text("\n".join(links))
    return place


def _settings(place: Path) -> str:
    return (
        f'find-links = ["{place}"]\n'
        f'[[index]]\nname = "decoy"\nurl = "{place}"\nformat = "flat"\ndefault = true\n'
    )


def _variables(**variables: str) -> Decoy:
    def decoy(_: Offline, place: Path) -> Variables:
        return {name: value.format(place=place) for name, value in variables.items()}

    return decoy


def _named_settings(offline: Offline, place: Path) -> Variables:
    path = offline.directory / "named.toml"
    path.write_text(_settings(place))
    return {"UV_CONFIG_FILE": str(path)}


def _users_settings(offline: Offline, place: Path) -> Variables:
    path = offline.directory / "user" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True)
    path.write_text(_settings(place))
    return {"XDG_CONFIG_HOME": str(path.parent.parent)}


def _systems_settings(offline: Offline, place: Path) -> Variables:
    path = offline.directory / "system" / "uv" / "uv.toml"
    path.parent.mkdir(parents=True)
    path.write_text(_settings(place))
    return {"XDG_CONFIG_DIRS": str(path.parent.parent)}


def _projects_settings(offline: Offline, place: Path) -> Variables:
    offline.write("uv.toml", _settings(place))
    return {}


def _pyproject(offline: Offline, place: Path) -> Variables:
    with (offline.root / "pyproject.toml").open("a") as file:
        file.write(f'[[tool.uv.index]]\nname = "decoy"\nurl = "{place}"\nformat = "flat"\n')
        file.write(f'[tool.uv]\nfind-links = ["{place}"]\n')
    return {}


def _pips_settings(offline: Offline, place: Path) -> Variables:
    text = f"[global]\nfind-links = {place}\nindex-url = {place.as_uri()}\nno-index = false\n"
    path = offline.directory / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return {"PIP_CONFIG_FILE": str(path)}


def _netrc(offline: Offline, place: Path) -> Variables:
    path = offline.directory / ".netrc"
    path.write_text("machine index.example login someone password canary\n")
    return {"NETRC": str(path)}


def _poisoned_cache(offline: Offline, place: Path) -> Variables:
    """Let uv unpack the very files of the archive into its cache, and change what is there."""
    cache = offline.directory / ".cache" / "uv"
    warm = ["pip", "install", "--offline", "--no-index", "--find-links", str(offline.archive)]
    warm += ["--cache-dir", str(cache), "--target", str(offline.directory / "warm"), "tool"]
    if list(offline.archive.glob("beta-*.whl")):
        warm.append("beta")
    _ran(offline, warm)
    modules = list(cache.glob("archive-v*/*/*.py"))
    assert modules
    for path in modules:
        path.write_text("__version__ = 'decoy'\n")
    return {"UV_CACHE_DIR": str(cache)}


def _beside_the_archives_files(offline: Offline, place: Path) -> Variables:
    for path in place.iterdir():
        if "-99-" in path.name and path.is_file():
            (offline.archive / path.name).write_bytes(path.read_bytes())
    return {}


def _modules(offline: Offline, place: Path) -> Variables:
    """A module that a build requirement has as well, which would come first."""
    modules = place / "modules"
    modules.mkdir()
    (modules / "tool.py").write_text("__version__ = 'decoy'\n")
    return {"PYTHONPATH": str(modules)}


DECOYS: Mapping[str, Decoy] = {
    "UV_FIND_LINKS": _variables(UV_FIND_LINKS="{place}"),
    "UV_INDEX": _variables(
        UV_INDEX="decoy=file://{place}/simple", UV_INDEX_STRATEGY="unsafe-best-match"
    ),
    "UV_DEFAULT_INDEX": _variables(UV_DEFAULT_INDEX="file://{place}/simple"),
    "UV_INDEX_URL": _variables(
        UV_INDEX_URL="file://{place}/simple", UV_EXTRA_INDEX_URL="file://{place}/simple"
    ),
    "UV_NO_INDEX": _variables(UV_NO_INDEX="0", UV_OFFLINE="0", UV_FROZEN="0", UV_NO_CACHE="0"),
    "UV_OVERRIDE": _variables(UV_OVERRIDE="{place}", UV_CONSTRAINT="{place}", UV_EXCLUDE="x"),
    "UV_UPGRADE": _variables(UV_UPGRADE="1", UV_PRERELEASE="allow", UV_NO_SOURCES="1"),
    "UV_GIT_LFS": _variables(UV_GIT_LFS="1", UV_TORCH_BACKEND="cpu", UV_ENV_FILE="{place}"),
    "UV_LINK_MODE": _variables(UV_LINK_MODE="symlink"),
    "PIP_": _variables(PIP_FIND_LINKS="{place}", PIP_INDEX_URL="file://{place}/simple"),
    "UV_CONFIG_FILE": _named_settings,
    "the user's uv.toml": _users_settings,
    "the system's uv.toml": _systems_settings,
    "the project's uv.toml": _projects_settings,
    "pyproject.toml": _pyproject,
    "pip.conf": _pips_settings,
    "netrc": _netrc,
    "a poisoned cache": _poisoned_cache,
    "beside the archive's files": _beside_the_archives_files,
    "PYTHONPATH": _modules,
}
# The others are tried alone elsewhere, on locks of every kind.
ALONE = (
    *("UV_NO_INDEX", "UV_OVERRIDE", "UV_UPGRADE", "UV_GIT_LFS", "UV_LINK_MODE", "PYTHONPATH"),
    *("the project's uv.toml", "pyproject.toml", "netrc"),
)


def _ran(offline: Offline, arguments: Sequence[str], **variables: str) -> Completed:
    done = offline.run(
        [str(offline.uv), *arguments],
        environment={**offline.environment, **variables},
        directory=offline.directory,
        capture=True,
    )
    assert done.status == 0, done.stderr
    return done


def assert_installed_is_locked(offline: Offline, lock: Lock) -> None:
    """Compare names and versions with the lock, and every file with the archive's wheels."""
    assert offline.has() == {f"{package.name}=={package.version}" for package in lock.packages}
    (site,) = (offline.root / ".venv").glob("lib/*/site-packages")
    assert (site / "sourced.py").read_text() == "built_with = '1.0'\n"
    compared = 0
    for package in lock.packages:
        for wheel in package.wheels:
            name = str(wheel.filename)
            path = next(
                place / name
                for place in (offline.archive, offline.root / "wheels")
                if (place / name).is_file()
            )
            with zipfile.ZipFile(path) as members:
                for member in members.namelist():
                    if not member.endswith("/RECORD"):
                        assert (site / member).read_bytes() == members.read(member), member
                        assert not (site / member).is_symlink()
                        compared += 1
    assert compared > 4


class TestDecoys:
    @pytest.mark.parametrize("name", ALONE)
    def test_alone(self, offline: Offline, name: str) -> None:
        tool = _plain(offline)
        lock = offline.lock()
        offline.archived(lock, build_requirements=[tool])
        variables = DECOYS[name](offline, _decoys(offline))
        result = offline.sync(environment=variables)
        assert result.status == 0, result.stderr + offline.shown[-1].stderr
        assert_installed_is_locked(offline, lock)

    def test_all_together(self, offline: Offline, locked: Lock) -> None:
        place = _decoys(offline)
        variables = {k: v for decoy in DECOYS.values() for k, v in decoy(offline, place).items()}
        result = offline.sync(environment=variables)
        assert result.status == 0, result.stderr + offline.shown[-1].stderr
        assert_installed_is_locked(offline, locked)

    def test_the_decoys_would_lead_uv_astray(self, offline: Offline) -> None:
        """Hold against tests above that can't fail."""
        tool = _plain(offline)
        offline.archived(offline.lock(), build_requirements=[tool])
        place = _decoys(offline)
        install = ["pip", "install", "--offline", "--reinstall"]
        install += ["--target", str(offline.directory / "led")]
        module = offline.directory / "led" / "tool.py"
        leading = ["UV_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL"]
        leading += ["UV_CONFIG_FILE", "the user's uv.toml", "the system's uv.toml"]
        for name in leading:
            fresh = str(offline.directory / f"cache of {name}")
            _ran(offline, [*install, "--cache-dir", fresh, "tool"], **DECOYS[name](offline, place))
            assert "decoy" in module.read_text(), name
            module.unlink()
        poisoned = _poisoned_cache(offline, place)
        links = ["--no-index", "--find-links", str(offline.archive), "tool==1.0"]
        _ran(offline, [*install, *links], **poisoned)
        assert "decoy" in module.read_text()


class TestSwap:
    @pytest.mark.parametrize("which", ["alpha-1.0-py3-none-any.whl", "sourced-1.0.tar.gz"])
    def test_after_the_check_is_found_by_uv(self, offline: Offline, which: str) -> None:
        tool = _plain(offline)
        lock = offline.lock()
        offline.archived(lock, build_requirements=[tool])
        path = offline.archive / which
        right = path.read_bytes()
        evil = make_wheel if which.endswith(".whl") else make_sdist
        name = which.partition("-")[0]
        wrong = evil(offline.directory / "evil", name, "1.0", files={f"{name}.py": "evil = 1\n"})

        swapping = _Swapping(offline, path, wrong.read_bytes())
        try:
            assert swapping.sync().status != 0
        except UvArchiveError as error:
            assert which in str(error)  # noqa: PT017 - both ways of refusing are right
        assert swapping.swapped
        assert not list((offline.root / ".venv").glob(f"lib/*/site-packages/{name}.py"))

        path.write_bytes(right)
        assert offline.sync().status == 0
        assert_installed_is_locked(offline, lock)

    def test_of_a_build_requirement_has_no_effect(self, offline: Offline) -> None:
        tool = _plain(offline)
        lock = offline.lock()
        offline.archived(lock, build_requirements=[tool])
        wrong = make_wheel(
            offline.directory / "evil", "tool", "1.0", files={"tool.py": "__version__ = 'evil'\n"}
        )
        swapping = _Swapping(offline, offline.archive / tool.name, wrong.read_bytes())
        assert swapping.sync().status == 0
        assert swapping.swapped
        assert_installed_is_locked(offline, lock)


class _Swapping(Offline):
    """Puts another file in the place of one of the archive, right before uv installs."""

    def __init__(self, offline: Offline, path: Path, content: bytes) -> None:
        super().__init__(
            directory=offline.directory,
            uv=offline.uv,
            python=offline.python,
            prefix=offline.prefix,
        )
        self.path, self.content, self.swapped = path, content, False

    def run(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        if "sync" in command and "--dry-run" not in command:
            self.path.write_bytes(self.content)
            self.swapped = True
        return super().run(command, environment=environment, directory=directory, capture=capture)


def test_no_connection_is_attempted(
    offline: Offline, locked: Lock, tool: Callable[[str], Path]
) -> None:
    place = _decoys(offline)
    variables = {k: v for decoy in DECOYS.values() for k, v in decoy(offline, place).items()}
    variables["UV_EXTRA_INDEX_URL"] = "http://127.0.0.1:9/simple"
    log = offline.directory / "connects"
    done = subprocess.run(
        [
            *(str(tool("strace")), "-f", "-o", str(log), "-e", "trace=connect,sendto,execve"),
            *(sys.executable, "-m", "uv_archive", "sync"),
            *("--dist-archive", str(offline.archive)),
        ],
        cwd=offline.root,
        env={**offline.environment, **variables, "UV": str(offline.uv)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = log.read_text()
    assert f'execve("{offline.uv}"' in said
    assert [line for line in said.splitlines() if "AF_INET" in line] == []
    assert_installed_is_locked(offline, locked)
