"""git: find it, run it, and read what a commit of a repository needs.

A repository is foreign, and so is the URL that a `.gitmodules` names: what git would take for an
option, for a command or for a path of this machine is refused before git sees it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from packaging.utils import NormalizedName
from packaging.version import Version

from uv_archive.errors import RequestError, ToolError
from uv_archive.fetch.transport import Stopped
from uv_archive.lock.model import GitSource
from uv_archive.url import Url

#: The first git that reads the file which `GIT_CONFIG_GLOBAL` names.
OLDEST_GIT = Version("2.32")
#: Where the locked commit stands in a bundle, and in the repository that is made from it.
REFERENCE = "refs/uv-archive"

_HOW_TO_GET_GIT = f"Install git {OLDEST_GIT} or later: the lock has git sources"
# What `git rev-parse --local-env-vars` names: they would make git act on another repository.
_OF_A_REPOSITORY = frozenset(
    {
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"),
        *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_NAMESPACE"),
        *("GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE"),
        *("GIT_NO_REPLACE_OBJECTS", "GIT_IMPLICIT_WORK_TREE", "GIT_CONFIG"),
    }
)
_NETWORK_SCHEMES = ("https", "http", "ssh", "git")
# "ssh: user@host.xz:path/to/repo", the path being anything; one letter is a drive of Windows.
_SCP_LIKE = re.compile(
    r"(?:(?P<user>[^@:/]+)@)?(?P<host>[^@:/]{2,}|\[[0-9a-fA-F:]+\]):(?P<path>.+)"
)
_FOREIGN = re.compile(r"[\x00-\x20\x7f\\]")
_PROGRESS = re.compile(r"Receiving objects: .*?, (?P<amount>[0-9.]+) (?P<unit>bytes|[KMG]iB)")
_LFS_PROGRESS = re.compile(r"Downloading LFS objects: .*?, (?P<amount>[0-9.]+) (?P<unit>[KMG]?B) ")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_UNITS |= {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
# A URL as git LFS 3.3 prints it where a server fails.
_MANGLED = re.compile(r" &\{.*\}s\(MISSING\)")
# How git, servers and git LFS begin the line that says what went wrong.
_TELLING = ("fatal:", "error:", "ERROR:", "batch response:", "error transferring", "LFS:", "[")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]+@")
# No hook of the user's runs, and nothing in the background.
_SETTINGS = (
    f"core.hooksPath={os.devnull}",
    *("gc.auto=0", "maintenance.auto=false", "fetch.unpackLimit=1"),
)
_CHUNK = 64 * 1024
_LONGEST_NAME = 100
# Seconds. git says every second how far it has come.
_SILENCE = 300.0


class GitError(Exception):
    """git failed. *said* is what it wrote to standard error, without credentials."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said

    @property
    def reason(self) -> str:
        """The line that says what went wrong."""
        lines = [line.strip() for line in re.split(r"[\r\n]+", self.said) if line.strip()]
        telling = [line for line in lines if line.startswith(_TELLING)]
        # The first one is the cause; ssh and servers say it before git does.
        line = (telling or lines or ["git said nothing"])[0]
        line = _MANGLED.sub("", line)
        return re.sub(r"^(?:fatal|error|ERROR|batch response|LFS): ", "", line)


