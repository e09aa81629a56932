"""Print how fast files of requests are answered, beside ``pm.sample_posterior_predictive``.

    python benchmarks/throughput.py --data FOLDER [--rows 10000000]

The folder holds ``azure_trace_tokens.csv`` (see ``datasets/README.md``); the file of requests is
that trace repeated, as Parquet. Rows without a repetition are measured too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import timeit
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pymc as pm
from rich.console import Console

from t2m_bayes.api import predict, reference_fit
from t2m_bayes.cards import catalog
from t2m_bayes.design import make_design
from t2m_bayes.hierarchy import latency_model
from t2m_bayes.priors import device_rates, load_priors

DEVICE, LLM, PARAMS_B = "jetson-agx-orin-64gb", "DSR1-Llama-8B", 8.03
console = Console(width=120)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the real measurements")
    parser.add_argument("--rows", type=int, default=10_000_000)
    args = parser.parse_args()
    trace = pd.read_csv(args.data / "azure_trace_tokens.csv")[["input_tokens", "output_tokens"]]
    console.print(f"{os.cpu_count()} cores; the trace has {len(trace)} rows")
    with tempfile.TemporaryDirectory() as folder:
        fastest = 0.0
        for rows in (args.rows // 10, args.rows // 2, args.rows):
            fastest = answered(repeated(trace, rows), Path(folder), f"{rows} rows, trace repeated")
        distinct = answered(different(100_000), Path(folder), "100000 rows, all different")
        workload(args.data / "azure_trace_tokens.csv")
    rows = 2 * len(trace)
    theirs = rows / posterior_predictive(repeated(trace, rows).to_pandas())
    console.print(
        f"pm.sample_posterior_predictive, {rows} rows of the trace repeated: {theirs:,.0f} rows/s; "
        f"t2m predict is {fastest / theirs:.0f} times as fast on {args.rows} rows, "
        f"{distinct / theirs:.1f} times on rows that are all different"
    )
    fit = reference_fit()
    one = min(timeit.repeat(lambda: predict(fit, "8B", 512, 100), number=100, repeat=5)) / 100
    console.print(f"one prediction, once loaded: {one * 1e3:.2f} ms")
    program = "import time; t = time.perf_counter(); import t2m_bayes; t2m_bayes.reference_fit; "
    program += "t2m_bayes.predict; print(time.perf_counter() - t)"
    took = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True).stdout)
        for _ in range(3)
    ]
    console.print(f"import: {min(took):.2f} s")


def repeated(trace: pd.DataFrame, rows: int) -> pa.Table:
    """Return the trace repeated to so many rows."""
    table = pa.Table.from_pandas(trace)
    return pa.concat_tables([table] * -(-rows // len(trace))).slice(0, rows)


def different(rows: int) -> pa.Table:
    """Return requests no two of which are equal, over the range of the trace."""
    pairs = np.random.default_rng(0).choice(4000 * 500, rows, replace=False)
    return pa.table({"input_tokens": pairs // 500 + 1, "output_tokens": pairs % 500 + 1})


def answered(table: pa.Table, folder: Path, what: str) -> float:
    """Answer a table with the command line; return rows a second."""
    asked, output = folder / "asked.parquet", folder / "answered.parquet"
    llm = pa.array(["8B"]).dictionary_encode().take(pa.array(np.zeros(len(table), dtype=int)))
    pq.write_table(table.append_column("llm", llm), asked)
    words = ["-m", "t2m_bayes", "predict", "--requests", str(asked), "--output", str(output)]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - started
    if status or pq.ParquetFile(output).metadata.num_rows != len(table):
        raise SystemExit(f"{what}: failed")
    console.print(
        f"{what}: {took:.1f} s, {len(table) / took:,.0f} rows/s, "
        f"{usage.ru_maxrss / 2**20:.2f} GB at most"
    )
    return len(table) / took


def workload(trace: Path) -> None:
    """Add up the trace with the command line."""
    words = ["-m", "t2m_bayes", "workload", "--requests", str(trace), "--model", "8B"]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    console.print(done.stdout)
    console.print(f"t2m workload: {time.perf_counter() - started:.1f} s")


def posterior_predictive(frame: pd.DataFrame) -> float:
    """Return the seconds that PyMC takes for the same bands of the same rows.

    How long it takes does not depend on the values of the draws, so they are the prior's.
    """
    frame = frame.assign(
        llm=LLM, device=DEVICE, session="s", params_b=PARAMS_B, bytes_per_param=2.0
    ).assign(prefill_s=1.0, decode_s=1.0)
    design = make_design(frame)
    model = latency_model(design, [device_rates(DEVICE, catalog())], load_priors())
    with model:
        names = [v.name for v in model.free_RVs]
        prior = pm.sample_prior_predictive(1000, var_names=names, random_seed=0)
        trace = prior["prior"].to_dataset()
        started = time.perf_counter()
        drawn = pm.sample_posterior_predictive(
            trace, var_names=["prefill", "decode"], random_seed=0, progressbar=False
        )
        values = drawn["posterior_predictive"]
        prefill, decode = (np.exp(values[n].to_numpy()[0]) for n in ("prefill", "decode"))
        for metric in (prefill, decode, prefill + decode):
            np.quantile(metric, [0.05, 0.5, 0.95], axis=0)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
