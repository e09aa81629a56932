"""Tables whose cells a command leaves as they are: read, and written back with more columns."""

from __future__ import annotations

from io import BytesIO, StringIO
from pathlib import Path
from typing import Final

import pandas as pd

from t2m_bayes.errors import DataError
from t2m_bayes.writing import replacing

PARQUET_MAGIC: Final = b"PAR1"


def read_cells(path: Path) -> pd.DataFrame:
    """Read a table; the cells of a CSV stay the texts they are.

    Args:
        path: CSV (UTF-8) or Parquet.

    Raises:
        DataError: There is no such file, or it is no table or has no rows.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    content = path.read_bytes()
    if content.startswith(PARQUET_MAGIC):
        try:
            table = pd.read_parquet(BytesIO(content))
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: cannot be read as Parquet ({error})") from error
    else:
        try:
            text = content.decode("utf-8-sig")
            table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
        except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise DataError(f"{path}: cannot be read as CSV ({error})") from error
    if table.empty:
        raise DataError(f"{path}: no data rows")
    return table


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV."""
    return table.to_csv(index=False, lineterminator="\n")


def write_cells(table: pd.DataFrame, path: Path) -> None:
    """Write a table under a temporary name, then rename it.

    Args:
        table: The table.
        path: CSV, or Parquet if its name ends so.

    Raises:
        DataError: There is a folder of that name.
    """
    if path.is_dir():
        raise DataError(f"{path}: a folder; name a file to write")
    with replacing(path) as part:
        if path.suffix.lower() == ".parquet":
            table.to_parquet(part, index=False)
        else:
            part.write_text(csv_text(table), encoding="utf-8")
