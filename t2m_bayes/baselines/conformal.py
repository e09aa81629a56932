"""Conformal predictive distributions for point regressors, by MAPIE.

Residuals are taken on the log scale, so that errors are relative. They come from jackknife+ up to
:data:`LOO_ROWS` rows and CV+ beyond (Barber et al. 2021, doi:10.1214/20-AOS1965): every row is
predicted by a regressor that has not seen it, and no row is given up for calibration. The nested
intervals of several levels together make a predictive distribution.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pandas as pd
from mapie.conformity_scores import AbsoluteConformityScore
from mapie.regression import CrossConformalRegressor
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import KFold, LeaveOneGroupOut, LeaveOneOut

from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

CONFIDENCE: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Levels of the intervals. MAPIE needs more than ``1 / (1 - level)`` rows for a level: with fewer,
the widest level that they allow stands for those above, and the guarantee ends there. (It needs
more than ``1 / level`` as well; narrower intervals are drawn in towards the middle.)"""

LOO_ROWS: Final = 30
"""Most rows for which every row is left out by itself (jackknife+); CV+ in five folds beyond."""

FOLDS: Final = 5

CELL_ROWS: Final = 20
"""Fewest rows of an LLM on a device for residuals of its own; LLMs with fewer share theirs."""

MOST_ROWS: Final = 200
"""Most rows whose residuals calibrate a band: a random part of the group, the others being trained
on only. More change a 90 % band by less than its sampling error, and cost a regression a fold. Of
what is left out together there are :data:`LEAST_ROWS` at least, or all."""

LEAST_ROWS: Final = 4
"""Fewest rows that say anything of a spread."""


class Conformal(BaseEstimator):  # type: ignore[misc]
    """A regressor of a log metric, with conformal bands for each kind of request.

    Bands are calibrated on what is exchangeable with the request:

    - an LLM measured on the device :data:`CELL_ROWS` times or more: its rows;
    - one measured less often: the rows of all such LLMs of the device together;
    - one not measured on the device: each of the device's LLMs predicted without its own rows;
    - a device that was not measured: each device predicted without its own rows.

    Args:
        regressor: A scikit-learn regressor of the log metric.
        random_state: Seed of folds and of the rows that calibrate.
    """

    def __init__(self, regressor: Any, random_state: int = 0) -> None:
        """Keep the parameters."""
        self.regressor = regressor
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: Floats) -> Self:  # noqa: N803
        """Fit to features and logarithms of readings.

        Raises:
            DataError: There are too few rows, or the regressor cannot be fitted to them.
        """
        if len(X) < LEAST_ROWS:
            raise DataError(f"{len(X)} readings are too few for a regression with a band")
        self.regressor_ = clone(self.regressor).fit(X, y)
        self.bands_: dict[str, tuple[list[float], Any]] = {}
        self.measured_ = sorted(set(X["cell"]))
        self.devices_ = sorted(set(X["device"]))
        cell, device, llm = (X[c].to_numpy() for c in ("cell", "device", "llm"))
        base = np.array([name.partition("@")[0] for name in llm])
        counts = X["cell"].value_counts()
        often = np.isin(cell, counts.index[counts >= CELL_ROWS])
        for name in dict.fromkeys(cell[often].tolist()):
            self._calibrate(f"cell {name}", X, y, cell == name)
        for name in dict.fromkeys(device.tolist()):
            here = device == name
            rare = here & ~often
            if rare.any():
                enough = rare.sum() >= LEAST_ROWS
                self._calibrate(f"device {name}", X, y, rare if enough else here)
            if len(set(base[here])) > 1:
                self._calibrate(f"new LLM on {name}", X, y, here, base)
        if len(set(device)) > 1:
            self._calibrate("new device", X, y, np.ones(len(X), dtype=bool), device)
        return self

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Return the log metric of each row. shape: (row,)."""
        return np.asarray(self.regressor_.predict(X))

    def quantiles(self, X: pd.DataFrame) -> tuple[Floats, Floats]:  # noqa: N803
        """Return levels, and the quantiles of the log metric. shape: (level,), (row, level).

        Rows of a kind that nothing calibrates are NaN.
        """
        half = np.array(CONFIDENCE) / 2
        levels = np.concatenate([0.5 - half[::-1], 0.5 + half])
        out = np.full((len(X), levels.size), np.nan)
        kind = np.array([self._kind(c, d) for c, d in zip(X["cell"], X["device"], strict=True)])
        for name in dict.fromkeys(kind.tolist()):
            if name in self.bands_:
                rows = kind == name
                out[rows] = _intervals(*self.bands_[name], X[rows])
        return levels, out

    def _kind(self, cell: str, device: str) -> str:
        if f"cell {cell}" in self.bands_:
            return f"cell {cell}"
        if cell in self.measured_:
            return f"device {device}"
        return f"new LLM on {device}" if device in self.devices_ else "new device"

    def _calibrate(
        self,
        kind: str,
        X: pd.DataFrame,  # noqa: N803
        y: Floats,
        rows: NDArray[np.bool_],
        group: NDArray[Any] | None = None,
    ) -> None:
        """Calibrate bands of one kind on some rows; all others are trained on in every fold."""
        chosen = np.flatnonzero(rows)
        if chosen.size < LEAST_ROWS:
            return
        if chosen.size > MOST_ROWS:
            rng = np.random.default_rng(self.random_state)
            drawn = rng.choice(chosen, MOST_ROWS, replace=False)
            if group is not None:
                # A group of few rows could be lost among thousands of another.
                drawn = np.concatenate([drawn, rng.permutation(np.setdiff1d(chosen, drawn))])
                turn = pd.Series(drawn).groupby(group[drawn]).cumcount().to_numpy()
                drawn = drawn[(np.arange(drawn.size) < MOST_ROWS) | (turn < LEAST_ROWS)]
            chosen = np.sort(drawn)
        others = np.ones(len(X), dtype=bool)
        others[chosen] = False
        if group is not None:
            # What a group is left out of must not come back through rows that are always there.
            others &= ~np.isin(group, group[chosen]) if kind == "new device" else ~rows
        labels = None if group is None else pd.factorize(group[chosen])[0]
        if group is not None:
            cv: Any = LeaveOneGroupOut()
        elif chosen.size <= LOO_ROWS:
            cv = LeaveOneOut()
        else:
            cv = KFold(FOLDS, shuffle=True, random_state=self.random_state)
        levels = [c for c in CONFIDENCE if max(1 / c, 1 / (1 - c)) < chosen.size - 1e-9]
        conformal = CrossConformalRegressor(
            WithContext(self.regressor, X[others], y[others]),
            confidence_level=levels,
            conformity_score=SortedScore(),
            method="plus",
            cv=cv,
        )
        # Without some group a regressor may have nothing left to stand on: no band of this kind.
        with suppress(DataError):
            conformal.fit_conformalize(X.iloc[chosen], y[chosen], groups=labels)
            self.bands_[kind] = (levels, conformal)


class WithContext(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor that is also trained on rows which are never held out.

    Args:
        regressor: The regressor.
        X: Features of those rows.
        y: Their targets.
    """

    def __init__(
        self,
        regressor: Any,
        X: pd.DataFrame,  # noqa: N803
        y: Floats,
    ) -> None:
        """Keep the parameters."""
        self.regressor = regressor
        self.X = X
        self.y = y

    def fit(self, X: pd.DataFrame, y: Floats) -> Self:  # noqa: N803
        """Fit to these rows and the others."""
        table = pd.concat([X, self.X]) if len(self.X) else X
        self.regressor_ = clone(self.regressor).fit(table, np.concatenate([y, self.y]))
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave the rows behind when saved: predicting needs them no more."""
        return {**super().__getstate__(), "X": None, "y": None}

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Return the regressor's prediction. shape: (row,)."""
        return np.asarray(self.regressor_.predict(X))


