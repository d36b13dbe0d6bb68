"""Real uv over directories of tiny distributions: no index, no network."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from tests.distributions import make_sdist, make_wheel, sha256
from uv_archive.build_requirements import (
    BuildSubject,
    Everywhere,
    Gathered,
    Obtain,
    Question,
    Reason,
    Record,
    Reporter,
    gather,
)
from uv_archive.digest import Digest
from uv_archive.lock.model import Distribution, LocalPath
from uv_archive.target import Target, platform_named
from uv_archive.target.python import Python
from uv_archive.uv import Uv, find_uv

LINUX = Target(python=Python(major=3, minor=11), platform=platform_named("manylinux_2_35_x86_64"))
WINDOWS = Target(python=Python(major=3, minor=12), platform=platform_named("win_amd64"))


class Gathering(Protocol):
    """Gathers with the fixtures' uv, project and environment, or with others."""

    def __call__(
        self,
        *builds: BuildSubject,
        uv: Uv | None = None,
        environment: Mapping[str, str] | None = None,
        constraints: Sequence[str] = (),
        requires_python: str = "",
        locked_versions: Mapping[NormalizedName, Sequence[Version]] | None = None,
        selected_versions: Mapping[tuple[NormalizedName, str], Collection[Version]] | None = None,
        recorded: Record | None = None,
        obtain: Obtain | None = None,
        reporter: Reporter | None = None,
    ) -> Gathered: ...


class Make(Protocol):
    """Makes an sdist with some build requirements."""

    def __call__(
        self, name: str, *requires: str, targets: tuple[Target | Everywhere, ...] = (LINUX,)
    ) -> BuildSubject: ...


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A directory of wheels, which uv's environment names."""
    directory = tmp_path / "index"
    directory.mkdir()
    return directory


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "pyproject.toml").write_text("")
    return directory


@pytest.fixture
def environment(tmp_path: Path, index: Path) -> Mapping[str, str]:
    settings = tmp_path / "settings" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("no-index = true\n")
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "settings"),
        "XDG_CONFIG_DIRS": str(tmp_path / "home"),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_FIND_LINKS": str(index),
    }


@pytest.fixture
def found_uv(uv: Path) -> Uv:
    return find_uv({"UV": str(uv)})


@pytest.fixture
def gathering(found_uv: Uv, project: Path, environment: Mapping[str, str]) -> Gathering:
    known_environment = environment

    def run(
        *builds: BuildSubject,
        uv: Uv | None = None,
        environment: Mapping[str, str] | None = None,
        constraints: Sequence[str] = (),
        requires_python: str = "",
        locked_versions: Mapping[NormalizedName, Sequence[Version]] | None = None,
        selected_versions: Mapping[tuple[NormalizedName, str], Collection[Version]] | None = None,
        recorded: Record | None = None,
        obtain: Obtain | None = None,
        reporter: Reporter | None = None,
    ) -> Gathered:
        return gather(
            builds,
            uv=uv or found_uv,
            environment=environment or known_environment,
            directory=project,
            constraints=constraints,
            requires_python=requires_python,
            locked_versions=locked_versions,
            selected_versions=selected_versions,
            recorded=recorded,
            obtain=obtain,
            reporter=reporter,
        )

    return run


@pytest.fixture
def subject(tmp_path: Path) -> Make:
    def make(
        name: str, *requires: str, targets: tuple[Target | Everywhere, ...] = (LINUX,)
    ) -> BuildSubject:
        pyproject = (
            f'[build-system]\nrequires = {list(requires)!r}\nbuild-backend = "flit_core.buildapi"\n'
        )
        path = make_sdist(tmp_path / "sdists", name, "1.0", files={"pyproject.toml": pyproject})
        return BuildSubject(
            label=f"{name}==1.0",
            name=canonicalize_name(name),
            where=path,
            targets=targets,
            digest=Digest.parse(sha256(path)),
        )

    return make


def names(gathered: Gathered) -> list[str]:
    return [file.filename.text for file in gathered.files]


