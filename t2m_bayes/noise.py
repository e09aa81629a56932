"""Draws of the noise of single readings, in units of its scale, with NumPy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


def student_t(rng: np.random.Generator, tail: Floats, shape: tuple[int, ...]) -> Floats:
    """Draw Student-t noise: a normal over a root mean square.

    Args:
        rng: Where the draws come from.
        tail: Degrees of freedom, which broadcast against the shape; draws have their precision.
        shape: Shape of the draws.
    """
    half = tail / 2
    dtype: Any = tail.dtype
    normal = rng.standard_normal(shape, dtype=dtype)
    return np.asarray(normal / np.sqrt(_gamma(rng, half, shape) / half))


def skew_t(
    rng: np.random.Generator, tails: Floats, middle: Floats, shape: tuple[int, ...]
) -> Floats:
    """Draw the noise of times: see :func:`t2m_bayes.formulas.noise_middle`, which is taken off.

    Args:
        rng: Where the draws come from.
        tails: Degrees of freedom of the lower and of the upper tail, each of which broadcasts
            against the shape; draws have their precision. shape: (2, ...)
        middle: The middle of noise with these tails, which broadcasts likewise.
        shape: Shape of the draws.
    """
    fast, slow = tails
    ratio = np.sqrt(_gamma(rng, fast / 2, shape) / _gamma(rng, slow / 2, shape))
    return np.asarray(np.sqrt((fast + slow) / 2) * (ratio - 1 / ratio) / 2 - middle)


def _gamma(rng: np.random.Generator, shape: Floats, size: tuple[int, ...]) -> Floats:
    """Draw from a gamma distribution, above a floor whose square is still a number."""
    dtype: Any = shape.dtype
    floor = np.sqrt(np.finfo(dtype).tiny)
    return np.asarray(np.maximum(rng.standard_gamma(shape, size, dtype=dtype), floor))
