"""Print every number that the README claims for the real measurements.

    python benchmarks/real_data.py --data FOLDER [all|fit|few-shot|sweeps|extrapolate|leave-llm-out]

The folder holds the public measurements that ``datasets/README.md`` names; they are not shipped.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls

from t2m_bayes.fits import Fit
from t2m_bayes.formulas import PADS, context_tokens, padded
from t2m_bayes.inference import ESS_LIMIT, RHAT_LIMIT, Sampling, compile_model
from t2m_bayes.loading import load
from t2m_bayes.prediction import predict
from t2m_bayes.requests import make_requests

QUICK = Sampling(draws=800, tune=500, progress=False)
console = Console(width=140)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", default="all", choices=["all", *PARTS])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real measurements")
    parser.add_argument("--seeds", type=int, default=20, help="repeats of the random protocols")
    args = parser.parse_args()
    for name, part in PARTS.items():
        if args.part in ("all", name):
            started = time.perf_counter()
            part(args.data, args.seeds)
            console.print(f"[dim]{name}: {time.perf_counter() - started:.0f} s[/dim]\n")


def whole_fit(data: Path, seeds: int) -> None:
    """Fit the MMLU requests and both sweeps, with default settings."""
    runs = load(
        *(data / f"orin_{n}.csv" for n in ("mmlu_requests", "prefill_sweep", "decode_sweep"))
    )
    started = time.perf_counter()
    compiled = compile_model(runs)
    ready = time.perf_counter()
    fit = compiled.fit(sampling=Sampling(progress=False))
    done = time.perf_counter()
    console.print(
        f"{len(runs)} runs: compiled in {ready - started:.0f} s, fitted in {done - ready:.0f} s"
    )
    console.print(fit.provenance["diagnostics"]["verdict"])


def few_shot(data: Path, seeds: int) -> None:
    """Train on K random MMLU rows per LLM, test on all others."""
    runs = load(data / "orin_mmlu_requests.csv")
    compiled = compile_model(runs)
    for k in (5, 50):
        records, verdicts = [], []
        for seed in range(seeds):
            train = np.zeros(len(runs), dtype=bool)
            rng = np.random.default_rng(seed)
            for _, rows in runs.frame.groupby("llm").indices.items():
                train[rng.choice(rows, k, replace=False)] = True
            fit = compiled.fit(train, QUICK)
            verdicts.append(verdict(fit, f"K = {k}, seed {seed}"))
            records += score(fit, runs.frame[~train], seed=seed)
            records += point_scores(runs.frame[train], runs.frame[~train], seed=seed)
        table(f"few-shot K = {k}: median over {seeds} seeds", records, by_split=True)
        sampler_limits(verdicts)


def sweeps(data: Path, seeds: int) -> None:
    """Decode sweep from a random half; prefill sweep by five folds, its stalls left in."""
    runs = load(data / "orin_decode_sweep.csv")
    compiled = compile_model(runs)
    records, verdicts = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        train = rng.random(len(runs)) < 0.5
        fit = compiled.fit(train, QUICK)
        verdicts.append(verdict(fit, f"decode sweep, seed {seed}"))
        records += score(fit, runs.frame[~train], seed=seed)
        records += point_scores(runs.frame[train], runs.frame[~train], seed=seed)
    table("decode sweep, a random half: median over 5 seeds", records, by_split=True)
    sampler_limits(verdicts)

    runs = load(data / "orin_prefill_sweep.csv")
    compiled = compile_model(runs)
    folds = np.random.default_rng(0).permutation(len(runs)) % 5
    records, verdicts = [], []
    for fold in range(5):
        fit = compiled.fit(folds != fold, QUICK)
        verdicts.append(verdict(fit, f"prefill sweep, fold {fold}"))
        records += score(fit, runs.frame[folds == fold], seed=fold, each=True)
        records += point_scores(
            runs.frame[folds != fold], runs.frame[folds == fold], seed=fold, each=True
        )
    table("prefill sweep, five folds", records)
    sampler_limits(verdicts)


def extrapolate(data: Path, seeds: int) -> None:
    """Train on prompts of up to 641 tokens, predict those up to 4,097."""
    runs = load(data / "orin_prefill_sweep.csv")
    train = (runs.frame["input_tokens"] <= 641).to_numpy()
    fit = compile_model(runs).fit(train, Sampling(progress=False))
    console.print(fit.provenance["diagnostics"]["verdict"])
    records = score(fit, runs.frame[~train]) + point_scores(runs.frame[train], runs.frame[~train])
    table("prefill beyond 641 tokens", records)


def leave_llm_out(data: Path, seeds: int) -> None:
    """Predict each LLM's decode step on the Orin from its server runs and the other LLMs."""
    runs = load(data / "server_and_orin_decode_step.csv")
    frame = runs.frame
    target = "jetson-agx-orin-64gb"
    base = frame["llm"].str.partition("@")[0]
    compiled = compile_model(runs)
    rows, verdicts = [], []
    for llm in sorted(base[frame["device"] == target].unique()):
        test = ((base == llm) & (frame["device"] == target)).to_numpy()
        fit = compiled.fit(~test, QUICK)
        verdicts.append(verdict(fit, f"without {llm}"))
        held = frame[test]
        draws = fit_draws(fit, held, session="new")["decode_s"]
        low, median, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
        for i, (name, y) in enumerate(zip(held["llm"], held["decode_s"], strict=True)):
            rows.append(
                (name, y, median[i], low[i], high[i], mean_ratio(frame[~test], name, target))
            )
    result = pd.DataFrame(rows, columns=["llm", "observed", "median", "low", "high", "ratio"])
    error = (result["median"] / result["observed"] - 1).abs() * 100
    ratio = (result["ratio"] / result["observed"] - 1).abs() * 100
    covered = result["observed"].between(result["low"], result["high"])
    for r, e, c in zip(result.itertuples(), error, covered, strict=True):
        console.print(
            f"{r.llm:26s} observed {r.observed * 1e3:7.2f} ms  predicted {r.median * 1e3:7.2f} "
            f"[{r.low * 1e3:7.2f}, {r.high * 1e3:7.2f}]  {e:5.1f} %{'' if c else '  outside'}"
        )
    console.print(
        f"median error {error.median():.1f} % (mean-ratio method {ratio.median():.1f} %), "
        f"90 % bands cover {covered.sum()} of {len(covered)}"
    )
    sampler_limits(verdicts)


