"""What the report says, without a browser: contents, exported draws, comparison, command line."""

from __future__ import annotations

import base64
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from t2m_bayes import cli, fits
from t2m_bayes.checks import Check, checks_of
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import group_by_cell
from t2m_bayes.report import calculator, comparison, contents, render
from t2m_bayes.report.calculator import export
from t2m_bayes.requests import make_requests
from t2m_bayes.schema import Runs


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def unpacked(text: str) -> np.ndarray:
    kind = {"f": "<f4", "b": np.int8}[text[0]]
    return np.frombuffer(base64.b64decode(text[1:]), dtype=kind)


def with_checks(fit: Fit, *checks: Check) -> Fit:
    """Return a fit that counts as usable and has these checks stored."""
    diagnostics = {**fit.provenance["diagnostics"], "usable": True, "verdict": "it can be used"}
    stored = [check.to_dict() for check in checks]
    return replace(fit, provenance={**fit.provenance, "diagnostics": diagnostics, "checks": stored})


GOOD = Check("r-hat", "sampler", 1.004, 1.01, True, "Chains agree.", "Sample longer.")
FITTED = Check("coverage", "fit", "88 %", "82 to 98 %", True, "Bands hold.", "Look at the noise.")
BAD = Check("stalls", "data", 2, 0, False, "Stalls widen bands.", "Measure them again.", "row 7")


def test_every_attribute_of_the_draws_is_exported(small_fit: Fit) -> None:
    exported = export(small_fit)
    assert len(exported["cells"]) == 2 * len(small_fit.coords.llms) * len(small_fit.coords.devices)
    for packed in exported["cells"]:
        requests = make_requests(small_fit, packed["llm"], 1, 1, device=packed["device"])
        ((cell, _),) = group_by_cell(small_fit, requests, packed["session"], 0, [])
        known = {f.name for f in fields(cell)} - calculator.NOT_DRAWS
        assert packed["draws"].keys() == known
        for name in ("step_s", "token_s", "prefill_session"):
            values = unpacked(exported["arrays"][packed["draws"][name]])
            np.testing.assert_allclose(values, getattr(cell, name), rtol=1e-6)
        tile, where = next(iter(packed["normals"].items()))
        normals = unpacked(exported["arrays"][where]) / calculator.NORMAL_STEPS
        np.testing.assert_allclose(
            normals, cell.tile_noise(int(tile)).ravel(), atol=0.51 / calculator.NORMAL_STEPS
        )


