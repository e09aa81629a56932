from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from run_files import requests, run_table, write_csv

from t2m_bayes.errors import DataError
from t2m_bayes.loading import load, load_runs, report_text
from t2m_bayes.schema import TIMES

DIRT: list[tuple[str, Any, str]] = [
    ("output_tokens", 0, "output_tokens is zero"),
    ("output_tokens", None, "output_tokens is missing"),
    ("output_tokens", "many", "output_tokens is not a number"),
    ("decode_s", -1.0, "decode_s is negative"),
    ("decode_s", 0.0, "decode_s is zero with more than one output token"),
    ("prefill_s", 0.0, "prefill_s is zero"),
    ("total_s", 0.0, "total_s is zero"),
    ("total_s", True, "total_s is not a number"),
    ("total_s", "error", "total_s is not a number"),
    ("total_s", float("inf"), "total_s is not finite"),
    ("total_s", 77777.0, "total_s is not prefill_s + decode_s"),
    ("input_tokens", -5, "input_tokens is negative"),
    ("input_tokens", 0, "input_tokens is zero, yet it has a prefill"),
    ("batch", 4, "only batch 1 is modelled"),
    ("llm", "My-4B", "unknown LLM 'My-4B'"),
    ("llm", None, "llm is missing"),
    ("device", None, "no device"),
    ("precision", "q3_xyz", "unknown precision 'q3_xyz'"),
    ("energy_j", -3.0, "energy_j is negative"),
]


@pytest.mark.parametrize(("column", "value", "reason"), DIRT)
def test_a_dirty_row_is_turned_away_with_its_reason(
    tmp_path: Path, column: str, value: object, reason: str
) -> None:
    table = run_table(requests()).assign(batch=1, energy_j=5.0, precision="fp16").astype(object)
    table.loc[11, column] = value
    table.loc[11, "params_b"] = None if column == "llm" else 3.0
    runs = load_runs(write_csv(tmp_path / "r.csv", table))
    rejected = runs.reports[0].rejected
    assert list(rejected.values()) == [(12,)]
    assert next(iter(rejected)).startswith(reason)
    assert len(runs) == 39
    assert reason in report_text(runs)


def test_repeated_and_empty_rows(tmp_path: Path) -> None:
    table = run_table(requests())
    table = pd.concat([table, table.iloc[[3]]])
    path = write_csv(tmp_path / "r.csv", table)
    path.write_text(path.read_text() + "," * (table.shape[1] - 1) + "\n")
    rejected = load_runs(path).reports[0].rejected
    assert rejected == {
        "the row is empty": (42,),
        "the row repeats an earlier one in every column": (41,),
    }


def test_a_row_without_measurements(tmp_path: Path) -> None:
    table = run_table(requests())
    table.loc[0, list(TIMES)] = np.nan
    assert load_runs(write_csv(tmp_path / "r.csv", table)).reports[0].rejected == {
        "nothing was measured": (1,)
    }


def test_rows_of_one_phase(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "device": "3080Ti",
            "llm": "My-8B",
            "params_b": 8.0,
            "input_tokens": [512, 0],
            "output_tokens": [0, 128],
            "prefill_s": [0.2, None],
            "decode_s": [None, 4.0],
            "total_s": [0.2, 4.0],
        }
    )
    runs = load_runs(write_csv(tmp_path / "r.csv", table))
    assert list(runs.frame.output_tokens) == [1, 128]
    assert list(runs.frame.total_s.isna()) == [False, True]
    assert "kept as prefill" in report_text(runs)


def test_precision_engine_and_session(tmp_path: Path) -> None:
    table = run_table(requests(4)).assign(
        llm="8B", quant=["f16", "BF16", "Q4_K_M", "int8"], framework=["vLLM", None, None, "TRTLLM"]
    )
    table = table.assign(device="jetson agx orin 32gb", session=["a", None, "b", "b"], source="lab")
    frame = load_runs(write_csv(tmp_path / "r.csv", table)).frame
    assert list(frame.llm) == [
        "DSR1-Llama-8B",
        "DSR1-Llama-8B",
        "DSR1-Llama-8B@Q4_K_M",
        "DSR1-Llama-8B@INT8",
    ]
    assert list(frame.bytes_per_param) == [2.0, 2.0, 0.61, 1.07]
    assert list(frame.device) == [
        "jetson-agx-orin-32gb+vllm",
        "jetson-agx-orin-32gb",
        "jetson-agx-orin-32gb",
        "jetson-agx-orin-32gb+trtllm",
    ]
    assert list(frame.session) == ["a", "lab", "b", "b"]
    assert set(frame.params_b) == {8.03}


def test_a_given_size_of_a_parameter_counts(tmp_path: Path) -> None:
    table = run_table(requests(4)).assign(precision="odd", bytes_per_param=0.7)
    frame = load_runs(write_csv(tmp_path / "r.csv", table)).frame
    assert set(frame.llm) == {"My-3B@ODD"}
    assert set(frame.bytes_per_param) == {0.7}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_loaded_table_loads_as_itself(tmp_path: Path, suffix: str) -> None:
    table = run_table(requests(6)).assign(
        llm=["8B", "14B", "My-3B"] * 2, precision=["fp16", "q4_k_m", "nvfp4"] * 2, engine="x"
    )
    once = load_runs(write_csv(tmp_path / "r.csv", table)).frame
    path = tmp_path / f"again.{suffix}"
    once.to_csv(path, index=False) if suffix == "csv" else once.to_parquet(path)
    pd.testing.assert_frame_equal(load_runs(path).frame, once)


def test_one_name_is_one_size(tmp_path: Path) -> None:
    table = run_table(requests())
    table.loc[0, "params_b"] = 7.0
    with pytest.raises(DataError, match="'My-3B' has params_b from 3 to 7"):
        load_runs(write_csv(tmp_path / "r.csv", table))


def test_files_of_the_same_name_are_sessions_of_their_own(tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        (tmp_path / day).mkdir()
        write_csv(tmp_path / day / "runs.csv", run_table(requests()))
    write_csv(tmp_path / "wednesday.csv", run_table(requests()))
    runs = load(tmp_path / "monday", tmp_path / "tuesday", tmp_path / "wednesday.csv")
    assert sorted(runs.frame["session"].unique()) == [
        *("monday/runs.csv", "tuesday/runs.csv", "wednesday")
    ]
