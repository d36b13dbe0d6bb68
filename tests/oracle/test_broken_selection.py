"""The comparison has teeth: a selection that was broken on purpose is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.oracle import comparison
from tests.oracle.comparison import Oracle, Request
from tests.oracle.project import Standin, stand_in
from tests.oracle.server import Index
from uv_archive.lock import Lock, Package, parse_lock
from uv_archive.selection import Include, Root, Selection, select
from uv_archive.target import Python, Target

_LOCK = """\
version = 1
revision = 3
requires-python = ">=3.11"
conflicts = [[{ package = "proj", extra = "cpu" }, { package = "proj", extra = "gpu" }]]

[[package]]
name = "engine"
version = "1.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://files.example/engine-1.0.tar.gz" }
wheels = [
    { url = "https://files.example/engine-1.0-py3-none-any.whl" },
    { url = "https://files.example/engine-1.0-cp312-abi3-manylinux_2_17_x86_64.whl" },
    { url = "https://files.example/engine-1.0-cp312-cp312-manylinux_2_17_x86_64.whl" },
    { url = "https://files.example/engine-1.0-1-cp312-cp312-manylinux_2_17_x86_64.whl" },
]

[[package]]
name = "engine"
version = "2.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://files.example/engine-2.0.tar.gz" }
wheels = [
    { url = "https://files.example/engine-2.0-py3-none-any.whl" },
    { url = "https://files.example/engine-2.0-cp312-abi3-manylinux_2_17_x86_64.whl" },
    { url = "https://files.example/engine-2.0-cp312-cp312-manylinux_2_17_x86_64.whl" },
    { url = "https://files.example/engine-2.0-1-cp312-cp312-manylinux_2_17_x86_64.whl" },
]

[[package]]
name = "windows"
version = "1.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://files.example/windows-1.0.tar.gz" }

[[package]]
name = "early"
version = "1.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://files.example/early-1.0.tar.gz" }

[[package]]
name = "sound"
version = "1.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://files.example/sound-1.0.tar.gz" }

[[package]]
name = "music"
version = "1.0"
source = { registry = "https://index.example/simple" }
sdist = { url = "https://files.example/music-1.0.tar.gz" }

[package.optional-dependencies]
loud = [{ name = "sound" }]

[[package]]
name = "proj"
version = "0.1"
source = { virtual = "." }
dependencies = [
    { name = "windows", marker = "sys_platform == 'win32'" },
    { name = "early", marker = "python_full_version < '3.12.2'" },
    { name = "music", extra = ["loud"] },
]

[[package.optional-dependencies.cpu]]
name = "engine"
version = "1.0"
source = { registry = "https://index.example/simple" }
marker = "extra == 'extra-4-proj-cpu'"

[[package.optional-dependencies.gpu]]
name = "engine"
version = "2.0"
source = { registry = "https://index.example/simple" }
marker = "extra == 'extra-4-proj-gpu'"

[package.metadata]
provides-extras = ["cpu", "gpu"]
"""
_REQUEST = Request(
    root=Root(project=canonicalize_name("proj")),
    include=Include(extras=(canonicalize_name("cpu"),)),
    python=Python(major=3, minor=12),
    platform="linux",
)

Change = Callable[[Lock], Lock]


def _packages(change: Callable[[Package], Package]) -> Change:
    return lambda lock: replace(lock, packages=tuple(map(change, lock.packages)))


def _without_markers(package: Package) -> Package:
    return replace(
        package,
        dependencies=tuple(replace(edge, marker=None) for edge in package.dependencies),
    )


def _without_extras(package: Package) -> Package:
    return replace(
        package, dependencies=tuple(replace(edge, extras=()) for edge in package.dependencies)
    )


def _without_tags(*dropped: str) -> Callable[[Package], Package]:
    def change(package: Package) -> Package:
        wheels = tuple(
            wheel
            for wheel in package.wheels
            if not any(str(wheel.filename).endswith(ending) for ending in dropped)
        )
        return replace(package, wheels=wheels)

    return change


_NO_BUILD_TAG = "-1-cp312-cp312-manylinux_2_17_x86_64.whl"
_BREAKS = {
    "a marker": _packages(_without_markers),
    "an extra of a dependency": _packages(_without_extras),
    "a build tag": _packages(_without_tags(_NO_BUILD_TAG)),
    "the tags of one Python": _packages(_without_tags("cp312-cp312-manylinux_2_17_x86_64.whl")),
}


@pytest.fixture
def lock() -> Lock:
    return parse_lock(_LOCK.encode())


@pytest.fixture
def standin(lock: Lock, index: Index, tmp_path: Path) -> Iterator[Standin]:
    standin = stand_in(lock.document, index, tmp_path)
    yield standin
    standin.close(index)


def test_the_whole_selection_agrees(silent_oracle: Oracle, lock: Lock, standin: Standin) -> None:
    assert silent_oracle.difference(lock, standin, _REQUEST) is None


@pytest.mark.parametrize("change", _BREAKS.values(), ids=_BREAKS)
def test_a_selection_that_overlooks_something_differs(
    silent_oracle: Oracle,
    lock: Lock,
    standin: Standin,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
) -> None:
    def broken(lock: Lock, **request: object) -> Selection:
        return select(change(lock), **request)  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "select", broken)
    assert silent_oracle.difference(lock, standin, _REQUEST)


def test_a_selection_without_the_chosen_extra_differs(
    silent_oracle: Oracle, lock: Lock, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(lock: Lock, **request: object) -> Selection:
        return select(lock, **{**request, "include": Include()})  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "select", broken)
    assert silent_oracle.difference(lock, standin, _REQUEST)


def test_a_selection_for_one_patch_release_differs(
    silent_oracle: Oracle, lock: Lock, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(lock: Lock, **request: object) -> Selection:
        targets = request["targets"]
        assert isinstance(targets, list)
        target = targets[0]
        assert isinstance(target, Target)
        late = replace(target, python=replace(target.python, micro="8"))
        return select(lock, **{**request, "targets": [late]})  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "select", broken)
    assert silent_oracle.difference(lock, standin, _REQUEST)


def test_a_selection_without_gaps_differs(
    silent_oracle: Oracle, lock: Lock, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(lock: Lock, **request: object) -> Selection:
        return replace(select(lock, **request), gaps=())  # type: ignore[arg-type]

    monkeypatch.setattr(comparison, "select", broken)
    no_build = replace(_REQUEST.options, no_build=True)
    assert silent_oracle.difference(lock, standin, replace(_REQUEST, options=no_build))
