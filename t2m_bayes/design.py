"""From a run table to the index arrays that the model and the predictor share.

A *cell* is one LLM on one device; a *series* is one cell in one measuring session; a *stair* is
one cell in one block of prompt lengths; a *prompt* is one cell with one prompt length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.blocks import block_names, find_blocks
from t2m_bayes.cards import machine_of
from t2m_bayes.errors import DataError
from t2m_bayes.formulas import REFERENCE_PROMPT, context_tokens, padded
from t2m_bayes.octaves import table_octaves
from t2m_bayes.power_design import PowerReadings, make_power_readings

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Ints = NDArray[np.integer[Any]]

TILE: Final = 64
"""Width of a stair in prompt tokens: the block in which prefill rises along one straight line."""

PINNED: Final = 5.0
"""Standard errors from zero at which readings tell more of a coefficient than its population."""

LEAST_STEP: Final = 0.1
"""Least share of the mean step that a line through a series' steps may leave an empty context."""

USUAL_RISE: Final = 0.05
"""Spread of the rises of measured tables about their physics, relative to a tile's width over its
middle."""

FLAT_GROWTH: Final = 0.25
"""Largest slope of log prefill over log prompt that shows the floor under it."""

FLAT_SPAN: Final = 0.2
"""Least range of log prompts for that slope to say anything."""

UNKNOWN_INPUT: Final = (200.0, 150.0)
"""Mean and standard deviation, in tokens, of a prompt length nothing is known about. Questions of
multiple-choice benchmarks run from 90 to 1,000 tokens; decode time hardly depends on it."""


@dataclass(frozen=True)
class Coords:
    """What the coefficients are indexed by; positions in one tuple are indices into the others.

    Attributes:
        llms: LLM names.
        params_b: Parameters of each LLM, in billions.
        weights_gb: Bytes of each LLM's weights, in GB.
        devices: Device names.
        cells: LLM index and device index of each cell.
        series: Cell index and session name of each series.
        tiles: Tile numbers; tile ``t`` holds prompts of ``(t - 1) * TILE + 1`` to ``t * TILE``.
        stairs: Cell index and tile index of each stair.
        device_tiles: Device index and tile index of each tile effect that a device's LLMs share.
        octaves: Octaves of context (:mod:`t2m_bayes.octaves`), where decode has a level in each.
    """

    llms: tuple[str, ...]
    params_b: tuple[float, ...]
    weights_gb: tuple[float, ...]
    devices: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]
    series: tuple[tuple[int, str], ...]
    tiles: tuple[int, ...]
    stairs: tuple[tuple[int, int], ...]
    device_tiles: tuple[tuple[int, int], ...]
    octaves: tuple[int, ...] = ()

    def machines(self) -> tuple[tuple[str, ...], list[int]]:
        """Return the machines that devices are, and which one each is: engines share a machine."""
        names = [machine_of(device) for device in self.devices]
        machines = tuple(dict.fromkeys(names))
        return machines, [machines.index(name) for name in names]

    def stair_tiles(self) -> NDArray[np.float64]:
        """Return the number of the tile that each stair is in."""
        return np.array([self.tiles[t] for _, t in self.stairs], dtype=float)

    def stair_device_tiles(self) -> list[int]:
        """Return which of the device tiles each stair is in."""
        return [self.device_tiles.index((self.cells[c][1], t)) for c, t in self.stairs]

    def cell_names(self) -> list[str]:
        """Return ``LLM | device`` for each cell."""
        return [f"{self.llms[m]} | {self.devices[d]}" for m, d in self.cells]

    def series_names(self) -> list[str]:
        """Return ``LLM | device | session`` for each series."""
        cells = self.cell_names()
        return [f"{cells[c]} | {session}" for c, session in self.series]

    def stair_names(self) -> list[str]:
        """Return ``LLM | device | tile`` for each stair."""
        cells = self.cell_names()
        return [f"{cells[c]} | {self.tiles[t]}" for c, t in self.stairs]


