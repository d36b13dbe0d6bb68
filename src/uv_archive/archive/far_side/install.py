"""Install a project from this archive, on a machine that has neither uv nor uv-archive.

usage: python3 DIR/install.py [--project PROJECT] [--python PYTHON] [other flags of `uv sync`]

DIR is the directory of this file, and the flags are those of `uv-archive sync`. No network is
used. What is in `tools/` is checked against `uv-archive.json`, and unpacked into a directory that
is removed in the end; `uv-archive sync --dist-archive DIR` then does the rest.

  --expect sha256:DIGEST   refuse an archive with another digest than `download` printed

Exit status: that of `uv-archive sync`; 1 where a file of the archive is damaged, 2 where something
is missing on this machine. Nothing was changed then.
"""

# Any Python from 3.8 on runs this, and it uses nothing but the standard library.

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path
from typing import Iterator, Mapping, NoReturn, Sequence

if sys.platform != "win32":
    import fcntl

THIS_FILE = "install.py"
MANIFEST = "uv-archive.json"
FORMAT_VERSION = 1
FAILED, REFUSED = 1, 2

_PRIVATE = ".install-uv-archive-"
_TOOL = re.compile(r"tools/([A-Za-z0-9][A-Za-z0-9._+!-]*\.whl)")
_UV_PROGRAM = re.compile(r"[^/\\]+\.data/scripts/uv(?:\.exe)?")
# PEP 600, "Legacy manylinux tags".
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686", "armv8l": "armv7l"}
_32_BIT = {"x86_64": "i686", "aarch64": "armv7l"}
# That of musl isn't told by anything; older ones than this are from before 2020.
_MUSL = (1, 2)
_DAMAGED = "Copy the archive again, or repair it with `uv-archive download` where it was made"


