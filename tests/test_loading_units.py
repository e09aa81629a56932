from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_files import requests, run_table, write_csv

from t2m_bayes.errors import DataError
from t2m_bayes.loading import load_runs
from t2m_bayes.schema import TIMES


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    units=st.fixed_dictionaries({m: st.sampled_from(["s", "ms"]) for m in TIMES}),
    seed=st.integers(0, 1000),
    over=st.sampled_from(["total_s", "decode_s"]),
)
def test_rows_settle_every_mix_of_units(
    tmp_path: Path, units: dict[str, str], seed: int, over: str
) -> None:
    frame = requests(seed=seed)
    table = run_table(frame).drop(columns=list(TIMES))
    for metric, unit in units.items():
        table[metric.removesuffix("_s")] = frame[metric] * (1e3 if unit == "ms" else 1.0)
    table["tokens_per_second"] = frame.output_tokens / frame[over]
    runs = load_runs(write_csv(tmp_path / "mix.csv", table))
    for metric in TIMES:
        np.testing.assert_allclose(runs.frame[metric], frame[metric])


def test_names_settle_what_rows_leave_open(tmp_path: Path) -> None:
    table = run_table(requests()).drop(columns=["decode_s", "total_s"])
    table = table.rename(columns={"prefill_s": "prefill_ms"})
    runs = load_runs(write_csv(tmp_path / "r.csv", table))
    np.testing.assert_allclose(runs.frame.prefill_s, requests().prefill_s / 1e3)


def test_an_open_unit_is_an_error_that_the_option_settles(tmp_path: Path) -> None:
    table = run_table(requests()).rename(columns={m: m.removesuffix("_s") for m in TIMES})
    path = write_csv(tmp_path / "r.csv", table)
    with pytest.raises(DataError, match=r"(?s)neither the names nor the rows.*median.*--unit s"):
        load_runs(path)
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        runs = load_runs(path, unit=unit)  # type: ignore[arg-type]
        np.testing.assert_allclose(runs.frame.prefill_s, requests().prefill_s * factor)


def test_rows_against_names_are_an_error_with_evidence(tmp_path: Path) -> None:
    table = run_table(requests())
    table["total_s"] *= 1e3
    with pytest.raises(DataError, match=r"(?s)contradict the units.*1e\+03.*--unit"):
        load_runs(write_csv(tmp_path / "r.csv", table))


def test_the_option_overrules_names_that_the_rows_contradict(tmp_path: Path) -> None:
    table = run_table(requests())
    table["tokens_per_second"] = table.output_tokens / table.total_s
    table[list(TIMES)] *= 1e3
    path = write_csv(tmp_path / "r.csv", table)
    with pytest.raises(DataError, match="contradict"):
        load_runs(path)
    np.testing.assert_allclose(load_runs(path, unit="ms").frame.total_s, requests().total_s)


@pytest.mark.parametrize("columns", [["prefill_s"], ["decode_s"], ["total_s"], list(TIMES)])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_mixed_units_in_a_column_are_named_by_row(
    tmp_path: Path, columns: list[str], share: float
) -> None:
    table = run_table(requests())
    rows = np.arange(int(share * len(table)))
    table.loc[rows, columns] *= 1e3
    with pytest.raises(DataError, match=r"mixed .*data rows \d+"):
        load_runs(write_csv(tmp_path / "r.csv", table))
