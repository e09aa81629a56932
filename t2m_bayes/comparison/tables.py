"""From scores of single readings to the long table, and to who is best and who is tied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from t2m_bayes.comparison.runner import LABELS
from t2m_bayes.scoring import uniformity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from t2m_bayes.comparison.runner import Comparison

TIE: Final = 2.0
"""Standard errors within which a difference from the best is called a tie."""

FEW_SEEDS: Final = 3
"""Fewest seeds that are the units of a standard error; with fewer, the single readings are."""


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the long table: one record a protocol, seed, estimator, metric, LLM and device.

    Args:
        comparison: What was compared.

    Returns:
        Records with :data:`LABELS`, ``n_train, n_test``, ``mape, median_ape, bias`` (shares),
        ``rmse, crps, interval_width, interval_score`` (in the metric's unit, intervals of 90 %),
        ``coverage_50, coverage_90`` (shares), ``pit_uniformity``, ``fit_s`` and ``predict_s``
        (of the seed's fits together, which all metrics share).
    """
    seconds = comparison.fits.groupby(["estimator", "seed"])[["fit_s", "predict_s"]].sum()
    out = []
    for key, rows in comparison.rows.groupby(list(LABELS), sort=False):
        labels = dict(zip(LABELS, key, strict=True))
        took = seconds.xs((labels["estimator"], labels["seed"]))
        out.append(
            labels
            | {"n_train": round(float(rows["n_train"].mean())), "n_test": len(rows)}
            | _scores(rows)
            | {"fit_s": round(took["fit_s"], 4), "predict_s": round(took["predict_s"], 4)}
        )
    return out


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    y = rows["observed"].to_numpy()
    error = rows["median"].to_numpy() - y
    inside = {
        level: float(np.mean((rows[f"lower_{level}"] <= y) & (y <= rows[f"upper_{level}"])))
        for level in (50, 90)
    }
    return {
        "mape": float(np.mean(np.abs(error / y))),
        "median_ape": float(np.median(np.abs(error / y))),
        "bias": float(np.mean(error / y)),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "crps": float(rows["crps"].mean()),
        "coverage_50": inside[50],
        "coverage_90": inside[90],
        "interval_width": float(np.mean(rows["upper_90"] - rows["lower_90"])),
        "interval_score": float(rows["interval_score_90"].mean()),
        "pit_uniformity": uniformity(rows["pit"]),
    }


@dataclass(frozen=True)
class Standing:
    """How one estimator did on one metric, over LLMs, devices and seeds.

    Scores are relative to each reading, and every LLM on every device counts the same.

    Attributes:
        metric: The metric.
        estimator: The estimator.
        n: Readings scored.
        mape: Mean absolute error of the median, as a share.
        median_ape: Median absolute error, as a share.
        bias: Mean error, as a share.
        crps: Mean CRPS, as a share of the reading.
        interval_score: Mean score of the 90 % interval, likewise.
        width: Mean width of the 90 % interval, likewise.
        coverage_50: Share of readings in the 50 % interval.
        coverage_90: Share in the 90 % interval.
        worse_by: How much more CRPS than the best, and the standard error of that difference.
        interval_worse_by: The same of the interval score, against its best.
        complete: Whether it answered every reading that any estimator did; others rank last.
        by_llm: LLM and device to MAPE, median error and coverage of the 90 % interval.
        fit_s: Mean seconds of a fit.
        predict_s: Mean seconds of predicting a split's test rows.
    """

    metric: str
    estimator: str
    n: int
    mape: float
    median_ape: float
    bias: float
    crps: float
    interval_score: float
    width: float
    coverage_50: float
    coverage_90: float
    worse_by: tuple[float, float]
    interval_worse_by: tuple[float, float]
    complete: bool
    by_llm: dict[tuple[str, str], tuple[float, float, float]]
    fit_s: float
    predict_s: float

    @property
    def best(self) -> bool:
        """Return whether no estimator had a smaller CRPS."""
        return self.complete and self.worse_by[0] == 0

    @property
    def tied(self) -> bool:
        """Return whether the CRPS is within :data:`TIE` standard errors of the best."""
        return self.complete and self.worse_by[0] <= TIE * self.worse_by[1]

    @property
    def interval_tied(self) -> bool:
        """Return the same of the interval score; the best is tied with itself."""
        return self.complete and self.interval_worse_by[0] <= TIE * self.interval_worse_by[1]


