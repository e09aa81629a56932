"""Comparison: splits that nobody peeks through, scores, ties, and failures that harm nobody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2m_bayes.baselines import registry
from t2m_bayes.comparison import runner, tables
from t2m_bayes.comparison.estimators import NAMES, Bayes
from t2m_bayes.comparison.protocols import Protocol, protocol
from t2m_bayes.errors import DataError
from t2m_bayes.inference import Models
from t2m_bayes.requests import requests_of
from t2m_bayes.sampling import Sampling
from t2m_bayes.schema import Runs

CHEAP = ["physics_wls", "direct", "published"]
RANDOM = ("random:4", "random:0.5", "few-shot:3", "kfold:3")
FIXED = (
    "leave-llm-out",
    "leave-device-out",
    "extrapolate:input_tokens<=130",
    "extrapolate:output_tokens<=200",
    "leave-session-out",
    "time-order",
)


@pytest.fixture(scope="module")
def few_runs(small_runs: Runs) -> Runs:
    """Six runs of each LLM on each device, each cell in two sessions."""
    frame = small_runs.frame
    nth = frame.groupby(["device", "llm"]).cumcount()
    frame = frame[nth < 6].assign(session=np.where(nth[nth < 6] % 2, "odd", "even"))
    return Runs(frame.reset_index(drop=True), small_runs.reports)


@pytest.fixture(scope="module")
def compared(few_runs: Runs) -> runner.Comparison:
    """Three cheap estimators on three seeds, decode alone."""
    return runner.compare(_times(few_runs.frame), protocol("few-shot:4"), CHEAP, seeds=3, jobs=1)


@pytest.mark.parametrize("text", [*RANDOM, *FIXED])
def test_splits_keep_train_and_test_apart_and_repeat(few_runs: Runs, text: str) -> None:
    how: Protocol = protocol(text)
    splits = how.splits(few_runs.frame, "tegra", 7)
    for split, again in zip(splits, how.splits(few_runs.frame, "tegra", 7), strict=True):
        assert not np.any(split.train & split.test)
        assert split.train.any()
        assert split.test.any()
        np.testing.assert_array_equal(split.train, again.train)
    other = how.splits(few_runs.frame, "tegra", 8)
    same = all(np.array_equal(a.train, b.train) for a, b in zip(splits, other, strict=True))
    assert same != how.random


def test_splits_hold_out_what_they_say(few_runs: Runs) -> None:
    frame = few_runs.frame
    there = frame["device"].eq("tegra").to_numpy()
    (few,) = protocol("few-shot:3").splits(frame, "tegra", 0)
    assert frame[few.train & there].groupby("llm").size().tolist() == [3, 3]
    assert np.all(few.train[~there])
    folds = protocol("kfold:4").splits(frame, "tegra", 0)
    assert np.all(np.sum([fold.test for fold in folds], axis=0) == 1)
    for split in protocol("leave-llm-out").splits(frame, "tegra", 0):
        assert set(frame.loc[split.test, "llm"]) == {split.name}
        assert split.name not in set(frame.loc[split.train & there, "llm"])
        assert split.name in set(frame.loc[split.train & ~there, "llm"])
    for split in protocol("leave-session-out").splits(frame, "tegra", 0):
        assert set(frame.loc[split.test, "session"]) == {split.name}
        assert split.name not in set(frame.loc[split.train & there, "session"])
    for split in protocol("leave-device-out").splits(frame, "tegra", 0):
        assert split.name not in set(frame.loc[split.train, "device"])
    (far,) = protocol("extrapolate:input_tokens<=130").splits(frame, "tegra", 0)
    assert frame.loc[far.train & there, "input_tokens"].max() <= 130
    assert frame.loc[far.test, "input_tokens"].min() > 130
    (order,) = protocol("time-order").splits(frame, "tegra", 0)
    for llm in frame["llm"].unique():
        own = there & frame["llm"].eq(llm).to_numpy()
        assert np.flatnonzero(order.train & own).max() < np.flatnonzero(order.test & own).min()


def test_an_llm_leaves_with_all_its_precisions(few_runs: Runs) -> None:
    frame = few_runs.frame.copy()
    eights = frame["llm"].eq("DSR1-Llama-8B")
    frame.loc[eights & (np.arange(len(frame)) % 2 == 0), "llm"] = "DSR1-Llama-8B@INT4"
    splits = protocol("leave-llm-out").splits(frame, "tegra", 0)
    assert [split.name for split in splits] == ["DSR1-Llama-8B", "DSR1-Qwen-1.5B"]
    assert set(frame.loc[splits[0].test, "llm"]) == {"DSR1-Llama-8B", "DSR1-Llama-8B@INT4"}


@pytest.mark.parametrize(
    "text", ["", "few-shot", "few-shot:0", "few-shot:x", "kfold:1", "extrapolate:tokens<=3", "loo"]
)
def test_protocols_that_mean_nothing_are_refused(few_runs: Runs, text: str) -> None:
    with pytest.raises(DataError):
        protocol(text).splits(few_runs.frame, "tegra", 0)
    with pytest.raises(DataError, match="leaves nothing"):
        protocol("few-shot:50").splits(few_runs.frame, "tegra", 0)


@pytest.mark.parametrize(
    "name",
    [
        "physics_wls",
        "mean_ratio",
        "linear",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in NAMES
            if name not in {"bayes", "physics_wls", "mean_ratio", "linear"}
        ),
    ],
)
def test_no_regressor_sees_a_test_row(few_runs: Runs, name: str) -> None:
    """Changing the test rows' readings changes nothing but the readings."""
    if name == "xgboost":
        pytest.importorskip("xgboost")
    how = protocol("few-shot:4")
    (split,) = how.splits(few_runs.frame, "tegra", 0)
    wild = few_runs.frame.copy()
    for column in ("prefill_s", "decode_s", "total_s", "energy_j", "power_w"):
        wild.loc[split.test, column] *= np.random.default_rng(0).uniform(0.1, 10, split.test.sum())
    honest, tampered = (
        runner.compare(runs, how, [name], seeds=1, jobs=1).rows
        for runs in (_times(few_runs.frame), _times(wild))
    )
    assert len(honest) == len(tampered) > 0
    for column in ("row", "median", "lower_50", "upper_50", "lower_90", "upper_90"):
        np.testing.assert_array_equal(honest[column], tampered[column])
    assert not np.array_equal(honest["observed"], tampered["observed"])


