"""The power model: what the chip draws in each phase, seen through the sensors that read it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from t2m_bayes.formulas import decode_power, paced_power
from t2m_bayes.pooling import block_effects, data_arrays, partially_pooled, prior_variable
from t2m_bayes.power_data import power_data
from t2m_bayes.power_design import DECODE, PHASES, PREFILL
from t2m_bayes.priors import POWER_SPREAD, REFERENCE_PARAMS_B, SESSION_TAIL
from t2m_bayes.sensor import (
    IDLE_SAMPLES,
    USUAL_IDLE,
    decode_lag_open,
    lagged_phases,
    offset_probability,
    prefill_lag_open,
    reached_w,
    window_error_w,
    window_offset,
    window_sum_sd_w,
    window_sum_w,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from t2m_bayes.design import Coords
    from t2m_bayes.power_design import PowerReadings
    from t2m_bayes.priors import DeviceRates, Prior


IDLE_PRIOR: Final = (1.0, 4.0, 30.0, 4.0, 1.0)
"""Dirichlet prior of the idle samples of a window: one before the run and one after, mostly. It
matters where samples were not counted: without it one idle sample more, at a busy power that is
higher, tells nearly the same story."""

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
        \log P^0_s &\sim t_2(\log P^0_d, \tau_0) \\
        \text{decode power} &= P^\text{decode}_s\, ((I + O / 2) / 512)^{\beta_c}\,
            (1 - \delta_c + \delta_c t^\text{usual} / t), \quad
            \beta_c \sim N(\beta, \tau_\beta), \quad
            \operatorname{logit} \delta_c \sim N(0, 1)

    so that in every draw the energy of a phase is its power times its time. Times are known far
    better than power: the model takes the measured ones as they are. Given them it shares no
    variable with the model of time, so the joint posterior of both is the product of the two, and
    each is sampled by itself.

    The usual time is that of the session's runs, or of their block (:mod:`t2m_bayes.pace`). Runs in
    a row are alike, so their mean pace is not quite the usual one: by how much it may differ is in
    a session's power (the model of time counts runs as independent). What share goes by pace is
    told by single LLMs where their pace varies enough, so it is not pooled.

    A slow sensor's reading is a mixture over how many whole samples showed each phase and idle
    time. It starts with the run, and slips as the run goes on. The samples at the run's ends show
    something of their own; the error is relative and, since a sample is whole or not, absolute. A
    phase that hardly any window of a series shows is taken at the level its population says, whose
    spread joins the error of those windows. A fast one follows the chip with a lag
    (:mod:`t2m_bayes.sensor`).

    Readings of a fast sensor of one prompt (of decode: and output) share a deviation from this, of
    a spread that is a multiple of the noise of their series (:mod:`t2m_bayes.blocks`).

    Args:
        coords: What the coefficients are indexed by.
        readings: The readings; their arrays become ``pm.Data``: see ``power_data``.
        rates: What is expected of each device, in the order of ``coords.devices``.
        priors: The priors by name (``models/priors.toml``).

    Returns:
        The model. Free variables and their dims are the posterior's, as the predictor reads it.
    """
    sensors = readings.sensors
    machines, machine = coords.machines()
    dims: dict[str, list[Any]] = {
        "device": list(coords.devices),
        "machine": list(machines),
        "cell": coords.cell_names(),
        "series": coords.series_names(),
        "sensor": [s.name() for s in sensors],
        "idle_samples": list(range(IDLE_SAMPLES)),
        "rails": list(readings.offsets),
        "part": list(PHASES),
    }
    if readings.blocks:
        dims["powerblock"] = [
            f"{dims['series'][s // 2]} | {PHASES[s % 2]} | {name}" for s, name in readings.blocks
        ]
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
        of_machine = pm.Normal(
            "log_idle_raw",
            np.log([rates[machine.index(m)].idle_w for m in range(len(machines))]),
            POWER_SPREAD,
            dims="machine",
        )
        log_idle = pm.Deterministic("log_idle", of_machine[machine], dims="device")
        idle = partially_pooled(
            "log_idle_series",
            data["series_read_idle"],
            log_idle[series_device],
            prior("tau_session_idle"),
            "series",
            tail=SESSION_TAIL,
        )
        tau_session = prior("tau_session_power")
        exponent = partially_pooled(
            "power_context_cell",
            data["cell_read_context"],
            prior("power_context"),
            prior("tau_power_context"),
            "cell",
        )[series_cell]
        # Readings pin decode's power at the contexts that they are of.
        pinned = {"prefill": 0.0, "decode": exponent * data["series_log_context"]}
        dynamic = pt.sigmoid(prior("logit_dynamic", dims="cell"))[series_cell]
        # Runs in a row drift together: their mean pace is not quite the usual one.
        mean_pace = pt.exp(data["series_pace_error"] * pm.Normal("pace_error_raw", dims="series"))
        pinned["decode"] += pt.log(paced_power(1.0, dynamic, mean_pace))
        busy, expected = {}, {}
        for f, phase in enumerate(PHASES):
            device = level(f"log_{phase}_w_device", [r.busy_w for r in rates])
            of_size = device[cell_device] + prior(f"slope_{phase}_w") * size
            tau, read = prior(f"tau_{phase}_w"), data["cell_read_power"][:, f]
            cell = partially_pooled(f"log_{phase}_w", read, of_size, tau, "cell")
            busy[phase] = partially_pooled(
                f"log_{phase}_w_series",
                data["series_pins_power"][:, f],
                cell[series_cell],
                tau_session,
                "series",
                pinned=pinned[phase],
            )
            # Of a series that is hardly read: mean and variance of what its population says.
            expected[phase] = (
                pt.switch(read > 0, cell, of_size)[series_cell],
                tau_session**2 + ((1 - read) * tau**2)[series_cell],
            )

        # What the sensors make of it.
        rails = pt.exp(_rail_offsets(readings, prior))
        tail = prior("tail_power")

        def of_series(name: str, read: Any, pinned: Any = 0.0) -> Any:
            """Return a trait of each series' sensor, pooled over them. shape: (series,)."""
            return partially_pooled(
                f"{name}_series",
                read,
                prior(name),
                prior(f"spread_{name.removeprefix('log_')}"),
                "series",
                pinned=pinned,
            )

        noise = pt.exp(of_series("log_noise_power", data["series_read_sensor"]))

        # Few levels to exponentiate, where windows are filled in thousands of ways.
        own_w = {phase: pt.exp(busy[phase]) for phase in PHASES}
        usual_w = {phase: pt.exp(expected[phase][0]) for phase in PHASES}

        def watts(kind: str, factor: Any) -> tuple[Any, Any, Any, Any]:
            """Return series, and idle, prefill and decode power as a kind's rails sum them."""
            s, scale = data[f"{kind}_series"], rails[data[f"{kind}_sensor"]]
            prefill_w, decode_w = (own_w[phase][s] for phase in PHASES)
            if kind == "window":
                loose = data["window_loose"].T > 0
                prefill_w, decode_w = (
                    pt.switch(loose[f], usual_w[phase][s], own_w[phase][s])
                    for f, phase in enumerate(PHASES)
                )
            return s, scale * pt.exp(idle)[s], scale * prefill_w, scale * decode_w * factor

        def of_runs(axis: str) -> Any:
            """Return what contexts and paces of an axis multiply decode's power by."""
            s, context = data[f"{axis}_series"], data[f"{axis}_context"]
            pace = data[f"{axis}_pace"] * mean_pace[s]
            return paced_power(decode_power(1.0, exponent[s], context), dynamic[s], pace)

        if any(s.kind == "window" for s in sensors):
            of_windows = data["series_read_window"]
            start = of_series("sample_phase", of_windows)
            jitter = pt.exp(of_series("log_sample_jitter", of_windows))
            of = data["reading_series"]
            slips = prior("sample_drift"), jitter[of], prior("sample_slip")
            offset = window_offset(data["reading_busy"], start[of], *slips)
            # A series' windows pin the sum of a usual one better than what it is made of.
            shown_w = pt.stack([pt.exp(busy[phase] + pinned[phase]) for phase in PHASES], axis=1)
            usual_sum_w = USUAL_IDLE * pt.exp(idle) + (data["series_samples"] * shown_w).sum(axis=1)
            ends_w = of_series("ends_w", of_windows, pinned=usual_sum_w)
            names = "log_sample_error", "log_idle_error"
            of_ends, of_idle = (pt.exp(of_series(name, of_windows)) for name in names)
            unread = pt.stack([expected[phase][1] for phase in PHASES], axis=1)
            s, *levels_w = watts("window", of_runs("reading")[data["window_reading"]])
            levels_w.append(rails[data["window_sensor"]] * ends_w[s])
            errors = noise[s], of_ends[s], of_idle[s]
            _add_windows(data, levels_w, errors, offset, unread[s], tail, len(sensors))
        if any(s.kind == "phase" for s in sensors):
            s, idle_w, prefill_w, decode_w = watts("phase", of_runs("phase"))
            usual, spread = prior("log_sensor_lag", dims="part"), prior("spread_sensor_lag")

            def lag_s(part: int, open_to: Any) -> Any:
                """Return a phase's lag in each series, whose product with that is pinned."""
                read = data["series_read_phase"][:, part]
                name, pinned = f"log_{PHASES[part]}_lag_series", pt.log(open_to)
                return pt.exp(
                    partially_pooled(name, read, usual[part], spread, "series", pinned=pinned)
                )

            before_w, decoding = pt.exp(idle), data["series_read_phase"][:, DECODE]
            settles = data["series_pins_power"][:, PREFILL]
            of_prefill = lag_s(PREFILL, prefill_lag_open(before_w, own_w["prefill"], settles))
            reached = reached_w(before_w, own_w["prefill"], data["series_prefill_s"], of_prefill)
            # Readings of decode pin the product of what is kept and what was reached.
            none = pt.zeros(len(coords.devices))[series_device]
            decodings = none.inc(decoding)
            log_keep = partially_pooled(
                "log_keep",
                decodings,
                priors["log_keep"].centre,
                priors["log_keep"].sd,
                "device",
                pinned=none.inc(decoding * pt.log(reached)) / pt.maximum(decodings, 1),
            )
            keep = pt.exp(log_keep)[series_device]
            usual_decode_w = pt.exp(busy["decode"] + pinned["decode"])
            of_decode = lag_s(DECODE, decode_lag_open(keep * reached, usual_decode_w))
            prefill, decode = lagged_phases(
                idle_w,
                prefill_w,
                decode_w,
                data["phase_prefill_s"],
                data["phase_decode_s"],
                (of_prefill[s], of_decode[s]),
                keep[s],
            )
            shown = pt.log(pt.switch(data["phase_part"] > 0, decode, prefill))
            sigma = noise[s]
            if readings.blocks:
                spread = prior("block_ratio_power", dims=("series", "part")) * noise[:, None]
                pm.Deterministic(
                    "block_spread_power",
                    data["series_blocked"] * spread,
                    dims=("series", "part"),
                )
                group = np.array([g for g, _ in readings.blocks])
                of_reading = 2 * s + pt.cast(data["phase_part"], "int64")
                variance = data["phase_loose"] * (spread.ravel() ** 2)[of_reading]
                shift = block_effects("powerblock", "phase", data, spread.ravel(), group, shown)
                shown, sigma = shown + shift, pt.sqrt(sigma**2 + variance)
            pm.StudentT("phase_power", nu=tail, mu=shown, sigma=sigma, observed=data["log_phase"])
        if any(s.kind == "mean" for s in sensors):
            s, _, prefill_w, decode_w = watts("mean", of_runs("mean"))
            share = data["mean_prefill_share"]
            shown = share * prefill_w + (1 - share) * decode_w
            pm.StudentT(
                "mean_power", nu=tail, mu=pt.log(shown), sigma=noise[s], observed=data["log_mean"]
            )
    return model


