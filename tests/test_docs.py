"""The reference pages are true: of the options, the JSON, the Python interface, completion."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.distributions import make_sdist, make_wheel
from tests.offline_projects import served
from uv_archive import errors

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
COMMANDS = ("download", "build", "sync", "verify", "generate-shell-completion")

SCHEMA = json.loads(files("uv_archive.cli").joinpath("download.schema.json").read_text("utf-8"))

PROJECT = """\
[project]
name = "project"
version = "1"
requires-python = ">=3.11"
dependencies = ["alpha"]

[project.optional-dependencies]
plot = ["beta[fast]"]

[dependency-groups]
docs = ["gamma"]

[[tool.uv.index]]
url = "{index}/simple"
default = true
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A locked project, whose index is served while the test runs."""

    root: Path
    served: Path
    uv: Path

    def run(self, *command: str | Path, **variables: str) -> Said:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UV_", "PIP_")) and not name.lower().endswith("_proxy")
        }
        own = {
            "HOME": str(self.root.parent),
            "UV": str(self.uv),
            "UV_NO_CACHE": "1",
            "UV_PYTHON": sys.executable,
            "UV_PYTHON_DOWNLOADS": "never",
            "XDG_CACHE_HOME": str(self.root.parent / "cache"),
        }
        done = subprocess.run(
            [*map(str, command)],
            cwd=self.root,
            env={**kept, **own, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Said(status=done.returncode, out=done.stdout, err=done.stderr)

    def uv_archive(self, *arguments: str, **variables: str) -> Said:
        return self.run(sys.executable, "-m", "uv_archive", *arguments, **variables)

    def json(self, *arguments: str, status: int = 0) -> Mapping[str, object]:
        said = self.uv_archive("download", "--output-format", "json", *arguments)
        assert said.status == status, said.err
        document: object = json.loads(said.out)
        assert isinstance(document, dict)
        Draft202012Validator(SCHEMA).validate(document)
        return document


@contextmanager
def placed(directory: Path, uv: Path) -> Iterator[Place]:
    project, index = directory / "project", directory / "served"
    project.mkdir()
    make_wheel(index, "alpha", "1.0")
    make_wheel(index, "beta", "2.0", extras={"fast": ["delta"]})
    make_wheel(index, "gamma", "3.0")
    make_sdist(index, "delta", "4.0")
    with served(index) as address:
        project.joinpath("pyproject.toml").write_text(PROJECT.format(index=address))
        place = Place(root=project, served=index, uv=uv)
        locked = place.run(uv, "lock")
        assert locked.status == 0, locked.err
        yield place


@pytest.fixture
def place(tmp_path: Path, uv: Path) -> Iterator[Place]:
    with placed(tmp_path, uv) as place:
        yield place


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"there is no section {title!r}"
    return found[1]


def first_cells(text: str) -> list[str]:
    """Return the first cell of each row of the page's tables, heads and rules left out."""
    rows = re.findall(r"^\|(.*?)\|", text, re.MULTILINE)
    return [row.strip() for row in rows if row.strip().strip("-")]


# Options