class Problem(Exception):
    """What keeps the work from being begun: a sentence, what to do, and the exit status."""

    def __init__(self, message: str, hint: str = "", *, status: int = REFUSED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status


class Machine:
    """What decides whether a program runs here: system, the version that counts, and machine.

    That is the version of glibc or of musl, or of macOS; Windows has none.
    """

    def __init__(self, system: str, version: tuple[int, int], architecture: str) -> None:
        self.system = system
        self.version = version
        self.architecture = architecture

    def __str__(self) -> str:
        """The platform tag, as `uv-archive download --python-platform` takes it."""
        if self.system == "win":
            return {"x86_64": "win_amd64", "aarch64": "win_arm64"}.get(self.architecture, "win32")
        mac = self.system == "macosx" and self.architecture == "aarch64"
        name = "arm64" if mac else self.architecture
        return f"{self.system}_{self.version[0]}_{self.version[1]}_{name}"

    def runs(self, tag: str) -> bool:
        """Whether a program of a wheel with this platform tag runs here."""
        if self.system == "win" or tag == str(self):
            return tag == str(self)
        name, _, architecture = tag.partition("_")
        if name in _LEGACY:
            found = ("manylinux", _LEGACY[name], architecture)
        else:
            match = re.fullmatch(r"([a-z]+)_(\d+)_(\d+)_(\w+)", tag)
            if match is None:
                return False
            found = (match[1], (int(match[2]), int(match[3])), match[4])
        architecture = _ARCHITECTURES.get(found[2], found[2])
        return (
            found[0] == self.system
            and found[1] <= self.version
            and architecture in (self.architecture, "universal2")
        )


def this_machine() -> Machine:
    """Find out what this machine is. Raises `Problem` where that isn't known."""
    architecture = platform.machine().lower()
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if sys.platform == "win32":
        known = {"win-amd64": "x86_64", "win-arm64": "aarch64", "win32": "i686"}
        return Machine("win", (0, 0), known.get(sysconfig.get_platform(), "unknown"))
    if sys.platform == "darwin":
        major, minor = (*platform.mac_ver()[0].split("."), "0")[:2]
        # Some Pythons are told that every later version is 10.16, lest they be confused.
        version = (11, 0) if (major, minor) == ("10", "16") else (int(major), int(minor))
        return Machine("macosx", version, architecture)
    if sys.platform.startswith("linux"):
        if sys.maxsize <= 2**32:
            architecture = _32_BIT.get(architecture, architecture)
        glibc = _glibc()
        if glibc is not None:
            return Machine("manylinux", glibc, architecture)
        if "musl" in str(sysconfig.get_config_var("SOABI")) or _has_musl():
            return Machine("musllinux", _MUSL, architecture)
    raise Problem(f"It isn't known which uv a {sys.platform} with {architecture} needs")


def _glibc() -> tuple[int, int] | None:
    try:
        said = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        return None
    match = re.fullmatch(r"glibc (\d+)\.(\d+).*", said)
    return (int(match[1]), int(match[2])) if match else None


def _has_musl() -> bool:
    return any(Path("/lib").glob("ld-musl-*"))


class Archive:
    """The archive, by what `uv-archive.json` says of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        content = self._bytes(MANIFEST)
        self.digest = hashlib.sha256(content).hexdigest()
        try:
            document: object = json.loads(content.decode())
        except (ValueError, RecursionError):
            self._cannot_be_read()
        self._document = self._object(document)
        version = self._document.get("format-version")
        if version != FORMAT_VERSION:
            raise Problem(f"The archive has format {version}, and this file is of {FORMAT_VERSION}")
        self._files = self._object(self._document.get("files"))

    def read(self, path: str) -> bytes:
        """Return the bytes of a file, which are those that the archive recorded."""
        if path not in self._files:
            raise Problem(f"`{path}` isn't recorded in `{MANIFEST}`", _DAMAGED, status=FAILED)
        recorded = self._object(self._files[path]).get("sha256")
        content = self._bytes(path)
        if hashlib.sha256(content).hexdigest() != recorded:
            raise Problem(
                f"`{self.directory / path}` isn't what `{MANIFEST}` says", _DAMAGED, status=FAILED
            )
        return content

    def tools(self) -> Iterator[Wheel]:
        """Yield what is there to install with."""
        for path, entry in sorted(self._files.items()):
            described = self._object(entry)
            if "why" in described and any(
                self._object(why).get("kind") == "tool" for why in self._list(described["why"])
            ):
                match = _TOOL.fullmatch(path)
                if match is None or match[1].count("-") < 4:
                    self._cannot_be_read()
                yield Wheel(path, str(described.get("name")), str(described.get("version")))

    def pythons(self) -> list[str]:
        """Return the Pythons that the archive is for; none if it's for every one."""
        found: dict[str, None] = {}
        for request in map(self._object, self._list(self._document.get("requests"))):
            targets = [self._object(target) for target in self._list(request.get("targets", []))]
            asked = [*(t.get("python") for t in targets), *self._list(request.get("pythons", []))]
            if not asked:
                return []
            found.update((str(python), None) for python in asked)
        return list(found)

    def _bytes(self, path: str) -> bytes:
        file = self.directory / path
        try:
            if file.is_symlink() or not file.is_file():
                hint = "Run the `download` that makes it to its end" if path == MANIFEST else ""
                raise Problem(f"There is no file `{file}`", hint or _DAMAGED, status=FAILED)
            return file.read_bytes()
        except OSError as error:
            message = f"`{file}` can't be read: {error.strerror}"
            raise Problem(message, _DAMAGED, status=FAILED) from error

    def _object(self, value: object) -> Mapping[str, object]:
        return value if isinstance(value, dict) else self._cannot_be_read()

    def _list(self, value: object) -> Sequence[object]:
        return value if isinstance(value, list) else self._cannot_be_read()

    def _cannot_be_read(self) -> NoReturn:
        raise Problem(f"`{self.directory / MANIFEST}` can't be read", _DAMAGED, status=FAILED)


class Wheel:
    """A wheel in `tools/`: where it lies, and what it is."""

    def __init__(self, path: str, name: str, version: str) -> None:
        self.path = path
        self.name = name
        self.version = version
        self.filename = path.rpartition("/")[2]
        self.platforms = path[: -len(".whl")].rpartition("-")[2].split(".")

    @property
    def order(self) -> tuple[object, ...]:
        """Later versions come after earlier ones, and pre-releases before what they lead to."""
        match = re.match(r"[\d.]*\d", self.version)
        release = match[0] if match else "0"
        rest = self.version[len(release) :]
        early = re.match(r"\.dev|a|b|rc", rest) is not None
        return (tuple(int(part or 0) for part in release.split(".")), not early, rest)


def chosen(tools: Sequence[Wheel], machine: Machine) -> tuple[Wheel, list[Wheel]]:
    """Return the wheel of uv, and of every other tool the one for this machine."""
    found: dict[str, Wheel] = {}
    for wheel in tools:
        usable = any(tag == "any" or machine.runs(tag) for tag in wheel.platforms)
        if usable and (wheel.name not in found or found[wheel.name].order < wheel.order):
            found[wheel.name] = wheel
    missing = {"uv", "uv-archive"} - {wheel.name for wheel in tools}
    if missing:
        raise Problem(
            f"The archive doesn't bring {' and '.join(sorted(missing))}",
            "Run `uv-archive download --with-tools` on it, where there is a network",
        )
    if "uv" not in found:
        brought = sorted({p for wheel in tools if wheel.name == "uv" for p in wheel.platforms})
        raise Problem(
            f"The archive brings no uv for this machine, {machine}, but for {', '.join(brought)}",
            f"Where there is a network, run `uv-archive download --with-tools --python-platform "
            f"{machine}`",
        )
    return found.pop("uv"), list(found.values())


class Flags:
    """What of the flags of `uv-archive sync` has to be known here."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.all = list(arguments)
        self.project = self._value("--project")
        self.directory = self._value("--directory")
        self.script = self._value("--script")
        self.pylock = self._value("--pylock")
        self.python = self._value("--python", "-p")
        self.expect = self._value("--expect")
        if self._value("--dist-archive") is not None:
            raise Problem("`--dist-archive` can't be given here: it is this file's own directory")

    @property
    def start(self) -> Path:
        """The directory in which the project is looked for."""
        return Path(self.directory or "", self.project or "").absolute()

    @property
    def where(self) -> list[str]:
        """The arguments by which uv finds the project or the script; a pylock file has none."""
        if self.pylock is not None:
            return ["--no-project"]
        if self.script is not None:
            return ["--script", str(Path(self.directory or "", self.script).absolute())]
        return ["--project", str(self.start)]

    def _value(self, *names: str) -> str | None:
        for position, argument in enumerate(self.all):
            if argument == "--":
                break
            if argument in names:
                return self.all[position + 1] if position + 1 < len(self.all) else ""
            for name in names:
                glued = f"{name}=" if name.startswith("--") else name
                if argument.startswith(glued):
                    return argument[len(glued) :].lstrip("=")
        return None


class Uv:
    """uv, unpacked into a private directory, and asked for what is on this machine."""

    def __init__(self, wheel: bytes, directory: Path) -> None:
        self.directory = directory
        with zipfile.ZipFile(io.BytesIO(wheel)) as members:
            names = [name for name in members.namelist() if _UV_PROGRAM.fullmatch(name)]
            if len(names) != 1:
                raise Problem("There is no uv in the wheel of uv", _DAMAGED, status=FAILED)
            self.path = directory / names[0].rpartition("/")[2]
            self.path.write_bytes(members.read(names[0]))
        self.path.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run uv without network, downloads, other people's caches, or what is active here."""
        dropped = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH")
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in dropped and (not name.startswith("UV_") or name.startswith("UV_PYTHON"))
        }
        environment["PATH"] = search_path()
        environment["UV_PYTHON_DOWNLOADS"] = "never"
        environment["UV_CACHE_DIR"] = str(self.directory / "cache")
        try:
            return subprocess.run(  # noqa: S603 - its digest was checked
                [str(self.path), *arguments, "--offline", "--color", "never"],
                cwd=str(self.directory),
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise Problem(
                f"The uv of the archive can't be run in `{self.directory}`: {error.strerror}",
                "Work in a directory from which programs may be run",
            ) from error

    def do(self, *arguments: str) -> None:
        """Run uv, which has to succeed."""
        done = self.run(*arguments)
        if done.returncode:
            message = f"uv can't set up uv-archive: {_said(done.stderr)}"
            raise Problem(message, status=FAILED)

    def find(self, *arguments: str) -> tuple[str, str] | None:
        """Return path and version of a Python, or nothing if there is none."""
        path = self.run("python", "find", *arguments)
        version = self.run("python", "find", "--show-version", *arguments)
        if path.returncode or version.returncode:
            return None
        return path.stdout.strip(), version.stdout.strip()

    def pythons(self) -> str:
        """Say which Pythons there are."""
        done = self.run("python", "list", "--only-installed", "--output-format", "json")
        versions = {re.sub(r"[^\w.+-]", "", v): None for v in re.findall(
            r'"version": *"([^"]+)"', done.stdout
        )}  # fmt: skip
        versions.setdefault(platform.python_version())
        return ", ".join(versions)


def _said(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line[len("error:") :].strip() for line in lines if line.startswith("error:")]
    return (errors or lines or ["it gave no reason"])[0]


def search_path() -> str:
    """Return where programs are looked for; the Python that runs this is one that is there."""
    own = str(Path(sys.executable).parent) if sys.executable else ""
    return os.pathsep.join(part for part in (os.environ.get("PATH", ""), own) if part)


def project_python(uv: Uv, flags: Flags, wanted: Sequence[str]) -> tuple[str, list[str]]:
    """Return the Python to install for, and the flags by which `sync` takes it, too.

    Raises `Problem` if the project needs one that isn't there, or the archive is for others.
    """
    asked = [flags.python] if flags.python else []
    found = uv.find(*flags.where, *asked)
    if found is None:
        refused = _said(uv.run("python", "find", *flags.where, *asked).stderr)
        if "nterpreter" not in refused:
            raise Problem(f"uv can't tell which Python the project needs: {refused}")
        needs = f", and the archive is for Python {', '.join(wanted)}" if wanted else ""
        raise Problem(
            f"The project needs a Python that isn't on this machine: {refused}{needs}",
            f"Install it, or say where it is with `--python PATH`. Found: {uv.pythons()}",
        )
    chosen_otherwise = asked or "UV_PYTHON" in os.environ
    if chosen_otherwise or not wanted or any(_is_one(found[1], python) for python in wanted):
        return found[0], []
    for python in wanted:
        other = uv.find(*flags.where, python)
        if other is not None:
            return other[0], ["--python", python]
    raise Problem(
        f"The archive is for Python {', '.join(wanted)}, which isn't on this machine",
        "Install it, or say where it is with `--python PATH`, or try another one with "
        f"`--python VERSION`. Found: {uv.pythons()}",
    )


def _is_one(version: str, python: str) -> bool:
    """Whether a version is the Python that was asked for, or a patch release of it."""
    return version == python or re.fullmatch(re.escape(python) + r"\.\w+", version) is not None


def own_python(uv: Uv, wheel: bytes, candidates: Sequence[str]) -> str:
    """Return a Python that uv-archive itself can run with. Raises `Problem` if there is none."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as members:
        name = next(n for n in members.namelist() if n.endswith(".dist-info/METADATA"))
        match = re.search(rb"^Requires-Python: *>= *(\d+)\.(\d+)", members.read(name), re.MULTILINE)
    lowest = (int(match[1]), int(match[2])) if match else (3, 11)
    if sys.version_info[:2] >= lowest and sys.executable:
        return sys.executable
    needed = f">={lowest[0]}.{lowest[1]}"
    for python in (*candidates, needed):
        found = uv.find("--no-project", "--no-config", "--system", python)
        if found and tuple(map(int, re.findall(r"\d+", found[1])[:2])) >= lowest:
            return found[0]
    raise Problem(
        f"uv-archive needs a Python {needed} to run, and there is none on this machine",
        f"Install one; the project can have another. Found: {uv.pythons()}",
    )


@contextlib.contextmanager
def private_directory(beside: Path) -> Iterator[Path]:
    """Make a directory in *beside* and remove it in the end; elsewhere if that can't be written."""
    try:
        # In the project: its environment's programs have to run there, too.
        directory = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=str(beside)))
        _remove_leftovers(beside)
    except OSError:
        directory = Path(tempfile.mkdtemp(prefix=_PRIVATE))
    try:
        with (directory / "alive").open("wb") as alive:
            _hold(alive.fileno())
            (directory / ".gitignore").write_text("*\n")
            yield directory
    finally:
        shutil.rmtree(str(directory), ignore_errors=True)


