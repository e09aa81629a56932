"""Print what five planned runs are worth beside five random ones, on real runs.

    python benchmarks/planning.py --data FOLDER [--runs mmlu|prefill|decode] [--every-llm]

Each seed fits a few random runs of each LLM, then adds five more: those that ``t2m plan`` chooses
among the candidates for the requests that are to be predicted, or random candidates. All fits
predict those requests, which none has seen: those of one LLM, by turns, or of every LLM. For one
LLM, random candidates of that LLM stand beside: what somebody would do who knows that much. The
MMLU requests are much alike; the sweeps hold prompts of 3 to 4,097 tokens, and outputs of 16 to
2,048. The folder holds the public measurements that ``datasets/README.md`` names.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from t2m_bayes.decisions.plan import plan_runs
from t2m_bayes.fits import Fit
from t2m_bayes.inference import make_models
from t2m_bayes.loading import load
from t2m_bayes.power_design import without_power
from t2m_bayes.prediction import predict
from t2m_bayes.requests import requests_of
from t2m_bayes.sampling import Sampling
from t2m_bayes.schema import TIMES
from t2m_bayes.scoring import crps, score

QUICK = Sampling(draws=800, tune=500, progress=False)
RUN_FILES = {
    "mmlu": "orin_mmlu_requests.csv",
    "prefill": "orin_prefill_sweep.csv",
    "decode": "orin_decode_sweep.csv",
}
RUNS, CANDIDATES, TESTED = 5, 150, 300
console = Console(width=140)


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real measurements")
    parser.add_argument("--runs", choices=RUN_FILES, default="mmlu")
    parser.add_argument("--every-llm", action="store_true", help="predict all LLMs, not one")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--start", type=int, default=3, help="runs of each LLM to start from")
    args = parser.parse_args()
    runs = without_power(load(args.data / RUN_FILES[args.runs]))
    read = [m for m in ("prefill_s", "decode_s") if m in runs.frame and (runs.frame[m] > 0).any()]
    usable = (runs.frame[read] > 0).all(axis=1).to_numpy()
    llms = runs.frame["llm"].to_numpy()
    names = sorted(set(llms))
    models = make_models(runs)
    records = []
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        start = np.zeros(len(runs), dtype=bool)
        for rows in runs.frame[usable].groupby("llm").groups.values():
            start[rng.choice(rows, args.start, replace=False)] = True
        rest = rng.permutation(np.flatnonzero(usable & ~start))
        half = min(CANDIDATES, rest.size // 2)
        could, tested = rest[:half], rest[half:]
        ways = {"random": rng.choice(could, RUNS, replace=False)}
        if not args.every_llm:
            llm = names[seed % len(names)]
            tested = tested[llms[tested] == llm]
            own = could[llms[could] == llm]
            ways["random, its LLM"] = rng.choice(own, min(RUNS, own.size), replace=False)
        tested = tested[:TESTED]
        before = models.fit(start, QUICK)
        test = runs.frame.iloc[tested]
        plan = plan_runs(
            before,
            requests_of(runs.frame.iloc[could]),
            requests_of(test),
            RUNS,
            metrics=read,
            session="same",
            seed=seed,
        )
        for how, added in {"none": could[:0], "planned": could[plan.chosen], **ways}.items():
            train = start.copy()
            train[added] = True
            fit = models.fit(train, QUICK) if added.size else before
            records += scored(fit, test, how, seed)
        show(pd.DataFrame(records), seed + 1)


def scored(fit: Fit, test: pd.DataFrame, how: str, seed: int) -> list[dict]:
    """Score a fit, relative to what was measured so that long requests do not drown short ones.

    CRPS is that of the log: heavy-tailed noise on the log scale has no mean on the scale itself:
    one draw in a million could decide.
    """
    drawn = predict(fit, requests_of(test), session="same").draws
    records = []
    for metric in (m for m in TIMES if m in test):
        observed = test[metric].to_numpy()
        there = observed > 0
        relative = drawn[metric].reshape(-1, len(test))[:, there] / observed[there]
        scores = score(relative, np.ones(there.sum()))
        records.append(
            {"runs": how, "metric": metric, "seed": seed, "usable": fit.usable}
            | {name: scores[name] for name in ("width_90", "coverage_90")}
            | {"crps": crps(np.log(relative), np.zeros(there.sum()))}
        )
    return records


def show(frame: pd.DataFrame, seeds: int) -> None:
    """Print the means over seeds, and in how many the planned runs were better."""
    table = Table(title=f"five more runs: mean over {seeds} seeds, relative to the measured times")
    for name in ("metric", "runs", "90 % width %", "CRPS %", "90 % coverage %", "not usable"):
        table.add_column(name, justify="right")
    for (metric, how), rows in frame.groupby(["metric", "runs"], sort=False):
        table.add_row(
            *(str(metric), str(how)),
            *(f"{100 * rows[name].mean():.3f}" for name in ("width_90", "crps")),
            f"{100 * rows['coverage_90'].mean():.1f}",
            str(int((~rows["usable"]).sum())),
        )
    console.print(table)
    wide = frame.pivot_table(index=["metric", "seed"], columns="runs", values=["width_90", "crps"])
    rivals = [how for how in frame["runs"].unique() if how.startswith("random")]
    for metric, name, rival in product(frame["metric"].unique(), ("width_90", "crps"), rivals):
        pair = wide.loc[metric][name]
        ratio = np.log(pair["planned"] / pair[rival])
        error = ratio.std() / np.sqrt(len(ratio)) if len(ratio) > 1 else np.nan
        console.print(
            f"{metric} {name}: planned / {rival} = {np.exp(ratio.mean()):.2f} "
            f"(x or / {np.exp(error):.2f}), smaller in {(ratio < 0).sum()} of {len(ratio)}"
        )


if __name__ == "__main__":
    main()
