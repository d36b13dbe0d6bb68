"""Say as JSON, on one line, what an interpreter is and runs on. Runs with any Python from 3.8 on.

This file is given to the interpreter as text: it imports the standard library only, and
decides nothing. Every value is a string; an empty one stands for "no" or "doesn't apply".
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import struct
import subprocess
import sys
import sysconfig


def describe() -> dict[str, str]:
    """Collect the facts."""
    implementation = sys.implementation
    release = implementation.version
    version = "{}.{}.{}".format(*release[:3])
    if release.releaselevel != "final":
        version += release.releaselevel[0] + str(release.serial)
    glibc = glibc_version()
    mac_version, _, mac_machine = platform.mac_ver()
    return {
        "implementation_name": implementation.name,
        "implementation_version": version,
        "cache_tag": implementation.cache_tag or "",
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        # A build from a checkout says `3.15.0a1+`, which is no version (PEP 440).
        "python_full_version": platform.python_version().rstrip("+"),
        "sys_platform": sys.platform,
        "platform": sysconfig.get_platform(),
        "bits": str(8 * struct.calcsize("P")),
        "free_threaded": said(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "debug": said(sysconfig.get_config_var("Py_DEBUG")),
        "glibc": glibc,
        "manylinux": said(glibc and manylinux_compatible(glibc)),
        "musl": musl_version(sys.executable) if sys.platform == "linux" else "",
        "mac_version": mac_version,
        "mac_machine": mac_machine,
        "ios_version": platform.ios_ver().release if hasattr(platform, "ios_ver") else "",
        "android_api": str(getattr(sys, "getandroidapilevel", str)()),
        "pyemscripten": sysconfig.get_config_var("PYEMSCRIPTEN_PLATFORM_VERSION") or "",
        "pyodide": sysconfig.get_config_var("PYODIDE_ABI_VERSION") or "",
    }


def said(value: object) -> str:
    """Return a truth value as a string."""
    return "yes" if value else ""


def glibc_version() -> str:
    """Return `2.36` or the like; nothing where the C library is another."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, OSError, ValueError):
        name = version = ""
    if name == "glibc":
        return version
    try:
        import ctypes  # noqa: PLC0415 - some interpreters don't have it

        said_by_library = ctypes.CDLL(None).gnu_get_libc_version
        said_by_library.restype = ctypes.c_char_p
        return str(said_by_library().decode("ascii"))
    except (ImportError, OSError, AttributeError, TypeError):
        return ""


def manylinux_compatible(glibc: str) -> bool:
    """Whether the distribution's `_manylinux` module (PEP 600), if any, lets wheels in."""
    try:
        _manylinux = importlib.import_module("_manylinux")
    except ImportError:
        return True
    major, minor = (int(part) for part in glibc.split(".")[:2])
    judge = getattr(_manylinux, "manylinux_compatible", None)
    if judge is not None:
        answer = judge(major, minor, sysconfig.get_platform().partition("-")[2])
        return answer is None or bool(answer)
    legacy = {(2, 5): "manylinux1", (2, 12): "manylinux2010", (2, 17): "manylinux2014"}
    name = legacy.get((major, minor))
    return name is None or bool(getattr(_manylinux, name + "_compatible", True))


def musl_version(executable: str) -> str:
    """Return `1.2` or the like, which musl's loader says, if that loads *executable*."""
    loader = elf_loader(executable)
    if "musl" not in loader:
        return ""
    lines = subprocess.run([loader], stderr=subprocess.PIPE, check=False).stderr.decode()  # noqa: S603
    for line in lines.splitlines():
        if line.startswith("Version "):
            return line[len("Version ") :].strip()
    return ""


def elf_loader(executable: str) -> str:
    """Return the path in the `PT_INTERP` entry of an ELF file's program headers (System V ABI)."""
    try:
        with open(executable, "rb") as file:  # noqa: PTH123 - a text that has to start fast
            identity = file.read(16)
            if identity[:4] != b"\x7fELF":
                return ""
            wide, order = identity[4] == 2, "<" if identity[5] == 1 else ">"
            rest = file.read(48 if wide else 36)
            (table,) = struct.unpack_from(order + ("Q" if wide else "I"), rest, 16 if wide else 12)
            size, count = struct.unpack_from(order + "HH", rest, 38 if wide else 26)
            for index in range(count):
                file.seek(table + index * size)
                entry = file.read(size)
                if struct.unpack_from(order + "I", entry)[0] != 3:
                    continue
                where = struct.unpack_from(order + ("Q" if wide else "I"), entry, 8 if wide else 4)
                length = struct.unpack_from(
                    order + ("Q" if wide else "I"), entry, 32 if wide else 16
                )
                file.seek(where[0])
                return file.read(length[0]).rstrip(b"\0").decode()
    except (OSError, TypeError, ValueError, struct.error):
        pass
    return ""


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(describe()) + "\n")
