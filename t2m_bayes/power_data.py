"""From power readings to the arrays of the power model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.blocks import block_data
from t2m_bayes.formulas import REFERENCE_CONTEXT, context_tokens
from t2m_bayes.pace import mean_error, usual_decode_s
from t2m_bayes.power_design import DECODE, PREFILL
from t2m_bayes.sensor import IDLE_SAMPLES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from t2m_bayes.power_design import PowerReadings

    Floats = NDArray[np.floating[Any]]
    Ints = NDArray[np.integer[Any]]

AROUND: Final = (-1, 0, 1)
"""Whole samples of a phase, about the number its time has room for."""

MANY_SAMPLES: Final = 20
"""Busy samples of a slow sensor's window whose relative error outweighs the absolute one."""

SETTLED_S: Final = 0.5
"""Length of a phase in which a fast sensor gets near its power: three usual lags, in seconds."""

NEVER_S: Final = 1e-6
"""Length given to a phase that a run does not have, in seconds; its share is zero."""


def power_data(readings: PowerReadings, series_cell: Ints, cells: int) -> dict[str, NDArray[Any]]:
    """Return the values of the power model's ``pm.Data``.

    A phase that a series' windows hardly show (``window_loose``) has no level of its own there.

    Args:
        readings: The readings.
        series_cell: Cell of each series. shape: (series,)
        cells: Number of cells.
    """
    busy = (readings.busy(series_cell.size) > 0).astype(float)
    cell = np.zeros((cells, 2))
    np.maximum.at(cell, series_cell, busy)
    n = series_cell.size

    def read(*kinds: str) -> Floats:
        counts = np.bincount(readings.series[readings.kind(*kinds)], minlength=n)
        return (counts > 0).astype(float)

    prefill_s = known_prefill(readings, series_cell)
    pace, pace_error = decode_pace(readings, n)
    means = readings.kind("mean")
    weight = np.where(readings.part == PREFILL, 0.0, readings.decode_s)
    context = np.log(known_context(readings) / REFERENCE_CONTEXT)
    return {
        "cell_read_power": cell,
        "series_log_context": np.bincount(readings.series, weight * context, n)
        / np.maximum(np.bincount(readings.series, weight, n), NEVER_S),
        "cell_read_context": np.minimum(
            np.bincount(series_cell, read("window", "phase") * busy[:, DECODE], cells), 1.0
        ),
        "series_pace_error": pace_error,
        "series_pins_power": pins_power(readings, n),
        "series_read_idle": (readings.idle(n) > 0).astype(float),
        "series_read_window": read("window"),
        "series_read_sensor": read("window", "phase", "mean"),
        "series_samples": usual_samples(readings, prefill_s, n),
        **_window_data(readings, prefill_s, pace, n),
        **_lagged_data(readings, pace, n),
        **_mean_data(readings.take(means), pace[means]),
    }


def pins_power(readings: PowerReadings, n_series: int) -> Floats:
    """Return 1 where a series' readings pin the power of a phase closer than its cell does, else 0.

    Of phases that a fast sensor's lag outlasts, readings show power over lag: both are open, and a
    level sampled for itself would drag its cell's along. shape: (series, 2)

    Args:
        readings: The readings.
        n_series: Number of series.
    """
    longest = np.zeros((n_series, 2))
    seconds = np.stack([np.nan_to_num(readings.prefill_s), readings.decode_s], axis=1)
    np.maximum.at(longest, readings.series, seconds)
    others = np.bincount(readings.series[~readings.kind("phase")], minlength=n_series) > 0
    settled = others[:, None] | (longest >= SETTLED_S)
    return ((readings.busy(n_series) > 0) & settled).astype(float)


def known_prompts(readings: PowerReadings) -> Floats:
    """Return each run's prompt length; where it is unrecorded, the usual one. shape: (entry,).

    Args:
        readings: The readings.
    """
    prompts = readings.input_tokens
    known = prompts[np.isfinite(prompts)]
    usual = np.median(known) if known.size else REFERENCE_CONTEXT
    return np.where(np.isfinite(prompts), prompts, usual)


def known_context(readings: PowerReadings) -> Floats:
    """Return each run's mean context; where its prompt is unrecorded, as if it was the usual one.

    Power hardly changes with the context, so that a factor of two is a fraction of a per cent.
    shape: (entry,)

    Args:
        readings: The readings.
    """
    return np.asarray(context_tokens(known_prompts(readings), readings.output_tokens))


