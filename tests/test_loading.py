import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_files import (
    SHEET_1B,
    SHEET_8B,
    SHEET_14B,
    requests,
    run_table,
    server_sheet,
    tegra_table,
    write_csv,
    write_excel,
)

from t2m_bayes.errors import DataError
from t2m_bayes.loading import (
    as_dict,
    load,
    load_runs,
    load_server_excel,
    load_tegra_csv,
    report_text,
)
from t2m_bayes.schema import COLUMNS, REQUIRED, TIMES

REAL = Path(__file__).resolve().parents[1] / ".." / "shared" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/real with public data")


@pytest.fixture
def server_file(tmp_path: Path) -> Path:
    return write_excel(tmp_path / "server.xlsx", **{SHEET_8B: server_sheet(requests())})


@pytest.fixture
def tegra_file(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "profiling_combined_DSR1-Llama-8B.csv", tegra_table(requests()))


@pytest.fixture
def runs_file(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "runs.csv", run_table(requests()))


def test_server_excel(server_file: Path) -> None:
    runs = load_server_excel(server_file)
    expected = requests()
    assert list(runs.frame) == [column for column in COLUMNS if column in runs.frame]
    assert set(REQUIRED) <= set(runs.frame)
    assert set(runs.frame.llm) == {"DSR1-Llama-8B"}
    assert set(runs.frame.device) == {"server"}
    assert set(runs.frame.session) == {"server"}
    assert set(runs.frame.params_b) == {8.03}
    for metric in TIMES:
        np.testing.assert_allclose(runs.frame[metric], expected[metric])
    assert "ttft in s, decode_time in s, total_time_ms in ms" in report_text(runs)


def test_tegra_csv_alone_has_no_input_tokens(tegra_file: Path) -> None:
    runs = load_tegra_csv(tegra_file)
    assert runs.frame.input_tokens.isna().all()
    assert set(runs.frame.device) == {"tegra"}
    np.testing.assert_allclose(runs.frame.prefill_s, requests().prefill_s)
    np.testing.assert_allclose(runs.frame.total_s, requests().total_s, atol=1e-4)


def test_any_mix_recovers_input_tokens(
    server_file: Path, tegra_file: Path, runs_file: Path, tmp_path: Path
) -> None:
    runs = load(tmp_path, tegra_file, device="Jetson AGX Orin", server_device="A100")
    assert len(runs) == 120
    assert len(runs.reports) == 3
    tegra = runs.frame[runs.frame.device == "jetson-agx-orin-64gb"]
    np.testing.assert_array_equal(tegra.input_tokens, requests().input_tokens)
    assert set(runs.frame.device) == {"jetson-agx-orin-64gb", "a100-sxm-80gb", "my-box"}
    assert "input tokens recovered in 40 rows, unknown in 0" in report_text(runs)


def recovered(tmp_path: Path, tegra: pd.DataFrame, **sheets: pd.DataFrame) -> pd.Series:
    server = load_server_excel(write_excel(tmp_path / "s.xlsx", **sheets))
    path = write_csv(tmp_path / "profiling_combined_DSR1-Qwen-1.5B.csv", tegra)
    return load_tegra_csv(path, server=server).frame.input_tokens


def test_prompts_of_the_same_tokenizer_are_used(tmp_path: Path) -> None:
    sheet = server_sheet(requests())
    tokens = recovered(tmp_path, tegra_table(requests()), **{SHEET_14B: sheet})
    np.testing.assert_array_equal(tokens, requests().input_tokens)


@pytest.mark.parametrize("other", [SHEET_8B, "L1-Qwen-1_5B-Max"])
def test_prompts_that_count_otherwise_are_not_used(tmp_path: Path, other: str) -> None:
    tokens = recovered(tmp_path, tegra_table(requests()), **{other: server_sheet(requests())})
    assert tokens.isna().all()


def test_a_subject_that_stops_early_is_matched_by_its_answers(tmp_path: Path) -> None:
    tokens = recovered(
        tmp_path, tegra_table(requests()[:36]), **{SHEET_1B: server_sheet(requests())}
    )
    np.testing.assert_array_equal(tokens, requests().input_tokens[:36])


def test_a_subject_with_a_missing_row_or_other_answers_is_not_matched(tmp_path: Path) -> None:
    frame = requests()
    frame.loc[frame.subject == "virology", "answer"] = np.tile([0, 1, 2, 3], 5)
    tegra = tegra_table(frame).drop(index=25)
    tokens = recovered(tmp_path, tegra, **{SHEET_1B: server_sheet(frame)})
    assert tokens[:20].notna().all()
    assert tokens[20:].isna().all()


def test_without_answers_only_equal_counts_match(tmp_path: Path) -> None:
    sheet = server_sheet(requests()).drop(columns="correct_answer")
    tokens = recovered(tmp_path, tegra_table(requests()).drop(index=0), **{SHEET_1B: sheet})
    assert tokens[:19].isna().all()
    np.testing.assert_array_equal(tokens[19:], requests().input_tokens[20:])


