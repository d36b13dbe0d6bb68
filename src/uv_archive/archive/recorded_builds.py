"""Which files build what: the builds that an archive records, one by one.

A build is known by its label: `name==version` of what is built, or a source tree's name. An
sdist that another build needs has a label of its own, and is built first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import NormalizedName

from uv_archive.archive.layout import ArchivePath
from uv_archive.archive.manifest import EVERYWHERE, BuildRequirement, Found, Manifest
from uv_archive.filenames import SdistFilename, WheelFilename, parse_sdist, parse_wheel
from uv_archive.markers import InvalidMarker, Marker
from uv_archive.request import Request
from uv_archive.target import Python, Target
from uv_archive.target.python import read_version


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrecorded:
    """The archive can't say exactly which files build *of* on a target: a clause says why."""

    of: str
    reason: str

    def __str__(self) -> str:
        return f"What builds `{self.of}` isn't recorded for this Python: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Use:
    """A file, and the reason that some build has to use it."""

    path: ArchivePath
    filename: WheelFilename | SdistFilename
    why: BuildRequirement

    def serves(self, label: str) -> bool:
        return label in (self.why.targets or (EVERYWHERE,))

    def is_needed(self, target: Target) -> bool:
        """Whether the marker, which forks of a resolution for all platforms have, holds."""
        if self.why.marker is None:
            return True
        try:
            marker = Marker.parse(self.why.marker)
        except InvalidMarker:
            return True
        environments = target.environments(target.python.micro or "0")
        return any(marker.holds(environment) for environment in environments)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedBuild:
    """One build of an archive.

    *labels* are what its requirements were resolved for: targets, `all platforms`, or
    `3.12 on all platforms`. *wanted* are the requirements themselves, and how each was found.
    """

    of: str
    labels: tuple[str, ...]
    wanted: tuple[tuple[str, Found], ...]
    uses: tuple[_Use, ...]
    targets: Mapping[str, Target]

    def files(self, target: Target) -> tuple[ArchivePath, ...] | Unrecorded:
        """Return what builds it on *target*, sorted; see `build_files`."""
        problems = []
        for label in self._covering(target):
            chosen = self._chosen(label, target)
            if not isinstance(chosen, str):
                return chosen
            problems.append(chosen)
        listed = ", ".join(self.labels) or "nothing"
        reason = problems[0] if problems else f"they were resolved for {listed}"
        return Unrecorded(of=self.of, reason=reason)

    def covers(self, target: Target) -> bool:
        """Whether its requirements were resolved for *target*, or for what includes it."""
        return bool(self._covering(target))

    def _covering(self, target: Target) -> Sequence[str]:
        """Return the labels that may stand for *target*, the likeliest first."""
        ranked = []
        for label in self.labels:
            known = self.targets.get(label)
            if known is not None and _covers(known, target):
                same = len(set(known.platform.tags) ^ set(target.platform.tags))
                ranked.append((known.python.micro is None, same, label))
            elif known is None and _covers_everywhere(label, target.python):
                # What was resolved for the platform itself goes before.
                ranked.append((True, len(target.platform.tags), label))
        return [label for *_, label in sorted(ranked)]

    def _chosen(self, label: str, target: Target) -> tuple[ArchivePath, ...] | str:
        """Return one file a name, or say in a clause what is in the way."""
        by_name: defaultdict[NormalizedName, list[_Use]] = defaultdict(list)
        for use in self.uses:
            if use.serves(label) and use.is_needed(target):
                by_name[use.filename.name].append(use)
        chosen = []
        for name, uses in sorted(by_name.items()):
            versions = sorted({use.filename.version for use in uses})
            if len(versions) > 1:
                listed = " and ".join(map(str, versions))
                return f"`{name}` was resolved to {listed}, for this patch release or that"
            path = _best(uses, target)
            if path is None:
                return f"no file of `{name}` fits"
            chosen.append(path)
        return tuple(sorted(chosen))


