"""Each build gets exactly the files that the archive recorded for it."""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.distributions import make_sdist, make_wheel
from tests.offline_projects import BUILT_BY_UV, FROM_INDEX, Offline
from uv_archive.archive.layout import ArchivePath
from uv_archive.digest import Digest
from uv_archive.errors import BuildError
from uv_archive.lock import Package, parse_lock
from uv_archive.sync import SyncReporter, SyncRequest, SyncResult, sync
from uv_archive.sync.pinning import BuildFile, PlannedBuild, pin
from uv_archive.sync.supply import Supplied
from uv_archive.uv import Completed, Uv

# An in-tree backend whose wheel has a module that says which `tool` built it.
_TELLING = """
import importlib.metadata
import zipfile

NAME = {name!r}
FILES = {{
    f"{{NAME}}.py": f"built_with = {{importlib.metadata.version('tool')!r}}\\n",
    f"{{NAME}}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: 1.0\\n",
    f"{{NAME}}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nTag: py3-none-any\\n"
    "Generator: x\\nRoot-Is-Purelib: true\\n",
}}


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    record = f"{{NAME}}-1.0.dist-info/RECORD"
    wheel = f"{{NAME}}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{{wheel_directory}}/{{wheel}}", "w") as file:
        for name, content in FILES.items():
            file.writestr(name, content)
        file.writestr(record, "".join(f"{{name}},,\\n" for name in (*FILES, record)))
    return wheel


build_editable = build_wheel
"""


@dataclass
class Heard(SyncReporter):
    warnings: list[str] = field(default_factory=list)

    def warning(self, message: str, hint: str) -> None:
        self.warnings.append(f"{message} ({hint})")


