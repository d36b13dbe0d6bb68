"""Ask uv which files meet a set of build requirements, and read its answer.

uv resolves build requirements anew at every build. Here it does so beforehand, once for each
distinct set and target, with `uv pip compile`: the same resolver, indexes and credentials.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from packaging.specifiers import SpecifierSet

from uv_archive.archive.manifest import EVERYWHERE
from uv_archive.build_requirements.pylock import LEAVE_OUT, LockedPackage
from uv_archive.errors import BuildRequirementsError
from uv_archive.filenames import WheelFilename
from uv_archive.lock.model import Distribution
from uv_archive.markers import InvalidMarker, Marker
from uv_archive.project import read_pyproject, tool_uv
from uv_archive.target import Python, Target, python_abis
from uv_archive.target.python import patch_releases
from uv_archive.uv import Completed, Uv

# Part of every key: another way of asking must not reuse old answers.
_WAY_OF_ASKING = 2
_NOTHING: Mapping[str, object] = {}
# uv has no name for the platforms of other versions than these.
_MANYLINUX = (17, 28, *range(31, 41))
_UV_NAMES = {
    "win_amd64": "x86_64-pc-windows-msvc",
    "win_arm64": "aarch64-pc-windows-msvc",
    "win32": "i686-pc-windows-msvc",
}
# Settings that say where files come from. All others of a project are about its own
# resolution, which builds don't share: uv gives them its defaults.
_KEPT_SETTINGS = frozenset(
    {
        "allow-insecure-host", "cache-dir", "concurrent-downloads", "default-index",
        "dependency-metadata", "exclude-newer", "exclude-newer-package", "extra-index-url",
        "find-links", "http-proxy", "https-proxy", "index", "index-strategy", "index-url",
        "keyring-provider", "native-tls", "no-index", "no-proxy", "offline", "system-certs",
    }
)  # fmt: skip
_PATH_SETTINGS = frozenset({"cache-dir", "extra-index-url", "find-links", "index-url"})
# The same for variables: these would change what a resolution for a build doesn't look at.
_DROPPED_VARIABLES = frozenset(
    f"UV_{name}"
    for name in (
        "BUILD_CONSTRAINT", "CONFIG_FILE", "CONSTRAINT", "CUSTOM_COMPILE_COMMAND", "EXCLUDE",
        "FORK_STRATEGY", "NO_BINARY", "NO_BINARY_PACKAGE", "NO_BUILD", "NO_BUILD_ISOLATION",
        "NO_BUILD_PACKAGE", "NO_SOURCES", "NO_SOURCES_PACKAGE", "OVERRIDE", "PRERELEASE",
        "PROJECT", "PYTHON", "REQUIRE_HASHES", "RESOLUTION", "SYSTEM_PYTHON", "TORCH_BACKEND",
        "VERIFY_HASHES",
    )
) | {"MACOSX_DEPLOYMENT_TARGET", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME"}  # fmt: skip
_NO_SOLUTION = "No solution found"
# What uv says of an sdist that is required by its URL.
_NO_BUILD = "Building source distributions for"


@dataclass(frozen=True, slots=True)
class Everywhere:
    """All platforms, for one *python* or for every one that the lock allows."""

    python: Python | None = None

    @property
    def label(self) -> str:
        """What messages and archives call it, as a target's label: `3.12 on all platforms`."""
        return EVERYWHERE if self.python is None else f"{self.python} on {EVERYWHERE}"

    def takes(self, wheel: Distribution) -> bool:
        """Whether the Python and ABI tags of *wheel* fit, on whatever platform."""
        if self.python is None or not isinstance(wheel.filename, WheelFilename):
            return True
        accepted = python_abis(self.python)
        return any((tag.interpreter, tag.abi) in accepted for tag in wheel.filename.tags)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A file that uv named. With *marker* (PEP 508), all platforms don't need it alike."""

    distribution: Distribution
    marker: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Requirement strings to be met together, for a target or for all platforms.

    *requirements* and *constraints* are sorted and each of them is there once; *requires_python*
    bounds the patch releases of a target that has a minor version, and all platforms.
    """

    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    target: Target | Everywhere
    requires_python: str = ""

    @property
    def key(self) -> str:
        """A digest of the question, the same on every machine and in every year."""
        target = self.target
        asked = {
            "way": _WAY_OF_ASKING,
            "requirements": self.requirements,
            "constraints": self.constraints,
            "requires_python": self.requires_python,
            "target": target.label
            if isinstance(target, Everywhere)
            else [str(target.python), target.python.implementation_version, target.platform.tags],
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def concerns(self, marker: str) -> bool:
        """Whether *marker* may hold on the target; on all platforms any may."""
        target = self.target
        if isinstance(target, Everywhere):
            return True
        try:
            parsed = Marker.parse(marker)
        except InvalidMarker:
            return True
        micros = _outermost(target.python, SpecifierSet(self.requires_python))
        return any(
            parsed.holds(environment)
            for micro in micros
            for environment in target.environments(micro)
        )

    def __str__(self) -> str:
        listed = ", ".join(f"`{text}`" for text in self.requirements)
        return f"{listed} for {self.target.label}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """How uv is to be asked: with which settings, in which environment.

    *scratch* is an empty directory for its input.
    """

    uv: Uv
    environment: Mapping[str, str]
    scratch: Path

    def ask(self, question: Question) -> tuple[Answered, ...]:
        """Return the files that meet *question*, by name and file name.

        Of each package there is one for a target, and every wheel for all platforms. Wheels are
        preferred to a newer sdist. Raises `BuildRequirementsError`.
        """
        found: dict[str, Answered] = {}
        for run in _runs(question):
            for answered in self._run(question, run):
                found.setdefault(answered.distribution.filename.text, answered)
        return tuple(sorted(found.values(), key=_by_name))

    def _run(self, question: Question, run: _Run) -> Sequence[Answered]:
        said = self._compile(question, run, only_wheels=True)
        if said.status and any(sign in said.stderr for sign in (_NO_SOLUTION, _NO_BUILD)):
            # If that fails too, its reason counts: the first only says that wheels are lacking.
            said = self._compile(question, run, only_wheels=False)
        if said.status:
            raise _failure(question, said)
        return _chosen(question, run, said.stdout)

    def _compile(self, question: Question, run: _Run, *, only_wheels: bool) -> Completed:
        directory = self.scratch / question.key
        directory.mkdir(exist_ok=True)
        requirements = directory / "requirements.in"
        constraints = directory / "constraints.txt"
        requirements.write_text("".join(f"{text}\n" for text in question.requirements))
        constraints.write_text("".join(f"{text}\n" for text in question.constraints))
        arguments = [
            *("pip", "compile", str(requirements), "--format", "pylock.toml", "--no-header"),
            *("--quiet", "--color", "never", "--no-progress", "--no-python-downloads"),
            # Not `--directory`: relative paths in the environment mean what they mean to uv.
            *("--project", str(self.scratch), "--python", sys.executable),
            *("--constraints", str(constraints), "--build-constraints", str(constraints)),
            *("--resolution", "highest", "--prerelease", "if-necessary-or-explicit"),
            *run.arguments,
        ]
        if only_wheels:
            arguments += ["--only-binary", ":all:"]
        environment = {**self.environment, **run.environment}
        if not only_wheels:
            # uv would run the code of an sdist that has no static metadata. It asks interpreters
            # about themselves in isolated mode (`-I`), which ignores this; a hook dies of it.
            environment["PYTHONHOME"] = str(self.scratch / "no-code-is-run-here")
        return self.uv.run(arguments, environment=environment)

    def make_environment(
        self,
        directory: Path,
        *,
        python: str,
        requirements: Sequence[str],
        constraints: Sequence[str],
    ) -> Path:
        """Make a virtual environment of wheels that meet *requirements*; return its interpreter.

        *python* is a version, for which this program's own Python stands in where there is no
        such interpreter. Nothing is built. Raises `BuildRequirementsError`.
        """
        quiet = ("--quiet", "--color", "never", "--no-progress", "--no-python-downloads")
        venv = ["venv", *quiet, "--no-project", str(directory), "--python"]
        said = self.uv.run([*venv, python], environment=self.environment)
        if said.status:
            said = self.uv.run([*venv, sys.executable], environment=self.environment)
        if said.status:
            raise BuildRequirementsError(f"An environment can't be made: {_reason(said.stderr)}")
        limits = directory.with_name(f"{directory.name}.txt")
        limits.write_text("".join(f"{text}\n" for text in constraints))
        install = [
            *("pip", "install", *quiet, "--project", str(self.scratch)),
            *("--python", str(directory), "--only-binary", ":all:"),
            *("--constraints", str(limits), "--prerelease", "if-necessary-or-explicit"),
        ]
        said = self.uv.run([*install, *requirements], environment=self.environment)
        if requirements and said.status:
            raise BuildRequirementsError(
                f"An environment for its hooks can't be made of wheels: {_reason(said.stderr)}",
                hint=f"Leave out `--run-hooks`, {LEAVE_OUT}",
            )
        return directory / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _by_name(answered: Answered) -> tuple[str, str]:
    filename = answered.distribution.filename
    return (filename.name, filename.text)


def prepare(
    scratch: Path,
    *,
    uv: Uv,
    environment: Mapping[str, str],
    directory: Path,
    nearest: Mapping[str, object] = _NOTHING,
) -> Asking:
    """Make ready to ask, with what the project at *directory* says about indexes.

    *nearest* go before it: the settings that a script there has in itself. The user's own
    configuration and credentials apply as for any uv command. Raises `ProjectError`.
    """
    chosen = environment.get("UV_CONFIG_FILE")
    settings, base = _chosen_settings(Path(chosen)) if chosen else _project_settings(directory)
    own = _anchored(nearest, directory.absolute())
    text = tomli_w.dumps(_joined(own, _anchored(settings, base)))
    (scratch / "uv.toml").write_text(text, encoding="utf-8")
    kept = {name: text for name, text in environment.items() if name not in _DROPPED_VARIABLES}
    if chosen:
        kept["UV_CONFIG_FILE"] = str(scratch / "uv.toml")
    return Asking(uv=uv, environment=kept, scratch=scratch)


def _chosen_settings(path: Path) -> tuple[Mapping[str, object], Path]:
    return read_pyproject(path), path.absolute().parent


def _project_settings(directory: Path) -> tuple[Mapping[str, object], Path]:
    """Find what uv would: the nearest `uv.toml`, or `pyproject.toml` with a table `tool.uv`."""
    start = directory.absolute()
    for parent in (start, *start.parents):
        if (parent / "uv.toml").is_file():
            return read_pyproject(parent / "uv.toml"), parent
        path = parent / "pyproject.toml"
        if path.is_file() and (settings := tool_uv(read_pyproject(path))):
            return settings, parent
    return {}, start


def project_settings(
    directory: Path,
    environment: Mapping[str, str],
    nearest: Mapping[str, object] = _NOTHING,
) -> Mapping[str, object]:
    """Return uv's settings of the project at *directory*. Raises `ProjectError`."""
    chosen = environment.get("UV_CONFIG_FILE")
    settings, _ = _chosen_settings(Path(chosen)) if chosen else _project_settings(directory)
    return _joined(nearest, settings)


