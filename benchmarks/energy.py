"""Print every number that the README claims of energy and power on the real measurements.

    python benchmarks/energy.py --data FOLDER [all|fit|prefill|decode|phases]

The folder holds the public measurements that ``datasets/README.md`` names; they are not shipped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from t2m_bayes.baselines.published import Published
from t2m_bayes.fits import Fit
from t2m_bayes.inference import Models, fit_well, make_models
from t2m_bayes.loading import load
from t2m_bayes.prediction import predict
from t2m_bayes.requests import make_requests, requests_of
from t2m_bayes.sampling import Sampling
from t2m_bayes.schema import Runs

QUICK = Sampling(draws=600, tune=500, progress=False)
LAGGED = Sampling(draws=4000, tune=600, target_accept=0.95, progress=False)
"""For sensors that lag, whose levels mix slowly."""
LONG, SHORT = 128, 64
console = Console(width=150)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", default="all", choices=["all", *PARTS])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real measurements")
    parser.add_argument("--seeds", type=int, default=20, help="random halves of the decode sweep")
    args = parser.parse_args()
    for name, part in PARTS.items():
        if args.part in ("all", name):
            started = time.perf_counter()
            part(args.data, args.seeds)
            console.print(f"[dim]{name}: {time.perf_counter() - started:.0f} s[/dim]\n")


def whole_fit(data: Path, seeds: int) -> None:
    """Fit time and power to both sweeps, and show idle and busy power with bands."""
    started = time.perf_counter()
    fit = fit_well(make_models(_sweeps(data)), Sampling(progress=False))
    console.print(f"both sweeps: compiled and sampled in {time.perf_counter() - started:.0f} s")
    console.print(fit.provenance["diagnostics"]["verdict"])
    _show_powers(fit)


def prefill(data: Path, seeds: int) -> None:
    """Predict the sensor's mean power on the prefill sweep, in five folds."""
    runs = load(data / "orin_prefill_sweep.csv")
    models = _compiled(runs)
    folds = np.random.default_rng(0).permutation(len(runs)) % 5
    records = []
    for fold in range(5):
        fit = models.fit(folds != fold, QUICK)
        train, test = runs.frame[folds != fold], runs.frame[folds == fold]
        records += _score(fit, test, ("power_w",))
        published = np.exp(Published("power_w").predict(test))
        records += _errors("piecewise log, as published", "power_w", test, published)
        for llm, rows in test.groupby("llm"):
            refit = _piecewise_log(train[train["llm"] == llm], rows)
            records += _errors("piecewise log, refit", "power_w", rows, refit)
    _table("prefill sweep, mean sensor power, five folds", pd.DataFrame(records))
    _show_powers(models.fit(sampling=QUICK))


def decode(data: Path, seeds: int) -> None:
    """Predict half of the decode sweep from the other half and the prefill sweep."""
    runs = _sweeps(data)
    models = _compiled(runs)
    swept = runs.frame["n_power_samples"].notna().to_numpy()
    records = []
    for seed in range(seeds):
        test = swept & (np.random.default_rng(seed).random(len(runs)) < 0.5)
        fit = models.fit(~test, QUICK)
        console.print(f"[dim]{fit.provenance['diagnostics']['verdict']}[/dim]")
        records += _score(fit, runs.frame[test], ("energy_j", "power_w"))
    frame = pd.DataFrame(records)
    for title, rows in (
        ("all runs", frame["output_tokens"] > 0),
        (f"{LONG} or more output tokens", frame["output_tokens"] >= LONG),
        (f"{SHORT} or more output tokens", frame["output_tokens"] >= SHORT),
        (f"fewer than {SHORT} output tokens", frame["output_tokens"] < SHORT),
    ):
        _table(f"decode sweep, half to half, {seeds} seeds: {title}", frame[rows])


def phases(data: Path, seeds: int) -> None:
    """Predict each 9 of the 36 cells of the sweep with energy by phase from the other 27."""
    runs = load(data / "orin32_sweep.csv")
    models = _compiled(runs)
    frame = runs.frame
    cell = frame.groupby(["input_tokens", "output_tokens"]).ngroup().to_numpy()
    fold = np.random.default_rng(0).permutation(cell.max() + 1)[cell] % 4
    records = []
    for k in range(4):
        test = fold == k
        started = time.perf_counter()
        fit = fit_well(models, LAGGED, ~test)
        took = f"{time.perf_counter() - started:.0f} s"
        console.print(f"[dim]{took}: {fit.provenance['diagnostics']['verdict']}[/dim]")
        metrics = ("energy_j", "total_s", "prefill_energy_j", "decode_energy_j")
        records += _score(fit, frame[test], metrics)
        records += _lines(frame[~test], frame[test], metrics)
    _table("energy by phase, 36 cells in four folds", pd.DataFrame(records))


PARTS: dict[str, Callable[[Path, int], None]] = {
    "fit": whole_fit,
    "prefill": prefill,
    "decode": decode,
    "phases": phases,
}


def _compiled(runs: Runs) -> Models:
    started = time.perf_counter()
    models = make_models(runs).compile()
    console.print(f"[dim]compiled in {time.perf_counter() - started:.0f} s[/dim]")
    return models


