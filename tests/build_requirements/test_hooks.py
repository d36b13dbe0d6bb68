"""The hooks of backends that do what they shouldn't, run as `--run-hooks` runs them."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.distributions import make_sdist, make_wheel
from uv_archive.build.hooks import HooksAsker, hooks_asker
from uv_archive.build.unpacking import unpack
from uv_archive.build_requirements import BuildSubject, Gathered, Record, gather
from uv_archive.digest import Digest
from uv_archive.target import Target, platform_named
from uv_archive.target.python import Python
from uv_archive.uv import find_uv

TARGET = Target(
    python=Python(major=sys.version_info[0], minor=sys.version_info[1]),
    platform=platform_named(f"manylinux_2_35_{platform.machine()}"),
)
IN_TREE = (
    '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    '[project]\nname = "job"\nversion = "1.0"\n'
)


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """An environment with secrets in it, a home directory that has some, and a small index."""
    home = tmp_path / "home"
    (home / ".config" / "uv").mkdir(parents=True)
    (home / ".config" / "uv" / "uv.toml").write_text("no-index = true\n")
    (home / ".netrc").write_text("machine example.org login me password canary-netrc\n")
    (tmp_path / "index").mkdir()
    make_wheel(tmp_path / "index", "extra", "1.0")
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(home),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_FIND_LINKS": str(tmp_path / "index"),
        "UV_INDEX_PRIVATE_PASSWORD": "canary-variable",
        "GITHUB_TOKEN": "canary-token",
    }


@pytest.fixture
def asker(environment: Mapping[str, str]) -> HooksAsker:
    return hooks_asker(environment, timeout=60)


class Gathering:
    """Gathers for sdists whose own backend has the body of a hook that is given."""

    def __init__(self, uv: Path, tmp_path: Path, environment: Mapping[str, str]) -> None:
        self._uv = find_uv({"UV": str(uv)})
        self._directory = tmp_path
        self._environment = environment

    def subject(self, body: str, name: str = "job", *, pyproject: str = IN_TREE) -> BuildSubject:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        hook = f"def get_requires_for_build_wheel(config_settings=None):\n{lines}"
        files = {"pyproject.toml": pyproject, "own.py": f"import os, sys, time\n{hook}"}
        path = make_sdist(self._directory / "sdists", name, "1.0", files=files)
        return BuildSubject(
            label=f"{name}==1.0",
            name=canonicalize_name(name),
            where=path,
            targets=(TARGET,),
            digest=Digest.parse("sha256:" + "1" * 64),
        )

    def __call__(
        self,
        *subjects: BuildSubject,
        asker: HooksAsker | None,
        recorded: Record | None = None,
        settings: str = "",
    ) -> Gathered:
        project = self._directory / "project"
        project.mkdir(exist_ok=True)
        (project / "pyproject.toml").write_text(settings)
        return gather(
            subjects,
            uv=self._uv,
            environment=self._environment,
            directory=project,
            recorded=recorded,
            ask_hooks=asker,
        )


@pytest.fixture
def gathering(uv: Path, tmp_path: Path, environment: Mapping[str, str]) -> Gathering:
    return Gathering(uv, tmp_path, environment)


def test_what_a_hook_asks_for_is_gathered(gathering: Gathering, asker: HooksAsker) -> None:
    gathered = gathering(gathering.subject("return ['extra>=1']"), asker=asker)
    assert (gathered.failures, gathered.uncertain) == ((), ())
    (file,) = gathered.files
    assert [(reason.requested, reason.found) for reason in file.reasons] == [("extra>=1", "hook")]


def test_nobody_asks_a_hook_unless_it_may_run(gathering: Gathering) -> None:
    gathered = gathering(gathering.subject("return ['extra']"), asker=None)
    assert gathered.files == ()
    (doubt,) = gathered.uncertain
    assert "part of the source" in doubt.message
    assert "`--run-hooks`" in doubt.hint


def test_a_hook_is_not_believed_about_other_machines(
    gathering: Gathering, asker: HooksAsker
) -> None:
    windows = replace(TARGET, platform=platform_named("win_amd64"))
    subject = replace(gathering.subject("return ['extra']"), targets=(TARGET, windows))
    gathered = gathering(subject, asker=asker)
    assert len(gathered.files) == 1
    (doubt,) = gathered.uncertain
    assert f"were asked on {sys.platform} {platform.machine()} only" in doubt.message


def test_what_a_hook_said_is_recorded(gathering: Gathering, asker: HooksAsker) -> None:
    first = gathering(gathering.subject("return ['extra']"), asker=asker)
    changed = gathering.subject("sys.exit('asked again')")
    assert gathering(changed, asker=asker, recorded=first.record) == first
    assert gathering(changed, asker=None, recorded=first.record) == first


def test_what_was_recorded_without_hooks_is_asked_again(
    gathering: Gathering, asker: HooksAsker
) -> None:
    subject = gathering.subject("return ['extra']")
    first = gathering(subject, asker=None)
    assert len(gathering(subject, asker=asker, recorded=first.record).files) == 1


def test_a_source_tree_is_asked_only_once(
    gathering: Gathering, asker: HooksAsker, tmp_path: Path
) -> None:
    sdist = gathering.subject("return ['extra']")
    tree = tmp_path / "tree"
    unpack(sdist.where, tree)
    subject = replace(sdist, where=tree, digest=None)
    first = gathering(subject, asker=asker)
    assert len(first.files) == 1
    assert gathering(subject, asker=None, recorded=first.record) == first
    (tree / "pyproject.toml").write_text(f"{IN_TREE}description = 'changed'\n")
    assert gathering(subject, asker=None, recorded=first.record).files == ()


def test_a_hook_is_told_the_settings_of_the_project(
    gathering: Gathering, asker: HooksAsker
) -> None:
    settings = (
        '[tool.uv]\nconfig-settings = { flavour = "none" }\n'
        'config-settings-package.Job = { flavour = "extra", listed = ["a", "b"] }\n'
    )
    body = (
        "assert list(config_settings['listed']) == ['a', 'b']\nreturn [config_settings['flavour']]"
    )
    gathered = gathering(gathering.subject(body), asker=asker, settings=settings)
    assert gathered.failures == ()
    assert [file.filename.name for file in gathered.files] == ["extra"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("raise RuntimeError('no luck')", "no luck", id="fails"),
        pytest.param("sys.exit(3)", "it failed", id="exits"),
        pytest.param("while True: time.sleep(1)", "after 8 seconds", id="never-ends"),
        pytest.param(
            "if os.fork() == 0:\n    time.sleep(99)\nwhile True: time.sleep(1)",
            "after 8 seconds",
            id="never-ends-with-children",
            marks=pytest.mark.skipif(os.name == "nt", reason="no fork"),
        ),
        pytest.param("while True: print('x' * 100_000)", "without end", id="writes-for-ever"),
        pytest.param("return ['a b']", "no requirement", id="no-requirement"),
        pytest.param("return 5", "can't be read", id="no-list"),
        pytest.param("return [5]", "can't be read", id="no-texts"),
        pytest.param("open(os.path.expanduser('~/.netrc'))", ".netrc", id="reads-home"),
        pytest.param("os.environ['GITHUB_TOKEN']", "GITHUB_TOKEN", id="reads-a-token"),
        pytest.param(
            "os.environ['UV_INDEX_PRIVATE_PASSWORD']", "UV_INDEX_PRIVATE", id="reads-a-password"
        ),
        pytest.param("import absent_module", "absent_module", id="lacks-a-module"),
    ],
)
def test_a_hook_that_goes_wrong_is_named_and_the_rest_goes_on(
    gathering: Gathering, environment: Mapping[str, str], body: str, said: str
) -> None:
    asker = hooks_asker(environment, timeout=8 if "8 seconds" in said else 60)
    good = gathering.subject("return ['extra']", "good")
    gathered = gathering(gathering.subject(body, "bad"), good, asker=asker)
    (failure,) = gathered.failures
    assert gathered.uncertain == ()
    assert failure.of == "bad==1.0"
    assert "`bad==1.0`" in failure.message
    assert said in failure.message
    assert "canary" not in failure.message
    assert "\n" not in failure.message
    assert "extra-build-dependencies" in str(failure.hint)
    assert [file.filename.name for file in gathered.files] == ["extra"]


def test_a_hook_that_tries_the_network_is_named(gathering: Gathering, asker: HooksAsker) -> None:
    if not asker.confinement.has_no_network:
        assert "CI" not in os.environ, "the network can't be taken away here"
        pytest.skip("the network can't be taken away here")
    body = (
        "import socket\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"  # loopback is down as well
        "socket.create_connection(listener.getsockname(), timeout=1)\n"
        "return []"
    )
    (failure,) = gathering(gathering.subject(body), asker=asker).failures
    assert "nreachable" in failure.message


def test_a_backend_outside_of_the_source_is_named(gathering: Gathering, asker: HooksAsker) -> None:
    pyproject = IN_TREE.replace('["."]', '[".."]')
    subject = gathering.subject("return []", pyproject=pyproject)
    (failure,) = gathering(subject, asker=asker).failures
    assert "outside" in failure.message


def test_a_backend_that_is_not_there_is_named(gathering: Gathering, asker: HooksAsker) -> None:
    pyproject = '[build-system]\nrequires = ["extra"]\nbuild-backend = "nowhere"\n'
    subject = gathering.subject("return []", pyproject=pyproject)
    gathered = gathering(subject, asker=asker)
    (failure,) = gathered.failures
    assert "can't be imported" in failure.message
    assert [file.filename.name for file in gathered.files] == ["extra"]


def test_an_environment_that_cannot_be_made_is_named(
    gathering: Gathering, asker: HooksAsker
) -> None:
    pyproject = IN_TREE.replace("[]", '["missing"]', 1)
    subject = gathering.subject("return []", pyproject=pyproject)
    failures = gathering(subject, asker=asker).failures
    assert any("environment for its hooks" in failure.message for failure in failures)


def test_programs_that_are_packages_too_are_hidden(
    gathering: Gathering, environment: Mapping[str, str], tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("cmake", "compiler"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    path = os.pathsep.join((str(programs), environment["PATH"]))
    body = (
        "import shutil\n"
        "assert shutil.which('compiler')\n"
        "return [] if shutil.which('cmake') else ['extra']"
    )
    asker = hooks_asker({**environment, "PATH": path})
    gathered = gathering(gathering.subject(body), asker=asker)
    assert gathered.failures == ()
    assert len(gathered.files) == 1
