"""Sync, end to end: real uv, without network, from archives of tiny distributions."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distributions import make_sdist, make_wheel, sha256
from tests.offline_projects import BUILT_BY_UV, FROM_INDEX, INDEX, Offline
from uv_archive.errors import (
    ArchiveError,
    DamagedArchiveError,
    ProjectError,
    RequestError,
    StaleLockError,
)


@pytest.fixture
def offline(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Offline:
    return Offline(directory=tmp_path, uv=uv, python=Path(sys.executable), prefix=no_network)


def project(
    offline: Offline, *, dependencies: str, more: str = "", build: str = BUILT_BY_UV
) -> None:
    """Write a project in `src` layout that needs *dependencies*, a TOML array."""
    offline.write(
        "pyproject.toml",
        f"""
        [project]
        name = "workflow"
        version = "1.0"
        requires-python = ">=3.11"
        dependencies = {dependencies}
        """,
    )
    with (offline.root / "pyproject.toml").open("a") as file:
        file.write(more + build + FROM_INDEX)
    offline.write("src/workflow/__init__.py", "")


def assert_nothing_left_to_do(offline: Offline, *arguments: str) -> None:
    said = offline.plain("sync", "--locked", "--dry-run", *arguments)
    assert said.status == 0, said.stderr
    assert "Would make no changes" in said.stderr


def snapshot(offline: Offline) -> dict[str, tuple[bytes, int]]:
    """Return bytes and times of every file of the project outside its environment."""
    return {
        str(path.relative_to(offline.root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(offline.root.rglob("*"))
        if path.is_file() and ".venv" not in path.relative_to(offline.root).parts
    }


def names(offline: Offline) -> set[str]:
    """Return the names of what is installed."""
    return {installed.partition("==")[0] for installed in offline.has()}


def record_is_right(record: Path) -> bool:
    """Whether every file that a RECORD names has the digest that it names."""
    for path, digest, _ in csv.reader(record.read_text().splitlines()):
        content = (record.parent.parent / path).read_bytes()
        found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        if digest and digest != f"sha256={found}":
            return False
    return True


def subdirectory_sdist(directory: Path) -> Path:
    """Write an sdist whose project lies in `inner/`."""
    inner = make_sdist(directory.parent / "inner", "alpha", "1.0")
    path = directory / "alpha-1.0.tar.gz"
    with tarfile.open(inner) as old, tarfile.open(path, "w:gz") as new:
        for member in old.getmembers():
            content = old.extractfile(member)
            member.name = member.name.replace("alpha-1.0/", "alpha-1.0/inner/")
            new.addfile(member, content)
    return path


class TestProject:
    def test_is_installed_editable_and_left_as_it_is(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0", requires=["beta>=2"])
        make_wheel(offline.served, "beta", "2.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock())
        before = snapshot(offline)

        result = offline.sync()

        assert result.status == 0, offline.shown[-1].stderr
        assert (result.distributions, result.unlocked) == (2, 0)
        assert offline.has() == {"alpha==1.0", "beta==2.0", "workflow==1.0"}
        assert snapshot(offline) == before
        assert {path.name for path in offline.root.iterdir()} == {
            ".venv", "pyproject.toml", "src", "uv.lock",
        }  # fmt: skip
        assert_nothing_left_to_do(offline)

    def test_is_installed_from_below_it_or_by_name(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock())
        assert offline.sync(directory=offline.root / "src").status == 0
        elsewhere = offline.directory
        assert offline.sync("--project", "project", directory=elsewhere).status == 0
        assert offline.sync("--directory", "project", directory=elsewhere).status == 0
        assert offline.has() == {"alpha==1.0", "workflow==1.0"}

    def test_can_be_installed_without_being_editable(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock())
        assert offline.sync("--no-editable").status == 0
        assert list((offline.root / ".venv").glob("lib/*/site-packages/workflow/__init__.py"))
        assert_nothing_left_to_do(offline, "--no-editable")

    def test_extras_and_groups_are_those_asked_for(self, offline: Offline) -> None:
        for name in ("alpha", "beta", "gamma", "delta"):
            make_wheel(offline.served, name, "1.0")
        more = """
            [project.optional-dependencies]
            plots = ["beta"]
            [dependency-groups]
            dev = ["gamma"]
            docs = ["delta"]
            """
        project(offline, dependencies='["alpha"]', more=textwrap.dedent(more))
        offline.archived(offline.lock())

        assert offline.sync().status == 0
        assert names(offline) == {"alpha", "gamma", "workflow"}
        assert offline.sync("--extra", "plots", "--no-dev").status == 0
        assert names(offline) == {"alpha", "beta", "workflow"}
        assert offline.sync(environment={"UV_NO_DEV": "1"}).status == 0
        assert names(offline) == {"alpha", "workflow"}
        assert offline.sync("--only-group=docs").status == 0
        assert names(offline) == {"delta"}
        assert offline.sync("--all-extras", "--all-groups").status == 0
        assert names(offline) == {"alpha", "beta", "gamma", "delta", "workflow"}
        assert_nothing_left_to_do(offline, "--all-extras", "--all-groups")

    def test_conflicting_extras_are_installed_one_at_a_time(self, offline: Offline) -> None:
        for version in ("1.0", "2.0"):
            make_wheel(offline.served, "engine", version)
        more = """
            [project.optional-dependencies]
            cpu = ["engine==1.0"]
            gpu = ["engine==2.0"]
            [dependency-groups]
            old = ["engine<2"]
            new = ["engine>=2"]
            [tool.uv]
            conflicts = [
                [{ extra = "cpu" }, { extra = "gpu" }, { group = "old" }, { group = "new" }],
            ]
            """
        project(offline, dependencies="[]", more=textwrap.dedent(more))
        offline.archived(offline.lock())
        for flags, version in (
            (("--extra", "cpu"), "1.0"),
            (("--extra", "gpu"), "2.0"),
            (("--group", "old"), "1.0"),
            (("--group", "new"), "2.0"),
        ):
            assert offline.sync(*flags).status == 0
            assert f"engine=={version}" in offline.has()
            assert_nothing_left_to_do(offline, *flags)
        refused = offline.sync("--extra", "cpu", "--extra", "gpu")
        assert refused.status == 2
        assert "incompatible" in refused.stderr
        assert str(offline.directory / "project" / ".uv-archive") not in refused.stderr

    def test_versions_forked_by_marker(self, offline: Offline) -> None:
        for version in ("1.0", "2.0"):
            make_wheel(offline.served, "alpha", version)
        here = f"alpha==2.0 ; sys_platform == '{sys.platform}'"
        there = f"alpha==1.0 ; sys_platform != '{sys.platform}'"
        project(offline, dependencies=json.dumps([here, there]))
        lock = offline.lock()
        assert len(lock.packages) == 3
        offline.archived(lock)
        assert offline.sync().status == 0
        assert "alpha==2.0" in offline.has()
        assert_nothing_left_to_do(offline)

    def test_one_version_from_two_indexes_with_other_bytes(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0")
        second = offline.served / "second"
        make_wheel(second, "alpha", "1.0", files={"alpha.py": "origin = 'second'\n"})
        marker = f"sys_platform == '{sys.platform}'"
        more = f"""
            [tool.uv.sources]
            alpha = {{ index = "second", marker = "{marker}" }}
            [[tool.uv.index]]
            name = "second"
            url = "{INDEX}/second/simple"
            explicit = true
            """
        project(offline, dependencies='["alpha"]', more=textwrap.dedent(more))
        lock = offline.lock()
        assert len(lock.packages) == 3
        offline.archived(lock)
        assert (offline.archive / "index").is_dir()
        assert offline.sync().status == 0
        (module,) = (offline.root / ".venv").glob("lib/*/site-packages/alpha.py")
        assert "second" in module.read_text()
        assert_nothing_left_to_do(offline)

    def test_the_environment_can_be_elsewhere(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock())
        place = offline.directory / "environments" / "one"
        assert offline.sync(environment={"UV_PROJECT_ENVIRONMENT": str(place)}).status == 0
        assert list(place.glob("lib/*/site-packages/alpha"))
        assert [path.name for path in place.parent.iterdir()] == ["one"]
        assert not (offline.root / ".venv").exists()

    def test_the_active_environment_is_used_on_request(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock())
        place = offline.directory / "active"
        assert offline.plain("venv", "-p", str(offline.python), str(place)).status == 0
        assert offline.sync("--active", environment={"VIRTUAL_ENV": str(place)}).status == 0
        assert list(place.glob("lib/*/site-packages/alpha"))
        assert not (offline.root / ".venv").exists()
        assert offline.sync("--active").status == 0
        assert names(offline) == {"alpha", "workflow"}

    def test_another_platform(self, offline: Offline) -> None:
        for tags in ("py3-none-win_amd64", "py3-none-macosx_11_0_arm64"):
            make_wheel(offline.served, "alpha", "1.0", tags=tags)
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock(), leave_out=["alpha-1.0-py3-none-macosx_11_0_arm64.whl"])
        assert offline.sync("--python-platform", "windows").status == 0
        assert "alpha==1.0" in offline.has()
        refused = offline.sync()
        assert refused.status == 2
        assert "wheels for" in refused.stderr
        with pytest.raises(ArchiveError, match="macosx") as missing:
            offline.sync("--python-platform", "macos", "--reinstall")
        assert "--python-platform macosx" in str(missing.value.hint)

    def test_python_version_file_counts(self, offline: Offline) -> None:
        project(offline, dependencies="[]")
        offline.archived(offline.lock())
        offline.write(".python-version", "3.99\n")
        variables = {"UV_PYTHON": ""}
        refused = offline.sync(environment=variables)
        assert refused.status == 2
        assert "3.99" in refused.stderr

    def test_the_python_of_the_environment_variable_counts(self, offline: Offline) -> None:
        project(offline, dependencies="[]")
        offline.archived(offline.lock())
        assert offline.sync().status == 0
        (found,) = [command for command in offline.commands if "find" in command]
        assert str(offline.python) in found

    def test_a_second_sync_does_nothing(self, offline: Offline) -> None:
        wheel = make_wheel(offline.served / "direct", "alpha", "1.0")
        project(offline, dependencies=f'["alpha @ {INDEX}/direct/{wheel.name}"]')
        offline.archived(offline.lock())
        assert offline.sync().status == 0
        result = offline.sync()
        assert (result.status, result.distributions) == (0, 0)
        assert "Installed" not in offline.shown[-1].stderr

    def test_what_is_extraneous_is_removed(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0")
        project(offline, dependencies="[]", more='[project.optional-dependencies]\na = ["alpha"]\n')
        offline.archived(offline.lock())
        assert offline.sync("--all-extras").status == 0
        assert offline.sync("--inexact").status == 0
        assert names(offline) == {"alpha", "workflow"}
        assert offline.sync().status == 0
        assert names(offline) == {"workflow"}


class TestWorkspace:
    @pytest.fixture
    def workspace(self, offline: Offline) -> Offline:
        """Three members that depend on each other, one of them outside, and a virtual root."""
        make_wheel(offline.served, "alpha", "1.0")
        make_wheel(offline.served, "beta", "1.0")
        offline.write(
            "pyproject.toml",
            '[tool.uv.workspace]\nmembers = ["packages/*", "../outside/three"]\n' + FROM_INDEX,
        )
        for path, name, needs in (
            ("packages/one", "one", '["two"]'),
            ("packages/two", "two", '["three", "alpha"]'),
            ("../outside/three", "three", '["beta"]'),
        ):
            offline.write(
                f"{path}/pyproject.toml",
                f"""
                [project]
                name = "{name}"
                version = "1.0"
                requires-python = ">=3.11"
                dependencies = {needs}
                [tool.uv.sources]
                two = {{ workspace = true }}
                three = {{ workspace = true }}
                """,
            )
            with (offline.root / path / "pyproject.toml").open("a") as file:
                file.write(BUILT_BY_UV)
            offline.write(f"{path}/src/{name}/__init__.py", "")
        offline.archived(offline.lock())
        return offline

    def test_as_a_whole(self, workspace: Offline) -> None:
        assert workspace.sync().status == 0
        assert names(workspace) == {"one", "two", "three", "alpha", "beta"}
        assert_nothing_left_to_do(workspace)
        program = "import one, two, three, sys; print(three.__file__)"
        said = workspace.plain("run", "python", "-c", program)
        assert said.stdout.strip() == str(
            workspace.directory / "outside" / "three" / "src" / "three" / "__init__.py"
        )

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            pytest.param(("--package", "three"), {"three", "beta"}, id="outside"),
            pytest.param(("--package=two",), {"two", "three", "alpha", "beta"}, id="inside"),
            pytest.param(("--all-packages",), {"one", "two", "three", "alpha", "beta"}, id="all"),
            pytest.param(
                ("--package", "two", "--no-install-workspace"), {"alpha", "beta"}, id="others"
            ),
        ],
    )
    def test_in_part(self, workspace: Offline, flags: tuple[str, ...], expected: set[str]) -> None:
        assert workspace.sync(*flags).status == 0
        assert names(workspace) == expected
        assert_nothing_left_to_do(workspace, *flags)

    def test_a_group_that_the_root_lends_to_a_member(self, offline: Offline) -> None:
        for name in ("alpha", "beta", "gamma"):
            make_wheel(offline.served, name, "1.0")
        more = """
            [dependency-groups]
            dev = ["gamma"]
            lint = ["beta"]
            [tool.uv.workspace]
            members = ["member"]
            """
        project(offline, dependencies="[]", more=textwrap.dedent(more))
        offline.write(
            "member/pyproject.toml",
            """
            [project]
            name = "member"
            version = "1.0"
            requires-python = ">=3.11"
            dependencies = ["alpha"]
            """,
        )
        offline.archived(offline.lock())
        flags = ("--package", "member", "--group", "lint")
        assert offline.sync(*flags).status == 0, offline.shown[-1].stderr
        assert names(offline) == {"alpha", "beta"}
        assert_nothing_left_to_do(offline, *flags)

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            (("--group", "lint"), {"alpha", "beta", "member", "workflow"}),
            (("--group=lint", "--no-install-project"), {"alpha", "beta", "workflow"}),
            (("--only-group", "lint"), {"beta"}),
            (("--group", "same"), {"alpha", "beta", "member", "workflow"}),
            (("--group=lint", "--group=same"), {"alpha", "beta", "member", "workflow"}),
            (("--all-groups", "--no-group", "dev"), {"alpha", "beta", "member", "workflow"}),
            (("--no-group=dev",), {"alpha", "member", "workflow"}),
        ],
        ids=[
            "group",
            "without-the-member",
            "only-the-group",
            "what-is-needed-anyway",
            "one-edge-of-two-groups",
            "all-but-one",
            "none",
        ],
    )
    def test_a_group_that_the_root_lends_to_a_member_that_depends_on_it(
        self, offline: Offline, flags: tuple[str, ...], expected: set[str]
    ) -> None:
        for name in ("alpha", "beta", "gamma"):
            make_wheel(offline.served, name, "1.0")
        more = """
            [dependency-groups]
            dev = ["gamma"]
            lint = ["beta"]
            same = ["alpha", "beta"]
            [tool.uv.workspace]
            members = ["member"]
            """
        project(offline, dependencies="[]", more=textwrap.dedent(more))
        offline.write("src/workflow/__init__.py", "")
        offline.write(
            "member/pyproject.toml",
            """
            [project]
            name = "member"
            version = "1.0"
            requires-python = ">=3.11"
            dependencies = ["alpha", "workflow"]
            [build-system]
            requires = ["uv_build>=0.9,<1000"]
            build-backend = "uv_build"
            [tool.uv.sources]
            workflow = { workspace = true }
            """,
        )
        offline.write("member/src/member/__init__.py", "")
        offline.archived(offline.lock())
        flags = ("--package", "member", *flags)
        assert offline.sync(*flags).status == 0, offline.shown[-1].stderr
        assert names(offline) == expected
        assert_nothing_left_to_do(offline, *flags)
        assert offline.sync(*flags).status == 0, offline.shown[-1].stderr

    def test_from_within_a_member(self, workspace: Offline) -> None:
        member = workspace.root / "packages" / "two"
        assert workspace.sync(directory=member).status == 0
        assert names(workspace) == {"two", "three", "alpha", "beta"}
        said = workspace.plain("sync", "--locked", "--dry-run", directory=member)
        assert "Would make no changes" in said.stderr


class TestSources:
    @pytest.mark.parametrize("kind", ["wheel", "sdist"])
    def test_direct_url(self, offline: Offline, kind: str) -> None:
        make: Callable[[Path, str, str], Path] = make_wheel if kind == "wheel" else make_sdist
        path = make(offline.served / "direct", "alpha", "1.0")
        url = f"{INDEX}/direct/{path.name}"
        project(offline, dependencies=f'["alpha @ {url}"]')
        offline.archived(offline.lock())

        assert offline.sync().status == 0, offline.shown[-1].stderr

        (said,) = (offline.root / ".venv").glob("lib/*/site-packages/alpha-*/direct_url.json")
        assert json.loads(said.read_bytes()) == {"url": url, "archive_info": {}}
        assert not said.with_name("uv_cache.json").exists()
        assert "uv_cache.json" not in said.with_name("RECORD").read_text()
        assert record_is_right(said.with_name("RECORD"))
        assert_nothing_left_to_do(offline)

    def test_direct_url_of_a_subdirectory(self, offline: Offline) -> None:
        path = subdirectory_sdist(offline.served / "direct")
        url = f"{INDEX}/direct/{path.name}"
        project(offline, dependencies=f'["alpha @ {url}#subdirectory=inner"]')
        offline.archived(offline.lock())

        assert offline.sync().status == 0, offline.shown[-1].stderr

        (said,) = (offline.root / ".venv").glob("lib/*/site-packages/alpha-*/direct_url.json")
        assert json.loads(said.read_bytes()) == {
            "url": url,
            "archive_info": {},
            "subdirectory": "inner",
        }
        assert_nothing_left_to_do(offline)

    def test_a_url_beside_something_new_is_verified_again(self, offline: Offline) -> None:
        """uv installs it anew, because the environment names the URL and the copy a file."""
        wheel = make_wheel(offline.served / "direct", "alpha", "1.0")
        make_wheel(offline.served, "beta", "1.0")
        more = '[project.optional-dependencies]\nb = ["beta"]\n'
        needs = f'["alpha @ {INDEX}/direct/{wheel.name}"]'
        project(offline, dependencies=needs, more=more)
        offline.archived(offline.lock())
        assert offline.sync().status == 0
        assert offline.sync("--extra", "b").distributions == 2
        assert_nothing_left_to_do(offline, "--extra", "b")

    @pytest.mark.parametrize("kind", ["wheel", "sdist"])
    def test_path_is_the_projects_own_file(self, offline: Offline, kind: str) -> None:
        make: Callable[[Path, str, str], Path] = make_wheel if kind == "wheel" else make_sdist
        path = make(offline.root / "vendored", "alpha", "1.0")
        more = f'[tool.uv.sources]\nalpha = {{ path = "vendored/{path.name}" }}\n'
        project(offline, dependencies='["alpha"]', more=more)
        offline.archived(offline.lock())
        assert offline.sync().status == 0, offline.shown[-1].stderr
        assert_nothing_left_to_do(offline)

        path.unlink()
        with pytest.raises(ProjectError, match="vendored"):
            offline.sync("--reinstall")

    def test_directory(self, offline: Offline) -> None:
        offline.write("vendored/alpha/pyproject.toml", '[project]\nname="alpha"\nversion="1"\n')
        with (offline.root / "vendored/alpha/pyproject.toml").open("a") as file:
            file.write(BUILT_BY_UV)
        offline.write("vendored/alpha/src/alpha/__init__.py", "")
        more = '[tool.uv.sources]\nalpha = { path = "vendored/alpha" }\n'
        project(offline, dependencies='["alpha"]', more=more)
        offline.archived(offline.lock())
        assert offline.sync().status == 0, offline.shown[-1].stderr
        assert_nothing_left_to_do(offline)

    def test_virtual_root(self, offline: Offline) -> None:
        make_wheel(offline.served, "alpha", "1.0")
        project(offline, dependencies='["alpha"]', build="")
        offline.archived(offline.lock())
        assert offline.sync().status == 0
        assert names(offline) == {"alpha"}
        assert_nothing_left_to_do(offline)

    def test_git_without_its_bundle_is_refused(self, offline: Offline) -> None:
        repository = offline.directory / "repository"
        repository.mkdir()
        (repository / "pyproject.toml").write_text('[project]\nname="alpha"\nversion="1"\n')
        for command in (
            ("init", "-q"),
            ("add", "."),
            ("-c", "user.name=x", "-c", "user.email=x@example", "commit", "-qm", "one"),
        ):
            subprocess.run(["git", "-C", str(repository), *command], check=True)
        more = '[tool.uv.sources]\nalpha = { git = "https://git.example/alpha" }\n'
        project(offline, dependencies='["alpha"]', more=more)
        instead = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://git.example/alpha",
        }
        offline.archived(offline.lock(instead))
        with pytest.raises(RequestError, match=r"lacks 1 of the files.*alpha"):
            offline.sync()
        assert not (offline.root / ".venv").exists()


class TestBuilding:
    def test_build_requirements_come_from_the_archive(self, offline: Offline) -> None:
        make_sdist(offline.served, "alpha", "1.0", build_requires=["tool>=1"])
        tool = make_wheel(offline.served, "tool", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock(), build_requirements=[tool])
        result = offline.sync()
        assert result.status == 0, offline.shown[-1].stderr
        assert (result.distributions, result.unlocked) == (1, 1)
        assert_nothing_left_to_do(offline)

    def test_a_built_wheel_goes_before_its_sdist(self, offline: Offline) -> None:
        sdist = make_sdist(offline.served, "alpha", "1.0", build_requires=["nowhere"])
        project(offline, dependencies='["alpha"]')
        lock = offline.lock()
        wheel = make_wheel(offline.directory / "built", "alpha", "1.0")
        digest = sha256(sdist).removeprefix("sha256:")
        offline.archived(lock, built={wheel: digest})
        result = offline.sync()
        assert result.status == 0, offline.shown[-1].stderr
        assert result.unlocked == 1
        assert_nothing_left_to_do(offline)

    def test_only_locked_refuses_what_the_lock_does_not_name(self, offline: Offline) -> None:
        make_sdist(offline.served, "alpha", "1.0", build_requires=["tool>=1"])
        tool = make_wheel(offline.served, "tool", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock(), build_requirements=[tool])
        with pytest.raises(RequestError, match=r"tool-1\.0"):
            offline.sync(only_locked=True)
        assert not (offline.root / ".venv").exists()

    def test_only_locked_takes_build_requirements_that_are_locked(self, offline: Offline) -> None:
        make_sdist(offline.served, "alpha", "1.0", build_requires=["tool>=1"])
        tool = make_wheel(offline.served, "tool", "1.0")
        project(offline, dependencies='["alpha", "tool"]')
        offline.archived(offline.lock(), build_requirements=[tool])
        result = offline.sync(only_locked=True)
        assert (result.status, result.distributions, result.unlocked) == (0, 2, 0)

    def test_a_project_with_a_source_for_its_build_requirement(self, offline: Offline) -> None:
        """uv reads it from the real tree, and would look for an index that isn't there."""
        tool = make_wheel(offline.served, "tool", "1.0")
        sdist = make_sdist(offline.directory / "x", "workflow", "1.0", build_requires=["tool"])
        subprocess.run(["tar", "xmf", str(sdist), "-C", str(offline.directory)], check=True)
        (offline.directory / "workflow-1.0").rename(offline.root)
        with (offline.root / "pyproject.toml").open("a") as file:
            file.write(
                '[project]\nname = "workflow"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
                '[tool.uv.sources]\ntool = { index = "named" }\n'
                f'[[tool.uv.index]]\nname = "named"\nurl = "{INDEX}/simple"\n'
            )
        offline.archived(offline.lock(), build_requirements=[tool])
        assert offline.sync().status == 0, offline.shown[-1].stderr


