"""The command line: what it prints, what it turns away, and what it never overwrites."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_files import requests, run_table, server_sheet, write_csv, write_excel
from typer.testing import CliRunner, Result

from t2m_bayes import cli, fits
from t2m_bayes.cli.output import amount, duration
from t2m_bayes.errors import FitError
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import predict, predict_bands
from t2m_bayes.requests import make_requests
from t2m_bayes.schema import TIMES, Runs

ASK = ("--model", "8B", "--input-tokens", "100", "--output-tokens", "50")


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def ok(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def refused(*words: object) -> str:
    """Return the one message of a command that must end with exit code 2."""
    result = run(*words)
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def no_sampling(monkeypatch: pytest.MonkeyPatch, small_fit: Fit) -> list[tuple]:
    """Let ``inference.fit`` return the small fit; the list holds what it was called with."""
    from t2m_bayes import inference

    calls: list[tuple] = []

    def fit(runs: Runs, sampling: inference.Sampling, *, rail_offset: bool = False) -> Fit:
        calls.append((runs, sampling))
        return small_fit

    monkeypatch.setattr(inference, "fit", fit)
    return calls


def test_every_command_has_help_with_examples() -> None:
    names = "predict budget workload plan train evaluate simulate compare benchmark"
    for command in ("", *names.split(), "reference", "demo"):
        assert "Example" in ok(*command.split(), "--help").stdout
    assert "Example" in ok("data", "check", "--help").stdout
    assert ok("--version").stdout.startswith("t2m-bayes ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.000123, "0.12 ms"),
        (0.1397, "140 ms"),
        (0.9999, "1.00 s"),
        (9.996, "10.0 s"),
        (119.4, "119 s"),
        (119.6, "2 min 00 s"),
        (192.2, "3 min 12 s"),
        (float("nan"), "unknown"),
        (7199.6, "2 h 00 min"),
        (172_795, "2 d 00 h"),
        (475_200, "5 d 12 h"),
    ],
)
def test_times_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("total_s", 192.2, "3 min 12 s"),
        ("energy_j", 412.3, "412 J"),
        ("prefill_energy_j", 12_345, "12.3 kJ"),
        ("energy_j", 4.2e6, "4.20 MJ"),
        ("power_w", 31.26, "31.3 W"),
    ],
)
def test_amounts_are_readable(metric: str, value: float, text: str) -> None:
    assert amount(metric, value) == text


def test_predict_json(small_fit: Fit, small_fit_folder: Path) -> None:
    answer = json.loads(ok("predict", *ASK, "--fit", small_fit_folder, "--json").stdout)
    assert list(answer) == [
        *("llm", "device", "input_tokens", "output_tokens", "prob", "session"),
        *("metrics", "warnings", "fit"),
    ]
    assert (answer["llm"], answer["device"]) == ("DSR1-Llama-8B", "tegra")
    assert (answer["prob"], answer["session"]) == (0.9, "new")
    assert answer["fit"]["data_sha256"] == small_fit.provenance["data_sha256"]
    saved = fits.load(small_fit_folder)
    expected = predict(saved, make_requests(saved, "8B", 100, 50))
    assert answer["warnings"] == list(expected.warnings)
    assert tuple(answer["metrics"]) == small_fit.metrics
    for metric in small_fit.metrics:
        values = answer["metrics"][metric]
        assert list(values) == ["median", "mean", "lower", "upper"]
        assert values["lower"] < values["median"] < values["upper"]
        assert values["median"] == pytest.approx(expected.median()[metric][0])


def test_predict_options(small_fit_folder: Path) -> None:
    def ask(*more: object) -> dict:
        return json.loads(
            ok("predict", *ASK, "--model-path", small_fit_folder, "--json", *more).stdout
        )

    base, narrow, same = ask(), ask("--prob", 0.5), ask("--session", "same")

    def width(answer: dict) -> float:
        return answer["metrics"]["decode_s"]["upper"] - answer["metrics"]["decode_s"]["lower"]

    assert width(narrow) < width(base)
    assert width(same) < width(base)
    assert ask("--device", "tegra") == base
    assert ask("--device", "server")["metrics"]["total_s"]["upper"] < 5
    int4 = ask("--precision", "q4_k_m")
    assert int4["llm"] == "DSR1-Llama-8B@Q4_K_M"
    assert int4["metrics"]["decode_s"]["median"] < 0.6 * base["metrics"]["decode_s"]["median"]
    assert ask("--precision", "bf16")["llm"] == "DSR1-Llama-8B"
    for name in ("8B@q4_k_m", "DeepSeek-R1-Distill-Llama-8B@Q4-K-M"):
        assert ask("--model", name)["metrics"] == int4["metrics"]
    for name in ("8B@", "8B@fp16"):
        assert ask("--model", name) == base


def test_predict_an_llm_nobody_measured(small_fit_folder: Path) -> None:
    words = ("--model", "My-3B", "--input-tokens", 100, "--output-tokens", 50)
    message = refused("predict", *words, "--fit", small_fit_folder)
    assert "no LLM 'My-3B'" in message
    assert "--params-b" in message
    result = ok("predict", *words, "--fit", small_fit_folder, "--params-b", 3)
    assert "My-3B on tegra" in result.stdout
    assert "never measured" in result.stderr


def test_predict_for_people(small_fit_folder: Path) -> None:
    result = ok("predict", *ASK, "--fit", small_fit_folder)
    for words in ("DSR1-Llama-8B on tegra", "prefill", "decode", "total", " ms", " s", "90 %"):
        assert words in result.stdout
    assert "marked as unusable" in result.stderr
    unread = ok("predict", *ASK, "--fit", small_fit_folder, "--bytes-per-param", 1)
    assert "change nothing" in unread.stderr


def test_a_fit_without_prefill_predicts_decode(small_fit: Fit, tmp_path: Path) -> None:
    of_decode = {
        name: values
        for name, values in small_fit.draws.items()
        if not any(
            word in name
            for word in (
                "prefill",
                "token",
                "floor",
                "quadratic",
                "growth",
                "work",
                "stair",
                "tile",
            )
        )
        and name not in ("rise", "tau_rise")
    }
    bare = replace(small_fit.coords, tiles=(), stairs=(), device_tiles=())
    fits.save(replace(small_fit, draws=of_decode, coords=bare, sensors=()), tmp_path)
    shown = ok("predict", *ASK, "--fit", tmp_path)
    assert "unknown" in shown.stdout
    assert "the fit has no prefill" in shown.stderr
    metrics = json.loads(ok("predict", *ASK, "--fit", tmp_path, "--json").stdout)["metrics"]
    assert metrics["prefill_s"]["median"] is metrics["total_s"]["upper"] is None
    assert 0 < metrics["decode_s"]["lower"] < metrics["decode_s"]["upper"]


@pytest.mark.parametrize(
    ("words", "evidence"),
    [
        (("--model", "8B"), "give --model, --input-tokens and --output-tokens"),
        ((*ASK, "--prob", "90"), "between 0 and 1"),
        ((*ASK, "--output-tokens", "0"), "found 0 in request 1"),
        ((*ASK, "--input-tokens", "nan"), "found nan"),
        ((*ASK, "--input-tokens", "1.5"), "found 1.5"),
        ((*ASK, "--input-tokens", "many"), "--input-tokens"),
        ((*ASK, "--model", "9000B"), "no LLM '9000B'"),
        ((*ASK, "--model", "8B@q17"), "use one of fp32, fp16"),
        ((*ASK, "--device", "toaster"), "no device 'toaster'"),
        ((*ASK, "--params-b", "-1"), "--params-b must be above 0"),
        ((*ASK, "--session", "old"), "--session"),
        ((*ASK, "--output", "x.csv"), "--output goes with --requests"),
        ((*ASK, "--requests", "x.csv"), "leave out --model"),
        (("--requests", "absent.csv"), "absent.csv"),
    ],
)
def test_predict_turns_away(words: tuple[str, ...], evidence: str, small_fit_folder: Path) -> None:
    assert evidence in refused("predict", "--fit", small_fit_folder, *words)


@pytest.mark.parametrize("kind", ["cut short", "empty", "text", "absent"])
def test_a_damaged_fit_is_said_to_be_one(kind: str, tmp_path: Path, small_fit_folder: Path) -> None:
    whole = (small_fit_folder / fits.POSTERIOR).read_bytes()
    content = {"cut short": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}.get(kind)
    if content is not None:
        (tmp_path / fits.POSTERIOR).write_bytes(content)
    said = "no fit at" if kind == "absent" else "damaged or cut short"
    assert said in refused("predict", *ASK, "--fit", tmp_path)
    assert said in refused("evaluate", "--fit", tmp_path)


def test_a_fit_with_damaged_bytes_is_said_to_be_one(tmp_path: Path, small_fit_folder: Path) -> None:
    whole = (small_fit_folder / fits.POSTERIOR).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 30):
            damaged[at] ^= 0xFF
        (tmp_path / fits.POSTERIOR).write_bytes(damaged)
        with pytest.raises(FitError, match=r"damaged or cut short|not a fit|no posterior|format"):
            fits.load(tmp_path)


def test_many_requests_keep_rows_and_columns(tmp_path: Path, small_fit_folder: Path) -> None:
    asked = tmp_path / "asked.csv"
    asked.write_text(
        "id,llm,input_tokens,output_tokens,session,params_b,device,note\n"
        '007,8B,100,50,,,,"a, b"\n'
        "1,My-3B,300,100,new,3.10,server,\n"
        "1,8B,100,50,same,,tegra,x\n"
        "2,1.5B,200,1,server_mmlu,,server,NA\n"
    )
    answered = tmp_path / "new" / "answered.csv"
    ok("predict", "--fit", small_fit_folder, "--requests", asked, "--output", answered)
    before, after = (pd.read_csv(p, dtype=str, keep_default_na=False) for p in (asked, answered))
    pd.testing.assert_frame_equal(after[before.columns], before)
    metrics = fits.load(small_fit_folder).metrics
    columns = [f"{m}_{part}" for m in metrics for part in ("median", "lower", "upper")]
    assert list(after.columns) == [*before.columns, *columns]
    values = after[columns].astype(float)
    for metric in metrics:
        low, mid, high = (values[f"{metric}_{part}"] for part in ("lower", "median", "upper"))
        assert (low <= mid).all()
        assert (mid <= high).all()
    assert values["decode_s_upper"][3] == 0
    width = values["decode_s_upper"] - values["decode_s_lower"]
    assert width[2] < width[0]
    fit = fits.load(small_fit_folder)
    same, _ = predict_bands(fit, make_requests(fit, "8B", 100, 50), session="same")
    np.testing.assert_allclose(values.loc[2, columns[3:6]], same["decode_s"][0], rtol=1e-3)
    assert not list(answered.parent.glob(".*"))


def test_many_requests_as_parquet_and_to_the_screen(tmp_path: Path, small_fit_folder: Path) -> None:
    asked = tmp_path / "asked.parquet"
    table = pd.DataFrame({"llm": ["8B"] * 3, "input_tokens": [10, 20, 30], "output_tokens": 5})
    table["at"] = 1744797610.25
    table.to_parquet(asked)
    answered = tmp_path / "answered.parquet"
    ok("predict", "--fit", small_fit_folder, "--requests", asked, "--output", answered)
    pd.testing.assert_frame_equal(pd.read_parquet(answered)[list(table)], table)
    screen = ok("predict", "--fit", small_fit_folder, "--requests", asked).stdout
    assert screen.startswith("llm,input_tokens,output_tokens,at,prefill_s_median")
    assert screen.splitlines()[1].startswith("8B,10,5,1744797610.25,")
    assert len(screen.splitlines()) == 4


def test_bad_requests_are_named_by_row_and_column(tmp_path: Path, small_fit_folder: Path) -> None:
    asked, answered = tmp_path / "asked.csv", tmp_path / "answered.csv"
    answered.write_text("earlier")
    words = ("predict", "--fit", small_fit_folder, "--requests", asked, "--output", answered)
    asked.write_text(
        "llm,input_tokens,output_tokens,session,params_b,device\n"
        "8B,100,50,,,\n"
        "9000B,0,x,old,,\n"
        "8B,100.5,,new,-1,toaster\n"
        ",1,inf,,,\n"
    )
    message = refused(*words)
    for evidence in (
        "input_tokens, data row 2, 3: must be whole numbers of 1 or more; found '0'",
        "output_tokens, data row 2, 3, 4: must be",
        "params_b, data row 3",
        "device, data row 3: no device 'toaster'",
        "llm, data row 2: no LLM '9000B'",
        "llm, data row 4: must name an LLM",
        "session, data row 2: must be new, same or a measured session",
    ):
        assert evidence in message
    for content, evidence in (
        ("llm,output_tokens\n8B,1\n", "no column input_tokens; found: llm, output_tokens"),
        ("llm,input_tokens,output_tokens\n", "no data rows"),
        ("llm,input_tokens,output_tokens,total_s_lower\n8B,1,1,1\n", "answers already"),
        ("", "cannot be read as CSV"),
    ):
        asked.write_text(content)
        assert evidence in refused(*words)
    asked.write_text("llm,input_tokens,output_tokens\n8B,1,1\n")
    assert "name another" in refused(*words[:-1], asked)
    assert answered.read_text() == "earlier"


def _mixed(path: Path) -> Path:
    table = run_table(requests())
    table.loc[:10, ["prefill_s", "decode_s", "total_s"]] *= 1e3
    return write_csv(path / "mixed.csv", table)


def _with(column: str, value: object) -> object:
    def make(path: Path) -> Path:
        table = run_table(requests()).astype({column: object})
        table[column] = value
        return write_csv(path / "runs.csv", table)

    return make


def _truncated(path: Path) -> Path:
    book = write_excel(path / "server.xlsx", **{"DSR1-Llama-8B": server_sheet(requests())})
    book.write_bytes(book.read_bytes()[:2000])
    return book


BAD_FILES = {
    "wrong columns": (lambda p: write_csv(p / "x.csv", pd.DataFrame({"a": [1]})), "not run data"),
    "ms and s mixed": (_mixed, "mixed"),
    "empty sheet": (
        lambda p: write_excel(p / "x.xlsx", Sheet=server_sheet(requests()).head(0)),
        "no data rows",
    ),
    "text in numbers": (_with("output_tokens", "many"), "output_tokens"),
    "zero tokens": (_with("output_tokens", 0), "output_tokens is zero"),
    "nan": (_with("output_tokens", np.nan), "output_tokens is missing"),
    "unknown llm": (
        lambda p: write_csv(p / "x.csv", run_table(requests()).drop(columns="params_b")),
        "unknown LLM 'My-3B'",
    ),
    "repeated column": (
        lambda p: write_csv(
            p / "x.csv",
            run_table(requests()).pipe(
                lambda t: t.assign(again=t.total_s).rename(columns={"again": "total_s"})
            ),
        ),
        "the column 'total_s' is there twice",
    ),
    "truncated xlsx": (_truncated, "cannot be read as an Excel workbook"),
    "no such file": (lambda p: p / "absent.csv", "no such file"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_run_files_are_refused_and_nothing_is_overwritten(
    kind: str, tmp_path: Path, small_fit: Fit, small_fit_folder: Path
) -> None:
    make, evidence = BAD_FILES[kind]
    path = make(tmp_path)
    fits.save(small_fit, tmp_path / "fit")
    before = {p.name: p.read_bytes() for p in (tmp_path / "fit").iterdir()}
    for words in (
        ("data", "check", path),
        ("data", "check", path, "--json"),
        ("train", "--runs", path, "--output", tmp_path / "fit", "--no-progress"),
        ("evaluate", "--runs", path, "--fit", small_fit_folder),
    ):
        assert evidence in refused(*words)
    assert {p.name: p.read_bytes() for p in (tmp_path / "fit").iterdir()} == before


def test_data_check(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "runs.csv", run_table(requests()))
    assert "40 of 40 rows kept" in ok("data", "check", path).stdout
    assert json.loads(ok("data", "check", path, "--json").stdout)["runs"] == 40


def test_simulate(tmp_path: Path) -> None:
    written = ok("simulate", "--output", tmp_path, "--seed", 3).stdout.split()
    assert len(written) == 5
    assert all(Path(name).is_file() for name in written)


def test_train_leaves_a_fit_that_predicts(
    tmp_path: Path, no_sampling: list[tuple], small_fit: Fit
) -> None:
    from t2m_bayes import inference

    result = ok(
        *("train", "--all-models", "--output", tmp_path / "out", "--draws", 50, "--seed", 7),
        *("--sampler", "pymc", "--no-progress"),
    )
    assert result.stdout == f"fit written to {tmp_path / 'out'}\n"
    assert "shipped samples, which are simulated" in result.stderr
    assert "rows kept" in result.stderr
    assert "warning: the fit is saved, marked as unusable" in result.stderr
    runs, sampling = no_sampling[0]
    assert len(runs) > 1000
    assert sampling == replace(
        inference.Sampling(), draws=50, seed=7, sampler="pymc", progress=False
    )
    assert fits.load(tmp_path / "out").coords == small_fit.coords
    ok("predict", *ASK, "--fit", tmp_path)


def test_train_on_one_llm(tmp_path: Path, no_sampling: list[tuple]) -> None:
    ok("train", "--model", "1.5B", "--output", tmp_path)
    assert set(no_sampling[0][0].frame["llm"]) == {"DSR1-Qwen-1.5B"}
    assert set(no_sampling[0][0].frame["device"]) == {"server", "tegra"}
    assert "the data hold DSR1" in refused("train", "--model", "70B", "--output", tmp_path)


def test_train_turns_away(tmp_path: Path) -> None:
    message = refused(
        *("train", "--model", "1.5B", "--regression", "lasso", "--output", tmp_path / "out")
    )
    assert "no regression 'lasso'; there are linear, polynomial" in message
    assert "not both" in refused("train", "--model", "1.5B", "--all-models", "--output", tmp_path)
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused("train", "--output", tmp_path / "file")
    refused("train", "--draws", 0)
    assert not (tmp_path / "out").exists()


def test_evaluate(small_runs: Runs, small_fit_folder: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "again.csv", small_runs.frame)
    words = ("evaluate", "--fit", small_fit_folder, "--runs", path, "--json")
    answer = json.loads(ok(*words).stdout)
    scored = [(row["device"], row["metric"]) for row in answer["scores"]]
    read = {("tegra", m) for m in (*TIMES, "energy_j", "power_w")} | {("server", m) for m in TIMES}
    assert sorted(scored) == sorted([*read, *read])
    for row in answer["scores"]:
        assert row["n"] > 20
        assert row["coverage_50"] <= row["coverage_90"]
        assert row["median_ape"] < 0.2
    assert any("exactly these runs" in note for note in answer["notes"])
    one = json.loads(ok(*words, "--model", "8B", "--device", "server", "--prob", 0.8).stdout)
    assert {(row["llm"], row["device"]) for row in one["scores"]} == {("DSR1-Llama-8B", "server")}
    assert "coverage_80" in one["scores"][0]
    text = ok(*words[:-1], "--session", "new").stdout
    assert "median APE" in text
    assert "in 90 % band" in text


def test_evaluate_says_what_it_cannot_score(
    small_runs: Runs, small_fit_folder: Path, tmp_path: Path
) -> None:
    frame = small_runs.frame.copy()
    served = frame["device"] == "server"
    frame.loc[served, "device"] = "another-box"
    frame["session"] = "later"
    path = write_csv(tmp_path / "later.csv", frame)
    result = ok("evaluate", "--fit", small_fit_folder, "--runs", path)
    here = (~served).sum()
    assert f"{served.sum()} runs on 'another-box' were left out" in result.stderr
    assert f"{here} of {here} runs are of sessions the fit has not read" in result.stderr
    assert "trained on" not in result.stderr
    frame["device"] = "another-box"
    write_csv(path, frame)
    assert "no run can be scored" in refused("evaluate", "--fit", small_fit_folder, "--runs", path)


def test_evaluate_says_where_to_find_missing_prompt_lengths(
    small_files: Path, small_fit_folder: Path
) -> None:
    words = ("evaluate", "--model", "8B", "--fit", small_fit_folder, "--tegra")
    tegra = small_files / "tegra" / "profiling_combined_DSR1-Llama-8B.csv"
    assert "add --server" in refused(*words, tegra)
    assert "decode_s" in ok(*words, tegra, "--server", small_files / "server").stdout


def test_demo(tmp_path: Path, no_sampling: list[tuple]) -> None:
    result = ok("demo", "--output", tmp_path / "demo", "--no-progress")
    assert len(no_sampling) == 1
    for words in ("(never run there)", "of 15", "fit ", "picture "):
        assert words in result.stdout
    assert (tmp_path / "demo" / "predictions.png").read_bytes().startswith(b"\x89PNG")
    assert fits.find(tmp_path)


def test_an_output_that_cannot_be_written_is_one_message(
    tmp_path: Path, small_fit_folder: Path
) -> None:
    asked = write_csv(
        tmp_path / "asked.csv",
        pd.DataFrame({"llm": ["8B"], "input_tokens": [1], "output_tokens": [1]}),
    )
    (tmp_path / "file").write_text("mine")
    output = tmp_path / "file" / "answered.csv"
    refused("predict", "--fit", small_fit_folder, "--requests", asked, "--output", output)


def test_an_interruption_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130


def test_an_interruption_in_the_middle_of_c_code_ends_it_too() -> None:
    program = """
import ctypes, os, signal, time
from t2m_bayes import cli

def interrupted(**_):
    def called_back():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
    ctypes.CFUNCTYPE(None)(called_back)()
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # not in the background
cli.app = interrupted
cli.main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert ended.returncode == 130
    assert ended.stderr == ""


def test_predict_as_a_program(small_fit_folder: Path) -> None:
    words = [sys.executable, "-m", "t2m_bayes", "predict", "--fit", str(small_fit_folder)]
    good = subprocess.run([*words, *ASK, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(good.stdout)["llm"] == "DSR1-Llama-8B"
    bad = subprocess.run([*words, "--model", "8B"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr.startswith("error: give --model")


def test_a_usable_fit_brings_no_warning(small_fit: Fit, tmp_path: Path) -> None:
    good = {**small_fit.provenance["diagnostics"], "usable": True}
    fits.save(
        replace(small_fit, provenance={**small_fit.provenance, "diagnostics": good}), tmp_path
    )
    words = ("--model", "8B", "--input-tokens", 120, "--output-tokens", 400)
    # The samples' prompts are prefilled between two readings of their sensor: that is said.
    said = ok("predict", *words, "--fit", tmp_path).stderr.splitlines()
    assert [line for line in said if "busy in prefill" not in line] == []
