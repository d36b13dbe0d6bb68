"""`python -m benchmarks [--quick]`, as root: measure, print, and write what the page shows."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks import plot, report, scenarios
from benchmarks.contestants import ASIDE, Field, install_peers
from benchmarks.scenarios import Bench, Result
from benchmarks.server import serving

_ROOT = Path(__file__).parent.parent
_REFERENCE = _ROOT / "docs" / "reference"
_NEEDED = ("nginx", "curl", "aria2c", "openssl", "ip", "tc")
_SCENARIOS: Mapping[str, Callable[[Bench], Result | Iterable[Result]]] = {
    "start": scenarios.start,
    "scientific": scenarios.scientific,
    "large": scenarios.large,
    "again": scenarios.nothing_to_do,
    "one": scenarios.one_file,
    "slow": scenarios.slow,
    "install": scenarios.installs,
    "growth": scenarios.growth,
}


def main() -> int:
    """Measure what was asked for. Without `--only` the page and its plots are written anew."""
    options = _options()
    missing = [one for one in _NEEDED if shutil.which(one) is None]
    if missing or os.geteuid() != 0:
        lacking = ", ".join(missing) or "root's rights, for network namespaces"
        sys.stderr.write(f"needed: {lacking}\n")
        return 2
    # So that the server and its namespaces go, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    results = list(_results(options))
    # Where files are put is this machine's business.
    named = (["--quick"] if options.quick else []) + [f"--only {one}" for one in options.only or ()]
    command = " ".join(["python -m benchmarks", *named])
    for result in results:
        sys.stdout.write(f"\n{result.title}\n\n{report.table(result)}\n")
    sys.stdout.write(f"\n{report.bars(results)}\n")
    directory: Path = options.output
    directory.mkdir(parents=True, exist_ok=True)
    report.write_json(directory / "performance.json", report.document(results, command=command))
    if not options.only:
        (directory / "performance.svg").write_text(plot.download_plot(results))
        (directory / "performance-growth.svg").write_text(plot.growth_plot(results))
        if (directory / "performance.md").is_file():
            report.write_block(directory / "performance.md", results, command=command)
    sys.stderr.write(f"{time.monotonic() - started:.0f} s in all\n")
    return 0


def _results(options: argparse.Namespace) -> Iterable[Result]:
    work: Path = options.work.absolute()
    (work / "home").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / ASIDE, ignore_errors=True)
    install_peers(work / "peers")
    with serving(work / "corpora", directory=work / "server") as server:
        field = Field(work=work, peers=work / "peers", server=server, within=server.inside)
        bench = Bench(
            field=field, corpora=work / "corpora", quick=options.quick, log=_log(time.monotonic())
        )
        for name, measure in _SCENARIOS.items():
            if options.only and name not in options.only:
                continue
            found = measure(bench)
            yield from [found] if isinstance(found, Result) else found


def _log(started: float) -> Callable[[str], object]:
    def log(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - started:6.0f} s  {line}\n")

    return log


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: four minutes")
    parser.add_argument(
        "--only", action="append", choices=_SCENARIOS, help="one scenario. Repeatable"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=_ROOT / "build" / "benchmarks",
        help="where files are made and fetched to, 10 GB  [default: build/benchmarks]",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_REFERENCE,
        help="where the JSON and the plots go  [default: docs/reference]",
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
