"""The usual decode time of runs, and how well their mean pace is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from t2m_bayes.design import make_design
from t2m_bayes.formulas import decode_time, paced_power
from t2m_bayes.pace import FEW, mean_error, usual_decode_s
from t2m_bayes.power_data import decode_pace, power_data


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def tokens(rng: np.random.Generator, runs: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Return prompt lengths and generated tokens."""
    return rng.integers(50, 2000, runs).astype(float), rng.integers(8, 2000, runs).astype(float)


@given(st.floats(0, 0.02), st.floats(1e-3, 1), st.floats(0, 1e-4))
def test_runs_on_the_line_are_all_at_their_usual_pace(
    start_s: float, step_s: float, context: float
) -> None:
    of = tokens(np.random.default_rng(0))
    decode_s = decode_time(start_s, step_s, context, *of)
    np.testing.assert_allclose(usual_decode_s(*of, decode_s), decode_s, rtol=1e-4)


def test_a_stall_does_not_make_the_other_runs_fast(rng: np.random.Generator) -> None:
    of = tokens(rng)
    usual_s = decode_time(0.002, 0.1, 1e-5, *of)
    decode_s = usual_s * np.exp(rng.normal(0, 0.003, usual_s.size))
    decode_s[7] *= 5
    np.testing.assert_allclose(usual_decode_s(*of, decode_s), usual_s, rtol=0.003)


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_a_few_runs_are_at_their_usual_pace_but_tell_little_of_it(runs: int) -> None:
    decode_s = np.array([1.0, 2.1, 3.3])[:runs]
    usual_s = usual_decode_s(
        np.array([10.0, 20.0, 50.0])[:runs], np.array([11.0, 21.0, 31.0])[:runs], decode_s
    )
    np.testing.assert_allclose(usual_s, decode_s, rtol=0.1)
    assert mean_error(np.log(usual_s / decode_s)) == FEW


@pytest.mark.parametrize("inertia", [0.0, 0.9])
def test_the_mean_of_runs_is_held_as_often_as_it_says(
    inertia: float, rng: np.random.Generator
) -> None:
    """Also where each run is near the one before, and one stalls."""
    runs, inside = 150, []
    for _ in range(300):
        pace = rng.normal(0, 0.002, runs)
        for i in range(1, runs):
            pace[i] = inertia * pace[i - 1] + np.sqrt(1 - inertia**2) * pace[i]
        mean = pace.mean()
        pace[50] -= 1.0
        inside.append(abs(mean) < stats.norm.ppf(0.95) * mean_error(pace))
    assert 0.75 < np.mean(inside) < 0.96


def test_each_run_is_held_against_its_own_session(rng: np.random.Generator) -> None:
    """Rows of two sessions in turn, read by phase; a run of one token has no decode to speak of.

    Repeats of one prompt and output are held against one another.
    """
    prompts, outputs = tokens(rng, 60)
    outputs[:2] = 1.0
    repeats = (np.arange(60) % 2 == 0) & (np.arange(60) > 48)
    prompts[repeats], outputs[repeats] = 900.0, 700.0
    faster = np.arange(60) % 2
    decode_s = decode_time(0.0, 0.1, 1e-5, prompts, outputs) / (1 + faster)
    decode_s[:2] = 0.0005
    decode_s[repeats] *= 1.04
    frame = pd.DataFrame(
        {
            "device": "jetson-agx-orin-32gb",
            "llm": "Llama-3.2-1B",
            "input_tokens": prompts,
            "output_tokens": outputs,
            "prefill_s": 0.2,
            "decode_s": decode_s,
            "prefill_energy_j": 5.0 + np.arange(60) / 100,
            "decode_energy_j": 30 * decode_s * (1 + np.arange(60) / 1000),
            "params_b": 1.24,
            "bytes_per_param": 2.0,
            "session": np.where(faster, "tuesday", "monday"),
            "source": "here",
        }
    )
    readings = make_design(frame).power
    assert readings is not None
    pace, error = decode_pace(readings, 2)
    np.testing.assert_allclose(pace, 1, rtol=0.01)
    np.testing.assert_allclose(pace[repeats[readings.row]], 1)
    np.testing.assert_array_equal(pace[(outputs == 1)[readings.row] | (readings.part == 0)], 1)
    assert error[1] < 1e-4 < error[0]
    data = power_data(readings, np.zeros(2, dtype=int), 1)
    np.testing.assert_allclose(data["phase_pace"], 1, rtol=0.01)


@given(st.floats(0, 1), st.floats(0.1, 10))
def test_a_step_takes_some_energy_however_long_it_lasts(dynamic: float, slower: float) -> None:
    energy_j = paced_power(20.0, dynamic, 1 / slower) * slower
    assert energy_j == pytest.approx(20 * ((1 - dynamic) * slower + dynamic))
