"""The tables of `target` against the real uv, which has the last word on all of them."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.tags import parse_tag
from packaging.version import Version

from uv_archive.errors import TargetError
from uv_archive.filenames import parse_wheel
from uv_archive.markers import Marker
from uv_archive.target import (
    Platform,
    Python,
    Target,
    inspect_interpreter,
    parse_python,
    patch_releases,
    platform_named,
    platform_names,
)
from uv_archive.target.probe import elf_loader, musl_version

posix = pytest.mark.skipif(os.name == "nt", reason="pretends to be interpreters with a script")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A target, and how uv is made to install for it.

    Where uv has no name for the platform, or the Python isn't plain CPython, uv is given an
    interpreter that says what *facts* say.
    """

    python: str
    platform: str
    uv_platform: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.python}-{self.uv_platform or self.platform}"

    @property
    def target(self) -> Target:
        python = parse_python(self.python)
        assert isinstance(python, Python)
        name = self.uv_platform or self.platform
        return Target(python=python, platform=platform_named(name, self.environment))


def interpreter_on(system: Mapping[str, object], arch: str, **more: object) -> dict[str, object]:
    return {"os": system, "arch": arch, "manylinux_compatible": True, **more}


def implementation(name: str, version: str) -> dict[str, object]:
    return {"markers": {"implementation_name": name, "implementation_version": version}}


MANYLINUX_2_36 = {"name": "manylinux", "major": 2, "minor": 36}

NAMED_CASES = [
    Case(python="3.11", uv_platform="linux", platform="manylinux_2_28_x86_64"),
    Case(python="3.8", uv_platform="linux", platform="manylinux_2_28_x86_64"),
    Case(python="3.7", uv_platform="linux", platform="manylinux_2_28_x86_64"),
    Case(python="3.15", uv_platform="x86_64-manylinux_2_34", platform="manylinux_2_34_x86_64"),
    Case(python="3.12", uv_platform="manylinux2014_aarch64", platform="manylinux_2_17_aarch64"),
    Case(python="3.12", uv_platform="riscv64-unknown-linux", platform="manylinux_2_39_riscv64"),
    Case(
        python="3.12",
        uv_platform="loongarch64-unknown-linux-gnu",
        platform="manylinux_2_36_loongarch64",
    ),
    Case(python="3.12", uv_platform="s390x-manylinux2014", platform="manylinux_2_17_s390x"),
    Case(python="3.11", uv_platform="x86_64-unknown-linux-musl", platform="musllinux_1_2_x86_64"),
    Case(python="3.11", uv_platform="windows", platform="win_amd64"),
    Case(python="3.13", uv_platform="aarch64-pc-windows-msvc", platform="win_arm64"),
    Case(python="3.9", uv_platform="i686-pc-windows-msvc", platform="win32"),
    Case(python="3.12", uv_platform="macos", platform="macosx_13_0_arm64"),
    Case(
        python="3.10",
        uv_platform="x86_64-apple-darwin",
        platform="macosx_10_15_x86_64",
        environment={"MACOSX_DEPLOYMENT_TARGET": "10.15"},
    ),
    Case(
        python="3.14",
        uv_platform="aarch64-apple-darwin",
        platform="macosx_15_0_arm64",
        environment={"MACOSX_DEPLOYMENT_TARGET": "15.4.1"},
    ),
    Case(python="3.13", uv_platform="aarch64-linux-android", platform="android_24_arm64_v8a"),
    Case(
        python="3.14",
        uv_platform="x86_64-linux-android",
        platform="android_21_x86_64",
        environment={"ANDROID_API_LEVEL": "21"},
    ),
    Case(python="3.13", uv_platform="arm64-apple-ios", platform="ios_13_0_arm64_iphoneos"),
    Case(
        python="3.14",
        uv_platform="x86_64-apple-ios-simulator",
        platform="ios_15_4_x86_64_iphonesimulator",
        environment={"IPHONEOS_DEPLOYMENT_TARGET": "15.4"},
    ),
    Case(python="3.12", uv_platform="wasm32-pyodide2024", platform="pyodide_2024_0_wasm32"),
]
BUILD_CASES = [
    Case(
        python="3.13t",
        uv_platform="linux",
        platform="manylinux_2_28_x86_64",
        facts={"gil_disabled": True},
    ),
    Case(python="3.15t", uv_platform="macos", platform="", facts={"gil_disabled": True}),
    Case(python="3.12d", uv_platform="linux", platform="", facts={"debug_enabled": True}),
    Case(
        python="3.14td",
        uv_platform="windows",
        platform="",
        facts={"gil_disabled": True, "debug_enabled": True},
    ),
    Case(
        python="pypy3.10", uv_platform="linux", platform="", facts=implementation("pypy", "7.3.19")
    ),
    Case(
        python="graalpy3.11",
        uv_platform="macos",
        platform="",
        facts=implementation("graalpy", "2.42"),
    ),
]
TAG_CASES = [
    Case(
        python="3.11",
        platform="manylinux_2_36_i686",
        facts=interpreter_on(MANYLINUX_2_36, "i686"),
    ),
    Case(
        python="3.12",
        platform="manylinux_2_36_armv8l",
        facts=interpreter_on(MANYLINUX_2_36, "armv8l"),
    ),
    Case(
        python="3.12",
        platform="linux_x86_64",
        facts=interpreter_on(MANYLINUX_2_36, "x86_64", manylinux_compatible=False),
    ),
    Case(python="3.12", platform="linux_armv6l", facts=interpreter_on(MANYLINUX_2_36, "armv6l")),
    Case(
        python="3.12",
        platform="musllinux_1_1_armv7l",
        facts=interpreter_on({"name": "musllinux", "major": 1, "minor": 1}, "armv7l"),
    ),
    Case(
        python="3.12",
        platform="macosx_14_0_arm64",
        facts=interpreter_on({"name": "macos", "major": 14, "minor": 5}, "arm64"),
    ),
    Case(
        python="3.9",
        platform="macosx_10_12_arm64",
        facts=interpreter_on({"name": "macos", "major": 10, "minor": 12}, "arm64"),
    ),
    Case(
        python="3.12",
        platform="freebsd_14_1_release_amd64",
        facts=interpreter_on({"name": "freebsd", "release": "14.1-RELEASE"}, "amd64"),
    ),
    Case(
        python="3.12",
        platform="dragonfly_6_4_x86_64",
        facts=interpreter_on({"name": "dragonfly", "release": "6.4"}, "x86_64"),
    ),
]
CASES = [*NAMED_CASES, *BUILD_CASES, *TAG_CASES]

