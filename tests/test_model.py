"""The model, its sampler and its predictor, on one small real fit of simulated runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr
from xarray import DataTree

from t2m_bayes import fits
from t2m_bayes.design import (
    floor_shown,
    make_design,
    rises_pinned,
    stair_anchor,
    stair_weights,
    tile_of,
    tiles_in_common,
)
from t2m_bayes.errors import DataError, FitError
from t2m_bayes.fits import Fit
from t2m_bayes.hierarchy import model_data
from t2m_bayes.inference import Models
from t2m_bayes.pooling import USUAL_SPREAD, data_arrays, packed
from t2m_bayes.prediction import predict, predict_bands
from t2m_bayes.requests import make_requests, requests_of
from t2m_bayes.sampling import Sampling
from t2m_bayes.schema import TIMES, Runs
from t2m_bayes.time_start import time_start

PLAIN = {"mode": "FAST_COMPILE"}
"""Run a graph operation by operation: compiling takes longer than a few hundred evaluations."""

PROMPTS = np.array([40, 100, 128, 129, 200, 257, 700])
OUTPUTS = np.array([1, 2, 50, 300, 1000, 60, 7])


@pytest.fixture(scope="module")
def prior(small_models: Models) -> dict[str, np.ndarray]:
    """Prior predictive draws of the small runs' times, in seconds. shape: (sample, row)."""
    with small_models.time.model:
        drawn = pm.sample_prior_predictive(500, random_seed=1, compile_kwargs=PLAIN)
    times = drawn["prior_predictive"]
    return {
        phase: np.exp(np.minimum(times[phase].to_numpy(), 50)).reshape(500, -1)
        for phase in ("prefill", "decode")
    }


def test_prior_predictive_times_are_those_of_real_devices(
    small_models: Models, prior: dict[str, np.ndarray]
) -> None:
    # Bounds from datasheets, not from the rows: 1.8 to 8 billion parameters at 60 GB/s to 3 TB/s
    # stream in 1 to 270 ms, and 1 to 300 TFLOP/s take 0.01 to 16 ms for a prompt token.
    design = small_models.design
    step = prior["decode"] / (design.decode_output - 1)
    assert np.mean((step > 1e-3) & (step < 0.5)) > 0.9
    tokens = design.prompt_tokens[design.prefill_prompt]
    per_token = prior["prefill"] / np.maximum(tokens, 1)
    assert np.mean((per_token > 1e-6) & (per_token < 0.05)) > 0.9


def test_prior_covers_the_rows_without_knowing_them(
    small_models: Models, prior: dict[str, np.ndarray]
) -> None:
    design = small_models.design
    for phase, observed in (("prefill", design.prefill_s), ("decode", design.decode_s)):
        low, high = np.quantile(prior[phase], [0.005, 0.995], axis=0)
        assert np.mean((observed > low) & (observed < high)) > 0.95
        # Weakly informative: far wider than what the rows will leave.
        assert np.median(high / low) > 5


def test_the_fit_predicts_rows_of_its_own_sessions(small_fit: Fit, small_runs: Runs) -> None:
    frame = small_runs.frame[small_runs.frame["device"] == "tegra"]
    prediction = predict(small_fit, requests_of(frame), session="same")
    for metric, largest in (("prefill_s", 0.05), ("decode_s", 0.01)):
        error = np.abs(prediction.median()[metric] / frame[metric].to_numpy() - 1)
        assert np.nanmedian(error) < largest


def test_stacked_data_are_the_arrays_that_they_were(small_runs: Runs) -> None:
    design = make_design(small_runs.frame)
    part = model_data(design.subset(np.arange(len(small_runs.frame)) % 3 > 0))
    with pm.Model():
        data = data_arrays(model_data(design), dict.fromkeys(("cell", "series", "stair", "block")))
        pm.set_data(packed(part))
    assert len(packed(part)) < len(part) / 2
    for name, value in part.items():
        np.testing.assert_array_equal(data[name].eval(**PLAIN), value)


def test_chains_start_near_where_they_end(
    small_models: Models, small_posterior: tuple[DataTree, Sampling]
) -> None:
    data = model_data(small_models.design)
    start = time_start(small_models.design, data, small_models.rates, small_models.priors)
    posterior = small_posterior[0]["posterior"].to_dataset().median(("chain", "draw"))
    for name, read, off in (
        ("log_step_series_raw", "series_read_decode", 0.02),
        ("log_step_raw", "cell_read_decode", 0.1),
        ("log_context_series_raw", "series_read_context", 0.7),
        ("log_token_raw", "cell_read_prefill", 0.5),
        ("log_stair_anchored_raw", "stair_read", 0.1),
    ):
        pinned = data[read] > 0
        assert pinned.any()
        np.testing.assert_allclose(start[name][pinned], posterior[name][pinned], atol=off)


