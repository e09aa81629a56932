"""A point regressor of every metric, with the face of a fit: names, provenance, predictions."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator

from t2m_bayes.baselines.registry import method
from t2m_bayes.baselines.table import DECODE, METRICS, features, of_runs, readings
from t2m_bayes.cards import catalog
from t2m_bayes.design import Coords
from t2m_bayes.errors import DataError
from t2m_bayes.prediction import Prediction
from t2m_bayes.priors import device_role, usual_target
from t2m_bayes.schema import data_hash

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from t2m_bayes.requests import Requests
    from t2m_bayes.schema import Runs

    Floats = NDArray[np.floating[Any]]

DRAWS: Final = 400
"""Draws that stand for a predictive distribution: its quantiles at evenly spaced levels."""

LONGEST: Final = 50.0
"""Largest logarithm that is kept; exp(50) s is longer than the age of the universe."""


class Regression(BaseEstimator):  # type: ignore[misc]
    """One regressor for each metric that has readings.

    Total time is the sum of prefill and decode where both are regressed. Rows without a prompt
    length are left out. ``get_params`` and ``clone`` work as in scikit-learn.

    Args:
        name: A name of :data:`t2m_bayes.baselines.registry.METHODS`.
        random_state: Seed of everything that is drawn.
    """

    def __init__(self, name: str = "linear", random_state: int = 0) -> None:
        """Keep the parameters."""
        self.name = name
        self.random_state = random_state

    def fit(self, runs: Runs) -> Self:
        """Fit to a run table.

        Raises:
            DataError: No metric can be regressed on these runs; the message says why for each.
        """
        known = method(self.name)
        frame = runs.frame
        self.coords_ = _coords(frame)
        self.models_: dict[str, Any] = {}
        self.reasons_: dict[str, str] = {}
        table = of_runs(frame)
        covered = np.ones(len(frame), bool) if known.covers is None else known.covers(table)
        for metric in METRICS:
            if metric == "total_s" and {"prefill_s", "decode_s"} <= set(self.models_):
                continue
            rows = readings(frame, metric) & covered
            if not rows.any():
                continue
            y = np.log(frame[metric].to_numpy(float)[rows])
            try:
                model = known.make(metric, self.random_state)
                self.models_[metric] = model.fit(table[rows].reset_index(drop=True), y)
            except DataError as error:
                self.reasons_[metric] = str(error)
        if not self.models_:
            reasons = "; ".join(dict.fromkeys(self.reasons_.values()))
            raise DataError(
                f"{self.name} cannot be fitted to these {len(frame)} runs: "
                f"{reasons or 'it covers none of them, or none has a reading and a prompt length'}"
            )
        self.provenance_ = _provenance(self, runs)
        return self

    @property
    def coords(self) -> Coords:
        """Return the LLMs, devices and sessions of the runs."""
        return self.coords_

    @property
    def provenance(self) -> dict[str, Any]:
        """Return where it comes from; plain JSON values."""
        return self.provenance_

    @property
    def target_device(self) -> str:
        """Return the device that predictions are for unless one is named."""
        return str(self.provenance_["target_device"])

    @property
    def usable(self) -> bool:
        """Return True: nothing is sampled that could have failed."""
        return True

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return what can be predicted, in the order in which it is reported."""
        found = set(self.models_)
        if {"prefill_s", "decode_s"} <= found:
            found.add("total_s")
        return tuple(m for m in METRICS if m in found)

    def predict(self, requests: Requests, *, session: Literal["new", "same"] = "new") -> Prediction:
        """Predict requests.

        Args:
            requests: What to predict.
            session: Changes nothing: a point regressor knows no sessions.

        Returns:
            Draws in one chain: the predictive distribution's quantiles at evenly spaced levels, in
            random order, so that ``Prediction.interval`` gives the conformal interval. Requests
            that the regressor has no band for are NaN. They, and those of an LLM on a device that
            it was not fitted to, have a warning.
        """
        table = self._features(requests)
        known = method(self.name)
        covered = np.ones(len(table), bool) if known.covers is None else known.covers(table)
        rng = np.random.default_rng(self.random_state)
        draws: dict[str, Floats] = {}
        expected: dict[str, Floats] = {}
        warnings: list[str] = []
        for metric, model in self.models_.items():
            spread = np.full((DRAWS, len(table)), np.nan)
            point = np.full(len(table), np.nan)
            if covered.any():
                asked = table[covered].reset_index(drop=True)
                levels, quantiles = model.quantiles(asked)
                spread[:, covered] = _spread(levels, quantiles, rng)
                point[covered] = np.exp(np.minimum(model.predict(asked), LONGEST))
            if metric in DECODE:
                single = table["output_tokens"].to_numpy() <= 1
                spread[:, single] = 0.0
                point[single] = 0.0
            if (missing := int(np.isnan(spread[0]).sum())) > 0:
                warnings.append(f"{self.name} has no {metric} for {missing} request(s)")
            draws[metric] = spread
            expected[metric] = np.broadcast_to(point, spread.shape)
        for values in (draws, expected):
            if {"prefill_s", "decode_s"} <= set(values):
                values["total_s"] = values["prefill_s"] + values["decode_s"]
        coords = self.coords_
        fitted = {(coords.llms[m], coords.devices[d]) for m, d in coords.cells}
        answered = compress(zip(requests.llm, requests.device, strict=True), covered)
        warnings += [
            f"{self.name} was fitted to no run of {llm} | {device}: "
            "it goes by other LLMs or devices"
            for llm, device in dict.fromkeys(answered)
            if (llm, device) not in fitted
        ]
        return Prediction(
            draws={m: draws[m][None] for m in self.metrics},
            expected={m: expected[m][None] for m in self.metrics},
            requests=requests,
            warnings=tuple(warnings),
        )

    def _features(self, requests: Requests) -> pd.DataFrame:
        """Return the requests' features; the sizes of known LLMs are those of the runs."""
        sizes = dict(
            zip(
                self.coords_.llms,
                zip(self.coords_.params_b, self.coords_.weights_gb, strict=True),
                strict=True,
            )
        )
        own = zip(requests.params_b, requests.weights_gb, strict=True)
        size = np.array(
            [sizes.get(llm, given) for llm, given in zip(requests.llm, own, strict=True)],
            dtype=float,
        ).reshape(-1, 2)
        return features(
            requests.llm,
            requests.device,
            requests.input_tokens,
            requests.output_tokens,
            size[:, 0],
            size[:, 1],
        )