def decode_pace(readings: PowerReadings, n_series: int) -> tuple[Floats, Floats]:
    """Return the pace of each run's decode, and how well each series' mean pace is known.

    Runs count as done in the order of their rows. What is usual in a block of repeats is their own
    median: how far its time is off the line says nothing of its power, and would be taken for lag.

    Args:
        readings: The readings.
        n_series: Number of series.

    Returns:
        Usual time over time, 1 where there is no decode; and the standard error of the log of its
        mean over a series. shapes: (entry,), (series,)
    """
    pace, error = np.ones_like(readings.decode_s), np.zeros(n_series)
    prompts, outputs = known_prompts(readings), readings.output_tokens
    decodes = (readings.decode_s > 0) & (outputs > 1) & (readings.part != PREFILL)
    for s in np.unique(readings.series[decodes]):
        own = np.flatnonzero(decodes & (readings.series == s))
        own = own[np.argsort(readings.row[own])]
        decode_s = readings.decode_s[own]
        pace[own] = usual_decode_s(prompts[own], outputs[own], decode_s) / decode_s
        error[s] = mean_error(np.log(pace[own]))
    for b in np.unique(readings.block[decodes & (readings.block >= 0)]):
        own = decodes & (readings.block == b)
        pace[own] *= np.median(1 / pace[own])
    return pace, error


def known_prefill(readings: PowerReadings, series_cell: Ints) -> Floats:
    """Return each run's prefill time; where unrecorded, on the line between its cell's others.

    It only says which samples of a window show prefill. Without any neighbour the whole window
    counts as decode. shape: (entry,)

    Args:
        readings: The readings.
        series_cell: Cell of each series. shape: (series,)
    """
    out = readings.prefill_s.copy()
    cells = series_cell[readings.series]
    for cell in np.unique(cells):
        known = (cells == cell) & np.isfinite(out) & np.isfinite(readings.input_tokens)
        lacks = (cells == cell) & ~np.isfinite(out)
        if known.any() and lacks.any():
            prompts, where = np.unique(readings.input_tokens[known], return_inverse=True)
            times = [np.median(readings.prefill_s[known][where == i]) for i in range(prompts.size)]
            out[lacks] = np.interp(readings.input_tokens[lacks], prompts, times)
    return np.nan_to_num(out)


def usual_samples(readings: PowerReadings, prefill_s: Floats, n_series: int) -> Floats:
    """Return how many samples of each phase a series' windows pin its ends' power with.

    That is their median number, or fewer: of long windows the relative error is larger than the
    absolute one. shape: (series, 2)

    Args:
        readings: The readings.
        prefill_s: Their prefill times: see :func:`known_prefill`. shape: (entry,)
        n_series: Number of series.
    """
    slow = readings.kind("window")
    read = readings.take(slow)
    period = np.array([s.period_s for s in read.sensors])[read.sensor]
    seconds = np.stack([prefill_s[slow], read.decode_s], axis=1)
    samples = np.minimum(np.floor(seconds / period[:, None]), MANY_SAMPLES)
    shown = samples.sum(axis=1) >= 1
    out = np.zeros((n_series, 2))
    for s in np.unique(read.series[shown]):
        out[s] = np.median(samples[shown & (read.series == s)], axis=0)
    return out


def usual_prefill(readings: PowerReadings, n_series: int) -> Floats:
    """Return the median prefill time of what a fast sensor read of each series. shape: (series,).

    Args:
        readings: The readings.
        n_series: Number of series.
    """
    read = readings.take(readings.kind("phase"))
    out = np.full(n_series, NEVER_S)
    for s in np.unique(read.series):
        out[s] = np.median(np.maximum(np.nan_to_num(read.prefill_s[read.series == s]), NEVER_S))
    return out


