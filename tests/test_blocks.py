"""Blocks: which readings share a level of their own, and what that does to predictions."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from t2m_bayes.blocks import BLOCK_READINGS, block_data, block_names, find_blocks
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import predict
from t2m_bayes.requests import make_requests

READINGS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["", "law", "art"])), max_size=60)


def test_a_run_belongs_to_its_subject_or_else_to_its_tokens() -> None:
    frame = pd.DataFrame(
        {
            "input_tokens": [128.0, 128.0, np.nan],
            "output_tokens": [16.0, 16.0, 16.0],
            "subject": ["law", None, None],
        }
    )
    assert block_names(frame).tolist() == ["law", "128x16", ""]
    assert block_names(frame.drop(columns="subject")).tolist() == ["128x16", "128x16", ""]


@given(READINGS)
def test_a_block_has_enough_readings_of_one_series(readings: list[tuple[int, str]]) -> None:
    series = np.array([s for s, _ in readings], dtype=int)
    names = np.array([n for _, n in readings], dtype=object)
    blocks, block = find_blocks(series, names)
    for (s, name), b in zip(readings, block.tolist(), strict=True):
        together = sum((s, name) == other for other in readings)
        if name and together >= BLOCK_READINGS:
            assert blocks[b] == (s, name)
        else:
            assert b == -1


@given(READINGS, st.randoms(use_true_random=False))
def test_every_reading_of_a_part_is_in_a_block_or_loose_or_of_a_series_without(
    readings: list[tuple[int, str]], random: Random
) -> None:
    series = np.array([s for s, _ in readings], dtype=int)
    names = np.array([n for _, n in readings], dtype=object)
    blocks, block = find_blocks(series, names)
    part = np.array([random.random() < 0.6 for _ in readings], dtype=bool)
    data = block_data("block", "decode", blocks, block[part], series[part], 3)
    if not blocks:
        assert not data
        return
    counts = np.bincount(block[part][block[part] >= 0], minlength=len(blocks))
    assert np.array_equal(data["block_centred"] > 0, counts >= BLOCK_READINGS)
    own, loose = data["decode_blocked"] > 0, data["decode_loose"] > 0
    assert not np.any(own & loose)
    # Only a series without any block that was read leaves its readings alone.
    assert np.array_equal(own | loose, data["series_blocked"][series[part]] > 0)
    assert np.all(data["block_centred"][data["decode_block"][own]] > 0)


def test_blocks_that_differ_widen_the_band_of_a_run_in_the_same_session(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "8B", [300, 300], [200, 400])

    def width(spread: float) -> float:
        draws = small_fit.draws | {
            "block_spread_decode": np.full_like(small_fit.draws["block_spread_decode"], spread)
        }
        low, high = (
            predict(replace(small_fit, draws=draws), requests, session="same")
            .interval(0.9)["decode_s"]
            .T
        )
        return float(np.mean(np.log(high / low)))

    # 5 % in a normal's standard deviation, on top of noise of less than a per cent.
    assert 3.29 * 0.05 < width(0.05) < 3.29 * 0.05 * 1.2
    assert width(0.0) < 0.25 * width(0.05)


def test_a_block_that_was_measured_is_predicted_at_its_level(small_fit: Fit) -> None:
    (series, name), effect = small_fit.blocks[0], small_fit.draws["decode_block_effect"].copy()
    cell, label = small_fit.coords.series[series]
    llm, device = small_fit.coords.cells[cell]
    effect[..., 0] = 0.1
    fit = replace(small_fit, draws=small_fit.draws | {"decode_block_effect": effect})
    requests = make_requests(
        fit,
        small_fit.coords.llms[llm],
        300,
        200,
        device=small_fit.coords.devices[device],
        session=[label],
    )

    def found(metric: str, block: str, session: str) -> np.ndarray:
        asked = replace(requests, block=(block,))
        return np.asarray(predict(fit, asked, session=session).expected[metric]).ravel()

    usual_s, usual_j = (found(metric, "", "same") for metric in ("decode_s", "decode_energy_j"))
    np.testing.assert_allclose(found("decode_s", name, "same"), usual_s * np.exp(0.1), rtol=1e-9)
    # How much power goes by block is told by power's own blocks.
    np.testing.assert_allclose(
        found("decode_energy_j", name, "same"), usual_j * np.exp(0.1), rtol=1e-9
    )
    # A subject of that name tomorrow is a block that nobody has measured.
    np.testing.assert_array_equal(found("decode_s", name, "new"), found("decode_s", "", "new"))


def test_a_block_is_noise_and_no_part_of_what_is_expected(small_fit: Fit) -> None:
    requests = make_requests(small_fit, "8B", [300], [200])
    draws = small_fit.draws | {
        "block_spread_decode": np.full_like(small_fit.draws["block_spread_decode"], 0.05)
    }
    with_blocks = predict(replace(small_fit, draws=draws), requests, session="same")
    plain = predict(small_fit, requests, session="same")
    assert np.array_equal(with_blocks.expected["decode_s"], plain.expected["decode_s"])
