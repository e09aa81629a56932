"""Pictures of a comparison: how far estimators miss, and whether their bands hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.comparison.estimators import BAYES
from t2m_bayes.comparison.tables import standings
from t2m_bayes.figures import LABELS, MARKERS, OKABE_ITO

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from t2m_bayes.comparison.runner import Comparison
    from t2m_bayes.comparison.tables import Standing

LEVELS: Final = np.linspace(0.05, 0.95, 19)
"""Nominal probabilities of the central intervals whose coverage is drawn."""


def draw(comparison: Comparison) -> dict[str, Figure]:
    """Draw both figures, a panel a metric.

    Args:
        comparison: What was compared.

    Returns:
        File name without its ending to figure: ``error_by_estimator`` and
        ``coverage_against_nominal``.
    """
    from matplotlib.figure import Figure

    ranked = standings(comparison)
    metrics = list(dict.fromkeys(s.metric for s in ranked))
    names = list(dict.fromkeys(comparison.rows["estimator"]))
    columns = min(len(metrics), 3)
    lines = -(-len(metrics) // columns)
    figures = {}
    for title, size in (
        ("error_by_estimator", (4.6 * columns, (0.9 + 0.27 * len(names)) * lines)),
        ("coverage_against_nominal", (3.6 * columns, 3.5 * lines)),
    ):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax, metric in zip(axes, metrics, strict=False):
            if title == "error_by_estimator":
                errors(ax, [s for s in ranked if s.metric == metric])
            else:
                rows = comparison.rows[comparison.rows["metric"].eq(metric)]
                coverage(ax, rows, names)
            ax.set_title(LABELS.get(metric, metric), fontsize=10, loc="left")
        for ax in axes[len(metrics) :]:
            ax.set_axis_off()
        if title == "coverage_against_nominal":
            handles: dict[str, Any] = {}
            for ax in axes:
                for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                    handles.setdefault(label, handle)
            figure.legend(
                handles.values(), handles, loc="outside right upper", frameon=False, fontsize=8
            )
        figures[title] = figure
    return figures


def errors(ax: Axes, ranked: list[Standing]) -> Axes:
    """Draw the relative CRPS of each estimator on one metric, and its median error beside it.

    Args:
        ax: Where to draw.
        ranked: Standings of one metric, best first.

    Returns:
        ``ax``. Bars are CRPS in per cent of the reading, on a logarithmic axis; circles are the
        MAPE. The best has a star, what is tied with it an equals sign and a colour; the Bayesian
        model has a colour of its own.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    y = np.arange(len(ranked))[::-1]
    crps = np.array([100 * s.crps for s in ranked])
    mape = np.array([100 * s.mape for s in ranked])
    low = np.floor(np.log10(max(min(crps.min(), mape.min()), 1e-6)) * 2) / 2
    colours = [
        OKABE_ITO[0] if s.estimator == BAYES else OKABE_ITO[1] if s.tied else "#BBBBBB"
        for s in ranked
    ]
    ax.barh(y, crps, color=colours, height=0.7, zorder=2)
    ax.plot(mape, y, "o", color="black", markersize=4, markerfacecolor="white", zorder=3)
    ax.set_xscale("log")
    ax.set_xlim(10**low, 2.5 * max(crps.max(), mape.max()))
    ax.set_yticks(y, [f"{s.estimator}{_mark(s)}" for s in ranked], fontsize=8)
    ax.set_xlabel("CRPS (bar) and MAPE (circle), % of the reading", fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    decades = np.log10(ax.get_xlim()[1] / ax.get_xlim()[0])
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2.5 else (1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(visible=True, axis="x", linewidth=0.4, alpha=0.5)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def coverage(ax: Axes, rows: pd.DataFrame, names: list[str]) -> Axes:
    """Draw the share of readings inside central intervals against their nominal probability.

    Args:
        ax: Where to draw.
        rows: Test readings of one metric, as a comparison holds them.
        names: Every estimator, in the order that decides colours.

    Returns:
        ``ax``. The diagonal is honest; below it bands are too narrow, above too wide.
    """
    ax.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, zorder=1)
    for i, name in enumerate(names):
        own = rows[rows["estimator"].eq(name)]
        if own.empty:
            continue
        inside = np.abs(2 * own["pit"].to_numpy()[:, None] - 1) <= LEVELS
        group = own.groupby(["llm", "device"]).ngroup().to_numpy()
        share = np.mean([inside[group == g].mean(axis=0) for g in np.unique(group)], axis=0)
        ours = name == BAYES
        ax.plot(
            LEVELS,
            share,
            label=name,
            color=OKABE_ITO[i % len(OKABE_ITO)],
            marker=MARKERS[i % len(MARKERS)],
            linestyle="-" if i < len(OKABE_ITO) else "--",
            markevery=(i % 4, 4),
            markersize=4,
            linewidth=2.4 if ours else 0.9,
            zorder=3 if ours else 2,
        )
    ax.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    ax.set_xlabel("nominal probability", fontsize=8)
    ax.set_ylabel("share of readings inside", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(visible=True, linewidth=0.4, alpha=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _mark(s: Standing) -> str:
    if not s.complete:
        return " (partial)"
    return " *" if s.best else " =" if s.tied else ""