def _joined(nearer: Mapping[str, object], further: Mapping[str, object]) -> Mapping[str, object]:
    """Join settings as uv does: arrays add up, of other values the nearer one counts."""
    joined = {**further, **nearer}
    for key in nearer.keys() & further.keys():
        first, second = nearer[key], further[key]
        if isinstance(first, list) and isinstance(second, list):
            joined[key] = [*first, *second]
    return joined


def _anchored(settings: Mapping[str, object], base: Path) -> Mapping[str, object]:
    """Return the settings that are kept, their relative paths made absolute."""
    kept: dict[str, object] = {}
    for key, value in settings.items():
        if key not in _KEPT_SETTINGS:
            continue
        if key == "index" and isinstance(value, list):
            kept[key] = [
                {**index, "url": _absolute(index.get("url"), base)}
                for index in value
                if isinstance(index, dict)
            ]
        elif key in _PATH_SETTINGS:
            kept[key] = (
                [_absolute(each, base) for each in value]
                if isinstance(value, list)
                else _absolute(value, base)
            )
        else:
            kept[key] = value
    return kept


def _absolute(value: object, base: Path) -> object:
    if not isinstance(value, str) or re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:", value):
        return value
    return str(base / value)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One run of uv: a patch release, and whether uv knows the target's tags itself."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    micro: str | None


