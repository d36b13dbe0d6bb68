"""Build wheels beside a download, of what came and of the project."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uv_archive.archive.store import Writer
from uv_archive.download.asked import default_interpreter
from uv_archive.download.carrying_out import bring_all
from uv_archive.download.outcome import Outcome, Reporter, must_compile
from uv_archive.errors import TargetError
from uv_archive.lock.model import TreeSource

if TYPE_CHECKING:
    from uv_archive.build import BuildReporter, Tree
    from uv_archive.download.run import Run
    from uv_archive.target import Interpreter


def build_beside(run: Run, writer: Writer, outcome: Outcome) -> Outcome:
    """Build what a complete archive lacks for the Pythons of this machine that were asked for.

    Where only wheels are wanted, what they were built from and with goes afterwards.
    """
    from uv_archive.build import Options, build_within  # noqa: PLC0415

    built = build_within(
        writer,
        Options(
            jobs=run.asked.build_jobs,
            timeout=run.asked.build_timeout,
            trees=_trees(run, writer) if run.asked.build_project else (),
            only_trees=not run.asked.build,
        ),
        uv=run.uv,
        environment=run.environment,
        reporter=_telling(run.reporter),
        interpreters=_interpreters_here(run),
    )
    if run.request.wheels_only and built.built:
        after = bring_all(run, writer)
        outcome = replace(outcome, digest=after.digest, must_compile=after.must_compile)
    else:
        situation = run.situation(writer.store)
        left = situation.beforehand.to_compile(situation.selected)
        outcome = replace(outcome, digest=built.digest, must_compile=must_compile(left))
    return replace(outcome, builds=built)


def _trees(run: Run, writer: Writer) -> tuple[Tree, ...]:
    """Return the project and those of its members that the request reaches."""
    from uv_archive.build import Tree  # noqa: PLC0415
    from uv_archive.build import TreeSource as Source  # noqa: PLC0415

    root = run.owner.root.absolute()
    situation = run.situation(writer.store)
    ((_, selection),) = (one for one in situation.selected if one[0] == run.request)
    trees = []
    for package in selection.packages:
        if not isinstance(package.source, TreeSource) or package.source.kind == "virtual":
            continue
        # Not resolved: what the lock says of the place is recorded.
        place = Path(os.path.normpath(root / package.source.path.text))
        base = _copied_with(place, root)
        trees.append(
            Tree(
                label=str(package),
                name=package.name,
                version=package.version,
                path=_relative(place, root),
                source=Source(
                    path=base,
                    subdirectory=None if place == base else place.relative_to(base).as_posix(),
                    ignored=(writer.store.directory,),
                ),
            )
        )
    return tuple(trees)


def _copied_with(place: Path, root: Path) -> Path:
    """Return what is copied so that the build of a tree finds what it may look for.

    That is its repository, which says the version, or else the workspace.
    """
    for directory in (place, *place.parents):
        if (directory / ".git").exists():
            return directory
    return root if place.is_relative_to(root) else place


def _relative(place: Path, root: Path) -> str:
    """Return a path relative to the lock; of another drive it's the last part."""
    try:
        return Path(os.path.relpath(place, root)).as_posix()
    except ValueError:
        return place.name


def _telling(reporter: Reporter) -> BuildReporter:
    from uv_archive.build import BuildReporter  # noqa: PLC0415

    class Telling(BuildReporter):
        def building(self, wheels: int, python: str) -> None:
            reporter.building(wheels, python)

        def built(self, label: str, wheel: str) -> None:
            del label
            reporter.built(wheel)

        def failed(self, label: str, reason: str) -> None:
            reporter.not_built(label, reason)

    return Telling()


def _interpreters_here(run: Run) -> tuple[Interpreter, ...]:
    """Return the interpreters of this machine that a download is for; others can't build."""
    from uv_archive.build.within import find_interpreter  # noqa: PLC0415

    found: list[Interpreter] = []
    for text in run.asked.pythons:
        with suppress(TargetError):
            found.append(find_interpreter(text, run.uv, run.environment))
    if run.asked.pythons:
        return tuple(found)
    own = default_interpreter(
        run.owner,
        uv=run.uv,
        environment=run.environment,
        requires_python=str(run.lock.requires_python),
    )
    return (own,)
