"""Energy and power: the sensor's formulas, what counts as a reading, and predictions that agree."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytensor.compile.maker import function
from scipy import special, stats

import t2m_bayes
from t2m_bayes.design import make_design
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.formulas import REFERENCE_CONTEXT
from t2m_bayes.inference import make_models
from t2m_bayes.power_data import known_context, power_data
from t2m_bayes.power_design import measured_energy, named_rails, parse_rails, with_windows
from t2m_bayes.power_model import RARE
from t2m_bayes.power_population import power_draws
from t2m_bayes.power_start import power_start
from t2m_bayes.prediction import predict
from t2m_bayes.priors import load_priors
from t2m_bayes.requests import make_requests, requests_of
from t2m_bayes.resources import shipped
from t2m_bayes.schema import ENERGIES, Runs
from t2m_bayes.sensor import (
    IN_STEP,
    STEP_W,
    decode_lag_open,
    lagged_mean,
    lagged_phases,
    offset_probability,
    prefill_lag_open,
    reached_w,
    window_error_w,
    window_offset,
    window_sum_sd_w,
    window_sum_w,
)

PROMPTS, OUTPUTS = np.array([50, 300, 300, 900]), np.array([1, 1, 200, 900])
WATTS = st.floats(1, 100)


def table(rows: int = 4, **columns: object) -> pd.DataFrame:
    """Return a valid run table of one LLM on an Orin."""
    return pd.DataFrame(
        {
            "device": "jetson-agx-orin-64gb",
            "llm": "DSR1-Llama-8B",
            "input_tokens": np.full(rows, 100.0),
            "output_tokens": np.arange(rows) + 300.0,
            "prefill_s": 0.2,
            "decode_s": np.arange(rows) + 30.0,
            "params_b": 8.03,
            "bytes_per_param": 2.0,
            "session": "monday",
            "source": "monday",
        }
        | columns
    )


@given(st.floats(-0.5, 1.5), st.floats(0.02, 0.5), st.floats(0, 50))
def test_every_window_has_some_number_of_whole_samples(
    phase: float, jitter: float, busy: float
) -> None:
    samples = np.arange(np.floor(busy) - 11, np.floor(busy) + 12)
    chance = offset_probability(samples - busy, samples - busy + 1, phase, jitter)
    assert np.all(chance >= 0)
    assert chance.sum() == pytest.approx(1, abs=1e-6)


@given(WATTS, WATTS, st.floats(0.05, 1))
def test_a_lagging_sensor_shows_the_level_of_a_long_phase(
    level: float, start: float, lag: float
) -> None:
    shown = [lagged_mean(level, start, seconds, lag) for seconds in (1e-3, 1.0, 1e4)]
    inside = sorted([level, start])
    assert all(inside[0] - 1e-6 <= w <= inside[1] + 1e-6 for w in shown)
    assert shown[-1] == pytest.approx(level, rel=1e-2 + abs(start / level - 1) * lag / 1e4)
    # Integrated numerically, from the differential equation's solution.
    t = (np.arange(20_000) + 0.5) / 20_000
    assert shown[1] == pytest.approx(np.mean(level - (level - start) * np.exp(-t / lag)), rel=1e-3)


@given(st.integers(0, 4), st.integers(0, 9), st.integers(0, 90), WATTS, WATTS, WATTS)
def test_a_windows_mean_lies_among_its_powers(
    idle: int, prefill: int, decode: int, p0: float, p1: float, p2: float
) -> None:
    counts = np.array([idle, prefill, decode])
    if counts.sum():
        mean = window_sum_w(*counts, p0, p1, p2, 0.0) / counts.sum()
        shown = np.array([p0, p1, p2])[counts > 0]
        assert shown.min() - 1e-9 <= mean <= shown.max() + 1e-9


@given(st.integers(0, 4), st.integers(1, 9), WATTS, WATTS, st.floats(-5, 5))
def test_only_a_window_that_shows_the_run_shows_its_ends(
    idle: int, busy: int, idle_w: float, decode_w: float, ends_w: float
) -> None:
    still = window_sum_w(idle, 0, 0, idle_w, 0.0, decode_w, ends_w)
    running = window_sum_w(idle, 0, busy, idle_w, 0.0, decode_w, ends_w)
    assert still == pytest.approx(idle * idle_w)
    assert running - still == pytest.approx(busy * decode_w + ends_w)
    assert window_error_w(0, 3.0, 4.0) == 4.0
    assert window_error_w(busy, 3.0, 4.0) == 5.0


@given(st.floats(-0.2, 0.4), st.floats(-0.2, 0.4), st.floats(0.05, 0.5), st.floats(1, 40))
def test_a_sensor_starts_in_step_with_the_run_and_slips(
    phase: float, drift: float, jitter: float, slip: float
) -> None:
    busy = np.array([0.0, slip, 1e9])
    median, scale = window_offset(busy, phase, drift, jitter, slip)
    np.testing.assert_allclose(median, phase + drift * np.array([0, 0.5, 1]), atol=1e-6)
    np.testing.assert_allclose(scale, jitter * np.array([IN_STEP, (1 + IN_STEP) / 2, 1]))


def test_a_clock_that_hardly_slips_leaves_the_sampler_a_gradient() -> None:
    """An exponential that overflows has none, and every such trajectory diverges."""
    phase, jitter = pt.dscalar(), pt.dscalar()
    inside = offset_probability(np.array([-1.0, 0, 1]), np.array([0.0, 1, 2]), phase, jitter)
    gradient = pt.grad(inside.sum(), [phase, jitter])
    values = function([phase, jitter], gradient, mode="FAST_COMPILE")
    for scale in (1e-1, 1e-3, 1e-5):
        assert np.isfinite(values(0.1, scale)).all()


def test_a_sensor_without_error_still_reads_in_steps() -> None:
    sums = np.random.default_rng(0).uniform(5, 500, 100_000)
    rounded = np.round(sums / STEP_W) * STEP_W
    assert window_sum_sd_w(0.0, 0.0, sums) == pytest.approx(np.std(rounded - sums), rel=0.01)


def test_the_ways_to_fill_a_window_hold_what_was_counted() -> None:
    frame = table(energy_j=900.0, n_power_samples=np.array([32, 33, 34, 36]), sensor_period_s=1.0)
    design = make_design(frame)
    assert design.power is not None
    assert {s.kind for s in design.power.sensors} == {"window"}
    data = power_data(design.power, np.array([0]), 1)
    total = data["window_idle"] + data["window_prefill"] + data["window_decode"]
    np.testing.assert_array_equal(total, design.power.samples[data["window_reading"]])
    assert np.all(data["window_high"] > data["window_low"])
    assert set(data["window_reading"]) == set(range(design.power.samples.size))


def test_windows_are_as_likely_as_the_sum_over_their_ways() -> None:
    """In NumPy and SciPy."""
    frame = pd.concat(
        [
            table(
                8,
                input_tokens=2000.0,
                prefill_s=3.0,
                energy_j=np.arange(8) * 28 + 900.0,
                n_power_samples=np.arange(8) + 35,
                sensor_period_s=1.0,
                session=session,
            )
            for session in ("monday", "tuesday")
        ],
        ignore_index=True,
    )
    models = make_models(Runs(frame, ()))
    assert models.power is not None
    assert models.design.power is not None
    model = models.power.model
    point, rng = model.initial_point(), np.random.default_rng(0)
    point = {name: value + rng.normal(0, 0.1, np.shape(value)) for name, value in point.items()}
    shown = [*model.deterministics, *model.free_RVs]
    outputs = model.replace_rvs_by_values([*shown, *model.potentials])
    *values, found = function(model.value_vars, outputs, mode="FAST_COMPILE")(
        *(point[v.name] for v in model.value_vars)
    )
    of = dict(zip((v.name for v in shown), values, strict=True))
    data = power_data(models.design.power, np.zeros(2, dtype=int), 1)
    assert not data["window_loose"].any()
    s, r = data["window_series"], data["window_reading"]
    idle, prefill, decode = (data[f"window_{n}"] for n in ("idle", "prefill", "decode"))
    level = {n: np.exp(of[f"log_{n}_series"])[s] for n in ("idle", "prefill_w", "decode_w")}
    context = (data["reading_context"][r] / REFERENCE_CONTEXT) ** of["power_context_cell"][0]
    pace = data["reading_pace"][r] * np.exp(data["series_pace_error"] * of["pace_error_raw"])[s]
    dynamic = special.expit(of["logit_dynamic"][0])
    of_run = context * (1 - dynamic + dynamic * pace)
    watts = level["idle"], level["prefill_w"], level["decode_w"] * of_run
    total = window_sum_w(idle, prefill, decode, *watts, of["ends_w_series"][s])
    ends, still = (np.exp(of[f"log_{n}_error_series"])[s] for n in ("sample", "idle"))
    error = window_error_w(prefill + decode, ends, still)
    scale = window_sum_sd_w(np.exp(of["log_noise_power_series"])[s], error, total)
    median, jitter = window_offset(
        data["reading_busy"][r],
        of["sample_phase_series"][s],
        of["sample_drift"],
        np.exp(of["log_sample_jitter_series"])[s],
        of["sample_slip"],
    )
    chance = offset_probability(data["window_low"], data["window_high"], median, jitter)
    weight = (chance + RARE) * of["idle_share"][0][idle.astype(int)] + RARE**2
    samples = idle + prefill + decode
    density = stats.t.pdf(data["window_w"], of["tail_power"], total / samples, scale / samples)
    expected = np.log(np.bincount(r, weight * density))
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_window_of_more_samples_than_its_run_says_nothing() -> None:
    frame = table(energy_j=900.0, n_power_samples=np.array([32, 33, 34, 500]), sensor_period_s=1.0)
    design = make_design(frame)
    assert design.power is not None
    data = power_data(design.power, np.array([0]), 1)
    assert data["reading_counted"].size == 3
    assert set(data["window_reading"]) == {0, 1, 2}


def test_a_phase_that_hardly_any_window_shows_has_no_level_of_its_own() -> None:
    for long_prefills, loose in ((3, True), (8, False)):
        prefill_s = np.where(np.arange(10) < long_prefills, 2.5, 0.2)
        frame = table(10, prefill_s=prefill_s, power_w=25.0, sensor_period_s=1.0, session="monday")
        frame["input_tokens"] *= np.where(prefill_s > 1, 20, 1)
        frame["power_w"] += np.arange(10) / 10
        readings = make_design(frame).power
        assert readings is not None
        data = power_data(readings, np.array([0]), 1)
        assert data["series_pins_power"].tolist() == [[0 if loose else 1, 1]]
        shows = (prefill_s > 1)[data["window_reading"]]
        np.testing.assert_array_equal(data["window_loose"], np.c_[shows & loose, 0 * shows])


def test_a_stalled_prefill_does_not_show_what_prefill_draws() -> None:
    """The chip waits: five of those would make a level of their own, at the power of waiting."""
    stalled = np.arange(20) < 6
    prefill_s = np.where(stalled, 4.0, 0.2)
    frame = table(20, prefill_s=prefill_s, power_w=25.0, sensor_period_s=1.0)
    frame["power_w"] += np.arange(20) / 10
    readings = make_design(frame).power
    assert readings is not None
    np.testing.assert_array_equal(readings.stalled(), stalled)
    data = power_data(readings, np.array([0]), 1)
    assert data["series_pins_power"].tolist() == [[0, 1]]
    assert data["reading_counted"].size == 14
    # Long prompts take long without any stall, and say what prefill draws.
    prompts = np.where(stalled, 2_000.0, 100.0)
    readings = make_design(frame.assign(input_tokens=prompts)).power
    assert readings is not None
    assert not readings.stalled().any()
    assert readings.busy(1).tolist() == [[6, 20]]


def test_one_session_now_and_then_idles_unlike_the_others() -> None:
    fit, rng = t2m_bayes.reference_fit(), np.random.default_rng(0)
    device, llm = fit.coords.devices[0], fit.coords.llms[0]
    usual, tau = fit.flat("log_idle")[:, 0], fit.flat("tau_session_idle")
    beyond = []
    for _ in range(20):
        draws = power_draws(
            fit,
            llm,
            device,
            params_b=8.0,
            series=[],
            session="new",
            label=None,
            view="chip",
            normal=lambda: rng.standard_normal(tau.size),
        )
        assert draws is not None
        off = np.abs(np.log(draws.idle_w) - usual)
        assert off.max() <= np.log(5) + 1e-6
        beyond.append(off / tau)
    # Quantiles of Student's t of two degrees of freedom, from its closed form.
    assert np.quantile(beyond, [0.5, 0.9]) == pytest.approx([0.816, 2.920], rel=0.05)


def fast_readings(*phases: str) -> pd.DataFrame:
    """Return six repeats of nine cells as a fast sensor reads them: 45 W and 50 W, idling at 15."""
    prompts, outputs, _ = np.meshgrid([128.0, 512, 2048], [32.0, 128, 512], range(6))
    frame = table(
        prompts.size,
        input_tokens=prompts.ravel(),
        output_tokens=outputs.ravel(),
        prefill_s=prompts.ravel() / 4096,
        decode_s=outputs.ravel() / 64,
    )
    shown = lagged_phases(15.0, 45.0, 50.0, frame["prefill_s"], frame["decode_s"], (0.2, 0.4), 0.8)
    for phase, watts in zip(("prefill", "decode"), shown, strict=True):
        if phase in phases:
            frame[f"{phase}_energy_j"] = watts * frame[f"{phase}_s"]
    return frame


def test_a_phase_that_the_lag_outlasts_is_sampled_by_its_cell() -> None:
    frame = fast_readings("prefill", "decode")
    brief = frame.assign(prefill_s=frame["prefill_s"] / 2)
    for runs, pinned in ((frame, [[1, 1]]), (brief, [[0, 1]])):
        readings = make_design(runs).power
        assert readings is not None
        data = power_data(readings, np.array([0]), 1)
        assert data["series_pins_power"].tolist() == pinned
        assert data["cell_read_power"].tolist() == [[1, 1]]


def test_a_fast_sensors_chains_start_at_its_least_squares() -> None:
    design = make_design(fast_readings("prefill", "decode"))
    assert design.power is not None
    priors = load_priors()
    start = power_start(design.coords, design.power, priors)
    found = {
        name: np.exp(start[f"log_{name}_series_raw"]).item()
        for name in ("idle", "prefill_w", "decode_w", "prefill_lag", "decode_lag")
    }
    assert found["idle"] == pytest.approx(15, rel=0.05)
    assert found["prefill_w"] == pytest.approx(45, rel=0.03)
    assert found["decode_w"] == pytest.approx(50, rel=0.03)
    # Lags are sampled times what readings leave open: the steps from 15 to 45 W (the longest prompt
    # settles) and from what is kept of the power that the usual prompt reached.
    kept_w = np.exp(start["log_keep_raw"]).item()
    keep = np.exp(priors["log_keep"].near_middle)
    assert kept_w == pytest.approx(keep * reached_w(15, 45, 512 / 4096, 0.2), rel=0.1)
    step = decode_lag_open(kept_w, 50)
    assert found["prefill_lag"] == pytest.approx(0.2 * prefill_lag_open(15, 45, 1), rel=0.25)
    assert found["decode_lag"] == pytest.approx(0.4 * step, rel=0.25)


def test_a_lag_is_open_to_its_step_and_a_short_prefill_to_the_inverse() -> None:
    """The product that readings pin stays as it is where power and lag change together."""
    for seconds, settles in ((0.01, 0), (20.0, 1)):
        shown = [
            lagged_phases(15, watts, 50, seconds, 1.0, (lag_s, 1.0), 1.0)[0] - settles * watts
            for watts in (45, 55)
            for lag_s in [0.5 / prefill_lag_open(15, watts, settles)]
        ]
        assert shown[0] == pytest.approx(shown[1], rel=0.02)
    shown = [
        lagged_phases(15, 45, 50, 20.0, 30.0, (0.2, lag_s), keep)[1]
        for keep in (0.4, 0.7)
        for lag_s in [0.3 / decode_lag_open(keep * 45, 50)]
    ]
    assert shown[0] == pytest.approx(shown[1], rel=1e-3)


def test_blocks_of_power_are_prompts_in_prefill_and_cells_in_decode() -> None:
    readings = make_design(fast_readings("prefill", "decode")).power
    assert readings is not None
    assert [g for g, _ in readings.blocks] == [0] * 3 + [1] * 9
    data = power_data(readings, np.array([0]), 1)
    assert data["series_blocked"].tolist() == [[1, 1]]
    assert np.all(data["phase_blocked"] == 1)
    # Where one phase alone was read, nothing pins the other's lag, power or blocks.
    readings = make_design(fast_readings("decode")).power
    assert readings is not None
    data = power_data(readings, np.array([0]), 1)
    assert data["series_blocked"].tolist() == data["series_read_phase"].tolist() == [[0, 1]]
    assert data["series_pins_power"].tolist() == [[0, 1]]


def test_a_prompt_nobody_recorded_counts_as_a_usual_one_in_decodes_power() -> None:
    frame = table(input_tokens=np.array([100.0, 300, 500, 300]), sensor_period_s=1.0, power_w=25.0)
    frame["power_w"] += np.arange(4)
    readings = make_design(frame).power
    assert readings is not None
    asked = replace(readings, input_tokens=np.array([100.0, np.nan, 500, 300]))
    np.testing.assert_array_equal(known_context(asked), known_context(readings))
    unasked = replace(readings, input_tokens=np.full(4, np.nan))
    np.testing.assert_array_equal(
        known_context(unasked), REFERENCE_CONTEXT + readings.output_tokens / 2
    )


def test_one_mean_repeated_over_a_subject_is_one_reading() -> None:
    frame = table(6, power_w=43.6, energy_j=43.6 * (np.arange(6) + 30.2), subject="law")
    readings = make_design(frame).power
    assert readings is not None
    assert np.unique(readings.reading).size == 1
    assert {s.kind for s in readings.sensors} == {"mean"}
    assert np.isnan(measured_energy(frame)["power_w"]).all()
    assert np.isnan(measured_energy(frame)["energy_j"]).all()


def test_a_part_of_a_table_knows_a_mean_of_many_runs() -> None:
    """One run of a subject looks like a run of its own, unless the whole table said what it is."""
    frame = pd.DataFrame(
        {
            "device": "tegra",
            "llm": "DSR1-Llama-8B",
            "session": "day",
            "subject": ["law"] * 4 + ["art"],
            "input_tokens": 100.0,
            "output_tokens": 50.0,
            "prefill_s": 0.1,
            "decode_s": 2.0,
            "total_s": 2.1,
            "power_w": [20.0] * 4 + [22.0],
        }
    )
    part = [0, 4]
    assert np.isfinite(measured_energy(frame.iloc[part])["power_w"]).tolist() == [True, True]
    said = with_windows(frame)
    assert np.isfinite(measured_energy(said.iloc[part])["power_w"]).tolist() == [False, True]
    assert "power_window" not in with_windows(frame.iloc[part].reset_index(drop=True))


def test_power_times_time_is_no_reading_of_energy() -> None:
    frame = table(power_w=np.array([20.0, 21, 22, 23]), energy_j=1.0, sensor_period_s=1.0)
    measured = measured_energy(frame)
    assert np.isnan(measured["energy_j"]).all()
    np.testing.assert_array_equal(measured["power_w"], frame["power_w"])
    counted = measured_energy(frame.assign(n_power_samples=30))
    assert np.isfinite(counted["energy_j"]).all()


def test_different_rails_are_not_pooled() -> None:
    gpu = table(power_w=np.array([27.0, 27.1, 27.2, 27.3]), sensor_period_s=1.0)
    module = gpu.assign(power_w=gpu["power_w"] * 1.6, session="tuesday", source="tuesday")
    both = pd.concat([gpu, module], ignore_index=True)
    with pytest.raises(DataError, match="not the same rails"):
        make_design(both)
    runs = named_rails(Runs(both), parse_rails(["monday=GPU", "tuesday=whole module"]))
    with pytest.raises(DataError, match="different rails: GPU, whole module"):
        make_design(runs.frame)
    readings = make_design(runs.frame, rail_offset=True).power
    assert readings is not None
    assert len(readings.offsets) == 1
    with pytest.raises(DataError, match="SOURCE=NAME"):
        parse_rails(["monday"])
    with pytest.raises(DataError, match="no rows of the source"):
        named_rails(Runs(both), {"friday": "GPU"})


def test_energy_power_and_time_agree_in_every_draw(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "8B", PROMPTS, OUTPUTS)
    draws = predict(small_fit, requests).draws
    assert set(ENERGIES) <= set(draws)
    parts = draws["prefill_energy_j"] + draws["decode_energy_j"]
    np.testing.assert_allclose(draws["energy_j"], parts)
    np.testing.assert_allclose(draws["energy_j"], draws["power_w"] * draws["total_s"])
    # One output token is prefill alone, whose busy power does not depend on the prompt.
    first, second = draws["power_w"][..., 0], draws["power_w"][..., 1]
    np.testing.assert_allclose(first, second)
    assert np.all(draws["decode_energy_j"][..., OUTPUTS == 1] == 0)


def test_the_power_of_decode_goes_by_its_mean_context(shipped_fit: Fit) -> None:
    prompts, outputs = np.array([100, 1900, 100]), np.array([200, 200, 3800])
    requests = make_requests(shipped_fit, "14B", prompts, outputs)
    draws = predict(shipped_fit, requests, session="same").expected
    decode_w = np.asarray(draws["decode_energy_j"] / draws["decode_s"]).reshape(-1, 3)
    rise = (2000 / 200) ** shipped_fit.flat("power_context_cell")[:, cell_of(shipped_fit, "14B")]
    np.testing.assert_allclose(decode_w[:, 1] / decode_w[:, 0], rise, rtol=1e-5)
    np.testing.assert_allclose(decode_w[:, 1], decode_w[:, 2], rtol=1e-5)


def test_a_run_that_takes_longer_than_usual_draws_less(shipped_fit: Fit) -> None:
    still = {"block_spread_decode": np.zeros_like(shipped_fit.draws["block_spread_decode"])}
    fit = replace(shipped_fit, draws=shipped_fit.draws | still)
    found = predict(fit, make_requests(fit, "8B", 200, 800), session="same")
    run, usual = (
        {name: np.asarray(value).ravel() for name, value in values.items()}
        for values in (found.draws, found.expected)
    )
    power = (run["decode_energy_j"] / run["decode_s"]) / (
        usual["decode_energy_j"] / usual["decode_s"]
    )
    dynamic = special.expit(shipped_fit.flat("logit_dynamic")[:, cell_of(shipped_fit, "8B")])
    longer = run["decode_s"] / usual["decode_s"]
    np.testing.assert_allclose(power * longer, (1 - dynamic) * longer + dynamic, rtol=1e-5)
    # Public runs of the 8B show it.
    assert np.quantile(dynamic, 0.05) > 0.5


def cell_of(fit: Fit, llm: str) -> int:
    """Return the position of an LLM on the Orin among a fit's cells."""
    names = fit.coords.cell_names()
    return next(i for i, name in enumerate(names) if llm in name and "jetson-agx-orin-64gb" in name)


