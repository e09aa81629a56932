"""What did the prior say, and how much of it is left in the posterior?"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import arviz as az
import numpy as np
import pymc as pm
import xarray as xr
from scipy import stats

from t2m_bayes.checks import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from t2m_bayes.design import Coords
    from t2m_bayes.evidence.readings import Readings
    from t2m_bayes.priors import Prior

    Floats = NDArray[np.float64]

DRAWS: Final = 500
"""Draws of the prior."""

INSIDE: Final = (0.005, 0.995)
"""Quantiles of the prior predictive that readings are expected between."""

EXPECTED_INSIDE: Final = 0.95
"""Least share of the readings between them."""

SENSITIVE: Final = 0.05
"""Power-scaling sensitivity from which it counts (Kallioinen et al. 2024,
doi:10.1007/s11222-023-10366-5)."""

LEVEL: Final = 0.01
"""Chance that a true model fails the check of its priors; shared among them."""

INFORMED: Final = 0.9
"""Spread of a quantity, relative to that of its prior, above which the rows told nothing of it."""

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


def draw_prior(model: pm.Model, seed: int, draws: int = DRAWS) -> xr.DataTree:
    """Draw from a model's prior and prior predictive, in NumPy, uncompiled.

    Args:
        model: The model; the readings drawn are those of the design in its data.
        seed: Seed of the draws.
        draws: How many.
    """
    with _quiet("pymc.sampling.forward"), model:
        drawn: xr.DataTree = pm.sample_prior_predictive(
            draws, random_seed=seed, compile_kwargs={"mode": "FAST_COMPILE"}
        )
    return drawn


def range_check(readings: Readings, prior: xr.DataTree) -> Check:
    """Check that the readings are among what the prior expected."""
    drawn = prior["prior_predictive"][readings.name].to_numpy()[0]
    low, high = np.quantile(drawn, INSIDE, axis=0)
    inside = float(np.mean((readings.value >= low) & (readings.value <= high)))
    return Check(
        name=f"{readings.name}: prior predictive",
        group="prior",
        measured=round(inside, 4),
        limit=EXPECTED_INSIDE,
        passed=inside >= EXPECTED_INSIDE,
        meaning="The readings are nothing like what the cards and priors expect of these machines.",
        advice="Check units, LLM sizes and the device's card; only then widen models/priors.toml.",
        where="share of the readings inside the prior's 99 % band",
    )


def sensitivities(
    posterior: xr.Dataset, priors: Mapping[str, Prior], readings: Sequence[Readings]
) -> list[dict[str, Any]]:
    """Return how each prior of the file and the rows pull at its coefficient, by power-scaling.

    Args:
        posterior: The draws that the readings were held against. dims: chain, draw, ...
        priors: The priors by name.
        readings: Every kind of reading.

    Returns:
        For each prior ``name``, ``prior`` and ``likelihood`` (sensitivity to either, of the
        element that minds its prior most) and ``z``: how many standard deviations of the prior
        its posterior median lies from the prior's middle, of the element farthest out.
    """
    likelihood = xr.Dataset({r.name: (("chain", "draw"), r.log_likelihood[None]) for r in readings})
    found = []
    for name, prior in priors.items():
        if name not in posterior or posterior[name].std() == 0:
            continue
        z = _standard(posterior[name], prior)
        tree = xr.DataTree.from_dict(
            {
                "posterior": posterior[[name]],
                "log_prior": xr.Dataset({name: _log_density(posterior[name], z, prior)}),
                "log_likelihood": likelihood,
            }
        )
        with _quiet("arviz_stats.psense"):
            table = az.psense_summary(tree, threshold=SENSITIVE, round_to=4)
        worst = table.loc[table["prior"].idxmax()]
        middle = z.median(("chain", "draw"))
        found.append(
            {
                "name": name,
                "prior": float(worst["prior"]),
                "likelihood": float(worst["likelihood"]),
                "z": round(float(middle.to_numpy().flat[np.abs(middle).argmax()]), 3),
            }
        )
    return found


def sensitivity_check(found: Sequence[Mapping[str, Any]]) -> Check:
    """Check that no prior pulls at a coefficient that the rows hold in the prior's tail.

    A prior of a spread over three LLMs always counts; it is wrong where it counts and disagrees.

    Args:
        found: What :func:`sensitivities` returned.
    """
    far = float(stats.norm.isf(LEVEL / 2 / max(len(found), 1)))
    worst = max(found, key=lambda f: (f["prior"] > SENSITIVE, abs(f["z"])))
    fights = [f for f in found if f["prior"] > SENSITIVE and abs(f["z"]) > far]
    return Check(
        name="prior sensitivity",
        group="prior",
        measured=round(abs(worst["z"]), 2) if worst["prior"] > SENSITIVE else 0.0,
        limit=round(far, 2),
        passed=not fights,
        meaning="Prior and rows disagree: a slightly weaker prior would give other predictions.",
        advice="Check units and sizes, compare prior and posterior (--figures), and doubt both.",
        where="standard deviations of a prior that counts, from its middle: "
        + ", ".join(f["name"] for f in fights or [worst]),
    )


def unidentified_check(
    posterior: xr.Dataset, prior: xr.Dataset, coords: Coords, read: NDArray[np.bool_]
) -> Check:
    """Name the quantities of measured LLMs on devices that are known from their prior alone.

    Args:
        posterior: Draws of the posterior.
        prior: Draws of the prior.
        coords: What they are indexed by.
        read: Which cells have readings. shape: (cell,)
    """
    names = [str(n) for n in posterior if "cell" in posterior[n].dims and posterior[n].ndim == 3]
    left = {
        n: (posterior[n].std(("chain", "draw")) / prior[n].std(("chain", "draw"))).to_numpy()
        for n in names
    }
    unknown = np.array([left[n] > INFORMED for n in names])[:, read]
    cells = [name for name, was in zip(coords.cell_names(), read, strict=True) if was]
    share = unknown.mean(axis=0)
    told = [
        f"{', '.join(n for n, u in zip(names, unknown[:, c], strict=True) if u)} of {cell}"
        for c, cell in enumerate(cells)
        if unknown[:, c].any()
    ]
    return Check(
        name="unidentified quantities",
        group="data",
        measured=f"{int(unknown.sum())} of {unknown.size}",
        limit="half of those of each LLM on a device",
        passed=bool((share <= 0.5).all()),
        meaning="Predictions that need these quantities are guesses from their priors.",
        advice="Measure runs that depend on them: long prompts, long answers, a power reading.",
        where="; ".join(told),
    )


def levels(
    posterior: xr.Dataset, prior: xr.Dataset, coords: Coords, roles: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return prior and posterior of slopes and offsets: see :mod:`t2m_bayes.evidence`.

    An offset is a device's coefficient against the first server's, on the log scale; without a
    server, against the middle of its prior, which a datasheet gave.
    """
    servers = [i for i, d in enumerate(coords.devices) if roles[d] == "server"]
    found = []
    for name in posterior:
        of = str(name)
        dims = posterior[of].dims[2:]
        a, b = (d[of].to_numpy().reshape(-1, *d[of].shape[2:]) for d in (posterior, prior))
        if not dims and of.startswith("slope_"):
            found.append(_level(of, "slope", "all LLMs", a, b))
        if dims == ("device",):
            for i, device in enumerate(coords.devices):
                if i in servers[:1]:
                    continue
                if servers:
                    against = f"{device} against {coords.devices[servers[0]]}"
                    x, y = (v[:, i] - v[:, servers[0]] for v in (a, b))
                else:
                    against = f"{device} against its prior"
                    x, y = (v[:, i] - np.median(b[:, i]) for v in (a, b))
                found.append(_level(of, "offset", against, x, y))
    return found


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's news to itself: what it says is in the check."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _level(name: str, kind: str, label: str, posterior: Floats, prior: Floats) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "label": label,
        "prior": np.quantile(prior, QUANTILES).round(5).tolist(),
        "posterior": np.quantile(posterior, QUANTILES).round(5).tolist(),
    }


def _standard(values: xr.DataArray, prior: Prior) -> xr.DataArray:
    """Return values as standard deviations from the middle of their prior."""
    if prior.kind == "lognormal":
        of_log: xr.DataArray = (np.log(values) - np.log(prior.centre)) / prior.sd
        return of_log
    return (values - prior.centre) / prior.sd


def _log_density(values: xr.DataArray, z: xr.DataArray, prior: Prior) -> xr.DataArray:
    """Return a prior's log density up to a constant, summed over everything but the draws."""
    density: xr.DataArray = -0.5 * z**2 - (np.log(values) if prior.kind == "lognormal" else 0.0)
    return density.sum([d for d in density.dims if d not in ("chain", "draw")])
