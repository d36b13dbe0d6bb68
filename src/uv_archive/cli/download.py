"""`uv-archive download`: options in, one call of `uv_archive.download`, the outcome out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from uv_archive.cli.main import EXIT_STATUSES
from uv_archive.cli.sections import Command, Option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from uv_archive.download import Asked
    from uv_archive.selection import Include

PROJECT, TARGETS, SELECTION = "Project", "Targets", "Selection (as in `uv sync`)"
FILES, ARCHIVE, NETWORK, OUTPUT = "Files", "Archive", "Network", "Output"


class Name(click.ParamType):
    """The name of a package, an extra or a group, normalised."""

    name = "name"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> NormalizedName:
        try:
            return canonicalize_name(value, validate=True)
        except InvalidName:
            self.fail(f"`{value}` is no valid name", param, ctx)


class PlatformName(click.ParamType):
    """A platform: completed from uv's names, read later, when its errors can say more."""

    name = "platform"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from uv_archive.target import platform_names

        return [CompletionItem(name) for name in platform_names() if name.startswith(incomplete)]


def option(*names: str, section: str, **attributes: Any) -> Any:
    """Declare an option under a heading of the help."""
    return click.option(*names, cls=Option, section=section, **attributes)


def flag(*names: str, section: str, **attributes: Any) -> Any:
    """Declare an option without a value."""
    return option(*names, section=section, is_flag=True, **attributes)


@click.command("download", cls=Command, epilog=EXIT_STATUSES)
@option("--project", section=PROJECT, metavar="DIR", envvar="UV_PROJECT",
        help="The project's directory  [default: found from the working directory]")
@option("--directory", section=PROJECT, metavar="DIR", envvar="UV_WORKING_DIR",
        help="Change to this directory first")
@flag("--frozen", section=PROJECT, envvar="UV_FROZEN",
      help="Take the lock as it is, even if `pyproject.toml` has changed since")
@option("-p", "--python", section=TARGETS, multiple=True, metavar="PYTHON",
        help="A Python to install for: a minor version (`3.12`: all its patch releases), a full "
             "one, or an interpreter. Repeatable  [default: the Python that uv would use]")
@option("--python-platform", section=TARGETS, multiple=True, metavar="PLATFORM",
        type=PlatformName(),
        help="A platform to install for: a name that `uv sync --python-platform` takes, or a "
             "platform tag such as `macosx_14_0_arm64`. Repeatable  [default: this one]")
@flag("--all-platforms", section=TARGETS,
      help="Every file that the lock names for the selected packages; `-p` limits wheels by "
           "their Python")
@option("--extra", "extras", section=SELECTION, multiple=True, type=Name(), metavar="EXTRA",
        help="Include an extra. Repeatable")
@flag("--all-extras", section=SELECTION, help="Include all extras, conflicting ones too")
@option("--no-extra", "no_extras", section=SELECTION, multiple=True, type=Name(), metavar="EXTRA",
        help="Exclude an extra from `--all-extras`. Repeatable")
@option("--group", "groups", section=SELECTION, multiple=True, type=Name(), metavar="GROUP",
        help="Include a dependency group. Repeatable")
@option("--no-group", "no_groups", section=SELECTION, multiple=True, type=Name(), metavar="GROUP",
        envvar="UV_NO_GROUP", help="Exclude a dependency group. Repeatable")
@option("--only-group", "only_groups", section=SELECTION, multiple=True, type=Name(),
        metavar="GROUP", help="Only a dependency group, without the project. Repeatable")
@flag("--all-groups", section=SELECTION, help="Include all dependency groups")
@flag("--no-default-groups", section=SELECTION, envvar="UV_NO_DEFAULT_GROUPS",
      help="Leave out the default groups")
@flag("--dev/--no-dev", "dev", section=SELECTION, default=None,
      help="Include or leave out the group `dev`  [default: included]")
@flag("--only-dev", section=SELECTION, help="Only the group `dev`, without the project")
@option("--package", "packages", section=SELECTION, multiple=True, type=Name(), metavar="PACKAGE",
        help="A member of the workspace instead of the project found. Repeatable")
@flag("--all-packages", section=SELECTION, help="All members of the workspace")
@flag("--all", "everything", section=SELECTION,
      help="Short for `--all-packages --all-extras --all-groups`")
@flag("--no-binary", section=FILES, envvar="UV_NO_BINARY", help="Take no wheels")
@option("--no-binary-package", "no_binary_packages", section=FILES, multiple=True, type=Name(),
        metavar="PACKAGE", help="Take no wheels of a package. Repeatable")
@flag("--no-build", section=FILES, envvar="UV_NO_BUILD", help="Take nothing that has to be built")
@option("--no-build-package", "no_build_packages", section=FILES, multiple=True, type=Name(),
        metavar="PACKAGE", help="Take nothing of a package that has to be built. Repeatable")
