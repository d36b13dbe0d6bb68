"""Ask the hooks of a build backend what they need: code of others, run as a build is run.

There is no network where the system can take it away, a home directory of its own that is empty,
no credentials, and a limit in time.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyproject_hooks
from packaging.requirements import InvalidRequirement, Requirement

from uv_archive.archive.disk import temporary_directory
from uv_archive.build.confinement import Confinement, find_confinement
from uv_archive.build.process import run_to_its_end
from uv_archive.build.surroundings import surroundings
from uv_archive.build.unpacking import EARLIEST, unpack
from uv_archive.build_requirements import BuildSubject, BuildSystem, ConfigSettings
from uv_archive.build_requirements.build_system import LEGACY_BACKEND
from uv_archive.errors import BuildRequirementsError, DamagedArchiveError, ToolError

#: Seconds. The slowest hooks that were seen, setuptools' of large projects, take a few.
DEFAULT_TIMEOUT = 300.0
#: A hook that says more is out of its mind.
_LARGEST_LOG = 16 * 1024 * 1024
_LONGEST_REASON = 300
_HIDDEN_PROGRAMS = frozenset(
    {
        *("cmake", "cmake3", "ctest", "cpack", "ninja", "ninja-build", "samu", "meson", "patchelf"),
        *("cython", "cython3", "maturin", "puccinialin", "scons", "swig", "swig4.0", "sip-build"),
    }
)
_HINT = (
    "Leave out `--run-hooks`, and name what it needs in `tool.uv.extra-build-dependencies`; or "
    "lock it as a wheel"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class HooksAsker:
    """Asks hooks; an `AskHooks`. *confinement* keeps them from the network, if it can."""

    environment: Mapping[str, str] = field(repr=False)
    confinement: Confinement
    timeout: float = DEFAULT_TIMEOUT

    def __call__(
        self,
        subject: BuildSubject,
        system: BuildSystem,
        *,
        config_settings: ConfigSettings,
        make_environment: Callable[[Path], Path],
    ) -> tuple[str, ...]:
        """Return what the hooks for a wheel ask for, and for an editable one where it is one.

        Of an sdist a copy is asked, of a source tree the tree itself, in which setuptools leaves
        an `egg-info` directory as it does whenever it builds.
        """
        try:
            with temporary_directory() as private:
                for name in ("home", "tmp", "empty"):
                    (private / name).mkdir()
                (private / "nothing").touch()
                source = _laid_out(subject, private)
                python = make_environment(private / "environment")
                call = _Call(asker=self, subject=subject, private=private)
                caller = call.caller(system, source=source, python=python)
                hooks = [caller.get_requires_for_build_wheel]
                if subject.editable:
                    hooks.append(caller.get_requires_for_build_editable)
                said = [text for hook in hooks for text in call.ask(hook, config_settings)]
        except DamagedArchiveError as error:
            raise BuildRequirementsError(error.message, hint=_HINT) from error
        return tuple(dict.fromkeys(said))


def hooks_asker(environment: Mapping[str, str], *, timeout: float = DEFAULT_TIMEOUT) -> HooksAsker:
    """Find out what the system allows, once for all hooks. Raises `StorageError`."""
    with temporary_directory() as scratch:
        confinement = find_confinement(environment, private=scratch)
    return HooksAsker(environment=environment, confinement=confinement, timeout=timeout)


def _programs(path: str, directory: Path) -> str:
    """Return a search path without the programs that hooks ask for as packages.

    The machine that builds needn't have what this one has.
    """
    if os.name == "nt":
        return path
    directory.mkdir(exist_ok=True)
    for place in filter(os.path.isabs, path.split(os.pathsep)):
        with suppress(OSError):
            for entry in os.scandir(place):
                if entry.name not in _HIDDEN_PROGRAMS:
                    with suppress(FileExistsError):
                        (directory / entry.name).symlink_to(entry.path)
    return str(directory)


def _laid_out(subject: BuildSubject, private: Path) -> Path:
    source = subject.where
    if not source.is_dir():
        source = private / "source"
        unpack(subject.where, source)
    inside = source / (subject.subdirectory or "")
    if not inside.resolve().is_relative_to(source.resolve()) or not inside.is_dir():
        raise DamagedArchiveError(f"`{subject.label}` has no directory `{subject.subdirectory}`")
    return inside


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """One source whose hooks are called, in a directory of its own."""

    asker: HooksAsker
    subject: BuildSubject
    private: Path

    def caller(
        self, system: BuildSystem, *, source: Path, python: Path
    ) -> pyproject_hooks.BuildBackendHookCaller:
        try:
            return pyproject_hooks.BuildBackendHookCaller(
                str(source),
                system.backend or LEGACY_BACKEND,
                list(system.backend_path) or None,
                runner=self.run,
                python_executable=str(python),
            )
        except ValueError as error:
            raise self._failed("its backend lies outside of the source") from error

    def ask(
        self,
        hook: Callable[[ConfigSettings], Sequence[str]],
        config_settings: ConfigSettings,
    ) -> list[str]:
        """Call a hook, and check that it says requirements. Raises `BuildRequirementsError`."""
        # What a backend warns of isn't the user's doing. The filter is for this category alone.
        warnings.filterwarnings("ignore", category=pyproject_hooks.BuildBackendWarning)
        try:
            said = list(hook(config_settings))
            for text in said:
                Requirement(text)
        except pyproject_hooks.BackendUnavailable as error:
            raise self._failed("its backend can't be imported", error.traceback or "") from error
        except InvalidRequirement as error:
            raise self._failed("it says what is no requirement", str(error)) from error
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise self._failed("its answer can't be read", str(error)) from error
        return said

    def run(
        self,
        cmd: Sequence[str],
        cwd: str | None = None,
        extra_environ: Mapping[str, str] | None = None,
    ) -> None:
        """Run a hook to its end, as `pyproject_hooks` wants it run."""
        private, confinement = self.private, self.asker.confinement
        own = surroundings(self.asker.environment, private=private, epoch=EARLIEST)
        programs = _programs(own.get("PATH", ""), private / "programs")
        own["PATH"] = os.pathsep.join((str(Path(cmd[0]).parent), programs))
        inside = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', cwd or str(private), *cmd]
        is_confined = bool(confinement.unshare)
        with (private / "log").open("wb") as log:
            try:
                ended = run_to_its_end(
                    confinement.command(inside, private=private) if is_confined else cmd,
                    environment={**own, **(extra_environ or {})},
                    directory=private if is_confined or cwd is None else Path(cwd),
                    output=log.fileno(),
                    largest=_LARGEST_LOG,
                    timeout=self.asker.timeout,
                )
            except ToolError as error:
                raise self._failed("it can't be run", error.message) from error
        match ended:
            case 0:
                return
            case "timeout":
                raise self._failed(f"it wasn't done after {self.asker.timeout:g} seconds")
            case "log":
                raise self._failed("it writes without end")
            case _:
                raise self._failed("it failed", (private / "log").read_text(errors="replace"))

    def _failed(self, reason: str, output: str = "") -> BuildRequirementsError:
        """Make an error of a clause and the last line of what was said."""
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        last = "".join(c if c.isprintable() else "?" for c in lines[-1]) if lines else ""
        detail = f": {last[:_LONGEST_REASON]}" if last else ""
        return BuildRequirementsError(
            f"The build hook of `{self.subject.label}` doesn't say what it needs: {reason}{detail}",
            hint=_HINT,
        )
