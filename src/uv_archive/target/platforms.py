"""Platforms to install for, by the names of `uv sync --python-platform` and by platform tags.

Every name stands for a platform tag (PEP 425), and a platform is called by its tag: what
`linux` or `macos` means may change with uv and with the environment, a tag may not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType

from uv_archive.errors import TargetError

_GLIBCS = (17, 28, *range(31, 41))
_NAMED = {
    "windows": "win_amd64",
    "linux": "manylinux_2_28_x86_64",
    "macos": "macosx_{macos}_arm64",
    "x86_64-pc-windows-msvc": "win_amd64",
    "aarch64-pc-windows-msvc": "win_arm64",
    "i686-pc-windows-msvc": "win32",
    "x86_64-unknown-linux-gnu": "manylinux_2_28_x86_64",
    "aarch64-apple-darwin": "macosx_{macos}_arm64",
    "x86_64-apple-darwin": "macosx_{macos}_x86_64",
    "aarch64-unknown-linux-gnu": "manylinux_2_28_aarch64",
    "aarch64-unknown-linux-musl": "musllinux_1_2_aarch64",
    "x86_64-unknown-linux-musl": "musllinux_1_2_x86_64",
    "riscv64-unknown-linux": "manylinux_2_39_riscv64",
    "x86_64-manylinux2014": "manylinux_2_17_x86_64",
    **{f"x86_64-manylinux_2_{minor}": f"manylinux_2_{minor}_x86_64" for minor in _GLIBCS},
    "aarch64-manylinux2014": "manylinux_2_17_aarch64",
    **{f"aarch64-manylinux_2_{minor}": f"manylinux_2_{minor}_aarch64" for minor in _GLIBCS},
    "aarch64-linux-android": "android_{android}_arm64_v8a",
    "x86_64-linux-android": "android_{android}_x86_64",
    "wasm32-pyodide2024": "pyodide_2024_0_wasm32",
    "wasm32-pyodide2025": "pyodide_2025_0_wasm32",
    "arm64-apple-ios": "ios_{ios}_arm64_iphoneos",
    "arm64-apple-ios-simulator": "ios_{ios}_arm64_iphonesimulator",
    "x86_64-apple-ios-simulator": "ios_{ios}_x86_64_iphonesimulator",
}
# uv takes these too, but doesn't list them.
_HIDDEN = {
    "s390x-unknown-linux-gnu": "manylinux_2_28_s390x",
    "powerpc64le-unknown-linux-gnu": "manylinux_2_28_ppc64le",
    "loongarch64-unknown-linux-gnu": "manylinux_2_36_loongarch64",
    **{f"{machine}-manylinux2014": f"manylinux_2_17_{machine}" for machine in ("s390x", "ppc64le")},
    **{
        f"{machine}-manylinux_2_{minor}": f"manylinux_2_{minor}_{machine}"
        for machine in ("s390x", "ppc64le")
        for minor in _GLIBCS
    },
    **{
        f"loongarch64-manylinux_2_{minor}": f"manylinux_2_{minor}_loongarch64"
        for minor in range(36, 41)
    },
}

# `platform.machine()` on Linux for the machine of a tag. A 32-bit Python says what the kernel
# is, and that is mostly a 64-bit one.
_LINUX_MACHINES = {
    "x86_64": ("x86_64",),
    "aarch64": ("aarch64",),
    "i686": ("i686", "x86_64"),
    "armv7l": ("armv7l", "aarch64"),
    "armv6l": ("armv6l",),
    "armv5tel": ("armv5tel",),
    "ppc64le": ("ppc64le",),
    "ppc64": ("ppc64",),
    "ppc": ("ppc",),
    "s390x": ("s390x",),
    "riscv64": ("riscv64",),
    "loongarch64": ("loongarch64",),
}
# 32-bit ARM on ARMv8 hardware; uv takes one for the other.
_SAME_MACHINES = {"armv8l": "armv7l"}
#: The first `manylinux_2_*` of a machine; a machine that isn't here has none.
FIRST_MANYLINUX: Mapping[str, int] = {
    "aarch64": 17, "armv7l": 17, "ppc64": 17, "ppc64le": 17, "s390x": 17,
    "i686": 5, "x86_64": 5, "riscv64": 31, "loongarch64": 36,
}  # fmt: skip
# PEP 600, "Legacy manylinux tags".
_LEGACY_MANYLINUX = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
_MAC_FORMATS = {
    "arm64": ("arm64", "universal2"),
    "x86_64": ("x86_64", "intel", "fat64", "fat32", "universal2", "universal"),
}
_WINDOWS_MACHINES = {"amd64": ("AMD64",), "arm64": ("ARM64",)}
_ANDROID_MACHINES = {
    "arm64_v8a": "aarch64", "armeabi_v7a": "armv7l", "x86": "i686", "x86_64": "x86_64",
}  # fmt: skip
# `platform_release` in Pyodide is the version of Emscripten.
_EMSCRIPTENS = {2024: "3.1.58", 2025: "4.0.9"}
_EMSCRIPTEN_VERSION = "#1"
_BSD_SYSTEMS = {
    "freebsd": "FreeBSD", "netbsd": "NetBSD", "openbsd": "OpenBSD", "dragonfly": "DragonFly",
    "haiku": "Haiku",
}  # fmt: skip

# What the groups of a tag's pattern matched.
Parts = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """An operating system and machine to install for.

    *name* is its platform tag, which `platform_named` reads back. *tags* are all the platform
    tags it takes, the preferred first, without `any`. *markers* has os_name, sys_platform,
    platform_machine, platform_system, platform_release and platform_version. There is more
    than one set of them where interpreters with these tags disagree, uv's own first: a file
    that any of them asks for is needed.
    """

    name: str
    tags: tuple[str, ...]
    markers: tuple[Mapping[str, str], ...] = field(hash=False)

    def without_release(self) -> Platform:
        """Return the platform without platform_release and platform_version.

        They name the kernel of one machine; `uv sync --python-platform` leaves them empty.
        """
        return replace(
            self,
            markers=tuple(
                MappingProxyType({**markers, "platform_release": "", "platform_version": ""})
                for markers in self.markers
            ),
        )


def platform_names() -> tuple[str, ...]:
    """Return the names that `uv sync --help` lists, in its order."""
    return tuple(_NAMED)


def platform_named(name: str, environment: Mapping[str, str] = MappingProxyType({})) -> Platform:
    """Return the platform that `--python-platform` *name* asks for.

    *name* is a name that uv takes, or a platform tag. Where a name leaves the version open,
    *environment* decides as for uv: `MACOSX_DEPLOYMENT_TARGET`, `IPHONEOS_DEPLOYMENT_TARGET`,
    `ANDROID_API_LEVEL`. Raises `TargetError` for an unknown name.
    """
    tag = _NAMED.get(name) or _HIDDEN.get(name)
    if tag is None:
        return _platform(name)
    return _platform(
        tag.format(
            macos=_version(environment.get("MACOSX_DEPLOYMENT_TARGET"), default="13_0"),
            ios=_version(environment.get("IPHONEOS_DEPLOYMENT_TARGET"), default="13_0"),
            android=_api_level(environment.get("ANDROID_API_LEVEL")),
        )
    )


def _version(text: str | None, *, default: str) -> str:
    # uv reads the first two numbers, and takes its default where they are none.
    match = re.fullmatch(r"([0-9]+)(?:\.([0-9]+)(?:\..*)?)?", text or "")
    return f"{match[1]}_{match[2] or 0}" if match else default


def _api_level(text: str | None) -> str:
    return text if text and re.fullmatch(r"[0-9]+", text) else "24"


def _platform(tag: str) -> Platform:
    """Take *tag* apart with the first pattern that fits."""
    for pattern, build in _PATTERNS:
        if match := pattern.fullmatch(tag):
            return build(match.groups())
    raise TargetError(f"`{tag}` is no platform that is known", hint=_hint(tag))


def _hint(name: str) -> str:
    known = [*_NAMED, *_HIDDEN, *_EXAMPLES]
    near = get_close_matches(name, known, n=3) or get_close_matches(name.lower(), known, n=3)
    if near:
        return f"Did you mean {' or '.join(f'`{other}`' for other in near)}?"
    return (
        "Give a name that `uv sync --python-platform` takes, such as `linux` or "
        "`aarch64-apple-darwin`, or a platform tag such as `macosx_14_0_arm64`"
    )


def _manylinux(parts: Parts) -> Platform:
    minor, machine = parts
    machine = _SAME_MACHINES.get(machine, machine)
    first = FIRST_MANYLINUX.get(machine)
    if first is None or int(minor) < first:
        raise TargetError(
            f"There are no wheels for `manylinux_2_{minor}_{machine}`",
            hint=f"The first is `manylinux_2_{first}_{machine}`" if first else None,
        )
    tags = []
    for each in range(int(minor), first - 1, -1):
        tags.append(f"manylinux_2_{each}_{machine}")
        # "support legacy manylinux tags with lower priority"
        if legacy := _LEGACY_MANYLINUX.get(each):
            tags.append(f"{legacy}_{machine}")
    return _linux_platform((*tags, f"linux_{machine}"), machine)


def _legacy_manylinux(parts: Parts) -> Platform:
    year, machine = parts
    minors = {legacy: minor for minor, legacy in _LEGACY_MANYLINUX.items()}
    return _manylinux((str(minors[f"manylinux{year}"]), machine))


def _musllinux(parts: Parts) -> Platform:
    minor, machine = parts
    machine = _SAME_MACHINES.get(machine, machine)
    tags = [f"musllinux_1_{each}_{machine}" for each in range(int(minor), -1, -1)]
    return _linux_platform((*tags, f"linux_{machine}"), machine)


def _linux(parts: Parts) -> Platform:
    (machine,) = parts
    machine = _SAME_MACHINES.get(machine, machine)
    return _linux_platform((f"linux_{machine}",), machine)


def _linux_platform(tags: tuple[str, ...], machine: str) -> Platform:
    return Platform(
        name=tags[0],
        tags=tags,
        markers=_markers("posix", "linux", "Linux", _LINUX_MACHINES[machine]),
    )


def _macos(parts: Parts) -> Platform:
    major, minor, machine = parts
    version = (int(major), int(minor) if int(major) < 11 else 0)
    if version < (10, 4):
        raise TargetError(f"There are no wheels for macOS {version[0]}.{version[1]}")
    formats = _MAC_FORMATS[machine]
    # From 11 on each year has a major version, before that each had a minor version of 10.
    tags = [
        f"macosx_{each}_0_{format_}" for each in range(version[0], 10, -1) for format_ in formats
    ]
    if machine == "arm64":
        # "The 'universal2' binary format can have a macOS version earlier than 11.0"
        formats = ("universal2",)
    oldest = version[1] if version[0] == 10 and machine != "arm64" else 16
    tags += [f"macosx_10_{each}_{format_}" for each in range(oldest, 3, -1) for format_ in formats]
    return Platform(
        name=f"macosx_{version[0]}_{version[1]}_{machine}",
        tags=tuple(tags),
        markers=_markers("posix", "darwin", "Darwin", (machine,)),
    )


def _windows(parts: Parts) -> Platform:
    (machine,) = parts
    return Platform(
        name=f"win_{machine}",
        tags=(f"win_{machine}",),
        markers=_markers("nt", "win32", "Windows", _WINDOWS_MACHINES[machine]),
    )


def _windows_32_bit(_parts: Parts) -> Platform:
    # uv says `x86`. A 32-bit Python on 64-bit Windows says what the processor is.
    return Platform(
        name="win32", tags=("win32",), markers=_markers("nt", "win32", "Windows", ("x86", "AMD64"))
    )


def _android(parts: Parts) -> Platform:
    level, abi = parts
    if int(level) < 16:
        raise TargetError(f"There are no wheels for Android API level {level}: the first is 16")
    return Platform(
        name=f"android_{int(level)}_{abi}",
        tags=tuple(f"android_{each}_{abi}" for each in range(int(level), 15, -1)),
        markers=_markers("posix", "android", "Android", (_ANDROID_MACHINES[abi],)),
    )


def _ios(parts: Parts) -> Platform:
    major, minor, machine, device = parts
    if int(major) < 12:
        raise TargetError(f"There are no wheels for iOS {major}: the first is 12")
    versions = [(int(major), each) for each in range(int(minor), -1, -1)]
    # "Consider every possible minor release up to X.9."
    versions += [(each, low) for each in range(int(major) - 1, 11, -1) for low in range(9, -1, -1)]
    return Platform(
        name=f"ios_{int(major)}_{int(minor)}_{machine}_{device}",
        tags=tuple(f"ios_{high}_{low}_{machine}_{device}" for high, low in versions),
        markers=_markers("posix", "ios", "iOS", (machine,)),
    )


def _pyodide(parts: Parts) -> Platform:
    year, patch = parts
    version = f"{int(year)}_{int(patch)}_wasm32"
    markers = _markers("posix", "emscripten", "Emscripten", ("wasm32",))[0]
    release = {
        "platform_release": _EMSCRIPTENS.get(int(year), ""),
        "platform_version": _EMSCRIPTEN_VERSION,
    }
    return Platform(
        name=f"pyodide_{version}",
        tags=(f"pyemscripten_{version}", f"pyodide_{version}"),
        markers=(MappingProxyType({**markers, **release}),),
    )


def _bsd(parts: Parts) -> Platform:
    system, major, rest, machine = parts
    name = f"{system}_{major}{rest}_{machine}"
    return Platform(
        name=name,
        tags=(name,),
        markers=_markers("posix", f"{system}{major}", _BSD_SYSTEMS[system], (machine,)),
    )


def _markers(
    os_name: str, sys_platform: str, system: str, machines: Iterable[str]
) -> tuple[Mapping[str, str], ...]:
    return tuple(
        MappingProxyType(
            {
                "os_name": os_name,
                "sys_platform": sys_platform,
                "platform_machine": machine,
                "platform_system": system,
                "platform_release": "",
                "platform_version": "",
            }
        )
        for machine in machines
    )


def _one_of(words: Iterable[str]) -> str:
    return f"({'|'.join(words)})"


_NUMBER = "([0-9]{1,3})"
_LINUX_MACHINE = _one_of([*_LINUX_MACHINES, *_SAME_MACHINES])
_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[Parts], Platform]], ...] = tuple(
    (re.compile(pattern), build)
    for pattern, build in (
        (rf"manylinux_2_{_NUMBER}_{_LINUX_MACHINE}", _manylinux),
        (rf"manylinux(1|2010|2014)_{_LINUX_MACHINE}", _legacy_manylinux),
        (rf"musllinux_1_{_NUMBER}_{_LINUX_MACHINE}", _musllinux),
        (rf"linux_{_LINUX_MACHINE}", _linux),
        (rf"macosx_{_NUMBER}_{_NUMBER}_{_one_of(_MAC_FORMATS)}", _macos),
        (rf"win_{_one_of(_WINDOWS_MACHINES)}", _windows),
        (r"win32", _windows_32_bit),
        (rf"android_{_NUMBER}_{_one_of(_ANDROID_MACHINES)}", _android),
        (rf"ios_{_NUMBER}_{_NUMBER}_(arm64)_(iphoneos|iphonesimulator)", _ios),
        (rf"ios_{_NUMBER}_{_NUMBER}_(x86_64)_(iphonesimulator)", _ios),
        (rf"(?:pyodide|pyemscripten)_([0-9]{{4}})_{_NUMBER}_wasm32", _pyodide),
        (rf"{_one_of(_BSD_SYSTEMS)}_([0-9]+)((?:_[a-z0-9]+)*?)_(x86_64|[a-z0-9]+)", _bsd),
    )
)
# For the hint after a typing error.
_EXAMPLES = (
    "win32", "win_amd64", "win_arm64",
    *(f"macosx_{major}_0_{machine}" for major in range(11, 17) for machine in _MAC_FORMATS),
    *(f"manylinux2014_{machine}" for machine in FIRST_MANYLINUX),
    *(f"manylinux_2_{minor}_{machine}" for minor in _GLIBCS for machine in FIRST_MANYLINUX),
    *(f"musllinux_1_2_{machine}" for machine in _LINUX_MACHINES),
    *(f"linux_{machine}" for machine in _LINUX_MACHINES),
    *(f"android_24_{abi}" for abi in _ANDROID_MACHINES),
    "ios_13_0_arm64_iphoneos", "ios_13_0_arm64_iphonesimulator",
)  # fmt: skip
