"""Deadlines and other limits: the chance of meeting them, and the output tokens they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.errors import DataError
from t2m_bayes.prediction import BLOCK, group_by_cell, metric_draws, shared_noise
from t2m_bayes.requests import make_requests
from t2m_bayes.schema import ENERGIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from t2m_bayes.fits import Fit
    from t2m_bayes.population import CellDraws
    from t2m_bayes.prediction import Noise
    from t2m_bayes.requests import Requests

    Floats = NDArray[np.floating[Any]]

TRIED: Final = 512
"""Output tokens that are tried one by one. The chance of a longer answer only falls with its
length; of a short one it may rise, while the timer's error outweighs a token."""

MOST: Final = 2**20
"""Largest budget that is looked for, in tokens: more than any LLM generates."""


@dataclass(frozen=True)
class Chance:
    """The chance of meeting limits.

    Attributes:
        together: Of meeting all of them. shape: (request,)
        each: Metric to the chance of meeting its own. shape: (request,)
    """

    together: Floats
    each: dict[str, Floats]


@dataclass(frozen=True)
class Budget:
    """The most output tokens that meet limits with some probability.

    Attributes:
        llm: The LLM.
        device: The device.
        output_tokens: Every answer of 1 to so many tokens meets the limits with the probability
            asked for; 0 where not even one token does.
        chance: Of an answer of so many tokens; of one token where there are none.
        next_chance: Of one token more; ``None`` where nothing binds.
        binding: The metric whose limit allows no more; ``None`` where nothing binds.
        reason: Why it is no more, in a sentence.
        warnings: What limits the trust in it.
    """

    llm: str
    device: str
    output_tokens: int
    chance: float
    next_chance: float | None
    binding: str | None
    reason: str
    warnings: tuple[str, ...]


def chance(
    fit: Fit,
    requests: Requests,
    limits: Mapping[str, ArrayLike],
    *,
    session: str = "new",
    seed: int = 0,
) -> Chance:
    """Return the chance of each request to meet limits.

    Args:
        fit: The fit.
        requests: The requests.
        limits: Metric to the most it may be, in its unit: one for all requests, or one each.
        session: ``new`` or ``same``: see :func:`t2m_bayes.prediction.predict`.
        seed: Seed of what is drawn here.

    Raises:
        DataError: There is no limit, or the fit does not predict what one is for.
    """
    _check_limits(fit, limits)
    n = len(requests)
    most = {m: np.broadcast_to(np.asarray(v, dtype=float), n) for m, v in limits.items()}
    found = Chance(np.empty(n), {m: np.empty(n) for m in limits})
    for cell, rows in group_by_cell(fit, requests, session, seed, []):
        noise = shared_noise(cell)
        for start in range(0, rows.size, BLOCK):
            some = rows[start : start + BLOCK]
            tokens = requests.input_tokens[some], requests.output_tokens[some]
            part = _chance(cell, noise, *tokens, {m: v[some] for m, v in most.items()})
            found.together[some] = part.together
            for metric, values in part.each.items():
                found.each[metric][some] = values
    return found


