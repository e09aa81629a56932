"""What regressors see of a run or a request, and which runs have a reading of a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from t2m_bayes.cards import catalog
from t2m_bayes.power_design import measured_energy
from t2m_bayes.priors import device_role
from t2m_bayes.schema import ENERGIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

METRICS: Final = (
    "prefill_s",
    "decode_s",
    "total_s",
    "energy_j",
    "power_w",
    "prefill_energy_j",
    "decode_energy_j",
)
"""What can be regressed, in the order in which it is reported."""

DECODE: Final = ("decode_s", "decode_energy_j")
"""Metrics that are zero for a request of one token, which comes out of prefill."""


def features(
    llm: Sequence[str],
    device: Sequence[str],
    input_tokens: Any,
    output_tokens: Any,
    params_b: Any,
    weights_gb: Any,
) -> pd.DataFrame:
    """Return the table that regressors are fitted to, a row a run or request.

    Args:
        llm: LLM names.
        device: Device names.
        input_tokens: Prompt lengths. shape: (row,)
        output_tokens: Generated tokens. shape: (row,)
        params_b: Billions of parameters. shape: (row,)
        weights_gb: Bytes of the weights, in GB. shape: (row,)

    Returns:
        The table, with logarithms of the token counts and of the size, and each device's role.
    """
    inputs, outputs = np.asarray(input_tokens, float), np.asarray(output_tokens, float)
    weights = np.asarray(weights_gb, float)
    table = pd.DataFrame(
        {
            "llm": pd.Series(llm, dtype=object),
            "device": pd.Series(device, dtype=object),
            "input_tokens": inputs,
            "output_tokens": outputs,
            "params_b": np.asarray(params_b, float),
            "weights_gb": weights,
            "log_input": np.log(np.maximum(inputs, 1)),
            "log_output": np.log(np.maximum(outputs, 1)),
            "log_size": np.log(weights),
        }
    )
    roles = {name: device_role(name, catalog()) for name in table["device"].unique()}
    table["role"] = table["device"].map(roles).astype(object)
    table["cell"] = table["llm"] + " | " + table["device"]
    return table


def of_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the features of a run table's rows; unknown prompt lengths stay NaN."""
    return features(
        frame["llm"].astype(str).tolist(),
        frame["device"].astype(str).tolist(),
        frame["input_tokens"],
        frame["output_tokens"],
        frame["params_b"],
        frame["params_b"] * frame["bytes_per_param"],
    )


def readings(frame: pd.DataFrame, metric: str) -> NDArray[np.bool_]:
    """Return which rows of a run table have a reading that a regressor can use.

    Args:
        frame: A run table.
        metric: One of :data:`METRICS`.

    Returns:
        Rows whose reading is above 0 and whose prompt length is known: decode alone, which hardly
        depends on it, may have prompts of 0 tokens, and needs two output tokens. Of energy and
        power only what a sensor reported of a single run. shape: (row,)
    """
    if metric not in frame:
        return np.zeros(len(frame), dtype=bool)
    inputs, outputs = (frame[c].to_numpy(float) for c in ("input_tokens", "output_tokens"))
    if metric in DECODE:
        can = (inputs >= 0) & (outputs > 1)
    else:
        can = (inputs > 0) & (outputs >= (0 if metric.startswith("prefill") else 1))
    measured = measured_energy(frame) if metric in ENERGIES else frame
    value = np.asarray(measured[metric], dtype=float)
    return np.asarray(can & np.isfinite(value) & (value > 0))


def tokens_of(metric: str) -> list[str]:
    """Return the features of the tokens that a metric can depend on."""
    return ["log_input"] if metric.startswith("prefill") else ["log_input", "log_output"]
