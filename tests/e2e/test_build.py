"""Wheels built beforehand: by `build` behind the gap, and by `download --build` before it."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.build.sources import make_misdoer
from tests.distributions import make_sdist
from tests.e2e.bench import Bench, bytes_of, installed, tree
from tests.e2e.projects import PLAIN, SCENARIOS, write_project
from tests.e2e.validity import assert_valid
from tests.git.repositories import Origin
from tests.git.server import serving
from uv_archive.fetch.large_files import FILTER

NO_REQUIREMENT = '[build-system]\nrequires = ["no luck"]\nbuild-backend = "backend"\n'
HOOK_WITHOUT_LUCK = {
    "backend.py": (
        "def get_requires_for_build_wheel(config_settings=None):\n    raise OSError('no luck')\n"
    )
}
SCENARIO_OF_A_WORKSPACE = next(one for one in SCENARIOS if one.name == "workspace")
SDISTS = {"gamma-1.0.tar.gz", "directsource-1.0.tar.gz", "vendoredsource-1.0.tar.gz"}
WHEELS = {name.replace(".tar.gz", "-py3-none-any.whl") for name in SDISTS}


@pytest.fixture
def sources(bench: Bench) -> Bench:
    """A project with sdists of every kind of source but git."""
    PLAIN.write(bench)
    bench.lock()
    return bench


def built(bench: Bench, archive: Path | None = None) -> set[str]:
    """Return the wheels that the archive says were built."""
    files = bench.manifest(archive)["files"]
    assert isinstance(files, dict)
    return {
        path
        for path, entry in files.items()
        if any(why["kind"] == "built from" for why in entry.get("why", ()))
    }


class TestBuild:
    def test_behind_the_gap_it_builds_what_is_lacking(self, sources: Bench) -> None:
        sources.download()

        said = sources.uv_archive("build", sources.archive, offline=True)

        assert said.status == 0, said.text
        assert built(sources) == WHEELS
        assert "3 wheels built" in said.err
        assert_valid(sources)

    def test_says_as_json_what_it_did(self, sources: Bench) -> None:
        sources.download()

        said = sources.uv_archive("build", sources.archive, "--output-format", "json")

        document = json.loads(said.out)
        assert {one["path"] for one in document["built"]} == WHEELS
        assert document["failures"] == []
        assert document["network_off"] is True

    def test_a_later_download_keeps_the_wheels(self, sources: Bench) -> None:
        sources.download()
        sources.uv_archive("build", sources.archive)
        before = tree(sources.archive)

        sources.download()
        sources.download("--prune")
        assert tree(sources.archive) == before
        # Everything is made anew, from what uv exports, and comes out the same.
        sources.download("--verify")
        assert bytes_of(sources.archive) == {
            path: digest for path, digest in bytes_of(sources.archive).items() if path in before
        }
        assert built(sources) == WHEELS

    def test_wheels_of_what_is_locked_no_more_go_with_prune(self, bench: Bench) -> None:
        write_project(bench, '["gamma", "beta"]', build="")
        bench.lock()
        bench.download("--build")
        write_project(bench, '["beta"]', build="")
        bench.lock()

        bench.download()
        assert "gamma-1.0-py3-none-any.whl" in bench.distributions()
        assert built(bench) == set()
        bench.download("--prune")
        assert "gamma-1.0-py3-none-any.whl" not in bench.distributions()
        assert_valid(bench)

    def test_sync_takes_the_wheels_and_builds_nothing(self, sources: Bench) -> None:
        sources.download("--build")

        said = sources.sync("--no-install-project", "--no-build")

        assert "files, to build with or built before, that the lock doesn't name" in said.err

        assert {"gamma-1.0", "directsource-1.0"} <= installed(sources.venv).keys()
        sources.imports("gamma", "directsource", "vendoredsource")

    def test_one_that_fails_is_named_with_its_log(self, bench: Bench) -> None:
        make_misdoer(
            bench.index.at("main"), "broken", "print('no compiler', flush=True); os._exit(3)"
        )
        write_project(bench, '["broken", "gamma"]', build="")
        bench.lock()

        said = bench.uv_archive("download", "--build")

        assert said.status == 1
        assert "`broken==1.0` has no wheel: its build failed" in said.err
        assert "  | no compiler" in said.err
        log = said.err.partition("The whole log is in `")[2].partition("`")[0]
        assert "no compiler" in Path(log).read_text()
        assert built(bench) == {"gamma-1.0-py3-none-any.whl"}
        assert_valid(bench)


class TestWhatCannotBeKnown:
    """One source whose requirements aren't found keeps no other from being built."""

    @pytest.fixture(
        params=[HOOK_WITHOUT_LUCK, {"pyproject.toml": NO_REQUIREMENT}], ids=["hook", "odd"]
    )
    def doubtful(self, bench: Bench, request: pytest.FixtureRequest) -> Bench:
        make_sdist(bench.index.at("main"), "bad", "1.0", files=request.param)
        write_project(bench, '["bad", "gamma"]', build="")
        bench.lock()
        return bench

    def test_the_rest_is_built_and_it_is_named_once(self, doubtful: Bench) -> None:
        said = doubtful.uv_archive("download", "--build", "--run-hooks")

        assert said.status == 1
        assert said.err.count("Couldn't get `bad==1.0`: ") == 1, said.err
        assert "`bad==1.0` has no wheel" not in said.err
        assert "1 wheel built" in said.err
        assert "gamma-1.0-py3-none-any.whl" in doubtful.distributions()
        assert "Archive digest" not in said.err
        assert not (doubtful.archive / "uv-archive.json").exists()

    def test_it_says_so_as_json(self, doubtful: Bench) -> None:
        arguments = ("--build", "--run-hooks", "--output-format", "json")
        document = json.loads(doubtful.uv_archive("download", *arguments).out)

        assert [one["name"] for one in document["failures"]] == ["bad==1.0"]
        assert (document["complete"], document["digest"]) == (False, None)
        builds = document["builds"]
        assert [one["package"] for one in builds["built"]] == ["gamma==1.0"]
        assert (builds["digest"], builds["failures"], builds["elsewhere"]) == (None, [], [])

    def test_what_was_built_is_not_built_again(self, doubtful: Bench) -> None:
        doubtful.uv_archive("download", "--build", "--run-hooks")
        wheel = doubtful.archive / "gamma-1.0-py3-none-any.whl"
        before = wheel.stat().st_mtime_ns

        again = doubtful.uv_archive("download", "--build", "--run-hooks")
        assert "1 already there" in again.err.partition("Nothing to build")[2]
        write_project(doubtful, '["gamma"]', build="")
        doubtful.lock()
        done = doubtful.download("--build")

        assert "1 already there" in done.err.partition("Nothing to build")[2]
        assert wheel.stat().st_mtime_ns == before
        assert built(doubtful) == {wheel.name}
        assert not (doubtful.archive / ".partial").exists()
        assert_valid(doubtful)

    def test_a_complete_archive_stays_one(self, doubtful: Bench) -> None:
        write_project(doubtful, '["gamma"]', build="")
        doubtful.lock()
        doubtful.download("--build")
        before = (doubtful.archive / "uv-archive.json").read_bytes()
        write_project(doubtful, '["bad", "gamma"]', build="")
        doubtful.lock()

        assert doubtful.uv_archive("download", "--build", "--run-hooks").status == 1

        assert (doubtful.archive / "uv-archive.json").read_bytes() == before


