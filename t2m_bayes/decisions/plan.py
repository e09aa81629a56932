"""What to measure next: the runs that teach the most about the requests one cares about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from t2m_bayes.decisions.belief import Belief
from t2m_bayes.errors import DataError
from t2m_bayes.prediction import Noise, group_by_cell, metric_draws, predict
from t2m_bayes.requests import Requests, make_requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit
    from t2m_bayes.prediction import Prediction

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
    covariance of the posterior draws, and so are the logs of their noise variances. A run then
    updates both in closed form (the linear Gaussian case of Bayesian experimental design: Chaloner
    and Verdinelli 1995, doi:10.1214/ss/1177009939), whatever it reads: it tells of the mean as much
    as its noise lets through, and of the noise as much as what is unknown of its mean lets through.
    A run's worth is the entropy it takes from the predictions of the targets, noise included: what
    noise hides anyway is worth nothing, and to learn how large the noise is can be worth the most.

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
    parts = [(m, slice(None, n)) for m in read] + [(m, slice(n, None)) for m in metrics]
    belief = _belief(parts, both, expected, _noise_scales(fit, asked, session, seed))
    readings = np.arange(len(read) * n).reshape(len(read), n).T
    aims = np.arange(len(read) * n, belief.noise.size)
    aims = aims[np.isfinite(belief.noise[aims])]
    expected_s = np.median(both.draws["total_s"][..., :n], axis=(0, 1))

    chosen: list[int] = []
    spread = [belief.spread(aims)]
    for _ in range(runs):
        worth = np.full(n, -np.inf)
        for i in set(range(n)) - set(chosen):
            worth[i] = belief.entropy(readings[i], aims)
        best = int((worth / expected_s if per == "second" else worth).argmax())
        chosen.append(best)
        belief = belief.after(readings[best])
        spread.append(belief.spread(aims))
    order = np.array(chosen)
    return Plan(
        runs=_chosen(candidates, order),
        chosen=order,
        expected_s=expected_s[order],
        spread=np.array(spread),
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


def _belief(
    parts: Sequence[tuple[str, slice]],
    both: Prediction,
    expected: Mapping[str, Floats],
    scales: Mapping[str, Floats],
) -> Belief:
    """Return what the draws of a posterior believe of metrics of requests.

    Args:
        parts: Metrics, and the requests that they are of.
        both: The prediction, noise included.
        expected: Metric to draws of log means. shape: (chain, draw, request)
        scales: Metric to draws of the noise's scale. shape: (request, sample)
    """
    means, noises, logs = [], [], []
    for metric, part in parts:
        without = expected[metric][..., part].reshape(-1, expected[metric][..., part].shape[-1])
        within = both.draws[metric][..., part].reshape(without.shape)
        there = (without > 0).all(axis=0)
        without, within = np.where(there, without, 1.0), np.where(there, within, 1.0)
        # Half the width of the middle 68 %: what a normal's standard deviation is, and close to
        # what a Student-t of the same information has.
        low, high = np.quantile(np.log(within / without), [0.16, 0.84], axis=0)
        means.append(np.log(without))
        noises.append(np.where(there, ((high - low) / 2) ** 2, np.inf))
        scale = scales[metric][part]
        varies = (scale > 0).all(axis=1, keepdims=True)
        logs.append(2 * np.log(np.where(varies, scale, 1.0)).T)
    return Belief(
        np.cov(np.concatenate(means, axis=1), rowvar=False),
        np.concatenate(noises),
        np.cov(np.concatenate(logs, axis=1), rowvar=False),
    )


def _noise_scales(fit: Fit, requests: Requests, session: str, seed: int) -> dict[str, Floats]:
    """Return draws of the scale of each metric's noise, on the log scale.

    That of the noise of single runs: a block's spread, which goes with it, cancels between noise a
    scale up and a scale down.
    """
    chains, draws = fit.shape
    scales: dict[str, Floats] = {m: np.zeros((len(requests), chains * draws)) for m in fit.metrics}
    for cell, rows in group_by_cell(fit, requests, session, seed, []):
        tokens = requests.input_tokens[rows], requests.output_tokens[rows]
        one = np.ones((rows.size, chains * draws))
        up = metric_draws(cell, *tokens, Noise(one, one))
        down = metric_draws(cell, *tokens, Noise(-one, -one))
        for metric in fit.metrics:
            there = up[metric] > 0
            ratio = np.where(there, up[metric], 1.0) / np.where(there, down[metric], 1.0)
            scales[metric][rows] = np.log(ratio) / 2
    return scales


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
