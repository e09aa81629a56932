"""How fast each run's decode was, beside what is usual in its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import least_squares

from t2m_bayes.formulas import decode_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

SCATTER: Final = 0.01
"""Relative deviation from the usual time beyond which a run counts as an outlier."""

OUTLIER: Final = 4.5
"""Median absolute deviations beyond which one is no drift: of a normal, three standard ones."""

COEFFICIENTS: Final = 3
"""Coefficients of the usual time, which follow the mean of the runs they are fitted to."""

FEWEST: Final = 8
"""Runs of a session from which their scatter says how well their mean pace is known."""

FEW: Final = 0.005
"""That error of fewer runs. Those of the public sessions scatter by 0.06 to 0.8 %, and a few in a
row are likely to be alike."""


def usual_decode_s(input_tokens: Floats, output_tokens: Floats, decode_s: Floats) -> Floats:
    """Return what the runs of one session would take at their usual pace, in seconds.

    A robust fit of :func:`t2m_bayes.formulas.decode_time`, no coefficient of which is negative.

    Args:
        input_tokens: Prompt lengths. shape: (run,)
        output_tokens: Generated tokens, at least 2. shape: (run,)
        decode_s: Decode times, above 0. shape: (run,)
    """
    tokens = input_tokens, output_tokens
    start, step, both = (decode_time(*x, *tokens) for x in ((1, 0, 0), (0, 1, 0), (0, 1, 1)))
    columns = np.stack([start, step, both - step], axis=1) / decode_s[:, None]
    columns /= columns.max(axis=0)
    found = least_squares(
        lambda x: columns @ x - 1,
        np.full(COEFFICIENTS, 1 / COEFFICIENTS),
        jac=lambda _: columns,
        bounds=(0, np.inf),
        loss="soft_l1",
        f_scale=SCATTER,
    )
    return np.asarray(columns @ found.x * decode_s)


def mean_error(log_pace: Floats) -> float:
    """Return the standard error of the mean of a session's log pace.

    Clocks drift and chips heat, so that runs in a row are alike: they tell as much of the mean as
    fewer independent ones, the effective sample size (Vehtari et al. 2021,
    doi:10.1214/20-BA1221).

    Args:
        log_pace: Logarithm of usual time over time, in the order of the runs. shape: (run,)
    """
    import arviz as az

    if log_pace.size < FEWEST:
        return FEW
    off = log_pace - np.median(log_pace)
    most = OUTLIER * np.median(abs(off))
    kept = np.clip(off, -most, most)
    runs = min(float(az.ess(kept[None], method="mean")), kept.size)
    return float(kept.std(ddof=COEFFICIENTS) / np.sqrt(runs))
