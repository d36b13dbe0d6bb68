"""Two plots as SVG, written by hand: how long downloads take, and how they grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from benchmarks.contestants import CURL, OURS
from benchmarks.measure import Series, Spread, ratios
from benchmarks.scenarios import MIB, Result

_WIDTH = 760
_LEFT, _RIGHT = 190, 90
_ROW = 20
_COLOURS = {OURS: "#2f6fde", CURL: "#8a8f98"}
_OTHER = "#c9ced6"
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'

_GROWING: Sequence[tuple[str, Callable[[Series], float]]] = (
    ("wall time, s", lambda one: one.wall.median),
    ("memory, MiB", lambda one: one.memory.median / MIB),
)


def download_plot(results: Sequence[Result]) -> str:
    """Draw wall times relative to curl, a bar a program, on a logarithmic scale."""
    groups = [result for result in results if result.key in ("scientific", "large", "one", "slow")]
    greatest = max(ratio.greatest for result in groups for _, ratio in _ratios(result))
    scale = _Log(least=0.5, greatest=greatest * 1.1, start=_LEFT, end=_WIDTH - _RIGHT)
    parts, y = [], 34
    for result in groups:
        parts.append(_text(8, y, result.title, weight="600"))
        y += _ROW
        for series, ratio in _ratios(result):
            parts += _bar(series, ratio, scale, y)
            y += _ROW
        y += 10
    ticks = [one for one in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if one <= greatest * 1.1]
    lines = [_rule(scale.at(tick), 24, y - 10, strong=tick == 1) for tick in ticks]
    labels = [_text(scale.at(tick), 16, f"{tick:g} ×", anchor="middle") for tick in ticks]
    return _svg("Wall time relative to curl", y, [*lines, *labels, *parts])


def growth_plot(results: Sequence[Result]) -> str:
    """Draw time and memory over the number of files, both axes logarithmic."""
    grown = [result for result in results if result.number]
    numbers = [result.number for result in grown]
    across = _Log(least=numbers[0], greatest=numbers[-1], start=70, end=_WIDTH - 110)
    parts: list[str] = []
    height = 0
    for title, of in _GROWING:
        figures = {
            name: [(r.number, of(one)) for r in grown for one in r.series if one.name == name]
            for name in (OURS, CURL)
        }
        values = [value for points in figures.values() for _, value in points]
        up = _Log(least=min(values) / 1.3, greatest=max(values) * 1.3,
                  start=height + 210, end=height + 40)  # fmt: skip
        parts.append(_text(8, height + 24, title, weight="600"))
        parts += _axes(across, up, numbers, height)
        for name, points in figures.items():
            parts += _curve(name, points, across, up)
        height += 250
    return _svg("Time and memory over the number of files", height, parts)


class _Log:
    """A logarithmic axis from *start* to *end*, in pixels."""

    def __init__(self, *, least: float, greatest: float, start: float, end: float) -> None:
        self._least, self._greatest = math.log(least), math.log(greatest)
        self.start, self.end = start, end

    def at(self, value: float) -> float:
        part = (math.log(value) - self._least) / (self._greatest - self._least)
        return self.start + part * (self.end - self.start)

    def holds(self, value: float) -> bool:
        return self._least <= math.log(value) <= self._greatest


def _ratios(result: Result) -> Iterator[tuple[Series, Spread]]:
    base = next(one for one in result.series if one.name == result.base)
    for one in result.series:
        ratio = ratios(one, base)
        if ratio is not None:
            yield one, ratio


def _bar(series: Series, ratio: Spread, scale: _Log, y: float) -> Iterator[str]:
    end, start = scale.at(ratio.median), scale.start
    colour = _COLOURS.get(series.name, _OTHER)
    yield _text(_LEFT - 8, y, series.name, anchor="end")
    yield f'<rect x="{start}" y="{y - 11}" width="{end - start:.1f}" height="13" fill="{colour}"/>'
    low, high = scale.at(ratio.least), scale.at(ratio.greatest)
    yield f'<path d="M{low:.1f} {y - 4.5}H{high:.1f}" stroke="#222" stroke-width="1.2"/>'
    yield _text(high + 6, y, f"{ratio.median:.2f} ×, {series.wall.median:.2f} s")


def _axes(across: _Log, up: _Log, numbers: Sequence[int], top: float) -> Iterator[str]:
    for number in numbers:
        yield _rule(across.at(number), top + 36, top + 214)
        yield _text(across.at(number), top + 230, f"{number:,}", anchor="middle")
    for power in range(-2, 5):
        for digit in (1, 2, 5):
            value = digit * 10.0**power
            if up.holds(value):
                y = up.at(value)
                path = f"M{across.start} {y:.1f}H{across.end}"
                yield f'<path d="{path}" stroke="#d5d9df" stroke-width="0.7"/>'
                yield _text(across.start - 8, y + 4, f"{value:g}", anchor="end")


def _curve(name: str, points: Sequence[tuple[int, float]], across: _Log, up: _Log) -> Iterator[str]:
    placed = [(across.at(number), up.at(value)) for number, value in points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
    colour = _COLOURS[name]
    yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed)
    yield _text(placed[-1][0] + 8, placed[-1][1] + 4, name.partition(" ")[0])


def _rule(x: float, top: float, bottom: float, *, strong: bool = False) -> str:
    colour = "#6b7280" if strong else "#d5d9df"
    return f'<path d="M{x:.1f} {top}V{bottom}" stroke="{colour}" stroke-width="0.7"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="#1f2328">{escape(text)}</text>'
    )


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'role="img" {_FONT}>'
    )
    ground = f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, *parts, "</svg>"]) + "\n"
