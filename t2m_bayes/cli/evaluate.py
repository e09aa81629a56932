"""``t2m evaluate``: predictions against measured runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import typer

from t2m_bayes.cli.options import (
    FitOption,
    JsonOption,
    ProbOption,
    RunsOption,
    ServerOption,
    SessionKind,
    TegraOption,
    UnitOption,
    check_prob,
    only_llm,
    predict_with,
    read_fit,
    read_runs,
)
from t2m_bayes.cli.output import amount, log, percent, print_json, print_table
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from t2m_bayes.baselines.regression import Regression
    from t2m_bayes.fits import Fit
    from t2m_bayes.power_population import View
    from t2m_bayes.requests import Known
    from t2m_bayes.schema import Runs

EXAMPLES: Final = """\b
Examples:
  t2m evaluate --model 14B --model-path outputs
  t2m evaluate --fit outputs --runs later.csv --session new --json
"""


def evaluate(
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Score this LLM's runs alone.")
    ] = None,
    fit: FitOption = None,
    runs: RunsOption = None,
    server: ServerOption = None,
    tegra: TegraOption = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Score this device's runs alone; a Jetson's name is also that of Tegra CSVs.",
        ),
    ] = None,
    unit: UnitOption = None,
    session: Annotated[
        SessionKind,
        typer.Option(help="Predict the session each run was measured in, or one of its own."),
    ] = SessionKind.same,
    prob: ProbOption = 0.9,
    json: JsonOption = False,
) -> None:
    """Score a fit on measured runs.

    Without data options these are the shipped samples, which are simulated.

    MAPE, median APE and bias are of the median; coverage is the share of runs inside the band;
    CRPS scores the whole prediction, in the metric's unit, lower being better. Energy and power are
    predicted as the device's sensor reports them.
    """
    check_prob(prob)
    known = read_fit(fit)
    loaded = read_runs(runs, server, tegra, device=_tegra_name(known, device), unit=unit)
    frame = loaded.frame if model is None else only_llm(loaded, model)
    frame, notes = _within_reach(known, frame, device)
    notes = [*_trained_on(known, loaded), *notes]
    if session is SessionKind.same:
        notes += _unread_sessions(known, frame)
    table, warnings = score_runs(known, frame, session.value, prob)
    if json:
        print_json(
            {
                "session": session.value,
                "prob": prob,
                "scores": table,
                "notes": notes,
                "warnings": warnings,
            }
        )
    else:
        _show(table, prob)
        for note in notes:
            log.warning("%s", note)
        for warning in warnings:
            log.warning("%s", warning)


def score_runs(
    fit: Fit | Regression, frame: pd.DataFrame, session: str, prob: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """Predict runs and score them, per LLM, device and metric.

    Args:
        fit: The fit.
        frame: A run table whose devices the fit knows.
        session: ``same``, the session of each run where the fit read it, or ``new``.
        prob: Probability of the band; the 50 % band is scored beside it.

    Returns:
        A row for each LLM, device and metric that was measured; and warnings.
    """
    from t2m_bayes.fits import Fit
    from t2m_bayes.power_design import measured_energy
    from t2m_bayes.power_population import sensed
    from t2m_bayes.requests import make_requests
    from t2m_bayes.scoring import score

    table: list[dict[str, Any]] = []
    warnings: dict[str, None] = {}
    for (llm, device), rows in frame.groupby(["llm", "device"], sort=True):
        requests = make_requests(
            fit,
            str(llm),
            rows["input_tokens"].to_numpy(float),
            rows["output_tokens"].to_numpy(float),
            device=str(device),
            session=rows["session"].tolist() if session == "same" else None,
            params_b=float(rows["params_b"].iloc[0]),
            bytes_per_param=float(rows["bytes_per_param"].iloc[0]),
            empty_prompts=True,
        )
        kind: Literal["new", "same"] = "same" if session == "same" else "new"
        # What was measured is what a sensor reported.
        view: View = "sensor" if isinstance(fit, Fit) and sensed(fit, requests.device) else "chip"
        predicted = predict_with(fit, requests, kind, view)
        rows = rows.assign(**measured_energy(rows))
        warnings.update(dict.fromkeys(predicted.warnings))
        for metric in fit.metrics:
            if metric not in rows:
                continue
            observed = rows[metric].to_numpy(float)
            scored = (observed > 0) & np.isfinite(predicted.draws[metric]).all(axis=(0, 1))
            if metric != "decode_s":
                scored &= requests.input_tokens > 0
            if not scored.any():
                continue
            draws = predicted.draws[metric].reshape(-1, len(requests))[:, scored]
            scores = score(draws, observed[scored], sorted({0.5, prob}))
            table.append({"llm": str(llm), "device": requests.device[0], "metric": metric} | scores)
    if not table:
        raise DataError("no run has both token counts and a time that can be scored")
    return table, list(warnings)


def _tegra_name(fit: Known, device: str | None) -> str | None:
    """Return the name for Tegra CSVs, which name no device: the one asked for, unless a server."""
    if device is None:
        return None
    from t2m_bayes.requests import find_device

    found = find_device(fit, device)
    return device if fit.provenance["roles"].get(found, "tegra") == "tegra" else None


def _within_reach(
    fit: Known, frame: pd.DataFrame, device: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that can be predicted, and what became of the others."""
    from t2m_bayes.requests import find_device

    notes = []
    means: dict[str, str] = {}
    for name in frame["device"].unique():
        try:
            means[name] = find_device(fit, name)
        except DataError as error:
            count = int(frame["device"].eq(name).sum())
            notes.append(f"{count} runs on {name!r} were left out: {error}")
    notes += [
        f"runs on {name!r} are scored as runs on {found!r}, the fit's only device of that role"
        for name, found in means.items()
        if name != found
    ]
    wanted = (
        set(means)
        if device is None
        else {name for name, found in means.items() if found == find_device(fit, device)}
    )
    reach = frame[frame["device"].isin(wanted)]
    known = reach[reach["input_tokens"].notna() & reach["output_tokens"].notna()]
    if len(known) < len(reach):
        notes.append(f"{len(reach) - len(known)} runs without input tokens were left out")
    if known.empty:
        if len(reach):
            notes.append("a Tegra CSV has none: add --server with its runs of the same questions")
        raise DataError("\n  ".join(["no run can be scored", *notes]))
    return known.reset_index(drop=True), notes


