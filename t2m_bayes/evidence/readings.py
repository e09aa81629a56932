"""What the model says of each reading, in draws of the posterior: density, probability, place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pymc as pm
import xarray as xr
from pymc.distributions.continuous import SkewStudentTRV

from t2m_bayes.formulas import noise_middle
from t2m_bayes.pooling import LOGARITHM, packed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from t2m_bayes.design import Design

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

DRAWS: Final = 400
"""Draws of the posterior that readings are held against, evenly spaced over all chains."""

READINGS: Final = 2000
"""Readings of one kind that are left out in turn; of more, a random part."""


@dataclass(frozen=True)
class Readings:
    """Readings of one kind, as the model sees them. Values are on the model's scale.

    Attributes:
        name: The observed variable: ``prefill``, ``decode``.
        row: Row of the run table behind each. shape: (reading,)
        series: Series of each. shape: (reading,)
        value: What was measured, on the model's scale. shape: (reading,)
        logarithm: Whether that scale is logarithmic.
        expected: Middle of the noise, mean over draws. shape: (reading,)
        weight: How much each counts in the posterior, 1 for a usual one: Student-t noise is normal
            noise of a precision of its own for each reading, whose expectation is
            ``(nu + 1) / (nu + z**2)`` (Lange, Little and Taylor 1989,
            doi:10.1080/01621459.1989.10478852); with a tail of its own on either side, nu is that
            of the reading's side, to which the pull of a far reading tends. shape: (reading,)
        log_likelihood: Log density of all of them. shape: (draw,)
        sampled: Which of them the arrays below are of: where there are many, a random part.
            shape: (sampled,)
        log_density: Log density of each. shape: (draw, sampled)
        probability: Probability of a smaller value. shape: (draw, sampled)
        location: Middle of the noise. shape: (draw, sampled)
        scale: Scale of the noise. shape: (draw, sampled)
        tails: Degrees of freedom of the noise, fast and slow side. shape: (2, draw, sampled)
    """

    name: str
    row: Ints
    series: Ints
    value: Floats
    logarithm: bool
    expected: Floats
    weight: Floats
    log_likelihood: Floats
    sampled: Ints
    log_density: Floats
    probability: Floats
    location: Floats
    scale: Floats
    tails: Floats


def draws_read(posterior: xr.DataTree) -> xr.Dataset:
    """Return the draws that readings are held against, as one chain."""
    sample = posterior["posterior"].to_dataset()
    total = sample.sizes["chain"] * sample.sizes["draw"]
    keep = np.unique(np.linspace(0, total - 1, min(DRAWS, total)).astype(int))
    joined = {
        name: (
            ("chain", "draw", *v.dims[2:]),
            v.to_numpy().reshape(total, *v.shape[2:])[keep][None],
        )
        for name, v in sample.items()
    }
    return xr.Dataset(
        joined,
        coords={
            d: c
            for d, c in sample.coords.items()
            if d in sample.dims and d not in ("chain", "draw")
        },
    )


def read(
    model: pm.Model,
    design: Design,
    data: Mapping[str, NDArray[Any]],
    posterior: xr.DataTree,
    rng: np.random.Generator,
) -> list[Readings]:
    """Evaluate every observed variable of a model at draws of its posterior.

    The graph runs in NumPy, uncompiled: a compiler would take longer than it saves.

    Args:
        model: The model; every one of its observed variables is read.
        design: The design behind its data: ``<name>_row`` and ``<name>_series`` say what the
            readings of the variable ``name`` belong to.
        data: The values of the model's ``pm.Data``, of the same design.
        posterior: Posterior, unthinned.
        rng: Chooses which readings to look at where there are many.

    Returns:
        The readings of each observed variable that has any, at most :data:`READINGS` of it.
    """
    sample = draws_read(posterior)
    free = [sample[v.name].to_numpy()[0] for v in model.free_RVs]
    with model:
        pm.set_data(packed(data))
    return [
        _evaluate(model, variable, free, design, data, rng)
        for variable in model.observed_RVs
        if getattr(design, f"{variable.name}_row").size
    ]


def _evaluate(
    model: pm.Model,
    variable: Any,
    free: list[Floats],
    design: Design,
    data: Mapping[str, NDArray[Any]],
    rng: np.random.Generator,
) -> Readings:
    node = model.rvs_to_values[variable]
    noise = _noise(variable)
    evaluate = model.compile_fn(
        [pm.logp(variable, node), pm.logcdf(variable, node), *noise],
        inputs=model.free_RVs,
        point_fn=False,
        mode="FAST_COMPILE",
        on_unused_input="ignore",
    )
    row = np.asarray(getattr(design, f"{variable.name}_row"), dtype=np.intp)
    value = np.asarray(data[node.name], dtype=float)
    sampled = np.arange(row.size)
    if row.size > READINGS:
        sampled = np.sort(rng.choice(row.size, READINGS, replace=False))
    draws = len(free[0])
    kept = np.empty((6, draws, sampled.size))
    means = np.zeros((2, row.size))
    log_likelihood = np.empty(draws)
    for i in range(draws):
        drawn = evaluate(*(v[i] for v in free))
        density, log_probability, middle, spread, fast, slow = np.broadcast_arrays(*drawn, value)[
            :-1
        ]
        probability = np.exp(np.minimum(log_probability, 0.0))
        z = (value - middle) / spread
        tail = np.where(z < 0, fast, slow)
        weight = (tail + 1) / (tail + z**2)
        means += np.stack([middle, weight]) / draws
        log_likelihood[i] = density.sum()
        kept[:, i] = np.stack([density, probability, middle, spread, fast, slow])[:, sampled]
    expected, weight = means
    log_density, probabilities, location, scale = kept[:4]
    return Readings(
        name=variable.name,
        row=row,
        series=np.asarray(getattr(design, f"{variable.name}_series"), dtype=np.intp),
        value=value,
        logarithm=str(node.name).startswith(LOGARITHM),
        expected=expected,
        weight=weight,
        log_likelihood=log_likelihood,
        sampled=sampled,
        log_density=log_density,
        probability=probabilities,
        location=location,
        scale=scale,
        tails=kept[4:],
    )


def _noise(variable: Any) -> tuple[Any, Any, Any, Any]:
    """Return middle, scale and degrees of freedom on either side of a skew-t variable.

    Raises:
        NotImplementedError: Its distribution is another; say here where it has its middle.
    """
    operation = variable.owner.op
    if not isinstance(operation, SkewStudentTRV):
        raise NotImplementedError(f"evidence of {variable.name}, a {type(operation).__name__}")
    a, b, location, scale = operation.dist_params(variable.owner)
    fast, slow = 2 * a, 2 * b
    return location + scale * noise_middle(fast, slow), scale, fast, slow
