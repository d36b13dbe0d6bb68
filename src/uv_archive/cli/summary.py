"""What a download did, for people and as JSON (`docs/reference/download-json.md`)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TypeVar

from uv_archive.archive.manifest import JSONObject
from uv_archive.cli.built import builds_as_json, built_line, show_builds
from uv_archive.cli.output import counted, fail, give, say, show_hint, shown, size, warn
from uv_archive.download import Failed, File, Oddity, Outcome

# Longer lists are cut; JSON has them whole.
_MOST = 8

K = TypeVar("K")
T = TypeVar("T")


def show_outcome(outcome: Outcome, *, quiet: bool) -> None:
    """Write failures and, unless *quiet*, everything else that was done or is to be known.

    A dry run's files are data; everything else is talk.
    """
    if outcome.dry_run and not quiet:
        _show_plan(outcome)
    _show_failures(outcome.failures)
    if outcome.builds is not None:
        show_builds(outcome.builds.failed)
    if quiet:
        return
    _show_notes(outcome)
    say(_last_line(outcome))
    if outcome.builds is not None:
        say(built_line(outcome.builds))
    if outcome.failures:
        show_hint("Everything else is kept. Run the same command again to fetch what is missing")
    elif not outcome.dry_run:
        say(f"Archive digest: sha256:{outcome.digest}")
        say(f"Install from it with: {install_command(outcome)}")
        if outcome.tools:
            say(f"Or, where there is no uv, with: {_bare_command(outcome)}")


def install_command(outcome: Outcome) -> str:
    """Return the command that installs what was asked for, from the archive."""
    command = ["uv-archive", "sync"]
    if not outcome.is_default:
        command += ["--dist-archive", shown(outcome.directory)]
    return shlex.join([*command, *outcome.flags])


def _bare_command(outcome: Outcome) -> str:
    script = shown(outcome.directory / "install.py")
    return shlex.join(["python3", script, *outcome.flags])


def outcome_as_json(outcome: Outcome) -> JSONObject:
    """Return the outcome as JSON values; sizes are in bytes, and `null` where unknown."""
    return {
        "archive": str(outcome.directory),
        "dry_run": outcome.dry_run,
        "digest": f"sha256:{outcome.digest}" if outcome.digest else None,
        "complete": not outcome.failures and not outcome.dry_run,
        "fetched": _files(outcome.fetched),
        "kept": _files(outcome.kept),
        "moved": _files(outcome.moved),
        "replaced": _files(outcome.replaced),
        "mended": list(outcome.mended),
        "removed": list(outcome.removed),
        "failures": [
            {"name": one.name, "reason": one.reason, "hint": one.hint} for one in outcome.failures
        ],
        "left_out": {
            "packages": list(outcome.left_out.packages),
            "extras": list(outcome.left_out.extras),
            "groups": list(outcome.left_out.groups),
        },
        "must_compile": [
            {"package": one.package, "targets": list(one.targets)} for one in outcome.must_compile
        ],
        "builds_unresolved": outcome.builds_unresolved,
        "to_build": list(outcome.to_build),
        "builds": None if outcome.builds is None else builds_as_json(outcome.builds),
        "gaps": list(outcome.gaps),
        "doubts": [{"message": one.message, "hint": one.hint} for one in outcome.doubts],
        "oddities": [
            {"path": one.path, "what": one.what, "refused": one.refused} for one in outcome.oddities
        ],
        "unvouched": list(outcome.unvouched),
        "install": None if outcome.failures else install_command(outcome),
    }


def _files(files: Sequence[File]) -> Sequence[JSONObject]:
    return [{"path": file.path, "size": file.size} for file in files]


def _show_plan(outcome: Outcome) -> None:
    """Write what would be done, the total first."""
    transfers = (*outcome.fetched, *outcome.replaced)
    give(f"{counted(len(transfers), 'distribution')} to download ({_total(transfers)})")
    for verb, files in (
        ("download", outcome.fetched),
        ("replace", outcome.replaced),
        ("move", outcome.moved),
        ("keep", outcome.kept),
    ):
        for file in files:
            known = size(file.size) if file.size is not None else "unknown size"
            give(f"{verb:<9} {known:>12}  {file.path}")
    for path in outcome.removed:
        give(f"{'remove':<9} {'':>12}  {path}")
    for package in outcome.to_build:
        give(f"{'build':<9} {'':>12}  {package}")


def _show_failures(failures: Sequence[Failed]) -> None:
    """Write what failed: what failed alike in one line, and each hint once."""
    for hint, alike in _grouped((one.hint, one) for one in failures):
        for reason, names in _grouped((one.reason, f"`{one.name}`") for one in alike):
            fail(f"Couldn't get {_cut(names)}: {reason}")
        if hint:
            show_hint(hint)


def _grouped(pairs: Iterable[tuple[K, T]]) -> Iterable[tuple[K, Sequence[T]]]:
    """Put together what has the same key, in the order of the keys' first."""
    groups: dict[K, list[T]] = {}
    for key, one in pairs:
        groups.setdefault(key, []).append(one)
    return groups.items()


