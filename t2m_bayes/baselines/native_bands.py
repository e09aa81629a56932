"""Regressors whose bands are their own: a Gaussian process, and boosted quantiles."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from scipy.stats import norm
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.pipeline import make_pipeline

from t2m_bayes.baselines.pipelines import Encoder

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

GP_ROWS: Final = 300
"""Most rows a Gaussian process is fitted to, shared evenly by LLMs and devices: its time grows with
their third power."""

NORMAL_LEVELS: Final = tuple(np.round(np.linspace(0.01, 0.99, 50), 4).tolist())
"""Levels at which a normal distribution is stated."""

BOOSTED_LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles that are boosted, one model each."""


class GaussianProcess(BaseEstimator):  # type: ignore[misc]
    """A Gaussian process on the log scale; its normal predictive distribution is the band.

    Args:
        metric: The metric.
        random_state: Seed of the rows it keeps.
    """

    def __init__(self, metric: str = "total_s", random_state: int = 0) -> None:
        """Keep the parameters."""
        self.metric = metric
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: Floats) -> Self:  # noqa: N803
        """Fit to features and logarithms of readings."""
        keep = _evenly(X["cell"].to_numpy(), GP_ROWS, self.random_state)
        columns = Encoder(self.metric).fit(X).transform(X.iloc[:1]).shape[1]
        kernel = (
            ConstantKernel(1.0, (1e-3, 1e3)) * RBF(np.ones(columns), (0.1, 100))
            + DotProduct(1.0, (1e-3, 1e3))
            + WhiteKernel(1e-3, (1e-8, 1.0))
        )
        process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=self.random_state)
        with warnings.catch_warnings():
            # A length scale at its bound means that a feature does not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.pipeline_ = make_pipeline(Encoder(self.metric), process).fit(X.iloc[keep], y[keep])
        return self

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Return the mean of the log metric. shape: (row,)."""
        return np.asarray(self.pipeline_.predict(X))

    def quantiles(self, X: pd.DataFrame) -> tuple[Floats, Floats]:  # noqa: N803
        """Return levels, and the quantiles of the log metric. shape: (level,), (row, level)."""
        mean, sd = self.pipeline_.predict(X, return_std=True)
        levels = np.array(NORMAL_LEVELS)
        return levels, mean[:, None] + sd[:, None] * norm.ppf(levels)


class BoostedQuantiles(BaseEstimator):  # type: ignore[misc]
    """Gradient-boosted trees for five quantiles of the log metric, put in order where they cross.

    Args:
        metric: The metric.
        random_state: Seed of the trees.
    """

    def __init__(self, metric: str = "total_s", random_state: int = 0) -> None:
        """Keep the parameters."""
        self.metric = metric
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: Floats) -> Self:  # noqa: N803
        """Fit to features and logarithms of readings."""
        trees = GradientBoostingRegressor(
            loss="quantile", n_estimators=100, max_depth=3, random_state=self.random_state
        )
        self.encoder_ = Encoder(self.metric).fit(X)
        columns = self.encoder_.transform(X)
        self.trees_ = [
            clone(trees).set_params(alpha=level).fit(columns, y) for level in BOOSTED_LEVELS
        ]
        return self

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Return the median of the log metric. shape: (row,)."""
        return np.asarray(self.trees_[len(BOOSTED_LEVELS) // 2].predict(self.encoder_.transform(X)))

    def quantiles(self, X: pd.DataFrame) -> tuple[Floats, Floats]:  # noqa: N803
        """Return levels, and the quantiles of the log metric. shape: (level,), (row, level)."""
        columns = self.encoder_.transform(X)
        found = np.column_stack([trees.predict(columns) for trees in self.trees_])
        return np.array(BOOSTED_LEVELS), np.sort(found, axis=1)


def _evenly(group: NDArray[Any], most: int, seed: int) -> NDArray[np.intp]:
    """Return positions of at most so many rows, drawn in turn from each group."""
    order = np.random.default_rng(seed).permutation(len(group))
    turn = np.empty(len(group), dtype=int)
    seen: dict[Any, int] = {}
    for position in order:
        turn[position] = seen[group[position]] = seen.get(group[position], -1) + 1
    return np.sort(order[np.argsort(turn[order], kind="stable")][:most])
