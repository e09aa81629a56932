"""Options that several commands share, and what they mean."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from t2m_bayes.cli.output import log
from t2m_bayes.errors import DataError
from t2m_bayes.precisions import llm_label
from t2m_bayes.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from t2m_bayes.fits import Fit
    from t2m_bayes.schema import Runs


class SessionKind(StrEnum):
    """Whose speed is predicted."""

    new = "new"
    same = "same"


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
ProbOption = Annotated[
    float, typer.Option("--prob", metavar="P", help="Probability inside the band.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def read_fit(path: Path | None) -> Fit:
    """Return the fit that ``--fit`` names, or the shipped reference fit."""
    from t2m_bayes import fits

    return fits.load(default_fit() if path is None else path)


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