def _times(frame: pd.DataFrame) -> Runs:
    return Runs(frame.drop(columns=["prefill_s", "total_s", "energy_j", "power_w"]))


def test_the_model_sees_the_rows_it_is_given_alone(small_models: Models) -> None:
    frame = small_models.frame
    sampling = Sampling(draws=10, tune=10, chains=2, progress=False)
    keep = (np.arange(len(frame)) % 2 == 0) | frame["device"].eq("server").to_numpy()
    model = Bayes(small_models, sampling).fit(Runs(frame[keep]))
    assert model.fit_.provenance["rows"] == keep.sum()
    predicted = model.predict(requests_of(frame[~keep]), session="same")
    assert predicted.draws["total_s"].shape[-1] == (~keep).sum()
    design = small_models.design
    wild = replace(
        design,
        resolution_s=design.resolution_s + 0.1,
        decode_s=np.where(keep[design.decode_row], design.decode_s, 1e3),
        prefill_s=np.where(keep[design.prefill_row], design.prefill_s, 1e3),
    )
    again = Bayes(replace(small_models, design=wild), sampling).fit(Runs(frame[keep]))
    np.testing.assert_array_equal(
        again.predict(requests_of(frame[~keep]), session="same").draws["total_s"],
        predicted.draws["total_s"],
    )


def test_splits_are_the_same_for_every_estimator(compared: runner.Comparison) -> None:
    one, *others = (rows for _, rows in compared.rows.groupby("estimator"))
    key = ["seed", "metric", "row"]
    for other in others:
        shared = one.merge(other, on=key)
        assert len(shared) == len(other)
        np.testing.assert_array_equal(shared["observed_x"], shared["observed_y"])


def test_records_hold_every_score_once(compared: runner.Comparison) -> None:
    found = pd.DataFrame(tables.records(compared))
    assert {
        *("protocol", "seed", "estimator", "metric", "llm", "device", "n_train", "n_test"),
        *("mape", "median_ape", "bias", "rmse", "crps", "coverage_50", "coverage_90"),
        *("interval_width", "interval_score", "fit_s", "predict_s"),
    } <= set(found)
    assert not found.duplicated(list(runner.LABELS)).any()
    assert found.notna().all(axis=None)
    rows = compared.rows[lambda r: r["estimator"].eq("direct") & r["seed"].eq(1)]
    own = rows[rows["metric"].eq("decode_s") & rows["llm"].eq("DSR1-Llama-8B")]
    record = found.query("estimator == 'direct' and seed == 1 and metric == 'decode_s'")
    record = record[record["llm"].eq("DSR1-Llama-8B")].iloc[0]
    assert record["n_test"] == len(own) == 2
    assert record["rmse"] == pytest.approx(np.sqrt(np.mean((own["median"] - own["observed"]) ** 2)))
    inside = own["observed"].between(own["lower_90"], own["upper_90"]).mean()
    assert record["coverage_90"] == pytest.approx(inside)


