"""What is believed of many logarithms at once, and what readings would take from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Positions = NDArray[np.intp]

SCALE_NOISE: Final = 3.0
"""Variance of what one reading tells of the log of its noise variance, when its mean is known: the
inverse of the Fisher information, 2 (1 + 3 / v) for Student-t noise of v degrees of freedom (Lange,
Little and Taylor 1989, doi:10.1080/01621459.1989.10478852), which is 2.8 and 3.5 for the model's
tails."""


@dataclass(frozen=True)
class Belief:
    """What is believed of logs of readings and of targets, as normal distributions.

    Attributes:
        mean: Covariance of their means. shape: (log, log)
        noise: Variance of their noise, infinite where there is nothing to read. shape: (log,)
        scale: Covariance of the logs of those variances. shape: (log, log)
    """

    mean: Floats
    noise: Floats
    scale: Floats

    def spread(self, aims: Positions) -> float:
        """Return the geometric mean of the standard deviations of so many logs."""
        return float(np.exp(np.log(self._variance(aims)).mean() / 2))

    def entropy(self, reading: Positions, aims: Positions) -> float:
        """Return the entropy that readings would take from logs, in nats: their mean."""
        mean = _told(self.mean, self.noise, reading, aims)
        scale = _told(self.scale, self._hidden, reading, aims)
        noise = self.noise[aims] * np.exp(-scale / 2)
        left = np.maximum(np.diag(self.mean)[aims] - mean, 0) + noise
        return float(np.log(self._variance(aims) / left).mean() / 2)

    def after(self, reading: Positions) -> Belief:
        """Return what would be believed after readings, whatever they are."""
        scale = _updated(self.scale, self._hidden, reading)
        told = np.diag(self.scale) - np.diag(scale)
        return Belief(
            _updated(self.mean, self.noise, reading), self.noise * np.exp(-told / 2), scale
        )

    def _variance(self, aims: Positions) -> Floats:
        return np.maximum(np.diag(self.mean)[aims], 0) + self.noise[aims]

    @cached_property
    def _hidden(self) -> Floats:
        """Return the noise with which each reading tells the log of its noise variance.

        A residual's variance is of the noise and of what is unknown of the mean.
        """
        unknown = np.maximum(np.diag(self.mean), 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            hidden = SCALE_NOISE * (1 + unknown / self.noise) ** 2
        return np.where(np.isfinite(self.noise), hidden, np.inf)


def _gain(covariance: Floats, noise: Floats, reading: Positions) -> tuple[Floats, Floats]:
    """Return the part of a run's readings that exist: covariance with all, and its inverse."""
    own = reading[np.isfinite(noise[reading])]
    inner = covariance[np.ix_(own, own)] + np.diag(noise[own])
    return covariance[:, own], np.linalg.inv(inner)


def _told(covariance: Floats, noise: Floats, reading: Positions, aims: Positions) -> Floats:
    """Return the variance that a run takes from each aim. shape: (aim,)."""
    cross, inverse = _gain(covariance, noise, reading)
    told: Floats = np.einsum("ij,jk,ik->i", cross[aims], inverse, cross[aims])
    return told


def _updated(covariance: Floats, noise: Floats, reading: Positions) -> Floats:
    cross, inverse = _gain(covariance, noise, reading)
    updated: Floats = covariance - cross @ inverse @ cross.T
    return updated
