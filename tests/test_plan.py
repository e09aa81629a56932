"""Planning: each run is chosen for what it adds, and for what one cares about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from t2m_bayes import cli
from t2m_bayes.decisions.belief import Belief
from t2m_bayes.decisions.plan import grid, plan_runs, some_of
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.requests import Requests, make_requests


def asked(fit: Fit, llm: str | list[str], inputs: list[int], outputs: list[int]) -> Requests:
    return make_requests(fit, llm, inputs, outputs)


def test_runs_are_of_what_one_cares_about(shipped_fit: Fit) -> None:
    targets = asked(shipped_fit, "14B", [100, 300, 500], [50, 100, 200])
    plan = plan_runs(shipped_fit, grid(shipped_fit), targets, 3)
    assert set(plan.runs.llm) == {"DSR1-Qwen-14B"}
    assert len(set(plan.chosen.tolist())) == 3
    assert (np.diff(plan.spread) <= 0).all()
    assert plan.spread[-1] < 0.7 * plan.spread[0]


def test_a_prompt_length_nobody_measured_is_measured_first(shipped_fit: Fit) -> None:
    # Prompts of 5,000 tokens are beyond every stair: one of them tells how the curve goes on.
    assert max(shipped_fit.coords.tiles) * 64 < 5000
    candidates = asked(shipped_fit, "8B", [100, 300, 5000, 1000], [2, 2, 2, 2])
    targets = asked(shipped_fit, "8B", [5010, 4995], [2, 2])
    plan = plan_runs(shipped_fit, candidates, targets, 1, metrics=["prefill_s"])
    assert plan.chosen.tolist() == [2]


def test_a_second_look_at_the_same_thing_is_worth_less(shipped_fit: Fit) -> None:
    candidates = asked(shipped_fit, ["8B", "8B", "8B", "14B"], [500] * 4, [400] * 4)
    targets = asked(shipped_fit, ["8B", "14B"], [500, 500], [400, 400])
    plan = plan_runs(shipped_fit, candidates, targets, 2, metrics=["decode_s"])
    assert set(plan.runs.llm) == {"DSR1-Llama-8B", "DSR1-Qwen-14B"}


def belief(rng: np.random.Generator, logs: int, scale: float = 1.0) -> Belief:
    mean, spread = (a @ a.T for a in rng.normal(size=(2, logs, logs)))
    return Belief(mean, rng.uniform(0.1, 2.0, logs), scale * spread)


def test_one_by_one_or_all_at_once() -> None:
    known = belief(np.random.default_rng(1), 5, scale=0.0)
    one, two, both = np.array([0]), np.array([1]), np.array([0, 1])
    at_once, step_by_step = known.after(both), known.after(one).after(two)
    np.testing.assert_allclose(step_by_step.mean, at_once.mean, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(at_once.noise, known.noise)


@given(st.integers(0, 1000))
def test_what_a_reading_is_said_to_be_worth_is_what_it_takes(seed: int) -> None:
    before, aims = belief(np.random.default_rng(seed), 6), np.array([4, 5])
    reading = np.array([0, 2])
    after = before.after(reading)
    taken = np.log(before.spread(aims) / after.spread(aims))
    assert taken == pytest.approx(before.entropy(reading, aims), rel=1e-6)
    assert taken >= 0


def test_noise_is_learned_where_the_mean_is_known() -> None:
    # Three logs of one noise, which is unknown: the mean of the first is known, of the second not.
    # The third is to be predicted, and its mean has nothing to do with theirs.
    known = Belief(np.diag([0.0, 9.0, 0.1]), np.ones(3), np.ones((3, 3)))
    aims = np.array([2])
    first, second = (known.entropy(np.array([i]), aims) for i in (0, 1))
    assert first > 10 * second > 0
    # One reading leaves 3 parts of 4 of what is unknown of the log of the variance.
    after = known.after(np.array([0]))
    np.testing.assert_allclose(after.scale, 0.75)
    np.testing.assert_allclose(after.noise, np.exp(-0.125))


def test_seconds_count_where_they_are_to(shipped_fit: Fit) -> None:
    targets = asked(shipped_fit, "8B", [300], [200])
    slow, quick = (
        plan_runs(shipped_fit, grid(shipped_fit), targets, 2, per=per) for per in ("run", "second")
    )
    assert quick.expected_s.sum() < slow.expected_s.sum()
    assert quick.spread[-1] >= slow.spread[-1]


def test_what_cannot_be_planned(shipped_fit: Fit) -> None:
    targets = asked(shipped_fit, "8B", [300], [200])
    with pytest.raises(DataError, match="2 runs cannot be chosen from 1"):
        plan_runs(shipped_fit, targets, targets, 2)
    with pytest.raises(DataError, match="does not predict joy"):
        plan_runs(shipped_fit, targets, targets, 1, metrics=["joy"])


def test_a_part_of_many(shipped_fit: Fit) -> None:
    many = asked(shipped_fit, "8B", list(range(1, 101)), [5] * 100)
    part = some_of(many, 10)
    assert len(part) == 10
    assert len(set(part.input_tokens.tolist())) == 10
    assert some_of(many, 100) is many


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["plan", *(str(word) for word in words)])


def test_command(tmp_path: Path) -> None:
    could, wanted, output = (tmp_path / f"{n}.csv" for n in ("could", "wanted", "to_run"))
    rows = {"input_tokens": [100, 900, 100], "output_tokens": [10, 400, 400]}
    pd.DataFrame(rows).to_csv(could, index=False)
    pd.DataFrame(rows | {"llm": "14B"}).to_csv(wanted, index=False)
    words = ("--candidates", could, "--for", wanted, "--model", "8B", "--output", output)
    result = run(*words, "--runs", 2)
    assert result.exit_code == 0, result.stderr
    assert "expected after 2 run(s)" in result.stdout
    made = pd.read_csv(output)
    assert list(made) == ["llm", "device", "input_tokens", "output_tokens", "expected_s"]
    assert set(made["llm"]) == {"DSR1-Llama-8B"}
    # What is planned can be asked about.
    assert CliRunner().invoke(cli.app, ["predict", "--requests", str(output)]).exit_code == 0
    for bad, evidence in (
        (("--runs", 4), "4 runs cannot be chosen from 3"),
        (("--metric", "joy"), "does not predict joy"),
        (("--for", tmp_path / "absent.csv"), "no such file"),
    ):
        refused = run(*words[:-2], *bad)
        assert refused.exit_code == 2
        assert evidence in refused.stderr
