"""The command group, and the one place that turns errors into exit statuses."""

from __future__ import annotations

import gc
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import click

from uv_archive import __version__
from uv_archive.cli.output import fail, say, show_error, show_hint
from uv_archive.cli.overview import COMMANDS, EXIT_STATUSES, overview
from uv_archive.errors import UvArchiveError

__all__ = ["DONE", "EXIT_STATUSES", "FAILED", "REFUSED", "group", "run"]

#: What is exited with, as uv does; 128 and the signal's number where one ended the run.
DONE, FAILED, REFUSED = 0, 1, 2


class _Terminated(BaseException):
    """SIGTERM came: unwind, so that what is open is closed."""


class _Commands(click.Group):
    """Imports a command's module when the command is asked for, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = cmd_name.replace("generate-shell-", "")
        command = importlib.import_module(f"uv_archive.cli.{module}").command
        return command if isinstance(command, click.Command) else None

    def get_help(self, ctx: click.Context) -> str:
        return overview().rstrip()


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.pass_context
def group(context: click.Context) -> None:
    """Run a command. `overview` is the help."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(REFUSED)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status. Nothing a user can cause is a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    # A lock is thousands of objects that all stay: looking for garbage among them is in vain.
    gc.set_threshold(100_000)
    try:
        status = group.main(list(arguments), prog_name="uv-archive", standalone_mode=False)
    except UvArchiveError as error:
        show_error(error)
        return error.exit_status
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        _show_usage_error(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("Stopped; run it again to go on")
        return 128 + signal.SIGINT
    except _Terminated:
        say("Stopped; run it again to go on")
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        # Whoever read our output has gone. Keep the interpreter from finding out once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        # Refusals are named where they are met; this is for one that nobody foresaw.
        _show_refusal(error)
        return FAILED
    return status if isinstance(status, int) else DONE


def _show_refusal(error: OSError) -> None:
    reason = os.strerror(error.errno) if error.errno else str(error)
    fail(f"`{error.filename}`: {reason}" if error.filename else f"The system refused: {reason}")
    show_hint("See to that, then run it again: it goes on where it stopped")


def _show_usage_error(error: click.ClickException) -> None:
    """Write an error of the command line as any other is written."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "uv-archive"
    # click puts names into quotation marks.
    fail(re.sub(r"'([^']*)'", r"`\1`", error.format_message()).rstrip("."))
    show_hint(f"`{command} --help` says what there is")


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated
