"""What a build sees of the environment: what a compiler needs, and nothing that is secret.

The same on every run, so that a build doesn't depend on who runs it, from where and when.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# What finds compilers and tells them what to do; the names that a build may depend on.
_KEPT = frozenset(
    {
        *("PATH", "CC", "CXX", "CPP", "FC", "F77", "F90", "LD", "AR", "AS", "NM", "RANLIB"),
        *("STRIP", "OBJCOPY", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "FFLAGS", "FCFLAGS", "LDFLAGS"),
        *("LDSHARED", "LDCXXSHARED", "OPT", "BASECFLAGS", "ARCHFLAGS", "SDKROOT", "MAKE"),
        *("MAKEFLAGS", "MAX_JOBS", "MACOSX_DEPLOYMENT_TARGET", "DEVELOPER_DIR", "INCLUDE", "LIB"),
        *("LIBPATH", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH"),
        *("LD_LIBRARY_PATH", "LD_RUN_PATH", "DYLD_LIBRARY_PATH", "COMPILER_PATH"),
        *(
            "GCC_EXEC_PREFIX",
            "PKG_CONFIG",
            "ACLOCAL_PATH",
            "JAVA_HOME",
            "GOROOT",
            "LLVM_CONFIG",
            "SWIG",
        ),
        *("RUSTUP_HOME", "RUSTC", "RUSTFLAGS", "CARGO", "CARGO_BUILD_TARGET", "CARGO_BUILD_JOBS"),
        *("CUDA_HOME", "CUDA_PATH", "CUDACXX", "CUDAHOSTCXX", "NVCC", "ROCM_PATH", "HIP_PATH"),
        *("OPENBLAS", "MKLROOT", "HDF5_DIR", "BLAS", "LAPACK", "BOOST_ROOT", "CONDA_PREFIX"),
        *("SystemRoot", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "WINDIR"),
        *("PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMDATA", "COMMONPROGRAMFILES"),
        *("NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "DISTUTILS_USE_SDK", "MSSDK"),
        *("_PYTHON_HOST_PLATFORM", "NIX_CFLAGS_COMPILE", "NIX_LDFLAGS", "NIX_CC"),
    }
)
_KEPT_BEGINNINGS = ("CMAKE_", "PKG_CONFIG_", "VSCMD_", "VC", "VS", "TORCH_CUDA_")
# Whatever its name, a variable with one of these in it may be a secret.
_SECRET = re.compile(
    r"TOKEN|PASSW|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY|AUTH|NETRC", re.IGNORECASE
)
_USER_IN_URL = re.compile(r"://[^/\s]*@")


def surroundings(environment: Mapping[str, str], *, private: Path, epoch: int) -> dict[str, str]:
    """Return the environment of a build that has *private* for its own directory.

    *epoch* is in seconds since 1970. `tool.uv.extra-build-variables` adds what a build needs
    beyond this.
    """
    home = environment.get("HOME")
    kept = dict(_kept(environment))
    if home and "RUSTUP_HOME" not in kept and Path(home, ".rustup").is_dir():
        kept["RUSTUP_HOME"] = str(Path(home, ".rustup"))  # The toolchains: rustup's `cargo` asks.
    return {
        **kept,
        **_places(private),
        "SOURCE_DATE_EPOCH": str(epoch),
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "TZ": "UTC",
        **({"LC_ALL": "C.UTF-8"} if sys.platform == "linux" else {}),
        "CARGO_NET_OFFLINE": "true",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def _kept(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environment.items():
        is_known = name in _KEPT or name.upper().startswith(_KEPT_BEGINNINGS)
        if is_known and not _SECRET.search(name) and not _USER_IN_URL.search(value):
            yield name, value


def _places(private: Path) -> Mapping[str, str]:
    home, temporary = str(private / "home"), str(private / "tmp")
    if sys.platform == "win32":
        names = ("USERPROFILE", "APPDATA", "LOCALAPPDATA")
        return {"TEMP": temporary, "TMP": temporary, **dict.fromkeys(names, home)}
    return {"HOME": home, "TMPDIR": temporary, "CARGO_HOME": f"{home}/cargo"}
