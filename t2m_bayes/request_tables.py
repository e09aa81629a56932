"""What the columns of a table of requests mean: checked, and resolved to LLMs and devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from t2m_bayes.errors import DataError
from t2m_bayes.requests import find_device, make_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from t2m_bayes.power_population import View
    from t2m_bayes.request_files import Block
    from t2m_bayes.requests import Known

    Floats = NDArray[np.floating[Any]]

NEEDED: Final = ("llm", "input_tokens", "output_tokens")
"""Columns of a table of requests; ``device``, ``session`` and ``params_b`` may stand beside."""

ROWS_SHOWN: Final = 8
"""Row numbers listed of each fault."""

MOST_TOKENS: Final = 2.0**31
"""Token counts are below this, so that two fit one integer."""


class Kind(NamedTuple):
    """What requests that share their coefficients have in common."""

    llm: str
    device: str
    label: str | None
    params_b: float
    weights_gb: float
    session: Literal["new", "same"]


@dataclass(frozen=True)
class Asked:
    """Requests of one kind in a block.

    Attributes:
        kind: What they have in common.
        rows: Their positions in the block. shape: (request,)
        input_tokens: Prompt lengths. shape: (request,)
        output_tokens: Generated tokens; NaN where they are not known. shape: (request,)
    """

    kind: Kind
    rows: NDArray[np.intp]
    input_tokens: Floats
    output_tokens: Floats


@dataclass(frozen=True)
class Reading:
    """How to read tables of requests.

    Attributes:
        fit: The fit that will predict them.
        session: ``new`` or ``same``, for rows without a session of their own.
        device: Device of rows without one; the fit's target device by default.
        llm: LLM of rows without one; by default there is none, and each row must name its own.
        bytes_per_param: Bytes a parameter takes, for rows with ``params_b``.
        unknown_outputs: Whether the output tokens of a row may be empty.
        view: Energy and power of the ``chip``, or as its ``sensor`` would report them.
    """

    fit: Known
    session: str = "new"
    device: str | None = None
    llm: str | None = None
    bytes_per_param: float | None = None
    unknown_outputs: bool = False
    view: View = "chip"
    _kinds: dict[tuple[str, str, str, float], Kind] = field(default_factory=dict, compare=False)

    def check_columns(self, path: Path | str, columns: Iterable[str]) -> None:
        """Turn away a table without the columns that are needed.

        Raises:
            DataError: One is missing.
        """
        found = list(columns)
        optional = {"llm": self.llm is not None, "output_tokens": self.unknown_outputs}
        missing = [n for n in NEEDED if n not in found and not optional.get(n, False)]
        if missing:
            way_out = (
                "; where all rows are of one LLM, --model names it" if "llm" in missing else ""
            )
            raise DataError(
                f"{path}: no column {', '.join(missing)}; found: {', '.join(found)}{way_out}"
            )

    def check(self, path: Path | str, blocks: Iterable[Block]) -> int:
        """Check every cell that is read, and count the rows.

        Raises:
            DataError: A row cannot be answered; all that is wrong is told at once.
        """
        faults = _Faults(path)
        rows = 0
        for block in blocks:
            rows += len(block)
            self._find_faults(block, faults)
        faults.stop()
        return rows

    def asked(self, block: Block) -> Iterator[Asked]:
        """Yield the requests of a block that was checked, kind by kind."""
        columns = [self._names(block, name) for name in ("llm", "device", "session")]
        sizes, size = np.unique(block.numbers("params_b"), return_inverse=True)
        code = np.zeros(len(block), dtype=np.int64)
        counts = [*((len(texts), which) for texts, which in columns), (sizes.size, size)]
        for count, which in counts:
            if count > 1:
                code = code * count + which
        inputs, outputs = block.numbers("input_tokens"), block.numbers("output_tokens")
        groups, first = np.unique(code, return_index=True) if code.any() else ([0], np.array([0]))
        for group, row in zip(groups, first.tolist(), strict=True):
            rows = np.flatnonzero(code == group)
            llm, device, session = (texts[which[row]] for texts, which in columns)
            kind = self._kind(llm, device, session, float(sizes[size[row]]))
            yield Asked(kind, rows, inputs[rows], outputs[rows])

    def _names(self, block: Block, name: str) -> tuple[list[str], NDArray[np.intp]]:
        """Return a column of names, with what empty cells stand for."""
        usual = {
            "llm": self.llm or "",
            "device": self.device or self.fit.target_device,
            "session": self.session,
        }
        texts, which = block.coded(name)
        return [text or usual[name] for text in texts], which

    def _kind(self, llm: str, device: str, session: str, params_b: float) -> Kind:
        known = np.isfinite(params_b)
        key = (llm, device, session, params_b if known else 0.0)
        if key not in self._kinds:
            request = make_requests(
                self.fit,
                llm,
                1,
                1,
                device=device,
                session=[None if session in ("new", "same") else session],
                params_b=params_b if known else None,
                bytes_per_param=self.bytes_per_param,
            )
            resolved = next(request.keys())
            self._kinds[key] = Kind(*resolved, "new" if session == "new" else "same")
        return self._kinds[key]

    def _find_faults(self, block: Block, faults: _Faults) -> None:
        for name in ("input_tokens", "output_tokens"):
            values = block.numbers(name)
            with np.errstate(invalid="ignore"):
                good = (values >= 1) & (values < MOST_TOKENS) & (values == np.floor(values))
            if name == "output_tokens" and self.unknown_outputs:
                good |= block.empty(name)
            faults.add(block, name, "must be whole numbers of 1 or more", ~good, show=True)
        size = block.numbers("params_b")
        sized = (size > 0) & np.isfinite(size)
        if not sized.all():
            wrong = ~(sized | block.empty("params_b"))
            faults.add(block, "params_b", "must be numbers above 0, or empty", wrong, show=True)
        measured = {name for _, name in self.fit.coords.series}

        def session_of(name: str) -> None:
            if name not in {"new", "same"} | measured:
                raise DataError(
                    f"must be new, same or a measured session ({', '.join(sorted(measured))})"
                )

        def llm_of(name: str) -> None:
            if not name:
                raise DataError("must name an LLM")
            make_requests(self.fit, name, 1, 1)

        def sized_llm_of(name: str) -> None:
            if not name:
                raise DataError("must name an LLM")

        names = {name: self._names(block, name) for name in ("llm", "device", "session")}
        faults.ask(block, "device", names["device"], lambda name: find_device(self.fit, name))
        faults.ask(block, "llm", names["llm"], llm_of, ~sized)
        faults.ask(block, "llm", names["llm"], sized_llm_of, sized)
        faults.ask(block, "session", names["session"], session_of)


class _Faults:
    """What is wrong with a table, column by column, told all at once."""

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.found: dict[tuple[str, str], tuple[list[int], str]] = {}
        self.counts: dict[tuple[str, str], int] = {}

    def add(
        self, block: Block, column: str, what: str, wrong: NDArray[np.bool_], show: bool = False
    ) -> None:
        """Note a column's wrong cells, and show the first."""
        if not wrong.any():
            return
        rows = np.flatnonzero(wrong)
        if (column, what) not in self.found:
            cell = f"; found {block.cell(column, int(rows[0]))!r}" if show else ""
            self.found[column, what] = ([], cell)
        shown, _ = self.found[column, what]
        shown += (block.first + 1 + rows[: ROWS_SHOWN - len(shown)]).tolist()
        self.counts[column, what] = self.counts.get((column, what), 0) + rows.size

    def ask(
        self,
        block: Block,
        column: str,
        names: tuple[list[str], NDArray[np.intp]],
        resolve: Callable[[str], object],
        asked: NDArray[np.bool_] | None = None,
    ) -> None:
        """Note the names that mean nothing, among the rows that are asked about."""
        texts, which = names
        for i, name in enumerate(texts):
            rows = which == i if asked is None else (which == i) & asked
            if rows.any():
                try:
                    resolve(name)
                except DataError as error:
                    self.add(block, column, str(error), rows)

    def stop(self) -> None:
        """Raise what was noted, if anything."""
        lines = []
        for (column, what), (rows, found) in self.found.items():
            more = self.counts[column, what] - len(rows)
            shown = ", ".join(map(str, rows)) + (f" and {more} more" if more else "")
            lines.append(f"column {column}, data row {shown}: {what}{found}")
        if lines:
            raise DataError("\n  ".join([f"{self.path}: nothing was predicted.", *lines]))