def _window_data(
    readings: PowerReadings, prefill_s: Floats, pace: Floats, n_series: int
) -> dict[str, NDArray[Any]]:
    """List the ways in which whole samples can fill each window. shape: (way,).

    A way is a number of samples of prefill, of decode and of idle time, and the range of the
    window's offset in which the first two come out so; ``window_reading`` says whose it is.
    """
    slow = readings.kind("window")
    read, prefill_s = readings.take(slow), prefill_s[slow]
    period = np.array([s.period_s for s in read.sensors])[read.sensor]
    prefill, busy = prefill_s / period, (prefill_s + read.decode_s) / period
    counted = (read.samples > 0)[:, None]
    decodes = (read.decode_s > 0)[:, None]
    spread = np.array(np.meshgrid(AROUND, AROUND, range(IDLE_SAMPLES), indexing="ij"))
    d_whole, d_split, idle = spread.reshape(3, 1, -1)
    whole = np.floor(busy)[:, None] + d_whole
    split = np.where(decodes, np.floor(prefill)[:, None] + d_split, whole)
    # The offset that makes prefill's samples so many, and the run's.
    of_run, of_prefill = whole - busy[:, None], split - prefill[:, None]
    low = np.where(decodes, np.maximum(of_run, of_prefill), of_run)
    high = np.where(decodes, np.minimum(of_run, of_prefill), of_run) + 1
    # A known count leaves one number of idle samples for each number of busy ones.
    idle = np.where(counted, read.samples[:, None] - whole, idle)
    once = ~(counted & (spread.reshape(3, 1, -1)[2] > 0)) & (decodes | (d_split == 0))
    possible = once & (split >= 0) & (split <= whole) & (idle >= 0) & (idle < IDLE_SAMPLES)
    possible &= (high > low) & (idle + whole > 0)
    # Where nothing else tells of prefill's power, a stall would be taken for it.
    unknown = readings.busy(n_series)[read.series, PREFILL] == 0
    possible &= ~(unknown & readings.stalled()[slow])[:, None]
    reading, way = np.nonzero(possible)
    # No way at all: so many samples are not of this run, and say nothing of its power.
    explained = possible.any(axis=1)
    sizes = {"low": low, "high": high, "prefill": split, "decode": whole - split, "idle": idle}
    columns = {n: np.broadcast_to(v, possible.shape)[reading, way] for n, v in sizes.items()}
    loose = readings.loose(n_series)[slow].astype(float)
    return {
        "window_reading": (np.cumsum(explained) - 1)[reading],
        "reading_counted": counted[explained, 0].astype(float),
        "reading_series": read.series[explained],
        "reading_context": known_context(read)[explained],
        "reading_pace": pace[slow][explained],
        "reading_busy": busy[explained],
        "window_series": read.series[reading],
        "window_sensor": read.sensor[reading],
        "window_w": read.power_w[reading],
        "window_loose": loose[reading],
        **{f"window_{name}": values.astype(float) for name, values in columns.items()},
    }


def _lagged_data(readings: PowerReadings, pace: Floats, n_series: int) -> dict[str, NDArray[Any]]:
    """Return the readings of single phases. shape: (reading,)."""
    fast = readings.kind("phase")
    read = readings.take(fast)
    group = 2 * read.series + read.part
    of_blocks = block_data(
        "powerblock", "phase", read.blocks, read.block, group, 2 * n_series, half_centred=0.0
    )
    if of_blocks:
        of_blocks["series_blocked"] = of_blocks["series_blocked"].reshape(-1, 2)
    counts = np.bincount(group, minlength=2 * n_series)
    return of_blocks | {
        "series_prefill_s": usual_prefill(readings, n_series),
        "series_read_phase": (counts > 0).astype(float).reshape(-1, 2),
        "phase_series": read.series,
        "phase_sensor": read.sensor,
        "phase_part": (read.part == DECODE).astype(float),
        "log_phase": np.log(read.power_w),
        "phase_context": known_context(read),
        "phase_pace": pace[fast],
        "phase_prefill_s": np.maximum(np.nan_to_num(read.prefill_s), NEVER_S),
        "phase_decode_s": np.maximum(read.decode_s, NEVER_S),
    }


def _mean_data(read: PowerReadings, pace: Floats) -> dict[str, NDArray[Any]]:
    """Join the runs of each mean: the share of prefill in their time. shape: (reading,)."""
    _, first, where = np.unique(read.reading, return_index=True, return_inverse=True)

    def mean(values: Floats) -> Floats:
        runs = np.maximum(np.bincount(where, minlength=first.size), 1)
        return np.asarray(np.bincount(where, values, minlength=first.size) / runs)

    prefill = mean(np.where(read.part == DECODE, 0.0, np.nan_to_num(read.prefill_s)))
    decode_s = np.where(read.part == PREFILL, 0.0, read.decode_s)
    decode = mean(decode_s)
    return {
        "mean_series": read.series[first],
        "mean_sensor": read.sensor[first],
        "log_mean": np.log(read.power_w[first]),
        "mean_context": np.exp(mean(np.log(known_context(read)))),
        "mean_pace": np.where(decode > 0, mean(pace * decode_s) / np.maximum(decode, NEVER_S), 1.0),
        "mean_prefill_share": prefill / (prefill + decode),
    }
