"""``t2m compare``: estimators on the same splits, in one table that could go against us."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from t2m_bayes.cli.options import (
    RunsOption,
    ServerOption,
    TegraOption,
    UnitOption,
    read_runs,
)
from t2m_bayes.cli.output import duration, log, percent
from t2m_bayes.cores import CORES
from t2m_bayes.errors import DataError
from t2m_bayes.writing import replacing, write_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from t2m_bayes.comparison.runner import Comparison
    from t2m_bayes.comparison.tables import Standing

EXAMPLES: Final = """\b
Examples:
  t2m compare --protocol few-shot:5
  t2m compare --runs runs.csv --protocol 'extrapolate:input_tokens<=641' --output compared
  t2m compare --protocol leave-llm-out --estimators bayes,physics_wls,direct --json scores.json
"""


def compare(
    protocol: Annotated[
        str,
        typer.Option(
            metavar="P",
            help="random:K, kfold:K, few-shot:K, leave-llm-out, leave-device-out, "
            "extrapolate:input_tokens<=N, extrapolate:output_tokens<=N, leave-session-out or "
            "time-order.",
        ),
    ],
    estimators: Annotated[
        str, typer.Option(metavar="A,B,...", help="Estimators, or `all`.")
    ] = "all",
    runs: RunsOption = None,
    server: ServerOption = None,
    tegra: TegraOption = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device of Tegra CSVs and of tables that name none."),
    ] = None,
    unit: UnitOption = None,
    target_device: Annotated[
        str | None,
        typer.Option(metavar="D", help="The device predicted; by default the scarce one."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Repeats of random protocols.")
    ] = 5,
    cores: Annotated[
        int, typer.Option(metavar="N", min=1, help="Fits, or chains, at the same time.")
    ] = CORES,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the records as JSON.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write scores.csv, scores.json and two figures."),
    ] = None,
) -> None:
    """Compare the Bayesian model with point regressors on the same splits.

    Without data options these are the shipped samples, which are simulated.

    Scores of the table are relative to each run and average over LLMs; they are of runs that no
    step of an estimator has seen. The best CRPS is bold; `=` marks what is within two standard
    errors of it, a tie. An estimator that cannot answer all runs is listed last.
    """
    from t2m_bayes.comparison import protocols, runner, tables

    how = protocols.protocol(protocol)
    names = runner_names(estimators)
    if json is not None and json.is_dir():
        raise DataError(f"--json {json} is a folder; name a file")
    if output is not None and output.exists() and not output.is_dir():
        raise DataError(f"--output {output} is a file; name a folder")
    loaded = read_runs(runs, server, tegra, device=device, unit=unit)
    with progress(protocol) as done:
        compared = runner.compare(
            loaded, how, names, target=target_device, seeds=seeds, jobs=cores, done=done
        )
    show(tables.standings(compared), how.text, seeds if how.random else 1)
    for note in compared.notes:
        log.warning("%s", note)
    found = tables.records(compared)
    if json is not None:
        write_json(found, json)
    if output is not None:
        write_folder(compared, found, output)
        log.info("scores and figures written to %s", output)


def runner_names(estimators: str) -> list[str]:
    """Return the estimators that a list with commas names, ``all`` meaning all that can be used."""
    from importlib.util import find_spec

    from t2m_bayes.comparison.estimators import NAMES, check_names

    names = list(dict.fromkeys(name.strip() for name in estimators.split(",") if name.strip()))
    if names == ["all"]:
        missing = find_spec("xgboost") is None
        if missing:
            log.info("xgboost is not installed (pip install 't2m-bayes[xgboost]'): left out")
        return [name for name in NAMES if not (missing and name == "xgboost")]
    if not names:
        raise DataError(f"--estimators names none; there are {', '.join(NAMES)}")
    check_names(names)
    return names


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error; yield what moves it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda finished, total: bar.update(task, completed=finished, total=total)


def show(ranked: Sequence[Standing], protocol: str, seeds: int) -> None:
    """Print a table for each metric, the best in bold, ties marked."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from t2m_bayes.cli.output import PIPE_WIDTH

    console = Console(
        width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, emoji=False
    )
    heads = ("estimator", "", "MAPE", "median", "bias", "CRPS", "worse by", "90 % score")
    for metric in dict.fromkeys(s.metric for s in ranked):
        of_metric = [s for s in ranked if s.metric == metric]
        times = f"{seeds} seeds" if seeds > 1 else "one split"
        table = Table(
            title=f"{metric}, {protocol}, {times}, {max(s.n for s in of_metric)} readings",
            title_justify="left",
            box=None,
            pad_edge=False,
            padding=(0, 2, 0, 0),
        )
        for i, head in enumerate((*heads, "width", "in 50 %", "in 90 %", "fit", "predict")):
            table.add_column(head, justify="left" if i < 2 else "right", no_wrap=True)
        for s in of_metric:
            table.add_row(*_cells(s), style="bold" if s.best else None)
        console.print(table)
        console.print()


def _cells(s: Standing) -> Iterator[str]:
    yield s.estimator
    yield ("best" if s.best else "=" if s.tied else "") if s.complete else "partial"
    yield from (percent(x, 2) for x in (s.mape, s.median_ape, s.bias, s.crps))
    gap, error = s.worse_by
    yield "" if s.best else f"{100 * gap:.2f} ± {100 * error:.2f}"
    yield percent(s.interval_score, 1) + (" =" if s.interval_tied else "")
    yield percent(s.width, 1)
    yield from (percent(x, 0) for x in (s.coverage_50, s.coverage_90))
    yield from (duration(x) for x in (s.fit_s, s.predict_s))


def write_json(found: list[dict[str, Any]], path: Path) -> None:
    """Write records as JSON, under a temporary name first."""
    import json as library

    with replacing(path) as part:
        part.write_text(library.dumps(found, indent=1) + "\n", encoding="utf-8")


def write_folder(compared: Comparison, found: list[dict[str, Any]], folder: Path) -> None:
    """Write the long table as CSV and JSON, and both figures."""
    import pandas as pd

    from t2m_bayes.cli.tables import write_cells
    from t2m_bayes.comparison_figures import draw

    folder.mkdir(parents=True, exist_ok=True)
    write_cells(pd.DataFrame(found), folder / "scores.csv")
    write_json(found, folder / "scores.json")
    for name, figure in draw(compared).items():
        write_picture(figure, folder / f"{name}.png")
