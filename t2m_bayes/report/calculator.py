"""The posterior draws that the page's calculator predicts from, as plain JSON.

The page evaluates the formulas of ``prediction.metric_draws`` on the very draws, noise included,
that ``t2m predict`` uses, so the two agree to rounding rather than to Monte Carlo error. Three
decisions keep that small:

- Arrays are float32 in base64, and each is stored once however many cells share it.
- Tiles that nobody measured are drawn from a seeded NumPy generator that a page cannot repeat, so
  their standard normals travel as bytes in steps of 1/25. The scales they are multiplied with are
  near 0.1, which makes the rounding 0.1 % of a time at the most and far less of a quantile.
- Prompts beyond :data:`TILES` tiles borrow the normals of a nearer tile: the same distribution, so
  they agree to Monte Carlo error.
"""

from __future__ import annotations

import base64
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from t2m_bayes.design import TILE
from t2m_bayes.formulas import KNEE, PADS, REFERENCE_CONTEXT, REFERENCE_PROMPT
from t2m_bayes.octaves import FIRST_TOKENS, OCTAVES
from t2m_bayes.prediction import STALL, draw_noise, group_by_cell
from t2m_bayes.requests import make_requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit
    from t2m_bayes.population import CellDraws

NAMES: Final = {
    "prefill_s": "Prefill time",
    "decode_s": "Decode time",
    "total_s": "Total time",
    "energy_j": "Energy",
    "power_w": "Mean power",
    "prefill_energy_j": "Prefill energy",
    "decode_energy_j": "Decode energy",
}
"""How the page calls the metrics."""

TILES: Final = 128
"""Tiles whose normals are exported: prompts of up to 8,192 tokens."""

NORMAL_STEPS: Final = 25
"""Steps of an exported standard normal in one unit; a signed byte then reaches 5.08."""

LARGEST: Final = 4_700_000
"""Characters that the draws may take; a fit of many cells is thinned until it fits. With figures
the page then stays under 6 MB."""

SESSIONS: Final[tuple[Literal["new", "same"], ...]] = ("new", "same")

NOT_DRAWS: Final = frozenset(
    {"name", "seed", "read", "warnings", "power", "tails_decode", "tails_prefill"}
)
"""Attributes of ``CellDraws`` that describe the draws, or that only noise is drawn with."""


POWER_DRAWS: Final = (
    "prefill_w",
    "decode_w",
    "prefill_block",
    "decode_block",
    "exponent",
    "dynamic",
)
"""Attributes of ``PowerDraws`` that the chip's energy follows from."""


class _Store:
    """Arrays as base64 text, each once.

    Attributes:
        arrays: ``f`` or ``b`` for float32 or signed bytes, then the bytes in base64.
        step: Every how-manieth sample is kept.
    """

    def __init__(self, step: int) -> None:
        self.arrays: list[str] = []
        self.step = step
        self._index: dict[str, int] = {}

    def floats(self, values: NDArray[np.floating[Any]]) -> int:
        """Store draws and return where. shape: (sample,)."""
        return self._add("f", values[:: self.step].astype("<f4"))

    def normals(self, values: NDArray[np.floating[Any]]) -> int:
        """Store standard normals coarsely and return where. shape: (any, sample)."""
        steps = np.rint(values[:, :: self.step] * NORMAL_STEPS)
        return self._add("b", np.clip(steps, -127, 127).astype(np.int8))

    def _add(self, kind: str, values: NDArray[Any]) -> int:
        text = kind + base64.b64encode(values.tobytes()).decode()
        if text not in self._index:
            self._index[text] = len(self.arrays)
            self.arrays.append(text)
        return self._index[text]


def export(fit: Fit) -> dict[str, Any]:
    """Return everything the calculator needs.

    Args:
        fit: The fit; every LLM of it can be chosen with every device.

    Returns:
        ``samples`` (how many draws are kept), ``thinned`` (one in how many), ``metrics`` with
        their names, ``constants`` of the formulas, ``arrays`` and ``cells``. A cell is an LLM on a
        device in a new or the same session: its ``draws`` mirror the attributes of ``CellDraws``,
        with the position in ``arrays`` where those have an array.
    """
    samples = fit.shape[0] * fit.shape[1]
    step = 1
    while True:
        store = _Store(step)
        cells = [
            _cell(fit, llm, device, session, store)
            for llm in fit.coords.llms
            for device in fit.coords.devices
            for session in SESSIONS
        ]
        if sum(map(len, store.arrays)) <= LARGEST or samples < 200 * step:
            break
        step *= 2
    return {
        "samples": -(-samples // step),
        "thinned": step,
        "metrics": {metric: NAMES.get(metric, metric) for metric in fit.metrics},
        "constants": {
            "tile": TILE,
            "knee": KNEE,
            "pads": list(PADS),
            "reference_prompt": REFERENCE_PROMPT,
            "reference_context": REFERENCE_CONTEXT,
            "stall": STALL,
            "first_octave": FIRST_TOKENS,
            "octaves": OCTAVES,
            "normal_steps": NORMAL_STEPS,
        },
        "arrays": store.arrays,
        "cells": cells,
    }


def _cell(
    fit: Fit, llm: str, device: str, session: Literal["new", "same"], store: _Store
) -> dict[str, Any]:
    requests = make_requests(fit, llm, 1, 1, device=device)
    ((cell, _),) = group_by_cell(fit, requests, session, 0, [])
    noise = draw_noise(cell, np.random.default_rng(0), (1, cell.step_s.size))
    return {
        "llm": llm,
        "device": device,
        "session": session,
        "draws": {
            f.name: _packed(getattr(cell, f.name), store)
            for f in fields(cell)
            if f.name not in NOT_DRAWS
        },
        "noise": [store.floats(z[0]) for z in (noise.prefill, noise.decode)],
        "power": cell.power
        and {name: _packed(getattr(cell.power, name), store) for name in POWER_DRAWS},
        "normals": _normals(cell, store),
        "read": cell.read,
        "warnings": list(cell.warnings),
    }


def _packed(value: Any, store: _Store) -> Any:
    """Return a value with its arrays replaced by their positions; columns of a table one by one."""
    if isinstance(value, np.ndarray):
        return store.floats(value) if value.ndim == 1 else [store.floats(v) for v in value.T]
    if isinstance(value, dict):
        return {str(key): _packed(item, store) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_packed(item, store) for item in value]
    return value


def _normals(cell: CellDraws, store: _Store) -> dict[str, int]:
    """Return tile to the position of its normals, for tiles without a level of their own."""
    if not np.isfinite(cell.token_s).all():
        return {}
    return {
        str(tile): store.normals(cell.tile_noise(tile))
        for tile in range(1, TILES + 1)
        if tile not in cell.stairs
    }