@dataclass(kw_only=True)
class Watched(Offline):
    """*before* is called before uv installs, with its command."""

    before: Callable[[Sequence[str]], None] = lambda _: None

    def run(
        self,
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        if "sync" in command and "--dry-run" not in command:
            self.before(command)
        return super().run(command, environment=environment, directory=directory, capture=capture)

    def heard(self, version: str = "0.13.9") -> tuple[SyncResult, list[str]]:
        """Sync with a uv that says it is *version*; return what was warned of, too."""
        reporter = Heard()
        request = SyncRequest(
            archive=self.archive, directory=self.root, environment=self.environment
        )
        uv = Uv(executable=self.uv, version=Version(version), runner=self.run)
        return sync(request, uv=uv, reporter=reporter), reporter.warnings


@pytest.fixture
def offline(tmp_path: Path, uv: Path, no_network: tuple[str, ...]) -> Watched:
    return Watched(directory=tmp_path, uv=uv, python=Path(sys.executable), prefix=no_network)


def project(offline: Offline, dependencies: list[str], more: str = "") -> None:
    offline.write(
        "pyproject.toml",
        f"""
        [project]
        name = "workflow"
        version = "1.0"
        requires-python = ">=3.11"
        dependencies = {dependencies}
        """,
    )
    with (offline.root / "pyproject.toml").open("a") as file:
        file.write(textwrap.dedent(more) + BUILT_BY_UV + FROM_INDEX)
    offline.write("src/workflow/__init__.py", "")


def telling(served: Path, name: str, requires: str) -> None:
    """Serve an sdist whose build requires some `tool`, and tells which it got."""
    files = {"backend.py": _TELLING.format(name=name)}
    make_sdist(served, name, "1.0", build_requires=[requires], files=files)


def told(environment: Path, name: str) -> str:
    (module,) = environment.glob(f"lib/*/site-packages/{name}.py")
    return module.read_text().removeprefix("built_with = ").strip("'\n")


def test_two_builds_get_two_versions(offline: Watched) -> None:
    telling(offline.served, "alpha", "tool<2")
    telling(offline.served, "beta", "tool>=2")
    telling(offline.served, "gamma", "tool")
    old, new = (make_wheel(offline.directory / "tools", "tool", v) for v in ("1.0", "2.0"))
    project(offline, ["alpha", "beta", "gamma"])
    builds = {"alpha==1.0": [old], "beta==1.0": [new], "gamma==1.0": [old]}
    offline.archived(offline.lock(), builds={**builds, "workflow==1.0": []})
    result, warnings = offline.heard()
    assert result.status == 0, offline.shown[-1].stderr
    environment = offline.root / ".venv"
    built_with = {name: told(environment, name) for name in ("alpha", "beta", "gamma")}
    assert built_with == {"alpha": "1.0", "beta": "2.0", "gamma": "1.0"}
    said = offline.plain("sync", "--locked", "--dry-run")
    assert "Would make no changes" in said.stderr
    assert not list(offline.root.glob(".uv-archive*"))
    (vague,) = warnings
    assert "`workflow==1.0`" in vague


def test_twins_are_told_apart(offline: Watched) -> None:
    telling(offline.served, "alpha", "tool")
    telling(offline.served, "beta", "tool")
    one = make_wheel(offline.directory / "one", "tool", "1.0", files={"tool/which.py": "'one'"})
    two = make_wheel(offline.directory / "two", "tool", "1.0", files={"tool/which.py": "'two'"})
    project(offline, ["alpha", "beta"])
    builds = {"alpha==1.0": [one], "beta==1.0": [two]}
    offline.archived(offline.lock(), builds=builds)
    assert offline.heard()[0].status == 0, offline.shown[-1].stderr
    assert offline.has() == {"alpha==1.0", "beta==1.0", "workflow==1.0"}


def test_flags_reach_builds_that_are_made_alone(offline: Watched) -> None:
    backend = textwrap.dedent(_TELLING.format(name="alpha")).replace(
        "    record = ", "    FILES['alpha.py'] += f'told = {config_settings}\\n'\n    record = "
    )
    files = {"backend.py": backend}
    make_sdist(offline.served, "alpha", "1.0", build_requires=["tool<2"], files=files)
    telling(offline.served, "beta", "tool>=2")
    old, new = (make_wheel(offline.directory / "tools", "tool", v) for v in ("1.0", "2.0"))
    project(offline, ["alpha", "beta"])
    with (offline.root / "pyproject.toml").open("a") as file:
        file.write('\n[tool.uv.config-settings-package]\nAlpha = { of = "file" }\n')
    builds = {"alpha==1.0": [old], "beta==1.0": [new], "workflow==1.0": []}
    offline.archived(offline.lock(), builds=builds)

    result = offline.sync("-C", "level=3", "-Clevel=4", "--config-settings-package=alpha:of=flag")

    assert result.status == 0, offline.shown[-1].stderr
    (module,) = (offline.root / ".venv").glob("lib/*/site-packages/alpha.py")
    told = ast.literal_eval(module.read_text().partition("told = ")[2])
    assert told == {"level": ["3", "4"], "of": ["flag", "file"]}


def test_a_build_that_fails_alone_is_an_error_before_anything_is_changed(
    offline: Watched,
) -> None:
    telling(offline.served, "alpha", "tool<2")
    telling(offline.served, "beta", "tool>=2")
    old, new = (make_wheel(offline.directory / "tools", "tool", v) for v in ("1.0", "2.0"))
    project(offline, ["alpha", "beta"])
    # The archive was recorded wrongly: the two are exchanged.
    offline.archived(offline.lock(), builds={"alpha==1.0": [new], "beta==1.0": [old]})
    with pytest.raises(BuildError, match=r"2 of the builds(.|\n)*alpha==1\.0(.|\n)*beta==1\.0"):
        offline.heard()
    assert not (offline.root / ".venv").exists()


def test_uv_is_held_to_the_recorded_version(offline: Watched) -> None:
    telling(offline.served, "alpha", "tool")
    recorded, other = (make_wheel(offline.directory / "t", "tool", v) for v in ("1.0", "2.0"))
    project(offline, ["alpha"])
    lock = offline.lock()
    offline.archived(lock, builds={str(p): [recorded] for p in lock.packages})

    def slip_in(command: Sequence[str]) -> None:
        (view,) = offline.root.glob(".uv-archive-*/build-requirements")
        (view / other.name).write_bytes(other.read_bytes())

    offline.before = slip_in
    result, warnings = offline.heard()
    assert (result.status, warnings) == (0, [])
    assert told(offline.root / ".venv", "alpha") == "1.0"


def test_uv_is_held_to_the_recorded_bytes(offline: Watched) -> None:
    telling(offline.served, "alpha", "tool")
    recorded = make_wheel(offline.directory / "tools", "tool", "1.0")
    other = make_wheel(offline.directory / "x", "tool", "1.0", files={"tool.py": "evil = True"})
    project(offline, ["alpha"])
    lock = offline.lock()
    offline.archived(lock, builds={str(p): [recorded] for p in lock.packages})

    def exchange(command: Sequence[str]) -> None:
        (view,) = offline.root.glob(".uv-archive-*/build-requirements")
        (view / recorded.name).write_bytes(other.read_bytes())

    offline.before = exchange
    assert offline.heard()[0].status == 1
    assert "Hash mismatch" in offline.shown[-1].stderr


def test_editables_that_disagree_are_said(offline: Watched) -> None:
    old, new = (make_wheel(offline.directory / "tools", "tool", v) for v in ("1.0", "2.0"))
    more = '[tool.uv.sources]\none = { workspace = true }\n[tool.uv.workspace]\nmembers = ["one"]\n'
    project(offline, ["one"], more)
    offline.write(
        "one/pyproject.toml",
        '[project]\nname = "one"\nversion = "1.0"\nrequires-python = ">=3.11"\n' + BUILT_BY_UV,
    )
    offline.write("one/src/one/__init__.py", "")
    offline.archived(offline.lock(), builds={"workflow==1.0": [old], "one==1.0": [new]})
    result, (warning,) = offline.heard()
    assert result.status == 0, offline.shown[-1].stderr
    assert "`one==1.0`, `workflow==1.0` want different files of `tool`" in warning


def test_a_uv_that_does_not_check_hashes_is_said(offline: Watched) -> None:
    telling(offline.served, "alpha", "tool")
    tool = make_wheel(offline.directory / "tools", "tool", "1.0")
    project(offline, ["alpha"])
    offline.archived(offline.lock(), build_requirements=[tool])
    result, (warning,) = offline.heard("0.12.15")
    assert result.status == 0
    assert "uv 0.12.15 doesn't check the hashes of what it builds with" in warning


def _package(name: str) -> Package:
    text = (
        f'version = 1\nrequires-python = ">=3.11"\n[[package]]\nname = "{name}"\nversion = "1"\n'
        'source = { registry = "https://index.example/simple" }\n'
    )
    return parse_lock(text.encode()).packages[0]


def _build(name: str, *files: str, movable: bool = True) -> PlannedBuild:
    """Plan a build; a file is `name-version-bytes`."""
    found = []
    for text in files:
        project, version, content = text.split("-")
        filename = f"{project}-{version}-py3-none-any.whl"
        found.append(
            BuildFile(
                name=canonicalize_name(project),
                version=Version(version),
                file=Supplied(
                    name=filename,
                    path=Path("/archive", content, filename),
                    digest=Digest("sha256", content * 64),
                    locked=False,
                ),
            )
        )
    return PlannedBuild(
        package=_package(name),
        movable=movable,
        files=tuple(found),
        paths=tuple(ArchivePath(one.file.name) for one in found),
    )


def _pinned(*builds: PlannedBuild) -> tuple[list[str], list[str], list[str]]:
    """Return what is built alone, what uv is held to, and what is disputed."""
    pins = pin(builds)
    return (
        [one.package.name for one in pins.alone],
        [f"{one.name}=={one.version}" for one in pins.constraints()],
        [name for name, _ in pins.disputed],
    )


def test_what_agrees_is_built_together() -> None:
    one = _build("one", "a-1-0", "b-1-1")
    assert _pinned(one, _build("two", "a-1-0")) == ([], ["a==1", "b==1"], [])


def test_what_disagrees_is_built_alone_and_nothing_else() -> None:
    builds = [_build("one", "a-1-0", "b-1-1"), _build("two", "a-2-2"), _build("three", "c-1-3")]
    assert _pinned(*builds) == (["one", "two"], ["c==1"], [])


def test_an_editable_stays_and_the_others_go() -> None:
    tree = _build("tree", "a-1-0", movable=False)
    assert _pinned(tree, _build("one", "a-2-1"), _build("two", "a-1-0")) == (
        ["one", "two"], ["a==1"], [],
    )  # fmt: skip


def test_editables_that_disagree_are_not_held_to_anything() -> None:
    builds = [_build("one", "a-1-0", "b-1-2", movable=False), _build("two", "a-2-1", movable=False)]
    assert _pinned(*builds) == ([], ["b==1"], ["a"])


def test_other_bytes_of_one_version_disagree() -> None:
    assert _pinned(_build("one", "a-1-0"), _build("two", "a-1-1")) == (["one", "two"], [], [])
