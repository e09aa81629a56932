"""Simulation-based calibration: does the sampler recover what the model itself made up?

Draw parameters from the prior, draw readings from them, fit those, and rank the parameters among
the posterior's draws: if model and sampler are right, every rank is equally likely (Talts et al.
2018, arXiv 1804.06788; bands of Säilynoja et al. 2022, arXiv 2103.10522). One compiled graph serves
all simulations.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from arviz_stats import ecdf_utils

from t2m_bayes.blocks import BLOCK_READINGS, block_names
from t2m_bayes.errors import DataError
from t2m_bayes.evidence.prior import draw_prior
from t2m_bayes.hierarchy import model_data
from t2m_bayes.inference import Models, make_models, package_versions
from t2m_bayes.sampling import Sampling, Task, sample_in_turn
from t2m_bayes.schema import Runs, data_hash
from t2m_bayes.time_start import time_start
from t2m_bayes.writing import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

LEVELS: Final = 63
"""Posterior draws that a parameter is ranked among, evenly spaced over all chains."""

SAMPLING: Final = Sampling(draws=500, tune=400, chains=2, cores=2, progress=False)
"""How each simulation is sampled."""

SMALL: Final = (2, 10)
"""LLMs, and runs of each on each device, of the small configuration."""

BANDS: Final = 10_000
"""Simulated ECDFs that a band is made of."""

SUFFIXES: Final = ("_s", "_j", "_w")
"""Units in which a design holds readings."""

LARGEST: Final = 300.0
"""Largest logarithm that chains start from: heavy tails can draw more than a float holds."""


@dataclass(frozen=True)
class Calibration:
    """Ranks of true parameters among their posterior draws.

    Attributes:
        setup: What was run: rows, priors, sampling, seed and versions; plain JSON values.
        parameters: Label of each parameter: every element of every free variable.
        ranks: How many of :data:`LEVELS` draws are below the truth, a list a simulation.
        seconds: Time of each simulation.
        divergences: Divergences in each simulation.
    """

    setup: dict[str, Any]
    parameters: list[str]
    ranks: list[list[int]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    divergences: list[int] = field(default_factory=list)

    def differences(self) -> Floats:
        """Return ECDF of the ranks minus that of uniform ones. shape: (parameter, level)."""
        ranks = np.array(self.ranks)
        below = np.stack([(ranks < level).mean(axis=0) for level in range(1, LEVELS + 1)], axis=1)
        return np.asarray(below - _points())

    def band(self, prob: float = 0.95) -> tuple[Floats, Floats]:
        """Return the simultaneous band of a calibrated parameter's differences.

        Args:
            prob: Probability that a calibrated parameter stays inside at every level.
        """
        return _band(len(self.ranks), prob)

    def outside(self, prob: float = 0.95, *, jointly: bool = False) -> list[str]:
        """Return the parameters whose ranks leave the band.

        Args:
            prob: Probability of the band.
            jointly: Whether it is the probability that all parameters stay inside, not each one:
                the error is then shared among them (Bonferroni).
        """
        if jointly:
            prob = 1 - (1 - prob) / len(self.parameters)
        low, high = self.band(prob)
        # The band lies on counts, as the ECDF does: compare with room for rounding.
        off = self.differences()
        left = ((off < low - 1e-9) | (off > high + 1e-9)).any(axis=1)
        return [name for name, out in zip(self.parameters, left, strict=True) if out]

    def save(self, path: Path) -> None:
        """Write the ranks as JSON, under a temporary name first."""
        with replacing(path) as part:
            part.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: The file is damaged or something else.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
            raise DataError(f"{path} does not hold the ranks of a calibration: {error}") from error


def small_runs(runs: Runs) -> Runs:
    """Return the small configuration: the first runs of two LLMs on every device of a table.

    Of those, the first few of each block (:mod:`t2m_bayes.blocks`).
    """
    frame = runs.frame.dropna(subset="input_tokens")
    llms = frame.groupby("llm")["device"].nunique().sort_values(ascending=False, kind="stable")
    frame = frame[frame["llm"].isin(llms.index[: SMALL[0]])]
    # Blocks of the least size, so that each session has two.
    together = frame.groupby(["device", "llm", "session", block_names(frame)]).cumcount()
    frame = frame[together < BLOCK_READINGS]
    first = frame.groupby(["device", "llm"]).cumcount() < SMALL[1]
    return Runs(frame[first].reset_index(drop=True), runs.reports)


def calibrate(
    runs: Runs,
    path: Path,
    *,
    simulations: int = 200,
    sampling: Sampling = SAMPLING,
    report: Callable[[int], None] = lambda done: None,
) -> Calibration:
    """Run the simulations, and save after each, so that an interrupted run goes on where it was.

    Only tokens, LLMs, devices and sessions of the table count: its readings are replaced.

    Args:
        runs: The run table.
        path: Where the ranks are saved; simulations of the same setup found there are kept.
        simulations: How many to run in all.
        sampling: How to sample each.
        report: Called with the number of simulations done, after each.

    Returns:
        The ranks.

    Raises:
        DataError: The file holds ranks of another setup.
    """
    models = make_models(runs)
    prior = draw_prior(models.time.model, seed=sampling.seed, draws=simulations)
    truth = prior["prior"].to_dataset()[[v.name for v in models.time.model.free_RVs]]
    setup = setup_of(models, sampling)
    done = Calibration(
        setup | {"created": datetime.now(UTC).strftime("%Y-%m-%d")}, list(_labels(truth))
    )
    if path.exists():
        found = Calibration.load(path)
        known = {k: v for k, v in found.setup.items() if k != "created"}
        if known != setup or found.parameters != done.parameters:
            raise DataError(f"{path} holds ranks of another setup: remove it, or name another file")
        done = found
    if len(done.ranks) < simulations:
        _ = models.time.compiled  # not to be timed as the first simulation's
    for i in range(len(done.ranks), simulations):
        report(i)
        started = time.perf_counter()
        readings = {
            v.name: prior["prior_predictive"][v.name].to_numpy()[0, i]
            for v in models.time.model.observed_RVs
        }
        posterior = _fit(models, readings, replace(sampling, seed=sampling.seed + i))
        done.ranks.append(_ranks(truth.isel(chain=0, draw=i), posterior["posterior"].to_dataset()))
        done.divergences.append(int(posterior["sample_stats"]["diverging"].sum()))
        done.seconds.append(round(time.perf_counter() - started, 2))
        done.save(path)
    report(simulations)
    return done


def setup_of(models: Models, sampling: Sampling) -> dict[str, Any]:
    """Return what the ranks of a calibration depend on, as plain JSON values.

    Args:
        models: The model of time and its table; of the priors, those count that it uses.
        sampling: How each simulation is sampled.
    """
    used = {*models.time.model.named_vars, *(rates.spread for rates in models.rates)}
    return {
        "rows": len(models.frame),
        "cells": models.design.coords.cell_names(),
        "data_sha256": data_hash(models.frame),
        "priors": {
            name: [p.kind, p.centre, p.sd] for name, p in models.priors.items() if name in used
        },
        "sampling": asdict(sampling),
        "levels": LEVELS,
        "versions": package_versions(),
    }


def _fit(models: Models, readings: dict[str, Floats], sampling: Sampling) -> xr.DataTree:
    """Sample the posterior of simulated readings.

    What the model decides by looking at readings (which levels they pin) stays as the table's own
    readings had it: it changes how the posterior is written down, not what it is. Chains start
    where those of a real fit start, at medians of the readings.
    """
    model, design = models.time.model, models.design
    data = model_data(design)
    drawn: dict[str, Any] = {}
    for variable in model.observed_RVs:
        values = readings[variable.name]
        data[model.rvs_to_values[variable].name] = values
        for name in (f"{variable.name}{suffix}" for suffix in SUFFIXES):
            if hasattr(design, name):
                drawn[name] = np.exp(np.clip(values, -LARGEST, LARGEST))
    start = time_start(replace(design, **drawn), data, models.rates, models.priors)
    return sample_in_turn([Task(models.time, data, start)], sampling)[0]


def _ranks(truth: xr.Dataset, posterior: xr.Dataset) -> list[int]:
    """Return how many of the thinned draws are below the truth, for every element."""
    total = posterior.sizes["chain"] * posterior.sizes["draw"]
    keep = np.linspace(0, total - 1, LEVELS).astype(int)
    ranks: list[int] = []
    for name, true in truth.items():
        drawn = posterior[name].to_numpy().reshape(total, -1)[keep]
        ranks += (drawn < true.to_numpy().ravel()).sum(axis=0).tolist()
    return ranks


def _labels(truth: xr.Dataset) -> Iterator[str]:
    for name, values in truth.isel(chain=0, draw=0).items():
        shape = values.shape
        names = [
            values[d].to_numpy() if d in values.coords else range(n)
            for d, n in zip(values.dims, shape, strict=True)
        ]
        for index in np.ndindex(*shape):
            at = ", ".join(str(labels[i]) for labels, i in zip(names, index, strict=True))
            yield f"{name}[{at}]" if at else str(name)


@lru_cache
def _band(simulations: int, prob: float) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    pointwise = ecdf_utils.simulate_confidence_bands(simulations, 1, _points(), prob, BANDS, rng)
    low, high = ecdf_utils.get_pointwise_confidence_band(pointwise, simulations, _points())
    return low - _points(), high - _points()


def _points() -> Floats:
    return np.arange(1, LEVELS + 1) / (LEVELS + 1)
