"""``t2m report``: a fit, its evidence and its predictions as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from t2m_bayes.cli.options import (
    FitOption,
    RunsOption,
    ServerOption,
    TegraOption,
    Unit,
    UnitOption,
    read_posterior,
    read_runs,
)
from t2m_bayes.cli.output import log
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from t2m_bayes.fits import Fit

EXAMPLES: Final = """\b
Examples:
  t2m report --fit outputs --output report.html
  t2m report --fit outputs --runs runs.csv --compare outputs/comparison --output report.html
"""


def report(
    fit: FitOption = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What `t2m compare --output DIR` left, to be shown."),
    ] = None,
    runs: RunsOption = None,
    server: ServerOption = None,
    tegra: TegraOption = None,
    unit: UnitOption = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("report.html"),
) -> None:
    """Write a fit, its evidence and a calculator as one HTML file.

    The page says what was measured, whether it can be trusted and what it predicts, and needs no
    network. Runs are optional: those on the target device are drawn as points beside the bands.
    """
    if output.is_dir():
        raise DataError(f"--output {output} is a folder; name a file, such as report.html")
    known = read_posterior(fit)
    points = _on_target(known, runs, server, tegra, unit) if runs or server or tegra else None
    from t2m_bayes.report import render, write

    log.info("drawing the report")
    page = render(known, fit, compare=compare, runs=points)
    typer.echo(f"report written to {write(page, output)} ({len(page) / 1e6:.1f} MB)")


def _on_target(
    fit: Fit,
    runs: Sequence[Path] | None,
    server: Path | None,
    tegra: Path | None,
    unit: Unit | None,
) -> pd.DataFrame:
    """Return the runs on the fit's target device."""
    found = read_runs(runs, server, tegra, device=fit.target_device, unit=unit).frame
    points = found[found["device"] == fit.target_device].reset_index(drop=True)
    if points.empty:
        devices = ", ".join(sorted(found["device"].unique()))
        raise DataError(
            f"none of the runs is on {fit.target_device}, the fit's target device: they are on "
            f"{devices}"
        )
    return points
