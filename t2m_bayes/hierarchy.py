"""The latency model: one PyMC graph for any number of LLMs, devices and sessions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from t2m_bayes.blocks import block_data
from t2m_bayes.design import (
    TILE,
    Design,
    cell_far,
    cell_middle,
    cell_nearest,
    context_cost,
    floor_shown,
    group_medians,
    main_series,
    prompt_ratio,
    rises_pinned,
    series_context,
    stair_anchor,
    stair_series,
    stair_weights,
    tile_middle,
    tiles_in_common,
    tiles_read,
)
from t2m_bayes.formulas import (
    REFERENCE_PROMPT,
    context_tokens,
    decode_time,
    floored,
    noise_middle,
    noise_width,
    prefill_compute_time,
)
from t2m_bayes.octaves import (
    WIDE,
    octave_lines,
    octave_patterns,
    octave_shares,
    octave_slopes,
    octaves_read,
    off_mean,
)
from t2m_bayes.pooling import block_effects, data_arrays, partially_pooled, prior_variable
from t2m_bayes.priors import (
    KV_SHARE,
    REFERENCE_GB,
    REFERENCE_PARAMS_B,
    WORK,
    WORK_CONCENTRATION,
    DeviceRates,
    Prior,
)
from t2m_bayes.skew_t import SkewT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

STAIR_READINGS: Final = 3
"""Readings from which a stair has a level of its own. Fewer cannot tell an odd kernel from a stall,
and two explanations are two modes that no chain passes between."""

SERIES_READINGS: Final = 3
"""Decode readings from which a series has a level of its own, for the same reason."""

NOISE_READINGS: Final = 8
"""Decode readings from which they, rather than the other series, pin a series' noise."""

CURVE_TILES: Final = 10
"""Tiles a cell must have been read in for its rows to pin how prefill bends with the prompt, and
the floor that it starts from."""

WIDE_TILES: Final = 5
"""Tiles that do where their prompts range as wide as :data:`t2m_bayes.octaves.WIDE`."""


