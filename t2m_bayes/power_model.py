"""The power model: what the chip draws in each phase, seen through the sensors that read it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from t2m_bayes.formulas import decode_power
from t2m_bayes.pooling import data_arrays, partially_pooled, prior_variable
from t2m_bayes.power_data import known_prefill, power_data
from t2m_bayes.priors import POWER_SPREAD, REFERENCE_PARAMS_B
from t2m_bayes.sensor import (
    IDLE_SAMPLES,
    lagged_phases,
    offset_probability,
    window_sum_sd_w,
    window_sum_w,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from t2m_bayes.design import Coords
    from t2m_bayes.power_design import PowerReadings
    from t2m_bayes.priors import DeviceRates, Prior


PHASES: Final = ("prefill", "decode")

IDLE_PRIOR: Final = (1.0, 4.0, 30.0, 4.0, 1.0)
"""Dirichlet prior of the idle samples of a window: one before the run and one after, mostly. It
matters where samples were not counted: without it one idle sample more, at a busy power that is
higher, tells nearly the same story."""

USUAL_IDLE: Final = 2
"""Idle samples around a run with which sampling starts where no window's samples were counted."""

RARE: Final = 1e-6
"""Least probability of a way to fill a window: clocks slip."""


def power_model(
    coords: Coords,
    readings: PowerReadings,
    rates: Sequence[DeviceRates],
    priors: Mapping[str, Prior],
) -> pm.Model:
    r"""Build the model of power.

    For phase :math:`f` (prefill, decode), cell :math:`c = (l, d)` with :math:`p` billion
    parameters, and series :math:`s = (c, \text{session})`:

    .. math::

        \log P^f_c &\sim N(\log P^f_d + \sigma_f \log(p / 8), \tau_f) \\
        \log P^f_s &\sim N(\log P^f_c, \tau_\text{session}) \\
        \log P^0_s &\sim N(\log P^0_d, \tau_0) \\
        \text{decode power} &= P^\text{decode}_s\, (O / 512)^{\beta_d}

    so that in every draw the energy of a phase is its power times its time. Times are known far
    better than power: the model takes the measured ones as they are. Given them it shares no
    variable with the model of time, so the joint posterior of both is the product of the two, and
    each is sampled by itself.

    A slow sensor's reading is a mixture over how many whole samples showed each phase and idle
    time; its error is relative and, since a sample is whole or not, absolute. A fast one follows
    the chip with a lag (:mod:`t2m_bayes.sensor`).

    Args:
        coords: What the coefficients are indexed by.
        readings: The readings; their arrays become ``pm.Data``: see ``power_data``.
        rates: What is expected of each device, in the order of ``coords.devices``.
        priors: The priors by name (``models/priors.toml``).

    Returns:
        The model. Free variables and their dims are the posterior's, as the predictor reads it.
    """
    sensors = readings.sensors
    dims: dict[str, list[Any]] = {
        "device": list(coords.devices),
        "cell": coords.cell_names(),
        "series": coords.series_names(),
        "sensor": [s.name() for s in sensors],
        "idle_samples": list(range(IDLE_SAMPLES)),
        "rails": list(readings.offsets),
    }
    cell_llm, cell_device = np.array(coords.cells, dtype=int).T
    series_cell = np.array([c for c, _ in coords.series])
    series_device = cell_device[series_cell]
    size = np.log(np.array(coords.params_b) / REFERENCE_PARAMS_B)[cell_llm]
    with pm.Model(coords=dims, check_bounds=False) as model:
        prior = partial(prior_variable, priors)
        data = data_arrays(power_data(readings, series_cell, len(coords.cells)), dims)

        def level(name: str, expected_w: list[float]) -> Any:
            return pm.Normal(name, np.log(expected_w), POWER_SPREAD, dims="device")

        # What the chip draws. shape: (series,)
        idle = partially_pooled(
            "log_idle_series",
            data["series_read_idle"],
            level("log_idle", [r.idle_w for r in rates])[series_device],
            prior("tau_session_idle"),
            "series",
        )
        tau_session = prior("tau_session_power")
        busy = {}
        for f, phase in enumerate(PHASES):
            device = level(f"log_{phase}_w_device", [r.busy_w for r in rates])
            cell = partially_pooled(
                f"log_{phase}_w",
                data["cell_read_power"][:, f],
                device[cell_device] + prior(f"slope_{phase}_w") * size,
                prior(f"tau_{phase}_w"),
                "cell",
            )
            read = data["series_read_power"][:, f]
            busy[phase] = partially_pooled(
                f"log_{phase}_w_series", read, cell[series_cell], tau_session, "series"
            )
        growth = prior("decode_power_growth", dims="device")[series_device]

        # What the sensors make of it.
        rails = pt.exp(_rail_offsets(readings, prior))
        tail = prior("tail_power")

        def of_series(name: str, read: Any) -> Any:
            return pt.exp(
                partially_pooled(
                    f"log_{name}_series",
                    read,
                    prior(f"log_{name}"),
                    prior(f"spread_{name}"),
                    "series",
                )
            )

        noise = of_series("noise_power", data["series_read_sensor"])

        def watts(kind: str) -> tuple[Any, Any, Any, Any]:
            """Return series, and idle, prefill and decode power as a kind's rails sum them."""
            s, scale = data[f"{kind}_series"], rails[data[f"{kind}_sensor"]]
            decode = decode_power(pt.exp(busy["decode"][s]), growth[s], data[f"{kind}_output"])
            return s, scale * pt.exp(idle[s]), scale * pt.exp(busy["prefill"][s]), scale * decode

        if any(s.kind == "window" for s in sensors):
            error = of_series("sample_error", data["series_read_idle"])
            _add_windows(data, *watts("window"), noise, error, tail, prior, len(sensors))
        if any(s.kind == "phase" for s in sensors):
            s, idle_w, prefill_w, decode_w = watts("phase")
            sensor = data["phase_sensor"]
            prefill, decode = lagged_phases(
                idle_w,
                prefill_w,
                decode_w,
                data["phase_prefill_s"],
                data["phase_decode_s"],
                prior("sensor_lag", dims="sensor")[sensor],
            )
            shown = pt.switch(data["phase_part"] > 0, decode, prefill)
            pm.StudentT(
                "phase_power", nu=tail, mu=pt.log(shown), sigma=noise[s], observed=data["log_phase"]
            )
        if any(s.kind == "mean" for s in sensors):
            s, _, prefill_w, decode_w = watts("mean")
            share = data["mean_prefill_share"]
            shown = share * prefill_w + (1 - share) * decode_w
            pm.StudentT(
                "mean_power", nu=tail, mu=pt.log(shown), sigma=noise[s], observed=data["log_mean"]
            )
    return model