def test_static_requirements_are_found_with_what_they_depend_on(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    backend = make_wheel(index, "backend", "2.0", requires=["helper"])
    helper = make_wheel(index, "helper", "1.0")
    gathered = gathering(subject("job", "backend>=1"))
    assert (gathered.failures, gathered.uncertain) == ((), ())
    one, two = gathered.files
    assert (one.filename.text, one.location) == (backend.name, LocalPath(str(backend)))
    assert str(one.digest) == sha256(backend)
    static = Reason(of="job==1.0", requested="backend>=1", found="static", targets=(LINUX.label,))
    assert one.reasons == (static,)
    assert two.filename.text == helper.name
    assert two.reasons == (replace(static, requested=None, found="dependency"),)
    assert gathered.builds == {"job==1.0": (LINUX.label,)}
    assert str(index) not in one.distribution.source


def test_a_requirement_for_another_target_is_no_reason(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_wheel(index, "backend", "2.0")
    build = subject(
        "job", "backend; python_version < '3.12'", "backend>1; python_version >= '3.12'"
    )
    (file,) = gathering(build).files
    assert [reason.requested for reason in file.reasons] == ["backend; python_version < '3.12'"]


def test_a_target_gets_the_wheel_that_uv_takes_there(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    for tags in (
        "py3-none-any",
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_35_x86_64",
        "cp311-cp311-manylinux_2_36_x86_64",
        "cp312-cp312-win_amd64",
        "cp312-cp312-macosx_11_0_arm64",
    ):
        make_wheel(index, "tool", "1.0", tags=tags)
    gathered = gathering(subject("job", "tool", targets=(LINUX, WINDOWS)))
    assert {file.filename.text: file.reasons[0].targets for file in gathered.files} == {
        "tool-1.0-cp311-cp311-manylinux_2_35_x86_64.whl": (LINUX.label,),
        "tool-1.0-cp312-cp312-win_amd64.whl": (WINDOWS.label,),
    }
    assert gathered.failures == ()


@pytest.mark.parametrize(
    ("target", "tags"),
    [
        pytest.param(
            Target(python=Python(major=3, minor=13), platform=platform_named("macosx_12_0_arm64")),
            "cp313-cp313-macosx_12_0_arm64",
            id="macos-version",
        ),
        pytest.param(
            Target(
                python=Python(major=3, minor=12),
                platform=platform_named("manylinux_2_28_ppc64le"),
            ),
            "cp312-cp312-manylinux_2_28_ppc64le",
            id="a-machine-without-a-name",
        ),
        pytest.param(
            Target(
                python=Python(major=3, minor=14, free_threaded=True),
                platform=platform_named("musllinux_1_2_x86_64"),
            ),
            "cp314-cp314t-musllinux_1_2_x86_64",
            id="free-threaded",
        ),
    ],
)
def test_uv_needs_no_name_for_a_platform(
    gathering: Gathering, subject: Make, index: Path, target: Target, tags: str
) -> None:
    make_wheel(index, "tool", "1.0", tags="cp311-cp311-win_amd64")
    wheel = make_wheel(index, "tool", "1.0", tags=tags)
    gathered = gathering(subject("job", "tool", targets=(target,)))
    assert (names(gathered), gathered.failures) == ([wheel.name], ())


def test_all_platforms_get_every_wheel(gathering: Gathering, subject: Make, index: Path) -> None:
    wheels = [
        make_wheel(index, "tool", "1.0", tags=tags)
        for tags in ("cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-win_amd64")
    ]
    make_wheel(index, "windows-only", "1.0")
    gathered = gathering(
        subject("job", "tool", "windows-only; sys_platform == 'win32'", targets=(Everywhere(),)),
        requires_python=">=3.11",
    )
    assert names(gathered) == [
        *(wheel.name for wheel in wheels),
        "windows_only-1.0-py3-none-any.whl",
    ]
    assert {reason.targets for file in gathered.files for reason in file.reasons} == {
        ("all platforms",)
    }
    markers = [file.reasons[0].marker for file in gathered.files]
    assert markers == [None, None, "sys_platform == 'win32'"]


def test_all_platforms_can_be_limited_to_a_python(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    for tags in ("cp311-cp311-win_amd64", "cp312-cp312-win_amd64", "py3-none-any"):
        make_wheel(index, "tool", "1.0", tags=tags)
    make_wheel(index, "old", "1.0")
    build = subject(
        "job", "tool", "old; python_version < '3.12'", targets=(Everywhere(WINDOWS.python),)
    )
    gathered = gathering(build)
    assert names(gathered) == ["tool-1.0-cp312-cp312-win_amd64.whl", "tool-1.0-py3-none-any.whl"]
    assert gathered.builds == {"job==1.0": ("3.12 on all platforms",)}


def test_each_build_has_the_targets_of_its_own(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_wheel(index, "backend", "1.0")
    one = subject("one", "backend")
    other = subject("other", "backend", targets=(WINDOWS,))
    (file,) = gathering(one, other).files
    assert [(reason.of, reason.targets) for reason in file.reasons] == [
        ("one==1.0", (LINUX.label,)),
        ("other==1.0", (WINDOWS.label,)),
    ]


def test_a_minor_version_covers_its_first_and_its_last_patch_release(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_wheel(index, "early", "1.0")
    make_wheel(index, "late", "1.0")
    build = subject(
        "job", "early; python_full_version < '3.11.3'", "late; python_full_version >= '3.11.3'"
    )
    assert len(gathering(build).files) == 2
    assert names(gathering(build, requires_python=">=3.11.3")) == ["late-1.0-py3-none-any.whl"]
    fixed = replace(LINUX, python=replace(LINUX.python, micro="2"))
    assert names(gathering(replace(build, targets=(fixed,)))) == ["early-1.0-py3-none-any.whl"]


def test_build_constraints_of_the_lock_apply_and_others_do_not(
    *,
    gathering: Gathering,
    subject: Make,
    index: Path,
    project: Path,
    environment: Mapping[str, str],
    tmp_path: Path,
) -> None:
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(index, "backend", version)
    (project / "pyproject.toml").write_text(
        '[tool.uv]\nconstraint-dependencies = ["backend<2"]\nresolution = "lowest"\n'
        '[tool.uv.pip]\nno-index = true\nresolution = "lowest"\n'
    )
    (tmp_path / "limits").write_text("backend<2")
    environment = {**environment, "UV_CONSTRAINT": str(tmp_path / "limits")}
    gathered = gathering(
        subject("job", "backend"), constraints=["backend<3"], environment=environment
    )
    assert names(gathered) == ["backend-2.0-py3-none-any.whl"]


def test_the_project_says_where_files_come_from(
    gathering: Gathering, subject: Make, environment: Mapping[str, str], project: Path
) -> None:
    make_wheel(project / "wheels", "backend", "1.0")
    (project / "pyproject.toml").write_text('[tool.uv]\nfind-links = ["wheels"]\n')
    gathered = gathering(
        subject("job", "backend"),
        environment={k: v for k, v in environment.items() if k != "UV_FIND_LINKS"},
    )
    assert names(gathered) == ["backend-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("settings", "locked", "said"),
    [
        pytest.param("no-build-isolation = true", (), "`backend`", id="all"),
        pytest.param('no-build-isolation-package = ["Job"]', (), "`backend`", id="by-name"),
        pytest.param('no-build-isolation-package = ["other"]', (), "", id="another"),
        pytest.param("no-build-isolation = true", ("backend",), "", id="locked"),
    ],
)
def test_what_a_build_without_isolation_has_to_find_is_said(
    *,
    gathering: Gathering,
    subject: Make,
    index: Path,
    project: Path,
    settings: str,
    locked: Sequence[str],
    said: str,
) -> None:
    make_wheel(index, "backend", "1.0")
    (project / "pyproject.toml").write_text(f"[tool.uv]\n{settings}\n")
    versions = {canonicalize_name(name): [Version("1.0")] for name in locked}
    gathered = gathering(subject("job", "backend"), locked_versions=versions)
    assert len(gathered.files) == 1
    doubts = [doubt.message for doubt in gathered.uncertain]
    assert len(doubts) == bool(said)
    assert all("without isolation" in doubt and said in doubt for doubt in doubts)


def test_the_project_may_add_build_requirements(
    gathering: Gathering, subject: Make, index: Path, project: Path
) -> None:
    make_wheel(index, "extra", "1.0")
    make_wheel(index, "torch", "2.0")
    make_wheel(index, "torch", "3.0")
    (project / "pyproject.toml").write_text(
        "[tool.uv.extra-build-dependencies]\n"
        'Job = ["extra", { requirement = "torch", match-runtime = true }]\n'
        'other = ["missing"]\n'
    )
    locked: Mapping[NormalizedName, Sequence[Version]] = {
        canonicalize_name("torch"): [Version("2.0")]
    }
    gathered = gathering(subject("job"), locked_versions=locked)
    assert names(gathered) == ["extra-1.0-py3-none-any.whl", "torch-2.0-py3-none-any.whl"]
    assert {reason.found for file in gathered.files for reason in file.reasons} == {"setting"}


def test_a_runtime_version_is_that_of_the_target(
    *, gathering: Gathering, subject: Make, index: Path, project: Path
) -> None:
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(index, "torch", version)
    (project / "pyproject.toml").write_text(
        "[tool.uv.extra-build-dependencies]\n"
        'job = [{ requirement = "torch", match-runtime = true }]\n'
    )
    torch = canonicalize_name("torch")
    gathered = gathering(
        subject("job", targets=(LINUX, WINDOWS)),
        locked_versions={torch: [Version("1.0"), Version("2.0")]},
        selected_versions={(torch, LINUX.label): {Version("2.0")}},
    )
    assert [(file.filename.text, file.reasons[0].targets) for file in gathered.files] == [
        ("torch-2.0-py3-none-any.whl", (LINUX.label,)),
        ("torch-3.0-py3-none-any.whl", (WINDOWS.label,)),
    ]
    (doubt,) = gathered.uncertain
    assert "2 versions of `torch`" in doubt.message


def test_what_the_table_adds_is_found_too(
    gathering: Gathering, index: Path, tmp_path: Path
) -> None:
    make_wheel(index, "hatchling", "1.27.0")
    make_wheel(index, "editables", "0.5")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    )
    build = BuildSubject(
        label="tree",
        name=canonicalize_name("tree"),
        where=tree,
        editable=True,
        targets=(LINUX,),
    )
    gathered = gathering(build)
    assert [file.reasons[0].found for file in gathered.files] == ["table", "static"]
    assert names(gathering(replace(build, editable=False))) == ["hatchling-1.27.0-py3-none-any.whl"]


def test_an_old_setuptools_brings_wheel(gathering: Gathering, index: Path, tmp_path: Path) -> None:
    make_wheel(index, "setuptools", "80.0")
    make_wheel(index, "setuptools", "60.0")
    make_wheel(index, "wheel", "0.45.1")
    sdist = make_sdist(tmp_path, "old", "1.0", style="legacy")
    build = BuildSubject(
        label="old==1.0", name=canonicalize_name("old"), where=sdist, targets=(LINUX,)
    )
    gathered = gathering(build, constraints=["setuptools<70"])
    assert names(gathered) == ["setuptools-60.0-py3-none-any.whl", "wheel-0.45.1-py3-none-any.whl"]
    assert gathered.files[1].reasons[0].found == "table"


def test_wheel_comes_along_for_old_pips_where_there_is_one(
    gathering: Gathering, index: Path, tmp_path: Path
) -> None:
    make_wheel(index, "setuptools", "80.0")
    sdist = make_sdist(tmp_path, "old", "1.0", style="legacy")
    build = BuildSubject(
        label="old==1.0", name=canonicalize_name("old"), where=sdist, targets=(LINUX,)
    )
    gathered = gathering(build)
    assert (names(gathered), gathered.failures) == (["setuptools-80.0-py3-none-any.whl"], ())
    make_wheel(index, "wheel", "0.45.1")
    assert names(gathering(build))[1:] == ["wheel-0.45.1-py3-none-any.whl"]


def test_equal_sets_are_resolved_once(gathering: Gathering, subject: Make, index: Path) -> None:
    make_wheel(index, "backend", "1.0")
    asked: list[Question] = []

    class Listener(Reporter):
        def asking(self, question: Question) -> None:
            asked.append(question)

    gathered = gathering(subject("one", "backend"), subject("two", "backend"), reporter=Listener())
    assert len(asked) == 1
    (file,) = gathered.files
    assert [reason.of for reason in file.reasons] == ["one==1.0", "two==1.0"]


def test_sets_that_exclude_each_other_are_both_met(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_wheel(index, "backend", "1.0")
    make_wheel(index, "backend", "2.0")
    gathered = gathering(subject("one", "backend<2"), subject("two", "backend>=2"))
    assert names(gathered) == ["backend-1.0-py3-none-any.whl", "backend-2.0-py3-none-any.whl"]


def test_a_second_run_asks_nobody_and_says_the_same(
    gathering: Gathering, subject: Make, index: Path, tmp_path: Path
) -> None:
    make_wheel(index, "backend", "1.0")
    build = subject("job", "backend", targets=(LINUX, WINDOWS))
    first = gathering(build)
    make_wheel(index, "backend", "2.0")
    build.where.unlink()  # nor is the sdist read again
    second = gathering(
        build, recorded=first.record, uv=Uv(executable=tmp_path / "none", version=Version("1"))
    )
    assert second == first


def test_a_change_of_the_constraints_is_asked_about(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_wheel(index, "backend", "1.0")
    make_wheel(index, "backend", "2.0")
    build = subject("job", "backend")
    first = gathering(build)
    second = gathering(build, recorded=first.record, constraints=["backend<2"])
    assert (names(first), names(second)) == (
        ["backend-2.0-py3-none-any.whl"],
        ["backend-1.0-py3-none-any.whl"],
    )
    assert not first.record.answers.keys() & second.record.answers.keys()


def test_the_order_of_the_builds_does_not_show(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_wheel(index, "backend", "1.0")
    make_wheel(index, "backend", "2.0")
    builds = (
        subject("one", "backend<2"),
        subject("two", "backend", targets=(WINDOWS, LINUX)),
        subject("three", "missing"),
    )
    assert gathering(*builds) == gathering(*reversed(builds))


@pytest.mark.parametrize(
    ("requirement", "said"),
    [
        pytest.param("missing", "`missing` for", id="unknown"),
        pytest.param("backend>9", "`backend>9` for", id="no-version"),
        pytest.param("backend @ git+https://git.example/backend", "backend", id="a-commit"),
        pytest.param("foreign", "foreign", id="another-platform"),
    ],
)
def test_a_failure_is_named_and_the_rest_goes_on(
    *,
    gathering: Gathering,
    subject: Make,
    index: Path,
    environment: Mapping[str, str],
    requirement: str,
    said: str,
) -> None:
    make_wheel(index, "backend", "1.0")
    make_wheel(index, "foreign", "1.0", tags="cp311-cp311-win_arm64")
    gathered = gathering(
        subject("bad", requirement),
        subject("good", "backend"),
        environment={**environment, "UV_OFFLINE": "1"},
    )
    assert names(gathered) == ["backend-1.0-py3-none-any.whl"]
    (failure,) = gathered.failures
    assert failure.of == "bad==1.0"
    assert said in failure.message
    assert failure.hint
    assert "\n" not in failure.message


def test_a_source_that_cannot_be_read_is_named_and_the_rest_goes_on(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_wheel(index, "backend", "1.0")
    bad = subject("bad", "backend")
    bad.where.write_bytes(b"rubbish" * 100)
    gathered = gathering(bad, subject("good", "backend"))
    assert [failure.of for failure in gathered.failures] == ["bad==1.0"]
    assert len(gathered.files) == 1


def test_an_unreachable_index_is_told_without_its_password(
    gathering: Gathering, subject: Make, environment: Mapping[str, str]
) -> None:
    environment = {
        **environment,
        "XDG_CONFIG_HOME": "/nowhere",
        "UV_DEFAULT_INDEX": "http://somebody:canary@127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
    }
    (failure,) = gathering(subject("job", "backend"), environment=environment).failures
    assert "127.0.0.1:9" in failure.message
    assert "canary" not in failure.message
    assert "network" in str(failure.hint)


def test_a_wheel_is_preferred_to_a_newer_sdist(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_wheel(index, "backend", "1.0")
    make_sdist(index, "backend", "2.0")
    assert names(gathering(subject("job", "backend"))) == ["backend-1.0-py3-none-any.whl"]


def test_an_sdist_among_them_is_gathered_for_as_well(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_sdist(index, "backend", "1.0", build_requires=["deeper"], files={"PKG-INFO": STATIC})
    make_sdist(index, "deeper", "1.0", build_requires=["deepest"])
    make_wheel(index, "deepest", "1.0")

    def obtain(distributions: Sequence[Distribution]) -> list[Path | None]:
        return [index / distribution.filename.text for distribution in distributions]

    gathered = gathering(subject("job", "backend"), obtain=obtain)
    assert names(gathered) == [
        "backend-1.0.tar.gz",
        "deeper-1.0.tar.gz",
        "deepest-1.0-py3-none-any.whl",
    ]
    assert gathered.failures == ()
    # In-tree backends, all of them.
    assert [doubt.of for doubt in gathered.uncertain] == ["backend==1.0", "deeper==1.0"]


STATIC = "Metadata-Version: 2.2\nName: backend\nVersion: 1.0\n"


def test_an_sdist_may_be_required_by_its_url(
    gathering: Gathering, subject: Make, tmp_path: Path
) -> None:
    path = make_sdist(tmp_path / "elsewhere", "backend", "1.0")
    (file,) = gathering(subject("job", f"backend @ {path.as_uri()}")).files
    assert (file.location, str(file.digest)) == (LocalPath(str(path)), sha256(path))


def test_sdists_that_need_each_other_come_to_an_end(
    gathering: Gathering, subject: Make, index: Path
) -> None:
    make_sdist(index, "one", "1.0", build_requires=["two"])
    make_sdist(index, "two", "1.0", build_requires=["one"])

    def obtain(distributions: Sequence[Distribution]) -> list[Path | None]:
        return [index / distribution.filename.text for distribution in distributions]

    gathered = gathering(subject("job", "one"), obtain=obtain)
    assert names(gathered) == ["one-1.0.tar.gz", "two-1.0.tar.gz"]


def test_no_code_of_an_sdist_is_run(
    gathering: Gathering, subject: Make, index: Path, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    make_sdist(
        index,
        "backend",
        "1.0",
        files={
            # Without static metadata uv would ask the backend.
            "PKG-INFO": "Metadata-Version: 1.0\nName: backend\nVersion: 1.0\n",
            "backend.py": f"open({str(witness)!r}, 'w').close()\n",
        },
    )
    (failure,) = gathering(subject("job", "backend")).failures
    assert not witness.exists()
    assert "code" in failure.message


def test_sources_of_a_tree_are_not_followed_in_silence(
    gathering: Gathering, index: Path, tmp_path: Path
) -> None:
    make_wheel(index, "backend", "1.0")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["backend"]\nbuild-backend = "flit_core.buildapi"\n'
        '[tool.uv.sources]\nbackend = { path = "../backend" }\n'
    )
    build = BuildSubject(label="tree", name=canonicalize_name("tree"), where=tree, targets=(LINUX,))
    gathered = gathering(build)
    assert len(gathered.files) == 1
    (doubt,) = gathered.uncertain
    assert "tool.uv.sources" in doubt.message


def test_nothing_to_build_needs_nothing(gathering: Gathering) -> None:
    assert gathering() == Gathered(files=(), uncertain=(), failures=(), record=Record())


def test_the_key_of_a_question_is_the_same_everywhere() -> None:
    question = Question(
        requirements=("a", "b"), constraints=(), target=Everywhere(), requires_python=">=3.11"
    )
    assert question.key == "cda3fd70e4abdf4ef1b2a5ad5c8b5fd5b5f69caf5c74192dafbd3d73ad2aacdb"
    assert question.key != replace(question, target=LINUX).key