def _runs(question: Question) -> Iterator[_Run]:
    target = question.target
    allowed = SpecifierSet(question.requires_python)
    if isinstance(target, Everywhere):
        # The lowest version, as for the lock itself: uv forks where a later one needs another.
        version = _lowest(allowed) if target.python is None else _first(target.python, allowed)
        yield _Run(arguments=("--universal", *version), environment={}, micro=None)
        return
    platform, environment = _uv_platform(target)
    python = target.python
    for micro in _outermost(python, allowed):
        version = ("--python-version", f"{python.major}.{python.minor}.{micro}")
        yield _Run(arguments=(*platform, *version), environment=environment, micro=micro)


def _lowest(allowed: SpecifierSet) -> tuple[str, ...]:
    for minor in range(100):
        candidates = (f"3.{minor}.{micro}" for micro in range(100))
        found = next((version for version in candidates if version in allowed), None)
        if found is not None:
            return ("--python-version", found) if len(allowed) else ()
    return ()


def _first(python: Python, allowed: SpecifierSet) -> tuple[str, ...]:
    return ("--python-version", f"{python.major}.{python.minor}.{_outermost(python, allowed)[0]}")


def _outermost(python: Python, allowed: SpecifierSet) -> tuple[str, ...]:
    """Return the first and the last patch release of a minor version, or the one that is fixed.

    What a build requirement says about patch releases is a bound in all cases seen, and then
    the files for both ends are the files for all between.
    """
    last = f"{python.major}.{python.minor}.99"
    micros = patch_releases(python, (last,), allowed) or patch_releases(
        python, (last,), SpecifierSet()
    )
    # One past the boundary is among them; no release has three digits.
    micros = tuple(micro for micro in micros if micro != "100")
    return tuple(dict.fromkeys((micros[0], micros[-1])))


