"""Rebuild the reference fit that ships in ``models/reference``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from t2m_bayes.fits import save
from t2m_bayes.inference import fit
from t2m_bayes.loading import load
from t2m_bayes.power_design import named_rails
from t2m_bayes.resources import shipped
from t2m_bayes.sampling import Sampling

if TYPE_CHECKING:
    from pathlib import Path

    from t2m_bayes.schema import Runs

CITATION: Final = (
    "Public measurements on a Jetson AGX Orin 64GB: MMLU requests from "
    "edge-inference/token2metrics (MIT), prefill and decode sweeps from "
    "edge-inference/edgereasoning (BSD-3-Clause; arXiv 2511.01866). The rows are not shipped."
)
"""Where the rows behind the reference fit come from."""

RAILS: Final = {
    "edgereasoning/prefill-sweep": "GPU+SOC",
    "edgereasoning/decode-sweep": "GPU+SOC",
}
"""What the power of the sweeps sums."""

OTHER_RAILS: Final = "token2metrics/mmlu"
"""Source whose power sums three rails, as one mean over each subject: it is left out."""

SAMPLING: Final = Sampling(draws=2000, tune=1000, target_accept=0.92)
"""How it is sampled: longer and in smaller steps than a fit of one's own: many read its bounds."""

FILES: Final = ("orin_mmlu_requests.csv", "orin_prefill_sweep.csv", "orin_decode_sweep.csv")
"""The run tables it is fitted to, in a folder of public measurements."""


def runs(data: Path) -> Runs:
    """Read the rows behind the reference fit.

    Args:
        data: Folder that holds :data:`FILES`.

    Raises:
        DataError: A file is missing or cannot be used.
    """
    table = named_rails(load(*(data / name for name in FILES)), RAILS)
    other = table.frame["source"] == OTHER_RAILS
    power = {name: table.frame[name].mask(other) for name in ("energy_j", "power_w")}
    return replace(table, frame=table.frame.assign(**power))


def build(data: Path, output: Path | None = None, sampling: Sampling = SAMPLING) -> Path:
    """Fit the public Jetson rows and save the fit.

    Args:
        data: Folder that holds :data:`FILES`.
        output: Where to save; ``models/reference`` by default.
        sampling: How to sample.

    Returns:
        The folder of the fit.

    Raises:
        DataError: A file is missing or cannot be used.
    """
    result = fit(runs(data), sampling)
    # The rows behind an outlier are not ours to ship: their number stays, their values do not.
    checks = [
        {**check, "where": ""} if "outliers" in check["name"] else check
        for check in result.provenance["checks"]
    ]
    about = {**result.provenance, "checks": checks, "citation": CITATION}
    cited = replace(result, provenance=about)
    return save(cited, output or shipped("models") / "reference")