def budget(
    fit: Fit,
    llm: str,
    input_tokens: int,
    limits: Mapping[str, float],
    *,
    prob: float = 0.95,
    device: str | None = None,
    session: str = "new",
    params_b: float | None = None,
    bytes_per_param: float | None = None,
    seed: int = 0,
) -> Budget:
    """Return the most output tokens that meet limits with some probability.

    All lengths share their noise draws, so the answer is the exact boundary of these draws:
    :func:`chance` of so many tokens is ``prob`` or more, of one more it is less.

    Args:
        fit: The fit.
        llm: LLM name or alias.
        input_tokens: Prompt length.
        limits: Metric to the most it may be, such as ``{"total_s": 10, "energy_j": 300}``.
        prob: Probability of meeting all limits, between 0 and 1.
        device: Device name or alias; the fit's target device by default.
        session: ``new`` or ``same``.
        params_b: Billions of parameters, for an LLM without a card.
        bytes_per_param: Bytes a parameter takes in memory.
        seed: Seed of what is drawn here.

    Raises:
        DataError: As :func:`chance`, or ``prob`` is not between 0 and 1, or a name is unknown.
    """
    if not 0 < prob < 1:
        raise DataError(f"a probability must be between 0 and 1; found {prob:g}")
    _check_limits(fit, limits)

    def requests(tokens: int) -> Requests:
        return make_requests(
            fit,
            llm,
            input_tokens,
            tokens,
            device=device,
            params_b=params_b,
            bytes_per_param=bytes_per_param,
        )

    request, warnings = requests(1), list[str]()
    ((cell, _),) = group_by_cell(fit, request, session, seed, warnings)
    noise = shared_noise(cell)

    def at(outputs: NDArray[np.int_]) -> Chance:
        inputs = np.full(outputs.size, float(input_tokens))
        most = {m: np.full(outputs.size, v) for m, v in limits.items()}
        return _chance(cell, noise, inputs, outputs.astype(float), most)

    tokens = _boundary(at, prob)
    here = at(np.array([max(tokens, 1)])).together[0]
    after = None if tokens == MOST else at(np.array([tokens + 1]))
    if tokens:
        # Only now is it known how long the answers are.
        warnings = []
        group_by_cell(fit, requests(tokens), session, seed, warnings)
    if cell.power is not None and not limits.keys() & set(ENERGIES):
        warnings = [w for w in warnings if w not in cell.power.warnings]
    binding = None if after is None else min(after.each, key=lambda m: float(after.each[m][0]))
    return Budget(
        llm=request.llm[0],
        device=request.device[0],
        output_tokens=tokens,
        chance=float(here),
        next_chance=None if after is None else float(after.together[0]),
        binding=binding,
        reason=_reason(tokens, after, binding, prob, limits),
        warnings=tuple(warnings),
    )


def _boundary(at: Any, prob: float) -> int:
    """Return the last output length before the first whose chance is below ``prob``."""
    short = np.flatnonzero(at(np.arange(1, TRIED + 1)).together < prob)
    if short.size:
        return int(short[0])
    good, bad = TRIED, 2 * TRIED
    while at(np.array([bad])).together[0] >= prob:
        if bad == MOST:
            return MOST
        good, bad = bad, 2 * bad
    while bad - good > 1:
        middle = (good + bad) // 2
        if at(np.array([middle])).together[0] >= prob:
            good = middle
        else:
            bad = middle
    return good


def _reason(
    tokens: int, after: Chance | None, binding: str | None, prob: float, limits: Mapping[str, float]
) -> str:
    if after is None or binding is None:
        return f"no limit is reached by {MOST} output tokens"
    limit = f"{binding} of {limits[binding]:g} or less"
    share = f"{100 * float(after.each[binding][0]):.1f} %"
    if tokens:
        return f"one token more has a chance of {share} of {limit}"
    return (
        f"even one output token has a chance of {share} of {limit}, "
        f"where {100 * prob:g} % was asked for"
    )


def _check_limits(fit: Fit, limits: Mapping[str, Any]) -> None:
    if not limits:
        raise DataError("there is no limit: give a deadline, an energy or a power")
    for metric, value in limits.items():
        if metric not in fit.metrics:
            raise DataError(
                f"this fit does not predict {metric} (it predicts {', '.join(fit.metrics)}): a fit "
                "to runs with power readings predicts energy and power"
            )
        if not np.all(np.asarray(value, dtype=float) > 0):
            raise DataError(f"a limit of {metric} must be above 0")


def _chance(
    cell: CellDraws,
    noise: Noise,
    input_tokens: Floats,
    output_tokens: Floats,
    limits: Mapping[str, Floats],
) -> Chance:
    draws = metric_draws(cell, input_tokens, output_tokens, noise)
    met = {m: draws[m] <= most[:, None] for m, most in limits.items()}
    together = np.logical_and.reduce(list(met.values()))
    return Chance(together.mean(axis=1), {m: good.mean(axis=1) for m, good in met.items()})
