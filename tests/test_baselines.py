"""Point regressors: what they recover, how honest their bands are, and what they leave on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.conformity_scores import AbsoluteConformityScore
from mapie.regression import CrossConformalRegressor
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold
from typer.testing import CliRunner, Result

from t2m_bayes import cli
from t2m_bayes.baselines import saved
from t2m_bayes.baselines.conformal import CONFIDENCE, Conformal, SortedScore
from t2m_bayes.baselines.pipelines import linear
from t2m_bayes.baselines.registry import METHODS, method
from t2m_bayes.baselines.regression import Regression
from t2m_bayes.baselines.table import features
from t2m_bayes.errors import DataError, FitError
from t2m_bayes.formulas import context_tokens
from t2m_bayes.requests import requests_of
from t2m_bayes.schema import Runs

LLMS = {"DSR1-Qwen-1.5B": 1.777, "DSR1-Llama-8B": 8.03}


class Foreign:
    """Something no file of a regression has a place for."""

    def __init__(self) -> None:
        self.x = 1


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def made(
    n: int,
    noise: float = 0.0,
    seed: int = 0,
    device: str = "tegra",
    llms: dict[str, float] = LLMS,
) -> pd.DataFrame:
    """Runs that follow the decode formula exactly, and a prefill in proportion to the prompt."""
    rng = np.random.default_rng(seed)
    llm = rng.choice(list(llms), n)
    size = np.array([llms[name] for name in llm])
    i, o = rng.integers(60, 900, n), rng.integers(2, 900, n)
    step = 0.012 * size * (0.2 if device == "server" else 1.0)
    decode = (o - 1) * step * (1 + 1e-5 * context_tokens(i, o)) * np.exp(rng.normal(0, noise, n))
    prefill = size * (0.01 + 4e-5 * i) * np.exp(rng.normal(0, noise, n))
    return pd.DataFrame(
        {
            "device": device,
            "llm": llm,
            "input_tokens": i,
            "output_tokens": o,
            "prefill_s": prefill,
            "decode_s": decode,
            "params_b": size,
            "bytes_per_param": 2.0,
            "session": "one",
        }
    )


@pytest.fixture(scope="module")
def both() -> Runs:
    """A few runs on a server and on a Jetson."""
    frame = pd.concat([made(24, 0.02, 1, "server"), made(12, 0.02, 2)], ignore_index=True)
    return Runs(frame)


def test_physics_recovers_its_own_formula_from_few_rows() -> None:
    fitted = Regression("physics_wls").fit(Runs(made(12)))
    later = made(50, seed=5)
    median = fitted.predict(requests_of(later)).median()
    np.testing.assert_allclose(median["decode_s"], later["decode_s"], rtol=1e-6)
    np.testing.assert_allclose(median["prefill_s"], later["prefill_s"], rtol=1e-3)
    np.testing.assert_allclose(median["total_s"], later["decode_s"] + later["prefill_s"], rtol=1e-3)


@pytest.mark.parametrize("n", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_conformal_bands_cover_what_they_promise(n: int) -> None:
    """CV+ and jackknife+ promise 1 - 2a and keep about 1 - a; over worlds, so it cannot be luck."""
    inside = {0.5: [], 0.8: []}
    for seed in range(12):
        frame = made(n + 60, 0.1, seed)
        frame = frame.assign(llm="DSR1-Llama-8B", params_b=8.03)
        frame["decode_s"] = (
            0.1
            * frame["output_tokens"]
            * np.exp(np.random.default_rng(seed).normal(0, 0.1, len(frame)))
        )
        table = features(
            frame["llm"].tolist(),
            frame["device"].tolist(),
            frame["input_tokens"],
            frame["output_tokens"],
            frame["params_b"],
            2 * frame["params_b"],
        )
        y = np.log(frame["decode_s"].to_numpy())
        model = Conformal(linear("decode_s", 0), seed).fit(table[:n], y[:n])
        levels, found = model.quantiles(table[n:])
        for prob, hits in inside.items():
            low, high = (np.argmin(np.abs(levels - p)) for p in ((1 - prob) / 2, (1 + prob) / 2))
            hits.append(np.mean((found[:, low] <= y[n:]) & (y[n:] <= found[:, high])))
    assert 0.40 < np.mean(inside[0.5]) < 0.72
    assert 0.70 < np.mean(inside[0.8]) < 0.95


def test_few_rows_of_a_device_are_not_lost_among_many_of_another() -> None:
    rng = np.random.default_rng(0)
    few, n = 2, 400
    device = ["edge"] * few + ["server"] * (n - few)
    inputs, outputs = rng.uniform(10, 1000, n), rng.uniform(10, 1000, n)
    table = features(["a", "b"] * (n // 2), device, inputs, outputs, [1.0, 8.0] * (n // 2), 16.0)
    y = np.log(outputs) + rng.normal(0, 0.1, n)
    for seed in range(6):
        model = Conformal(linear("decode_s", seed), seed).fit(table, y)
        assert {"new device", "new LLM on server"} < set(model.bands_)


@given(st.integers(20, 60), st.integers(0, 99))
def test_bounds_are_those_of_mapie(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, asked = rng.normal(size=(n, 2)), rng.normal(size=n).round(1), rng.normal(size=(5, 2))
    ours, theirs = (
        CrossConformalRegressor(
            LinearRegression(),
            confidence_level=[level for level in CONFIDENCE if level <= 0.9],
            conformity_score=score,
            cv=KFold(5),
        )
        .fit_conformalize(x, y)
        .predict_interval(asked, aggregate_point_predictions=None)
        for score in (SortedScore(), AbsoluteConformityScore())
    )
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_draws_have_the_conformal_quantiles(both: Runs) -> None:
    fitted = Regression("direct").fit(both)
    asked = made(20, seed=9)
    prediction = fitted.predict(requests_of(asked))
    levels, found = fitted.models_["decode_s"].quantiles(fitted._features(prediction.requests))
    for prob in (0.5, 0.8):
        low, high = (np.argmin(np.abs(levels - p)) for p in ((1 - prob) / 2, (1 + prob) / 2))
        exact = np.exp(found[:, [low, high]])
        np.testing.assert_allclose(prediction.interval(prob)["decode_s"], exact, rtol=2e-3)


def test_an_llm_new_to_the_device_gets_a_wider_band(both: Runs) -> None:
    frame = both.frame[~(both.frame["device"].eq("tegra") & both.frame["llm"].eq("DSR1-Llama-8B"))]
    third = made(12, 0.02, 3, llms={"My-3B": 3.0})
    third["decode_s"] *= 1.3  # LLMs are not quite in proportion to their size
    runs = Runs(pd.concat([frame, third], ignore_index=True))
    asked = made(20, seed=9)
    bands = Regression("physics_wls").fit(runs).predict(requests_of(asked)).interval(0.8)
    ratio = bands["decode_s"][:, 1] / bands["decode_s"][:, 0]
    new = asked["llm"].eq("DSR1-Llama-8B").to_numpy()
    assert np.median(ratio[new]) > np.median(ratio[~new])


def test_published_numbers_are_those_of_the_publication() -> None:
    frame = made(30).assign(input_tokens=100, output_tokens=50)
    got = Regression("published").fit(Runs(frame)).predict(requests_of(frame)).mean()
    eight = frame["llm"].eq("DSR1-Llama-8B").to_numpy()
    prefill = 6.645207e-7 * 128**2 + 2.903545e-4 * 128 + 0.1038085
    decode = 50 * (6.920220e-7 * 100 + 0.10038430 + 6.920220e-7 * 49 / 2)
    np.testing.assert_allclose(got["prefill_s"][eight], prefill, rtol=1e-5)
    np.testing.assert_allclose(got["decode_s"][eight], decode, rtol=1e-5)


def test_it_says_where_it_was_fitted_to_none_of_the_runs_like_those_asked_for() -> None:
    fit = Regression("linear").fit(Runs(made(30)))
    asked = made(4)
    assert not any("no run of" in w for w in fit.predict(requests_of(asked)).warnings)
    new = asked.assign(llm="My-3B", params_b=3.0)
    device = asked["device"].iloc[0]
    said = fit.predict(requests_of(new)).warnings
    assert f"linear was fitted to no run of My-3B | {device}" in " ".join(said)


def test_published_speaks_of_its_llms_alone() -> None:
    frame = made(30)
    asked = frame.assign(llm="My-3B", params_b=3.0)
    prediction = Regression("published").fit(Runs(frame)).predict(requests_of(asked))
    assert np.isnan(prediction.draws["prefill_s"]).all()
    assert "has no prefill_s for 30" in " ".join(prediction.warnings)


def test_ratios_scale_the_server(both: Runs) -> None:
    asked = made(40, seed=9)
    decode = Runs(both.frame.drop(columns="prefill_s"))
    for name in ("mean_ratio", "median_ratio", "linear_scaling"):
        median = Regression(name).fit(decode).predict(requests_of(asked)).median()["decode_s"]
        assert np.median(np.abs(median / asked["decode_s"] - 1)) < 0.1


def test_regressions_follow_scikit_learn(both: Runs) -> None:
    assert clone(Regression("linear", random_state=3)).get_params() == {
        "name": "linear",
        "random_state": 3,
    }
    for name, known in METHODS.items():
        if name != "xgboost":
            model = clone(known.make("decode_s", 5))
            assert model.get_params()
    decode = Runs(both.frame.drop(columns="prefill_s"))
    first, again = (Regression("quantile_gbm", random_state=4).fit(decode) for _ in range(2))
    asked = requests_of(both.frame)
    np.testing.assert_array_equal(
        first.predict(asked).draws["decode_s"], again.predict(asked).draws["decode_s"]
    )


def test_what_cannot_be_regressed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no regression 'lasso'; there are linear"):
        method("lasso")
    with pytest.raises(DataError, match="too few"):
        Regression("linear").fit(Runs(made(3)))
    with pytest.raises(DataError, match="needs readings of a server"):
        Regression("mean_ratio").fit(Runs(made(12)))
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(DataError, match=r"pip install 't2m-bayes\[xgboost\]'"):
        Regression("xgboost").fit(Runs(made(12)))


@pytest.mark.parametrize(
    "name",
    [
        "physics_wls",
        "gaussian_process",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in METHODS
            if name not in ("physics_wls", "gaussian_process", "xgboost")
        ),
    ],
)
def test_a_regression_comes_back_as_it_was(both: Runs, name: str, tmp_path: Path) -> None:
    fitted = Regression(name).fit(both)
    again = saved.load(saved.save(fitted, tmp_path) / "regression.skops")
    assert again.coords == fitted.coords
    assert again.provenance == fitted.provenance
    asked = requests_of(made(5, seed=9))
    np.testing.assert_array_equal(
        again.predict(asked).draws["total_s"], fitted.predict(asked).draws["total_s"]
    )


def test_damaged_and_foreign_files_are_refused(both: Runs, tmp_path: Path) -> None:
    from skops import io

    file = saved.save(Regression("physics_wls").fit(both), tmp_path) / "regression.skops"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(FitError, match="damaged or cut short"):
        saved.load(file)
    io.dump(1.5, file)
    with pytest.raises(FitError, match="holds no regression"):
        saved.load(file)
    io.dump(Foreign(), file)
    with pytest.raises(FitError, match="holds types that no regression"):
        saved.load(file)


def test_the_command_line_trains_predicts_and_evaluates(both: Runs, tmp_path: Path) -> None:
    both.frame.to_csv(tmp_path / "runs.csv", index=False)
    runs = ("--runs", tmp_path / "runs.csv")
    out = tmp_path / "out"
    out.mkdir()
    (out / "posterior.nc").write_text("an earlier fit")
    result = run("train", *runs, "--regression", "physics_wls", "--output", out)
    assert result.exit_code == 0, result.output
    assert not (out / "posterior.nc").exists()
    ask = ("predict", "--model", "8B", "--input-tokens", 100, "--output-tokens", 50, "--fit", out)
    answer = json.loads(run(*ask, "--json").stdout)
    assert list(answer["metrics"]) == ["prefill_s", "decode_s", "total_s"]
    total = answer["metrics"]["total_s"]
    assert total["lower"] < total["median"] < total["upper"]
    assert answer["device"] == "tegra"
    assert answer["fit"]["regression"] == "physics_wls"
    assert "total" in run(*ask).stdout
    scores = json.loads(run("evaluate", *runs, "--fit", out, "--json").stdout)["scores"]
    assert {row["metric"] for row in scores} == {"prefill_s", "decode_s"}
    assert all(row["mape"] < 0.2 for row in scores if row["device"] == "tegra")
    asked = made(6, seed=9)[["llm", "input_tokens", "output_tokens"]]
    asked.to_csv(tmp_path / "asked.csv", index=False)
    batch = ("predict", "--fit", out, "--requests", tmp_path / "asked.csv")
    assert run(*batch, "--output", tmp_path / "answered.csv").exit_code == 0
    answered = pd.read_csv(tmp_path / "answered.csv")
    assert answered["decode_s_lower"].lt(answered["decode_s_upper"]).all()


def test_the_command_line_says_what_a_regression_cannot_answer(both: Runs, tmp_path: Path) -> None:
    saved.save(Regression("published").fit(both), tmp_path)
    ask = ("predict", "--input-tokens", 100, "--output-tokens", 50, "--fit", tmp_path)
    result = run(*ask, "--model", "my-3b", "--params-b", 3)
    assert result.exit_code == 2
    assert "nothing was predicted: published has no prefill_s for 1 request(s)" in result.stderr
    result = run("train", "--regression", "lasso", "--output", tmp_path / "x")
    assert result.exit_code == 2
    assert "no regression 'lasso'" in result.stderr
    assert not (tmp_path / "x").exists()


def test_compare_writes_tables_and_figures(both: Runs, tmp_path: Path) -> None:
    both.frame.to_csv(tmp_path / "runs.csv", index=False)
    result = run(
        *("compare", "--runs", tmp_path / "runs.csv", "--protocol", "few-shot:4", "--seeds", 1),
        *("--estimators", "physics_wls,direct,mean_ratio", "--cores", 1),
        *("--output", tmp_path / "out", "--json", tmp_path / "scores.json"),
    )
    assert result.exit_code == 0, result.output
    assert "decode_s, few-shot:4" in result.stdout
    assert "best" in result.stdout
    found = json.loads((tmp_path / "scores.json").read_text())
    assert {row["estimator"] for row in found} == {"physics_wls", "direct", "mean_ratio"}
    files = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {"error_by_estimator.png", "coverage_against_nominal.png"}
    assert files == {"scores.csv", "scores.json", *figures}
    for words, said in (
        (("--protocol", "loo"), "no protocol 'loo'"),
        (("--protocol", "kfold:3", "--estimators", "lasso"), "no estimator 'lasso'"),
        (("--protocol", "kfold:3", "--output", tmp_path / "runs.csv"), "is a file"),
    ):
        refused = run("compare", "--runs", tmp_path / "runs.csv", *words)
        assert refused.exit_code == 2
        assert said in refused.stderr
