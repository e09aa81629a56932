"""Checks of a fit, as data: what was measured, its limit, whether it passed, and what to do.

Most are computed when a fit is trained, where the whole posterior, the model and the rows are at
hand, and stored with it (:mod:`t2m_bayes.evidence`); reading them needs NumPy alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from t2m_bayes.fits import Fit, Reads

Group = Literal["sampler", "fit", "prior", "data"]

GROUPS: Final[tuple[Group, ...]] = get_args(Group)
"""What a check is about, in the order in which checks are shown."""

SPAN: Final = 2.0
"""Factor between the fewest and the most tokens from which a range counts as one: doubling the
tokens about doubles a time, so a narrower range cannot tell a slope from a level."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: What was checked, in a few words; unique within a fit.
        group: What it is about: the sampler, the fit to the rows, the prior or the data.
        measured: What was found: a number, or words where a number alone says too little.
        limit: What it was held against, likewise.
        passed: Whether it kept to the limit.
        meaning: One sentence on what a failure means for predictions.
        advice: One sentence on what to do about a failure.
        where: What it was measured at its worst: a variable, an LLM on a device, or rows; empty
            where that says nothing.
    """

    name: str
    group: Group
    measured: str | float
    limit: str | float
    passed: bool
    meaning: str
    advice: str
    where: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Check:
        """Return the check that :meth:`to_dict` wrote."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


def checks_of(fit: Fit) -> list[Check]:
    """Return every check of a fit, by group.

    Args:
        fit: The fit. One trained without its evidence (``Models.fit`` in a loop of refits) has
            the sampler's checks and those that need no rows, and no others: see :func:`checked`.

    Returns:
        The checks stored with it and the checks of its token ranges.
    """
    stored = [Check.from_dict(c) for c in fit.provenance.get("checks", ())]
    found = [*(stored or [_verdict(fit)]), _token_range(fit)]
    return sorted(found, key=lambda check: GROUPS.index(check.group))


def checked(fit: Fit) -> bool:
    """Return whether the fit was held against its rows and its prior when it was trained."""
    return any(c["group"] in ("fit", "prior") for c in fit.provenance.get("checks", ()))


def failures(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that did not pass."""
    return [check for check in checks if not check.passed]


def _verdict(fit: Fit) -> Check:
    """Return the verdict of a fit made before checks were stored, as one check."""
    diagnostics = fit.provenance["diagnostics"]
    return Check(
        name="verdict",
        group="sampler",
        measured=diagnostics["verdict"],
        limit="the fit can be used",
        passed=fit.usable,
        meaning="The chains have not explored the posterior.",
        advice="Train again.",
    )


def _token_range(fit: Fit) -> Check:
    """Check that the runs of each LLM on the target device span a range of tokens."""
    target = fit.coords.devices.index(fit.target_device)
    spans = {}
    for c, (llm, device) in enumerate(fit.coords.cells):
        reads = [r for (s, _), r in zip(fit.coords.series, fit.reads, strict=True) if s == c]
        for what in ("input", "output"):
            low, high = _range(reads, f"{what}_tokens")
            if device == target and low <= high:
                spans[f"{fit.coords.llms[llm]} {what} {low:g} to {high:g}"] = high / max(low, 1.0)
    narrowest = min(spans.values(), default=0.0)
    return Check(
        name="token range",
        group="data",
        measured=round(narrowest, 2),
        limit=SPAN,
        passed=narrowest >= SPAN,
        meaning="Outside the measured tokens a prediction rests on the physics and its priors.",
        advice=f"Measure {fit.target_device} with shorter and longer prompts and answers.",
        where="most over fewest tokens; " + "; ".join(spans),
    )


def _range(reads: list[Reads], what: str) -> tuple[float, float]:
    known = [span for r in reads if (span := getattr(r, what)) is not None]
    if not known:
        return float("nan"), float("nan")
    return min(low for low, _ in known), max(high for _, high in known)