class LargeFilesError(GitError):
    """git LFS failed."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a repository is, as git takes it: a URL, or `user@host:path`.

    `str()` leaves out credentials, query string and fragment; *exposed* is for git alone.
    """

    exposed: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, schemes: Iterable[str] = _NETWORK_SCHEMES) -> Remote:
        """Check that *text* names a repository on another machine. Raises `ValueError`.

        *schemes* are the transports that are allowed.
        """
        if _FOREIGN.search(text):
            raise ValueError("a repository's URL has no white space or control character")
        if text.startswith("-") or re.match(r"[A-Za-z0-9]+::", text):
            raise ValueError("a repository's URL is no option and names no command")
        if "://" not in text:
            match = _SCP_LIKE.fullmatch(text)
            if match is None or "ssh" not in schemes:
                raise ValueError("a repository outside of this machine needs a URL")
            if match["host"].startswith("-") or (match["user"] or "").startswith("-"):
                raise ValueError("a repository's host is no option")
            return cls(text)
        scheme = text.partition("://")[0].lower()
        if scheme not in schemes:
            raise ValueError(f"`{scheme}:` isn't a transport that is allowed here")
        if scheme != "file" and Url.parse(text).host.startswith("-"):
            raise ValueError("a repository's host is no option")
        return cls(text)

    @classmethod
    def of(cls, source: GitSource) -> Remote:
        """Return where a lock's source is. Raises `RequestError` for one that can't be fetched."""
        try:
            return cls.parse(source.url.exposed, schemes=("https", "http", "ssh", "file"))
        except ValueError as error:
            raise RequestError(
                f"The lock's git source `{source.url}` is refused: {error}"
            ) from error

    @property
    def scheme(self) -> str:
        before, separator, _ = self.exposed.partition("://")
        return before.lower() if separator else "ssh"

    @property
    def name(self) -> NormalizedName:
        """The repository's own name, made fit for a file name."""
        path = urlsplit(self.exposed).path if "://" in self.exposed else self.exposed
        last = re.split(r"[/:]", unquote(path.rstrip("/")))[-1].lower().removesuffix(".git")
        name = re.sub(r"[^a-z0-9]+", "-", last)[:_LONGEST_NAME].strip("-")
        return NormalizedName(name or "repository")

    def public(self) -> str:
        """What may be written down: no user, no password, no query string, no fragment."""
        if "://" in self.exposed:
            return Url(self.exposed).public()
        match = _SCP_LIKE.fullmatch(self.exposed)
        return f"{match['host']}:{match['path']}" if match else self.exposed

    def submodule(self, url: str) -> Remote:
        """Return where a submodule is that `.gitmodules` says is at *url*. Raises `ValueError`.

        As git does: only what begins with `./` or `../` is relative.
        """
        if not url.startswith(("./", "../")):
            return Remote.parse(url, schemes=self._schemes)
        base, separator = self.exposed.rstrip("/"), "/"
        while True:
            if url.startswith("../"):
                url, found = url[3:], re.fullmatch(r"(.*)([/:])[^/:]*", base, re.DOTALL)
                if found is None or found[1].endswith(("/", ":")):
                    raise ValueError("the relative URL of a submodule leads outside of its server")
                base, separator = found[1], found[2]
            elif url.startswith("./"):
                url = url[2:]
            else:
                break
        return Remote.parse(f"{base}{separator}{url}".removesuffix("/"), schemes=self._schemes)

    @property
    def _schemes(self) -> Sequence[str]:
        # A repository elsewhere has no say in what is read on this machine.
        return (*_NETWORK_SCHEMES, "file") if self.scheme == "file" else _NETWORK_SCHEMES

    def __str__(self) -> str:
        return self.public()

    def __repr__(self) -> str:
        return f"Remote({self.public()!r})"


@dataclass(frozen=True, slots=True)
class Logins:
    """User names and passwords that a project writes into the URLs of its git sources.

    The lock leaves them out, and uv puts them back: for the repository itself, and for its
    submodules on the same server.
    """

    by_repository: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, pyprojects: Iterable[Mapping[str, object]]) -> Logins:
        """Collect them from the documents of all `pyproject.toml` of a workspace."""
        found = {}
        for text in (url for document in pyprojects for url in _written_urls(document)):
            with suppress(ValueError):
                userinfo, at, _ = urlsplit(text).netloc.rpartition("@")
                if at:
                    found[_identity(text)] = _as_uv_writes(userinfo)
        return cls(found)

    def apply(self, remote: Remote) -> Remote:
        """Return *remote* with what the project has written for it."""
        if "://" not in remote.exposed or not self.by_repository:
            return remote
        return _with_userinfo(remote, self.by_repository.get(_identity(remote.exposed)))


