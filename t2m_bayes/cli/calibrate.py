"""``t2m calibrate``: does the sampler recover what the model itself made up?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from t2m_bayes.cli.options import RunsOption, read_runs, sample_paths
from t2m_bayes.cli.output import log, print_table
from t2m_bayes.writing import write_picture

if TYPE_CHECKING:
    from t2m_bayes.sbc import Calibration

RANKS, PICTURE = "ranks.json", "ranks.png"

SHOWN: Final = 10
"""Parameters that are listed, the farthest from uniform first."""

EXAMPLES: Final = """\b
Examples:
  t2m calibrate --output docs/calibration
  t2m calibrate --simulations 500 --runs runs.csv --output outputs/calibration
"""


def calibrate(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the ranks and picture.")],
    runs: RunsOption = None,
    simulations: Annotated[
        int, typer.Option(metavar="N", min=10, help="Simulations, those found included.")
    ] = 200,
    draws: Annotated[
        int | None, typer.Option(metavar="N", min=32, help="Draws of each chain.")
    ] = None,
    tune: Annotated[
        int | None, typer.Option(metavar="N", min=50, help="Tuning draws of each chain.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Chains sampled at the same time.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="Seed of it all.")] = None,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
) -> None:
    """Check the model and its sampler by simulation-based calibration.

    Parameters are drawn from the prior and readings from the parameters; each set of readings is
    fitted, and every parameter is ranked among its posterior draws. Interrupt it when you like:
    it goes on where it was. Exit code 1 if the ranks of any parameter leave the joint 95 % band.

    By default for a few rows of two LLMs on two devices, of the shipped samples; with --runs for
    the tokens of those rows.
    """
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from t2m_bayes import sbc
    from t2m_bayes.loading import load
    from t2m_bayes.pictures import calibration_picture

    table = read_runs(runs, None, None) if runs else sbc.small_runs(load(*sample_paths()))
    given: dict[str, Any] = {"draws": draws, "tune": tune, "cores": cores, "seed": seed}
    sampling = replace(sbc.SAMPLING, **{k: v for k, v in given.items() if v is not None})
    output.mkdir(parents=True, exist_ok=True)
    log.info("%d simulations of %d runs in all", simulations, len(table))
    bar = Progress(
        "simulating",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=no_progress,
    )
    with bar:
        task = bar.add_task("simulating", total=simulations)
        result = sbc.calibrate(
            table,
            output / RANKS,
            simulations=simulations,
            sampling=sampling,
            report=lambda done: bar.update(task, completed=done),
        )
    write_picture(calibration_picture(result), output / PICTURE)
    passed = _show(result)
    typer.echo(f"\nranks    {output / RANKS}\npicture  {output / PICTURE}")
    if not passed:
        raise typer.Exit(1)


def _show(result: Calibration) -> bool:
    """Print a calibration, and return whether all parameters are inside the joint band."""
    import numpy as np

    off = np.abs(result.differences()).max(axis=1)
    high = float(result.band()[1].max())
    each, joint = result.outside(), result.outside(jointly=True)
    print_table(
        ("parameter", "largest ECDF difference", "inside its 95 % band", "inside the joint band"),
        [
            (
                result.parameters[i],
                f"{off[i]:.3f}",
                "no" if result.parameters[i] in each else "yes",
                "no" if result.parameters[i] in joint else "yes",
            )
            for i in np.argsort(-off)[:SHOWN].tolist()
        ],
    )
    n, parameters = len(result.ranks), len(result.parameters)
    typer.echo(
        f"\n{n} simulations, {sum(result.seconds) / n:.1f} s each; "
        f"{sum(d > 0 for d in result.divergences)} of them with divergences. "
        f"The 95 % band is {high:.3f} wide at its widest.\n"
        f"Outside their own 95 % band: {len(each)} of {parameters} parameters "
        f"({0.05 * parameters:.0f} expected of a calibrated model). "
        f"Outside the band that holds all of them with 95 %: {len(joint)}."
    )
    return not joint
