"""Build wheels beside a download, of what came and of the project."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uv_archive.archive.store import Writer
from uv_archive.download.asked import default_interpreter
from uv_archive.download.carrying_out import Brought, bring_all
from uv_archive.download.outcome import Outcome, Reporter, must_compile
from uv_archive.errors import TargetError
from uv_archive.lock.model import TreeSource

if TYPE_CHECKING:
    from uv_archive.build import BuildReporter, Tree
    from uv_archive.download.run import Run
    from uv_archive.target import Interpreter


def build_beside(run: Run, writer: Writer, brought: Brought) -> Outcome:
    """Build what an archive lacks for the Pythons of this machine that were asked for.

    Where only wheels are wanted, what they were built from and with goes afterwards. An archive
    that is complete but for what some builds need gets the wheels of all others.
    """
    from uv_archive.build import Draft, Options, build_within  # noqa: PLC0415

    outcome, draft = brought.outcome, brought.draft
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
        draft=Draft(manifest=draft, lock=run.lock) if draft else None,
    )
    unknown = {one.name for one in outcome.failures}  # They are named as such.
    built = replace(
        built,
        failed=tuple(one for one in built.failed if one.label not in unknown),
        elsewhere=tuple(label for label in built.elsewhere if label not in unknown),
    )
    if draft is None and run.request.wheels_only and built.built:
        after = bring_all(run, writer).outcome
        there = {file.path for file in after.files}
        gone = {file.path for file in outcome.files} - there
        outcome = replace(
            outcome,
            digest=after.digest,
            must_compile=after.must_compile,
            removed=tuple(sorted({*outcome.removed, *gone})),
        )
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