def _add_windows(
    data: dict[str, Any],
    levels_w: Sequence[Any],
    errors: tuple[Any, Any, Any],
    offset: tuple[Any, Any],
    unread: Any,
    tail: Any,
    sensors: int,
) -> None:
    """Add the likelihood of a slow sensor's windows: a sum over the ways to fill each.

    All but the offset has shape (way,), the possible ways of one reading after those of another.

    Args:
        data: The model's data.
        levels_w: What an idle sample shows, one of prefill, one of decode, and a run's ends.
        errors: Relative error, and absolute ones of the ends and of idle samples.
        offset: Median and scale of each reading's offset.
        unread: Variance of the logs of prefill's and decode's level where no reading pins them.
        tail: Degrees of freedom of the error.
        sensors: Number of sensors.
    """
    sensor = data["window_sensor"]
    idle_share = pm.Dirichlet(
        "idle_share", np.tile(IDLE_PRIOR, (sensors, 1)), dims=("sensor", "idle_samples")
    )
    idle, prefill, decode = (data[f"window_{name}"] for name in ("idle", "prefill", "decode"))
    samples = idle + prefill + decode
    total = window_sum_w(idle, prefill, decode, *levels_w)
    median, scale = (value[data["window_reading"]] for value in offset)
    likely = offset_probability(data["window_low"], data["window_high"], median, scale)
    weight = (likely + RARE) * idle_share[sensor, pt.cast(idle, "int64")] + RARE**2
    # Levels that a series has not got of its own are off by the spread of their population.
    shown_w = pt.stack([prefill * levels_w[1], decode * levels_w[2]], axis=1)
    spread = data["window_loose"] * unread
    noise, of_ends, of_idle = errors
    error_w = window_error_w(prefill + decode, of_ends, of_idle)
    error_w = pt.sqrt(error_w**2 + (spread * shown_w**2).sum(axis=1))
    sigma = window_sum_sd_w(noise, error_w, total) / samples
    reading = pm.StudentT.dist(nu=tail, mu=total / samples, sigma=sigma)
    density = pt.exp(pm.logp(reading, data["window_w"]))
    counted = data["reading_counted"]

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
