"""Every sweep at its full count: `python -m tests.soak [--only NAME]... [--keep]`.

Prints a table of figures as it goes on, and puts it into `docs/reference/reliability.md`, unless
`--keep` says to leave that as it is. Fails where a figure isn't reached, and, where CI is set,
where a program is missing. `UV_ARCHIVE_SOAK_PART=10` carries out a tenth, where a row has so many.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time

from tests.soak.rows import PART, ROWS, Figure, Row, carry_out
from tests.soak.table import DOCUMENT, Kept, read_kept, with_table, write_kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", choices=names, help="this row. Repeatable")
    parser.add_argument("--keep", action="store_true", help="leave the documentation as it is")
    asked = parser.parse_args()
    failed = [
        row.name for row in ROWS if row.name in (asked.only or names) and not _did(row, asked)
    ]
    print(f"Figures that weren't reached: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _did(row: Row, asked: argparse.Namespace) -> bool:
    missing = [name for name in row.needs if shutil.which(name) is None]
    if missing:
        print(f"{row.name}: left out, since {', '.join(missing)} isn't installed", flush=True)
        return not os.environ.get("CI")
    began = time.monotonic()
    figure = carry_out(row)
    seconds = round(time.monotonic() - began)
    _show(row, figure, seconds)
    if not asked.keep:
        kept = read_kept() | {row.name: Kept.of(figure, part=PART, seconds=seconds)}
        write_kept(kept)
        DOCUMENT.write_text(with_table(DOCUMENT.read_text(), kept))
    return figure.good


def _show(row: Row, figure: Figure, seconds: int) -> None:
    for text in figure.wrong[:20]:
        print(text, file=sys.stderr)
    verdict = "reached" if figure.good else "NOT REACHED"
    print(f"| {row.name} | {figure.said} | {verdict} | {seconds} s |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
