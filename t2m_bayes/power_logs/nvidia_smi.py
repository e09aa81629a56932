"""The CSV of ``nvidia-smi --query-gpu=timestamp,index,power.draw --format=csv``.

One line a GPU and sample. Times are local, ``YYYY/MM/DD HH:MM:SS.fff``; power is in W with two
decimals, with the unit in the cell unless ``nounits`` is given; what a GPU cannot tell is
``[N/A]`` or ``[Not Supported]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from t2m_bayes.errors import DataError
from t2m_bayes.power_logs.clock import as_stamps
from t2m_bayes.power_logs.recording import Draft, Recording

POWER: Final = {
    "power.draw": "",
    "power.draw.instant": ".instant",
    "power.draw.average": ".average",
}
"""Query to what its rail is called after the GPU's name; the first that a log has is summed."""

IDENTITY: Final = ("index", "uuid", "gpu_uuid", "pci.bus_id", "gpu_bus_id")
"""Queries that tell GPUs apart."""

TIME: Final = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(\.\d+)?")
WATTS: Final = re.compile(r"(\d+(?:\.\d+)?)(?: W)?")
COMPLETE: Final = re.compile(r"\d+\.\d\d(?: W)?")
"""Power as nvidia-smi writes it; one digit fewer, and it is cut."""

BURST: Final = 0.1
"""Share of the usual spacing below which two lines belong to one sample of several GPUs."""


@dataclass(frozen=True)
class Columns:
    """Where things stand in a line.

    Attributes:
        power: What follows the GPU in a rail's name, to the column.
        count: Cells a line has.
        time: Column of the time; None without one.
        identity: Column that tells GPUs apart; None without one.
    """

    power: dict[str, int]
    count: int
    time: int | None
    identity: int | None


def is_nvidia_smi(cells: list[str]) -> bool:
    """Return whether a line of cells begins an nvidia-smi log."""
    names = [cell.strip() for cell in cells]
    if any(name.startswith("power.draw") or TIME.fullmatch(name) for name in names):
        return True
    return "timestamp" in names and any("." in name for name in names)


def parse_nvidia_smi(draft: Draft) -> Recording:
    """Read the lines of an nvidia-smi log.

    Raises:
        DataError: There are no headings, or GPUs cannot be told apart.
    """
    rows = [(number, [c.strip() for c in line.split(",")]) for number, line in draft.numbered()]
    first = rows[0][1]
    if any(TIME.fullmatch(cell) for cell in first):
        raise DataError(
            f"a log of nvidia-smi without headings, beginning with {', '.join(first)!r}: put what "
            "was given to --query-gpu before it as a line, such as timestamp,index,power.draw"
        )
    columns = _columns(first)
    readable = []
    for number, cells in rows:
        if cells == first:
            continue
        if (reason := _fault(cells, columns, cut=number == draft.cut_line)) is not None:
            draft.reject(number, reason)
        else:
            readable.append((number, cells))
    for line, stamp, watts in _samples(readable, columns):
        if watts:
            draft.add(line, stamp, watts)
        else:
            draft.reject(line, "no power reading")
    if columns.identity is None:
        _check_one_gpu(draft.stamps)
    suffix = next(iter(columns.power), "")
    rails = [rail for rail in draft.usual_rails() if "".join(rail.partition(".")[1:]) == suffix]
    why = "all GPUs in the log" if len(rails) > 1 else "the GPU in the log"
    return draft.recording("nvidia-smi", (tuple(rails), why))


def _samples(
    rows: list[tuple[int, list[str]]], columns: Columns
) -> list[tuple[int, str, dict[str, float]]]:
    """Return the first line, time and powers of each sample, of one line a GPU."""
    gpus: dict[str, int] = {}
    samples: list[tuple[int, str, dict[str, float]]] = []
    before = -1
    for number, cells in rows:
        name = "0" if columns.identity is None else cells[columns.identity]
        order = gpus.setdefault(name, len(gpus))
        if order <= before or not samples:
            stamp = "" if columns.time is None else cells[columns.time]
            samples.append((number, stamp, {}))
        label = name if name.isdigit() else str(order)
        for suffix, i in columns.power.items():
            if match := WATTS.fullmatch(cells[i]):
                samples[-1][2][f"gpu{label}{suffix}"] = float(match[1])
        before = order
    return samples


def _fault(cells: list[str], columns: Columns, *, cut: bool) -> str | None:
    """Return why a line cannot be read, if it cannot."""
    if len(cells) != columns.count:
        return f"not {columns.count} cells"
    if columns.time is not None and not TIME.fullmatch(cells[columns.time]):
        return "no time"
    ends_in_power = columns.count - 1 in columns.power.values()
    if cut and ends_in_power and not COMPLETE.fullmatch(cells[-1]):
        return "its last number may be cut"
    return None


def _columns(header: list[str]) -> Columns:
    names = [re.sub(r" \[.*\]$", "", cell).lower() for cell in header]
    return Columns(
        power={suffix: names.index(query) for query, suffix in POWER.items() if query in names},
        count=len(header),
        time=names.index("timestamp") if "timestamp" in names else None,
        identity=next((names.index(query) for query in IDENTITY if query in names), None),
    )


def _check_one_gpu(stamps: list[tuple[float, float]]) -> None:
    """Refuse a log of several GPUs that does not say which line is whose."""
    spacing = np.diff(as_stamps(stamps).wall_s)
    spacing = spacing[np.isfinite(spacing)]
    if spacing.size and np.mean(spacing < BURST * np.quantile(spacing, 0.9)) > 0.2:
        raise DataError(
            "a log of nvidia-smi where several lines share a time, so of several GPUs, without a "
            f"column that tells them apart: query one of {', '.join(IDENTITY)} as well"
        )
