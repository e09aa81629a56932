"""Where the chains of the model of time start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.blocks import block_levels
from t2m_bayes.design import context_cost, group_medians, stair_anchor
from t2m_bayes.formulas import PADS, context_tokens, padded
from t2m_bayes.priors import KV_SHARE, REFERENCE_GB, REFERENCE_PARAMS_B

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from t2m_bayes.design import Design
    from t2m_bayes.priors import DeviceRates, Prior

    Floats = NDArray[np.float64]

OF_DEVICES: Final = (
    "log_step_overhead",
    "log_decode_start",
    "log_noise_decode",
    "log_prefill_overhead",
    "log_noise_prefill",
)
"""Priors of which every device has its own coefficient."""

OFF: Final = 0.1
"""Where a standard normal starts: off its mode, since a gradient of zero tells the sampler nothing
of scale."""

PINNED_OFF: Final = 0.002
"""Where patterns of octaves start that readings pin."""

RUNNING: Final = 5
"""Prefill readings in the running median of a cell's pace."""

COARSE: Final = 2.0
"""Noise that chains start with, beside what the readings show about medians."""

LEAST_NOISE: Final = 1e-4
"""Least relative noise that chains start with: a series can repeat a reading to its last digit."""


def time_start(
    design: Design,
    data: Mapping[str, NDArray[Any]],
    rates: Sequence[DeviceRates],
    priors: Mapping[str, Prior],
) -> dict[str, Floats]:
    """Return where sampling starts: what medians of the readings say, near the priors elsewhere.

    A chain that starts far from thousands of precise readings can end where something that is
    quick to change makes up for it: heavy tails for a whole session, the blocks of a series for a
    context that costs twice too much, attention for a curve that bends the wrong way. It comes
    back too slowly to wait for.

    Args:
        design: The indexed run table.
        data: The model's data, which say what is sampled where readings pin it.
        rates: What is expected of each device.
        priors: The priors by name.
    """
    near = {name: prior.near_middle for name, prior in priors.items()}
    devices = len(design.coords.devices)
    start: dict[str, Floats] = {
        name: np.full(devices if name in OF_DEVICES else (), value) for name, value in near.items()
    }
    start["block_ratio_decode"] = np.full(len(design.coords.series), near["block_ratio_decode"])
    start["log_stream"] = np.log([r.stream_s for r in rates]) - near["log_stream_efficiency"]
    start["log_token_device"] = np.log([r.token_s for r in rates]) - near["log_compute_efficiency"]
    start |= _decode(design, data, near)
    if design.coords.stairs:
        start |= _prefill(design, data, near)
    return start


def _decode(
    design: Design, data: Mapping[str, NDArray[Any]], near: Mapping[str, float]
) -> dict[str, Floats]:
    cell = np.array([c for c, _ in design.coords.series])
    llm = np.array([m for m, _ in design.coords.cells])
    size = np.log(np.array(design.coords.params_b) / REFERENCE_PARAMS_B)[llm]
    weights = np.log(np.array(design.coords.weights_gb) / REFERENCE_GB)[llm]
    usual = np.log(KV_SHARE) + near["log_context_cost"] + near["slope_context"] * size
    usual = usual - near["slope_step"] * weights
    shown = context_cost(design)
    cost = np.where(shown > 0, np.log(np.where(shown > 0, shown, 1.0)), usual[cell])
    steps = np.log(design.decode_s / (design.decode_output - 1))
    s = design.decode_series
    context = context_tokens(design.decode_input, design.decode_output)
    none, seen = np.full(cell.size, OFF), np.bincount(s, minlength=cell.size) > 0
    level = group_medians(none, s, steps)
    empty = steps - np.log1p(np.exp(cost)[s] * context)
    empty_level = group_medians(none, s, empty)
    noise = _log_noise(group_medians(none, s, np.abs(empty - empty_level[s])))
    read, read_context = data["series_read_decode"] > 0, data["series_read_context"] > 0
    start = {
        "log_step_series_raw": np.where(read, level, OFF),
        "log_step_raw": _over_series(level, cell, seen, data["cell_read_decode"]),
        "log_context_series_raw": np.where(read_context, cost, OFF),
        "log_context_raw": _over_series(cost, cell, read_context, data["cell_read_context"]),
        "log_noise_decode_series_raw": np.where(data["series_read_noise"] > 0, noise, OFF),
    }
    if design.coords.octaves:
        start["tau_octave"] = np.full(len(design.coords.devices), near["tau_octave"])
        start["octave_alone_raw"] = np.full(data["cell_octave_pinned"].shape, OFF)
        for name, of in (("octave_pattern", "device"), ("octave_own_pattern", "cell")):
            start[f"{name}_raw"] = np.where(data[f"{of}_octave_pinned"] > 0, PINNED_OFF, OFF)
    if design.blocks:
        start["decode_block_effect_raw"] = block_levels(
            design.blocks, design.decode_block, steps, np.log(design.decode_output - 1)
        )
    return start