def _spread(levels: Floats, quantiles: Floats, rng: np.random.Generator) -> Floats:
    """Return draws whose quantiles are those given. shape: (draw, row).

    Beyond the outermost level, draws stay at its quantile. The order is random and shared by all
    rows, so that metrics may be added.
    """
    at = np.clip(np.linspace(0, 1, DRAWS), levels[0], levels[-1])
    right = np.clip(np.searchsorted(levels, at, side="right"), 1, levels.size - 1)
    weight = (at - levels[right - 1]) / (levels[right] - levels[right - 1])
    drawn = quantiles[:, right - 1] * (1 - weight) + quantiles[:, right] * weight
    return np.asarray(np.exp(np.minimum(drawn, LONGEST)).T[rng.permutation(DRAWS)])


def _coords(frame: pd.DataFrame) -> Coords:
    llms = tuple(sorted(frame["llm"].astype(str).unique()))
    devices = tuple(sorted(frame["device"].astype(str).unique()))
    first = frame.groupby("llm")[["params_b", "bytes_per_param"]].first()
    params = tuple(float(first.loc[m, "params_b"]) for m in llms)
    weights = tuple(
        p * float(first.loc[m, "bytes_per_param"]) for p, m in zip(params, llms, strict=True)
    )
    of_llm, of_device = ({n: i for i, n in enumerate(names)} for names in (llms, devices))
    found = frame[["llm", "device", "session"]].astype(str).drop_duplicates()
    pairs = [(of_llm[m], of_device[d]) for m, d in zip(found["llm"], found["device"], strict=True)]
    cells = tuple(dict.fromkeys(pairs))
    return Coords(
        llms=llms,
        params_b=params,
        weights_gb=weights,
        devices=devices,
        cells=cells,
        series=tuple(
            (cells.index(pair), session)
            for pair, session in zip(pairs, found["session"], strict=True)
        ),
        tiles=(),
        stairs=(),
        device_tiles=(),
    )


def _provenance(fitted: Regression, runs: Runs) -> dict[str, Any]:
    roles = {d: device_role(d, catalog()) for d in fitted.coords.devices}
    left_out = [f"{m} was left out: {why}" for m, why in fitted.reasons_.items()]
    versions = {}
    for name in ("t2m-bayes", "scikit-learn", "mapie", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "regression": fitted.name,
        "random_state": fitted.random_state,
        "created": datetime.now(UTC).strftime("%Y-%m-%d"),
        "target_device": usual_target(runs.frame["device"], roles),
        "roles": roles,
        "rows": len(runs),
        "sources": list(dict.fromkeys(Path(r.path).name for r in runs.reports)),
        "data_sha256": data_hash(runs.frame),
        "diagnostics": {"usable": True, "verdict": "; ".join(left_out) or "regressed"},
        "versions": versions,
    }
