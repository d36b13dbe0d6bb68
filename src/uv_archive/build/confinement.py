"""Take the network, other processes and credentials away from a build, where the system can.

That is Linux, with namespaces that the user may make. It shows what a build lacks and what it
reaches for; it's no sandbox against code that means harm.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uv_archive.uv import Runner, run_process

# Directories that every Linux system has for what is mounted for a while, and seldom uses. A
# build that has one of them for its place leaves the same paths in its files on every machine.
_PLACES = (Path("/mnt"), Path("/media"), Path("/srv"))
# Below the home directory: what programs keep credentials in.
_CREDENTIALS = (
    ".aws", ".azure", ".cargo/credentials", ".cargo/credentials.toml", ".config/containers",
    ".config/gcloud", ".config/gh", ".config/git", ".config/hub", ".config/pip", ".config/pypoetry",
    ".config/uv", ".docker", ".git-credentials", ".gnupg", ".kube", ".local/share/keyrings",
    ".local/share/uv/credentials", ".netrc", ".npmrc", ".pip", ".pypirc", ".ssh", ".yarnrc",
)  # fmt: skip
_OWN_PROCESSES = ("--pid", "--fork", "--kill-child=SIGKILL")
# Several ways, the best first: as an ordinary user, and as root where users may not.
_WAYS = (
    ("--user", "--map-root-user", "--net", "--mount", *_OWN_PROCESSES),
    ("--net", "--mount", *_OWN_PROCESSES),
    ("--user", "--map-root-user", "--net", *_OWN_PROCESSES),
    ("--user", "--map-root-user", "--net"),
    ("--net",),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Confinement:
    """How a build is kept from the network; with no *unshare* it isn't.

    *place* is where each build finds its own directory, under the same path as any other.
    *hidden* are files and directories that a build sees empty.
    """

    unshare: tuple[str, ...] = ()
    place: Path | None = None
    hidden: tuple[Path, ...] = ()

    @property
    def has_no_network(self) -> bool:
        return "--net" in self.unshare

    def seen(self, path: Path, *, private: Path) -> Path:
        """Return where a build finds what lies at *path*, in its directory *private*."""
        return path if self.place is None else self.place / path.relative_to(private)

    def command(self, command: Sequence[str], *, private: Path) -> Sequence[str]:
        """Return what runs *command* in *private*.

        *private* has a file `nothing` and a directory `empty`, to be seen in place of others.
        """
        if not self.unshare:
            return command
        script = " && ".join((*self._mounts(private), 'exec "$@"'))
        return [*self.unshare, "--", "/bin/sh", "-c", script, "sh", *command]

    def _mounts(self, private: Path) -> Iterator[str]:
        if self.place is None:
            return
        for path in self.hidden:
            instead = private / ("empty" if path.is_dir() else "nothing")
            yield shlex.join(("mount", "--bind", str(instead), str(path)))
        yield shlex.join(("mount", "--bind", str(private), str(self.place)))
        # The working directory is still the one below.
        yield shlex.join(("cd", str(self.place)))


def find_confinement(
    environment: Mapping[str, str], *, private: Path, runner: Runner = run_process
) -> Confinement:
    """Find out what the system allows, by trying it with *private*, an empty directory."""
    program = shutil.which("unshare", path=environment.get("PATH"))
    if sys.platform != "linux" or program is None:
        return Confinement()
    (private / "empty").mkdir(exist_ok=True)
    (private / "nothing").touch()
    place = next(filter(_is_empty, _PLACES), None)
    hidden = tuple(_credentials(environment))
    for way in _WAYS:
        found = Confinement(unshare=(program, *way))
        if "--mount" in way:
            found = Confinement(unshare=(program, *way), place=place, hidden=hidden)
        if ("--mount" not in way or place is not None) and _works(found, private, runner):
            return found
    return Confinement()


def _works(confinement: Confinement, private: Path, runner: Runner) -> bool:
    try:
        command = confinement.command(["true"], private=private)
        said = runner(command, environment=os.environ, directory=private, capture=True)
    except OSError:
        return False
    return said.status == 0


def _is_empty(directory: Path) -> bool:
    try:
        return not directory.is_symlink() and not any(directory.iterdir())
    except OSError:
        return False


def _credentials(environment: Mapping[str, str]) -> Iterable[Path]:
    homes = {Path(environment.get("HOME") or "/"), Path("~").expanduser()}
    for home in sorted(homes):
        for name in _CREDENTIALS:
            path = home / name
            if path.exists() and not path.is_symlink():
                yield path
