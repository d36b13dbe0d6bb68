"""Interpreters: ask one what it is and what it runs on.

Source: uv's `get_interpreter_info.py`, and what uv makes of its answer.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from packaging.version import InvalidVersion, Version

from uv_archive.errors import TargetError
from uv_archive.target.platforms import FIRST_MANYLINUX, Platform, platform_named
from uv_archive.target.python import Python, checked
from uv_archive.target.target import Target

# An interpreter answers at once, or it isn't one.
_SECONDS = 60
_MARKERS = (
    "os_name", "sys_platform", "platform_machine", "platform_system",
    "platform_release", "platform_version",
)  # fmt: skip
# What `sysconfig.get_platform()` and `platform.mac_ver()` call machines, where tags say otherwise.
_MACHINES = {
    "arm64": "aarch64", "armv8l": "armv7l", "powerpc64le": "ppc64le", "powerpc64": "ppc64",
    "powerpc": "ppc", "i386": "i686", "x86": "i686", "amd64": "x86_64",
}  # fmt: skip
# A 32-bit Python on a 64-bit kernel.
_NARROW = {"x86_64": "i686", "aarch64": "armv7l"}
_ANDROID_ABIS = {"aarch64": "arm64_v8a", "armv7l": "armeabi_v7a", "i686": "x86"}
_MAC_MACHINES = {"aarch64": "arm64"}
_BSD_MACHINES = {
    "aarch64": "arm64", "armv5tel": "arm", "armv6l": "arm", "armv7l": "arm", "ppc": "powerpc",
    "ppc64": "powerpc", "ppc64le": "powerpc", "i686": "i386", "x86_64": "amd64",
    "riscv64": "riscv",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """An interpreter of this machine. Two are equal if they ask for the same files."""

    python: Python
    platform: Platform
    executable: Path = field(compare=False)

    @property
    def target(self) -> Target:
        return Target(python=self.python, platform=self.platform)


def run_interpreter(command: Sequence[str]) -> str:
    """Run *command*, and return its output. Raises `OSError` or `subprocess.SubprocessError`."""
    return subprocess.run(  # noqa: S603 - an argument vector, no shell
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=_SECONDS,
    ).stdout


def inspect_interpreter(
    path: Path, *, run: Callable[[Sequence[str]], str] = run_interpreter
) -> Interpreter:
    """Ask the interpreter at *path* what it is; a directory is an environment that has one.

    *run* runs a command and returns what it wrote to stdout. Raises `TargetError` if there is no
    interpreter, or none that uv would install for.
    """
    executable = _executable(path)
    script = files("uv_archive.target").joinpath("probe.py").read_text("utf-8")
    try:
        output = run([str(executable), "-I", "-B", "-c", script])
    except (OSError, subprocess.SubprocessError) as error:
        raise _broken(executable) from error
    facts = _facts(output)
    if facts is None:
        raise _broken(executable)
    try:
        return Interpreter(python=_python(facts), platform=_platform(facts), executable=executable)
    except (KeyError, ValueError) as error:
        raise _broken(executable) from error


def _executable(path: Path) -> Path:
    # Not resolved: an environment's interpreter is a link. Absolute: a bare name would be
    # looked up on `PATH`.
    path = path.absolute()
    if not path.is_dir():
        return path
    candidates = (path / "bin" / "python", path / "Scripts" / "python.exe", path / "python.exe")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise TargetError(
        f"`{path}` has no Python interpreter", hint="Give an environment, or an interpreter's path"
    )


def _broken(executable: Path) -> TargetError:
    return TargetError(
        f"`{executable}` is no Python interpreter that works",
        hint=f"Does `{executable} -I -c 'import sysconfig'` work? It has to be Python 3.8 or later",
    )


def _facts(output: str) -> Mapping[str, str] | None:
    """Read the last line: what `.pth` files print comes before it."""
    lines = output.strip().splitlines()
    try:
        facts: object = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    if not isinstance(facts, dict):
        return None
    return {str(key): str(value) for key, value in facts.items()}


def _python(facts: Mapping[str, str]) -> Python:
    implementation = facts["implementation_name"]
    if implementation not in {"cpython", "pypy", "graalpy"}:
        raise TargetError(f"Python of `{implementation}` isn't supported: uv doesn't know its tags")
    try:
        major, minor, micro = Version(facts["python_full_version"]).release[:3]
    except InvalidVersion as error:
        raise ValueError("not a version of Python") from error
    suffix = re.search(r"(?:a|b|rc)[0-9]+$", facts["python_full_version"])
    return checked(
        Python(
            implementation=implementation,
            major=major,
            minor=minor,
            micro=f"{micro}{suffix[0] if suffix else ''}",
            implementation_version=_implementation_version(facts),
            free_threaded=bool(facts["free_threaded"]),
            debug=bool(facts["debug"]) and implementation == "cpython",
        )
    )


def _implementation_version(facts: Mapping[str, str]) -> str | None:
    match facts["implementation_name"]:
        case "cpython":
            return None
        case "graalpy":
            # GraalPy gives Python's version here. Its own is in `graalpy242-311-native` or
            # `graalpy242dev0123abc-311`: one digit for the major version, after uv.
            match = re.match(r"graalpy([0-9])([0-9]+)(?:dev[0-9a-f]+)?-", facts["cache_tag"])
            if match is None:
                raise ValueError("not a cache tag of GraalPy")
            return f"{match[1]}.{match[2]}"
        case _:
            return facts["implementation_version"]


def _platform(facts: Mapping[str, str]) -> Platform:
    tag = _tag(facts)
    if tag is None:
        raise TargetError(f"The platform `{facts['platform']}` isn't supported")
    own = MappingProxyType({variable: facts[variable] for variable in _MARKERS})
    return replace(platform_named(tag), markers=(own,))


def _tag(facts: Mapping[str, str]) -> str | None:
    """Return the platform tag that stands for the platform, `None` for one that uv refuses."""
    # https://docs.python.org/3/library/sysconfig.html#sysconfig.get_platform: "win-amd64",
    # "win32", "macosx-11.2-arm64", "linux-x86_64", "freebsd-14.1-RELEASE-amd64"
    system, _, rest = facts["platform"].partition("-")
    version, _, written = rest.rpartition("-")
    machine = _MACHINES.get(written, written)
    match system:
        case "linux":
            return _linux_tag(facts, _NARROW.get(machine, machine) if _narrow(facts) else machine)
        case "win32":
            return "win32"
        case "win":
            return f"win_{written}"
        case "macosx":
            # "Apparently, Mac OS is reporting i386 sometimes in sysconfig.get_platform"
            mac = _MACHINES.get(facts["mac_machine"], facts["mac_machine"])
            major, _, minor = facts["mac_version"].partition(".")
            return f"macosx_{major}_{minor.partition('.')[0] or 0}_{_MAC_MACHINES.get(mac, mac)}"
        case "ios":
            multiarch = "_".join(rest.split("-")[1:])
            return f"ios_{'_'.join(facts['ios_version'].split('.')[:2])}_{multiarch}"
        case "android":
            return f"android_{facts['android_api']}_{written}"
        case "emscripten":
            release = facts["pyemscripten"] or facts["pyodide"]
            return f"pyodide_{release}_wasm32" if release else None
        case "freebsd" | "netbsd" | "openbsd":
            return _bsd_tag(system, version, _BSD_MACHINES.get(machine, machine))
        case "dragonfly" | "haiku":
            return _bsd_tag(system, version, machine)
        case _:
            return None


def _narrow(facts: Mapping[str, str]) -> bool:
    return facts["bits"] == "32"


def _bsd_tag(system: str, release: str, machine: str) -> str:
    return f"{system}_{re.sub('[.-]', '_', release.lower())}_{machine}"


def _linux_tag(facts: Mapping[str, str], machine: str) -> str | None:
    if facts["musl"]:
        major, minor = facts["musl"].split(".")[:2]
        return f"musllinux_{major}_{minor}_{machine}"
    if facts["glibc"]:
        major, minor = facts["glibc"].split(".")[:2]
        number = re.match("[0-9]+", minor)
        first = FIRST_MANYLINUX.get(machine)
        if facts["manylinux"] and first and number and major == "2" and int(number[0]) >= first:
            return f"manylinux_2_{number[0]}_{machine}"
        return f"linux_{machine}"
    if facts["android_api"]:
        # Up to 3.12, Python takes Android for Linux.
        return f"android_{facts['android_api']}_{_ANDROID_ABIS.get(machine, machine)}"
    return None
