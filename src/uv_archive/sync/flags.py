"""The flags of `uv sync`, and what becomes of each.

A test holds the table against `uv sync --help`, so that a new uv can't slip in a flag that
contradicts "nothing but the archive" unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from uv_archive.errors import RequestError
from uv_archive.selection import BuildOptions, Include


class Fate(Enum):
    """What becomes of a flag."""

    PASSED = "passed on"
    OUTPUT = "passed on to the run whose output is shown"
    INTERPRETED = "interpreted here"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """A flag, under all its names. *why* is the reason of a refusal, or how it is interpreted."""

    names: tuple[str, ...]
    fate: Fate
    takes_value: bool = False
    why: str = ""


def _passed(*names: str, value: bool = False, why: str = "") -> Flag:
    return Flag(names=names, fate=Fate.PASSED, takes_value=value, why=why)


def _output(*names: str, value: bool = False) -> Flag:
    return Flag(names=names, fate=Fate.OUTPUT, takes_value=value)


def _here(*names: str, why: str, value: bool = False) -> Flag:
    return Flag(names=names, fate=Fate.INTERPRETED, takes_value=value, why=why)


def _refused(*names: str, why: str, value: bool = False) -> Flag:
    return Flag(names=names, fate=Fate.REFUSED, takes_value=value, why=why)


_LOCK_DECIDES = "the lock decides the versions; change it with `uv lock` where there is a network"
_ARCHIVE_ONLY = "distributions come from the archive and from nowhere else"
_OWN_CACHE = "a sync has a cache of its own, which is empty at first and removed afterwards"
_OTHERWISE = "wheels that were built beforehand with other settings aren't taken"
_OWN_SETTINGS = "uv is given the project's settings, without those that name other sources"
_OFFLINE = "a sync uses no network"

#: Every flag of `uv sync` that is known, hidden ones and aliases included.
FLAGS: tuple[Flag, ...] = (
    # What is installed.
    _passed("--extra", value=True),
    _passed("--all-extras"),
    _passed("--no-all-extras"),
    _passed("--no-extra", value=True),
    _passed("--dev"),
    _passed("--no-dev"),
    _passed("--only-dev"),
    _passed("--group", value=True),
    _passed("--no-group", value=True),
    _passed("--no-default-groups"),
    _passed("--only-group", value=True),
    _passed("--all-groups"),
    _passed("--package", value=True),
    _passed("--all-packages"),
    _passed("--no-install-project"),
    _passed("--only-install-project"),
    _passed("--no-install-workspace"),
    _passed("--only-install-workspace"),
    _passed("--no-install-local"),
    _passed("--only-install-local"),
    _passed("--no-install-package", value=True),
    _passed("--only-install-package", value=True),
    # How it is installed.
    _passed("--editable"),
    _passed("--no-editable"),
    _passed("--no-editable-package", value=True),
    _passed("--inexact", "--no-exact"),
    _passed("--exact"),
    _passed("--active"),
    _passed("--no-active"),
    _passed("--reinstall", "--force-reinstall"),
    _passed("--no-reinstall"),
    _passed("--reinstall-package", value=True),
    _passed("--link-mode", value=True, why="`symlink` is refused: links would lead into a cache "
            "that is removed afterwards"),
    _passed("--compile-bytecode", "--compile"),
    _passed("--no-compile-bytecode", "--no-compile"),
    _passed("--no-installer-metadata"),
    # How it is built.
    _passed("--config-setting", "--config-settings", "-C", value=True, why=_OTHERWISE),
    _passed("--config-settings-package", value=True, why=_OTHERWISE),
    _passed("--build-isolation"),
    _passed("--no-build-isolation"),
    _passed("--no-build-isolation-package", value=True),
    _passed("--build"),
    _passed("--no-build"),
    _passed("--no-build-package", value=True),
    _passed("--binary"),
    _passed("--no-binary"),
    _passed("--no-binary-package", value=True),
    _passed("--no-require-build-hashes"),
    _refused("--require-build-hashes", why="build requirements are held to the hashes that "
             "the archive recorded, wherever uv can be held to them"),
    # The Python to install for.
    _passed("--python", "-p", value=True),
    _passed("--python-platform", value=True),
    _passed("--managed-python"),
    _passed("--no-managed-python"),
    _passed("--python-preference", value=True),
    _passed("--no-python-downloads"),
    _here("--allow-python-downloads", why="no effect without a network"),
    _here("--python-fetch", value=True, why="no effect without a network"),
    # The project and its lock.
    _here("--project", value=True, why="chooses the project, as in uv"),
    _here("--directory", value=True, why="where relative paths and the search for the project "
          "begin, as in uv"),
    _here("--script", value=True, why="installs for a script that has its own requirements"),
    _here("--locked", why="asks uv first whether the project's own lock is up to date"),
    _here("--frozen", why="as always; without it, `sync` warns of a stale lock"),
    _here("--no-locked", why="no effect: the lock is never changed"),
    _refused("--no-frozen", why=_LOCK_DECIDES),
    # What is only shown.
    _output("--dry-run"),
    _output("--check"),
    _output("--no-check"),
    _output("--output-format", value=True),
    _output("--quiet", "-q"),
    _output("--verbose", "-v"),
    _output("--color", value=True),
    _output("--no-color"),
    _output("--no-progress"),
    _passed("--preview"),
    _passed("--no-preview"),
    _passed("--preview-features", "--preview-feature", value=True),
    # Where else distributions could come from.
    _refused("--index", value=True, why=_ARCHIVE_ONLY),
    _refused("--default-index", value=True, why=_ARCHIVE_ONLY),
    _refused("--index-url", "-i", value=True, why=_ARCHIVE_ONLY),
    _refused("--extra-index-url", value=True, why=_ARCHIVE_ONLY),
    _refused("--find-links", "-f", value=True, why=_ARCHIVE_ONLY),
    _here("--no-index", why="always so"),
    _here("--index-strategy", value=True, why="no effect without an index"),
    _here("--keyring-provider", value=True, why="no effect without an index"),
    # The network.
    _here("--offline", why="always so"),
    _refused("--no-offline", why=_OFFLINE),
    _here("--system-certs", "--native-tls", why="no effect without a network"),
    _here("--no-system-certs", "--no-native-tls", why="no effect without a network"),
    _here("--allow-insecure-host", "--trusted-host", value=True,
          why="no effect without a network"),
    # Resolving anew.
    _refused("--upgrade", "-U", why=_LOCK_DECIDES),
    _here("--no-upgrade", why="always so"),
    _refused("--upgrade-package", "-P", value=True, why=_LOCK_DECIDES),
    _refused("--upgrade-group", value=True, why=_LOCK_DECIDES),
    _refused("--resolution", value=True, why=_LOCK_DECIDES),
    _refused("--prerelease", value=True, why=_LOCK_DECIDES),
    _refused("--prerelease-package", value=True, why=_LOCK_DECIDES),
    _refused("--pre", why=_LOCK_DECIDES),
    _refused("--fork-strategy", value=True, why=_LOCK_DECIDES),
    _refused("--exclude-newer", value=True, why=_LOCK_DECIDES),
    _refused("--exclude-newer-package", value=True, why=_LOCK_DECIDES),
    _refused("--no-sources", why=_LOCK_DECIDES),
    _passed("--no-sources-package", value=True),
    # Caches and settings.
    _refused("--cache-dir", value=True, why=_OWN_CACHE),
    _here("--no-cache", "--no-cache-dir", "-n", why="always so: nothing is kept"),
    _refused("--refresh", why=_OWN_CACHE),
    _here("--no-refresh", why="always so"),
    _refused("--refresh-package", value=True, why=_OWN_CACHE),
    _refused("--config-file", value=True, why=_OWN_SETTINGS),
    _refused("--no-config", why=_OWN_SETTINGS),
    _refused("--isolated", why=_OWN_SETTINGS),
    _refused("--show-settings", why=_OWN_SETTINGS),
    _here("--help", "-h", why="shows the help of this program"),
)  # fmt: skip

# Flags that decide which packages are installed, and that `download` has as well.
_SELECTING = frozenset(
    {
        *("--extra", "--all-extras", "--no-extra", "--package", "--all-packages"),
        *("--dev", "--no-dev", "--only-dev", "--group", "--no-group", "--only-group"),
        *("--all-groups", "--no-default-groups"),
        *("--no-binary", "--no-binary-package", "--no-build", "--no-build-package"),
    }
)
_BY_NAME: Mapping[str, Flag] = {name: flag for flag in FLAGS for name in flag.names}


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """One flag as it was given. *text* is how uv gets it; *flag* is missing for unknown ones."""

    name: str
    value: str | None
    text: tuple[str, ...]
    flag: Flag | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncFlags:
    """The flags of a sync, taken apart.

    *passed* go to every run of uv, *output* to the one whose output is shown, *selecting* are
    those of *passed* that `download` takes too, *python_choice* say which interpreters count
    at all. *directory* and
    *project* are as given, relative to the working directory and to *directory*.
    """

    passed: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    include: Include = field(default_factory=Include)
    options: BuildOptions = field(default_factory=BuildOptions)
    directory: Path | None = None
    project: Path | None = None
    script: Path | None = None
    python: str | None = None
    python_choice: tuple[str, ...] = ()
    platform: str | None = None
    selecting: tuple[str, ...] = ()
    active: bool = False
    locked: bool = False
    frozen: bool = False
    changes_nothing: bool = False
    leaves_some: bool = False
    names_paths: bool = False

    @property
    def is_quiet(self) -> bool:
        return not {"-q", "--quiet"}.isdisjoint(self.output)


def _leaves_some(flag: str) -> bool:
    """Whether a flag may keep uv from installing all that is selected: unknown ones may."""
    return flag not in _BY_NAME or flag.startswith(("--no-install-", "--only-install-"))


def parse_flags(
    arguments: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> SyncFlags:
    """Take the flags of `uv sync` apart, and the variables that mean what some of them mean.

    Flags that aren't known are passed on as they stand. Raises `RequestError` for those that are
    refused. Variables that mean what a refused flag means have no effect: they may be meant for
    another command.
    """
    given = tuple(_given(arguments))
    refused = [one for one in given if _is_refused(one)]
    if refused:
        raise RequestError(
            "`sync` doesn't take " + ", ".join(f"`{one.name}`" for one in refused),
            hint=_reason(refused[0]).capitalize(),
        )
    _refuse_stray(given)
    flags = SyncFlags(
        passed=tuple(t for one in given for t in one.text if _fate(one) is Fate.PASSED),
        output=tuple(t for one in given for t in one.text if _fate(one) is Fate.OUTPUT),
        selecting=tuple(t for one in given for t in one.text if one.name in _SELECTING),
        leaves_some=any(_leaves_some(one.name) for one in given),
    )
    for one in given:
        flags = _interpreted(flags, one)
    return _with_variables(flags, environment)


def _refuse_stray(given: Sequence[Given]) -> None:
    """Refuse what looks like the archive's directory, named as other commands have it."""
    before = None
    for one in given:
        # What follows a flag that isn't known may be its value.
        is_bare = not one.name.startswith("-") and (before is None or before.flag is not None)
        if is_bare or (one.flag is None and one.name.startswith(("--dist", "--archive"))):
            raise RequestError(
                f"`sync` doesn't take `{one.name}`",
                hint="The archive's directory is named with `--dist-archive DIR`",
            )
        before = one