def latency_model(
    design: Design, rates: Sequence[DeviceRates], priors: Mapping[str, Prior]
) -> pm.Model:
    r"""Build the model of prefill and decode time.

    For LLM :math:`l` of size :math:`p` (billions of parameters) and :math:`B` (GB of weights) on
    device :math:`d`, cell :math:`c = (l, d)`, series :math:`s = (c, \text{session})`:

    .. math::

        \log \text{step}_c &\sim N(\log(\text{overhead}_d
            + \text{stream}_d (B/16)^{\beta}) + u_l, \tau) \\
        \log \text{rate}_s &\sim N(\log(\text{step}_c (1 + k_s x_s)), \tau_\text{session}) \\
        \log \text{decode} &= \log(\text{start}_d
            + (O - 1)\, \text{step}_s (1 + k_s (I + O/2)))
            + \textstyle\sum_j h_j(I, O)\, (A_c \epsilon_c)_j + \delta_b,
            \quad \epsilon_{c,j} \sim N(\epsilon_{d,j}, \omega \tau_d),
            \quad \epsilon_{d,j} \sim N(0, \tau_d),
            \quad \delta_b \sim N(0, r_s\, \text{noise}_s) \\
        \log \text{token}_c &\sim N(\log \text{token}_d + \gamma \log(p/8) + v_l, \tau') \\
        \log \text{floor}_c &\sim N(\log(\text{overhead}'_d + \text{step}_c), \tau'') \\
        \text{smooth}_{c,t}(I) &= \lVert \text{floor}_c,\;
            \text{token}_c\, e^{g_{d,t}}\, W (W / 512)^{\eta_c} (1 + q_c I) \rVert_8, \quad
            W = w_c\cdot(I, \lceil I\rceil_{128}, \lceil I\rceil_{256}) \\
        \log \text{stair}_{c,t} &\sim N(\log \text{smooth}_{c,t}(\text{anchor}_t), \tau_o) \\
        \log \text{prefill} &= \log\text{stair}_{c,t}
            + \kappa_{c,t} (I - \text{anchor}_t) / 64 + b_s

    An octave :math:`j` of context holds a share :math:`h_j` of a run's decode steps; only tables
    of a wide range of prompts have any. :math:`A_c` takes from them the mean, which counts as the
    step's (:func:`t2m_bayes.octaves.off_mean`). A block :math:`b` is what was measured
    together (:mod:`t2m_bayes.blocks`). Readings are skew t about the log of these
    (:func:`t2m_bayes.formulas.noise_middle`), with a relative scale, an absolute timer error and
    the known rounding of the reading. Levels are centred where the data pin them (series rates at
    their median context :math:`x_s`, context costs with the slope of their octaves, stairs at their
    anchors, a cell's prefill in its main session and its bend at a long prompt), which keeps the
    posterior close to orthogonal though the data fix some coefficients to 0.01 %. Whatever has no
    reading in this design is drawn from its population, so one compiled graph serves every subset
    of a table.

    Args:
        design: The indexed run table. Its arrays become ``pm.Data``: see :func:`model_data`.
        rates: What is expected of each device, in the order of ``design.coords.devices``.
        priors: The priors by name (``models/priors.toml``).

    Returns:
        The model. Free variables and their dims are the posterior's, as the predictor reads it.
    """
    coords = design.coords
    cell_llm, cell_device = np.array(coords.cells, dtype=int).T
    series_cell = np.array([c for c, _ in coords.series])
    log_size = np.log(np.array(coords.params_b) / REFERENCE_PARAMS_B)
    log_weights = np.log(np.array(coords.weights_gb) / REFERENCE_GB)[cell_llm]
    cell_size = log_size[cell_llm]
    dims: dict[str, list[Any]] = {
        "llm": list(coords.llms),
        "device": list(coords.devices),
        "cell": coords.cell_names(),
        "series": coords.series_names(),
        "work": list(WORK),
    }
    if design.blocks:
        series_names = coords.series_names()
        dims["block"] = [f"{series_names[s]} | {name}" for s, name in design.blocks]
    if coords.octaves:
        dims["octave"] = list(coords.octaves)
    if coords.stairs:
        dims |= {
            "stair": coords.stair_names(),
            "device_tile": list(range(len(coords.device_tiles))),
        }
    with pm.Model(coords=dims, check_bounds=False) as model:
        data = data_arrays(model_data(design), dims)

        prior = partial(prior_variable, priors)

        # Devices, about their datasheets. shape: (device,)
        spread = np.array([priors[r.spread].sd for r in rates])
        log_stream = pm.Normal(
            "log_stream",
            np.log([r.stream_s for r in rates]) - prior("log_stream_efficiency"),
            spread,
            dims="device",
        )
        log_step_overhead = prior("log_step_overhead", dims="device")
        start_s = pt.exp(prior("log_decode_start", dims="device"))[cell_device][series_cell]

        # Decode step of a cell, and of a series at its median context.
        llm_step = pm.Normal("llm_step", 0, 1, dims="llm") * prior("tau_llm_step")
        streaming = pt.exp(log_stream[cell_device] + prior("slope_step") * log_weights)
        log_step = partially_pooled(
            "log_step",
            data["cell_read_decode"],
            pt.log(pt.exp(log_step_overhead)[cell_device] + streaming) + llm_step[cell_llm],
            prior("tau_step"),
            dims="cell",
        )
        log_context_mean = (
            log_stream[cell_device]
            + np.log(KV_SHARE)
            + prior("log_context_cost")
            + prior("slope_context") * cell_size
            - log_step
        )
        in_cost, in_step = np.zeros(len(coords.cells)), 0.0
        if coords.octaves:
            departure, slope = _octave_departures(prior, data, cell_device)
            # Readings pin the sum of both costs. Where a slope is all of it, the rest has no
            # logarithm: positive shares are taken as small.
            share = slope * data["cell_cost_of_slope"]
            below = pt.minimum(share, 0.0)
            in_cost = share - below - pt.log1p(-below)
            in_step = slope[series_cell] * data["series_step_of_slope"]
        log_context = partially_pooled(
            "log_context",
            data["cell_read_context"],
            log_context_mean,
            prior("tau_context"),
            "cell",
            pinned=in_cost,
        )
        log_context_series = partially_pooled(
            "log_context_series",
            data["series_read_context"],
            log_context[series_cell],
            prior("tau_session_context"),
            "series",
            pinned=in_cost[series_cell],
        )
        context = pt.exp(log_context_series)
        at_median = pt.log1p(context * data["series_context"])
        tau_session_decode = prior("tau_session_decode")
        log_step_series = partially_pooled(
            "log_step_series",
            data["series_read_decode"],
            log_step[series_cell],
            tau_session_decode,
            "series",
            pinned=at_median + in_step,
        )
        # Heavy tails with a small scale are as wide as light ones with a large: readings pin the
        # width.
        tails = prior("tail_fast_decode"), prior("tail_slow_decode")
        log_noise = prior("log_noise_decode", dims="device")
        noise_decode = partially_pooled(
            "log_noise_decode_series",
            data["series_read_noise"],
            log_noise[cell_device][series_cell],
            prior("spread_noise_decode"),
            "series",
            pinned=pt.log(noise_width(*tails)),
        )
        timer = prior("timer_decode")
        if design.decode_s.size:
            s = data["decode_series"]
            # A series without a level of its own: the session's spread joins its readings' noise.
            own = data["series_read_decode"] > 0
            level = pt.switch(own, log_step_series, log_step[series_cell])
            mean = decode_time(
                start_s[s],
                pt.exp(level)[s],
                context[s],
                data["decode_input"],
                data["decode_output"],
            )
            if coords.octaves:
                shares = data["decode_octave"] * departure[series_cell][s]
                mean = mean * pt.exp(shares.sum(axis=-1))
            log_mean, block_variance = pt.log(mean), 0.0
            if design.blocks:
                ratio = prior("block_ratio_decode", dims="series")
                # The noise's width times the ratio; as much of its scale joins that of loose runs.
                of_scale = ratio * pt.exp(noise_decode)
                of_blocks = of_scale * noise_width(*tails)
                pm.Deterministic(
                    "block_spread_decode", data["series_blocked"] * of_blocks, dims="series"
                )
                group = np.array([g for g, _ in design.blocks])
                log_mean += block_effects("block", "decode", data, of_blocks, group, log_mean)
                block_variance = data["decode_loose"] * (of_scale**2)[s]
            unknown_input = context[s] * data["decode_input_sd"]
            scale = pt.sqrt(
                pt.exp(2 * noise_decode)[s]
                + (timer**2 + data["decode_rounding"]) / mean**2
                + unknown_input**2
                + pt.switch(own, 0.0, tau_session_decode**2)[s]
                + block_variance
            )
            _observed("decode", log_mean, scale, tails, data["log_decode"])

        if not coords.stairs:
            return model
        # Prefill of a cell, before the stairs.
        log_token_device = pm.Normal(
            "log_token_device",
            np.log([r.token_s for r in rates]) - prior("log_compute_efficiency"),
            spread,
            dims="device",
        )
        log_prefill_overhead = prior("log_prefill_overhead", dims="device")
        llm_token = pm.Normal("llm_token", 0, 1, dims="llm") * prior("tau_llm_token")
        token_mean = (
            log_token_device[cell_device] + prior("slope_token") * cell_size + llm_token[cell_llm]
        )
        read = data["cell_read_prefill"]
        curved = data["cell_read_curve"]
        # A cell's levels are pinned in its main session.
        tau_session = prior("tau_session_prefill")
        main_session = partially_pooled("log_main_session", read, 0.0, tau_session, "cell")
        log_floor = partially_pooled(
            "log_floor",
            data["cell_read_floor"],
            pt.log(pt.exp(log_prefill_overhead)[cell_device] + pt.exp(log_step)),
            prior("tau_floor"),
            "cell",
            pinned=main_session,
        )
        log_quadratic = partially_pooled(
            "log_quadratic",
            curved,
            prior("log_attention_share") + prior("slope_quadratic") * cell_size,
            prior("tau_quadratic"),
            "cell",
        )
        work = pm.Dirichlet(
            "work_share", np.full(len(WORK), WORK_CONCENTRATION), dims=("cell", "work")
        )
        shares = [work[:, part] for part in range(len(WORK))]

        def log_compute(tokens: Any) -> Any:
            """Return the log of a cell's compute time but for the time of a token."""
            return pt.log(prefill_compute_time(1.0, growth, quadratic, shares, tokens))

        def log_work(tokens: Any) -> Any:
            return pt.log(prefill_compute_time(1.0, 0.0, 0.0, shares, tokens) / tokens)

        # What a device's LLMs share of each tile. Its mean over a cell's tiles looks like the time
        # of a token, and its slope like a bend of the curve, so that readings pin the sums.
        stair_cell = np.array([c for c, _ in coords.stairs])
        tile_effect = partially_pooled(
            "tile_effect", data["device_tile_read"], 0.0, prior("tau_tile"), "device_tile"
        )
        of_tile = tile_effect[np.array(coords.stair_device_tiles())]

        def over_tiles(weights: Any) -> Any:
            """Return the sum of each cell's tile effects, weighted. shape: (cell,)."""
            return pt.zeros(len(coords.cells))[stair_cell].inc(weights * of_tile)

        # Growth and attention both bend the curve: their sum is stated at a long prompt, which
        # pins it but for what is padded there, and growth is what attention leaves.
        span = pt.log(data["cell_far"] / REFERENCE_PROMPT)
        quadratic = pt.exp(log_quadratic)
        attention = pt.log1p(quadratic * data["cell_far"]) - pt.log1p(quadratic * REFERENCE_PROMPT)
        bend = partially_pooled(
            "bend",
            curved,
            prior("growth_mean") * span + attention,
            prior("tau_growth") * span,
            "cell",
            pinned=log_work(data["cell_far_read"])
            - log_work(data["cell_near_read"])
            + over_tiles(data["stair_slope"]) * span,
        )
        growth = pm.Deterministic("growth", (bend - attention) / span, dims="cell")
        # The compute time is pinned in the middle of the curve, at a prompt that was read.
        log_token = partially_pooled(
            "log_token",
            read,
            token_mean,
            prior("tau_token"),
            "cell",
            pinned=main_session
            + log_compute(data["cell_middle_read"])
            + over_tiles(data["stair_mean"]),
        )

        # Stairs: level at the anchor, rise from one end of the tile to the other.
        tile = coords.stair_tiles()
        token_here, floor_here = log_token + main_session, log_floor + main_session
        stair_token = pt.exp(token_here[stair_cell] + of_tile)

        def log_smooth(tokens: NDArray[np.float64]) -> Any:
            compute = prefill_compute_time(
                stair_token,
                growth[stair_cell],
                quadratic[stair_cell],
                [share[stair_cell] for share in shares],
                tokens,
            )
            return pt.log(floored(compute, pt.exp(floor_here)[stair_cell]))

        # The main session of a cell is part of its stairs; the others are stated against it.
        other_session = partially_pooled(
            "log_other_session",
            data["series_other"],
            -main_session[series_cell],
            tau_session,
            "series",
        )
        log_session = pm.Deterministic(
            "log_prefill_session",
            main_session[series_cell] + data["series_other"] * other_session,
            dims="series",
        )
        anchor = data["stair_anchor"]
        stair_session = log_session[data["stair_series"]]
        tau_stair, stair_read = prior("tau_stair"), data["stair_read"]
        usual = log_smooth(anchor) + stair_session - main_session[stair_cell]
        log_anchored = partially_pooled("log_stair_anchored", stair_read, usual, tau_stair, "stair")
        rise = partially_pooled(
            "rise",
            data["stair_rise_read"],
            log_smooth(tile * TILE) - log_smooth((tile - 1) * TILE + 1),
            prior("tau_rise") * TILE / tile_middle(tile),
            "stair",
        )
        pm.Deterministic(
            "log_stair",
            log_anchored + rise * (tile_middle(tile) - anchor) / TILE - stair_session,
            dims="stair",
        )
        # A stair without a level of its own: tau_stair joins the noise of its readings.
        level = pt.switch(stair_read > 0, log_anchored, usual) - stair_session
        k = design.prompt_stair
        log_prompt = level[k] + rise[k] * (design.prompt_tokens - anchor[k]) / TILE
        unread = pt.switch(stair_read > 0, 0.0, tau_stair**2)[k]
        tails = prior("tail_fast_prefill"), prior("tail_slow_prefill")
        log_noise = prior("log_noise_prefill", dims="device")
        noise_prefill = partially_pooled(
            "log_noise_prefill_cell",
            read,
            log_noise[cell_device],
            prior("spread_noise_prefill"),
            "cell",
            pinned=pt.log(noise_width(*tails)),
        )
        s, prompt = data["prefill_series"], data["prefill_prompt"]
        mean = log_prompt[prompt] + log_session[s]
        scale = pt.sqrt(
            pt.exp(2 * noise_prefill)[series_cell][s]
            + data["prefill_rounding"] * pt.exp(-2 * mean)
            + unread[prompt]
        )
        _observed("prefill", mean, scale, tails, data["log_prefill"])
    return model