def _add_windows(
    data: dict[str, Any],
    series: Any,
    idle_w: Any,
    prefill_w: Any,
    decode_w: Any,
    noise: Any,
    error: Any,
    tail: Any,
    prior: Callable[..., Any],
    sensors: int,
) -> None:
    """Add the likelihood of a slow sensor's windows: a sum over the ways to fill each."""
    # Everything has shape (way,), the possible ways of one reading after those of another.
    sensor = data["window_sensor"]
    phase, jitter = (prior(n, dims="sensor")[sensor] for n in ("sample_phase", "sample_jitter"))
    idle_share = pm.Dirichlet(
        "idle_share", np.tile(IDLE_PRIOR, (sensors, 1)), dims=("sensor", "idle_samples")
    )
    idle, prefill, decode = (data[f"window_{name}"] for name in ("idle", "prefill", "decode"))
    samples = idle + prefill + decode
    total = window_sum_w(idle, prefill, decode, idle_w, prefill_w, decode_w)
    offset = offset_probability(data["window_low"], data["window_high"], phase, jitter)
    weight = (offset + RARE) * idle_share[sensor, pt.cast(idle, "int64")] + RARE**2
    sigma = window_sum_sd_w(noise[series], error[series], total) / samples
    reading = pm.StudentT.dist(nu=tail, mu=total / samples, sigma=sigma)
    density = pt.exp(pm.logp(reading, data["window_w"]))
    counted = data["window_counted"]

    def over_ways(values: Any) -> Any:
        """Return the log of the sum over the ways of each reading. shape: (reading,)."""
        return pt.log(pt.zeros(counted.shape[0])[data["window_reading"]].inc(values))

    # Where samples were counted, their number is a reading too; else it is only conditioned on.
    pm.Potential("window_power", over_ways(weight * density) - (1 - counted) * over_ways(weight))


def _rail_offsets(readings: PowerReadings, prior: Callable[..., Any]) -> Any:
    """Return the log of what each sensor sums, relative to the usual. shape: (sensor,)."""
    if not readings.offsets:
        return np.zeros(len(readings.sensors))
    offset = prior("rail_offset", dims="rails")
    index = [
        readings.offsets.index(s.rails) if s.rails in readings.offsets else len(readings.offsets)
        for s in readings.sensors
    ]
    return pt.as_tensor(np.eye(len(readings.offsets) + 1)[index][:, :-1]) @ offset


def power_start(
    coords: Coords, readings: PowerReadings, priors: Mapping[str, Prior]
) -> dict[str, NDArray[np.float64]]:
    """Return where sampling starts: each phase's power from the medians of windows that show it.

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
    cell = np.full((2, len(coords.cells)), off)
    for phase in range(2):
        for c in range(len(coords.cells)):
            levels = busy[phase, (series_cell == c) & (read[:, phase] > 0)]
            if levels.size:
                cell[phase, c] = np.median(levels) + 0.02
    usual = [np.median(c[c != off]) if (c != off).any() else np.log(idle_w) + 1 for c in cell]
    dims = {
        "decode_power_growth": n_devices,
        **dict.fromkeys(("sample_phase", "sample_jitter", "sensor_lag"), n_sensors),
        "rail_offset": len(readings.offsets),
    }
    near = {
        name: np.full(dims.get(name, ()), _near(prior))
        for name, prior in priors.items()
        if dims.get(name, 1)
    }
    return near | {
        "log_idle": np.full(n_devices, np.log(idle_w)),
        "log_prefill_w_device": np.full(n_devices, usual[0]),
        "log_decode_w_device": np.full(n_devices, usual[1]),
        "log_idle_series_raw": idle,
        "log_prefill_w_raw": cell[0],
        "log_decode_w_raw": cell[1],
        "log_prefill_w_series_raw": busy[0],
        "log_decode_w_series_raw": busy[1],
        "idle_share": np.tile(share, (n_sensors, 1)),
        "log_noise_power_series_raw": np.full(series_cell.size, -3.5),
        "log_sample_error_series_raw": np.full(series_cell.size, 0.8),
    }


def _near(prior: Prior) -> float:
    """Return a value a little above the middle of a prior."""
    above = 0.2 * prior.sd
    return prior.centre + above if prior.kind == "normal" else prior.centre * float(np.exp(above))
