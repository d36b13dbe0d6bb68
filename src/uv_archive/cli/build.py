"""`uv-archive build`: options in, one call of `uv_archive.build`, the outcome out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import click

from uv_archive.build import BuildReporter, Options, build_archive
from uv_archive.cli.built import builds_as_json, built_line, show_builds
from uv_archive.cli.main import DONE, EXIT_STATUSES, FAILED
from uv_archive.cli.output import counted, say, show_hint
from uv_archive.uv import find_uv

#: Seconds.
TIMEOUT = 3600.0


class Lines(BuildReporter):
    """Say a line for each wheel: builds take seconds to minutes."""

    def waiting(self, message: str) -> None:
        say(message)

    def building(self, wheels: int, python: str) -> None:
        say(f"Building {counted(wheels, 'wheel')} for {python}")

    def built(self, label: str, wheel: str) -> None:
        say(f"Built `{wheel}`")

    def failed(self, label: str, reason: str) -> None:
        say(f"No wheel of `{label}`: {reason}")


@click.command("build", epilog=EXIT_STATUSES)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-p",
    "--python",
    "pythons",
    multiple=True,
    metavar="PYTHON",
    help="Build with this Python, a version or a path; repeatable  [default: what uv would take]",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Builds at a time  [default: as many as there are processors]",
)
@click.option(
    "--build-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Kill a build that takes longer",
)
@click.option(
    "--output-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What is written to standard output; messages go to standard error",
)
@click.option("-q", "--quiet", is_flag=True, help="Write only errors")
def command(
    *,
    directory: Path,
    pythons: tuple[str, ...],
    jobs: int | None,
    build_timeout: float,
    output_format: Literal["text", "json"],
    quiet: bool,
) -> int:
    """Build, from nothing but the archive in DIR, the wheels that this machine has none for.

    A wheel is built for each sdist and git source that a recorded request needs on this machine
    and that has no usable wheel. It gets the recorded build requirements and no others; on Linux,
    where the user may make namespaces, no network either. This runs the code of the sdists.

    \b
    Examples:
      uv-archive build dist/dependencies
      uv-archive build dist/dependencies -p 3.12 -j 4
    """
    outcome = build_archive(
        directory,
        Options(pythons=pythons, jobs=jobs or default_jobs(), timeout=build_timeout),
        uv=find_uv(os.environ),
        environment=os.environ,
        reporter=BuildReporter() if quiet else Lines(),
    )
    if output_format == "json":
        click.echo(
            json.dumps(
                {"archive": str(outcome.directory), **builds_as_json(outcome)},
                indent=2,
                sort_keys=True,
            )
        )
    show_builds(outcome.failed)
    if not quiet and output_format == "text":
        say(built_line(outcome))
        if outcome.elsewhere:
            show_hint(
                f"{counted(len(outcome.elsewhere), 'source')} the archive has for other Pythons or "
                "platforms alone; `-p` names a Python to build for"
            )
        say(f"Archive digest: sha256:{outcome.digest}")
    return FAILED if outcome.failed else DONE


def default_jobs() -> int:
    """Return how many builds run at a time: what a build needs beside a processor isn't known."""
    return os.cpu_count() or 1
