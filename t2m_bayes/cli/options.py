"""Options that several commands share, and what they mean."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer

from t2m_bayes.cli.output import log
from t2m_bayes.errors import DataError
from t2m_bayes.precisions import llm_label
from t2m_bayes.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from t2m_bayes.baselines.regression import Regression
    from t2m_bayes.fits import Fit
    from t2m_bayes.power_population import View
    from t2m_bayes.prediction import Prediction
    from t2m_bayes.requests import Requests
    from t2m_bayes.schema import Runs


class SessionKind(StrEnum):
    """Whose speed is predicted."""

    new = "new"
    same = "same"


class Shown(StrEnum):
    """Whose energy and power is predicted."""

    chip = "chip"
    sensor = "sensor"


class Unit(StrEnum):
    """Units of time."""

    s = "s"
    ms = "ms"


RunsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--runs", metavar="FILE", help="Run table, server Excel or Tegra CSV; repeatable."
    ),
]
ServerOption = Annotated[
    Path | None, typer.Option("--server", metavar="XLSX", help="Server Excel, one sheet an LLM.")
]
TegraOption = Annotated[
    Path | None,
    typer.Option("--tegra", metavar="DIR", help="Tegra CSV, or a folder of them, one an LLM."),
]
UnitOption = Annotated[
    Unit | None, typer.Option("--unit", help="Unit of times, where names and rows leave it open.")
]
FitOption = Annotated[
    Path | None,
    typer.Option(
        "--fit",
        "--model-path",
        metavar="PATH",
        help="A fit that `t2m train` left; the shipped reference fit by default.",
    ),
]
ShownOption = Annotated[
    Shown,
    typer.Option(
        "--as",
        help="Energy and power that the chip uses, or that its sensor would report, with its idle "
        "time and whole samples.",
    ),
]
ProbOption = Annotated[
    float, typer.Option("--prob", metavar="P", help="Probability inside the band.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def read_fit(path: Path | None) -> Fit | Regression:
    """Return the fit or regression that ``--fit`` names, or the shipped reference fit."""
    from t2m_bayes import fits

    if path is not None and (file := regression_at(path)) is not None:
        from t2m_bayes.baselines import saved

        return saved.load(file)
    return fits.load(default_fit() if path is None else path)


def read_posterior(path: Path | None) -> Fit:
    """Return the fit that ``--fit`` names, which must be one of the Bayesian model.

    Raises:
        DataError: It is a regression.
    """
    from t2m_bayes import fits

    known = read_fit(path)
    if not isinstance(known, fits.Fit):
        raise DataError(
            f"{path} holds a point regressor, which has no posterior; name a fit that "
            "`t2m train --regression bayes` left"
        )
    return known


def regression_at(path: Path) -> Path | None:
    """Return the regression's file that a path means: itself, or in its folder."""
    from t2m_bayes.fits import PROVENANCE, REGRESSION

    folder = path.parent if path.name in (PROVENANCE, REGRESSION) else path
    return folder / REGRESSION if (folder / REGRESSION).is_file() else None


def predict_with(
    known: Fit | Regression,
    requests: Requests,
    session: Literal["new", "same"],
    view: View = "chip",
) -> Prediction:
    """Predict requests with whatever ``--fit`` named."""
    from t2m_bayes import fits, prediction

    if isinstance(known, fits.Fit):
        return prediction.predict(known, requests, session=session, view=view)
    return known.predict(requests, session=session)


def check_answered(known: Fit | Regression, answered: Prediction) -> None:
    """Turn away requests that a regression cannot answer; the model answers all.

    Raises:
        DataError: There is one.
    """
    from t2m_bayes import fits

    if isinstance(known, fits.Fit):
        return
    if any(bool(np.isnan(draws).any()) for draws in answered.draws.values()):
        raise DataError(
            f"nothing was predicted: {'; '.join(answered.warnings)}. It was fitted to "
            f"{', '.join(known.coords.cell_names())}; for others use the Bayesian model"
        )


def default_fit() -> Path:
    """Return where the shipped reference fit is."""
    return shipped("models") / "reference"


def sample_paths() -> list[Path]:
    """Return the shipped samples: the server workbook's folder and the Tegra CSVs'."""
    return [shipped("datasets") / "server", shipped("datasets") / "tegra"]


def read_runs(
    runs: Sequence[Path] | None,
    server: Path | None,
    tegra: Path | None,
    *,
    device: str | None = None,
    unit: Unit | None = None,
) -> Runs:
    """Return the runs that the data options name, or the shipped samples where none is given."""
    from t2m_bayes.loading import load

    paths = [*(runs or []), *([server] if server else []), *([tegra] if tegra else [])]
    if not paths:
        paths = sample_paths()
        log.info("no data given: using the shipped samples, which are simulated")
    return load(*paths, device=device, unit=unit.value if unit else None)


def only_llm(runs: Runs, name: str) -> pd.DataFrame:
    """Return the rows of one LLM, in any of its precisions unless one is named.

    Raises:
        DataError: There are none.
    """
    wanted, _ = llm_label(name)
    llms = runs.frame["llm"]
    found = llms.eq(wanted) if "@" in name else llms.str.partition("@")[0].eq(wanted)
    if not found.any():
        raise DataError(f"no runs of {wanted!r}: the data hold {', '.join(sorted(llms.unique()))}")
    return runs.frame[found].reset_index(drop=True)


def check_prob(prob: float) -> None:
    """Turn away a probability that is none.

    Raises:
        DataError: It is not between 0 and 1.
    """
    if not 0 < prob < 1:
        raise DataError(f"--prob must be between 0 and 1, such as 0.9; found {prob:g}")