def with_login_of(remote: Remote, parent: Remote) -> Remote:
    """Return a submodule's *remote* with what its *parent* has, on the same server."""
    if "://" not in remote.exposed or "://" not in parent.exposed:
        return remote
    own, other = urlsplit(remote.exposed), urlsplit(parent.exposed)
    same = (own.scheme, own.netloc) == (other.scheme, other.netloc.rpartition("@")[2])
    return _with_userinfo(remote, other.netloc.rpartition("@")[0] if same else None)


def _with_userinfo(remote: Remote, userinfo: str | None) -> Remote:
    parts = urlsplit(remote.exposed)
    if not userinfo:
        return remote
    host = parts.netloc.rpartition("@")[2]
    return Remote(urlunsplit(parts._replace(netloc=f"{userinfo}@{host}")))


def _as_uv_writes(userinfo: str) -> str:
    """Decode and encode it as the `url` crate does, whose text is what git gets to see."""
    user, colon, password = userinfo.partition(":")
    return colon.join(quote(unquote(part), safe="!$%&'()*+,-._~") for part in (user, password))


def _identity(url: str) -> str:
    """What uv takes for one repository: with or without `.git`, whoever asks for it."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/").removesuffix(".git")
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host}{path.lower() if host == 'github.com' else path}"


def _written_urls(document: Mapping[str, object]) -> Iterator[str]:
    """Yield the URLs of `tool.uv.sources` and of requirements (PEP 508, `name @ git+URL`)."""
    stack: list[object] = [document]
    while stack:
        match stack.pop():
            case Mapping() as table:
                if isinstance(url := table.get("git"), str):
                    yield url
                stack.extend(table.values())
            case list() as array:
                stack.extend(array)
            case str() as text if match := re.search(r"@\s*git\+(\S+)", text):
                path, at, _ = match[1].rpartition("@")
                yield path if at and "/" in path.partition("://")[2] else match[1]
            case _:
                continue


@dataclass(frozen=True, kw_only=True, slots=True)
class Submodule:
    """A commit of another repository that a commit refers to, and where it is put."""

    path: str
    remote: Remote
    commit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Git:
    """A git that was found, and the environment it runs in."""

    executable: Path
    version: Version
    environment: Mapping[str, str] = field(repr=False)

    def online(self) -> Git:
        """Return a git that reaches servers as its user's git does, but asks nobody anything."""
        return self.adding(
            {
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_LFS_FORCE_PROGRESS": "1",  # else it says nothing where there is no terminal
                # Its user's settings may lead to a copy on this machine. URLs don't: see `Remote`.
                "GIT_ALLOW_PROTOCOL": ":".join((*_NETWORK_SCHEMES, "file")),
                "LC_ALL": "C",  # its messages are read
                "LANGUAGE": "C",
            }
        )

    def adding(self, variables: Mapping[str, str]) -> Git:
        return replace(self, environment={**self.environment, **variables})

    def run(
        self, *arguments: str, stdin: bytes = b"", directory: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git to its end, and return what it said. Raises `ToolError` if it can't start."""
        try:
            return subprocess.run(  # noqa: S603 - an argument vector, no shell
                [str(self.executable), *arguments],
                env=dict(self.environment),
                cwd=directory,
                input=stdin,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise _cant_run(self.executable, error) from error

    def output(self, *arguments: str, stdin: bytes = b"", directory: Path | None = None) -> bytes:
        """Return what git writes to standard output. Raises `GitError` if it fails."""
        finished = self.run(*arguments, stdin=stdin, directory=directory)
        if finished.returncode:
            raise GitError(without_credentials(finished.stderr.decode(errors="replace")))
        return finished.stdout


def find_git(environment: Mapping[str, str]) -> Git:
    """Find git on the `PATH`, as uv does. Raises `ToolError` if there is none, or an old one."""
    found = shutil.which("git", path=environment.get("PATH"))
    if found is None:
        raise ToolError("git was not found", hint=_HOW_TO_GET_GIT)
    kept = {name: value for name, value in environment.items() if name not in _OF_A_REPOSITORY}
    git = Git(executable=Path(found), version=OLDEST_GIT, environment=kept)
    said = git.run("--version").stdout.decode(errors="replace")
    match = re.match(r"git version (\d+(?:\.\d+)+)", said)
    if match is None:
        raise ToolError(f"`{found}` isn't git", hint=_HOW_TO_GET_GIT)
    version = Version(match[1])
    if version < OLDEST_GIT:
        raise ToolError(f"`{found}` is git {version}, which is too old", hint=_HOW_TO_GET_GIT)
    return replace(git, version=version)


def without_credentials(text: str) -> str:
    """Return what git said without the credentials that it may have repeated."""
    return _CREDENTIALS.sub("", text)


class Processes:
    """The gits that talk to servers just now, so that they can be stopped together."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Stop them all, and start no other."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)

    def run(self, git: Git, *arguments: str, hear: Callable[[int], None]) -> None:
        """Run git, and tell *hear* how many bytes have come in. Raises `GitError`.

        It has no terminal, so neither git nor ssh can ask a question. One that is silent for
        minutes is stopped.
        """
        with self._lock:
            if self._stopped:
                raise Stopped("git was stopped")
            process = _start(git, arguments)
            self._running.add(process)
        silent = threading.Event()

        def give_up() -> None:
            silent.set()
            _kill(process)

        try:
            said = _listen(process, hear, give_up)
        finally:
            with self._lock:
                self._running.discard(process)
                _kill(process)
            process.wait()
        if self._stopped:
            raise Stopped("git was stopped")
        if silent.is_set():
            raise GitError(f"fatal: timed out: nothing came for {_SILENCE:.0f} seconds")
        if process.returncode:
            raise GitError(without_credentials(said))


def _start(git: Git, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - an argument vector, no shell
            [str(git.executable), *arguments],
            env=dict(git.environment),
            stdin=subprocess.DEVNULL,
            # git says how far it has come on standard error, git LFS on standard output.
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise _cant_run(git.executable, error) from error


def _cant_run(executable: Path, error: OSError) -> ToolError:
    return ToolError(f"`{executable}` can't be run: {error.strerror}", hint=_HOW_TO_GET_GIT)


def _listen(
    process: subprocess.Popen[bytes], hear: Callable[[int], None], give_up: Callable[[], None]
) -> str:
    """Return the last of what it says."""
    said = b""
    stream = process.stdout
    if stream is None:
        raise TypeError("standard output has to be a pipe")
    with stream:
        while True:
            timer = threading.Timer(_SILENCE, give_up)
            timer.daemon = True
            timer.start()
            try:
                chunk = os.read(stream.fileno(), _CHUNK)
            finally:
                timer.cancel()
            if not chunk:
                process.wait()
                return said.decode(errors="replace")
            said = (said + chunk)[-_CHUNK:]
            text = chunk.decode(errors="replace")
            for match in chain(_PROGRESS.finditer(text), _LFS_PROGRESS.finditer(text)):
                hear(int(float(match["amount"]) * _UNITS[match["unit"]]))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Stop it, and the ssh or the helper that it started."""
    if process.returncode is not None:
        return
    with suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A bare repository of our own."""

    git: Git
    directory: Path

    @classmethod
    def create(cls, directory: Path, *, git: Git, commit: str) -> Repository:
        """Make an empty one for a history that has *commit*. Raises `GitError`."""
        # Older gits know no other format than the usual one, so it isn't named.
        sha256 = ("--object-format=sha256",) if len(commit) == 64 else ()
        git.output("init", "--quiet", "--bare", "--template=", *sha256, "--", str(directory))
        return cls(git=git, directory=directory)

    def arguments(self, *arguments: str) -> Sequence[str]:
        """Return what to call git with, so that nothing of its user's acts on the repository."""
        # Named, a repository may belong to anybody, and be on a file system that knows no owners.
        configured = [part for setting in _SETTINGS for part in ("-c", setting)]
        return (f"--git-dir={self.directory}", *configured, *arguments)

    def output(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return self.git.output(*self.arguments(*arguments), stdin=stdin)

    def has(self, commit: str) -> bool:
        """Whether the commit is there."""
        name = f"{commit}^{{commit}}"
        asked = self.arguments("rev-parse", "--quiet", "--verify", "--end-of-options", name)
        found = self.git.run(*asked)
        return found.returncode == 0 and found.stdout.decode().split()[-1:] == [commit]

    def take(self, bundle: Path, commit: str) -> None:
        """Take over what a bundle has, its tags included. Raises `GitError`.

        git computes the name of every object anew, so what is then called *commit* is it.
        """
        reference = f"{REFERENCE}/{commit}"
        self.output(
            *("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head"),
            *("--", str(bundle), f"{reference}:{reference}", "refs/tags/*:refs/tags/*"),
        )
        if not self.has(commit):
            raise GitError(f"fatal: the bundle doesn't have {commit}")

    def submodules(self, commit: str, remote: Remote) -> tuple[Submodule, ...]:
        """Return the submodules of *commit*, whose own repository is at *remote*.

        Those that `.gitmodules` says aren't to be updated are left out, as git leaves them.
        Raises `GitError` for one that git couldn't fetch either, and for one it shouldn't.
        """
        commits = self._links(commit)
        if not commits:
            return ()
        settings = {settings.get("path"): settings for settings in self._gitmodules(commit)}
        found = []
        for path, linked in sorted(commits.items()):
            described = settings.get(path, {})
            if described.get("update") == "none":
                continue
            try:
                if "url" not in described:
                    raise ValueError("`.gitmodules` names no URL for it")
                base = remote.submodule(described["url"])
            except ValueError as error:
                raise GitError(f"fatal: the submodule at `{path}` is refused: {error}") from error
            found.append(Submodule(path=path, remote=base, commit=linked))
        return tuple(found)

    def _links(self, commit: str) -> Mapping[str, str]:
        """Return the commits of other repositories, by the paths where they are put."""
        listed = self.output("ls-tree", "-r", "-z", "--full-tree", commit)
        links = {}
        for line in listed.split(b"\0"):
            if line.startswith(b"160000 "):
                described, _, path = line.partition(b"\t")
                links[os.fsdecode(path)] = described.split()[2].decode()
        return links

    def _gitmodules(self, commit: str) -> Iterable[Mapping[str, str]]:
        listed = self.output("ls-tree", "-z", "--full-tree", commit, "--", ".gitmodules")
        if not listed.startswith(b"100"):
            return ()  # missing, or no regular file: git takes no settings from a link
        written = self.output("config", "--blob", f"{commit}:.gitmodules", "-z", "--list")
        modules: dict[str, dict[str, str]] = {}
        for setting in os.fsdecode(written).split("\0"):
            key, _, value = setting.partition("\n")
            section, _, rest = key.partition(".")
            name, _, variable = rest.rpartition(".")
            if section == "submodule" and name:
                modules.setdefault(name, {})[variable] = value
        return modules.values()

    def read(self, commit: str, path: str) -> bytes | None:
        """Return the content of a file, `None` where *commit* has no regular file of that name."""
        listed = self.output("ls-tree", "-z", "--full-tree", commit, "--", path)
        if not listed.startswith(b"100"):
            return None
        return self.output("cat-file", "blob", listed.split()[2].decode())

    def check_out(self, commit: str, directory: Path) -> None:
        """Write the files of *commit* to *directory*, without submodules. Raises `GitError`.

        Links become small files with what they lead to, so that nothing leads outside.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.git.output(
            *(f"--git-dir={self.directory}", f"--work-tree={directory}"),
            *("-c", _SETTINGS[0], "-c", "core.bare=false", "-c", "core.symlinks=false"),
            *("checkout", "--quiet", "--force", "--detach", commit),
        )
