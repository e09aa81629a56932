"""``t2m data power-log``: power and energy of requests, from the log of a power sensor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from t2m_bayes.cli.options import JsonOption
from t2m_bayes.cli.output import log as messages
from t2m_bayes.cli.output import print_json
from t2m_bayes.errors import DataError

EXAMPLES: Final = """\b
Examples:
  t2m data power-log tegrastats.log
  t2m data power-log tegrastats.log --requests requests.csv --output runs.csv
  t2m data power-log gpu.csv --requests requests.csv --output runs.csv --time-zone Europe/Berlin
  t2m data power-log tegrastats.log --requests requests.csv --output runs.csv --whole-file
"""


def power_log(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Of tegrastats, nvidia-smi or jtop.")],
    requests: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV or Parquet, one request a row, with start, and end or total_s: each gets the "
            "samples of its own window.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV or Parquet to write.")
    ] = None,
    rail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Rail to sum; repeatable. By default the input rail, else all rails that are "
            "not part of another.",
        ),
    ] = None,
    period: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds between samples; by default what times tell."),
    ] = None,
    clock_offset: Annotated[
        float, typer.Option(metavar="S", help="Seconds to add to the log's times.")
    ] = 0.0,
    time_zone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Zone of times that name none, such as Europe/Berlin. By default that of the "
            "times on the other side.",
        ),
    ] = None,
    whole_file: Annotated[
        bool, typer.Option("--whole-file", help="Give all the mean of the log, whatever the times.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Read a power log; give requests their power and energy.

    Without --requests it says what the log holds. The output is the requests with the columns
    power_w, energy_j, sensor_period_s, n_power_samples, rails and power_window. A request without
    a sample stays without a reading. Ends with exit code 2 if the files cannot be used.
    """
    from t2m_bayes.cli.tables import read_cells, write_cells
    from t2m_bayes.power_logs import (
        Options,
        join_power_log,
        joined_dict,
        joined_text,
        load_power_log,
        log_dict,
        log_text,
    )

    options = Options(tuple(rail or ()), period, clock_offset, time_zone)
    if requests is None and output is None:
        found = load_power_log(log, options)
        if json:
            print_json({"log": log_dict(found)})
        else:
            typer.echo(log_text(found))
        return
    if requests is None or output is None:
        raise DataError("--requests and --output go together: what to fill, and where to write it")
    _check_output(output, log, requests)
    joined = join_power_log(log, read_cells(requests), options, whole_file=whole_file)
    write_cells(joined.table, output)
    if json:
        print_json(joined_dict(joined) | {"output": str(output)})
    else:
        typer.echo(joined_text(joined))
        typer.echo(f"written to {output}")
    for warning in joined.readings.warnings:
        messages.warning("%s", warning)


def _check_output(output: Path, *inputs: Path) -> None:
    """Refuse to write over an input."""
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise DataError(f"--output is an input, {path}: name another file")
