"""What the hardware does, without noise: tiles, waves, launches and bytes, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt

from t2m_bayes.simulator.machines import BYTES, Machine, Transformer
from t2m_bayes.simulator.world import Session

FloatArray = npt.NDArray[np.float64]

_PAGE: Final = 16
"""Context tokens of one page of the key-value cache; a page is read whole."""

_ATTENTION: Final = 0.5
"""Speed of attention relative to the matrix kernel of the same prompt length."""


@dataclass(frozen=True)
class Phase:
    """The steps of one phase: prefill is one step, decode one for each token after the first.

    Attributes:
        seconds: Duration. shape: (session, step)
        dynamic_j: Energy of the bytes moved and operations done. shape: (step,)
    """

    seconds: FloatArray
    dynamic_j: FloatArray


def _speeds(sessions: Sequence[Session]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the memory, core and host speeds of sessions, each of shape (session, 1)."""
    table = np.array([[s.memory, s.core, s.host] for s in sessions])
    return table[:, 0:1], table[:, 1:2], table[:, 2:3]


def prefill(machine: Machine, llm: Transformer, tokens: int, sessions: Sequence[Session]) -> Phase:
    """Return the prefill of a prompt.

    A matrix is cut into tiles, and the tiles run in waves over the processors: a wave that is not
    full takes as long as a full one. Each matrix takes its waves or the streaming of its weights,
    whichever is longer; activations go by token, attention by pairs of tiles; and a layer takes
    the sum of these or its launch, whichever is longer.

    Args:
        machine: The machine.
        llm: The language model.
        tokens: Prompt length.
        sessions: Sessions to run it in.
    """
    memory, core, host = _speeds(sessions)
    kernel = machine.kernel(tokens)
    rate = machine.flops * machine.flops_fraction * kernel.relative
    bandwidth = machine.bandwidth * machine.bandwidth_fraction
    rows = ceil(tokens / kernel.tile_tokens)
    layer = np.zeros_like(core)
    operations = 0.0
    for depth, columns in llm.matrices:
        tiles = rows * ceil(columns / kernel.tile_columns)
        waves = ceil(tiles / machine.processors)
        tile_flops = 2.0 * kernel.tile_tokens * kernel.tile_columns * depth
        tile_s = tile_flops / (rate / machine.processors)
        layer += np.maximum(waves * tile_s / core, depth * columns * BYTES / bandwidth / memory)
        operations += tiles * tile_flops
    # Causal attention visits the tiles on and below the diagonal: scores and weighted sums.
    blocks = rows * (rows + 1) / 2
    attention = 4.0 * blocks * kernel.tile_tokens**2 * llm.heads * llm.head_dim
    layer += attention / (rate * _ATTENTION) / core
    activations = tokens * machine.activation_passes * (llm.hidden + llm.ffn) * BYTES
    layer += activations / bandwidth / memory
    layer = np.maximum(layer, machine.launch_prefill_s / host) + machine.gap_s / host
    head_s = llm.head_params * BYTES / bandwidth / memory
    moved = llm.layers * (llm.layer_params * BYTES + activations) + llm.head_params * BYTES
    dynamic_j = machine.byte_j * moved + machine.flop_j * llm.layers * (operations + attention)
    return Phase(llm.layers * layer + head_s + machine.host_request_s / host, np.array([dynamic_j]))


def decode(
    machine: Machine,
    llm: Transformer,
    input_tokens: int,
    output_tokens: int,
    sessions: Sequence[Session],
) -> Phase:
    """Return the decode steps of a request: one fewer than tokens, prefill having made the first.

    Each step streams every layer's weights and the pages of the context so far; a layer takes that
    or its launch, whichever is longer.

    Args:
        machine: The machine.
        llm: The language model.
        input_tokens: Prompt length.
        output_tokens: Tokens generated.
        sessions: Sessions to run it in.
    """
    memory, core, host = _speeds(sessions)
    context = input_tokens + np.arange(1, output_tokens)
    cache = -(-context // _PAGE) * _PAGE * float(llm.kv_bytes_per_token)
    bandwidth = machine.bandwidth * machine.bandwidth_fraction
    stream_s = (llm.layer_params * BYTES + cache / machine.cache_fraction) / bandwidth
    flops = 2.0 * llm.layer_params + 4.0 * context * llm.heads * llm.head_dim
    compute_s = flops / (machine.flops * machine.flops_fraction)
    layer = np.maximum(stream_s / memory, compute_s / core)
    layer = np.maximum(layer, machine.launch_decode_s / host) + machine.gap_s / host
    head_s = llm.head_params * BYTES / bandwidth / memory
    moved = llm.layers * (llm.layer_params * BYTES + cache) + llm.head_params * BYTES
    operations = llm.layers * flops + 2.0 * llm.head_params
    return Phase(
        llm.layers * layer + head_s + machine.host_step_s / host,
        machine.byte_j * moved + machine.flop_j * operations,
    )
