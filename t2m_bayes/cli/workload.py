"""``t2m workload``: what a whole file of requests costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from t2m_bayes.cli.options import (
    FitOption,
    JsonOption,
    ProbOption,
    SessionKind,
    check_prob,
    default_fit,
    read_posterior,
)
from t2m_bayes.cli.output import amount, log, percent, print_json, print_table, progress
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from t2m_bayes.decisions.lengths import Lengths
    from t2m_bayes.decisions.workload import Workload
    from t2m_bayes.fits import Fit
    from t2m_bayes.request_files import RequestFile

EXAMPLES: Final = """\b
Examples:
  t2m workload --requests day.csv --model 8B
  t2m workload --requests day.parquet --model 8B --session same --prob 0.95 --json
  t2m workload --requests prompts.csv --model 8B --output-tokens-from yesterday.csv
"""


def workload(
    requests: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet with input_tokens, output_tokens and, if wanted, llm, device, "
            "session and params_b. Output tokens may be empty or missing.",
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="LLM of rows that name none.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device of rows that name none; the fit's by default."),
    ] = None,
    fit: FitOption = None,
    output_tokens_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where unknown output tokens are drawn from: a table with output_tokens; by "
            "default the rows of --requests that have them.",
        ),
    ] = None,
    prob: ProbOption = 0.9,
    session: Annotated[
        SessionKind,
        typer.Option(help="All requests in one new session, or in the one that was measured."),
    ] = SessionKind.new,
    json: JsonOption = False,
) -> None:
    """Predict the totals of a file of requests, run one after the other, with bands.

    What all requests share (coefficients, session) does not average out in the totals; the noise
    of single requests does. One request counts for a hundred times its expected time at most.
    """
    check_prob(prob)
    from t2m_bayes.decisions.workload import sum_workload
    from t2m_bayes.request_files import open_requests
    from t2m_bayes.request_tables import Reading

    known = read_posterior(fit)
    reading = Reading(known, session.value, device=device, llm=model, unknown_outputs=True)
    file = open_requests(requests)
    if "llm" not in file.columns and model is None:
        raise DataError(f"{requests} has no column llm: name the LLM with --model")
    reading.check_columns(requests, file.columns)
    with progress("checking", file.size) as advance:
        reading.check(requests, file.blocks(advance))
    unknown = sum(int(block.empty("output_tokens").sum()) for block in file.blocks())
    lengths = _lengths(known, file, output_tokens_from) if unknown else None
    if output_tokens_from is not None and not unknown:
        log.warning("every request has output_tokens: --output-tokens-from changes nothing")
    with progress("adding up", file.size) as advance:
        summed = sum_workload(known, reading, file.blocks(advance), lengths=lengths)
    if json:
        path = str(default_fit() if fit is None else fit)
        print_json(_as_json(summed, known, path, prob, session.value, unknown))
    else:
        _show(summed, prob, session.value, unknown)


def _lengths(fit: Fit, file: RequestFile, source: Path | None) -> Lengths:
    from t2m_bayes.decisions.lengths import learn_lengths
    from t2m_bayes.request_files import open_requests

    if source is not None:
        file = open_requests(source)
        if "output_tokens" not in file.columns:
            raise DataError(f"{source}: no column output_tokens; found: {', '.join(file.columns)}")
    return learn_lengths(file.blocks(), fit.shape[0] * fit.shape[1], seed=0)


def _band(draws: NDArray[Any], prob: float) -> dict[str, float]:
    import numpy as np

    levels = (0.5, (1 - prob) / 2, (1 + prob) / 2)
    values = np.quantile(draws, levels).tolist()
    return dict(zip(("median", "lower", "upper"), values, strict=True))


def _as_json(
    summed: Workload, fit: Fit, path: str, prob: float, session: str, unknown: int
) -> dict[str, Any]:
    return {
        "requests": summed.requests,
        "unknown_output_tokens": unknown,
        "prob": prob,
        "session": session,
        "metrics": {metric: _band(draws, prob) for metric, draws in summed.totals.items()},
        "latency_s": {
            f"p{100 * share:g}": _band(draws, prob) for share, draws in summed.latency_s.items()
        },
        "warnings": list(summed.warnings),
        "fit": {"path": path} | {k: v for k, v in fit.provenance.items() if k != "priors"},
    }


def _show(summed: Workload, prob: float, session: str, unknown: int) -> None:
    where = "the measured session" if session == "same" else "a new session"
    drawn = f", {unknown} of them with output tokens drawn" if unknown else ""
    typer.echo(f"{summed.requests} requests one after the other{drawn}, {where}\n")
    rows = [
        ("mean power" if metric == "power_w" else f"all {_name(metric)}", metric, draws)
        for metric, draws in summed.totals.items()
    ]
    rows += [
        (f"{percent(share, 0)} of requests within", "total_s", draws)
        for share, draws in summed.latency_s.items()
    ]
    print_table(
        ("", "median", "from", "to"),
        [
            (name, *(amount(metric, value) for value in _band(draws, prob).values()))
            for name, metric, draws in rows
        ],
    )
    typer.echo(f"\n{percent(prob, 0)} of such workloads should fall between `from` and `to`.")
    for warning in summed.warnings:
        log.warning("%s", warning)


def _name(metric: str) -> str:
    """Return what people call a metric that is added up."""
    words = {"total_s": "time", "energy_j": "energy"}
    phase, _, kind = metric.partition("_")
    return words.get(metric, f"{phase} energy" if kind == "energy_j" else f"{phase} time")