def test_a_fit_of_many_cells_is_thinned_to_fit(
    small_fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export(small_fit)
    size = sum(map(len, whole["arrays"]))
    monkeypatch.setattr(calculator, "LARGEST", 0.6 * size)
    thinned = export(small_fit)
    assert thinned["thinned"] == 2
    assert thinned["samples"] == whole["samples"] // 2
    assert sum(map(len, thinned["arrays"])) <= 0.6 * size
    where = [e["cells"][0]["draws"]["step_s"] for e in (whole, thinned)]
    full, half = (unpacked(e["arrays"][w]) for e, w in zip((whole, thinned), where, strict=True))
    np.testing.assert_array_equal(full[::2], half)


def test_failures_come_first_and_decide(small_fit: Fit) -> None:
    good = contents.trust(with_checks(small_fit, GOOD, FITTED))
    assert (good.state, good.failed) == ("good", [])
    assert [c["name"] for g in good.passed for c in g["checks"]] == [
        c.name for c in checks_of(with_checks(small_fit, GOOD, FITTED))
    ]
    bad = contents.trust(with_checks(small_fit, GOOD, FITTED, BAD))
    assert bad.state == "bad"
    assert [c["name"] for c in bad.failed] == ["stalls"]
    assert (bad.failed[0]["measured"], bad.failed[0]["where"]) == ("2", "row 7")


def some_evidence(fit: Fit) -> dict[str, object]:
    """Return evidence in the form that ``t2m_bayes.evidence`` describes, of a calibrated model."""
    rng = np.random.default_rng(2)
    nominal = np.linspace(0.1, 0.9, 9)
    llm, device = fit.coords.llms[0], fit.coords.devices[0]
    levels = [("log_stream", "offset"), ("slope_step", "slope")]
    quantiles = [-0.3, -0.1, 0.0, 0.1, 0.3]
    return {
        "pit": {"decode": sorted(rng.uniform(size=200).tolist())},
        "cover": {"decode": {"n": 200, "nominal": nominal.tolist(), "share": nominal.tolist()}},
        "ppc": [
            {"reading": "decode", "llm": llm, "device": device, "n": 200}
            | {"quantiles": [0.05, 0.25, 0.5, 0.75, 0.95], "observed": quantiles}
            | {"lower": [q - 0.1 for q in quantiles], "upper": [q + 0.1 for q in quantiles]}
        ],
        "ranks": {"log_step[0]": rng.poisson(50, (4, 20)).tolist()},
        "levels": [
            {"name": name, "kind": kind, "label": "a against b"}
            | {"prior": quantiles, "posterior": [q / 10 for q in quantiles]}
            for name, kind in levels
        ],
    }


def test_the_page(small_fit: Fit) -> None:
    fit = with_checks(small_fit, GOOD, FITTED, BAD)
    page = render(replace(fit, evidence=some_evidence(fit)), Path("outputs"))
    for picture in ("pit", "coverage", "residuals-decode", "offset", "slope", "ranks"):
        assert f'id="{picture}-' in page
    assert page.index("Measure them again.") < page.index("Chains agree.")
    assert "3 of 4 checks passed" in page
    assert len(page.encode()) < 6e6
    # Parts of figures keep apart, and nothing outside is asked for.
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    for target in re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", page):
        assert "".join(target) in names
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)


def test_a_fit_without_evidence_is_not_called_good(small_fit: Fit) -> None:
    assert contents.trust(with_checks(small_fit, GOOD)).state == "unsure"
    assert contents.trust(with_checks(small_fit)).state == "unsure"
    unusable = replace(small_fit, provenance={**small_fit.provenance, "checks": []})
    assert contents.trust(unusable).state == ("good" if unusable.usable else "bad")


def test_commands_can_be_pasted(small_fit: Fit) -> None:
    commands = contents.provenance(small_fit, Path("my fits/one"), Path("compared"))["commands"]
    train, diagnose, report = commands.splitlines()
    assert train.startswith("t2m train --runs ")
    assert "--seed 1 " in train
    assert "'my fits/one'" in diagnose
    assert "--compare compared" in report
    cited = replace(small_fit, provenance={**small_fit.provenance, "citation": "somebody"})
    shipped = contents.provenance(cited, None, None)["commands"].splitlines()
    assert shipped[1:] == ["t2m diagnose", "t2m report --output report.html"]
    assert "t2m reference" in shipped[0]


def long_table(**factors: float) -> pd.DataFrame:
    """Return a long table in which each estimator's scores are its factor times common ones."""
    rng = np.random.default_rng(3)
    rows = []
    for seed in range(6):
        for llm in ("8B", "14B"):
            common = rng.uniform(0.5, 2)
            for name, factor in factors.items():
                score = common * factor * rng.normal(1, 0.02)
                rows.append(
                    {"protocol": "few-shot:5", "seed": seed, "estimator": name}
                    | {"metric": "decode_s", "llm": llm, "device": "tegra", "mape": score / 50}
                    | {"crps": score, "coverage_90": 0.9, "interval_score": 5 * score}
                )
    return pd.DataFrame(rows)


def test_the_comparison_goes_against_us_where_it_does(tmp_path: Path) -> None:
    table = long_table(bayes=1.0, linear=2.0, physics_wls=0.8)
    table.to_csv(tmp_path / "comparison.csv", index=False)
    (tmp_path / "other.csv").write_text("a,b\n")
    (block,) = comparison.read(tmp_path).blocks
    rows = {row[0]: row[1:] for row in block.rows}
    assert list(rows) == ["physics_wls", "bayes", "linear"]
    assert [rows[name][-1] for name in rows] == ["best", "", ""]
    assert float(rows["linear"][2]) == pytest.approx(2, rel=0.05)
    assert float(rows["physics_wls"][3]) == pytest.approx(0.8, rel=0.05)
    assert rows["bayes"][2] == "1.00"


