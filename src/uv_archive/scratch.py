"""A scratch copy of a project, for uv to work in with a relocated lock.

Nothing of the project but its `pyproject.toml` files, `.python-version` and settings is
copied: source trees stay where they are, and the relocated lock names them by absolute paths.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, assert_never

import tomli_w

from uv_archive.archive.disk import storing
from uv_archive.archive.locking import hold, is_held
from uv_archive.project import Project, tool_uv
from uv_archive.script import Script, script_of

_PREFIX = ".uv-archive-"
# Seconds. What is waited for takes a moment, but for clearing up after a run that was killed.
_PATIENCE = 5.0
# The environment's directory may be somebody's who lets us write in it, but not beside it.
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

#: Settings of `tool.uv` and `uv.toml` that the scratch copy keeps, with the reason. Every other
#: one names indexes, caches or the network, decides a resolution that the lock has already
#: decided, or is project metadata that uv reads from `pyproject.toml` itself.
KEPT_SETTINGS: Mapping[str, str] = {
    "cache-keys": "when a source tree has to be built again",
    "compile-bytecode": "how files are installed",
    "concurrent-builds": "how much at a time",
    "concurrent-installs": "how much at a time",
    "config-settings": "how distributions are built",
    "config-settings-package": "how distributions are built",
    "dependency-metadata": "what a distribution's metadata are taken to be",
    "extra-build-dependencies": "how distributions are built",
    "extra-build-variables": "how distributions are built",
    "link-mode": "how files are installed; `symlink` isn't kept",
    "no-binary": "which file of a package is installed",
    "no-binary-package": "which file of a package is installed",
    "no-build": "which file of a package is installed",
    "no-build-isolation": "how distributions are built",
    "no-build-isolation-package": "how distributions are built",
    "no-build-package": "which file of a package is installed",
    "preview": "how uv behaves",
    "preview-features": "how uv behaves",
    "python-downloads": "which Python is used",
    "python-preference": "which Python is used",
    "reinstall": "what is installed again",
    "reinstall-package": "what is installed again",
    "required-version": "which uv the project asks for",
}

#: Environment variables that mean what a flag of `uv sync` means, and reach uv. All others
#: that begin with `UV_` or `PIP_` don't.
KEPT_VARIABLES = frozenset(
    {
        *("UV_COMPILE_BYTECODE", "UV_COMPILE_BYTECODE_TIMEOUT", "UV_LINK_MODE"),
        *("UV_CONCURRENT_BUILDS", "UV_CONCURRENT_INSTALLS"),
        *("UV_LOCK_TIMEOUT", "UV_NO_BUILD", "UV_NO_BUILD_PACKAGE", "UV_NO_BUILD_ISOLATION"),
        *("UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "UV_NO_SOURCES_PACKAGE"),
        *("UV_SKIP_WHEEL_FILENAME_CHECK", "UV_INSECURE_NO_ZIP_VALIDATION"),
        *("UV_HIDE_BUILD_OUTPUT", "UV_STACK_SIZE"),
        *("UV_NO_DEFAULT_GROUPS", "UV_NO_DEV", "UV_NO_GROUP", "UV_DEV"),
        *("UV_NO_EDITABLE", "UV_NO_INSTALL_LOCAL", "UV_NO_INSTALL_PROJECT"),
        *("UV_NO_INSTALL_WORKSPACE", "UV_NO_PROGRESS", "UV_NO_WRAP", "UV_LOG_CONTEXT"),
        *("UV_PREVIEW", "UV_PREVIEW_FEATURES", "UV_PROJECT_ENVIRONMENT"),
        *("UV_MANAGED_PYTHON", "UV_NO_MANAGED_PYTHON", "UV_PYTHON", "UV_PYTHON_BIN_DIR"),
        *("UV_PYTHON_DOWNLOADS", "UV_PYTHON_INSTALL_DIR", "UV_PYTHON_PREFERENCE"),
        *("UV_LIBC", "UV_PYTHON_CPYTHON_BUILD", "UV_PYTHON_PYPY_BUILD"),
        *("UV_PYTHON_GRAALPY_BUILD", "UV_PYTHON_PYODIDE_BUILD"),
        *("UV_PYTHON_NO_REGISTRY", "UV_PYTHON_SEARCH_PATH", "UV_VENV_SEED"),
    }
)


# What would put modules before those of a build's requirements.
_MODULES = frozenset({"PYTHONPATH", "PYTHONHOME"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Scratch:
    """A scratch copy. *base* stands for *original*, the directory above root and members.

    For a script, *script* is its copy.
    """

    root: Path
    project: Path
    config_file: Path
    base: Path
    original: Path
    script: Path | None = None

    def arguments(self) -> Sequence[str]:
        """Return the arguments by which uv works on the copy, with its settings only."""
        if self.script is not None:
            return ("--script", str(self.script), "--config-file", str(self.config_file))
        # `--project` and never a change of directory: uv resolves the working directory.
        return ("--project", str(self.project), "--config-file", str(self.config_file))

    def translate(self, text: str) -> str:
        """Put the project's own paths for the copy's into uv's output."""
        text = text.replace(self.base.as_posix(), self.original.as_posix())
        return text.replace(str(self.base), str(self.original))


