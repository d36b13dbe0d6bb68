"""`uv-archive verify`: options in, one call of `uv_archive.verify`, its findings out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import click

from uv_archive.cli.archive_digest import ArchiveDigest
from uv_archive.cli.download import SELECTION, TARGETS, Selected, include_of
from uv_archive.cli.main import DONE, EXIT_STATUSES, FAILED
from uv_archive.cli.output import counted, give, is_terminal, say, show_hint, shown, size, warn
from uv_archive.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from uv_archive.archive.manifest import JSONObject
    from uv_archive.digest import Digest
    from uv_archive.download import Asked
    from uv_archive.selection import Include
    from uv_archive.verify import (
        Checked,
        Facts,
        Finding,
        Rehearsal,
        Report,
        Reporter,
        VerifyRequest,
    )

_EXIT_STATUSES = EXIT_STATUSES.replace(
    "the work was begun and failed; what was finished is kept", "there are findings"
).replace("; running it again goes on", "")
# JSON has all of them.
_MOST_HINTS = 3


class Values(Selected):
    """The options as they were given."""

    directory: Path | None
    project: str | None
    script: Path | None
    pylock: Path | None
    python: tuple[str, ...]
    python_platform: tuple[str, ...]
    all_platforms: bool
    expect: Digest | None
    rehearse: bool
    output_format: Literal["text", "json"]
    quiet: bool
    no_progress: bool


_DIRECTORY = click.Argument(
    ["directory"], required=False, type=click.Path(path_type=Path), metavar="[DIR]"
)
_PROJECT = [
    click.Option(
        ["--project"],
        metavar="DIR",
        envvar="UV_PROJECT",
        help="Hold the archive against the lock of the project in this directory, too",
    ),
    click.Option(
        ["--script"],
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The same with the lock of a script",
    ),
    click.Option(
        ["--pylock"],
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The same with a `pylock.toml`",
    ),
]
_CHECKS = [
    click.Option(
        ["--expect"],
        type=ArchiveDigest(),
        metavar="sha256:DIGEST",
        help="What the archive's digest has to be, as `download` printed it",
    ),
    click.Option(
        ["--rehearse"],
        is_flag=True,
        help="Install from the archive into a throw-away environment, without network where the "
        "system allows that",
    ),
]
_OUTPUT = [
    click.Option(
        ["--output-format"],
        type=click.Choice(["text", "json"]),
        default="text",
        help="Write the findings to stdout as text or as JSON  [default: text]",
    ),
    click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but findings and errors"),
    click.Option(
        ["--no-progress"], is_flag=True, envvar="UV_NO_PROGRESS", help="Draw no progress bar"
    ),
]


def _verify(**values: Unpack[Values]) -> int:
    """Check that every file of an archive is there, is right, and that there is nothing else.

    DIR is the archive's directory; without it, dist/dependencies below the project. Nothing is
    written there. With targets, extras, groups or packages it is also checked that each of them
    can be installed from it, for the project that is found from the working directory or named.

    \b
    Examples:
      uv-archive verify dist/dependencies
      uv-archive verify dist/dependencies --project . --expect sha256:…
      uv-archive verify dist/dependencies -p 3.12 --python-platform windows
    """
    from uv_archive.verify import verify

    quiet = values["quiet"] or values["output_format"] == "json"
    with _reporting(quiet=values["quiet"], draw=not values["no_progress"]) as reporter:
        report = verify(_request(values), reporter=reporter)
    if report.doubt:
        warn(f"{report.doubt}, as far as uv can tell; the archive was held against it as it stands")
        show_hint("Run `uv lock` and `uv-archive download`, where there is a network")
    if values["output_format"] == "json":
        click.echo(json.dumps(report_as_json(report), indent=2, sort_keys=True))
    else:
        _show_findings(report.findings)
    if not quiet:
        _show_summary(report)
    return FAILED if report.findings else DONE


command = SectionedCommand(
    "verify",
    sections={
        "Project": _PROJECT,
        "Targets": TARGETS,
        "Selection (as in `uv sync`)": SELECTION,
        "Checks": _CHECKS,
        "Output": _OUTPUT,
    },
    callback=_verify,
    epilog=_EXIT_STATUSES,
)
command.params.insert(0, _DIRECTORY)


def report_as_json(report: Report) -> JSONObject:
    """Return the report as JSON values (`docs/reference/verify-json.md`)."""
    return {
        "archive": str(report.directory),
        "verdict": _verdict(report),
        "digest": f"sha256:{report.digest}" if report.digest else None,
        "files": report.files,
        "size": report.size,
        "lock": str(report.lock) if report.lock else None,
        "findings": [_finding(finding) for finding in report.findings],
        "targets": [_checked(checked) for checked in report.targets],
        "rehearsals": [_rehearsal(rehearsal) for rehearsal in report.rehearsals],
    }


def _request(values: Values) -> VerifyRequest:
    from uv_archive.verify import VerifyRequest

    include = include_of(values)
    platforms = values["python_platform"] or values["all_platforms"]
    targets = bool(values["python"] or platforms or include.flags())
    named = any(values[key] for key in ("project", "script", "pylock"))
    with_project = named or targets or values["rehearse"] or values["directory"] is None
    return VerifyRequest(
        directory=values["directory"],
        asked=_asked(values, include) if with_project else None,
        targets=targets,
        rehearse=values["rehearse"],
        expect=values["expect"],
        environment=os.environ,
    )


def _asked(values: Values, include: Include) -> Asked:
    from uv_archive.download import Asked

    return Asked(
        start=Path(values["project"] or "."),
        script=values["script"],
        pylock=values["pylock"],
        pythons=values["python"],
        platforms=values["python_platform"],
        all_platforms=values["all_platforms"],
        include=include,
    )


@contextmanager
def _reporting(*, quiet: bool, draw: bool) -> Iterator[Reporter]:
    from uv_archive.verify import Reporter

    if quiet or not (draw and is_terminal()):
        yield Reporter()
        return
    from uv_archive.cli.verify_bar import VerifyBar

    bar = VerifyBar()
    try:
        yield bar
    finally:
        bar.close()


def _verdict(report: Report) -> str:
    if report.findings:
        return "faulty"
    return "authentic" if report.expected else "consistent"


def _finding(finding: Finding) -> JSONObject:
    return {
        "kind": finding.kind,
        "path": finding.path,
        "elsewhere": finding.elsewhere,
        "target": finding.target,
        "message": finding.message,
        "hint": finding.hint,
        "expected": _facts(finding.expected),
        "found": _facts(finding.found),
    }


def _facts(facts: Facts | None) -> JSONObject | None:
    if facts is None:
        return None
    digest = str(facts.digest) if facts.digest else None
    return {"type": facts.type, "size": facts.size, "digest": digest}


def _checked(checked: Checked) -> JSONObject:
    return {
        "target": checked.target,
        "distributions": checked.distributions,
        "lacking": checked.lacking,
        "by_uv": checked.by_uv,
        "reason": checked.reason,
    }


def _rehearsal(rehearsal: Rehearsal) -> JSONObject:
    return {
        "target": rehearsal.target,
        "succeeded": rehearsal.succeeded,
        "network_off": rehearsal.network_off,
        "distributions": rehearsal.distributions,
        "reason": rehearsal.reason,
    }


def _show_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        # A file's name may have line ends.
        give(f"{finding.kind}: {finding.message}".replace("\n", r"\n").replace("\t", r"\t"))
    hints = list(dict.fromkeys(finding.hint for finding in findings if finding.hint))
    for hint in hints[:_MOST_HINTS]:
        show_hint(hint)


def _show_summary(report: Report) -> None:
    for checked in report.targets:
        say(_of_target(checked))
    for rehearsal in report.rehearsals:
        say(_of_rehearsal(rehearsal))
    read = f"{counted(report.files, 'file')}, {size(report.size)}"
    where = shown(report.directory)
    if report.findings:
        say(f"{counted(len(report.findings), 'finding')} in {where} ({read} read)")
        return
    say(f"{where} is {_verdict(report)}: {read}")
    if not report.expected:
        say(f"Archive digest: sha256:{report.digest}")
        show_hint("`--expect` compares it with what `download` printed: only that shows forgery")


def _of_target(checked: Checked) -> str:
    there = checked.distributions - checked.lacking
    by = "uv agrees" if checked.by_uv else f"by own selection only: {checked.reason}"
    return f"{checked.target}: {there:,} of {counted(checked.distributions, 'file')} there; {by}"


def _of_rehearsal(rehearsal: Rehearsal) -> str:
    if rehearsal.succeeded is None:
        return f"{rehearsal.target}: not rehearsed: {rehearsal.reason}"
    how = "without network" if rehearsal.network_off else "offline, with the network reachable"
    if rehearsal.succeeded:
        files = counted(rehearsal.distributions, "distribution")
        return f"{rehearsal.target}: {files} installed and compared, {how}"
    return f"{rehearsal.target}: the install failed, {how}"
