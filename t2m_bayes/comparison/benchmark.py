"""Every claim about accuracy, run again: on the public measurements, or on the shipped samples."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from t2m_bayes.cards import catalog
from t2m_bayes.comparison.estimators import BAYES, NAMES
from t2m_bayes.comparison.protocols import protocol
from t2m_bayes.comparison.runner import compare
from t2m_bayes.comparison.tables import records, standings
from t2m_bayes.cores import CORES
from t2m_bayes.power_design import without_power

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from t2m_bayes.comparison.runner import Comparison
    from t2m_bayes.comparison.tables import Standing
    from t2m_bayes.inference import Models
    from t2m_bayes.schema import Runs


VERSIONS: Final = ("pymc", "nutpie", "scikit-learn", "mapie", "numpy")
"""Libraries whose version the page states."""

MOST_SHOWN: Final = 4
"""Most LLMs and devices whose scores are shown one by one; all of them are among the records."""


@dataclass(frozen=True)
class Case:
    """One claim: a protocol on some files.

    Attributes:
        name: What the command line calls it.
        files: Files of the folder of measurements; none for the shipped samples.
        protocol: How they are split.
        seeds: Repeats.
        about: What it answers, in a sentence.
    """

    name: str
    files: tuple[str, ...]
    protocol: str
    seeds: int
    about: str


MMLU: Final = ("orin_mmlu_requests.csv",)
PREFILL: Final = ("orin_prefill_sweep.csv",)
SWEEPS: Final = (*PREFILL, "orin_decode_sweep.csv")
STEP: Final = ("server_and_orin_decode_step.csv",)

WHOLE_FIT: Final = Case(
    "fit",
    (*MMLU, *SWEEPS),
    "",
    1,
    "one fit of time to all of them, with default settings",
)
"""The claim about the sampler: it has no test rows, and its section states the diagnostics."""

REAL: Final = (
    WHOLE_FIT,
    Case("few-shot-3", MMLU, "few-shot:3", 5, "three runs of each LLM predict all others"),
    Case("few-shot-5", MMLU, "few-shot:5", 5, "five runs of each LLM predict all others"),
    Case("few-shot-50", MMLU, "few-shot:50", 5, "fifty runs of each LLM predict all others"),
    Case("thousands", MMLU, "random:0.8", 2, "four fifths of 4,239 runs predict the last fifth"),
    Case("new-llm", MMLU, "leave-llm-out", 1, "two LLMs predict a third, without any server run"),
    Case("decode-half", SWEEPS, "random:0.5", 3, "half of both sweeps predicts the other"),
    Case(
        "decode-far",
        SWEEPS,
        "extrapolate:output_tokens<=256",
        1,
        "answers of up to 256 tokens predict those of up to 2,048",
    ),
    Case(
        "prefill-folds", PREFILL, "kfold:5", 1, "the prefill sweep in five folds, stalls included"
    ),
    Case(
        "prefill-far",
        PREFILL,
        "extrapolate:input_tokens<=641",
        1,
        "prompts of up to 641 tokens predict those of up to 4,097",
    ),
    Case("new-llm-step", STEP, "leave-llm-out", 1, "server runs predict an LLM new to the Jetson"),
)
"""The claims on public measurements of a Jetson AGX Orin 64GB."""

SAMPLES: Final = (
    Case("few-shot-3", (), "few-shot:3", 3, "server runs and three of each LLM on the Jetson"),
    Case("few-shot-5", (), "few-shot:5", 3, "server runs and five of each LLM on the Jetson"),
    Case("half", (), "random:0.5", 2, "half of all runs predicts the other"),
    Case("folds", (), "kfold:5", 1, "all runs in five folds"),
    Case("far", (), "extrapolate:output_tokens<=256", 1, "short answers predict long ones"),
    Case("new-llm", (), "leave-llm-out", 1, "an LLM new to the Jetson"),
    Case("new-device", (), "leave-device-out", 1, "a device without any run"),
    Case("later", (), "time-order", 1, "the first half of each file predicts the second"),
)
"""The same questions on the shipped samples, which are simulated."""


def run_case(
    case: Case,
    runs: Runs,
    estimators: list[str] | None = None,
    *,
    jobs: int = CORES,
    compiled: Callable[[], Models] | None = None,
    done: Callable[[int, int], None] = lambda finished, total: None,
) -> tuple[str, list[dict[str, Any]]]:
    """Run one claim.

    Args:
        case: The claim.
        runs: Its run table.
        estimators: Names; all by default.
        jobs: Fits, or chains, at the same time.
        compiled: Returns the model compiled for this table, for the claims on it to share.
        done: Called with the number of finished fits and of all.

    Returns:
        Its section in Markdown, and the records of the long table.
    """
    started = time.perf_counter()
    if case is WHOLE_FIT:
        # The files sum other rails, whose power is never pooled.
        return _whole_fit(without_power(runs), jobs), []
    compared = compare(
        runs,
        protocol(case.protocol),
        list(estimators or NAMES),
        seeds=case.seeds,
        jobs=jobs,
        compiled=compiled,
        done=done,
    )
    took = time.perf_counter() - started
    return _section(case, compared, took), [{"case": case.name} | r for r in records(compared)]


def _whole_fit(runs: Runs, jobs: int) -> str:
    """Fit the model to all runs and state how long it took and what its diagnostics say."""
    from t2m_bayes.inference import fit_well, make_models
    from t2m_bayes.sampling import Sampling

    started = time.perf_counter()
    models = make_models(runs).compile()
    ready = time.perf_counter()
    fit = fit_well(models, Sampling(cores=jobs, progress=False))
    sampled = time.perf_counter()
    return (
        f"\n## {WHOLE_FIT.name}: {WHOLE_FIT.about}\n\n{len(runs)} runs: compiled in "
        f"{ready - started:.0f} s, sampled and checked in {sampled - ready:.0f} s; "
        f"{fit.provenance['diagnostics']['verdict']}.\n"
    )


def header(data: Path | None, minutes: float) -> str:
    """Return the top of the page: what was run, when, and on what.

    Args:
        data: The folder of measurements; None for the samples.
        minutes: How long it all took.
    """
    what = "public measurements of a Jetson AGX Orin 64GB" if data else "the shipped samples"
    simulated = "" if data else " **They are simulated: no number here is of a real machine.**"
    found = ", ".join(f"{n} {_version(n)}" for n in ("t2m-bayes", *VERSIONS))
    return (
        "# Benchmark\n\n"
        f"`t2m benchmark{' --data FOLDER' if data else ''}`, {datetime.now(UTC):%Y-%m-%d}, on "
        f"{what}.{simulated} {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {found}; {minutes:.0f} minutes in all.\n\n"
        "Scores are of runs that no step of an estimator has seen, relative to the reading, and "
        "average over LLMs. CRPS scores the whole prediction, the 90 % score its band; lower is "
        "better. `=` is a tie: within two standard errors of the best. The model is told which "
        "runs are of one subject; the regressors have no use for it.\n"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _section(case: Case, compared: Comparison, took: float) -> str:
    lines = [
        f"\n## {case.name}: {case.about}\n",
        f"`{case.protocol}` on {', '.join(case.files) or 'the samples'}, {took:.0f} s.\n",
    ]
    ranked = standings(compared)
    cells = sorted({cell for s in ranked for cell in s.by_llm}, key=lambda cell: _size(cell[0]))
    few = len(cells) <= MOST_SHOWN
    if few:
        lines.append(f"By LLM: {', '.join(' on '.join(cell) for cell in cells)}.\n")
    for metric in dict.fromkeys(s.metric for s in ranked):
        of_metric = [s for s in ranked if s.metric == metric]
        lines += [
            f"| {metric}, {max(s.n for s in of_metric)} readings | MAPE | median | CRPS "
            "| worse by | 90 % score | width | in 50 % | in 90 % | fit |"
            + (" MAPE by LLM | in 90 % by LLM |" if few else ""),
            "|---" * (12 if few else 10) + "|",
            *(_line(s) + (_by_llm(s, cells) if few else "") for s in of_metric),
            "",
        ]
        lines.append(_verdict(of_metric))
    lines += [f"- {note}" for note in compared.notes]
    return "\n".join(lines) + "\n"


def _line(s: Standing) -> str:
    name = f"**{s.estimator}**" if s.best else s.estimator
    mark = " =" if s.tied and not s.best else "" if s.complete else " (partial)"
    gap = "" if s.best else f"{100 * s.worse_by[0]:.2f} ± {100 * s.worse_by[1]:.2f}"
    return (
        f"| {name}{mark} | {100 * s.mape:.2f} % | {100 * s.median_ape:.2f} % "
        f"| {100 * s.crps:.2f} % | {gap} "
        f"| {100 * s.interval_score:.1f} %{' =' if s.interval_tied else ''} "
        f"| {100 * s.width:.1f} % | {100 * s.coverage_50:.0f} % | {100 * s.coverage_90:.0f} % "
        f"| {s.fit_s:.1f} s |"
    )


def _by_llm(s: Standing, cells: list[tuple[str, str]]) -> str:
    found = [s.by_llm.get(cell) for cell in cells]
    mape = " / ".join("-" if f is None else f"{100 * f[0]:.2f}" for f in found)
    inside = " / ".join("-" if f is None else f"{100 * f[2]:.0f}" for f in found)
    return f" {mape} % | {inside} % |"


def _size(llm: str) -> float:
    """Return what to sort an LLM by: its card's size."""
    card = catalog().llm(llm.partition("@")[0])
    return card.params_b if card else float("inf")


def _verdict(ranked: list[Standing]) -> str:
    """Say in a sentence how the model did on a metric, losses included."""
    ours = next((s for s in ranked if s.estimator == BAYES), None)
    if ours is None:
        return f"{BAYES} was not among the estimators.\n"
    if ours.tied and ours.interval_tied:
        return f"{BAYES}: best or tied in CRPS and in the 90 % score.\n"
    lost = [
        f"{what} ({100 * gap:.2f} ± {100 * error:.2f} % of the reading worse than the best)"
        for what, tied, (gap, error) in (
            ("CRPS", ours.tied, ours.worse_by),
            ("the 90 % score", ours.interval_tied, ours.interval_worse_by),
        )
        if not tied
    ]
    return f"{BAYES} **loses** in {' and in '.join(lost)}.\n"
