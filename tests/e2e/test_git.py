"""Git sources, from a server to an install without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.bench import Bench, tree
from tests.git.repositories import Origin
from tests.git.server import GitServer, serving
from uv_archive.archive.manifest import schema
from uv_archive.fetch.large_files import FILTER

NOTHING_TO_DO = "Would make no changes"


@pytest.fixture
def server(bench: Bench) -> Iterator[GitServer]:
    served = bench.directory / "served"
    served.mkdir()
    with serving(served) as server:
        yield server


def origin(bench: Bench, name: str) -> Origin:
    return Origin.create(bench.directory / "trees", bench.directory / "served", name)


def project(bench: Bench, sources: dict[str, str]) -> None:
    lines = "\n".join(f"{name} = {source}" for name, source in sources.items())
    bench.write(
        "pyproject.toml",
        f"[project]\nname = 'app'\nversion = '1'\nrequires-python = '>=3.11'\n"
        f"dependencies = {json.dumps(list(sources))}\n[tool.uv]\npackage = false\n"
        f"[tool.uv.sources]\n{lines}\n",
    )
    bench.lock()


@pytest.fixture
def locked(bench: Bench, server: GitServer) -> Bench:
    """A project with a tag, a branch with a subdirectory, and a submodule, locked."""
    inner = origin(bench, "inner")
    inner.write("content.txt", "of the submodule\n")
    commit = inner.commit()
    one = origin(bench, "one")
    one.package("one")
    one.submodule("one/inner", "../inner.git", commit)
    one.commit(tag="v1.2")
    two = origin(bench, "two")
    two.package("two", below="packages/two")
    two.commit(tag="v2.0")
    two.commit("after the tag")
    project(
        bench,
        {
            "one": f'{{ git = "{server.url("one.git")}", tag = "v1.2" }}',
            "two": f'{{ git = "{server.url("two.git")}", branch = "main", '
            'subdirectory = "packages/two" }',
        },
    )
    return bench


def test_a_repository_on_this_machine_travels_too(bench: Bench, server: GitServer) -> None:
    here = origin(bench, "here")
    here.package("here")
    here.commit(tag="v1.3")
    project(bench, {"here": f'{{ git = "{here.bare.as_uri()}", tag = "v1.3" }}'})

    bench.download()
    shutil.rmtree(here.bare)
    shutil.rmtree(here.tree)

    bench.sync()
    bench.imports("here")
    said = bench.sync()
    assert NOTHING_TO_DO in bench.run(bench.uv, "sync", "--frozen", "--check").err, said.text


def test_travel_as_bundles(locked: Bench, server: GitServer) -> None:
    said = locked.uv_archive("download")
    assert said.status == 0, said.text
    names = sorted(path.name.partition("-")[0] for path in (locked.archive / "git").iterdir())
    assert names == ["inner", "one", "two"]
    asked = len(server.requests)

    synced = locked.uv_archive("sync", offline=True)
    assert synced.status == 0, synced.text
    after = locked.run(locked.uv, "sync", "--locked", "--offline", "--dry-run", offline=True)

    assert NOTHING_TO_DO in after.err
    versions = "import importlib.metadata as m; print(m.version('one'), m.version('two'))"
    assert locked.run(locked.python, "-c", versions).out.split() == ["1.2", "2.0.post1"]
    inner = "import one, pathlib as p; print(*p.Path(one.__path__[0], 'inner').iterdir())"
    assert "content.txt" in locked.run(locked.python, "-c", inner).out
    assert len(server.requests) == asked


def test_are_not_fetched_twice(locked: Bench, server: GitServer) -> None:
    first = locked.uv_archive("download")
    assert first.status == 0, first.text
    asked = len(server.requests)
    manifest = (locked.archive / "uv-archive.json").read_bytes()

    again = locked.uv_archive("download")

    assert again.status == 0, again.text
    assert len(server.requests) == asked
    assert (locked.archive / "uv-archive.json").read_bytes() == manifest
    assert not (locked.archive / ".partial").exists()


def test_a_repository_that_is_gone_is_named_and_the_rest_kept(
    locked: Bench, server: GitServer
) -> None:
    (server.directory / "two.git").rename(server.directory / "elsewhere.git")

    said = locked.uv_archive("download")

    assert said.status == 1
    assert "two-" in said.err
    assert "Traceback" not in said.text
    (server.directory / "elsewhere.git").rename(server.directory / "two.git")
    assert locked.uv_archive("download").status == 0


def test_a_damaged_bundle_is_refused_before_anything_changes(locked: Bench) -> None:
    assert locked.uv_archive("download").status == 0
    bundle = next((locked.archive / "git").glob("one-*"))
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")

    said = locked.uv_archive("sync", offline=True)

    assert said.status != 0
    assert bundle.name in said.err
    assert not locked.venv.exists()


def test_a_missing_bundle_comes_again(locked: Bench) -> None:
    assert locked.uv_archive("download").status == 0
    bundle = next((locked.archive / "git").glob("one-*"))
    bundle.unlink()

    assert locked.uv_archive("download").status == 0

    assert bundle.is_file()
    assert locked.uv_archive("sync", offline=True).status == 0


LARGE = b"\0large" * 20_000


@pytest.fixture
def large(bench: Bench, server: GitServer, tool: Callable[[str], Path]) -> Bench:
    """A project with a source whose lock says `lfs=true`, and a user who has set git LFS up."""
    tool("git-lfs")
    home = bench.directory / "home"
    home.mkdir(exist_ok=True)
    (home / ".gitconfig").write_text(FILTER)
    one = origin(bench, "one")
    one.package("one")
    one.large_file("one/data.bin", LARGE)
    one.commit(tag="v1.2")
    project(bench, {"one": f'{{ git = "{server.url("one.git")}", tag = "v1.2", lfs = true }}'})
    assert "lfs=true" in (bench.root / "uv.lock").read_text()
    return bench


def test_large_files_travel_along(large: Bench, server: GitServer) -> None:
    rehearsed = large.uv_archive("download", "--dry-run", "--output-format", "json")
    files = rehearsed.json["fetched"]
    assert isinstance(files, list)
    commit = large.root.joinpath("uv.lock").read_text().partition("#")[2][:12]
    names = {f"git/one-{commit}.bundle", f"git/one-{commit}.lfs.tar"}
    assert {file["path"] for file in files} >= names
    large.download()
    assert {f"git/{path.name}" for path in (large.archive / "git").iterdir()} == names
    Draft202012Validator(json.loads(schema())).validate(large.manifest())
    recorded = large.manifest()["files"]
    assert isinstance(recorded, dict)
    described = {key: recorded[f"git/one-{commit}.lfs.tar"][key] for key in ("name", "why")}
    assert described == {"name": "one", "why": [{"kind": "locked"}]}
    checked = large.run("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=large.archive)
    assert checked.status == 0, checked.text
    # The far side has git LFS, and nobody who has ever set it up.
    (large.directory / "home" / ".gitconfig").unlink()

    large.sync()

    large.assert_nothing_left_to_do()
    (data,) = large.venv.glob("lib/*/site-packages/one/data.bin")
    assert data.read_bytes() == LARGE


def test_large_files_are_not_fetched_twice(large: Bench, server: GitServer) -> None:
    large.download()
    asked, before = len(server.requests), tree(large.archive)

    large.download()

    assert (len(server.requests), tree(large.archive)) == (asked, before)
    next((large.archive / "git").glob("*.lfs.tar")).unlink()
    large.download()
    assert [path.rpartition("/")[0] for path in server.requests[asked:]] == [
        *("/one.git/info/lfs/objects", "/one.git/info/lfs/objects")
    ]


def test_large_files_that_no_request_needs_are_pruned(large: Bench, server: GitServer) -> None:
    large.download()
    large.write("pyproject.toml", "[project]\nname = 'app'\nversion = '1'\n"
                "requires-python = '>=3.11'\n[tool.uv]\npackage = false\n")  # fmt: skip
    large.lock()

    large.download("--prune")

    assert list((large.archive / "git").glob("*")) == []


def test_without_git_lfs_both_sides_say_so_first(large: Bench, server: GitServer) -> None:
    tools = large.directory / "tools"
    tools.mkdir()
    for name in ("git", "sh"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    large.download()
    asked = len(server.requests)
    large.variables["PATH"] = str(tools)

    synced = large.uv_archive("sync")
    downloaded = large.uv_archive("download", "--out-dir", large.directory / "other")

    assert (synced.status, downloaded.status) == (2, 2)
    for said in (synced, downloaded):
        assert "git LFS was not found" in said.err
        assert "`git-lfs`" in said.err
    assert not large.venv.exists()
    assert len(server.requests) == asked