def test_a_tie_is_called_a_tie(tmp_path: Path) -> None:
    long_table(bayes=1.0, wls=1.0).to_csv(tmp_path / "any-name.csv", index=False)
    (block,) = comparison.read(tmp_path).blocks
    assert [row[-1] for row in block.rows] == ["best", "tie"]


def test_an_estimator_without_bands_is_shown(tmp_path: Path) -> None:
    table = long_table(bayes=1.0, linear=1.5)
    table.loc[table["estimator"] == "linear", ["crps", "interval_score", "coverage_90"]] = np.nan
    table.to_csv(tmp_path / "comparison.csv", index=False)
    (block,) = comparison.read(tmp_path).blocks
    assert block.rows[1][0] == "linear"
    assert block.rows[1][2:] == ("none", "none", "none", "no band")


def test_an_estimator_that_left_splits_out_is_last(tmp_path: Path) -> None:
    table = long_table(bayes=1.0, linear=0.5)
    table = table[(table["estimator"] == "bayes") | (table["seed"] > 0)]
    table.to_csv(tmp_path / "scores.csv", index=False)
    (block,) = comparison.read(tmp_path).blocks
    assert [(row[0], row[-1]) for row in block.rows] == [("bayes", "best"), ("linear", "partial")]


@pytest.mark.parametrize(
    ("files", "evidence"),
    [
        ({}, "holds 0 CSV files"),
        ({"a.csv": "x\n", "b.csv": "x\n"}, "holds 2 CSV files"),
        ({"comparison.csv": "protocol,seed\n1,2\n"}, "it has no column estimator, metric"),
        ({"comparison.csv": ""}, "cannot be read as CSV"),
    ],
)
def test_what_is_no_comparison_is_refused(
    files: dict[str, str], evidence: str, tmp_path: Path, small_fit_folder: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    output = tmp_path / "report.html"
    output.write_text("earlier")
    result = run("report", "--fit", small_fit_folder, "--compare", tmp_path, "--output", output)
    assert result.exit_code == 2
    assert evidence in result.stderr
    assert output.read_text() == "earlier"


def test_no_folder_of_a_comparison(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no comparison at"):
        comparison.read(tmp_path / "absent")


def test_report_on_the_command_line(
    small_fit_folder: Path, small_runs: Runs, tmp_path: Path
) -> None:
    runs = tmp_path / "runs.csv"
    small_runs.frame.to_csv(runs, index=False)
    long_table(bayes=1.0, linear=2.0).to_csv(tmp_path / "comparison.csv", index=False)
    output = tmp_path / "new" / "report.html"
    words = ("report", "--fit", small_fit_folder, "--output", output)
    result = run(*words, "--runs", runs, "--compare", tmp_path / "comparison.csv")
    assert result.exit_code == 0, result.output
    assert str(output) in result.stdout
    page = output.read_text(encoding="utf-8")
    fit = fits.load(small_fit_folder)
    for words_in_it in ("points are measured runs", "Decode time, few-shot:5", "t2m diagnose"):
        assert words_in_it in page
    assert fit.provenance["data_sha256"] in page
    assert not list(output.parent.glob(".*"))


def test_report_turns_away(small_fit_folder: Path, small_runs: Runs, tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    frame = small_runs.frame[small_runs.frame["device"] == "server"]
    frame.to_csv(runs, index=False)
    for words, evidence in (
        (("--output", tmp_path), "is a folder"),
        (("--fit", tmp_path / "absent"), "no fit at"),
        (("--fit", small_fit_folder, "--runs", runs), "none of the runs is on tegra"),
    ):
        result = run("report", *words, *(() if "--output" in words else ("--output", runs)))
        assert (result.exit_code, result.stdout) == (2, ""), result.output
        assert evidence in result.stderr
    assert "Example" in run("report", "--help").stdout
