"""``t2m data power-log``: what it prints, writes and turns away."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from power_log_files import jtop_lines, nvidia_smi_lines, tegrastats_log, write_lines
from test_cli import ok, refused

COMMAND = ("data", "power-log")

REQUESTS = """\
device,llm,input_tokens,output_tokens,total_s,start,answer
tegra,8B,0100,60,10,2025-04-16T10:00:10+02:00,"yes, it is"
tegra,8B,90,5,0.4,2025-04-16T10:00:20.3+02:00,
tegra,8B,80,7,2,2025-04-16T11:00:00+02:00,no
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "t.log", tegrastats_log([5000] * 10 + [25000] * 50))


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.csv"
    path.write_text(REQUESTS, encoding="utf-8")
    return path


def test_help_has_examples() -> None:
    text = ok(*COMMAND, "--help").stdout
    assert "t2m data power-log tegrastats.log --requests requests.csv --output runs.csv" in text


def test_a_log_becomes_columns_of_the_requests(log: Path, requests: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "runs.csv"
    result = ok(*COMMAND, log, "--requests", requests, "--output", output)
    assert output.read_text(encoding="utf-8") == (
        "device,llm,input_tokens,output_tokens,total_s,start,answer,power_w,energy_j,"
        "sensor_period_s,n_power_samples,rails,power_window\n"
        'tegra,8B,0100,60,10,2025-04-16T10:00:10+02:00,"yes, it is",30.232,302.32,1,10,'
        "VDD_CPU_CV+VDD_GPU_SOC+VIN_SYS_5V0,run\n"
        "tegra,8B,90,5,0.4,2025-04-16T10:00:20.3+02:00,,,,,,,\n"
        "tegra,8B,80,7,2,2025-04-16T11:00:00+02:00,no,,,,,,\n"
    )
    for words in (
        "t.log (tegrastats): 60 samples, 2025-04-16 08:00:00 to 2025-04-16 08:00:59 UTC",
        "power is the sum of VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0",
        "without VDDQ_VDD2_1V8AO",
        "taken as UTC+02:00, like the others",
        "period 1 s: the median spacing",
        "1 of 3 requests have a power",
        "no sample in the window (data row 2)",
        "outside of the log (data row 3)",
        f"written to {output}",
    ):
        assert words in result.stdout
    assert list(output.parent.iterdir()) == [output]


def test_json(log: Path, requests: Path, tmp_path: Path) -> None:
    output = tmp_path / "runs.parquet"
    result = ok(
        *(*COMMAND, log, "--requests", requests, "--output", output, "--json"),
        *("--rail", "VDD_GPU_SOC", "--rail", "VDD_CPU_CV", "--clock-offset", -0.5),
    )
    answer = json.loads(result.stdout)
    assert list(answer) == ["log", "requests", "output"]
    assert answer["log"]["rails"] == ["VDD_CPU_CV", "VDD_GPU_SOC"]
    assert answer["log"]["first"] == "2025-04-16 07:59:59.500"
    assert answer["log"]["period_s"] == 1.0
    assert answer["requests"]["with_power"] == answer["requests"]["with_energy"] == 2
    assert answer["requests"]["without"] == {"outside of the log": [3]}
    table = pd.read_parquet(output)
    assert table["power_w"].tolist() == ["26.2", "26.2", ""]
    assert table["input_tokens"].tolist() == ["0100", "90", "80"]


def test_a_second_log_fills_what_the_first_left(log: Path, requests: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    ok(*COMMAND, log, "--requests", requests, "--output", first)
    later = write_lines(tmp_path / "gpu.csv", nvidia_smi_lines([{0: 50.0, 1: 9.5}] * 5))
    words = (later, "--requests", first, "--output", second, "--clock-offset", 3600 - 1)
    result = ok(*COMMAND, *words)
    assert "they had a reading and keep it (data row 1)" in result.stdout
    table = pd.read_csv(second)
    assert table["power_w"].tolist() == pytest.approx([30.232, float("nan"), 59.5], nan_ok=True)
    assert table["rails"].tolist()[::2] == ["VDD_CPU_CV+VDD_GPU_SOC+VIN_SYS_5V0", "gpu0+gpu1"]


def test_cells_of_parquet_keep_their_digits_in_csv(log: Path, tmp_path: Path) -> None:
    requests, output = tmp_path / "requests.parquet", tmp_path / "runs.csv"
    table = pd.DataFrame({"start": [1744797610.25], "total_s": [1.123456789]})
    table.to_parquet(requests)
    ok(*COMMAND, log, "--requests", requests, "--output", output)
    pd.testing.assert_frame_equal(pd.read_csv(output)[list(table)], table)


def test_a_log_alone_is_described(tmp_path: Path) -> None:
    lines = jtop_lines([{"VDD_CPU_GPU_CV": 1064, "TOT": 5133}] * 4, step_s=0.5)
    path = write_lines(tmp_path / "jtop.csv", lines)
    result = ok(*COMMAND, path)
    assert "jtop.csv (jtop): 4 samples" in result.stdout
    assert "power is the sum of TOT: the total that jtop gives" in result.stdout
    assert "(the log has VDD_CPU_GPU_CV, TOT)" in result.stdout
    answer = json.loads(ok(*COMMAND, path, "--json").stdout)
    assert answer["log"]["clock"] == "local"
    assert answer["log"]["mean_power_w"] == pytest.approx(5.133)


def test_the_mean_of_a_file_is_marked_and_warned_of(log: Path, tmp_path: Path) -> None:
    requests = write_lines(tmp_path / "r.csv", ["llm,output_tokens", "8B,5", "8B,6"])
    output = tmp_path / "runs.csv"
    result = ok(*COMMAND, log, "--requests", requests, "--output", output, "--whole-file")
    assert "warning: power_w is one mean over the whole log" in result.stderr
    table = pd.read_csv(output)
    assert table["power_window"].tolist() == ["file", "file"]
    assert "energy_j" not in table


def test_an_input_is_never_overwritten(log: Path, requests: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.csv"
    os.link(requests, link)
    before = log.read_bytes(), requests.read_bytes()
    for output in (requests, link, log, tmp_path / "." / "requests.csv"):
        message = refused(*COMMAND, log, "--requests", requests, "--output", output)
        assert "--output is an input" in message
    assert (log.read_bytes(), requests.read_bytes()) == before


def test_bad_input_ends_with_one_message_and_writes_nothing(
    log: Path, requests: Path, tmp_path: Path
) -> None:
    output = tmp_path / "runs.csv"
    output.write_text("as it was", encoding="utf-8")
    both = ("--requests", requests, "--output", output)
    empty = write_lines(tmp_path / "empty.log", [], end="")
    bare = write_lines(tmp_path / "bare.csv", ["start,llm", "2025-04-16T10:00:10+02:00,8B"])
    headings = write_lines(tmp_path / "headings.csv", ["start,end"])
    for words, expected in (
        ((requests, *both), "not a power log"),
        ((empty, *both), "the power log is empty"),
        ((tmp_path / "none.log", *both), "no such file"),
        ((log, *both, "--rail", "VDD_IN"), "no rail VDD_IN; the log has VDD_GPU_SOC"),
        ((log, *both, "--period", 0), "--period must be seconds above 0; found 0"),
        ((log, *both, "--time-zone", "Mars"), "no time zone 'Mars'"),
        ((log, *both, "--time-zone", "UTC"), "do not overlap in time"),
        ((log, "--requests", bare, "--output", output), "no end or total_s (in seconds)"),
        ((log, "--requests", requests, "--output", tmp_path), "a folder; name a file"),
        ((log, "--requests", headings, "--output", output), "no data rows"),
        ((log, "--requests", tmp_path / "none.csv", "--output", output), "no such file"),
        ((log, "--requests", requests), "--requests and --output go together"),
        ((log, "--output", output), "--requests and --output go together"),
    ):
        assert expected in refused(*COMMAND, *words)
    assert output.read_text(encoding="utf-8") == "as it was"
