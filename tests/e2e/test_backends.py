"""With backends that people use: what the table knows is what their hooks say, and it does.

`UV_ARCHIVE_BACKENDS=all` takes the cases that the everyday count leaves out, among them those
that need a C compiler, and `-s` shows the table.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.e2e.backends import BACKENDS, Backend
from tests.e2e.bench import Bench
from tests.e2e.index import Index
from uv_archive.archive.manifest import from_json
from uv_archive.archive.recorded_builds import Unrecorded, build_files, recorded_builds
from uv_archive.target import inspect_interpreter

# Compilers take their time.
pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(3600)]

# Read here because the tests don't see variables of uv's.
ALL = os.environ.get("UV_ARCHIVE_BACKENDS") == "all"
#: What is wanted for a build, by how it was found.
Wanted = Mapping[str, set[str]]


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows that are printed in the end."""
    rows: list[str] = []
    yield rows
    print("\n\n| backend | | static | table | hook | built offline | installed |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


@pytest.fixture
def site(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Iterator[Bench]:
    """A bench that fetches from this machine's index, with this machine's settings."""
    kept = ("UV_", "PIP_", "SSL_", "XDG_CONFIG")
    variables = {n: v for n, v in os.environ.items() if n.startswith(kept) or "proxy" in n.lower()}
    for name in ("home", "project"):
        tmp_path.joinpath(name).mkdir()
    with Index(tmp_path / "index").running() as index:
        yield Bench(
            directory=tmp_path,
            index=index,
            uv=uv,
            offline=no_network,
            variables={**variables, "UV_PYTHON": sys.executable},
            patience=1200,
        )


def write(site: Bench, backend: Backend) -> str:
    """Write the project that needs it; return what archives call the build."""
    for path, text in backend.files.items():
        site.write(path, text)
    if backend.requirement is None:
        return f"{backend.package}==1.0"
    project = f"""
        [project]
        name = "app"
        version = "1.0"
        requires-python = ">=3.11"
        dependencies = ["{backend.requirement}"]
        [tool.uv]
        package = false
        no-binary-package = ["{backend.package}"]
        """
    site.write("pyproject.toml", project)
    return backend.requirement


def wanted(archive: Path, of: str) -> Wanted:
    found: defaultdict[str, set[str]] = defaultdict(set)
    build = recorded_builds(from_json(archive.joinpath("uv-archive.json").read_bytes()))[of]
    for requirement, how in build.wanted:
        found[how].add(canonicalize_name(Requirement(requirement).name))
    return found


def assert_recorded_exactly(archive: Path, of: str) -> None:
    manifest = from_json(archive.joinpath("uv-archive.json").read_bytes())
    target = inspect_interpreter(Path(sys.executable)).target
    files = build_files(manifest, of=of, target=target)
    assert not isinstance(files, Unrecorded), files
    assert all(archive.joinpath(path).is_file() for path in files)


def built_offline(site: Bench, backend: Backend, archive: Path) -> str:
    """Build the wheel twice without a network, install it, and say whether the bytes agree."""
    if backend.requirement is None:
        return "yes"  # An editable wheel has the paths of its machine, and the sync has built it.
    wheels = []
    for name in ("one", "two"):
        copied = site.directory / name
        shutil.copytree(archive, copied)
        said = site.uv_archive("build", copied, offline=True)
        assert said.status == 0, said.text
        names = site.distributions(copied)
        wheels.append({name: copied.joinpath(name).read_bytes() for name in names})
    assert wheels[0].keys() == wheels[1].keys()
    same = wheels[0] == wheels[1]
    (built,) = wheels[0].keys() - site.distributions(archive)
    # What compilers write down isn't promised.
    assert same or not built.endswith("-any.whl")
    site.clear_environment()
    site.sync("--dist-archive", site.directory / "two", "--no-build")
    site.imports(backend.module)
    return "yes, twice the same bytes" if same else "yes"


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(backend, id=f"{backend.name}-{backend.package}".replace(" ", "-"))
        for backend in BACKENDS
        if backend.everyday or ALL
    ],
)
def test_backends(site: Bench, backend: Backend, table: list[str]) -> None:
    of = write(site, backend)
    site.lock()
    said = site.download()
    by_table = wanted(site.archive, of)
    assert ("--run-hooks" in said.err) == backend.unknown, said.err
    assert_recorded_exactly(site.archive, of)

    asked = site.root / "dist" / "asked"
    said = site.download("--run-hooks", "-o", str(asked))
    assert "known for certain" not in said.err, said.err
    by_hook = wanted(asked, of)
    assert_recorded_exactly(asked, of)
    assert by_hook["static"] == by_table["static"]
    # `wheel` is for old pips, which ask for it themselves.
    if not backend.unknown:
        assert by_hook["hook"] == by_table["table"] - {"wheel"}

    site.sync()
    site.assert_nothing_left_to_do()
    site.imports(backend.module)
    offline = built_offline(site, backend, asked)
    columns = (by_table["static"], by_table["table"], by_hook["hook"])
    listed = " | ".join(", ".join(sorted(names)) or "-" for names in columns)
    table.append(
        f"| {backend.name} | {backend.requirement or 'a project'} | {listed} | {offline} | yes |"
    )
