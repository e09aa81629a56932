"""Regress on the server, scale to the device: how people calibrate without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, RegressorMixin

from t2m_bayes.baselines.least_squares import LEAST, FormulaLeastSquares
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

LINE_ROWS: Final = 3
"""Fewest rows of an LLM on a device for a line of its own."""


class ServerScaling(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A line in the tokens for each LLM on the server, scaled to each other device.

    The scale is that of the LLM on the device; for an LLM without rows there, the mean over the
    device's LLMs. With several servers, their predictions are averaged.

    Targets and predictions are natural logarithms of the metric.

    Args:
        scale: ``mean_ratio`` or ``median_ratio`` of device to server, or ``linear_scaling``, an
            offset and a factor by least squares of relative errors.
        metric: The metric.
    """

    def __init__(self, scale: str = "mean_ratio", metric: str = "total_s") -> None:
        """Keep the parameters."""
        self.scale = scale
        self.metric = metric

    def fit(self, X: pd.DataFrame, y: Floats) -> Self:  # noqa: N803
        """Fit to features and logarithms of readings.

        Raises:
            DataError: There are no rows of a server, or none of another device.
        """
        role = X["role"].to_numpy()
        if not (role == "server").any() or (role == "server").all():
            missing = "a device" if (role == "server").all() else "a server"
            raise DataError(f"{self.scale} needs readings of a server and a device: no {missing}")
        self.server_ = FormulaLeastSquares("linear", self.metric).fit(
            X[role == "server"], y[role == "server"]
        )
        self.servers_ = sorted(set(X.loc[role == "server", "device"]))
        there, values = X[role != "server"], np.exp(y[role != "server"])
        base = self._at_server(there)
        self.of_cell_ = self._lines(there["cell"].to_numpy(), base, values)
        devices = there["device"].to_numpy()
        self.of_device_ = {
            device: np.mean(
                [self.of_cell_[c] for c in dict.fromkeys(there["cell"][devices == device])], axis=0
            )
            for device in dict.fromkeys(devices.tolist())
        }
        self.floor_ = float(values.min() * LEAST)
        return self

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Return the logarithm of the metric of each row. shape: (row,)."""
        everywhere = np.mean(list(self.of_device_.values()), axis=0)
        lines = np.array(
            [
                self.of_cell_.get(cell, self.of_device_.get(device, everywhere))
                for cell, device in zip(X["cell"], X["device"], strict=True)
            ]
        )
        scaled = lines[:, 0] + lines[:, 1] * self._at_server(X)
        log_scaled = np.log(np.maximum(scaled, self.floor_))
        on_server = X["role"].to_numpy() == "server"
        return np.asarray(np.where(on_server, self.server_.predict(X), log_scaled))

    def _at_server(self, table: pd.DataFrame) -> Floats:
        """Return what the servers would take, on average. shape: (row,)."""
        guesses = []
        for server in self.servers_:
            there = table.assign(device=server, cell=table["llm"] + f" | {server}")
            known = there["cell"].isin(list(self.server_.of_cell_)).to_numpy()
            guesses.append(np.where(known, np.exp(self.server_.predict(there)), np.nan))
        stacked = np.stack(guesses)
        unknown = np.isnan(stacked).all(axis=0)
        if unknown.any():
            at_first = table.assign(device=self.servers_[0], cell="")
            stacked[0, unknown] = np.exp(self.server_.predict(at_first))[unknown]
        return np.asarray(np.nanmean(stacked, axis=0))

    def _lines(self, cell: NDArray[Any], base: Floats, values: Floats) -> dict[str, Floats]:
        """Return an offset and a factor for each cell."""
        lines = {}
        for name in dict.fromkeys(cell.tolist()):
            x, y = base[cell == name], values[cell == name]
            if self.scale == "linear_scaling" and len(y) >= LINE_ROWS:
                lines[name] = nnls(np.column_stack([1 / y, x / y]), np.ones(len(y)))[0]
            else:
                middle = np.median if self.scale == "median_ratio" else np.mean
                lines[name] = np.array([0.0, float(middle(y / x))])
        return lines
