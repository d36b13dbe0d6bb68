"""What every finished archive is, whatever was asked for."""

from __future__ import annotations

import json
import re
import socket
import tomllib
from importlib.resources import files
from pathlib import Path

from jsonschema import Draft202012Validator
from packaging.pylock import Pylock, is_valid_pylock_path

from tests.e2e.bench import CANARY, Bench, metadata

_SCHEMA = json.loads(files("uv_archive.archive").joinpath("uv-archive.schema.json").read_text())
# What FAT and NTFS refuse in a name.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f"*/:<>?\\|]|[. ]$')
_DATE = re.compile(r"20\d\d-\d\d-\d\dT")


def assert_valid(bench: Bench, archive: Path | None = None) -> None:
    """Hold an archive against its specification."""
    archive = archive or bench.archive
    _check_files(archive)
    _check_description(bench, archive)
    _check_pylocks(bench, archive)
    _check_privacy(bench, archive)


def _check_files(archive: Path) -> None:
    paths = [path.relative_to(archive) for path in archive.rglob("*")]
    assert ".partial" not in {path.parts[0] for path in paths}
    for path in paths:
        there = archive / path
        assert not there.is_symlink()
        assert there.is_dir() or there.is_file()
        assert there.is_dir() or there.stat().st_nlink == 1
        assert there.is_dir() or not there.stat().st_mode & 0o111, f"`{path}` is executable"
        assert not any(_FORBIDDEN.search(part) for part in path.parts), path
        assert all(len(part.encode("utf-16-le")) // 2 <= 255 for part in path.parts)
    folded = [path.as_posix().casefold() for path in paths]
    assert len(set(folded)) == len(folded)


def _check_description(bench: Bench, archive: Path) -> None:
    Draft202012Validator.check_schema(_SCHEMA)
    document = bench.manifest(archive)
    Draft202012Validator(_SCHEMA).validate(document)
    recorded = document["files"]
    assert isinstance(recorded, dict)
    there = {p.relative_to(archive).as_posix() for p in archive.rglob("*") if p.is_file()}
    assert recorded.keys() == there - {"uv-archive.json"}


def _check_pylocks(bench: Bench, archive: Path) -> None:
    there = bench.distributions(archive)
    paths = sorted(archive.glob("pylock*.toml"))
    assert paths
    for path in paths:
        assert is_valid_pylock_path(path)
        assert path.with_name(f"requirements{path.name[6:-5]}.txt").is_file()
        pylock = Pylock.from_dict(tomllib.loads(path.read_text()))
        pylock.validate()
        for package in pylock.packages:
            for one in (*(package.wheels or ()), package.sdist, package.archive):
                if one is not None:
                    assert one.path in there
                    assert one.url is None
                    assert one.hashes


def _check_privacy(bench: Bench, archive: Path) -> None:
    """No path of this machine, nor its name, nor a credential, nor a time."""
    for path, content in metadata(archive).items():
        text = content.decode()
        assert str(bench.directory) not in text, path
        assert CANARY not in text, path
        assert socket.gethostname() not in text, path
        # The lock's copy is the lock, which says when files were uploaded.
        assert path.startswith("locked/") or not _DATE.search(text), path
