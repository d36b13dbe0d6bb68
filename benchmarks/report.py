"""Figures as a table, as JSON, and as the block of a page."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import Series, Spread, ratios
from benchmarks.scenarios import MIB, Bar, Result

_BEGIN = "<!-- figures: written by `python -m benchmarks` -->"
_END = "<!-- end of figures -->"
_HEAD = ("", "wall", "relative", "processor", "memory", "runs")


def table(result: Result) -> str:
    """Return the figures of a scenario as a Markdown table, which reads as text, too."""
    rows = [_HEAD, *map(tuple, _rows(result))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "|".join(["", *("-" * (width + 2) for width in widths), ""]))
    return "\n".join(lines)


def bars(results: Sequence[Result]) -> str:
    """Return what was reached of each bar, as a Markdown list."""
    lines = []
    for result in results:
        for bar in result.bars:
            relation = "at least" if bar.at_least else "at most"
            verdict = "met" if bar.is_met else "**missed**"
            limit = f"{relation} {_figure(bar.limit, bar)}"
            lines.append(
                f"* {result.title}: {bar.text}: {_figure(bar.reached, bar)}, {limit}: {verdict}"
            )
    return "\n".join(lines)


def document(results: Sequence[Result], *, command: str) -> Mapping[str, object]:
    """Return everything as a JSON document. Times are in seconds, memory in bytes."""
    return {
        "command": command,
        "machine": machine(),
        "scenarios": [
            {
                "key": result.key,
                "title": result.title,
                "base": result.base,
                "series": [_series(result, one) for one in result.series],
                "bars": [{**asdict(bar), "met": bar.is_met} for bar in result.bars],
            }
            for result in results
        ],
    }


def machine() -> Mapping[str, str]:
    """Say what the figures were taken on."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": f"{os.cpu_count()} × {cpu[1] if cpu else platform.machine()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "curl": _first_line("curl", "--version"),
        "nginx": _first_line("nginx", "-v"),
        "uv": _first_line("uv", "--version"),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write the JSON document."""
    path.write_text(json.dumps(document, indent=1) + "\n")


def write_block(page: Path, results: Sequence[Result], *, command: str) -> None:
    """Put the figures into *page*, between its two marks."""
    said = machine()
    lines = [
        _BEGIN,
        "",
        (
            f"`{command}`, {said['processor']}, Linux {said['kernel'].partition('-')[0]}, "
            f"Python {said['python']}, {said['uv']}, {said['curl']}; load {said['load']}."
        ),
        "",
        bars(results),
        "",
    ]
    for result in results:
        lines += [f"### {result.title}", "", table(result), "", *_troubles(result)]
    lines.append(_END)
    text = page.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(before + "\n".join(lines) + after)


def _rows(result: Result) -> Iterator[Sequence[str]]:
    base = next(one for one in result.series if one.name == result.base)
    for one in result.series:
        if not one.samples:
            yield (one.name, "failed", "", "", "", "0")
            continue
        spread = ratios(one, base)
        yield (
            one.name,
            _seconds(one.wall),
            _spread(spread, " ×") if spread and one is not base else "",
            f"{one.processor.median:.2f} s",
            f"{one.memory.greatest / MIB:.0f} MiB",
            str(len(one.samples)),
        )


def _troubles(result: Result) -> Iterator[str]:
    for one in result.series:
        if one.trouble:
            yield from (f"`{one.name}` failed: {one.trouble.splitlines()[-1]}", "")


def _seconds(spread: Spread) -> str:
    if spread.greatest < 1:
        return _spread(
            Spread(
                median=spread.median * 1000,
                least=spread.least * 1000,
                greatest=spread.greatest * 1000,
            ),
            " ms",
        )
    return _spread(spread, " s")


def _spread(spread: Spread, unit: str) -> str:
    digits = 0 if unit == " ms" and spread.median >= 10 else 2 if spread.median < 10 else 1
    low, high = f"{spread.least:.{digits}f}", f"{spread.greatest:.{digits}f}"
    return f"{spread.median:.{digits}f}{unit} ({low}–{high})"


def _figure(value: float, bar: Bar) -> str:
    digits = 0 if bar.unit == " MiB" else 2
    return f"{value:.{digits}f}{bar.unit if bar.unit != '×' else ' ×'}"


def _series(result: Result, one: Series) -> Mapping[str, object]:
    if not one.samples:
        return {"name": one.name, "runs": 0, "trouble": one.trouble}
    base = next((other for other in result.series if other.name == result.base), None)
    spread = ratios(one, base) if base else None
    return {
        "name": one.name,
        "runs": len(one.samples),
        "trouble": one.trouble,
        "ratio": asdict(spread) if spread else None,
        "wall": asdict(one.wall),
        "processor": asdict(one.processor),
        "memory": asdict(one.memory),
        "samples": {number: asdict(sample) for number, sample in one.samples.items()},
    }


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "| " + " | ".join(cells) + " |"


def _first_line(*command: str) -> str:
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    line = (said.stdout or said.stderr).splitlines()[0]
    return re.sub(r" \(.*|^nginx version: ", "", line)
