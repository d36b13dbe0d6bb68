"""Repositories with a package in them, whose version comes from their tags."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

# An in-tree backend (PEP 517) of the standard library alone. Like setuptools-scm, it counts the
# commits since the last tag; what a submodule brought shows in the wheel.
_BACKEND = """\
import pathlib
import subprocess
import tomllib
import zipfile


def _version():
    command = ["git", "describe", "--tags", "--long"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not said:
        return "0.dev0"
    tag, count, _ = said.rsplit("-", 2)
    return tag.lstrip("v") if count == "0" else tag.lstrip("v") + ".post" + count


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
    version = project.get("version") or _version()
    stem = f"{project['name']}-{version}"
    lines = ["Metadata-Version: 2.2", f"Name: {project['name']}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in project.get("dependencies", [])]
    module = pathlib.Path(project["name"])
    files = {
        path.as_posix(): path.read_text(errors="surrogateescape")
        for path in sorted(module.rglob("*"))
        if path.is_file() and path.name not in (".git", ".gitmodules", ".gitattributes")
    }
    files[f"{stem}.dist-info/METADATA"] = "\\n".join(lines) + "\\n"
    files[f"{stem}.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    )
    names = [*files, f"{stem}.dist-info/RECORD"]
    files[f"{stem}.dist-info/RECORD"] = "".join(f"{name},,\\n" for name in names)
    wheel = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, wheel), "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text.encode(errors="surrogateescape"))
    return wheel
"""
_PYPROJECT = """\
[project]
name = "{name}"
dynamic = ["version"]
requires-python = ">=3.11"

[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A work tree with a history, and the bare repository that it is served from."""

    tree: Path
    bare: Path

    @classmethod
    def create(cls, directory: Path, served: Path, name: str) -> Origin:
        """Make an empty repository `<name>.git` below *served*."""
        origin = cls(tree=directory / name, bare=served / f"{name}.git")
        origin.tree.mkdir(parents=True)
        git("init", "--quiet", "--initial-branch=main", directory=origin.tree)
        git("init", "--quiet", "--bare", "--initial-branch=main", str(origin.bare))
        return origin

    def git(self, *arguments: str) -> str:
        return git(*arguments, directory=self.tree)

    def write(self, path: str, text: str) -> None:
        target = self.tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def package(self, name: str, *, below: str = ".") -> None:
        """Put a package into the tree."""
        self.write(f"{below}/pyproject.toml", _PYPROJECT.format(name=name))
        self.write(f"{below}/backend.py", _BACKEND)
        self.write(f"{below}/{name}/__init__.py", f'NAME = "{name}"\n')

    def large_file(self, path: str, content: bytes) -> str:
        """Put a file into the tree that git LFS keeps; return its name there."""
        if not (self.tree / ".gitattributes").exists():
            self.git("lfs", "install", "--local")
            self.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
        target = self.tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def submodule(self, path: str, url: str, commit: str) -> None:
        """Refer to a commit of the repository at *url*, as written."""
        with (self.tree / ".gitmodules").open("a") as file:
            file.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
        self.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")

    def commit(self, message: str = "change", *, tag: str | None = None) -> str:
        """Commit everything, publish it, and return the commit."""
        # Not `--all`: the trees of submodules aren't there.
        self.git("add", "--ignore-removal", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        if tag:
            self.git("tag", "--annotate", "--message", tag, tag)
        self.publish()
        return self.git("rev-parse", "HEAD").strip()

    def publish(self) -> None:
        # By its URL: git LFS knows no repository by its path.
        self.git("push", "--quiet", "--mirror", self.bare.as_uri())


def git(*arguments: str, directory: Path | None = None) -> str:
    """Run git with nothing of its user's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = {"NAME": "Somebody", "EMAIL": "somebody@mail.example", "DATE": "2020-01-02T03:04:05Z"}
    for name, value in who.items():
        environment |= {f"GIT_AUTHOR_{name}": value, f"GIT_COMMITTER_{name}": value}
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env={**environment, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
