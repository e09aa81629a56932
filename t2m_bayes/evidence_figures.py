"""Pictures of the evidence for a fit. They draw what they are given and fit nothing."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.figures import MARKERS, OKABE_ITO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit

    Floats = NDArray[np.float64]

GREY: Final = "#999999"
"""Colour of what would be expected: priors, replicates, bands."""

BAND: Final = 0.95
"""Probability of a simultaneous band."""

TITLE_WIDTH: Final = 40
"""Characters of a small picture's title on one line."""

TITLES: Final = {
    "log_stream": "streaming the weights",
    "log_step_overhead": "overhead of a decode step",
    "log_decode_start": "start of decode",
    "log_token_device": "computing a prompt token",
    "log_prefill_overhead": "overhead of a prefill",
    "log_noise_decode": "noise of decode",
    "log_noise_prefill": "noise of prefill",
    "slope_step": "decode step",
    "slope_token": "prefill of a token",
    "slope_context": "context in decode",
    "slope_quadratic": "attention's share",
    "log_step": "decode step (s)",
    "log_token": "prefill of a token (s)",
}
"""What coefficients are called in a picture; others keep their names."""


def forest(ax: Axes, levels: Sequence[Mapping[str, Any]], kind: str) -> Axes:
    """Draw prior and posterior of offsets or slopes: 50 and 90 % intervals, and the median.

    Offsets are factors between devices, on a logarithmic axis; slopes are exponents of size.

    Args:
        ax: Where to draw.
        levels: ``evidence["levels"]`` of a fit.
        kind: ``offset`` or ``slope``.

    Returns:
        ``ax``, with labels for a legend.
    """
    shown = [level for level in levels if level["kind"] == kind]
    labels = [level["label"] for level in shown]
    several = len(set(labels)) > 1
    for i, level in enumerate(shown):
        for what, colour, shift in (("prior", GREY, 0.17), ("posterior", OKABE_ITO[0], -0.17)):
            q = np.array(level[what], dtype=float)
            x = np.exp(q) if kind == "offset" else q
            y = -i + shift
            label = f"{what} (50 and 90 %)" if i == 0 else None
            ax.plot(x[[0, 4]], [y, y], color=colour, linewidth=1.2, zorder=2)
            ax.plot(x[[1, 3]], [y, y], color=colour, linewidth=4, zorder=2, label=label)
            ax.plot(x[2], y, "o", color="white", markeredgecolor=colour, markersize=5, zorder=3)
    names = [TITLES.get(level["name"], level["name"]) for level in shown]
    ticks = [f"{n}\n{t}" if several else n for n, t in zip(names, labels, strict=True)]
    ax.set_yticks([-i for i in range(len(shown))], ticks, fontsize=9)
    if kind == "offset":
        _log_axis(ax, "x")
        ax.axvline(1.0, color="black", linewidth=0.8, linestyle=":", zorder=1)
        ax.set_xlabel("factor" if several or not labels else f"factor:\n{labels[0]}")
    else:
        ax.set_xlabel("exponent of the LLM's size")
    return _plain(ax)


def sizes(ax: Axes, fit: Fit, name: str) -> Axes:
    """Draw a coefficient of every LLM on every device against the LLM's size.

    Args:
        ax: Where to draw.
        fit: The fit.
        name: A variable of its cells on the log scale, such as ``log_step``.

    Returns:
        ``ax``: medians and 90 % intervals on logarithmic axes, joined by device.
    """
    draws = np.exp(fit.flat(name))
    params = np.array(fit.coords.params_b)
    for d, device in enumerate(fit.coords.devices):
        cells = [c for c, (_, of) in enumerate(fit.coords.cells) if of == d]
        cells.sort(key=lambda c: params[fit.coords.cells[c][0]])
        if not cells:
            continue
        x = params[[fit.coords.cells[c][0] for c in cells]]
        low, middle, high = np.quantile(draws[:, cells], [0.05, 0.5, 0.95], axis=0)
        colour = OKABE_ITO[d % len(OKABE_ITO)]
        ax.plot(x, middle, color=colour, linewidth=0.8, alpha=0.6, zorder=1)
        ax.errorbar(
            x,
            middle,
            yerr=[middle - low, high - middle],
            fmt=MARKERS[d % len(MARKERS)],
            color=colour,
            capsize=3,
            linewidth=1.2,
            label=device,
            zorder=2,
        )
    _log_axis(ax, "x")
    _log_axis(ax, "y")
    ax.set_xlabel("size of the LLM (billions of parameters)")
    ax.set_ylabel(TITLES.get(name, name))
    return _plain(ax)


