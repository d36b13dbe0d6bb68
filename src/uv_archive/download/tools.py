"""Tools: what a machine that has nothing needs in order to install, as wheels.

`sync` runs uv, and is itself this program with few of its dependencies: no HTTP client, nothing
that draws. Only uv's wheel is for one platform, so that a target's Python makes no difference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from uv_archive.archive.layout import ArchivePath, tool_path
from uv_archive.archive.manifest import Tool
from uv_archive.build_requirements import Answered, Question
from uv_archive.build_requirements.answers import Asking, prepare
from uv_archive.download.contents import Content
from uv_archive.download.own_wheel import OwnWheel, installed, own_wheel
from uv_archive.errors import BuildRequirementsError, StorageError, ToolError
from uv_archive.filenames import WheelFilename
from uv_archive.request import REPRESENTATIVE_PLATFORMS, Request
from uv_archive.target import Platform, Python, Target, platform_named
from uv_archive.uv import Uv

#: The dependencies of this program that `sync` imports.
NEEDED_BY_SYNC = frozenset(map(canonicalize_name, ("click", "packaging", "tomli", "tomli-w")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What an archive shall have in `tools/`, and uv's answers by `Question.key`.

    *own* is this program, which is among the *contents* and comes from nowhere.
    """

    contents: Mapping[ArchivePath, Content]
    answers: Mapping[str, tuple[Answered, ...]]
    own: OwnWheel

    @property
    def own_path(self) -> ArchivePath:
        return tool_path(self.own.filename)


def find_tools(
    requests: Iterable[Request],
    *,
    uv: Uv,
    environment: Mapping[str, str],
    directory: Path,
    recorded: Mapping[str, tuple[Answered, ...]],
    asking: Callable[[int], None],
) -> Tools | None:
    """Find the tools that *requests* want; `None` if none of them wants any.

    uv is asked only what isn't *recorded*, with the indexes of the project at *directory*;
    *asking* is told how many questions that are. Raises `ToolError` if something can't be had,
    and `StorageError`.
    """
    wanted = [request for request in requests if request.tools]
    if not wanted:
        return None
    questions = _questions((p for request in wanted for p in _platforms(request)), uv)
    answers = {key: recorded[key] for key in questions if key in recorded}
    missing = [question for key, question in questions.items() if key not in answers]
    if missing:
        asking(len(missing))
        answers |= _asked(missing, uv=uv, environment=environment, directory=directory)
    own = own_wheel()
    contents = {
        tool_path(filename): Content(
            path=tool_path(filename), distribution=distribution, why=(Tool(),)
        )
        for distribution in (
            own.distribution,
            *(one.distribution for key in sorted(answers) for one in answers[key]),
        )
        if isinstance(filename := distribution.filename, WheelFilename)
    }
    return Tools(contents=dict(sorted(contents.items())), answers=answers, own=own)


def _platforms(request: Request) -> Iterable[Platform]:
    if request.targets:
        return [target.platform for target in request.targets]
    return [platform_named(name) for name in REPRESENTATIVE_PLATFORMS]


def _questions(platforms: Iterable[Platform], uv: Uv) -> Mapping[str, Question]:
    """Return what is asked for each platform, by key."""
    distribution = installed()
    requirements = [f"uv=={uv.version}"]
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) in NEEDED_BY_SYNC:
            requirements.append(str(requirement))
    python = _lowest_python(SpecifierSet(distribution.metadata["Requires-Python"] or ""))
    questions = [
        Question(
            requirements=tuple(sorted(requirements)),
            constraints=(),
            target=Target(python=python, platform=platform.without_release()),
        )
        for platform in platforms
    ]
    return {question.key: question for question in questions}


def _lowest_python(allowed: SpecifierSet) -> Python:
    """Return the lowest Python that this program runs with: later ones take the same wheels."""
    minors = (minor for minor in range(8, 100) if allowed.contains(f"3.{minor}.0"))
    return Python(major=3, minor=next(minors, 11), micro="0")


def _asked(
    questions: Sequence[Question], *, uv: Uv, environment: Mapping[str, str], directory: Path
) -> Mapping[str, tuple[Answered, ...]]:
    try:
        with tempfile.TemporaryDirectory(prefix="uv-archive-") as scratch:
            asking = prepare(Path(scratch), uv=uv, environment=environment, directory=directory)
            with ThreadPoolExecutor(max_workers=4) as pool:
                found = list(pool.map(lambda question: _answer(asking, question), questions))
    except OSError as error:
        raise StorageError(f"A scratch directory can't be used: {error.strerror}") from error
    failures = sorted({answer for answer in found if isinstance(answer, str)})
    if failures:
        listed = "".join(f"\n  {failure}" for failure in failures)
        raise ToolError(
            f"`--with-tools` can't be met for {len(failures)} of the platforms:{listed}",
            hint="Name an index that has these wheels, choose other platforms, or carry uv and "
            "uv-archive along in another way",
        )
    return {
        question.key: answer
        for question, answer in zip(questions, found, strict=True)
        if not isinstance(answer, str)
    }


def _answer(asking: Asking, question: Question) -> tuple[Answered, ...] | str:
    """Ask for one platform; return the wheels, or what is wrong."""
    target = question.target
    platform = target.platform.name if isinstance(target, Target) else target.label
    try:
        answer = asking.ask(question)
    except BuildRequirementsError as error:
        # The message begins with the question, which is the same for all of them.
        return f"{platform}: {error.message.rpartition(f'{question}: ')[2]}"
    files = [one.distribution for one in answer]
    sources = [str(one.filename) for one in files if not one.is_wheel]
    if sources:
        return f"{platform}: there is no wheel, only {', '.join(f'`{name}`' for name in sources)}"
    return answer


def with_answers(
    answers: Mapping[str, tuple[Answered, ...]], tools: Tools | None
) -> Mapping[str, tuple[Answered, ...]]:
    """Return what is recorded of uv's answers, those about tools among them."""
    return answers if tools is None else {**answers, **tools.answers}


def with_tools(
    contents: Mapping[ArchivePath, Content], tools: Tools | None
) -> Mapping[ArchivePath, Content]:
    """Return the contents of an archive with those of *tools*, in order."""
    return contents if tools is None else dict(sorted({**contents, **tools.contents}.items()))
