"""What the documentation tells people to type exists, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(DOCS.rglob("*.md")),
    ROOT / "examples" / "workflow" / "README.md",
]
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")

every_page = pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]
)


def links(page: Path) -> Iterator[str]:
    """Yield the relative links of a page."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            yield target


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of every command in the page's console blocks."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                for command in re.split(r"&&|\(", line.removeprefix("$ ").rstrip(")")):
                    yield shlex.split(command, comments=True)


def without_wrapper(words: list[str]) -> list[str]:
    """Drop what may stand before a command: `unshare -rn` and `uvx`."""
    if words[:2] == ["unshare", "-rn"]:
        words = words[2:]
    return words[1:] if words[:1] == ["uvx"] else words


@cache
def help_of(*command: str) -> str:
    """Return what a command says to `--help`."""
    result = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def has_flag(help_text: str, flag: str) -> bool:
    """Whether the help names exactly that flag, not just one that begins with it."""
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", help_text) is not None


def help_of_verb(verb: str, uv: Path) -> str:
    start = "import sys; from uv_archive.cli import main; sys.exit(main())"
    text = help_of(sys.executable, "-c", start, verb)
    # What `sync` doesn't know is passed on.
    return text + help_of(str(uv), "sync") if verb == "sync" else text


@every_page
def test_relative_links_lead_to_a_file(page: Path) -> None:
    missing = [target for target in links(page) if not (page.parent / target).exists()]
    assert missing == []


def test_every_page_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        for target in links(page):
            path = (page.parent / target).resolve()
            waiting += path.glob("*.md") if path.is_dir() else [path]
    assert set(DOCS.rglob("*.md")) - reached == set()


@every_page
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    used = {words[1] for words in commands(page) if words[:1] == ["make"]}
    assert used - targets == set()


@every_page
def test_flags_of_commands_exist(page: Path, uv: Path) -> None:
    unknown = []
    for words in map(without_wrapper, commands(page)):
        if words[:1] != ["uv-archive"] or words[1].startswith("-"):
            continue
        known = help_of_verb(words[1], uv)
        flags = (word.partition("=")[0] for word in words[2:] if word.startswith("-"))
        unknown += [f"{words[1]} {flag}" for flag in flags if not has_flag(known, flag)]
    assert unknown == []


def test_the_readme_names_the_commands_that_matter() -> None:
    typed = {" ".join(without_wrapper(words)[:2]) for words in commands(ROOT / "README.md")}
    assert {"make example", "make test", "uv-archive download", "uv-archive sync"} <= typed


def test_contributing_stays_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 120
