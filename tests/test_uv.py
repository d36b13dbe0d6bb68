"""Which uv is found, and what is said where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from packaging.version import Version

from uv_archive.errors import ToolError
from uv_archive.uv import OLDEST_UV, Completed, Uv, find_uv, run_process

NAME = "uv.exe" if os.name == "nt" else "uv"


def executable(directory: Path, *, says: str = f"uv {OLDEST_UV}", mode: int = 0o755) -> Path:
    """Write a program that says *says* to any question."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / NAME
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(mode)
    return path


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the interpreter that runs this program, without a uv."""
    directory = tmp_path / "beside"
    directory.mkdir()
    monkeypatch.setattr(sys, "executable", str(directory / "python"))
    return directory


@pytest.fixture
def path(tmp_path: Path) -> str:
    executable(tmp_path / "path")
    return str(tmp_path / "path")


def test_the_named_one_goes_first(tmp_path: Path, beside: Path, path: str) -> None:
    executable(beside)
    named = executable(tmp_path / "named", says="uv 99.0.1 (abc 2030-01-01 x86_64)")
    found = find_uv({"UV": str(named), "PATH": path})
    assert (found.executable, found.version) == (named, Version("99.0.1"))


def test_then_the_one_beside_this_program(beside: Path, path: str) -> None:
    there = executable(beside)
    assert find_uv({"PATH": path}).executable == there


def test_then_the_one_on_the_path(tmp_path: Path, beside: Path, path: str) -> None:
    assert find_uv({"PATH": path}).executable == tmp_path / "path" / NAME


def test_a_named_one_that_isnt_there_is_passed_over(
    tmp_path: Path, beside: Path, path: str
) -> None:
    found = find_uv({"UV": str(tmp_path / "gone"), "PATH": path})
    assert found.executable == tmp_path / "path" / NAME


def test_one_that_cant_be_run_is_no_program_of_the_path(tmp_path: Path, beside: Path) -> None:
    executable(tmp_path / "a", mode=0o644)
    executable(tmp_path / "b")
    places = os.pathsep.join(str(tmp_path / name) for name in "ab")
    assert find_uv({"PATH": places}).executable == tmp_path / "b" / NAME


@pytest.mark.parametrize(
    ("says", "message"),
    [
        pytest.param("uv 0.11.28", "is uv 0.11.28, which is too old", id="too-old"),
        pytest.param("uv 0.4.0 (hash)", "is uv 0.4.0, which is too old", id="much-too-old"),
        pytest.param("uvx 0.13.9", "isn't uv", id="another-program"),
        pytest.param("", "isn't uv", id="says-nothing"),
        pytest.param("uv unknown", "isn't uv", id="no-version"),
    ],
)
def test_what_wont_do_is_refused(beside: Path, says: str, message: str) -> None:
    there = executable(beside, says=says)
    with pytest.raises(ToolError, match=message) as caught:
        find_uv({"PATH": ""})
    assert str(there) in caught.value.message
    assert str(OLDEST_UV) in str(caught.value.hint)


def test_the_oldest_that_does_is_taken(beside: Path) -> None:
    executable(beside, says=f"uv {OLDEST_UV} (hash 2026-01-01)")
    assert find_uv({"PATH": ""}).version == OLDEST_UV


def test_none_at_all_is_an_error(beside: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="uv was not found") as caught:
        find_uv({"PATH": str(tmp_path)})
    assert "pip install" in str(caught.value.hint)


@pytest.mark.parametrize("version", [None, "0.11.28"])
def test_an_archive_that_brings_one_is_named(
    beside: Path, tmp_path: Path, version: str | None
) -> None:
    if version:
        executable(beside, says=f"uv {version}")
    archive = tmp_path / "an archive"
    archive.mkdir()
    with pytest.raises(ToolError) as without:
        find_uv({"PATH": ""}, archive=archive)
    archive.joinpath("install.py").touch()
    with pytest.raises(ToolError) as having:
        find_uv({"PATH": ""}, archive=archive)
    for caught in (without, having):
        assert f"uv {OLDEST_UV} or later is needed" in str(caught.value.hint)
    assert "`download --with-tools`" in str(without.value.hint)
    assert f"run `python3 '{archive}/install.py'`" in str(having.value.hint)


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        pytest.param("#!/bin/sh\n", 0o644, id="not-executable"),
        pytest.param("#!/nowhere/sh\n", 0o755, id="no-interpreter"),
        pytest.param("\x7fELF not really", 0o755, id="no-format"),
    ],
)
def test_what_cant_be_started_is_an_error(tmp_path: Path, content: str, mode: int) -> None:
    named = executable(tmp_path)
    named.write_text(content)
    named.chmod(mode)
    with pytest.raises(ToolError, match="can't be run: "):
        find_uv({"UV": str(named)})
    with pytest.raises(ToolError, match="can't be run: "):
        Uv(executable=named, version=OLDEST_UV).run(["sync"], environment={})


class Recorder:
    """A runner that starts nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], dict[str, str], Path | None, bool]] = []

    def __call__(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        self.calls.append(([*command], {**environment}, directory, capture))
        return Completed(status=3, stdout=f"uv {OLDEST_UV}\n", stderr="")


def test_it_runs_with_the_environment_it_is_given_and_no_other(tmp_path: Path) -> None:
    runner = Recorder()
    named = executable(tmp_path)
    uv = find_uv({"UV": str(named)}, runner=runner)
    assert uv.run(["sync"], environment={"A": "b"}, directory=tmp_path, capture=False).status == 3
    assert runner.calls == [
        ([str(named), "--version"], {"UV": str(named)}, None, True),
        ([str(named), "sync"], {"A": "b"}, tmp_path, False),
    ]


def test_what_a_process_says_is_kept_apart() -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    done = run_process([sys.executable, "-c", script], environment={}, directory=None, capture=True)
    assert (done.status, done.stdout.strip(), done.stderr.strip()) == (7, "out", "err")


def test_output_that_is_no_text_is_no_error() -> None:
    script = "import sys; sys.stdout.buffer.write(b'a\\xff')"
    done = run_process([sys.executable, "-c", script], environment={}, directory=None, capture=True)
    assert done.stdout == "a\ufffd"


def test_the_real_one_is_found(uv: Path) -> None:
    found = find_uv({"UV": str(uv)})
    assert found.version >= OLDEST_UV
    assert found.run(["--version"], environment={}).stdout.startswith(f"uv {found.version}")
