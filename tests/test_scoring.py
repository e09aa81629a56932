"""Scores: their values on cases worked out by hand, and what must hold of any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from t2m_bayes.errors import T2MError
from t2m_bayes.scoring import bias, coverage, crps, interval_width, mape, median_ape, score

TIMES = arrays(float, st.integers(1, 30), elements=st.floats(0.01, 1e4))


@st.composite
def ensembles(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draws of shape (sample, n) and n observations."""
    observed = draw(TIMES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.floats(0.01, 1))
    return observed * np.exp(spread * rng.standard_normal((60, observed.size))), observed


def test_scores_of_cases_worked_out_by_hand() -> None:
    predicted, observed = [1.1, 1.8, 4.0], [1.0, 2.0, 4.0]
    assert mape(predicted, observed) == pytest.approx(0.2 / 3)
    assert median_ape(predicted, observed) == pytest.approx(0.1)
    assert bias(predicted, observed) == pytest.approx(0)
    assert coverage([0, 2, 5], [1, 3, 6], [1.0, 2.0, 4.0]) == pytest.approx(2 / 3)
    assert interval_width([0, 2], [1, 5]) == pytest.approx(2)


def test_crps_is_that_of_a_normal_distribution() -> None:
    draws = np.random.default_rng(0).standard_normal((20_000, 1))
    assert crps(draws, [0.0]) == pytest.approx((np.sqrt(2) - 1) / np.sqrt(np.pi), rel=0.02)


@given(TIMES, st.floats(0.5, 2), st.floats(1e-3, 1e3))
def test_a_constant_factor_is_the_relative_error_in_any_unit(
    observed: np.ndarray, factor: float, unit: float
) -> None:
    predicted = factor * observed * unit
    for error in (mape, median_ape):
        assert error(predicted, observed * unit) == pytest.approx(abs(factor - 1), abs=1e-9)
    assert bias(predicted, observed * unit) == pytest.approx(factor - 1, abs=1e-9)


@given(TIMES, TIMES)
def test_bias_is_never_larger_than_the_error(a: np.ndarray, b: np.ndarray) -> None:
    n = min(a.size, b.size)
    assert abs(bias(a[:n], b[:n])) <= mape(a[:n], b[:n]) * (1 + 1e-9)


@given(TIMES)
def test_crps_of_a_point_is_its_absolute_error(observed: np.ndarray) -> None:
    assert crps(np.tile(observed + 1, (5, 1)), observed) == pytest.approx(1, rel=1e-6)


@given(ensembles(), st.floats(0.01, 100))
def test_crps_has_the_unit_of_the_times(case: tuple[np.ndarray, np.ndarray], unit: float) -> None:
    draws, observed = case
    assert crps(draws * unit, observed * unit) == pytest.approx(unit * crps(draws, observed))
    assert crps(draws, observed) <= np.abs(draws - observed).mean() * (1 + 1e-9)


@given(ensembles())
def test_wider_intervals_cover_no_less(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score(*case, probs=(0.5, 0.9))
    assert scores["n"] == case[1].size
    assert 0 <= scores["coverage_50"] <= scores["coverage_90"] <= 1
    assert 0 <= scores["width_50"] <= scores["width_90"]


@given(ensembles(), st.randoms(use_true_random=False))
def test_order_does_not_matter(case: tuple[np.ndarray, np.ndarray], shuffle: object) -> None:
    draws, observed = case
    order = np.random.default_rng(shuffle.getrandbits(32)).permutation(observed.size)
    again = score(draws[::-1, order], observed[order])
    assert again == pytest.approx(score(draws, observed))


@pytest.mark.parametrize(
    ("call", "evidence"),
    [
        (lambda: mape([1, 2], [1]), r"\(2,\).*\(1,\)"),
        (lambda: mape([], []), "empty"),
        (lambda: bias([1.0, 2.0], [1.0, 0.0]), "found 0 at position 1"),
        (lambda: median_ape([np.nan], [1.0]), "finite; found nan at position 0"),
        (lambda: coverage([2.0], [1.0], [1.0]), "lower bound 2 is above upper bound 1"),
        (lambda: crps(np.ones((3, 2)), [1.0]), r"\(3, 2\).*1 observed"),
        (lambda: crps(np.ones(3), [1.0, 1.0, 1.0]), "2 dimension"),
        (lambda: score(np.ones((3, 1)), [1.0], probs=(90,)), "between 0 and 1; found 90"),
    ],
)
def test_what_cannot_be_scored_is_said_with_evidence(call: object, evidence: str) -> None:
    with pytest.raises(T2MError, match=evidence):
        call()