# Every variable of the trace is meant to stay as it was sampled; only readings are drawn.
@pytest.mark.filterwarnings("ignore::pymc.exceptions.ImplicitFreezeWarning")
@pytest.mark.parametrize("measured", [False, True], ids=["new-blocks", "measured-blocks"])
def test_numpy_predicts_what_pymc_predicts(
    small_models: Models,
    small_fit: Fit,
    small_posterior: tuple[DataTree, Sampling],
    measured: bool,
) -> None:
    """The predictor's quantiles are those of ``pm.sample_posterior_predictive``."""
    design, frame, posterior = small_models.design, small_models.frame, small_fit
    trace, _ = small_posterior
    with small_models.time.model:
        drawn = pm.sample_posterior_predictive(
            trace if measured else _of_other_blocks(trace, small_models),
            random_seed=2,
            progressbar=False,
            compile_kwargs=PLAIN,
        )
    rows = np.flatnonzero(frame["device"].to_numpy() == "tegra")
    requests = requests_of(frame.iloc[rows])
    if not measured:
        requests = replace(requests, block=("",) * rows.size)
    ours = predict(posterior, requests, session="same", seed=3)
    stairs = {posterior.coords.cell_names()[c]: set() for c, _ in posterior.coords.stairs}
    for c, t in posterior.coords.stairs:
        stairs[posterior.coords.cell_names()[c]].add(posterior.coords.tiles[t])
    compared = 0
    for phase, metric in (("prefill", "prefill_s"), ("decode", "decode_s")):
        theirs = np.exp(drawn["posterior_predictive"][phase].to_numpy())
        of_row = {r: i for i, r in enumerate(getattr(design, f"{phase}_row").tolist())}
        for j, r in enumerate(rows.tolist()):
            if r not in of_row:
                continue
            cell = f"{frame['llm'].iloc[r]} | tegra"
            if phase == "prefill":
                tile = int(tile_of(frame["input_tokens"].to_numpy(float)[r : r + 1])[0])
                if tile not in stairs.get(cell, set()):
                    continue  # read too little for a level: drawn from its population in both
            a = ours.draws[metric][..., j].ravel()
            b = theirs[..., of_row[r]].ravel()
            qa, qb = (np.quantile(v, [0.05, 0.25, 0.5, 0.75, 0.95]) for v in (a, b))
            spread = qb[-1] - qb[0]
            # Monte Carlo error of a 5 % quantile of 1,000 draws is about a tenth of the spread.
            assert np.all(np.abs(qa - qb) < 0.2 * spread), (metric, r, qa, qb)
            assert abs(qa[2] - qb[2]) < 0.08 * spread
            compared += 1
    assert compared > 50


def _of_other_blocks(trace: DataTree, models: Models) -> xr.Dataset:
    """Return a posterior with blocks drawn anew: a prediction is of one that nobody measured."""
    sample = trace["posterior"].to_dataset()
    spread = sample["block_spread_decode"][..., [s for s, _ in models.design.blocks]].to_numpy()
    effect = spread * np.random.default_rng(5).standard_normal(spread.shape)
    centred = model_data(models.design)["block_centred"]
    moved = (effect - sample["decode_block_effect"].to_numpy()) / (spread / USUAL_SPREAD) ** (
        1 - centred
    )
    dims = ("chain", "draw", "block")
    return sample.assign(
        decode_block_effect=(dims, effect),
        decode_block_effect_raw=sample["decode_block_effect_raw"] + xr.DataArray(moved, dims=dims),
    )


def test_a_new_session_is_less_certain_than_the_same(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "8B", PROMPTS, OUTPUTS)
    new = predict(small_fit, requests).interval(0.9)
    same = predict(small_fit, requests, session="same").interval(0.9)
    decoding = OUTPUTS > 1
    assert np.all(np.ptp(new["decode_s"][decoding], axis=1) > np.ptp(same["decode_s"][decoding], 1))


