"""Simulation-based calibration: what counts as calibrated, and going on after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t2m_bayes import sbc
from t2m_bayes.cli.options import sample_paths
from t2m_bayes.errors import DataError
from t2m_bayes.inference import make_models
from t2m_bayes.loading import load
from t2m_bayes.pictures import calibration_picture
from t2m_bayes.sampling import Sampling
from t2m_bayes.sbc import LEVELS, Calibration
from t2m_bayes.schema import Runs

PARAMETERS = [f"p{i}" for i in range(20)]


def ranked(ranks: np.ndarray) -> Calibration:
    return Calibration({}, PARAMETERS[: ranks.shape[1]], ranks.tolist())


def test_uniform_ranks_are_calibrated() -> None:
    ranks = np.random.default_rng(0).integers(0, LEVELS + 1, size=(200, 20))
    result = ranked(ranks)
    assert result.outside(jointly=True) == []
    assert len(result.outside()) <= 4
    low, high = result.band()
    assert np.all(low < 0)
    assert np.all(high > 0)


@pytest.mark.parametrize("shape", ["narrow", "shifted"])
def test_a_wrong_posterior_is_noticed(shape: str) -> None:
    """Posteriors half as wide as they should be, or half a standard deviation off."""
    rng = np.random.default_rng(0)
    ranks = rng.integers(0, LEVELS + 1, size=(200, 20))
    truth = rng.normal(size=200)
    centre, width = (0.0, 0.5) if shape == "narrow" else (0.5, 1.0)
    drawn = rng.normal(centre, width, size=(200, LEVELS))
    ranks[:, 3] = (drawn < truth[:, None]).sum(axis=1)
    assert ranked(ranks).outside(jointly=True) == ["p3"]


def test_the_band_holds_the_share_it_says() -> None:
    ranks = np.random.default_rng(1).integers(0, LEVELS + 1, size=(200, 400))
    result = Calibration({}, [f"p{i}" for i in range(400)], ranks.tolist())
    # Binomial: 20 of 400 expected outside, standard deviation 4.4.
    assert 8 <= len(result.outside()) <= 34
    assert len(result.outside(jointly=True)) <= 1


def test_ranks_come_back_and_are_drawn(tmp_path: Path) -> None:
    result = ranked(np.random.default_rng(0).integers(0, LEVELS + 1, size=(200, 20)))
    path = tmp_path / "ranks.json"
    result.save(path)
    assert Calibration.load(path) == result
    calibration_picture(result).savefig(tmp_path / "ranks.png")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="does not hold the ranks"):
        Calibration.load(path)


def test_the_shipped_ranks_are_of_the_shipped_model() -> None:
    """`t2m calibrate --output docs/calibration` shows them, and refuses those of another setup."""
    shipped = Calibration.load(Path(__file__).parents[1] / "docs" / "calibration" / "ranks.json")
    table = sbc.small_runs(load(*sample_paths()))
    setup = sbc.setup_of(make_models(table), sbc.SAMPLING)
    depends = setup.keys() - {"versions"}
    assert {k: shipped.setup[k] for k in depends} == {k: setup[k] for k in depends}


@pytest.mark.slow
def test_simulations_go_on_where_they_stopped(small_runs: Runs, tmp_path: Path) -> None:
    path = tmp_path / "ranks.json"
    small = sbc.small_runs(small_runs)
    quick = Sampling(draws=50, tune=50, chains=2, progress=False)
    first = sbc.calibrate(small, path, simulations=2, sampling=quick)
    more = sbc.calibrate(small, path, simulations=3, sampling=quick)
    assert more.ranks[:2] == first.ranks
    assert len(more.ranks) == 3
    assert len(more.ranks[0]) == len(more.parameters)
    with pytest.raises(DataError, match="another setup"):
        sbc.calibrate(small, path, simulations=3, sampling=Sampling(draws=60, tune=50))
