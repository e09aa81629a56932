"""Fit and score estimators on the splits of a protocol: side by side, one failure harming none."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from t2m_bayes.baselines.table import DECODE, METRICS, readings
from t2m_bayes.cards import catalog
from t2m_bayes.comparison.estimators import BAYES, Bayes, Estimator, check_names, regression
from t2m_bayes.cores import CORES
from t2m_bayes.errors import DataError
from t2m_bayes.power_design import with_windows
from t2m_bayes.priors import device_role, usual_target
from t2m_bayes.requests import requests_of
from t2m_bayes.schema import Runs
from t2m_bayes.scoring import each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from t2m_bayes.comparison.protocols import Protocol, Split
    from t2m_bayes.inference import Models
    from t2m_bayes.prediction import Prediction

log = logging.getLogger(__name__)

LABELS: Final = ("protocol", "seed", "estimator", "metric", "llm", "device")
"""What a score is of."""

QUICK: Final[dict[str, Any]] = {"draws": 800, "tune": 500, "progress": False}
"""Sampler settings of comparisons, where a model is fitted dozens of times."""


@dataclass(frozen=True)
class Comparison:
    """What was compared, observation by observation.

    Attributes:
        rows: One row for each estimator, seed and test reading: :data:`LABELS`, ``split``, ``row``
            of the run table, ``n_train`` and what :func:`t2m_bayes.scoring.each` returns.
        fits: One row for each estimator, seed and split: ``fit_s, predict_s``, whether the
            sampler's diagnostics passed, and the ``error`` of what failed.
        notes: What else the reader should know, in sentences.
    """

    rows: pd.DataFrame
    fits: pd.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """One estimator on one split."""

    estimator: str
    seed: int
    split: str
    train: Runs
    test: pd.DataFrame
    session: Literal["new", "same"]


def compare(
    runs: Runs,
    protocol: Protocol,
    estimators: list[str],
    *,
    target: str | None = None,
    only_target: bool = True,
    seeds: int = 5,
    jobs: int = CORES,
    sampling: dict[str, Any] | None = None,
    compiled: Callable[[], Models] | None = None,
    done: Callable[[int, int], None] = lambda finished, total: None,
) -> Comparison:
    """Compare estimators on the same splits of a run table.

    Args:
        runs: The run table.
        protocol: How it is split.
        estimators: Names of :data:`t2m_bayes.comparison.estimators.NAMES`.
        target: The device that is predicted; the scarce one by default.
        only_target: Score the target's rows alone, where other devices are held out too.
        seeds: Repeats of a random protocol.
        jobs: Regressions fitted at the same time, and chains sampled at the same time.
        sampling: Settings of the sampler; :data:`QUICK` by default.
        compiled: Returns the model compiled for this table, as :func:`compiler` does; for the
            comparisons of one table to share.
        done: Called with the number of finished fits and of all.

    Returns:
        The scores of every test reading.

    Raises:
        DataError: The table cannot be split this way, a name is unknown, or nothing was scored.
    """
    from joblib import Parallel, delayed

    check_names(estimators)
    table = Runs(with_windows(runs.frame.reset_index(drop=True)), runs.reports)
    frame = table.frame
    roles = {d: device_role(d, catalog()) for d in frame["device"].unique()}
    device = usual_target(frame["device"], roles) if target is None else target
    if device not in roles:
        raise DataError(f"no runs on {device!r}: the data hold {', '.join(sorted(roles))}")
    every_device = protocol.text.startswith("leave-device-out") or not only_target
    scored = np.ones(len(frame), bool) if every_device else frame["device"].eq(device).to_numpy()
    planned: list[_Job] = []
    for seed in range(seeds if protocol.random else 1):
        for split in protocol.splits(frame, device, seed):
            planned += _jobs(estimators, seed, split, table, scored, protocol.session)
    quick = [job for job in planned if job.estimator != BAYES]
    slow = [job for job in planned if job.estimator == BAYES]
    pool = Parallel(n_jobs=min(jobs, max(len(quick), 1)), return_as="generator_unordered")
    regressed = pool(delayed(_regress)(job) for job in quick)
    # The model is compiled here, on one core, while the others regress.
    sampled = _sampled(slow, compiled or compiler(table), {"cores": jobs} | (sampling or QUICK))
    results = []
    for result in chain(regressed, sampled):
        results.append(result)
        done(len(results), len(planned))
    fits = pd.DataFrame([fit for fit, _ in results]).assign(protocol=protocol.text)
    found = [rows for _, rows in results if rows is not None and len(rows)]
    if not found:
        raise DataError("nothing was scored:\n  " + "\n  ".join(_failures(fits)))
    rows = pd.concat(found, ignore_index=True).assign(protocol=protocol.text)
    order = {name: i for i, name in enumerate((*METRICS, *estimators))}
    rows = rows.sort_values(
        ["metric", "estimator", "seed", "llm", "device", "row"],
        key=lambda c: c.map(order) if c.name in ("metric", "estimator") else c,
        ignore_index=True,
    )
    return Comparison(rows, fits, (*_failures(fits), *_unusable(fits), *_unanswered(rows)))


def compiler(runs: Runs) -> Callable[[], Models]:
    """Return what compiles the model for a run table when it is first asked, and only then.

    Args:
        runs: The run table.
    """

    @cache
    def compiled() -> Models:
        from t2m_bayes.inference import make_models

        return make_models(runs).compile()

    return compiled


def _jobs(
    estimators: list[str],
    seed: int,
    split: Split,
    table: Runs,
    scored: NDArray[np.bool_],
    session: Literal["new", "same"],
) -> Iterator[_Job]:
    """Yield a job an estimator. The test rows reach it after it was fitted, without targets."""
    frame = table.frame
    can = np.any([readings(frame, metric) for metric in METRICS], axis=0)
    test = frame[split.test & scored & can]
    if test.empty:
        return
    train = Runs(frame[split.train], table.reports)
    for name in estimators:
        yield _Job(name, seed, split.name, train, test, session)


def _regress(job: _Job) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Fit and score a point regressor, with one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run(job, lambda: regression(job.estimator, job.seed))


def _sampled(
    jobs: list[_Job], compiled: Callable[[], Models], sampling: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame | None]]:
    """Compile the Bayesian model, and fit and score it as the results are asked for.

    In this process: what is compiled cannot be sent to others. The seconds of a fit are without it.
    """
    if not jobs:
        return iter(())
    from t2m_bayes.sampling import Sampling

    try:
        model = Bayes(compiled(), Sampling(**sampling))
    except DataError as error:
        return iter([(_failure(job, error), None) for job in jobs])
    return (_run(job, lambda: model) for job in jobs)


def _run(job: _Job, make: Callable[[], Estimator]) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Fit, predict and score; whatever goes wrong is the estimator's own failure."""
    try:
        started = time.perf_counter()
        fitted = make().fit(job.train)
        ready = time.perf_counter()
        predicted = fitted.predict(requests_of(job.test), session=job.session)
        ended = time.perf_counter()
        rows = _scores(job, predicted)
    except Exception as error:  # any library may raise anything; it is reported, the rest go on
        log.debug("%s failed", job.estimator, exc_info=True)
        return _failure(job, error), None
    usable = not any("marked as unusable" in w for w in predicted.warnings)
    return _labels(job) | {
        "fit_s": ready - started,
        "predict_s": ended - ready,
        "usable": usable,
        "error": "",
    }, rows