# Of these uv gets the flag. It doesn't name them in its help.
_GIVEN_AS_FLAGS: Mapping[str, str] = {
    "UV_ONLY_INSTALL_PROJECT": "--only-install-project",
    "UV_ONLY_INSTALL_WORKSPACE": "--only-install-workspace",
    "UV_ONLY_INSTALL_LOCAL": "--only-install-local",
    "UV_NO_INSTALLER_METADATA": "--no-installer-metadata",
}
#: Environment variables that uv isn't given, and that mean here what the flag means.
INTERPRETED_VARIABLES: Mapping[str, str] = {
    "UV_PROJECT": "--project",
    "UV_WORKING_DIR": "--directory",
    "UV_LOCKED": "--locked",
    "UV_FROZEN": "--frozen",
    **_GIVEN_AS_FLAGS,
}


def _with_variables(flags: SyncFlags, environment: Mapping[str, str]) -> SyncFlags:
    """Add what variables say where flags say nothing. Raises `RequestError`, as uv does."""
    project, directory = environment.get("UV_PROJECT"), environment.get("UV_WORKING_DIR")
    more = [flag for name, flag in _GIVEN_AS_FLAGS.items() if _is_on(environment, name)]
    if flags.script is not None:
        # As without this program: uv heeds them for projects only.
        more = [flag for flag in more if not _leaves_some(flag)]
    flags = replace(
        flags,
        passed=(*flags.passed, *more),
        leaves_some=flags.leaves_some or any(_leaves_some(flag) for flag in more),
        project=flags.project or (Path(project) if project else None),
        directory=flags.directory or (Path(directory) if directory else None),
        locked=flags.locked or _is_on(environment, "UV_LOCKED"),
        frozen=flags.frozen or _is_on(environment, "UV_FROZEN"),
    )
    if flags.locked and flags.frozen:
        raise RequestError(
            "`--locked` and `--frozen` exclude each other",
            hint="`UV_LOCKED` and `UV_FROZEN` mean the same as these flags",
        )
    return flags


