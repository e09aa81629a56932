"""How good predictions are, and how honest their bands.

NumPy arrays in, one number out. Errors relative to the observed value are shares, not percents:
0.05 is 5 %. ``n`` is the number of observations, ``sample`` that of posterior draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def mape(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Return the mean absolute relative error, ``mean(|p - y| / y)``, as a share.

    Hyndman and Koehler (2006), doi:10.1016/j.ijforecast.2006.03.001.

    Args:
        predicted: Point predictions, in the unit of ``observed``. shape: (n,)
        observed: What was measured, above 0. shape: (n,)

    Raises:
        DataError: The shapes differ, nothing is given, or a value is not finite or not above 0.
    """
    return float(np.mean(np.abs(_relative_errors(predicted, observed))))


def median_ape(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Return the median absolute relative error, ``median(|p - y| / y)``, as a share.

    Outliers such as stalls, which no prediction should follow, hardly move it. Source, arguments
    and errors as for :func:`mape`.
    """
    return float(np.median(np.abs(_relative_errors(predicted, observed))))


def bias(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Return the mean relative error, ``mean((p - y) / y)``, as a share: above 0 is too long.

    The mean percentage error of Hyndman and Koehler (2006). Arguments and errors as for
    :func:`mape`.
    """
    return float(np.mean(_relative_errors(predicted, observed)))


def coverage(lower: ArrayLike, upper: ArrayLike, observed: ArrayLike) -> float:
    """Return the share of observations inside their intervals, ``mean(l <= y <= u)``.

    Honest intervals of probability p hold a share near p: Gneiting, Balabdaoui and Raftery (2007),
    doi:10.1111/j.1467-9868.2007.00587.x.

    Args:
        lower: Lower bounds, in the unit of ``observed``. shape: (n,)
        upper: Upper bounds, likewise. shape: (n,)
        observed: What was measured. shape: (n,)

    Raises:
        DataError: The shapes differ, nothing is given, a value is not finite, or a lower bound is
            above its upper bound.
    """
    low, high = _bounds(lower, upper)
    measured = _finite("observed", observed)
    _same_shape(lower=low, observed=measured)
    return float(np.mean((low <= measured) & (measured <= high)))


def interval_width(lower: ArrayLike, upper: ArrayLike) -> float:
    """Return the mean width of intervals, ``mean(u - l)``, in the unit of the bounds.

    Among intervals that cover enough, narrower is better (sharpness; the source of
    :func:`coverage`). Arguments and errors as there.
    """
    low, high = _bounds(lower, upper)
    return float(np.mean(high - low))


def crps(draws: ArrayLike, observed: ArrayLike) -> float:
    """Return the mean continuous ranked probability score, in the unit of the observations.

    ``mean over n of (E|X - y| - E|X - X'| / 2)`` with ``X, X'`` independent draws, in its quantile
    form. It is the absolute error of a prediction without spread, and lower is better: Gneiting
    and Raftery (2007), doi:10.1198/016214506000001437.

    Args:
        draws: Draws of the prediction. shape: (sample, n)
        observed: What was measured. shape: (n,)

    Raises:
        DataError: The shapes do not fit, nothing is given, or a value is not finite.
    """
    import scoringrules

    ensemble, measured = _ensemble(draws, observed)
    scores = scoringrules.crps_ensemble(measured, ensemble, m_axis=0, estimator="qd")
    return float(np.mean(scores))


def score(
    draws: ArrayLike, observed: ArrayLike, probs: Sequence[float] = (0.5, 0.9)
) -> dict[str, float]:
    """Return every score of a prediction at once; the point prediction is the median.

    Args:
        draws: Draws of the prediction. shape: (sample, n)
        observed: What was measured, above 0. shape: (n,)
        probs: Probabilities of the equal-tailed intervals to check.

    Returns:
        ``n, mape, median_ape, bias, crps``, and for each probability, in percent,
        ``coverage_90`` and ``width_90``.

    Raises:
        DataError: As the functions above, or a probability is not between 0 and 1.
    """
    for prob in probs:
        if not 0 < prob < 1:
            raise DataError(f"a probability must be between 0 and 1; found {prob:g}")
    ensemble, measured = _ensemble(draws, observed)
    median = np.median(ensemble, axis=0)
    scores = {
        "n": measured.size,
        "mape": mape(median, measured),
        "median_ape": median_ape(median, measured),
        "bias": bias(median, measured),
        "crps": crps(ensemble, measured),
    }
    for prob in probs:
        low, high = np.quantile(ensemble, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        scores[f"coverage_{100 * prob:g}"] = coverage(low, high, measured)
        scores[f"width_{100 * prob:g}"] = interval_width(low, high)
    return scores


def each(draws: ArrayLike, observed: ArrayLike) -> dict[str, Floats]:
    """Return what is scored of every single observation.

    Args:
        draws: Draws of the prediction. shape: (sample, n)
        observed: What was measured, above 0. shape: (n,)

    Returns:
        ``observed``; the ``median``; the ``crps``; bounds ``lower_50, upper_50, lower_90,
        upper_90`` and their ``interval_score_50, interval_score_90`` (width, and 2 / (1 - p) times
        the miss: Gneiting and Raftery 2007); and ``pit``, the share of draws below the
        observation, half of those equal to it. shape: (n,) each

    Raises:
        DataError: The shapes do not fit, nothing is given, or a value is not finite.
    """
    import scoringrules

    ensemble, measured = _ensemble(draws, observed)
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    low90, low50, median, high50, high90 = np.quantile(ensemble, levels, axis=0)
    below, upto = (ensemble < measured).mean(axis=0), (ensemble <= measured).mean(axis=0)
    return {
        "observed": measured,
        "median": median,
        "crps": scoringrules.crps_ensemble(measured, ensemble, m_axis=0, estimator="qd"),
        "lower_50": low50,
        "upper_50": high50,
        "lower_90": low90,
        "upper_90": high90,
        "interval_score_50": scoringrules.interval_score(measured, low50, high50, 0.5),
        "interval_score_90": scoringrules.interval_score(measured, low90, high90, 0.1),
        "pit": (below + upto) / 2,
    }


def uniformity(pit: ArrayLike) -> float:
    """Return how far the PIT values are from uniform: the largest gap of their distribution.

    The Kolmogorov-Smirnov statistic, from 0 to 1; honest predictions are near 0 (Gneiting,
    Balabdaoui and Raftery 2007).

    Args:
        pit: Values between 0 and 1. shape: (n,)
    """
    ordered = np.sort(_finite("pit", pit))
    n = ordered.size
    above = np.arange(1, n + 1) / n - ordered
    return float(max(above.max(), (1 / n - above).max()))


def _relative_errors(predicted: ArrayLike, observed: ArrayLike) -> Floats:
    guess, measured = _finite("predicted", predicted), _finite("observed", observed)
    _same_shape(predicted=guess, observed=measured)
    if (wrong := np.flatnonzero(measured <= 0)).size:
        raise DataError(
            f"relative errors need observed values above 0; found {measured[wrong[0]]:g} at "
            f"position {wrong[0]}, {wrong.size} in all"
        )
    return np.asarray((guess - measured) / measured, dtype=np.float64)


def _bounds(lower: ArrayLike, upper: ArrayLike) -> tuple[Floats, Floats]:
    low, high = _finite("lower", lower), _finite("upper", upper)
    _same_shape(lower=low, upper=high)
    if (wrong := np.flatnonzero(low > high)).size:
        at = wrong[0]
        raise DataError(
            f"lower bound {low[at]:g} is above upper bound {high[at]:g} at position {at}, "
            f"{wrong.size} in all"
        )
    return low, high


def _ensemble(draws: ArrayLike, observed: ArrayLike) -> tuple[Floats, Floats]:
    measured = _finite("observed", observed)
    ensemble = _finite("draws", draws, dimensions=2)
    if ensemble.shape[1] != measured.size:
        raise DataError(
            f"draws have shape {ensemble.shape}, (sample, n), but there are {measured.size} "
            "observed values"
        )
    return ensemble, measured


def _finite(name: str, values: ArrayLike, dimensions: int = 1) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions or not array.size:
        raise DataError(
            f"{name} must have {dimensions} dimension(s) and not be empty; found shape "
            f"{array.shape}"
        )
    bad: NDArray[Any] = np.argwhere(~np.isfinite(array))
    if bad.size:
        where = ", ".join(str(i) for i in bad[0])
        raise DataError(f"{name} must be finite; found {array[tuple(bad[0])]} at position {where}")
    return array


def _same_shape(**arrays: Floats) -> None:
    (first, a), (second, b) = arrays.items()
    if a.shape != b.shape:
        raise DataError(f"{first} has shape {a.shape} but {second} has {b.shape}")
