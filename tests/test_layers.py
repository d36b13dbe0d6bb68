"""Imports go one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import uv_archive

PACKAGE = Path(uv_archive.__file__).parent

#: The lowest first. A module imports from lines above its own, and from its own package.
LAYERS = (
    ("errors",),
    ("digest", "url", "filenames", "markers"),
    ("target",),
    ("uv",),
    ("lock",),
    ("project",),
    ("script", "pylock"),
    ("settings",),
    ("owner",),
    ("selection",),
    ("request",),
    ("archive",),
    ("plan",),
    ("fetch",),
    ("build_requirements",),
    ("scratch",),
    ("build",),
    ("download", "sync"),
    ("verify",),
    ("",),  # the Python interface: `uv_archive` itself
    ("cli",),
    ("__main__",),
)
HEIGHTS = {name: height for height, names in enumerate(LAYERS) for name in names}

#: Libraries that one part of the program keeps to itself.
RESERVED = {"click": "cli", "rich": "cli", "pyreqwest": "fetch"}


def imports(source: str) -> Iterator[str]:
    """Yield the absolute name of everything that *source* imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                if module == "uv_archive":
                    yield from (f"{module}.{alias.name}" for alias in names)
                else:
                    yield module
            case ast.ImportFrom():
                yield "a relative import"
            case _:
                continue


def violations(module: str, source: str) -> list[str]:
    """Say what the top-level module *module* of the package must not import, and does."""
    found = []
    for name in imports(source):
        top, _, rest = name.partition(".")
        if top == "uv_archive":
            imported = rest.partition(".")[0]
            if imported not in HEIGHTS:
                imported = ""  # a name of the package itself
            if imported != module and HEIGHTS[imported] >= HEIGHTS[module]:
                found.append(f"`{module}` imports `{name}`, which isn't below it")
        elif top == "a relative import":
            found.append(f"`{module}` has {name}")
        elif RESERVED.get(top, module) != module:
            found.append(f"`{module}` imports `{top}`, which belongs to `{RESERVED[top]}`")
    return found


def modules() -> list[tuple[str, Path]]:
    """Return each source file with the name of the top-level module that it is part of."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        found.append(("" if top == "__init__" else top, path))
    return found


@pytest.mark.parametrize(
    ("module", "path"),
    [pytest.param(module, path, id=str(path.relative_to(PACKAGE))) for module, path in modules()],
)
def test_a_module_imports_only_what_is_below_it(module: str, path: Path) -> None:
    assert module in HEIGHTS, f"`{module}` has no place in LAYERS"
    assert violations(module, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("plan", "from uv_archive.cli import main", id="upwards"),
        pytest.param("plan", "from uv_archive import fetch", id="upwards-by-the-package"),
        pytest.param("plan", "import uv_archive.fetch.transport", id="upwards-by-its-full-name"),
        pytest.param("lock", "from uv_archive import read_lock", id="the-interface-from-below"),
        pytest.param("url", "from uv_archive.digest import Digest", id="sideways"),
        pytest.param(
            "plan",
            "if TYPE_CHECKING:\n    from uv_archive.download import Report",
            id="for-annotations-only",
        ),
        pytest.param("plan", "def late():\n    import uv_archive.sync", id="in-a-function"),
        pytest.param("plan", "from . import selection", id="relative"),
        pytest.param("sync", "import rich.progress", id="rich-outside-cli"),
        pytest.param("lock", "from click import echo", id="click-outside-cli"),
        pytest.param("cli", "from pyreqwest.client import ClientBuilder", id="http-outside-fetch"),
    ],
)
def test_a_violation_is_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("plan", "from uv_archive.selection import Selection", id="downwards"),
        pytest.param("lock", "from uv_archive.lock.model import Lock", id="within-a-package"),
        pytest.param("cli", "from uv_archive import __version__, read_lock", id="the-interface"),
        pytest.param("cli", "import click, rich.table", id="click-and-rich-in-cli"),
        pytest.param("fetch", "from pyreqwest.client import ClientBuilder", id="http-in-fetch"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, source: str) -> None:
    assert violations(module, source) == []
