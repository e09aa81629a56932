"""``t2m train``: from run files to a fit."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from t2m_bayes.cli.options import (
    RunsOption,
    ServerOption,
    TegraOption,
    UnitOption,
    only_llm,
    read_runs,
)
from t2m_bayes.cli.output import log
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from t2m_bayes.schema import Runs


class Sampler(StrEnum):
    """Programs that sample."""

    nutpie = "nutpie"
    pymc = "pymc"


EXAMPLES: Final = """\b
Examples:
  t2m train --all-models --output outputs
  t2m train --server server.xlsx --tegra jetson/ --device jetson-orin-nx-16gb --output outputs
  t2m train --runs runs.csv --model 1.5B --unit ms --output outputs/small
  t2m train --from outputs --runs new.csv --output outputs
  t2m train --model 1.5B --regression linear --output outputs
"""


def train(
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Train on this LLM's runs alone.")
    ] = None,
    all_models: Annotated[
        bool, typer.Option("--all-models", help="Train on all LLMs together (the default).")
    ] = False,
    regression: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="`bayes`, or a point regressor with conformal bands: linear, polynomial, "
            "random_forest, xgboost, quantile_gbm, gaussian_process, mean_ratio, median_ratio, "
            "linear_scaling, direct, physics_wls, published, wilkins.",
        ),
    ] = "bayes",
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="An earlier fit: fit its runs, which are kept beside it, and the new ones.",
        ),
    ] = None,
    runs: RunsOption = None,
    server: ServerOption = None,
    tegra: TegraOption = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device of Tegra CSVs and of tables that name none."),
    ] = None,
    unit: UnitOption = None,
    rails: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=NAME",
            help="Power rails that a source sums, where its rows do not say; repeatable.",
        ),
    ] = None,
    rail_offset: Annotated[
        bool,
        typer.Option("--rail-offset", help="Pool power of different rails, a level for each."),
    ] = False,
    no_power: Annotated[
        bool, typer.Option("--no-power", help="Fit times alone, though power was read.")
    ] = False,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the fit.")] = Path(
        "outputs"
    ),
    draws: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=10, help="Draws of each chain; twice as many if these do not suffice."
        ),
    ] = None,
    tune: Annotated[
        int | None, typer.Option(metavar="N", min=10, help="Tuning draws of each chain.")
    ] = None,
    chains: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="Chains; r-hat compares them.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Chains sampled at the same time.")
    ] = None,
    target_accept: Annotated[
        float | None,
        typer.Option(metavar="X", min=0.5, max=0.999, help="Acceptance rate that tuning aims for."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Seed of the chains.")
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="Program that samples.")] = None,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
) -> None:
    """Fit the model of time, energy and power to runs.

    Without data options it is fitted to the shipped samples, which are simulated.

    The run table is kept beside the fit as runs.parquet, for --from; predicting does without it.

    An earlier fit in the folder is replaced when the new one is complete, not before. Options of
    the sampler that are not given keep the defaults that suit most data; they are printed.
    """
    name = regression.casefold().replace("-", "_")
    if name != "bayes":
        from t2m_bayes.baselines.registry import method

        method(name)
    if model is not None and all_models:
        raise DataError("give --model NAME or --all-models, not both")
    if output.exists() and not output.is_dir():
        raise DataError(f"--output {output} is a file; name a folder")
    if earlier is not None and not (runs or server or tegra):
        raise DataError("--from FIT adds runs to a fit: name them with --runs, --server or --tegra")
    from t2m_bayes import fits
    from t2m_bayes.decisions import update
    from t2m_bayes.power_design import named_rails, parse_rails, without_power

    before = None if earlier is None else update.read_earlier(earlier)
    loaded = read_runs(runs, server, tegra, device=device, unit=unit)
    from t2m_bayes.loading import report_text

    log.info("%s", report_text(loaded))
    if before is not None:
        loaded, known = update.add_runs(before, loaded)
        log.info("fitted together with the %d runs of %s", len(before.frame), earlier)
        if known:
            log.warning("%d runs are among those of %s already: counted once", known, earlier)
    if model is not None:
        from dataclasses import replace

        loaded = replace(loaded, frame=only_llm(loaded, model))
        log.info("training on the %d runs of %s", len(loaded), loaded.frame["llm"].iloc[0])
    loaded = named_rails(loaded, parse_rails(rails or []))
    if no_power:
        loaded = without_power(loaded)
    if name != "bayes":
        typer.echo(f"fit written to {_regressed(name, loaded, seed, output)}")
        return
    from t2m_bayes import inference
    from t2m_bayes.sampling import Sampling

    given = {
        "draws": draws,
        "tune": tune,
        "chains": chains,
        "cores": cores,
        "target_accept": target_accept,
        "seed": seed,
        "sampler": sampler.value if sampler else None,
        "progress": not no_progress,
    }
    sampling = Sampling(**{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
    log.info(
        "compiling the model, then %d chains of %d + %d draws (seed %d)",
        *(sampling.chains, sampling.tune, sampling.draws, sampling.seed),
    )
    fit = inference.fit(loaded, sampling, rail_offset=rail_offset)
    folder = fits.save(fit, output)
    update.keep_rows(loaded.frame, folder)
    if not fit.usable:
        log.warning("the fit is saved, marked as unusable: predicting from it will say so")
    typer.echo(f"fit written to {folder}")


def _regressed(name: str, loaded: Runs, seed: int | None, output: Path) -> Path:
    """Fit a point regressor, save it, and return where."""
    from t2m_bayes.baselines import saved
    from t2m_bayes.baselines.regression import Regression

    fitted = Regression(name, random_state=seed or 0).fit(loaded)
    for metric, why in fitted.reasons_.items():
        log.warning("%s is left out: %s", metric, why)
    return saved.save(fitted, output)