@dataclass(frozen=True)
class Design:
    """A run table as arrays: what to index by, and the rows of each likelihood.

    Attributes:
        coords: What the coefficients are indexed by.
        prompt_cell: Cell of each prompt. shape: (prompt,)
        prompt_stair: Stair of each prompt. shape: (prompt,)
        prompt_tokens: Prompt length, in tokens. shape: (prompt,)
        prefill_row: Row of the table behind each prefill reading. shape: (prefill,)
        prefill_prompt: Prompt of each prefill reading. shape: (prefill,)
        prefill_series: Series of each prefill reading. shape: (prefill,)
        prefill_s: Prefill time, in seconds. shape: (prefill,)
        decode_row: Row of the table behind each decode reading. shape: (decode,)
        decode_series: Series of each decode reading. shape: (decode,)
        decode_input: Prompt length, or its prior mean where unknown. shape: (decode,)
        decode_input_sd: Its standard deviation, 0 where known. shape: (decode,)
        decode_output: Generated tokens. shape: (decode,)
        decode_s: Decode time, in seconds. shape: (decode,)
        decode_block: Block of each decode reading, -1 where it has none. shape: (decode,)
        blocks: Series and name of each block of decode readings.
        resolution_s: Grid on which each series' prefill and decode times lie. shape: (series, 2)
        power: The power readings; ``None`` where no run has any.
    """

    coords: Coords
    prompt_cell: Ints
    prompt_stair: Ints
    prompt_tokens: Floats
    prefill_row: Ints
    prefill_prompt: Ints
    prefill_series: Ints
    prefill_s: Floats
    decode_row: Ints
    decode_series: Ints
    decode_input: Floats
    decode_input_sd: Floats
    decode_output: Floats
    decode_s: Floats
    decode_block: Ints
    blocks: tuple[tuple[int, str], ...]
    resolution_s: Floats
    power: PowerReadings | None

    def subset(self, rows: NDArray[np.bool_]) -> Design:
        """Return the same coordinates with only some rows' readings.

        A model compiled for the whole table can be refitted to any part of it.

        Args:
            rows: Which rows of the run table to keep. shape: (row,)
        """
        prefill, decode = rows[self.prefill_row], rows[self.decode_row]
        parts = {
            name: value[prefill if name.startswith("prefill") else decode]
            for name, value in vars(self).items()
            if name.startswith(("prefill_", "decode_"))
        }
        return replace(self, power=self.power and self.power.subset(rows), **parts)


