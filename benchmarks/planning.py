"""Read, select and plan the lock of a project, in a process of its own: `PROJECT`.

Prints seconds after the imports, processor seconds of the whole process, and its memory in bytes.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from uv_archive.archive.layout import place
from uv_archive.download.contents import locked_contents, select_all
from uv_archive.owner import lock_of
from uv_archive.plan import plan
from uv_archive.project import find_project
from uv_archive.request import Request
from uv_archive.selection import BuildOptions, Include


def main() -> None:
    """Plan a download for all platforms into an empty archive."""
    started = time.perf_counter()
    project = find_project(Path(sys.argv[1]))
    lock = lock_of(project)
    request = Request(project=project.name, include=Include(), options=BuildOptions(), targets=())
    selected = select_all([request], lock, project, own=request)
    contents = locked_contents(selected, place(lock))
    planned = plan([content.wanted(None) for content in contents.values()], {})
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    sys.stderr.write(f"{len(planned.fetch)} files\n")
    sys.stdout.write(f"{seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss * 1024}\n")


if __name__ == "__main__":
    main()