def _sweeps(data: Path) -> Runs:
    return load(data / "orin_prefill_sweep.csv", data / "orin_decode_sweep.csv")


def _score(fit: Fit, test: pd.DataFrame, metrics: tuple[str, ...]) -> list[dict]:
    """Return one record a row and metric: what the sensor shows, and what it was predicted to."""
    predicted = predict(fit, requests_of(test), session="same", view="sensor")
    medians, bounds = predicted.median(), predicted.interval(0.9)
    return [
        {
            "estimator": "hierarchical",
            "metric": metric,
            **_run(row),
            "ape": abs(medians[metric][i] / getattr(row, metric) - 1) * 100,
            "inside": 100
            * bool(bounds[metric][i, 0] <= getattr(row, metric) <= bounds[metric][i, 1]),
        }
        for i, row in enumerate(test.itertuples())
        for metric in metrics
        if getattr(row, metric) > 0
    ]


def _run(row: Any) -> dict[str, Any]:
    """Return a run's LLM, with the engine it ran on, and its tokens."""
    return {
        "llm": f"{row.llm} {row.device.partition('+')[2]}".strip(),
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
    }


def _errors(estimator: str, metric: str, test: pd.DataFrame, predicted: np.ndarray) -> list[dict]:
    """Return one record a row of point predictions."""
    errors = np.abs(predicted / test[metric].to_numpy() - 1) * 100
    return [
        {"estimator": estimator, "metric": metric, **_run(row), "ape": e}
        for row, e in zip(test.itertuples(), errors, strict=True)
    ]


def _piecewise_log(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Refit the published form: a constant up to a threshold, a line in the log beyond it."""
    train = train[train["power_w"].notna()]
    prompt, power_w = (train[c].to_numpy(float) for c in ("input_tokens", "power_w"))

    def terms(tokens: np.ndarray, threshold: float) -> np.ndarray:
        above = tokens > threshold
        return np.c_[~above, above, above * np.log(tokens)].astype(float)

    thresholds = np.unique(prompt)[2:-2]
    fits = [np.linalg.lstsq(terms(prompt, t), power_w, rcond=None)[0] for t in thresholds]
    threshold, weights = min(
        zip(thresholds, fits, strict=True),
        key=lambda fit: np.sum((terms(prompt, fit[0]) @ fit[1] - power_w) ** 2),
    )
    return terms(test["input_tokens"].to_numpy(float), threshold) @ weights


def _lines(train: pd.DataFrame, test: pd.DataFrame, metrics: tuple[str, ...]) -> list[dict]:
    """Return records of a line in (1, I, O) for each LLM and engine."""
    records = []
    for (llm, device), rows in test.groupby(["llm", "device"]):
        own = train[(train["llm"] == llm) & (train["device"] == device)]
        for metric in metrics:
            weights = np.linalg.lstsq(_terms(own), own[metric].to_numpy(), rcond=None)[0]
            records += _errors("line in (1, I, O)", metric, rows, _terms(rows) @ weights)
    return records


def _terms(frame: pd.DataFrame) -> np.ndarray:
    return np.c_[np.ones(len(frame)), frame["input_tokens"], frame["output_tokens"]]


def _table(title: str, frame: pd.DataFrame) -> None:
    """Print errors and coverage; ``tokens`` counts the different pairs of prompt and output."""
    out = Table(title=title)
    for name in (
        "metric",
        "llm",
        "estimator",
        "n",
        "tokens",
        "MAPE %",
        "median error %",
        "90 % cover %",
    ):
        out.add_column(name)
    for key, rows in frame.groupby(["metric", "llm", "estimator"], sort=True):
        inside = rows["inside"].mean() if "inside" in rows else np.nan
        cells = f"{rows['ape'].mean():.2f}", f"{rows['ape'].median():.2f}"
        tokens = len(rows[["input_tokens", "output_tokens"]].drop_duplicates())
        out.add_row(
            *key, str(len(rows)), str(tokens), *cells, "" if np.isnan(inside) else f"{inside:.1f}"
        )
    console.print(out)


def _show_powers(fit: Fit) -> None:
    """Print idle and busy power of each LLM, with 90 % bands."""
    out = Table(title="power of the chip, 90 % bands (W)")
    for name in ("llm", "idle", "prefill", "decode at 512 tokens", "relative width of prefill"):
        out.add_column(name)
    for llm in fit.coords.llms:
        requests = make_requests(fit, llm, [512, 512], [1, 512])
        draws = predict(fit, requests, session="same").draws
        prefill_w = draws["power_w"][..., 0]
        decode_w = draws["decode_energy_j"][..., 1] / draws["decode_s"][..., 1]
        idle = np.exp(fit.flat("log_idle_series"))
        series = [
            s
            for s, (c, _) in enumerate(fit.coords.series)
            if fit.coords.llms[fit.coords.cells[c][0]] == llm
        ]
        low, high = np.quantile(prefill_w, [0.05, 0.95])
        out.add_row(
            llm,
            *(_band(v) for v in (idle[:, series].ravel(), prefill_w, decode_w)),
            f"{(high - low) / np.median(prefill_w):.3f}",
        )
        for warning in predict(fit, requests, session="same").warnings:
            console.print(f"[dim]{warning}[/dim]")
    console.print(out)


def _band(values: np.ndarray) -> str:
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
