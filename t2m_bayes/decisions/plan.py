"""What to measure next: the runs that teach the most about the requests one cares about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from t2m_bayes.errors import DataError
from t2m_bayes.prediction import predict
from t2m_bayes.requests import Requests, make_requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit

    Floats = NDArray[np.floating[Any]]

READ: Final = ("prefill_s", "decode_s", "energy_j")
"""Metrics that a run measures, where the fit has them; the others follow from these."""

STRAY: Final = ("tau_stair", "tau_rise")
"""Spreads of what is drawn for each tile that nobody measured."""

MOST_CANDIDATES, MOST_TARGETS = 400, 300
"""Requests that are weighed against each other; of more, a random part is."""

GRID_INPUTS: Final = (32, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
GRID_OUTPUTS: Final = (8, 64, 256, 1024)


@dataclass(frozen=True)
class Plan:
    """Runs to make, the most telling first.

    Attributes:
        runs: The runs.
        chosen: Their positions among the candidates. shape: (run,)
        expected_s: How long each will take: the median of ``total_s``. shape: (run,)
        spread: Standard deviation of the target predictions on the log scale, noise included:
            geometric mean over requests and metrics, before the first run and after each.
            shape: (run + 1,)
        warnings: What limits the trust in it.
    """

    runs: Requests
    chosen: NDArray[np.intp]
    expected_s: Floats
    spread: Floats
    warnings: tuple[str, ...]


def plan_runs(
    fit: Fit,
    candidates: Requests,
    targets: Requests,
    runs: int,
    *,
    metrics: Sequence[str] | None = None,
    per: Literal["run", "second"] = "run",
    session: Literal["new", "same"] = "new",
    seed: int = 0,
) -> Plan:
    """Choose runs one by one, each for what it adds to those before it.

    The logs of all readings and of all target metrics are taken to be jointly normal, with the
    covariance of the posterior draws; a run then updates them in closed form (the linear Gaussian
    case of Bayesian experimental design: Chaloner and Verdinelli 1995,
    doi:10.1214/ss/1177009939), whatever it reads. A run's worth is the entropy it takes from the
    predictions of the targets, noise included, so what noise hides anyway is worth nothing.

    Args:
        fit: The fit.
        candidates: Runs that could be made; each is made once at most.
        targets: Requests whose predictions are to become sharper.
        runs: How many to choose.
        metrics: What of the targets; all that the fit predicts by default.
        per: Whether worth is counted for each ``run``, or for each ``second`` that it takes.
        session: The session that the runs and the targets share: a ``new`` one, or the ``same``
            that was measured.
        seed: Seed of what is drawn here.

    Raises:
        DataError: There are fewer candidates than runs, or the fit does not predict a metric.
    """
    metrics = tuple(metrics or fit.metrics)
    if unknown := [m for m in metrics if m not in fit.metrics]:
        raise DataError(
            f"this fit does not predict {', '.join(unknown)}: it predicts {', '.join(fit.metrics)}"
        )
    if not 1 <= runs <= len(candidates):
        raise DataError(f"{runs} runs cannot be chosen from {len(candidates)} candidates")
    asked = _joined(candidates, targets)
    both = predict(fit, asked, session=session, seed=seed)
    expected = predict(_smooth(fit), asked, session=session, seed=seed).expected
    n = len(candidates)
    read = [m for m in READ if m in fit.metrics]
    # shape: (sample, reading or target)
    columns = [_logs(expected[m], both.draws[m], slice(None, n)) for m in read]
    columns += [_logs(expected[m], both.draws[m], slice(n, None)) for m in metrics]
    values = np.concatenate([c[0] for c in columns], axis=1)
    noise = np.concatenate([c[1] for c in columns])
    covariance = np.cov(values, rowvar=False)
    readings = np.arange(len(read) * n).reshape(len(read), n).T
    aims = np.arange(len(read) * n, len(noise))
    aims = aims[np.isfinite(noise[aims])]
    expected_s = np.median(both.draws["total_s"][..., :n], axis=(0, 1))

    def spread() -> float:
        total = np.maximum(np.diag(covariance)[aims], 0) + noise[aims]
        return float(np.exp(np.log(total).mean() / 2))

    chosen: list[int] = []
    spreads = [spread()]
    for _ in range(runs):
        gains = np.array(
            [
                -np.inf
                if i in chosen
                else _entropy(covariance, noise, readings[i], aims)
                / (expected_s[i] if per == "second" else 1.0)
                for i in range(n)
            ]
        )
        best = int(gains.argmax())
        chosen.append(best)
        covariance = _updated(covariance, noise, readings[best])
        spreads.append(spread())
    order = np.array(chosen)
    return Plan(
        runs=_chosen(candidates, order),
        chosen=order,
        expected_s=expected_s[order],
        spread=np.array(spreads),
        warnings=both.warnings,
    )


def grid(fit: Fit, device: str | None = None) -> Requests:
    """Return candidates for every LLM of a fit: prompts and outputs over what is usual."""
    pairs = [(llm, i, o) for llm in fit.coords.llms for i in GRID_INPUTS for o in GRID_OUTPUTS]
    llms, inputs, outputs = zip(*pairs, strict=True)
    return make_requests(fit, list(llms), list(inputs), list(outputs), device=device)


def some_of(requests: Requests, most: int, seed: int = 0) -> Requests:
    """Return requests, or a random part of so many of them if they are more."""
    if len(requests) <= most:
        return requests
    rng = np.random.default_rng(seed)
    return _chosen(requests, np.sort(rng.choice(len(requests), most, replace=False)))


def _smooth(fit: Fit) -> Fit:
    """Return a fit in which a tile nobody measured lies on the smooth curve.

    One run there does not give its tile a level of its own: to the plan, how far tiles stray is
    noise of the runs in them, and nothing that a run tells of others in its tile.
    """
    stray = {name: np.zeros_like(fit.draws[name]) for name in STRAY if name in fit.draws}
    return replace(fit, draws={**fit.draws, **stray})


def _logs(expected: Floats, draws: Floats, part: slice) -> tuple[Floats, Floats]:
    """Return draws of log expected values, and the noise variance of each request.

    Args:
        expected: Draws without noise. shape: (chain, draw, request)
        draws: Draws with noise. Same shape.
        part: Which requests.

    Returns:
        Shapes (sample, request) and (request,); a metric that is zero has infinite noise.
    """
    without = expected[..., part].reshape(-1, expected[..., part].shape[-1])
    within = draws[..., part].reshape(without.shape)
    there = (without > 0).all(axis=0)
    without, within = np.where(there, without, 1.0), np.where(there, within, 1.0)
    logs = np.log(without)
    # Half the width of the middle 68 %: what a normal's standard deviation is, and close to what a
    # Student-t of the same information has.
    low, high = np.quantile(np.log(within) - logs, [0.16, 0.84], axis=0)
    return logs, np.where(there, ((high - low) / 2) ** 2, np.inf)


def _gain(covariance: Floats, noise: Floats, reading: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return the part of a run's readings that exist: covariance with all, and its inverse."""
    own = reading[np.isfinite(noise[reading])]
    inner = covariance[np.ix_(own, own)] + np.diag(noise[own])
    return covariance[:, own], np.linalg.inv(inner)


