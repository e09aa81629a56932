"""The published formulas and coefficients for three LLMs on a Jetson AGX Orin 64GB.

EdgeReasoning, arXiv 2511.01866; coefficients from its code, github.com/edge-inference/edgereasoning
(files ``latency_model.py`` and ``config/analytic.yaml``), quoted as facts to six digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from t2m_bayes.formulas import padded

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

PREFILL_S: Final = {
    "DSR1-Qwen-1.5B": (1.56355e-7, 2.30955e-6, 0.0459810),
    "DSR1-Llama-8B": (6.64521e-7, 2.90355e-4, 0.103808),
    "DSR1-Qwen-14B": (1.23300e-6, 5.30454e-4, 0.188581),
}
"""``a, b, c`` of ``a P^2 + b P + c`` seconds, with P the prompt padded to 128 tokens."""

DECODE_S: Final = {
    "DSR1-Qwen-1.5B": (1.49681e-7, 0.0236339),
    "DSR1-Llama-8B": (6.92022e-7, 0.100384),
    "DSR1-Qwen-14B": (1.13017e-6, 0.186554),
}
"""``m, n`` of ``O (m I + n + m (O - 1) / 2)`` seconds."""

PREFILL_W: Final = {
    "DSR1-Qwen-1.5B": (0.0, 5.49936, 0.0, 5.49936),
    "DSR1-Llama-8B": (800.0, 5.65771, 9.33781, -52.2183),
    "DSR1-Qwen-14B": (800.0, 10.2581, 8.77249, -40.7753),
}
"""Threshold, power up to it, and ``a, b`` of ``a log(I) + b`` watts above; for the 1.5B a line
whose slope, 6.68749e-5 W a token, stands below."""

SLOPE_W: Final = {"DSR1-Qwen-1.5B": 6.68749e-5}

DECODE_W: Final = {
    "DSR1-Qwen-1.5B": (3.21371, 0.756538),
    "DSR1-Llama-8B": (2.70171, 8.80674),
    "DSR1-Qwen-14B": (1.61939, 16.8868),
}
"""``a, b`` of ``a log(O) + b`` watts. For 65 or more tokens the code looks up curves fitted to the
very runs of its sweep; those are measurements rather than a formula, and are left out."""

PAD: Final = 128


def covered(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows the publication speaks of: its three LLMs, on a Jetson. shape: (row,)."""
    return np.asarray(table["llm"].isin(list(PREFILL_S)) & table["role"].eq("tegra"))


class Published(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The published formulas; nothing is fitted. Energy of a phase is its power times its time.

    Predictions are natural logarithms of the metric.

    Args:
        metric: The metric.
    """

    def __init__(self, metric: str = "total_s") -> None:
        """Keep the parameters."""
        self.metric = metric

    def fit(self, X: pd.DataFrame, y: Floats) -> Self:  # noqa: N803
        """Do nothing: the coefficients are published."""
        self.fitted_ = True
        return self

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Return the logarithm of the metric of each row. shape: (row,)."""
        i, o = (X[c].to_numpy(float) for c in ("input_tokens", "output_tokens"))
        llm = X["llm"].to_numpy()

        def of(facts: Mapping[str, tuple[float, ...]]) -> Floats:
            return np.array([facts[name] for name in llm]).T

        a, b, c = of(PREFILL_S)
        p = padded(i, PAD)
        prefill_s = a * p**2 + b * p + c
        m, n = of(DECODE_S)
        decode_s = o * (m * i + n + m * (o - 1) / 2)
        limit, low, rise, start = of(PREFILL_W)
        slope = np.array([SLOPE_W.get(name, 0.0) for name in llm])
        above = rise * np.log(np.maximum(i, 1)) + start
        prefill_w = np.where(i <= limit, low, above) + slope * i
        rise, start = of(DECODE_W)
        decode_w = np.maximum(rise * np.log(np.maximum(o, 1)) + start, 0.0)
        energy = {"prefill": prefill_s * prefill_w, "decode": decode_s * decode_w}
        energy_j = energy["prefill"] + np.where(o > 1, energy["decode"], 0.0)
        total_s = prefill_s + np.where(o > 1, decode_s, 0.0)
        found = {
            "prefill_s": prefill_s,
            "decode_s": decode_s,
            "total_s": total_s,
            "energy_j": energy_j,
            "power_w": energy_j / total_s,
            "prefill_energy_j": energy["prefill"],
            "decode_energy_j": energy["decode"],
        }[self.metric]
        return np.asarray(np.log(found))
