"""Output tokens that are not known before a request has run: drawn from those that are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from t2m_bayes.request_files import Block

    Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Lengths:
    """A distribution of output tokens, as uncertain as the number of rows it was learned from.

    Each posterior draw weighs the observed lengths anew: Bayesian bootstrap (Rubin 1981,
    doi:10.1214/aos/1176345338). What a request asks is not held to tell its length.

    Attributes:
        tokens: Distinct lengths. shape: (length,)
        below: Probability of each length and those before it. shape: (sample, length)
    """

    tokens: Floats
    below: Floats

    def draw(self, rng: np.random.Generator, requests: int) -> Floats:
        """Draw a length for each request and posterior draw. shape: (request, sample)."""
        uniform = rng.random((len(self.below), requests))
        index = np.stack(
            [np.searchsorted(b, u, side="right") for b, u in zip(self.below, uniform, strict=True)],
            axis=1,
        )
        return np.asarray(self.tokens[np.minimum(index, self.tokens.size - 1)])


def learn_lengths(blocks: Iterable[Block], samples: int, seed: int) -> Lengths:
    """Learn the distribution of output tokens from the rows that have them.

    Args:
        blocks: Rows with a column ``output_tokens``.
        samples: Posterior draws.
        seed: Seed of the weights.

    Raises:
        DataError: No row has output tokens, or one is not a whole number of 1 or more.
    """
    counts: dict[float, int] = {}
    for block in blocks:
        values = block.numbers("output_tokens")[~block.empty("output_tokens")]
        if not np.all((values >= 1) & (values == np.floor(values))):
            raise DataError("output_tokens to learn from must be whole numbers of 1 or more")
        for value, count in zip(*np.unique(values, return_counts=True), strict=True):
            counts[float(value)] = counts.get(float(value), 0) + int(count)
    if not counts:
        raise DataError(
            "no row has output_tokens, so nothing tells how long answers are: give "
            "--output-tokens-from FILE, a table of requests like these with that column"
        )
    tokens = np.array(sorted(counts))
    rng = np.random.default_rng([seed, tokens.size])
    weights = rng.standard_gamma([counts[t] for t in tokens], (samples, tokens.size))
    below = np.cumsum(weights, axis=1)
    return Lengths(tokens, below / below[:, -1:])
