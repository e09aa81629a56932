"""The coefficients of one LLM on one device, as draws: measured, or drawn from their population.

This is the NumPy twin of the hierarchy in ``hierarchy.py``: what the posterior holds is read off,
what it does not hold (a new session, an unmeasured tile, an LLM new to the device or to the world)
is drawn from the level above.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from t2m_bayes.cards import catalog
from t2m_bayes.design import TILE, tile_middle
from t2m_bayes.errors import DataError
from t2m_bayes.formulas import floored, noise_middle, noise_width, prefill_compute_time
from t2m_bayes.power_population import PowerDraws, View, power_draws
from t2m_bayes.priors import (
    KV_SHARE,
    REFERENCE_GB,
    REFERENCE_PARAMS_B,
    WORK,
    WORK_CONCENTRATION,
    device_rates,
)
from t2m_bayes.sessions import block_spread, prior_draws, same_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit

    Floats = NDArray[np.floating[Any]]

REMEMBERED: Final = 64
"""Drawn stairs that a cell remembers: 1 MB at 1,000 draws."""


@dataclass(frozen=True)
class CellDraws:
    """Draws of everything that the times of one LLM on one device in one session depend on.

    Arrays have shape (sample,) unless stated; every one belongs to the same posterior draws.

    Attributes:
        start_s: Time until decoding is under way, in seconds.
        step_s: Time of a decode step at an empty context, in seconds.
        context: Relative cost of a context token in decode, in 1/token.
        decode_noise: Relative scale of the decode noise.
        decode_block: What the block of these runs adds to the log of their decode time. It belongs
            to their noise, and all of them share it.
        timer_s: Absolute scale of the decode noise, in seconds.
        octaves: Octave of context to how far its steps lie off the line, on the log scale; empty
            where the fit has none (:mod:`t2m_bayes.octaves`).
        tails_decode: Degrees of freedom of the decode noise, fast and slow side.
            shape: (2, sample)
        tails_prefill: The same of the prefill noise.
        floor_s: Prefill floor, in seconds.
        token_s: Prefill time of one token, in seconds.
        growth: Exponent by which that time changes with the prompt.
        quadratic: Relative cost of attention for each prompt token, in 1/token.
        work_share: Shares of the work by its growth. shape: (sample, work)
        prefill_session: The session's effect on log prefill.
        prefill_noise: Relative scale of the prefill noise.
        tau_stair: Spread of stairs about the smooth curve.
        tau_rise: Spread of the rise inside a tile.
        tile_effect: Tile number to the device's own effect on it; else drawn from ``tau_tile``.
        tau_tile: Spread of the device's tile effects.
        stairs: Tile number to measured level (log s) and rise.
        seed: Seed of what is drawn for unmeasured tiles.
        power: Power in each phase; ``None`` where the fit has none.
        read: Range of prompt and output tokens measured for the cell.
        warnings: What limits the trust in these draws.
        remembered: Stairs that were drawn, to be read again at once.
    """

    start_s: Floats
    step_s: Floats
    context: Floats
    decode_noise: Floats
    decode_block: Floats
    timer_s: Floats
    octaves: dict[int, Floats]
    tails_decode: Floats
    tails_prefill: Floats
    floor_s: Floats
    token_s: Floats
    growth: Floats
    quadratic: Floats
    work_share: Floats
    prefill_session: Floats
    prefill_noise: Floats
    tau_stair: Floats
    tau_rise: Floats
    tau_tile: Floats
    tile_effect: dict[int, Floats]
    stairs: dict[int, tuple[Floats, Floats]]
    name: str
    seed: list[int]
    power: PowerDraws | None = None
    read: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    remembered: dict[int, tuple[Floats, Floats]] = field(default_factory=dict, init=False)

    def stair(self, tile: int) -> tuple[Floats, Floats]:
        """Return the level of a tile (log seconds, in its middle) and its rise.

        A tile that was not measured is drawn about the smooth curve; the draw depends on the seed
        and the tile alone, so every request in the tile shares it, whenever it is asked.

        Args:
            tile: Tile number, from 1.
        """
        known = self.stairs.get(tile) or self.remembered.get(tile)
        if known is not None:
            return known
        z = self.tile_noise(tile)
        effect = self.tile_effect.get(tile, self.tau_tile * z[0])
        middle = float(tile_middle(np.array(float(tile))))
        first, last = float((tile - 1) * TILE + 1), float(tile * TILE)
        smooth, *ends = (self._log_smooth(at, effect) for at in (middle, first, last))
        level = smooth + self.tau_stair * z[1]
        drawn = level, ends[1] - ends[0] + self.tau_rise * TILE / middle * z[2]
        if len(self.remembered) < REMEMBERED:
            self.remembered[tile] = drawn
        return drawn

    def tile_noise(self, tile: int) -> Floats:
        """Return the standard normals that a tile nobody measured is drawn with.

        Args:
            tile: Tile number, from 1.

        Returns:
            Those of its effect on the device, of its level and of its rise. shape: (3, sample)
        """
        rng = np.random.default_rng([*self.seed, tile])
        return rng.standard_normal((3, self.step_s.size)).astype(self.step_s.dtype)

    def _log_smooth(self, tokens: float, effect: Floats) -> Floats:
        token_s = self.token_s * np.exp(effect)
        compute = prefill_compute_time(
            token_s, self.growth, self.quadratic, list(self.work_share.T), tokens
        )
        return np.asarray(np.log(floored(compute, self.floor_s)))

    def outside(self, input_tokens: Floats, output_tokens: Floats) -> list[str]:
        """Return warnings for requests outside the measured token range."""
        return self.outside_warnings(self.count_outside(input_tokens, output_tokens))

    def count_outside(self, input_tokens: Floats, output_tokens: Floats) -> dict[str, int]:
        """Return how many requests lie outside the measured range of each token count."""
        counts = {}
        for what, values in (("input_tokens", input_tokens), ("output_tokens", output_tokens)):
            read = self.read.get(what)
            if read is not None:
                counts[what] = int(((values < read[0]) | (values > read[1])).sum())
        return counts

    def outside_warnings(self, counts: Mapping[str, int]) -> list[str]:
        """Return warnings for that many requests outside the measured ranges."""
        said = []
        for what, count in counts.items():
            read = self.read.get(what)
            if count and read is not None:
                said.append(
                    f"{self.name}: {what} of {count} request(s) lie outside the "
                    f"measured {read[0]:g} to {read[1]:g}; their bands rest on the physics"
                )
        return said

    @cached_property
    def noise_middles(self) -> tuple[Floats, Floats]:
        """Return the middle of the noise of prefill and of decode, in units of its scale."""
        return noise_middle(*self.tails_prefill), noise_middle(*self.tails_decode)

    def single(self) -> CellDraws:
        """Return the same draws in single precision, which halves the work on many requests."""
        arrays: dict[str, Any] = {
            name: value.astype(np.float32)
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        return replace(
            self,
            **arrays,
            power=self.power and self.power.single(),
            octaves={k: e.astype(np.float32) for k, e in self.octaves.items()},
            tile_effect={t: e.astype(np.float32) for t, e in self.tile_effect.items()},
            stairs={
                t: (level.astype(np.float32), rise.astype(np.float32))
                for t, (level, rise) in self.stairs.items()
            },
        )


def cell_draws(
    fit: Fit,
    llm: str,
    device: str,
    *,
    params_b: float,
    weights_gb: float,
    session: Literal["new", "same"] | str,
    label: str | None,
    block: str,
    view: View,
    seed: list[int],
) -> CellDraws:
    """Return the draws of one LLM on one device.

    Args:
        fit: The fit.
        llm: LLM, by its name in the fit if it has one.
        device: Device, likewise.
        params_b: Parameters in billions; read only for an LLM the fit does not know.
        weights_gb: Bytes of the weights in GB; read only for an LLM the fit does not know.
        session: ``new`` or ``same``.
        label: With ``same``: the session's name; without one the session with the most readings.
        block: With ``same``: the name of what the runs are measured together with.
        view: Energy as the ``chip`` uses it, or as its ``sensor`` would report it.
        seed: Seed of what is drawn from populations.

    Returns:
        The draws, in double precision.

    Raises:
        DataError: The LLM is unknown and has no size, or a sensor is asked for and none is known.
    """
    coords, rng = fit.coords, np.random.default_rng(seed)
    samples = fit.shape[0] * fit.shape[1]
    warnings: list[str] = []
    nothing = np.full(samples, np.nan)

    def flat(name: str) -> Floats:
        """Return a variable's draws; of prefill, nothing at all where the fit has none of it."""
        if name in fit.draws:
            return fit.flat(name)
        return np.full((samples, len(WORK)), np.nan) if name == "work_share" else nothing

    def of_cell(name: str) -> Floats:
        return fit.flat(name)[:, cell] if name in fit.draws else flat(name)

    def normal() -> Floats:
        return rng.standard_normal(samples)

    m = coords.llms.index(llm) if llm in coords.llms else None
    d = coords.devices.index(device) if device in coords.devices else None
    cell = (
        coords.cells.index((m, d))
        if m is not None and d is not None and (m, d) in coords.cells
        else None
    )
    if m is not None:
        params_b, weights_gb = coords.params_b[m], coords.weights_gb[m]
    elif not params_b > 0:
        raise DataError(
            f"the LLM {llm!r} is not in the fit ({', '.join(coords.llms)}) and has no card; "
            "give its size with --params-b (billions of parameters)"
        )
    size = np.log(params_b / REFERENCE_PARAMS_B)

    rates = _device(fit, device, d, normal)
    if d is None:
        warnings.append(
            f"{device} is not in the fit: its speed is a guess from its datasheet or role"
        )
    if cell is None and d is not None:
        what = (
            "was never measured on" if m is not None else "was never measured; this is its size on"
        )
        warnings.append(f"{llm} {what} {device}")
    if "log_token" not in fit.draws:
        warnings.append("the fit has no prefill: none of its runs had prefill_s and input_tokens")

    if cell is not None:
        log_step, log_context = flat("log_step")[:, cell], flat("log_context")[:, cell]
    else:
        own = flat("llm_step")[:, m] if m is not None else normal()
        streaming = np.exp(
            rates["log_stream"] + flat("slope_step") * np.log(weights_gb / REFERENCE_GB)
        )
        log_step = (
            np.log(np.exp(rates["log_step_overhead"]) + streaming)
            + flat("tau_llm_step") * own
            + flat("tau_step") * normal()
        )
        log_context = (
            rates["log_stream"]
            + np.log(KV_SHARE)
            + flat("log_context_cost")
            + flat("slope_context") * size
            - log_step
            + flat("tau_context") * normal()
        )

    usual_step = log_step
    series = [s for s, (c, _) in enumerate(coords.series) if c == cell] if cell is not None else []
    if session == "same" and label is not None:
        measured = [coords.series[s][1] for s in series]
        if label not in measured:
            warnings.append(
                f"{llm} on {device} was not measured in session {label!r}: predicted as a new "
                f"session (measured: {', '.join(measured) or 'none'})"
            )
    decode_series = same_session(fit, series, "decode", session, label)
    if decode_series is not None:
        log_step = flat("log_step_series")[:, decode_series]
        log_context = flat("log_context_series")[:, decode_series]
        decode_noise = flat("log_noise_decode_series")[:, decode_series]
    else:
        log_step = log_step + flat("tau_session_decode") * normal()
        log_context = log_context + flat("tau_session_context") * normal()
        decode_noise = rates["log_noise_decode"] + flat("spread_noise_decode") * normal()
    tails_decode = np.stack([flat("tail_fast_decode"), flat("tail_slow_decode")])
    width = np.exp(decode_noise) * noise_width(*tails_decode)
    at = None if decode_series is None else (decode_series,)
    # A run tomorrow belongs to a block that nobody has measured.
    decode_block = block_spread(fit, "decode", at, width, normal) * normal()
    log_start = rates["log_decode_start"]
    if decode_series is not None and (decode_series, block) in fit.blocks:
        # A known block scales the whole of decode.
        effect = flat("decode_block_effect")[:, fit.blocks.index((decode_series, block))]
        log_start, log_step = log_start + effect, log_step + effect
        decode_block = np.zeros(samples)

    if cell is not None:
        log_floor, log_token = of_cell("log_floor"), of_cell("log_token")
        log_quadratic, work = of_cell("log_quadratic"), of_cell("work_share")
        prefill_noise, growth = of_cell("log_noise_prefill_cell"), of_cell("growth")
    else:
        own = flat("llm_token")[:, m] if m is not None else normal()
        log_token = (
            rates["log_token_device"]
            + flat("slope_token") * size
            + flat("tau_llm_token") * own
            + flat("tau_token") * normal()
        )
        log_floor = np.log(np.exp(rates["log_prefill_overhead"]) + np.exp(usual_step))
        log_floor = log_floor + flat("tau_floor") * normal()
        log_quadratic = flat("log_attention_share") + flat("slope_quadratic") * size
        log_quadratic = log_quadratic + flat("tau_quadratic") * normal()
        growth = flat("growth_mean") + flat("tau_growth") * normal()
        work = rng.dirichlet(np.full(len(WORK), WORK_CONCENTRATION), samples)
        prefill_noise = rates["log_noise_prefill"] + flat("spread_noise_prefill") * normal()
    prefill_series = same_session(fit, series, "prefill", session, label)
    prefill_session = (
        fit.flat("log_prefill_session")[:, prefill_series]
        if prefill_series is not None
        else flat("tau_session_prefill") * normal()
    )

    effects = fit.flat("tile_effect") if "tile_effect" in fit.draws else nothing[:, None]
    read = {
        what: _span([getattr(fit.reads[s], what) for s in series])
        for what in ("input_tokens", "output_tokens")
    }
    octaves = _octaves(fit, cell, d, normal)
    # Last, so that a fit with power and one without draw the same times.
    power = power_draws(
        fit,
        llm,
        device,
        params_b=params_b,
        series=series,
        session=session,
        label=label,
        view=view,
        normal=normal,
    )
    return CellDraws(
        start_s=np.exp(log_start),
        step_s=np.exp(log_step),
        context=np.exp(log_context),
        decode_noise=np.exp(decode_noise),
        decode_block=decode_block,
        timer_s=flat("timer_decode"),
        octaves=octaves,
        tails_decode=tails_decode,
        tails_prefill=np.stack([flat("tail_fast_prefill"), flat("tail_slow_prefill")]),
        floor_s=np.exp(log_floor),
        token_s=np.exp(log_token),
        growth=growth,
        quadratic=np.exp(log_quadratic),
        work_share=work,
        prefill_session=prefill_session,
        prefill_noise=np.exp(prefill_noise),
        tau_stair=flat("tau_stair"),
        tau_rise=flat("tau_rise"),
        tau_tile=flat("tau_tile"),
        tile_effect={
            coords.tiles[t]: effects[:, i]
            for i, (dev, t) in enumerate(coords.device_tiles)
            if dev == d
        },
        stairs={
            coords.tiles[t]: (flat("log_stair")[:, k], flat("rise")[:, k])
            for k, (c, t) in enumerate(coords.stairs)
            if c == cell
        },
        name=f"{llm} on {device}",
        seed=seed,
        power=power,
        read=read,
        warnings=(*warnings, *(power.warnings if power else ())),
    )