def residuals(ax: Axes, groups: Sequence[Mapping[str, Any]]) -> Axes:
    """Draw a posterior predictive check: quantiles of residuals, measured and replicated.

    Args:
        ax: Where to draw.
        groups: Entries of ``evidence["ppc"]``, all of one kind of reading.

    Returns:
        ``ax``: a row for each LLM on a device; bars are the 90 % band of the quantile in readings
        the model would have made, points the quantile measured, in per cent of the expectation.
    """
    for i, group in enumerate(groups):
        colour = OKABE_ITO[i % len(OKABE_ITO)]
        quantiles = group["quantiles"]
        low, high, seen = (
            100 * np.expm1(np.array(group[k], dtype=float)) for k in ("lower", "upper", "observed")
        )
        rows = -i + np.linspace(0.32, -0.32, len(quantiles))
        for y, a, b in zip(rows, low, high, strict=True):
            ax.plot([a, b], [y, y], color=GREY, linewidth=3.5, alpha=0.6, zorder=1)
        ax.plot(seen, rows, MARKERS[i % len(MARKERS)], color=colour, markersize=4.5, zorder=2)
    largest = max(
        np.abs(np.expm1(np.array(g[k]))).max() for g in groups for k in ("lower", "upper")
    )
    usual = min(
        np.abs(np.expm1(np.array([g["observed"][2], g["observed"][-3]]))).max() for g in groups
    )
    if largest > 20 * usual:
        threshold = float(f"{100 * max(usual, 1e-4):.0e}")
        ax.set_xscale("symlog", linthresh=threshold, linscale=1.0)
        # A tick at the threshold itself would stand in that of 0.
        first, last = np.ceil(np.log10(2 * threshold)), np.floor(np.log10(100 * largest))
        decades = 10.0 ** np.arange(first, last + 1)
        ax.set_xticks([*-decades[::-1], 0.0, *decades])
        ax.xaxis.set_major_formatter("{x:g}")
    names = [f"{g['llm']}\n{g['device']}, n = {g['n']}" for g in groups]
    ax.set_yticks([-i for i in range(len(groups))], names, fontsize=9)
    ends = f"{100 * groups[0]['quantiles'][0]:g} to {100 * groups[0]['quantiles'][-1]:g} %"
    ax.set_xlabel(f"residual (%), quantiles {ends} downwards")
    return _plain(ax)


def pit(ax: Axes, values: Sequence[float], label: str, index: int = 0) -> Axes:
    """Draw how the ECDF of LOO-PIT values differs from that of uniform ones.

    The band holds the whole curve of a calibrated model with 95 % (Säilynoja et al. 2022,
    arXiv 2103.10522).

    Args:
        ax: Where to draw; may hold other kinds of readings already.
        values: PIT values, between 0 and 1.
        label: What they are of.
        index: Which colour and line to take.
    """
    from arviz_stats.ecdf_utils import ecdf_pit

    at, ecdf, low, high = ecdf_pit(np.asarray(values, dtype=float), BAND, 1000)
    colour = OKABE_ITO[index % len(OKABE_ITO)]
    ax.fill_between(at, low - at, high - at, color=colour, alpha=0.15, linewidth=0, step="mid")
    line = ("-", "--", "-.", ":")[index % 4]
    ax.plot(at, ecdf - at, line, color=colour, linewidth=1.4, label=f"{label} (n = {len(values)})")
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle=":")
    ax.set_xlim(0, 1)
    ax.set_xlabel("LOO-PIT: probability of a smaller reading")
    ax.set_ylabel("ECDF minus uniform")
    return _plain(ax)


