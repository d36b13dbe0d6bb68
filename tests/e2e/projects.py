"""The projects that the tests lock, download and install."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.e2e.bench import Bench

#: How a project is built: by a backend on the index, or by one that lies in its own source.
BY_HATCHLING = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
BY_ITSELF = """
[build-system]
requires = ["forge"]
build-backend = "backend"
backend-path = ["build_backend"]
"""
_ITS_BACKEND = """
import pathlib
import zipfile


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    import forge

    name = "app-1.0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        wheel.writestr("app.py", f"FORGE = {forge.__version__!r}")
        wheel.writestr(
            "app-1.0.dist-info/METADATA",
            "Metadata-Version: 2.2\\nName: app\\nVersion: 1.0\\nRequires-Dist: beta\\n",
        )
        wheel.writestr(
            "app-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: it\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        wheel.writestr("app-1.0.dist-info/RECORD", "app.py,,\\n")
    return name


build_editable = build_wheel
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A project, and what is done with it.

    *download* are the flags of the one download; *installs* the flags of each `uv sync` that
    has to work from its archive, with the modules that can be imported afterwards.
    """

    name: str
    write: Callable[[Bench], None]
    installs: Sequence[tuple[Sequence[str], Sequence[str]]]
    download: Sequence[str] = ()


def write_project(
    bench: Bench,
    dependencies: str,
    *,
    name: str = "app",
    at: str = ".",
    build: str = BY_HATCHLING,
    more: str = "",
    requires_python: str = ">=3.11",
    index: str = "main",
) -> None:
    """Write a project in `src` layout. *dependencies* is a TOML array, *more* TOML at the end."""
    head = f"""
        [project]
        name = "{name}"
        version = "1.0"
        requires-python = "{requires_python}"
        dependencies = {dependencies}
        """
    path = bench.write(f"{at}/pyproject.toml", head)
    with path.open("a") as file:
        file.write(more + build)
        if at == ".":
            file.write(from_index(bench, index))
    bench.write(f"{at}/src/{name.replace('-', '_')}/__init__.py", "")


def from_index(bench: Bench, name: str = "main") -> str:
    return f"""
[[tool.uv.index]]
name = "{name}"
url = "{bench.index.simple(name)}"
default = true
"""


def _plain(bench: Bench) -> None:
    """Every kind of source but git."""
    local = bench.root / "vendor"
    shutil.copytree(bench.index.directory / "local", local)
    url = f"{bench.index.address}/files"
    write_project(
        bench,
        '["alpha[fast]==1.0", "epsilon", "direct", "directsource", "vendored", "vendoredsource"]',
        more=f"""
[dependency-groups]
dev = ["delta"]

[tool.uv.sources]
direct = {{ url = "{url}/direct-1.0-py3-none-any.whl" }}
directsource = {{ url = "{url}/directsource-1.0.tar.gz" }}
vendored = {{ path = "vendor/vendored-1.0-py3-none-any.whl" }}
vendoredsource = {{ path = "vendor/vendoredsource-1.0.tar.gz" }}
""",
    )


def _in_tree(bench: Bench) -> None:
    write_project(bench, '["beta"]', build=BY_ITSELF)
    bench.write("build_backend/backend.py", _ITS_BACKEND)


def _workspace(bench: Bench) -> None:
    """Three members; each needs the next."""
    write_project(
        bench,
        '["one"]',
        more='[tool.uv.workspace]\nmembers = ["members/*"]\n'
        "[tool.uv.sources]\none = { workspace = true }\ntwo = { workspace = true }\n",
    )
    write_project(bench, '["two", "alpha==1.0"]', name="one", at="members/one")
    write_project(bench, '["gamma"]', name="two", at="members/two")


def _lending_root(bench: Bench) -> None:
    """A root with a group, and a member that needs the root."""
    write_project(
        bench,
        "[]",
        more='[dependency-groups]\nlint = ["delta"]\n[tool.uv.workspace]\nmembers = ["members/*"]\n'
        "[tool.uv.sources]\napp = { workspace = true }\n",
    )
    write_project(bench, '["app", "gamma"]', name="one", at="members/one")


def _virtual_root(bench: Bench) -> None:
    write_project(bench, '["alpha==2.0"]', build="")


def _virtual_workspace(bench: Bench) -> None:
    """The root is no project at all."""
    bench.write(
        "pyproject.toml",
        """
        [tool.uv.workspace]
        members = ["one", "two"]
        [tool.uv.sources]
        two = { workspace = true }
        [dependency-groups]
        dev = ["delta"]
        """,
    )
    with bench.root.joinpath("pyproject.toml").open("a") as file:
        file.write(from_index(bench))
    write_project(bench, '["two"]', name="one", at="one")
    write_project(bench, '["beta==1.0"]', name="two", at="two")


def _conflicting_groups(bench: Bench) -> None:
    write_project(
        bench,
        '["gamma"]',
        more="""
[dependency-groups]
old = ["beta==1.0"]
new = ["beta==2.0", "delta"]

[tool.uv]
conflicts = [[{ group = "old" }, { group = "new" }]]
""",
    )


def _conflicting_extras(bench: Bench) -> None:
    """Two extras that exclude each other, from two indexes with one file name."""
    write_project(
        bench,
        "[]",
        more=f"""
[project.optional-dependencies]
cpu = ["torchish"]
gpu = ["torchish", "beta==1.0"]

[tool.uv]
conflicts = [[{{ extra = "cpu" }}, {{ extra = "gpu" }}]]

[tool.uv.sources]
torchish = [{{ index = "main", extra = "cpu" }}, {{ index = "other", extra = "gpu" }}]

[[tool.uv.index]]
name = "other"
url = "{bench.index.simple("other")}"
explicit = true
""",
    )


def _versions_by_marker(bench: Bench) -> None:
    here, elsewhere = ("==", "!=")
    marker = f"sys_platform {here} '{'linux'}'"
    write_project(
        bench,
        f"""["alpha==1.0; {marker}", "alpha==2.0; {marker.replace(here, elsewhere)}",
        "beta==1.0; python_full_version < '3.0'", "beta==2.0; python_full_version >= '3.0'"]""",
    )


def _linked_name(bench: Bench) -> None:
    """A project below a directory with spaces, a `%` and letters beyond ASCII, in a link."""
    write_project(bench, '["epsilon", "gamma"]')
    odd = bench.directory / "a b%20 ä"
    bench.root.rename(odd)
    bench.root.symlink_to(odd)


PLAIN = Scenario(
    name="every-kind-of-source",
    write=_plain,
    installs=[
        ([], ["alpha", "beta", "gamma", "direct", "directsource", "vendored", "app", "delta"]),
        (["--no-dev", "--no-editable"], ["alpha", "app"]),
    ],
)
SCENARIOS = (
    PLAIN,
    Scenario(name="in-tree-backend", write=_in_tree, installs=[([], ["app", "beta"])]),
    Scenario(
        name="workspace",
        write=_workspace,
        download=["--all-packages"],
        installs=[
            ([], ["app", "one", "two", "gamma"]),
            (["--package", "two"], ["two", "gamma"]),
            (["--all-packages"], ["app", "one", "two"]),
        ],
    ),
    Scenario(
        name="workspace-member",
        write=_workspace,
        download=["--package", "two"],
        installs=[(["--package", "two"], ["two", "gamma"])],
    ),
    Scenario(
        name="lending-root",
        write=_lending_root,
        download=["--package", "one", "--group", "lint"],
        installs=[(["--package", "one", "--group", "lint"], ["app", "one", "gamma", "delta"])],
    ),
    Scenario(name="virtual-root", write=_virtual_root, installs=[([], ["alpha", "beta"])]),
    Scenario(
        name="virtual-workspace",
        write=_virtual_workspace,
        download=["--all"],
        installs=[
            (["--all-packages"], ["one", "two", "beta", "delta"]),
            (["--package", "two", "--no-dev"], ["two", "beta"]),
        ],
    ),
    Scenario(
        name="conflicting-groups",
        write=_conflicting_groups,
        download=["--all-groups"],
        installs=[
            (["--group", "old"], ["beta"]),
            (["--group", "new"], ["beta", "delta"]),
            ([], ["gamma"]),
        ],
    ),
    Scenario(
        name="conflicting-extras-of-two-indexes",
        write=_conflicting_extras,
        download=["--all-extras"],
        installs=[(["--extra", "cpu"], ["torchish"]), (["--extra", "gpu"], ["torchish", "beta"])],
    ),
    Scenario(
        name="versions-by-marker", write=_versions_by_marker, installs=[([], ["alpha", "beta"])]
    ),
    Scenario(name="odd-path", write=_linked_name, installs=[([], ["epsilon", "gamma"])]),
)
