"""Evidence for or against a fit, computed where the posterior, the model and the rows are at hand.

What a fit keeps of it, in ``Fit.evidence``, is plain JSON and holds no row of the data. ``reading``
is an observed variable of the model: ``prefill``, ``decode``.

========== =====================================================================================
``pit``    reading to LOO-PIT values, sorted, at most 1,000 of them, evenly spaced in rank
``cover``  reading to ``{"n", "nominal": [...], "share": [...]}``: share of readings inside the
           central interval of each nominal probability, by LOO-PIT
``loo``    reading to ``{"elpd", "se", "p", "n", "k_max", "k_high"}``
``ppc``    list of ``{"reading", "llm", "device", "n", "quantiles": [...], "observed": [...],
           "lower": [...], "upper": [...]}``: quantiles of log(reading / expected), as measured,
           and the 90 % band of what the model would have measured
``ranks``  variable to counts of ranks, a list of bins for each chain
``priors`` list of ``{"name", "prior", "likelihood", "z"}``: power-scaling sensitivity of each prior
           of ``models/priors.toml``, and where in it the posterior lies
``levels`` list of ``{"name", "kind", "label", "prior": [...], "posterior": [...]}`` with the 5, 25,
           50, 75 and 95 % quantiles; ``kind`` is ``offset`` (log scale) or ``slope``
========== =====================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from t2m_bayes.evidence.calibration import (
    calibration_checks,
    calibration_evidence,
    leave_one_out,
)
from t2m_bayes.evidence.outliers import outlier_check
from t2m_bayes.evidence.prior import (
    draw_prior,
    levels,
    range_check,
    sensitivities,
    sensitivity_check,
    unidentified_check,
)
from t2m_bayes.evidence.readings import draws_read, read
from t2m_bayes.evidence.sampler import (
    mendable,
    monte_carlo_check,
    ranks,
    sampler_checks,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pymc as pm
    import xarray as xr
    from numpy.typing import NDArray

    from t2m_bayes.checks import Check
    from t2m_bayes.design import Design
    from t2m_bayes.priors import Prior

__all__ = ["gather", "mendable", "monte_carlo_check", "sampler_checks", "verdict"]


def gather(
    model: pm.Model,
    design: Design,
    data: Mapping[str, NDArray[Any]],
    frame: pd.DataFrame,
    posterior: xr.DataTree,
    priors: Mapping[str, Prior],
    saved: Sequence[str],
    roles: Mapping[str, str],
) -> tuple[list[Check], dict[str, Any]]:
    """Hold a posterior against its rows and its prior.

    Takes some ten seconds, however many rows there are: 400 draws, 500 of the prior, and at most
    2,000 readings of a kind left out in turn. Every reading is looked at for outliers.

    Args:
        model: The model.
        design: The rows it was fitted to, indexed.
        data: The values of its ``pm.Data`` for them.
        frame: The run table behind the design.
        posterior: The posterior, unthinned.
        priors: The priors by name.
        saved: Variables that a fit keeps.
        roles: Device to its role.

    Returns:
        The checks of the fit, the prior and the data, and what pictures are drawn from.
    """
    rng = np.random.default_rng(0)
    readings = read(model, design, data, posterior, rng)
    left_out = [leave_one_out(one) for one in readings]
    prior = draw_prior(model, seed=0)
    drawn, before = draws_read(posterior), prior["prior"].to_dataset()
    coords = design.coords
    cells = np.array([c for c, _ in coords.series])
    measured = np.unique(cells[np.concatenate([one.series for one in readings])])
    pulls = sensitivities(drawn, priors, readings)
    checks = [
        *calibration_checks(left_out, coords),
        *(range_check(one, prior) for one in readings),
        sensitivity_check(pulls),
        *(outlier_check(one, coords, frame) for one in readings),
        unidentified_check(
            drawn[list(saved)], before, coords, np.isin(np.arange(len(coords.cells)), measured)
        ),
    ]
    return checks, {
        **calibration_evidence(left_out, coords),
        "ranks": ranks(posterior, model),
        "priors": pulls,
        "levels": levels(drawn[list(saved)], before, coords, roles),
    }
