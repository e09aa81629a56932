"""The shipped reference fit is usable, current, and free of the rows it came from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import t2m_bayes
from t2m_bayes.fits import Fit
from t2m_bayes.priors import load_priors
from t2m_bayes.reference import runs
from t2m_bayes.schema import data_hash

REAL = Path(__file__).resolve().parent.parent.parent / "shared" / "real"


@pytest.fixture(scope="module")
def reference() -> Fit:
    return t2m_bayes.reference_fit()


def test_it_can_be_used_and_cites_its_sources(reference: Fit) -> None:
    assert reference.usable
    assert reference.target_device == "jetson-agx-orin-64gb"
    assert "edge-inference" in reference.provenance["citation"]
    assert not any("/" in source for source in reference.provenance["sources"])


def test_it_is_of_the_present_model(reference: Fit, small_fit: Fit) -> None:
    # A prior that came later belongs to a variable that this fit has no use for.
    made, present = reference.provenance["priors"], load_priors()
    assert made == {name: asdict(present[name]) for name in made}
    assert set(reference.draws) == set(small_fit.draws)
    assert dict(reference.dims) == dict(small_fit.dims)


@pytest.mark.skipif(not REAL.is_dir(), reason="the public measurements are not beside the project")
def test_it_is_of_the_present_rows(reference: Fit) -> None:
    frame = runs(REAL).frame.reset_index(drop=True)
    assert data_hash(frame) == reference.provenance["data_sha256"]


def test_it_answers_as_the_public_measurements_do(reference: Fit) -> None:
    # Medians of the public MMLU requests, in seconds a decode step, as the issue quotes them.
    for llm, step_s in (("1.5B", 0.0237), ("8B", 0.1003), ("14B", 0.1866)):
        prediction = t2m_bayes.predict(reference, llm, 128, 101, session="same")
        assert prediction.median()["decode_s"][0] / 100 == pytest.approx(step_s, rel=0.02)
        low, high = prediction.interval(0.9)["total_s"][0]
        assert 0 < low < high < 1.1 * low
    assert np.isfinite(t2m_bayes.predict(reference, "8B", 3, 1).median()["total_s"]).all()
