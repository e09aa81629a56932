"""``t2m data``: what the program makes of run files, and run files from power logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from t2m_bayes.cli import power_log
from t2m_bayes.cli.options import JsonOption, UnitOption
from t2m_bayes.cli.output import print_json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Look at run files and power logs."""


EXAMPLES: Final = """\b
Examples:
  t2m data check server.xlsx jetson/profiling_combined_DSR1-Llama-8B.csv
  t2m data check runs.csv --unit ms --json
"""


@app.command("check", epilog=EXAMPLES)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files or folders.")],
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device of Tegra CSVs and of tables that name none."),
    ] = None,
    unit: UnitOption = None,
    json: JsonOption = False,
) -> None:
    """Say what was read, decided and turned away.

    Ends with exit code 2 if a file cannot be used.
    """
    from t2m_bayes.loading import as_dict, load, report_text

    runs = load(*files, device=device, unit=unit.value if unit else None)
    if json:
        print_json(as_dict(runs))
    else:
        typer.echo(report_text(runs))


app.command("power-log", epilog=power_log.EXAMPLES)(power_log.power_log)
