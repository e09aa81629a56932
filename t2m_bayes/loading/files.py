"""Tables as they stand in a file: Excel, CSV or Parquet, recognised by content."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Final, Literal

import pandas as pd
from python_calamine import CalamineError

from t2m_bayes.errors import DataError
from t2m_bayes.loading.units import time_columns
from t2m_bayes.schema import COLUMNS

Format = Literal["server-excel", "tegra-csv", "run-table"]

EXCEL_MAGIC: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
PARQUET_MAGIC: Final = b"PAR1"
SUFFIXES: Final = (".csv", ".parquet", ".xlsx")
"""Files that are looked at in a directory."""


@dataclass(frozen=True)
class Table:
    """One table as it stands in a file.

    Attributes:
        path: The file.
        sheet: The sheet, empty where the file has none.
        frame: Its rows; the index is the 1-based data row, headings are lower case.
        notes: What was decided to read it.
        session: The session of rows that name none; the file's name unless given.
    """

    path: Path
    sheet: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    session: str = ""

    @property
    def label(self) -> str:
        """The file, and the sheet after a ``#``."""
        return f"{self.path}#{self.sheet}" if self.sheet else str(self.path)


def read_tables(path: Path) -> list[Table]:
    """Read every table of a file.

    Args:
        path: An Excel workbook, a CSV (UTF-8, else Latin-1) or a Parquet file.

    Raises:
        DataError: There is no such file, or it is empty, cut short or not a table.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    content = path.read_bytes()
    if not content.strip():
        raise DataError(f"{path}: the file is empty")
    if content.startswith(EXCEL_MAGIC):
        return _excel(path, content)
    if content.startswith(PARQUET_MAGIC):
        return [_parquet(path, content)]
    return [_csv(path, content)]


def data_files(paths: list[Path]) -> list[Path]:
    """Return the files meant by a list of files and directories, each once.

    Raises:
        DataError: A path does not exist, or a directory holds no table.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        members = [path]
        if path.is_dir():
            members = sorted(
                p
                for p in path.iterdir()
                if p.suffix.lower() in SUFFIXES and not p.name.startswith(("~", "."))
            )
            if not members:
                raise DataError(f"{path}: the directory holds no {', '.join(SUFFIXES)} file")
        for member in members:
            found.setdefault(member.resolve(), member)
    return list(found.values())


def session_names(files: Iterable[Path]) -> dict[Path, str]:
    """Return the session of each file's rows that name none: a session is one file.

    That is the file's name without its ending, and as much of its path as tells it from others.
    """
    names = {file: file.stem for file in files}
    for depth in range(1, max((len(file.resolve().parts) for file in names), default=0) + 1):
        counts = Counter(names.values())
        if len(counts) == len(names):
            break
        names |= {
            file: "/".join(file.resolve().parts[-depth:])
            for file, name in names.items()
            if counts[name] > 1
        }
    return names


def recognise(tables: list[Table]) -> Format:
    """Return the format of a file's tables, from their columns.

    Raises:
        DataError: The columns are of no known format; the message lists them.
    """
    columns = {str(column) for table in tables for column in table.frame.columns}
    path = tables[0].path
    if not any(len(table.frame) for table in tables):
        raise DataError(f"{path}: no data rows")
    metrics = bool(time_columns(columns)) or bool(columns & {"energy_j", "power_w"})
    if "output_tokens" in columns and metrics:
        if "llm" in columns or "model" in columns:
            return "run-table"
        return "server-excel" if tables[0].sheet else "tegra-csv"
    lacks = [] if "output_tokens" in columns else ["output_tokens"]
    lacks += [] if metrics else ["any time (such as prefill_s, ttft, inference_time) or energy"]
    raise DataError(
        f"{path}: not run data, it lacks {' and '.join(lacks)}.\n"
        f"  found: {', '.join(sorted(columns))}\n"
        "  expected one of:\n"
        "    server Excel: subject, ttft, decode_time, total_time_ms, tokens_per_second, "
        "input_tokens, output_tokens; one sheet an LLM\n"
        "    tegra CSV: subset, prefill, decode, inference_time, tokens_per_second, "
        "output_tokens; the LLM in the file name\n"
        "    run table: device, llm, input_tokens, output_tokens and some of prefill_s, "
        "decode_s, total_s, energy_j, power_w"
    )


def _excel(path: Path, content: bytes) -> list[Table]:
    try:
        sheets = pd.read_excel(BytesIO(content), sheet_name=None, engine="calamine")
    except (CalamineError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as an Excel workbook, perhaps cut short ({error})"
        ) from error
    return [_table(path, str(name), frame) for name, frame in sheets.items()]


def _parquet(path: Path, content: bytes) -> Table:
    try:
        frame = pd.read_parquet(BytesIO(content))
    except (LookupError, ValueError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as Parquet, perhaps cut short ({error})"
        ) from error
    return _table(path, "", frame)


def _csv(path: Path, content: bytes) -> Table:
    notes: tuple[str, ...] = ()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
        notes = ("not UTF-8, read as Latin-1",)
    try:
        frame = pd.read_csv(StringIO(text), low_memory=False, skip_blank_lines=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from error
    return _table(path, "", frame, notes)


def _table(path: Path, sheet: str, frame: pd.DataFrame, notes: tuple[str, ...] = ()) -> Table:
    headings = [str(c).strip().lower().replace(" ", "_") for c in frame.columns]
    # pandas numbers a repeated heading of a CSV or a sheet: the second `prefill` is `prefill.1`.
    plain = [re.sub(r"\.\d+$", "", h) for h in headings]
    counted = [
        p if p in COLUMNS or time_columns([p]) else h for p, h in zip(plain, headings, strict=True)
    ]
    if twice := sorted({h for h in counted if counted.count(h) > 1}):
        raise DataError(f"{path}: the column {twice[0]!r} is there twice")
    frame.columns = pd.Index(headings)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Table(path, sheet, frame, notes)