def _octave_departures(
    prior: Callable[..., Any], data: Mapping[str, Any], cell_device: NDArray[np.intp]
) -> tuple[Any, Any]:
    """Return departures from the step's line in context, which a device's LLMs share in part.

    Returns:
        The departures, shape (cell, octave), and their slope in context over the octaves that were
        read, in 1/token, shape (cell,).
    """
    tau = prior("tau_octave", dims="device")[:, None]
    own_tau = (prior("octave_own") * tau)[cell_device]
    patterns, own_patterns = data["device_octave_pattern"], data["cell_octave_pattern"]
    # Readings pin the sum of what is shared and what is an LLM's own: it is sampled as the former
    # where one LLM alone shows it, and as the latter of each where several do.
    several = data["cell_octave_pinned"]
    of_one = own_tau * (1 - several) * pm.Normal("octave_alone_raw", dims=("cell", "octave"))
    alone = _over(own_patterns, of_one)
    of_device = pt.zeros(patterns.shape[:2])[cell_device].inc(
        _over(data["cell_octave_share"], alone)
    )
    pattern = partially_pooled(
        "octave_pattern",
        data["device_octave_pinned"],
        0.0,
        tau,
        ("device", "octave"),
        pinned=of_device,
    )
    effect = pm.Deterministic("octave_effect", _over(patterns, pattern), dims=("device", "octave"))
    of_cell = effect[cell_device]
    own = partially_pooled(
        "octave_own_pattern",
        several,
        0.0,
        own_tau,
        ("cell", "octave"),
        pinned=_over(own_patterns.transpose(0, 2, 1), of_cell),
    )
    effects = of_cell + alone + _over(own_patterns, several * own)
    departures = pm.Deterministic(
        "octave_departure",
        _over(data["cell_octave_off"], effects),
        dims=("cell", "octave"),
    )
    return departures, (data["cell_octave_slope"] * effects).sum(axis=-1)


