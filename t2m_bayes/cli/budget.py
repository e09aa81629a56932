"""``t2m budget``: how many output tokens a deadline, an energy or a power leaves."""

from __future__ import annotations

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
from t2m_bayes.cli.output import amount, log, percent, print_json, print_table
from t2m_bayes.cli.quantities import quantity
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from t2m_bayes.decisions.limits import Budget, Chance
    from t2m_bayes.fits import Fit

EXAMPLES: Final = """\b
Examples:
  t2m budget --model 8B --input-tokens 512 --deadline 10s
  t2m budget --model 8B --input-tokens 512 --deadline 10s --energy 300J --power 30W --prob 0.95
  t2m budget --which-llm --input-tokens 512 --output-tokens 100 --deadline 10s
"""

LIMITS: Final = {"total_s": "--deadline", "energy_j": "--energy", "power_w": "--power"}
"""Metric to the option that limits it."""


def budget(
    input_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Prompt length.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The LLM, such as 8B.")
    ] = None,
    which_llm: Annotated[
        bool, typer.Option("--which-llm", help="Compare all LLMs of the fit.")
    ] = False,
    deadline: Annotated[
        str | None, typer.Option(metavar="TIME", help="Longest time, such as 10s or 500ms.")
    ] = None,
    energy: Annotated[
        str | None, typer.Option(metavar="ENERGY", help="Most energy, such as 300J or 0.1Wh.")
    ] = None,
    power: Annotated[
        str | None, typer.Option(metavar="POWER", help="Most mean power, such as 30W.")
    ] = None,
    output_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Say the chance of so many output tokens too."),
    ] = None,
    prob: ProbOption = 0.95,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The device; by default the fit's target device."),
    ] = None,
    fit: FitOption = None,
    session: Annotated[
        SessionKind,
        typer.Option(help="A run in a session of its own, or in the one that was measured."),
    ] = SessionKind.new,
    params_b: Annotated[
        float | None,
        typer.Option(metavar="X", help="Billions of parameters, for an LLM without a card."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Find the most output tokens that meet limits with a probability.

    Every answer of so many tokens or fewer meets all limits with that probability.
    """
    check_prob(prob)
    if (model is None) != which_llm:
        raise DataError("give --model NAME or --which-llm, one of the two")
    given = {"total_s": deadline, "energy_j": energy, "power_w": power}
    limits = {m: quantity(text, m, LIMITS[m]) for m, text in given.items() if text is not None}
    if not limits:
        raise DataError("give a limit: --deadline, --energy or --power")
    from t2m_bayes.decisions import limits as decisions
    from t2m_bayes.requests import make_requests

    known = read_posterior(fit)
    names = known.coords.llms if model is None else (model,)
    budgets, chances = [], []
    for name in names:
        budgets.append(
            decisions.budget(
                known,
                name,
                input_tokens,
                limits,
                prob=prob,
                device=device,
                session=session.value,
                params_b=params_b,
            )
        )
        if output_tokens is not None:
            asked = make_requests(
                known, name, input_tokens, output_tokens, device=device, params_b=params_b
            )
            chances.append(decisions.chance(known, asked, limits, session=session.value))
    if json:
        asked_for = {"input_tokens": input_tokens, "limits": limits, "prob": prob}
        print_json(
            asked_for
            | {"session": session.value, "budgets": _as_json(budgets, chances, output_tokens)}
            | {"fit": _provenance(known, str(default_fit() if fit is None else fit))}
        )
        return
    limit = ", ".join(f"{LIMITS[m][2:]} {amount(m, value)}" for m, value in limits.items())
    typer.echo(f"{input_tokens} input tokens, {limit}, {percent(prob, 0)} sure\n")
    _show(budgets, chances, output_tokens)
    for warning in dict.fromkeys(w for b in budgets for w in b.warnings):
        log.warning("%s", warning)


def _as_json(
    budgets: list[Budget], chances: list[Chance], output_tokens: int | None
) -> list[dict[str, Any]]:
    out = []
    for i, b in enumerate(budgets):
        entry: dict[str, Any] = vars(b) | {"warnings": list(b.warnings)}
        if chances:
            entry["asked"] = {
                "output_tokens": output_tokens,
                "chance": float(chances[i].together[0]),
                "each": {m: float(values[0]) for m, values in chances[i].each.items()},
            }
        out.append(entry)
    return out


def _provenance(fit: Fit, path: str) -> dict[str, Any]:
    return {"path": path} | {k: v for k, v in fit.provenance.items() if k != "priors"}


def _show(budgets: list[Budget], chances: list[Chance], output_tokens: int | None) -> None:
    header = ["llm", "device", "output tokens", "chance"]
    header += [f"chance of {output_tokens}"] if chances else []
    print_table(
        header,
        [
            (
                *(
                    b.llm,
                    b.device,
                    str(b.output_tokens),
                    percent(b.chance if b.output_tokens else 0),
                ),
                *([percent(float(chances[i].together[0]))] if chances else []),
            )
            for i, b in enumerate(budgets)
        ],
        left=2,
    )
    typer.echo("")
    for b in budgets:
        typer.echo(f"{b.llm}: {b.reason}")
