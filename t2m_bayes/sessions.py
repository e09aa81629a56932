"""Which measured session a prediction is read off, and how far its blocks lie about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit

    Floats = NDArray[np.floating[Any]]


def same_session(
    fit: Fit, series: Sequence[int], count: str, session: str, label: str | None
) -> int | None:
    """Return the series to read a session off; ``None`` for a session of its own.

    Args:
        fit: The fit.
        series: Series of the LLM on the device.
        count: Name of the count of readings (:class:`t2m_bayes.fits.Reads`) that must not be 0.
        session: ``new`` or ``same``.
        label: With ``same``: the session's name; without one the session with the most readings.
    """
    if session == "new":
        return None
    read = [s for s in series if getattr(fit.reads[s], count)]
    if label is not None:
        return next((s for s in read if fit.coords.series[s][1] == label), None)
    return max(read, key=lambda s: int(getattr(fit.reads[s], count)), default=None)


def block_spread(
    fit: Fit, kind: str, at: tuple[int, ...] | None, width: Floats, normal: Callable[[], Floats]
) -> Floats:
    """Return draws of how far a block lies about its series, on the log scale. shape: (sample,).

    Args:
        fit: The fit.
        kind: ``decode`` or ``power``.
        at: The series, and of power the phase; ``None`` for a series that the fit does not have.
        width: Width of the noise of its readings. shape: (sample,)
        normal: Draws standard normals. shape: (sample,)
    """
    if f"block_spread_{kind}" not in fit.draws:
        return np.zeros_like(width)
    if at is not None:
        spread: Floats = np.moveaxis(fit.flat(f"block_spread_{kind}"), 0, -1)[at]
        return spread
    return width * prior_draws(fit, f"block_ratio_{kind}", normal)


def device_draws(fit: Fit, name: str, device: str, normal: Callable[[], Floats]) -> Floats:
    """Return draws of a device's own coefficient; of a new device, from its prior.

    Args:
        fit: The fit.
        name: Name of the coefficient and of its prior.
        device: The device.
        normal: Draws standard normals. shape: (sample,)

    Returns:
        The draws. shape: (sample,)
    """
    if device in fit.coords.devices:
        return fit.flat(name)[:, fit.coords.devices.index(device)]
    return prior_draws(fit, name, normal)


def prior_draws(fit: Fit, name: str, normal: Callable[[], Floats]) -> Floats:
    """Return draws of a prior that the fit was made with. shape: (sample,).

    Args:
        fit: The fit.
        name: Name of the prior.
        normal: Draws standard normals. shape: (sample,)
    """
    prior = fit.provenance["priors"][name]
    drawn = prior["sd"] * normal()
    if prior["kind"] == "lognormal":
        return np.asarray(prior["centre"] * np.exp(drawn))
    return np.asarray(prior["centre"] + drawn)
