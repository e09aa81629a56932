"""Blocks: readings of a series that share what their tokens do not explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Ints = NDArray[np.integer[Any]]

BLOCK_READINGS: Final = 5
"""Readings from which a block has a level of its own. One of fewer joins the noise."""

HALF_CENTRED: Final = 3.0
"""Readings with which a block is sampled half centred."""


def block_names(frame: pd.DataFrame) -> NDArray[np.object_]:
    """Return what each run was measured together with: its subject, or else its tokens.

    The questions of one subject are asked one after another, by one process on one warm device;
    repeats of one prompt and output run the same kernels.

    Args:
        frame: A run table.

    Returns:
        Names, empty where a run has neither. shape: (row,)
    """
    known = frame["input_tokens"].notna() & frame["output_tokens"].notna()
    tokens = frame["input_tokens"].map("{:g}x".format) + frame["output_tokens"].map("{:g}".format)
    names = tokens.where(known, "").astype(object)
    if "subject" in frame:
        subject = frame["subject"].fillna("")
        names = subject.where(subject != "", names).astype(object)
    return np.asarray(names.astype(str), dtype=object)


def find_blocks(
    group: Ints, names: NDArray[np.object_]
) -> tuple[tuple[tuple[int, str], ...], Ints]:
    """Return the blocks that have readings enough for a level of their own.

    Args:
        group: Group of each reading, such as its series. shape: (reading,)
        names: What it was measured together with: see :func:`block_names`. shape: (reading,)

    Returns:
        Group and name of each block; and the block of each reading, -1 where it has none.
        shape: (reading,)
    """
    labels, label = np.unique(names.astype(str), return_inverse=True)
    pairs, pair, counts = np.unique(
        np.c_[group, label], axis=0, return_inverse=True, return_counts=True
    )
    kept = (counts >= BLOCK_READINGS) & (labels[pairs[:, 1]] != "")
    number = np.where(kept, np.cumsum(kept) - 1, -1)
    blocks = tuple((int(g), str(labels[k])) for g, k in pairs[kept])
    return blocks, number[pair.reshape(-1)].astype(np.int32)


def block_data(
    dim: str,
    kind: str,
    blocks: tuple[tuple[int, str], ...],
    block: Ints,
    group: Ints,
    groups: int,
    *,
    half_centred: float = HALF_CENTRED,
) -> dict[str, NDArray[Any]]:
    """Return the values of a model's ``pm.Data`` that say which readings share a level.

    Args:
        dim: The model's dimension of blocks.
        kind: The kind of reading.
        blocks: Group and name of each block.
        block: Block of each reading, -1 where it has none. shape: (reading,)
        group: Group of each reading, such as its series. shape: (reading,)
        groups: Number of groups.
        half_centred: Readings with which a block is sampled half centred; 0 where blocks are known
            to be spread as wide as their noise or wider, so that few readings pin one.

    Returns:
        ``<dim>_centred``, how far a block is sampled centred on what its readings pin, from 0 where
        it has too few to 1; ``series_blocked``, whether a group has a block with enough; of each
        reading, ``<kind>_block``, ``<kind>_blocked`` for one in such a block and
        ``<kind>_weight``, its share of it, and ``<kind>_loose`` for another of the same group.
    """
    if not blocks:
        return {}
    counts = np.bincount(block[block >= 0], minlength=len(blocks))
    centred = _centred(counts, half_centred)
    blocked = (block >= 0) & (centred[block] > 0)
    group_blocked = np.zeros(groups, dtype=bool)
    group_blocked[group[blocked]] = True
    return {
        f"{dim}_centred": centred,
        "series_blocked": group_blocked.astype(float),
        f"{kind}_block": np.maximum(block, 0).astype(np.int32),
        f"{kind}_blocked": blocked.astype(float),
        f"{kind}_weight": blocked / np.maximum(counts[block], 1),
        f"{kind}_loose": (group_blocked[group] & ~blocked).astype(float),
    }


def block_levels(
    blocks: tuple[tuple[int, str], ...],
    block: Ints,
    log_rates: Floats,
    log_sizes: Floats,
    *,
    half_centred: float = HALF_CENTRED,
) -> NDArray[np.float64]:
    """Return where the chains of blocks start: at the mean size, at the median rate.

    Args:
        blocks: The blocks.
        block: Block of each reading, -1 where it has none. shape: (reading,)
        log_rates: Logarithm of each reading over its size. shape: (reading,)
        log_sizes: Logarithm of that size, such as the number of steps. shape: (reading,)
        half_centred: As of :func:`block_data`.
    """
    levels = np.full(len(blocks), 1e-3)
    centred = _centred(np.bincount(block[block >= 0], minlength=len(blocks)), half_centred)
    for b in np.flatnonzero(centred):
        own = block == b
        levels[b] = centred[b] * (log_sizes[own].mean() + np.median(log_rates[own]))
    return levels


def _centred(counts: Ints, half: float) -> NDArray[np.float64]:
    """Return how far blocks of that many readings are sampled centred. shape: (block,)."""
    return np.where(counts >= BLOCK_READINGS, counts / np.maximum(counts + half, 1), 0.0)
