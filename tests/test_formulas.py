from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from t2m_bayes.formulas import (
    KNEE,
    PADS,
    context_tokens,
    decode_time,
    floored,
    noise_middle,
    noise_width,
    padded,
    prefill_compute_time,
)
from t2m_bayes.noise import skew_t

tokens = st.integers(1, 100_000)
seconds = st.floats(1e-6, 1e3)
EQUAL = (1 / 3, 1 / 3, 1 / 3)


@given(tokens, st.sampled_from([1, 64, *PADS]))
def test_padding_rounds_up_to_the_next_block(count: int, width: int) -> None:
    up = padded(count, width)
    assert up % width == 0
    assert 0 <= up - count < width


@given(seconds, st.floats(0, 1e-3), tokens)
def test_one_output_token_needs_no_decode(step_s: float, context: float, prompt: int) -> None:
    assert decode_time(step_s, step_s, context, prompt, 1) == 0


@given(seconds, st.floats(0, 1e-3), tokens, st.integers(2, 10_000))
def test_decode_sums_its_steps(step_s: float, context: float, prompt: int, out: int) -> None:
    start_s = 0.002
    # The k-th of the out - 1 steps reads a context of about prompt + k tokens; their mean is
    # prompt + out / 2.
    steps = step_s * (1 + context * (prompt + np.arange(1, out)))
    expected = start_s + steps.sum()
    assert decode_time(start_s, step_s, context, prompt, out) == pytest.approx(expected, rel=1e-9)
    assert context_tokens(prompt, out) == prompt + out / 2


@given(st.floats(1, 50), st.floats(1, 50))
def test_the_middle_of_the_noise_is_close_to_its_median(fast: float, slow: float) -> None:
    below = stats.jf_skew_t.cdf(noise_middle(fast, slow), fast / 2, slow / 2)
    assert below == pytest.approx(0.5, abs=0.03)
    assert noise_middle(fast, fast) == 0


@given(st.floats(2, 50), st.floats(2, 50))
def test_the_width_of_the_noise_is_that_of_its_quartiles(fast: float, slow: float) -> None:
    low, high = stats.jf_skew_t.ppf([0.25, 0.75], fast / 2, slow / 2)
    assert noise_width(fast, slow) == pytest.approx((high - low) / 1.349, rel=0.05)


@pytest.mark.parametrize("tails", [(10.0, 2.5), (4.0, 4.0), (30.0, 1.5)])
def test_drawn_noise_has_its_distribution(tails: tuple[float, float]) -> None:
    fast, slow = tails
    middle = noise_middle(fast, slow)
    drawn = skew_t(np.random.default_rng(1), np.array(tails), middle, (20_000,))
    placed = stats.jf_skew_t.cdf(drawn + middle, fast / 2, slow / 2)
    assert stats.kstest(placed, "uniform").pvalue > 1e-3


@given(seconds, seconds)
def test_the_floor_is_a_maximum_within_a_knee(compute_s: float, floor_s: float) -> None:
    result = floored(compute_s, floor_s)
    largest = max(compute_s, floor_s)
    assert largest * (1 - 1e-12) <= result <= largest * 2 ** (1 / KNEE) * (1 + 1e-12)


@given(seconds, st.floats(-0.5, 0.5), st.floats(0, 1e-3), tokens)
def test_prefill_never_falls_with_the_prompt(
    token_s: float, growth: float, quadratic: float, prompt: int
) -> None:
    shorter = prefill_compute_time(token_s, growth, quadratic, EQUAL, prompt)
    longer = prefill_compute_time(token_s, growth, quadratic, EQUAL, prompt + 1)
    assert longer > shorter


@pytest.mark.parametrize("edge", PADS)
def test_prefill_jumps_where_kernels_take_another_block(edge: int) -> None:
    inside = prefill_compute_time(1e-3, 0.0, 0.0, EQUAL, np.array([edge - 1.0, edge]))
    across = prefill_compute_time(1e-3, 0.0, 0.0, EQUAL, np.array([edge, edge + 1.0]))
    assert np.diff(across)[0] > 20 * np.diff(inside)[0]
