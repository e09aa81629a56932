"""Workloads: totals against brute force, and what averages out in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from t2m_bayes import cli
from t2m_bayes.decisions.lengths import Lengths, learn_lengths
from t2m_bayes.decisions.workload import Histogram, Workload, sum_workload
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import STALL, predict
from t2m_bayes.request_files import CsvBlock
from t2m_bayes.request_tables import Reading
from t2m_bayes.requests import make_requests

LEVELS = (0.05, 0.5, 0.95)


def block(inputs: np.ndarray, outputs: np.ndarray, llm: str = "8B") -> CsvBlock:
    rows = [
        [llm, str(i), "" if np.isnan(o) else str(int(o))]
        for i, o in zip(inputs, outputs, strict=True)
    ]
    return CsvBlock(("llm", "input_tokens", "output_tokens"), rows, 0)


def summed(
    fit: Fit,
    inputs: np.ndarray,
    outputs: np.ndarray,
    session: str = "new",
    lengths: Lengths | None = None,
    seed: int = 0,
) -> Workload:
    reading = Reading(fit, session, unknown_outputs=True)
    return sum_workload(fit, reading, [block(inputs, outputs)], lengths=lengths, seed=seed)


def brute_force(fit: Fit, inputs: np.ndarray, outputs: np.ndarray, session: str) -> dict:
    """Return every draw of every request. shape: (sample, request)."""
    drawn = predict(fit, make_requests(fit, "8B", inputs, outputs), session=session)
    return {m: values.reshape(-1, inputs.size) for m, values in drawn.draws.items()}


def agree(fit: Fit, inputs: np.ndarray, outputs: np.ndarray, session: str) -> None:
    workload = summed(fit, inputs, outputs, session)
    draws = brute_force(fit, inputs, outputs, session)
    assert list(workload.totals) == list(fit.metrics)
    for metric, total in workload.totals.items():
        brute = (
            draws["energy_j"].sum(axis=1) / draws["total_s"].sum(axis=1)
            if metric == "power_w"
            else draws[metric].sum(axis=1)
        )
        np.testing.assert_allclose(
            np.quantile(total, LEVELS), np.quantile(brute, LEVELS), rtol=0.01
        )
    for share, latency in workload.latency_s.items():
        brute = np.quantile(draws["total_s"], share, axis=1, method="inverted_cdf")
        np.testing.assert_allclose(
            np.quantile(latency, LEVELS), np.quantile(brute, LEVELS), rtol=0.01
        )


@pytest.mark.parametrize("session", ["new", "same"])
def test_totals_agree_with_brute_force(session: str, shipped_fit: Fit) -> None:
    rng = np.random.default_rng(1)
    agree(shipped_fit, rng.integers(1, 3000, 300), rng.integers(1, 400, 300), session)


def test_a_sample_of_real_requests_agrees_with_brute_force(real: Path, shipped_fit: Fit) -> None:
    trace = pd.read_csv(real / "azure_trace_tokens.csv").sample(500, random_state=0)
    agree(
        shipped_fit,
        trace["input_tokens"].to_numpy(),
        trace["output_tokens"].to_numpy(),
        "new",
    )


def width(draws: np.ndarray) -> float:
    """Return the width of the 90 % band, relative to the median."""
    low, median, high = np.quantile(draws, LEVELS)
    return float((high - low) / median)


def without_doubt(fit: Fit) -> Fit:
    """Return the fit with every draw the same: noise of single runs is all that is left."""
    draws = {n: np.broadcast_to(d.mean(axis=(0, 1)), d.shape).copy() for n, d in fit.draws.items()}
    draws["block_spread_decode"][:] = 0
    return replace(fit, draws=draws)


def test_noise_averages_out_and_shared_uncertainty_does_not(shipped_fit: Fit) -> None:
    certain = without_doubt(shipped_fit)

    def narrowing(fit: Fit, session: str) -> dict[str, float]:
        few, many = (summed(fit, np.full(n, 500), np.full(n, 50), session) for n in (25, 400))
        return {m: width(few.totals[m]) / width(many.totals[m]) for m in few.totals}

    noise, shared = narrowing(certain, "same"), narrowing(shipped_fit, "new")
    one_block = {"block_spread_decode": shipped_fit.draws["block_spread_decode"]}
    blocked = narrowing(replace(certain, draws=certain.draws | one_block), "same")
    # Sixteen times the requests: a quarter of the width if all of it is independent noise, whose
    # tails are heavy, and all of the width if it is shared.
    assert 3.0 < noise["decode_s"] < 5.5
    assert 0.9 < shared["decode_s"] < 1.1
    # Requests that are run one after another share a block.
    assert 0.9 < blocked["decode_s"] < 1.3
    assert 0.9 < shared["total_s"] < 1.1
    # Shared noise, as single predictions may have it, would leave the band of a sum far too wide.
    total = summed(certain, np.full(400, 500), np.full(400, 50), "same").totals["decode_s"]
    one = brute_force(certain, np.full(1, 500), np.full(1, 50), "same")["decode_s"]
    assert width(total) < 0.1 * width(one)


def test_a_stall_counts_only_so_much(shipped_fit: Fit) -> None:
    wild = dict(shipped_fit.draws)
    wild["tail_slow_prefill"] = np.full_like(wild["tail_slow_prefill"], 0.2)
    requests = np.full(50, 100), np.full(50, 1)
    totals = summed(replace(shipped_fit, draws=wild), *requests).totals["prefill_s"]
    usual = summed(shipped_fit, *requests).totals["prefill_s"]
    assert np.isfinite(totals).all()
    assert totals.max() <= 1.2 * STALL * usual.max()


def test_no_draw_of_a_time_is_zero(shipped_fit: Fit) -> None:
    wild = dict(shipped_fit.draws)
    wild["tail_fast_prefill"] = np.full_like(wild["tail_fast_prefill"], 0.2)
    wild_fit = replace(shipped_fit, draws=wild)
    drawn = predict(wild_fit, make_requests(wild_fit, "8B", [100] * 50, [1] * 50)).draws
    assert (drawn["prefill_s"] > 0).all()
    assert np.isfinite(drawn["prefill_s"]).all()


def test_unknown_output_tokens_are_drawn(shipped_fit: Fit) -> None:
    inputs = np.full(200, 300)
    some = np.full(200, np.nan)
    some[:4] = (20, 20, 20, 60)
    samples = shipped_fit.shape[0] * shipped_fit.shape[1]
    lengths = learn_lengths([block(inputs, some)], samples, 0)
    drawn = lengths.draw(np.random.default_rng(0), 500)
    assert set(np.unique(drawn)) == {20, 60}
    weight = (drawn == 60).mean(axis=0)
    # Weights of one row in four are Beta(1, 3).
    assert weight.mean() == pytest.approx(0.25, abs=0.03)
    assert weight.std() == pytest.approx(np.sqrt(3 / 80), abs=0.03)
    known = summed(shipped_fit, inputs, np.full(200, 30))
    unknown = summed(shipped_fit, inputs, some, lengths=lengths)
    assert np.median(unknown.totals["decode_s"]) == pytest.approx(
        np.median(known.totals["decode_s"]), rel=0.15
    )
    # Four rows tell little of what two hundred will be, and that does not average out.
    assert width(unknown.totals["decode_s"]) > 5 * width(known.totals["decode_s"])
    assert width(unknown.totals["prefill_s"]) == pytest.approx(
        width(known.totals["prefill_s"]), rel=0.1
    )
    sure = learn_lengths([block(inputs, np.full(200, 30.0))], samples, 0)
    same = summed(shipped_fit, inputs, np.full(200, np.nan), lengths=sure)
    for metric, total in same.totals.items():
        np.testing.assert_allclose(np.median(total), np.median(known.totals[metric]), rtol=0.005)


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(DataError, match="--output-tokens-from"):
        learn_lengths([block(np.ones(3), np.full(3, np.nan))], 10, 0)


@settings(max_examples=50)
@given(
    st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.5, 0.95, 1.0]),
)
def test_quantiles_of_a_histogram(values: list[float], share: float) -> None:
    histogram = Histogram(1)
    for part in np.array_split(np.array(values), 3):
        if part.size:
            histogram.add(part[:, None])
    exact = np.quantile(values, share, method="inverted_cdf")
    assert histogram.quantile(share)[0] == pytest.approx(exact, rel=0.0051)


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["workload", *(str(word) for word in words)])


def test_command(tmp_path: Path, shipped_fit: Fit) -> None:
    asked = tmp_path / "asked.csv"
    rows = pd.DataFrame({"input_tokens": [100, 200, 300], "output_tokens": ["20", "", "40"]})
    rows.to_csv(asked, index=False)
    answer = json.loads(run("--requests", asked, "--model", "8B", "--json").stdout)
    assert answer["requests"] == 3
    assert answer["unknown_output_tokens"] == 1
    assert list(answer["metrics"]) == list(shipped_fit.metrics)
    assert list(answer["latency_s"]) == ["p50", "p95", "p99"]
    for band in (*answer["metrics"].values(), *answer["latency_s"].values()):
        assert band["lower"] < band["median"] < band["upper"]
    text = run("--requests", asked, "--model", "8B")
    assert "3 requests one after the other, 1 of them with output tokens drawn" in text.stdout
    lengths = tmp_path / "lengths.csv"
    lengths.write_text("output_tokens\n1000\n")
    words = ("--requests", asked, "--model", "8B", "--output-tokens-from", lengths, "--json")
    longer = json.loads(run(*words).stdout)
    assert longer["metrics"]["decode_s"]["lower"] > 5 * answer["metrics"]["decode_s"]["upper"]


@pytest.mark.parametrize(
    ("content", "words", "evidence"),
    [
        ("input_tokens,output_tokens\n1,1\n", (), "name the LLM with --model"),
        ("input_tokens\n1\n", ("--model", "8B"), "--output-tokens-from"),
        ("input_tokens,output_tokens\n1,x\n", ("--model", "8B"), "output_tokens, data row 1"),
        ("output_tokens\n1\n", ("--model", "8B"), "no column input_tokens"),
        ("input_tokens,output_tokens\n1,1\n", ("--model", "9000B"), "no LLM '9000B'"),
        ("input_tokens,output_tokens\n1,1\n", ("--model", "8B", "--prob", "2"), "between 0 and 1"),
    ],
)
def test_command_turns_away(
    content: str, words: tuple[str, ...], evidence: str, tmp_path: Path
) -> None:
    (tmp_path / "asked.csv").write_text(content)
    result = run("--requests", tmp_path / "asked.csv", *words)
    assert result.exit_code == 2
    assert evidence in result.stderr
    assert result.stdout == ""