def _entropy(
    covariance: Floats, noise: Floats, reading: NDArray[np.intp], aims: NDArray[np.intp]
) -> float:
    """Return the mean entropy that a run takes from the predictions of the targets, in nats."""
    cross, inverse = _gain(covariance, noise, reading)
    cross = cross[aims]
    before = np.diag(covariance)[aims]
    after = before - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    total = np.maximum(before, 0) + noise[aims]
    return float(0.5 * np.log(total / (np.maximum(after, 0) + noise[aims])).mean())


def _updated(covariance: Floats, noise: Floats, reading: NDArray[np.intp]) -> Floats:
    cross, inverse = _gain(covariance, noise, reading)
    updated: Floats = covariance - cross @ inverse @ cross.T
    return updated


def _chosen(requests: Requests, order: NDArray[np.intp]) -> Requests:
    return Requests(
        llm=tuple(requests.llm[i] for i in order),
        device=tuple(requests.device[i] for i in order),
        input_tokens=requests.input_tokens[order],
        output_tokens=requests.output_tokens[order],
        session=tuple(requests.session[i] for i in order),
        params_b=requests.params_b[order],
        weights_gb=requests.weights_gb[order],
        block=tuple(requests.block[i] for i in order),
    )


def _joined(first: Requests, second: Requests) -> Requests:
    """Return two lists of requests as one, so that they share their draws."""
    return Requests(
        llm=first.llm + second.llm,
        device=first.device + second.device,
        input_tokens=np.concatenate([first.input_tokens, second.input_tokens]),
        output_tokens=np.concatenate([first.output_tokens, second.output_tokens]),
        session=first.session + second.session,
        params_b=np.concatenate([first.params_b, second.params_b]),
        weights_gb=np.concatenate([first.weights_gb, second.weights_gb]),
        block=first.block + second.block,
    )
