"""Add new runs to those of an earlier fit, which keeps its run table beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from t2m_bayes import fits
from t2m_bayes.errors import DataError, FitError
from t2m_bayes.schema import Runs, SourceReport, data_hash
from t2m_bayes.writing import replacing

if TYPE_CHECKING:
    import pandas as pd

ROWS: Final = "runs.parquet"
"""The run table beside a fit. A fit predicts without it, and can be shared without it."""


def keep_rows(frame: pd.DataFrame, folder: Path) -> None:
    """Write a run table beside the fit it was fitted to.

    Args:
        frame: The run table.
        folder: The folder of the fit.
    """
    with replacing(folder / ROWS) as part:
        frame.to_parquet(part, index=False)


def read_earlier(path: Path) -> Runs:
    """Return the runs that a fit was fitted to, with the names of their files.

    Args:
        path: Where the fit is: see :func:`t2m_bayes.fits.find`.

    Raises:
        FitError: The table is not there, is damaged, or is not the one the fit was fitted to.
    """
    import pandas as pd

    fit, file = fits.load(path), fits.find(path).with_name(ROWS)
    again = "give all runs, old and new, with --runs, and leave out --from"
    if not file.is_file():
        raise FitError(f"{path} has no {ROWS}, so its runs cannot be fitted again: {again}")
    try:
        frame = pd.read_parquet(file)
    except (ValueError, OSError) as error:
        raise FitError(f"{file} cannot be read, it is damaged: {again} ({error})") from error
    if data_hash(frame) != fit.provenance["data_sha256"]:
        raise FitError(f"{file} does not hold the runs that {path} was fitted to: {again}")
    sources = fit.provenance["sources"]
    return Runs(frame, tuple(SourceReport(name, "run-table", 0, 0) for name in sources))


def add_runs(earlier: Runs, new: Runs) -> tuple[Runs, int]:
    """Return the earlier runs with the new ones after them, and how many of these were known.

    Args:
        earlier: The earlier runs.
        new: The new runs; a run that equals an earlier one in every column is not counted twice.

    Raises:
        DataError: No run is new.
    """
    import pandas as pd

    both = pd.concat([earlier.frame, new.frame], ignore_index=True)
    known = both.duplicated() & (both.index >= len(earlier))
    if known.sum() == len(new):
        raise DataError(f"all {len(new)} runs are among those of the earlier fit already")
    frame = both[~known].reset_index(drop=True)
    return Runs(frame, (*earlier.reports, *new.reports)), int(known.sum())
