"""Octaves of context: where a decode step leaves the straight line in its context.

Attention kernels change with the context. llama.cpp on a Jetson AGX Orin 32GB takes 3 to 5 % longer
for a step at 257 to 512 tokens than a line through all contexts says, by the same number of
milliseconds for a 1B LLM at 4 and at 16 bits; TensorRT-LLM on the same board follows its line to
0.5 %. Prompts of a narrow range cannot show such a thing, and need no more than the line.

What all octaves that a cell was read in have in common looks like its decode step. It counts as the
latter, which goes on in other octaves, and is off there by as much. What grows evenly with their
context looks like the cost of a token of it, and may be either: readings pin the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

FIRST_TOKENS: Final = 128
"""Contexts of octave 0 have no more tokens than this; those of the next up to twice as many."""

OCTAVES: Final = 12
"""Number of octaves; the last one has no end."""

MIDDLES: Final = FIRST_TOKENS * np.r_[0.5, 0.75 * 2.0 ** np.arange(1, OCTAVES)]
"""Context in the middle of each octave, in tokens."""

WIDE: Final = 16.0
"""Ratio of the longest to the shortest prompt of a device from which its octaves are modelled."""

OCTAVE_READINGS: Final = 3.0
"""Runs' worth of decode steps in an octave from which a cell has a level of its own there."""

SEEN: Final = 0.5
"""Share of a pattern's variance that readings show, from which they pin it."""


def octave_shares(input_tokens: Floats, output_tokens: Floats, octaves: Sequence[int]) -> Floats:
    """Return the share of a run's decode steps that each octave holds.

    Args:
        input_tokens: Prompt lengths, any shape.
        output_tokens: Generated tokens, which broadcast against them.
        octaves: Numbers of octaves, from 0.

    Returns:
        Shares; 0 for a run without a decode step. shape: (octave, ...)
    """
    last = input_tokens + output_tokens - 1
    steps = np.maximum(output_tokens - 1, 1)
    return np.stack(
        [
            np.clip(np.minimum(last, high) - np.maximum(input_tokens, low), 0, None) / steps
            for low, high in map(_ends, octaves)
        ]
    )


def table_octaves(device: NDArray[np.integer[Any]], input_tokens: Floats) -> tuple[int, ...]:
    """Return the octaves of a table's decode steps; none where no device shows them.

    Args:
        device: Device of each run. shape: (run,)
        input_tokens: Prompt lengths, NaN where unknown. shape: (run,)
    """
    known = np.isfinite(input_tokens)
    device, inputs = device[known], input_tokens[known]
    prompts = [inputs[device == d] for d in np.unique(device)]
    wide = any(p.max() >= WIDE * max(p.min(), 1) for p in prompts)
    return tuple(range(OCTAVES)) if wide else ()


def octaves_read(cell: NDArray[np.integer[Any]], shares: Floats, cells: int) -> NDArray[np.float64]:
    """Return whether readings pin a cell's level in each octave. shape: (cell, octave).

    Args:
        cell: Cell of each decode reading. shape: (reading,)
        shares: Shares of its steps. shape: (octave, reading)
        cells: Number of cells.
    """
    held = np.stack([np.bincount(cell, share, minlength=cells) for share in shares], axis=1)
    return (held >= OCTAVE_READINGS).astype(float)


def off_mean(read: Floats) -> NDArray[np.float64]:
    """Return what takes from effects of octaves their mean over those that a cell was read in.

    Args:
        read: What :func:`octaves_read` returns. shape: (cell, octave)

    Returns:
        Matrices from effects to departures. shape: (cell, octave, octave)
    """
    shares = read / np.maximum(read.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.eye(read.shape[1]) - shares[:, None, :], dtype=np.float64)


def octave_lines(read: Floats) -> NDArray[np.float64]:
    """Return the context of octaves that were read, from their mean, in tokens; 0 of others.

    Args:
        read: What :func:`octaves_read` returns. shape: (cell, octave)

    Returns:
        Lines in context with a slope of 1; of a single octave, none. shape: (cell, octave)
    """
    return np.asarray(read * (off_mean(read) @ MIDDLES))


def octave_slopes(read: Floats) -> NDArray[np.float64]:
    """Return the weights that give the slope in context of effects of octaves, by least squares.

    Args:
        read: What :func:`octaves_read` returns. shape: (cell, octave)

    Returns:
        Weights, in 1/token; none of an octave that was not read. shape: (cell, octave)
    """
    line = octave_lines(read)
    return np.asarray(line / np.maximum((line**2).sum(axis=1, keepdims=True), 1))


def octave_patterns(
    read: Floats, cost_read: Floats, cell_device: NDArray[np.integer[Any]], devices: int
) -> dict[str, NDArray[np.float64]]:
    """Return orthonormal patterns over octaves, some of which readings pin.

    Independent effects of one spread are as many independent patterns with that spread. A mean of
    octaves that were read is not pinned, since it looks like the decode step, nor is their slope
    where it looks like a cost of context that readings pin.

    Args:
        read: What :func:`octaves_read` returns. shape: (cell, octave)
        cost_read: Above 0 where readings pin a cell's cost of context. shape: (cell,)
        cell_device: Device of each cell. shape: (cell,)
        devices: Number of devices.

    Returns:
        Of what a device's LLMs share, ``device_octave_pattern``, shape (device, octave, pattern),
        and ``device_octave_pinned``, 1 for what readings pin, shape (device, pattern). The same of
        what is an LLM's own, ``cell_octave_...``, which is pinned where its readings and those of
        others show it. And ``cell_octave_share``, what effects of one cell alone look like in the
        patterns of its device, shape (cell, pattern, octave).
    """
    slopes = cost_read[:, None] * octave_slopes(read)
    line = MIDDLES[:, None] * slopes[:, None, :]
    shown = read[:, :, None] * (off_mean(read) @ (np.eye(OCTAVES) - line))
    seen = shown.transpose(0, 2, 1) @ shown
    of_device = np.zeros((devices, *seen.shape[1:]))
    np.add.at(of_device, cell_device, seen)
    shared, device_pattern = np.linalg.eigh(of_device)
    in_pattern = device_pattern.transpose(0, 2, 1)[cell_device] @ seen
    own, pattern = np.linalg.eigh(seen @ (of_device[cell_device] - seen) @ seen)
    return {
        "device_octave_pattern": device_pattern,
        "device_octave_pinned": (shared > SEEN).astype(float),
        "cell_octave_share": in_pattern / np.maximum(shared, SEEN)[cell_device][:, :, None],
        "cell_octave_pattern": pattern,
        "cell_octave_pinned": (own > SEEN).astype(float),
    }


def _ends(octave: int) -> tuple[float, float]:
    """Return the contexts that an octave lies between: beyond the first, up to the second."""
    high = FIRST_TOKENS * 2**octave if octave < OCTAVES - 1 else np.inf
    return (FIRST_TOKENS * 2 ** (octave - 1) if octave else 0), high