LEVELLED = """
from backend import *
from backend import build_wheel as packed
import pathlib

def build_wheel(directory, config_settings=None, metadata_directory=None):
    ready = pathlib.Path(__file__).parent / "ready"
    ready.joinpath("level").write_text(str((config_settings or {}).get("level")))
    return packed(directory)
"""


@pytest.mark.parametrize("flags", [(), ("--no-sdists",)], ids=["beside-sdists", "wheels-alone"])
def test_a_wheel_is_built_again_with_other_settings(bench: Bench, flags: tuple[str, ...]) -> None:
    backend = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    files = {"own.py": LEVELLED, "pyproject.toml": backend}
    make_sdist(bench.index.at("main"), "levelled", "1.0", files=files)
    for level in ("1", "2"):
        settings = f'[tool.uv]\nconfig-settings = {{ level = "{level}" }}\n'
        write_project(bench, '["levelled"]', build="", more=settings)
        bench.lock()

        bench.download("--build", *flags)

        with zipfile.ZipFile(bench.archive / "levelled-1.0-py3-none-any.whl") as wheel:
            assert wheel.read("level").decode() == level
        assert ("levelled-1.0.tar.gz" in bench.distributions()) == (not flags)
        assert_valid(bench)
    assert "Nothing to build" in bench.download("--build", *flags).err


@pytest.fixture
def levelled(bench: Bench) -> Bench:
    """A project whose one dependency has to be built, and tells what it was built with."""
    backend = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    files = {"own.py": LEVELLED, "pyproject.toml": backend}
    make_sdist(bench.index.at("main"), "levelled", "1.0", files=files)
    write_levelled(bench, "1")
    bench.lock()
    return bench


