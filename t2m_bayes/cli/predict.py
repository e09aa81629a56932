"""``t2m predict``: one request to the screen, or a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from t2m_bayes.cli.options import (
    FitOption,
    JsonOption,
    ProbOption,
    SessionKind,
    Shown,
    ShownOption,
    check_answered,
    check_prob,
    default_fit,
    predict_with,
    read_fit,
)
from t2m_bayes.cli.output import amount, log, percent, print_json, print_table
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from t2m_bayes.prediction import Prediction
    from t2m_bayes.requests import Known, Requests

NAMES: Final = {
    "prefill_s": "prefill",
    "decode_s": "decode",
    "total_s": "total",
    "energy_j": "energy",
    "power_w": "mean power",
    "prefill_energy_j": "energy, prefill",
    "decode_energy_j": "energy, decode",
}
"""How people call the metrics."""

EXAMPLES: Final = """\b
Examples:
  t2m predict --model 8B --input-tokens 100 --output-tokens 50
  t2m predict --model 8B --input-tokens 100 --output-tokens 50 --prob 0.5 --json
  t2m predict --model my-3B --params-b 3.1 --input-tokens 100 --output-tokens 50
  t2m predict --fit outputs --requests asked.csv --output answered.csv
  t2m predict --requests day.parquet --output bands.parquet --columns total_s_median,total_s_p95
"""


def predict(
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The LLM, such as 8B.")
    ] = None,
    input_tokens: Annotated[
        float | None, typer.Option("--input-tokens", metavar="N", help="Prompt length.")
    ] = None,
    output_tokens: Annotated[
        float | None, typer.Option("--output-tokens", metavar="N", help="Generated tokens.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The device; by default the fit's target device."),
    ] = None,
    fit: FitOption = None,
    prob: ProbOption = 0.9,
    session: Annotated[
        SessionKind,
        typer.Option(help="A run in a session of its own, or in the one that was measured."),
    ] = SessionKind.new,
    shown: ShownOption = Shown.chip,
    params_b: Annotated[
        float | None,
        typer.Option(metavar="X", help="Billions of parameters, for an LLM without a card."),
    ] = None,
    bytes_per_param: Annotated[
        float | None,
        typer.Option(metavar="X", help="Bytes a parameter takes, for an LLM without runs."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Number format of the weights, if not the usual."),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Many requests: CSV or Parquet with llm, input_tokens, output_tokens and, if "
            "wanted, device, session (new, same or a measured one) and params_b.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the answers to --requests go, row by row."),
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Columns that --requests adds: median, lower, upper or percentiles such as p95, "
            "of every metric; or of one, such as total_s_p95.",
        ),
    ] = "median,lower,upper",
    json: JsonOption = False,
) -> None:
    """Predict time, energy and power, with bands.

    Energy and power need a fit to runs with power readings, such as the shipped reference fit.
    """
    check_prob(prob)
    if requests is not None:
        if model or input_tokens is not None or output_tokens is not None or json:
            raise DataError(
                "--requests names a file with LLMs and tokens: leave out --model, --input-tokens, "
                "--output-tokens and --json"
            )
        from t2m_bayes.cli.batch import answer
        from t2m_bayes.request_tables import Reading

        reading = Reading(
            read_fit(fit),
            session.value,
            device=device,
            bytes_per_param=bytes_per_param,
            view=shown.value,
        )
        answer(reading, requests, output, columns=columns.split(","), prob=prob)
        return
    if output is not None:
        raise DataError("--output goes with --requests FILE; a single answer is printed")
    if model is None or input_tokens is None or output_tokens is None:
        raise DataError("give --model, --input-tokens and --output-tokens, or --requests FILE")
    known = read_fit(fit)
    asked = _request(
        known, model, input_tokens, output_tokens, device, params_b, bytes_per_param, precision
    )
    answered = predict_with(known, asked, session.value, shown.value)
    check_answered(known, answered)
    if json:
        path = str(default_fit() if fit is None else fit)
        print_json(_as_json(answered, known, path, prob, session.value))
    else:
        _show(answered, known, prob, session.value)


def _request(
    fit: Known,
    model: str,
    input_tokens: float,
    output_tokens: float,
    device: str | None,
    params_b: float | None,
    bytes_per_param: float | None,
    precision: str | None,
) -> Requests:
    """Return the one request, with the size of its weights where the fit cannot know it."""
    from t2m_bayes.requests import make_requests

    for option, value in (("--params-b", params_b), ("--bytes-per-param", bytes_per_param)):
        if value is not None and not 0 < value < float("inf"):
            raise DataError(f"{option} must be above 0; found {value:g}")
    if precision is not None:
        model = f"{model.partition('@')[0]}@{precision}"
    described = params_b is not None or bytes_per_param is not None
    asked = make_requests(
        fit,
        model,
        input_tokens,
        output_tokens,
        device=device,
        params_b=params_b,
        bytes_per_param=bytes_per_param,
    )
    if described and asked.llm[0] in fit.coords.llms:
        log.warning(
            "%s was measured: --params-b and --bytes-per-param, which describe an LLM that was "
            "not, change nothing",
            asked.llm[0],
        )
    return asked


def _as_json(
    answered: Prediction, fit: Known, path: str, prob: float, session: str
) -> dict[str, Any]:
    request = answered.requests
    medians, means, bounds = answered.median(), answered.mean(), answered.interval(prob)
    return {
        "llm": request.llm[0],
        "device": request.device[0],
        "input_tokens": int(request.input_tokens[0]),
        "output_tokens": int(request.output_tokens[0]),
        "prob": prob,
        "session": session,
        "metrics": {
            metric: {
                "median": float(medians[metric][0]),
                "mean": float(means[metric][0]),
                "lower": float(bounds[metric][0, 0]),
                "upper": float(bounds[metric][0, 1]),
            }
            for metric in answered.draws
        },
        "warnings": list(answered.warnings),
        "fit": {"path": path}
        | {k: v for k, v in fit.provenance.items() if k not in ("priors", "checks")},
    }


def _show(answered: Prediction, fit: Known, prob: float, session: str) -> None:
    request = answered.requests
    measured = f"{request.llm[0]} | {request.device[0]}" in fit.coords.cell_names()
    where = "the measured session" if session == "same" and measured else "a new session"
    typer.echo(
        f"{request.llm[0]} on {request.device[0]}, {request.input_tokens[0]:g} input and "
        f"{request.output_tokens[0]:g} output tokens, {where}\n"
    )
    medians, bounds = answered.median(), answered.interval(prob)
    print_table(
        ("", "median", "from", "to"),
        [
            (name, *(amount(metric, x) for x in (medians[metric][0], *bounds[metric][0])))
            for metric, name in NAMES.items()
            if metric in medians
        ],
    )
    typer.echo(f"\n{percent(prob, 0)} of such runs should fall between `from` and `to`.")
    for warning in answered.warnings:
        log.warning("%s", warning)
