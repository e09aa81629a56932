"""From a PyMC model to chains: compiled once, then sampled for any data that fit its graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import nutpie
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.compile.maker import function
from pytensor.graph.replace import vectorize_graph

from t2m_bayes.pooling import packed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


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

    draws: int = 1000
    tune: int = 400
    chains: int = 4
    cores: int = 2
    target_accept: float = 0.93
    seed: int = 1
    sampler: Literal["nutpie", "pymc"] = "nutpie"
    progress: bool = True


def compile_graph(model: pm.Model, start: Mapping[str, Floats]) -> Any:
    """Compile a model for nutpie.

    Args:
        model: The model.
        start: Where its chains start, by variable; the others start at random. Other names are
            passed over.

    Returns:
        nutpie's compiled model.
    """
    variables = {v.name: v for v in model.free_RVs}
    # One rewrite cannot fuse part of the power model in place and is left out, which changes
    # nothing; PyTensor logs its traceback as an error.
    rewriting = logging.getLogger("pytensor.graph.rewriting.basic")
    level = rewriting.level
    rewriting.setLevel(logging.CRITICAL)
    try:
        return nutpie.compile_pymc_model(
            model,
            # What is computed from the variables takes NumPy half a second for all draws, and some
            # twenty seconds to compile.
            var_names=list(variables),
            initial_points={name: value for name, value in start.items() if name in variables},
            jitter_rvs={v for name, v in variables.items() if name not in start},
        )
    finally:
        rewriting.setLevel(level)


def sample_graph(
    model: pm.Model,
    compiled: Any,
    data: Mapping[str, NDArray[Any]],
    start: Mapping[str, Floats],
    sampling: Sampling,
) -> xr.DataTree:
    """Sample a model's posterior for some data.

    Args:
        model: The model.
        compiled: What :func:`compile_graph` made of it; not needed by PyMC's sampler.
        data: Its data by name, as its function stacks them: see :func:`t2m_bayes.pooling.packed`.
        start: Where chains start, by variable.
        sampling: How to sample.

    Returns:
        The posterior and the sampler's statistics.
    """
    settings: dict[str, Any] = {
        "draws": sampling.draws,
        "tune": sampling.tune,
        "chains": sampling.chains,
        "cores": sampling.cores,
        "target_accept": sampling.target_accept,
    }
    # A graph without one kind of reading holds only part of the data.
    data = {name: value for name, value in packed(data).items() if name in model.named_vars}
    sampled: xr.DataTree
    if sampling.sampler == "nutpie":
        sampled = nutpie.sample(
            _starting(compiled, start).with_data(
                **{v.name: data[v.name] for v in compiled.shared_var_keys}
            ),
            **settings,
            seed=sampling.seed,
            progress_bar=sampling.progress,
            save_warmup=False,
        )
        posterior = sampled["posterior"].to_dataset()
        sampled["posterior"] = _with_deterministics(model, data, posterior)
        return sampled
    variables = {v.name for v in model.free_RVs}
    with model:
        pm.set_data(data)
        sampled = pm.sample(
            **settings,
            random_seed=sampling.seed,
            progressbar=sampling.progress,
            nuts_sampler="pymc",
            initvals={name: value for name, value in start.items() if name in variables},
        )
    return sampled


def _with_deterministics(
    model: pm.Model, data: Mapping[str, NDArray[Any]], posterior: xr.Dataset
) -> xr.Dataset:
    """Return a posterior of free variables with what the model computes from them and the data."""
    free: dict[Any, Any] = {
        v: pt.tensor(v.name, dtype=v.dtype, shape=(None, None, *v.type.shape))
        for v in model.free_RVs
    }
    given: dict[Any, Any] = {
        model[name]: pt.constant(value, dtype=model[name].dtype) for name, value in data.items()
    }
    computed = function(
        list(free.values()),
        vectorize_graph(list(model.deterministics), free | given),
        mode="FAST_COMPILE",
        on_unused_input="ignore",
    )
    values = computed(*(posterior[v.name].to_numpy() for v in free))
    dims = {v.name: model.named_vars_to_dims.get(v.name, ()) for v in model.deterministics}
    found = {
        name: (("chain", "draw", *dims[name]), value)
        for name, value in zip(dims, values, strict=True)
    }
    kept = {d: list(model.coords[d]) for names in dims.values() for d in names}
    return posterior.assign(found).assign_coords(kept)


def _starting(compiled: Any, start: Mapping[str, Floats]) -> Any:
    """Return a compiled model whose chains start elsewhere."""
    names, places, _ = compiled.shape_info
    usual = compiled.initial_point_func
    # Behind the free variables stand what is computed from them, under the same kind of name.
    free = {n: p for n, p in zip(names, places, strict=True) if p.stop <= compiled.n_dim}
    given = {name: np.ravel(value) for name, value in start.items() if name in free}
    # Positive variables are sampled as their logarithm.
    given |= {at: np.log(np.ravel(start[n])) for n in start if (at := f"{n}_log__") in free}

    def here(seed: int) -> Floats:
        point = np.array(usual(seed))
        for name, value in given.items():
            point[free[name]] = value
        return point

    return replace(compiled, initial_point_func=here)