def _uv_platform(target: Target) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Return the options that give uv the target's tags, or else `--universal`.

    uv has a name for the usual platforms, and a variable for the version of macOS; of glibc it
    knows versions up to some, and the nearest below is taken. It can't be told of another
    implementation than that of the interpreter it runs with.
    """
    python, tag = target.python, target.platform.tags[0]
    if python.implementation != "cpython" or python.free_threaded or python.debug:
        return ("--universal",), {}
    if name := _UV_NAMES.get(tag):
        return ("--python-platform", name), {}
    if match := re.fullmatch(r"manylinux_2_(\d+)_(x86_64|aarch64)", tag):
        known = [minor for minor in _MANYLINUX if minor <= int(match[1])]
        if known:
            return ("--python-platform", f"{match[2]}-manylinux_2_{known[-1]}"), {}
    if match := re.fullmatch(r"musllinux_1_\d+_(x86_64|aarch64)", tag):
        return ("--python-platform", f"{match[1]}-unknown-linux-musl"), {}
    if match := re.fullmatch(r"macosx_(\d+)_(\d+)_(x86_64|arm64)", tag):
        machine = "aarch64" if match[3] == "arm64" else match[3]
        version = {"MACOSX_DEPLOYMENT_TARGET": f"{match[1]}.{match[2]}"}
        return ("--python-platform", f"{machine}-apple-darwin"), version
    return ("--universal",), {}


def _chosen(question: Question, run: _Run, stdout: str) -> Sequence[Answered]:
    try:
        document = tomllib.loads(stdout)
        packages = [LockedPackage.read(table) for table in document.get("packages", [])]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BuildRequirementsError(f"uv's answer can't be read: {error}") from error
    target = question.target
    if isinstance(target, Everywhere):
        return [one for package in packages for one in _everywhere(target, package)]
    return [
        Answered(distribution=package.for_target(target))
        for package in packages
        if run.micro is None or package.needed(target, run.micro)
    ]


def _everywhere(target: Everywhere, package: LockedPackage) -> Sequence[Answered]:
    """Return every wheel that fits, or else the sdist, if *target* can need the package at all."""
    if target.python is not None and not package.may_be_needed(target.python):
        return ()
    files = tuple(filter(target.takes, package.wheels)) or package.sdists
    marker = package.marker.text if package.marker else None
    return [Answered(distribution=file, marker=marker) for file in files]


def _failure(question: Question, said: Completed) -> BuildRequirementsError:
    reason = _reason(said.stderr)
    if _NO_SOLUTION in said.stderr:
        if "network was disabled" in said.stderr or "not found in the cache" in said.stderr:
            hint = f"Run it with a network, {LEAVE_OUT}"
        else:
            hint = (
                "Loosen `tool.uv.build-constraint-dependencies`, name an index that has them, "
                f"{LEAVE_OUT}"
            )
    elif "Failed to build" in said.stderr:
        reason = f"{reason.partition(';')[0]}: asking would mean running its code"
        hint = f"Build a wheel of it, and offer it by `find-links`, {LEAVE_OUT}"
    else:
        hint = f"Check the network and the configured indexes, then run it again, {LEAVE_OUT}"
    return BuildRequirementsError(f"uv found no files for {question}: {reason}", hint=hint)


def _reason(stderr: str) -> str:
    """Return what uv says went wrong, in one line and without credentials."""
    lines = [line.strip() for line in stderr.splitlines()]
    said: list[str] = []
    for line in lines:
        prefix, _, text = line.partition(": ")
        if prefix not in ("error", "cause"):
            if said:
                break
            continue
        if not text.startswith(_NO_SOLUTION):
            said.append(text)
    reason = "; ".join(dict.fromkeys(said)) or (lines[0] if lines else "it gave no reason")
    return re.sub(r"//[^/@\s`]+@", "//", reason)
