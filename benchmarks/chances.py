"""Print whether chances of meeting deadlines come true on real requests.

    python benchmarks/chances.py --data FOLDER [--folds 5]

The MMLU requests are cut into random folds; each request is predicted by the fit to the other
folds, and gets deadlines at random places about its prediction and the chance of meeting each.
Among those given a chance of p, a share of p should have met it. The folder holds the public
measurements that ``datasets/README.md`` names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from t2m_bayes.decisions.limits import chance
from t2m_bayes.inference import fit_well, make_models
from t2m_bayes.loading import load
from t2m_bayes.power_design import without_power
from t2m_bayes.prediction import predict
from t2m_bayes.requests import requests_of
from t2m_bayes.sampling import Sampling

DEADLINES = 20
console = Console(width=120)


def main() -> None:
    """Fit all folds but one, ask about that one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real measurements")
    parser.add_argument("--folds", type=int, default=5, help="parts of the requests")
    args = parser.parse_args()
    runs = without_power(load(args.data / "orin_mmlu_requests.csv"))
    there = (runs.frame[["prefill_s", "decode_s", "total_s"]] > 0).all(axis=1).to_numpy()
    models = make_models(runs)
    parts = []
    rng = np.random.default_rng(1)
    fold = rng.permutation(len(runs)) % args.folds
    for k in range(args.folds):
        train = fold != k
        fit = fit_well(models, Sampling(progress=False), train)
        console.print(fit.provenance["diagnostics"]["verdict"])
        test = runs.frame[there & ~train]
        requests = requests_of(test)
        drawn = predict(fit, requests, session="same", seed=1)
        for metric in ("prefill_s", "decode_s", "total_s"):
            observed = test[metric].to_numpy()
            flat = np.sort(drawn.draws[metric].reshape(-1, len(test)), axis=0)
            for _ in range(DEADLINES):
                # Deadlines are draws of other noise, so that chances of every size occur.
                deadline = flat[rng.integers(0, len(flat), len(test)), np.arange(len(test))]
                found = chance(fit, requests, {metric: deadline}, session="same")
                parts.append(
                    pd.DataFrame(
                        {
                            "metric": metric,
                            "llm": test["llm"].to_numpy(),
                            "given": found.together,
                            "met": observed <= deadline,
                        }
                    )
                )
    frame = pd.concat(parts)
    for metric, rows in frame.groupby("metric", sort=False):
        show(str(metric), rows)


def show(metric: str, rows: pd.DataFrame) -> None:
    """Print given chances and shares that met their deadline, by tenths, for all and each LLM."""
    tenth = np.minimum((rows["given"] * 10).astype(int), 9)
    table = Table(title=f"{metric}: {len(rows)} pairs of request and deadline")
    llms = sorted(rows["llm"].unique())
    for name in ("chance given", "pairs", "mean chance %", "met %", "off by %", *llms):
        table.add_column(name, justify="right")
    worst = 0.0
    for i, part in rows.groupby(tenth):
        off = 100 * (part["met"].mean() - part["given"].mean())
        worst = max(worst, abs(off))
        each = [
            100 * (own["met"].mean() - own["given"].mean()) if len(own) else np.nan
            for own in (part[part["llm"] == llm] for llm in llms)
        ]
        table.add_row(
            f"{10 * i} to {10 * i + 10} %",
            str(len(part)),
            f"{100 * part['given'].mean():.1f}",
            f"{100 * part['met'].mean():.1f}",
            f"{off:+.1f}",
            *(f"{value:+.1f}" for value in each),
        )
    console.print(table)
    console.print(f"{metric}: worst tenth off by {worst:.1f} points")


if __name__ == "__main__":
    main()