def write_levelled(bench: Bench, level: str) -> None:
    settings = f'[tool.uv]\npackage = false\nconfig-settings = {{ level = "{level}" }}\n'
    write_project(bench, '["levelled"]', build="", more=settings)


class TestSyncWithSettings:
    def test_it_takes_what_was_built_with_the_same(self, levelled: Bench) -> None:
        levelled.download("--build", "--no-sdists")

        levelled.sync()

        assert level_of(levelled) == "1"

    def test_it_builds_anew_with_others(self, levelled: Bench) -> None:
        levelled.download("--build")
        write_levelled(levelled, "2")

        levelled.sync()

        assert level_of(levelled) == "2"

    def test_it_builds_anew_in_an_environment_when_told_to(self, levelled: Bench) -> None:
        levelled.download("--build")
        levelled.sync()

        levelled.sync("-C", "level=2", "--reinstall-package", "levelled")

        assert level_of(levelled) == str(["2", "1"])

    def test_it_says_so_where_it_cannot(self, levelled: Bench) -> None:
        levelled.download("--build", "--no-sdists")

        said = levelled.uv_archive("sync", "-C", "level=2", offline=True)

        assert said.status == 2
        assert "has of `levelled==1.0` were built with other settings" in said.err
        assert "lacks 1 of the files" in said.err
        assert not levelled.venv.exists()


def level_of(bench: Bench) -> str:
    (path,) = bench.venv.glob("lib/*/site-packages/level")
    return path.read_text()


class TestWheelsOnly:
    def test_a_wheel_stands_for_its_source_in_verify(self, levelled: Bench) -> None:
        levelled.download("--build", "--no-sdists")
        verify = ("verify", levelled.archive, "--project", levelled.root)
        here = f"{sys.version_info.major}.{sys.version_info.minor}"

        for flags in ((), ("-p", here)):
            said = levelled.uv_archive(*verify, *flags)
            assert said.status == 0, said.text

        write_levelled(levelled, "2")
        for flags in ((), ("-p", here)):
            said = levelled.uv_archive(*verify, *flags)
            assert said.status == 1
            assert "levelled-1.0.tar.gz" in said.text

    @pytest.mark.parametrize("beforehand", [False, True], ids=["at-once", "later"])
    def test_what_may_not_be_a_wheel_keeps_its_sdist(self, bench: Bench, beforehand: bool) -> None:
        write_project(bench, '["gamma"]', build="")
        bench.lock()
        if beforehand:
            bench.download("--build", "--no-sdists")
        settings = '[tool.uv]\npackage = false\nno-binary-package = ["gamma"]\n'
        write_project(bench, '["gamma"]', build="", more=settings)
        bench.lock()

        bench.download("--build", "--no-sdists")

        assert "gamma-1.0.tar.gz" in bench.distributions()
        said = bench.uv_archive("verify", bench.archive, "--project", bench.root)
        assert said.status == 0, said.text
        bench.sync()
        bench.imports("gamma")

    def test_a_directory_of_wheels_alone_is_left(self, bench: Bench) -> None:
        write_project(bench, '["alpha[fast]==1.0"]', build="")
        bench.lock()

        said = bench.download("--build", "--no-sdists")

        wheels = {f"{name}-py3-none-any.whl" for name in ("alpha-1.0", "beta-2.0", "gamma-1.0")}
        assert bench.distributions() == wheels
        # Two of the wheels came; the third was built from an sdist, with two more.
        assert "5 distributions downloaded" in said.err
        assert ", 3 removed\n1 wheel built" in said.err
        assert_valid(bench)

    def test_running_it_again_fetches_and_builds_nothing(self, bench: Bench) -> None:
        write_project(bench, '["gamma"]', build="")
        bench.lock()
        bench.download("--build", "--no-sdists")
        before = tree(bench.archive)
        bench.index.requests.clear()

        said = bench.download("--build", "--no-sdists")

        assert "Nothing to build" in said.err
        assert bench.index.requests == []
        assert tree(bench.archive) == before

    def test_a_request_for_more_brings_the_sources_back(self, bench: Bench) -> None:
        write_project(bench, '["gamma"]', build="")
        bench.lock()
        bench.download("--build", "--no-sdists")

        bench.download()

        assert bench.distributions() == {
            *("gamma-1.0.tar.gz", "gamma-1.0-py3-none-any.whl"),
            *("forge-1.0-py3-none-any.whl", "anvil-1.0-py3-none-any.whl"),
        }
        assert built(bench) == {"gamma-1.0-py3-none-any.whl"}

    def test_a_wheel_that_was_lost_is_built_again(self, bench: Bench) -> None:
        write_project(bench, '["gamma"]', build="")
        bench.lock()
        bench.download("--build", "--no-sdists")
        before = bytes_of(bench.archive)
        (bench.archive / "gamma-1.0-py3-none-any.whl").unlink()

        bench.download("--build", "--no-sdists")

        assert bytes_of(bench.archive) == before

    @pytest.mark.parametrize("way", ["sync", "uv", "pip"])
    def test_it_can_be_installed_from(self, bench: Bench, way: str) -> None:
        write_project(bench, '["alpha[fast]==1.0"]', build="")
        bench.lock()
        bench.download("--build", "--no-sdists")

        if way == "sync":
            bench.sync()
        else:
            bench.run(bench.uv, "venv", bench.venv)
            pip = (
                "-m",
                "pip",
                "--python",
                bench.venv,
                "install",
                "--no-index",
                "--find-links",
                ".",
                "--require-hashes",
            )
            command: tuple[str | Path, ...] = (
                bench.uv, "pip", "sync", "--offline", "--no-index", "--find-links", ".",
                "--no-build", "pylock.toml",
            )  # fmt: skip
            if way == "pip":
                command = (sys.executable, *pip, "-r", "requirements.txt")
            said = bench.run(*command, offline=True, cwd=bench.archive)
            assert said.status == 0, said.text
        bench.imports("alpha", "beta", "gamma")

    def test_a_dry_run_says_what_would_be_built(self, bench: Bench) -> None:
        write_project(bench, '["gamma"]', build="")
        bench.lock()

        said = bench.download("--build", "--dry-run", "--output-format", "json")

        assert said.json["to_build"] == ["gamma==1.0"]
        assert said.json["builds"] is None
        assert not bench.archive.exists()


