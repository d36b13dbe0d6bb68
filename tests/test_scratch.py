"""The scratch copy: what is in it, and that nothing of it is left."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import tomllib
from pathlib import Path

import pytest

from uv_archive import scratch
from uv_archive.archive.locking import hold
from uv_archive.errors import StorageError
from uv_archive.project import find_project
from uv_archive.scratch import (
    KEPT_SETTINGS,
    KEPT_VARIABLES,
    kept_settings,
    private_directory,
    scrubbed,
    write_scratch,
)

MEMBER = '[project]\nname = "{}"\nversion = "1"\n'


def workspace(directory: Path) -> Path:
    """Make a workspace with a member inside and one outside; return its root."""
    root = directory / "root"
    for place, text in (
        (root, '[tool.uv.workspace]\nmembers = ["packages/*", "../outside"]\n'),
        (root / "packages" / "one", MEMBER.format("one")),
        (directory / "outside", MEMBER.format("two")),
    ):
        place.mkdir(parents=True)
        (place / "pyproject.toml").write_text(text)
    (root / "packages" / "one" / ".python-version").write_text("3.12\n")
    (root / "packages" / "one" / "secret.py").write_text("")
    return root


class TestLayout:
    def test_members_keep_their_places(self, tmp_path: Path) -> None:
        project = find_project(workspace(tmp_path) / "packages" / "one")
        place = tmp_path / "scratch"
        place.mkdir()
        scratch = write_scratch(project, lock=b"lock", directory=place, settings={})
        found = {path.relative_to(scratch.root).as_posix() for path in scratch.root.rglob("*.*")}
        assert found == {
            "pyproject.toml",
            "uv.lock",
            "packages/one/pyproject.toml",
            "packages/one/.python-version",
        }
        assert (scratch.root / ".." / "outside" / "pyproject.toml").is_file()
        assert scratch.project == scratch.root / "packages" / "one"
        assert (scratch.root / "uv.lock").read_bytes() == b"lock"

    def test_a_project_alone_becomes_a_workspace(self, tmp_path: Path) -> None:
        """What lies above the copy could otherwise claim it as a member."""
        root = tmp_path / "root"
        root.mkdir()
        text = '[project]\nname = "x"\nversion = "1"\n[tool.other]\nday = 2020-01-01\n'
        (root / "pyproject.toml").write_text(text)
        place = tmp_path / "scratch"
        place.mkdir()
        scratch = write_scratch(find_project(root), lock=b"", directory=place, settings={})
        document = tomllib.loads((scratch.root / "pyproject.toml").read_text())
        assert document.pop("tool") == {**tomllib.loads(text)["tool"], "uv": {"workspace": {}}}
        assert document == {"project": {"name": "x", "version": "1"}}

    def test_paths_are_translated_back(self, tmp_path: Path) -> None:
        project = find_project(workspace(tmp_path))
        place = tmp_path / "scratch"
        place.mkdir()
        scratch = write_scratch(project, lock=b"", directory=place, settings={})
        said = json.dumps({"root": str(scratch.root), "other": str(scratch.base / "outside")})
        assert json.loads(scratch.translate(said)) == {
            "root": str(tmp_path / "root"),
            "other": str(tmp_path / "outside"),
        }

    def test_a_full_disk_is_a_storage_error(self, tmp_path: Path) -> None:
        project = find_project(workspace(tmp_path))
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="can't be written"):
            write_scratch(project, lock=b"", directory=tmp_path / "file", settings={})


class TestSettings:
    def test_what_names_sources_is_left_out(self) -> None:
        settings = {
            "no-build-isolation-package": ["x"],
            "link-mode": "copy",
            "index": [{"url": "https://index.example"}],
            "find-links": ["/decoys"],
            "cache-dir": "/cache",
            "offline": False,
        }
        assert kept_settings(settings) == {
            "no-build-isolation-package": ["x"],
            "link-mode": "copy",
        }

    def test_links_into_the_cache_are_left_out(self) -> None:
        assert kept_settings({"link-mode": "symlink"}) == {}

    def test_uv_takes_every_kept_setting(self, tmp_path: Path, uv: Path) -> None:
        """An unknown key in a settings file is fatal."""
        values: dict[str, object] = {
            key: [] if key.endswith("-package") or key == "preview-features" else False
            for key in KEPT_SETTINGS
        }
        values |= {
            "cache-keys": [{"file": "x"}],
            "concurrent-builds": 1,
            "concurrent-installs": 1,
            "config-settings": {},
            "config-settings-package": {},
            "dependency-metadata": [],
            "extra-build-dependencies": {},
            "extra-build-variables": {},
            "link-mode": "copy",
            "python-downloads": "never",
            "python-preference": "system",
            "required-version": ">=0.1",
        }
        del values["preview-features"]  # not beside `preview`
        project = tmp_path / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(MEMBER.format("x") + 'requires-python = ">=3.8"\n')
        place = tmp_path / "scratch"
        place.mkdir()
        scratch = write_scratch(find_project(project), lock=b"", directory=place, settings=values)
        command = [str(uv), "cache", "dir", *scratch.arguments()]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stderr) == (0, "")
        scratch.config_file.write_text("no-such-key = 1\n")
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "no-such-key" in said.stderr


class TestEnvironment:
    def test_only_what_means_a_flag_reaches_uv(self) -> None:
        assert scrubbed(
            {
                "PATH": "/bin",
                "UV_PYTHON": "3.12",
                "UV_FIND_LINKS": "/decoys",
                "UV_INDEX_SECRET_PASSWORD": "canary",
                "PIP_INDEX_URL": "https://index.example",
                "uv_default_index": "https://index.example",
                "HTTPS_PROXY": "http://proxy.example",
            }
        ) == {"PATH": "/bin", "UV_PYTHON": "3.12", "HTTPS_PROXY": "http://proxy.example"}

    def test_nothing_that_names_sources_is_kept(self) -> None:
        assert not [
            name
            for name in KEPT_VARIABLES
            if any(word in name for word in ("INDEX", "LINKS", "CACHE", "CONFIG", "OFFLINE", "URL"))
        ]


class TestPrivateDirectory:
    def test_it_lies_beside_and_is_removed(self, tmp_path: Path) -> None:
        with private_directory(tmp_path / ".venv") as private:
            assert private.parent == tmp_path
            assert (private / ".gitignore").read_text() == "*\n"
            (private / "cache").mkdir()
            (private / "cache" / "read-only").touch(mode=0o400)
            (private / "cache").chmod(0o500)
        assert list(tmp_path.iterdir()) == []

    def test_it_is_removed_after_a_failure(self, tmp_path: Path) -> None:
        def fail() -> None:
            with private_directory(tmp_path / ".venv"):
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert list(tmp_path.iterdir()) == []

    def test_what_a_killed_run_left_is_removed_next_time(self, tmp_path: Path) -> None:
        program = (
            "import os, pathlib, uv_archive.scratch as s\n"
            f"with s.private_directory(pathlib.Path({str(tmp_path)!r}, '.venv')):\n"
            "    os._exit(9)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], check=False)
        assert done.returncode == 9
        assert len(list(tmp_path.iterdir())) == 1
        with private_directory(tmp_path / ".venv") as private:
            assert list(tmp_path.iterdir()) == [private]

    def test_what_a_living_run_has_is_left_alone(self, tmp_path: Path) -> None:
        with private_directory(tmp_path / ".venv") as first:
            with private_directory(tmp_path / ".venv") as second:
                assert first != second
            assert first.is_dir()

    @pytest.mark.skipif(os.name == "nt", reason="no directory can be locked there")
    def test_a_run_that_is_about_to_lock_its_own_is_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others: list[threading.Thread] = []
        waited: list[bool] = []

        def begin() -> None:
            with private_directory(tmp_path / ".venv"):
                pass

        def another_run_begins(descriptor: int) -> bool | None:
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and not others:
                others.append(threading.Thread(target=begin))
                others[0].start()
                others[0].join(timeout=0.3)
                waited.append(others[0].is_alive())
            return hold(descriptor)

        monkeypatch.setattr(scratch, "hold", another_run_begins)
        with private_directory(tmp_path / ".venv") as private:
            others[0].join()
            assert waited == [True]
            assert (private / "alive").is_file()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(os.name == "nt", reason="no directory can be locked there")
    def test_a_run_that_was_killed_before_it_could_lock_its_own_leaves_nothing(
        self, tmp_path: Path
    ) -> None:
        program = (
            "import os, pathlib, stat, uv_archive.scratch as s\n"
            "really = s.hold\n"
            "def die(one): return os._exit(9) if stat.S_ISREG(os.fstat(one).st_mode)"
            " else really(one)\n"
            "s.hold = die\n"
            f"with s.private_directory(pathlib.Path({str(tmp_path)!r}, '.venv')): pass\n"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
        (tmp_path / ".uv-archive-.venv-orphan" / "cache").mkdir(parents=True)
        assert len(list(tmp_path.iterdir())) == 2
        with private_directory(tmp_path / ".venv") as private:
            assert list(tmp_path.iterdir()) == [private]

    @pytest.mark.skipif(os.name == "nt", reason="no directory can be locked there")
    def test_what_an_orphan_made_meanwhile_is_removed_at_the_end(self, tmp_path: Path) -> None:
        with private_directory(tmp_path / ".venv"):
            (tmp_path / ".uv-archive-.venv-orphan" / "cache").mkdir(parents=True)
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_removed_where_somebody_has_the_lock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scratch, "_PATIENCE", 0.05)
        left = tmp_path / ".uv-archive-.venv-left"
        left.mkdir()
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            assert hold(descriptor)
            with private_directory(tmp_path / ".venv") as private:
                assert private.parent == tmp_path
        finally:
            os.close(descriptor)
        assert left.is_dir()

    def test_it_lies_elsewhere_where_nothing_can_be_written_beside(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "temporary").mkdir()
        (tmp_path / "read-only").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        make = tempfile.mkdtemp

        def refuse(prefix: str, dir: Path | None = None) -> str:  # noqa: A002
            if dir is not None:
                raise PermissionError(errno.EACCES, "no")
            return make(prefix=prefix)

        monkeypatch.setattr(tempfile, "mkdtemp", refuse)
        with private_directory(tmp_path / "read-only" / ".venv") as private:
            assert private.parent == tmp_path / "temporary"
        assert list((tmp_path / "temporary").iterdir()) == []

    @pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
    def test_a_place_that_cannot_be_written_is_a_storage_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with (
            pytest.raises(StorageError, match="can't be written"),
            private_directory(tmp_path / "file" / ".venv"),
        ):
            pass