def _show_notes(outcome: Outcome) -> None:
    for file in outcome.replaced:
        if not outcome.dry_run:
            what = "had other bytes" if file.was_plain else "was no plain file"
            say(f"Replaced `{file.path}`, which {what}")
    for path in outcome.mended:
        say(f"Made `{path}` anew, which wasn't as it was written")
    left_out = (
        *outcome.left_out.packages,
        *outcome.left_out.extras,
        *outcome.left_out.groups,
    )
    if left_out:
        say(f"Not selected: {_cut(left_out)}; `--all` takes everything")
    if outcome.must_compile:
        names = [_compiled(one.package, one.targets) for one in outcome.must_compile]
        can_build = not (outcome.to_build or outcome.builds)
        remedy = "; `--build` builds here what can be" if can_build else ""
        say(f"To be compiled where it is installed: {_cut(names)}{remedy}")
    if outcome.builds_unresolved:
        say(
            f"The build requirements of {counted(outcome.builds_unresolved, 'build')} are known "
            "once the sdists are there, and come on top"
        )
    if outcome.gaps:
        say(f"Without a file for some platform: {_cut(outcome.gaps)}")
    _show_oddities(outcome.oddities)
    for path in outcome.unvouched:
        warn(f"The lock has no secure hash for `{path}`: it was recorded as it came")
    for hint, alike in _grouped((one.hint, one.message) for one in outcome.doubts):
        for message in alike:
            warn(message)
        if hint:
            show_hint(hint)


def _show_oddities(oddities: Sequence[Oddity]) -> None:
    refused = {one.path for one in oddities if one.refused}
    for one in oddities:
        if one.refused:
            warn(f"uv won't install from `{one.path}`: it {one.what}")
    if refused:
        show_hint(
            "It is in the archive as it was locked. Lock another version, or bring a wheel of it "
            "that is as it should be"
        )
    taken = [f"`{one.path}` {one.what}" for one in oddities if one.path not in refused]
    if taken:
        say(f"Odd, and taken by uv all the same: {_cut(taken, 3)}")


def _last_line(outcome: Outcome) -> str:
    brought = (*outcome.fetched, *outcome.replaced)
    where = shown(outcome.directory)
    if outcome.dry_run:
        return f"{counted(len(outcome.files), 'distribution')} would be in {where}"
    also = []
    if brought or outcome.failures:
        line = f"{counted(len(brought), 'distribution')} downloaded ({_total(brought)}) to {where}"
        if outcome.kept or outcome.moved:
            also.append(f"{len(outcome.kept) + len(outcome.moved):,} already there")
    else:
        there = counted(len(outcome.files), "distribution")
        line = f"Nothing to download: {there} already in {where}"
    if outcome.removed:
        also.append(f"{len(outcome.removed):,} removed")
    if outcome.failures:
        also.append(f"{len(outcome.failures):,} failed")
    return f"{line}, {', '.join(also)}" if also else line


def _compiled(package: str, targets: Sequence[str]) -> str:
    return f"{package} ({_cut(targets, 3)})" if targets else package


def _cut(names: Iterable[str], most: int = _MOST) -> str:
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")


def _total(files: Sequence[File]) -> str:
    total = sum(file.size or 0 for file in files)
    unknown = sum(file.size is None for file in files)
    return size(total) + (f" and {counted(unknown, 'file')} of unknown size" if unknown else "")
