"""Pictures of predictions. They draw what they are given and fit nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

OKABE_ITO: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Colours that people with any colour vision tell apart (Okabe and Ito 2008), strongest first."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
"""Shapes of points, so that LLMs differ without colour too."""

LABELS: Final = {
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "prefill_s": "prefill time (s)",
    "decode_s": "decode time (s)",
    "total_s": "total time (s)",
    "energy_j": "energy (J)",
    "power_w": "mean power (W)",
    "prefill_energy_j": "prefill energy (J)",
    "decode_energy_j": "decode energy (J)",
}
"""What the axes say of each column."""

LOG_FROM: Final = 20
"""Axes whose values span this factor or more are logarithmic."""


def fan(
    ax: Axes,
    bands: pd.DataFrame,
    metric: str,
    against: str,
    *,
    measured: pd.DataFrame | None = None,
) -> Axes:
    """Draw a metric against tokens: for each LLM a band, its median, and measured points.

    Args:
        ax: Where to draw.
        bands: Columns ``llm``, ``against``, ``<metric>_median``, ``<metric>_lower`` and
            ``<metric>_upper``, times in seconds, as ``Prediction.to_frame`` returns them.
        metric: ``prefill_s``, ``decode_s`` or ``total_s``.
        against: ``input_tokens`` or ``output_tokens``.
        measured: Columns ``llm``, ``against`` and ``metric``; rows without a value are left out.

    Returns:
        ``ax``. Medians carry the LLM's name as label, for a legend outside of the axes; where
        measurements were given but none of the LLM, its median is dashed and its label says so.

    Raises:
        DataError: A column is missing.
    """
    _need(bands, ["llm", against, *(f"{metric}_{part}" for part in ("median", "lower", "upper"))])
    if measured is not None:
        _need(measured, ["llm", against, metric])
    for i, llm in enumerate(dict.fromkeys(bands["llm"])):
        colour = OKABE_ITO[i % len(OKABE_ITO)]
        band = bands[bands["llm"] == llm].sort_values(against)
        x = band[against].to_numpy(float)
        low, high = (band[f"{metric}_{part}"].to_numpy(float) for part in ("lower", "upper"))
        ax.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0, zorder=1)
        points = None if measured is None else measured[measured["llm"] == llm]
        unmeasured = points is not None and points[metric].isna().all()
        ax.plot(
            x,
            band[f"{metric}_median"].to_numpy(float),
            color=colour,
            linestyle="--" if unmeasured else "-",
            label=f"{llm} (not measured)" if unmeasured else llm,
            linewidth=1.4,
            zorder=3,
        )
        if points is not None:
            ax.plot(
                points[against].to_numpy(float),
                points[metric].to_numpy(float),
                linestyle="none",
                marker=MARKERS[i % len(MARKERS)],
                markersize=3,
                markerfacecolor="none",
                markeredgecolor=colour,
                markeredgewidth=0.6,
                zorder=2,
            )
    _scale(ax, "x", [bands[against]] + ([] if measured is None else [measured[against]]))
    _scale(ax, "y", [bands[f"{metric}_median"]] + ([] if measured is None else [measured[metric]]))
    ax.set_xlabel(LABELS.get(against, against))
    ax.set_ylabel(LABELS.get(metric, metric))
    ax.grid(visible=True, which="major", linewidth=0.4, alpha=0.5)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _need(frame: pd.DataFrame, columns: list[str]) -> None:
    if missing := [name for name in columns if name not in frame]:
        raise DataError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, frame))}"
        )


def _scale(ax: Axes, which: str, columns: list[pd.Series]) -> None:
    """Make an axis logarithmic where its values ask for it, and its ticks plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = np.concatenate([column.to_numpy(float) for column in columns])
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size or positive.max() < LOG_FROM * positive.min():
        return
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    decades = np.log10(positive.max() / positive.min())
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2.5 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
