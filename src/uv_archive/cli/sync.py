"""`uv-archive sync`: hands `uv sync`'s own flags on, and renders how it ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click
from packaging.utils import NormalizedName

from uv_archive.cli.archive_digest import ArchiveDigest
from uv_archive.cli.main import EXIT_STATUSES
from uv_archive.cli.output import counted, give, printable, say, show_hint, warn
from uv_archive.digest import Digest
from uv_archive.sync import SyncReporter, SyncRequest, sync
from uv_archive.sync.flags import parse_flags
from uv_archive.uv import find_uv


class _Reporter(SyncReporter):
    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def checking(self, files: int) -> None:
        if not self._quiet:
            say(f"Checking {counted(files, 'distribution')}")

    def warning(self, message: str, hint: str) -> None:
        warn(message)
        show_hint(hint)

    def waiting(self, message: str) -> None:
        say(message)

    def interrupted(self) -> None:
        say("An earlier sync was stopped before its end: comparing every installed file")

    def short(self, faults: Mapping[NormalizedName, str], *, repairing: bool) -> None:
        doing = ", and installed again" if repairing else ""
        say(f"{counted(len(faults), 'distribution')} not whole{doing}:")
        for name, fault in sorted(faults.items()):
            say(f"  {name}: {fault}")


@click.command(
    "sync",
    context_settings={
        "ignore_unknown_options": True,
        "help_option_names": ["-h", "--help"],
    },
    epilog=EXIT_STATUSES + "\nOtherwise uv's own exit status is passed through.",
)
@click.option(
    "--dist-archive",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The archive's directory  [default: dist/dependencies below the project]",
)
@click.option(
    "--only-locked",
    is_flag=True,
    help="Refuse build requirements and built wheels, which no lock vouches for",
)
@click.option(
    "--expect",
    type=ArchiveDigest(),
    metavar="sha256:DIGEST",
    help="Refuse an archive with another digest than `download` printed",
)
@click.option(
    "--pylock",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A `pylock.toml` of any tool instead of a project; it is installed into `.venv` beside "
    "it, or what `--python` names",
)
@click.option(
    "--use-archived-lock",
    is_flag=True,
    help="Take the lock in the archive, where there is none here",
)
@click.option(
    "--verify-install",
    is_flag=True,
    help="Afterwards compare the hash of every installed file, and not only its size",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[FLAGS OF UV SYNC]")
def command(
    *,
    dist_archive: Path | None,
    only_locked: bool,
    expect: Digest | None,
    verify_install: bool,
    pylock: Path | None,
    use_archived_lock: bool,
    arguments: tuple[str, ...],
) -> int:
    """Install a project from an archive, as `uv sync` would, and from nothing else.

    It takes the flags of `uv sync`; `docs/reference/sync-flags.md` says what becomes of each.
    The project's `pyproject.toml` and `uv.lock` stay as they are.

    \b
    Examples:
      uv-archive sync
      uv-archive sync --dist-archive dist/dependencies --extra plot
    """
    quiet = parse_flags(arguments).is_quiet
    result = sync(
        SyncRequest(
            arguments=arguments,
            archive=dist_archive,
            environment=os.environ,
            only_locked=only_locked,
            expect=expect,
            verify_install=verify_install,
            pylock=pylock,
            use_archived_lock=use_archived_lock,
        ),
        uv=find_uv(os.environ, archive=dist_archive or Path("dist", "dependencies")),
        reporter=_Reporter(quiet=quiet),
    )
    if result.stdout:
        give(result.stdout.rstrip("\n"))
    if result.stderr:
        click.echo(printable(result.stderr), err=True, nl=False)
    if result.unlocked and not (result.status or quiet):
        say(
            f"{counted(result.unlocked, 'file')}, to build with or built before, that the lock "
            "doesn't name, "
            + ("agreed with the expected archive" if expect else "agreed with the archive's record")
        )
    return result.status