def make_design(frame: pd.DataFrame, *, rail_offset: bool = False) -> Design:
    """Index a run table.

    Rows whose prompt length is unknown keep their decode reading: its dependence on the prompt is
    weak enough to integrate over the prompt lengths of the other rows. Their prefill is left out.

    Args:
        frame: A validated run table (``schema.Runs.frame``).
        rail_offset: Pool power of different rails, with an offset for each.

    Returns:
        The design.

    Raises:
        DataError: No row has a prefill or a decode time that can be used, or power was read on
            different rails and ``rail_offset`` is off.
    """
    column = {name: frame[name].to_numpy() for name in ("device", "llm", "session")}
    llms, llm = _factor(column["llm"])
    devices, device = _factor(column["device"])
    cells, cell = _factor_pairs(llm, device)
    sessions, session = _factor(column["session"])
    series_pairs, series = _factor_pairs(cell, session)

    inputs = frame["input_tokens"].to_numpy(float)
    outputs = frame["output_tokens"].to_numpy(float)
    prefill = _times(frame, "prefill_s")
    decode = _times(frame, "decode_s")
    p_rows = np.flatnonzero((prefill > 0) & (inputs > 0))
    d_rows = np.flatnonzero((decode > 0) & (outputs > 1))
    if not p_rows.size and not d_rows.size:
        raise DataError(
            f"none of the {len(frame)} runs can be fitted: a run needs prefill_s and input_tokens, "
            "or decode_s and two or more output_tokens"
        )

    prompts, prompt = np.unique(np.c_[cell[p_rows], inputs[p_rows]], axis=0, return_inverse=True)
    prompt_cell = prompts[:, 0].astype(np.int32)
    tiles, tile = np.unique(tile_of(prompts[:, 1]), return_inverse=True)
    stairs, prompt_stair = _factor_pairs(prompt_cell, tile)

    known = inputs[~np.isnan(inputs)]
    mean, sd = (known.mean(), known.std()) if known.size > 1 else UNKNOWN_INPUT
    decode_input = inputs[d_rows]
    unknown = np.isnan(decode_input)

    resolution = np.zeros((len(series_pairs), 2))
    for phase, (values, rows) in enumerate(((prefill, p_rows), (decode, d_rows))):
        for s in range(len(series_pairs)):
            resolution[s, phase] = _resolution(values[rows[series[rows] == s]])

    names = block_names(frame)
    blocks, decode_block = find_blocks(series[d_rows], names[d_rows])

    first = np.unique(llm, return_index=True)[1]
    params = frame["params_b"].to_numpy(float)[first]
    weights = params * frame["bytes_per_param"].to_numpy(float)[first]
    return Design(
        coords=Coords(
            llms=llms,
            params_b=tuple(params.tolist()),
            weights_gb=tuple(weights.tolist()),
            devices=devices,
            cells=cells,
            series=tuple((c, sessions[s]) for c, s in series_pairs),
            tiles=tuple(tiles.astype(int).tolist()),
            stairs=stairs,
            device_tiles=tuple(sorted({(cells[c][1], t) for c, t in stairs})),
            octaves=table_octaves(device[d_rows], inputs[d_rows]),
        ),
        prompt_cell=prompt_cell,
        prompt_stair=prompt_stair,
        prompt_tokens=prompts[:, 1],
        prefill_row=p_rows.astype(np.int32),
        prefill_prompt=prompt.reshape(-1).astype(np.int32),
        prefill_series=series[p_rows],
        prefill_s=prefill[p_rows],
        decode_row=d_rows.astype(np.int32),
        decode_series=series[d_rows],
        decode_input=np.where(unknown, mean, decode_input),
        decode_input_sd=np.where(unknown, sd, 0.0),
        decode_output=outputs[d_rows],
        decode_s=decode[d_rows],
        decode_block=decode_block,
        blocks=blocks,
        resolution_s=resolution,
        power=make_power_readings(frame, series, rail_offset=rail_offset),
    )


def tile_of(input_tokens: Floats) -> Floats:
    """Return the number of the tile that holds each prompt length, from 1."""
    tiles: Floats = padded(input_tokens, TILE) / TILE
    return tiles


def tile_middle(tile: Floats) -> Floats:
    """Return the middle of each tile, in tokens: where a stair's level is stated."""
    return (tile - 0.5) * TILE


def stair_anchor(design: Design) -> Floats:
    """Return the median prompt length of each stair's readings, in tokens. shape: (stair,).

    A stair's level is sampled at this length, where its data pin it, not in the tile's middle.
    """
    tokens = design.prompt_tokens[design.prefill_prompt]
    stair = design.prompt_stair[design.prefill_prompt]
    return group_medians(tile_middle(design.coords.stair_tiles()), stair, tokens)


def rises_pinned(design: Design) -> NDArray[np.bool_]:
    """Return whether readings tell more of each stair's rise than its population. shape: (stair,).

    They do where a line through the logs of its times has a slope that is known to less than
    :data:`USUAL_RISE`.
    """
    pinned = np.zeros(len(design.coords.stairs), dtype=bool)
    usual = USUAL_RISE * TILE / tile_middle(design.coords.stair_tiles())
    stair = design.prompt_stair[design.prefill_prompt]
    position = design.prompt_tokens[design.prefill_prompt] / TILE
    log_s = np.log(design.prefill_s)
    for k in np.unique(stair):
        x, y = position[stair == k], log_s[stair == k]
        if line := _line(x, y):
            pinned[k] = line[1] < usual[k]
    return pinned


def stair_series(design: Design) -> Ints:
    """Return the series that read each stair most; unread stairs get their cell's first."""
    stair = design.prompt_stair[design.prefill_prompt]
    counts = np.zeros((len(design.coords.stairs), len(design.coords.series)), dtype=int)
    np.add.at(counts, (stair, design.prefill_series), 1)
    first = {cell: s for s, (cell, _) in reversed(list(enumerate(design.coords.series)))}
    unread = np.array([first[cell] for cell, _ in design.coords.stairs], dtype=np.int32)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), unread).astype(np.int32)


