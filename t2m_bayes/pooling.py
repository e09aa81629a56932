"""What the models are made of: variables with a prior, pooled groups, and arrays of data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pymc as pm
import pytensor.tensor as pt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from t2m_bayes.priors import Prior


USUAL_SPREAD: Final = 0.001
"""Spread of blocks at which their parametrisation makes no difference: real ones have 0.0002 to
0.02."""

NEARLY_NORMAL: Final = 100.0
"""Degrees of freedom that make no difference to a normal."""

LOGARITHM: Final = "log_"
"""Begins the name of the data of readings that the model takes the logarithm of."""


def prior_variable(priors: Mapping[str, Prior], name: str, **kwargs: Any) -> Any:
    """Return a variable of the model in whose context this is called, with its prior.

    Args:
        priors: The priors by name (``models/priors.toml``).
        name: Name of the variable and of its prior.
        kwargs: What else PyMC's distribution takes, such as ``dims``.
    """
    prior = priors[name]
    if prior.kind == "normal":
        return pm.Normal(name, prior.centre, prior.sd, **kwargs)
    return pm.LogNormal(name, np.log(prior.centre), prior.sd, **kwargs)


def partially_pooled(
    name: str,
    read: Any,
    mean: Any,
    sd: Any,
    dims: str | tuple[str, ...],
    *,
    pinned: Any = 0.0,
    tail: float | None = None,
) -> Any:
    """Return a group of normals, centred where readings pin them and non-centred where none do.

    Centred groups suit precise readings and make funnels without any; non-centred the reverse.
    What has no reading comes out as a draw from its population.

    Args:
        name: Name of the group; ``<name>_raw`` is what is sampled.
        read: Above 0 where readings pin a member. shape: (member,)
        mean: Mean of the population, for all or for each member.
        sd: Its standard deviation.
        dims: Dimension of the group, or dimensions.
        pinned: What must be added to a member for what its readings pin. A centred member is
            sampled as that sum.
        tail: Degrees of freedom of the population of the members that are read, where one now and
            then is unlike the others.
    """
    middle = pt.switch(read > 0, mean + pinned, 0.0)
    scale = pt.switch(read > 0, sd, 1.0)
    if tail is None:
        raw = pm.Normal(f"{name}_raw", middle, scale, dims=dims)
    else:
        # Chains get lost in the tail of what no reading holds.
        nu = pt.switch(read > 0, tail, NEARLY_NORMAL)
        raw = pm.StudentT(f"{name}_raw", nu=nu, mu=middle, sigma=scale, dims=dims)
    return pm.Deterministic(name, pt.switch(read > 0, raw - pinned, mean + sd * raw), dims=dims)


def block_effects(
    dim: str,
    kind: str,
    data: Mapping[str, Any],
    spread: Any,
    group: NDArray[np.intp],
    middle: Any,
) -> Any:
    """Return what blocks add to the logarithm of readings.

    Blocks are sampled the more centred the more readings they have, since a spread that is small
    beside the noise is as likely as one that is large (Papaspiliopoulos et al. 2007,
    doi:10.1214/088342307000000014).

    Readings without a block of their own, in a group that has blocks (``<kind>_loose``), have the
    spread of blocks in their noise; where a group has none, its noise is of both.

    Args:
        dim: Dimension of the blocks.
        kind: Kind of reading.
        data: The model's data, with those of :func:`t2m_bayes.blocks.block_data`.
        spread: Spread of the blocks of each group, on the log scale. shape: (group,)
        group: Group of each block. shape: (block,)
        middle: Logarithm of what each reading would be but for its block. Readings pin the sum of
            its mean over a block and the block's effect. shape: (reading,)

    Returns:
        What is added. shape: (reading,)
    """
    block = data[f"{kind}_block"]
    mean = pt.zeros(group.size)[block].inc(data[f"{kind}_weight"] * middle)
    centred = data[f"{dim}_centred"]
    scale = spread[group] / USUAL_SPREAD
    raw = pm.Normal(
        f"{kind}_block_effect_raw", centred * mean, USUAL_SPREAD * scale**centred, dims=dim
    )
    effect = pm.Deterministic(
        f"{kind}_block_effect", scale ** (1 - centred) * (raw - centred * mean), dims=dim
    )
    return data[f"{kind}_blocked"] * effect[block]


def data_arrays(values: Mapping[str, NDArray[Any]], dims: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays as data of the model in whose context this is called.

    An array with one value for each member of a dim keeps its shape through every subset of a
    table. A graph that may take it for granted holds no checks of it, and compiles faster.

    Args:
        values: The arrays by name; ``<dim>_...`` has one value for each member of that dim.
        dims: The model's dims.
    """
    packs = _packs(values)
    data: dict[str, Any] = {}
    for pack, value in packed(values).items():
        if pack not in packs:
            data[pack] = pm.Data(pack, value, shape=(None,))
            continue
        of_dim = pack.partition("_")[0] in dims
        rows = value.shape[1:] if of_dim else (None,) * (value.ndim - 1)
        stacked = pm.Data(pack, value, shape=(len(value), *rows))
        data |= {name: stacked[i] for i, name in enumerate(packs[pack])}
    return data


def packed(values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the values of the ``pm.Data`` that :func:`data_arrays` makes of arrays.

    The code that hands data to a compiled density grows with the square of the number of arrays:
    31 of them took 34 s to compile. So those of one axis and type are stacked.

    Args:
        values: The arrays by name. The first word of a name is the axis of its array; ``log_...``
            is observed, which keeps an array of its own.
    """
    logs = {name: value for name, value in values.items() if name.startswith(LOGARITHM)}
    return logs | {
        pack: np.stack([values[name] for name in names]) for pack, names in _packs(values).items()
    }


def _packs(values: Mapping[str, NDArray[Any]]) -> dict[str, list[str]]:
    """Return the names of the arrays of one axis, type and number of columns, by a name."""
    packs: dict[str, list[str]] = {}
    for name, value in values.items():
        if not name.startswith(LOGARITHM):
            kind = "x".join([value.dtype.kind, *map(str, value.shape[1:])])
            packs.setdefault(f"{name.partition('_')[0]}_{kind}", []).append(name)
    return packs
