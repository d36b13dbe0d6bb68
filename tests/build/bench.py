"""`python -m tests.build.bench`: beside `pip wheel`, over the index that pip and uv are set up for.

Each way starts without a cache, builds the same sdists from source for the same Python, and leaves
a directory of wheels. Prints a table of times and of what each leaves behind.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

#: Backends of all sorts; the third and the fourth have a C extension.
FROM_SOURCE = (
    "docopt==0.6.2", "antlr4-python3-runtime==4.9.3", "markupsafe==3.0.2", "simplejson==3.20.1",
    "httpx==0.28.1", "packaging==25.0", "rich==14.0.0", "findpython==0.6.3", "pluggy==1.5.0",
)  # fmt: skip
ROUNDS = 3
_PROJECT = """\
[project]
name = "bench"
version = "1.0"
requires-python = ">=3.11"
dependencies = {dependencies}
[tool.uv]
package = false
"""


def main() -> None:
    """Lock, take turns, print."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        root = Path(directory)
        names = [text.partition("=")[0] for text in FROM_SOURCE]
        text = _PROJECT.format(dependencies=json.dumps(FROM_SOURCE))
        (root / "pyproject.toml").write_text(text)
        _run(root, "uv", "lock", "--python", sys.executable)
        exported = ("uv", "export", "--frozen", "--no-header", "--output-file", "requirements.txt")
        _run(root, *exported)
        _forget_wheels(root / "uv.lock", names)
        ways = {
            "`uv-archive download --build --no-sdists`": (
                *(sys.executable, "-m", "uv_archive", "download", "--build", "--no-sdists"),
                *("--frozen", "--python", sys.executable, "--out-dir", "left"),
            ),
            "`pip wheel --require-hashes`": (
                *(sys.executable, "-m", "pip", "wheel", "--no-cache-dir", "--require-hashes"),
                *("--no-binary", ",".join(names), "-r", "requirements.txt", "-w", "left"),
            ),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        left: dict[str, Path] = {}
        for number in range(ROUNDS):
            for position, (way, command) in enumerate(ways.items()):
                taken[way].append(_run(root, *command))
                left[way] = root / f"left-{number}-{position}"
                (root / "left").rename(left[way])
        print("| | seconds | wheels | sdists | sha256 of what was left | built with |")
        print("|---|---|---|---|---|---|")
        for way, times in taken.items():
            print(f"| {way} | {_spread(times)} | {_described(left[way])} |")


def _forget_wheels(lock: Path, names: Sequence[str]) -> None:
    """Leave only the sdists of *names* in a lock: a setting against wheels forbids built ones."""
    first, *packages = lock.read_text().split("[[package]]\n")
    for position, text in enumerate(packages):
        if json.loads(text.partition("name = ")[2].partition("\n")[0]) in names:
            packages[position] = re.sub(
                r"^wheels = \[.*?^\]\n", "", text, flags=re.MULTILINE | re.DOTALL
            )
    lock.write_text("[[package]]\n".join([first, *packages]))


def _run(root: Path, *command: str) -> float:
    """Run a command to its end, without uv's cache, and return how long it took."""
    environment = {**os.environ, "UV_NO_CACHE": "1", "XDG_CACHE_HOME": str(root / "cache")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    began = time.monotonic()
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return time.monotonic() - began


def _spread(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.1f} ({min(times):.1f}-{max(times):.1f})"


def _described(directory: Path) -> str:
    wheels = list(directory.rglob("*.whl"))
    sdists = list(directory.rglob("*.tar.gz"))
    manifest = directory / "uv-archive.json"
    recorded, built = "none", "not said"
    if manifest.is_file():
        files = json.loads(manifest.read_bytes())["files"]
        recorded = f"{sum(path.name in {Path(p).name for p in files} for path in wheels)} of them"
        whys = [why for one in files.values() for why in one.get("why", ())]
        known = sum("by" in why for why in whys)
        built = f"said of {known} by file and sha256"
    return f"{len(wheels)} | {len(sdists)} | {recorded} | {built}"


if __name__ == "__main__":
    main()
