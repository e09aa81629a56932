"""Bands for data frames: pandas here, Dask on as many machines as it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from t2m_bayes.bulk import PARTS, Bands, Columns
from t2m_bayes.errors import DataError
from t2m_bayes.request_files import ArrowBlock
from t2m_bayes.request_tables import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from t2m_bayes.fits import Fit


def predict_dataframe[Frame](
    fit: Fit,
    frame: Frame,
    *,
    columns: Sequence[str] = PARTS,
    prob: float = 0.9,
    session: str = "new",
    device: str | None = None,
    llm: str | None = None,
    seed: int = 0,
) -> Frame:
    """Add bands to a data frame of requests, each partition by itself.

    Equal requests get equal bands, whichever partition they are in. A Dask data frame stays lazy:
    its workers predict when it is computed or written.

    Args:
        fit: The fit.
        frame: A pandas or Dask data frame with ``llm, input_tokens, output_tokens`` and, if wanted,
            ``device, session, params_b``.
        columns: ``median``, ``lower``, ``upper`` or a percentile such as ``p95``, of every metric;
            or of one, such as ``total_s_p95``.
        prob: Probability between ``lower`` and ``upper``.
        session: ``new`` or ``same``, for rows without a session of their own.
        device: Device of rows without one; the fit's target device by default.
        llm: LLM of rows without one.
        seed: Seed of what is drawn here.

    Returns:
        A data frame of the same kind, with the columns added, in seconds (joules, watts).

    Raises:
        DataError: A column is missing or there already, or, when a partition is computed, a row
            cannot be answered.
    """
    reading = Reading(fit, session, device=device, llm=llm)
    added = Columns.parse(columns, fit.metrics, prob)
    table: Any = frame
    reading.check_columns("the data frame", map(str, table.columns))
    if taken := [name for name in added.names if name in table.columns]:
        raise DataError(f"the data frame has columns of answers already: {', '.join(taken)}")
    if hasattr(table, "map_partitions"):
        meta = _answer(table._meta, reading, added, seed)
        lazy: Frame = table.map_partitions(_answer, reading, added, seed, meta=meta)
        return lazy
    answered: Frame = _answer(table, reading, added, seed)
    return answered


def _answer(frame: pd.DataFrame, reading: Reading, columns: Columns, seed: int) -> Any:
    """Return a partition with its bands."""
    import pyarrow as pa

    if frame.empty:
        return frame.assign(**dict.fromkeys(columns.names, 0.0)).iloc[:0]
    block = ArrowBlock(pa.RecordBatch.from_pandas(frame, preserve_index=False))
    reading.check("the data frame", [block])
    bands = Bands(reading, columns, np.asarray, seed=seed, threads=1).answer(block)
    return frame.assign(**{name: bands[:, i] for i, name in enumerate(columns.names)})
