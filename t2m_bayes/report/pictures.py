"""The figures of the report: what the fit predicts, and the evidence for it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes import evidence_figures as draw
from t2m_bayes.figures import fan
from t2m_bayes.prediction import predict_bands
from t2m_bayes.report.calculator import NAMES
from t2m_bayes.report.contents import llms_by_size, token_range, usual_request
from t2m_bayes.report.svg import SIZE, Picture, picture
from t2m_bayes.requests import make_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from t2m_bayes.fits import Fit

POINTS: Final = 160
"""Token counts at which a fan is computed."""

SHOWN: Final = 300
"""Most measured runs of an LLM that are drawn as points: thousands would make the page slow."""

PROB: Final = 0.9
"""Probability of the bands in figures."""


def fans(fit: Fit, runs: pd.DataFrame | None = None) -> Iterator[Picture]:
    """Draw every metric on the target device against the tokens that drive it.

    Args:
        fit: The fit.
        runs: A run table whose points are drawn beside, or ``None``.
    """
    usual = usual_request(fit)
    if runs is not None:
        mixed = runs.sample(frac=1, random_state=0)
        runs = mixed[mixed.groupby("llm").cumcount() < SHOWN]
    for against, other in (("input_tokens", "output_tokens"), ("output_tokens", "input_tokens")):
        bands = _bands(fit, against, usual[other])
        for metric in fit.metrics:
            prefill = metric.startswith("prefill")
            if prefill != (against == "input_tokens") or bands[f"{metric}_median"].isna().all():
                continue
            name = NAMES.get(metric, metric)
            fixed = "" if prefill else f", {usual[other]:,} {other.replace('_', ' ')}"
            measured = runs if runs is not None and metric in runs else None
            shown = (
                "" if measured is None else f"; points are measured runs, at most {SHOWN} an LLM"
            )
            yield picture(
                partial(
                    _drawn,
                    partial(fan, bands=bands, metric=metric, against=against, measured=measured),
                ),
                f"fan-{metric}",
                f"{name} on {fit.target_device} against {against.replace('_', ' ')}, with bands",
                f"{name}{fixed}: median and {PROB:.0%} band for a new session{shown}.",
            )


def evidence(fit: Fit) -> Iterator[Picture]:
    """Draw the evidence that a fit was saved with; nothing where there is none."""
    found = fit.evidence
    if not found:
        return
    yield picture(
        partial(_drawn, partial(_all_pits, pits=found["pit"])),
        "pit",
        "Difference of the ECDF of leave-one-out PIT values from uniform",
        "Each reading predicted from all others: where it falls in its predicted distribution. A "
        "calibrated model's curve stays in its shaded 95% band.",
    )
    yield picture(
        partial(_drawn, partial(draw.coverage, cover=found["cover"])),
        "coverage",
        "Share of left-out readings inside central intervals, against their probability",
        "Coverage of readings left out in turn: points on the diagonal mean that a band of 90% "
        "holds 90% of the readings.",
        (4.8, 4.6),
    )
    for reading in dict.fromkeys(group["reading"] for group in found["ppc"]):
        groups = [group for group in found["ppc"] if group["reading"] == reading]
        shares = [100 * quantile for quantile in groups[0]["quantiles"]]
        yield picture(
            partial(_drawn, partial(_residuals, groups=groups)),
            f"residuals-{reading}",
            f"Posterior predictive check of {reading}",
            f"Residuals of {reading}: points are quantiles of the measured ones, {shares[0]:g} to "
            f"{shares[-1]:g}% downwards; bars are where the model's own readings would put them.",
            (SIZE[0], 1.2 + 0.75 * len(groups)),
        )
    for kind, title, caption in (
        (
            "offset",
            "Calibration offsets of the devices",
            "How each device departs from its datasheet and from the others, before (prior) and "
            "after (posterior) seeing the runs.",
        ),
        (
            "slope",
            "Slopes in the size of the LLM",
            "How costs grow with an LLM's size, shared by all LLMs: 1 means in proportion.",
        ),
    ):
        levels = [level for level in found["levels"] if level["kind"] == kind]
        if levels:
            yield picture(
                partial(_drawn, partial(draw.forest, levels=levels, kind=kind)),
                kind,
                title,
                caption,
                (SIZE[0], 1.2 + 0.5 * len(levels)),
            )
    for name in ("log_step", "log_token"):
        if name in fit.draws:
            what = draw.TITLES[name].partition(" (")[0]
            yield picture(
                partial(_drawn, partial(draw.sizes, fit=fit, name=name)),
                f"size-{name}",
                f"{what} against the size of the LLM, by device",
                f"{what[0].upper()}{what[1:]} of every LLM and device: median and 90% interval.",
            )
    yield picture(
        partial(_all_ranks, ranks=found["ranks"]),
        "ranks",
        "Rank histograms of the chains",
        "Ranks of each chain's draws among all, for what mixes worst: flat where chains agree.",
        (SIZE[0], 0.8 + 1.45 * -(-len(found["ranks"]) // 2)),
    )


def _drawn(on: Callable[[Axes], Any], figure: Figure) -> None:
    """Draw on one axes, with the legend below."""
    ax = figure.subplots()
    on(ax)
    _legend(figure, ax)


def _legend(figure: Figure, ax: Axes, columns: int = 2) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
        )


def _all_pits(ax: Axes, pits: dict[str, list[float]]) -> None:
    for i, (name, values) in enumerate(pits.items()):
        draw.pit(ax, values, name, i)


def _residuals(ax: Axes, groups: list[dict[str, Any]]) -> None:
    draw.residuals(ax, groups).set_xlabel("residual (% of the expectation)")


def _all_ranks(figure: Figure, ranks: dict[str, list[list[int]]]) -> None:
    axes = figure.subplots(-(-len(ranks) // 2), 2, sharex=True, squeeze=False).ravel()
    for ax, (name, counts) in zip(axes, ranks.items(), strict=False):
        draw.rank_histogram(ax, counts, "").set_title(name.replace("[", "\n[", 1), fontsize=7)
    for ax in axes[len(ranks) :]:
        ax.set_visible(False)
    _legend(figure, axes[0], 4)


def _bands(fit: Fit, against: str, at: int) -> pd.DataFrame:
    """Return bands of every metric and LLM over the tokens that were measured."""
    low, high = token_range(fit, against)
    tokens = np.unique(np.geomspace(max(low, 2), max(high, 3), POINTS).round())
    llms = llms_by_size(fit)
    varied = np.tile(tokens, len(llms))
    fixed = np.full(varied.size, float(at))
    inputs, outputs = (varied, fixed) if against == "input_tokens" else (fixed, varied)
    requests = make_requests(fit, np.repeat(llms, tokens.size).tolist(), inputs, outputs)
    bands, _ = predict_bands(fit, requests, prob=PROB)
    return requests.with_bands(bands)
