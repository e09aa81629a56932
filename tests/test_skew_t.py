"""The skew t's density and its gradient by hand, against PyMC's own and automatic ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytensor.compile.maker import function
from pytensor.gradient import grad

from t2m_bayes.skew_t import SkewT

READINGS = np.array([-40.0, -3.0, -1e-3, 0.0, 0.2, 4.0, 60.0])
Evaluate = Callable[..., list[np.ndarray]]


def _evaluate(distribution: type[pm.SkewStudentT]) -> Evaluate:
    """Return a function of a, b, middle and scale: the log densities and their sum's gradient."""
    inputs = a, b, mu, sigma = pt.dscalars("a", "b", "mu", "sigma")
    scales = sigma * np.linspace(0.5, 2, READINGS.size)
    density = pm.logp(distribution.dist(a=a, b=b, mu=mu, sigma=scales), READINGS)
    weighted = (density * np.arange(1, 1 + READINGS.size)).sum()
    evaluate: Evaluate = function(
        list(inputs), [density, *grad(weighted, list(inputs))], mode="FAST_COMPILE"
    )
    return evaluate


@pytest.fixture(scope="module")
def ours() -> Evaluate:
    """This project's."""
    return _evaluate(SkewT)


@pytest.fixture(scope="module")
def theirs() -> Evaluate:
    """PyMC's."""
    return _evaluate(pm.SkewStudentT)


@given(
    a=st.floats(0.3, 30),
    b=st.floats(0.3, 30),
    mu=st.floats(-1, 1),
    # Farther out PyMC subtracts two numbers that differ in their last digits.
    sigma=st.floats(1, 10),
)
def test_density_and_gradient_are_those_of_pymc(
    ours: Evaluate, theirs: Evaluate, a: float, b: float, mu: float, sigma: float
) -> None:
    density, *gradient = ours(a, b, mu, sigma)
    their_density, *their_gradient = theirs(a, b, mu, sigma)
    np.testing.assert_allclose(density, their_density, rtol=1e-6, atol=1e-6)
    # Sums of terms that nearly cancel: as exact as the largest of them.
    size = max(1.0, *(abs(float(part)) for part in their_gradient))
    np.testing.assert_allclose(gradient, their_gradient, rtol=1e-5, atol=1e-6 * size)


def test_a_reading_far_off_keeps_its_density_finite(ours: Evaluate) -> None:
    # PyMC's is minus infinity here: one less a number that is one to the last digit.
    density, *gradient = ours(2.0, 1.5, 0.0, 1e-9)
    assert np.isfinite(density).all()
    assert np.isfinite(gradient).all()
