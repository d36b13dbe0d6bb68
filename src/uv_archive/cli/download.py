"""`uv-archive download`: options in, one call of `uv_archive.download`, the outcome out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import click
from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from uv_archive.cli.main import DONE, EXIT_STATUSES, FAILED
from uv_archive.cli.sections import SectionedCommand

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from uv_archive.download import Asked, Outcome
    from uv_archive.selection import Include


class Selected(TypedDict):
    """The flags of the selection as they were given."""

    extra: tuple[NormalizedName, ...]
    all_extras: bool
    no_extra: tuple[NormalizedName, ...]
    group: tuple[NormalizedName, ...]
    no_group: tuple[NormalizedName, ...]
    only_group: tuple[NormalizedName, ...]
    all_groups: bool
    no_default_groups: bool
    dev: bool
    no_dev: bool
    only_dev: bool
    package: tuple[NormalizedName, ...]
    all_packages: bool
    all: bool


class Values(Selected):
    """The options as they were given."""

    project: str | None
    directory: str | None
    script: Path | None
    pylock: Path | None
    frozen: bool
    python: tuple[str, ...]
    python_platform: tuple[str, ...]
    all_platforms: bool
    no_binary: bool
    no_binary_package: tuple[NormalizedName, ...]
    no_build: bool
    no_build_package: tuple[NormalizedName, ...]
    sdists: bool | None
    no_build_requirements: bool
    run_hooks: bool
    build: bool
    build_project: bool
    build_jobs: int | None
    build_timeout: float
    with_tools: bool
    allow_unhashed: tuple[NormalizedName, ...]
    allow_unhashed_all: bool
    out_dir: Path | None
    replace: bool
    prune: bool
    verify: bool
    dry_run: bool
    mirror: tuple[str, ...]
    keyring_provider: str | None
    allow_insecure_host: tuple[str, ...]
    jobs: int
    output_format: Literal["text", "json"]
    quiet: bool
    no_progress: bool


class Name(click.ParamType[NormalizedName]):
    """The name of a package, an extra or a group, normalised."""

    name = "name"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> NormalizedName:
        try:
            return canonicalize_name(value, validate=True)
        except InvalidName:
            self.fail(f"`{value}` is no valid name", param, ctx)


class PlatformName(click.ParamType[str]):
    """A platform: completed from uv's names, read later, when its errors can say more."""

    name = "platform"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        del ctx, param
        from click.shell_completion import CompletionItem

        from uv_archive.target import platform_names

        return [CompletionItem(name) for name in platform_names() if name.startswith(incomplete)]


def _flag(name: str, text: str, *, variable: str | None = None) -> click.Option:
    return click.Option([name], is_flag=True, help=text, envvar=variable)


def _names(name: str, metavar: str, text: str, *, variable: str | None = None) -> click.Option:
    """Declare an option that takes names and can be repeated."""
    return click.Option(
        [name],
        multiple=True,
        type=Name(),
        metavar=metavar,
        help=f"{text}. Repeatable",
        envvar=variable,
    )


