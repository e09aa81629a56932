"""What a power log tells of each request.

A window holds the samples from its start up to, but without, its end. Power is their mean, energy
their sum times the period: what a sensor of that period reports of the run. A window in which
samples are missing keeps its power and has no energy; one without a sample has neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from t2m_bayes.errors import DataError
from t2m_bayes.power_logs.clock import Floats, moment_text
from t2m_bayes.power_logs.log import PowerLog
from t2m_bayes.power_logs.windows import row_numbers, rows_text

Bools = NDArray[np.bool_]

KEPT: Final = "they had a reading and keep it"
UNTIMED: Final = "no start, or neither an end nor a duration"
OUTSIDE: Final = "outside of the log"
UNSEEN: Final = "no sample in the window"
ZERO: Final = "the rails read 0 W"


@dataclass(frozen=True)
class Readings:
    """What a log gives each row of a table.

    Attributes:
        window: ``run``, each row has a reading of its own; ``file``, all share the log's mean.
        power_w: Mean power; NaN where there is none. shape: (row,)
        energy_j: Energy, likewise. shape: (row,)
        samples: Samples behind them. shape: (row,)
        without: Reason to the 1-based rows left without a reading of this log.
        incomplete: 1-based rows with samples missing in their window, hence without an energy.
        warnings: Sentences on what limits the trust in the readings.
    """

    window: Literal["run", "file"]
    power_w: Floats
    energy_j: Floats
    samples: NDArray[np.signedinteger[Any]]
    without: dict[str, tuple[int, ...]]
    incomplete: tuple[int, ...]
    warnings: tuple[str, ...]


def file_readings(log: PowerLog, held: Bools) -> Readings:
    """Give each row the mean of the whole log.

    Args:
        log: The log.
        held: Rows that hold a reading already. shape: (row,)

    Raises:
        DataError: The mean is 0 W.
    """
    mean_w = float(log.power_w.mean())
    if not mean_w > 0:
        raise DataError(f"{log.path}: {', '.join(log.rails)} read 0 W throughout")
    warning = (
        "power_w is one mean over the whole log, with whatever idle time it holds: one reading, "
        "however many rows repeat it; it gives no energy_j"
    )
    return Readings(
        window="file",
        power_w=np.where(held, np.nan, mean_w),
        energy_j=np.full(held.size, np.nan),
        samples=np.where(held, 0, len(log)),
        without=_by_reason({KEPT: held}),
        incomplete=(),
        warnings=(warning,),
    )


def run_readings(log: PowerLog, start_s: Floats, end_s: Floats, held: Bools) -> Readings:
    """Give each row the samples of its own window.

    Args:
        log: The log, with times.
        start_s: Start of each row, on the log's clock; NaN without one. shape: (row,)
        end_s: End of each row, likewise. shape: (row,)
        held: Rows that hold a reading already. shape: (row,)

    Raises:
        DataError: Log and requests do not overlap in time.
    """
    timed = ~held & np.isfinite(start_s)
    inside = timed & (end_s > log.time_s[0]) & (start_s <= log.time_s[-1])
    if not inside.any():
        raise DataError(_apart(log, start_s[timed], end_s[timed]))
    first = np.searchsorted(log.time_s, start_s)
    last = np.searchsorted(log.time_s, end_s)
    sum_w = np.array([log.power_w[i:j].sum() for i, j in zip(first, last, strict=True)])
    seen = inside & (last > first)
    given = seen & (sum_w > 0)
    samples = np.where(given, last - first, 0)
    missing_from, missing_to = log.missing_s.T
    before_end = np.searchsorted(missing_from, end_s)
    before_start = np.searchsorted(missing_to, start_s)
    gap = given & (before_end > before_start)
    warnings = []
    if np.any(shared := given & _shared(start_s, end_s)):
        warnings.append(f"{rows_text(shared)}: windows overlap, so samples count more than once")
    if log.period_s is None:
        warnings.append("the period is unknown, so energy_j stays empty: --period gives it")
    if not given.any():
        warnings.append("no row has a reading")
    return Readings(
        window="run",
        power_w=np.where(given, sum_w / np.maximum(samples, 1), np.nan),
        energy_j=np.where(given & ~gap, sum_w * (log.period_s or np.nan), np.nan),
        samples=samples,
        without=_by_reason(
            {
                KEPT: held,
                UNTIMED: ~held & ~timed,
                OUTSIDE: timed & ~inside,
                UNSEEN: inside & ~seen,
                ZERO: seen & ~given,
            }
        ),
        incomplete=row_numbers(gap),
        warnings=tuple(warnings),
    )


def _by_reason(rows: dict[str, Bools]) -> dict[str, tuple[int, ...]]:
    """Return reason to 1-based rows, for those reasons that there are."""
    return {reason: row_numbers(where) for reason, where in rows.items() if where.any()}


def _shared(start_s: Floats, end_s: Floats) -> Bools:
    """Return which windows overlap another; those without times do not.

    shape: (row,)
    """
    starts, ends = (np.sort(times[np.isfinite(times)]) for times in (start_s, end_s))
    begun = np.searchsorted(starts, end_s)
    ended = np.searchsorted(ends, start_s, side="right")
    # Windows begun before this one's end and not ended by its start: itself, and the others.
    return np.isfinite(start_s) & (begun - ended > 1)


def _apart(log: PowerLog, start_s: Floats, end_s: Floats) -> str:
    """Return the message that log and requests do not overlap, with both their ranges."""
    if not start_s.size:
        return "no row without a reading has a time"
    zone = "UTC" if log.clock == "utc" else "in no zone that is named"
    shift_s = float(start_s.min() - log.time_s[0])
    ranges = ((log.time_s[0], log.time_s[-1]), (start_s.min(), end_s.max()))
    ran, asked = (f"{moment_text(float(a))} to {moment_text(float(b))} {zone}" for a, b in ranges)
    return (
        f"{log.path}: the log and the requests do not overlap in time.\n"
        f"  log:      {ran}\n"
        f"  requests: {asked}\n"
        f"  The requests begin {abs(shift_s) / 3600:.4g} h {'after' if shift_s > 0 else 'before'} "
        "the log does. If a time zone is to blame, name that of times without one with "
        f"--time-zone; if a clock was off, --clock-offset adds to the log's times "
        f"(here {shift_s:.0f} s would align the beginnings)."
    )
