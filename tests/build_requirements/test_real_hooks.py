"""The table of backends against the hooks of their releases, run as `--run-hooks` runs them.

`UV_ARCHIVE_BACKENDS=all` takes older releases as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.build.hooks import HooksAsker, hooks_asker
from uv_archive.build_requirements import BuildSubject, known_additions, read_build_system
from uv_archive.build_requirements.backends import additions_by_version

pytestmark = [pytest.mark.network, pytest.mark.slow]

# Read here because the tests don't see variables of uv's.
ALL = os.environ.get("UV_ARCHIVE_BACKENDS") == "all"
PROJECT = '[project]\nname = "sample"\nversion = "1.0"\n'
# What a hook asks for to download a toolchain with, which is no use behind the gap.
TOOLCHAINS = ("puccinialin",)
PACKAGE = {"src/sample/__init__.py": '"""A sample."""\n__version__ = "1.0"\n'}


def pyproject(requires: str, backend: str, more: str = "", project: str = PROJECT) -> str:
    listed = ", ".join(f'"{each}"' for each in requires.split())
    return f'[build-system]\nrequires = [{listed}]\nbuild-backend = "{backend}"\n{project}{more}'


OLD_FLIT = (
    '[tool.flit.metadata]\nmodule = "sample"\nauthor = "me"\nauthor-email = "me@mail.example"\n'
    'requires = ["own"]\n'
)
OLD_POETRY = '[tool.poetry]\nname = "sample"\nversion = "1.0"\ndescription = ""\nauthors = []\n'
DYNAMIC = (
    '[project]\nname = "sample"\ndynamic = ["version", "description"]\ndependencies = ["own"]\n'
)
COMPUTED = {"src/sample/__init__.py": '"""A sample."""\n__version__ = ".".join("10")\n'}
CMAKE = {"CMakeLists.txt": "cmake_minimum_required(VERSION 3.20...4.0)\nproject(sample)\n"}


def simple(requires: str, backend: str, project: str = PROJECT) -> Mapping[str, str]:
    files = {"meson.build": "project('sample')\n", **CMAKE, **PACKAGE}
    return {"pyproject.toml": pyproject(requires, backend, project=project), **files}


# Releases on both sides of a change of what hooks ask for, and some between.
RELEASES = [
    *(("hatchling", v, "hatchling.build") for v in ("1.12.2", "1.21.1", "1.22.0", "1.27.0")),
    *(("pdm-backend", v, "pdm.backend") for v in ("2.1.8", "2.3.0", "2.4.0")),
    *(("meson-python", v, "mesonpy") for v in ("0.12.1", "0.13.2", "0.15.0", "0.18.0")),
    *(
        ("scikit-build-core", v, "scikit_build_core.build")
        for v in ("0.1.6", "0.2.0", "0.8.2", "0.9.0", "0.10.7", "0.11.6")
    ),
    *(("setuptools", v, "setuptools.build_meta") for v in ("56.0.0", "65.0.0", "70.0.0", "70.1.0")),
    *(("maturin", v, "maturin") for v in ("0.14.17", "1.5.1")),
]
OLDER = [
    *(
        pytest.param(simple(f"{name}=={version}", backend), id=f"{name}-{version}")
        for name, version, backend in RELEASES
    ),
    pytest.param(simple("flit_core==2.3.0", "flit_core.buildapi", OLD_FLIT), id="flit-core-2.3.0"),
    pytest.param(simple("flit_core==3.2.0", "flit_core.buildapi", OLD_FLIT), id="flit-core-3.2.0"),
    pytest.param(
        {**simple("flit_core", "flit_core.buildapi", DYNAMIC), **COMPUTED}, id="flit-core-imports"
    ),
    pytest.param(
        {**simple("flit_core==3.0.0", "flit_core.buildapi", OLD_FLIT), **COMPUTED},
        id="flit-core-3.0.0-imports",
    ),
    pytest.param(simple("flit", "flit.buildapi", DYNAMIC), id="flit"),
    pytest.param(
        simple("poetry-core==1.0.8", "poetry.core.masonry.api", OLD_POETRY), id="poetry-core-1.0.8"
    ),
    pytest.param(simple("poetry<2", "poetry.masonry.api", OLD_POETRY), id="poetry"),
    pytest.param(
        simple(
            "poetry-core poetry-dynamic-versioning",
            "poetry_dynamic_versioning.backend",
            OLD_POETRY,
        ),
        id="poetry-dynamic-versioning",
    ),
    pytest.param(simple("pdm-pep517", "pdm.pep517.api"), id="pdm-pep517"),
    pytest.param(simple("sip", "sipbuild.api"), id="sip"),
    pytest.param(simple("setuptools setuptools-scm", "setuptools.build_meta"), id="setuptools-scm"),
    pytest.param(simple("setuptools cython", "setuptools.build_meta"), id="cython"),
]
CASES = [
    *(OLDER if ALL else OLDER[-1:]),
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
    pytest.param(
        {
            "pyproject.toml": pyproject(
                "scikit-build-core",
                "scikit_build_core.build",
                "[tool.scikit-build.metadata]\n"
                'version.provider = "scikit_build_core.metadata.setuptools_scm"\n'
                'readme.provider = "scikit_build_core.metadata.fancy_pypi_readme"\n'
                'description.provider = "scikit_build_core.metadata.regex"\n',
                project='[project]\nname = "sample"\n'
                'dynamic = ["version", "readme", "description"]\n',
            ),
            **CMAKE,
        },
        id="scikit-build-core-metadata",
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


@pytest.fixture(scope="module")
def asker() -> HooksAsker:
    return hooks_asker(os.environ)


def written(directory: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
@pytest.mark.parametrize("files", CASES)
def test_the_table_says_what_the_hook_says(
    uv: Path, tmp_path: Path, asker: HooksAsker, files: Mapping[str, str], *, editable: bool
) -> None:
    source = written(tmp_path / "source", files)
    system = read_build_system(source)
    versions: dict[NormalizedName, Version] = {}

    def make_environment(directory: Path) -> Path:
        subprocess.run([uv, "venv", "-q", "-p", sys.executable, directory], check=True)
        install = [str(uv), "pip", "install", "-q", "-p", str(directory), *system.requires]
        subprocess.run(install, check=True)
        command = [str(uv), "pip", "list", "--format", "json", "-p", str(directory)]
        listed = subprocess.run(command, check=True, capture_output=True)
        for each in json.loads(listed.stdout):
            versions[canonicalize_name(each["name"])] = Version(each["version"])
        return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    subject = BuildSubject(
        label="sample", name=canonicalize_name("sample"), where=source, editable=editable
    )
    said = asker(subject, system, config_settings={}, make_environment=make_environment)
    hook = by_name(said)
    additions = known_additions(system, editable=editable)
    added = additions_by_version(additions.by_version, versions)
    table = by_name((*additions.requires, *added))
    print(f"{', '.join(system.requires)}: hook {hook}, table {table}")
    for name in TOOLCHAINS:
        hook.pop(name, None)
    # The lowest version is in `CMakeLists.txt`, or used to be set by the backend; the table leaves
    # it to the highest one.
    if table.get("cmake") == "":
        hook["cmake"] = ""
    if "editables" in versions:  # which an older hatchling depends on, and asks for no more
        table.pop("editables", None)
    assert table == hook
