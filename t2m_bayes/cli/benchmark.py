"""``t2m benchmark``: every claim about accuracy, run again into one page."""

from __future__ import annotations

import time
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Final

import typer

from t2m_bayes.cli.compare import progress, runner_names, write_json
from t2m_bayes.cli.options import sample_paths
from t2m_bayes.cli.output import duration, log
from t2m_bayes.cores import CORES
from t2m_bayes.errors import DataError
from t2m_bayes.writing import replacing

EXAMPLES: Final = """\b
Examples:
  t2m benchmark
  t2m benchmark --data measurements/ --output docs/benchmark.md
  t2m benchmark --data measurements/ --case few-shot-5 --estimators bayes,physics_wls
"""


def benchmark(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="The public measurements; by default the shipped samples."
        ),
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option("--case", metavar="NAME", help="One claim; repeatable.")
    ] = None,
    estimators: Annotated[
        str, typer.Option(metavar="A,B,...", help="Estimators, or `all`.")
    ] = "all",
    cores: Annotated[
        int, typer.Option(metavar="N", min=1, help="Fits, or chains, at the same time.")
    ] = CORES,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page here, not to the screen.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the records as JSON.")
    ] = None,
) -> None:
    """Run every claim about accuracy and print one page, losses included."""
    from t2m_bayes.comparison import benchmark as claims
    from t2m_bayes.comparison.runner import compiler
    from t2m_bayes.loading import load

    for path in (output, json):
        if path is not None and path.is_dir():
            raise DataError(f"{path} is a folder; name a file")
    known = {c.name: c for c in (claims.SAMPLES if data is None else claims.REAL)}
    for name in case or []:
        if name not in known:
            raise DataError(f"no case {name!r}; there are {', '.join(known)}")
    wanted = [known[name] for name in case] if case else list(known.values())
    if data is not None:
        files = [data / file for c in wanted for file in c.files]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise DataError(f"--data: no file {', '.join(dict.fromkeys(missing))}")
    names = runner_names(estimators)
    started = time.perf_counter()
    sections, found = [], []
    for files, cases in groupby(wanted, key=attrgetter("files")):
        runs = load(*(data / file for file in files) if data else sample_paths())
        compiled = compiler(runs)
        for c in cases:
            begun = time.perf_counter()
            with progress(c.name) as done:
                section, records = claims.run_case(
                    c, runs, names, jobs=cores, compiled=compiled, done=done
                )
            log.info("%s: %s", c.name, duration(time.perf_counter() - begun))
            sections.append(section)
            found += records
            # After every claim, so that an interruption loses one and not an hour.
            page = claims.header(data, (time.perf_counter() - started) / 60) + "".join(sections)
            if json is not None:
                write_json(found, json)
            if output is not None:
                with replacing(output) as part:
                    part.write_text(page, encoding="utf-8")
    typer.echo(page if output is None else f"page written to {output}")