def test_the_sensor_reports_idle_time_and_whole_samples(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "8B", PROMPTS, OUTPUTS)
    chip, sensor = (
        predict(small_fit, requests, session="same", view=view).median()
        for view in ("chip", "sensor")
    )
    np.testing.assert_allclose(chip["total_s"], sensor["total_s"])
    # A short prefill falls between the samples; the mean of a long run hardly notices the ends.
    assert sensor["power_w"][0] < 0.7 * chip["power_w"][0]
    assert sensor["power_w"][3] == pytest.approx(chip["power_w"][3], rel=0.05)


def test_the_sensor_view_predicts_the_readings(small_fit: Fit, small_runs: Runs) -> None:
    frame = small_runs.frame[small_runs.frame["device"] == "tegra"]
    prediction = predict(small_fit, requests_of(frame), session="same", view="sensor")
    for metric in ("energy_j", "power_w"):
        observed = frame[metric].to_numpy()
        read = np.isfinite(observed)
        error = np.abs(prediction.median()[metric] / observed - 1)[read]
        assert np.median(error) < 0.03
        low, high = prediction.interval(0.9)[metric][read].T
        inside = np.mean((low <= observed[read]) & (observed[read] <= high))
        assert inside > 0.8


def test_the_chips_energy_is_the_simulators(small_fit: Fit) -> None:
    """Truth and prediction of the chip, which no reading shows: the sensor stands between them."""
    truth = json.loads((shipped("datasets") / "truth.json").read_text(encoding="utf-8"))
    points = [
        p for p in truth["grid"] if p["device"] == "tegra" and p["llm"] in small_fit.coords.llms
    ]
    requests = make_requests(
        small_fit,
        [p["llm"] for p in points],
        [p["input_tokens"] for p in points],
        [p["output_tokens"] for p in points],
        device="tegra",
    )
    prediction = predict(small_fit, requests)
    for metric in ("energy_j", "power_w"):
        true = np.array([p["new"]["expected"][metric] for p in points])
        low, high = prediction.interval(0.9)[metric].T
        assert np.mean((low <= true) & (true <= high)) >= 0.8, metric
        assert np.median(high / low) < 2, metric


def test_nothing_read_of_a_phase_is_said_and_wide(small_fit: Fit) -> None:
    unseen = tuple(replace(r, prefill_power=0) for r in small_fit.reads)
    blind = replace(small_fit, reads=unseen)
    requests = make_requests(blind, "8B", 300, 1)
    assert any("busy in prefill" in w for w in predict(blind, requests).warnings)


def test_a_sensor_nobody_knows_is_refused(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "8B", 300, 10, device="server")
    with pytest.raises(DataError, match="no power sensor of server"):
        predict(small_fit, requests, view="sensor")
    timeless = replace(small_fit, sensors=())
    assert not set(ENERGIES) & set(timeless.metrics)
    with pytest.raises(DataError, match="no power readings"):
        predict(timeless, make_requests(timeless, "8B", 300, 10), view="sensor")


def test_energy_comes_back_from_a_file(small_fit: Fit, small_fit_folder: Path) -> None:
    again = t2m_bayes.load_fit(small_fit_folder)
    assert again.sensors == small_fit.sensors
    assert again.metrics == small_fit.metrics
    prediction = t2m_bayes.predict(again, "8B", 300, 200, view="sensor")
    assert np.isfinite(prediction.median()["energy_j"]).all()
