"""What becomes of each flag of `uv sync`."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from uv_archive.cli.sync import command
from uv_archive.errors import RequestError
from uv_archive.scratch import KEPT_VARIABLES
from uv_archive.selection import BuildOptions, Include
from uv_archive.sync.flags import (
    FLAGS,
    INTERPRETED_VARIABLES,
    Fate,
    Flag,
    environment_path,
    parse_flags,
    with_environment,
)

KNOWN = {name: flag for flag in FLAGS for name in flag.names}
NETWORK = pytest.mark.network
REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "sync-flags.md"


@dataclass(frozen=True, kw_only=True, slots=True)
class Help:
    """What `uv sync --help` of some uv says of one flag."""

    names: tuple[str, ...]
    takes_value: bool
    variables: tuple[str, ...]


def help_of(uv: Path) -> tuple[Help, ...]:
    said = subprocess.run(
        [str(uv), "sync", "--help"], capture_output=True, text=True, check=True
    ).stdout
    blocks = re.split(r"^(?= +-)", said, flags=re.MULTILINE)[1:]
    heads = [re.match(r" +(?:(-\w), )?(--[\w-]+)(.*)", block) for block in blocks]
    found = tuple(
        Help(
            names=tuple(name for name in head.group(1, 2) if name),
            takes_value="<" in head[3],
            variables=tuple(re.findall(r"\[env:\s+(\w+)", block)),
        )
        for block, head in zip(blocks, heads, strict=True)
        if head
    )
    assert len(found) == len(blocks) > 60
    assert sum(len(one.names) > 1 for one in found) > 8
    assert sum(len(one.variables) for one in found) > 30
    return found


def is_known(uv: Path, flag: Flag, name: str) -> bool:
    """Whether a uv takes a flag, hidden or not, with a value where the table says so."""
    value = "never-a-value"
    given = [name] if not flag.takes_value else [f"{name}={value}"]
    done = subprocess.run(
        [str(uv), "sync", *given, "--help"], capture_output=True, text=True, check=False
    )
    # uv names what it doesn't know, before it shows its help; a value it may not like.
    return done.returncode == 0 or f"invalid value '{value}' for" in done.stderr


class TestTable:
    @pytest.fixture(params=["newest", pytest.param("oldest", marks=NETWORK)])
    def asked(self, request: pytest.FixtureRequest) -> Path:
        """The newest and the oldest uv that are supported."""
        name = "uv" if request.param == "newest" else "oldest_uv"
        return Path(request.getfixturevalue(name))

    def test_every_flag_of_uv_sync_has_an_entry(self, asked: Path) -> None:
        for one in help_of(asked):
            assert set(one.names) <= KNOWN.keys()
            assert all(KNOWN[name].takes_value == one.takes_value for name in one.names), one

    def test_a_variable_reaches_uv_if_its_flag_does(self, asked: Path) -> None:
        for one in help_of(asked):
            fate = KNOWN[one.names[0]].fate
            for variable in one.variables:
                kept = fate in (Fate.PASSED, Fate.OUTPUT)
                assert (variable in KEPT_VARIABLES) == kept, variable

    @NETWORK
    def test_every_entry_is_a_flag_of_one_of_them(self, uv: Path, oldest_uv: Path) -> None:
        for name, flag in KNOWN.items():
            assert is_known(uv, flag, name) or is_known(oldest_uv, flag, name), name

    def test_what_is_no_flag_is_known_as_such(self, uv: Path) -> None:
        """Hold against the test above that can't fail."""
        for takes_value in (False, True):
            flag = Flag(names=("--upgrate",), fate=Fate.PASSED, takes_value=takes_value)
            assert not is_known(uv, flag, "--upgrate")
        assert not is_known(uv, Flag(names=(), fate=Fate.PASSED, takes_value=True), "--check")

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


class TestArchiveMisnamed:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["dist/dependencies"],
            ["--extra", "plot", "dist/dependencies"],
            ["--dist-archiv", "dist/dependencies"],
            ["--dist=dist/dependencies"],
            ["--archive", "dist/dependencies"],
        ],
    )
    def test_is_refused_with_the_flag_that_names_it(self, arguments: list[str]) -> None:
        with pytest.raises(RequestError, match=r"`sync` doesn't take `(dist|--)") as refused:
            parse_flags(arguments)
        assert "`--dist-archive DIR`" in str(refused.value.hint)


class TestVariables:
    @pytest.mark.parametrize("value", ["1", "true", "on"])
    def test_mean_what_their_flags_mean(self, value: str) -> None:
        variables = {
            "UV_LOCKED": value,
            "UV_PROJECT": "project",
            "UV_WORKING_DIR": "directory",
            "UV_ONLY_INSTALL_PROJECT": value,
            "UV_NO_INSTALLER_METADATA": value,
        }
        assert parse_flags(["--extra", "x"], variables) == parse_flags(
            [
                *("--extra", "x", "--only-install-project", "--no-installer-metadata"),
                *("--locked", "--project", "project", "--directory", "directory"),
            ]
        )
        assert parse_flags([], {"UV_FROZEN": value}) == parse_flags(["--frozen"])

    def test_flags_go_before_them(self) -> None:
        flags = parse_flags(["--project", "a", "--directory", "b"],
                            {"UV_PROJECT": "c", "UV_WORKING_DIR": "d"})  # fmt: skip
        assert (flags.project, flags.directory) == (Path("a"), Path("b"))

    def test_that_are_off_or_of_refused_flags_mean_nothing(self) -> None:
        variables = {name: "0" for name in INTERPRETED_VARIABLES if name[-2:] not in ("CT", "IR")}
        variables |= {"UV_UPGRADE": "1", "UV_INDEX": "https://index.example", "UV_PROJECT": ""}
        assert parse_flags([], variables) == parse_flags([])

    def test_those_that_narrow_a_project_mean_nothing_for_a_script(self) -> None:
        flags = parse_flags(["--script", "x.py"], {"UV_ONLY_INSTALL_PROJECT": "1"})
        assert flags == parse_flags(["--script", "x.py"])

    @pytest.mark.parametrize(
        ("arguments", "variables"),
        [
            (["--locked", "--frozen"], {}),
            (["--locked"], {"UV_FROZEN": "1"}),
            ([], {"UV_LOCKED": "1", "UV_FROZEN": "1"}),
        ],
    )
    def test_a_contradiction_is_refused_as_by_uv(
        self, arguments: list[str], variables: dict[str, str]
    ) -> None:
        with pytest.raises(RequestError, match="exclude each other"):
            parse_flags(arguments, variables)

    def test_the_reference_has_every_one(self) -> None:
        text = REFERENCE.read_text().partition("## Environment variables")[2].partition("\n## ")[0]
        assert set(re.findall(r"^\* `(UV_\w+)`", text, re.MULTILINE)) == KEPT_VARIABLES
        rows = re.findall(r"^\| `(UV_\w+)` \| `(--[\w-]+)` \|$", text, re.MULTILINE)
        assert dict(rows) == INTERPRETED_VARIABLES


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