UV_MARKERS = (
    "os_name",
    "sys_platform",
    "platform_machine",
    "platform_system",
    "platform_release",
    "platform_version",
)


# --- uv as the judge ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Asks uv which wheels it takes from a directory, everything else shut off."""

    uv: Path
    directory: Path

    def interpreter(self, facts: Mapping[str, object]) -> Path:
        """Write an interpreter that says *facts* where the running one would say otherwise."""
        if not facts:
            return Path(sys.executable)
        path = self.directory / "pretended-python"
        path.write_text(
            f"#!{sys.executable}\n"
            "import json, subprocess, sys\n"
            f"output = subprocess.run([{sys.executable!r}, *sys.argv[1:]],\n"
            "                        capture_output=True, text=True, check=True).stdout\n"
            "said = json.loads(output)\n"
            f"facts = json.loads({json.dumps(json.dumps(facts))})\n"
            "said['markers'].update(facts.pop('markers', {}))\n"
            "said.update(facts)\n"
            "print(json.dumps(said))\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def compile(self, requirements: Sequence[str], case: Case) -> str:
        """Return what `uv pip compile -v` says."""
        version = re.sub(r"^[a-z]+|[td]+$", "", case.python)
        platform = ["--python-platform", case.uv_platform] if case.uv_platform else []
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("UV_")
        }
        finished = subprocess.run(
            [
                *(str(self.uv), "pip", "compile", "-", "--verbose", "--no-config", "--offline"),
                *("--no-index", "--find-links", str(self.directory / "wheels")),
                *("--cache-dir", str(self.directory / "cache"), "--no-python-downloads"),
                *("--python", str(self.interpreter(case.facts)), "--python-version", version),
                *platform,
            ],
            input="\n".join(requirements),
            env={**environment, **case.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr[-2000:]
        return finished.stderr

    def choices(self, wheels: Mapping[str, Sequence[str]], case: Case) -> dict[str, str]:
        """Return the file that uv takes for each project."""
        for project, names in wheels.items():
            self.offer(project, names)
        log = self.compile(list(wheels), case)
        return dict(re.findall(r"Selecting: (\S+)==1 \[compatible\] \((\S+)\)", log))

    def offer(self, project: str, names: Sequence[str]) -> None:
        directory = self.directory / "wheels"
        directory.mkdir(exist_ok=True)
        first, *others = (directory / name for name in names)
        with zipfile.ZipFile(first, "w") as archive:
            about = f"{project}-1.dist-info"
            archive.writestr(
                f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1\n"
            )
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
            archive.writestr(f"{about}/RECORD", "")
        for other in others:
            shutil.copyfile(first, other)


@pytest.fixture
def judge(uv: Path, tmp_path: Path) -> Judge:
    return Judge(uv=uv, directory=tmp_path)


# --- wheels to choose from ---------------------------------------------------------------------

# Compatible with every target, and liked least by each.
LAST_RESORT = ("py30", "none", "any")
PLATFORM_TAGS = [
    *(
        f"{tag}_{machine}"
        for machine in ("x86_64", "aarch64", "i686", "armv7l", "armv8l", "armv6l", "riscv64",
                        "loongarch64", "s390x", "ppc64le")
        for tag in (
            *(f"manylinux_2_{minor}" for minor in (4, 5, 6, 11, 12, 13, 16, 17, 18, 27, 28, 29,
                                                    30, 31, 34, 35, 36, 37, 38, 39, 40)),
            "manylinux1", "manylinux2010", "manylinux2014", "linux",
            "musllinux_1_0", "musllinux_1_1", "musllinux_1_2", "musllinux_1_3",
        )
    ),
    *(
        f"macosx_{version}_{binary}"
        for version in ("10_3", "10_4", "10_9", "10_12", "10_13", "10_15", "10_16", "11_0",
                        "11_1", "12_0", "13_0", "13_1", "14_0", "15_0", "16_0")
        for binary in ("arm64", "x86_64", "universal2", "intel", "fat64", "fat32", "universal",
                       "fat", "i386")
    ),
    "win32", "win_amd64", "win_arm64", "win_ia64",
    *(f"android_{level}_{abi}" for level in (15, 16, 20, 21, 22, 24, 25)
      for abi in ("arm64_v8a", "x86_64", "x86", "armeabi_v7a")),
    *(f"ios_{version}_{machine}"
      for version in ("11_0", "12_0", "12_9", "13_0", "13_1", "14_9", "15_0", "15_4", "15_5")
      for machine in ("arm64_iphoneos", "arm64_iphonesimulator", "x86_64_iphonesimulator")),
    "pyodide_2024_0_wasm32", "pyemscripten_2024_0_wasm32", "pyodide_2025_0_wasm32",
    "freebsd_14_1_release_amd64", "freebsd_14_1_release_x86_64", "freebsd_13_1_release_amd64",
    "dragonfly_6_4_x86_64", "any",
]  # fmt: skip


def tags_at_random(chance: random.Random, target: Target) -> tuple[str, str, str]:
    """Return a tag that *target* may or may not take, more often one that looks as if it did."""
    minor = target.python.minor
    if chance.random() < 0.3:
        minor = max(2, minor + chance.choice((-6, -2, -1, 1)))
    version = f"3{minor}"
    interpreter, abi = chance.choice(
        [
            (f"cp{version}", f"cp{version}"),
            (f"cp{version}", f"cp{version}t"),
            (f"cp{version}", f"cp{version}d"),
            (f"cp{version}", f"cp{version}td"),
            (f"cp{version}", f"cp{version}m"),
            (f"cp{version}", "abi3"),
            (f"cp{version}", "abi3t"),
            (f"cp{version}", "abi3.abi3t"),
            (f"cp{version}", "none"),
            (f"py{version}", "none"),
            ("py3", "none"),
            ("py2.py3", "none"),
            ("cp3", "none"),
            (f"pp{version}", f"pypy{version}_pp73"),
            (f"pp{version}", "none"),
            (f"graalpy{version}", f"graalpy242_{version}_native"),
            (f"py{version}", "abi3"),
        ]
    )
    alike = [tag for tag in PLATFORM_TAGS if tag in target.platform.tags]
    pool = (*alike, "any") if alike and chance.random() < 0.7 else PLATFORM_TAGS
    family = target.platform.name.split("_")[0][:4]
    if chance.random() < 0.5:
        pool = [tag for tag in PLATFORM_TAGS if tag.startswith(family)] or pool
    platforms = chance.sample(pool, k=min(len(pool), chance.choice((1, 1, 1, 2))))
    return interpreter, abi, ".".join(sorted(platforms))


def neighbours(chance: random.Random, target: Target) -> Iterator[list[tuple[str, str, str]]]:
    """Yield pairs of tags of which the first is liked one better.

    All where the Python or ABI tag changes, and some of those where the platform tag does.
    """
    ordered = sorted(target.priorities(), key=lambda tag: -target.priorities()[tag])
    pairs = [list(pair) for pair in itertools.pairwise(ordered)]
    borders = [pair for pair in pairs if pair[0][:2] != pair[1][:2]]
    inside = [pair for pair in pairs if pair[0][:2] == pair[1][:2]]
    yield from borders
    yield from chance.sample(inside, k=min(len(inside), 60))


def wheel_sets(target: Target) -> dict[str, list[str]]:
    """Return projects and their wheels. Seeded: the same for every run."""
    chance = random.Random(20261123)
    family = target.platform.name[:3]
    offers = [
        *([("py3", "none", tag)] for tag in PLATFORM_TAGS if tag.startswith(("linux", family))),
        *(
            [tags_at_random(chance, target) for _ in range(chance.randint(1, 6))]
            for _ in range(150)
        ),
        *neighbours(chance, target),
    ]
    sets = {}
    for number, tags in enumerate(offers):
        project = f"p{number}"
        names = {f"{project}-1-{'-'.join(tag)}.whl" for tag in (*tags, LAST_RESORT)}
        if len({priority(target, name) for name in names} - {None}) == sum(
            priority(target, name) is not None for name in names
        ):
            sets[project] = chance.sample(sorted(names), k=len(names))
    return sets


def priority(target: Target, wheel: str) -> int | None:
    return target.wheel_priority(parse_wheel(wheel).tags)


def best(target: Target, wheels: Sequence[str]) -> str:
    return max(wheels, key=lambda wheel: priority(target, wheel) or 0)


# --- tags --------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_uv_takes_the_wheel_with_the_highest_priority(case: Case, judge: Judge) -> None:
    sets = wheel_sets(case.target)
    chosen = judge.choices(sets, case)
    assert len(sets) > 150
    assert chosen == {project: best(case.target, wheels) for project, wheels in sets.items()}


@pytest.mark.parametrize("case", [*NAMED_CASES, *TAG_CASES], ids=lambda case: case.id)
def test_a_platform_is_called_by_its_tag(case: Case) -> None:
    name = case.platform.replace("armv8l", "armv7l")
    assert case.target.platform == replace(platform_named(name), name=name)


def test_uv_takes_from_the_running_interpreters_platform_what_is_found_here(judge: Judge) -> None:
    found = inspect_interpreter(Path(sys.executable))
    case = Case(python=f"3.{sys.version_info.minor}", platform=found.platform.name)
    sets = wheel_sets(found.target)
    assert judge.choices(sets, case) == {
        project: best(found.target, wheels) for project, wheels in sets.items()
    }


@pytest.mark.parametrize(
    ("python", "wheel", "taken"),
    [
        ("3.13t", "cp313-abi3-any", False),
        ("3.13t", "cp313-abi3.abi3t-any", False),
        ("3.13t", "cp313-abi3.abi3t-win_amd64", True),
        ("3.13t", "cp313-cp313-win_amd64", False),
        ("3.13", "cp39.cp313-abi3-win_amd64", True),
        ("3.13", "cp313-abi3t-win_amd64", False),
        ("3.8", "cp39-abi3-win_amd64", False),
        ("3.12d", "cp312-cp312-win_amd64", True),
        ("3.12", "cp312-cp312d-win_amd64", False),
        ("pypy3.10", "cp310-none-any", False),
    ],
)
def test_a_wheel_fits_or_not(python: str, wheel: str, taken: bool) -> None:
    target = Target(python=version(python), platform=platform_named("windows"))
    assert (target.wheel_priority(parse_tag(wheel)) is not None) is taken


def test_priorities_are_worked_out_once() -> None:
    first = Target(python=version("3.11"), platform=platform_named("linux"))
    second = Target(python=version("3.11"), platform=platform_named("manylinux_2_28_x86_64"))
    assert first.priorities() is second.priorities()


# --- names of platforms ------------------------------------------------------------------------


def test_the_names_are_those_of_uv_sync(uv: Path) -> None:
    said = subprocess.run(
        [str(uv), "sync", "--help", "--color=never"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"--python-platform <.*?\[possible values: (.*?)\]", " ".join(said.split()))
    assert match
    assert platform_names() == tuple(match[1].split(", "))


GLIBCS = ("2014", *(f"_2_{minor}" for minor in (17, 28, *range(31, 41))))
HIDDEN_NAMES = [
    *("s390x-unknown-linux-gnu", "powerpc64le-unknown-linux-gnu", "loongarch64-unknown-linux-gnu"),
    *(f"{machine}-manylinux{glibc}" for machine in ("s390x", "ppc64le") for glibc in GLIBCS),
    *(f"loongarch64-manylinux{glibc}" for glibc in GLIBCS[-5:]),
    *(
        f"manylinux{glibc}_{machine}"
        for machine in ("x86_64", "aarch64", "s390x", "ppc64le")
        for glibc in GLIBCS
    ),
    *(f"manylinux{glibc}_loongarch64" for glibc in GLIBCS[-5:]),
]


def test_uv_gives_every_name_the_first_platform_tag_that_is_given_here(judge: Judge) -> None:
    for name in (*platform_names(), *HIDDEN_NAMES):
        project = f"p-{name.replace('_', '-')}"
        stem = f"{project.replace('-', '_')}-1-py3-none"
        first = platform_named(name).tags[0]
        newer = [
            f"{first[: number.start()]}{int(number[0]) + 1}{first[number.end() :]}"
            for number in re.finditer(r"(?<=_)[0-9]+(?=_)", first)
        ]
        wheels = [f"{stem}-{tag}.whl" for tag in (*newer, first, "win_ia64", "any")]
        case = Case(python="3.12", platform="", uv_platform=name)
        assert judge.choices({project: wheels}, case) == {project: f"{stem}-{first}.whl"}


@pytest.mark.parametrize("name", ["ppc64le-unknown-linux-gnu", "Linux", "riscv64-manylinux_2_39"])
def test_what_uv_refuses_is_refused(name: str) -> None:
    with pytest.raises(TargetError, match="no platform that is known"):
        platform_named(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("macos_14_0_arm64", "`macosx_14_0_arm64`"),
        ("Windows", "`windows`"),
        ("x86_64-linux-gnu", "`x86_64-unknown-linux-gnu`"),
        ("macosx_14_0_universal2", "macosx_14_0_"),
        ("win64", "`win32`"),
        ("manylinux_2_28_x86-64", "`manylinux_2_28_x86_64`"),
        ("", "`linux`"),
        ("???", "`linux`"),
    ],
    ids=str,
)
def test_an_unknown_name_brings_its_nearest(name: str, hint: str) -> None:
    with pytest.raises(TargetError) as caught:
        platform_named(name)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "name",
    [
        "manylinux_2_16_aarch64",
        "manylinux_2_36_armv6l",
        "manylinux2010_s390x",
        "manylinux_3_1_x86_64",
        "musllinux_2_0_x86_64",
        "macosx_10_3_x86_64",
        "macosx_9999_0_arm64",
        "ios_11_0_arm64_iphoneos",
        "ios_13_0_x86_64_iphoneos",
        "android_15_x86_64",
        "linux_../x86_64",
        "win_amd64\n",
        "freebsd_14_../amd64",
    ],
)
def test_a_tag_that_no_wheel_has_is_no_platform(name: str) -> None:
    with pytest.raises(TargetError):
        platform_named(name)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("macosx_14_5_arm64", "macosx_14_0_arm64"),
        ("manylinux1_x86_64", "manylinux_2_5_x86_64"),
        ("manylinux2010_i686", "manylinux_2_12_i686"),
        ("manylinux2014_armv8l", "manylinux_2_17_armv7l"),
        ("pyemscripten_2024_0_wasm32", "pyodide_2024_0_wasm32"),
        ("manylinux_2_028_x86_64", "manylinux_2_28_x86_64"),
        ("openbsd_7_5_amd64", "openbsd_7_5_amd64"),
    ],
)
def test_equal_platforms_have_one_name(name: str, canonical: str) -> None:
    assert platform_named(name) == platform_named(canonical)
    assert platform_named(name).name == canonical


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "macosx_13_0_arm64"),
        ({"MACOSX_DEPLOYMENT_TARGET": "14"}, "macosx_14_0_arm64"),
        ({"MACOSX_DEPLOYMENT_TARGET": "14.2.1"}, "macosx_14_0_arm64"),
        ({"MACOSX_DEPLOYMENT_TARGET": ""}, "macosx_13_0_arm64"),
        ({"MACOSX_DEPLOYMENT_TARGET": "14.x"}, "macosx_13_0_arm64"),
        ({"MACOSX_DEPLOYMENT_TARGET": "10.12"}, "macosx_10_12_arm64"),
    ],
    ids=str,
)
def test_the_deployment_target_is_read_as_uv_reads_it(
    variables: Mapping[str, str], name: str, judge: Judge
) -> None:
    assert platform_named("macos", variables).name == name
    case = Case(python="3.12", platform="", uv_platform="macos", environment=variables)
    sets = wheel_sets(case.target)
    assert judge.choices(sets, case) == {
        project: best(case.target, wheels) for project, wheels in sets.items()
    }