def _labels(job: _Job) -> dict[str, Any]:
    return {"estimator": job.estimator, "seed": job.seed, "split": job.split}


def _failure(job: _Job, error: Exception) -> dict[str, Any]:
    said = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
    nothing = {"fit_s": np.nan, "predict_s": np.nan, "usable": False}
    return _labels(job) | nothing | {"error": said}


def _scores(job: _Job, predicted: Prediction) -> pd.DataFrame:
    """Score every reading that the estimator has an answer for."""
    parts = []
    for metric, draws in predicted.draws.items():
        samples = draws.reshape(-1, draws.shape[-1])
        rows = readings(job.test, metric)
        if metric in DECODE:
            rows &= job.test["output_tokens"].to_numpy() > 1
        answered = rows & np.isfinite(samples).all(axis=0)
        if not answered.any():
            continue
        scored = job.test[answered]
        numbers = each(samples[:, answered], scored[metric].to_numpy(float))
        parts.append(
            pd.DataFrame(
                {
                    "metric": metric,
                    "llm": scored["llm"].astype(str),
                    "device": scored["device"].astype(str),
                    "row": scored.index,
                    "n_train": len(job.train),
                }
                | numbers
            )
        )
    if not parts:
        raise DataError("; ".join(predicted.warnings) or "it has no answer for any test row")
    return pd.concat(parts, ignore_index=True).assign(**_labels(job))


def _failures(fits: pd.DataFrame) -> list[str]:
    failed = fits[fits["error"].ne("")]
    return [
        f"{estimator} failed in {len(rows)} of {int(fits['estimator'].eq(estimator).sum())} fits: "
        f"{rows['error'].iloc[0]}"
        for estimator, rows in failed.groupby("estimator", sort=False)
    ]


def _unusable(fits: pd.DataFrame) -> list[str]:
    sampled = fits[fits["estimator"].eq(BAYES) & fits["error"].eq("")]
    bad = int((~sampled["usable"].astype(bool)).sum())
    if not bad:
        return []
    return [
        f"{bad} of {len(sampled)} fits of {BAYES} did not pass the sampler's diagnostics at the "
        "settings of a comparison; they are scored as they are"
    ]


def _unanswered(rows: pd.DataFrame) -> list[str]:
    """Say which estimators answered fewer readings of a metric than others did."""
    counts = rows.groupby(["metric", "estimator"], sort=False).size()
    notes = []
    for metric, found in counts.groupby(level="metric", sort=False):
        most = int(found.max())
        notes += [
            f"{estimator} answered {n} of {most} readings of {metric}"
            for estimator, n in found.droplevel("metric").items()
            if n < most
        ]
    return notes
