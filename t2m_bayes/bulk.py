"""Bands by the million: computed once for equal requests, in constant memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

import numpy as np

from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import cell_quantiles, draws_of
from t2m_bayes.requests import Known, Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from t2m_bayes.population import CellDraws
    from t2m_bayes.prediction import Prediction
    from t2m_bayes.request_files import Block
    from t2m_bayes.request_tables import Asked, Kind, Reading

    Floats = NDArray[np.floating[Any]]

REMEMBERED: Final = 1_000_000
"""Different requests whose bands are kept: some 200 MB. Real traces repeat themselves, and equal
requests have equal bands, since they share the noise draws of their cell."""

PARTS: Final = ("median", "lower", "upper")
"""Columns that each metric gets, unless others are asked for."""


@dataclass(frozen=True)
class Columns:
    """Which columns answer a request.

    Attributes:
        names: Their names, such as ``total_s_median`` or ``energy_j_p95``.
        levels: Metric to the probabilities below its quantiles, in the order of the names.
    """

    names: tuple[str, ...]
    levels: dict[str, tuple[float, ...]]

    @classmethod
    def parse(cls, wanted: Sequence[str], metrics: Sequence[str], prob: float) -> Columns:
        """Make sense of column names.

        Args:
            wanted: Each ``median``, ``lower``, ``upper`` or a percentile such as ``p95``, for
                every metric; or one metric's, such as ``total_s_p95``.
            metrics: What the fit predicts.
            prob: Probability between ``lower`` and ``upper``.

        Raises:
            DataError: A name means none of these.
        """
        level = {"median": 0.5, "lower": (1 - prob) / 2, "upper": (1 + prob) / 2}
        chosen: dict[str, dict[str, float]] = {}
        for name in wanted:
            metric = next((m for m in metrics if name.startswith(f"{m}_")), None)
            part = name if metric is None else name.removeprefix(f"{metric}_")
            found = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?)", part)
            if found is not None and float(found[1]) > 0:
                level[part] = float(found[1]) / 100
            if part not in level:
                raise DataError(
                    f"--columns: {name!r} is none; each is median, lower, upper or a percentile "
                    f"such as p95, and may follow a metric ({', '.join(metrics)}), such as "
                    f"{metrics[-1]}_p95"
                )
            for one in metrics if metric is None else (metric,):
                chosen.setdefault(one, {})[part] = level[part]
        ordered = {m: chosen[m] for m in metrics if m in chosen}
        return cls(
            names=tuple(f"{metric}_{part}" for metric, parts in ordered.items() for part in parts),
            levels={metric: tuple(parts.values()) for metric, parts in ordered.items()},
        )


class Regressor(Known, Protocol):
    """What answers requests without posterior draws of its own."""

    def predict(self, requests: Requests, *, session: Literal["new", "same"]) -> Prediction:
        """Return the answers; NaN where there is none."""
        ...


@dataclass(frozen=True)
class _Regressed:
    """Requests of one kind, answered by a point regressor."""

    regression: Regressor
    kind: Kind
    warnings: tuple[str, ...] = ()

    def count_outside(self, input_tokens: Floats, output_tokens: Floats) -> dict[str, int]:
        """Return nothing: a regressor knows no measured range."""
        return {}

    def outside_warnings(self, counts: Mapping[str, int]) -> list[str]:
        """Return nothing, likewise."""
        return []

    def quantiles(
        self, input_tokens: Floats, output_tokens: Floats, levels: Mapping[str, Sequence[float]]
    ) -> dict[str, Floats]:
        """Return quantiles of requests. shape: (request, level), for each metric.

        Raises:
            DataError: The regressor has no answer to one.
        """
        n, kind = input_tokens.size, self.kind
        if not n:
            return {metric: np.empty((0, len(wanted))) for metric, wanted in levels.items()}
        requests = Requests(
            llm=(kind.llm,) * n,
            device=(kind.device,) * n,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            session=(kind.label,) * n,
            params_b=np.full(n, kind.params_b),
            weights_gb=np.full(n, kind.weights_gb),
            block=("",) * n,
        )
        answered = self.regression.predict(requests, session=kind.session)
        if any(bool(np.isnan(answered.draws[metric]).any()) for metric in levels):
            raise DataError(f"nothing was predicted: {'; '.join(answered.warnings)}")
        return {
            metric: np.quantile(answered.draws[metric], wanted, axis=(0, 1)).T
            for metric, wanted in levels.items()
        }


@dataclass
class _Known:
    """Requests of one kind that were answered: sorted keys, and an answer each."""

    cell: CellDraws | _Regressed
    keys: NDArray[np.int64]
    answers: NDArray[Any]
    outside: dict[str, int] = field(default_factory=dict)


class Bands:
    """Answers requests block by block, and remembers."""

    def __init__(
        self,
        reading: Reading,
        columns: Columns,
        render: Callable[[Floats], NDArray[Any]],
        *,
        seed: int = 0,
        threads: int = 2,
    ) -> None:
        """Start with nothing known.

        Args:
            reading: How the tables are read, and the fit that answers.
            columns: What to answer.
            render: Turns answers, of shape (request, column), into what is kept for each request.
            seed: Seed of what is drawn here.
            threads: Requests computed at the same time.
        """
        self._reading, self._columns, self._render = reading, columns, render
        self._seed, self._threads = seed, threads
        self._known: dict[Kind, _Known] = {}

    def answer(self, block: Block) -> NDArray[Any]:
        """Return the rendered answers of a checked block. shape: (row, ...)."""
        out: NDArray[Any] | None = None
        for asked in self._reading.asked(block):
            answers = self._of_kind(asked)
            if out is None:
                out = np.empty((len(block), *answers.shape[1:]), answers.dtype)
            out[asked.rows] = answers
        assert out is not None
        return out

    def warnings(self) -> list[str]:
        """Return what limits the trust in all the answers so far."""
        said: dict[str, None] = dict.fromkeys(fit_warnings(self._reading.fit))
        for known in self._known.values():
            said |= dict.fromkeys(known.cell.warnings)
            said |= dict.fromkeys(known.cell.outside_warnings(known.outside))
        return list(said)

    def _of_kind(self, asked: Asked) -> NDArray[Any]:
        known = self._known.get(asked.kind)
        if known is None:
            fit = self._reading.fit
            cell = (
                draws_of(fit, **asked.kind._asdict(), seed=self._seed, view=self._reading.view)
                if isinstance(fit, Fit)
                else _Regressed(cast("Regressor", fit), asked.kind)
            )
            known = _Known(
                cell, np.empty(0, np.int64), self._quantiles(cell, np.empty(0, np.int64))
            )
            self._known[asked.kind] = known
        outside = known.cell.count_outside(asked.input_tokens, asked.output_tokens)
        for what, count in outside.items():
            known.outside[what] = known.outside.get(what, 0) + count
        keys = (asked.input_tokens.astype(np.int64) << 32) | asked.output_tokens.astype(np.int64)
        position = _find(known.keys, keys)
        missing = np.unique(keys[position < 0])
        if missing.size:
            if sum(k.keys.size for k in self._known.values()) + missing.size > REMEMBERED:
                missing = np.unique(keys)
                for one in self._known.values():
                    one.keys, one.answers = one.keys[:0], one.answers[:0]
            merged = np.concatenate([known.keys, missing])
            order = np.argsort(merged)
            answers = np.concatenate([known.answers, self._quantiles(known.cell, missing)])
            known.keys, known.answers = merged[order], answers[order]
            position = _find(known.keys, keys)
        return np.asarray(known.answers[position])

    def _quantiles(self, cell: CellDraws | _Regressed, keys: NDArray[np.int64]) -> NDArray[Any]:
        tokens = (keys >> 32).astype(float), (keys & 0xFFFFFFFF).astype(float)
        quantiles = (
            cell.quantiles(*tokens, self._columns.levels)
            if isinstance(cell, _Regressed)
            else cell_quantiles(cell, *tokens, self._columns.levels, threads=self._threads)
        )
        return self._render(np.concatenate(list(quantiles.values()), axis=1))


def fit_warnings(fit: Known) -> list[str]:
    """Return what limits the trust in anything a fit predicts."""
    if fit.usable:
        return []
    return [f"the fit is marked as unusable: {fit.provenance['diagnostics']['verdict']}"]


def _find(known: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return where each key is among sorted ones, -1 where it is not."""
    if not known.size:
        return np.full(keys.size, -1)
    position = np.minimum(np.searchsorted(known, keys), known.size - 1)
    return np.where(known[position] == keys, position, -1)
