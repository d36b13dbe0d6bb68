"""Scripts with requirements of their own (PEP 723)."""

from __future__ import annotations

from pathlib import Path

import pytest

from uv_archive.errors import ProjectError
from uv_archive.script import find_script, script_of

BLOCK = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "alpha",
# ]
#
# [tool.uv]
# no-build = true
# ///
"""


def script(directory: Path, text: str) -> Path:
    path = directory / "x.py"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        BLOCK,
        f"#!/usr/bin/env python\n\n{BLOCK}\nprint('hello')\n",
        BLOCK.replace("\n", "\r\n"),
        BLOCK.removesuffix("\n"),
        "# /// other\n# x\n# ///\n\n" + BLOCK,
    ],
    ids=["alone", "among-others", "crlf", "without-the-last-newline", "other-blocks"],
)
def test_metadata_is_read(tmp_path: Path, text: str) -> None:
    found = find_script(script(tmp_path, text))
    assert found.metadata["dependencies"] == ["alpha"]
    assert found.settings == {"no-build": True}
    assert found.lock_path == tmp_path / "x.py.lock"
    assert (found.identity, found.root) == ("x.py", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print()\n", "no block of script metadata"),
        ("# /// script\n# x = 1\n", "no block of script metadata"),
        (f"{BLOCK}\n{BLOCK}", "several blocks"),
        ("# /// script\n# x =\n# ///\n", "aren't TOML"),
        ("# /// script\n# x = " + "[" * 5000 + "\n# ///\n", "aren't TOML"),
        ("\ud800", "isn't UTF-8"),
    ],
    ids=["none", "unfinished", "two", "no-toml", "nested", "no-utf-8"],
)
def test_what_is_no_script_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.py"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ProjectError, match=message):
        find_script(path)


def test_a_missing_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="can't be read"):
        find_script(tmp_path / "x.py")


def test_a_script_is_written_of_its_metadata(tmp_path: Path) -> None:
    written = script_of('dependencies = ["a"]\n\n[tool.uv]\nno-build = true\n')
    found = find_script(script(tmp_path, written))
    assert found.metadata == {"dependencies": ["a"], "tool": {"uv": {"no-build": True}}}