class TestDecoys:
    @pytest.fixture
    def building(self, offline: Offline) -> Offline:
        """A project whose sdist says which version of its build requirement built it."""
        make_sdist(offline.served, "alpha", "1.0", build_requires=["tool"], files={
            "backend.py": _TELLING_BACKEND,
        })  # fmt: skip
        tool = make_wheel(offline.served, "tool", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock(), build_requirements=[tool])
        make_wheel(self.decoys(offline), "tool", "99")
        make_wheel(self.decoys(offline), "alpha", "99")
        return offline

    def decoys(self, offline: Offline) -> Path:
        return offline.directory / "decoys"

    def assert_unimpressed(self, offline: Offline) -> None:
        (module,) = (offline.root / ".venv").glob("lib/*/site-packages/alpha.py")
        assert module.read_text() == "built_with = '1.0'\n"
        assert "alpha==1.0" in offline.has()

    @pytest.mark.parametrize(
        "variables",
        [
            pytest.param({"UV_FIND_LINKS": "{decoys}"}, id="find-links"),
            pytest.param({"UV_INDEX": "{decoys}", "UV_DEFAULT_INDEX": "{decoys}"}, id="index"),
            pytest.param({"PIP_FIND_LINKS": "{decoys}", "PIP_INDEX_URL": "x:"}, id="pip"),
            pytest.param({"UV_CONFIG_FILE": "{decoys}/uv.toml"}, id="settings"),
            pytest.param({"XDG_CONFIG_HOME": "{decoys}/user"}, id="user's settings"),
            pytest.param({"UV_NO_SOURCES": "1", "UV_LOCKED": "1"}, id="contradictions"),
            pytest.param({"UV_FROZEN": "0", "UV_ISOLATED": "1"}, id="frozen"),
            pytest.param({"UV_OVERRIDE": "{decoys}", "UV_CONSTRAINT": "{decoys}"}, id="overrides"),
        ],
    )
    def test_in_the_environment(self, building: Offline, variables: dict[str, str]) -> None:
        decoys = self.decoys(building)
        settings = f'find-links = ["{decoys}"]\n'
        (decoys / "uv.toml").write_text(settings)
        (decoys / "user" / "uv").mkdir(parents=True)
        (decoys / "user" / "uv" / "uv.toml").write_text(settings)
        given = {name: value.format(decoys=decoys) for name, value in variables.items()}
        assert building.sync(environment=given).status == 0, building.shown[-1].stderr
        self.assert_unimpressed(building)

    def test_in_the_projects_settings(self, building: Offline) -> None:
        building.write("uv.toml", f'find-links = ["{self.decoys(building)}"]\nlink-mode = "copy"\n')
        assert building.sync().status == 0, building.shown[-1].stderr
        self.assert_unimpressed(building)

    def test_beside_the_archives_files(self, building: Offline) -> None:
        make_wheel(building.archive, "tool", "99")
        make_wheel(building.archive, "alpha", "99")
        assert building.sync().status == 0, building.shown[-1].stderr
        self.assert_unimpressed(building)