_PROJECT = [
    click.Option(
        ["--project"],
        metavar="DIR",
        envvar="UV_PROJECT",
        help="The project's directory  [default: found from the working directory]",
    ),
    click.Option(
        ["--directory"],
        metavar="DIR",
        envvar="UV_WORKING_DIR",
        help="Change to this directory first",
    ),
    click.Option(
        ["--script"],
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A script with its requirements in itself, instead of a project; its lock lies "
        "beside it",
    ),
    click.Option(
        ["--pylock"],
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A `pylock.toml` or `pylock.<name>.toml` of any tool, instead of a project",
    ),
    _flag(
        "--frozen",
        "Take the lock as it is, even if `pyproject.toml` or the script has changed since",
        variable="UV_FROZEN",
    ),
]
TARGETS = [
    click.Option(
        ["-p", "--python"],
        multiple=True,
        metavar="PYTHON",
        help="A Python to install for: a minor version (`3.12`, with all its patch releases), a "
        "full one, or an interpreter. Repeatable  [default: the Python that uv would use]",
    ),
    click.Option(
        ["--python-platform"],
        multiple=True,
        metavar="PLATFORM",
        type=PlatformName(),
        help="A platform to install for: a name that `uv sync --python-platform` takes, or a "
        "platform tag such as `macosx_14_0_arm64`. Repeatable  [default: this one]",
    ),
    _flag(
        "--all-platforms",
        "Every file that the lock names for the selected packages; `-p` limits wheels by their "
        "Python",
    ),
]
SELECTION = [
    _names("--extra", "EXTRA", "Include an extra"),
    _flag("--all-extras", "Include all extras, conflicting ones too"),
    _names("--no-extra", "EXTRA", "Exclude an extra from `--all-extras`"),
    _names("--group", "GROUP", "Include a dependency group"),
    _names("--no-group", "GROUP", "Exclude a dependency group", variable="UV_NO_GROUP"),
    _names("--only-group", "GROUP", "Only a dependency group, without the project"),
    _flag("--all-groups", "Include all dependency groups, conflicting ones too"),
    _flag("--no-default-groups", "Leave out the default groups", variable="UV_NO_DEFAULT_GROUPS"),
    _flag("--dev", "Include the group `dev`, which is a default one unless configured otherwise"),
    _flag("--no-dev", "Leave out the group `dev`", variable="UV_NO_DEV"),
    _flag("--only-dev", "Only the group `dev`, without the project"),
    _names("--package", "PACKAGE", "A member of the workspace instead of the project found"),
    _flag("--all-packages", "All members of the workspace"),
    _flag("--all", "Short for `--all-packages --all-extras --all-groups`"),
]
_FILES = [
    _flag("--no-binary", "Take no wheels"),
    _names("--no-binary-package", "PACKAGE", "Take no wheels of a package"),
    _flag("--no-build", "Take nothing that has to be built"),
    _names("--no-build-package", "PACKAGE", "Take nothing of a package that has to be built"),
    click.Option(
        ["--sdists/--no-sdists"],
        default=None,
        help="With `--sdists`, every sdist besides the wheels; with `--no-sdists`, of "
        "`--all-platforms` only the sdists that some platform needs",
    ),
    _flag("--no-build-requirements", "Leave out what is needed to build sdists and source trees"),
    _flag(
        "--run-hooks",
        "Ask build backends themselves what they need: runs code of the sdists, without network "
        "where the system allows that",
    ),
    _flag(
        "--build",
        "Afterwards build a wheel for each sdist and git source that has none for this machine, "
        "from what was archived; runs code of the sdists, without network where the system allows "
        "that. With `--no-sdists` the wheels alone stay",
    ),
    _flag(
        "--build-project",
        "Also wheels of the project and its workspace members, for machines without their source",
    ),
    click.Option(
        ["--build-jobs"],
        type=click.IntRange(min=1),
        metavar="N",
        help="Builds at a time  [default: as many as there are processors]",
    ),
    click.Option(
        ["--build-timeout"],
        type=click.FloatRange(min=0, min_open=True),
        default=3600.0,
        show_default=True,
        metavar="SECONDS",
        help="Kill a build that takes longer",
    ),
    _flag(
        "--with-tools",
        "Also uv and this program, for machines that have neither: the archive's `install.py` "
        "installs from it with any Python",
    ),
    _names(
        "--allow-unhashed",
        "PACKAGE",
        "Take a package's files although the lock has no secure hash of them",
    ),
    _flag("--allow-unhashed-all", "The same for all packages"),
]
_ARCHIVE = [
    click.Option(
        ["-o", "--out-dir"],
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The archive's directory  [default: dist/dependencies below the project]",
    ),
    _flag("--replace", "Forget what was requested before"),
    _flag("--prune", "Remove recorded files that no request needs any more"),
    _flag("--verify", "Hash every file again that is already there"),
    _flag("--dry-run", "Only say what would be fetched, kept and removed"),
]
_NETWORK = [
    click.Option(
        ["--mirror"],
        multiple=True,
        metavar="FROM=TO",
        help="Fetch URLs that begin with FROM from TO instead. Repeatable",
    ),
    click.Option(
        ["--keyring-provider"],
        type=click.Choice(["disabled", "subprocess", "native"]),
        envvar="UV_KEYRING_PROVIDER",
        help="Ask a keyring for credentials: `subprocess` runs the command `keyring`  "
        "[default: disabled, or what uv's settings say]",
    ),
    click.Option(
        ["--allow-insecure-host"],
        multiple=True,
        metavar="HOST",
        envvar="UV_INSECURE_HOST",
        help="Don't check the certificate of a host (`host`, `host:port` or a URL). Repeatable",
    ),
    click.Option(
        ["-j", "--jobs"],
        type=click.IntRange(1, 256),
        metavar="N",
        default=16,
        help="How many files to fetch at a time  [default: 16]",
    ),
]
_OUTPUT = [
    click.Option(
        ["--output-format"],
        type=click.Choice(["text", "json"]),
        default="text",
        help="Write the outcome to stdout as text or as JSON  [default: text]",
    ),
    click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but errors"),
    _flag("--no-progress", "Draw no progress bars", variable="UV_NO_PROGRESS"),
]