def standings(comparison: Comparison) -> list[Standing]:
    """Rank estimators for each metric by CRPS.

    Differences are paired: both estimators on the same readings. With :data:`FEW_SEEDS` seeds or
    more their standard error is that of the seeds' means within each LLM and device, else that of
    the readings.

    Args:
        comparison: What was compared.

    Returns:
        Standings, metric by metric, best first.
    """
    rows = comparison.rows
    y = rows["observed"]
    relative = rows.assign(
        ape=((rows["median"] - y) / y).abs(),
        error=(rows["median"] - y) / y,
        crps=rows["crps"] / y,
        interval_score=rows["interval_score_90"] / y,
        width=(rows["upper_90"] - rows["lower_90"]) / y,
        coverage_50=rows["lower_50"].le(y) & y.le(rows["upper_50"]),
        coverage_90=rows["lower_90"].le(y) & y.le(rows["upper_90"]),
    )
    return [
        standing
        for _, of_metric in relative.groupby("metric", sort=False)
        for standing in _ranked(of_metric, comparison.fits)
    ]


def _ranked(rows: pd.DataFrame, fits: pd.DataFrame) -> Iterator[Standing]:
    most = rows.groupby("estimator").size().max()
    parts = {str(name): part for name, part in rows.groupby("estimator", sort=False)}
    score = {
        column: {n: _balanced(p, column) for n, p in parts.items()}
        for column in ("crps", "interval_score")
    }
    full = [n for n, p in parts.items() if len(p) == most]
    best = {column: min(full, key=of.__getitem__) for column, of in score.items()}
    seconds = {
        column: fits.groupby("estimator")[column].mean().to_dict()
        for column in ("fit_s", "predict_s")
    }
    for name in sorted(parts, key=lambda n: (n not in full, score["crps"][n])):
        part = parts[name]
        by = {c: _difference(part, parts[best[c]], c) for c in score}
        yield Standing(
            metric=str(part["metric"].iloc[0]),
            estimator=name,
            n=len(part),
            mape=_balanced(part, "ape"),
            median_ape=float(part["ape"].median()),
            bias=_balanced(part, "error"),
            crps=score["crps"][name],
            interval_score=score["interval_score"][name],
            width=_balanced(part, "width"),
            coverage_50=_balanced(part, "coverage_50"),
            coverage_90=_balanced(part, "coverage_90"),
            worse_by=by["crps"],
            interval_worse_by=by["interval_score"],
            complete=name in full,
            by_llm={
                (str(llm), str(device)): (
                    float(own["ape"].mean()),
                    float(own["ape"].median()),
                    float(own["coverage_90"].mean()),
                )
                for (llm, device), own in part.groupby(["llm", "device"])
            },
            fit_s=seconds["fit_s"][name],
            predict_s=seconds["predict_s"][name],
        )


def _balanced(rows: pd.DataFrame, column: str) -> float:
    """Return the mean over LLMs and devices of their means."""
    return float(rows.groupby(["llm", "device"])[column].mean().mean())


def _difference(one: pd.DataFrame, best: pd.DataFrame, column: str) -> tuple[float, float]:
    """Return a paired difference of two estimators and its standard error."""
    keys = ["seed", "llm", "device", "row"]
    pair = one.set_index(keys)[column] - best.set_index(keys)[column]
    pair = pair.dropna()
    means, variances = [], []
    for _, of_cell in pair.groupby(level=["llm", "device"]):
        by_seed = of_cell.groupby(level="seed").mean()
        units = by_seed if len(by_seed) >= FEW_SEEDS else of_cell
        means.append(float(by_seed.mean()))
        variances.append(float(units.var(ddof=1) / len(units)) if len(units) > 1 else 0.0)
    if not means:
        return float("nan"), float("nan")
    return float(np.mean(means)), float(np.sqrt(np.sum(variances)) / len(means))