def _trained_on(fit: Known, runs: Runs) -> list[str]:
    """Say so if the fit has seen these runs, by the names of their files or by their hash."""
    trained = {_file_name(source) for source in fit.provenance["sources"]}
    sources = list(dict.fromkeys(_file_name(report.path) for report in runs.reports))
    shared = [source for source in sources if source in trained]
    if shared:
        seen = f"files of the same name as {len(shared)} of the {len(sources)} read here"
    elif len(runs) == fit.provenance["rows"]:
        from t2m_bayes.schema import data_hash

        if data_hash(runs.frame) != fit.provenance["data_sha256"]:
            return []
        seen = "exactly these runs"
    else:
        return []
    return [f"the fit was trained on {seen}: errors on its own runs say little about runs to come"]


def _file_name(source: str) -> str:
    """Return a source without its folder, with its sheet."""
    path, mark, sheet = source.partition("#")
    return f"{Path(path).name}{mark}{sheet}"


def _unread_sessions(fit: Known, frame: pd.DataFrame) -> list[str]:
    """Say how many runs are of sessions that the fit has not read."""
    from t2m_bayes.requests import find_device

    cells = fit.coords.cell_names()
    read = {f"{cells[cell]} | {name}" for cell, name in fit.coords.series}
    asked = frame[["llm", "device", "session"]].astype(str)
    asked["device"] = asked["device"].map(lambda name: find_device(fit, name))
    unread = ~asked.agg(" | ".join, axis=1).isin(read)
    if not unread.any():
        return []
    return [
        f"{int(unread.sum())} of {len(frame)} runs are of sessions the fit has not read: they are "
        "predicted as new sessions"
    ]


def _show(table: Sequence[dict[str, Any]], prob: float) -> None:
    bands = [f"{100 * p:g}" for p in sorted({0.5, prob})]
    print_table(
        (
            *("llm", "device", "metric", "n", "MAPE", "median APE", "bias"),
            *(f"in {band} % band" for band in bands),
            f"{100 * prob:g} % width",
            "CRPS",
        ),
        [
            (
                *(row["llm"], row["device"], row["metric"], str(row["n"])),
                *(percent(row[name], 2) for name in ("mape", "median_ape", "bias")),
                *(percent(row[f"coverage_{band}"]) for band in bands),
                amount(row["metric"], row[f"width_{100 * prob:g}"]),
                amount(row["metric"], row["crps"]),
            )
            for row in table
        ],
        left=3,
    )
