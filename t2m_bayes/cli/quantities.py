"""Quantities with units, as people write them on a command line: ``10s``, ``1.5 kJ``, ``30W``."""

from __future__ import annotations

import re
from typing import Final

from t2m_bayes.errors import DataError

UNITS: Final = {
    "s": {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0},
    "j": {"J": 1.0, "mJ": 1e-3, "kJ": 1e3, "Wh": 3600.0, "kWh": 3.6e6},
    "w": {"W": 1.0, "mW": 1e-3, "kW": 1e3},
}
"""Suffix of a metric's name to its units, in terms of the metric's own."""


def quantity(text: str, metric: str, option: str) -> float:
    """Return a quantity in the unit of a metric, which is also what a bare number has.

    Args:
        text: What was given.
        metric: The metric; its name ends with its unit.
        option: What it was given as, for the message.

    Raises:
        DataError: It is no number above 0 with one of the units.
    """
    units = UNITS[metric.rpartition("_")[2]]
    found = re.fullmatch(r"\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)\s*", text)
    # Small letters will do, but a capital M is no milli.
    names = {"": 1.0} | {name.lower(): scale for name, scale in units.items()} | units
    scale = names.get(found[2]) if found is not None else None
    try:
        value = float(found[1]) * scale if found is not None and scale is not None else 0.0
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise DataError(
            f"{option} must be a number above 0 with a unit of {', '.join(units)}; found {text!r}"
        )
    return value
