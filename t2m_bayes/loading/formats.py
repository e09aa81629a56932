"""The three formats, and ``load``, which takes any mix of them.

Columns, in any order; others are ignored. A table may also carry any column of
:data:`t2m_bayes.schema.COLUMNS`.

* **Server Excel**, one sheet an LLM, named after it: ``subject, question_id, correct_answer``
  (letter or 0-based number), ``ttft`` (prefill), ``decode_time, total_time_ms,
  tokens_per_second, input_tokens, output_tokens``.
* **Tegra CSV**, one file an LLM, named after it: ``subset`` (subject), ``ground_truth_index``
  (0-based), ``prefill, decode, inference_time`` (total), ``tokens_per_second, output_tokens``.
* **Run table**, CSV or Parquet: ``device, llm, input_tokens, output_tokens`` and some of
  ``prefill_s, decode_s, total_s, energy_j, power_w``. ``framework`` or ``engine`` joins the
  device's name, ``precision`` or ``quant`` the LLM's.

Times are in seconds or milliseconds; see :mod:`t2m_bayes.loading.units`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Final

import pandas as pd

from t2m_bayes.cards import Catalog, catalog
from t2m_bayes.errors import DataError
from t2m_bayes.loading.files import Table, data_files, read_tables, recognise, session_names
from t2m_bayes.loading.recovery import (
    ServerRuns,
    listed_prompts,
    no_prompts,
    prompts_of,
    recover_input_tokens,
)
from t2m_bayes.loading.report import rejection_lines
from t2m_bayes.loading.rows import settle
from t2m_bayes.loading.sieve import Sieve
from t2m_bayes.loading.units import Unit
from t2m_bayes.schema import COLUMNS, Runs, SourceReport

AnyPath = str | PathLike[str]

SYNONYMS: Final = {
    "model": "llm",
    "quant": "precision",
    "quantization": "precision",
    "subset": "subject",
}
"""Headings that mean a column of the run table."""

SAME_SIZE: Final = 1.05
"""Sizes of one LLM, as sources round them, are within this factor."""


def load(
    *paths: AnyPath,
    device: str | None = None,
    server_device: str = "server",
    unit: Unit | None = None,
) -> Runs:
    """Read any mix of files and directories into one run table.

    Each file's format is told from its content. Server workbooks are read first, so that their
    prompts can give Tegra CSVs the input tokens they lack.

    Args:
        *paths: Files, or directories whose ``.xlsx``, ``.csv`` and ``.parquet`` files are read.
        device: Device of Tegra CSVs, and of run tables that name none; ``"tegra"`` by default.
        server_device: Device of server workbooks.
        unit: Unit of times that neither names nor rows settle.

    Returns:
        The runs of all files, and a report of each.

    Raises:
        DataError: A file cannot be read, its times' unit is open, or it has no usable row.
    """
    if not paths:
        raise DataError("no file given")
    sessions = session_names(data_files([Path(p) for p in paths]))
    files = {
        path: [replace(table, session=session) for table in read_tables(path)]
        for path, session in sessions.items()
    }
    formats = {path: recognise(tables) for path, tables in files.items()}
    servers = [
        _server_excel(tables, server_device, unit)
        for path, tables in files.items()
        if formats[path] == "server-excel"
    ]
    prompts = pd.concat([s.prompts for s in servers]) if servers else no_prompts()
    others = []
    for path, tables in files.items():
        if formats[path] == "tegra-csv":
            others.append(_tegra_csv(tables[0], device or "tegra", unit, prompts))
        elif formats[path] == "run-table":
            others.append(_run_table(tables, device, unit))
    return _joined([*servers, *others])


def load_server_excel(
    path: AnyPath, *, device: str = "server", unit: Unit | None = None
) -> ServerRuns:
    """Read a server workbook, one sheet an LLM.

    Args:
        path: The workbook.
        device: The server's name.
        unit: Unit of times that neither names nor rows settle.

    Returns:
        Its runs, which also know the prompts that :func:`load_tegra_csv` needs.

    Raises:
        DataError: It is no such workbook, its times' unit is open, or it has no usable row.
    """
    tables = _expect(Path(path), "server-excel")
    return _server_excel(tables, device, unit)


def load_tegra_csv(
    path_or_paths: AnyPath | Sequence[AnyPath],
    *,
    device: str = "tegra",
    unit: Unit | None = None,
    server: Runs | None = None,
) -> Runs:
    """Read Tegra CSVs, one file an LLM.

    Args:
        path_or_paths: Files, or directories of them.
        device: The device's name.
        unit: Unit of times that neither names nor rows settle.
        server: Server runs whose prompts give the input tokens; without them they stay unknown.

    Returns:
        Their runs.

    Raises:
        DataError: A file is no Tegra CSV, its times' unit is open, or it has no usable row.
    """
    if isinstance(path_or_paths, str | PathLike):
        path_or_paths = [path_or_paths]
    prompts = no_prompts() if server is None else prompts_of(server)
    sessions = session_names(data_files([Path(p) for p in path_or_paths]))
    tables = [
        replace(_expect(file, "tegra-csv")[0], session=session)
        for file, session in sessions.items()
    ]
    return _joined([_tegra_csv(table, device, unit, prompts) for table in tables])


def load_runs(path: AnyPath, *, device: str | None = None, unit: Unit | None = None) -> Runs:
    """Read a run table.

    Args:
        path: CSV or Parquet file.
        device: Device of rows that name none.
        unit: Unit of times that neither names nor rows settle.

    Returns:
        Its runs.

    Raises:
        DataError: It is no run table, its times' unit is open, or it has no usable row.
    """
    return _run_table(_expect(Path(path), "run-table"), device, unit)


def _expect(path: Path, format_name: str) -> list[Table]:
    tables = read_tables(path)
    found = recognise(tables)
    if found != format_name:
        raise DataError(f"{path}: this is a {found}, not a {format_name}; `load` reads either")
    return tables


def _server_excel(tables: list[Table], device: str, unit: Unit | None) -> ServerRuns:
    cards = catalog()
    sheets = []
    prompts = []
    for table in tables:
        missing = {"input_tokens", "output_tokens"} - set(table.frame)
        if table.frame.empty or missing:
            why = f"no column {', '.join(sorted(missing))}" if len(table.frame) else "no rows"
            note = f"sheet left out: {why}"
            report = SourceReport(table.label, "server-excel", len(table.frame), 0, (note,))
            sheets.append(Runs(pd.DataFrame(), (report,)))
            continue
        sieve = _sieve(table)
        if "llm" not in sieve.frame:
            sieve.set("llm", table.sheet)
        card = cards.llm(table.sheet)
        name = card.name if card else table.sheet
        prompts.append(listed_prompts(sieve.frame, table.label, name))
        sheets.append(_settled(table, sieve, "server-excel", device, unit, cards))
    runs = _usable(sheets)
    return ServerRuns(runs.frame, runs.reports, pd.concat(prompts))


def _tegra_csv(table: Table, device: str, unit: Unit | None, prompts: pd.DataFrame) -> Runs:
    cards = catalog()
    sieve = _sieve(table)
    card = cards.llm(name := _llm_in_file_name(table.path))
    sieve.set("llm", name)
    if "input_tokens" not in sieve.frame:
        recover_input_tokens(sieve, card.name if card else name, prompts, cards)
    return _usable([_settled(table, sieve, "tegra-csv", device, unit, cards)])


def _run_table(tables: list[Table], device: str | None, unit: Unit | None) -> Runs:
    cards = catalog()
    parts = [
        _settled(table, _sieve(table), "run-table", device, unit, cards)
        for table in tables
        if len(table.frame)
    ]
    return _usable(parts)


def _sieve(table: Table) -> Sieve:
    synonyms = {a: b for a, b in SYNONYMS.items() if a in table.frame and b not in table.frame}
    return Sieve(table.frame.rename(columns=synonyms), list(table.notes))


def _settled(
    table: Table,
    sieve: Sieve,
    format_name: str,
    device: str | None,
    unit: Unit | None,
    cards: Catalog,
) -> Runs:
    try:
        return settle(
            sieve,
            label=table.label,
            session=table.session or table.path.stem,
            format_name=format_name,  # type: ignore[arg-type]
            device=device,
            unit=unit,
            cards=cards,
        )
    except DataError as error:
        raise DataError(f"{table.label}: {error}") from error


def _llm_in_file_name(path: Path) -> str:
    """Return what is left of a file's name without the words that say what it holds."""
    return re.sub(r"^((profiling|combined|tegra|jetson|results|runs)[_-])+", "", path.stem)


def _usable(parts: list[Runs]) -> Runs:
    """Return the parts of one file as one, or say why none of its rows can be used."""
    if any(len(part) for part in parts):
        return _joined(parts)
    lines = [f"{report.path}: no usable row" for part in parts for report in part.reports]
    for part in parts:
        for report in part.reports:
            lines += [f"  {line}" for line in (*report.decisions, *rejection_lines(report))]
    raise DataError("\n".join(lines))


def _joined(parts: Iterable[Runs]) -> Runs:
    """Return several run tables as one, in the schema's column order."""
    parts = list(parts)
    frame = pd.concat([part.frame for part in parts if len(part)], ignore_index=True)
    reports = tuple(report for part in parts for report in part.reports)
    for llm, sizes in frame.groupby("llm")["params_b"]:
        if sizes.max() > SAME_SIZE * sizes.min():
            raise DataError(
                f"LLM {llm!r} has params_b from {sizes.min():g} to {sizes.max():g}: "
                "give LLMs of different size different names"
            )
    frame["params_b"] = frame.groupby("llm")["params_b"].transform("median")
    columns = [column for column in COLUMNS if column in frame]
    return Runs(frame[columns], reports)
