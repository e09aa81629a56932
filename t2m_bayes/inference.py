"""Fit the models: sample, check, thin, and say whether the result can be used."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import compress, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.cards import catalog
from t2m_bayes.design import Design, make_design
from t2m_bayes.evidence import gather, mendable, monte_carlo_check, sampler_checks, verdict
from t2m_bayes.fits import Fit, Reads
from t2m_bayes.hierarchy import latency_model, model_data
from t2m_bayes.power_data import power_data
from t2m_bayes.power_design import PHASES
from t2m_bayes.power_model import power_model
from t2m_bayes.power_start import power_start
from t2m_bayes.prediction import predict
from t2m_bayes.priors import (
    DeviceRates,
    Prior,
    device_rates,
    device_role,
    load_priors,
    usual_target,
)
from t2m_bayes.requests import make_requests
from t2m_bayes.sampling import Graph, Sampling, Task, sample_in_turn
from t2m_bayes.schema import ENERGIES, data_hash
from t2m_bayes.time_start import time_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pymc as pm
    import xarray as xr
    from numpy.typing import NDArray

    from t2m_bayes.checks import Check
    from t2m_bayes.schema import Runs

log = logging.getLogger(__name__)

PROMPTS: Final = (64, 1024)
OUTPUTS: Final = (16, 1024)
"""Tokens of the predictions whose bounds are checked for Monte Carlo error."""

CAREFUL: Final = 0.97
"""Acceptance rate to aim for where trajectories diverged: a step about half as long."""

AGAIN: Final = 2
"""Times that a posterior is sampled again at most."""

THINNED: Final = 500
"""Draws of each chain that a fit keeps. With 400 the far end of a skewed band could move by a
twentieth of its width from one seed to the next, though the chains had mixed well."""


@dataclass(frozen=True)
class Models:
    """The models of a table, to be fitted to all or part of it.

    Attributes:
        frame: The run table.
        design: Its index.
        time: The model of time.
        rates: What is expected of each of its devices.
        priors: The priors by name.
        sources: What the runs were read from.
        power: The model of power; ``None`` where no run has a power reading.
    """

    frame: pd.DataFrame
    design: Design
    time: Graph
    rates: tuple[DeviceRates, ...]
    priors: dict[str, Prior]
    sources: tuple[str, ...]
    power: Graph | None = None

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Return the model of time and, where there is one, that of power."""
        return (self.time,) if self.power is None else (self.time, self.power)

    @property
    def models(self) -> tuple[pm.Model, ...]:
        """Return them as PyMC's."""
        return tuple(graph.model for graph in self.graphs)

    def compile(self) -> Models:
        """Compile now what would be when it is first sampled, and return the models."""
        for graph in self.graphs:
            _ = graph.compiled
        return self

    def fit(
        self,
        rows: NDArray[np.bool_] | None = None,
        sampling: Sampling = Sampling(),
    ) -> Fit:
        """Fit to some rows of the table.

        Rows that are left out reach no likelihood; they only made room for their coefficients,
        which then come from the population.

        Args:
            rows: Which rows to fit to; all by default. shape: (row,)
            sampling: How to sample.

        Returns:
            The fit, thinned, with its diagnostics in ``provenance["diagnostics"]`` and its checks
            in ``provenance["checks"]``.
        """
        return self.condense(self.sample(rows, sampling), rows, sampling)

    def sample(
        self, rows: NDArray[np.bool_] | None = None, sampling: Sampling = Sampling()
    ) -> xr.DataTree:
        """Sample the posterior of some rows of the table, whole and unthinned.

        Args:
            rows: Which rows to fit to; all by default. shape: (row,)
            sampling: How to sample.

        Returns:
            The posterior and the sampler's statistics, as ArviZ reads them. Statistics of power and
            of time stand side by side as chains.
        """
        return _joined(sample_in_turn(self.tasks(rows), sampling))

    def tasks(self, rows: NDArray[np.bool_] | None = None) -> tuple[Task, ...]:
        """Return what is to be sampled: power, where there is any, and time.

        No variable belongs to both, so that each is sampled for itself. The windows of a slow
        sensor take longer than times: while they are sampled, the model of time is compiled.

        Args:
            rows: Which rows to fit to; all by default. shape: (row,)
        """
        design = self.design if rows is None else self.design.subset(rows)
        data = model_data(design)
        of_time = Task(self.time, data, time_start(design, data, self.rates, self.priors))
        if self.power is None or design.power is None:
            return (of_time,)
        cells = np.array([c for c, _ in design.coords.series])
        data = power_data(design.power, cells, len(design.coords.cells))
        start = power_start(design.coords, design.power, self.priors)
        return Task(self.power, data, start), of_time

    def condense(
        self,
        posterior: xr.DataTree,
        rows: NDArray[np.bool_] | None,
        sampling: Sampling,
        *,
        sampler: list[Check] | None = None,
        evidence: bool = False,
    ) -> Fit:
        """Check a posterior and keep what predictions need of it.

        Args:
            posterior: What :meth:`sample` returned.
            rows: The rows it was sampled for. shape: (row,)
            sampling: How it was sampled.
            sampler: The checks of its chains, where they were made already.
            evidence: Whether to hold the fit against its rows and prior too, which takes some ten
                seconds: see :func:`t2m_bayes.evidence.gather`.

        Returns:
            The fit, thinned, with its diagnostics and checks.
        """
        used = np.ones(len(self.frame), dtype=bool) if rows is None else rows
        design = self.design if rows is None else self.design.subset(rows)
        sampler = sampler or sampler_checks(posterior, self.models)
        diagnostics = verdict(sampler)
        log.info("%s", diagnostics["verdict"])
        frame = self.frame[used]
        roles = {d: device_role(d, catalog()) for d in design.coords.devices}
        data = model_data(design)
        stairs = np.flatnonzero(data["stair_read"])
        blocks = np.flatnonzero(data.get("block_centred", ()))
        more: list[Check] = []
        found: dict[str, Any] = {}
        if evidence:
            started = time.perf_counter()
            more, found = gather(
                self.time.model,
                design,
                data,
                self.frame,
                posterior,
                self.priors,
                list(_saved((self.time.model,))),
                roles,
            )
            log.info("checked against rows and prior in %.0f s", time.perf_counter() - started)
        fitted = Fit(
            coords=replace(design.coords, stairs=tuple(design.coords.stairs[k] for k in stairs)),
            draws=_thinned(posterior, self.models, stairs, blocks),
            dims=_saved(self.models),
            sensors=() if design.power is None else design.power.sensors,
            rail_offsets=() if design.power is None else design.power.offsets,
            blocks=tuple(design.blocks[b] for b in blocks),
            reads=_reads(design, frame, np.flatnonzero(used)),
            provenance={
                "created": datetime.now(UTC).strftime("%Y-%m-%d"),
                "target_device": usual_target(frame["device"], roles),
                "roles": roles,
                "rows": len(frame),
                "sources": list(self.sources),
                "data_sha256": data_hash(frame),
                "sampling": asdict(sampling),
                "priors": {name: asdict(p) for name, p in self.priors.items()},
                "diagnostics": diagnostics,
                "versions": package_versions(),
            },
            evidence=found,
        )
        checks = [*sampler, monte_carlo_check(measured_predictions(fitted)), *more]
        about = {**fitted.provenance, "checks": [check.to_dict() for check in checks]}
        return replace(fitted, provenance=about)