def coverage(ax: Axes, cover: Mapping[str, Mapping[str, Any]]) -> Axes:
    """Draw the share of readings inside central intervals against their probability.

    Args:
        ax: Where to draw.
        cover: ``evidence["cover"]`` of a fit.

    Returns:
        ``ax``; bands are where the share of as many independent readings lies with 95 %.
    """
    from scipy import stats

    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    for i, (name, found) in enumerate(cover.items()):
        nominal, share = (np.array(found[k], dtype=float) for k in ("nominal", "share"))
        n, colour = int(found["n"]), OKABE_ITO[i % len(OKABE_ITO)]
        low, high = (stats.binom.ppf(q, n, nominal) / n for q in (0.025, 0.975))
        ax.fill_between(nominal, low, high, color=colour, alpha=0.15, linewidth=0)
        marker = MARKERS[i % len(MARKERS)]
        ax.plot(nominal, share, marker, color=colour, markersize=4.5, label=f"{name} (n = {n})")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel("probability of the interval")
    ax.set_ylabel("share of readings inside, left out")
    return _plain(ax)


def rank_histogram(ax: Axes, counts: Sequence[Sequence[int]], name: str) -> Axes:
    """Draw how the draws of each chain rank among those of all: flat where the chains agree.

    Args:
        ax: Where to draw.
        counts: Counts of each chain, from ``evidence["ranks"]``. shape: (chain, bin)
        name: The variable.
    """
    table = np.array(counts, dtype=float)
    edges = np.linspace(0, 1, table.shape[1] + 1)
    for i, row in enumerate(table):
        ax.stairs(
            row / row.mean(),
            edges,
            color=OKABE_ITO[i % len(OKABE_ITO)],
            linewidth=1.1,
            label=f"chain {i + 1}",
        )
    ax.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, max(2.0, 1.05 * float((table / table.mean(axis=1, keepdims=True)).max())))
    ax.set_title(fill(name.replace("[", " ["), TITLE_WIDTH), fontsize=8)
    return _plain(ax)


def rank_differences(
    ax: Axes,
    differences: Floats,
    bands: Mapping[str, tuple[Floats, Floats]],
    outside: Sequence[bool],
) -> Axes:
    """Draw a simulation-based calibration: ECDF differences of all parameters, and their bands.

    Args:
        ax: Where to draw.
        differences: ECDF of the ranks minus uniform. shape: (parameter, level)
        bands: Label to lower and upper bound, the widest last. shape: (level,)
        outside: Which parameters to set off. shape: (parameter,)
    """
    at = np.arange(1, differences.shape[1] + 1) / (differences.shape[1] + 1)
    for i, (label, (low, high)) in enumerate(bands.items()):
        line = ("--", "-")[i % 2]
        ax.plot(at, low, line, color="black", linewidth=1.1, zorder=3, label=label)
        ax.plot(at, high, line, color="black", linewidth=1.1, zorder=3)
    for row, out in zip(differences, outside, strict=True):
        colour, width = (OKABE_ITO[1], 1.0) if out else (OKABE_ITO[0], 0.5)
        ax.plot(at, row, color=colour, linewidth=width, alpha=0.9 if out else 0.35, zorder=2)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle=":")
    ax.set_xlim(0, 1)
    ax.set_xlabel("rank of the true parameter among its posterior draws, scaled")
    ax.set_ylabel("ECDF minus uniform")
    return _plain(ax)


def _log_axis(ax: Axes, which: str) -> None:
    """Make an axis logarithmic, its ticks plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2.5 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _plain(ax: Axes) -> Axes:
    ax.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
