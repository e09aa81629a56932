"""What is simulated: language models as architectures, machines as hardware and engine habits."""

from dataclasses import dataclass
from typing import Final

import numpy as np

BYTES: Final = 2
"""Bytes of a weight, a key or a value: everything runs in FP16."""


@dataclass(frozen=True)
class Transformer:
    """A decoder-only language model; sizes, bytes and FLOPs all follow from its architecture.

    Attributes:
        name: Name of the LLM, as Tegra file names spell it.
        sheet: Name of its sheet in the server workbook.
        layers: Decoder layers.
        hidden: Width of the residual stream.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        ffn: Width of the feed-forward part.
        vocabulary: Tokens known; input and output embeddings are two matrices.
    """

    name: str
    sheet: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of a layer's matrices: QKV, output, gate and up, down."""
        inner = self.heads * self.head_dim
        qkv = inner + 2 * self.kv_heads * self.head_dim
        return (
            (self.hidden, qkv),
            (inner, self.hidden),
            (self.hidden, 2 * self.ffn),
            (self.ffn, self.hidden),
        )

    @property
    def layer_params(self) -> int:
        """Weights of one layer."""
        return sum(rows * columns for rows, columns in self.matrices)

    @property
    def head_params(self) -> int:
        """Weights of the output embedding."""
        return self.vocabulary * self.hidden

    @property
    def params_b(self) -> float:
        """Parameters in billions, both embeddings included."""
        return (self.layers * self.layer_params + 2 * self.head_params) / 1e9

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values that one context token adds to one layer's cache."""
        return 2 * self.kv_heads * self.head_dim * BYTES


_QWEN_1_5B: Final = (28, 1536, 12, 2, 128, 8960, 151_936)

LLMS: Final = {
    llm.name: llm
    for llm in (
        Transformer("DSR1-Qwen-1.5B", "DeepSeek-R1-Distill-Qwen-1_5B", *_QWEN_1_5B),
        Transformer(
            "DSR1-Llama-8B", "DeepSeek-R1-Distill-Llama-8B", 32, 4096, 32, 8, 128, 14_336, 128_256
        ),
        Transformer(
            "DSR1-Qwen-14B", "DeepSeek-R1-Distill-Qwen-14B", 48, 5120, 40, 8, 128, 13_824, 152_064
        ),
        Transformer("L1-Qwen-1.5B-Max", "L1-Qwen-1_5B-Max", *_QWEN_1_5B),
    )
}
"""The simulated LLMs by name; architectures from their public configuration files."""


@dataclass(frozen=True)
class Kernel:
    """A matrix kernel the engine picks for prompts up to some length.

    Attributes:
        up_to: Longest prompt it is picked for, in tokens.
        tile_tokens: Prompt tokens of one thread block's tile.
        tile_columns: Matrix columns of one thread block's tile.
        relative: Speed relative to the machine's best kernel.
    """

    up_to: float
    tile_tokens: int
    tile_columns: int
    relative: float


@dataclass(frozen=True)
class Machine:
    """A simulated machine: hardware facts, then what is drawn anew for each simulated world.

    Attributes:
        name: ``server`` or ``tegra``.
        bandwidth: Peak memory bandwidth, in bytes/s.
        flops: Peak dense FP16 rate, in FLOP/s.
        processors: Streaming multiprocessors, which run one tile each at a time.
        kernels: Matrix kernels by rising prompt length.
        rated_w: Power whose equilibrium heat is 1, in watts.
        sensor_period_s: Time between two power samples.
        bandwidth_fraction: Share of the peak bandwidth that streaming weights achieves.
        cache_fraction: Share of that which reading keys and values achieves.
        flops_fraction: Share of the peak rate that the best kernel achieves.
        activation_passes: Times a layer of prefill reads or writes each token's activations.
        launch_prefill_s: Time the host needs to launch one layer of prefill.
        launch_decode_s: Time the host needs to launch one layer of a decode step.
        gap_s: Idle time of the GPU between two layers, never hidden.
        host_request_s: Host work of a request before its prefill.
        host_step_s: Host work of a decode step (sampling, detokenising).
        heat_tau_s: Thermal time constant.
        heat_droop: Share of speed lost at heat 1.
        session_sd: Spread of clocks from one measuring session to the next, on the log scale.
        wander_sd: Slow drift of speed within a session, as a share.
        prefill_sd: Run-to-run spread of prefill, on the log scale.
        step_sd: Spread of one decode step, on the log scale.
        timer_sd_s: Error of a time reading.
        stall_request: Probability that something stalls a prefill.
        stall_step: Probability that something stalls one decode step.
        stall_s: Mean length of a stall.
        idle_w: Power at rest.
        active_w: Power that being busy adds whatever the work.
        byte_j: Energy of moving a byte, in joules.
        flop_j: Energy of a floating-point operation, in joules.
        sensor_sd: Relative error of one power sample.
    """

    name: str
    bandwidth: float
    flops: float
    processors: int
    kernels: tuple[Kernel, ...]
    rated_w: float
    sensor_period_s: float
    bandwidth_fraction: float
    cache_fraction: float
    flops_fraction: float
    activation_passes: float
    launch_prefill_s: float
    launch_decode_s: float
    gap_s: float
    host_request_s: float
    host_step_s: float
    heat_tau_s: float
    heat_droop: float
    session_sd: float
    wander_sd: float
    prefill_sd: float
    step_sd: float
    timer_sd_s: float
    stall_request: float
    stall_step: float
    stall_s: float
    idle_w: float
    active_w: float
    byte_j: float
    flop_j: float
    sensor_sd: float

    def kernel(self, tokens: int) -> Kernel:
        """Return the matrix kernel picked for a prompt of so many tokens."""
        return next(kernel for kernel in self.kernels if tokens <= kernel.up_to)


