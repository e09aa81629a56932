"""The CSV of jtop's logger: ``time``, ``uptime``, load and temperatures, then power in mW.

Release 4 writes ``Power VDD_CPU_CV`` for each rail and ``Power TOT``; release 3 ``power cur`` and
``power avg``, both of the total. The total is the input rail, where the board has one, and else
the sum of all rails, also of those that others feed. Times are local and name no zone.
"""

from __future__ import annotations

import csv
import re
from typing import Final

from t2m_bayes.power_logs.rails import PART_OF, default_rails
from t2m_bayes.power_logs.recording import Draft, Recording

PREFIX: Final = "Power "
TOTAL: Final = "TOT"
TOTAL_BEFORE_4: Final = "power cur"

THERMAL_ZONES: Final = ("tj", "thermal")
"""Early releases 4 wrote one rail under the name of the last temperature: which, nobody knows."""

WHOLE: Final = re.compile(r"\d+(\.\d+)?")


def is_jtop_header(cells: list[str]) -> bool:
    """Return whether a line of cells is the heading of jtop's CSV."""
    names = {cell.strip() for cell in cells}
    return "time" in names and ("uptime" in names or bool(_power_columns(cells)))


def parse_jtop(draft: Draft) -> Recording:
    """Read the lines of jtop's CSV."""
    lines = draft.numbered()
    header = _cells(next(lines)[1])
    columns = _power_columns(header)
    when = [cell.strip() for cell in header].index("time")
    for number, line in lines:
        cells = _cells(line)
        if cells == header:
            continue
        if len(cells) != len(header):
            draft.reject(number, f"not {len(header)} cells, as the heading has")
            continue
        if number == draft.cut_line and len(header) - 1 in columns.values():
            draft.reject(number, "its last number may be cut")
            continue
        found = {rail: WHOLE.fullmatch(cells[i].strip()) for rail, i in columns.items()}
        watts = {rail: float(match[0]) / 1e3 for rail, match in found.items() if match}
        if not watts:
            draft.reject(number, "no power reading")
            continue
        draft.add(number, cells[when], watts)
    unclear = [name for name in header if name.strip().removeprefix(PREFIX) in THERMAL_ZONES]
    note = f"column {unclear[0]!r} names no rail and is left out" if unclear else ""
    return draft.recording("jtop", _default(draft.usual_rails()), note)


def _cells(line: str) -> list[str]:
    """Return the cells of a line; none of one that is no CSV."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _power_columns(header: list[str]) -> dict[str, int]:
    """Return rail to column."""
    columns = {}
    for i, cell in enumerate(header):
        name = cell.strip()
        rail = name.removeprefix(PREFIX)
        if name == TOTAL_BEFORE_4:
            columns[TOTAL] = i
        elif rail != name and rail not in THERMAL_ZONES:
            columns[rail] = i
    return columns


def _default(found: list[str]) -> tuple[tuple[str, ...], str]:
    rails = [rail for rail in found if rail != TOTAL]
    if TOTAL in found and not any(PART_OF.get(rail) in rails for rail in rails):
        return (TOTAL,), "the total that jtop gives"
    return default_rails(rails)