def _remove_leftovers(beside: Path) -> None:
    """Remove what killed runs left: a run holds a lock for as long as it lives."""
    for left in beside.glob(_PRIVATE + "*/alive"):
        with contextlib.suppress(OSError), left.open("r+b") as alive:
            _hold(alive.fileno())
            shutil.rmtree(str(left.parent), ignore_errors=True)


def _hold(descriptor: int) -> None:
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def environment_for(
    archive: Archive, uv: Uv, own: bytes, others: Sequence[Wheel], python: str
) -> Path:
    """Make an environment with uv-archive in it, and return its Python."""
    wheels = uv.directory / "wheels"
    wheels.mkdir()
    paths = []
    for wheel in others:
        content = own if wheel.name == "uv-archive" else archive.read(wheel.path)
        (wheels / wheel.filename).write_bytes(content)
        # Relative, since what is before it may have characters that mean something to uv.
        paths.append(f"./wheels/{wheel.filename}")
    closed = ("--no-config", "--quiet")
    uv.do("venv", "--no-project", "--python", python, "environment", *closed)
    install = ("pip", "install", "--no-index", "--no-deps", "--python", "environment")
    uv.do(*install, *closed, *paths)
    below = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return uv.directory.joinpath("environment", *below)


def sync(python: Path, uv: Uv, archive: Archive, arguments: Sequence[str]) -> int:
    """Run `uv-archive sync` to its end and return its exit status."""
    command = [str(python), "-I", "-m", "uv_archive", "sync"]
    command += ["--dist-archive", str(archive.directory), *arguments]
    # An argument vector, no shell; every program in it came from a checked file.
    environment = {**os.environ, "UV": str(uv.path), "PATH": search_path()}
    child = subprocess.Popen(command, env=environment)  # noqa: S603
    # A terminal tells the child, too, and it has to be waited for in either case.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    status = child.wait()
    return 128 - status if status < 0 else status


