"""The noise of times as a distribution of PyMC, with a density that is cheap to differentiate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.continuous import SkewStudentTRV
from pytensor.compile.builders import OpFromGraph

if TYPE_CHECKING:
    from collections.abc import Sequence


class SkewTRV(SkewStudentTRV):  # type: ignore[misc]  # PyMC is not typed
    """The same random variable; a type of its own is what a density of its own is found by."""


class SkewT(pm.SkewStudentT):  # type: ignore[misc]  # PyMC is not typed
    """PyMC's skew t of Jones and Faddy (2003, doi:10.1111/1467-9868.00378), written another way.

    With its gradient by hand: the density of single readings is most of what sampling costs, and
    differentiating the textbook form leaves some fifteen divisions for each.
    """

    rv_op = SkewTRV()

    def logp(value: Any, a: Any, b: Any, mu: Any, sigma: Any) -> Any:  # noqa: N805
        """Return the log density."""
        constant = (a + b - 1) * np.log(2) + pt.gammaln(a) + pt.gammaln(b) - pt.gammaln(a + b)
        shape = _log_shape()(*pt.broadcast_arrays(value - mu, sigma, a - b, a + b))
        return shape - constant


def _log_shape() -> OpFromGraph:
    r"""Return the operation that has the part of the log density that differs between readings.

    Of residual :math:`r`, scale :math:`\sigma`, :math:`a - b` and :math:`n = a + b`, it is
    :math:`(a - b) \operatorname{asinh} u - \frac{n + 1}{2} \log(1 + u^2) - \log(\sigma\sqrt{n})`
    with :math:`u = r / (\sigma \sqrt{n})`: the textbook's :math:`1 \pm x / \sqrt{n + x^2}` are
    :math:`e^{\pm\operatorname{asinh} u} / \sqrt{1 + u^2}`.
    """
    inputs = [pt.dvector(name) for name in ("residual", "sigma", "skew", "freedom")]
    _, _, skew, freedom = inputs
    _, log_root, log_wide, asinh = _parts(inputs)
    log_shape = skew * asinh + freedom / 2 * log_wide - (freedom + 1) * log_root
    return OpFromGraph(inputs, [log_shape], inline=True, pullback=_pullback)


def _pullback(inputs: Sequence[Any], _: Sequence[Any], outer: Sequence[Any]) -> list[Any]:
    """Return the gradient by every input, given that by the result."""
    residual, sigma, skew, freedom = inputs
    root, log_root, log_wide, asinh = _parts(inputs)
    inverse = 1 / root
    sine = residual * inverse
    by_log_wide = (freedom - skew * sine - (freedom + 1) * (1 - sine**2)) / 2
    gradient = (
        (skew - (freedom + 1) * sine) * inverse,
        2 * by_log_wide / sigma,
        asinh,
        by_log_wide / freedom + log_wide / 2 - log_root,
    )
    return [outer[0] * part for part in gradient]


def _parts(inputs: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """Return the root of ``n sigma**2 + r**2``, its log, that of ``n sigma**2``, and asinh u."""
    residual, sigma, _, freedom = inputs
    wide = freedom * sigma**2
    root = pt.sqrt(wide + residual**2)
    log_wide = pt.log(wide)
    asinh = pt.sign(residual) * (pt.log(pt.abs(residual) + root) - log_wide / 2)
    return root, pt.log(root), log_wide, asinh