# What `uv pip sync` takes and means as `uv sync` does.
_OF_PYLOCK = frozenset(
    {
        *("--reinstall", "--no-reinstall", "--reinstall-package", "--link-mode"),
        *("--compile-bytecode", "--no-compile-bytecode", "--config-setting"),
        *("--config-settings-package", "--no-build-isolation", "--build-isolation"),
        *("--python-platform", "--no-sources-package"),
    }
)
# What a selection from a pylock file understands.
_SELECTING_OF_PYLOCK = _SELECTING - {"--package", "--all-packages"} | {"--no-all-extras"}


def flags_for_pylock(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return those of *arguments* that `uv pip sync` gets for a pylock file.

    Raises `RequestError` for those that mean nothing there.
    """
    passed: list[str] = []
    for one in _given(arguments):
        of_pip = one.name in _OF_PYLOCK or _fate(one) is Fate.OUTPUT
        heeded = one.name in {*_SELECTING_OF_PYLOCK, "--python", "--active", "--no-active"}
        if one.name in {"--script", "--project"} or not (
            of_pip or heeded or _fate(one) is Fate.INTERPRETED
        ):
            raise RequestError(f"`{one.name}` has no meaning for a pylock file")
        passed.extend(one.text if of_pip else ())
    return tuple(passed)


def settings_given(arguments: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
    """Return what flags tell build backends, under the names of uv's settings."""
    config: dict[str, list[str]] = {}
    by_package: dict[str, dict[str, list[str]]] = {}
    for one in _given(arguments):
        package, _, rest = (one.value or "").partition(":")
        match one.name:
            case "--config-setting":
                key, _, value = (one.value or "").partition("=")
                config.setdefault(key, []).append(value)
            case "--config-settings-package":
                key, _, value = rest.partition("=")
                by_package.setdefault(package, {}).setdefault(key, []).append(value)
            case _:
                pass
    return {"config-settings": config, "config-settings-package": by_package}


def _is_refused(one: Given) -> bool:
    return _fate(one) is Fate.REFUSED or (one.name, one.value) == ("--link-mode", "symlink")


def _reason(one: Given) -> str:
    return one.flag.why if one.flag else ""


def _fate(one: Given) -> Fate:
    return one.flag.fate if one.flag else Fate.PASSED


def _given(arguments: Sequence[str]) -> Iterator[Given]:
    rest = iter(arguments)
    for token in rest:
        if token.startswith("--"):
            yield _long(token, rest)
        elif token.startswith("-") and len(token) > 1:
            yield from _short(token, rest)
        else:
            yield Given(name=token, value=None, text=(token,), flag=None)


def _long(token: str, rest: Iterator[str]) -> Given:
    name, equals, value = token.partition("=")
    flag = _BY_NAME.get(name)
    if equals:
        return Given(name=_first(flag, name), value=value, text=(token,), flag=flag)
    if flag is None or not flag.takes_value:
        return Given(name=_first(flag, name), value=None, text=(token,), flag=flag)
    return _with_next(flag, token, rest)


def _short(token: str, rest: Iterator[str]) -> Iterator[Given]:
    """Take `-qn` or `-p3.12` apart: the first that takes a value takes what is left."""
    for position, letter in enumerate(token[1:], start=2):
        name = f"-{letter}"
        flag = _BY_NAME.get(name)
        if flag is not None and flag.takes_value:
            value = token[position:].removeprefix("=")
            if value:
                yield Given(name=flag.names[0], value=value, text=(f"{name}{value}",), flag=flag)
            else:
                yield _with_next(flag, name, rest)
            return
        yield Given(name=_first(flag, name), value=None, text=(name,), flag=flag)


def _with_next(flag: Flag, token: str, rest: Iterator[str]) -> Given:
    value = next(rest, None)
    if value is None:
        raise RequestError(f"`{token}` needs a value")
    return Given(name=flag.names[0], value=value, text=(token, value), flag=flag)


def _first(flag: Flag | None, name: str) -> str:
    return flag.names[0] if flag else name


def _interpreted(flags: SyncFlags, one: Given) -> SyncFlags:
    value = one.value or ""
    match one.name:
        case "--directory":
            return replace(flags, directory=Path(value))
        case "--project":
            return replace(flags, project=Path(value))
        case "--script":
            return replace(flags, script=Path(value))
        case "--python":
            return replace(flags, python=value)
        case "--managed-python" | "--no-managed-python":
            return replace(flags, python_choice=(*flags.python_choice, one.name))
        case "--python-preference":
            return replace(flags, python_choice=(*flags.python_choice, one.name, value))
        case "--python-platform":
            return replace(flags, platform=value)
        case "--active" | "--no-active":
            return replace(flags, active=one.name == "--active")
        case "--locked":
            return replace(flags, locked=True)
        case "--frozen":
            return replace(flags, frozen=True)
        case "--dry-run" | "--check":
            return replace(flags, changes_nothing=True)
        case "--verbose" | "--output-format":
            return replace(flags, names_paths=True)
        case _:
            return replace(
                flags,
                include=_included(flags.include, one.name, value),
                options=_optioned(flags.options, one.name, value),
            )


def _included(include: Include, name: str, value: str) -> Include:
    match name:
        case "--package":
            return replace(include, packages=(*include.packages, *_names(name, value)))
        case "--all-packages":
            return replace(include, all_packages=True)
        case "--extra":
            return replace(include, extras=(*include.extras, *_names(name, value)))
        case "--all-extras" | "--no-all-extras":
            return replace(include, all_extras=name == "--all-extras")
        case "--no-extra":
            return replace(include, no_extras=(*include.no_extras, *_names(name, value)))
        case "--group":
            return replace(include, groups=(*include.groups, *_names(name, value)))
        case "--all-groups":
            return replace(include, all_groups=True)
        case "--no-group":
            return replace(include, no_groups=(*include.no_groups, *_names(name, value)))
        case "--only-group":
            return replace(include, only_groups=(*include.only_groups, *_names(name, value)))
        case "--no-default-groups":
            return replace(include, no_default_groups=True)
        case "--dev" | "--no-dev" | "--only-dev":
            return replace(include, dev=_DEV[name])
        case _:
            return include


_DEV: Mapping[str, Literal["include", "exclude", "only"]] = {
    "--dev": "include",
    "--no-dev": "exclude",
    "--only-dev": "only",
}


def _optioned(options: BuildOptions, name: str, value: str) -> BuildOptions:
    match name:
        case "--no-binary" | "--binary":
            return replace(options, no_binary=name == "--no-binary")
        case "--no-build" | "--build":
            return replace(options, no_build=name == "--no-build")
        case "--no-binary-package":
            names = options.no_binary_packages.union(_names(name, value))
            return replace(options, no_binary_packages=names)
        case "--no-build-package":
            names = options.no_build_packages.union(_names(name, value))
            return replace(options, no_build_packages=names)
        case _:
            return options


def _names(flag: str, value: str) -> tuple[NormalizedName, ...]:
    try:
        # uv splits some of these at commas; no name has one.
        return tuple(canonicalize_name(n.strip(), validate=True) for n in value.split(","))
    except InvalidName as error:
        raise RequestError(f"`{value}` is no valid name for `{flag}`") from error


_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})


def with_environment(include: Include, environment: Mapping[str, str]) -> Include:
    """Add what environment variables say where flags say nothing, as uv does."""
    dev = include.dev
    if dev is None and _is_on(environment, "UV_NO_DEV"):
        dev = "exclude"
    elif dev is None and _is_on(environment, "UV_DEV"):
        dev = "include"
    no_groups = include.no_groups
    if not no_groups:
        named = environment.get("UV_NO_GROUP", "").replace(",", " ").split()
        no_groups = tuple(canonicalize_name(name) for name in named)
    no_default = include.no_default_groups or _is_on(environment, "UV_NO_DEFAULT_GROUPS")
    return replace(include, dev=dev, no_groups=no_groups, no_default_groups=no_default)


def _is_on(environment: Mapping[str, str], variable: str) -> bool:
    return environment.get(variable, "").lower() in _TRUE


def environment_path(
    root: Path, flags: SyncFlags, environment: Mapping[str, str], *, start: Path
) -> Path:
    """Return where uv, started in *start*, would put the environment of the workspace at *root*."""
    active = environment.get("VIRTUAL_ENV")
    if flags.active and active:
        return start / active
    named = environment.get("UV_PROJECT_ENVIRONMENT")
    return root / named if named else root / ".venv"
