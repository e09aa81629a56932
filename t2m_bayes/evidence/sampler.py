"""Did the chains explore the posterior? The checks that a fit's verdict is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import arviz as az
import numpy as np

from t2m_bayes.checks import Check, failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pymc as pm
    import xarray as xr

RHAT_LIMIT: Final = 1.01
"""Largest r-hat of a usable fit (Vehtari et al. 2021, doi:10.1214/20-BA1221)."""

RHAT_SLOW: Final = 1.05
"""r-hat from which chains disagree, rather than mix slowly: more draws would not help."""

ESS_LIMIT: Final = 400
"""Smallest bulk and tail effective sample size of a usable fit (the same source)."""

BFMI_LIMIT: Final = 0.3
"""Smallest Bayesian fraction of missing information of a chain (Betancourt 2016,
arXiv 1604.00695)."""

DEPTH_LIMIT: Final = 0.01
"""Largest share of draws whose trajectory was cut at the greatest tree depth."""

MCSE_LIMIT: Final = 0.05
"""Largest Monte Carlo error of a bound, as a share of the width of the 90 % interval: what 200
independent draws give for a normal."""

FEW: Final = "Bounds of predictions would move from one seed to the next."
LONGER: Final = "Sample longer (--draws, --tune); if that does not help, look at the data."

BOUNDS: Final = (0.05, 0.95)
"""Quantiles whose Monte Carlo error is checked: the default band of a prediction."""

DECISIVE: Final = ("r-hat", "bulk ESS", "tail ESS", "divergences")
"""Checks without which a fit must not be used; the others say what to look at."""

TREE_DEPTH: Final = ("maxdepth_reached", "reached_max_treedepth")
"""What nutpie and PyMC's own NUTS call the statistic."""

RANK_BINS: Final = 20
RANKED: Final = 12
"""Variables whose ranks are kept for a picture: those that mix worst."""


def sampler_checks(posterior: xr.DataTree, models: Sequence[pm.Model]) -> list[Check]:
    """Check the chains of a posterior.

    Args:
        posterior: Posterior and sample statistics, unthinned.
        models: Its models; every free variable is checked.

    Returns:
        r-hat, bulk and tail ESS, divergences, energy and tree depth.
    """
    names = [v.name for model in models for v in model.free_RVs]
    sample = posterior["posterior"].to_dataset()[names]
    stats = posterior["sample_stats"].to_dataset()
    chains = "Predictions would be of chains that have not found the same posterior."
    # A chain that never moved has no variance to divide by: its r-hat is infinite, or unknown.
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = az.rhat(sample)
    checks = [
        _extreme("r-hat", rhat, RHAT_LIMIT, 1, chains, LONGER),
        _extreme("bulk ESS", az.ess(sample, method="bulk"), ESS_LIMIT, -1, FEW, LONGER),
        _extreme("tail ESS", az.ess(sample, method="tail"), ESS_LIMIT, -1, FEW, LONGER),
    ]
    divergences = int(stats["diverging"].sum())
    checks.append(
        Check(
            name="divergences",
            group="sampler",
            measured=divergences,
            limit=0,
            passed=divergences == 0,
            meaning="A part of the posterior that the sampler could not enter is missing.",
            advice="Raise --target-accept towards 0.99.",
        )
    )
    if "energy" in stats:
        bfmi = np.atleast_1d(az.bfmi(stats["energy"].to_numpy()))
        checks.append(
            Check(
                name="BFMI",
                group="sampler",
                measured=_rounded(bfmi.min()),
                limit=BFMI_LIMIT,
                passed=bool(bfmi.min() >= BFMI_LIMIT),
                meaning="The tails of the posterior are explored too slowly to be trusted.",
                advice="Sample with more tuning draws (--tune).",
            )
        )
    for name in TREE_DEPTH:
        if name in stats:
            share = float(stats[name].mean())
            checks.append(
                Check(
                    name="tree depth",
                    group="sampler",
                    measured=_rounded(share),
                    limit=DEPTH_LIMIT,
                    passed=share <= DEPTH_LIMIT,
                    meaning="Trajectories are cut short, so successive draws resemble each other.",
                    advice="Sample with more tuning draws (--tune).",
                )
            )
    return checks


def mendable(checks: Sequence[Check]) -> frozenset[str]:
    """Return the checks that fail and that sampling with more care would mend.

    Args:
        checks: What :func:`sampler_checks` returned.

    Returns:
        Names of failed checks that make a fit unusable; none where chains disagree, since neither
        more draws nor shorter steps would help those.
    """
    rhat = next(float(check.measured) for check in checks if check.name == "r-hat")
    return frozenset(check.name for check in _decisive_failures(checks) if rhat < RHAT_SLOW)


