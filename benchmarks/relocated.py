"""Write a relocated lock with its scratch project, for plain uv: `PROJECT ARCHIVE DIRECTORY`.

Prints the arguments by which uv finds it, one a line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from uv_archive.lock.reader import read_lock
from uv_archive.lock.relocate import relocate
from uv_archive.project import find_project
from uv_archive.scratch import write_scratch
from uv_archive.settings import read_settings


def main() -> None:
    """Write it."""
    project, archive, directory = map(Path, sys.argv[1:4])
    found = find_project(project)
    lock = read_lock(found.lock_path)
    files = {
        (package.position, str(one.filename)): archive / str(one.filename)
        for package in lock.packages
        for one in package.distributions
        if (archive / str(one.filename)).is_file()
    }
    directory.mkdir(parents=True)
    scratch = write_scratch(
        found,
        lock=relocate(lock, files=files, project_root=found.root),
        directory=directory,
        settings=read_settings(found.root, {}).options,
    )
    sys.stdout.writelines(f"{argument}\n" for argument in scratch.arguments())


if __name__ == "__main__":
    main()
