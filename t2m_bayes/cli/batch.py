"""A file of requests, answered row by row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from t2m_bayes.cli.options import bands_with
from t2m_bayes.cli.output import log
from t2m_bayes.cli.tables import csv_text, read_cells, write_cells
from t2m_bayes.errors import DataError
from t2m_bayes.requests import find_device, make_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from t2m_bayes.baselines.regression import Regression
    from t2m_bayes.fits import Fit

NEEDED: Final = ("llm", "input_tokens", "output_tokens")
PARTS: Final = ("median", "lower", "upper")
ROWS_SHOWN: Final = 8
"""Row numbers listed of each fault."""


def answer(
    fit: Fit | Regression,
    source: Path,
    output: Path | None,
    *,
    prob: float,
    session: str,
    device: str | None,
    bytes_per_param: float | None,
) -> None:
    """Predict every row of a table and write the table with the bands added.

    Args:
        fit: The fit.
        source: CSV or Parquet with the columns :data:`NEEDED`.
        output: CSV or Parquet to write; standard output by default.
        prob: Probability inside the bands.
        session: ``new`` or ``same``, for rows without a session of their own.
        device: Device of rows without one.
        bytes_per_param: Bytes a parameter takes, for rows with ``params_b``.

    Raises:
        DataError: A row cannot be answered. Nothing is written then.
    """
    answers = [f"{metric}_{part}" for metric in fit.metrics for part in PARTS]
    table = _read(source, answers)
    if output is not None and output.exists() and output.samefile(source):
        raise DataError(f"--output is the file of the requests, {source}: name another")
    bands, warnings = _bands(fit, table, source, prob, session, device, bytes_per_param)
    bands = np.char.mod("%.6g", bands).astype(float)
    answered = table.assign(**{name: bands[:, i] for i, name in enumerate(answers)})
    if output is None:
        sys.stdout.write(csv_text(answered))
    else:
        write_cells(answered, output)
        log.info("%d requests answered in %s", len(table), output)
    for warning in warnings:
        log.warning("%s", warning)


def _read(source: Path, answers: list[str]) -> pd.DataFrame:
    """Return the table as it stands, if it can be answered and was not yet."""
    table = read_cells(source)
    if missing := [name for name in NEEDED if name not in table]:
        raise DataError(
            f"{source}: no column {', '.join(missing)}; found: {', '.join(map(str, table))}"
        )
    if taken := [name for name in answers if name in table]:
        raise DataError(f"{source}: has columns of answers already: {', '.join(taken)}")
    return table.reset_index(drop=True)


def _bands(
    fit: Fit | Regression,
    table: pd.DataFrame,
    source: Path,
    prob: float,
    session: str,
    device: str | None,
    bytes_per_param: float | None,
) -> tuple[NDArray[np.floating[Any]], list[str]]:
    """Return the answers, of shape (row, answer), and what limits the trust in them."""
    text = {name: _texts(table, name) for name in ("llm", "device", "session")}
    devices = text["device"].mask(text["device"].eq(""), device or fit.target_device)
    sessions = text["session"].mask(text["session"].eq(""), session)
    number = {
        name: pd.to_numeric(table[name], errors="coerce").astype(float)
        for name in ("input_tokens", "output_tokens", "params_b")
        if name in table
    }
    size = number.get("params_b", pd.Series(np.nan, table.index))
    faults = _Faults(source)
    for name in ("input_tokens", "output_tokens"):
        values = number[name]
        good = values.ge(1) & values.lt(np.inf) & values.mod(1).eq(0)
        faults.add(name, "must be whole numbers of 1 or more", ~good, table[name])
    if "params_b" in number:
        empty = _texts(table, "params_b").eq("") | table["params_b"].isna()
        good = empty | (size.gt(0) & size.lt(np.inf))
        faults.add("params_b", "must be numbers above 0, or empty", ~good, table["params_b"])
    faults.ask("device", devices, lambda name: find_device(fit, name))
    unsized = text["llm"][~size.gt(0)]
    faults.ask("llm", unsized, lambda name: make_requests(fit, name, 1, 1))
    faults.add("llm", "must name an LLM", text["llm"].eq(""))
    measured = {name for _, name in fit.coords.series}
    known = sessions.isin({"new", "same"} | measured)
    what = f"must be new, same or a measured session ({', '.join(sorted(measured))})"
    faults.add("session", what, ~known, sessions)
    faults.stop()

    asked = np.empty((len(table), len(PARTS) * len(fit.metrics)))
    warnings: dict[str, None] = {}
    new = sessions.eq("new").to_numpy()
    kinds: tuple[tuple[Literal["new", "same"], NDArray[np.bool_]], ...] = (
        ("new", new),
        ("same", ~new),
    )
    for kind, rows in kinds:
        if not rows.any():
            continue
        requests = make_requests(
            fit,
            text["llm"][rows].tolist(),
            number["input_tokens"][rows].to_numpy(),
            number["output_tokens"][rows].to_numpy(),
            device=devices[rows].tolist(),
            session=[None if name in ("new", "same") else name for name in sessions[rows]],
            params_b=size[rows].to_numpy(),
            bytes_per_param=bytes_per_param,
        )
        found, said = bands_with(fit, requests, prob, kind)
        asked[rows] = np.concatenate([found[metric] for metric in fit.metrics], axis=1)
        warnings.update(dict.fromkeys(said))
    return asked, list(warnings)


def _texts(table: pd.DataFrame, name: str) -> pd.Series[str]:
    """Return a column as trimmed text, empty where the table has none."""
    if name not in table:
        return pd.Series("", table.index, dtype=object)
    column = table[name]
    return column.astype(object).where(column.notna(), "").astype(str).str.strip().astype(object)


class _Faults:
    """What is wrong with a table, column by column, told all at once."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.lines: list[str] = []

    def add(
        self, column: str, what: str, wrong: pd.Series[bool], found: pd.Series[Any] | None = None
    ) -> None:
        """Note a column's wrong cells, with what was found in the first."""
        rows = wrong.index[wrong].tolist()
        if rows:
            shown = ", ".join(str(row + 1) for row in rows[:ROWS_SHOWN])
            more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
            cell = "" if found is None else f"; found {found[rows[0]]!r}"
            self.lines.append(f"column {column}, data row {shown}{more}: {what}{cell}")

    def ask(self, column: str, names: pd.Series[str], resolve: Callable[[str], object]) -> None:
        """Note the names that mean nothing."""
        for name in names.unique():
            if name:
                try:
                    resolve(name)
                except DataError as error:
                    self.add(column, str(error), names.eq(name))

    def stop(self) -> None:
        """Raise what was noted, if anything."""
        if self.lines:
            raise DataError("\n  ".join([f"{self.source}: nothing was predicted.", *self.lines]))
