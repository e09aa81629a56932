"""Fit the model: compile once, sample, check, thin, and say whether the result can be used."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import nutpie
import pymc as pm

from t2m_bayes.cards import catalog
from t2m_bayes.design import Design, make_design
from t2m_bayes.evidence import gather, sampler_checks, verdict
from t2m_bayes.fits import Fit, Reads
from t2m_bayes.hierarchy import latency_model, model_data, starting_point
from t2m_bayes.priors import Prior, device_rates, device_role, load_priors
from t2m_bayes.schema import data_hash

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import NDArray

    from t2m_bayes.schema import Runs

log = logging.getLogger(__name__)

THINNED: Final = 250
"""Draws of each chain that a fit keeps."""


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        draws: Draws of each chain after tuning.
        tune: Tuning draws of each chain, thrown away.
        chains: Chains.
        cores: Chains sampled at the same time.
        target_accept: Acceptance rate that tuning aims for, between 0 and 1.
        seed: Seed of the chains.
        sampler: ``nutpie``, or ``pymc`` for PyMC's own NUTS.
        progress: Whether to show a progress bar.
    """

    draws: int = 1500
    tune: int = 600
    chains: int = 4
    cores: int = 2
    target_accept: float = 0.9
    seed: int = 1
    sampler: Literal["nutpie", "pymc"] = "nutpie"
    progress: bool = True


@dataclass(frozen=True)
class Compiled:
    """A model compiled for a table, to be fitted to all or part of it.

    Attributes:
        frame: The run table.
        design: Its index.
        model: The PyMC model.
        priors: The priors by name.
        compiled: nutpie's compiled model; ``None`` with PyMC's sampler.
        sources: What the runs were read from.
    """

    frame: pd.DataFrame
    design: Design
    model: pm.Model
    priors: dict[str, Prior]
    compiled: Any
    sources: tuple[str, ...]

    def fit(
        self,
        rows: NDArray[np.bool_] | None = None,
        sampling: Sampling = Sampling(),
        *,
        evidence: bool = False,
    ) -> Fit:
        """Fit to some rows of the table.

        Rows that are left out reach no likelihood; they only made room for their coefficients,
        which then come from the population, and helped to choose where chains start.

        Args:
            rows: Which rows to fit to; all by default. shape: (row,)
            sampling: How to sample.
            evidence: Whether to hold the fit against its rows and prior too, which takes some ten
                seconds: see :func:`t2m_bayes.evidence.gather`.

        Returns:
            The fit, thinned, with its diagnostics in ``provenance["diagnostics"]`` and its checks
            in ``provenance["checks"]``.
        """
        started = time.perf_counter()
        posterior = self.sample(rows, sampling)
        took = time.perf_counter() - started
        log.info("sampled in %.0f s", took)
        return self.condense(posterior, rows, sampling, evidence=evidence)

    def sample(
        self, rows: NDArray[np.bool_] | None = None, sampling: Sampling = Sampling()
    ) -> xr.DataTree:
        """Sample the posterior of some rows of the table, whole and unthinned.

        Args:
            rows: Which rows to fit to; all by default. shape: (row,)
            sampling: How to sample.

        Returns:
            The posterior and the sampler's statistics, as ArviZ reads them.
        """
        return _sample(self, self.design if rows is None else self.design.subset(rows), sampling)

    def condense(
        self,
        posterior: xr.DataTree,
        rows: NDArray[np.bool_] | None,
        sampling: Sampling,
        *,
        evidence: bool = False,
    ) -> Fit:
        """Check a posterior and keep what predictions need of it.

        Args:
            posterior: What :meth:`sample` returned.
            rows: The rows it was sampled for. shape: (row,)
            sampling: How it was sampled.
            evidence: See :meth:`fit`.

        Returns:
            The fit, thinned, with its diagnostics and checks.
        """
        used = np.ones(len(self.frame), dtype=bool) if rows is None else rows
        design = self.design if rows is None else self.design.subset(rows)
        kept = posterior["posterior"].to_dataset()[list(_saved(self.model))]
        checks = sampler_checks(posterior, self.model, kept)
        diagnostics = verdict(checks)
        log.info("%s", diagnostics["verdict"])
        frame = self.frame[used]
        roles = {d: device_role(d, catalog()) for d in design.coords.devices}
        data = model_data(design)
        stairs = np.flatnonzero(data["stair_read"])
        found: dict[str, Any] = {}
        if evidence:
            started = time.perf_counter()
            more, found = gather(
                self.model,
                design,
                data,
                self.frame,
                posterior,
                self.priors,
                list(_saved(self.model)),
                roles,
            )
            checks += more
            log.info("checked against rows and prior in %.0f s", time.perf_counter() - started)
        return Fit(
            coords=replace(design.coords, stairs=tuple(design.coords.stairs[k] for k in stairs)),
            draws=_thinned(posterior, self.model, stairs),
            dims=_saved(self.model),
            reads=_reads(design, frame, np.flatnonzero(used)),
            provenance={
                "created": datetime.now(UTC).strftime("%Y-%m-%d"),
                "target_device": _target(frame, roles),
                "roles": roles,
                "rows": len(frame),
                "sources": list(self.sources),
                "data_sha256": data_hash(frame),
                "sampling": asdict(sampling),
                "priors": {name: asdict(p) for name, p in self.priors.items()},
                "diagnostics": diagnostics,
                "checks": [check.to_dict() for check in checks],
                "versions": package_versions(),
            },
            evidence=found,
        )


