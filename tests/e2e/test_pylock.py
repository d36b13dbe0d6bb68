"""`pylock.toml` of any tool: downloaded, and installed without a network."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import tomli_w
from packaging.pylock import Pylock
from packaging.utils import canonicalize_name

from tests.distributions import make_wheel
from tests.e2e.bench import Bench, Said, difference, installed
from tests.e2e.projects import write_project
from tests.e2e.validity import assert_valid
from tests.git.repositories import Origin
from tests.git.server import serving
from tests.sync.test_pinning import telling, told
from uv_archive.sync.unfinished import marks


def digest(path: Path, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


def described(bench: Bench, name: str, **more: object) -> dict[str, object]:
    """Return the table of a file that the main index has."""
    path = bench.index.at("main") / name
    return {"url": bench.index.url(path), "hashes": {"sha256": digest(path)}, **more}


def write(bench: Bench, packages: list[dict[str, object]], **more: object) -> Path:
    document = {"lock-version": "1.0", "created-by": "a test", **more, "packages": packages}
    return bench.write("pylock.toml", tomli_w.dumps(document))


def names(bench: Bench) -> set[str]:
    return {name.rpartition("-")[0] for name in installed(bench.venv)}


def pip_sync(bench: Bench, *arguments: str, offline: bool = False) -> Said:
    """Let plain uv install `pylock.toml` into the project's environment, and into no other.

    Without `--python` it would take `UV_PYTHON` for an environment, and empty that.
    """
    assert bench.run(bench.uv, "venv", "--allow-existing", bench.venv).status == 0
    said = bench.run(
        bench.uv, "pip", "sync", "pylock.toml", "--python", bench.venv, *arguments, offline=offline,
        variables={"UV_PYTHON": None, "VIRTUAL_ENV": None},
    )  # fmt: skip
    assert said.status == 0, said.err
    return said


def beta(bench: Bench, version: str = "1.0", **more: object) -> dict[str, object]:
    wheel = described(bench, f"beta-{version}-py3-none-any.whl")
    return {"name": "beta", "version": version, "wheels": [wheel], **more}


def gamma(bench: Bench, **more: object) -> dict[str, object]:
    return {
        "name": "gamma",
        "version": "1.0",
        "sdist": described(bench, "gamma-1.0.tar.gz"),
        **more,
    }


def configure(bench: Bench) -> None:
    """Tell uv of the index, which is where build requirements are."""
    bench.write("uv.toml", f'[[index]]\nurl = "{bench.index.simple()}"\ndefault = true\n')


def test_what_uv_exports_is_installed_as_uv_installs_it(bench: Bench) -> None:
    url = f"{bench.index.address}/files"
    write_project(
        bench,
        '["alpha[fast]==1.0", "epsilon", "direct", "directsource"]',
        more=f"""
[dependency-groups]
dev = ["delta"]