def help_of(*command: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "uv_archive", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def options_in_help(text: str) -> set[str]:
    found = set()
    for line in text.splitlines():
        if left := re.match(r"  (-.*?)(?:\s{2,}|$)", line):
            found |= set(re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", left[1]))
    return found


def options_in_page(text: str) -> set[str]:
    cells = " ".join(first_cells(text))
    return {
        option
        for code in re.findall(r"`([^`]+)`", cells)
        for option in re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", code)
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented_and_every_documented_one_exists(command: str) -> None:
    helped = options_in_help(help_of(command))
    assert len(helped) > 1
    # `-h` is said once, for all commands.
    documented = options_in_page(section(page("cli.md"), f"`{command}`")) | {"-h", "--help"}
    assert helped == documented


def test_every_command_and_every_option_of_all_is_documented() -> None:
    text = help_of()
    commands = re.findall(r"^  ([a-z][a-z-]*)  ", text.partition("Commands:")[2], re.MULTILINE)
    assert set(commands) == set(COMMANDS)
    assert options_in_help(text) == options_in_page(section(page("cli.md"), "All commands"))


def test_variables_that_stand_for_options_are_documented() -> None:
    module = importlib.import_module("uv_archive.cli.download")
    variables = {parameter.envvar for parameter in module.command.params if parameter.envvar}
    assert "UV_PROJECT" in variables
    documented = re.findall(r"`([A-Z][A-Z_]+)`", section(page("cli.md"), "Environment variables"))
    assert variables - set(documented) == set()


def test_every_documented_variable_is_read_somewhere() -> None:
    documented = set(
        re.findall(r"`([A-Z][A-Z_]+)`", section(page("cli.md"), "Environment variables"))
    )
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    # `TransportProxies` and the like: read by the HTTP client and by uv.
    elsewhere = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    spelled = {name for name in documented if f'"{name}"' in source}
    assert documented - spelled - elsewhere == set()


@pytest.mark.parametrize("command", ["download", "sync"])
def test_exit_statuses_are_those_of_the_help(command: str) -> None:
    helped = help_of(command).partition("Exit status:")[2]
    statuses = set(re.findall(r"^ +(\d+(?:, \d+)*)  ", helped, re.MULTILINE))
    documented = set(first_cells(section(page("cli.md"), "Exit status")))
    assert statuses == {"0", "1", "2", "130, 143"}
    assert statuses <= documented


# JSON


def keys(schema: object) -> Iterator[str]:
    """Yield every key that a schema names."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from keys(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from keys(value)


def test_the_schema_is_one_and_allows_nothing_unsaid() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"])


def test_the_page_names_every_key() -> None:
    text = page("download-json.md")
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert set(keys(SCHEMA)) - named == set()
    assert {cell.strip("`") for cell in first_cells(text)} - {"key"} == set(SCHEMA["properties"])


def test_a_dry_run_is_as_the_schema_says(place: Place) -> None:
    said = place.json("--dry-run", "--extra", "plot")
    assert set(said) == set(SCHEMA["properties"])
    assert (said["complete"], said["digest"], said["builds_unresolved"]) == (False, None, 1)
    fetched = said["fetched"]
    assert isinstance(fetched, list)
    assert [file["path"] for file in fetched] == [
        "alpha-1.0-py3-none-any.whl",
        "beta-2.0-py3-none-any.whl",
        "delta-4.0.tar.gz",
    ]
    assert all(file["size"] > 0 for file in fetched)
    assert said["left_out"] == {"packages": [], "extras": [], "groups": ["project:docs"]}
    assert said["install"] == "uv-archive sync --extra plot"
    assert not (place.root / "dist").exists()


def test_a_run_is_as_the_schema_says(place: Place) -> None:
    said = place.json("--extra", "plot")
    assert set(said) == set(SCHEMA["properties"])
    assert said["complete"] is True
    assert str(said["digest"]).startswith("sha256:")
    (compiled,) = _list(said["must_compile"])
    assert isinstance(compiled, dict)
    assert compiled["package"] == "delta==4.0"
    again = place.json("--extra", "plot")
    assert (again["digest"], again["fetched"]) == (said["digest"], [])
    assert again["kept"] == said["fetched"]


def test_a_failure_is_as_the_schema_says(place: Place) -> None:
    (place.served / "alpha-1.0-py3-none-any.whl").unlink()
    said = place.json(status=1)
    (failure,) = _list(said["failures"])
    assert isinstance(failure, dict)
    assert failure["name"] == "alpha-1.0-py3-none-any.whl"
    assert (said["complete"], said["digest"], said["install"]) == (False, None, None)


def test_a_request_that_cant_be_carried_out_leaves_stdout_empty(place: Place) -> None:
    said = place.uv_archive("download", "--output-format", "json", "--extra", "none")
    assert (said.status, said.out) == (2, "")


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


# Python


def blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)


def test_the_examples_of_the_python_interface_are_one_script_that_runs(place: Place) -> None:
    script = place.root / "example.py"
    script.write_text("\n".join(blocks("python.md")))
    said = place.run(sys.executable, "-W", "error", script)
    assert said.status == 0, said.err
    assert "alpha==1.0 ['alpha-1.0-py3-none-any.whl']" in said.out
    assert "3 files to bring" in said.out
    assert "here: beta-2.0-py3-none-any.whl" in said.out
    assert "3 distributions checked against the lock" in said.out
    assert {path.name for path in (place.root / "files").iterdir()} == {
        "alpha-1.0-py3-none-any.whl",
        "beta-2.0-py3-none-any.whl",
        "delta-4.0.tar.gz",
    }


def test_names_of_modules_on_the_page_can_be_imported() -> None:
    for name in set(re.findall(r"`(uv_archive(?:\.[a-z_]+)+)`", page("python.md"))):
        importlib.import_module(name)


def signatures() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return the functions that the page gives with their parameters, by module and name."""
    found = []
    for module, title in re.findall(
        r"^\| \[.*?\]\(#(.*?)\) \| (.*?) \|", page("python.md"), re.MULTILINE
    ):
        modules = re.findall(r"`(uv_archive[a-z_.]*)`", title)
        text = section(page("python.md"), module.replace("-", " ").capitalize())
        for name, parameters in re.findall(
            r"^\* `([a-z_]+)\((.*?)\)[ `]", text, re.DOTALL | re.MULTILINE
        ):
            found += [(one, name, tuple(parameters.split(","))) for one in modules]
    return found


def test_functions_on_the_page_have_the_parameters_that_it_gives() -> None:
    checked = set()
    for module, name, parameters in signatures():
        function = getattr(importlib.import_module(module), name, None)
        if function is None:
            continue
        named = [one.split("=")[0].strip() for one in parameters]
        known = inspect.signature(function).parameters
        assert [one for one in named if one and one != "*"] == [
            one for one in known if one in named
        ], name
        missing = {
            one.name for one in known.values() if one.default is one.empty and one.name not in named
        }
        assert missing == set(), name
        checked.add(name)
    assert {"find_project", "read_lock", "select", "place", "plan", "fetch_all"} <= checked
    assert {"platform_named", "parse_python", "inspect_interpreter", "download", "sync"} <= checked


def test_every_error_is_on_the_page() -> None:
    known = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.UvArchiveError)
    }
    cells = {cell.strip("`") for cell in first_cells(section(page("python.md"), "Errors"))}
    assert known - {"UvArchiveError"} == cells - {"error"}


def test_the_interface_needs_neither_click_nor_rich() -> None:
    modules = re.findall(
        r"^from (uv_archive[a-z_.]*) import", "\n".join(blocks("python.md")), re.MULTILINE
    )
    code = (
        f"import sys, {', '.join(sorted(set(modules)))}\n"
        "sys.exit(bool({'click', 'rich'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Completion

# What bash does when Tab is pressed: the words and the cursor in, the answers out.
_TAB = """\
eval "$(uv-archive generate-shell-completion bash)"
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_uv_archive_completion uv-archive
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def completed(tool: Callable[[str], Path], tmp_path: Path) -> Callable[[str], set[str]]:
    """Return a function that says what bash offers after some words."""
    bash = tool("bash")
    program = tmp_path / "uv-archive"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m uv_archive "$@"\n')
    program.chmod(0o755)

    def complete(words: str) -> set[str]:
        script = _TAB.format(words=words)
        result = subprocess.run(
            [bash, "--norc", "-c", script],
            env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        return set(result.stdout.split())

    return complete


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param("uv-archive ''", {"download", "sync"}, id="subcommands"),
        pytest.param("uv-archive dow", {"download"}, id="a subcommand begun"),
        pytest.param(
            "uv-archive download --all-",
            {"--all-platforms", "--all-extras", "--all-groups", "--all-packages"},
            id="options",
        ),
        pytest.param("uv-archive sync --dist", {"--dist-archive"}, id="options of sync"),
        pytest.param(
            "uv-archive download --python-platform aarch64-",
            {"aarch64-apple-darwin", "aarch64-unknown-linux-gnu"},
            id="platforms",
        ),
        pytest.param(
            "uv-archive download --output-format ''", {"text", "json"}, id="a fixed choice"
        ),
        pytest.param(
            "uv-archive generate-shell-completion ''", {"bash", "zsh", "fish"}, id="shells"
        ),
    ],
)
def test_bash_completes(
    words: str, offered: set[str], completed: Callable[[str], set[str]]
) -> None:
    assert offered <= completed(words)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "uv_archive", "generate-shell-completion", shell],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_UV_ARCHIVE_COMPLETE={shell}_complete" in result.stdout