class TestProject:
    def test_a_machine_without_the_source_installs_its_wheel(self, bench: Bench) -> None:
        SCENARIO_OF_A_WORKSPACE.write(bench)
        bench.lock()

        bench.download("--build", "--build-project", "--all-packages")

        own = {f"{name}-1.0-py3-none-any.whl" for name in ("app", "one", "two")}
        assert built(bench) == {*own, "gamma-1.0-py3-none-any.whl"}
        assert_valid(bench)
        elsewhere = bench.directory / "elsewhere"
        bench.archive.rename(elsewhere)
        shutil.rmtree(bench.root)
        bench.root.mkdir()
        bench.run(bench.uv, "venv", bench.venv)
        flags = ("--offline", "--no-index", "--find-links", ".", "--no-build")
        for command in (
            ("sync", *flags, *(path.name for path in elsewhere.glob("pylock*.toml"))),
            ("install", *flags, "--no-deps", *sorted(own)),
        ):
            said = bench.run(bench.uv, "pip", *command, offline=True, cwd=elsewhere)
            assert said.status == 0, said.text
        bench.imports("app", "one", "two", "gamma", "alpha")

    def test_it_says_nothing_of_this_machine_and_comes_out_the_same(self, bench: Bench) -> None:
        write_project(bench, '["beta"]')
        bench.lock()
        bench.download("--build-project")
        first = bytes_of(bench.archive)
        before = tree(bench.root / "src")

        bench.download("--build-project")

        assert bytes_of(bench.archive) == first
        assert tree(bench.root / "src") == before
        assert {"src", "pyproject.toml", "uv.lock", "dist"} == {
            path.name for path in bench.root.iterdir()
        }
        files = bench.manifest()["files"]
        assert isinstance(files, dict)
        (why,) = files["app-1.0-py3-none-any.whl"]["why"]
        assert why["tree"] == "."
        assert str(bench.directory) not in json.dumps(bench.manifest())

    def test_a_later_download_keeps_it_and_a_changed_tree_makes_another(self, bench: Bench) -> None:
        write_project(bench, '["beta"]')
        bench.lock()
        bench.download("--build-project")
        first = bytes_of(bench.archive)

        bench.download("--prune")
        assert bytes_of(bench.archive) == first
        bench.write("src/app/__init__.py", "CHANGED = True\n")
        bench.download("--build-project")

        with zipfile.ZipFile(bench.archive / "app-1.0-py3-none-any.whl") as wheel:
            assert wheel.read("app/__init__.py") == b"CHANGED = True\n"

    def test_what_has_no_project_has_none_to_build(self, bench: Bench) -> None:
        bench.write("x.py", "# /// script\n# dependencies = []\n# ///\n")
        bench.run(bench.uv, "lock", "--script", "x.py")

        said = bench.uv_archive("download", "--script", "x.py", "--build-project")

        assert said.status == 2
        assert "`--build-project`" in said.err


