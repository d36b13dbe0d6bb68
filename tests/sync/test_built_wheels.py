"""Wheels that were built beforehand are installed in place of what they were built from."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.distributions import make_sdist, make_wheel, sha256
from tests.offline_projects import BUILT_BY_UV, FROM_INDEX, INDEX, Offline
from uv_archive.archive.build_settings import settings_digest
from uv_archive.archive.manifest import BuiltFrom
from uv_archive.errors import ArchiveError, RequestError


@pytest.fixture
def offline(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Offline:
    return Offline(directory=tmp_path, uv=uv, python=Path(sys.executable), prefix=no_network)


def project(offline: Offline, more: str = "") -> None:
    """Write a project that needs `alpha`."""
    offline.write(
        "pyproject.toml",
        """
        [project]
        name = "workflow"
        version = "1.0"
        requires-python = ">=3.11"
        dependencies = ["alpha"]
        """,
    )
    with (offline.root / "pyproject.toml").open("a") as file:
        file.write(more + BUILT_BY_UV + FROM_INDEX)
    offline.write("src/workflow/__init__.py", "")


def built(offline: Offline) -> Path:
    files = {"alpha.py": "built = 'beforehand'\n"}
    return make_wheel(offline.directory / "built", "alpha", "1.0", files=files)


def digest(path: Path) -> str:
    return sha256(path).removeprefix("sha256:")


def assert_was_built_beforehand(offline: Offline) -> dict[str, object]:
    """Return what the distribution says of where it is from, if it does."""
    (site,) = (offline.root / ".venv").glob("lib/*/site-packages")
    assert (site / "alpha.py").read_text() == "built = 'beforehand'\n"
    said = offline.plain("sync", "--locked", "--dry-run")
    assert "Would make no changes" in said.stderr, said.stderr
    path = site / "alpha-1.0.dist-info" / "direct_url.json"
    found: dict[str, object] = json.loads(path.read_bytes()) if path.exists() else {}
    return found


@pytest.mark.parametrize("flags", [(), ("--no-build-package", "alpha")], ids=["plain", "no-build"])
@pytest.mark.parametrize("leave_out", [(), ("alpha-1.0.tar.gz",)], ids=["beside", "instead"])
def test_of_an_sdist(offline: Offline, leave_out: tuple[str, ...], flags: tuple[str, ...]) -> None:
    sdist = make_sdist(offline.served, "alpha", "1.0", build_requires=["nowhere"])
    project(offline)
    lock = offline.lock()
    offline.archived(lock, built={built(offline): digest(sdist)}, leave_out=leave_out)
    result = offline.sync(*flags)
    assert result.status == 0, offline.shown[-1].stderr
    assert result.unlocked == 1
    assert assert_was_built_beforehand(offline) == {}
    assert offline.sync(*flags).status == 0


def test_stays_installed_while_something_else_is_removed(offline: Offline) -> None:
    sdist = make_sdist(offline.served, "alpha", "1.0", build_requires=["nowhere"])
    project(offline)
    offline.archived(offline.lock(), built={built(offline): digest(sdist)}, leave_out=(sdist.name,))
    assert offline.sync().status == 0
    stray = make_wheel(offline.directory / "stray", "stray", "1.0")
    environment = str(offline.root / ".venv")
    offline.plain("pip", "install", "--no-cache", "--python", environment, str(stray))
    result = offline.sync()
    assert result.status == 0, offline.shown[-1].stderr
    assert "- stray==1.0" in offline.shown[-1].stderr
    assert_was_built_beforehand(offline)


@pytest.mark.parametrize(
    ("settings", "variables"),
    [
        ("no-build = true", {}),
        ('no-build-package = ["alpha"]', {}),
        ("", {"UV_NO_BUILD": "1"}),
        ("", {"UV_NO_BUILD_PACKAGE": "alpha"}),
    ],
)
def test_of_an_sdist_that_settings_forbid_to_build(
    offline: Offline, settings: str, variables: dict[str, str]
) -> None:
    sdist = make_sdist(offline.served, "alpha", "1.0", build_requires=["nowhere"])
    project(offline)
    lock = offline.lock()
    offline.archived(lock, built={built(offline): digest(sdist)})
    with (offline.root / "pyproject.toml").open("a") as file:
        file.write(f"[tool.uv]\n{settings}\n")
    for _ in ("anew", "again"):
        result = offline.sync(environment=variables)
        assert result.status == 0, offline.shown[-1].stderr
    (site,) = (offline.root / ".venv").glob("lib/*/site-packages")
    assert (site / "alpha.py").read_text() == "built = 'beforehand'\n"


def test_of_a_direct_url(offline: Offline) -> None:
    sdist = make_sdist(offline.served / "direct", "alpha", "1.0", build_requires=["nowhere"])
    url = f"{INDEX}/direct/{sdist.name}"
    project(offline, f'[tool.uv.sources]\nalpha = {{ url = "{url}" }}\n')
    offline.archived(offline.lock(), built={built(offline): digest(sdist)})
    assert offline.sync().status == 0, offline.shown[-1].stderr
    assert assert_was_built_beforehand(offline) == {"url": url, "archive_info": {}}


def test_of_a_subdirectory_of_a_direct_url(offline: Offline) -> None:
    inner = make_sdist(offline.directory / "inner", "alpha", "1.0")
    sdist = offline.served / "direct" / "alpha-1.0.tar.gz"
    with tarfile.open(inner) as old, tarfile.open(sdist, "w:gz") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            member.name = member.name.replace("alpha-1.0/", "alpha-1.0/inner/")
            new.addfile(member, content)
    url = f"{INDEX}/direct/{sdist.name}"
    project(offline, f'[tool.uv.sources]\nalpha = {{ url = "{url}", subdirectory = "inner" }}\n')
    why = BuiltFrom(sha256=digest(sdist), subdirectory="inner")
    offline.archived(offline.lock(), built={built(offline): why})
    assert offline.sync().status == 0, offline.shown[-1].stderr
    assert assert_was_built_beforehand(offline) == {
        "url": url, "archive_info": {}, "subdirectory": "inner",
    }  # fmt: skip


def test_of_a_commit(offline: Offline) -> None:
    repository = offline.directory / "repository"
    repository.mkdir()
    (repository / "pyproject.toml").write_text('[project]\nname="alpha"\nversion="1.0"\n')
    git = ["git", "-C", str(repository)]
    user = ("-c", "user.name=x", "-c", "user.email=x@example")
    for command in (("init", "-q"), ("add", "."), (*user, "commit", "-qm", "one"), ("tag", "v1")):
        subprocess.run([*git, *command], check=True)
    said = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    commit = said.stdout.strip()
    url = "https://git.example/alpha"
    project(offline, f'[tool.uv.sources]\nalpha = {{ git = "{url}", tag = "v1" }}\n')
    instead = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": url,
    }
    lock = offline.lock(instead)
    # There is no bundle, and none is needed.
    offline.archived(lock, built={built(offline): BuiltFrom(commit=commit)})
    assert offline.sync().status == 0, offline.shown[-1].stderr
    assert assert_was_built_beforehand(offline) == {
        "url": url,
        "vcs_info": {"vcs": "git", "commit_id": commit, "requested_revision": "v1"},
    }


def test_for_a_newer_libc_is_left_alone(offline: Offline) -> None:
    sdist = make_sdist(offline.served, "alpha", "1.0")
    project(offline)
    why = BuiltFrom(sha256=digest(sdist), python="cp311", platform="manylinux_2_99_x86_64")
    wheel = make_wheel(offline.directory / "built", "alpha", "1.0", tags="py3-none-linux_x86_64")
    offline.archived(offline.lock(), built={wheel: why}, leave_out=(sdist.name,))
    with pytest.raises(ArchiveError, match="lacks 1 of the files"):
        offline.sync()


def test_a_locked_wheel_goes_before_a_built_one(offline: Offline) -> None:
    sdist = make_sdist(offline.served, "alpha", "1.0", build_requires=["nowhere"])
    make_wheel(offline.served, "alpha", "1.0", files={"alpha.py": "built = 'by its author'\n"})
    project(offline)
    own = make_wheel(
        offline.directory / "built",
        "alpha",
        "1.0",
        tags="cp311-none-any",
        files={"alpha.py": "built = 'beforehand'\n"},
    )
    offline.archived(offline.lock(), built={own: digest(sdist)})
    result = offline.sync()
    assert result.status == 0, offline.shown[-1].stderr
    assert (result.unlocked, result.short) == (0, ())
    (installed,) = (offline.root / ".venv").glob("lib/*/site-packages/alpha.py")
    assert installed.read_text() == "built = 'by its author'\n"


NONE: dict[str, object] = {}
ONE: dict[str, object] = {"extra-build-variables": {"alpha": {"AAA": "1"}}}
TWO = '[tool.uv]\nextra-build-variables = { alpha = { AAA = "2" } }\n'


def archived_with(
    offline: Offline, before: dict[str, object], now: str, *, leave_out: tuple[str, ...] = ()
) -> None:
    """Make an archive whose wheel was built with settings *before* those that are *now*."""
    sdist = make_sdist(offline.served, "alpha", "1.0")
    project(offline, now)
    why = BuiltFrom(
        sha256=digest(sdist), settings=settings_digest(before, canonicalize_name("alpha"))
    )
    offline.archived(offline.lock(), built={built(offline): why}, leave_out=leave_out)


def is_built_beforehand(offline: Offline) -> bool:
    (site,) = (offline.root / ".venv").glob("lib/*/site-packages")
    return (site / "alpha.py").is_file()  # By the sdist it is a package.


@pytest.mark.parametrize(
    ("before", "now", "flags"),
    [
        (ONE, TWO, ()),
        (ONE, "", ()),
        (NONE, TWO, ()),
        (NONE, "", ("-C", "level=1")),
        (NONE, "", ("--config-settings-package", "Alpha:level=1")),
    ],
    ids=["others", "none-now", "none-before", "flag", "flag-of-package"],
)
def test_with_other_settings_is_left_alone(
    offline: Offline, before: dict[str, object], now: str, flags: tuple[str, ...]
) -> None:
    archived_with(offline, before, now)
    result = offline.sync(*flags)
    assert result.status == 0, offline.shown[-1].stderr
    assert result.unlocked == 0
    assert not is_built_beforehand(offline)


@pytest.mark.parametrize(
    ("before", "now", "flags"),
    [
        (ONE, '[tool.uv]\nextra-build-variables = { Alpha = { AAA = "1" } }\n', ()),
        (NONE, '[tool.uv]\nextra-build-variables = { beta = { AAA = "1" } }\n', ()),
        (NONE, "", ("--config-settings-package", "beta:level=1")),
    ],
    ids=["otherwise-spelled", "of-another", "flag-of-another"],
)
def test_with_the_same_settings_is_taken(
    offline: Offline, before: dict[str, object], now: str, flags: tuple[str, ...]
) -> None:
    archived_with(offline, before, now)
    result = offline.sync(*flags)
    assert result.status == 0, offline.shown[-1].stderr
    assert result.unlocked == 1
    assert is_built_beforehand(offline)


@pytest.mark.parametrize(
    ("leave_out", "flags", "lacking"),
    [
        (("alpha-1.0.tar.gz",), (), "lacks 1 of the files"),
        ((), ("--no-build-package", "alpha"), "no file of `alpha==1.0"),
    ],
    ids=["no-sdist", "no-build"],
)
def test_with_other_settings_and_nothing_to_build_it_from_is_explained(
    offline: Offline, leave_out: tuple[str, ...], flags: tuple[str, ...], lacking: str
) -> None:
    archived_with(offline, ONE, TWO, leave_out=leave_out)
    with pytest.raises(RequestError) as caught:
        offline.sync(*flags)
    said = str(caught.value)
    assert "has of `alpha==1.0` were built with other settings" in said
    assert lacking in said
    assert not (offline.root / ".venv").exists()
