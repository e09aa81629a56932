"""The point regressors by name: adding one is a line here, and a file for what is new in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from t2m_bayes.baselines import pipelines
from t2m_bayes.baselines.conformal import Conformal
from t2m_bayes.baselines.least_squares import FormulaLeastSquares
from t2m_bayes.baselines.native_bands import BoostedQuantiles, GaussianProcess
from t2m_bayes.baselines.published import Published, covered
from t2m_bayes.baselines.server_scaling import ServerScaling
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Method:
    """How one point regressor is made.

    Attributes:
        about: What it is, in a line.
        make: Metric and seed to an unfitted estimator of the log metric with ``fit(X, y)``,
            ``predict(X)`` and ``quantiles(X)``; X is what ``baselines.table.features`` returns.
        covers: Which rows it speaks of; all by default.
    """

    about: str
    make: Callable[[str, int], Any]
    covers: Callable[[pd.DataFrame], NDArray[np.bool_]] | None = None


def _conformal(make: Callable[[str, int], Any]) -> Callable[[str, int], Conformal]:
    return lambda metric, seed: Conformal(make(metric, seed), seed)


METHODS: Final[dict[str, Method]] = {
    "linear": Method(
        "power law in tokens and size, a factor each LLM and device", _conformal(pipelines.linear)
    ),
    "polynomial": Method(
        "ridge on squares and products of the same", _conformal(pipelines.polynomial)
    ),
    "random_forest": Method("random forest", _conformal(pipelines.random_forest)),
    "xgboost": Method("boosted trees (needs XGBoost)", _conformal(pipelines.xgboost)),
    "quantile_gbm": Method("boosted quantiles, bands of its own", BoostedQuantiles),
    "gaussian_process": Method("Gaussian process, bands of its own", GaussianProcess),
    "mean_ratio": Method(
        "a line on the server, times the mean ratio of device to server",
        _conformal(lambda metric, _: ServerScaling("mean_ratio", metric)),
    ),
    "median_ratio": Method(
        "the same with the median ratio",
        _conformal(lambda metric, _: ServerScaling("median_ratio", metric)),
    ),
    "linear_scaling": Method(
        "the same with an offset and a factor",
        _conformal(lambda metric, _: ServerScaling("linear_scaling", metric)),
    ),
    "direct": Method(
        "a line in tokens for each LLM, from the device's rows alone",
        _conformal(lambda metric, _: FormulaLeastSquares("linear", metric)),
    ),
    "physics_wls": Method(
        "this package's formulas by non-negative weighted least squares",
        _conformal(lambda metric, _: FormulaLeastSquares("physics", metric)),
    ),
    "published": Method(
        "formulas and coefficients of arXiv 2511.01866, for its three LLMs",
        _conformal(lambda metric, _: Published(metric)),
        covered,
    ),
    "wilkins": Method(
        "linear in I, O and I*O for each LLM and device",
        _conformal(lambda metric, _: FormulaLeastSquares("wilkins", metric)),
    ),
}
"""Every point regressor."""


def method(name: str) -> Method:
    """Return a point regressor by name.

    Raises:
        DataError: There is none of that name.
    """
    if name not in METHODS:
        raise DataError(f"no regression {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]
