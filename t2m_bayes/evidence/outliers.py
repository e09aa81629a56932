"""Which readings does the heavy-tailed noise set aside?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from t2m_bayes.checks import Check

if TYPE_CHECKING:
    import pandas as pd

    from t2m_bayes.design import Coords
    from t2m_bayes.evidence.readings import Readings

WEIGHT: Final = 0.02
"""Posterior weight below which a reading is an outlier: it counts less than a fiftieth of a usual
one. Tail probabilities do not do: a stall makes the tail so heavy that it is expected of it."""

SHARE: Final = 0.01
"""Largest share of the readings of an LLM on a device that may be stalls. Fewer are what heavy
tails are there for; more are a second way in which the device runs."""

OFF: Final = 1.2
"""Factor from what is usual beyond which an outlier is a stall: it is named, and counts against the
fit. Where noise is a tenth of a per cent, one per cent is far out and of no use to look at."""

NAMED: Final = 10
"""Most outliers that are named, those of the least weight first."""


def outlier_check(readings: Readings, coords: Coords, frame: pd.DataFrame) -> Check:
    """Name the readings that hardly count in the posterior.

    Args:
        readings: All readings of one kind.
        coords: What their series mean.
        frame: The run table; its rows are counted from 1.

    Returns:
        The check; ``where`` names stalls by row, value, expectation and posterior weight.
    """
    far = np.flatnonzero(readings.weight < WEIGHT)
    far = far[np.argsort(readings.weight[far], kind="stable")]
    stalls = far[np.abs(np.log([_factor(readings, i) for i in far.tolist()])) > np.log(OFF)]
    cell = np.array([c for c, _ in coords.series])[readings.series]
    readings_of, stalls_of = (
        np.bincount(c, minlength=len(coords.cells)) for c in (cell, cell[stalls])
    )
    share = stalls_of / np.maximum(readings_of, 1)
    worst = int(np.argmax(share))
    named = [_named(readings, i, coords, frame) for i in stalls[:NAMED].tolist()]
    if far.size > len(named):
        named.append(f"{far.size - len(named)} more")
    return Check(
        name=f"{readings.name}: outliers",
        group="data",
        measured=f"{far.size} of {readings.row.size:,} readings"
        + (
            f", {100 * share[worst]:.2g} % of {coords.cell_names()[worst]} stalls"
            if stalls.size
            else ""
        ),
        limit=f"stalls {100 * SHARE:g} % of an LLM on a device",
        passed=bool(share[worst] <= SHARE),
        meaning="Readings that the model can only call stalls say that runs take other times too.",
        advice="Look at the rows named: leave out what went wrong, or give it its own session.",
        where="; ".join(named),
    )


def _factor(readings: Readings, i: int) -> float:
    """Return a reading over what is usual."""
    if readings.logarithm:
        return float(np.exp(readings.value[i] - readings.expected[i]))
    return float(readings.value[i] / readings.expected[i])


def _named(readings: Readings, i: int, coords: Coords, frame: pd.DataFrame) -> str:
    row = int(readings.row[i])
    value, expected = readings.value[i], readings.expected[i]
    if readings.logarithm:
        value, expected = np.exp(value), np.exp(expected)
    run = frame.iloc[row]
    cell, session = coords.series[int(readings.series[i])]
    tokens = f"{run['input_tokens']:g} input, {run['output_tokens']:g} output tokens"
    return (
        f"row {row + 1} ({coords.cell_names()[cell]} | {session}, {tokens}): {value:.3g} where "
        f"{expected:.3g} is usual, weight {readings.weight[i]:.1g}"
    )
