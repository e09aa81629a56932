"""Files of requests, CSV or Parquet, read and written a block of rows at a time.

Memory stays the same however long the file is. The cells of a CSV stay the texts they are.
"""

from __future__ import annotations

import csv
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from t2m_bayes.errors import DataError
from t2m_bayes.writing import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.intp]

ROWS: Final = 65_536
"""Rows of a block."""

PARQUET_MAGIC: Final = b"PAR1"


class Block(Protocol):
    """Rows of a table that follow each other."""

    @property
    def first(self) -> int:
        """Return the number of rows before them."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def coded(self, name: str) -> tuple[list[str], Codes]:
        """Return a column's distinct texts, trimmed, and which one each row has.

        Cells without a value, and columns that are not there, are empty texts.
        """

    def numbers(self, name: str) -> Floats:
        """Return a column as numbers, NaN where a cell is none. shape: (row,)."""

    def empty(self, name: str) -> NDArray[np.bool_]:
        """Return which cells of a column have no value. shape: (row,)."""

    def cell(self, name: str, row: int) -> Any:
        """Return a cell as it was read, to be shown."""


@dataclass(frozen=True)
class CsvBlock:
    """Rows of a CSV: texts."""

    columns: tuple[str, ...]
    rows: list[list[str]]
    first: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def coded(self, name: str) -> tuple[list[str], Codes]:
        """Return a column's distinct texts, and which one each row has."""
        return _coded(self._texts(name))

    def numbers(self, name: str) -> Floats:
        """Return a column as numbers."""
        return _numbers(self._texts(name))

    def empty(self, name: str) -> NDArray[np.bool_]:
        """Return which cells have no value."""
        return np.array([not text for text in self._texts(name)])

    def cell(self, name: str, row: int) -> str:
        """Return a cell as it was read."""
        return self.rows[row][self.columns.index(name)]

    def _texts(self, name: str) -> list[str]:
        if name not in self.columns:
            return [""] * len(self.rows)
        position = self.columns.index(name)
        return [row[position].strip() for row in self.rows]


@dataclass(frozen=True)
class ArrowBlock:
    """Rows of a Parquet file, or of a data frame."""

    batch: pa.RecordBatch
    first: int = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.batch.num_rows)

    def coded(self, name: str) -> tuple[list[str], Codes]:
        """Return a column's distinct texts, and which one each row has."""
        import pyarrow as pa

        if name not in self.batch.schema.names:
            return [""], np.zeros(len(self), dtype=np.intp)
        column = self.batch.column(name)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        texts = ["" if value is None else str(value).strip() for value in column.dictionary]
        distinct, merged = _coded([*texts, ""])
        indices = column.indices.cast(pa.int64()).fill_null(len(texts))
        return distinct, merged[indices.to_numpy()]

    def numbers(self, name: str) -> Floats:
        """Return a column as numbers."""
        import pyarrow as pa

        if name not in self.batch.schema.names:
            return np.full(len(self), np.nan)
        column = self.batch.column(name)
        try:
            return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return _numbers(column.to_pylist())

    def empty(self, name: str) -> NDArray[np.bool_]:
        """Return which cells have no value."""
        if name not in self.batch.schema.names:
            return np.ones(len(self), dtype=bool)
        column = self.batch.column(name)
        missing = np.asarray(column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False))
        texts = str(column.type) in ("string", "large_string")
        return (
            missing | np.asarray(column.to_numpy(zero_copy_only=False) == "") if texts else missing
        )

    def cell(self, name: str, row: int) -> Any:
        """Return a cell as it was read."""
        return self.batch.column(name)[row].as_py()


@dataclass(frozen=True)
class RequestFile:
    """A table of requests on disk.

    Attributes:
        path: The file.
        columns: Names of its columns.
        parquet: The open file, if it is Parquet; else it is CSV.
    """

    path: Path
    columns: tuple[str, ...]
    parquet: pq.ParquetFile | None

    @property
    def size(self) -> int:
        """Return the length of the file: in rows of a Parquet file, in bytes of a CSV."""
        if self.parquet is not None:
            return int(self.parquet.metadata.num_rows)
        return self.path.stat().st_size

    def blocks(self, advance: Callable[[int], object] = lambda _: None) -> Iterator[Block]:
        """Yield the rows.

        Args:
            advance: Called with how much of :attr:`size` was read, after each block's use.

        Raises:
            DataError: The file is damaged, or has no rows.
        """
        first = 0
        for block in self._arrow() if self.parquet is not None else self._csv(advance):
            first += len(block)
            yield block
            if self.parquet is not None:
                advance(len(block))
        if not first:
            raise DataError(f"{self.path}: no data rows")

    def _arrow(self) -> Iterator[ArrowBlock]:
        first = 0
        assert self.parquet is not None
        batches = self.parquet.iter_batches(batch_size=ROWS)
        while True:
            try:
                batch = next(batches, None)
            except (ValueError, OSError) as error:
                raise DataError(f"{self.path}: cannot be read as Parquet ({error})") from error
            if batch is None:
                return
            yield ArrowBlock(batch, first)
            first += batch.num_rows

    def _csv(self, advance: Callable[[int], object]) -> Iterator[CsvBlock]:
        first, read, width = 0, 0, len(self.columns)
        with self.path.open("rb") as handle:
            text = TextIOWrapper(handle, encoding="utf-8-sig", newline="")
            # Blank lines are no rows.
            rows = filter(None, csv.reader(text, strict=True))
            while True:
                try:
                    if not first:
                        next(rows)
                    some = list(islice(rows, ROWS))
                except (UnicodeDecodeError, csv.Error) as error:
                    raise DataError(f"{self.path}: cannot be read as CSV ({error})") from error
                if not some:
                    return
                for i, row in enumerate(some):
                    if len(row) > width:
                        raise DataError(
                            f"{self.path}: cannot be read as CSV (data row {first + i + 1} has "
                            f"{len(row)} cells, the header {width})"
                        )
                    if len(row) < width:
                        row.extend([""] * (width - len(row)))
                yield CsvBlock(self.columns, some, first)
                first += len(some)
                here = handle.tell()
                advance(here - read)
                read = here