def _octaves(fit: Fit, cell: int | None, d: int | None, normal: Any) -> dict[int, Floats]:
    """Return how far decode steps of each octave of context lie off the line."""
    if "tau_octave" not in fit.draws:
        return {}
    if cell is not None:
        departure = fit.flat("octave_departure")[:, cell]
        return {octave: departure[:, i] for i, octave in enumerate(fit.coords.octaves)}
    tau = fit.flat("tau_octave")[:, d] if d is not None else prior_draws(fit, "tau_octave", normal)
    own = fit.flat("octave_own") * tau
    shared = fit.flat("octave_effect")[:, d] if d is not None else None
    return {
        octave: (tau * normal() if shared is None else shared[:, i]) + own * normal()
        for i, octave in enumerate(fit.coords.octaves)
    }


def _device(fit: Fit, device: str, d: int | None, normal: Any) -> dict[str, Floats]:
    """Return the draws of a device's own coefficients; of a new one, about its datasheet."""
    nothing = np.full(fit.shape[0] * fit.shape[1], np.nan)
    names = ["log_stream", "log_step_overhead", "log_decode_start", "log_noise_decode"]
    names += ["log_token_device", "log_prefill_overhead", "log_noise_prefill"]
    if d is not None:
        return {n: fit.flat(n)[:, d] if n in fit.draws else nothing for n in names}
    priors = fit.provenance["priors"]
    rates = device_rates(device, catalog())
    spread = priors[rates.spread]["sd"]
    out = {
        "log_stream": np.log(rates.stream_s)
        - fit.flat("log_stream_efficiency")
        + spread * normal(),
        "log_token_device": np.log(rates.token_s)
        - (fit.flat("log_compute_efficiency") if "log_compute_efficiency" in fit.draws else nothing)
        + spread * normal(),
    }
    for name in names:
        if name not in out:
            out[name] = prior_draws(fit, name, normal)
    return out


def _span(ranges: list[tuple[float, float] | None]) -> tuple[float, float] | None:
    known = [r for r in ranges if r is not None]
    return (min(r[0] for r in known), max(r[1] for r in known)) if known else None
