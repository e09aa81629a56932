"""Octaves of context: which a table has, and that model and predictor agree on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import linregress

from t2m_bayes import fits
from t2m_bayes.design import context_cost
from t2m_bayes.evidence.readings import read
from t2m_bayes.fits import Fit
from t2m_bayes.formulas import context_tokens
from t2m_bayes.hierarchy import model_data
from t2m_bayes.inference import Models
from t2m_bayes.octaves import (
    FIRST_TOKENS,
    MIDDLES,
    OCTAVES,
    WIDE,
    octave_patterns,
    octave_shares,
    octave_slopes,
    octaves_read,
    off_mean,
    table_octaves,
)
from t2m_bayes.prediction import predict
from t2m_bayes.requests import make_requests, requests_of

EVERY = range(OCTAVES)


@given(st.integers(0, 5_000), st.integers(1, 1_500))
def test_shares_are_those_of_the_steps(prompt: int, out: int) -> None:
    shares = octave_shares(np.array(prompt), np.array(out), EVERY)
    contexts = prompt + np.arange(1, out)
    octave = np.ceil(np.log2(np.maximum(contexts, FIRST_TOKENS) / FIRST_TOKENS)).astype(int)
    counted = np.bincount(octave, minlength=OCTAVES) / max(out - 1, 1)
    np.testing.assert_allclose(shares, counted, atol=1e-12)


@given(st.integers(1, 10**7), st.integers(2, 10**6))
def test_every_step_lies_in_an_octave(prompt: int, out: int) -> None:
    assert octave_shares(np.array(prompt), np.array(out), EVERY).sum() == pytest.approx(1)


def test_only_wide_prompts_show_octaves() -> None:
    device = np.array([0, 0, 1, 1])
    narrow = np.array([100.0, 100 * WIDE - 1, 5_000, np.nan])
    wide = np.array([100.0, 100 * WIDE, 5_000, np.nan])
    assert table_octaves(device, narrow) == ()
    assert table_octaves(device, wide) == tuple(EVERY)


def test_an_octave_needs_three_runs_worth_of_steps() -> None:
    cell = np.array([0, 0, 0, 0, 1])
    shares = np.array([[1, 1, 0.5, 0.5, 1], [0, 0, 0.5, 0.5, 0]])
    assert octaves_read(cell, shares, 2).tolist() == [[1, 0], [0, 0]]


NONE_READ, ALL_READ = np.zeros(OCTAVES, dtype=bool), np.ones(OCTAVES, dtype=bool)
EARLY, WIDE_READ = (np.arange(OCTAVES) < n for n in (4, 7))
LATE = np.roll(EARLY, 6)


@given(arrays(bool, OCTAVES, elements=st.booleans()))
def test_octaves_that_were_read_have_no_mean(read: np.ndarray) -> None:
    """Which is the step's, that goes on in the others."""
    effects = np.random.default_rng(0).normal(size=OCTAVES)
    departure = off_mean(read[None].astype(float))[0] @ effects
    mean = effects[read].mean() if read.any() else 0.0
    np.testing.assert_allclose(departure, effects - mean, atol=1e-12)


@given(arrays(bool, OCTAVES, elements=st.booleans()))
def test_slopes_are_those_of_least_squares(read: np.ndarray) -> None:
    effects = np.random.default_rng(0).normal(size=OCTAVES)
    slope = octave_slopes(read[None].astype(float))[0] @ effects
    expected = linregress(MIDDLES[read], effects[read]).slope if read.sum() > 1 else 0.0
    np.testing.assert_allclose(slope, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("reads", "shared", "own"),
    [
        ([NONE_READ, NONE_READ], 0, [0, 0]),
        ([WIDE_READ, NONE_READ], 5, [0, 0]),
        ([WIDE_READ, WIDE_READ], 5, [5, 5]),
        ([ALL_READ, EARLY], 10, [2, 2]),
        ([EARLY, LATE], 4, [0, 0]),
        ([np.arange(OCTAVES) < 2, NONE_READ], 0, [0, 0]),
    ],
)
def test_readings_pin_what_they_show(reads: list[np.ndarray], shared: int, own: list[int]) -> None:
    """What is shared where any LLM shows it, and what is its own where another does too."""
    read = np.stack(reads).astype(float)
    made = octave_patterns(read, np.ones(2), np.zeros(2, dtype=int), 1)
    pinned = made["device_octave_pinned"][0] > 0
    assert pinned.sum() == shared
    assert made["cell_octave_pinned"].sum(axis=1).tolist() == own
    for name in ("device", "cell"):
        for pattern in made[f"{name}_octave_pattern"]:
            np.testing.assert_allclose(pattern @ pattern.T, np.eye(OCTAVES), atol=1e-12)
    pattern = made["device_octave_pattern"][0]
    shown = read[:, :, None] * (off_mean(read) @ pattern[:, ~pinned])
    for own_read, unseen in zip(read > 0, shown, strict=True):
        line = np.c_[np.ones(own_read.sum()), MIDDLES[own_read]]
        left = unseen[own_read] - line @ np.linalg.lstsq(line, unseen[own_read])[0]
        np.testing.assert_allclose(left, 0, atol=1e-6)
    # What all cells of a device have alike is the same as what they share.
    alike = (made["cell_octave_share"] @ pattern).sum(axis=0)
    np.testing.assert_allclose(alike[pinned], np.eye(OCTAVES)[pinned], atol=1e-12)


