"""Are the readings as the model says they would be? Each left out, and by LLM and device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from scipy import special, stats

from t2m_bayes.checks import Check
from t2m_bayes.formulas import noise_middle
from t2m_bayes.noise import skew_t

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from t2m_bayes.design import Coords
    from t2m_bayes.evidence.readings import Readings

    Floats = NDArray[np.float64]

TOLERANCE: Final = 0.04
"""Error of a probability that is let pass however sure it is: at both ends of a 90 % band it
makes 82 to 98 % of it."""

LEVEL: Final = 0.01
"""Chance that a true model fails one kind of check; shared among the groups it looks at."""

K_LIMIT: Final = 0.7
"""Pareto shape above which importance sampling cannot be trusted (Vehtari et al. 2024,
arXiv 1507.02646)."""

NOMINAL: Final = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Probabilities of the central intervals whose coverage is kept."""

KEPT: Final = 1000
"""PIT values that are kept of each kind of reading."""

SHOWN: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
"""Quantiles of residuals that are kept."""


@dataclass(frozen=True)
class LeftOut:
    """What the model says of each reading from all the others, by PSIS-LOO.

    Attributes:
        readings: The readings.
        pit: Probability of a smaller value. shape: (reading,)
        elpd: Log predictive density. shape: (reading,)
        p: How much each reading adds to its own log density. shape: (reading,)
        k: Pareto shape of the importance weights. shape: (reading,)
    """

    readings: Readings
    pit: Floats
    elpd: Floats
    p: Floats
    k: Floats


def leave_one_out(readings: Readings) -> LeftOut:
    """Leave each reading out by Pareto-smoothed importance sampling (arXiv 1507.02646)."""
    density = readings.log_density.T
    # arviz-stats takes the log likelihood, and weighs by its inverse.
    labelled = xr.DataArray(density, dims=("reading", "draw"))
    log_weights, k = (v.to_numpy() for v in labelled.azstats.psislw(dim="draw"))
    elpd = special.logsumexp(log_weights + density, axis=1)
    whole = special.logsumexp(density, axis=1) - np.log(density.shape[1])
    pit = np.sum(np.exp(log_weights) * readings.probability.T, axis=1)
    return LeftOut(readings, np.clip(pit, 0.0, 1.0), elpd, whole - elpd, k)


def calibration_checks(left_out: Sequence[LeftOut], coords: Coords) -> list[Check]:
    """Check predictions of readings left out, and readings by LLM and device."""
    checks = [uniform_check(one) for one in left_out]
    checks += [_pareto(one) for one in left_out]
    groups = {one.readings.name: _groups(one.readings, coords) for one in left_out}
    tests = 2 * sum(len(g) for g in groups.values())
    return checks + [_predictive(o.readings, groups[o.readings.name], tests) for o in left_out]


def calibration_evidence(left_out: Sequence[LeftOut], coords: Coords) -> dict[str, Any]:
    """Return ``pit``, ``cover``, ``loo`` and ``ppc``: see :mod:`t2m_bayes.evidence`."""
    return {
        "pit": {o.readings.name: _spaced(o.pit) for o in left_out},
        "cover": {
            o.readings.name: {
                "n": o.pit.size,
                "nominal": list(NOMINAL),
                "share": [round(float(np.mean(np.abs(2 * o.pit - 1) <= p)), 4) for p in NOMINAL],
            }
            for o in left_out
        },
        "loo": {
            o.readings.name: {
                "elpd": round(float(o.elpd.sum()), 2),
                "se": round(float(np.sqrt(o.elpd.size) * o.elpd.std()), 2),
                "p": round(float(o.p.sum()), 2),
                "n": o.elpd.size,
                "k_max": round(float(o.k.max()), 3),
                "k_high": int(np.sum(o.k > K_LIMIT)),
            }
            for o in left_out
        },
        "ppc": [
            _residuals(o.readings, group, members)
            for o in left_out
            for group, members in _groups(o.readings, coords).items()
        ],
    }