def recorded_builds(manifest: Manifest) -> Mapping[str, RecordedBuild]:
    """Return the builds that *manifest* records, by label. Raises `ArchiveError`.

    Reading them once is cheaper than a `build_files` for each.
    """
    targets = {
        target.label: target
        for request in manifest.requests
        for target in Request.from_record(request).targets
    }
    uses = _uses(manifest)
    gathered = dict(_gathered(manifest))
    return {
        of: RecordedBuild(
            of=of,
            labels=_labels(gathered.get(of, ()), uses.get(of, ())),
            wanted=_wanted(uses.get(of, ())),
            uses=tuple(uses.get(of, ())),
            targets=targets,
        )
        for of in sorted({*uses, *gathered})
    }


def build_files(
    manifest: Manifest, *, of: str, target: Target
) -> tuple[ArchivePath, ...] | Unrecorded:
    """Return the files that the build *of* something needs on *target*, one of each name, sorted.

    They are what uv resolved when the archive was made: the backend, what the backend asks for
    besides, and what those depend on, so that a build needs no other file. *target* is that of
    an interpreter, which a recorded minor version and an older platform of its kind cover.
    Where a file is an sdist, that is to be built first: its label is `name==version`. The answer
    is empty for a build that needs nothing, and `Unrecorded` where the archive has no such
    build, none for this target, or more than one version of a name. Raises `ArchiveError` for
    requests that can't be read.
    """
    build = recorded_builds(manifest).get(of)
    if build is None:
        return Unrecorded(of=of, reason="the archive has no build of that name")
    return build.files(target)


def _uses(manifest: Manifest) -> Mapping[str, list[_Use]]:
    found: defaultdict[str, list[_Use]] = defaultdict(list)
    for path, (_, origin) in sorted(manifest.distributions.items()):
        for why in origin.why:
            if isinstance(why, BuildRequirement):
                name = path.rpartition("/")[2]
                is_wheel = name.endswith(".whl")
                filename = parse_wheel(name) if is_wheel else parse_sdist(name, origin.name)
                found[why.of].append(_Use(path=path, filename=filename, why=why))
    return found


def _gathered(manifest: Manifest) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the builds that were gathered for: one that needs nothing has no file to tell of it."""
    gathered = manifest.builds.get("gathered")
    for of, labels in gathered.items() if isinstance(gathered, Mapping) else ():
        if isinstance(labels, Sequence):
            yield of, tuple(label for label in labels if isinstance(label, str))


def _labels(gathered: Iterable[str], uses: Iterable[_Use]) -> tuple[str, ...]:
    used = {label for use in uses for label in (use.why.targets or (EVERYWHERE,))}
    return tuple(sorted(used | set(gathered)))


def _wanted(uses: Iterable[_Use]) -> tuple[tuple[str, Found], ...]:
    """Return the requirements, without what only other requirements depend on."""
    return tuple(
        sorted(
            {(use.why.requested, use.why.found) for use in uses if use.why.found != "dependency"}
        )
    )


def _covers(known: Target, target: Target) -> bool:
    """Whether what was resolved for *known* may do for *target*: another patch release or libc."""
    same_kind = any(
        (one["sys_platform"], one["platform_machine"])
        == (other["sys_platform"], other["platform_machine"])
        for one in known.platform.markers
        for other in target.platform.markers
    )
    return same_kind and _covers_python(known.python, target.python)


def _covers_python(known: Python, python: Python) -> bool:
    return known.micro in (None, python.micro) and (
        (known.implementation, known.major, known.minor, known.flags)
        == (python.implementation, python.major, python.minor, python.flags)
    )


def _covers_everywhere(label: str, python: Python) -> bool:
    """Whether *label* stands for all platforms, and *python* is the one it is limited to."""
    if label == EVERYWHERE:
        return True
    text, separator, rest = label.partition(f" on {EVERYWHERE}")
    known = read_version(text) if separator and not rest else None
    return known is not None and _covers_python(known, python)


def _best(uses: Iterable[_Use], target: Target) -> ArchivePath | None:
    """Return the wheel that an installer takes on *target*, else the sdist, if there is one."""
    ranked = []
    sdists = []
    for use in uses:
        match use.filename:
            case WheelFilename(tags=tags, build=build):
                priority = target.wheel_priority(tags)
                if priority is not None:
                    ranked.append(((priority, build), use.path))
            case SdistFilename():
                sdists.append(use.path)
    if ranked:
        return max(ranked)[1]
    return min(sdists, default=None)
