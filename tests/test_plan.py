"""Planning: each run is chosen for what it adds, and for what one cares about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from t2m_bayes import cli
from t2m_bayes.decisions import plan as planning
from t2m_bayes.decisions.plan import grid, plan_runs, some_of
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import predict
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
    # One by one or all at once: the same normal distribution.
    drawn = predict(shipped_fit, planning._joined(candidates, targets), session="new")
    logs, noise = planning._logs(
        drawn.expected["decode_s"], drawn.draws["decode_s"], slice(None, None)
    )
    readings = plan.chosen
    covariance = np.cov(logs, rowvar=False)
    at_once = planning._updated(covariance, noise, readings)
    one, two = (np.array([i]) for i in readings)
    step_by_step = planning._updated(planning._updated(covariance, noise, one), noise, two)
    np.testing.assert_allclose(step_by_step, at_once, rtol=1e-6, atol=1e-12)


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
