"""Check the files of a sync before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from uv_archive.archive.disk import storing
from uv_archive.errors import DamagedArchiveError, RequestError, UvArchiveError
from uv_archive.pylock import PylockFile
from uv_archive.sync.needed import Needed
from uv_archive.sync.pinning import CHECKS_HASHES, Pins
from uv_archive.sync.refusals import refuse
from uv_archive.sync.supply import Supplied, copy_verified, listed
from uv_archive.sync.task import Task


def check(task: Task, needed: Needed) -> None:
    """Hash the files that are *needed*, and put the build requirements where uv may look.

    Raises everything that stands in the way, at once.
    """
    files = [*needed.locked, *needed.own, *needed.built, *needed.compared]
    if files or needed.build_requirements:
        task.reporter.checking(len(files))
    in_view = _for_uv(needed)
    # What is built alone is checked again when it is copied.
    files += [file for file in needed.build_requirements if file not in in_view]
    wrong = [supplied.path for supplied in task.hashing.damaged(files)]
    wrong += _fill_view(task.view, in_view)
    wrong += needed.git.damaged if needed.git else ()
    refuse([*needed.causes, *_causes(wrong), *_unvouched(task, needed)])
    for message, hint in _doubts(task, needed.pins):
        task.reporter.warning(message, hint)


def _causes(wrong: Sequence[Path]) -> Iterator[UvArchiveError]:
    if wrong:
        yield DamagedArchiveError(
            f"{len(wrong)} of the files that this sync needs aren't what they should be: "
            f"{listed(str(path) for path in wrong)}",
            hint="Nothing was changed. Copy the archive again, or repair it with "
            "`uv-archive download`",
        )


def _unvouched(task: Task, needed: Needed) -> Iterator[UvArchiveError]:
    if task.request.only_locked and needed.unlocked:
        names = sorted(supplied.name for supplied in needed.unlocked)
        yield RequestError(
            f"The lock doesn't vouch for {listed(names)}, which this sync needs",
            hint="Without `--only-locked` they are checked against the archive's metadata",
        )


def _for_uv(needed: Needed) -> Sequence[Supplied]:
    """Return the build requirements that uv's own builds get, one of each file name."""
    files = [one.file for one in needed.pins.together]
    if needed.pins.vague:
        files = [*needed.build_requirements, *files]
    there = {file.path for file in needed.build_requirements}
    return [file for file in {file.name: file for file in files}.values() if file.path in there]


def _doubts(task: Task, pins: Pins) -> Iterator[tuple[str, str]]:
    """Yield what isn't as exact as it should be: messages with hints."""
    for name, labels in pins.disputed:
        yield (
            (
                f"{listed(labels)} want different files of `{name}` to be built with, and uv takes "
                "one for all of them, as far as it fits"
            ),
            "Build them with the same version, or sync them one at a time",
        )
    if pins.vague and task.supply.build_requirements:
        of = listed(str(one.package) for one in pins.vague)
        yield (
            (
                f"Which files build {of} isn't recorded: {pins.vague[0].unrecorded}. uv chooses "
                "among those that are recorded for others"
            ),
            "`uv-archive download` for this Python and platform records them",
        )
    # Of a file with constraints, as a pylock's builds have, every uv that will do checks them.
    is_of_lock = not isinstance(task.owner, PylockFile)
    if is_of_lock and pins.together and task.uv.version < CHECKS_HASHES:
        yield (
            (
                f"uv {task.uv.version} doesn't check the hashes of what it builds with; they were "
                "checked when the files were copied for it"
            ),
            f"uv {CHECKS_HASHES} or later checks them itself",
        )


def _fill_view(view: Path, files: Sequence[Supplied]) -> list[Path]:
    """Copy the build requirements to where uv may look for them; return the damaged ones."""
    with storing(view):
        view.mkdir(exist_ok=True)
        return [file.path for file in files if not copy_verified(file, view)]