def test_rejected_rows_keep_their_place_in_the_matching(tmp_path: Path) -> None:
    sheet = server_sheet(requests())
    sheet.loc[3, "output_tokens"] = 0
    tegra = tegra_table(requests())
    tegra.loc[7, "decode"] = -1.0
    tokens = recovered(tmp_path, tegra, **{SHEET_1B: sheet})
    np.testing.assert_array_equal(tokens, requests().input_tokens.drop(index=7))


def test_latin_1(tmp_path: Path) -> None:
    table = tegra_table(requests()).assign(full_output="déjà vu")
    table["full_output"] += table.index.astype(str)
    path = tmp_path / "profiling_combined_DSR1-Qwen-14B.csv"
    table.to_csv(path, index=False, encoding="latin-1")
    assert "not UTF-8, read as Latin-1" in load(path).reports[0].decisions


def test_sheets_that_hold_no_runs_are_left_out(tmp_path: Path) -> None:
    sheets = {
        "Notes": pd.DataFrame({"note": ["hello"]}),
        SHEET_8B: server_sheet(requests()),
        SHEET_14B: server_sheet(requests())[:0],
        "Zephyr-7B": server_sheet(requests()),
    }
    runs = load(write_excel(tmp_path / "s.xlsx", **sheets))
    assert len(runs) == 40
    text = report_text(runs)
    assert "sheet left out: no rows" in text
    assert "sheet left out: no column input_tokens, output_tokens" in text
    assert "unknown LLM 'Zephyr-7B'" in text


def test_files_nothing_can_be_read_from(tmp_path: Path, server_file: Path) -> None:
    cut = tmp_path / "cut.xlsx"
    cut.write_bytes(server_file.read_bytes()[:3000])
    words_only = server_sheet(requests()).assign(ttft="soon")
    text = write_excel(tmp_path / "text.xlsx", **{SHEET_8B: words_only})
    empty = tmp_path / "empty.csv"
    empty.touch()
    heading = write_csv(tmp_path / "heading.csv", run_table(requests())[:0])
    tokens = write_csv(tmp_path / "t.csv", requests()[["input_tokens", "output_tokens"]])
    unknown = write_csv(tmp_path / "unknown.csv", run_table(requests()).drop(columns="params_b"))
    quote = tmp_path / "quote.csv"
    quote.write_text('llm,output_tokens,total_s\n"8B,1,2\n')
    parquet = tmp_path / "cut.parquet"
    parquet.write_bytes(b"PAR1 and no more")
    (tmp_path / "none").mkdir()
    for path, words in [
        (cut, "cut short"),
        (text, r"(?s)no usable row.*rejected 40: ttft is not a number"),
        (empty, "empty"),
        (heading, "no data rows"),
        (tokens, r"(?s)lacks any time.*found: input_tokens, output_tokens.*expected one of"),
        (unknown, "(?s)no usable row.*unknown LLM 'My-3B'"),
        (quote, "cannot be read as CSV|no data rows"),
        (parquet, "Parquet"),
        (tmp_path / "none", "holds no"),
        (tmp_path / "absent.csv", "no such file"),
    ]:
        with pytest.raises(DataError, match=words):
            load(path)


def test_the_wrong_loader_says_which_is_right(tegra_file: Path) -> None:
    with pytest.raises(DataError, match="this is a tegra-csv, not a run-table"):
        load_runs(tegra_file)


def test_the_report_is_json(server_file: Path, tegra_file: Path) -> None:
    report = json.loads(json.dumps(as_dict(load(server_file, tegra_file))))
    assert report["runs"] == 80
    assert {group["device"] for group in report["groups"]} == {"server", "tegra"}
    assert report["sources"][0]["rows_read"] == 40


def test_loading_does_not_import_pymc() -> None:
    code = "import sys, t2m_bayes.loading; print('pymc' in sys.modules or 'arviz' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@needs_real
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("orin_mmlu_requests.csv", 4239),
        ("orin_prefill_sweep.csv", 99),
        ("orin_decode_sweep.csv", 498),
        ("server_and_orin_decode_step.csv", 45),
        ("server_to_jetson_llamacpp.csv", 255),
        ("orin32_sweep.csv", 1656),
        ("tegra_seed_format", 4239),
    ],
)
def test_real_files_load_whole(name: str, rows: int) -> None:
    runs = load(REAL / name)
    assert len(runs) == rows
    assert all(not report.rejected for report in runs.reports)


@needs_real
def test_real_requests_without_times_are_an_error() -> None:
    with pytest.raises(DataError, match="lacks any time"):
        load(REAL / "azure_trace_tokens.csv")


@needs_real
def test_real_tegra_csvs_are_the_requests_they_came_from() -> None:
    requests = load(REAL / "orin_mmlu_requests.csv")
    tegra = load_tegra_csv(REAL / "tegra_seed_format", server=requests)
    for llm, rows in requests.frame.groupby("llm"):
        same = tegra.frame[tegra.frame.llm == llm]
        np.testing.assert_array_equal(same.input_tokens, rows.input_tokens)
        np.testing.assert_allclose(same.decode_s, rows.decode_s, rtol=1e-5)
        np.testing.assert_allclose(same.prefill_s, rows.prefill_s, rtol=1e-4)