def make_models(runs: Runs, *, rail_offset: bool = False) -> Models:
    """Index a run table and build its models.

    Args:
        runs: The run table.
        rail_offset: Pool power of different rails, with an offset for each.

    Returns:
        The models, each of which is compiled when it is first sampled.

    Raises:
        DataError: Nothing in the table can be fitted, or power was read on different rails and
            ``rail_offset`` is off.
    """
    priors = load_priors()
    frame = runs.frame.reset_index(drop=True)
    design = make_design(frame, rail_offset=rail_offset)
    rates = tuple(device_rates(d, catalog()) for d in design.coords.devices)
    model = latency_model(design, rates, priors)
    power = None
    if design.power is not None:
        of_power = power_model(design.coords, design.power, rates, priors)
        power = Graph(of_power, power_start(design.coords, design.power, priors))
    return Models(
        frame=frame,
        design=design,
        time=Graph(model, time_start(design, model_data(design), rates, priors)),
        rates=rates,
        priors=priors,
        sources=tuple(dict.fromkeys(Path(r.path).name for r in runs.reports)),
        power=power,
    )


def fit(runs: Runs, sampling: Sampling = Sampling(), *, rail_offset: bool = False) -> Fit:
    """Fit the model of time, and of power where any was read, to a run table, and check the fit.

    Chains that mix too slowly for their number of draws are sampled again with twice as many, and
    with shorter steps where some diverged: see :func:`sample_well`.

    Args:
        runs: The run table, as :func:`t2m_bayes.load` returns it.
        sampling: How to sample.
        rail_offset: Pool power of different rails, with an offset for each.

    Returns:
        The fit. A bad one is returned as well, marked: see ``Fit.usable``.

    Raises:
        DataError: Nothing in the table can be fitted, or power was read on different rails and
            ``rail_offset`` is off.
    """
    return fit_well(make_models(runs, rail_offset=rail_offset), sampling, evidence=True)