def compile_model(
    runs: Runs, *, priors: dict[str, Prior] | None = None, sampler: str = "nutpie"
) -> Compiled:
    """Index a run table, build its model and compile it.

    Args:
        runs: The run table.
        priors: The priors by name; the shipped ones by default.
        sampler: ``nutpie`` or ``pymc``.

    Returns:
        The compiled model.

    Raises:
        DataError: Nothing in the table can be fitted.
    """
    priors = priors or load_priors()
    frame = runs.frame.reset_index(drop=True)
    design = make_design(frame)
    rates = [device_rates(d, catalog()) for d in design.coords.devices]
    model = latency_model(design, rates, priors)
    compiled = None
    if sampler == "nutpie":
        start = starting_point(design)
        jitter = {v for v in model.free_RVs if v.name not in start}
        compiled = nutpie.compile_pymc_model(model, initial_points=start, jitter_rvs=jitter)
    sources = tuple(dict.fromkeys(Path(r.path).name for r in runs.reports))
    return Compiled(frame, design, model, priors, compiled, sources)


def fit(runs: Runs, sampling: Sampling = Sampling()) -> Fit:
    """Fit the latency model to a run table, and check the fit.

    Args:
        runs: The run table, as :func:`t2m_bayes.load` returns it.
        sampling: How to sample.

    Returns:
        The fit. A bad one is returned as well, marked: see ``Fit.usable``.

    Raises:
        DataError: Nothing in the table can be fitted.
    """
    return compile_model(runs, sampler=sampling.sampler).fit(sampling=sampling, evidence=True)


def _sample(compiled: Compiled, design: Design, sampling: Sampling) -> xr.DataTree:
    data = model_data(design)
    if sampling.sampler == "nutpie":
        sampled: xr.DataTree = nutpie.sample(
            # A graph without prefill or decode holds only part of the data.
            compiled.compiled.with_data(
                **{v.name: data[v.name] for v in compiled.compiled.shared_var_keys}
            ),
            draws=sampling.draws,
            tune=sampling.tune,
            chains=sampling.chains,
            cores=sampling.cores,
            seed=sampling.seed,
            target_accept=sampling.target_accept,
            progress_bar=sampling.progress,
            save_warmup=False,
        )
        return sampled
    with compiled.model:
        pm.set_data(data)
        from_pymc: xr.DataTree = pm.sample(
            draws=sampling.draws,
            tune=sampling.tune,
            chains=sampling.chains,
            cores=sampling.cores,
            random_seed=sampling.seed,
            target_accept=sampling.target_accept,
            progressbar=sampling.progress,
            nuts_sampler="pymc",
            initvals=starting_point(design),
        )
    return from_pymc


def _saved(model: pm.Model) -> dict[str, tuple[str, ...]]:
    """Return the variables a fit keeps, with their dims: all but the raw side of the groups."""
    names = [v.name for v in (*model.free_RVs, *model.deterministics)]
    skipped = ("_raw", "_here", "_main_session", "_other_session", "bend", "log_rate", "_anchored")
    dims = model.named_vars_to_dims
    return {n: tuple(dims.get(n, ())) for n in names if not n.endswith(skipped)}


def _thinned(
    posterior: xr.DataTree, model: pm.Model, stairs: NDArray[np.intp]
) -> dict[str, NDArray[np.floating[Any]]]:
    """Return the draws a fit keeps; of the stairs, those with a level of their own."""
    sample = posterior["posterior"].to_dataset()[list(_saved(model))]
    draws = sample.sizes["draw"]
    sample = sample.isel(draw=np.linspace(0, draws - 1, min(THINNED, draws)).astype(int))
    if "stair" in sample.dims:
        sample = sample.isel(stair=stairs)
    return {str(name): values.to_numpy() for name, values in sample.items()}


def _reads(design: Design, frame: pd.DataFrame, rows: NDArray[np.intp]) -> tuple[Reads, ...]:
    position = {row: i for i, row in enumerate(rows.tolist())}
    inputs, outputs = (frame[c].to_numpy(float) for c in ("input_tokens", "output_tokens"))
    reads = []
    for s in range(len(design.coords.series)):
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
            )
        )
    return tuple(reads)


def _target(frame: pd.DataFrame, roles: dict[str, str]) -> str:
    counts = frame["device"].value_counts()
    edge = [d for d in counts.index if roles[d] == "tegra"]
    return str(edge[0] if edge else counts.index[-1])


def package_versions() -> dict[str, str]:
    """Return the versions of what a fit depends on."""
    found = {}
    for name in ("t2m-bayes", "pymc", "nutpie", "pytensor", "arviz", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
