"""Scripts with requirements of their own: locked, downloaded, installed without a network, run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.distributions import make_wheel
from tests.e2e.bench import Bench, difference, installed
from tests.e2e.validity import assert_valid

SCRIPT = """\
# /// script
# requires-python = ">=3.11"
# dependencies = ["alpha[fast]==1.0", "epsilon", "direct", "vendored"]
#
# [[tool.uv.index]]
# url = "{index}"
# default = true
#
# [tool.uv.sources]
# direct = {{ url = "{direct}" }}
# vendored = {{ path = "vendor/vendored-1.0-py3-none-any.whl" }}
# ///
import alpha, beta, direct, epsilon, gamma, vendored

print(alpha.__version__, gamma.__version__)
"""


@pytest.fixture
def scripted(bench: Bench) -> Bench:
    """A bench with a locked script in it, and a cache that is kept, as a user has one."""
    # The script's environment lies in the cache.
    bench.variables |= {"UV_CACHE_DIR": str(bench.directory / "home/cache"), "UV_NO_CACHE": "0"}
    shutil.copytree(bench.index.directory / "local", bench.root / "vendor")
    direct = f"{bench.index.address}/files/direct-1.0-py3-none-any.whl"
    bench.write("x.py", SCRIPT.format(index=bench.index.simple(), direct=direct))
    # Locked with another cache, so that nothing is in the user's.
    locking = str(bench.directory / "locking")
    bench.lock("--script", "x.py", variables={"UV_CACHE_DIR": locking})
    return bench


def environment(bench: Bench) -> Path:
    said = bench.run(
        bench.uv, "sync", "--script", "x.py", "--frozen", "--offline", "--dry-run",
        "--output-format", "json",
    )  # fmt: skip
    assert said.status == 0, said.err
    return Path(json.loads(said.out)["sync"]["environment"]["path"])


def assert_runs(bench: Bench) -> None:
    said = bench.run(bench.uv, "run", "--offline", "--script", "x.py", offline=True)
    assert (said.status, said.out) == (0, "1.0 1.0\n"), said.err


def test_a_script_runs_offline_with_what_uv_would_have_installed(scripted: Bench) -> None:
    online = scripted.run(scripted.uv, "sync", "--script", "x.py", "--locked")
    assert online.status == 0, online.err
    expected = installed(environment(scripted))
    shutil.rmtree(scripted.directory / "home" / "cache")

    said = scripted.download("--script", "x.py")
    assert "uv-archive sync --script x.py" in said.text
    assert_valid(scripted)
    assert scripted.manifest()["project"] == "x.py"
    assert [path.name for path in scripted.archive.joinpath("locked").iterdir()] == ["x.py.lock"]
    before = scripted.root.joinpath("x.py.lock").read_bytes()
    scripted.sync("--script", "x.py")

    assert_runs(scripted)
    assert difference(installed(environment(scripted)), expected) == []
    assert scripted.root.joinpath("x.py.lock").read_bytes() == before
    checked = scripted.run(
        scripted.uv, "sync", "--script", "x.py", "--locked", "--offline", "--dry-run", offline=True
    )
    assert checked.status == 0, checked.err
    assert "Would make no changes" in checked.err
    again = scripted.sync("--script", "x.py")
    assert "Would" not in again.text
    left = {path.name for path in environment(scripted).parent.iterdir()}
    assert left == {environment(scripted).name}


def test_a_stale_lock_is_refused(scripted: Bench) -> None:
    path = scripted.root / "x.py"
    path.write_text(path.read_text().replace('"epsilon", ', '"epsilon", "beta==1.0", '))
    said = scripted.uv_archive("download", "--script", "x.py")
    assert said.status == 2
    assert "is out of date with `x.py`" in said.err
    assert "uv lock --script x.py" in said.err
    assert scripted.uv_archive("download", "--script", "x.py", "--frozen").status == 0
    locked = scripted.uv_archive("sync", "--script", "x.py", "--locked", offline=True)
    assert locked.status == 2
    assert "isn't up to date with `x.py`" in locked.err


def test_flags_of_projects_are_refused(scripted: Bench) -> None:
    for flags in (["--extra", "x"], ["--package", "x"], ["--group", "x"], ["--only-dev"]):
        said = scripted.uv_archive("download", "--script", "x.py", *flags)
        assert said.status == 2
        assert f"`{flags[0]}` has no meaning for `x.py`" in said.err
    everything = scripted.uv_archive("download", "--script", "x.py", "--all", "--dry-run")
    assert everything.status == 0, everything.err


def test_a_script_without_a_lock_or_without_metadata_is_refused(bench: Bench) -> None:
    bench.write("plain.py", "print('hello')\n")
    said = bench.uv_archive("download", "--script", "plain.py")
    assert said.status == 2
    assert "has no block of script metadata" in said.err
    bench.write("unlocked.py", "# /// script\n# dependencies = []\n# ///\n")
    said = bench.uv_archive("download", "--script", "unlocked.py")
    assert said.status == 2
    assert "uv lock --script unlocked.py" in said.err


def test_what_a_script_says_of_indexes_and_find_links_reaches_no_build(scripted: Bench) -> None:
    scripted.download("--script", "x.py")
    decoys = scripted.root / "decoys"
    # Python runs such a line when it starts in an environment that has the file.
    make_wheel(decoys, "forge", "99.0", files={"forge.pth": "import os; os._exit(3)\n"})
    path = scripted.root / "x.py"
    block = f'# [tool.uv]\n# find-links = ["{decoys}"]\n#\n# [[tool.uv.index]]\n'
    path.write_text(path.read_text().replace("# [[tool.uv.index]]\n", block))
    scripted.sync("--script", "x.py")
    assert_runs(scripted)


def test_the_lock_in_the_archive_serves_where_there_is_none(scripted: Bench) -> None:
    digest = scripted.download("--script", "x.py").text.partition("sha256:")[2].split()[0]
    scripted.root.joinpath("x.py.lock").rename(scripted.directory / "kept.lock")
    said = scripted.uv_archive("sync", "--script", "x.py", offline=True)
    assert said.status == 2
    assert "There is no lock" in said.err
    said = scripted.sync("--script", "x.py", "--use-archived-lock")
    assert "nothing vouches for it" in said.err
    expected = ("--expect", f"sha256:{digest}")
    said = scripted.sync("--script", "x.py", "--use-archived-lock", *expected)
    assert "nothing vouches" not in said.err
    assert not scripted.root.joinpath("x.py.lock").exists()
    scripted.directory.joinpath("kept.lock").rename(scripted.root / "x.py.lock")
    assert_runs(scripted)
    refused = scripted.uv_archive("sync", "--script", "x.py", "--use-archived-lock", offline=True)
    assert refused.status == 2
    assert "is for where there is none" in refused.err