class TestRefusals:
    @pytest.fixture
    def small(self, offline: Offline) -> Offline:
        for name in ("alpha", "beta"):
            make_wheel(offline.served, name, "1.0")
        make_wheel(offline.served, "unused", "1.0")
        more = '[project.optional-dependencies]\nu = ["unused"]\n'
        project(offline, dependencies='["alpha", "beta"]', more=more)
        return offline

    def assert_untouched(self, offline: Offline) -> None:
        assert not (offline.root / ".venv").exists()
        assert not [path for path in offline.root.iterdir() if path.name.startswith(".uv-")]
        assert offline.shown == []

    def test_no_archive(self, small: Offline) -> None:
        small.lock()
        with pytest.raises(ArchiveError, match=r"uv-archive\.json") as refused:
            small.sync()
        assert "uv-archive download" in str(refused.value.hint)
        self.assert_untouched(small)

    def test_archive_of_another_lock(self, small: Offline) -> None:
        small.archived(small.lock())
        make_wheel(small.served, "beta", "2.0")
        (small.root / "uv.lock").unlink()
        small.lock()
        with pytest.raises(ArchiveError, match=r"these differ: `beta 1\.0`, `beta 2\.0`$"):
            small.sync()
        self.assert_untouched(small)

    def test_archive_of_another_project(self, small: Offline) -> None:
        small.archived(small.lock())
        path = small.root / "pyproject.toml"
        path.write_text(path.read_text().replace("workflow", "other"))
        (small.root / "src/workflow").rename(small.root / "src/other")
        (small.root / "uv.lock").unlink()
        small.lock()
        with pytest.raises(ArchiveError, match="the archive of `workflow`, not of `other`"):
            small.sync()
        self.assert_untouched(small)

    def test_a_lock_in_other_words_is_the_same_lock(self, small: Offline) -> None:
        small.archived(small.lock())
        path = small.root / "uv.lock"
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert small.sync().status == 0

    @pytest.mark.parametrize("recorded", [True, False])
    def test_missing_files_are_all_named(self, small: Offline, *, recorded: bool) -> None:
        files = ["alpha-1.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl"]
        lock = small.lock()
        if recorded:
            small.archived(lock)
            for file in files:
                (small.archive / file).unlink()
        else:
            small.archived(lock, leave_out=files)
        with pytest.raises(ArchiveError, match=r"2 of the files.*alpha.*beta") as refused:
            small.sync("--extra", "u")
        assert "uv-archive download" in str(refused.value.hint)
        assert "--extra u" in str(refused.value.hint)
        self.assert_untouched(small)

    def test_a_missing_file_that_is_not_needed_does_not_matter(self, small: Offline) -> None:
        small.archived(small.lock(), leave_out=["unused-1.0-py3-none-any.whl"])
        assert small.sync().status == 0

    def test_damaged_files_are_all_named(self, small: Offline) -> None:
        small.archived(small.lock())
        for name in ("alpha", "beta", "unused"):
            (small.archive / f"{name}-1.0-py3-none-any.whl").write_bytes(b"damaged")
        with pytest.raises(DamagedArchiveError, match=r"2 of the files.*alpha.*beta") as refused:
            small.sync()
        assert "unused" not in str(refused.value)
        self.assert_untouched(small)

    def test_damaged_together_with_its_metadata(self, small: Offline) -> None:
        """The lock decides, not what travelled with the file."""
        small.archived(small.lock())
        path = small.archive / "alpha-1.0-py3-none-any.whl"
        before = sha256(path).removeprefix("sha256:")
        path.write_bytes(b"another")
        manifest = small.archive / "uv-archive.json"
        text = manifest.read_text().replace(before, sha256(path).removeprefix("sha256:"))
        manifest.write_text(re.sub(r'^  "checksum".*\n', "", text, flags=re.MULTILINE))
        with pytest.raises(DamagedArchiveError, match="alpha"):
            small.sync()
        self.assert_untouched(small)

    def test_damaged_build_requirement(self, offline: Offline) -> None:
        make_sdist(offline.served, "alpha", "1.0", build_requires=["tool>=1"])
        tool = make_wheel(offline.served, "tool", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock(), build_requirements=[tool])
        (offline.archive / tool.name).write_bytes(b"damaged")
        with pytest.raises(DamagedArchiveError, match=r"tool-1\.0"):
            offline.sync()
        self.assert_untouched(offline)

    def test_a_changed_file_of_the_project_itself(self, offline: Offline) -> None:
        path = make_wheel(offline.root / "vendored", "alpha", "1.0")
        more = f'[tool.uv.sources]\nalpha = {{ path = "vendored/{path.name}" }}\n'
        project(offline, dependencies='["alpha"]', more=more)
        offline.archived(offline.lock())
        path.write_bytes(b"changed")
        with pytest.raises(DamagedArchiveError, match="vendored"):
            offline.sync()
        self.assert_untouched(offline)

    def test_stale_lock(self, small: Offline) -> None:
        small.archived(small.lock())
        path = small.root / "pyproject.toml"
        path.write_text(path.read_text().replace('"beta"', '"beta>1"'))
        with pytest.raises(StaleLockError, match="up to date"):
            small.sync("--locked")
        self.assert_untouched(small)

    def test_unknown_extra_is_uvs_to_refuse(self, small: Offline) -> None:
        small.archived(small.lock())
        refused = small.sync("--extra", "nope")
        assert refused.status == 2
        assert "nope" in refused.stderr
        self.assert_untouched(small)


