"""The table of figures in the documentation, made from what the sweeps said last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tests.soak.rows import ROOT, ROWS, Figure

DOCUMENT = ROOT / "docs" / "reference" / "reliability.md"
#: What was said last, for people and programs alike.
FIGURES = ROOT / "docs" / "reference" / "reliability.json"
_BEGIN, _END = "<!-- The table is written by `make soak`. -->\n", "<!-- End of the table. -->\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a sweep said when it was carried out last, how much of it, and how long it took."""

    said: str
    good: bool
    part: int
    seconds: int

    @classmethod
    def of(cls, figure: Figure, *, part: int, seconds: int) -> Kept:
        return cls(said=figure.said, good=figure.good, part=part, seconds=seconds)

    def __str__(self) -> str:
        said = self.said if self.part == 1 else f"1/{self.part} of the count: {self.said}"
        return said if self.good else f"**falls short**: {said}"


def read_kept() -> dict[str, Kept]:
    """Return the figures by the names of rows."""
    if not FIGURES.exists():
        return {}
    document = json.loads(FIGURES.read_text())
    assert isinstance(document, dict)
    names = {row.name for row in ROWS}
    return {name: Kept(**figure) for name, figure in document.items() if name in names}


def write_kept(kept: Mapping[str, Kept]) -> None:
    document = {row.name: asdict(kept[row.name]) for row in ROWS if row.name in kept}
    FIGURES.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def table(kept: Mapping[str, Kept]) -> str:
    """Return the table in Markdown."""
    lines = ["| name | what is done | to reach | last run | took |", "|---|---|---|---|---|"]
    for row in ROWS:
        figure = kept.get(row.name)
        said, took = "not carried out yet", ""
        if figure is not None:
            said = str(figure)
            took = f"{figure.seconds // 60} min {figure.seconds % 60:02} s"
        lines.append(f"| `{row.name}` | {row.what} | {row.reach} | {said} | {took} |")
    return "\n".join([*lines, ""])


def with_table(text: str, kept: Mapping[str, Kept]) -> str:
    """Put the table where the document has its place for it."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert begin
    assert end
    return "".join((before, begin, "\n", table(kept), "\n", end, after))
