"""When samples were taken: repairs of what logs write, and the period between two samples."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from t2m_bayes.power_logs.clock import Floats

SAME_STAMP: Final = 2
"""From so many samples a whole-second stamp, usually, the stamps are too coarse for the period."""

STEADY: Final = 0.9
"""Share of spacings that must be the median for whole-second stamps to tell the period."""

GAP: Final = 1.5
"""Samples further apart than this many periods have a gap between them."""

GAP_WHOLE: Final = 2.5
"""Likewise where stamps are whole seconds: a period of 1.01 s is now and then 2 s by them."""

DIFFERS: Final = 1.1
"""A given period and the spacing further apart than this factor are worth a word."""


def lived_once(time_s: Floats) -> NDArray[np.bool_]:
    """Return which times a clock showed once.

    Where it is set back it shows a stretch of time twice, and nothing says which pass a reading
    belongs to.

    Args:
        time_s: Times in the order in which they were written. shape: (sample,)
    """
    steps = np.flatnonzero(np.diff(time_s) < 0)
    if not steps.size:
        return np.ones(time_s.shape, dtype=bool)
    first = np.sort(np.concatenate([time_s[:1], time_s[steps + 1]]))
    last = np.sort(np.concatenate([time_s[steps], time_s[-1:]]))
    begun = np.searchsorted(first, time_s, side="right")
    ended = np.searchsorted(last, time_s, side="left")
    return np.asarray(begun - ended == 1)


def whole_seconds(time_s: Floats) -> bool:
    """Return whether times are all in whole seconds."""
    return not np.any(time_s % 1)


def spread(time_s: Floats) -> tuple[Floats, float | None]:
    """Spread samples that share a whole-second stamp over that second.

    tegrastats stamps whole seconds, also with ``--interval 100``. The seconds between the first
    and the last are full, so the samples in them tell the period.

    Args:
        time_s: Rising times. shape: (sample,)

    Returns:
        The times, and the period in seconds; None where stamps are as fine as the samples.
    """
    begins = np.flatnonzero(np.diff(time_s, prepend=-np.inf))
    counts = np.diff(np.append(begins, time_s.size))
    full = counts[1:-1]
    if not whole_seconds(time_s) or not full.size or np.median(full) < SAME_STAMP:
        return time_s, None
    period_s = full.size / full.sum()
    step_s = np.minimum(period_s, 1 / counts)
    # The log begins somewhere in its first second, and its samples are the last ones of it.
    late_s = np.zeros(counts.size)
    late_s[0] = 1 - counts[0] * step_s[0]
    place = np.arange(time_s.size) - np.repeat(begins, counts)
    return time_s + np.repeat(late_s, counts) + place * np.repeat(step_s, counts), float(period_s)


def gaps(time_s: Floats, period_s: float | None, *, whole: bool) -> NDArray[np.int64]:
    """Return the samples after which some are missing.

    Args:
        time_s: Rising times. shape: (sample,)
        period_s: Time between two samples; None where nothing tells it.
        whole: Whether times were written in whole seconds.

    Returns:
        Their positions. shape: (gap,)
    """
    if period_s is None:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.diff(time_s) > (GAP_WHOLE if whole else GAP) * period_s)


def settle_period(time_s: Floats, given_s: float | None) -> tuple[Floats, float | None, str]:
    """Return the times of samples, their period in seconds, and how it was decided.

    Args:
        time_s: Rising times. shape: (sample,)
        given_s: The user's period.
    """
    whole = whole_seconds(time_s)
    time_s, period_s = spread(time_s)
    spacing = np.diff(time_s)
    spacing = spacing[spacing > 0]
    note = "whole-second stamps that several samples share, spread evenly over the second"
    if period_s is None and spacing.size:
        period_s = float(np.median(spacing))
        note = "the median spacing"
        if whole and np.mean(spacing == period_s) < STEADY:
            note += " of whole-second stamps, which varies: --period gives it exactly"
    if period_s is not None:
        period_s = round(period_s, 6)
    if given_s is None:
        if period_s is None:
            return time_s, None, "the period is unknown: --period gives it"
        return time_s, period_s, f"period {period_s:g} s: {note}"
    said = f"period {given_s:g} s as given"
    if period_s and not 1 / DIFFERS < given_s / period_s < DIFFERS:
        said += f", though samples are {period_s:g} s apart"
    return time_s, given_s, said