def test_one_that_fails_is_reported_and_the_rest_go_on(
    few_runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(metric: str, seed: int) -> None:
        raise ZeroDivisionError("cannot")

    monkeypatch.setitem(registry.METHODS, "linear", registry.Method("broken", broken))
    runs = _times(few_runs.frame)
    result = runner.compare(
        runs, protocol("few-shot:4"), ["linear", "physics_wls"], seeds=1, jobs=1
    )
    assert set(result.rows["estimator"]) == {"physics_wls"}
    assert "linear failed in 1 of 1 fits: ZeroDivisionError: cannot" in result.notes
    with pytest.raises(DataError, match="nothing was scored"):
        runner.compare(runs, protocol("few-shot:4"), ["linear"], seeds=1, jobs=1)


def test_ratios_without_a_server_fail_with_the_reason(few_runs: Runs) -> None:
    jetson = _times(few_runs.frame[few_runs.frame["device"].eq("tegra")])
    result = runner.compare(
        jetson, protocol("few-shot:4"), ["mean_ratio", "physics_wls"], seeds=1, jobs=1
    )
    assert any("needs readings of a server" in note for note in result.notes)


def _synthetic(gap: float, seed: int, seeds: int = 6) -> runner.Comparison:
    """Two estimators whose CRPS differ by a gap, over noise that they do not share."""
    rng = np.random.default_rng(seed)
    parts = []
    for name, worse in (("a", 0.0), ("b", gap)):
        n = seeds * 40
        crps = 0.1 + worse + rng.normal(0, 0.01, n) + np.repeat(rng.normal(0, 0.01, seeds), 40)
        parts.append(
            pd.DataFrame(
                {
                    "protocol": "p",
                    "seed": np.repeat(np.arange(seeds), 40),
                    "estimator": name,
                    "metric": "total_s",
                    "llm": np.tile(["x", "y"], n // 2),
                    "device": "d",
                    "row": np.tile(np.arange(40), seeds),
                    "n_train": 5,
                    "observed": 1.0,
                    "median": 1.0,
                    "crps": crps,
                    "interval_score_90": crps,
                    "pit": 0.5,
                }
                | {
                    f"{side}_{p}": v
                    for side, v in (("lower", 0.9), ("upper", 1.1))
                    for p in (50, 90)
                }
            )
        )
    fits = pd.DataFrame({"estimator": ["a", "b"], "seed": 0, "fit_s": 1.0, "predict_s": 1.0})
    return runner.Comparison(pd.concat(parts), fits, ())


def test_a_tie_is_called_a_tie_and_a_difference_a_difference() -> None:
    apart = tables.standings(_synthetic(0.05, 0))
    assert [s.estimator for s in apart] == ["a", "b"]
    assert apart[0].best
    assert not apart[1].tied
    assert apart[1].worse_by[0] == pytest.approx(0.05, abs=0.02)
    called = [all(s.tied for s in tables.standings(_synthetic(0.0, seed))) for seed in range(1, 21)]
    assert np.mean(called) > 0.7  # about 95 % of twenty


def test_who_does_not_answer_all_cannot_be_best() -> None:
    compared = _synthetic(0.05, 0)
    rows = compared.rows[~(compared.rows["estimator"].eq("a") & compared.rows["row"].lt(3))]
    ranked = tables.standings(replace(compared, rows=rows))
    assert [(s.estimator, s.complete, s.best) for s in ranked] == [
        ("b", True, True),
        ("a", False, False),
    ]


@given(st.integers(2, 60))
def test_uniformity_of_even_values_is_small_and_of_one_value_large(n: int) -> None:
    from t2m_bayes.scoring import uniformity

    assert uniformity((np.arange(n) + 0.5) / n) == pytest.approx(0.5 / n)
    assert uniformity(np.full(n, 0.999)) > 0.99