# --- marker environments -----------------------------------------------------------------------


def conditions() -> list[str]:
    """Return comparisons that tell all targets of `CASES` apart."""
    environments = [case.target.environments("4")[0] for case in CASES]
    values = {(name, value) for each in environments for name, value in each.items()}
    values |= {("platform_machine", "AMD64"), ("sys_platform", "win64")}
    versions = [
        f"{name} {operator} '{value}'"
        for name in ("python_full_version", "python_version")
        for operator in (">=", "<", "<=", ">")
        for value in ("3.8", "3.11", "3.11.4", "3.12.4", "3.13", "3.14")
    ]
    return [f"{name} == '{value}'" for name, value in sorted(values)] + versions


def held(judge: Judge, case: Case) -> set[str]:
    """Return those of `conditions` that uv finds true."""
    written = conditions()
    for number in range(len(written)):
        judge.offer(f"p{number}", [f"p{number}-1-py3-none-any.whl"])
    log = judge.compile([f"p{number} ; {each}" for number, each in enumerate(written)], case)
    return {written[int(number)] for number in re.findall(r"Selecting: p([0-9]+)==1", log)}


@posix
@pytest.mark.parametrize("micro", ["0", "4", "0rc2"])
@pytest.mark.parametrize(
    "case",
    [case for case in (*NAMED_CASES, *BUILD_CASES) if case.python != "3.7"],
    ids=lambda case: case.id,
)
def test_uv_judges_markers_in_the_first_environment(case: Case, micro: str, judge: Judge) -> None:
    flags = case.target.python.flags
    fixed = replace(case, python=f"{case.python.removesuffix(flags)}.{micro}{flags}")
    if case.python.startswith("graalpy"):
        named = {"platform_python_implementation": "GraalVM"}
        fixed = replace(fixed, facts={"markers": {**_markers(case.facts), **named}})
    if case.python.startswith("pypy"):
        named = {"platform_python_implementation": "PyPy"}
        fixed = replace(fixed, facts={"markers": {**_markers(case.facts), **named}})
    environment = fixed.target.environments(micro)[0]
    expected = {each for each in conditions() if Marker.parse(each).holds(environment)}
    assert held(judge, fixed) == expected


