"""Deadlines and budgets: exact at the boundary, monotone, and plain where nothing fits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from t2m_bayes import cli
from t2m_bayes.cli.quantities import quantity
from t2m_bayes.decisions.limits import MOST, TRIED, budget, chance
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import draws_of, metric_draws, predict, shared_noise
from t2m_bayes.requests import make_requests


def chance_of(fit: Fit, tokens: int, limits: dict[str, float], **more: str) -> float:
    found = chance(fit, make_requests(fit, "8B", 512, tokens), limits, **more)
    return float(found.together[0])


@pytest.mark.parametrize(
    "limits",
    [{"total_s": 10.0}, {"total_s": 200.0}, {"decode_s": 3.0, "total_s": 3.5}, {"total_s": 0.6}],
    ids=["one by one", "bisected", "two limits", "nearly nothing"],
)
@pytest.mark.parametrize("session", ["new", "same"])
def test_the_boundary_is_exact(limits: dict[str, float], session: str, shipped_fit: Fit) -> None:
    found = budget(shipped_fit, "8B", 512, limits, prob=0.9, session=session)
    assert found.output_tokens > 0
    assert chance_of(shipped_fit, found.output_tokens, limits, session=session) == found.chance
    after = chance_of(shipped_fit, found.output_tokens + 1, limits, session=session)
    assert after == found.next_chance
    assert after < 0.9 <= found.chance
    assert found.binding in limits
    # The same by the draws themselves.
    request = make_requests(shipped_fit, "8B", 512, 1)
    cell = draws_of(shipped_fit, *next(request.keys()), session=session, seed=0)
    for tokens, expected in ((found.output_tokens, found.chance), (found.output_tokens + 1, after)):
        draws = metric_draws(cell, np.array([512.0]), np.array([float(tokens)]), shared_noise(cell))
        met = np.all([draws[m][0] <= most for m, most in limits.items()], axis=0)
        assert met.mean() == expected
    every = make_requests(shipped_fit, "8B", 512, np.arange(1, found.output_tokens + 1))
    assert chance(shipped_fit, every, limits, session=session).together.min() >= 0.9


def test_chances_agree_with_predictions(shipped_fit: Fit) -> None:
    requests = make_requests(shipped_fit, "8B", [100, 512, 2000], [50, 100, 200])
    limits = np.array([5.0, 10.5, 22.0])
    draws = predict(shipped_fit, requests).draws["total_s"].reshape(-1, 3)
    found = chance(shipped_fit, requests, {"total_s": limits})
    np.testing.assert_allclose(found.together, (draws <= limits).mean(axis=0), atol=0.03)
    np.testing.assert_array_equal(found.together, found.each["total_s"])


def test_budgets_are_monotone(shipped_fit: Fit) -> None:
    def tokens(deadline: float = 20.0, prob: float = 0.9, prompt: int = 512) -> int:
        limits = {"total_s": deadline}
        return budget(shipped_fit, "8B", prompt, limits, prob=prob).output_tokens

    deadlines = [tokens(deadline=d) for d in (0.1, 0.5, 1, 5, 20, 60, 300)]
    assert deadlines == sorted(deadlines)
    assert deadlines[0] == 0
    assert deadlines[-1] > TRIED
    probs = [tokens(prob=p) for p in (0.5, 0.9, 0.95, 0.99)]
    assert probs == sorted(probs, reverse=True)
    assert probs[0] > probs[-1]
    assert tokens(prompt=100) > tokens(prompt=4000)
    lengths = make_requests(shipped_fit, "8B", 512, np.arange(1, 400))
    chances = chance(shipped_fit, lengths, {"total_s": 20.0}).together
    assert (np.diff(chances) <= 0).all()
    assert chances[0] == 1
    assert chances[-1] == 0


def test_the_impossible_and_the_boundless(shipped_fit: Fit) -> None:
    none = budget(shipped_fit, "8B", 512, {"total_s": 0.05})
    assert (none.output_tokens, none.chance, none.binding) == (0, 0, "total_s")
    assert "even one output token has a chance of 0.0 % of total_s of 0.05 or less" in none.reason
    free = budget(shipped_fit, "8B", 512, {"prefill_s": 100.0})
    assert free.output_tokens == MOST
    assert free.next_chance is None
    assert "no limit is reached" in free.reason
    assert any("output_tokens" in w and "outside" in w for w in free.warnings)


def test_limits_that_cannot_be_answered(shipped_fit: Fit) -> None:
    with pytest.raises(DataError, match="there is no limit"):
        budget(shipped_fit, "8B", 512, {})
    with pytest.raises(DataError, match="above 0"):
        budget(shipped_fit, "8B", 512, {"total_s": 0})
    with pytest.raises(DataError, match="between 0 and 1"):
        budget(shipped_fit, "8B", 512, {"total_s": 1}, prob=1)
    with pytest.raises(DataError, match="does not predict cost"):
        budget(shipped_fit, "8B", 512, {"cost": 1})


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["budget", *(str(word) for word in words)])


def test_command(shipped_fit: Fit) -> None:
    words = ("--input-tokens", 512, "--deadline", "0.5min", "--output-tokens", 200)
    answer = json.loads(run("--model", "8B", *words, "--json").stdout)
    expected = budget(shipped_fit, "8B", 512, {"total_s": 30.0})
    (found,) = answer["budgets"]
    assert found["output_tokens"] == expected.output_tokens
    assert found["chance"] == expected.chance
    assert answer["limits"] == {"total_s": 30.0}
    asked = chance_of(shipped_fit, 200, {"total_s": 30.0})
    assert found["asked"]["chance"] == asked
    table = run("--which-llm", *words)
    for llm in shipped_fit.coords.llms:
        assert llm in table.stdout
    assert "chance of 200" in table.stdout


@pytest.mark.parametrize(
    ("words", "evidence"),
    [
        (("--model", "8B"), "give a limit"),
        (("--deadline", "10s"), "--which-llm"),
        (("--deadline", "10s", "--model", "8B", "--which-llm"), "one of the two"),
        (("--deadline", "10 W", "--model", "8B"), "unit of s, ms, min, h; found '10 W'"),
        (("--energy", "1MJ", "--model", "8B"), "--energy must be"),
        (("--deadline", "-1", "--model", "8B"), "--deadline must be"),
        (("--deadline", "1.2.3", "--model", "8B"), "--deadline must be"),
        (("--deadline", "10s", "--model", "9000B"), "no LLM '9000B'"),
        (("--deadline", "10s", "--model", "8B", "--prob", "95"), "between 0 and 1"),
    ],
)
def test_command_turns_away(words: tuple[str, ...], evidence: str) -> None:
    result = run("--input-tokens", 512, *words)
    assert result.exit_code == 2
    assert evidence in result.stderr


@pytest.mark.parametrize(
    ("text", "metric", "value"),
    [
        ("10s", "total_s", 10),
        ("10", "total_s", 10),
        ("250 ms", "total_s", 0.25),
        ("2 min", "total_s", 120),
        ("300J", "energy_j", 300),
        ("0.1Wh", "energy_j", 360),
        ("1.5kJ", "energy_j", 1500),
        ("30W", "power_w", 30),
        ("30w", "power_w", 30),
        ("900mW", "power_w", 0.9),
    ],
)
def test_quantities(text: str, metric: str, value: float) -> None:
    assert quantity(text, metric, "--limit") == pytest.approx(value)


def test_a_deadline_is_not_warned_of_power(shipped_fit: Fit) -> None:
    def warnings(**limits: float) -> str:
        return " ".join(budget(shipped_fit, "1.5B", 512, limits).warnings)

    assert "busy in prefill" in warnings(energy_j=300)
    assert "busy in prefill" not in warnings(total_s=10)
