"""Measure syncs against plain uv over the same relocated lock, and print the figures.

As a program: `python -m tests.sync.bench PROJECT ARCHIVE SCRATCH [ROUNDS]`, with a locked project,
its archive, and a directory to work in. In turn, each from an empty cache:

* plain `uv sync` over a relocated lock made beforehand, and `sha256sum` on all cores over the
  wheels that it installs;
* `uv-archive sync`, process start, checks and removal of its cache included;
* `uv-archive sync` again, with nothing to do.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from uv_archive.lock import read_lock
from uv_archive.lock.relocate import relocate
from uv_archive.project import find_project
from uv_archive.scratch import write_scratch
from uv_archive.settings import read_settings
from uv_archive.sync.supply import open_supply
from uv_archive.uv import find_uv

CLOSED = ("--frozen", "--offline", "--no-index")


def main() -> int:
    project, archive, scratch = (Path(one).absolute() for one in sys.argv[1:4])
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    copy = scratch / "project"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(
        project, copy, ignore=shutil.ignore_patterns(".venv", "dist", "dist[0-9]", ".uv-archive*")
    )
    plain, wheels = _plain(copy, archive, scratch / "plain")
    ours = [sys.executable, "-m", "uv_archive", "sync", "-q", "--dist-archive", str(archive)]
    taken: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": [], "nothing": []}

    def run_plain() -> None:
        _run(plain, copy, scratch / "cache")
        _hash(wheels)

    for _ in range(rounds):
        _fresh(copy, scratch)
        taken["plain"].append(_measured(run_plain))
        _fresh(copy, scratch)
        taken["ours"].append(_measured(lambda: _run(ours, copy, scratch / "none")))
        taken["nothing"].append(_measured(lambda: _run(ours, copy, scratch / "none")))
    for name, times in taken.items():
        wall, processor = (sorted(column) for column in zip(*times, strict=True))
        print(
            f"{name:8} wall median {statistics.median(wall):.2f} s (min {wall[0]:.2f}), "
            f"processor median {statistics.median(processor):.2f} s (min {processor[0]:.2f})"
        )
    ratios = [
        ours / plain for (ours, _), (plain, _) in zip(taken["ours"], taken["plain"], strict=True)
    ]
    print(f"ours / plain: {statistics.median(ratios):.2f}, {len(wheels)} wheels, {rounds} rounds")
    return 0


def _plain(project: Path, archive: Path, directory: Path) -> tuple[Sequence[str], Sequence[Path]]:
    """Return the command of a plain sync over a relocated lock, and the wheels it installs."""
    found = find_project(project)
    lock = read_lock(found.lock_path)
    supply = open_supply(archive, lock=lock, project=found)
    supplied = {
        (package.position, one.name): one
        for package in lock.packages
        for distribution in package.distributions
        if (one := supply.of(distribution))
    }
    directory.mkdir(parents=True)
    scratch = write_scratch(
        found,
        lock=relocate(
            lock,
            files={key: one.path for key, one in supplied.items()},
            project_root=found.root,
        ),
        directory=directory,
        settings=read_settings(found.root, {}).options,
    )
    uv = str(find_uv(os.environ).executable)
    command = [uv, "sync", "-q", *scratch.arguments(), *CLOSED, "--find-links", str(archive)]
    return command, [one.path for one in supplied.values() if one.path.suffix == ".whl"]


def _fresh(project: Path, scratch: Path) -> None:
    shutil.rmtree(project / ".venv", ignore_errors=True)
    shutil.rmtree(scratch / "cache", ignore_errors=True)
    os.sync()


def _measured(work: Callable[[], object]) -> tuple[float, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    taken, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run(command: Sequence[str], project: Path, cache: Path) -> None:
    environment = {
        **{k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"},
        "UV_PROJECT_ENVIRONMENT": str(project / ".venv"),
        "UV_CACHE_DIR": str(cache),
    }
    subprocess.run(command, cwd=project, env=environment, check=True, stderr=subprocess.DEVNULL)


def _hash(paths: Sequence[Path]) -> None:
    names = "\0".join(map(str, paths)).encode()
    command = ["xargs", "-0", "-n", "8", "-P", str(os.cpu_count() or 1), "sha256sum"]
    subprocess.run(command, input=names, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    raise SystemExit(main())