def write_scratch(
    owner: Project | Script, *, lock: bytes, directory: Path, settings: Mapping[str, object]
) -> Scratch:
    """Lay out a scratch copy of *owner* in *directory*, which has to exist.

    *lock* is the relocated one, *settings* are the effective ones of the owner. Raises
    `StorageError`.
    """
    match owner:
        case Project():
            return _project_scratch(owner, lock=lock, directory=directory, settings=settings)
        case Script():
            return _script_scratch(owner, lock=lock, directory=directory, settings=settings)
        case _:
            assert_never(owner)


def _script_scratch(
    script: Script, *, lock: bytes, directory: Path, settings: Mapping[str, object]
) -> Scratch:
    """Write a script that has the same requirements and does nothing.

    What `tool.uv` says in a script goes before `--config-file`, so it isn't copied. Only from
    there does uv take the extra requirements of builds.
    """
    base = directory / "project"
    scratch = Scratch(
        root=base,
        project=base,
        config_file=directory / "uv.toml",
        base=base,
        original=script.root,
        script=base / script.path.name,
    )
    kept = ("requires-python", "dependencies")
    metadata = {key: script.metadata[key] for key in kept if key in script.metadata}
    extra = "extra-build-dependencies"
    if extra in script.settings:
        metadata["tool"] = {"uv": {extra: script.settings[extra]}}
    with storing(directory):
        base.mkdir(exist_ok=True)
        (base / script.path.name).write_bytes(script_of(tomli_w.dumps(metadata)).encode())
        (base / script.lock_path.name).write_bytes(lock)
        scratch.config_file.write_bytes(tomli_w.dumps(kept_settings(settings)).encode())
    return scratch


def _project_scratch(
    project: Project, *, lock: bytes, directory: Path, settings: Mapping[str, object]
) -> Scratch:
    places = {project.root, project.directory, *project.members.values()}
    original = Path(os.path.commonpath([place.absolute() for place in places]))
    base = directory / "project"
    scratch = Scratch(
        root=base / project.root.relative_to(original),
        project=base / project.directory.relative_to(original),
        config_file=directory / "uv.toml",
        base=base,
        original=original,
    )
    with storing(directory):
        for place in sorted(places):
            _copy_project(place, base / place.relative_to(original))
        _write_root(project, scratch.root)
        (scratch.root / "uv.lock").write_bytes(lock)
        scratch.config_file.write_bytes(tomli_w.dumps(kept_settings(settings)).encode())
    return scratch