@pytest.fixture
def of_git(bench: Bench) -> Iterator[Bench]:
    """A project with a tag that has a submodule, and a commit after a tag, in a subdirectory."""
    served = bench.directory / "served"
    served.mkdir()
    with serving(served) as server:
        inner, one, two = (
            Origin.create(bench.directory / "trees", served, name)
            for name in ("inner", "one", "two")
        )
        inner.write("content.txt", "of the submodule\n")
        commit = inner.commit()
        one.package("one")
        one.submodule("one/inner", "../inner.git", commit)
        one.commit(tag="v1.2")
        two.package("two", below="packages/two")
        two.commit(tag="v2.0")
        two.commit("after the tag")
        bench.write(
            "pyproject.toml",
            f"""
            [project]
            name = "app"
            version = "1"
            requires-python = ">=3.11"
            dependencies = ["one", "two"]
            [tool.uv]
            package = false
            [tool.uv.sources]
            one = {{ git = "{server.url("one.git")}", tag = "v1.2" }}
            two = {{ git = "{server.url("two.git")}", subdirectory = "packages/two" }}
            """,
        )
        bench.lock()
        yield bench


class TestGit:
    def test_commits_are_built_from_their_bundles(self, of_git: Bench) -> None:
        of_git.download()

        said = of_git.uv_archive("build", of_git.archive, offline=True)

        assert said.status == 0, said.text
        assert {wheel.rpartition("-py3")[0] for wheel in built(of_git)} == {
            *("one-1.2", "two-2.0.post1")
        }
        assert_valid(of_git)
        with zipfile.ZipFile(of_git.archive / "one-1.2-py3-none-any.whl") as wheel:
            assert wheel.read("one/inner/content.txt") == b"of the submodule\n"

    def test_the_wheel_stands_for_the_commit_in_pylock(self, of_git: Bench) -> None:
        of_git.download("--build")

        packages = tomllib.loads((of_git.archive / "pylock.toml").read_text())["packages"]
        assert [(one["name"], one["version"]) for one in packages] == [
            *(("one", "1.2"), ("two", "2.0.post1"))
        ]
        assert not any("vcs" in one for one in packages)
        before = tree(of_git.archive)
        of_git.download()
        assert tree(of_git.archive) == before

    def test_wheels_alone_need_no_git(self, of_git: Bench) -> None:
        of_git.download("--build", "--no-sdists")

        assert not (of_git.archive / "git").exists()
        of_git.sync()
        of_git.imports("one", "two")

    def test_large_files_are_in_the_wheel(self, bench: Bench, tool: Callable[[str], Path]) -> None:
        tool("git-lfs")
        (bench.directory / "home" / ".gitconfig").write_text(FILTER)
        served = bench.directory / "served"
        served.mkdir()
        with serving(served) as server:
            one = Origin.create(bench.directory / "trees", served, "one")
            one.package("one")
            one.large_file("one/data.bin", LARGE)
            one.commit(tag="v1.2")
            source = f'{{ git = "{server.url("one.git")}", tag = "v1.2", lfs = true }}'
            of_source(bench, "one", source)
            bench.download()
        (bench.directory / "home" / ".gitconfig").unlink()

        said = bench.uv_archive("build", bench.archive, offline=True)

        assert said.status == 0, said.text
        # Nothing looks changed to the backend, which asks git for the version.
        with zipfile.ZipFile(bench.archive / "one-1.2-py3-none-any.whl") as wheel:
            assert wheel.read("one/data.bin") == LARGE

    def test_an_sdist_in_a_repository_is_built(self, bench: Bench) -> None:
        served = bench.directory / "served"
        served.mkdir()
        with serving(served) as server:
            store = Origin.create(bench.directory / "trees", served, "store")
            sdist = make_sdist(bench.directory / "made", "kept", "1.0")
            shutil.copyfile(sdist, store.tree / sdist.name)
            store.commit()
            of_source(
                bench, "kept", f'{{ git = "{server.url("store.git")}", path = "{sdist.name}" }}'
            )
            bench.download()

        said = bench.uv_archive("build", bench.archive, offline=True)

        assert said.status == 0, said.text
        assert built(bench) == {"kept-1.0-py3-none-any.whl"}


LARGE = b"\0large" * 20_000


def of_source(bench: Bench, name: str, source: str) -> None:
    """Lock a project that is no package, with one dependency."""
    bench.write(
        "pyproject.toml",
        f"""
        [project]
        name = "app"
        version = "1"
        requires-python = ">=3.11"
        dependencies = ["{name}"]
        [tool.uv]
        package = false
        [tool.uv.sources]
        {name} = {source}
        """,
    )
    bench.lock()
