"""What a project's settings of uv say about builds: more requirements, and what hooks are told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.build_requirements.answers import Everywhere
from uv_archive.build_requirements.backends import Unknown, Wanted
from uv_archive.build_requirements.build_system import read_build_system
from uv_archive.build_requirements.model import BuildSubject
from uv_archive.errors import BuildRequirementsError
from uv_archive.project import tool_uv
from uv_archive.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSettings:
    """The settings of a project, *options* under uv's names, and the versions they speak of.

    *selected_versions* are by name and a target's label, *locked_versions* those of the whole lock.
    """

    options: Mapping[str, object]
    locked_versions: Mapping[NormalizedName, Sequence[Version]]
    selected_versions: Mapping[tuple[NormalizedName, str], Collection[Version]]

    def added(
        self, name: NormalizedName, target: Target | Everywhere | None = None
    ) -> Iterator[Wanted | Unknown]:
        """Yield what `tool.uv.extra-build-dependencies` adds to builds of *name*.

        Versions that have to be those of a *target* are left open without one. Raises
        `BuildRequirementsError` for what is no requirement.
        """
        tables = self.options.get("extra-build-dependencies", {})
        for written, entries in tables.items() if isinstance(tables, dict) else ():
            if canonicalize_name(written) != name or not isinstance(entries, list):
                continue
            for entry in entries:
                requirement = _requirement(entry, f"tool.uv.extra-build-dependencies.{written}")
                matched = isinstance(entry, dict) and entry.get("match-runtime") is True
                if matched and target is not None:
                    yield from self._matched(requirement, target)
                else:
                    yield Wanted(requirement=str(requirement), found="setting")

    def _matched(
        self, requirement: Requirement, target: Target | Everywhere
    ) -> Iterator[Wanted | Unknown]:
        name = canonicalize_name(requirement.name)
        versions: Collection[Version] = self.selected_versions.get((name, target.label), ())
        if len(versions) != 1:
            versions = self.locked_versions.get(name, ())
        if len(versions) == 1:
            requirement.specifier &= SpecifierSet(f"=={next(iter(versions))}")
        else:
            yield Unknown(
                f"the lock has {len(versions) or 'no'} versions of `{requirement.name}`, "
                "which it has to match at run time",
                "Name the version in `tool.uv.extra-build-dependencies`",
            )
        yield Wanted(requirement=str(requirement), found="setting")

    def doubts(self, subject: BuildSubject, wanted: Sequence[Wanted]) -> Iterator[Unknown]:
        """Yield what settings leave open about what is *wanted* to build *subject*."""
        asked = {canonicalize_name(Requirement(each.requirement).name) for each in wanted}
        for name in sorted(asked & self._sources(subject)):
            yield Unknown(
                f"`{name}` has an entry in `tool.uv.sources`, and what the index has is taken",
                "Check that the index has the same",
            )
        absent = sorted(asked - self.locked_versions.keys())
        if absent and not self._is_isolated(subject.name):
            listed = ", ".join(f"`{name}`" for name in absent)
            yield Unknown(
                f"it is built without isolation, so {listed} has to be in the environment "
                "before, and the lock doesn't have it",
                "Add it to the project's dependencies, or take the package out of "
                "`tool.uv.no-build-isolation-package`",
            )

    def _is_isolated(self, name: NormalizedName) -> bool:
        listed = self.options.get("no-build-isolation-package")
        named = map(canonicalize_name, map(str, listed)) if isinstance(listed, list) else ()
        return name not in named and self.options.get("no-build-isolation") is not True

    def _sources(self, subject: BuildSubject) -> set[NormalizedName]:
        """Return what uv would take from `tool.uv.sources`: it looks there for source trees."""
        if not subject.where.is_dir():
            return set()
        try:
            own = read_build_system(subject.where, subdirectory=subject.subdirectory).pyproject
        except BuildRequirementsError:
            return set()
        tables = [options.get("sources") for options in (tool_uv(own), self.options)]
        return {
            canonicalize_name(name)
            for table in tables
            for name in (table if isinstance(table, dict) else ())
        }


def config_settings_of(
    settings: Mapping[str, object], name: NormalizedName
) -> Mapping[str, str | tuple[str, ...]]:
    """Return what the hooks that build *name* are told, of a project's *settings* of uv."""
    found = dict(_config(settings.get("config-settings")))
    by_package = settings.get("config-settings-package")
    for package, table in by_package.items() if isinstance(by_package, dict) else ():
        if canonicalize_name(package) == name:
            found.update(_config(table))
    return dict(sorted(found.items()))


def _config(table: object) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    for key, value in table.items() if isinstance(table, dict) else ():
        if isinstance(value, list):
            yield key, tuple(map(str, value))
        else:
            yield key, str(value)


def _requirement(entry: object, place: str) -> Requirement:
    text = entry.get("requirement") if isinstance(entry, dict) else entry
    try:
        return Requirement(str(text))
    except InvalidRequirement as error:
        raise BuildRequirementsError(
            f"`{text}` is no requirement (at `{place}`)", hint="Correct the setting"
        ) from error
