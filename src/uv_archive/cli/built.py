"""What came of builds, for people and as JSON (`docs/reference/build-json.md`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from uv_archive.archive.manifest import JSONObject
from uv_archive.cli.output import counted, fail, show_hint, size

if TYPE_CHECKING:
    from uv_archive.build import BuildOutcome, FailedBuild


def built_line(outcome: BuildOutcome) -> str:
    """Say in one line what was built, and how."""
    built = sum(file.size for file in outcome.built)
    line = f"{counted(len(outcome.built), 'wheel')} built ({size(built)})"
    if not outcome.built and not outcome.failed:
        line = f"Nothing to build for {', '.join(outcome.targets)}"
    if outcome.there:
        line += f", {len(outcome.there):,} already there"
    if outcome.failed:
        line += f", {len(outcome.failed):,} failed"
    if outcome.built and not outcome.confined:
        line += "; this system lets no build be kept from the network"
    return line


def show_builds(failed: Sequence[FailedBuild]) -> None:
    """Write what has no wheel, with the end of the log, and where all of it is."""
    for one in failed:
        fail(f"`{one.label}` has no wheel: {one.reason}")
        for line in one.lines:
            click.echo(f"  | {line}", err=True)
        if one.log is not None:
            show_hint(f"The whole log is in `{one.log}`")


def builds_as_json(outcome: BuildOutcome) -> JSONObject:
    """Return the outcome as JSON values; sizes are in bytes."""
    return {
        "digest": f"sha256:{outcome.digest}" if outcome.digest else None,
        "targets": list(outcome.targets),
        "built": [
            {"package": one.label, "path": one.path, "size": one.size} for one in outcome.built
        ],
        "there": list(outcome.there),
        "elsewhere": list(outcome.elsewhere),
        "failures": [
            {
                "package": one.label,
                "reason": one.reason,
                "lines": list(one.lines),
                "log": str(one.log) if one.log else None,
            }
            for one in outcome.failed
        ],
        "network_off": outcome.confined,
        "logs": str(outcome.logs),
    }
