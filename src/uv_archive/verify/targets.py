"""Whether targets can be installed from an archive: by own selection, and by uv's.

uv is asked by a dry run over a relocated lock that has nothing but the archive's right files:
it fails where something is lacking.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from uv_archive.archive.built import BuiltWheel
from uv_archive.archive.layout import ArchivePath
from uv_archive.digest import Digest
from uv_archive.download import Asked
from uv_archive.download.asked import request_of
from uv_archive.errors import TargetError
from uv_archive.lock.model import GitSource, Lock, Package, RegistrySource
from uv_archive.lock.relocate import FileKey, relocate
from uv_archive.owner import Owner, default_groups_of, settings_of
from uv_archive.pylock import PylockFile
from uv_archive.request import Request
from uv_archive.scratch import Scratch, scrubbed, write_scratch
from uv_archive.selection import Root, Selection, conflicting
from uv_archive.settings import Settings
from uv_archive.target import (
    Interpreter,
    Platform,
    Python,
    Target,
    inspect_interpreter,
    parse_python,
    platform_named,
    platform_names,
)
from uv_archive.uv import Uv, uv_message
from uv_archive.verify.coverage import Places, findings_of
from uv_archive.verify.model import Checked, Finding, Reporter

# What would select something else than the flags do.
_SELECTING = frozenset({"UV_NO_DEV", "UV_DEV", "UV_NO_GROUP", "UV_NO_DEFAULT_GROUPS"})
_MACOS = re.compile(r"macosx_(\d+)_(\d+)_")
_IOS = re.compile(r"ios_(\d+)_(\d+)_")
_ANDROID = re.compile(r"android_(\d+)_")
_BY_OWN_SELECTION = " (by own selection only)"
_UV_WOULDNT = " (uv refuses it, too)"
_UV_WOULD = " (uv would install it without)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What has to be installable: *request* has the targets, *asked* is where it comes from."""

    asked: Asked
    request: Request
    owner: Owner
    lock: Lock
    settings: Settings
    uv: Uv
    environment: Mapping[str, str]

    @classmethod
    def of(
        cls, asked: Asked, *, owner: Owner, lock: Lock, uv: Uv, environment: Mapping[str, str]
    ) -> Wanted:
        """Read the targets as `download` does. Raises `RequestError` and its subclasses."""
        settings = settings_of(owner, environment)
        request = request_of(
            asked, owner=owner, lock=lock, settings=settings, uv=uv, environment=environment
        )
        return cls(
            asked=asked,
            request=request,
            owner=owner,
            lock=lock,
            settings=settings,
            uv=uv,
            environment=environment,
        )

    def download(self, directory: Path, *targets: str) -> str:
        """Return the command that brings what *targets* lack."""
        flags = (*self.asked.flags(), *targets, *self.request.include.flags())
        return shlex.join(["uv-archive", "download", "-o", str(directory), *flags])

    def here(self) -> Wanted:
        """Return the same for the Pythons here, where it is for all platforms."""
        if not self.request.all_platforms:
            return self
        return Wanted.of(
            replace(self.asked, all_platforms=False),
            owner=self.owner,
            lock=self.lock,
            uv=self.uv,
            environment=self.environment,
        )

    def selection(self, request: Request) -> Selection:
        """Return what a part of the request selects. Raises `RequestError` and its subclasses."""
        return request.select(self.lock, default_groups_of(self.owner, request.project))


def check_targets(
    wanted: Wanted, places: Places, *, directory: Path, reporter: Reporter
) -> Iterator[tuple[Checked, tuple[Finding, ...]]]:
    """Say of each target what it lacks. Raises as `Wanted.selection` does."""
    if wanted.request.all_platforms:
        selection = wanted.selection(wanted.request)
        answer = _Answer(reason="uv installs for one platform at a time")
        command = wanted.download(directory, "--all-platforms")
        # That some platform has no file of a package is a note there, and no fault.
        yield _checked(
            selection, places, answer, label="all platforms", command=command, gaps=False
        )
        return
    with tempfile.TemporaryDirectory(prefix="uv-archive-") as scratch:
        checker = _UvCheck(wanted, places, directory=directory, scratch=Path(scratch))
        for target in wanted.request.targets:
            part = replace(wanted.request, targets=(target,))
            selection = places.beforehand.without_served(part, wanted.selection(part))
            reporter.asking(target.label)
            answer = checker.answer(target)
            flags = ("-p", str(target.python), "--python-platform", target.platform.name)
            command = wanted.download(directory, *flags)
            yield _checked(selection, places, answer, label=target.label, command=command)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """What uv said: with a *reason* it wasn't asked, with a *refusal* it gave up."""

    reason: str | None = None
    refusal: str | None = None


def _checked(
    selection: Selection,
    places: Places,
    answer: _Answer,
    *,
    label: str,
    command: str,
    gaps: bool = True,
) -> tuple[Checked, tuple[Finding, ...]]:
    how = _UV_WOULDNT if answer.refusal else _BY_OWN_SELECTION if answer.reason else _UV_WOULD
    findings = tuple(
        findings_of(selection, places, target=label, gaps=gaps, how=how, command=command)
    )
    if answer.refusal and not findings:
        findings = (
            Finding(
                kind="refused by uv",
                target=label,
                message=f"uv can't install for {label} from the archive: {answer.refusal}",
                hint="By own selection nothing is lacking",
            ),
        )
    checked = Checked(
        target=label,
        distributions=len(places.needed(selection)),
        lacking=len(places.lacking(selection)),
        by_uv=answer.reason is None,
        reason=answer.reason,
    )
    return checked, findings


