"""`uv-archive generate-shell-completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("generate-shell-completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script of a shell.

    \b
    Example:
      uv-archive generate-shell-completion bash >> ~/.bashrc
    """
    from uv_archive.cli.main import group

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(completion(group, {}, "uv-archive", "_UV_ARCHIVE_COMPLETE").source())
    return 0
