"""Have everything ready that an install takes, before anything is changed."""

from __future__ import annotations

from dataclasses import replace

from packaging.utils import NormalizedName

from uv_archive.sync.case import Case
from uv_archive.sync.checking import check
from uv_archive.sync.needed import Needed, needed_files
from uv_archive.sync.task import Task


def prepare(task: Task, case: Case, install: frozenset[NormalizedName]) -> tuple[Needed, Case]:
    """Find and check the files for *install*, and build what has to be built alone.

    Wheels that were built beforehand are then what has to be whole in the case.

    Raises all that stands in the way at once: `RequestError`, `DamagedArchiveError`; then
    `BuildError`.
    """
    needed = needed_files(task, case, install)
    check(task, needed)
    if needed.pins.alone and not task.flags.changes_nothing:
        needed = _with_alone(task, case, needed)
    return needed, _with_witnesses(case, needed)


def _with_alone(task: Task, case: Case, needed: Needed) -> Needed:
    # Here, because most syncs build nothing alone.
    from uv_archive.sync.building import build_alone  # noqa: PLC0415

    built = build_alone(task, case, needed.pins)
    alone = {position: [wheel] for position, wheel in built.items()}
    return replace(needed, wheels={**needed.wheels, **alone})


def _with_witnesses(case: Case, needed: Needed) -> Case:
    """Name the built wheels that are installed, where it is sure which."""
    wheels = {
        package.name: found[0].path
        for package in case.selection.packages
        if len(found := needed.wheels.get(package.position, ())) == 1
    }
    expected = [
        replace(one, wheel=wheels[one.name]) if one.name in wheels else one for one in case.expected
    ]
    return replace(case, expected=expected)
