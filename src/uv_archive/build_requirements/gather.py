"""Gather the build requirements of everything that some target has to build.

What can't be known, or found, is reported with the rest: one sdist that can't be read keeps
nobody from the others.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from uv_archive.build_requirements.answers import (
    Answered,
    Asking,
    Everywhere,
    Question,
    prepare,
    project_settings,
)
from uv_archive.build_requirements.backends import Unknown, Wanted, additions_by_version
from uv_archive.build_requirements.build_settings import BuildSettings
from uv_archive.build_requirements.model import (
    AskHooks,
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
from uv_archive.build_requirements.reading import Read, Reader, doubts_elsewhere
from uv_archive.errors import BuildRequirementsError, StorageError, UvArchiveError
from uv_archive.lock.model import Distribution
from uv_archive.target import Target
from uv_archive.uv import Uv

# A build requirement that is an sdist has build requirements, and so on; what is deeper than
# this goes round in circles.
_DEEPEST = 4

_NOTHING: Mapping[str, object] = {}
#: Brings sdists onto this machine, in the order given; `None` for one that didn't come.
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
    selected_versions: Mapping[tuple[NormalizedName, str], Collection[Version]] | None = None,
    recorded: Record | None = None,
    obtain: Obtain | None = None,
    ask_hooks: AskHooks | None = None,
    jobs: int = 4,
    reporter: Reporter | None = None,
) -> Gathered:
    """Find the files that *builds* need on their targets.

    *directory* is where uv finds the project's settings; those of a script there are *nearest*.
    *constraints* are the lock's build constraints (PEP 508), *requires_python* bounds patch
    releases. Extra build dependencies with `match-runtime` are looked up in *selected_versions*,
    by name and a target's label, and then in *locked_versions*. What *recorded*
    has is not asked again. Where a build requirement exists only as an sdist, *obtain* is called
    for it, and what it needs is gathered too. With *ask_hooks* the hooks of backends are run,
    unless what they said is recorded. Raises `ProjectError` for settings that can't be
    read and `StorageError`; what one of the builds is to blame for is in the answer.
    """
    recorded = recorded or Record()
    if not builds:
        return Gathered(files=(), uncertain=(), failures=(), record=Record())
    gathering = _Gathering(
        reader=Reader(
            settings=BuildSettings(
                options=project_settings(directory, environment, nearest),
                locked_versions=locked_versions or {},
                selected_versions=selected_versions or {},
            ),
            constraints=tuple(sorted(set(constraints))),
            recorded=recorded,
            ask_hooks=ask_hooks,
        ),
        requires_python=requires_python,
        recorded=recorded,
        jobs=max(1, jobs),
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
            answer = _answering(asking.ask, gathering, reporter or Reporter())
            subjects = tuple(builds)
            for _ in range(_DEEPEST):
                subjects = gathering.round(subjects, asking, answer, obtain)
                if not subjects:
                    break
            for subject in subjects:
                gathering.doubt(subject.label, Unknown("its build requirements go on for ever"))
    except OSError as error:
        raise StorageError(f"A scratch directory can't be used: {error.strerror}") from error
    return gathering.result()


_Answer = Callable[[Iterable[Question]], None]


def _answering(
    ask: Callable[[Question], tuple[Answered, ...]],
    gathering: _Gathering,
    reporter: Reporter,
) -> _Answer:
    """Return what puts questions to uv, several at a time, and keeps the answers."""

    def one(question: Question) -> tuple[Answered, ...] | UvArchiveError:
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
        with ThreadPoolExecutor(max_workers=gathering.jobs) as pool:
            answers = pool.map(one, open_questions.values())
            gathering.answers.update(zip(open_questions, answers, strict=True))

    return answer


@dataclass(kw_only=True, slots=True)
class _Gathering:
    """What is known so far."""

    reader: Reader
    requires_python: str
    recorded: Record
    jobs: int
    answers: dict[str, tuple[Answered, ...] | UvArchiveError] = field(default_factory=dict)
    wants: dict[str, BuildWants] = field(default_factory=dict)
    used: dict[str, tuple[Answered, ...]] = field(default_factory=dict)
    files: dict[tuple[str, str], _File] = field(default_factory=dict)
    builds: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    uncertain: set[tuple[str, str, str]] = field(default_factory=set)
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def round(
        self,
        subjects: Sequence[BuildSubject],
        asking: Asking,
        answer: _Answer,
        obtain: Obtain | None,
    ) -> tuple[BuildSubject, ...]:
        """Gather for *subjects*; return the sdists among what they need, to be built as well."""
        with ThreadPoolExecutor(max_workers=self.jobs) as pool:
            read = list(pool.map(lambda subject: self.reader.read(subject, asking), subjects))
        known = [
            (subject, wants)
            for subject, found in zip(subjects, read, strict=True)
            if (wants := self._wants(subject, found))
        ]
        questions = [
            (subject, there, target, self._question(there.wanted, target))
            for subject, wants in known
            for target in subject.targets
            for there in (self._on(target, subject, wants),)
        ]
        answer(question for *_, question in questions)
        final = [(*each[:3], self._with_additions(each[1], each[3])) for each in questions]
        answer(question for *_, question in final)
        final = [(*each[:3], self._answerable(each[1], each[3])) for each in final]
        answer(question for *_, question in final)
        sdists: dict[str, tuple[Distribution, dict[Target | Everywhere, None]]] = {}
        for subject, wants, target, question in final:
            for distribution in self._take(subject, wants, target, question):
                key = str(distribution.digest or distribution.filename)
                sdists.setdefault(key, (distribution, {}))[1][target] = None
        return self._subjects(list(sdists.values()), obtain)

    def has_answer(self, question: Question) -> bool:
        known = question.key in self.answers or question.key in self.recorded.answers
        return known or not question.requirements

    def doubt(self, of: str, unknown: Unknown) -> None:
        """Note that something about the build *of* a source isn't known."""
        message = f"What `{of}` needs to be built isn't known for certain: {unknown.clause}"
        self.uncertain.add((of, message, unknown.hint))

    def result(self) -> Gathered:
        return Gathered(
            files=tuple(self.files[key].required() for key in sorted(self.files)),
            uncertain=tuple(
                Uncertainty(of=of, message=message, hint=hint)
                for of, message, hint in sorted(self.uncertain)
            ),
            failures=tuple(self.failures[key] for key in sorted(self.failures)),
            record=Record(
                wants=dict(sorted(self.wants.items())), answers=dict(sorted(self.used.items()))
            ),
            builds={of: tuple(sorted(labels)) for of, labels in sorted(self.builds.items())},
        )

    def _wants(self, subject: BuildSubject, read: Read) -> BuildWants | None:
        """Return what *subject* asks for, with the user's additions; `None` if that is unknown."""
        if read.failure is not None:
            self._fail(subject.label, read.failure)
        settings, wants = self.reader.settings, read.wants
        if wants is None:
            return None
        try:
            extra = [each for each in settings.added(subject.name) if isinstance(each, Wanted)]
        except BuildRequirementsError as error:
            self._fail(subject.label, error)
            return None
        if read.key:
            self.wants[read.key] = wants
        for unknown in (
            *wants.uncertain,
            *settings.doubts(subject, (*wants.wanted, *extra)),
            *doubts_elsewhere(subject, wants),
        ):
            self.doubt(subject.label, unknown)
        return wants

    def _on(
        self, target: Target | Everywhere, subject: BuildSubject, wants: BuildWants
    ) -> BuildWants:
        """Return what *subject* wants on one of its targets."""
        extra = tuple(self.reader.settings.added(subject.name, target))
        for each in extra:
            if isinstance(each, Unknown):
                self.doubt(subject.label, each)
        added = (each for each in extra if isinstance(each, Wanted))
        return replace(wants, wanted=(*wants.wanted, *added))

    def _question(self, wanted: Iterable[Wanted], target: Target | Everywhere) -> Question:
        return Question(
            requirements=tuple(sorted({each.requirement for each in wanted})),
            constraints=self.reader.constraints,
            target=target,
            requires_python=self.requires_python,
        )

    def _answer(self, question: Question) -> tuple[Answered, ...] | UvArchiveError:
        if not question.requirements:
            return ()
        if question.key in self.recorded.answers:
            return self.recorded.answers[question.key]
        return self.answers[question.key]

    def _with_additions(self, wants: BuildWants, question: Question) -> Question:
        """Return *question* with what the version of the backend that was found asks for."""
        answer = self._answer(question)
        if isinstance(answer, UvArchiveError):
            return question
        self._use(question, answer)
        filenames = [each.distribution.filename for each in answer]
        versions = {filename.name: filename.version for filename in filenames}
        added = additions_by_version(wants.by_version, versions)
        requirements = tuple(sorted({*question.requirements, *added}))
        return replace(question, requirements=requirements)

    def _answerable(self, wants: BuildWants, question: Question) -> Question:
        """Return *question*, or one without what is only good to have, if that can't be had."""
        optional = {each.requirement for each in wants.by_version if each.optional}
        needed = tuple(text for text in question.requirements if text not in optional)
        if needed == question.requirements or not isinstance(
            self._answer(question), UvArchiveError
        ):
            return question
        return replace(question, requirements=needed)

    def _use(self, question: Question, answer: tuple[Answered, ...]) -> None:
        if question.requirements:
            self.used[question.key] = answer

    def _take(
        self,
        subject: BuildSubject,
        wants: BuildWants,
        target: Target | Everywhere,
        question: Question,
    ) -> Iterator[Distribution]:
        """Take the files of an answer; yield the sdists among them."""
        answer = self._answer(question)
        if isinstance(answer, UvArchiveError):
            self._fail(subject.label, answer)
            return
        self._use(question, answer)
        self.builds[subject.label].add(target.label)
        added = set(question.requirements) - {each.requirement for each in wants.wanted}
        wanted = (*wants.wanted, *(Wanted(requirement=r, found="table") for r in sorted(added)))
        for answered in answer:
            distribution = answered.distribution
            key = (distribution.filename.text, str(distribution.digest or distribution.location))
            file = self.files.setdefault(key, _File(distribution=distribution))
            for reason in _reasons(subject.label, answered, wanted, question):
                file.reasons[reason].add(target.label)
            if not distribution.is_wheel:
                yield distribution

    def _subjects(
        self,
        sdists: Sequence[tuple[Distribution, Mapping[Target | Everywhere, None]]],
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
            subjects.append(
                BuildSubject(
                    label=label,
                    name=distribution.filename.name,
                    where=path,
                    targets=tuple(targets),
                    digest=distribution.digest,
                )
            )
        return tuple(subjects)

    def _is_new(self, distribution: Distribution, target: Target | Everywhere) -> bool:
        key = (str(distribution.digest or distribution.filename), target.label)
        if key in self.seen:
            return False
        self.seen.add(key)
        return True

    def _fail(self, of: str, error: UvArchiveError) -> None:
        self.failures[of, error.message] = Failure(of=of, message=error.message, hint=error.hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """A file that builds need, and for each reason the labels of its targets."""

    distribution: Distribution
    reasons: defaultdict[Reason, set[str]] = field(default_factory=lambda: defaultdict(set))

    def required(self) -> RequiredFile:
        reasons = [
            replace(reason, targets=tuple(sorted(labels)))
            for reason, labels in self.reasons.items()
        ]
        reasons.sort(key=lambda r: (r.of, r.requested or "", r.found, r.targets, r.marker or ""))
        return RequiredFile(distribution=self.distribution, reasons=tuple(reasons))


def _reasons(
    of: str, answered: Answered, wanted: Iterable[Wanted], question: Question
) -> tuple[Reason, ...]:
    name = answered.distribution.filename.name
    met = tuple(
        Reason(of=of, requested=each.requirement, found=each.found, marker=answered.marker)
        for each in wanted
        if canonicalize_name((requirement := Requirement(each.requirement)).name) == name
        and (requirement.marker is None or question.concerns(str(requirement.marker)))
    )
    return met or (Reason(of=of, requested=None, found="dependency", marker=answered.marker),)