@flag("--sdists/--no-sdists", "sdists", section=FILES, default=None,
      help="With `--sdists`, every sdist besides the wheels; with `--no-sdists`, of "
           "`--all-platforms` only the sdists that some platform needs")
@flag("--no-build-requirements", section=FILES,
      help="Leave out what is needed to build sdists and source trees")
@option("--allow-unhashed", section=FILES, multiple=True, type=Name(), metavar="PACKAGE",
        help="Take a package's files although the lock has no secure hash of them. Repeatable")
@flag("--allow-unhashed-all", section=FILES, help="The same for all packages")
@option("-o", "--out-dir", section=ARCHIVE, type=click.Path(path_type=Path), metavar="DIR",
        help="The archive's directory  [default: dist/dependencies below the project]")
@flag("--replace", section=ARCHIVE, help="Forget what was requested before")
@flag("--prune", section=ARCHIVE, help="Remove recorded files that no request needs any more")
@flag("--verify", section=ARCHIVE, help="Hash every file again that is already there")
@flag("--dry-run", section=ARCHIVE, help="Only say what would be fetched, kept and removed")
@option("--mirror", "mirrors", section=NETWORK, multiple=True, metavar="FROM=TO",
        help="Fetch URLs that begin with FROM from TO instead. Repeatable")
@option("-j", "--jobs", section=NETWORK, type=click.IntRange(1, 256), metavar="N", default=16,
        show_default=True, help="How many files to fetch at a time")
@option("--output-format", section=OUTPUT, type=click.Choice(["text", "json"]), default="text",
        show_default=True, help="Write the outcome to stdout as text or as JSON")
@flag("-q", "--quiet", section=OUTPUT, help="Say nothing but errors")
@flag("--no-progress", section=OUTPUT, envvar="UV_NO_PROGRESS", help="Draw no progress bars")
def command(**values: Any) -> int:
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

    if values["directory"] is not None:
        _change_directory(values["directory"])
    asked = _asked(values)
    with reporting(quiet=values["quiet"], draw=not values["no_progress"]) as reporter:
        outcome = download(asked, environment=os.environ, reporter=reporter)
    if values["output_format"] == "json":
        click.echo(json.dumps(outcome_as_json(outcome), indent=2, sort_keys=True))
    show_outcome(outcome, quiet=values["quiet"] or values["output_format"] == "json")
    return 1 if outcome.failures else 0


def _change_directory(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise click.UsageError(f"can't change to `{directory}`: {error.strerror}") from error


def _asked(values: dict[str, Any]) -> Asked:
    """Turn the options into what the library takes."""
    from uv_archive.download import Asked
    from uv_archive.selection import BuildOptions, Include

    everything = values["everything"]
    dev = {True: "include", False: "exclude", None: None}[values["dev"]]
    include = Include(
        packages=values["packages"],
        all_packages=values["all_packages"] or everything,
        extras=values["extras"],
        all_extras=values["all_extras"] or everything,
        no_extras=values["no_extras"],
        groups=values["groups"],
        all_groups=values["all_groups"] or everything,
        no_groups=values["no_groups"],
        only_groups=values["only_groups"],
        no_default_groups=values["no_default_groups"],
        dev="only" if values["only_dev"] else dev,
    )
    _check_exclusive(include)
    options = BuildOptions(
        no_binary=values["no_binary"],
        no_binary_packages=frozenset(values["no_binary_packages"]),
        no_build=values["no_build"],
        no_build_packages=frozenset(values["no_build_packages"]),
    )
    return Asked(
        start=Path(values["project"] or "."),
        frozen=values["frozen"],
        pythons=values["python"],
        platforms=values["python_platform"],
        all_platforms=values["all_platforms"],
        include=include,
        options=options,
        sdists=values["sdists"],
        build_requirements=not values["no_build_requirements"],
        directory=values["out_dir"],
        replace=values["replace"],
        prune=values["prune"],
        verify=values["verify"],
        dry_run=values["dry_run"],
        allow_unhashed=frozenset(values["allow_unhashed"]),
        allow_unhashed_all=values["allow_unhashed_all"],
        mirrors=values["mirrors"],
        jobs=values["jobs"],
    )


def _check_exclusive(include: Include) -> None:
    """Refuse the combinations of flags that `uv sync` refuses."""
    only = "--only-dev" if include.dev == "only" else "--only-group" if include.only_groups else ""
    groups = "--group" if include.groups else "--all-groups" if include.all_groups else ""
    pairs = [
        (only, groups),
        (only, "--extra" if include.extras else "--all-extras" if include.all_extras else ""),
        ("--all-packages" if include.all_packages else "", "--package" if include.packages else ""),
        ("--all-extras" if include.all_extras else "", "--extra" if include.extras else ""),
    ]
    for first, second in pairs:
        if first and second:
            raise click.UsageError(f"`{first}` and `{second}` exclude each other")