def _prefill(
    design: Design, data: Mapping[str, NDArray[Any]], near: Mapping[str, float]
) -> dict[str, Floats]:
    coords = design.coords
    size = np.log(np.array(coords.params_b) / REFERENCE_PARAMS_B)
    attention = near["log_attention_share"] + near["slope_quadratic"] * size
    attention = attention[np.array([m for m, _ in coords.cells])]
    curved, read_stair = data["cell_read_curve"] > 0, data["stair_read"] > 0
    anchor, stair_cell = stair_anchor(design), np.array([c for c, _ in coords.stairs])
    stair = np.full(anchor.size, OFF)
    token, bend, floor, noise = (np.full(len(coords.cells), OFF) for _ in range(4))
    for c in np.flatnonzero(data["cell_read_prefill"] > 0).tolist():
        lengths, pace = _paces(design, c)

        def level(tokens: float, lengths: Floats = lengths, pace: Floats = pace) -> float:
            """Return the log of the usual prefill time at a prompt length."""
            return float(np.log(_work(tokens)) + _running(lengths, pace, tokens))

        for k in np.flatnonzero(read_stair & (stair_cell == c)):
            stair[k] = level(anchor[k])
        far, close = data["cell_far_read"][c], data["cell_near_read"][c]
        token[c] = level(data["cell_middle_read"][c])
        if curved[c]:
            bend[c] = level(far) - level(close) - np.log(far / close)
        if data["cell_read_floor"][c] > 0:
            floor[c] = level(lengths.min())
        different, which = np.unique(lengths, return_inverse=True)
        usual = np.array([_running(lengths, pace, tokens) for tokens in different.tolist()])
        noise[c] = _log_noise(np.median(np.abs(pace - usual[which])))
    return {
        "log_stair_anchored_raw": stair,
        "rise_raw": np.full(anchor.size, 0.05),
        "tile_effect_raw": np.where(data["device_tile_read"] > 0, 0.01, OFF),
        "log_main_session_raw": np.full(token.size, 0.01),
        "log_other_session_raw": np.full(len(coords.series), 0.01),
        "log_token_raw": token,
        "bend_raw": bend,
        "log_floor_raw": floor,
        "log_quadratic_raw": np.where(curved, attention, OFF),
        "log_noise_prefill_cell_raw": noise,
    }


def _paces(design: Design, cell: int) -> tuple[Floats, Floats]:
    """Return prompt lengths of a cell, and the log of prefill time relative to their work."""
    of_cell = np.array([c for c, _ in design.coords.series])[design.prefill_series] == cell
    lengths = design.prompt_tokens[design.prefill_prompt[of_cell]]
    return lengths, np.log(design.prefill_s[of_cell] / _work(lengths))


def _work(tokens: Any) -> Any:
    """Return prompt tokens as kernels count them, by the mean of the prior."""
    return (tokens + sum(padded(tokens, width) for width in PADS)) / (1 + len(PADS))


def _running(lengths: Floats, pace: Floats, tokens: float) -> float:
    """Return the median pace of the readings nearest to a length, which one stall hardly moves."""
    nearest = np.argsort(np.abs(lengths - tokens), kind="stable")[:RUNNING]
    return float(np.median(pace[nearest]))


def _log_noise(median_off: Any) -> Any:
    """Return the log of the noise to start with, for the median distance of readings."""
    return np.log(np.maximum(COARSE * 1.4826 * median_off, LEAST_NOISE))


def _over_series(
    values: NDArray[Any], cell: NDArray[Any], read: NDArray[np.bool_], cell_read: NDArray[Any]
) -> Floats:
    """Return the median of each cell's series whose readings pin them, a little off."""
    found = np.full(cell_read.size, OFF)
    for c in np.flatnonzero(cell_read > 0):
        own = read & (cell == c)
        if own.any():
            found[c] = np.median(values[own]) + 0.02
    return found
