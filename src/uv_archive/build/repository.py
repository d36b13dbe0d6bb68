"""What git says of a source in which something was changed for its build."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from uv_archive.errors import ToolError
from uv_archive.fetch.git import Git, GitError, find_git

#: Nothing of the user's: filters, hooks and aliases are commands.
QUIET = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "file",
}


def hide_change(path: Path, *, tree: Path, environment: Mapping[str, str]) -> None:
    """Have git take the file at *path*, in a build's own copy *tree*, for unchanged.

    Backends such as setuptools-scm ask git for the version, and a changed file makes another one.
    """
    own = next((each for each in path.parents if (each / ".git").exists()), None)
    # The index of a linked work tree isn't the copy's.
    if own is None or not own.is_relative_to(tree) or not (own / ".git").is_dir():
        return
    # What a link leads to isn't the copy's either.
    if any((own / ".git" / name).is_symlink() for name in ("", "index", "info", "info/exclude")):
        return
    try:
        _hide(path.relative_to(own).as_posix(), own, find_git(environment).adding(QUIET))
    except (ToolError, GitError, OSError):
        return  # Who can't ask git isn't told of a change, and another version is refused.


def _hide(path: str, tree: Path, git: Git) -> None:
    # No hook and no other command of the repository's runs.
    still = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
    command = (f"--git-dir={tree / '.git'}", f"--work-tree={tree}", *still)
    if git.output(*command, "ls-files", "--", f":(literal){path}", directory=tree):
        git.output(*command, "update-index", "--assume-unchanged", "--", path, directory=tree)
        return
    information = tree / ".git" / "info"
    information.mkdir(exist_ok=True)
    with (information / "exclude").open("a", encoding="utf-8") as excluded:
        pattern = re.sub(r"([][*?! #])", r"\\\1", path)
        excluded.write(f"\n/{pattern}\n")
