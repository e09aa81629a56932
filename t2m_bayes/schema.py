"""The run table: one request, or one averaged configuration, a row."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "count", "positive", "nonnegative"]


@dataclass(frozen=True)
class Column:
    """What a column of the run table holds.

    Attributes:
        kind: ``text``; ``count``, a whole number above 0; ``positive`` or ``nonnegative`` number.
        unit: Unit of measurement, empty for text.
        about: One sentence for the reader of a table.
    """

    kind: Kind
    unit: str
    about: str


COLUMNS: Final[dict[str, Column]] = {
    "device": Column("text", "", "The machine, with its engine after a plus where it matters."),
    "llm": Column(
        "text", "", "The language model, with its precision after an @ if not its usual."
    ),
    "input_tokens": Column("nonnegative", "tokens", "Prompt length; empty where it is unknown."),
    "output_tokens": Column("nonnegative", "tokens", "Generated tokens; the first is prefill's."),
    "prefill_s": Column("positive", "s", "Time to the first token."),
    "decode_s": Column("nonnegative", "s", "Time from the first token to the last."),
    "total_s": Column("positive", "s", "Prefill and decode together."),
    "energy_j": Column("positive", "J", "Energy of the run, as its sensor reported it."),
    "power_w": Column("positive", "W", "Mean power of the run, as its sensor reported it."),
    "params_b": Column("positive", "1e9", "Parameters of the LLM, in billions."),
    "bytes_per_param": Column("positive", "B", "Bytes that one parameter takes in memory."),
    "session": Column("text", "", "One boot, engine start or day; by default one a file."),
    "batch": Column("count", "requests", "Requests decoded together; only 1 is modelled."),
    "precision": Column("text", "", "Number format of the weights."),
    "sensor_period_s": Column("positive", "s", "Time between two samples of the power sensor."),
    "n_power_samples": Column("count", "samples", "Power samples in the run's window."),
    "rails": Column("text", "", "Power rails that were summed."),
    "power_window": Column(
        "text", "", "What the power reading averages over: run, subject or file."
    ),
    "prefill_energy_j": Column("positive", "J", "Energy of the prefill phase."),
    "decode_energy_j": Column("positive", "J", "Energy of the decode phase."),
    "subject": Column("text", "", "Benchmark subject the request belongs to."),
    "question_id": Column("text", "", "Question within its subject."),
    "source": Column("text", "", "Where the row came from: a file, or a name given in it."),
}
"""Every column the run table may have; a loader keeps these and drops the rest."""

REQUIRED: Final = (
    "device",
    "llm",
    "input_tokens",
    "output_tokens",
    "params_b",
    "bytes_per_param",
    "session",
)
"""Columns that every row of a loaded table fills, but ``input_tokens``, which may be unknown."""

TIMES: Final = ("prefill_s", "decode_s", "total_s")
"""The latency metrics, in the order in which they are reported."""

ENERGIES: Final = ("energy_j", "power_w", "prefill_energy_j", "decode_energy_j")
"""The metrics of energy and power, likewise."""


@dataclass(frozen=True)
class SourceReport:
    """What was read from one file, what was decided about it, and what was turned away.

    Attributes:
        path: The file, and the sheet after a ``#`` where it has sheets.
        format: ``server-excel``, ``tegra-csv`` or ``run-table``.
        rows_read: Rows found.
        rows_kept: Rows that reached the run table.
        decisions: Sentences on what was decided (units, aliases, recovered tokens), with evidence.
        rejected: Reason to the 1-based data row numbers it turned away.
    """

    path: str
    format: str
    rows_read: int
    rows_kept: int
    decisions: tuple[str, ...] = ()
    rejected: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Runs:
    """A validated run table and the report of how it came to be.

    Attributes:
        frame: One row a run; columns of :data:`COLUMNS`, all of :data:`REQUIRED` among them.
        reports: One report a file or sheet.
    """

    frame: pd.DataFrame
    reports: tuple[SourceReport, ...] = ()

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.frame)


def data_hash(frame: pd.DataFrame) -> str:
    """Return a SHA-256 of a run table's rows, independent of the order of its columns."""
    text = frame[sorted(frame.columns)].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()
