"""Gather the build requirements of everything that some target has to build.

What can't be known, or found, is reported with the rest: one sdist that can't be read keeps
nobody from the others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.build_requirements.answers import Question, prepare, project_settings
from uv_archive.build_requirements.backends import (
    Unknown,
    Wanted,
    additions_by_version,
    known_additions,
)
from uv_archive.build_requirements.build_system import read_build_system
from uv_archive.build_requirements.model import (
    BuildSubject,
    BuildWants,
    Failure,
    Gathered,
    Reason,
    Record,
    Reporter,
    RequiredFile,
    Uncertainty,
)
from uv_archive.errors import BuildRequirementsError, StorageError, UvArchiveError
from uv_archive.lock.model import Distribution
from uv_archive.project import tool_uv
from uv_archive.target import Target
from uv_archive.uv import Uv

# A build requirement that is an sdist has build requirements, and so on; what is deeper than
# this goes round in circles.
_DEEPEST = 4


#: Brings sdists onto this machine, in the order given; `None` for one that didn't come.
_NOTHING: Mapping[str, object] = {}
Obtain = Callable[[Sequence[Distribution]], Sequence[Path | None]]


def gather(
    builds: Sequence[BuildSubject],
    *,
    uv: Uv,
    environment: Mapping[str, str],
    directory: Path,
    nearest: Mapping[str, object] = _NOTHING,
    constraints: Iterable[str] = (),
    requires_python: str = "",
    locked_versions: Mapping[NormalizedName, Sequence[Version]] | None = None,
    recorded: Record | None = None,
    obtain: Obtain | None = None,
    jobs: int = 4,
    reporter: Reporter | None = None,
) -> Gathered:
    """Find the files that *builds* need on their targets.

    *directory* is where uv finds the project's settings; those of a script there are *nearest*.
    *constraints* are the lock's build constraints (PEP 508), *requires_python* bounds patch
    releases. *locked_versions* serve extra build dependencies with `match-runtime`. What *recorded*
    has is not asked again. Where a build requirement exists only as an sdist, *obtain* is called
    for it, and what it needs is gathered too. Raises `ProjectError` for settings that can't be
    read and `StorageError`; what one of the builds is to blame for is in the answer.
    """
    recorded = recorded or Record()
    if not builds:
        return Gathered(files=(), uncertain=(), failures=(), record=Record())
    gathering = _Gathering(
        settings=project_settings(directory, environment, nearest),
        constraints=tuple(sorted(set(constraints))),
        requires_python=requires_python,
        locked_versions=locked_versions or {},
        recorded=recorded,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="uv-archive-") as scratch:
            asking = prepare(
                Path(scratch),
                uv=uv,
                environment=environment,
                directory=directory,
                nearest=nearest,
            )
            answer = _answering(asking.ask, gathering, jobs, reporter or Reporter())
            subjects = tuple(builds)
            for _ in range(_DEEPEST):
                subjects = gathering.round(subjects, answer, obtain)
                if not subjects:
                    break
            for subject in subjects:
                gathering.doubt(subject.label, Unknown("its build requirements go on for ever"))
    except OSError as error:
        raise StorageError(f"A scratch directory can't be used: {error.strerror}") from error
    return gathering.result()


_Answer = Callable[[Iterable[Question]], None]


def _answering(
    ask: Callable[[Question], tuple[Distribution, ...]],
    gathering: _Gathering,
    jobs: int,
    reporter: Reporter,
) -> _Answer:
    """Return what puts questions to uv, several at a time, and keeps the answers."""

    def one(question: Question) -> tuple[Distribution, ...] | UvArchiveError:
        reporter.asking(question)
        try:
            return ask(question)
        except UvArchiveError as error:
            return error
        finally:
            reporter.answered(question)

    def answer(questions: Iterable[Question]) -> None:
        open_questions = {q.key: q for q in questions if not gathering.has_answer(q)}
        if not open_questions:
            return
        with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
            answers = pool.map(one, open_questions.values())
            gathering.answers.update(zip(open_questions, answers, strict=True))

    return answer


@dataclass(kw_only=True, slots=True)
class _Gathering:
    """What is known so far."""

    settings: Mapping[str, object]
    constraints: tuple[str, ...]
    requires_python: str
    locked_versions: Mapping[NormalizedName, Sequence[Version]]
    recorded: Record
    answers: dict[str, tuple[Distribution, ...] | UvArchiveError] = field(default_factory=dict)
    wants: dict[str, BuildWants] = field(default_factory=dict)
    used: dict[str, tuple[Distribution, ...]] = field(default_factory=dict)
    files: dict[tuple[str, str], RequiredFile] = field(default_factory=dict)
    uncertain: set[tuple[str, str, str]] = field(default_factory=set)
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def round(
        self, subjects: Sequence[BuildSubject], answer: _Answer, obtain: Obtain | None
    ) -> tuple[BuildSubject, ...]:
        """Gather for *subjects*; return the sdists among what they need, to be built as well."""
        known = [(subject, wants) for subject in subjects if (wants := self._wants(subject))]
        questions = [
            (subject, wants, target, self._question(wants.wanted, target))
            for subject, wants in known
            for target in (subject.targets if subject.targets is not None else (None,))
            if wants.wanted
        ]
        answer(question for *_, question in questions)
        final = [(*each[:3], self._with_additions(each[1], each[3])) for each in questions]
        answer(question for *_, question in final)
        sdists: dict[str, tuple[Distribution, dict[Target | None, None]]] = {}
        for subject, wants, target, question in final:
            for distribution in self._take(subject, wants, target, question):
                key = str(distribution.digest or distribution.filename)
                sdists.setdefault(key, (distribution, {}))[1][target] = None
        return self._subjects(list(sdists.values()), obtain)

    def has_answer(self, question: Question) -> bool:
        return question.key in self.answers or question.key in self.recorded.answers

    def doubt(self, of: str, unknown: Unknown) -> None:
        """Note that something about the build *of* a source isn't known."""
        message = f"What `{of}` needs to be built isn't known for certain: {unknown.clause}"
        self.uncertain.add((of, message, unknown.hint))

    def result(self) -> Gathered:
        return Gathered(
            files=tuple(self.files[key] for key in sorted(self.files)),
            uncertain=tuple(
                Uncertainty(of=of, message=message, hint=hint)
                for of, message, hint in sorted(self.uncertain)
            ),
            failures=tuple(self.failures[key] for key in sorted(self.failures)),
            record=Record(
                wants=dict(sorted(self.wants.items())), answers=dict(sorted(self.used.items()))
            ),
        )

    def _wants(self, subject: BuildSubject) -> BuildWants | None:
        """Return what *subject* asks for, with the user's additions; `None` if that is unknown."""
        key = subject.key
        recorded = self.recorded.wants.get(key) if key else None
        try:
            wants = recorded or _read(subject)
            extra = tuple(self._extra(subject))
        except BuildRequirementsError as error:
            self._fail(subject.label, error)
            return None
        if key:
            self.wants[key] = wants
        for unknown in wants.uncertain:
            self.doubt(subject.label, unknown)
        for name in self._sources(subject, wants.wanted):
            unknown = Unknown(
                f"`{name}` has an entry in `tool.uv.sources`, and what the index has is taken",
                "Check that the index has the same",
            )
            self.doubt(subject.label, unknown)
        return replace(wants, wanted=wants.wanted + extra)

    def _extra(self, subject: BuildSubject) -> Iterator[Wanted]:
        """Yield what the project adds by `tool.uv.extra-build-dependencies`."""
        tables = self.settings.get("extra-build-dependencies", {})
        for name, entries in tables.items() if isinstance(tables, dict) else ():
            if canonicalize_name(name) != subject.name or not isinstance(entries, list):
                continue
            for entry in entries:
                matched = isinstance(entry, dict) and entry.get("match-runtime") is True
                text = entry.get("requirement") if isinstance(entry, dict) else entry
                try:
                    requirement = Requirement(str(text))
                except InvalidRequirement as error:
                    raise BuildRequirementsError(
                        f"`{text}` is no requirement "
                        f"(at `tool.uv.extra-build-dependencies.{name}`)",
                        hint="Correct the setting",
                    ) from error
                if matched:
                    requirement = self._matched(subject, requirement)
                yield Wanted(requirement=str(requirement), found="setting")

    def _matched(self, subject: BuildSubject, requirement: Requirement) -> Requirement:
        versions = self.locked_versions.get(canonicalize_name(requirement.name), ())
        if len(versions) == 1:
            pinned = Requirement(str(requirement))
            pinned.specifier &= type(pinned.specifier)(f"=={versions[0]}")
            return pinned
        unknown = Unknown(
            f"the lock has {len(versions) or 'no'} versions of `{requirement.name}`, "
            "which it has to match at run time",
            "Name the version in `tool.uv.extra-build-dependencies`",
        )
        self.doubt(subject.label, unknown)
        return requirement

    def _sources(self, subject: BuildSubject, wanted: Iterable[Wanted]) -> list[NormalizedName]:
        """Return what uv would take from `tool.uv.sources`: it looks there for source trees."""
        if not subject.where.is_dir():
            return []
        try:
            own = read_build_system(subject.where, subdirectory=subject.subdirectory).pyproject
        except BuildRequirementsError:
            return []
        named = set()
        for settings in (tool_uv(own), self.settings):
            sources = settings.get("sources")
            if isinstance(sources, dict):
                named |= {canonicalize_name(name) for name in sources}
        asked = {canonicalize_name(Requirement(each.requirement).name) for each in wanted}
        return sorted(named & asked)

    def _question(self, wanted: Iterable[Wanted], target: Target | None) -> Question:
        return Question(
            requirements=tuple(sorted({each.requirement for each in wanted})),
            constraints=self.constraints,
            target=target,
            requires_python=self.requires_python,
        )

    def _answer(self, question: Question) -> tuple[Distribution, ...] | UvArchiveError:
        if question.key in self.recorded.answers:
            return self.recorded.answers[question.key]
        return self.answers[question.key]

    def _with_additions(self, wants: BuildWants, question: Question) -> Question:
        """Return *question* with what the version of the backend that was found asks for."""
        answer = self._answer(question)
        if isinstance(answer, UvArchiveError):
            return question
        self.used[question.key] = answer
        versions = {each.filename.name: each.filename.version for each in answer}
        added = additions_by_version(wants.backend, versions)
        requirements = tuple(sorted({*question.requirements, *added}))
        return replace(question, requirements=requirements)

    def _take(
        self, subject: BuildSubject, wants: BuildWants, target: Target | None, question: Question
    ) -> Iterator[Distribution]:
        """Take the files of an answer; yield the sdists among them."""
        answer = self._answer(question)
        if isinstance(answer, UvArchiveError):
            self._fail(subject.label, answer)
            return
        self.used[question.key] = answer
        added = set(question.requirements) - {each.requirement for each in wants.wanted}
        wanted = (*wants.wanted, *(Wanted(requirement=r, found="table") for r in sorted(added)))
        for distribution in answer:
            reasons = _reasons(subject.label, distribution, wanted, question)
            self._add(distribution, reasons, target)
            if not distribution.is_wheel:
                yield distribution

    def _add(
        self, distribution: Distribution, reasons: Iterable[Reason], target: Target | None
    ) -> None:
        key = (distribution.filename.text, str(distribution.digest or distribution.location))
        label = () if target is None else (target.label,)
        known = self.files.get(key)
        if known is None:
            file = RequiredFile(distribution=distribution, reasons=tuple(reasons), targets=label)
        else:
            merged = {*known.reasons, *reasons}
            everywhere = target is None or not known.targets
            file = replace(
                known,
                reasons=tuple(sorted(merged, key=lambda r: (r.of, r.requested or "", r.found))),
                targets=() if everywhere else tuple(sorted({*known.targets, *label})),
            )
        self.files[key] = file

    def _subjects(
        self,
        sdists: Sequence[tuple[Distribution, Mapping[Target | None, None]]],
        obtain: Obtain | None,
    ) -> tuple[BuildSubject, ...]:
        """Return the sdists that aren't known yet as sources to be built."""
        new = []
        for distribution, targets in sdists:
            fresh = {t: None for t in targets if self._is_new(distribution, t)}
            if fresh:
                new.append((distribution, fresh))
        if not new:
            return ()
        paths = obtain([distribution for distribution, _ in new]) if obtain else [None] * len(new)
        subjects = []
        for (distribution, targets), path in zip(new, paths, strict=True):
            label = f"{distribution.filename.name}=={distribution.filename.version}"
            if path is None:
                self.doubt(label, Unknown("it isn't there yet to be read", "Run it again"))
                continue
            everywhere = None in targets
            subjects.append(
                BuildSubject(
                    label=label,
                    name=distribution.filename.name,
                    where=path,
                    targets=None if everywhere else tuple(t for t in targets if t is not None),
                    digest=distribution.digest,
                )
            )
        return tuple(subjects)

    def _is_new(self, distribution: Distribution, target: Target | None) -> bool:
        key = (str(distribution.digest or distribution.filename), target.label if target else "")
        if key in self.seen:
            return False
        self.seen.add(key)
        return True

    def _fail(self, of: str, error: UvArchiveError) -> None:
        self.failures[of, error.message] = Failure(of=of, message=error.message, hint=error.hint)


def _read(subject: BuildSubject) -> BuildWants:
    system = read_build_system(subject.where, subdirectory=subject.subdirectory)
    additions = known_additions(system, editable=subject.editable)
    static = (Wanted(requirement=text, found="static") for text in system.requires)
    table = (
        Wanted(requirement=text, found="table")
        for text in additions.requires
        if text not in system.requires
    )
    return BuildWants(
        backend=system.module, wanted=(*static, *table), uncertain=additions.uncertain
    )


def _reasons(
    of: str, distribution: Distribution, wanted: Iterable[Wanted], question: Question
) -> tuple[Reason, ...]:
    name = distribution.filename.name
    met = tuple(
        Reason(of=of, requested=each.requirement, found=each.found)
        for each in wanted
        if canonicalize_name((requirement := Requirement(each.requirement)).name) == name
        and (requirement.marker is None or question.concerns(str(requirement.marker)))
    )
    return met or (Reason(of=of, requested=None, found="dependency"),)
