"""A table on its way in: rows leave it only with a reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from t2m_bayes.schema import COLUMNS, SourceReport


@dataclass
class Sieve:
    """The rows still in, and a record of what happened to the others.

    Attributes:
        frame: Rows still in; the index is the 1-based data row.
        decisions: Sentences on what was decided.
        rejected: Reason to row numbers.
    """

    frame: pd.DataFrame
    decisions: list[str] = field(default_factory=list)
    rejected: dict[str, tuple[int, ...]] = field(default_factory=dict)
    rows_read: int = field(init=False)

    def __post_init__(self) -> None:
        """Count the rows, then turn away the empty ones and those that repeat another."""
        self.rows_read = len(self.frame)
        self.reject(self.frame.isna().all(axis=1), "the row is empty")
        self.reject(self.frame.duplicated(), "the row repeats an earlier one in every column")

    def reject(self, where: pd.Series[bool], reason: str) -> None:
        """Turn away the rows where ``where`` holds."""
        rows = tuple(int(row) for row in self.frame.index[where])
        if rows:
            self.rejected[reason] = tuple(sorted((*self.rejected.get(reason, ()), *rows)))
            self.frame = self.frame.loc[~where]

    def set(self, column: str, values: pd.Series | float | str) -> None:
        """Write a column, leaving the table it was cut from as it is."""
        self.frame = self.frame.assign(**{column: values})

    def numbers(self, columns: list[str]) -> None:
        """Turn columns into numbers; a cell that is none turns its row away."""
        for column in columns:
            values = as_numbers(self.frame[column])
            text = values.isna() & as_text(self.frame[column]).notna()
            self.set(column, values)
            self.reject(text, f"{column} is not a number")
            self.reject(np.isinf(self.frame[column]), f"{column} is not finite")

    def report(self, path: str, format_name: str) -> SourceReport:
        """Return what happened to the table."""
        return SourceReport(
            path=path,
            format=format_name,
            rows_read=self.rows_read,
            rows_kept=len(self.frame),
            decisions=tuple(self.decisions),
            rejected=dict(self.rejected),
        )


def as_numbers(values: pd.Series) -> pd.Series:
    """Return cells as floats, NaN where a cell is empty or no number."""
    truth = pd.Series([isinstance(cell, bool) for cell in values], values.index)
    numbers = pd.to_numeric(values.mask(truth), errors="coerce")
    return pd.Series(numbers, values.index).astype(float)


def as_text(values: pd.Series) -> pd.Series:
    """Return cells as stripped text, missing where empty; a whole number loses its ``.0``."""

    def text(cell: Any) -> str | None:
        if pd.isna(cell):
            return None
        whole = isinstance(cell, float) and cell.is_integer()
        return (str(int(cell)) if whole else str(cell)).strip() or None

    return pd.Series([text(cell) for cell in values], index=values.index, dtype=object)


def numeric_columns() -> list[str]:
    """Return the columns of the run table that hold numbers."""
    return [name for name, column in COLUMNS.items() if column.kind != "text"]
