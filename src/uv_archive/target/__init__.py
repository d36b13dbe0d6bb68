"""Targets: what an install is for. A Python, a platform, and the tags and markers they give.

uv's names and tables are followed, not `packaging`'s, because the file chosen here has to be
the one that uv asks for on the far side. Source: uv's `uv-platform-tags` and
`uv-configuration/src/target_triple.rs`.
"""

from uv_archive.target.interpreter import Interpreter, inspect_interpreter
from uv_archive.target.platforms import Platform, platform_named, platform_names
from uv_archive.target.python import Python, parse_python, patch_releases
from uv_archive.target.target import Target, python_abis

__all__ = [
    "Interpreter",
    "Platform",
    "Python",
    "Target",
    "inspect_interpreter",
    "parse_python",
    "patch_releases",
    "platform_named",
    "platform_names",
    "python_abis",
]
