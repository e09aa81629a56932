"""Whole pictures of a fit's evidence, made of :mod:`t2m_bayes.evidence_figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2m_bayes import evidence_figures as draw
from t2m_bayes.errors import FitError
from t2m_bayes.writing import write_picture

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from t2m_bayes.fits import Fit
    from t2m_bayes.sbc import Calibration


def pictures(fit: Fit) -> dict[str, Figure]:
    """Return the pictures of a fit's evidence, by name.

    Args:
        fit: A fit that was checked when it was trained.

    Returns:
        ``offsets``, ``slopes``, ``residuals``, ``pit``, ``coverage`` and ``ranks``.

    Raises:
        FitError: The fit holds no evidence.
    """
    if not fit.evidence:
        raise FitError(
            "the fit holds no evidence to draw: train it with this version of `t2m train`"
        )
    return {
        "offsets": _offsets(fit),
        "slopes": _slopes(fit),
        "residuals": _residuals(fit),
        "pit": _pit(fit),
        "coverage": _coverage(fit),
        "ranks": _ranks(fit),
    }


def write(fit: Fit, directory: Path) -> list[Path]:
    """Write the pictures of a fit as PNG files.

    Args:
        fit: A fit that was checked when it was trained.
        directory: Folder of the files; made if it is missing.

    Returns:
        The files.

    Raises:
        FitError: The fit holds no evidence.
    """
    drawn = pictures(fit)
    return [write_picture(figure, directory / f"{name}.png") for name, figure in drawn.items()]


def calibration_picture(result: Calibration) -> Figure:
    """Return the picture of a simulation-based calibration."""
    figure = _figure(7.5, 4.6)
    ax = figure.subplots()
    outside = set(result.outside(jointly=True))
    bands = {
        "95 % band of one parameter": result.band(),
        "95 % band of all of them": result.band(1 - 0.05 / len(result.parameters)),
    }
    draw.rank_differences(
        ax, result.differences(), bands, [p in outside for p in result.parameters]
    )
    ax.set_title(
        f"Simulation-based calibration: {len(result.parameters)} parameters, "
        f"{len(result.ranks)} simulations",
        fontsize=10,
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _offsets(fit: Fit) -> Figure:
    offsets = [level for level in fit.evidence["levels"] if level["kind"] == "offset"]
    figure = _figure(7.5, 1.6 + 0.5 * len(offsets))
    ax = draw.forest(figure.subplots(), offsets, "offset")
    ax.set_title("Calibration offsets of devices", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _slopes(fit: Fit) -> Figure:
    names = [name for name in ("log_step", "log_token") if name in fit.draws]
    figure = _figure(4.2 * (1 + len(names)), 4.2)
    first, *others = figure.subplots(1, 1 + len(names))
    draw.forest(first, fit.evidence["levels"], "slope")
    first.set_title("Slopes: shared by all LLMs", fontsize=10)
    for ax, name in zip(others, names, strict=True):
        draw.sizes(ax, fit, name)
        ax.set_title(f"{draw.TITLES[name].partition(' (')[0]}, by size", fontsize=10)
    handles, labels = first.get_legend_handles_labels()
    more = others[0].get_legend_handles_labels() if others else ([], [])
    figure.legend(
        [*handles, *more[0]],
        [*labels, *more[1]],
        loc="outside lower center",
        ncols=4,
        frameon=False,
    )
    return figure


def _residuals(fit: Fit) -> Figure:
    names = list(dict.fromkeys(group["reading"] for group in fit.evidence["ppc"]))
    groups = {n: [g for g in fit.evidence["ppc"] if g["reading"] == n] for n in names}
    rows = max(len(g) for g in groups.values())
    figure = _figure(6.0 * len(names), 1.6 + 0.95 * rows)
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        draw.residuals(ax, groups[name])
        ax.set_title(f"{name}: points measured, bars replicated (90 %)", fontsize=10)
    return figure


def _pit(fit: Fit) -> Figure:
    figure = _figure(7.0, 4.4)
    ax = figure.subplots()
    for i, (name, values) in enumerate(fit.evidence["pit"].items()):
        draw.pit(ax, values, name, i)
    ax.set_title("Readings left out: uniform inside the 95 % bands", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _coverage(fit: Fit) -> Figure:
    figure = _figure(5.2, 5.4)
    ax = draw.coverage(figure.subplots(), fit.evidence["cover"])
    ax.set_title("Coverage of readings left out", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _ranks(fit: Fit) -> Figure:
    ranks = fit.evidence["ranks"]
    rows = -(-len(ranks) // 3)
    figure = _figure(9.0, 1.0 + 1.8 * rows)
    axes = figure.subplots(rows, 3, sharex=True, squeeze=False).ravel()
    for ax, (name, counts) in zip(axes, ranks.items(), strict=False):
        draw.rank_histogram(ax, counts, name)
    for ax in axes[len(ranks) :]:
        ax.set_visible(False)
    figure.suptitle("Ranks of each chain's draws, of what mixes worst: flat is good", fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