def test_less_knowledge_gives_wider_bands(small_fit: Fit) -> None:
    def width(llm: str, device: str, params_b: float | None = None) -> float:
        requests = make_requests(small_fit, llm, 200, 300, device=device, params_b=params_b)
        low, high = predict(small_fit, requests).interval(0.9)["total_s"][0]
        return float(np.log(high / low))

    measured = width("8B", "tegra")
    by_size = width("an-llm-nobody-measured", "tegra", 8.03)
    new_device = width("8B", "jetson-orin-nano-8gb")
    assert measured < by_size < new_device


@pytest.mark.parametrize("session", ["same", "new"])
def test_bands_widen_beyond_what_was_measured(small_fit: Fit, session: str) -> None:
    tokens = np.array([200.0, 100_000.0])
    requests = make_requests(small_fit, "8B", tokens, tokens)
    low, high = np.moveaxis(
        [predict(small_fit, requests, session=session).interval(0.9)[m] for m in TIMES], -1, 0
    )
    inside, beyond = np.log(high / low).T
    assert np.all(beyond > 1.2 * inside)


def test_predictions_say_what_limits_them(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "8B", [100, 100_000], [300, 100_000])
    warnings = " ".join(predict(small_fit, requests).warnings)
    assert "input_tokens of 1 request(s) lie outside the measured" in warnings
    assert "output_tokens of 1 request(s) lie outside the measured" in warnings
    assert "marked as unusable" in warnings


def test_prediction_is_labelled_and_reproducible(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "1.5B", PROMPTS, OUTPUTS)
    first, again = (predict(small_fit, requests, seed=5) for _ in range(2))
    dataset = first.to_xarray()
    assert dataset["total_s"].dims == ("chain", "draw", "request")
    for metric in TIMES:
        np.testing.assert_array_equal(first.draws[metric], again.draws[metric])
    np.testing.assert_allclose(
        first.draws["total_s"], first.draws["prefill_s"] + first.draws["decode_s"]
    )
    assert np.all(first.draws["decode_s"][..., OUTPUTS == 1] == 0)


def test_bands_of_many_requests_are_those_of_the_draws(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "8B", np.repeat(PROMPTS, 3), np.repeat(OUTPUTS, 3))
    bands, _ = predict_bands(small_fit, requests, prob=0.8)
    prediction = predict(small_fit, requests)
    for metric in TIMES:
        spread = np.ptp(prediction.interval(0.98)[metric], axis=1)
        assert np.all(np.abs(bands[metric][:, 0] - prediction.median()[metric]) <= 0.1 * spread)
        exact = prediction.interval(0.8)[metric]
        assert np.all(np.abs(bands[metric][:, 1:] - exact) <= 0.15 * spread[:, None])


def test_left_out_rows_reach_no_likelihood(small_models: Models) -> None:
    """Changing the held-out rows' times changes nothing of a fit to the others."""
    keep = np.arange(len(small_models.frame)) % 2 == 0
    design = small_models.design
    wild = replace(
        design,
        decode_s=np.where(keep[design.decode_row], design.decode_s, 1e3),
        prefill_s=np.where(keep[design.prefill_row], design.prefill_s, 1e3),
    )
    quick = Sampling(draws=10, tune=10, chains=2, progress=False)
    honest = small_models.fit(keep, quick)
    tampered = replace(small_models, design=wild).fit(keep, quick)
    for name, values in honest.draws.items():
        np.testing.assert_array_equal(values, tampered.draws[name])
    everything = small_models.fit(sampling=quick)
    assert not np.array_equal(everything.draws["log_step"], honest.draws["log_step"])


def test_a_short_fit_is_marked_and_a_row_less_table_refused(
    small_models: Models, small_runs: Runs
) -> None:
    short = small_models.fit(sampling=Sampling(draws=10, tune=10, chains=2, progress=False))
    assert not short.usable
    assert "should not be used" in short.provenance["diagnostics"]["verdict"]
    with pytest.raises(DataError, match="none of the"):
        make_design(small_runs.frame.assign(prefill_s=np.nan, decode_s=np.nan))


def test_a_fit_comes_back_as_it_was(small_fit: Fit, small_fit_folder: object) -> None:
    again = fits.load(str(small_fit_folder))
    assert again.coords == small_fit.coords
    assert again.reads == small_fit.reads
    assert set(again.draws) == set(small_fit.draws)
    for name, values in again.draws.items():
        np.testing.assert_allclose(values, small_fit.draws[name], rtol=1e-6)
    requests = make_requests(again, "8B", PROMPTS, OUTPUTS)
    a, b = predict(again, requests), predict(small_fit, requests)
    np.testing.assert_allclose(a.draws["total_s"], b.draws["total_s"], rtol=1e-4)


