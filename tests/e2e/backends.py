"""What is built with which backend: distributions that people use, and source trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """Something that is built: an sdist of the index, or else a project of one's own.

    *files* are those of the project. An *unknown* backend is one that only its hook can tell of.
    What isn't for *everyday* is left to the full count, mostly because a compiler runs.
    """

    name: str
    requirement: str | None = None
    module: str
    files: Mapping[str, str] = field(default_factory=dict)
    unknown: bool = False
    everyday: bool = False

    @property
    def package(self) -> str:
        return self.requirement.partition("=")[0] if self.requirement else "app"


def _tree(requires: str, backend: str) -> Mapping[str, str]:
    return {
        "pyproject.toml": (
            '[project]\nname = "app"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
            f'[build-system]\nrequires = ["{requires}"]\nbuild-backend = "{backend}"\n'
        ),
        "src/app/__init__.py": '"""An application."""\n',
    }


BACKENDS = (
    Backend(
        name="setuptools, no pyproject.toml",
        requirement="docopt==0.6.2",
        module="docopt",
        everyday=True,
    ),
    Backend(
        name="setuptools, no pyproject.toml",
        requirement="antlr4-python3-runtime==4.9.3",
        module="antlr4",
    ),
    Backend(name="setuptools, C", requirement="markupsafe==3.0.2", module="markupsafe"),
    Backend(
        name="setuptools in the tree, Cython",
        requirement="pyyaml==6.0.2",
        module="yaml",
        unknown=True,
    ),
    Backend(
        name="setuptools, cffi",
        requirement="argon2-cffi-bindings==25.1.0",
        module="_argon2_cffi_bindings",
    ),
    Backend(name="setuptools-scm", requirement="pluggy==1.5.0", module="pluggy"),
    Backend(name="hatchling", requirement="httpx==0.28.1", module="httpx", everyday=True),
    Backend(name="hatch-vcs", requirement="platformdirs==4.3.8", module="platformdirs"),
    Backend(name="flit-core", requirement="packaging==25.0", module="packaging", everyday=True),
    Backend(name="poetry-core", requirement="rich==14.0.0", module="rich"),
    Backend(name="pdm-backend", requirement="findpython==0.6.3", module="findpython"),
    Backend(name="meson-python", requirement="contourpy==1.3.2", module="contourpy"),
    Backend(name="scikit-build-core", requirement="spglib==2.6.0", module="spglib"),
    Backend(
        name="hatchling, editable",
        files=_tree("hatchling", "hatchling.build"),
        module="app",
        everyday=True,
    ),
    Backend(
        name="setuptools, editable",
        files=_tree("setuptools", "setuptools.build_meta"),
        module="app",
    ),
    Backend(name="uv_build, editable", files=_tree("uv_build", "uv_build"), module="app"),
)
