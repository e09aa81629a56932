"""What a whole file of requests costs, run one after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.bulk import fit_warnings
from t2m_bayes.prediction import draw_noise, draws_of, metric_draws

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from t2m_bayes.decisions.lengths import Lengths
    from t2m_bayes.fits import Fit
    from t2m_bayes.population import CellDraws
    from t2m_bayes.request_files import Block
    from t2m_bayes.request_tables import Kind, Reading

    Floats = NDArray[np.floating[Any]]

LATENCY: Final = "total_s"
"""Metric whose quantiles over the requests are kept."""

REQUESTS: Final = 1024
"""Requests computed at a time: 4 MB for each array at 1,000 draws."""


@dataclass(frozen=True)
class Workload:
    """Draws of what a whole workload costs.

    Attributes:
        requests: How many requests there are.
        totals: Metric to draws of its sum over the requests; of ``power_w``, its mean over the
            time they take. shape: (sample,)
        latency_s: Share of the requests to draws of the time within which that share is answered.
            shape: (sample,)
        warnings: What limits the trust in them, in sentences.
    """

    requests: int
    totals: dict[str, Floats]
    latency_s: dict[float, Floats]
    warnings: tuple[str, ...]


def sum_workload(
    fit: Fit,
    reading: Reading,
    blocks: Iterable[Block],
    *,
    lengths: Lengths | None = None,
    shares: tuple[float, ...] = (0.5, 0.95, 0.99),
    seed: int = 0,
    threads: int = 2,
) -> Workload:
    """Add up requests, draw by draw.

    All requests of one posterior draw share its coefficients, its session, its block (they are run
    one after another) and its tile effects, whose uncertainty therefore does not average out; each
    request has noise of its own, which does. Nothing is approximated: every request is drawn once
    a posterior draw.

    Args:
        fit: The fit.
        reading: How to read the blocks.
        blocks: The requests, checked.
        lengths: Where the output tokens of rows without them are drawn from.
        shares: Shares of the requests, for the quantiles of their latency.
        seed: Seed of what is drawn here.
        threads: Requests computed at the same time.

    Returns:
        The draws.
    """
    samples = fit.shape[0] * fit.shape[1]
    sums = _Sums({m: np.zeros(samples) for m in fit.metrics if not m.endswith("_w")}, samples)
    cells: dict[Kind, tuple[CellDraws, dict[str, int]]] = {}
    requests = 0
    with ThreadPoolExecutor(threads) as pool:
        for block in blocks:
            jobs = []
            for asked in reading.asked(block):
                if asked.kind not in cells:
                    cells[asked.kind] = (
                        draws_of(fit, **asked.kind._asdict(), seed=seed, view=reading.view),
                        {},
                    )
                cell, outside = cells[asked.kind]
                counts = cell.count_outside(asked.input_tokens, asked.output_tokens)
                for what, count in counts.items():
                    outside[what] = outside.get(what, 0) + count
                single = cell.single()
                for start in range(0, asked.rows.size, REQUESTS):
                    some = slice(start, start + REQUESTS)
                    key = (block.first, int(asked.rows[start]))
                    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
                    tokens = asked.input_tokens[some], asked.output_tokens[some]
                    jobs.append(pool.submit(_add, sums, single, *tokens, lengths, rng))
            for job in jobs:
                job.result()
            requests += len(block)
    totals = sums.totals
    if "energy_j" in totals:
        totals["power_w"] = totals["energy_j"] / totals["total_s"]
    warnings = dict.fromkeys(fit_warnings(fit))
    for cell, outside in cells.values():
        warnings |= dict.fromkeys((*cell.warnings, *cell.outside_warnings(outside)))
    return Workload(
        requests=requests,
        totals={m: totals[m] for m in fit.metrics},
        latency_s={share: sums.histogram.quantile(share) for share in shares},
        warnings=tuple(warnings),
    )


class Histogram:
    """Counts of positive values on a fine logarithmic grid, for each posterior draw.

    Quantiles are off by half a step at most, a quarter per cent, whatever the number of values.
    """

    LEAST: Final = 1e-5
    STEP: Final = 0.005
    BINS: Final = 6000

    def __init__(self, samples: int) -> None:
        """Start with nothing counted."""
        self.counts = np.zeros((samples, self.BINS), dtype=np.int32)

    def add(self, values: Floats) -> None:
        """Count values, in seconds. shape: (value, sample)."""
        above = np.log(np.maximum(values.T, self.LEAST) / self.LEAST)
        bins = np.minimum((above / self.STEP).astype(np.int32), self.BINS - 1)
        for counts, found in zip(self.counts, bins, strict=True):
            low = int(found.min())
            here = np.bincount(found - low)
            counts[low : low + here.size] += here.astype(np.int32)

    def quantile(self, share: float) -> Floats:
        """Return, for each draw, the value that a share of all values do not exceed."""
        below = np.cumsum(self.counts, axis=1)
        rank = share * below[:, -1:]
        i = (below < rank).sum(axis=1)
        rows = np.arange(len(below))
        inside = (rank[:, 0] - below[rows, i] + self.counts[rows, i]) / self.counts[rows, i]
        return np.asarray(self.LEAST * np.exp(self.STEP * (i + inside)))


@dataclass
class _Sums:
    """What is added up so far; threads add to it in turn."""

    totals: dict[str, Floats]
    samples: int
    lock: Lock = field(default_factory=Lock)
    histogram: Histogram = field(init=False)

    def __post_init__(self) -> None:
        self.histogram = Histogram(self.samples)


def _add(
    sums: _Sums,
    cell: CellDraws,
    input_tokens: Floats,
    output_tokens: Floats,
    lengths: Lengths | None,
    rng: np.random.Generator,
) -> None:
    """Draw requests of one cell and add them up."""
    if lengths is not None and np.isnan(output_tokens).any():
        known = ~np.isnan(output_tokens)
        drawn = lengths.draw(rng, output_tokens.size)
        drawn[known] = output_tokens[known, None]
        output_tokens = drawn
    noise = draw_noise(cell, rng, (input_tokens.size, cell.step_s.size))
    draws = metric_draws(cell, input_tokens, output_tokens, noise)
    added = {m: draws[m].sum(axis=0, dtype=np.float64) for m in sums.totals}
    with sums.lock:
        for metric, values in added.items():
            sums.totals[metric] += values
        sums.histogram.add(draws[LATENCY])
