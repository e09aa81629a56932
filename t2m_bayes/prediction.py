"""Predict latency from a fit, with NumPy alone."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from t2m_bayes.design import TILE, tile_middle, tile_of
from t2m_bayes.formulas import decode_time
from t2m_bayes.population import CellDraws, cell_draws

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit
    from t2m_bayes.requests import Requests

    Floats = NDArray[np.floating[Any]]

LONGEST: Final = 50.0
"""Largest logarithm of a time or of a noise factor that is kept; exp(50) s is longer than the age
of the universe."""

BLOCK: Final = 2048
"""Requests predicted at a time: 8 MB for each array at 1,000 draws."""


@dataclass(frozen=True)
class Prediction:
    """Posterior draws of every metric of every request.

    Attributes:
        draws: Metric to draws of a single run, in seconds. shape: (chain, draw, request)
        expected: Metric to draws of its expected time, without the noise of single runs: the
            middle of that noise, which is log-scale Student-t and has no mean. Same shape.
        requests: The requests.
        warnings: What limits the trust in them, in sentences.
    """

    draws: dict[str, Floats]
    expected: dict[str, Floats]
    requests: Requests
    warnings: tuple[str, ...]

    def interval(self, prob: float = 0.9) -> dict[str, Floats]:
        """Return the equal-tailed interval of each metric. shape: (request, 2).

        Args:
            prob: Probability inside, between 0 and 1.
        """
        tails = [(1 - prob) / 2, (1 + prob) / 2]
        return {m: np.quantile(d, tails, axis=(0, 1)).T for m, d in self.draws.items()}

    def median(self) -> dict[str, Floats]:
        """Return the median of each metric. shape: (request,)."""
        return {m: np.median(d, axis=(0, 1)) for m, d in self.draws.items()}

    def mean(self) -> dict[str, Floats]:
        """Return the mean of each metric's expected time. shape: (request,)."""
        return {m: d.mean(axis=(0, 1)) for m, d in self.expected.items()}

    def to_frame(self, prob: float = 0.9) -> pd.DataFrame:
        """Return the requests with the median and bounds of each metric, a row a request."""
        return self.requests.with_bands(
            {
                metric: np.c_[median, bounds]
                for (metric, median), bounds in zip(
                    self.median().items(), self.interval(prob).values(), strict=True
                )
            }
        )

    def to_xarray(self) -> xr.Dataset:
        """Return the draws as a dataset with dimensions ``chain, draw, request``."""
        import xarray as xr

        return xr.Dataset(
            {m: (("chain", "draw", "request"), d) for m, d in self.draws.items()},
            coords={
                "llm": ("request", list(self.requests.llm)),
                "device": ("request", list(self.requests.device)),
                "input_tokens": ("request", self.requests.input_tokens),
                "output_tokens": ("request", self.requests.output_tokens),
            },
        )


def predict(
    fit: Fit,
    requests: Requests,
    *,
    session: Literal["new", "same"] = "new",
    seed: int = 0,
) -> Prediction:
    """Predict requests as draws.

    Args:
        fit: The fit.
        requests: What to predict.
        session: ``new``, what a run in a session of its own will do; or ``same``, the session
            that the training rows came from (the request's own where it names one of them).
        seed: Seed of what is drawn here; the same seed and fit give the same draws.

    Returns:
        The draws. Requests of one LLM and device share the draws of whatever is unknown of both,
        the new session included; the noise of each request is its own.

    Raises:
        DataError: A request cannot be predicted: see :func:`t2m_bayes.population.cell_draws`.
    """
    chains, draws = fit.shape
    shape = (len(requests), chains * draws)
    out: dict[str, Floats] = {m: np.empty(shape) for m in fit.metrics}
    expected: dict[str, Floats] = {m: np.empty(shape) for m in fit.metrics}
    warnings: list[str] = []
    rng = np.random.default_rng(seed)
    for cell, rows in group_by_cell(fit, requests, session, seed, warnings):
        for start in range(0, rows.size, BLOCK):
            block = rows[start : start + BLOCK]
            tokens = requests.input_tokens[block], requests.output_tokens[block]
            noise = draw_noise(cell, rng, (block.size, chains * draws))
            for values, z in ((expected, None), (out, noise)):
                for metric, value in metric_draws(cell, *tokens, z).items():
                    values[metric][block] = value

    def labelled(values: dict[str, Floats]) -> dict[str, Floats]:
        return {m: v.T.reshape(chains, draws, -1) for m, v in values.items()}

    return Prediction(labelled(out), labelled(expected), requests, tuple(warnings))


