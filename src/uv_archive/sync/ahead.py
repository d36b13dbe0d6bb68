"""What can be done while uv looks for a Python."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

from uv_archive.errors import UvArchiveError
from uv_archive.sync.case import selection_anywhere
from uv_archive.sync.supply import Supplied
from uv_archive.sync.task import Task


def hash_ahead(task: Task) -> None:
    """Begin to hash what is installed in all probability, whatever Python it will be.

    What stands in the way is said later.
    """
    with suppress(UvArchiveError):
        task.hashing.begin(_only_wheels(task))


def _only_wheels(task: Task) -> Iterator[Supplied]:
    """Yield the wheels of which the archive has no other of the same package."""
    wheels: defaultdict[int, list[Supplied]] = defaultdict(list)
    for selected in selection_anywhere(task).distributions:
        if supplied := task.supply.of(selected.distribution):
            wheels[selected.package.position].append(supplied)
    return (found[0] for found in wheels.values() if len(found) == 1)