def _over(matrices: Any, values: Any) -> Any:
    """Return the product of each member's matrix with its values. shape: (member, row)."""
    return (matrices * values[:, None]).sum(axis=-1)


def _observed(name: str, middle: Any, scale: Any, tails: tuple[Any, Any], readings: Any) -> None:
    """Add readings whose noise has its middle there and tails of that many degrees of freedom."""
    fast, slow = tails
    SkewT(
        name,
        a=fast / 2,
        b=slow / 2,
        mu=middle - scale * noise_middle(fast, slow),
        sigma=scale,
        observed=readings,
    )


def model_data(design: Design) -> dict[str, NDArray[Any]]:
    """Return the values of the model's ``pm.Data`` for a design with the same coordinates."""
    coords = design.coords
    series_cell = np.array([c for c, _ in coords.series])
    n_cells, n_series = len(coords.cells), len(coords.series)
    decode_readings = np.bincount(design.decode_series, minlength=n_series)
    prefill_read = _seen(design.prefill_series, n_series)
    cost = context_cost(design)
    context_read = np.isfinite(cost).astype(float)
    cell_decode = _seen(series_cell[decode_readings > 0], n_cells)
    cell_prefill = _seen(series_cell[prefill_read > 0], n_cells)
    readings = np.bincount(design.prompt_stair[design.prefill_prompt], minlength=len(coords.stairs))
    other = prefill_read.copy()
    other[main_series(design)] = 0
    rounding = design.resolution_s**2 / 12
    anchor, far = stair_anchor(design), cell_far(design)
    tiles, wide = tiles_read(design), prompt_ratio(design) >= WIDE
    curve = (tiles >= CURVE_TILES) | (wide & (tiles >= WIDE_TILES))
    stair_mean, stair_slope = stair_weights(design)
    return {
        "cell_read_decode": cell_decode,
        "cell_read_context": _seen(series_cell[context_read > 0], n_cells),
        "cell_read_prefill": cell_prefill,
        "cell_far": far,
        "cell_far_read": cell_nearest(design, far),
        "cell_middle_read": cell_nearest(design, cell_middle(design)),
        "cell_near_read": cell_nearest(design, np.full(n_cells, REFERENCE_PROMPT)),
        "cell_read_curve": curve.astype(float),
        "cell_read_floor": (curve | floor_shown(design)).astype(float),
        "series_read_decode": (decode_readings >= SERIES_READINGS).astype(float),
        "series_read_noise": (decode_readings >= NOISE_READINGS).astype(float),
        "series_read_context": context_read,
        "series_other": other,
        "series_context": series_context(design),
        "stair_mean": stair_mean,
        "stair_slope": stair_slope,
        "device_tile_read": tiles_in_common(coords, readings >= STAIR_READINGS),
        "stair_read": (readings >= STAIR_READINGS).astype(float),
        "stair_anchor": anchor,
        "stair_series": stair_series(design),
        "stair_rise_read": rises_pinned(design).astype(float),
        **block_data(
            "block",
            "decode",
            design.blocks,
            design.decode_block,
            design.decode_series,
            n_series,
        ),
        **(_octave_data(design, cost) if coords.octaves else {}),
        "decode_series": design.decode_series,
        "decode_input": design.decode_input,
        "decode_input_sd": design.decode_input_sd,
        "decode_output": design.decode_output,
        "decode_rounding": rounding[design.decode_series, 1],
        "log_decode": np.log(design.decode_s),
        "prefill_series": design.prefill_series,
        "prefill_prompt": design.prefill_prompt,
        "prefill_rounding": rounding[design.prefill_series, 0],
        "log_prefill": np.log(design.prefill_s),
    }