def test_a_slope_is_pinned_where_no_cost_of_context_is() -> None:
    read = np.stack([WIDE_READ, NONE_READ]).astype(float)
    made = octave_patterns(read, np.zeros(2), np.zeros(2, dtype=int), 1)
    assert made["device_octave_pinned"].sum() == 6


def test_costs_of_context_give_way_to_the_slope_of_octaves(
    wide_models: Models, wide_prior: xr.DataTree
) -> None:
    """So that what readings pin stays where it is, and chains need not follow a ridge."""
    design = wide_models.design
    data = model_data(design)
    read_octaves = data["cell_octave_slope"][0] != 0
    line = read_octaves * (MIDDLES - MIDDLES[read_octaves].mean())
    cost = context_cost(design)
    effects = 0.02 * cost.min() * line
    sample = wide_prior["posterior"].to_dataset().isel(draw=[0, 0]).copy(deep=True)
    for name in ("octave_pattern_raw", "octave_alone_raw", "octave_own_pattern_raw"):
        sample[name] = sample[name] * 0
    sample["log_context_series_raw"][:] = np.log(cost)
    tau = sample["tau_octave"].to_numpy()[0, 0, 0]
    sample["octave_pattern_raw"][0, 1, 0] = effects @ data["device_octave_pattern"][0] / tau
    tree = xr.DataTree.from_dict(
        {"posterior": sample, "sample_stats": wide_prior["sample_stats"].to_dataset()}
    )
    model, rng = wide_models.time.model, np.random.default_rng(0)
    decode = next(r for r in read(model, design, data, tree, rng) if r.name == "decode")
    moved = decode.location[1] - decode.location[0]
    # No cost and step give way better.
    alone = effects @ data["decode_octave"].T
    context = cost[design.decode_series] * context_tokens(design.decode_input, design.decode_output)
    for s in range(len(cost)):
        own = design.decode_series == s
        line = np.c_[np.ones(own.sum()), (context / (1 + context))[own]]
        left = alone[own] - line @ np.linalg.lstsq(line, alone[own])[0]
        np.testing.assert_allclose(moved[own], left, atol=0.02 * np.abs(alone).max())


def test_the_predictor_has_the_octaves_of_the_model(
    wide_models: Models, wide_prior: xr.DataTree, wide_fit: Fit
) -> None:
    """For every draw and reading, not only in distribution."""
    design, frame = wide_models.design, wide_models.frame
    data, rng = model_data(design), np.random.default_rng(0)
    readings = {
        one.name: one for one in read(wide_models.time.model, design, data, wide_prior, rng)
    }["decode"]
    ours = predict(wide_fit, requests_of(frame), session="same").expected["decode_s"]
    ours = np.log(ours.reshape(-1, len(frame))[:, design.decode_row])
    np.testing.assert_allclose(ours, readings.location, atol=1e-4)
    # Which is not only the line: the draws leave it by what their spread says.
    on_line = replace(wide_fit, draws={**wide_fit.draws, "octave_departure": _flat(wide_fit)})
    line = predict(on_line, requests_of(frame), session="same").expected["decode_s"]
    off = np.abs(np.log(line.reshape(-1, len(frame))[:, design.decode_row]) - ours)
    assert np.median(off) > 1e-3


def _flat(fit: Fit) -> np.ndarray:
    return np.zeros_like(fit.draws["octave_departure"])


def test_octaves_come_back_from_a_file(wide_fit: Fit, tmp_path: object) -> None:
    again = fits.load(fits.save(wide_fit, str(tmp_path)))
    assert again.coords == wide_fit.coords
    requests = make_requests(wide_fit, "8B", [200, 40, 100_000], [400, 10, 50])
    for metric, draws in predict(wide_fit, requests).expected.items():
        np.testing.assert_allclose(predict(again, requests).expected[metric], draws, rtol=1e-4)


def test_an_octave_nobody_read_is_drawn(wide_fit: Fit) -> None:
    """Beyond the measured contexts, by the spread that the measured ones have."""
    beyond = 128 * 2**9
    off = {
        "measured": _off_the_line(wide_fit, "8B", 300),
        "beyond": _off_the_line(wide_fit, "8B", beyond),
    }
    spread = wide_fit.flat("tau_octave").mean(axis=-1)
    assert np.corrcoef(np.abs(off["beyond"]), spread)[0, 1] > 0.2
    assert (off["measured"] != off["beyond"]).all()


def test_an_llm_new_to_the_device_shares_its_octaves(wide_fit: Fit) -> None:
    """An attention kernel is the device's; what it costs each LLM is that LLM's."""
    octave = wide_fit.coords.octaves.index(2)
    tau = wide_fit.flat("tau_octave")[:, 0]
    of_device = wide_fit.flat("octave_effect")[:, 0, octave]
    own = _off_the_line(wide_fit, "14B", 300) - of_device
    scale = wide_fit.flat("octave_own") * tau
    assert 0.85 < np.std(own / scale) < 1.15
    assert abs(np.corrcoef(own / scale, of_device / tau)[0, 1]) < 0.2


def _off_the_line(fit: Fit, llm: str, prompt: int) -> np.ndarray:
    """Return how far a short run is from the line in context, on the log scale. shape: (draw,)."""
    requests = make_requests(fit, llm, [prompt], [9])
    bare = {name: v for name, v in fit.draws.items() if name != "tau_octave"}
    with_octaves = predict(fit, requests, session="same").expected["decode_s"]
    line = predict(replace(fit, draws=bare), requests, session="same").expected["decode_s"]
    return np.log(with_octaves / line).ravel()
