"""A machine that has Python and nothing else, and an index that has what it lacks."""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from tests.distributions import make_wheel
from tests.e2e.bench import Bench, Said
from uv_archive.download.own_wheel import wheel_of

#: The platform of this machine, as old as wheels go.
HERE = f"manylinux_2_17_{platform.machine()}"
#: The same as a wheel of another machine's uv says it.
ELSEWHERE = "win_amd64"


def offer_tools(directory: Path, uv: Path, *, platforms: Sequence[str] = (HERE, ELSEWHERE)) -> str:
    """Put into an index what `--with-tools` takes from one; return uv's version.

    uv's wheel has the real program for this machine, and nothing of use for another.
    """
    said = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True).stdout
    version = said.split()[1]
    for tag in platforms:
        program = uv.read_bytes() if tag == HERE else b"MZ"
        name = f"uv-{version}.data/scripts/{'uv.exe' if tag == ELSEWHERE else 'uv'}"
        make_wheel(directory, "uv", version, tags=f"py3-none-{tag}", files={name: program})
    for name in ("click", "packaging", "tomli_w"):
        module = importlib.import_module(name)
        wheel = wheel_of(metadata.distribution(name), package=Path(str(module.__file__)).parent)
        (directory / wheel.filename.text).write_bytes(wheel.content)
    # The real one is compiled for one Python, and this does the same.
    make_wheel(
        directory,
        "tomli",
        metadata.version("tomli"),
        files={"tomli/__init__.py": b"from tomllib import TOMLDecodeError, load, loads\n"},
    )
    return version


def pythons() -> Mapping[tuple[int, int], Path]:
    """Return interpreters of this machine that work, one of each minor version."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [Path(sys.executable), *sorted(versions.glob("3.*/bin/python"))]
    named = (shutil.which(f"python3.{minor}") for minor in range(8, 30))
    candidates += [Path(path) for path in named if path]
    found: dict[tuple[int, int], Path] = {}
    for path in candidates:
        program = "import sys; print(*sys.version_info[:2])"
        done = subprocess.run([path, "-I", "-c", program], capture_output=True, check=False)
        if done.returncode == 0:
            major, minor = map(int, done.stdout.split())
            found.setdefault((major, minor), path)
    return found


def own_directory(python: Path, directory: Path) -> Path:
    """Make a directory that has one interpreter in it, and nothing else: a search path."""
    said = subprocess.run(
        [python, "-I", "-c", "import json, sys; print(json.dumps(sys.base_prefix))"],
        capture_output=True,
        check=True,
    )
    directory.mkdir(parents=True)
    base = Path(json.loads(said.stdout)) / "bin" / "python3"
    (directory / "python3").symlink_to(base)
    return directory


def run_bare(
    bench: Bench,
    *arguments: str | Path,
    python: Path,
    variables: Mapping[str, str],
    archive: Path | None = None,
    cwd: Path | None = None,
) -> Said:
    """Run the archive's `install.py` without network, with these variables and no others."""
    done = subprocess.run(
        [*bench.offline, python, (archive or bench.archive) / "install.py", *arguments],
        cwd=cwd or bench.root,
        env=dict(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not list(bench.root.glob(".install-uv-archive-*"))
    return Said(status=done.returncode, out=done.stdout, err=done.stderr)
