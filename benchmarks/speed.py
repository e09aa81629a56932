"""Print how long predicting and loading take.

    python benchmarks/speed.py [all|predict|many|excel]

Everything is timed on this machine as it is: leave it alone while this runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from t2m_bayes.loading import load
from t2m_bayes.resources import shipped

ASK = ("--model", "8B", "--input-tokens", "100", "--output-tokens", "50")
REPEATS = 5

MANY_ROWS = 100_000
LLMS = ("1.5B", "8B", "14B")
console = Console(width=140, highlight=False)

SHEET_ROWS = 3000
TEXT = 900
"""Characters of the answer in each row, as the users' workbooks hold them."""


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", default="all", choices=["all", *PARTS])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, part in PARTS.items():
            if args.part in ("all", name):
                part(Path(folder))


def predict_cold(folder: Path) -> None:
    """Time whole ``t2m predict`` processes."""
    took = [_program(folder, "predict", *ASK)[0] for _ in range(REPEATS)]
    console.print(f"t2m predict: {_seconds(took)}")


def many_requests(folder: Path) -> None:
    """Time one ``t2m predict --requests`` process, and the prediction inside it alone."""
    from t2m_bayes.api import reference_fit
    from t2m_bayes.prediction import predict_bands
    from t2m_bayes.requests import make_requests

    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "llm": rng.choice(LLMS, MANY_ROWS),
            "input_tokens": rng.integers(10, 4000, MANY_ROWS),
            "output_tokens": rng.integers(1, 2000, MANY_ROWS),
        }
    )
    asked = folder / "asked.csv"
    table.to_csv(asked, index=False)
    fit = reference_fit()
    started = time.perf_counter()
    requests = make_requests(
        fit,
        table["llm"].tolist(),
        table["input_tokens"].to_numpy(),
        table["output_tokens"].to_numpy(),
    )
    predict_bands(fit, requests)
    inside = time.perf_counter() - started
    took, peak_gb = _program(
        folder, "predict", "--requests", asked, "--output", folder / "answered.csv"
    )
    chains, draws = fit.shape
    console.print(
        f"{MANY_ROWS:,} requests x {chains * draws:,} draws to bands: {inside:.1f} s; as "
        f"t2m predict --requests, CSV to CSV: {took:.1f} s, peak {peak_gb:.2f} GB"
    )


def excel(folder: Path) -> None:
    """Time both readers, and the loader, on a workbook of four sheets with long texts."""
    book = _workbook(folder / "server.xlsx")
    size_mb = book.stat().st_size / 1e6
    console.print(f"Excel, 4 sheets x {SHEET_ROWS:,} rows with texts, {size_mb:.1f} MB:")
    for engine in ("openpyxl", "calamine"):
        started = time.perf_counter()
        pd.read_excel(book, sheet_name=None, engine=engine)
        console.print(f"  {engine:8s} {time.perf_counter() - started:6.1f} s")
    started = time.perf_counter()
    runs = load(book)
    console.print(f"  load     {time.perf_counter() - started:6.1f} s, {len(runs):,} runs")


PARTS: dict[str, Callable[[Path], None]] = {
    "predict": predict_cold,
    "many": many_requests,
    "excel": excel,
}


def _program(folder: Path, *words: object) -> tuple[float, float]:
    """Run ``t2m`` and return its wall time in seconds and its peak memory in GB."""
    command = [sys.executable, "-m", "t2m_bayes", *map(str, words)]
    with (folder / "printed.txt").open("w") as printed:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, stderr=printed)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit((folder / "printed.txt").read_text())
    return took, usage.ru_maxrss / 1e6


def _workbook(path: Path) -> Path:
    """Write the shipped workbook's sheets again, longer, each row with an answer of its own."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz      "))
    sheets = pd.read_excel(
        shipped("datasets") / "server" / "server_mmlu.xlsx", sheet_name=None, engine="calamine"
    )
    with pd.ExcelWriter(path, engine="xlsxwriter") as writer:
        for name, rows in sheets.items():
            longer = rows.iloc[rng.integers(0, len(rows), SHEET_ROWS)].copy()
            longer["question_id"] = range(SHEET_ROWS)
            longer["generated_text"] = [
                "".join(rng.choice(letters, TEXT)) for _ in range(SHEET_ROWS)
            ]
            longer.to_excel(writer, sheet_name=str(name), index=False)
    return path


def _seconds(took: list[float]) -> str:
    return f"median {np.median(took):.2f} s, longest {max(took):.2f} s of {len(took)}"


if __name__ == "__main__":
    main()