RANGES: Final[dict[str, dict[str, tuple[float, float]]]] = {
    "server": {
        "bandwidth_fraction": (0.72, 0.82),
        "cache_fraction": (0.5, 0.8),
        "flops_fraction": (0.48, 0.62),
        "activation_passes": (15.0, 25.0),
        "launch_prefill_s": (0.35e-3, 0.60e-3),
        "launch_decode_s": (0.16e-3, 0.26e-3),
        "gap_s": (8e-6, 20e-6),
        "host_request_s": (2e-3, 5e-3),
        "host_step_s": (0.4e-3, 1.0e-3),
        "heat_tau_s": (40.0, 120.0),
        "heat_droop": (0.002, 0.006),
        "session_sd": (0.010, 0.020),
        "wander_sd": (0.002, 0.005),
        "prefill_sd": (0.015, 0.030),
        "step_sd": (0.03, 0.06),
        "timer_sd_s": (3e-5, 8e-5),
        "stall_request": (0.002, 0.006),
        "stall_step": (2e-6, 8e-6),
        "stall_s": (0.05, 0.3),
        "idle_w": (50.0, 62.0),
        "active_w": (45.0, 65.0),
        "byte_j": (70e-12, 90e-12),
        "flop_j": (0.6e-12, 0.8e-12),
        "sensor_sd": (0.005, 0.015),
    },
    "tegra": {
        "bandwidth_fraction": (0.72, 0.79),
        "cache_fraction": (0.5, 0.8),
        "flops_fraction": (0.54, 0.64),
        "activation_passes": (25.0, 40.0),
        "launch_prefill_s": (1.45e-3, 1.75e-3),
        "launch_decode_s": (0.30e-3, 0.55e-3),
        "gap_s": (60e-6, 110e-6),
        "host_request_s": (2e-3, 5e-3),
        "host_step_s": (0.3e-3, 0.9e-3),
        "heat_tau_s": (60.0, 180.0),
        "heat_droop": (0.002, 0.008),
        "session_sd": (0.020, 0.045),
        "wander_sd": (0.0006, 0.003),
        "prefill_sd": (0.008, 0.020),
        "step_sd": (0.005, 0.02),
        "timer_sd_s": (5e-5, 2e-4),
        "stall_request": (0.002, 0.008),
        "stall_step": (2e-6, 8e-6),
        "stall_s": (0.5, 3.0),
        "idle_w": (5.0, 6.0),
        "active_w": (8.0, 11.0),
        "byte_j": (58e-12, 80e-12),
        "flop_j": (0.55e-12, 0.80e-12),
        "sensor_sd": (0.005, 0.020),
    },
}
"""What a world draws, uniformly between the two ends, for each machine; units as in `Machine`."""

_ENDLESS: Final = float("inf")


def draw_machine(name: str, rng: np.random.Generator) -> Machine:
    """Return a machine whose efficiencies, overheads, noise and powers are drawn from `RANGES`.

    Args:
        name: ``server``, an A100 of 40 GB, or ``tegra``, a Jetson AGX Orin of 64 GB.
        rng: Source of the draws.
    """
    drawn = {key: float(rng.uniform(low, high)) for key, (low, high) in RANGES[name].items()}
    if name == "server":
        return Machine(
            name=name,
            bandwidth=1555e9,
            flops=312e12,
            processors=108,
            kernels=(
                Kernel(64, 64, 64, 0.6),
                Kernel(512, 128, 128, 0.85),
                Kernel(_ENDLESS, 128, 256, 1.0),
            ),
            rated_w=300.0,
            sensor_period_s=0.1,
            **drawn,
        )
    return Machine(
        name=name,
        bandwidth=204.8e9,
        flops=42.5e12,
        processors=16,
        kernels=(
            Kernel(256, 128, 128, 0.90),
            Kernel(2048, 256, 128, 0.95),
            Kernel(_ENDLESS, 256, 256, 1.0),
        ),
        rated_w=30.0,
        sensor_period_s=1.0,
        **drawn,
    )