class _UvCheck:
    """Asks uv, over one scratch copy for all targets."""

    def __init__(self, wanted: Wanted, places: Places, *, directory: Path, scratch: Path) -> None:
        self._wanted = wanted
        self._places = places
        self._directory = directory.absolute()
        self._scratch = scratch
        self._copy: Scratch | None = None

    def answer(self, target: Target) -> _Answer:
        owner = self._wanted.owner
        if isinstance(owner, PylockFile):
            return _Answer(reason="uv has no such check for a pylock file")
        if self._conflicts(owner):
            return _Answer(reason="extras or groups that conflict can't be installed together")
        platform = uv_platform(target.platform)
        if platform is None:
            return _Answer(reason=f"uv has no name for {target.platform.name}")
        interpreter = interpreter_for(target.python, self._wanted)
        if interpreter is None:
            return _Answer(reason=f"no interpreter of Python {target.python} is at hand")
        if self._copy is None:
            self._copy = write_scratch(
                owner,
                lock=self._relocated(),
                directory=self._scratch,
                settings=self._wanted.settings.options,
            )
        return self._asked(self._copy, interpreter, platform)

    def _asked(
        self, copy: Scratch, interpreter: Path, platform: tuple[str, Mapping[str, str]]
    ) -> _Answer:
        name, variables = platform
        said = self._wanted.uv.run(
            [
                *("sync", "--frozen", "--offline", "--no-index", "--dry-run"),
                *("--python", str(interpreter), "--python-platform", name),
                *(*self._wanted.request.include.flags(), *copy.arguments()),
            ],
            environment={**self._environment, **variables},
        )
        if said.status == 0:
            return _Answer()
        return _Answer(refusal=copy.translate(uv_message(said.stderr)))

    @property
    def _environment(self) -> Mapping[str, str]:
        kept = {
            name: value
            for name, value in scrubbed(self._wanted.environment).items()
            if name not in _SELECTING and name != "VIRTUAL_ENV"
        }
        return kept | {
            "UV_PROJECT_ENVIRONMENT": str(self._scratch / "environment"),
            "UV_CACHE_DIR": str(self._scratch / "cache"),
            "UV_PYTHON_DOWNLOADS": "never",
        }

    def _conflicts(self, owner: Owner) -> bool:
        request = self._wanted.request
        groups = default_groups_of(owner, request.project)
        root = Root(project=request.project, default_groups=groups)
        return bool(conflicting(self._wanted.lock, root, request.include))

    def _relocated(self) -> bytes:
        """Name the archive's right files, and those that were built, in the lock's place."""
        paths: dict[FileKey, Path] = {}
        digests: dict[FileKey, Digest] = {}
        for package in self._wanted.lock.packages:
            if isinstance(package.source, GitSource):
                continue
            for distribution in package.distributions:
                path = self._places.distributions[distribution]
                if self._places.is_right(path):
                    key = (package.position, str(distribution.filename))
                    paths[key] = self._directory / path
                    entry = self._places.manifest.files[ArchivePath(path)]
                    digests[key] = Digest("sha256", entry.sha256)
        replaced: dict[int, tuple[Path, Digest]] = {}
        for package, wheel in self._built():
            there, digest = self._directory / wheel.path, Digest("sha256", wheel.entry.sha256)
            if isinstance(package.source, RegistrySource):
                key = (package.position, str(wheel.filename))
                paths[key], digests[key] = there, digest
            else:
                replaced[package.position] = (there, digest)
        return relocate(
            self._wanted.lock,
            files=paths,
            digests=digests,
            wheels=replaced,
            project_root=self._wanted.owner.root,
            # Nothing is installed here, and the root's groups count for members where it stays.
            root_lends=True,
        )

    def _built(self) -> Iterator[tuple[Package, BuiltWheel]]:
        """Yield the wheels that were built of packages of the lock."""
        options = self._wanted.request.options
        for package in self._wanted.lock.packages:
            for wheel in self._places.beforehand.of_source(package, package.sdist, options):
                yield package, wheel


def uv_platform(platform: Platform) -> tuple[str, Mapping[str, str]] | None:
    """Return uv's name for exactly this platform, and the variables that it goes with.

    `None` if it has none.
    """
    variables = _version_variables(platform.name)
    for name in platform_names():
        if platform_named(name, variables).name == platform.name:
            return name, variables
    return None


def _version_variables(tag: str) -> Mapping[str, str]:
    if match := _MACOS.match(tag):
        return {"MACOSX_DEPLOYMENT_TARGET": f"{match[1]}.{match[2]}"}
    if match := _IOS.match(tag):
        return {"IPHONEOS_DEPLOYMENT_TARGET": f"{match[1]}.{match[2]}"}
    if match := _ANDROID.match(tag):
        return {"ANDROID_API_LEVEL": match[1]}
    return {}


def interpreter_for(python: Python, wanted: Wanted) -> Path | None:
    """Return an interpreter of that version on this machine; what was named goes first."""
    named = [*wanted.asked.pythons, wanted.environment.get("UV_PYTHON", "")]
    for text in filter(None, named):
        interpreter = _named(text)
        if interpreter is not None and _is(interpreter.python, python):
            return interpreter.executable
    said = wanted.uv.run(
        ["python", "find", "--offline", "--no-project", str(python)],
        environment={**scrubbed(wanted.environment), "UV_PYTHON_DOWNLOADS": "never"},
    )
    return Path(said.stdout.strip()) if said.status == 0 else None


def _named(text: str) -> Interpreter | None:
    try:
        parsed = parse_python(text)
        return None if isinstance(parsed, Python) else inspect_interpreter(parsed)
    except TargetError:
        return None


def _is(found: Python, wanted: Python) -> bool:
    """Whether an interpreter is one of those that are wanted: any patch release, unless named."""
    return found == wanted or replace(found, micro=None) == wanted