PARTS: dict[str, Callable[[Path, int], None]] = {
    "fit": whole_fit,
    "few-shot": few_shot,
    "sweeps": sweeps,
    "extrapolate": extrapolate,
    "leave-llm-out": leave_llm_out,
}


def mean_ratio(train: pd.DataFrame, llm: str, target: str) -> float:
    """Scale an LLM's server times by the mean target/server ratio of the other LLMs, in seconds."""
    wide = train.pivot_table(index="llm", columns="device", values="decode_s")
    servers = [d for d in wide.columns if d != target]
    guesses = [wide.loc[llm, s] * (wide[target] / wide[s]).mean() for s in servers]
    return float(np.nanmean(guesses))


def fit_draws(fit: Fit, frame: pd.DataFrame, session: str = "same") -> dict[str, np.ndarray]:
    """Return draws of the rows of a table. shape: (sample, row)."""
    requests = make_requests(
        fit,
        frame["llm"].tolist(),
        frame["input_tokens"].to_numpy(),
        frame["output_tokens"].to_numpy(),
        device=frame["device"].tolist(),
        session=frame["session"].tolist(),
        empty_prompts=True,
    )
    prediction = predict(fit, requests, session=session)
    return {m: d.reshape(-1, len(frame)) for m, d in prediction.draws.items()}


def score(fit: Fit, test: pd.DataFrame, seed: int = 0, each: bool = False) -> list[dict]:
    """Score a fit on rows: absolute error of the median in per cent, and 90 % coverage."""
    draws = fit_draws(fit, test)
    records = []
    for metric, llm, rows in metrics(test):
        y = test[metric].to_numpy()[rows]
        low, median, high = np.quantile(draws[metric][:, rows], [0.05, 0.5, 0.95], axis=0)
        inside = (y >= low) & (y <= high)
        records += record("hierarchical", metric, llm, y, median, seed, each, inside)
    return records


def point_scores(
    train: pd.DataFrame, test: pd.DataFrame, seed: int = 0, each: bool = False
) -> list[dict]:
    """Score non-negative weighted least squares: the formulas of this package, and padded lines."""
    designs = {
        "nnls, same formulas": {"decode_s": decode_terms, "prefill_s": work_terms},
        "nnls, line on 64s": {"prefill_s": line_terms},
    }
    records = []
    for name, by_metric in designs.items():
        for metric, llm, rows in metrics(test):
            if metric not in by_metric:
                continue
            own = train[(train["llm"] == llm) & train[metric].gt(0)]
            y = own[metric].to_numpy()
            terms = by_metric[metric](own) / y[:, None]
            scale = terms.max(axis=0)
            weights = nnls(terms / scale, np.ones(len(y)))[0] / scale
            guess = by_metric[metric](test[rows]) @ weights
            records += record(name, metric, llm, test[metric].to_numpy()[rows], guess, seed, each)
    return records


