"""From a table with settled column names to valid rows of the run table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from t2m_bayes.cards import Catalog
from t2m_bayes.loading.files import Format
from t2m_bayes.loading.names import settle_devices, settle_llms
from t2m_bayes.loading.sieve import Sieve, as_text, numeric_columns
from t2m_bayes.loading.units import TOTAL_OFF, Unit, settle_times, time_columns
from t2m_bayes.schema import COLUMNS, REQUIRED, TIMES, Runs

MEASURED = (*TIMES, "energy_j", "power_w", "prefill_energy_j", "decode_energy_j")


def settle(
    sieve: Sieve,
    *,
    label: str,
    session: str,
    format_name: Format,
    device: str | None,
    unit: Unit | None,
    cards: Catalog,
) -> Runs:
    """Return the valid rows of a table, and the report of the others.

    Args:
        sieve: The table; times may still have the names and units of their format.
        label: File and sheet, for the report.
        session: The session of rows that name none.
        format_name: The table's format.
        device: Device of rows that name none.
        unit: See :func:`~t2m_bayes.loading.units.settle_times`.
        cards: LLM and device cards.

    Raises:
        DataError: The unit of the times is open or contradicted.
    """
    times = [column.name for column in time_columns(sieve.frame.columns)]
    numeric = [*times, "tokens_per_second", *(c for c in numeric_columns() if c not in times)]
    sieve.numbers([column for column in numeric if column in sieve.frame])
    for column in times:
        sieve.reject(sieve.frame[column].lt(0), f"{column} is negative")
    settle_devices(sieve, cards, device)
    settle_llms(sieve, cards)
    settle_times(sieve, unit)
    _settle_single_phases(sieve, format_name)
    _reject_impossible(sieve)
    _settle_sessions(sieve, session)
    columns = [c for c in COLUMNS if c in sieve.frame or c in REQUIRED]
    frame = sieve.frame.reindex(columns=columns).reset_index(drop=True)
    for column in columns:
        text = COLUMNS[column].kind == "text"
        frame[column] = as_text(frame[column]) if text else frame[column].astype(float)
    return Runs(frame, (sieve.report(label, format_name),))


def _settle_single_phases(sieve: Sieve, format_name: Format) -> None:
    """Bring rows that hold one phase only to the meaning of the run table's columns."""
    frame = sieve.frame.reindex(columns=list(dict.fromkeys([*sieve.frame.columns, *TIMES])))
    if "input_tokens" not in frame:
        frame = frame.assign(input_tokens=np.nan)
    if format_name == "run-table":
        no_decode = frame["decode_s"].isna() | frame["decode_s"].eq(0)
        prefill_only = frame["output_tokens"].eq(0) & frame["prefill_s"].gt(0) & no_decode
        if prefill_only.any():
            frame = frame.assign(
                output_tokens=frame["output_tokens"].mask(prefill_only, 1.0),
                decode_s=frame["decode_s"].mask(prefill_only),
            )
            sieve.decisions.append(
                f"{int(prefill_only.sum())} rows with prefill and 0 output tokens kept as prefill "
                "of 1 output token: the pass over the prompt yields the first"
            )
        no_prefill = frame["prefill_s"].isna() | frame["prefill_s"].eq(0)
        decode_only = frame["input_tokens"].eq(0) & frame["decode_s"].gt(0) & no_prefill
        if decode_only.any():
            frame = frame.assign(
                prefill_s=frame["prefill_s"].mask(decode_only),
                total_s=frame["total_s"].mask(decode_only),
            )
            sieve.decisions.append(
                f"{int(decode_only.sum())} rows without a prompt kept for decode; their total "
                "holds no prefill and is left out"
            )
    sieve.frame = frame.drop(columns=[t for t in TIMES if frame[t].isna().all()])


def _reject_impossible(sieve: Sieve) -> None:
    """Turn away rows with values no run can have."""
    sieve.reject(sieve.frame["output_tokens"].isna(), "output_tokens is missing")
    sieve.reject(sieve.frame["output_tokens"].eq(0), "output_tokens is zero")
    for column in [c for c in numeric_columns() if c in sieve.frame]:
        sieve.reject(sieve.frame[column].lt(0), f"{column} is negative")
        if COLUMNS[column].kind in ("positive", "count"):
            sieve.reject(sieve.frame[column].eq(0), f"{column} is zero")
    if "batch" in sieve.frame:
        batched = sieve.frame["batch"].notna() & sieve.frame["batch"].ne(1)
        sieve.reject(batched, "only batch 1 is modelled")
    if "prefill_s" in sieve.frame:
        prompted = sieve.frame["prefill_s"].notna()
        sieve.reject(
            prompted & sieve.frame["input_tokens"].eq(0),
            "input_tokens is zero, yet it has a prefill",
        )
    if "decode_s" in sieve.frame:
        stuck = sieve.frame["decode_s"].eq(0) & sieve.frame["output_tokens"].gt(1)
        sieve.reject(stuck, "decode_s is zero with more than one output token")
    if set(TIMES) <= set(sieve.frame):
        parts = sieve.frame["prefill_s"] + sieve.frame["decode_s"]
        off = np.abs(np.log(sieve.frame["total_s"] / parts)) > np.log(TOTAL_OFF)
        sieve.reject(off, f"total_s is not prefill_s + decode_s, by a factor above {TOTAL_OFF:g}")
    measured = [c for c in MEASURED if c in sieve.frame]
    sieve.reject(sieve.frame[measured].isna().all(axis=1), "nothing was measured")
    unknown = int(sieve.frame["input_tokens"].isna().sum())
    if unknown:
        sieve.decisions.append(f"{unknown} of {len(sieve.frame)} rows kept without input tokens")


def _settle_sessions(sieve: Sieve, file_session: str) -> None:
    """Name every row's source and session: its own, else its source's, else the file's."""
    frame = sieve.frame
    blank = pd.Series(None, index=frame.index, dtype=object)
    source = as_text(frame["source"]) if "source" in frame else blank
    session = as_text(frame["session"]) if "session" in frame else blank
    source = source.where(source.notna(), file_session)
    sieve.frame = frame.assign(source=source, session=session.where(session.notna(), source))