def fit_well(
    models: Models,
    sampling: Sampling = Sampling(),
    rows: NDArray[np.bool_] | None = None,
    *,
    evidence: bool = False,
) -> Fit:
    """Fit to some rows of a table, sampling again where it was not good enough.

    Args:
        models: The models of the table.
        sampling: How to sample the first time: see :func:`sample_well`.
        rows: Which rows to fit to; all by default. shape: (row,)
        evidence: Whether to hold the fit against its rows and prior too: see
            :meth:`Models.condense`.

    Returns:
        The fit. A bad one is returned as well, marked: see ``Fit.usable``.
    """
    posterior, sampling, checks = sample_well(models, sampling, rows)
    return models.condense(posterior, rows, sampling, sampler=checks, evidence=evidence)


def sample_well(
    models: Models, sampling: Sampling, rows: NDArray[np.bool_] | None = None
) -> tuple[xr.DataTree, Sampling, list[Check]]:
    """Sample the posterior of some rows of the table, again where it was not good enough.

    Args:
        models: The models of the table.
        sampling: How to sample the first time. Where trajectories diverged, the model of time or
            of power that they belong to is sampled again with shorter steps; where chains mixed too
            slowly, both are, with twice as many draws.
        rows: Which rows to fit to; all by default. shape: (row,)

    Returns:
        The posterior, how it was sampled, and the checks of its chains.
    """
    tasks = models.tasks(rows)
    started = time.perf_counter()
    sampled = sample_in_turn(tasks, sampling)
    posterior = _joined(sampled)
    checks = sampler_checks(posterior, models.models)
    for _ in range(AGAIN):
        if not (failed := mendable(checks)):
            break
        again = [True] * len(tasks)
        if failed == {"divergences"}:
            again = [bool(tree["sample_stats"]["diverging"].any()) for tree in sampled]
        else:
            sampling = replace(sampling, draws=2 * sampling.draws)
        if "divergences" in failed:
            sampling = replace(sampling, target_accept=max(CAREFUL, sampling.target_accept))
        log.info(
            "not good enough yet (%s): sampling again, %d draws a chain, target acceptance %g",
            ", ".join(sorted(failed)),
            sampling.draws,
            sampling.target_accept,
        )
        anew = iter(sample_in_turn(list(compress(tasks, again)), sampling))
        sampled = [next(anew) if a else tree for a, tree in zip(again, sampled, strict=True)]
        posterior = _joined(sampled)
        checks = sampler_checks(posterior, models.models)
    log.info("sampled in %.0f s, with what had to be compiled", time.perf_counter() - started)
    return posterior, sampling, checks


def _joined(parts: Sequence[xr.DataTree]) -> xr.DataTree:
    """Return one posterior of all parts; every chain of each keeps its own statistics."""
    import xarray as xr

    if len(parts) == 1:
        return parts[0]
    groups = [tree["posterior"].to_dataset() for tree in parts]
    stats = [tree["sample_stats"].to_dataset() for tree in parts]
    shared = [name for name in stats[0] if name in stats[1] and stats[0][name].ndim == 2]
    return xr.DataTree.from_dict(
        {
            "posterior": xr.merge(groups, compat="override", join="override"),
            "sample_stats": xr.concat([s[shared] for s in stats], dim="chain"),
        }
    )