def _markers(facts: Mapping[str, object]) -> dict[str, object]:
    markers = facts["markers"]
    assert isinstance(markers, dict)
    return markers


@pytest.mark.parametrize(
    ("name", "machines"),
    [
        ("windows", ["AMD64"]),
        ("win_amd64", ["AMD64"]),
        ("win32", ["x86", "AMD64"]),
        ("win_arm64", ["ARM64"]),
        ("linux", ["x86_64"]),
        ("manylinux_2_28_i686", ["i686", "x86_64"]),
        ("musllinux_1_2_armv7l", ["armv7l", "aarch64"]),
        ("macos", ["arm64"]),
    ],
)
def test_every_machine_that_an_interpreter_may_name_has_its_environment(
    name: str, machines: list[str]
) -> None:
    target = Target(python=version("3.11"), platform=platform_named(name))
    assert [each["platform_machine"] for each in target.environments("4")] == machines


# --- Pythons -----------------------------------------------------------------------------------


def version(text: str) -> Python:
    python = parse_python(text, find=lambda _: None)
    assert isinstance(python, Python)
    return python


PYPY_3_10 = Python(implementation="pypy", major=3, minor=10, implementation_version="7.3.19")
GRAALPY_3_11 = Python(implementation="graalpy", major=3, minor=11, implementation_version="2.42")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            (text, Python(major=3, minor=11))
            for text in (
                "3.11", "311", "cp311", "cp3.11", "cpython3.11", "cpython-3.11", "cpython@3.11",
                "cpython311", "CPython3.11", "python3.11", "python@311", "3.11+gil",
            )
        ),
        ("3.11.7", Python(major=3, minor=11, micro="7")),
        ("cpython-3.11.07", Python(major=3, minor=11, micro="7")),
        ("3.14rc1", Python(major=3, minor=14, micro="0rc1")),
        ("3.14.0rc1", Python(major=3, minor=14, micro="0rc1")),
        ("cpython@3.15a2", Python(major=3, minor=15, micro="0a2")),
        ("pypy3.10", PYPY_3_10), ("pp310", PYPY_3_10), ("pypy@3.10", PYPY_3_10),
        ("pypy3.11", replace(PYPY_3_10, minor=11, implementation_version="7.3.23")),
        ("graalpy311", GRAALPY_3_11), ("gp3.11", GRAALPY_3_11),
        *(
            (text, Python(major=3, minor=13, free_threaded=True))
            for text in ("3.13t", "3.13+freethreaded", "cp313t", "cpython3.13t", "313t")
        ),
        ("3.14.0rc1t", Python(major=3, minor=14, micro="0rc1", free_threaded=True)),
        ("3.13td", Python(major=3, minor=13, free_threaded=True, debug=True)),
        ("3.13+freethreaded+debug", Python(major=3, minor=13, free_threaded=True, debug=True)),
        ("3.12d", Python(major=3, minor=12, debug=True)),
        ("3.12+gil+debug", Python(major=3, minor=12, debug=True)),
    ],
    ids=str,
)  # fmt: skip
def test_a_version_is_read(text: str, expected: Python) -> None:
    assert version(text) == expected
    assert version(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["3", ">=3.11", "==3.11.*", "3.11,<3.13", "cpython", "pypy", "python", "any", "3t", ""]
)
def test_an_open_version_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(TargetError, match="open") as caught:
        parse_python(text, find=lambda _: None)
    assert "minor version" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3.12t", "free threading came with 3.13"),
        ("pypy3.10t", "only CPython"),
        ("2.7", "only Python 3"),
        ("pypy3.5", "isn't known"),
        ("graalpy3.30", "isn't known"),
        ("3.11.7.1", "neither"),
        ("3.11.dev1", "neither"),
        ("jython3.11", "neither"),
    ],
)
def test_what_isnt_a_python_is_refused(text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        parse_python(text, find=lambda _: None)


def test_an_interpreter_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snake").touch()
    (tmp_path / "3.11").mkdir()
    assert parse_python("snake") == Path("snake")
    assert parse_python("bin/python3.11") == Path("bin/python3.11")
    assert parse_python("./3.11") == Path("3.11")
    assert parse_python("3.11") == Python(major=3, minor=11)
    assert parse_python("snake3", find={"snake3": "/opt/snake3"}.get) == Path("/opt/snake3")


# --- patch releases ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("python", "boundaries", "requires_python", "expected"),
    [
        ("3.11", [], "", ["0"]),
        ("3.11", [], ">=3.11.4", ["4", "5"]),
        ("3.11", ["3.11.3"], ">=3.8", ["0", "2", "3", "4"]),
        ("3.11", ["3.11"], ">=3.8", ["0", "1"]),
        ("3.11", ["3.12", "3.10.7", "4", "3"], ">=3.8", ["0"]),
        ("3.11", ["3.11.3", "3.11.9"], ">=3.11.4,!=3.11.10", ["4", "5", "8", "9", "11"]),
        ("3.11", ["3.11.0rc1", "3.11.*", "nonsense"], "", ["0", "1"]),
        ("3.11", ["3.11.10"], "", ["0", "9", "10", "11"]),
        ("3.11", [], ">=3.12", []),
        ("3.11.7", ["3.11.3"], ">=3.8", ["7"]),
        ("3.11.7", [], ">=3.11.8", []),
        ("3.14rc1", [], ">=3.14", ["0rc1"]),
    ],
)
def test_patch_releases_on_every_side_of_a_boundary(
    python: str, boundaries: list[str], requires_python: str, expected: list[str]
) -> None:
    found = patch_releases(version(python), boundaries, SpecifierSet(requires_python))
    assert list(found) == expected


