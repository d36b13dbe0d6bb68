"""The command line: parse, call one library function, render. Nothing else."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `uv-archive` and exit with its status."""
    # What scripts and newcomers ask most needs nothing of the rest.
    match sys.argv[1:]:
        case ["--version" | "-V"]:
            from uv_archive import __version__

            sys.stdout.write(f"uv-archive {__version__}\n")
        case ["--help" | "-h"]:
            from uv_archive.cli.overview import overview

            sys.stdout.write(overview())
        case arguments:
            from uv_archive.cli.main import run

            sys.exit(run(arguments))
