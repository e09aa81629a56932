"""What the report says of a fit, as plain values for the page's template."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from t2m_bayes.checks import GROUPS, Check, checked, checks_of, failures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from t2m_bayes.fits import Fit

GROUP_TITLES: Final = {
    "sampler": "Sampler",
    "fit": "Fit to the runs",
    "prior": "Priors",
    "data": "Data",
}
"""How a page calls the groups of checks."""


@dataclass(frozen=True)
class Trust:
    """Whether the fit can be relied on.

    Attributes:
        state: ``good``, ``bad`` or ``unsure``.
        mark: A character for it.
        headline: The answer in a few words.
        count: How many checks passed.
        text: The answer in sentences.
        failed: The checks that did not pass, in the order of the groups.
        passed: The others, by group, each with its title.
    """

    state: str
    mark: str
    headline: str
    count: str
    text: str
    failed: list[dict[str, str]]
    passed: list[dict[str, Any]]


def trust(fit: Fit) -> Trust:
    """Return the verdict on a fit and its checks, failures first."""
    checks = checks_of(fit)
    bad = failures(checks)
    verdict = str(fit.provenance["diagnostics"]["verdict"])
    text = f"The sampler says: {verdict.rstrip('.')}."
    if bad:
        text = f"What failed comes first, with what it means and what to do about it. {text}"
    if bad or not fit.usable:
        state, mark, headline = "bad", "\u2717", "Do not rely on these bands yet."
    elif not checked(fit):
        state, mark, headline = "unsure", "?", "The chains are sound; the rest was not checked."
        text += " It was never held against its runs and its prior: train it again to do that."
    else:
        state, mark, headline = "good", "\u2713", "These bands can be relied on."
    groups = [
        {
            "title": GROUP_TITLES[name],
            "checks": [_words(c) for c in checks if c.group == name and c.passed],
        }
        for name in GROUPS
    ]
    return Trust(
        state=state,
        mark=mark,
        headline=headline,
        count=f"{len(checks) - len(bad)} of {len(checks)} checks passed",
        text=text,
        failed=[_words(c) for c in bad],
        passed=[group for group in groups if group["checks"]],
    )


def _words(check: Check) -> dict[str, str]:
    """Return a check with its numbers as a person reads them."""
    return {
        name: value if isinstance(value, str) else f"{value:.4g}"
        for name, value in check.to_dict().items()
        if name != "passed"
    }


def measured(fit: Fit) -> dict[str, Any]:
    """Return what was read: a summary, the citation if there is one, and a table of sessions."""
    coords, provenance = fit.coords, fit.provenance
    head = [
        *("LLM", "Device", "Session", "Prefill readings", "Decode readings"),
        *("Prompt tokens", "Generated tokens"),
    ]
    rows = []
    for (c, session), reads in zip(coords.series, fit.reads, strict=True):
        llm, device = coords.cells[c]
        rows.append(
            [
                *(coords.llms[llm], coords.devices[device], session),
                *(f"{count:,}" for count in (reads.prefill, reads.decode)),
                *(_span(tokens) for tokens in (reads.input_tokens, reads.output_tokens)),
            ]
        )
    sizes = dict(zip(coords.llms, coords.params_b, strict=True))
    rows.sort(key=lambda row: (sizes[row[0]], *row[:3]))
    if len(coords.devices) == 1:
        for row in (head, *rows):
            del row[1]
    return {
        "summary": (
            f"{_many(provenance['rows'], 'run')} of {_many(len(coords.llms), 'LLM')} on "
            f"{_many(len(coords.devices), 'device')} ({', '.join(coords.devices)}), read from "
            f"{', '.join(provenance['sources'])}."
        ),
        "citation": provenance.get("citation"),
        "head": head,
        "rows": rows,
        "text_columns": head.index("Session") + 1,
    }


def provenance(fit: Fit, path: Path | None, compare: Path | None) -> dict[str, Any]:
    """Return where a fit comes from, and the commands that make it and this report again."""
    known = fit.provenance
    sampling = known["sampling"]
    facts = [
        ("Fitted on", known["created"]),
        ("Target device", fit.target_device),
        ("Runs", f"{known['rows']:,}"),
        ("SHA-256 of the run table", known["data_sha256"]),
        (
            "Sampling",
            f"{sampling['chains']} chains of {sampling['tune']} + {sampling['draws']} draws, "
            f"seed {sampling['seed']}, {sampling['sampler']}; {fit.shape[0] * fit.shape[1]:,} "
            "draws kept",
        ),
        ("Versions", ", ".join(f"{name} {v}" for name, v in known["versions"].items())),
    ]
    return {
        "facts": facts,
        "commands": "\n".join(_commands(fit, path, compare)),
        "priors": [
            (name, p["kind"], f"{p['centre']:g}", f"{p['sd']:g}", p["about"])
            for name, p in known["priors"].items()
        ],
    }


def fit_option(path: Path | None) -> str:
    """Return how a command names the fit: not at all for the shipped one."""
    return "" if path is None else f" --fit {shlex.quote(path.as_posix())}"


def _commands(fit: Fit, path: Path | None, compare: Path | None) -> Iterable[str]:
    where = "" if path is None else f" --output {shlex.quote(path.as_posix())}"
    if "citation" in fit.provenance:
        yield f"t2m reference FOLDER_OF_THE_RUNS{where}"
    else:
        sampling = fit.provenance["sampling"]
        files = dict.fromkeys(source.partition("#")[0] for source in fit.provenance["sources"])
        options = [f"--runs {shlex.quote(name)}" for name in files]
        options += [
            f"--{name.replace('_', '-')} {sampling[name]}"
            for name in ("draws", "tune", "chains", "target_accept", "seed")
        ]
        yield f"t2m train {' '.join(options)}{where}"
    yield f"t2m diagnose{fit_option(path)}"
    more = f" --compare {shlex.quote(compare.as_posix())}" if compare is not None else ""
    yield f"t2m report{fit_option(path)}{more} --output report.html"


def usual_request(fit: Fit, tokens: int = 256) -> dict[str, int]:
    """Return the request shown first: some tokens, inside what the target device measured."""
    found = {}
    for what in ("input_tokens", "output_tokens"):
        low, high = token_range(fit, what)
        found[what] = int(min(max(tokens, low), high))
    return found


def token_range(fit: Fit, what: str) -> tuple[float, float]:
    """Return the fewest and most tokens measured on the target device; 1 to 2,048 where unknown.

    Args:
        fit: The fit.
        what: ``input_tokens`` or ``output_tokens``.
    """
    target = fit.coords.devices.index(fit.target_device)
    spans = [
        span
        for (c, _), reads in zip(fit.coords.series, fit.reads, strict=True)
        if fit.coords.cells[c][1] == target and (span := getattr(reads, what)) is not None
    ]
    if not spans:
        return 1.0, 2048.0
    return max(1.0, min(low for low, _ in spans)), max(high for _, high in spans)


def llms_by_size(fit: Fit) -> list[str]:
    """Return the LLMs, the smallest first."""
    return [llm for _, llm in sorted(zip(fit.coords.params_b, fit.coords.llms, strict=True))]


def devices_target_first(fit: Fit) -> list[str]:
    """Return the devices, the one that predictions are for first."""
    return sorted(fit.coords.devices, key=lambda device: device != fit.target_device)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _span(tokens: Sequence[float] | None) -> str:
    if tokens is None:
        return "unknown"
    low, high = tokens
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