def uniform_check(left_out: LeftOut) -> Check:
    """Check that PIT values are uniform, by a test that allows for their dependence.

    POT-C (Tesso and Vehtari 2026, arXiv 2603.02928), as in arviz-stats.
    """
    ordered = np.sort(left_out.pit)
    n = ordered.size
    above = np.arange(1, n + 1) / n - ordered
    off = float(np.max(np.maximum(above, 1 / n - above)))
    inside = np.clip(left_out.pit, 1e-9, 1 - 1e-9)
    p = float(xr.DataArray(inside, dims="reading").azstats.uniformity_test(dim="reading")[0])
    return Check(
        name=f"{left_out.readings.name}: LOO-PIT",
        group="fit",
        measured=round(off, 4),
        limit=f"{TOLERANCE:g}, or p above {LEVEL:g}",
        passed=off <= TOLERANCE or p > LEVEL,
        meaning="Bands hold more or fewer of the readings than their probability says.",
        advice="See the PIT picture (--figures): a slope is a wrong level, an S a wrong spread.",
        where=f"p = {p:.2g}, {n} readings",
    )


def _pareto(left_out: LeftOut) -> Check:
    high = left_out.k > K_LIMIT
    worst = int(np.argmax(left_out.k))
    row = left_out.readings.row[left_out.readings.sampled[worst]] + 1
    return Check(
        name=f"{left_out.readings.name}: PSIS-LOO",
        group="fit",
        measured=f"{100 * high.mean():.2g} % of k above {K_LIMIT:g}",
        limit=f"{100 * TOLERANCE:g} %",
        passed=bool(high.mean() <= TOLERANCE),
        meaning="Too many readings decide on a coefficient alone, so leaving them out is a guess.",
        advice="Measure more where few runs stand for an LLM, a session or a prompt length.",
        where=f"k = {left_out.k[worst]:.2f} in row {row}",
    )


def _predictive(
    readings: Readings, groups: dict[tuple[str, str], NDArray[np.bool_]], tests: int
) -> Check:
    """Check level and spread of the readings of each LLM on each device.

    The discrepancy of a draw is a mean of the readings' probabilities under that draw, whose
    distribution under replication is that of a mean of uniforms: p-values need no simulation
    (realised discrepancies: Gelman, Meng and Stern 1996).
    """
    worst, failed = (2.0, ""), False
    for (llm, device), members in groups.items():
        probability = readings.probability[:, members]
        for what, uniform in (
            ("level", probability),
            ("spread", np.abs(2 * probability - 1)),
        ):
            mean = uniform.mean(axis=1)
            tail = stats.norm.sf((mean - 0.5) * np.sqrt(12 * members.sum())).mean()
            p = 2 * min(tail, 1 - tail)
            off = abs(float(mean.mean()) - 0.5)
            failed |= p < LEVEL / tests and off > TOLERANCE
            worst = min(worst, (p, f"{what} of {llm} on {device}, off by {off:.3f}"))
    return Check(
        name=f"{readings.name}: posterior predictive",
        group="fit",
        measured=f"p = {worst[0]:.2g}",
        limit=f"p above {LEVEL / tests:.2g}, or off by {TOLERANCE:g}",
        passed=not failed,
        meaning="Readings of an LLM on a device lie elsewhere, or closer or wider, than modelled.",
        advice="See the residuals (--figures), and look for mixed sessions or wrong units there.",
        where=worst[1],
    )


def _residuals(
    readings: Readings, group: tuple[str, str], members: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return quantiles of residuals, and the band in which replicated readings have theirs."""
    centre = readings.location[:, members]
    observed = np.quantile(readings.value[readings.sampled][members] - centre.mean(axis=0), SHOWN)
    rng = np.random.default_rng(0)
    tails = readings.tails[:, :, members]
    noise = skew_t(rng, tails, noise_middle(*tails), centre.shape)
    replicated = centre - centre.mean(axis=0) + readings.scale[:, members] * noise
    low, high = np.quantile(np.quantile(replicated, SHOWN, axis=1), [0.05, 0.95], axis=1)
    return {
        "reading": readings.name,
        "llm": group[0],
        "device": group[1],
        "n": int(members.sum()),
        "logarithm": readings.logarithm,
        "quantiles": list(SHOWN),
        "observed": np.round(observed, 6).tolist(),
        "lower": np.round(low, 6).tolist(),
        "upper": np.round(high, 6).tolist(),
    }


def _groups(readings: Readings, coords: Coords) -> dict[tuple[str, str], NDArray[np.bool_]]:
    cell = np.array([c for c, _ in coords.series])[readings.series[readings.sampled]]
    return {
        (coords.llms[coords.cells[c][0]], coords.devices[coords.cells[c][1]]): cell == c
        for c in np.unique(cell)
    }


def _spaced(values: Floats) -> list[float]:
    ordered = np.sort(values)
    keep = np.linspace(0, ordered.size - 1, min(KEPT, ordered.size)).astype(int)
    return [round(float(v), 4) for v in ordered[keep]]