def _copy_project(source: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    for name in ("pyproject.toml", ".python-version", ".python-versions"):
        if (source / name).is_file():
            shutil.copyfile(source / name, destination / name)


def _write_root(project: Project, root: Path) -> None:
    """Make the copy's root a workspace of its own.

    uv looks for a workspace above a project that doesn't say it is one, and what lies above
    the copy is none of its business.
    """
    if "workspace" in tool_uv(project.root_pyproject):
        return
    document: dict[str, object] = dict(project.root_pyproject)
    tool = document.get("tool")
    document["tool"] = {
        **(tool if isinstance(tool, dict) else {}),
        "uv": {**project.settings, "workspace": {}},
    }
    (root / "pyproject.toml").write_bytes(tomli_w.dumps(document).encode())


def kept_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that `KEPT_SETTINGS` names."""
    kept = {key: value for key, value in settings.items() if key in KEPT_SETTINGS}
    if kept.get("link-mode") == "symlink":
        # Links into a cache that is removed afterwards.
        del kept["link-mode"]
    return kept


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return *environment* without what could bring other settings, files or places to uv."""
    return {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(("UV_", "PIP_")) or name.upper() in KEPT_VARIABLES
        if name.upper() not in _MODULES
        # Links into a cache that is removed afterwards.
        if (name.upper(), value.lower()) != ("UV_LINK_MODE", "symlink")
    }


@contextmanager
def private_directory(beside: Path) -> Iterator[Path]:
    """Make a directory next to *beside*, on its file system, and remove it at the end.

    Where that can't be written, it is one for temporary files. What a killed run left beside
    is removed first: a run holds a lock on its directory for as long as it lives. Raises
    `StorageError`.
    """
    with storing(beside.parent):
        directory, alive = _make_directory(beside)
    try:
        with alive:
            (directory / ".gitignore").write_text("*\n")
            yield directory
    finally:
        _remove(directory)
        if any(_all_of(beside)):
            # A uv that outlived its run may have written on when the rest was removed.
            with suppress(OSError), _alone(beside.parent) as is_alone:
                if is_alone:
                    _remove_leftovers(beside)


def _make_directory(beside: Path) -> tuple[Path, BinaryIO]:
    """Make it, and return it with the open file in it that is locked as long as its run lives."""
    prefix = f"{_PREFIX}{beside.name}-"
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        with _alone(beside.parent) as is_alone:
            if is_alone:
                _remove_leftovers(beside)
            return _taken(Path(tempfile.mkdtemp(prefix=prefix, dir=beside.parent)))
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return _taken(Path(tempfile.mkdtemp(prefix=prefix)))


def _taken(directory: Path) -> tuple[Path, BinaryIO]:
    file = (directory / "alive").open("wb")
    hold(file.fileno())
    return directory, file


@contextmanager
def _alone(parent: Path) -> Iterator[bool]:
    """Keep other runs from making and removing private directories in *parent* meanwhile.

    One that is being made isn't locked yet, and would look left. `False` where that can't be,
    or somebody else has the lock for long.
    """
    if os.name == "nt":
        yield False  # No directory can be opened there.
        return
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        until = time.monotonic() + _PATIENCE
        while (held := hold(descriptor)) is False and time.monotonic() < until:
            time.sleep(0.01)
        yield held is True
    finally:
        os.close(descriptor)


def _all_of(beside: Path) -> Iterator[Path]:
    return beside.parent.glob(f"{_PREFIX}{beside.name}-*")


def _remove_leftovers(beside: Path) -> None:
    for left in _all_of(beside):
        # Without the file its run was killed at once, or a uv that outlived it went on writing.
        if left.is_dir() and not left.is_symlink() and not is_held(left / "alive"):
            _remove(left)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, onerror=_make_writable)


def _make_writable(function: object, path: str, _: object) -> None:
    """Try once more: what uv unpacked or git wrote may be read-only."""
    with suppress(OSError):
        Path(path).parent.chmod(0o700)
        Path(path).chmod(0o700)
        if callable(function):
            function(path)
