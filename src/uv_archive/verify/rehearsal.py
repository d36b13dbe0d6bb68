"""The whole install, in a throw-away environment, by the same code as `sync`.

What a build writes into a source tree it writes into a copy: the project isn't touched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from uv_archive.digest import Digest
from uv_archive.errors import RequestError, UvArchiveError
from uv_archive.sync import SyncRequest, sync
from uv_archive.sync.refusals import RefusedError
from uv_archive.target import Interpreter, Target, inspect_interpreter
from uv_archive.uv import Completed, Runner, uv_message
from uv_archive.verify.copying import Copy, copy_owner, trees_elsewhere
from uv_archive.verify.model import Finding, Rehearsal, Reporter
from uv_archive.verify.targets import Wanted, interpreter_for, uv_platform

# What leads uv to another project or Python than those of the rehearsal.
_DROPPED = frozenset({"UV_PROJECT", "UV_WORKING_DIR", "CONDA_PREFIX"})
_ELSEWHERE = "it isn't this machine's platform, or there is no such Python here"


def rehearse(
    wanted: Wanted, *, directory: Path, expect: Digest | None, reporter: Reporter
) -> Iterator[tuple[Rehearsal, tuple[Finding, ...]]]:
    """Install the archive in *directory* for each target that is this machine's.

    Raises `RequestError` if none of them is, or the project can't be copied.
    """
    elsewhere = trees_elsewhere(wanted.lock)
    if elsewhere:
        raise RequestError(
            f"The lock names `{elsewhere[0]}` by an absolute path, and a rehearsal doesn't build "
            "in the project's own trees",
            hint="Lock again with a relative path",
        )
    here = [(target, _interpreter_here(target, wanted)) for target in wanted.request.targets]
    if not any(interpreter for _, interpreter in here):
        raise RequestError(
            "None of the targets can be rehearsed: an install runs on this machine, with a "
            "Python that is there",
            hint="Leave out `--python-platform`, or name an interpreter with `-p`",
        )
    prefix = without_network()
    for target, interpreter in here:
        rehearsal = Rehearsal(target=target.label, succeeded=None, network_off=bool(prefix))
        if interpreter is None:
            yield replace(rehearsal, network_off=False, reason=_ELSEWHERE), ()
            continue
        reporter.rehearsing(target.label)
        flags = (*wanted.request.include.flags(), *_platform_flags(target, interpreter))
        rehearsing = _Rehearsing(wanted, interpreter, directory, expect, prefix)
        yield rehearsing.carry_out(rehearsal, flags)


def without_network() -> Sequence[str]:
    """Return what to put before a command so that it has no network; nothing where that fails."""
    unshare = shutil.which("unshare") if sys.platform == "linux" else None
    if unshare is None:
        return ()
    prefix = (unshare, "--map-root-user", "--net")
    tried = subprocess.run(  # noqa: S603 - an argument vector, no shell
        [*prefix, "true"], capture_output=True, check=False
    )
    return prefix if tried.returncode == 0 else ()


class _Rehearsing:
    """One install for one interpreter."""

    def __init__(
        self,
        wanted: Wanted,
        interpreter: Interpreter,
        directory: Path,
        expect: Digest | None,
        prefix: Sequence[str],
    ) -> None:
        self._wanted = wanted
        self._interpreter = interpreter
        self._directory = directory
        self._expect = expect
        self._prefix = prefix

    def carry_out(
        self, rehearsal: Rehearsal, flags: Sequence[str]
    ) -> tuple[Rehearsal, tuple[Finding, ...]]:
        wanted = self._wanted
        uv = replace(wanted.uv, runner=_unseen(wanted.uv.runner, self._prefix))
        with tempfile.TemporaryDirectory(prefix="uv-archive-") as scratch:
            copy = copy_owner(
                wanted.owner,
                wanted.lock,
                directory=Path(scratch) / "copy",
                leave_out=self._directory,
            )
            request = self._request(copy, flags, environment=Path(scratch) / "environment")
            try:
                result = sync(request, uv=uv)
            except UvArchiveError as error:
                return _failed(rehearsal, _in_one_line(error), error.hint)
        if result.status != 0:
            return _failed(rehearsal, uv_message(result.stderr), None)
        done = replace(rehearsal, succeeded=True, distributions=result.distributions)
        return done, ()

    def _request(self, copy: Copy, flags: Sequence[str], *, environment: Path) -> SyncRequest:
        variables = self._variables(environment)
        arguments = [*flags]
        if copy.script is not None:
            arguments += ["--script", str(copy.script), "--active"]
            variables["VIRTUAL_ENV"] = str(environment)
        elif copy.pylock is None:
            arguments += ["--project", str(copy.start)]
        return SyncRequest(
            arguments=("--frozen", *arguments),
            archive=self._directory.absolute(),
            directory=copy.start,
            environment=variables,
            expect=self._expect,
            pylock=copy.pylock,
        )

    def _variables(self, environment: Path) -> dict[str, str]:
        kept = {
            name: value
            for name, value in self._wanted.environment.items()
            if name not in _DROPPED and name != "VIRTUAL_ENV"
        }
        # Not `--python`: with a pylock file that names the environment to install into.
        # And git must not freshen the index of a repository that is only linked.
        return kept | {
            "UV_PYTHON": str(self._interpreter.executable),
            "UV_PROJECT_ENVIRONMENT": str(environment),
            "UV_PYTHON_DOWNLOADS": "never",
            "GIT_OPTIONAL_LOCKS": "0",
        }


def _interpreter_here(target: Target, wanted: Wanted) -> Interpreter | None:
    """Return an interpreter for *target* if what is made for it can run here."""
    found = interpreter_for(target.python, wanted)
    if found is None:
        return None
    interpreter = inspect_interpreter(found)
    return interpreter if set(target.platform.tags) <= set(interpreter.platform.tags) else None


def _platform_flags(target: Target, interpreter: Interpreter) -> Sequence[str]:
    """Return what has uv take the wheels of a platform that is older than this machine's."""
    if target.platform.tags == interpreter.platform.tags:
        return ()
    named = uv_platform(target.platform)
    return ("--python-platform", named[0]) if named else ()


def _unseen(runner: Runner, prefix: Sequence[str]) -> Runner:
    """Run uv without network, and keep what it says."""

    def run(
        command: Sequence[str],
        /,
        *,
        environment: Mapping[str, str],
        directory: Path | None,
        capture: bool,
    ) -> Completed:
        del capture
        return runner(
            [*prefix, *command], environment=environment, directory=directory, capture=True
        )

    return run


def _in_one_line(error: UvArchiveError) -> str:
    if isinstance(error, RefusedError):
        return "; ".join(cause.message for cause in error.causes)
    return error.message


def _failed(
    rehearsal: Rehearsal, message: str, hint: str | None
) -> tuple[Rehearsal, tuple[Finding, ...]]:
    finding = Finding(
        kind="rehearsal failed",
        target=rehearsal.target,
        message=f"The install for {rehearsal.target} failed: {message}",
        hint=hint,
    )
    return replace(rehearsal, succeeded=False, reason=message), (finding,)
