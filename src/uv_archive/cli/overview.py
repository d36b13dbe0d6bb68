"""What the program does at all, as `--help` says it: text, so that nothing has to be imported."""

from __future__ import annotations

COMMANDS = {
    "download": "Copy a lock's distributions into an archive.",
    "build": "Build the wheels that an archive has none for.",
    "sync": "Install a project from an archive, without a network.",
    "verify": "Check that an archive has every file, right, and nothing else.",
    "generate-shell-completion": "Print the completion script of a shell.",
}

#: The mark in the first line keeps click from wrapping what follows.
EXIT_STATUSES = """\b
Exit status:
  0  done
  1  the work was begun and failed; what was finished is kept
  2  the request can't be carried out as it stands; nothing was changed
  130, 143  ended by SIGINT or SIGTERM; running it again goes on
"""

_TEXT = """\
Usage: uv-archive [OPTIONS] COMMAND [ARGS]...

  Take a uv project offline: archive its locked distributions, and install
  from the archive.

  Examples:
    uv-archive download --all-platforms -o dist/dependencies
    uv-archive sync --dist-archive dist/dependencies

Commands:
{commands}

Options:
  -V, --version  Show the version and exit.
  -h, --help     Show this message and exit.

{statuses}"""


def overview() -> str:
    """Return the help of the whole program, at most 80 columns wide."""
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {_wrapped(text, width + 4)}" for name, text in COMMANDS.items())
    return _TEXT.format(
        commands="\n".join(lines),
        statuses=EXIT_STATUSES.removeprefix("\b\n"),
    )


def _wrapped(text: str, indent: int) -> str:
    """Break *text* before column 80, and begin further lines at *indent*."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 + indent > 80:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".lstrip()
    return f"\n{' ' * indent}".join(lines)
