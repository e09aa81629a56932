"""``t2m diagnose``: whether a fit can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from t2m_bayes.cli.options import FitOption, read_posterior
from t2m_bayes.cli.output import log
from t2m_bayes.errors import DataError
from t2m_bayes.writing import replacing

EXAMPLES: Final = """\b
Examples:
  t2m diagnose
  t2m diagnose --fit outputs --json checks.json --figures outputs/figures
"""


def diagnose(
    fit: FitOption = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the checks as JSON too.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw the evidence into this folder too.")
    ] = None,
) -> None:
    """Show what a fit was checked for, and how it went.

    Exit code 1 if a check fails: the fit answers, but what it answers should not be relied on.
    """
    from t2m_bayes.checks import checked, checks_of, failures

    if json is not None and json.is_dir():
        raise DataError(f"--json {json} is a folder; name a file")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise DataError(f"--figures {figures} is a file; name a folder")
    read = read_posterior(fit)
    checks = checks_of(read)
    failed = failures(checks)
    _print(checks)
    if not checked(read):
        log.warning(
            "this fit was not held against its rows and its prior: `t2m train` of this version "
            "does it"
        )
    if json is not None:
        _write(json, [check.to_dict() for check in checks])
    if figures is not None:
        from t2m_bayes.pictures import write

        for path in write(read, figures):
            typer.echo(f"picture  {path}")
    if failed:
        typer.echo(f"\n{len(failed)} of {len(checks)} checks failed")
        raise typer.Exit(1)
    typer.echo(f"\nall {len(checks)} checks passed")


def _print(checks: list[Any]) -> None:
    """Print a table of the checks, failures explained."""
    import sys

    from rich.console import Console
    from rich.table import Table

    from t2m_bayes.cli.output import PIPE_WIDTH

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("check", "measured", "limit", "", "where"):
        table.add_column(title, overflow="fold")
    group = None
    for check in checks:
        if check.group != group:
            group = check.group
            table.add_row(group.upper())
        verdict = "passed" if check.passed else "FAILED"
        table.add_row(f"  {check.name}", *_words(check), verdict, check.where)
    console = Console(
        width=None if sys.stdout.isatty() else PIPE_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print(table)
    for check in checks:
        if not check.passed:
            typer.echo(f"\nFAILED {check.name}: {check.meaning} {check.advice}")


def _words(check: Any) -> tuple[str, str]:
    measured, limit = (
        value if isinstance(value, str) else f"{value:g}" for value in (check.measured, check.limit)
    )
    return measured, limit


def _write(path: Path, value: Any) -> None:
    import json

    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
