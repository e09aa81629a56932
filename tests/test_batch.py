"""Files of requests: the same answers in any blocks, and nothing half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from t2m_bayes import bulk, cli, request_files
from t2m_bayes.bulk import Bands, Columns
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import predict_bands
from t2m_bayes.request_files import open_requests
from t2m_bayes.request_tables import Reading
from t2m_bayes.requests import make_requests


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, ["predict", *(str(word) for word in words)])


def table(rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "note": [f'say "{i}",\nor not' for i in range(rows)],
            "llm": rng.choice(["8B", "1.5B"], rows),
            "input_tokens": rng.integers(1, 30, rows),
            "output_tokens": rng.integers(1, 4, rows),
            "session": rng.choice(["new", "same", ""], rows),
        }
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_blocks_change_nothing(
    kind: str, tmp_path: Path, shipped_fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, whole, parts = (tmp_path / f"{name}.{kind}" for name in ("asked", "whole", "parts"))
    if kind == "csv":
        table().to_csv(asked, index=False)
    else:
        table().to_parquet(asked, index=False)
    assert run("--requests", asked, "--output", whole).exit_code == 0
    monkeypatch.setattr(request_files, "ROWS", 7)
    monkeypatch.setattr(bulk, "REMEMBERED", 10)
    assert run("--requests", asked, "--output", parts).exit_code == 0
    assert parts.read_bytes() == whole.read_bytes() or kind == "parquet"
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    pd.testing.assert_frame_equal(read(parts), read(whole))
    first = table().iloc[[0]]
    bands, _ = predict_bands(
        shipped_fit,
        make_requests(shipped_fit, first.llm.tolist(), first.input_tokens, first.output_tokens),
        session="new" if first.session[0] != "same" else "same",
    )
    answered = read(whole).iloc[0]
    for metric in shipped_fit.metrics:
        columns = [f"{metric}_{part}" for part in ("median", "lower", "upper")]
        found = answered[columns].to_numpy(float)
        np.testing.assert_allclose(found, bands[metric][0], rtol=1e-5)


def test_formats_can_be_changed(tmp_path: Path) -> None:
    paths = {kind: tmp_path / f"asked.{kind}" for kind in ("csv", "parquet")}
    table().to_csv(paths["csv"], index=False)
    table().to_parquet(paths["parquet"], index=False)
    answers = {}
    for source, path in paths.items():
        for target in ("csv", "parquet"):
            output = tmp_path / f"{source}.{target}"
            assert run("--requests", path, "--output", output).exit_code == 0
            answers[source, target] = (
                pd.read_csv(output, keep_default_na=False)
                if target == "csv"
                else pd.read_parquet(output).astype({"input_tokens": int, "output_tokens": int})
            )
    for answer in answers.values():
        pd.testing.assert_frame_equal(answer, answers["csv", "csv"], rtol=1e-5, check_dtype=False)


def test_equal_requests_are_computed_once(
    shipped_fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []

    def counted(cell: Any, inputs: np.ndarray, *rest: Any, **more: Any) -> Any:
        computed.append(inputs.size)
        return quantiles(cell, inputs, *rest, **more)

    quantiles = bulk.cell_quantiles
    monkeypatch.setattr(bulk, "cell_quantiles", counted)
    monkeypatch.setattr(request_files, "ROWS", 10)
    rows = pd.concat([table(20)] * 5)
    rows.to_csv(tmp_path / "asked.csv", index=False)
    file = open_requests(tmp_path / "asked.csv")
    reading = Reading(shipped_fit)
    bands = Bands(reading, Columns.parse(["p95"], shipped_fit.metrics, 0.9), np.asarray)
    answers = np.concatenate([bands.answer(block) for block in file.blocks()])
    kinds = rows.assign(session=rows["session"].eq("same"))
    different = kinds.drop_duplicates(["llm", "input_tokens", "output_tokens", "session"])
    assert sum(computed) == len(different)
    assert answers.shape == (100, len(shipped_fit.metrics))
    np.testing.assert_array_equal(answers[:20], answers[80:])


def test_warnings_count_requests_of_all_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_files, "ROWS", 3)
    rows = pd.DataFrame({"llm": "8B", "input_tokens": [9000] * 7 + [100], "output_tokens": 5})
    rows.to_csv(tmp_path / "asked.csv", index=False)
    result = run("--requests", tmp_path / "asked.csv")
    assert result.stderr.count("lie outside") == 1
    assert "input_tokens of 7 request(s) lie outside" in result.stderr


def test_an_interruption_leaves_the_earlier_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = tmp_path / "asked.csv", tmp_path / "answered.csv"
    table().to_csv(asked, index=False)
    answered.write_text("earlier")
    monkeypatch.setattr(request_files, "ROWS", 20)
    answer = Bands.answer

    def interrupted(self: Bands, block: request_files.Block) -> Any:
        if block.first:
            raise KeyboardInterrupt
        return answer(self, block)

    monkeypatch.setattr(Bands, "answer", interrupted)
    for output in (answered, tmp_path / "answered.parquet"):
        result = run("--requests", asked, "--output", output)
        assert result.exit_code == 130
    assert answered.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answered.csv", "asked.csv"]
    monkeypatch.setattr(Bands, "answer", answer)
    assert run("--requests", asked, "--output", answered).exit_code == 0
    assert len(pd.read_csv(answered)) == 60


def test_a_fault_in_the_last_block_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_files, "ROWS", 7)
    asked, answered = tmp_path / "asked.csv", tmp_path / "answered.csv"
    rows = table().astype({"input_tokens": object})
    rows.loc[[10, 58], "input_tokens"] = "many"
    rows.loc[40:, "llm"] = "9000B"
    rows.to_csv(asked, index=False)
    result = run("--requests", asked, "--output", answered)
    assert result.exit_code == 2
    assert "input_tokens, data row 11, 59: must be whole numbers" in result.stderr
    assert "llm, data row 41, 42, 43, 44, 45, 46, 47, 48 and 12 more: no LLM" in result.stderr
    assert not answered.exists()


@pytest.mark.parametrize(
    ("content", "evidence"),
    [
        (b"llm,input_tokens,output_tokens\n8B,1,2,3\n", "data row 1 has 4 cells, the header 3"),
        (b'llm,input_tokens,output_tokens\n"8B,1,2\n', "cannot be read as CSV"),
        (b"llm,input_tokens,output_tokens\n\xff,1,2\n", "cannot be read as CSV"),
        (b"llm,llm,input_tokens,output_tokens\n8B,8B,1,2\n", "more than one column is named llm"),
        (b"PAR1 and then nothing", "cannot be read as Parquet"),
        (b"llm,input_tokens,output_tokens\n8B,1,3000000000\n", "output_tokens, data row 1"),
        (b"llm,input_tokens,output_tokens\n8B,1,\n", "found ''"),
    ],
)
def test_damaged_files_are_refused(content: bytes, evidence: str, tmp_path: Path) -> None:
    (tmp_path / "asked").write_bytes(content)
    result = run("--requests", tmp_path / "asked", "--output", tmp_path / "answered.csv")
    assert result.exit_code == 2
    assert evidence in result.stderr
    assert not (tmp_path / "answered.csv").exists()


def test_columns() -> None:
    metrics = ("prefill_s", "total_s")
    columns = Columns.parse(["total_s_p95", "median", "total_s_upper"], metrics, 0.8)
    assert columns.names == (
        *("prefill_s_median", "total_s_p95", "total_s_median", "total_s_upper"),
    )
    assert columns.levels["total_s"] == pytest.approx((0.95, 0.5, 0.9))
    for wrong in ("mean", "p0", "p100", "energy_j_median", ""):
        with pytest.raises(DataError, match="total_s_p95"):
            Columns.parse([wrong], metrics, 0.9)


def test_asked_columns_are_the_ones_written(tmp_path: Path) -> None:
    asked = tmp_path / "asked.csv"
    table().to_csv(asked, index=False)
    result = run("--requests", asked, "--columns", "total_s_p95,total_s_p5", "--prob", "0.5")
    header = result.stdout.splitlines()[0]
    assert header == ",".join([*table(), "total_s_p95", "total_s_p5"])
    assert "--columns" in run("--requests", asked, "--columns", "best").stderr