def _download(**values: Unpack[Values]) -> int:
    """Copy the distributions that a project's lock names into one directory.

    They are those that `uv sync` would install with the same flags, checked against the
    lock's hashes, and what is needed to build sdists. Running it again fetches only what is
    missing; another request adds to the archive. Sizes are in powers of 1,024.

    \b
    Examples:
      uv-archive download
      uv-archive download --all-platforms -o dist/dependencies
      uv-archive download -p 3.12 --python-platform windows --extra plot
    """
    from uv_archive.cli.progress import reporting
    from uv_archive.cli.summary import outcome_as_json, show_outcome
    from uv_archive.download import download

    asked = _asked(values)
    with (
        _working_in(values["directory"]),
        reporting(quiet=values["quiet"], draw=not values["no_progress"]) as reporter,
    ):
        outcome = download(asked, environment=os.environ, reporter=reporter)
        outcome = _seen_from_outside(outcome, values["directory"])
    if values["output_format"] == "json":
        click.echo(json.dumps(outcome_as_json(outcome), indent=2, sort_keys=True))
    show_outcome(outcome, quiet=values["quiet"] or values["output_format"] == "json")
    return FAILED if outcome.failures or (outcome.builds and outcome.builds.failed) else DONE


command = SectionedCommand(
    "download",
    sections={
        "Project": _PROJECT,
        "Targets": TARGETS,
        "Selection (as in `uv sync`)": SELECTION,
        "Files": _FILES,
        "Archive": _ARCHIVE,
        "Network": _NETWORK,
        "Output": _OUTPUT,
    },
    callback=_download,
    epilog=EXIT_STATUSES,
)


@contextmanager
def _working_in(directory: str | None) -> Iterator[None]:
    """Change to a directory and back again: what is said then is said where the user is."""
    before = Path.cwd()
    try:
        os.chdir(directory or ".")
    except OSError as error:
        raise click.UsageError(f"can't change to `{directory}`: {error.strerror}") from error
    yield
    os.chdir(before)


def _seen_from_outside(outcome: Outcome, directory: str | None) -> Outcome:
    if directory is None:
        return outcome
    flags = ("--directory", directory, *outcome.flags)
    return replace(outcome, directory=outcome.directory.absolute(), flags=flags)


def _asked(values: Values) -> Asked:
    """Turn the options into what the library takes."""
    from uv_archive.download import Asked
    from uv_archive.selection import BuildOptions

    return Asked(
        start=Path(values["project"] or "."),
        script=values["script"],
        pylock=values["pylock"],
        frozen=values["frozen"],
        pythons=values["python"],
        platforms=values["python_platform"],
        all_platforms=values["all_platforms"],
        include=include_of(values),
        options=BuildOptions(
            no_binary=values["no_binary"],
            no_binary_packages=frozenset(values["no_binary_package"]),
            no_build=values["no_build"],
            no_build_packages=frozenset(values["no_build_package"]),
        ),
        sdists=values["sdists"],
        build_requirements=not values["no_build_requirements"],
        run_hooks=values["run_hooks"],
        build=values["build"],
        build_project=values["build_project"],
        build_jobs=values["build_jobs"] or os.cpu_count() or 1,
        build_timeout=values["build_timeout"],
        tools=values["with_tools"],
        directory=values["out_dir"],
        replace=values["replace"],
        prune=values["prune"],
        verify=values["verify"],
        dry_run=values["dry_run"],
        allow_unhashed=frozenset(values["allow_unhashed"]),
        allow_unhashed_all=values["allow_unhashed_all"],
        mirrors=values["mirror"],
        keyring_provider=values["keyring_provider"],
        unverified_hosts=values["allow_insecure_host"],
        jobs=values["jobs"],
    )


def include_of(values: Selected) -> Include:
    """Return what the flags of the selection say. Raises `click.UsageError`."""
    from uv_archive.selection import Include

    include = Include(
        packages=values["package"],
        all_packages=values["all_packages"] or values["all"],
        extras=values["extra"],
        all_extras=values["all_extras"] or values["all"],
        no_extras=values["no_extra"],
        groups=values["group"],
        all_groups=values["all_groups"] or values["all"],
        no_groups=values["no_group"],
        only_groups=values["only_group"],
        no_default_groups=values["no_default_groups"],
        dev=_dev(values),
    )
    _check_exclusive(include)
    return include


def _dev(values: Selected) -> Literal["include", "exclude", "only"] | None:
    # In uv's order: `--only-dev` goes before `--no-dev`, and that before `--dev`.
    if values["only_dev"]:
        return "only"
    if values["no_dev"]:
        return "exclude"
    return "include" if values["dev"] else None


def _check_exclusive(include: Include) -> None:
    """Refuse the combinations of flags that `uv sync` refuses."""
    only = "--only-dev" if include.dev == "only" else "--only-group" if include.only_groups else ""
    groups = "--group" if include.groups else "--all-groups" if include.all_groups else ""
    extras = "--extra" if include.extras else "--all-extras" if include.all_extras else ""
    pairs = (
        (only, groups),
        (only, extras),
        ("--all-packages" if include.all_packages else "", "--package" if include.packages else ""),
        ("--all-extras" if include.all_extras else "", "--extra" if include.extras else ""),
    )
    for first, second in pairs:
        if first and second:
            raise click.UsageError(f"`{first}` and `{second}` exclude each other")
