"""Updating: the earlier runs and the new ones, fitted as if they had come together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from run_files import requests, run_table, write_csv
from typer.testing import CliRunner, Result

from t2m_bayes import cli, fits
from t2m_bayes.decisions.update import ROWS, add_runs, read_earlier
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.loading import load
from t2m_bayes.schema import Runs, data_hash


def train(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["train", "--no-progress", *(str(word) for word in words)])


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch, shipped_fit: Fit) -> list[Runs]:
    """Let training return a fit without sampling; the list holds the runs it was given."""
    from t2m_bayes import inference

    seen: list[Runs] = []

    def fit(runs: Runs, sampling: inference.Sampling, *, rail_offset: bool = False) -> Fit:
        seen.append(runs)
        sources = [Path(r.path).name for r in runs.reports]
        about = {"data_sha256": data_hash(runs.frame), "sources": sources}
        return replace(shipped_fit, provenance={**shipped_fit.provenance, **about})

    monkeypatch.setattr(inference, "fit", fit)
    return seen


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write_csv(tmp_path / "old.csv", run_table(requests(40, seed=0))),
        write_csv(tmp_path / "new.csv", run_table(requests(20, seed=1))),
    )


def test_an_update_fits_what_a_refit_on_all_rows_fits(
    tmp_path: Path, files: tuple[Path, Path], fitted: list[Runs]
) -> None:
    old, new = files
    assert train("--runs", old, "--output", tmp_path / "fit").exit_code == 0
    result = train("--from", tmp_path / "fit", "--runs", new, "--output", tmp_path / "fit")
    assert result.exit_code == 0, result.stderr
    assert "together with the 40 runs" in result.stderr
    # The same rows in the same order, so the same chains: nothing is left to Monte Carlo error.
    pd.testing.assert_frame_equal(fitted[1].frame, load(old, new).frame)
    earlier = read_earlier(tmp_path / "fit")
    pd.testing.assert_frame_equal(earlier.frame, fitted[1].frame, check_dtype=False)
    assert fits.load(tmp_path / "fit").provenance["sources"] == ["old.csv", "new.csv"]
    # And on it goes.
    again = train("--from", tmp_path / "fit", "--runs", new, "--output", tmp_path / "fit")
    assert again.exit_code == 2
    assert "all 20 runs are among those of the earlier fit" in again.stderr


def test_known_runs_count_once(files: tuple[Path, Path]) -> None:
    old, new = (load(path) for path in files)
    both = Runs(pd.concat([old.frame.head(3), new.frame], ignore_index=True), new.reports)
    together, known = add_runs(old, both)
    assert (len(together), known) == (60, 3)
    with pytest.raises(DataError, match="all 40 runs"):
        add_runs(old, old)


def test_runs_that_are_not_there_or_not_the_ones(
    tmp_path: Path, files: tuple[Path, Path], fitted: list[Runs]
) -> None:
    old, new = files
    folder = tmp_path / "fit"
    for words, evidence in (
        (("--from", folder), "name them with --runs"),
        (("--from", folder, "--runs", new), "no fit at"),
    ):
        assert evidence in train(*words, "--output", tmp_path / "other").stderr
    assert train("--runs", old, "--output", folder).exit_code == 0
    kept = (folder / ROWS).read_bytes()
    refused = {
        b"": "damaged",
        kept[: len(kept) // 2]: "damaged",
        None: f"has no {ROWS}",
    }
    for content, evidence in refused.items():
        (folder / ROWS).unlink(missing_ok=True)
        if content is not None:
            (folder / ROWS).write_bytes(content)
        result = train("--from", folder, "--runs", new, "--output", tmp_path / "other")
        assert result.exit_code == 2
        assert evidence in result.stderr
    load(new).frame.to_parquet(folder / ROWS)
    result = train("--from", folder, "--runs", new, "--output", tmp_path / "other")
    assert "does not hold the runs" in result.stderr
    assert len(fitted) == 1
    assert not (tmp_path / "other").exists()


def test_the_shipped_fit_holds_no_rows(tmp_path: Path, files: tuple[Path, Path]) -> None:
    from t2m_bayes.cli.options import default_fit

    assert not (default_fit() / ROWS).exists()
    result = train("--from", default_fit(), "--runs", files[1], "--output", tmp_path / "fit")
    assert result.exit_code == 2
    assert "give all runs, old and new, with --runs" in result.stderr