literals = st.one_of(
    st.builds("3.{}.{}".format, st.integers(10, 12), st.integers(0, 12)),
    st.builds("3.{}".format, st.integers(10, 12)),
)
comparisons = st.builds(
    "{}{}".format, st.sampled_from([">=", "<", ">", "<=", "==", "!="]), literals
)


@given(st.lists(comparisons, max_size=4), st.lists(comparisons, max_size=3))
def test_every_patch_release_has_one_that_answers_alike(
    markers: list[str], requires_python: list[str]
) -> None:
    allowed = SpecifierSet(",".join(requires_python))
    boundaries = [specifier.version for text in markers for specifier in SpecifierSet(text)]
    found = patch_releases(Python(major=3, minor=11), boundaries, allowed)

    def answers(micro: int | str) -> tuple[bool, ...]:
        return tuple(SpecifierSet(text).contains(f"3.11.{micro}") for text in markers)

    every = [micro for micro in range(20) if allowed.contains(f"3.11.{micro}")]
    assert {answers(micro) for micro in found} == {answers(micro) for micro in every}
    assert list(found) == sorted(set(found), key=int)
    assert all(allowed.contains(Version(f"3.11.{micro}")) for micro in found)


# --- interpreters ------------------------------------------------------------------------------

LINUX_FACTS = {
    "implementation_name": "cpython", "implementation_version": "3.11.7",
    "cache_tag": "cpython-311", "os_name": "posix", "platform_machine": "x86_64",
    "platform_python_implementation": "CPython", "platform_release": "6.1.0",
    "platform_system": "Linux", "platform_version": "#1 SMP", "python_full_version": "3.11.7",
    "sys_platform": "linux", "platform": "linux-x86_64", "bits": "64", "free_threaded": "",
    "debug": "", "glibc": "2.36", "manylinux": "yes", "musl": "", "mac_version": "",
    "mac_machine": "", "ios_version": "", "android_api": "", "pyemscripten": "", "pyodide": "",
}  # fmt: skip