def measured_predictions(fit: Fit) -> xr.Dataset:
    """Return expected short and long runs of whatever was measured, in its own session.

    Without the noise of single runs: its draws are independent whatever the chains do. Energy and
    power are those of cells where a sensor showed the phases they are of: others rest on the prior,
    whose long tail no number of draws pins.

    Args:
        fit: The fit.

    Returns:
        The predictions of each metric. dims: chain, draw, and a request dim of its own.
    """
    import xarray as xr

    coords = fit.coords
    cells = [(coords.llms[m], coords.devices[d]) for m, d in coords.cells]
    asked = [(*cell, *tokens) for cell in cells for tokens in product(PROMPTS, OUTPUTS)]
    llm, device, inputs, outputs = zip(*asked, strict=True)
    requests = make_requests(fit, list(llm), list(inputs), list(outputs), device=list(device))
    expected = predict(fit, requests, session="same").expected
    shown = {
        phase: {
            cells[cell]
            for (cell, _), reads in zip(coords.series, fit.reads, strict=True)
            if getattr(reads, f"{phase}_power")
        }
        for phase in PHASES
    }
    found = {}
    for metric, draws in expected.items():
        of = [phase for phase in PHASES if metric == f"{phase}_energy_j"] or PHASES
        known = [
            metric not in ENERGIES or all((m, d) in shown[p] for p in of) for m, d, *_ in asked
        ]
        # Without prefill readings its time, and the total, are unknown.
        if any(known) and np.isfinite(draws).all():
            found[metric] = (("chain", "draw", f"{metric}_request"), draws[..., known])
    return xr.Dataset(found)


def _saved(models: Sequence[pm.Model]) -> dict[str, tuple[str, ...]]:
    """Return the variables a fit keeps, with their dims: all but the raw side of the groups."""
    skipped = (
        "_raw",
        "_main_session",
        "_other_session",
        "bend",
        "_anchored",
        "_pattern",
        "phase_block_effect",
    )
    return {
        variable.name: tuple(model.named_vars_to_dims.get(variable.name, ()))
        for model in models
        for variable in (*model.free_RVs, *model.deterministics)
        if not variable.name.endswith(skipped)
    }


def _thinned(
    posterior: xr.DataTree,
    models: Sequence[pm.Model],
    stairs: NDArray[np.intp],
    blocks: NDArray[np.intp],
) -> dict[str, NDArray[np.floating[Any]]]:
    """Return the draws a fit keeps; of stairs and blocks, those with a level of their own."""
    sample = posterior["posterior"].to_dataset()[list(_saved(models))]
    draws = sample.sizes["draw"]
    sample = sample.isel(draw=np.linspace(0, draws - 1, min(THINNED, draws)).astype(int))
    if "stair" in sample.dims:
        sample = sample.isel(stair=stairs)
    if "block" in sample.dims:
        sample = sample.isel(block=blocks)
    return {str(name): values.to_numpy() for name, values in sample.items()}


def _reads(design: Design, frame: pd.DataFrame, rows: NDArray[np.intp]) -> tuple[Reads, ...]:
    position = {row: i for i, row in enumerate(rows.tolist())}
    n = len(design.coords.series)
    busy = np.zeros((n, 2), dtype=int) if design.power is None else design.power.busy(n)
    idle = np.zeros(n, dtype=int) if design.power is None else design.power.idle(n)
    inputs, outputs = (frame[c].to_numpy(float) for c in ("input_tokens", "output_tokens"))
    reads = []
    for s in range(n):
        of_prefill = design.prefill_row[design.prefill_series == s]
        of_decode = design.decode_row[design.decode_series == s]
        members = [position[r] for r in {*of_prefill.tolist(), *of_decode.tolist()}]
        known = inputs[members][np.isfinite(inputs[members])]
        out = outputs[members]
        reads.append(
            Reads(
                prefill=int(of_prefill.size),
                decode=int(of_decode.size),
                input_tokens=(float(known.min()), float(known.max())) if known.size else None,
                output_tokens=(float(out.min()), float(out.max())) if out.size else None,
                prefill_power=int(busy[s, 0]),
                decode_power=int(busy[s, 1]),
                idle_power=int(idle[s]),
            )
        )
    return tuple(reads)


def package_versions() -> dict[str, str]:
    """Return the versions of what a fit depends on."""
    found = {}
    for name in ("t2m-bayes", "pymc", "nutpie", "pytensor", "arviz", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
