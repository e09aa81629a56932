"""A file of requests, answered row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2m_bayes.bulk import Bands, Columns
from t2m_bayes.cli.output import log, progress
from t2m_bayes.errors import DataError
from t2m_bayes.request_files import open_requests, open_writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from t2m_bayes.request_tables import Reading


def answer(
    reading: Reading, source: Path, output: Path | None, *, columns: Sequence[str], prob: float
) -> None:
    """Predict every row of a table and write the table with the bands added.

    The table is read twice, a block at a time: all of it is checked before the first row is
    answered.

    Args:
        reading: How to read the table, and the fit.
        source: CSV or Parquet with the columns that ``reading`` needs.
        output: CSV or Parquet to write; standard output by default.
        columns: Which columns to add: see :meth:`t2m_bayes.bulk.Columns.parse`.
        prob: Probability inside the bands.

    Raises:
        DataError: A row cannot be answered. Nothing is written then.
    """
    added = Columns.parse(columns, reading.fit.metrics, prob)
    file = open_requests(source)
    reading.check_columns(source, file.columns)
    if taken := [name for name in added.names if name in file.columns]:
        raise DataError(f"{source}: has columns of answers already: {', '.join(taken)}")
    if output is not None and output.exists() and output.samefile(source):
        raise DataError(f"--output is the file of the requests, {source}: name another")
    with progress("checking", file.size) as advance:
        rows = reading.check(source, file.blocks(advance))
    with open_writer(file, added.names, output) as writer:
        bands = Bands(reading, added, writer.render)
        with progress("predicting", file.size) as advance:
            for block in file.blocks(advance):
                writer.write(block, bands.answer(block))
    if output is not None:
        log.info("%d requests answered in %s", rows, output)
    for warning in bands.warnings():
        log.warning("%s", warning)