def decode_terms(frame: pd.DataFrame) -> np.ndarray:
    """Return the columns of the decode formula. shape: (row, 2)."""
    i, o = frame["input_tokens"].to_numpy(), frame["output_tokens"].to_numpy()
    return np.c_[o - 1, (o - 1) * context_tokens(i, o)]


def work_terms(frame: pd.DataFrame) -> np.ndarray:
    """Return a floor, the three kinds of prefill work and a quadratic. shape: (row, 5)."""
    i = frame["input_tokens"].to_numpy()
    return np.c_[np.ones_like(i), i, padded(i, PADS[0]), padded(i, PADS[1]), i**2]


def line_terms(frame: pd.DataFrame) -> np.ndarray:
    """Return a line on prompts padded to 64 tokens. shape: (row, 2)."""
    i = frame["input_tokens"].to_numpy()
    return np.c_[np.ones_like(i), padded(i, 64)]


def metrics(frame: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield each metric and LLM with its rows that have a reading."""
    for metric in (m for m in ("prefill_s", "decode_s") if m in frame):
        for llm in sorted(frame["llm"].unique(), key=lambda n: float(n.split("-")[-1][:-1])):
            rows = ((frame["llm"] == llm) & frame[metric].gt(0)).to_numpy()
            if rows.any():
                yield metric, llm, rows


def record(
    estimator: str,
    metric: str,
    llm: str,
    y: np.ndarray,
    guess: np.ndarray,
    seed: int,
    each: bool,
    inside: np.ndarray | None = None,
) -> list[dict]:
    """Return one record of a split, or one a row."""
    ape = np.abs(guess / y - 1) * 100
    common = {"estimator": estimator, "metric": metric, "llm": llm, "seed": seed}
    if each:
        cover = inside if inside is not None else np.full(len(y), np.nan)
        return [
            common | {"mape": a, "median_ape": a, "cover": c * 100}
            for a, c in zip(ape, cover, strict=True)
        ]
    cover = inside.mean() * 100 if inside is not None else np.nan
    return [common | {"mape": ape.mean(), "median_ape": np.median(ape), "cover": cover}]


def table(title: str, records: list[dict], by_split: bool = False) -> None:
    """Print errors and coverage by metric, LLM and estimator: of all rows, or of the splits."""
    frame = pd.DataFrame(records)
    grouped = frame.groupby(["metric", "llm", "estimator"], sort=False)
    out = Table(title=title)
    for name in ("metric", "llm", "estimator", "MAPE %", "median error %", "90 % bands cover %"):
        out.add_column(name)
    for key, rows in grouped:
        out.add_row(
            *key,
            f"{rows['mape'].median():.2f}" if by_split else f"{rows['mape'].mean():.2f}",
            f"{rows['median_ape'].median():.2f}",
            f"{rows['cover'].mean():.1f}" if rows["cover"].notna().any() else "",
        )
    console.print(out)


def verdict(fit: Fit, name: str) -> dict:
    """Return a fit's diagnostics, and print the line that sums them up as progress."""
    diagnostics = fit.provenance["diagnostics"]
    console.print(f"[dim]{name}: {diagnostics['verdict']}[/dim]")
    return diagnostics


def sampler_limits(verdicts: list[dict]) -> None:
    """Print how many fits miss each limit of the sampler, and in which variables."""
    missed = {
        "r-hat": ("rhat_max", lambda v: not v["rhat_max"] <= RHAT_LIMIT),
        "bulk ESS": ("ess_bulk_min", lambda v: not v["ess_bulk_min"] >= ESS_LIMIT),
        "tail ESS": ("ess_tail_min", lambda v: not v["ess_tail_min"] >= ESS_LIMIT),
        "divergences": ("divergences", lambda v: v["divergences"] > 0),
    }
    bad = sum(not v["usable"] for v in verdicts)
    console.print(f"{bad} of {len(verdicts)} fits miss a limit of the sampler")
    for limit, (key, misses) in missed.items():
        found = [v for v in verdicts if misses(v)]
        if found:
            worst = Counter(v[f"{key}_of"] for v in found if f"{key}_of" in v)
            names = ", ".join(f"{name} {n}" for name, n in worst.most_common())
            values = ", ".join(f"{v[key]:g}" for v in found)
            console.print(f"  {limit}: {len(found)}{f' ({names})' if names else ''}: {values}")


if __name__ == "__main__":
    main()
