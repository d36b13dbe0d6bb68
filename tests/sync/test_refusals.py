"""Everything that stands in the way of a sync is said at once, before anything is changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.distributions import make_sdist, make_wheel, sha256
from tests.offline_projects import BUILT_BY_UV, FROM_INDEX, Offline
from uv_archive.errors import ArchiveError, DamagedArchiveError, RequestError, UvArchiveError
from uv_archive.lock.reader import read_lock
from uv_archive.sync.refusals import RefusedError, refuse


@pytest.fixture
def offline(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Offline:
    return Offline(directory=tmp_path, uv=uv, python=Path(sys.executable), prefix=no_network)


def project(offline: Offline, dependencies: list[str], more: str = "") -> None:
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
        file.write(textwrap.dedent(more) + BUILT_BY_UV + FROM_INDEX)
    offline.write("src/workflow/__init__.py", "")


@pytest.fixture
def small(offline: Offline) -> Offline:
    for name in ("alpha", "beta", "gamma"):
        make_wheel(offline.served, name, "1.0")
    make_wheel(offline.served, "gamma", "2.0")
    make_sdist(offline.served, "delta", "1.0", build_requires=["tool"])
    tool = make_wheel(offline.served, "tool", "1.0")
    more = '[project.optional-dependencies]\nplot = ["beta"]\n'
    project(offline, ["alpha", "gamma<2", "delta"], more)
    offline.archived(offline.lock(), build_requirements=[tool])
    return offline


def damage(offline: Offline, name: str) -> None:
    path = offline.archive / name
    path.write_bytes(path.read_bytes()[::-1])


def refused(offline: Offline, *flags: str, **options: object) -> UvArchiveError:
    with pytest.raises(UvArchiveError) as raised:
        offline.sync(*flags, **options)  # type: ignore[arg-type]
    assert not (offline.root / ".venv").exists()
    assert list(offline.root.glob(".uv-archive-*")) == []
    return raised.value


class TestAtOnce:
    def test_lacking_and_damaged_and_not_vouched_for(self, small: Offline) -> None:
        (small.archive / "beta-1.0-py3-none-any.whl").unlink()
        damage(small, "alpha-1.0-py3-none-any.whl")
        damage(small, "tool-1.0-py3-none-any.whl")
        error = refused(small, "--extra", "plot", only_locked=True)
        assert isinstance(error, RefusedError)
        assert [type(cause) for cause in error.causes] == [
            ArchiveError,
            DamagedArchiveError,
            RequestError,
        ]
        lacking, damaged, unlocked = (str(cause) for cause in error.causes)
        assert "`beta-1.0-py3-none-any.whl`" in lacking
        assert "alpha-1.0" in damaged
        assert "tool-1.0" in damaged
        assert "tool-1.0" in unlocked
        assert all(str(cause) in str(error) for cause in error.causes)
        assert "uv-archive download" in str(error.hint)
        assert "--extra plot" in str(error.hint)
        assert error.exit_status == 2

    @pytest.mark.parametrize("name", ["alpha-1.0-py3-none-any.whl", "tool-1.0-py3-none-any.whl"])
    def test_a_pipe_or_a_device_in_a_files_place(self, small: Offline, name: str) -> None:
        """Nothing is waited for, and nothing read that has no end."""
        path = small.archive / name
        path.unlink()
        os.mkfifo(path)
        assert name in str(refused(small))
        path.unlink()
        path.symlink_to("/dev/zero")
        assert name in str(refused(small))

    def test_another_lock_and_damaged(self, small: Offline) -> None:
        project(small, ["alpha", "gamma==2.0", "delta"])
        small.lock()
        damage(small, "alpha-1.0-py3-none-any.whl")
        error = refused(small)
        assert isinstance(error, RefusedError)
        other, damaged = (str(cause) for cause in error.causes)
        assert "these differ: `beta 1.0`, `gamma 1.0`, `gamma 2.0`" in other
        assert "alpha-1.0" in damaged
        assert "lacks" not in str(error)

    def test_another_lock_whose_copy_is_a_pipe(self, small: Offline) -> None:
        copy = small.archive / "locked" / "uv.lock"
        copy.unlink()
        os.mkfifo(copy)
        project(small, ["alpha", "gamma==2.0", "delta"])
        small.lock()
        assert f"`{copy}` isn't a plain file" in str(refused(small))

    def test_another_lock_alone(self, small: Offline) -> None:
        project(small, ["alpha", "gamma==2.0", "delta"])
        small.lock()
        assert type(refused(small)) is ArchiveError

    def test_another_lock_is_refused_though_nothing_is_to_be_done(self, small: Offline) -> None:
        assert small.sync().status == 0
        lock = small.root / "uv.lock"
        digest = sha256(small.served / "beta-1.0-py3-none-any.whl")
        lock.write_text(lock.read_text().replace(digest, f"sha256:{'0' * 64}"))
        with pytest.raises(ArchiveError, match=r"these differ: `beta 1\.0`$"):
            small.sync()


class TestLacking:
    def test_says_what_the_archive_was_made_for(self, small: Offline) -> None:
        manifest = small.archive / "uv-archive.json"
        document = json.loads(manifest.read_text())
        document["requests"] = [{"project": "workflow", "pythons": ["3.12"]}]
        manifest.write_text(json.dumps(document))
        (small.archive / "alpha-1.0-py3-none-any.whl").unlink()
        error = refused(small)
        here = f"cp3{sys.version_info.minor}"
        assert here in str(error)
        assert "It was made for `all platforms for Python" in str(error)
        assert f"--python 3.{sys.version_info.minor}" in str(error.hint)

    def test_says_so_too_where_something_is_only_to_be_removed(self, small: Offline) -> None:
        """uv itself gives up over an installed package of which a lock has no file."""
        assert small.sync().status == 0
        stray = make_wheel(small.served, "stray", "1.0")
        done = subprocess.run(
            [small.uv, "pip", "install", "--no-cache", "-p", small.root / ".venv", stray],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        shutil.rmtree(small.archive)
        small.archived(read_lock(small.root / "uv.lock"), leave_out=["alpha-1.0-py3-none-any.whl"])
        with pytest.raises(ArchiveError, match=r"lacks 1 of .*: `alpha-1\.0-py3-none-any\.whl`"):
            small.sync()

    def test_a_file_is_no_archive(self, small: Offline) -> None:
        shutil.rmtree(small.archive)
        small.archive.write_text("not a directory")
        error = refused(small)
        assert f"`{small.archive}` isn't a directory" in str(error)
        assert "--dist-archive" in str(error.hint)
        assert error.exit_status == 2


def test_one_error_stays_what_it_is() -> None:
    error = RequestError("no", hint="do")
    with pytest.raises(RequestError, match=r"^no$") as raised:
        refuse([error])
    assert raised.value is error
    refuse([])


def test_hints_are_not_repeated() -> None:
    with pytest.raises(RefusedError) as raised:
        refuse([RequestError("one", hint="do"), RequestError("two", hint="do")])
    assert raised.value.hint == "do"