def saying(**facts: str) -> Callable[[Sequence[str]], str]:
    return lambda _command: json.dumps({**LINUX_FACTS, **facts})


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({}, "manylinux_2_36_x86_64"),
        ({"manylinux": ""}, "linux_x86_64"),
        ({"glibc": "2.31-2020.11"}, "manylinux_2_31_x86_64"),
        ({"bits": "32"}, "manylinux_2_36_i686"),
        ({"platform": "linux-aarch64", "bits": "32"}, "manylinux_2_36_armv7l"),
        ({"platform": "linux-riscv64", "glibc": "2.30"}, "linux_riscv64"),
        ({"platform": "linux-armv6l"}, "linux_armv6l"),
        ({"glibc": "", "musl": "1.2.5"}, "musllinux_1_2_x86_64"),
        ({"glibc": "", "android_api": "24", "platform": "linux-aarch64"}, "android_24_arm64_v8a"),
        ({"platform": "android-24-arm64_v8a", "android_api": "24"}, "android_24_arm64_v8a"),
        ({"platform": "win-amd64"}, "win_amd64"),
        ({"platform": "win-arm64"}, "win_arm64"),
        ({"platform": "win32"}, "win32"),
        (
            {"platform": "macosx-11.0-arm64", "mac_version": "14.5", "mac_machine": "arm64"},
            "macosx_14_0_arm64",
        ),
        (
            {
                "platform": "macosx-10.9-universal2",
                "mac_version": "10.15.7",
                "mac_machine": "x86_64",
            },
            "macosx_10_15_x86_64",
        ),
        (
            {"platform": "ios-13.0-arm64-iphonesimulator", "ios_version": "17.2"},
            "ios_17_2_arm64_iphonesimulator",
        ),
        ({"platform": "emscripten-4.0.9-wasm32", "pyodide": "2025_0"}, "pyodide_2025_0_wasm32"),
        ({"platform": "freebsd-14.1-RELEASE-amd64"}, "freebsd_14_1_release_amd64"),
        ({"platform": "freebsd-14.1-RELEASE-p3-arm64"}, "freebsd_14_1_release_p3_arm64"),
        ({"platform": "openbsd-7.5-amd64"}, "openbsd_7_5_amd64"),
    ],
    ids=str,
)
def test_the_platform_of_an_interpreter_has_a_name_that_gives_its_tags(
    facts: dict[str, str], name: str
) -> None:
    found = inspect_interpreter(Path("python"), run=saying(**facts))
    assert found.platform.name == name
    assert found.platform.tags == platform_named(name).tags
    assert Target.from_record(found.target.to_record()) == found.target
    markers = {**LINUX_FACTS, **facts}
    assert found.platform.markers == ({name: markers[name] for name in UV_MARKERS},)