def open_requests(path: Path) -> RequestFile:
    """Open a table of requests.

    Args:
        path: CSV (UTF-8) or Parquet, told apart by what is in it.

    Raises:
        DataError: There is no such file, or it is no table, or two columns have one name.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open("rb") as handle:
        magic = handle.read(len(PARQUET_MAGIC))
    parquet = None
    if magic == PARQUET_MAGIC:
        import pyarrow.parquet as pq

        try:
            parquet = pq.ParquetFile(path)
        except (ValueError, OSError) as error:
            raise DataError(f"{path}: cannot be read as Parquet ({error})") from error
        columns = tuple(parquet.schema_arrow.names)
    else:
        # Answers of LLMs stand in such files, and are longer than what csv takes for a field.
        csv.field_size_limit(2**31 - 1)
        try:
            with path.open(encoding="utf-8-sig", newline="") as text:
                columns = tuple(next(csv.reader(text, strict=True), ()))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: cannot be read as CSV ({error})") from error
        if not columns:
            raise DataError(f"{path}: cannot be read as CSV (it is empty)")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise DataError(f"{path}: more than one column is named {', '.join(twice)}")
    return RequestFile(path, columns, parquet)


class CsvWriter:
    """Writes blocks as CSV, with more columns."""

    def __init__(self, source: RequestFile, answers: Sequence[str], handle: TextIO) -> None:
        """Write the header.

        Args:
            source: What the blocks come from.
            answers: Names of the columns that are added.
            handle: Where to write.
        """
        self._writer = csv.writer(handle, lineterminator="\n")
        self._writer.writerow([*source.columns, *answers])

    @staticmethod
    def render(answers: Floats) -> NDArray[Any]:
        """Return answers as they are written: texts of six digits, joined. shape: (row,)."""
        rendered = np.empty(len(answers), dtype=object)
        line = ",".join(["%.6g"] * answers.shape[1])
        rendered[:] = [line % tuple(row) for row in answers.tolist()]
        return rendered

    def write(self, block: Block, rendered: NDArray[Any]) -> None:
        """Write a block with its answers, as :meth:`render` returned them."""
        rows: Sequence[Sequence[Any]]
        if isinstance(block, CsvBlock):
            rows = block.rows
        else:
            assert isinstance(block, ArrowBlock)
            rows = list(zip(*(c.to_pylist() for c in block.batch.columns), strict=True))
        self._writer.writerows(
            (*row, *text.split(",")) for row, text in zip(rows, rendered.tolist(), strict=True)
        )


class ParquetWriter:
    """Writes blocks as Parquet, with more columns."""

    def __init__(self, source: RequestFile, answers: Sequence[str], part: Path) -> None:
        """Open the file.

        Args:
            source: What the blocks come from.
            answers: Names of the columns that are added.
            part: Where to write.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        known = (
            source.parquet.schema_arrow
            if source.parquet is not None
            else pa.schema([(name, pa.string()) for name in source.columns])
        )
        fields = [*known, *(pa.field(name, pa.float64()) for name in answers)]
        self._schema = pa.schema(fields, metadata=known.metadata)
        self._writer = pq.ParquetWriter(part, self._schema)

    @staticmethod
    def render(answers: Floats) -> NDArray[Any]:
        """Return answers as they are written: numbers. shape: (row, answer)."""
        return answers

    def write(self, block: Block, rendered: NDArray[Any]) -> None:
        """Write a block with its answers. shape: (row, answer)."""
        import pyarrow as pa

        if isinstance(block, ArrowBlock):
            columns = list(block.batch.columns)
        else:
            assert isinstance(block, CsvBlock)
            columns = [pa.array(column) for column in zip(*block.rows, strict=True)]
        added = [pa.array(np.ascontiguousarray(column)) for column in rendered.T]
        self._writer.write_batch(
            pa.RecordBatch.from_arrays([*columns, *added], schema=self._schema)
        )

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._writer.close()


@contextmanager
def open_writer(
    source: RequestFile, answers: Sequence[str], output: Path | None
) -> Iterator[CsvWriter | ParquetWriter]:
    """Open where a table goes with more columns.

    The file appears under its name when it is complete; whatever ends the writing before leaves
    an earlier file of that name, and nothing half-written.

    Args:
        source: What the blocks come from.
        answers: Names of the columns that are added.
        output: CSV, or Parquet if its name ends so; standard output as CSV by default.

    Raises:
        DataError: There is a folder of that name.
    """
    if output is None:
        yield CsvWriter(source, answers, sys.stdout)
        return
    if output.is_dir():
        raise DataError(f"{output}: a folder; name a file to write")
    with replacing(output) as part:
        if output.suffix.lower() == ".parquet":
            writer = ParquetWriter(source, answers, part)
            try:
                yield writer
            finally:
                writer.close()
        else:
            with part.open("w", encoding="utf-8", newline="") as handle:
                yield CsvWriter(source, answers, handle)


def _coded(texts: list[str]) -> tuple[list[str], Codes]:
    codes: dict[str, int] = {}
    which = np.array([codes.setdefault(text, len(codes)) for text in texts], dtype=np.intp)
    return list(codes), which


def _numbers(cells: Sequence[Any]) -> Floats:
    try:
        return np.array(cells, dtype=float)
    except (TypeError, ValueError):
        return np.array([_number(cell) for cell in cells])


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")
