"""A table of requests with the power and energy that a log shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from t2m_bayes.errors import DataError
from t2m_bayes.power_logs.formats import read_recording
from t2m_bayes.power_logs.log import Options, PowerLog, power_log
from t2m_bayes.power_logs.readings import Bools, Readings, file_readings, run_readings
from t2m_bayes.power_logs.windows import read_windows

HELD: Final = ("power_w", "energy_j", "n_power_samples")
"""Columns that say, where filled, that a row has a reading already."""


@dataclass(frozen=True)
class Joined:
    """A table of requests with the readings of a log.

    Attributes:
        log: The log.
        readings: What it gives each row.
        table: The requests as they were, with ``power_w, sensor_period_s, n_power_samples, rails,
            power_window`` and, where each row has a window of its own, ``energy_j``.
    """

    log: PowerLog
    readings: Readings
    table: pd.DataFrame


def join_power_log(
    path: Path,
    table: pd.DataFrame,
    options: Options | None = None,
    *,
    whole_file: bool = False,
) -> Joined:
    """Give each request of a table the power and energy that a log shows of it.

    Each row gets the samples between its ``start`` and its ``end``, or ``total_s`` later. Rows
    that hold a reading keep it.

    Args:
        path: Log of tegrastats, nvidia-smi or jtop.
        table: Requests, one a row.
        options: What the user decides about the log.
        whole_file: Give every row the mean of the whole log, whatever the times.

    Raises:
        DataError: It is no power log or lacks a rail; times are missing or cannot be read; log
            and requests do not overlap; or there is nothing to fill.
    """
    table = table.reset_index(drop=True)
    held = _held(table)
    if held.all():
        raise DataError(
            f"nothing to fill: each of the {len(table)} rows has one of {', '.join(HELD)} already"
        )
    recording = read_recording(path)
    windows = None if whole_file else read_windows(table)
    if windows and not recording.timed:
        raise DataError(
            f"{path}: the log has no times, so the requests' windows cannot be found in it. Give "
            "every request the mean of the log with --whole-file, or log with times: newer "
            "tegrastats write them, and `| ts '%Y-%m-%d %H:%M:%.S'` puts one before each line"
        )
    log = power_log(recording, path, options or Options(), windows.stamps if windows else None)
    if windows is None:
        readings = file_readings(log, held)
    else:
        readings = run_readings(log, *windows.seconds(log.zone), held)
    return Joined(log, readings, _with_readings(table, log, readings))


def _held(table: pd.DataFrame) -> Bools:
    """Return which rows hold a reading.

    shape: (row,)
    """
    held = np.zeros(len(table), dtype=bool)
    for name in HELD:
        if name in table:
            held |= pd.to_numeric(table[name], errors="coerce").notna().to_numpy(dtype=bool)
    return held


def _with_readings(table: pd.DataFrame, log: PowerLog, readings: Readings) -> pd.DataFrame:
    """Return the table with the readings in the rows that get one, as text if it is of texts."""
    filled = np.isfinite(readings.power_w)
    columns: dict[str, Any] = {
        "power_w": readings.power_w,
        "energy_j": readings.energy_j,
        "sensor_period_s": np.full(filled.size, log.period_s or np.nan),
        "n_power_samples": readings.samples,
        "rails": ["+".join(log.rails)] * filled.size,
        "power_window": [readings.window] * filled.size,
    }
    if readings.window == "file":
        del columns["energy_j"]
    texts = all(pd.api.types.is_string_dtype(dtype) for dtype in table.dtypes)
    for name, values in columns.items():
        cells = pd.Series([_cell(value, texts=texts) for value in values], dtype=object)
        old = table[name].astype(object) if name in table else ("" if texts else None)
        merged = cells.where(filled, old)
        table[name] = merged if texts else merged.infer_objects()
    return table


def _cell(value: Any, *, texts: bool) -> Any:
    """Return a reading as it is written: numbers to six digits, nothing where there is none."""
    if isinstance(value, str):
        return value
    if np.isnan(value):
        return "" if texts else None
    text = f"{value:.6g}"
    return text if texts else float(text)