@pytest.mark.parametrize(
    ("facts", "python"),
    [
        ({}, Python(major=3, minor=11, micro="7")),
        ({"python_full_version": "3.14.0rc2"}, Python(major=3, minor=14, micro="0rc2")),
        (
            {"python_full_version": "3.13.1", "free_threaded": "yes", "debug": "yes"},
            Python(major=3, minor=13, micro="1", free_threaded=True, debug=True),
        ),
        (
            {"implementation_name": "pypy", "implementation_version": "7.3.12", "debug": "yes"},
            Python(
                implementation="pypy",
                major=3,
                minor=11,
                micro="7",
                implementation_version="7.3.12",
            ),
        ),
        (
            {
                "implementation_name": "pypy",
                "implementation_version": "8.0.1",
                "python_full_version": "3.19.2",
            },
            Python(
                implementation="pypy",
                major=3,
                minor=19,
                micro="2",
                implementation_version="8.0.1",
            ),
        ),
        (
            {"implementation_name": "graalpy", "cache_tag": "graalpy241-311-native"},
            Python(
                implementation="graalpy",
                major=3,
                minor=11,
                micro="7",
                implementation_version="2.41",
            ),
        ),
    ],
    ids=str,
)
def test_the_python_of_an_interpreter(facts: dict[str, str], python: Python) -> None:
    found = inspect_interpreter(Path("python"), run=saying(**facts))
    assert found.python == python
    assert Target.from_record(found.target.to_record()) == found.target


def test_interpreters_in_two_places_are_equal() -> None:
    assert inspect_interpreter(Path("a"), run=saying()) == inspect_interpreter(
        Path("b"), run=saying()
    )


def test_what_pth_files_print_isnt_the_answer() -> None:
    noisy = inspect_interpreter(
        Path("python"), run=lambda _command: "hello\n{}\n" + json.dumps(LINUX_FACTS) + "\n"
    )
    assert noisy.platform.name == "manylinux_2_36_x86_64"


@pytest.mark.parametrize(
    "run",
    [
        lambda _command: "",
        lambda _command: "Python 2.7",
        lambda _command: "[]",
        lambda _command: "{}",
        saying(python_full_version="unknown"),
        saying(python_full_version="3"),
        saying(implementation_name="graalpy", cache_tag="?"),
    ],
    ids=["nothing", "text", "list", "empty", "no version", "short version", "odd cache tag"],
)
def test_an_answer_that_makes_no_sense_is_an_error(run: Callable[[Sequence[str]], str]) -> None:
    with pytest.raises(TargetError, match="no Python interpreter that works"):
        inspect_interpreter(Path("python"), run=run)


@pytest.mark.parametrize(
    "facts",
    [
        {"implementation_name": "jython"},
        {"glibc": ""},
        {"platform": "aix-7104-1806-64"},
        {"platform": "emscripten-4.0.9-wasm32"},
        {"platform": "linux-m68k"},
    ],
    ids=str,
)
def test_an_interpreter_that_uv_doesnt_install_for_is_an_error(facts: dict[str, str]) -> None:
    with pytest.raises(TargetError):
        inspect_interpreter(Path("python"), run=saying(**facts))


