"""A script with its requirements in itself (PEP 723), and the lock beside it.

Specification: inline script metadata. uv calls the lock of `x.py` `x.py.lock`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uv_archive.errors import ProjectError
from uv_archive.project import tool_uv

# "The canonical regular expression" of the specification.
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """A script on disk. *metadata* is the TOML of its block; the lock lies in *root*."""

    path: Path
    metadata: Mapping[str, object] = field(repr=False)

    #: A script is no package.
    name = None

    @property
    def root(self) -> Path:
        return self.path.parent

    @property
    def lock_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.lock")

    @property
    def arguments(self) -> tuple[str, ...]:
        """What tells uv which script is meant."""
        return ("--script", str(self.path))

    @property
    def identity(self) -> str:
        """What names the script in an archive: its file name."""
        return self.path.name

    @property
    def settings(self) -> Mapping[str, object]:
        """`tool.uv` of the script itself."""
        return tool_uv(self.metadata)


def find_script(path: Path) -> Script:
    """Read the script at *path*. Raises `ProjectError`."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ProjectError(f"`{path}` can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProjectError(f"`{path}` isn't a script: it isn't UTF-8") from error
    # Not `resolve`: uv leaves symbolic links as they are.
    return Script(path=Path(os.path.abspath(path)), metadata=_metadata(text, path))  # noqa: PTH100


def _metadata(text: str, path: Path) -> Mapping[str, object]:
    text = text.replace("\r\n", "\n")
    blocks = [block for block in _BLOCK.finditer(text + "\n") if block["type"] == "script"]
    if len(blocks) != 1:
        raise ProjectError(
            f"`{path}` has {'several blocks' if blocks else 'no block'} of script metadata",
            hint=f"`uv init --script {path}` adds one" if not blocks else None,
        )
    content = "".join(
        line[2:] if line.startswith("# ") else line[1:]
        for line in blocks[0]["content"].splitlines(keepends=True)
    )
    try:
        return tomllib.loads(content)
    except (ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or ["nested too deeply"])[0]
        raise ProjectError(f"The metadata in `{path}` aren't TOML: {reason}") from error


def script_of(metadata: str) -> str:
    """Write a script that is nothing but *metadata*, TOML."""
    lines = (f"# {line}".rstrip() for line in metadata.splitlines())
    return "\n".join(("# /// script", *lines, "# ///", ""))
