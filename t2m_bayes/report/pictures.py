"""Figures as SVG that stands inside the page: text stays text, and colours follow the page's."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from markupsafe import Markup, escape

from t2m_bayes.figures import OKABE_ITO, fan
from t2m_bayes.prediction import predict_bands
from t2m_bayes.report.calculator import NAMES
from t2m_bayes.report.contents import llms_by_size, token_range, usual_request
from t2m_bayes.requests import make_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from matplotlib.figure import Figure

    from t2m_bayes.fits import Fit

SIZE: Final = (4.8, 3.5)
"""Width and height of a figure, in inches: its text stays readable on a phone 390 pixels wide."""

POINTS: Final = 160
"""Token counts at which a fan is computed."""

PROB: Final = 0.9
"""Probability of the bands in figures."""

NAMED: Final = re.compile(r'(?<=\bid=")|(?<=url\(#)|(?<=href="#)')
"""Where the names of an SVG's parts stand; in one page they must differ between figures."""


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        svg: The drawing.
        caption: What it shows, in a sentence or two.
    """

    svg: Markup
    caption: str


def picture(
    draw: Callable[[Figure], None],
    name: str,
    title: str,
    caption: str,
    size: tuple[float, float] = SIZE,
) -> Picture:
    """Draw a figure.

    Args:
        draw: Draws on an empty figure.
        name: A name that no other figure of the page has.
        title: What it is, for those who cannot see it.
        caption: What it shows.
        size: Width and height in inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.patch.set_visible(False)
        for ax in figure.axes:
            ax.patch.set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format")))
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = NAMED.sub(f"{name}-", text).replace("#000000", "currentColor")
    for i, colour in enumerate(OKABE_ITO[:-1]):
        text = text.replace(colour.lower(), f"var(--series-{i})")
    label = escape(title)
    return Picture(
        Markup(text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)), caption
    )


def fans(fit: Fit, runs: pd.DataFrame | None = None) -> Iterator[Picture]:
    """Draw every metric on the target device against the tokens that drive it.

    Args:
        fit: The fit.
        runs: A run table whose points are drawn beside, or ``None``.
    """
    usual = usual_request(fit)
    for against, other in (("input_tokens", "output_tokens"), ("output_tokens", "input_tokens")):
        bands = _bands(fit, against, usual[other])
        for metric in fit.metrics:
            prefill = metric.startswith("prefill")
            if prefill != (against == "input_tokens") or bands[f"{metric}_median"].isna().all():
                continue
            name = NAMES.get(metric, metric)
            fixed = "" if prefill else f", {usual[other]:,} {other.replace('_', ' ')}"
            shown = "; points are measured runs" if runs is not None else ""
            yield picture(
                partial(_draw_fan, bands=bands, metric=metric, against=against, runs=runs),
                f"fan-{metric}",
                f"{name} on {fit.target_device} against {against.replace('_', ' ')}, with bands",
                f"{name}{fixed}: median and {PROB:.0%} band for a new session{shown}.",
            )


def _draw_fan(
    figure: Figure, bands: pd.DataFrame, metric: str, against: str, runs: pd.DataFrame | None
) -> None:
    ax = figure.subplots()
    measured = runs if runs is not None and metric in runs else None
    fan(ax, bands, metric, against, measured=measured)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


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
