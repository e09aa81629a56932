"""Predict latency, energy and power from a fit, with NumPy alone."""

from __future__ import annotations

import math
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from t2m_bayes.design import TILE, tile_middle, tile_of
from t2m_bayes.formulas import context_tokens, decode_time
from t2m_bayes.noise import skew_t, student_t
from t2m_bayes.octaves import octave_shares
from t2m_bayes.population import CellDraws, cell_draws
from t2m_bayes.power_population import PowerNoise, View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit
    from t2m_bayes.requests import Requests

    Floats = NDArray[np.floating[Any]]

STALL: Final = 100.0
"""Most that a run takes, as a multiple of what is expected of it, and least as a part of that.
Heavy tails on the log scale have no mean, so one absurd draw in a million would decide every mean,
sum and CRPS; the longest stall in the public runs is ten times the usual."""

BLOCK: Final = 2048
"""Requests predicted at a time: 8 MB for each array at 1,000 draws."""

CELLS: Final = 64
"""Cells whose draws a fit remembers: some 20 MB at 1,000 draws."""

NOISE: Final = 2**32 - 1
"""Seeds the noise that requests share, where tile numbers seed the effects of tiles."""


class Noise(NamedTuple):
    """Noise of single runs. Arrays have shape (request, sample).

    Attributes:
        prefill: Noise of prefill times, in units of its scale.
        decode: Noise of decode times, likewise.
        power: Noise of the sensor; ``None`` for the chip's own power.
    """

    prefill: Floats
    decode: Floats
    power: PowerNoise | None = None


@dataclass(frozen=True)
class Prediction:
    """Posterior draws of every metric of every request.

    Attributes:
        draws: Metric to draws of a single run, in seconds. shape: (chain, draw, request)
        expected: Metric to draws of its expected time, without the noise of single runs: the
            middle of that noise, which is heavy-tailed on the log scale and has no mean. Same
            shape.
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
    view: View = "chip",
    seed: int = 0,
) -> Prediction:
    """Predict requests as draws.

    Args:
        fit: The fit.
        requests: What to predict.
        session: ``new``, what a run in a session of its own will do; or ``same``, the session
            that the training rows came from (the request's own where it names one of them).
        view: Energy and power as the ``chip`` uses them, or as its ``sensor`` would report them.
        seed: Seed of what is drawn here; the same seed and fit give the same draws.

    Returns:
        The draws. Requests of one LLM and device share the draws of whatever is unknown of both,
        the new session and block included; the noise of each request is its own.

    Raises:
        DataError: A request cannot be predicted: see :func:`t2m_bayes.population.cell_draws`.
    """
    chains, draws = fit.shape
    shape = (len(requests), chains * draws)
    out: dict[str, Floats] = {m: np.empty(shape) for m in fit.metrics}
    expected: dict[str, Floats] = {m: np.empty(shape) for m in fit.metrics}
    warnings: list[str] = []
    rng = np.random.default_rng(seed)
    for cell, rows in group_by_cell(fit, requests, session, seed, warnings, view):
        for start in range(0, rows.size, BLOCK):
            block = rows[start : start + BLOCK]
            tokens = requests.input_tokens[block], requests.output_tokens[block]
            noise = draw_noise(cell, rng, (block.size, chains * draws))
            usual = _usual(cell, *tokens)
            for values, z in ((expected, None), (out, noise)):
                for metric, value in _metrics(cell, usual, z).items():
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
    view: View = "chip",
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
        view: See :func:`predict`.
        seed: Seed of what is drawn here.
        threads: Blocks computed at the same time.

    Returns:
        Metric to median, lower and upper bound in seconds, shape (request, 3); and warnings.
    """
    out: dict[str, Floats] = {m: np.empty((len(requests), 3)) for m in fit.metrics}
    warnings: list[str] = []
    levels = (0.5, (1 - prob) / 2, (1 + prob) / 2)
    for cell, rows in group_by_cell(fit, requests, session, seed, warnings, view):
        quantiles = cell_quantiles(
            cell,
            requests.input_tokens[rows],
            requests.output_tokens[rows],
            dict.fromkeys(fit.metrics, levels),
            threads=threads,
        )
        for metric, values in quantiles.items():
            out[metric][rows] = values
    return out, tuple(warnings)


def cell_quantiles(
    cell: CellDraws,
    input_tokens: Floats,
    output_tokens: Floats,
    levels: Mapping[str, Sequence[float]],
    *,
    threads: int = 2,
) -> dict[str, Floats]:
    """Return quantiles of requests that share an LLM, a device and a session.

    The noise depends on the cell alone, so equal requests have equal quantiles whenever asked.

    Args:
        cell: What they share.
        input_tokens: Prompt lengths. shape: (request,)
        output_tokens: Generated tokens. shape: (request,)
        levels: Metric to the probabilities below its quantiles.
        threads: Blocks computed at the same time.

    Returns:
        Metric to quantiles, in its unit. shape: (request, level)
    """
    n = input_tokens.size
    out: dict[str, Floats] = {m: np.empty((n, len(wanted))) for m, wanted in levels.items()}
    noise, single = shared_noise(cell), cell.single()
    z32 = noise._replace(
        prefill=noise.prefill.astype(np.float32), decode=noise.decode.astype(np.float32)
    )

    def one(start: int) -> None:
        block = slice(start, start + BLOCK)
        draws = metric_draws(single, input_tokens[block], output_tokens[block], z32)
        for metric, wanted in levels.items():
            out[metric][block] = _quantiles(draws[metric], wanted)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(0, n, BLOCK)))
    return out


