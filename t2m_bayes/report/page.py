"""Put the report together: contents, figures and draws into one HTML file."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from t2m_bayes.report import contents
from t2m_bayes.report.calculator import export
from t2m_bayes.writing import replacing

if TYPE_CHECKING:
    import pandas as pd

    from t2m_bayes.fits import Fit


def render(
    fit: Fit,
    path: Path | None = None,
    *,
    compare: Path | None = None,
    runs: pd.DataFrame | None = None,
) -> str:
    """Return the report of a fit as HTML.

    Args:
        fit: The fit.
        path: Where it is, for the commands that the report shows; ``None`` for the shipped fit.
        compare: Folder of a comparison, as ``t2m compare --output`` writes it.
        runs: A run table of the target device whose points are drawn beside the bands.

    Returns:
        The page, with everything inside.

    Raises:
        DataError: The comparison cannot be read.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from t2m_bayes.report import comparison, pictures

    compared = None if compare is None else comparison.read(compare)
    parts = files("t2m_bayes.report")
    environment = Environment(
        loader=PackageLoader("t2m_bayes.report", ""), autoescape=True, undefined=StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    posterior = export(fit)
    return environment.get_template("page.html").render(
        title=f"What language models cost on {fit.target_device}",
        made=datetime.now(UTC).strftime("%Y-%m-%d"),
        css=Markup((parts / "page.css").read_text(encoding="utf-8")),
        js=Markup((parts / "page.js").read_text(encoding="utf-8")),
        fit_option=contents.fit_option(path),
        measured=contents.measured(fit),
        trust=contents.trust(fit),
        evidence=list(pictures.evidence(fit)),
        llms=contents.llms_by_size(fit),
        devices=contents.devices_target_first(fit),
        usual=contents.usual_request(fit),
        names=posterior["metrics"],
        samples=posterior["samples"],
        thinned=posterior["thinned"],
        predicted=list(pictures.fans(fit, runs)),
        compared=compared,
        provenance=contents.provenance(fit, path, compare),
        posterior=posterior,
    )


def write(html: str, output: Path) -> Path:
    """Write a page under a temporary name, then rename it.

    Args:
        html: The page.
        output: The file; its folder is made if it is missing.

    Returns:
        The file.
    """
    with replacing(output) as part:
        part.write_text(html, encoding="utf-8")
    return output
