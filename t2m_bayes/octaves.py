"""Octaves of context: where a decode step leaves the straight line in its context.

Attention kernels change with the context. llama.cpp on a Jetson AGX Orin 32GB takes 3 to 5 % longer
for a step at 257 to 512 tokens than a line through all contexts says, by the same number of
milliseconds for a 1B LLM at 4 and at 16 bits; TensorRT-LLM on the same board follows its line to
0.5 %. Prompts of a narrow range cannot show such a thing, and need no more than the line.
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

WIDE: Final = 16.0
"""Ratio of the longest to the shortest prompt of a device from which its octaves are modelled."""

OCTAVE_READINGS: Final = 3.0
"""Runs' worth of decode steps in an octave from which a cell has a level of its own there."""


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


def octave_middles(octaves: Sequence[int]) -> NDArray[np.float64]:
    """Return the middle of each octave, in tokens: where a cell's level is stated."""
    return np.array([0.75 * FIRST_TOKENS * 2**octave for octave in octaves])


def table_octaves(
    device: NDArray[np.integer[Any]], input_tokens: Floats, output_tokens: Floats
) -> tuple[int, ...]:
    """Return the octaves that a table's decode steps lie in; none where no device shows them.

    Args:
        device: Device of each run. shape: (run,)
        input_tokens: Prompt lengths, NaN where unknown. shape: (run,)
        output_tokens: Generated tokens, 2 or more. shape: (run,)
    """
    known = np.isfinite(input_tokens)
    device, inputs, outputs = device[known], input_tokens[known], output_tokens[known]
    prompts = [inputs[device == d] for d in np.unique(device)]
    if not any(p.max() >= WIDE * max(p.min(), 1) for p in prompts):
        return ()
    held = octave_shares(inputs, outputs, range(OCTAVES)).any(axis=1)
    return tuple(range(int(held.argmax()), OCTAVES - int(held[::-1].argmax())))


def octaves_read(cell: NDArray[np.integer[Any]], shares: Floats, cells: int) -> NDArray[np.float64]:
    """Return whether readings pin a cell's level in each octave. shape: (cell, octave).

    Args:
        cell: Cell of each decode reading. shape: (reading,)
        shares: Shares of its steps. shape: (octave, reading)
        cells: Number of cells.
    """
    held = np.stack([np.bincount(cell, share, minlength=cells) for share in shares], axis=1)
    return (held >= OCTAVE_READINGS).astype(float)


def octave_weights(read: Floats, device: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return each cell's share among the cells of its device that read an octave.

    Args:
        read: What :func:`octaves_read` returns. shape: (cell, octave)
        device: Device of each cell. shape: (cell,)

    Returns:
        The shares: 1 where one cell alone reads an octave, 0 where it does not. shape:
        (cell, octave)
    """
    same = (device[:, None] == device).astype(float)
    weights: NDArray[np.float64] = read / np.maximum(same @ read, 1)
    return weights


def several_read(weights: Any) -> Any:
    """Return of which octaves a cell and others of its device have readings. shape: (cell, octave).

    Args:
        weights: What :func:`octave_weights` returns. shape: (cell, octave)
    """
    return (weights > 0) & (weights < 1)


def _ends(octave: int) -> tuple[float, float]:
    """Return the contexts that an octave lies between: beyond the first, up to the second."""
    high = FIRST_TOKENS * 2**octave if octave < OCTAVES - 1 else np.inf
    return (FIRST_TOKENS * 2 ** (octave - 1) if octave else 0), high
