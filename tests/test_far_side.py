"""The script that an archive brings for machines that have Python and nothing else."""

from __future__ import annotations

import ast
import importlib.util
import sys
from importlib.resources import as_file, files
from types import ModuleType

import pytest

SOURCE = files("uv_archive.archive").joinpath("far_side", "install.py")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with as_file(SOURCE) as path:
        specification = importlib.util.spec_from_file_location("far_side_install", path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module


def test_it_is_written_for_python_3_8_and_its_standard_library() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


def test_it_is_plain_text_for_any_locale() -> None:
    assert SOURCE.read_bytes().isascii()


MACHINES = [
    (("manylinux", (2, 36), "x86_64"), "manylinux_2_17_x86_64", True),
    (("manylinux", (2, 36), "x86_64"), "manylinux_2_36_x86_64", True),
    (("manylinux", (2, 36), "x86_64"), "manylinux_2_37_x86_64", False),
    (("manylinux", (2, 9), "x86_64"), "manylinux_2_17_x86_64", False),
    (("manylinux", (2, 17), "x86_64"), "manylinux2014_x86_64", True),
    (("manylinux", (2, 12), "x86_64"), "manylinux2014_x86_64", False),
    (("manylinux", (2, 12), "i686"), "manylinux2010_i686", True),
    (("manylinux", (2, 36), "x86_64"), "manylinux_2_17_aarch64", False),
    (("manylinux", (2, 36), "x86_64"), "musllinux_1_1_x86_64", False),
    (("manylinux", (2, 36), "x86_64"), "win_amd64", False),
    (("musllinux", (1, 2), "aarch64"), "musllinux_1_1_aarch64", True),
    (("musllinux", (1, 2), "aarch64"), "manylinux_2_17_aarch64", False),
    (("macosx", (14, 5), "aarch64"), "macosx_11_0_arm64", True),
    (("macosx", (14, 5), "aarch64"), "macosx_11_0_universal2", True),
    (("macosx", (14, 5), "aarch64"), "macosx_15_0_arm64", False),
    (("macosx", (14, 5), "aarch64"), "macosx_10_12_x86_64", False),
    (("macosx", (10, 15), "x86_64"), "macosx_10_12_x86_64", True),
    (("win", (0, 0), "x86_64"), "win_amd64", True),
    (("win", (0, 0), "x86_64"), "win32", False),
    (("win", (0, 0), "aarch64"), "win_arm64", True),
    (("win", (0, 0), "i686"), "win32", True),
    (("win", (0, 0), "x86_64"), "nonsense", False),
]


@pytest.mark.parametrize(("machine", "tag", "runs"), MACHINES)
def test_a_machine_runs_what_is_made_for_it(
    script: ModuleType, machine: tuple[str, tuple[int, int], str], tag: str, runs: bool
) -> None:
    assert script.Machine(*machine).runs(tag) is runs


@pytest.mark.parametrize(
    ("machine", "tag"),
    [
        (("manylinux", (2, 36), "x86_64"), "manylinux_2_36_x86_64"),
        (("musllinux", (1, 2), "aarch64"), "musllinux_1_2_aarch64"),
        (("macosx", (14, 5), "aarch64"), "macosx_14_5_arm64"),
        (("macosx", (10, 15), "x86_64"), "macosx_10_15_x86_64"),
        (("win", (0, 0), "x86_64"), "win_amd64"),
        (("win", (0, 0), "aarch64"), "win_arm64"),
    ],
)
def test_a_machine_is_called_by_its_platform_tag(
    script: ModuleType, machine: tuple[str, tuple[int, int], str], tag: str
) -> None:
    assert str(script.Machine(*machine)) == tag


def test_this_machine_is_known(script: ModuleType) -> None:
    this = script.this_machine()
    assert this.runs(str(this))


def test_of_several_versions_the_last_is_chosen(script: ModuleType) -> None:
    versions = ["1.9", "1.10.dev0", "1.10a1", "1.10rc1", "1.10", "1.10.post1", "1.10.1"]
    orders = [script.Wheel(f"tools/a-{v}-py3-none-any.whl", "a", v).order for v in versions]
    assert sorted(orders) == orders
    machine = script.Machine("win", (0, 0), "x86_64")
    wheels = [
        script.Wheel(f"tools/{name}-{version}-py3-none-{tag}.whl", name, version)
        for name, version, tag in [
            ("click", "8.9", "any"),
            ("click", "8.10", "any"),
            ("uv", "0.13.9", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
            ("uv", "0.13.8", "win_amd64"),
            ("uv-archive", "1.0", "any"),
        ]
    ]
    uv, others = script.chosen(wheels, machine)
    assert uv.filename == "uv-0.13.8-py3-none-win_amd64.whl"
    assert {wheel.filename for wheel in others} == {
        "click-8.10-py3-none-any.whl",
        "uv-archive-1.0-py3-none-any.whl",
    }


@pytest.mark.parametrize("missing", ["uv", "uv-archive"])
def test_what_the_archive_does_not_bring_is_named(script: ModuleType, missing: str) -> None:
    names = {"uv", "uv-archive"} - {missing}
    wheels = [script.Wheel(f"tools/{n}-1.0-py3-none-any.whl", n, "1.0") for n in names]
    with pytest.raises(script.Problem, match=f"doesn't bring {missing}$"):
        script.chosen(wheels, script.this_machine())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "3.12", "--project", "a"], ("3.12", "a")),
        (["-p3.12", "--project=a"], ("3.12", "a")),
        (["--python=3.12", "--", "--project", "a"], ("3.12", None)),
        (["--python-platform", "linux"], (None, None)),
        (["--python"], ("", None)),
        ([], (None, None)),
    ],
)
def test_flags_are_read_as_uv_reads_them(
    script: ModuleType, arguments: list[str], expected: tuple[str | None, str | None]
) -> None:
    flags = script.Flags(arguments)
    assert (flags.python, flags.project) == expected
    assert flags.all == arguments


@pytest.mark.parametrize(
    ("version", "python", "same"),
    [
        ("3.12.1", "3.12", True),
        ("3.12.1", "3.12.1", True),
        ("3.12.1", "3.12.2", False),
        ("3.12.1", "3.1", False),
        ("3.14.0rc1", "3.14", True),
        ("3.12.1", "pypy3.12", False),
    ],
)
def test_a_patch_release_is_the_python_that_was_asked_for(
    script: ModuleType, version: str, python: str, same: bool
) -> None:
    assert script._is_one(version, python) is same