def _octave_data(design: Design, cost: Floats) -> dict[str, NDArray[Any]]:
    coords = design.coords
    series_cell = np.array([c for c, _ in coords.series])
    cell_device = np.array([d for _, d in coords.cells])
    shares = octave_shares(design.decode_input, design.decode_output, coords.octaves)
    read = octaves_read(series_cell[design.decode_series], shares, len(coords.cells))
    cost_read = _seen(series_cell[np.isfinite(cost)], len(coords.cells))
    cost_of_slope, step_of_slope = _of_slope(design, cost, read, shares)
    return {
        "cell_cost_of_slope": cost_of_slope,
        "series_step_of_slope": step_of_slope,
        "cell_octave_slope": octave_slopes(read),
        "cell_octave_off": off_mean(read),
        **octave_patterns(read, cost_read, cell_device, len(coords.devices)),
        "decode_octave": shares.T,
    }


def _of_slope(design: Design, cost: Floats, read: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Return what a slope of octaves adds to the logs of context's cost and of a step.

    By least squares over the readings of each series, in tokens; none where they pin no cost.
    shape: (cell,) and (series,)
    """
    coords = design.coords
    series_cell = np.array([c for c, _ in coords.series])
    context = context_tokens(design.decode_input, design.decode_output)

    def change(added: Floats) -> Floats:
        """Return how the log of a step changes with that of the cost, by what the cost adds."""
        return added / (1 + added)

    at_reading = change(cost[design.decode_series] * context)
    at_median = change(cost * series_context(design))
    of_cost, of_step = np.zeros(len(coords.series)), np.zeros(len(coords.series))
    pinned, lines = np.isfinite(cost), octave_lines(read)
    for s in np.flatnonzero(pinned):
        own = design.decode_series == s
        grown = shares.T[own] @ lines[series_cell[s]]
        if np.ptp(at_reading[own]) > 0 and np.ptp(grown) > 0:
            fitted = np.polyfit(at_reading[own], grown, 1)
            of_cost[s], of_step[s] = fitted[0], np.polyval(fitted, at_median[s])
    of_cell = group_medians(np.zeros(len(coords.cells)), series_cell[pinned], of_cost[pinned])
    return of_cell, of_step


def _seen(index: NDArray[Any], size: int) -> NDArray[np.float64]:
    return (np.bincount(index, minlength=size) > 0).astype(float)