def test_a_program_that_is_no_interpreter_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="works") as caught:
        inspect_interpreter(tmp_path / "missing")
    assert caught.value.hint
    with pytest.raises(TargetError, match="no Python interpreter"):
        inspect_interpreter(tmp_path)


def test_a_bare_name_isnt_looked_up_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        commands.append(command)
        return json.dumps(LINUX_FACTS)

    inspect_interpreter(Path("python"), run=run)
    assert commands[0][:2] == [str(tmp_path / "python"), "-I"]


def test_an_environment_stands_for_its_interpreter(tmp_path: Path) -> None:
    executable = tmp_path / "bin" / "python"
    executable.parent.mkdir()
    executable.touch()
    assert inspect_interpreter(tmp_path, run=saying()).executable == executable


def test_every_interpreter_here_answers(uv: Path) -> None:
    listed = subprocess.run(
        [
            *(str(uv), "python", "list", "--only-installed", "--offline", "--no-config"),
            *("--output-format", "json"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    interpreters = {sys.executable: ".".join(map(str, sys.version_info[:3]))}
    interpreters |= {each["path"]: each["version"] for each in json.loads(listed)}
    for path, full in interpreters.items():
        if Version(full) < Version("3.8"):
            continue
        found = inspect_interpreter(Path(path))
        python = found.python
        assert f"{python.major}.{python.minor}.{python.micro}" == full
        assert Target.from_record(found.target.to_record()) == found.target


@posix
def test_musl_says_its_version(tmp_path: Path) -> None:
    loader = tmp_path / "ld-musl-x86_64.so.1"
    loader.write_text("#!/bin/sh\necho 'musl libc (x86_64)\nVersion 1.2.5' >&2\nexit 1\n")
    loader.chmod(0o755)
    program = tmp_path / "python"
    for wide in (True, False):
        program.write_bytes(elf_file(str(loader), wide=wide))
        assert elf_loader(str(program)) == str(loader)
        assert musl_version(str(program)) == "1.2.5"
    assert musl_version(sys.executable) == "" or "musl" in elf_loader(sys.executable)
    assert elf_loader(str(loader)) == ""
    program.write_bytes(b"\x7fELF\x02\x01")
    assert elf_loader(str(program)) == ""


def elf_file(loader: str, *, wide: bool) -> bytes:
    """Return the headers of an ELF file (System V ABI) that *loader* loads."""

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little")

    word = 8 if wide else 4
    header, entry = (64, 56) if wide else (52, 32)
    text = loader.encode() + b"\0"
    identity = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]).ljust(12, b"\0")
    head = identity + number(2, 2) + number(62, 2) + number(1, 4) + number(0, word)
    head += number(header, word) + number(0, word) + number(0, 4)
    head += number(header, 2) + number(entry, 2) + number(2, 2) + number(0, 6)
    at, length = number(header + 2 * entry, word), number(len(text), word)
    if wide:
        interp = number(3, 4) + number(4, 4) + at + number(0, 16) + length + number(0, 16)
    else:
        interp = number(3, 4) + at + number(0, 8) + length + number(0, 12)
    return head + number(1, 4).ljust(entry, b"\0") + interp + text


# --- labels and records ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("python", "platform", "label"),
    [
        ("3.11", "x86_64-unknown-linux-gnu", "cp311 on manylinux_2_28_x86_64"),
        ("3.11.7", "windows", "cp311 (3.11.7) on win_amd64"),
        ("3.13t", "macos", "cp313t on macosx_13_0_arm64"),
        ("pypy3.10", "linux", "pp310 on manylinux_2_28_x86_64"),
    ],
)
def test_a_label_is_short_and_says_what_differs(python: str, platform: str, label: str) -> None:
    assert Target(python=version(python), platform=platform_named(platform)).label == label


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_record_gives_the_target_back(case: Case) -> None:
    record = json.loads(json.dumps(case.target.to_record()))
    assert Target.from_record(record) == case.target
    assert Target.from_record(record).priorities() == case.target.priorities()
    assert "markers" not in record


def test_a_record_has_nothing_of_the_machine_but_what_selects() -> None:
    found = inspect_interpreter(Path("/home/somebody/python"), run=saying())
    assert found.target.to_record() == {
        "python": "3.11.7",
        "platform": "manylinux_2_36_x86_64",
        "markers": {"platform_release": "6.1.0", "platform_version": "#1 SMP"},
    }
    assert Target(python=found.python, platform=found.platform.without_release()).to_record() == {
        "python": "3.11.7",
        "platform": "manylinux_2_36_x86_64",
    }


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"python": "3.11"},
        {"python": 3.11, "platform": "win32"},
        {"python": "/usr/bin/python", "platform": "win32"},
        {"python": "3", "platform": "win32"},
        {"python": "3.11", "platform": "../win32"},
        {"python": "3.11", "platform": "win32", "markers": []},
        {"python": "3.11", "platform": "win32", "markers": {"extra": "x"}},
        {"python": "3.11", "platform": "win32", "markers": {"os_name": 1}},
    ],
    ids=str,
)
def test_a_record_that_makes_no_sense_is_an_error(record: dict[str, object]) -> None:
    with pytest.raises(TargetError):
        Target.from_record(record)


def test_targets_are_told_apart_by_what_they_are() -> None:
    platform = platform_named("win32")
    real = Platform(name=platform.name, tags=platform.tags, markers=platform.markers[1:])
    python = version("3.11")
    assert Target(python=python, platform=platform) == Target(
        python=python, platform=platform_named("i686-pc-windows-msvc")
    )
    assert len({Target(python=python, platform=each) for each in (platform, real)}) == 2
