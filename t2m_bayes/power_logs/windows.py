"""When requests ran: the windows over which their power is averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from t2m_bayes.errors import DataError
from t2m_bayes.power_logs.clock import Floats, Stamps, as_stamps, parse_stamp, utc_seconds

START: Final = "start"
END: Final = "end"
TOTAL: Final = "total_s"

MISSING: Final = ("nan", "nat", "none", "null", "na", "<na>")
"""What programs write for a time they do not have, beside nothing."""

NUMBERS_SHOWN: Final = 8
"""Rows, lines and gaps listed; programs get all of them."""


@dataclass(frozen=True)
class Windows:
    """Times of requests as their table gives them.

    Attributes:
        stamps: Start and end of each row, one after the other. shape: (2 * row,)
        total_s: Duration of each, where the row gives it; it counts where the end is missing.
            shape: (row,)
    """

    stamps: Stamps
    total_s: Floats

    def seconds(self, zone: tzinfo | None) -> tuple[Floats, Floats]:
        """Return start and end of each row, in seconds since 1970; NaN where it has none.

        Args:
            zone: Zone of times that name none; without one they count as if they were UTC.

        Raises:
            DataError: A row ends before it starts.
        """
        start_s, end_s = utc_seconds(self.stamps, zone).reshape(-1, 2).T
        end_s = np.where(np.isfinite(end_s), end_s, start_s + self.total_s)
        start_s = np.where(np.isfinite(end_s), start_s, np.nan)
        if np.any(wrong := end_s <= start_s):
            raise DataError(f"{rows_text(wrong)}: the request does not end after it starts")
        return start_s, end_s


def read_windows(table: pd.DataFrame) -> Windows:
    """Return when each row of a table ran.

    Args:
        table: Requests with ``start``, and ``end`` or ``total_s``. Times are ISO 8601 or seconds
            since 1970.

    Raises:
        DataError: No row has a start, none an end or duration, or a cell cannot be read.
    """
    start, end, total = (_texts(table, name) for name in (START, END, TOTAL))
    lacks = [] if start.ne("").any() else [START]
    lacks += [] if (end.ne("") | total.ne("")).any() else [f"{END} or {TOTAL} (in seconds)"]
    if lacks:
        raise DataError(
            f"the requests do not say when they ran: no {', and no '.join(lacks)}; found: "
            f"{', '.join(map(str, table))}. Add it, or give every request the mean of the whole "
            "log with --whole-file"
        )
    both = np.column_stack([start, end]).ravel()
    stamps = as_stamps([parse_stamp(text) for text in both])
    unread = np.isnan(stamps.wall_s) & (both != "")
    total_s = pd.to_numeric(total, errors="coerce").to_numpy(dtype=float)
    faults = [
        f"column {name}, {rows_text(wrong)}: {what}; found {cells[wrong].iloc[0]!r}"
        for name, cells, wrong, what in (
            (START, start, unread[0::2], "no time with a date"),
            (END, end, unread[1::2], "no time with a date"),
            (TOTAL, total, total.ne("").to_numpy() & ~(total_s > 0), "no number above 0"),
        )
        if wrong.any()
    ]
    if faults:
        raise DataError("\n  ".join(["times that cannot be read", *faults]))
    return Windows(stamps, total_s)


def row_numbers(where: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the 1-based numbers of rows."""
    return tuple((np.flatnonzero(where) + 1).tolist())


def numbered(what: str, numbers: Sequence[int]) -> str:
    """Return numbers of rows or lines as text, the first of them where there are many."""
    shown = ", ".join(map(str, numbers[:NUMBERS_SHOWN]))
    more = f" and {len(numbers) - NUMBERS_SHOWN} more" if len(numbers) > NUMBERS_SHOWN else ""
    return f"{what}{'s' if len(numbers) > 1 else ''} {shown}{more}"


def rows_text(where: NDArray[np.bool_]) -> str:
    """Return which rows are meant."""
    return numbered("data row", row_numbers(where))


def _texts(table: pd.DataFrame, name: str) -> pd.Series[str]:
    """Return a column as trimmed text, empty where the table has none."""
    if name not in table:
        return pd.Series("", table.index, dtype=object)
    texts = table[name].astype(object).astype(str).str.strip()
    return texts.mask(texts.str.casefold().isin(MISSING), "").astype(object)