def tiles_read(design: Design) -> Ints:
    """Return in how many tiles each cell has prefill readings. shape: (cell,)."""
    stairs = np.unique(design.prompt_stair[design.prefill_prompt])
    cells = np.array([c for c, _ in design.coords.stairs], dtype=int)[stairs]
    return np.bincount(cells, minlength=len(design.coords.cells))


def tiles_in_common(coords: Coords, pinned: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 where stairs of two LLMs or more tell what they share of a tile, else 0.

    One alone cannot tell it from what is its own. shape: (device_tile,)

    Args:
        coords: What stairs are indexed by.
        pinned: Whether readings pin each stair's level. shape: (stair,)
    """
    stairs = np.bincount(coords.stair_device_tiles(), pinned, len(coords.device_tiles))
    return (stairs > 1).astype(float)


def stair_weights(design: Design) -> tuple[Floats, Floats]:
    """Return by what each stair counts in the mean of its cell's stairs, and in their slope.

    The slope is that of a straight line over the log of the prompt, through those that were read.

    Args:
        design: The design.

    Returns:
        Weights of the mean and of the slope; 0 for stairs that were not read. shape: (stair,)
    """
    read = np.unique(design.prompt_stair[design.prefill_prompt])
    cell = np.array([c for c, _ in design.coords.stairs], dtype=int)
    anchor = np.log(stair_anchor(design))
    mean, slope = np.zeros(cell.size), np.zeros(cell.size)
    for c in np.unique(cell[read]):
        own = read[cell[read] == c]
        off = anchor[own] - anchor[own].mean()
        mean[own] = 1 / own.size
        if own.size > 1:
            slope[own] = off / (off**2).sum()
    return mean, slope


def prompt_ratio(design: Design) -> Floats:
    """Return the ratio of each cell's longest prompt to its shortest, of those with a prefill.

    shape: (cell,), 1 where there are none.
    """
    cell, tokens = _prompts_read(design)
    ratio = np.ones(len(design.coords.cells))
    for c in np.unique(cell):
        ratio[c] = tokens[cell == c].max() / tokens[cell == c].min()
    return ratio


def floor_shown(design: Design) -> NDArray[np.bool_]:
    """Return whether prefill hardly grows over a cell's short prompts. shape: (cell,).

    That is, over those of up to twice its shortest.
    """
    tokens = design.prompt_tokens[design.prefill_prompt]
    cell = np.array([c for c, _ in design.coords.series], dtype=int)[design.prefill_series]
    shown = np.zeros(len(design.coords.cells), dtype=bool)
    for c in np.unique(cell):
        short = (cell == c) & (tokens <= 2 * tokens[cell == c].min())
        x, y = np.log(tokens[short]), np.log(design.prefill_s[short])
        if np.ptp(x) >= FLAT_SPAN:
            shown[c] = np.polyfit(x, y, 1)[0] < FLAT_GROWTH
    return shown


def cell_far(design: Design) -> Floats:
    """Return half of each cell's longest prompt, in tokens, but 1,024 at least. shape: (cell,).

    How a cell's curve bends is sampled at this length, where the data pin it: over prompts spread
    evenly up to the longest, it is near the length at which the two ways to bend agree best.
    """
    longest = np.zeros(len(design.coords.cells))
    np.maximum.at(longest, *_prompts_read(design))
    return np.maximum(longest / 2, 1024.0)


def cell_middle(design: Design) -> Floats:
    """Return the median of the prompts that stand for a cell's stairs, in tokens. shape: (cell,).

    Each stair counts once: what it strays from the curve is more than the noise of its readings.
    """
    read = np.unique(design.prompt_stair[design.prefill_prompt])
    cell = np.array([c for c, _ in design.coords.stairs], dtype=int)[read]
    usual = np.full(len(design.coords.cells), float(REFERENCE_PROMPT))
    return group_medians(usual, cell, stair_anchor(design)[read])


def cell_nearest(design: Design, tokens: Floats) -> Floats:
    """Return the prompt that each cell was read at nearest to a length, by their ratio.

    What is stated at the length itself is sampled at this one, where its data pin it.

    Args:
        design: The design.
        tokens: A length for each cell, which stays where it has no prefill. shape: (cell,)
    """
    nearest = tokens.astype(float)
    cell, read = _prompts_read(design)
    for c in np.unique(cell):
        own = read[cell == c]
        nearest[c] = own[np.abs(np.log(own / tokens[c])).argmin()]
    return nearest


def context_cost(design: Design) -> Floats:
    """Return what a context token costs each series, relative to a step. shape: (series,).

    In 1/token, by a line through its time per step; NaN unless the line rises by :data:`PINNED`
    standard errors, so that readings tell more of the cost than its population does.
    """
    cost = np.full(len(design.coords.series), np.nan)
    context = context_tokens(design.decode_input, design.decode_output)
    step = design.decode_s / (design.decode_output - 1)
    for s in np.unique(design.decode_series):
        x, y = (v[design.decode_series == s] for v in (context, step))
        if line := _line(x, y):
            slope, error, level = line
            if slope > PINNED * error:
                cost[s] = slope / max(level - slope * x.mean(), LEAST_STEP * level)
    return cost


def series_context(design: Design) -> Floats:
    """Return the median context of each series' decode readings, in tokens. shape: (series,).

    A series' rate is sampled at this context, where its data pin it, and not at an empty one.
    """
    context = context_tokens(design.decode_input, design.decode_output)
    fallback = np.full(len(design.coords.series), context.mean() if context.size else 0.0)
    return group_medians(fallback, design.decode_series, context)


def main_series(design: Design) -> Ints:
    """Return the series with the most prefill readings of each cell that has any.

    Its session is part of the cell's stairs, since it pins most of them; others are stated
    against it.
    """
    n = np.bincount(design.prefill_series, minlength=len(design.coords.series))
    best: dict[int, int] = {}
    for s in np.argsort(n, kind="stable"):
        if n[s]:
            best[design.coords.series[s][0]] = int(s)
    return np.array(sorted(best.values()), dtype=np.int32)


def group_medians(fallback: Floats, index: Ints, values: Floats) -> Floats:
    """Return the median of each group's values; of a group without any, its fallback.

    Args:
        fallback: One value for each group. shape: (group,)
        index: Group of each value. shape: (value,)
        values: The values. shape: (value,)
    """
    medians = fallback.copy()
    for i in np.unique(index):
        medians[i] = np.median(values[index == i])
    return medians


def _line(x: Floats, y: Floats) -> tuple[float, float, float] | None:
    """Return slope, its standard error, and level in the middle of a line through readings.

    None where they are too few, or all at one place.
    """
    if x.size <= 3 or np.ptp(x) == 0:
        return None
    (slope, level), covariance = np.polyfit(x - x.mean(), y, 1, cov=True)
    return slope, np.sqrt(covariance[0, 0]), level


def _prompts_read(design: Design) -> tuple[Ints, Floats]:
    """Return cell and length, in tokens, of every prompt that has a prefill reading."""
    prompts = np.unique(design.prefill_prompt)
    return design.prompt_cell[prompts], design.prompt_tokens[prompts]


def _factor(values: NDArray[np.object_]) -> tuple[tuple[str, ...], Ints]:
    names, index = np.unique(values.astype(str), return_inverse=True)
    return tuple(names.tolist()), index.astype(np.int32)


def _factor_pairs(a: Ints, b: Ints) -> tuple[tuple[tuple[int, int], ...], Ints]:
    pairs, index = np.unique(np.c_[a, b], axis=0, return_inverse=True)
    return tuple((int(x), int(y)) for x, y in pairs), index.reshape(-1).astype(np.int32)


def _times(frame: pd.DataFrame, name: str) -> Floats:
    return frame[name].to_numpy(float) if name in frame else np.full(len(frame), np.nan)


def _resolution(times_s: Floats) -> float:
    """Return the coarsest power of ten that every time is a multiple of, in seconds."""
    for step in (0.1, 0.01, 0.001, 1e-4):
        if times_s.size > 2 and np.allclose(times_s / step, np.round(times_s / step), atol=1e-6):
            return step
    return 0.0