class SortedScore(AbsoluteConformityScore):  # type: ignore[misc]
    """MAPIE's absolute score and its bounds, with every level read off one sort.

    MAPIE looks for each level anew in each row, which takes most of the time of a comparison.
    """

    def __init__(self) -> None:
        """Switch a check of rounding off: a polynomial far out is wrong by more than that."""
        super().__init__()
        self.consistency_check = False

    def get_bounds(
        self,
        X: pd.DataFrame,  # noqa: N803
        alpha_np: Floats,
        estimator: Any,
        conformity_scores: Floats,
        **settings: Any,
    ) -> tuple[Floats, Floats, Floats]:
        """Return the prediction and the bounds of each level. shape: (row,), (row, level) twice."""
        predicted, low, up = estimator.predict(X, ensemble=settings["ensemble"])
        n = conformity_scores.size
        rank = np.ceil((1 - alpha_np) * (n + 1)).astype(int)
        below = np.sort(low - conformity_scores, axis=1)[:, n - rank]
        above = np.sort(up + conformity_scores, axis=1)[:, rank - 1]
        return predicted, below, above


def _intervals(levels: list[float], conformal: Any, X: pd.DataFrame) -> Floats:  # noqa: N803
    """Return the bounds of every level, from the lowest to the highest. shape: (row, bound)."""
    _, bounds = conformal.predict_interval(X, aggregate_point_predictions=None)
    middle = bounds[:, :, :1].mean(axis=1, keepdims=True)
    inner = np.array([c / levels[0] for c in CONFIDENCE if c < levels[0]])
    drawn_in = middle + (bounds[:, :, :1] - middle) * inner
    outer = np.repeat(bounds[:, :, -1:], sum(c > levels[-1] for c in CONFIDENCE), axis=2)
    low, high = np.moveaxis(np.concatenate([drawn_in, bounds, outer], axis=2), 1, 0)
    return np.asarray(np.sort(np.concatenate([low[:, ::-1], high], axis=1), axis=1))