def install(directory: Path, arguments: Sequence[str]) -> int:
    """Do all of it: check, unpack, choose a Python, sync. Raises `Problem`."""
    flags = Flags(arguments)
    archive = Archive(directory)
    if flags.expect is not None and flags.expect.lower() != f"sha256:{archive.digest}":
        raise Problem(
            f"The archive has the digest sha256:{archive.digest}, not {flags.expect}",
            "It was changed on the way, or it is another one: copy it again",
        )
    if not flags.start.is_dir():
        raise Problem(f"There is no directory `{flags.start}`", "Name the project by `--project`")
    archive.read(THIS_FILE)
    uv_wheel, others = chosen(list(archive.tools()), this_machine())
    own = archive.read(next(wheel.path for wheel in others if wheel.name == "uv-archive"))
    with private_directory(flags.start) as private:
        uv = Uv(archive.read(uv_wheel.path), private)
        python, more = project_python(uv, flags, archive.pythons())
        for_own = own_python(uv, own, [python])
        own_environment = environment_for(archive, uv, own, others, for_own)
        return sync(own_environment, uv, archive, [*more, *flags.all])


def main(arguments: Sequence[str]) -> int:
    """Install, say in one line what went wrong, and return the exit status."""
    if {"-h", "--help"}.intersection(arguments):
        print(__doc__.strip())
        return 0
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return install(Path(__file__).absolute().parent, arguments)
    except Problem as problem:
        _tell(f"error: {problem.message}")
        if problem.hint:
            _tell(f"hint: {problem.hint}")
        return problem.status
    except (OSError, zipfile.BadZipFile) as error:
        _tell(f"error: uv-archive can't be set up: {error}")
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _tell(line: str) -> None:
    # What the terminal's encoding lacks is escaped there: so Python opens it.
    print("".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)


def _terminate(number: int, _frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
