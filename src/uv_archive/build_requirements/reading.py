"""What one source wants to be built with: what it says, what is known, and what its hooks say."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from uv_archive.build_requirements.answers import Asking, Everywhere
from uv_archive.build_requirements.backends import Unknown, Wanted, known_additions
from uv_archive.build_requirements.build_settings import BuildSettings, config_settings_of
from uv_archive.build_requirements.build_system import BuildSystem, read_build_system
from uv_archive.build_requirements.model import (
    AskHooks,
    BuildSubject,
    BuildWants,
    ConfigSettings,
    Record,
)
from uv_archive.errors import BuildRequirementsError
from uv_archive.target import Target

_ELSEWHERE = (
    "Name what it needs on other platforms in `tool.uv.extra-build-dependencies`; that is "
    "archived, too"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What a source says of itself; the *key* is what it is recorded under."""

    key: str | None = None
    wants: BuildWants | None = None
    failure: BuildRequirementsError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Reads sources, several at a time if need be: it notes nothing.

    What is *recorded* isn't asked again. Without *ask_hooks* nobody's code runs.
    """

    settings: BuildSettings
    constraints: tuple[str, ...]
    recorded: Record
    ask_hooks: AskHooks | None

    def read(self, subject: BuildSubject, asking: Asking) -> Read:
        """Find out what *subject* says of itself, and what its hooks say if they may run."""
        config = config_settings_of(self.settings.options, subject.name)
        key = subject.key(config)
        recorded = self.recorded.wants.get(key) if key else None
        if recorded and (recorded.asked or self.ask_hooks is None):
            return Read(key=key, wants=recorded)
        try:
            system = read_build_system(subject.where, subdirectory=subject.subdirectory)
        except BuildRequirementsError as error:
            return Read(failure=error)
        wants = _known_wants(subject, system)
        # What a source tree says is read anew each time; what its hooks said, as long as the
        # files are the same that say what they do.
        key = key or subject.key(config, system.digest)
        recorded = self.recorded.wants.get(key) if key else None
        if recorded and recorded.asked:
            return Read(key=key, wants=recorded)
        if self.ask_hooks is None:
            return Read(key=key if subject.digest else None, wants=wants)
        try:
            asked = self._asked(subject, system, asking, config)
        except BuildRequirementsError as error:
            # The failure says more than the doubt, whose remedy was just tried.
            return Read(wants=replace(wants, uncertain=_left(wants.uncertain)), failure=error)
        return Read(key=key, wants=_with_hook(wants, asked))

    def _asked(
        self, subject: BuildSubject, system: BuildSystem, asking: Asking, config: ConfigSettings
    ) -> tuple[str, ...]:
        """Have the hooks run, in an environment of what they need to run at all."""

        def make_environment(directory: Path) -> Path:
            extra = self.settings.added(subject.name, *subject.targets[:1])
            added = [each.requirement for each in extra if isinstance(each, Wanted)]
            return asking.make_environment(
                directory,
                python=_python_for(subject.targets),
                requirements=[*system.requires, *added],
                constraints=self.constraints,
            )

        if self.ask_hooks is None:
            return ()
        return self.ask_hooks(
            subject, system, config_settings=config, make_environment=make_environment
        )


def is_recorded(
    subject: BuildSubject, recorded: Record, *, settings: Mapping[str, object], hooks: bool
) -> bool:
    """Whether *recorded* says what *subject* needs, so that its files needn't be there.

    With *hooks*, these have to have been asked.
    """
    key = subject.key(config_settings_of(settings, subject.name))
    wants = recorded.wants.get(key) if key else None
    return wants is not None and (bool(wants.asked) or not hooks)


def doubts_elsewhere(subject: BuildSubject, wants: BuildWants) -> tuple[Unknown, ...]:
    """Return the doubt that hooks were asked on another kind of machine than some target is."""
    if wants.only_asked and any(_is_elsewhere(each, wants.asked) for each in subject.targets):
        return (Unknown(f"its hooks were asked on {wants.asked} only", _ELSEWHERE),)
    return ()


def _python_for(targets: Sequence[Target | Everywhere]) -> str:
    """Return the version of Python that hooks are asked with: the newest that is built for."""
    pythons = [target.python for target in targets if target.python is not None]
    newest = max(pythons, key=lambda python: (python.major, python.minor), default=None)
    return str(newest) if newest else sys.executable


def _with_hook(wants: BuildWants, asked: tuple[str, ...]) -> BuildWants:
    """Add what the hooks said; what only they could know isn't uncertain any more.

    The table has its say about what they leave out: it knows of other machines.
    """
    static = [each for each in wants.wanted if each.found == "static"]
    table = [each for each in wants.wanted if each.found != "static"]
    written = {each.requirement for each in static}
    hook = [Wanted(requirement=text, found="hook") for text in asked if text not in written]
    named = {canonicalize_name(Requirement(text).name) for text in asked}
    left = [
        each for each in table if canonicalize_name(Requirement(each.requirement).name) not in named
    ]
    return replace(
        wants,
        wanted=(*static, *hook, *left),
        uncertain=_left(wants.uncertain),
        asked=f"{sys.platform} {platform.machine()}",
        only_asked=any(unknown.hook_tells for unknown in wants.uncertain),
    )


def _left(uncertain: Sequence[Unknown]) -> tuple[Unknown, ...]:
    """Return what not even the hooks could say."""
    return tuple(unknown for unknown in uncertain if not unknown.hook_tells)


def _is_elsewhere(target: Target | Everywhere, machine: str) -> bool:
    """Whether *target* is another kind of machine than *machine*, where hooks were asked."""
    return isinstance(target, Everywhere) or all(
        f"{markers['sys_platform']} {markers['platform_machine']}" != machine
        for markers in target.platform.markers
    )


def _known_wants(subject: BuildSubject, system: BuildSystem) -> BuildWants:
    additions = known_additions(system, editable=subject.editable)
    static = (Wanted(requirement=text, found="static") for text in system.requires)
    table = (
        Wanted(requirement=text, found="table")
        for text in additions.requires
        if text not in system.requires
    )
    return BuildWants(
        backend=system.module,
        wanted=(*static, *table),
        uncertain=additions.uncertain,
        by_version=additions.by_version,
    )
