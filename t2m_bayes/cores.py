"""How much of this machine to use, unless told otherwise."""

import os
from typing import Final

_USABLE: Final = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)

CORES: Final = min(4, _USABLE)
"""Chains or fits at the same time: as many as this process may run, up to the usual four chains."""
