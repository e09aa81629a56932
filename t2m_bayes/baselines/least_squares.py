"""Least squares on formulas: what people fit by hand, up to the physics this package uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, RegressorMixin

from t2m_bayes.formulas import PADS, context_tokens, padded

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

LEAST: Final = 0.1
"""Smallest prediction, as a share of the smallest reading."""


class FormulaLeastSquares(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Non-negative least squares on the terms of a formula, for each LLM on each device by itself.

    Minimises squared relative errors, ``sum((terms @ w / y - 1)**2)``, over weights of zero or
    more: without that, a line through a handful of runs is soon below zero. An LLM without rows on
    a device is predicted from the device's other LLMs, each term in proportion to the bytes of the
    weights (power, which hardly grows with size, excepted); a device without rows from all rows.

    Targets and predictions are natural logarithms of the metric.

    Args:
        formula: ``linear`` (1, I, O); ``wilkins`` (I, O, I*O; I alone for prefill:
            Wilkins, Keshav and Mortier 2024, arXiv:2407.04014); or ``physics``, this package's.
        metric: The metric, whose phase decides the terms.
    """

    def __init__(self, formula: str = "linear", metric: str = "total_s") -> None:
        """Keep the parameters."""
        self.formula = formula
        self.metric = metric

    def fit(self, X: pd.DataFrame, y: Floats) -> Self:  # noqa: N803
        """Fit to features (see :mod:`t2m_bayes.baselines.table`) and logarithms of readings."""
        values = np.exp(y)
        self.floor_ = float(values.min() * LEAST)
        self.of_cell_: dict[str, Floats] = {}
        self.of_device_: dict[str, Floats] = {}
        terms, sized = self._terms(X), self._sized(X)
        for column, table, found in (
            ("cell", terms, self.of_cell_),
            ("device", sized, self.of_device_),
        ):
            names = X[column].to_numpy()
            for name in dict.fromkeys(names.tolist()):
                rows = names == name
                found[name] = self._solve(table[rows], values[rows])
        self.of_all_ = self._solve(sized, values)
        return self

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Return the logarithm of the metric of each row. shape: (row,)."""
        terms, sized = self._terms(X), self._sized(X)
        out = sized @ self.of_all_
        for column, table, found in (
            ("device", sized, self.of_device_),
            ("cell", terms, self.of_cell_),
        ):
            names = X[column].to_numpy()
            for name in dict.fromkeys(names.tolist()):
                if name in found:
                    rows = names == name
                    out[rows] = table[rows] @ found[name]
        return np.asarray(np.log(np.maximum(out, self.floor_)))

    def _solve(self, terms: Floats, values: Floats) -> Floats:
        """Return the weights. shape: (term,)."""
        relative = terms / values[:, None]
        scale = np.maximum(relative.max(axis=0), 1e-300)
        return np.asarray(nnls(relative / scale, np.ones(len(values)))[0] / scale)

    def _sized(self, table: pd.DataFrame) -> Floats:
        terms = self._terms(table)
        return terms if self.metric == "power_w" else terms * table[["weights_gb"]].to_numpy()

    def _terms(self, table: pd.DataFrame) -> Floats:
        """Return the columns of the formula. shape: (row, term)."""
        i, o = (table[c].to_numpy(float) for c in ("input_tokens", "output_tokens"))
        one = np.ones_like(i)
        prefill = self.metric.startswith("prefill")
        if self.formula == "linear":
            return np.column_stack([one, i] if prefill else [one, i, o])
        if self.formula == "wilkins":
            return np.column_stack([i] if prefill else [i, o, i * o])
        if self.metric == "power_w":
            return np.column_stack([one, 1 / np.maximum(o, 1), np.log(np.maximum(i, 1))])
        steps = [o - 1, (o - 1) * context_tokens(i, o)]
        work = [one, i, *(padded(i, width) for width in PADS), i**2]
        if prefill:
            return np.column_stack(work)
        return np.column_stack(steps if self.metric.startswith("decode") else [one, i, *steps])
