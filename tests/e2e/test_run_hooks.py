"""`download --run-hooks`: what only the hook of an sdist's own backend can tell."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.distributions import make_sdist
from tests.e2e.bench import Bench

PYPROJECT = (
    '[build-system]\nrequires = []\nbuild-backend = "asking"\nbackend-path = ["."]\n'
    '[project]\nname = "{name}"\nversion = "1.0"\n'
)
# What it asks for is imported when it builds.
ASKING = """
    import os, time

    def get_requires_for_build_wheel(config_settings=None):
        {body}

    def build_wheel(directory, config_settings=None, metadata_directory=None):
        import forge
        from backend import build_wheel
        return build_wheel(directory)
    """
UNKNOWN = "What `asker==1.0` needs to be built isn't known for certain"


@pytest.fixture
def site(bench: Bench) -> Bench:
    """A project that needs `asker`, whose backend asks for `forge`."""
    offer(bench, "asker", "return ['forge']")
    project(bench, "asker")
    return bench


def offer(bench: Bench, name: str, body: str) -> None:
    files = {
        "pyproject.toml": PYPROJECT.format(name=name),
        "asking.py": dedent(ASKING).format(body=body),
    }
    make_sdist(bench.index.at("main"), name, "1.0", files=files)


def project(bench: Bench, *dependencies: str) -> None:
    bench.write(
        "pyproject.toml",
        f"""
        [project]
        name = "app"
        version = "1.0"
        requires-python = ">=3.11"
        dependencies = {list(dependencies)}
        [tool.uv]
        package = false
        [[tool.uv.index]]
        url = "{bench.index.simple()}"
        default = true
        """,
    )
    bench.lock()


def test_what_a_hook_asks_for_comes_along_if_it_may_run(site: Bench) -> None:
    said = site.download()
    assert UNKNOWN in said.err
    assert "`--run-hooks`" in said.err
    assert site.distributions() == {"asker-1.0.tar.gz"}

    said = site.download("--run-hooks")

    assert UNKNOWN not in said.err
    assert site.distributions() == {
        "asker-1.0.tar.gz", "forge-1.0-py3-none-any.whl", "anvil-1.0-py3-none-any.whl",
    }  # fmt: skip
    site.sync()
    site.imports("asker")
    site.assert_nothing_left_to_do()


def test_a_later_download_knows_what_the_hook_said(site: Bench) -> None:
    site.download("--run-hooks")
    before = site.manifest()
    said = site.download()
    assert UNKNOWN not in said.err
    assert site.manifest() == before
    files = before["files"]
    assert isinstance(files, dict)
    (why,) = files["forge-1.0-py3-none-any.whl"]["why"]
    assert (why["of"], why["requested"], why["found"]) == ("asker==1.0", "forge", "hook")


def test_a_dry_run_runs_no_hook(site: Bench) -> None:
    site.download()
    offer(site, "asker", "raise SystemExit('it was run')")
    said = site.uv_archive("download", "--run-hooks", "--dry-run", "--output-format", "json")
    assert said.status == 0, said.err
    assert said.json["builds_unresolved"] == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param("raise RuntimeError('no luck')", "no luck", id="fails"),
        pytest.param("os.environ['UV_INDEX_MAIN_PASSWORD']", "UV_INDEX_MAIN_PASSWORD", id="secret"),
        pytest.param("open(os.path.expanduser('~/.netrc'))", ".netrc", id="home"),
    ],
)
def test_a_hook_that_fails_is_named_and_the_rest_comes(site: Bench, body: str, says: str) -> None:
    offer(site, "bad", body)
    project(site, "asker", "bad")
    site.directory.joinpath("home", ".netrc").write_text("machine a.example login a password b\n")
    variables = {"UV_INDEX_MAIN_USERNAME": "a", "UV_INDEX_MAIN_PASSWORD": "b"}

    said = site.uv_archive("download", "--run-hooks", variables=variables)

    assert said.status == 1
    assert "`bad==1.0`" in said.err
    assert says in said.err
    assert "hint: " in said.err
    assert site.distributions() == {
        "asker-1.0.tar.gz", "bad-1.0.tar.gz", "forge-1.0-py3-none-any.whl",
        "anvil-1.0-py3-none-any.whl",
    }  # fmt: skip
