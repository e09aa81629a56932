"""Where the chains of the power model start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import least_squares

from t2m_bayes.blocks import block_levels
from t2m_bayes.power_data import (
    NEVER_S,
    known_prefill,
    pins_power,
    usual_prefill,
    usual_samples,
)
from t2m_bayes.power_design import DECODE, PREFILL
from t2m_bayes.priors import POWER_SPREAD
from t2m_bayes.sensor import (
    IDLE_SAMPLES,
    USUAL_IDLE,
    decode_lag_open,
    lagged_phases,
    prefill_lag_open,
    reached_w,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from t2m_bayes.design import Coords
    from t2m_bayes.power_design import PowerReadings
    from t2m_bayes.priors import Prior

COARSE: Final = (-3.5, -5.0)
"""Log relative errors of slow and of fast sensors with which sampling starts: above real ones."""

LAGS_S: Final = (0.05, 0.3)
"""Time constants of a fast sensor in prefill from which its least squares start, in seconds."""

PRIOR_WEIGHT: Final = 0.01
"""Weight of the priors in those least squares: a reading is off by about as much."""


def power_start(
    coords: Coords, readings: PowerReadings, priors: Mapping[str, Prior]
) -> dict[str, NDArray[np.float64]]:
    """Return where sampling starts: each phase's power from the medians of windows that show it.

    What a fast sensor read of a session starts at its least squares.

    One sample more of the run and one idle sample less fit a window nearly as well, and a chain
    that starts far from the readings or with tiny errors crawls. So all start at the same place,
    near what was read and near the middle of the priors, with coarse errors; off the middle where
    nothing was read, since a gradient of zero tells the sampler nothing of scale.

    Args:
        coords: What the coefficients are indexed by.
        readings: The readings.
        priors: The priors by name.
    """
    off = 0.1
    series_cell = np.array([c for c, _ in coords.series])
    n_sensors, n_devices = len(readings.sensors), len(coords.devices)
    prefill_s = known_prefill(readings, series_cell)
    period = np.array([s.period_s for s in readings.sensors])[readings.sensor]
    slow, read = readings.kind("window"), readings.busy(series_cell.size)
    idle = np.full(series_cell.size, off)
    busy = np.full((2, series_cell.size), off)
    lags = np.full((2, series_cell.size), off)
    log_kept: list[list[float]] = [[] for _ in coords.devices]
    pins = pins_power(readings, series_cell.size)
    usual_s = usual_prefill(readings, series_cell.size)
    log_keep = priors["log_keep"].near_middle
    noise = np.full(series_cell.size, COARSE[0])
    seconds_all = prefill_s + readings.decode_s
    counted = slow & (readings.samples > 0)
    spare = readings.samples - np.floor(seconds_all / np.where(slow, period, 1))
    usual_idle = USUAL_IDLE
    if counted.any():
        usual_idle = int(np.clip(np.median(spare[counted]), 0, IDLE_SAMPLES - 1))
    share = np.full(IDLE_SAMPLES, 0.02)
    share[usual_idle] = 1 - 0.02 * (IDLE_SAMPLES - 1)
    quiet = slow & (seconds_all < period / 2)
    idle_w = np.median(readings.power_w[quiet]) if quiet.any() else readings.power_w.min() / 2
    for s in range(series_cell.size):
        own = readings.series == s
        if (own & slow).any():
            still = own & quiet
            idle[s] = np.log(np.median(readings.power_w[still]) if still.any() else idle_w)
        for phase, seconds in enumerate((prefill_s, readings.decode_s)):
            shown = own & (readings.part != 1 - phase) & (seconds > 0.7 * seconds_all)
            shown &= (seconds >= period) & (readings.power_w > idle_w)
            if read[s, phase] and shown.any():
                samples = np.where(slow, np.floor(seconds / np.where(slow, period, 1)), 1)[shown]
                around = np.where(slow, usual_idle, 0)[shown]
                power = (readings.power_w[shown] * (samples + around) - around * idle_w) / samples
                busy[phase, s] = np.log(np.median(power))
        fast = own & readings.kind("phase")
        if fast.any():
            noise[s] = COARSE[1]
            found = _fast_start(readings.take(fast), priors)
            shown = np.isin((PREFILL, DECODE), readings.part[fast])
            idle[s], busy[shown, s] = found[0], found[1:3][shown]
            before_w, prefill_w, decode_w, lag_s, _ = np.exp(found)
            reached = reached_w(before_w, prefill_w, usual_s[s], lag_s)
            open_to = (
                prefill_lag_open(before_w, prefill_w, pins[s, PREFILL]),
                decode_lag_open(np.exp(log_keep) * reached, decode_w),
            )
            if shown[DECODE]:
                log_kept[coords.cells[series_cell[s]][1]].append(log_keep + np.log(reached))
            lags[shown, s] = (found[3:] + np.log(open_to))[shown]
    cell = np.full((2, len(coords.cells)), off)
    for phase in range(2):
        for c in range(len(coords.cells)):
            levels = busy[phase, (series_cell == c) & (read[:, phase] > 0)]
            if levels.size:
                cell[phase, c] = np.median(levels) + 0.02
    of_series = np.where(pins.T > 0, busy, off)
    usual = [np.median(c[c != off]) if (c != off).any() else np.log(idle_w) + 1 for c in cell]
    dims = {
        "log_sensor_lag": 2,
        "block_ratio_power": (series_cell.size, 2),
        "rail_offset": len(readings.offsets),
    }
    near = {
        name: np.full(dims.get(name, ()), prior.near_middle)
        for name, prior in priors.items()
        if dims.get(name, 1)
    }
    samples = usual_samples(readings, prefill_s, series_cell.size)
    return near | {
        "log_idle_raw": np.full(len(coords.machines()[0]), np.log(idle_w)),
        "log_prefill_w_device": np.full(n_devices, usual[0]),
        "log_decode_w_device": np.full(n_devices, usual[1]),
        "power_context_cell_raw": np.full(len(coords.cells), priors["power_context"].near_middle),
        "logit_dynamic": np.full(len(coords.cells), off),
        "pace_error_raw": np.full(series_cell.size, off),
        "log_idle_series_raw": idle,
        "log_prefill_w_raw": cell[0],
        "log_decode_w_raw": cell[1],
        "log_prefill_w_series_raw": of_series[0],
        "log_decode_w_series_raw": of_series[1],
        "idle_share": np.tile(share, (n_sensors, 1)),
        "log_noise_power_series_raw": noise,
        "log_sample_error_series_raw": np.full(series_cell.size, 0.8),
        "log_idle_error_series_raw": np.full(series_cell.size, 0.1),
        "log_sample_jitter_series_raw": np.full(series_cell.size, -1.9),
        "sample_phase_series_raw": np.full(series_cell.size, off),
        "ends_w_series_raw": USUAL_IDLE * np.exp(idle)
        + (samples.T * np.exp(busy)).sum(axis=0)
        + off,
        "phase_block_effect_raw": block_levels(
            readings.blocks,
            readings.block,
            np.log(readings.power_w),
            np.zeros_like(readings.power_w),
            half_centred=0.0,
        ),
        "log_keep_raw": np.array([np.mean(kept) if kept else off for kept in log_kept]),
        "log_prefill_lag_series_raw": lags[PREFILL],
        "log_decode_lag_series_raw": lags[DECODE],
    }


def _fast_start(readings: PowerReadings, priors: Mapping[str, Prior]) -> NDArray[np.float64]:
    """Return what a fast sensor's readings of one series say by least squares, near the priors.

    Returns:
        Logarithms of idle, prefill and decode power and of both phases' lags. shape: (5,)
    """
    prefill_s = np.maximum(np.nan_to_num(readings.prefill_s), NEVER_S)
    decode_s = np.maximum(readings.decode_s, NEVER_S)
    most = np.log(readings.power_w.max())
    lag = priors["log_sensor_lag"]
    centre = np.array([most - 1, most, most, lag.centre, lag.centre])
    spread = np.array([POWER_SPREAD, POWER_SPREAD, POWER_SPREAD, lag.sd, lag.sd])
    keep = np.exp(priors["log_keep"].centre)

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        idle, prefill, decode, *lags = np.exp(x)
        shown = lagged_phases(idle, prefill, decode, prefill_s, decode_s, tuple(lags), keep)
        of_part = np.where(readings.part == DECODE, shown[1], shown[0])
        near = PRIOR_WEIGHT * (x - centre) / spread
        return np.concatenate([np.log(of_part / readings.power_w), near])

    tried = [
        least_squares(
            residuals, [*centre[:3], np.log(lag_s), centre[4]], loss="soft_l1", f_scale=0.01
        )
        for lag_s in LAGS_S
    ]
    best: NDArray[np.float64] = min(tried, key=lambda found: float(found.cost)).x
    return best
