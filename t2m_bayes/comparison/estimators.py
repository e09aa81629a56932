"""What is compared: one small protocol, and the Bayesian model behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

import numpy as np

from t2m_bayes.baselines.registry import METHODS
from t2m_bayes.baselines.regression import Regression
from t2m_bayes.design import make_design
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from t2m_bayes.inference import Models
    from t2m_bayes.power_population import View
    from t2m_bayes.prediction import Prediction
    from t2m_bayes.requests import Requests
    from t2m_bayes.sampling import Sampling
    from t2m_bayes.schema import Runs

BAYES: Final = "bayes"
"""Name of this package's model among the estimators."""

NAMES: Final = (BAYES, *METHODS)
"""Every estimator that can be compared."""


class Estimator(Protocol):
    """Anything that learns from runs and predicts requests."""

    def fit(self, runs: Runs) -> Self:
        """Learn from runs."""
        ...

    def predict(self, requests: Requests, *, session: Literal["new", "same"]) -> Prediction:
        """Predict requests; the container is the same whoever fills it."""
        ...


class Bayes:
    """The hierarchical models of a table, fitted to any of its rows.

    Args:
        models: The models of all runs; rows are known by their index in their table.
        sampling: Settings of the sampler.
    """

    def __init__(self, models: Models, sampling: Sampling) -> None:
        """Keep both."""
        self.models = models
        self.sampling = sampling

    def fit(self, runs: Runs) -> Self:
        """Fit to some rows of the table.

        The others' readings reach no likelihood, nor the grid on which times are read to lie. They
        had a part in where chains start, which a posterior does not depend on.
        """
        design, seen = self.models.design, make_design(runs.frame.reset_index(drop=True))
        position = {name: i for i, name in enumerate(design.coords.series_names())}
        resolution = np.zeros_like(design.resolution_s)
        for name, own in zip(seen.coords.series_names(), seen.resolution_s, strict=True):
            resolution[position[name]] = own
        models = replace(self.models, design=replace(design, resolution_s=resolution))
        rows = self.models.frame.index.isin(runs.frame.index)
        self.fit_ = models.fit(rows, self.sampling)
        return self

    def predict(self, requests: Requests, *, session: Literal["new", "same"]) -> Prediction:
        """Predict requests, energy and power as the sensor reports them: that is scored."""
        from t2m_bayes.power_population import sensed
        from t2m_bayes.prediction import predict

        view: View = "sensor" if sensed(self.fit_, requests.device) else "chip"
        return predict(self.fit_, requests, session=session, view=view)


def check_names(names: list[str]) -> None:
    """Turn away names that are no estimators.

    Raises:
        DataError: One is none.
    """
    for name in names:
        if name not in NAMES:
            raise DataError(f"no estimator {name!r}; there are {', '.join(NAMES)}")


def regression(name: str, seed: int) -> Estimator:
    """Return an unfitted point regressor.

    Args:
        name: Its name.
        seed: Its random state.
    """
    found: Estimator = Regression(name, random_state=seed)
    return found