class TestOutput:
    @pytest.fixture
    def small(self, offline: Offline) -> Offline:
        make_wheel(offline.served, "alpha", "1.0")
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock())
        return offline

    def test_check_says_whether_anything_is_to_be_done(self, small: Offline) -> None:
        assert small.sync("--check").status == 1
        assert not (small.root / ".venv").exists()
        assert small.sync().status == 0
        assert small.sync("--check").status == 0

    def test_dry_run_changes_nothing(self, small: Offline) -> None:
        assert small.sync("--dry-run").status == 0
        assert "alpha==1.0" in small.shown[-1].stderr
        assert not (small.root / ".venv").exists()

    def test_dry_run_needs_the_files_too(self, small: Offline) -> None:
        (small.archive / "alpha-1.0-py3-none-any.whl").unlink()
        with pytest.raises(ArchiveError, match="alpha"):
            small.sync("--dry-run")

    def test_json_has_the_projects_paths(self, small: Offline) -> None:
        result = small.sync("--output-format", "json")
        said = json.loads(result.stdout)
        assert said["project"]["path"] == str(small.root)
        assert said["lock"]["path"] == str(small.root / "uv.lock")
        assert ".uv-archive" not in result.stdout.replace("uv-archive-index", "")

    def test_verbose_output_has_the_projects_paths(self, small: Offline) -> None:
        result = small.sync("-v")
        assert re.search(rf"workspace root: `?{re.escape(str(small.root))}`?\n", result.stderr)
        assert not re.search(r"\.uv-archive-\.venv-\w+/project", result.stderr)

    def test_quiet(self, small: Offline) -> None:
        assert small.sync("-q").status == 0
        assert small.shown[-1].stderr == ""

    def test_a_failed_build_passes_uvs_status_on(self, offline: Offline) -> None:
        make_sdist(offline.served, "alpha", "1.0", build_requires=["nowhere"])
        project(offline, dependencies='["alpha"]')
        offline.archived(offline.lock())
        result = offline.sync()
        assert result.status == 1
        assert "nowhere" in offline.shown[-1].stderr
        assert not [path for path in offline.root.iterdir() if path.name.startswith(".uv-")]


_TELLING_BACKEND = """
import importlib.metadata
import zipfile

FILES = {
    "alpha.py": f"built_with = {importlib.metadata.version('tool')!r}\\n",
    "alpha-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: alpha\\nVersion: 1.0\\n",
    "alpha-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nTag: py3-none-any\\n"
    "Generator: x\\nRoot-Is-Purelib: true\\n",
}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    record = "alpha-1.0.dist-info/RECORD"
    with zipfile.ZipFile(f"{wheel_directory}/alpha-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in FILES.items():
            wheel.writestr(name, content)
        wheel.writestr(record, "".join(f"{name},,\\n" for name in (*FILES, record)))
    return "alpha-1.0-py3-none-any.whl"
"""
