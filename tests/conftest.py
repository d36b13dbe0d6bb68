"""What every test shares: a known environment, and the tools that some tests call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

from uv_archive.uv import OLDEST_UV

#: Set on the machines that decide whether a change lands: nothing may be skipped there.
IN_CI = bool(os.environ.get("CI"))
# Another uv for all tests than the one that is installed, such as the oldest that is supported.
_OTHER_UV = os.environ.get("UV_ARCHIVE_TEST_UV")

# A shell that starts a program in the background has it, and all that it starts, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("everyday", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True)
settings.register_profile("soak", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "everyday"))

# How a machine reaches its network; these say nothing about what is installed.
_CONNECTION = frozenset(
    {"PIP_CERT", "PIP_DEFAULT_TIMEOUT", "UV_HTTP_TIMEOUT", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"}
)
# Where a machine finds its package index; only tests that need one may know.
_INDEX = frozenset(
    {
        *("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"),
        *("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"),
        *("UV_INSECURE_HOST", "UV_CONFIG_FILE"),
    }
)
# Environments that are active where pytest was started, which uv would talk about.
_ACTIVE = frozenset({"VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONHOME"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what forks: the HTTP client can't be used in a child once it was here."""
    items.sort(key=lambda item: "soak/test_downloads.py" not in item.nodeid)


def _changes_behaviour(variable: str) -> bool:
    return variable.startswith(("UV_", "PIP_")) and variable not in _CONNECTION


@pytest.fixture(scope="session", autouse=True)
def known_environment() -> Iterator[None]:
    """Remove the variables by which a machine's settings would change what a test sees."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in tuple(os.environ):
            if variable in _ACTIVE or (_changes_behaviour(variable) and variable not in _INDEX):
                patch.delenv(variable)
        yield


@pytest.fixture(autouse=True)
def no_index(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Hide the machine's package index, and the settings of its user, from unmarked tests."""
    if request.node.get_closest_marker("network"):
        return
    for variable in _INDEX & os.environ.keys():
        monkeypatch.delenv(variable)
    nothing = tmp_path_factory.getbasetemp() / "no-settings"
    nothing.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(nothing))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(nothing))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def give_up(reason: str) -> NoReturn:
    """Fail the test in CI and skip it elsewhere, because the machine lacks something."""
    if IN_CI:
        pytest.fail(f"{reason}, and CI is set")
    pytest.skip(reason)


def without_privileges() -> tuple[str, ...]:
    """Return how to start a program that reads only what its user may read, also for root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return ()
    # Root reads everything by these two capabilities.
    needless = "-dac_override,-dac_read_search"
    prefix = ("setpriv", f"--bounding-set={needless}", f"--inh-caps={needless}")
    with suppress(OSError):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    give_up("this system doesn't let root lose capabilities")


@pytest.fixture(scope="session")
def tool() -> Callable[[str], Path]:
    """Return a function that finds a program, or gives the test up."""

    def find(name: str) -> Path:
        # The environment that pytest runs in needn't be active.
        places = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}"
        found = shutil.which(name, path=places)
        if found is None:
            give_up(f"`{name}` isn't installed")
        return Path(str(found))

    return find


@pytest.fixture(scope="session")
def uv(tool: Callable[[str], Path]) -> Path:
    """The uv binary."""
    return Path(_OTHER_UV) if _OTHER_UV else tool("uv")


@pytest.fixture(scope="session")
def oldest_uv(tool: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oldest uv that is supported, from a package index: for `network` tests only."""
    directory = tmp_path_factory.mktemp("oldest-uv")
    install = ("pip", "install", "--quiet", "--target", str(directory))
    done = subprocess.run(
        [tool("uv"), *install, f"uv=={OLDEST_UV}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return directory / "bin" / "uv"


@pytest.fixture(scope="session")
def no_network(tool: Callable[[str], Path]) -> tuple[str, ...]:
    """What to put before a command so that it runs in a network namespace without interfaces."""
    unshare = str(tool("unshare"))
    if subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode:
        give_up("this system allows no network namespace")
    return (unshare, "-rn")