def predict_bands(
    fit: Fit,
    requests: Requests,
    *,
    prob: float = 0.9,
    session: Literal["new", "same"] = "new",
    seed: int = 0,
    threads: int = 2,
) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """Predict many requests to a median and an interval each, without keeping their draws.

    Each request's band is its own: one noise draw a posterior draw serves all requests, which
    leaves every marginal distribution as it is and only couples requests that are not combined.

    Args:
        fit: The fit.
        requests: What to predict.
        prob: Probability inside the equal-tailed interval.
        session: See :func:`predict`.
        seed: Seed of what is drawn here.
        threads: Blocks computed at the same time.

    Returns:
        Metric to median, lower and upper bound in seconds, shape (request, 3); and warnings.
    """
    out: dict[str, Floats] = {m: np.empty((len(requests), 3)) for m in fit.metrics}
    warnings: list[str] = []
    rng = np.random.default_rng(seed)
    samples = fit.shape[0] * fit.shape[1]
    levels = (0.5, (1 - prob) / 2, (1 + prob) / 2)

    def one(job: tuple[CellDraws, NDArray[np.intp], tuple[Floats, Floats]]) -> None:
        cell, block, z = job
        tokens = requests.input_tokens[block], requests.output_tokens[block]
        for metric, value in metric_draws(cell, *tokens, z).items():
            out[metric][block] = _quantiles(value, levels)

    with ThreadPoolExecutor(threads) as pool:
        for cell, rows in group_by_cell(fit, requests, session, seed, warnings):
            z = draw_noise(cell, rng, (1, samples))
            single = cell.single()
            z32 = (z[0].astype(np.float32), z[1].astype(np.float32))
            blocks = [rows[i : i + BLOCK] for i in range(0, rows.size, BLOCK)]
            list(pool.map(one, [(single, block, z32) for block in blocks]))
    return out, tuple(warnings)


def group_by_cell(
    fit: Fit, requests: Requests, session: str, seed: int, warnings: list[str]
) -> list[tuple[CellDraws, NDArray[np.intp]]]:
    """Group requests by what they share.

    Args:
        fit: The fit.
        requests: The requests.
        session: ``new`` or ``same``: see :func:`predict`.
        seed: Seed of what is drawn from populations.
        warnings: What limits the trust in them is added here.

    Returns:
        The draws of each group, and its members' positions among the requests.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, key in enumerate(requests.keys()):
        groups.setdefault(key, []).append(i)
    if not fit.usable:
        warnings.append(
            f"the fit is marked as unusable: {fit.provenance['diagnostics']['verdict']}"
        )
    cells = []
    for (llm, device, label, params_b, weights_gb), members in groups.items():
        rows = np.array(members)
        cell = cell_draws(
            fit,
            llm,
            device,
            params_b=params_b,
            weights_gb=weights_gb,
            session=session,
            label=label,
            seed=[seed, zlib.crc32(f"{llm}|{device}".encode())],
        )
        warnings.extend(w for w in cell.warnings if w not in warnings)
        warnings.extend(cell.outside(requests.input_tokens[rows], requests.output_tokens[rows]))
        cells.append((cell, rows))
    return cells


def draw_noise(
    cell: CellDraws, rng: np.random.Generator, shape: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Draw standard Student-t noise for prefill and decode: a normal over a root mean square.

    Args:
        cell: What the requests share.
        rng: Where the draws come from.
        shape: Requests, or 1 for noise that all share, and samples.

    Returns:
        Noise of prefill and of decode, each of that shape.
    """

    def student(tail: Floats) -> Floats:
        chi_square = 2 * rng.standard_gamma(tail / 2, shape)
        return np.asarray(rng.standard_normal(shape) / np.sqrt(chi_square / tail))

    return student(cell.tail_prefill), student(cell.tail_decode)


def metric_draws(
    cell: CellDraws, input_tokens: Floats, output_tokens: Floats, z: tuple[Floats, Floats] | None
) -> dict[str, Floats]:
    """Return draws of every metric of requests that share an LLM, a device and a session.

    Args:
        cell: What they share.
        input_tokens: Prompt lengths. shape: (request,)
        output_tokens: Generated tokens. shape: (request,)
        z: Noise, as :func:`draw_noise` returns it; ``None`` for expected values.

    Returns:
        Metric to draws. shape: (request, sample)
    """
    dtype = cell.step_s.dtype
    inputs = input_tokens[:, None].astype(dtype)
    outputs = output_tokens[:, None].astype(dtype)
    tiles, index = np.unique(tile_of(input_tokens), return_inverse=True)
    stairs = [cell.stair(int(tile)) for tile in tiles]
    level = np.stack([s[0] for s in stairs])[index]
    rise = np.stack([s[1] for s in stairs])[index]
    position = ((input_tokens - tile_middle(tiles)[index]) / TILE)[:, None].astype(dtype)
    log_prefill = level + rise * position + cell.prefill_session
    decode = decode_time(cell.step_s, cell.context, inputs, outputs)
    if z is not None:
        log_prefill += cell.prefill_noise * z[0]
        with np.errstate(divide="ignore"):
            scale = np.sqrt(cell.decode_noise**2 + (cell.timer_s / decode) ** 2)
        scale[output_tokens <= 1] = 0
        decode = decode * np.exp(np.minimum(scale * z[1], LONGEST))
    # A heavy tail on the log scale can pass what a float holds; no time is that long.
    prefill = np.exp(np.minimum(log_prefill, LONGEST))
    return {"prefill_s": prefill, "decode_s": decode, "total_s": prefill + decode}


def _quantiles(values: Floats, levels: tuple[float, ...]) -> Floats:
    """Return quantiles over the last axis, with one partition. shape: (request, level)."""
    n = values.shape[1]
    positions = np.array(levels) * (n - 1)
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, n - 1)
    parted = np.partition(values, sorted({*low.tolist(), *high.tolist()}), axis=1)
    weight = positions - low
    return np.asarray(parted[:, low] * (1 - weight) + parted[:, high] * weight)
