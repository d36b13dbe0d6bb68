"""The command line: parse, call one library function, render. Nothing else."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `uv-archive` and exit with its status."""
    # Asking for the version is what scripts do most; it needs nothing of the rest.
    if sys.argv[1:] in (["--version"], ["-V"]):
        from importlib.metadata import version

        sys.stdout.write(f"uv-archive {version('uv-archive')}\n")
        return
    from uv_archive.cli.main import run

    sys.exit(run(sys.argv[1:]))
