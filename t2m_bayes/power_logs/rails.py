"""Which power rails to add up, so that no watt is counted twice.

Facts from NVIDIA's developer forum: ``POM_5V_IN`` (topic 73608) and ``VDD_IN`` (200883) measure
all that goes in; of the AGX Orin's rails ``VDDQ_VDD2_1V8AO`` is a part of ``VIN_SYS_5V0``
(223111); ``VIN`` is the whole input of a Thor (366461). AGX boards without it have no input rail,
and their module draws the sum of the others (81016).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

INPUT_RAILS: Final = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails through which everything goes; the first that a log has is taken."""

PART_OF: Final = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""Rail to the rail that feeds it."""


def default_rails(found: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the rails of a Jetson that make up its total, and why these.

    Args:
        found: Rails that the log has.
    """
    for rail in INPUT_RAILS:
        if rail in found:
            return (rail,), "the input rail, through which all power goes"
    counted = [rail for rail in found if PART_OF.get(rail) in found]
    rails = tuple(rail for rail in found if rail not in counted)
    without = f", without {', '.join(counted)}, which another feeds" if counted else ""
    return rails, f"all rails of the module{without}"


def counted_twice(rails: Iterable[str]) -> list[str]:
    """Return those of some rails whose power is in another of them as well."""
    rails = list(rails)
    inputs = [rail for rail in rails if rail in INPUT_RAILS]
    if inputs and len(rails) > 1:
        return [rail for rail in rails if rail != inputs[0]]
    return [rail for rail in rails if PART_OF.get(rail) in rails]