def test_a_fit_of_another_format_is_refused(
    small_fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "FORMAT", fits.FORMAT - 1)
    earlier = fits.save(small_fit, tmp_path)
    monkeypatch.undo()
    with pytest.raises(FitError, match="train it again"):
        fits.load(earlier)


def test_a_flat_prefill_shows_the_floor(small_runs: Runs) -> None:
    frame = small_runs.frame.copy()
    flat = frame["llm"].eq("DSR1-Qwen-1.5B")
    steep = (frame["input_tokens"] / 1000).where(~flat, 0.05)
    design = make_design(frame.assign(prefill_s=steep, total_s=np.nan))
    llms = [design.coords.llms[m] for m, _ in design.coords.cells]
    np.testing.assert_array_equal(floor_shown(design), [m == "DSR1-Qwen-1.5B" for m in llms])


def test_many_precise_readings_pin_a_rise_and_few_or_noisy_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    runs = [("many", 60, 0.002), ("noisy", 60, 0.2), ("few", 3, 0.002)]
    frame = pd.concat(
        pd.DataFrame({"llm": llm, "input_tokens": np.linspace(130, 190, n).round()}).assign(
            prefill_s=lambda f, noise=noise: (
                f["input_tokens"] * np.exp(rng.normal(-7, noise, len(f)))
            )
        )
        for llm, n, noise in runs
    ).assign(device="server", session="a", params_b=8.0, bytes_per_param=2.0, output_tokens=1)
    design = make_design(frame.reset_index(drop=True))
    pinned = {
        design.coords.llms[design.coords.cells[c][0]]: bool(p)
        for (c, _), p in zip(design.coords.stairs, rises_pinned(design), strict=True)
    }
    assert pinned == {"many": True, "noisy": False, "few": False}


def test_weights_of_stairs_give_mean_and_slope_of_a_line(small_runs: Runs) -> None:
    design = make_design(small_runs.frame)
    mean, slope = stair_weights(design)
    anchor = np.log(stair_anchor(design))
    line = 2 + 0.3 * anchor
    for c in range(len(design.coords.cells)):
        own = np.array([cell == c for cell, _ in design.coords.stairs])
        assert mean[own].sum() == pytest.approx(1)
        assert mean[own] @ line[own] == pytest.approx(line[own].mean())
        assert slope[own] @ line[own] == pytest.approx(0.3)


def test_llms_share_a_tile_from_two_stairs(small_runs: Runs) -> None:
    coords = make_design(small_runs.frame).coords
    alone = np.array([m == 0 for m, _ in (coords.cells[c] for c, _ in coords.stairs)])
    assert not tiles_in_common(coords, alone).any()
    shared = tiles_in_common(coords, np.ones(alone.size, dtype=bool))
    counts = np.bincount(coords.stair_device_tiles())
    np.testing.assert_array_equal(shared, counts > 1)
    assert shared.any()


def test_unknown_prompt_lengths_keep_their_decode(small_runs: Runs) -> None:
    frame = small_runs.frame.copy()
    frame.loc[frame.index[:5], "input_tokens"] = np.nan
    design = make_design(frame)
    known = frame["input_tokens"].notna()
    assert not set(design.prefill_row.tolist()) & set(np.flatnonzero(~known).tolist())
    unknown = np.isin(design.decode_row, np.flatnonzero(~known))
    assert unknown.sum() == 5
    assert np.all(design.decode_input_sd[unknown] > 0)
    assert np.all(design.decode_input_sd[~unknown] == 0)
    assert design.decode_input[unknown][0] == pytest.approx(frame["input_tokens"].mean())


@pytest.mark.parametrize(
    ("column", "value"), [("input_tokens", 0), ("output_tokens", 0), ("input_tokens", np.nan)]
)
def test_impossible_requests_are_refused(small_fit: Fit, column: str, value: float) -> None:
    tokens = {"input_tokens": 10.0, "output_tokens": 10.0} | {column: value}
    with pytest.raises(DataError, match=column):
        make_requests(small_fit, "8B", **tokens)


def test_tiles_hold_the_prompts_they_say() -> None:
    prompts = pd.Series([1, 64, 65, 128, 129]).to_numpy(float)
    assert tile_of(prompts).tolist() == [1, 1, 2, 2, 3]