def group_by_cell(
    fit: Fit,
    requests: Requests,
    session: str,
    seed: int,
    warnings: list[str],
    view: View = "chip",
) -> list[tuple[CellDraws, NDArray[np.intp]]]:
    """Group requests by what they share.

    Args:
        fit: The fit.
        requests: The requests.
        session: ``new`` or ``same``: see :func:`predict`.
        seed: Seed of what is drawn from populations.
        warnings: What limits the trust in them is added here.
        view: See :func:`predict`.

    Returns:
        The draws of each group, and its members' positions among the requests.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    measured = {name for _, name in fit.blocks} if session == "same" else set()
    for i, (key, block) in enumerate(zip(requests.keys(), requests.block, strict=True)):
        groups.setdefault((*key, block if block in measured else ""), []).append(i)
    if not fit.usable:
        warnings.append(
            f"the fit is marked as unusable: {fit.provenance['diagnostics']['verdict']}"
        )
    cells = []
    for key, members in groups.items():
        rows = np.array(members)
        cell = draws_of(fit, *key, session=session, seed=seed, view=view)
        warnings.extend(w for w in cell.warnings if w not in warnings)
        warnings.extend(cell.outside(requests.input_tokens[rows], requests.output_tokens[rows]))
        cells.append((cell, rows))
    return cells


def draws_of(
    fit: Fit,
    llm: str,
    device: str,
    label: str | None,
    params_b: float,
    weights_gb: float,
    block: str = "",
    *,
    session: str,
    seed: int,
    view: View = "chip",
) -> CellDraws:
    """Return the draws of one LLM on one device, which depend on the seed and the two alone.

    Args:
        fit: The fit.
        llm: LLM, device, session's name and sizes: see :meth:`Requests.keys`.
        device: Likewise.
        label: Likewise.
        params_b: Likewise.
        weights_gb: Likewise.
        block: With ``same``: the name of what they are measured together with; empty for a block
            that nobody has measured.
        session: ``new`` or ``same``: see :func:`predict`.
        seed: Seed of what is drawn from populations.
        view: See :func:`predict`.
    """
    key = (llm, device, label, params_b, weights_gb, block, session, seed, view)
    if key not in fit.remembered:
        if len(fit.remembered) == CELLS:
            fit.remembered.clear()
        fit.remembered[key] = cell_draws(
            fit,
            llm,
            device,
            params_b=params_b,
            weights_gb=weights_gb,
            session=session,
            label=label,
            block=block,
            view=view,
            seed=[seed, zlib.crc32(f"{llm}|{device}".encode())],
        )
    cell: CellDraws = fit.remembered[key]
    return cell


def shared_noise(cell: CellDraws) -> Noise:
    """Return noise that all requests of a cell share: one draw a posterior draw.

    It depends on the cell alone. Shapes: (1, sample).
    """
    rng = np.random.default_rng([*cell.seed, NOISE])
    return draw_noise(cell, rng, (1, cell.step_s.size))


def draw_noise(cell: CellDraws, rng: np.random.Generator, shape: tuple[int, int]) -> Noise:
    """Draw the noise of single runs.

    Args:
        cell: What the requests share.
        rng: Where the draws come from.
        shape: Requests, or 1 for noise that all share, and samples.

    Returns:
        Noise in the cell's precision.
    """
    of_prefill, of_decode = cell.noise_middles
    of_times = (
        skew_t(rng, cell.tails_prefill, of_prefill, shape),
        skew_t(rng, cell.tails_decode, of_decode, shape),
    )
    if cell.power is None or cell.power.shown is None:
        return Noise(*of_times)
    dtype: Any = cell.step_s.dtype
    uniform = rng.random(shape, dtype=dtype)
    return Noise(
        *of_times,
        PowerNoise(
            reading=student_t(rng, cell.power.shown.tail, shape),
            offset=np.log(uniform / (1 - uniform)),
            idle=rng.random(shape, dtype=dtype),
        ),
    )


def metric_draws(
    cell: CellDraws, input_tokens: Floats, output_tokens: Floats, z: Noise | None
) -> dict[str, Floats]:
    """Return draws of every metric of requests that share an LLM, a device and a session.

    Args:
        cell: What they share.
        input_tokens: Prompt lengths. shape: (request,)
        output_tokens: Generated tokens. shape: (request,), or (request, sample) where unknown ones
            were drawn.
        z: Noise, as :func:`draw_noise` returns it; ``None`` for expected values.

    Returns:
        Metric to draws. shape: (request, sample)
    """
    return _metrics(cell, _usual(cell, input_tokens, output_tokens), z)


class _Usual(NamedTuple):
    """Times without noise. Arrays have shape (request, sample), tokens (request, 1) too."""

    log_prefill: Floats
    decode_s: Floats
    output_tokens: Floats
    context: Floats


def _usual(cell: CellDraws, input_tokens: Floats, output_tokens: Floats) -> _Usual:
    dtype = cell.step_s.dtype
    inputs = input_tokens[:, None].astype(dtype)
    outputs = output_tokens.reshape(len(inputs), -1).astype(dtype)
    tiles, index = np.unique(tile_of(input_tokens), return_inverse=True)
    stairs = [cell.stair(int(tile)) for tile in tiles]
    level = np.stack([s[0] for s in stairs])[index]
    rise = np.stack([s[1] for s in stairs])[index]
    position = ((input_tokens - tile_middle(tiles)[index]) / TILE)[:, None].astype(dtype)
    log_prefill = level + rise * position + cell.prefill_session
    decode = decode_time(cell.start_s, cell.step_s, cell.context, inputs, outputs)
    if cell.octaves:
        shares = octave_shares(inputs, outputs, list(cell.octaves))
        held = [(h, e) for h, e in zip(shares, cell.octaves.values(), strict=True) if h.any()]
        decode = decode * np.exp(sum(h * e for h, e in held))
    return _Usual(log_prefill, decode, outputs, context_tokens(inputs, outputs))


def _metrics(cell: CellDraws, usual: _Usual, z: Noise | None) -> dict[str, Floats]:
    log_prefill, decode, outputs, context = usual
    if z is not None:
        log_prefill = log_prefill + _no_more_than_a_stall(cell.prefill_noise * z.prefill)
        with np.errstate(divide="ignore"):
            scale = np.sqrt(cell.decode_noise**2 + (cell.timer_s / decode) ** 2)
        scale = np.where(outputs <= 1, 0, scale)
        decode = decode * np.exp(_no_more_than_a_stall(scale * z.decode + cell.decode_block))
    prefill = np.exp(log_prefill)
    times = {"prefill_s": prefill, "decode_s": decode, "total_s": prefill + decode}
    if cell.power is None:
        return times
    usual_decode = usual.decode_s
    if z is not None:
        usual_decode = usual_decode * np.exp(_no_more_than_a_stall(cell.decode_block))
    return times | cell.power.metrics(
        prefill, decode, context, usual_decode, z and z.power, blocks=z is not None
    )


def _no_more_than_a_stall(log_noise: Floats) -> Floats:
    longest = math.log(STALL)
    return np.clip(log_noise, -longest, longest)


def _quantiles(values: Floats, levels: Sequence[float]) -> Floats:
    """Return quantiles over the last axis. shape: (request, level)."""
    n = values.shape[1]
    positions = np.array(levels) * (n - 1)
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, n - 1)
    # Sorting takes less than half the time of a partition about six places.
    ordered = np.sort(values, axis=1)
    weight = positions - low
    return np.asarray(ordered[:, low] * (1 - weight) + ordered[:, high] * weight)
