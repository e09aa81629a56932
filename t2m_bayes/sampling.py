"""From PyMC models to chains: compiled once, then sampled for any data that fit their graphs."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import nutpie
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.compile.maker import function
from pytensor.graph.replace import vectorize_graph

from t2m_bayes.cores import CORES
from t2m_bayes.pooling import packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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
    cores: int = CORES
    target_accept: float = 0.93
    seed: int = 1
    sampler: Literal["nutpie", "pymc"] = "nutpie"
    progress: bool = True


@dataclass(frozen=True)
class Graph:
    """A PyMC model, to be sampled for any data that fit it.

    Attributes:
        model: The model.
        start: Where its chains start, by variable, unless they are told otherwise; the others start
            at random. Other names are passed over.
    """

    model: pm.Model
    start: Mapping[str, Floats]

    @cached_property
    def compiled(self) -> Any:
        """The model compiled for nutpie, which takes half a minute when it is first asked for."""
        variables = {v.name: v for v in self.model.free_RVs}
        # One rewrite cannot fuse part of the power model in place and is left out, which changes
        # nothing; PyTensor logs its traceback as an error.
        rewriting = logging.getLogger("pytensor.graph.rewriting.basic")
        level = rewriting.level
        rewriting.setLevel(logging.CRITICAL)
        try:
            return nutpie.compile_pymc_model(
                self.model,
                # What is computed from the variables takes NumPy half a second for all draws, and
                # some twenty seconds to compile.
                var_names=list(variables),
                initial_points={n: value for n, value in self.start.items() if n in variables},
                jitter_rvs={v for name, v in variables.items() if name not in self.start},
            )
        finally:
            rewriting.setLevel(level)


@dataclass(frozen=True)
class Task:
    """A graph with the data to sample it for.

    Attributes:
        graph: The graph.
        data: Its data by name, as its function stacks them: see
            :func:`t2m_bayes.pooling.packed`.
        start: Where chains start, by variable.
    """

    graph: Graph
    data: Mapping[str, NDArray[Any]]
    start: Mapping[str, Floats]

    def prepare(self, sampling: Sampling) -> None:
        """Compile what the sampler needs compiled."""
        if sampling.sampler == "nutpie":
            _ = self.graph.compiled

    @contextmanager
    def begun(self, sampling: Sampling) -> Iterator[Callable[[], xr.DataTree]]:
        """Sample in the background, until an error or interruption ends the context.

        Args:
            sampling: How to sample. PyMC's sampler begins when it is waited for.

        Yields:
            What waits for the posterior and the sampler's statistics, and returns them.
        """
        model = self.graph.model
        settings: dict[str, Any] = {
            "draws": sampling.draws,
            "tune": sampling.tune,
            "chains": sampling.chains,
            "cores": sampling.cores,
            "target_accept": sampling.target_accept,
        }
        # A graph without one kind of reading holds only part of the data.
        data = {n: value for n, value in packed(self.data).items() if n in model.named_vars}
        if sampling.sampler == "pymc":

            def sample() -> xr.DataTree:
                variables = {v.name for v in model.free_RVs}
                with model:
                    pm.set_data(data)
                    sampled: xr.DataTree = pm.sample(
                        **settings,
                        random_seed=sampling.seed,
                        progressbar=sampling.progress,
                        nuts_sampler="pymc",
                        initvals={n: v for n, v in self.start.items() if n in variables},
                    )
                return sampled

            yield sample
            return
        compiled = self.graph.compiled
        running = nutpie.sample(
            _starting(compiled, self.start).with_data(
                **{v.name: data[v.name] for v in compiled.shared_var_keys}
            ),
            **settings,
            seed=sampling.seed,
            progress_bar=sampling.progress,
            save_warmup=False,
            blocking=False,
        )

        def wait() -> xr.DataTree:
            sampled: xr.DataTree = running.wait()
            posterior = sampled["posterior"].to_dataset()
            sampled["posterior"] = _with_deterministics(model, data, posterior)
            return sampled

        try:
            yield wait
        except BaseException:
            # Its threads run compiled code that the error may take away. A chain that failed has
            # an error of its own, which is not what ended the others.
            with suppress(Exception):
                running.cancel()
            raise


def sample_in_turn(tasks: Sequence[Task], sampling: Sampling) -> list[xr.DataTree]:
    """Sample one task after another; while one is sampled, the next is compiled.

    Args:
        tasks: The tasks.
        sampling: How to sample each.

    Returns:
        The posterior of each and the sampler's statistics.
    """
    found = []
    for task, following in zip_longest(tasks, tasks[1:]):
        with task.begun(sampling) as wait:
            if following is not None:
                following.prepare(sampling)
            found.append(wait())
    return found


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
