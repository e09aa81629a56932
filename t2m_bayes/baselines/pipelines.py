"""Regressors from scikit-learn, on logarithms of tokens and size, with LLM and device as labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from t2m_bayes.baselines.table import tokens_of
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

LABELS: Final = ("llm", "device", "cell")

PENALTIES: Final = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
"""Ridge penalties that the polynomial chooses from by leave-one-out."""


class Encoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features to columns: scaled logarithms, and a column an LLM, device, and LLM on a device.

    Names that were not seen in fitting have no column. Lean, since conformal bands fit a pipeline
    dozens of times, where a column transformer's checks outweigh the regression.

    Args:
        metric: The metric, which decides whether output tokens count.
    """

    def __init__(self, metric: str = "total_s") -> None:
        """Keep the parameters."""
        self.metric = metric

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:  # noqa: N803
        """Learn the scales and the names."""
        self.columns_ = [*tokens_of(self.metric), "log_size"]
        numbers = X[self.columns_].to_numpy()
        self.mean_ = numbers.mean(axis=0)
        spread = numbers.std(axis=0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        self.names_ = {label: np.unique(X[label].to_numpy().astype(str)) for label in LABELS}
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.float64]:  # noqa: N803
        """Return the columns. shape: (row, column)."""
        numbers = (X[self.columns_].to_numpy() - self.mean_) / self.scale_
        labels = [
            X[label].to_numpy().astype(str)[:, None] == names
            for label, names in self.names_.items()
        ]
        return np.concatenate([numbers, *labels], axis=1)


def linear(metric: str, random_state: int) -> Pipeline:
    """Return ordinary least squares of the log metric: a power law with a factor a label."""
    return make_pipeline(Encoder(metric), LinearRegression())


def polynomial(metric: str, random_state: int) -> Pipeline:
    """Return ridge regression on all squares and products of the encoded features."""
    return make_pipeline(
        Encoder(metric), PolynomialFeatures(2, include_bias=False), RidgeCV(PENALTIES)
    )


def random_forest(metric: str, random_state: int) -> Pipeline:
    """Return a random forest."""
    forest = RandomForestRegressor(60, min_samples_leaf=2, random_state=random_state, n_jobs=1)
    return make_pipeline(Encoder(metric), forest)


def xgboost(metric: str, random_state: int) -> Pipeline:
    """Return gradient-boosted trees by XGBoost.

    Raises:
        DataError: XGBoost is not installed.
    """
    try:
        from xgboost import XGBRegressor
    except ImportError as error:
        raise DataError(
            "the estimator xgboost needs XGBoost, which is not installed: "
            "pip install 't2m-bayes[xgboost]'"
        ) from error
    trees: Any = XGBRegressor(
        n_estimators=200, max_depth=4, learning_rate=0.1, n_jobs=1, random_state=random_state
    )
    return make_pipeline(Encoder(metric), trees)
