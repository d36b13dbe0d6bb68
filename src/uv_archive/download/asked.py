"""What a user asked for, in the user's words, and the request that it comes to here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from packaging.utils import NormalizedName

from uv_archive.errors import RequestError, StaleLockError, TargetError
from uv_archive.lock.model import Lock
from uv_archive.owner import Owner
from uv_archive.project import Project, find_project
from uv_archive.pylock import PylockFile, find_pylock
from uv_archive.request import Request
from uv_archive.script import Script, find_script
from uv_archive.selection import BuildOptions, Include, mentions
from uv_archive.settings import Settings
from uv_archive.target import (
    Interpreter,
    Platform,
    Python,
    Target,
    inspect_interpreter,
    parse_python,
    platform_named,
)
from uv_archive.uv import Uv, uv_message

_KERNEL = ("platform_release", "platform_version")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The options of `download`, parsed but not yet held against a project.

    *start* is the directory where the project is looked for, unless the lock is that of *script*
    or *pylock* is the lock itself; *directory* is the archive, by
    default `dist/dependencies` below the workspace's root. *pythons*, *platforms* and *mirrors*
    are texts as the flags take them. *options* are the flags alone; settings join them. *sdists*
    is `--sdists` or `--no-sdists`, where given. *unverified_hosts* are those whose certificates
    aren't checked. *jobs* is how many transfers run at a time, *build_jobs* how many builds, and
    *build_timeout* how long one may take, in seconds.
    """

    start: Path
    script: Path | None = None
    pylock: Path | None = None
    frozen: bool = False
    pythons: Sequence[str] = ()
    platforms: Sequence[str] = ()
    all_platforms: bool = False
    include: Include = Include()
    options: BuildOptions = BuildOptions()
    sdists: bool | None = None
    build_requirements: bool = True
    run_hooks: bool = False
    build: bool = False
    build_project: bool = False
    build_jobs: int = 1
    build_timeout: float = 3600.0
    tools: bool = False
    directory: Path | None = None
    replace: bool = False
    prune: bool = False
    verify: bool = False
    dry_run: bool = False
    allow_unhashed: frozenset[NormalizedName] = frozenset()
    allow_unhashed_all: bool = False
    mirrors: Sequence[str] = ()
    keyring_provider: str | None = None
    unverified_hosts: Sequence[str] = ()
    jobs: int = 16

    def environment(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Return *environment* with what flags say in the place of uv's variables."""
        changed = dict(environment)
        if self.keyring_provider is not None:
            changed["UV_KEYRING_PROVIDER"] = self.keyring_provider
        if self.unverified_hosts:
            changed["UV_INSECURE_HOST"] = " ".join(self.unverified_hosts)
        return changed

    @property
    def builds(self) -> bool:
        """Whether anything is to be built."""
        return self.build or self.build_project

    def flags(self) -> tuple[str, ...]:
        """Return the flags by which a sync finds the same lock."""
        start = self.start if self.start != Path() else None
        named = (("--project", start), ("--script", self.script), ("--pylock", self.pylock))
        return tuple(part for flag, path in named if path for part in (flag, str(path)))


def find_owner(asked: Asked) -> Owner:
    """Find what the lock belongs to. Raises `RequestError` and its subclasses."""
    if asked.script is not None and asked.pylock is not None:
        raise RequestError("`--script` and `--pylock` exclude each other")
    if asked.script is not None:
        return find_script(asked.script)
    return find_pylock(asked.pylock) if asked.pylock is not None else find_project(asked.start)


def is_plainly_current(owner: Owner, uv: Uv, environment: Mapping[str, str]) -> bool:
    """Ask uv whether a lock is up to date as far as that can be told without a network."""
    if isinstance(owner, PylockFile):
        return False
    # With a network uv looks at every direct URL anew, whose hash is locked; as a rule it needn't.
    check = ("lock", "--check", *owner.arguments, "--offline")
    return uv.run(check, environment=environment).status == 0


def check_lock_is_current(owner: Owner, uv: Uv, environment: Mapping[str, str]) -> bool:
    """Ask uv whether the lock says what `pyproject.toml` or the script asks for.

    Nothing says what a pylock file should have. It is `False` where uv would have to build
    something to find out. Raises `StaleLockError`, or `RequestError` where uv can't tell.
    """
    if isinstance(owner, PylockFile) or is_plainly_current(owner, uv, environment):
        return True
    check = ("lock", "--check", *owner.arguments)
    # To resolve a stale lock anew uv may build sdists, as `uv lock` does; `--frozen` asks nothing.
    said = uv.run(check, environment=environment)
    if said.status == 0:
        return True
    if "needs to be updated" in said.stderr:
        of_script = isinstance(owner, Script)
        source = owner.identity if of_script else "pyproject.toml"
        command = f"uv lock --script {source}" if of_script else "uv lock"
        raise StaleLockError(
            f"`{owner.lock_path}` is out of date with `{source}`",
            hint=f"Run `{command}`, or take the lock as it is with `--frozen`",
        )
    if "--no-build" in said.stderr:
        return False
    raise RequestError(
        f"uv can't tell whether `{owner.lock_path}` is up to date: {uv_message(said.stderr)}",
        hint="Take the lock as it is with `--frozen`",
    )


def request_of(
    asked: Asked,
    *,
    owner: Owner,
    lock: Lock,
    settings: Settings,
    uv: Uv,
    environment: Mapping[str, str],
    ahead: Callable[[], Interpreter] | None = None,
) -> Request:
    """Turn options into a request that anybody can plan again.

    *ahead* gives what `default_interpreter` does, if that was begun before.
    Raises `TargetError` for Pythons and platforms, and `RequestError` for options that
    exclude each other.
    """
    if asked.all_platforms and asked.platforms:
        raise RequestError("`--all-platforms` and `--python-platform` exclude each other")
    interpreters = _Interpreters(owner, lock, uv, environment, ahead)
    pythons = [interpreters.python(text) for text in asked.pythons]
    targets: tuple[Target, ...] = ()
    if not asked.all_platforms:
        found = _targets(asked, pythons, interpreters, environment)
        targets = tuple(dict.fromkeys(_recordable(target, lock) for target in found))
    if asked.build_project and not isinstance(owner, Project):
        raise RequestError(f"`--build-project` has no meaning for `{owner.identity}`")
    include = _include(asked.include, owner)
    packages = include.packages
    return Request(
        project=packages[0] if len(packages) == 1 else owner.name,
        include=include,
        options=with_settings(asked.options, settings),
        targets=targets,
        pythons=tuple(pythons) if asked.all_platforms else (),
        sdists=asked.sdists,
        build_requirements=asked.build_requirements,
        tools=asked.tools,
        wheels_only=asked.build and asked.sdists is False and bool(targets),
    )


def _include(include: Include, owner: Owner) -> Include:
    """Leave out what asks for everything of a kind that only a project has.

    Raises `RequestError` where something that the owner can't have was asked for by name.
    """
    if isinstance(owner, Project):
        return include
    of_pylock = replace(include, packages=(), all_packages=False)
    allowed = Include() if isinstance(owner, Script) else of_pylock
    named = replace(include, all_extras=False, all_groups=False, all_packages=False)
    refused = [flag for flag in named.flags() if flag not in allowed.flags()]
    if refused:
        raise RequestError(f"`{refused[0]}` has no meaning for `{owner.identity}`")
    return allowed


def with_settings(options: BuildOptions, settings: Settings) -> BuildOptions:
    """Join the flags with `no-binary`, `no-build` and their lists in uv's settings."""
    return BuildOptions(
        no_binary=options.no_binary or settings.is_set("no-binary"),
        no_binary_packages=options.no_binary_packages | settings.names("no-binary-package"),
        no_build=options.no_build or settings.is_set("no-build"),
        no_build_packages=options.no_build_packages | settings.names("no-build-package"),
    )


def _targets(
    asked: Asked,
    pythons: Sequence[Python],
    interpreters: _Interpreters,
    environment: Mapping[str, str],
) -> list[Target]:
    """Return the product of Pythons and platforms; what isn't asked for is what is here."""
    platforms = [platform_named(name, environment) for name in asked.platforms]
    if not pythons:
        # "A minor version covers every patch release, as the default does."
        pythons = [replace(interpreters.default().python, micro=None)]
    if platforms:
        return [Target(python=p, platform=platform) for p in pythons for platform in platforms]
    return [Target(python=python, platform=interpreters.platform()) for python in pythons]


def _recordable(target: Target, lock: Lock) -> Target:
    """Leave out what names this machine's kernel, unless the lock's markers ask for it."""
    if any(mentions(lock, variable) for variable in _KERNEL):
        return target
    return replace(target, platform=target.platform.without_release())


def default_interpreter(
    owner: Owner, *, uv: Uv, environment: Mapping[str, str], requires_python: str = ""
) -> Interpreter:
    """Return the interpreter that uv would use for a project, a script or a pylock file.

    *requires_python* is what a pylock file says. Raises `TargetError`.
    """
    asked = environment.get("UV_PYTHON")
    match owner:
        case Project(arguments=arguments):
            wanted = [*arguments, *([asked] if asked else [])]
        case Script(arguments=arguments):
            wanted = ["--no-project", asked] if asked else list(arguments)
        case PylockFile():
            wanted = ["--no-project", *filter(None, [asked or requires_python])]
        case _:
            assert_never(owner)
    return inspect_interpreter(_found(wanted, owner=owner, uv=uv, environment=environment))


def _found(
    arguments: Sequence[str], *, owner: Owner, uv: Uv, environment: Mapping[str, str]
) -> Path:
    said = uv.run(
        ["python", "find", *arguments],
        environment=environment,
        directory=owner.root if isinstance(owner, PylockFile) else None,
    )
    if said.status != 0:
        raise TargetError(
            f"uv finds no Python for `{owner.identity}`: {uv_message(said.stderr)}",
            hint="Name one with `-p`, such as `-p 3.12`, together with `--python-platform`",
        )
    return Path(said.stdout.strip())


class _Interpreters:
    """The interpreters of this machine, inspected when something needs them."""

    def __init__(
        self,
        owner: Owner,
        lock: Lock,
        uv: Uv,
        environment: Mapping[str, str],
        ahead: Callable[[], Interpreter] | None,
    ) -> None:
        self._owner = owner
        self._lock = lock
        self._uv = uv
        self._environment = environment
        self._ahead = ahead
        self._default: Interpreter | None = None

    def python(self, text: str) -> Python:
        """Read what `-p` is given. An interpreter also settles the platform."""
        parsed = parse_python(text)
        if isinstance(parsed, Python):
            return parsed
        interpreter = inspect_interpreter(parsed)
        self._default = self._default or interpreter
        return interpreter.python

    def default(self) -> Interpreter:
        """Return the interpreter that uv would use for the project, script or pylock file."""
        if self._default is None:
            self._default = self._ahead() if self._ahead else self._asked()
        return self._default

    def _asked(self) -> Interpreter:
        return default_interpreter(
            self._owner,
            uv=self._uv,
            environment=self._environment,
            requires_python=str(self._lock.requires_python),
        )

    def platform(self) -> Platform:
        """Return the platform here. Any interpreter will do, so one that uv finds is asked."""
        try:
            return self.default().platform
        except TargetError:
            found = _found(
                ["--no-project"], owner=self._owner, uv=self._uv, environment=self._environment
            )
            return inspect_interpreter(found).platform
