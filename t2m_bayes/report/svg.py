"""Figures as SVG that stands inside the page: text stays text, and colours follow the page's."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

from t2m_bayes.figures import OKABE_ITO

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

SIZE: Final = (4.8, 3.5)
"""Width and height of a figure, in inches: its text stays readable on a phone 390 pixels wide."""

COLOURS: Final = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    **{colour.lower(): f"var(--series-{i})" for i, colour in enumerate(OKABE_ITO[:-1])},
}
"""Colours of figures to those of the page, which change in the dark."""

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
    text = NAMED.sub(f"{name}-", text)
    for colour, of_page in COLOURS.items():
        text = text.replace(colour, of_page)
    labelled = f'<svg role="img" aria-label="{escape(title)}"'
    return Picture(Markup(text.replace("<svg", labelled, 1)), caption)
