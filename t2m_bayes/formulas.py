"""The physics, once, in plain arithmetic: NumPy arrays and PyTensor graphs both run these lines.

No function here calls a library: only operators, so whatever carries the operators carries the
formula. Coefficients come in natural units (not logs) and broadcast against the token counts.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

KNEE: Final = 8
"""Sharpness of the passage from the prefill floor to compute: the p of a p-norm, a power of two."""

PADS: Final = (128, 256)
"""Prompt tokens that matrix kernels round up to, in tokens. On a Jetson AGX Orin a prefill of
129 tokens takes 1.3 times one of 128, and 257 1.5 times 256; inside a block time rises linearly."""

REFERENCE_PROMPT: Final = 512
"""Prompt length at which the time of a prompt token is stated, in tokens."""

REFERENCE_CONTEXT: Final = 512
"""Mean context at which decode power is stated, in tokens."""


def padded(tokens: Any, width: int) -> Any:
    """Return the token count rounded up to a whole number of blocks.

    Args:
        tokens: Whole token counts, any shape.
        width: Block width in tokens.
    """
    return -(-tokens // width) * width


def context_tokens(input_tokens: Any, output_tokens: Any) -> Any:
    """Return the mean context length over the decode steps of a run, in tokens."""
    return input_tokens + output_tokens / 2


def decode_time(
    start_s: Any, step_s: Any, context: Any, input_tokens: Any, output_tokens: Any
) -> Any:
    """Return the decode time in seconds.

    The first token comes out of prefill, so ``output_tokens - 1`` steps are left; each step
    streams the weights (``step_s``) and the keys and values of the context, whose cost relative
    to the step is ``context`` for each context token. Runs of less than some 60 tokens take 1 to
    5 ms more than that on a Jetson AGX Orin: getting the first step under way.

    Args:
        start_s: Time until decoding is under way, in seconds.
        step_s: Time of one step at an empty context, in seconds.
        context: Relative cost of one context token, in 1/token.
        input_tokens: Prompt length.
        output_tokens: Generated tokens.
    """
    mean_step_s = step_s * (1 + context * context_tokens(input_tokens, output_tokens))
    return (output_tokens > 1) * start_s + (output_tokens - 1) * mean_step_s


def prefill_compute_time(
    token_s: Any, growth: Any, quadratic: Any, shares: Sequence[Any], input_tokens: Any
) -> Any:
    """Return the compute-bound prefill time in seconds, before any floor.

    Args:
        token_s: Time of one prompt token at :data:`REFERENCE_PROMPT` tokens, in seconds.
        growth: Exponent by which that time changes with the work: below 0 where longer prompts
            fill the device better.
        quadratic: Relative cost of attention for each prompt token, in 1/token.
        shares: Shares of the work that grows token by token, in blocks of 128 tokens, and in
            blocks of 256; they add up to 1.
        input_tokens: Prompt length.
    """
    narrow, wide = PADS
    work = (
        shares[0] * input_tokens
        + shares[1] * padded(input_tokens, narrow)
        + shares[2] * padded(input_tokens, wide)
    )
    return token_s * work * (work / REFERENCE_PROMPT) ** growth * (1 + quadratic * input_tokens)


def floored(compute_s: Any, floor_s: Any) -> Any:
    """Return the smooth maximum of a compute time and a floor, in seconds.

    ``(compute**p + floor**p) ** (1/p)`` with p = :data:`KNEE`: streaming the weights once bounds
    prefill from below, and the two overlap rather than add.
    """
    return compute_s * (1 + (floor_s / compute_s) ** KNEE) ** (1 / KNEE)


def noise_middle(fast: Any, slow: Any) -> Any:
    """Return the middle of the noise of times, in units of its scale.

    The noise is the skew t of Jones and Faddy (2003, doi:10.1111/1467-9868.00378): a lower tail of
    ``fast`` and an upper tail of ``slow`` degrees of freedom, because a run can stall and cannot
    outrun its hardware. It is a function of the ratio of two gamma variables of shapes ``fast/2``
    and ``slow/2``; its middle is its value at the ratio of their medians.

    Args:
        fast: Degrees of freedom of the lower tail.
        slow: Degrees of freedom of the upper tail.
    """
    ratio = _ratio_of_medians(fast, slow)
    return ((fast + slow) / 2) ** 0.5 * (ratio - 1 / ratio) / 2


def noise_width(fast: Any, slow: Any) -> Any:
    """Return the width of the noise of times without its tails, in units of its scale.

    The slope of the function of :func:`noise_middle` at its middle, times the standard deviation of
    the logarithm of the ratio: a gamma variable of shape a has a logarithm of variance close to
    ``1/a + 1/(2 a**2)``. It is the distance of the quartiles over 1.349, to some 4 %, which is the
    standard deviation where there are no tails.

    Args:
        fast: Degrees of freedom of the lower tail.
        slow: Degrees of freedom of the upper tail.
    """
    ratio = _ratio_of_medians(fast, slow)
    variance = 2 / fast + 2 / fast**2 + 2 / slow + 2 / slow**2
    return ((fast + slow) / 2 * variance) ** 0.5 * (ratio + 1 / ratio) / 4


def _ratio_of_medians(fast: Any, slow: Any) -> Any:
    """Return the root of the ratio of the gamma medians, each near ``a * exp(-1 / (3 a))``."""
    return (fast / slow) ** 0.5 * math.e ** ((1 / slow - 1 / fast) / 3)


def decode_power(busy_w: Any, exponent: Any, context: Any) -> Any:
    """Return the power of decode at its usual pace, in watts.

    Args:
        busy_w: That power at a mean context of :data:`REFERENCE_CONTEXT` tokens.
        exponent: Exponent by which it changes with the context: attention over keys and values
            draws another power than streaming weights.
        context: Mean context, in tokens: see :func:`context_tokens`.
    """
    return busy_w * (context / REFERENCE_CONTEXT) ** exponent


def paced_power(usual_w: Any, dynamic: Any, pace: Any) -> Any:
    """Return the power of a run that is faster or slower than usual, in watts.

    A step takes some energy however long it lasts, as gates switch and bits move; the rest goes by
    time. A run that is slower than usual therefore draws less.

    Args:
        usual_w: Power at the usual pace.
        dynamic: Share of it that is the energy of steps.
        pace: Usual time over the run's.
    """
    return usual_w * (1 - dynamic + dynamic * pace)