def monte_carlo_check(reported: xr.Dataset) -> Check:
    """Check that the bounds of predictions would be the same from other draws.

    Args:
        reported: Expected predictions from the draws that a fit keeps. dims: chain, draw, request
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (reported.quantile(p, dim=("chain", "draw")) for p in BOUNDS)
        error = np.maximum(*(az.mcse(reported, method="quantile", prob=p) for p in BOUNDS))
        share = error / (high - low)
    return _extreme("Monte Carlo error", share, MCSE_LIMIT, 1, FEW, LONGER)


def verdict(checks: Sequence[Check]) -> dict[str, Any]:
    """Return in one line whether a fit can be used, and the numbers behind it.

    Args:
        checks: What :func:`sampler_checks` returned.

    Returns:
        ``usable``, ``verdict``, ``rhat_max``, ``ess_bulk_min``, ``ess_tail_min`` with the variable
        of each, and ``divergences``.
    """
    by_name = {check.name: check for check in checks}
    worst = {
        key: (float(by_name[name].measured), by_name[name].where)
        for key, name in (
            ("rhat_max", "r-hat"),
            ("ess_bulk_min", "bulk ESS"),
            ("ess_tail_min", "tail ESS"),
        )
    }
    divergences = int(by_name["divergences"].measured)
    complaints = [
        f"{c.name} {c.measured:g}{f' of {c.where}' if c.where else ''}, limit {c.limit:g}"
        for c in _decisive_failures(checks)
    ]
    numbers = (
        f"r-hat <= {worst['rhat_max'][0]:.4f}, bulk ESS >= {worst['ess_bulk_min'][0]:.0f}, "
        f"tail ESS >= {worst['ess_tail_min'][0]:.0f}, {divergences} divergences"
    )
    return {
        "usable": not complaints,
        "verdict": f"the fit can be used: {numbers}"
        if not complaints
        else f"the fit should not be used: {'; '.join(complaints)}. "
        "Sample longer, or look at the data",
        "divergences": divergences,
        **{key: value for key, (value, _) in worst.items()},
        **{f"{key}_of": name for key, (_, name) in worst.items()},
    }


def _decisive_failures(checks: Sequence[Check]) -> list[Check]:
    return [check for check in failures(checks) if check.name in DECISIVE]


def ranks(posterior: xr.DataTree, model: pm.Model) -> dict[str, list[list[int]]]:
    """Return how the draws of each chain rank among all, of the variables that mix worst.

    Chains that explored the same posterior have flat histograms (Vehtari et al. 2021,
    doi:10.1214/20-BA1221).

    Args:
        posterior: Posterior, unthinned.
        model: Its model.

    Returns:
        Variable to counts. shape: (chain, bin)
    """
    sample = posterior["posterior"].to_dataset()[[v.name for v in model.free_RVs]]
    ess = az.ess(sample, method="bulk")
    worst = sorted(ess, key=lambda n: float(np.nan_to_num(ess[n].min(), nan=0.0)))[:RANKED]
    counts = {}
    for name in worst:
        which = {d: int(i) for d, i in ess[name].argmin(...).items()} if ess[name].ndim else {}
        values = sample[name].isel(which).to_numpy()
        rank = values.ravel().argsort(kind="stable").argsort().reshape(values.shape)
        bins = rank * RANK_BINS // values.size
        label = _label(name, sample[name].isel(which))
        counts[label] = [np.bincount(row, minlength=RANK_BINS).tolist() for row in bins]
    return counts


def _extreme(
    name: str, values: xr.Dataset, limit: float, sign: int, meaning: str, advice: str
) -> Check:
    """Check the largest (sign 1) or smallest (-1) of all values; NaN is worst of all."""
    worst = {str(n): float((sign * values[n].fillna(np.inf * sign)).max()) * sign for n in values}
    variable = max(worst, key=lambda n: sign * worst[n])
    value = worst[variable]
    return Check(
        name=name,
        group="sampler",
        measured=_rounded(value),
        limit=limit,
        passed=bool(np.isfinite(value) and sign * value <= sign * limit),
        meaning=meaning,
        advice=advice,
        where=variable,
    )


def _label(name: str, values: xr.DataArray) -> str:
    at = [str(values[d].item()) for d in values.coords if d not in ("chain", "draw")]
    return f"{name}[{', '.join(at)}]" if at else name


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
