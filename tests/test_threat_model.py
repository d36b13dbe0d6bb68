"""The tests that the threat model names are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "explanation" / "threat-model.md"
_ROW = re.compile(r"^\|(?!--)(?! threat or fault).*$", re.MULTILINE)
_ID = re.compile(r"`([\w/]+\.py)((?:::\w+)+)`")


def ids() -> list[str]:
    return sorted({path + names for path, names in _ID.findall(PAGE.read_text())})


def defined(tree: ast.AST, prefix: str = "") -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield f"{prefix}::{node.name}"
            yield from defined(node, f"{prefix}::{node.name}")


@pytest.mark.parametrize("test", ids())
def test_a_test_that_is_named_is_there(test: str) -> None:
    path, _, names = test.partition("::")
    assert f"::{names}" in set(defined(ast.parse((TESTS / path).read_text())))


def test_every_row_names_a_test() -> None:
    rows = _ROW.findall(PAGE.read_text())
    assert len(rows) > 20
    assert [row for row in rows if not _ID.search(row)] == []
