"""The table of backends against the hooks of their current releases, called as uv calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from uv_archive.build_requirements import known_additions, read_build_system

pytestmark = [pytest.mark.network, pytest.mark.slow]

PROJECT = '[project]\nname = "sample"\nversion = "1.0"\n'
PACKAGE = {"src/sample/__init__.py": '"""A sample."""\n__version__ = "1.0"\n'}

# Source: uv's `get_requires_for_build_{wheel,editable}` script.
CALL = """
import importlib, json, sys
_, module, kind, answer = sys.argv  # setuptools changes it
backend = importlib.import_module(module)
hook = getattr(backend, f"get_requires_for_build_{kind}", None)
requires = hook({}) if hook else []
with open(answer, "w") as file:
    json.dump(list(requires), file)
"""


def pyproject(requires: str, backend: str, more: str = "", project: str = PROJECT) -> str:
    listed = ", ".join(f'"{each}"' for each in requires.split())
    return f'[build-system]\nrequires = [{listed}]\nbuild-backend = "{backend}"\n{project}{more}'


CASES = [
    pytest.param(
        {"pyproject.toml": pyproject("hatchling", "hatchling.build"), **PACKAGE}, id="hatchling"
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject(
                "hatchling hatch-vcs",
                "hatchling.build",
                'dependencies = ["own"]\noptional-dependencies.fast = ["quick>1"]\n'
                '[tool.hatch.build]\ndependencies = ["one"]\n'
                'hooks.version = { path = "v.py", dependencies = ["two"], '
                'require-runtime-features = ["fast"] }\n'
                'targets.wheel.dependencies = ["three"]\n'
                "targets.wheel.hooks.vcs.version-file = 'v.py'\n"
                "targets.wheel.hooks.vcs.require-runtime-dependencies = true\n",
            ),
            **PACKAGE,
        },
        id="hatchling-dependencies",
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject("hatchling", "hatchling.build"),
            "hatch.toml": '[build]\ndependencies = ["four"]\n',
            **PACKAGE,
        },
        id="hatchling-hatch-toml",
    ),
    pytest.param(
        {"pyproject.toml": pyproject("setuptools", "setuptools.build_meta"), **PACKAGE},
        id="setuptools",
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject("setuptools", "setuptools.build_meta", project=""),
            "setup.cfg": (
                "[metadata]\nname = sample\n[options]\nsetup_requires =\n"
                "  pbr>=1.8 ; python_version > '3'\n  # not this\n  other\n"
            ),
            **PACKAGE,
        },
        id="setuptools-setup-cfg",
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject("setuptools", "setuptools.build_meta", project=""),
            "setup.cfg": "[metadata]\nname = sample\n[options]\nsetup_requires = pbr; other>=1\n",
            **PACKAGE,
        },
        id="setuptools-setup-cfg-in-a-line",
    ),
    pytest.param(
        {"pyproject.toml": pyproject("setuptools<70.1", "setuptools.build_meta"), **PACKAGE},
        id="setuptools-old",
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject(
                "flit_core",
                "flit_core.buildapi",
                project='[project]\nname = "sample"\ndynamic = ["version", "description"]\n'
                'dependencies = ["own"]\n',
            ),
            **PACKAGE,
        },
        id="flit-core",
    ),
    pytest.param(
        {"pyproject.toml": pyproject("poetry-core", "poetry.core.masonry.api"), **PACKAGE},
        id="poetry-core",
    ),
    pytest.param(
        {"pyproject.toml": pyproject("pdm-backend", "pdm.backend"), **PACKAGE}, id="pdm-backend"
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject(
                "pdm-backend",
                "pdm.backend",
                '[tool.pdm.build]\nrun-setuptools = true\neditable-backend = "editables"\n',
            ),
            "pdm_build.py": "",
            **PACKAGE,
        },
        id="pdm-backend-with-an-extension",
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject("meson-python", "mesonpy"),
            "meson.build": "project('sample')\n",
            **PACKAGE,
        },
        id="meson-python",
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject("scikit-build-core", "scikit_build_core.build"),
            "CMakeLists.txt": "cmake_minimum_required(VERSION 3.20...4.0)\nproject(sample)\n",
            **PACKAGE,
        },
        id="scikit-build-core",
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject(
                "scikit-build-core",
                "scikit_build_core.build",
                '[tool.scikit-build]\ncmake.version = ">=3.26,<5"\nninja.version = ">=1.11"\n'
                'build.requires = ["pybind11>2"]\n',
            ),
            **PACKAGE,
        },
        id="scikit-build-core-settings",
    ),
    pytest.param(
        {
            "pyproject.toml": pyproject(
                "scikit-build-core",
                "scikit_build_core.build",
                "[tool.scikit-build]\nwheel.cmake = false\n",
            ),
            **PACKAGE,
        },
        id="scikit-build-core-without-cmake",
    ),
    pytest.param({"pyproject.toml": pyproject("uv_build", "uv_build"), **PACKAGE}, id="uv-build"),
    pytest.param(
        {
            "pyproject.toml": pyproject(
                "maturin", "maturin", '[tool.maturin]\nbindings = "cffi"\n'
            ),
            **PACKAGE,
        },
        id="maturin",
    ),
]


def by_name(texts: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Return the requirements of this machine by name, with their versions."""
    requirements = [Requirement(text) for text in texts]
    return {
        canonicalize_name(each.name): str(each.specifier)
        for each in requirements
        if each.marker is None or each.marker.evaluate()
    }


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
@pytest.mark.parametrize("files", CASES)
def test_the_table_says_what_the_hook_says(
    uv: Path, tmp_path: Path, files: Mapping[str, str], *, editable: bool
) -> None:
    source = tmp_path / "source"
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    system = read_build_system(source)
    environment = tmp_path / "environment"
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, environment], check=True)
    install = [str(uv), "pip", "install", "-q", "-p", str(environment), *system.requires]
    subprocess.run(install, check=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    answer = tmp_path / "answer"
    subprocess.run(
        [
            scripts / "python",
            *("-c", CALL, system.module, "editable" if editable else "wheel", answer),
        ],
        cwd=source,
        # The programs of this machine would spare the hook its question.
        env={"PATH": str(scripts), "HOME": str(tmp_path)},
        check=True,
    )
    hook = by_name(json.loads(answer.read_text()))
    hook.pop("puccinialin", None)  # downloads a Rust toolchain
    if "setuptools<70.1" in system.requires:
        assert hook == {"wheel": ""}  # known by its version, not by its name
        return
    table = by_name(known_additions(system, editable=editable).requires)
    print(f"{system.module}: hook {hook}, table {table}")
    # cmake's bound is in `CMakeLists.txt`; the table leaves it to the highest version.
    if table.get("cmake") == "":
        hook["cmake"] = ""
    assert table == hook
