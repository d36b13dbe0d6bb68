"""What becomes of each flag of `uv sync`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from uv_archive.cli.sync import command
from uv_archive.errors import RequestError
from uv_archive.selection import BuildOptions, Include
from uv_archive.sync.flags import FLAGS, Fate, environment_path, parse_flags, with_environment

KNOWN = {name: flag for flag in FLAGS for name in flag.names}
REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "sync-flags.md"


class TestTable:
    @pytest.fixture
    def said(self, uv: Path) -> str:
        return subprocess.run(
            [str(uv), "sync", "--help"], capture_output=True, text=True, check=True
        ).stdout

    def test_every_flag_of_uv_sync_has_an_entry(self, said: str) -> None:
        found = re.findall(r"^\s+(?:-\w, )?(--[\w-]+)(.*)", said, re.MULTILINE)
        assert len(found) > 60
        assert {name for name, _ in found} <= KNOWN.keys()
        for name, rest in found:
            assert KNOWN[name].takes_value == ("<" in rest), name

    def test_every_short_flag_of_uv_sync_has_an_entry(self, said: str) -> None:
        found = set(re.findall(r"^\s+(-\w), --", said, re.MULTILINE))
        assert len(found) > 8
        assert found <= KNOWN.keys()

    def test_no_name_stands_twice(self) -> None:
        assert len(KNOWN) == sum(len(flag.names) for flag in FLAGS)

    def test_a_refusal_has_a_reason(self) -> None:
        assert all(flag.why for flag in FLAGS if flag.fate in (Fate.REFUSED, Fate.INTERPRETED))

    def test_the_reference_has_every_flag_with_its_fate(self) -> None:
        reference = REFERENCE.read_text()
        rows = {
            name: fate
            for names, fate in re.findall(r"^\| (.+?) \| (.+?) \|", reference, re.MULTILINE)
            for name in re.findall(r"`(-[\w-]+)`", names)
            if name in KNOWN or fate in {one.value for one in Fate}
        }
        assert rows == {name: flag.fate.value for name, flag in KNOWN.items()}

    def test_the_reference_has_every_flag_of_our_own(self) -> None:
        rows = re.findall(r"^\| `(--[\w-]+)` \| [^|]+ \|$", REFERENCE.read_text(), re.MULTILINE)
        own = {name for option in command.params for name in option.opts if name[:2] == "--"}
        assert set(rows) == own
        assert not own & KNOWN.keys()


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["--extra", "x"], ("--extra", "x")),
        (["--extra=x", "--no-dev"], ("--extra=x", "--no-dev")),
        (["-p3.12"], ("-p3.12",)),
        (["-p", "3.12"], ("-p", "3.12")),
        (["--frozen", "--frozen", "--offline", "--no-index", "-n"], ()),
        (["--project", "x", "--extra", "y"], ("--extra", "y")),
        (["-nC", "a=b"], ("-C", "a=b")),
        (["--unheard-of", "value", "--extra", "x"], ("--unheard-of", "value", "--extra", "x")),
    ],
)
def test_what_is_passed_on(given: list[str], passed: tuple[str, ...]) -> None:
    assert parse_flags(given).passed == passed


@pytest.mark.parametrize(
    "given",
    [
        ["--upgrade"],
        ["-U"],
        ["-qU"],
        ["-P", "x"],
        ["-Px"],
        ["--index", "https://index.example"],
        ["--index=https://index.example"],
        ["-f", "wheels"],
        ["--find-links=wheels"],
        ["-i", "https://index.example"],
        ["--cache-dir", "x"],
        ["--refresh"],
        ["--refresh-package", "x"],
        ["--no-frozen"],
        ["--no-offline"],
        ["--no-config"],
        ["--config-file", "x"],
        ["--no-sources"],
        ["--link-mode", "symlink"],
        ["--link-mode=symlink"],
    ],
    ids=" ".join,
)
def test_what_contradicts_nothing_but_the_archive_is_refused(given: list[str]) -> None:
    with pytest.raises(RequestError, match="doesn't take") as refused:
        parse_flags(["--extra", "x", *given])
    assert refused.value.hint


def test_every_refused_flag_is_named_at_once() -> None:
    with pytest.raises(RequestError, match=r"`--upgrade`, `--index`"):
        parse_flags(["--upgrade", "--index", "x", "--link-mode", "copy"])


def test_a_flag_without_its_value_is_refused() -> None:
    with pytest.raises(RequestError, match="`--extra` needs a value"):
        parse_flags(["--extra"])


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError, match="no valid name"):
        parse_flags(["--extra", "a b"])


def test_selection_flags_become_a_selection() -> None:
    given = """
        --extra A --extra=b_c,d --no-extra e --group f --no-group g --package h --all-groups
        --no-default-groups --only-dev --no-binary-package i --no-build
        """
    flags = parse_flags(given.split())
    assert flags.include == Include(
        packages=("h",),  # type: ignore[arg-type]
        extras=("a", "b-c", "d"),  # type: ignore[arg-type]
        no_extras=("e",),  # type: ignore[arg-type]
        groups=("f",),  # type: ignore[arg-type]
        no_groups=("g",),  # type: ignore[arg-type]
        all_groups=True,
        no_default_groups=True,
        dev="only",
    )
    assert flags.options == BuildOptions(no_build=True, no_binary_packages=frozenset({"i"}))  # type: ignore[arg-type]


def test_output_flags_go_to_the_run_that_is_shown() -> None:
    flags = parse_flags(["-qq", "--dry-run", "--color", "never", "--extra", "x"])
    assert flags.output == ("-q", "-q", "--dry-run", "--color", "never")
    assert flags.passed == ("--extra", "x")
    assert flags.changes_nothing


def test_environment_variables_add_to_flags() -> None:
    variables = {"UV_NO_DEV": "1", "UV_NO_GROUP": "a b", "UV_NO_DEFAULT_GROUPS": "true"}
    assert with_environment(Include(), variables) == Include(
        dev="exclude",
        no_groups=("a", "b"),  # type: ignore[arg-type]
        no_default_groups=True,
    )
    assert with_environment(Include(dev="only"), variables).dev == "only"
    assert with_environment(Include(), {"UV_NO_DEV": "0"}) == Include()


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        ([], {}, "/home/.venv"),
        ([], {"VIRTUAL_ENV": "/active"}, "/home/.venv"),
        (["--active"], {"VIRTUAL_ENV": "/active"}, "/active"),
        (["--active"], {"VIRTUAL_ENV": "active"}, "/home/packages/active"),
        (["--active"], {}, "/home/.venv"),
        ([], {"UV_PROJECT_ENVIRONMENT": "env"}, "/home/env"),
        ([], {"UV_PROJECT_ENVIRONMENT": "/env"}, "/env"),
    ],
)
def test_where_the_environment_is(
    arguments: list[str], variables: dict[str, str], expected: str
) -> None:
    flags = parse_flags(arguments)
    path = environment_path(Path("/home"), flags, variables, start=Path("/home/packages"))
    assert path == Path(expected)
