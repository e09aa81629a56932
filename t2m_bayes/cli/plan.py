"""``t2m plan``: which runs to make next."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from t2m_bayes.cli.options import FitOption, SessionKind, read_posterior
from t2m_bayes.cli.output import duration, log, percent, print_table
from t2m_bayes.errors import DataError
from t2m_bayes.writing import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from t2m_bayes.fits import Fit
    from t2m_bayes.requests import Requests

EXAMPLES: Final = """\b
Examples:
  t2m plan --runs 5
  t2m plan --fit outputs --for day.csv --model 8B --runs 5 --output to_run.csv
  t2m plan --fit outputs --candidates prompts.csv --for day.csv --runs 10 --per second
"""


class Per(StrEnum):
    """What the worth of a run is counted for."""

    run = "run"
    second = "second"


def plan(
    runs: Annotated[int, typer.Option(metavar="N", min=1, help="How many runs to choose.")] = 5,
    candidates: Annotated[
        str,
        typer.Option(
            metavar="grid|FILE",
            help="Runs that could be made: a grid of token counts for every LLM of the fit, or a "
            "table of requests.",
        ),
    ] = "grid",
    target: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="target|FILE",
            help="What is to be predicted better: the grid on the target device, or a table of "
            "requests.",
        ),
    ] = "target",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Metric to be predicted better, such as total_s; repeatable; by default all.",
        ),
    ] = None,
    per: Annotated[
        Per, typer.Option(help="Count a run's worth as it is, or for each second it takes.")
    ] = Per.run,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="LLM of rows that name none.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The device; by default the fit's target device."),
    ] = None,
    fit: FitOption = None,
    session: Annotated[
        SessionKind,
        typer.Option(help="Runs and requests share one session: a new one, or the measured one."),
    ] = SessionKind.new,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the runs to make go, as CSV.")
    ] = None,
) -> None:
    """Choose the runs that would sharpen predictions the most.

    Each run is chosen for what it adds to those before it. Worth is the entropy it takes from the
    predictions, from the posterior's covariances: a choice, not a promise.
    """
    from t2m_bayes.decisions.plan import MOST_CANDIDATES, MOST_TARGETS, grid, plan_runs, some_of

    known = read_posterior(fit)
    could = grid(known, device) if candidates == "grid" else _read(known, candidates, device, model)
    wanted = grid(known, device) if target == "target" else _read(known, target, device, model)
    chosen = plan_runs(
        known,
        some_of(could, MOST_CANDIDATES),
        some_of(wanted, MOST_TARGETS),
        runs,
        metrics=metric,
        per=per.value,
        session=session.value,
    )
    for what, all_of, most in (
        ("candidates", could, MOST_CANDIDATES),
        ("requests to predict", wanted, MOST_TARGETS),
    ):
        if len(all_of) > most:
            log.info("%d of the %d %s were weighed, at random", most, len(all_of), what)
    columns = ("llm", "device", "input_tokens", "output_tokens")
    made = chosen.runs
    rows = list(
        zip(
            *(made.llm, made.device, made.input_tokens.astype(int)),
            *(made.output_tokens.astype(int), chosen.expected_s),
            strict=True,
        )
    )
    print_table(
        ("run", *columns, "takes about", "spread after it"),
        [
            (str(i + 1), llm, where, str(inputs), str(outputs), duration(takes), percent(after, 2))
            for i, ((llm, where, inputs, outputs, takes), after) in enumerate(
                zip(rows, chosen.spread[1:], strict=True)
            )
        ],
        left=3,
    )
    typer.echo(
        f"\nSpread of what is predicted: {percent(chosen.spread[0], 2)} now, "
        f"{percent(chosen.spread[-1], 2)} expected after {runs} run(s) of "
        f"{duration(float(chosen.expected_s.sum()))} in all."
    )
    if output is not None:
        _write(output, [*columns, "expected_s"], rows)
        log.info("%d runs to make written to %s", runs, output)
    for warning in chosen.warnings:
        log.warning("%s", warning)


def _read(fit: Fit, path: str, device: str | None, model: str | None) -> Requests:
    """Return the requests of a table."""
    from t2m_bayes.request_files import open_requests
    from t2m_bayes.request_tables import Reading
    from t2m_bayes.requests import make_requests

    file = open_requests(Path(path))
    reading = Reading(fit, "same", device=device, llm=model)
    reading.check_columns(path, file.columns)
    reading.check(path, file.blocks())
    llms, devices, inputs, outputs, sizes = [], [], [], [], []
    for block in file.blocks():
        for asked in reading.asked(block):
            llms += [asked.kind.llm] * asked.rows.size
            devices += [asked.kind.device] * asked.rows.size
            sizes += [asked.kind.params_b or float("nan")] * asked.rows.size
            inputs += asked.input_tokens.tolist()
            outputs += asked.output_tokens.tolist()
    return make_requests(fit, llms, inputs, outputs, device=devices, params_b=sizes)


def _write(output: Path, header: list[str], rows: Sequence[tuple[Any, ...]]) -> None:
    import csv

    if output.is_dir():
        raise DataError(f"{output}: a folder; name a file to write")
    with replacing(output) as part, part.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows((*row[:-1], f"{row[-1]:.4g}") for row in rows)