[tool.uv.sources]
direct = {{ url = "{url}/direct-1.0-py3-none-any.whl" }}
directsource = {{ url = "{url}/directsource-1.0.tar.gz" }}
""",
    )
    bench.lock()
    exported = bench.run(
        bench.uv, "export", "--format", "pylock.toml", "-o", "pylock.toml", "--all-groups"
    )
    assert exported.status == 0, exported.err
    expected = installed_by_uv(bench)

    said = bench.download("--pylock", "pylock.toml")
    assert "uv-archive sync --pylock pylock.toml" in said.text
    assert_valid(bench)
    assert bench.archive.joinpath("locked/pylock.toml").is_file()
    bench.sync("--pylock", "pylock.toml")

    assert difference(installed(bench.venv), expected) == []
    bench.imports("alpha", "beta", "gamma", "epsilon", "direct", "directsource", "app", "delta")
    said = pip_sync(bench, "--dry-run", "--offline", offline=True)
    assert "Would make no changes" in said.err


def test_extras_and_groups_are_those_of_the_file(bench: Bench) -> None:
    configure(bench)
    write(
        bench,
        [
            beta(bench),
            gamma(bench, marker="'fast' in extras or 'everything' in dependency_groups"),
            {
                "name": "alpha",
                "version": "2.0",
                "marker": "'dev' in dependency_groups and sys_platform != 'win32'",
                "wheels": [described(bench, "alpha-2.0-py3-none-any.whl")],
            },
        ],
        extras=["fast"],
        **{"dependency-groups": ["dev", "everything"], "default-groups": ["dev"]},
    )
    said = bench.download("--pylock", "pylock.toml")
    assert "fast" in said.text
    assert {name.partition("-")[0] for name in bench.distributions()} == {"alpha", "beta"}
    bench.sync("--pylock", "pylock.toml")
    assert names(bench) == {"alpha", "beta"}
    missing = bench.uv_archive("sync", "--pylock", "pylock.toml", "--extra", "fast", offline=True)
    assert missing.status == 2
    assert "lacks 1 of the files" in missing.err
    bench.download("--pylock", "pylock.toml", "--extra", "fast", "--no-default-groups")
    bench.sync("--pylock", "pylock.toml", "--extra", "fast", "--no-default-groups")
    assert names(bench) == {"beta", "gamma"}
    bench.sync("--pylock", "pylock.toml", "--group", "everything")
    assert names(bench) == {"alpha", "beta", "gamma"}
    unknown = bench.uv_archive("download", "--pylock", "pylock.toml", "--extra", "slow")
    assert unknown.status == 2
    assert "`slow` isn't defined" in unknown.err
    exports = {path.name for path in bench.archive.glob("pylock*.toml")}
    assert exports == {"pylock.toml", "pylock.extra-fast_no-default-groups.toml"}
    # What others install from the archive has no extras any more, but the environment's markers.
    plain = Pylock.from_dict(__import__("tomllib").loads(
        bench.archive.joinpath("pylock.toml").read_text()
    ))  # fmt: skip
    assert {package.name: str(package.marker) for package in plain.packages} == {
        "beta": "None",
        "alpha": 'sys_platform != "win32"',
    }


def test_the_strongest_hash_is_checked(bench: Bench) -> None:
    package = beta(bench)
    path = bench.index.at("main") / "beta-1.0-py3-none-any.whl"
    wheel = described(bench, path.name)
    wheel["hashes"] = {"md5": digest(path, "md5"), "sha512": digest(path, "sha512")}
    package["wheels"] = [wheel]
    write(bench, [package])
    bench.download("--pylock", "pylock.toml")
    bench.sync("--pylock", "pylock.toml")
    assert names(bench) == {"beta"}
    wheel["hashes"] = {"sha256": digest(path), "sha512": "0" * 128}
    write(bench, [package])
    said = bench.uv_archive("download", "--pylock", "pylock.toml", "-o", "other")
    assert said.status == 1
    wheel["hashes"] = {"md5": digest(path, "md5")}
    write(bench, [package])
    said = bench.uv_archive("download", "--pylock", "pylock.toml", "-o", "third")
    assert said.status == 2
    assert "no secure hash" in said.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lock-version": "2.0"}, "it has version 2.0, and this program reads version 1"),
        ({"environments": ["sys_platform == 'none'"]}, "The lock doesn't cover"),
        ({"requires-python": "<3"}, "It is for Python <3"),
        ({"packages": [{"name": "Beta_", "vcs": {}}]}, "(at `packages[0]"),
        (
            {"packages": [{"name": "a", "directory": {"path": "."}, "marker": "extra == 'a'"}]},
            "(at `packages[0].marker`)",
        ),
    ],
    ids=["major", "environments", "requires-python", "invalid", "extra"],
)
def test_what_cant_be_is_refused(bench: Bench, more: dict[str, object], message: str) -> None:
    document = {"lock-version": "1.0", "created-by": "a test", "packages": [beta(bench)], **more}
    bench.write("pylock.toml", tomli_w.dumps(document))
    said = bench.uv_archive("download", "--pylock", "pylock.toml")
    assert said.status == 2
    assert message in said.err
    assert not bench.archive.exists()


def test_a_newer_minor_version_is_a_warning(bench: Bench) -> None:
    write(bench, [beta(bench)], **{"lock-version": "1.3"})
    said = bench.download("--pylock", "pylock.toml")
    assert "warning: `pylock.toml` has version 1.3" in said.err
    said = bench.sync("--pylock", "pylock.toml")
    assert "warning: `pylock.toml` has version 1.3" in said.err


def test_a_package_of_another_python_is_refused(bench: Bench) -> None:
    write(bench, [beta(bench, **{"requires-python": ">=3.99"})])
    said = bench.uv_archive("download", "--pylock", "pylock.toml")
    assert said.status == 2
    assert "it requires Python >=3.99" in said.err


def test_two_of_one_name_are_refused_where_they_are_installed(bench: Bench) -> None:
    write(bench, [beta(bench, "1.0"), beta(bench, "2.0")])
    bench.download("--pylock", "pylock.toml")
    said = bench.uv_archive("sync", "--pylock", "pylock.toml", offline=True)
    assert said.status == 2
    assert "has several of `beta`" in said.err
    assert not bench.venv.exists()


def test_another_name_of_the_file_is_refused(bench: Bench) -> None:
    write(bench, [beta(bench)]).rename(bench.root / "lock.toml")
    said = bench.uv_archive("download", "--pylock", "lock.toml")
    assert said.status == 2
    assert "`lock.toml` is no name of a pylock file" in said.err
    bench.root.joinpath("lock.toml").rename(bench.root / "pylock.dev.toml")
    bench.download("--pylock", "pylock.dev.toml")
    bench.sync("--pylock", "pylock.dev.toml")
    assert names(bench) == {"beta"}


def test_an_environment_can_be_named(bench: Bench) -> None:
    write(bench, [beta(bench)])
    bench.download("--pylock", "pylock.toml")
    other = bench.root / "other"
    assert bench.run(bench.uv, "venv", str(other)).status == 0
    bench.sync("--pylock", "pylock.toml", "--python", str(other / "bin" / "python"))
    assert set(installed(other)) == {"beta-1.0"}
    assert not bench.venv.exists()
    dry = bench.sync("--pylock", "pylock.toml", "--dry-run")
    assert "+ beta==1.0" in dry.err
    assert not bench.venv.exists()


@pytest.mark.parametrize("flag", ["--package=x", "--index=x", "--no-editable", "--all-packages"])
def test_flags_without_a_meaning_are_refused(bench: Bench, flag: str) -> None:
    write(bench, [beta(bench)])
    said = bench.uv_archive("sync", "--pylock", "pylock.toml", flag, offline=True)
    assert said.status == 2
    assert flag.partition("=")[0] in said.err


def test_a_damaged_file_is_refused_and_a_short_distribution_repaired(bench: Bench) -> None:
    write(bench, [beta(bench)])
    bench.download("--pylock", "pylock.toml")
    bench.sync("--pylock", "pylock.toml")
    (module,) = bench.venv.glob("lib/python*/site-packages/beta/__init__.py")
    module.unlink()
    said = bench.sync("--pylock", "pylock.toml")
    assert "1 distribution not whole, and installed again" in said.err
    assert module.is_file()
    wheel = bench.archive / "beta-1.0-py3-none-any.whl"
    make_wheel(bench.archive, "beta", "1.0", files={"beta/__init__.py": "decoy"})
    said = bench.uv_archive("sync", "--pylock", "pylock.toml", offline=True)
    assert said.status == 1
    assert wheel.name in said.err


def test_with_nothing_to_do_nothing_is_hashed(bench: Bench) -> None:
    write(bench, [beta(bench)])
    bench.download("--pylock", "pylock.toml")
    assert "Checking 1 distribution" in bench.sync("--pylock", "pylock.toml").err
    assert "Checking" not in bench.sync("--pylock", "pylock.toml").err.splitlines()[0]
    assert "Checking" in bench.sync("--pylock", "pylock.toml", "--reinstall").err


def test_what_was_being_built_when_a_sync_was_killed_is_built_again(bench: Bench) -> None:
    configure(bench)
    write(bench, [beta(bench), gamma(bench)])
    bench.download("--pylock", "pylock.toml")
    bench.sync("--pylock", "pylock.toml")
    with marks(bench.venv) as own:
        own.begin([canonicalize_name("gamma")], creating=False)
    said = bench.sync("--pylock", "pylock.toml")
    assert "1 distribution not whole, and installed again" in said.err
    assert "gamma" in said.err
    assert not list(bench.root.glob(".uv-archive-*"))


def test_each_build_gets_the_version_that_was_recorded_for_it(bench: Bench) -> None:
    configure(bench)
    index = bench.index.at("main")
    telling(index, "older", "tool<2")
    telling(index, "newer", "tool>=2")
    for version in ("1.0", "2.0"):
        make_wheel(index, "tool", version)
    write(
        bench,
        [
            {"name": name, "version": "1.0", "sdist": described(bench, f"{name}-1.0.tar.gz")}
            for name in ("newer", "older")
        ],
    )
    bench.download("--pylock", "pylock.toml")
    bench.sync("--pylock", "pylock.toml")
    assert (told(bench.venv, "older"), told(bench.venv, "newer")) == ("1.0", "2.0")


def test_a_build_that_fails_leaves_no_mark(bench: Bench) -> None:
    configure(bench)
    write_project(bench, "[]", name="one", at="one")
    write(bench, [beta(bench), {"name": "one", "directory": {"path": "one"}}])
    bench.download("--pylock", "pylock.toml")
    pyproject = bench.root / "one" / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("requires = [", 'requires = ["absent", '))
    said = bench.uv_archive("sync", "--pylock", "pylock.toml", offline=True)
    assert said.status == 1, said.text
    assert not list(bench.root.glob(".uv-archive-*"))


def test_source_trees_are_built_where_they_are(bench: Bench) -> None:
    configure(bench)
    write_project(bench, "[]", name="one", at="one")
    write(bench, [{"name": "one", "directory": {"path": "one", "editable": True}}])
    bench.download("--pylock", "pylock.toml")
    bench.sync("--pylock", "pylock.toml")
    bench.imports("one")
    assert bench.archive.joinpath("editables-0.5-py3-none-any.whl").is_file()


def test_local_files_are_in_the_archive(bench: Bench) -> None:
    path = make_wheel(bench.root / "wheels", "local", "1.0")
    file = {"path": "wheels/local-1.0-py3-none-any.whl", "hashes": {"sha256": digest(path)}}
    write(bench, [{"name": "local", "version": "1.0", "wheels": [file]}])
    bench.download("--pylock", "pylock.toml")
    path.unlink()
    bench.sync("--pylock", "pylock.toml")
    bench.imports("local")


def test_the_lock_in_the_archive_serves_where_there_is_none(bench: Bench) -> None:
    write(bench, [beta(bench)])
    bench.download("--pylock", "pylock.toml")
    bench.root.joinpath("pylock.toml").unlink()
    said = bench.sync("--pylock", "pylock.toml", "--use-archived-lock")
    assert "nothing vouches for it" in said.err
    assert names(bench) == {"beta"}
    assert not bench.root.joinpath("pylock.toml").exists()


def test_an_archived_lock_names_no_tree_outside(bench: Bench) -> None:
    configure(bench)
    write_project(bench, "[]", name="one", at="../one")
    write(bench, [{"name": "one", "directory": {"path": "../one"}}])
    bench.download("--pylock", "pylock.toml")
    bench.root.joinpath("pylock.toml").unlink()
    said = bench.uv_archive("sync", "--pylock", "pylock.toml", "--use-archived-lock", offline=True)
    assert said.status == 2
    assert "isn't the archive's" in said.err


def test_a_commit_comes_along_as_a_bundle(bench: Bench) -> None:
    served = bench.directory / "git"
    served.mkdir()
    origin = Origin.create(bench.directory / "trees", served, "tool")
    origin.package("tool", below="sub")
    commit = origin.commit(tag="v2.0")
    with serving(served) as server:
        vcs = {"type": "git", "url": server.url("tool.git"), "commit-id": commit,
               "subdirectory": "sub"}  # fmt: skip
        write(bench, [{"name": "tool", "vcs": vcs}])
        expected = installed_by_uv(bench)
        bench.download("--pylock", "pylock.toml")
    bench.sync("--pylock", "pylock.toml")
    assert difference(installed(bench.venv), expected) == []
    bench.imports("tool")


def installed_by_uv(bench: Bench) -> dict[str, dict[str, str]]:
    pip_sync(bench)
    found = installed(bench.venv)
    bench.clear_environment()
    return found
