"""The prompt lengths a Tegra CSV does not give, taken from the server's rows of the same prompts.

The rule. Both devices answer a subject's questions in the same order, so the n-th row of a
subject on one is the n-th on the other, as long as no row is missing on either side. A subject
is matched with a server sheet when

* both have the same number of rows, and no known answer differs; or
* one stops early, and the answers agree over at least :data:`MIN_ANSWERS` rows; the rows that the
  shorter one has are matched, the rest stay unknown.

Sheets of the same LLM come first, then of one whose card names the same tokenizer: prompts of
another tokenizer have other lengths. Whatever is not matched stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from t2m_bayes.cards import Catalog
from t2m_bayes.loading.sieve import Sieve, as_numbers, as_text
from t2m_bayes.schema import Runs

MIN_ANSWERS: Final = 5
"""Answers, of four choices, that must agree to match part of a subject: by chance, 1 in 1024."""

PROMPT_COLUMNS: Final = ("donor", "llm", "subject", "answer", "input_tokens")


def no_prompts() -> pd.DataFrame:
    """Return an empty list of prompts."""
    return pd.DataFrame(columns=list(PROMPT_COLUMNS))


@dataclass(frozen=True)
class ServerRuns(Runs):
    """Runs of a server, and every prompt its files list, rejected rows included.

    Attributes:
        prompts: One row a prompt, in the file's order: donor (file and sheet), llm, subject,
            answer (0-based, NaN if unknown) and input tokens (NaN if unknown).
    """

    prompts: pd.DataFrame = field(default_factory=no_prompts)


def prompts_of(runs: Runs) -> pd.DataFrame:
    """Return the prompts of loaded runs, in order."""
    if isinstance(runs, ServerRuns):
        return runs.prompts
    if "subject" not in runs.frame:
        return no_prompts()
    known = runs.frame.dropna(subset=["subject"])
    return pd.DataFrame(
        {
            "donor": known["source"].astype(str) + " on " + known["device"],
            "llm": known["llm"].str.partition("@")[0],
            "subject": known["subject"],
            "answer": np.nan,
            "input_tokens": known["input_tokens"],
        }
    )


def listed_prompts(frame: pd.DataFrame, donor: str, llm: str) -> pd.DataFrame:
    """Return the prompts a server sheet lists.

    Args:
        frame: The sheet's rows, before any of them is rejected for its measurements.
        donor: File and sheet.
        llm: The LLM's name in the cards.
    """
    if "subject" not in frame or "input_tokens" not in frame:
        return no_prompts()
    tokens = as_numbers(frame["input_tokens"])
    return pd.DataFrame(
        {
            "donor": donor,
            "llm": llm,
            "subject": as_text(frame["subject"]),
            "answer": answers(frame, "correct_answer"),
            "input_tokens": tokens.where((tokens > 0) & np.isfinite(tokens)),
        }
    )


def answers(frame: pd.DataFrame, column: str) -> pd.Series:
    """Return right answers as 0-based numbers, from letters or numbers, NaN where unclear."""
    if column not in frame:
        return pd.Series(np.nan, index=frame.index)
    letters = as_text(frame[column]).str.extract(r"^\(?([A-Ja-j])[).]?$", expand=False)
    index = letters.str.upper().map(ord, na_action="ignore").astype(float) - ord("A")
    return index.fillna(as_numbers(frame[column]))


def recover_input_tokens(sieve: Sieve, llm: str, prompts: pd.DataFrame, cards: Catalog) -> None:
    """Fill ``input_tokens`` of a Tegra table from a server's prompts, where the rule allows.

    Args:
        sieve: The table, before rows are rejected for their measurements: position counts.
        llm: The table's LLM, by its name in the cards.
        prompts: See :class:`ServerRuns`.
        cards: Tells which LLMs share a tokenizer.
    """
    frame = sieve.frame
    if "subject" not in frame:
        sieve.set("input_tokens", np.nan)
        sieve.decisions.append(f"input tokens unknown in {len(frame)} rows: no subject column")
        return
    donors = _donors(llm, prompts, cards)
    if not donors:
        sieve.set("input_tokens", np.nan)
        sieve.decisions.append(
            f"input tokens unknown in {len(frame)} rows: no server sheet of {llm} or its tokenizer"
        )
        return
    here = pd.DataFrame(
        {"subject": as_text(frame["subject"]), "answer": answers(frame, "ground_truth_index")}
    )
    tokens = pd.Series(np.nan, index=frame.index)
    used: dict[str, int] = {}
    why: dict[str, list[str]] = {}
    for subject, rows in here.groupby("subject", sort=False):
        reason = ""
        for donor, listed in donors:
            theirs = listed[listed["subject"] == subject]
            reason = _mismatch(rows["answer"].to_numpy(), theirs["answer"].to_numpy())
            if not reason:
                common = min(len(rows), len(theirs))
                tokens.loc[rows.index[:common]] = theirs["input_tokens"].to_numpy()[:common]
                used[donor] = used.get(donor, 0) + 1
                break
        if reason:
            why.setdefault(reason, []).append(str(subject))
    sieve.set("input_tokens", tokens)
    for donor, count in used.items():
        sieve.decisions.append(f"prompts of {count} subjects matched, in order, with {donor}")
    for reason, subjects in why.items():
        sieve.decisions.append(f"prompts not matched, {reason}: {', '.join(subjects)}")
    known = int(tokens.notna().sum())
    sieve.decisions.append(
        f"input tokens recovered in {known} rows, unknown in {len(frame) - known}"
    )


def _donors(llm: str, prompts: pd.DataFrame, cards: Catalog) -> list[tuple[str, pd.DataFrame]]:
    """Return the prompt lists that count like ``llm``, its own first."""
    card = cards.llm(llm)
    tokenizer = card.tokenizer if card else ""
    alike = [c.name for c in cards.llms.values() if tokenizer and c.tokenizer == tokenizer]
    names = list(dict.fromkeys([llm, *alike]))
    return [
        (str(donor), rows)
        for name in names
        for donor, rows in prompts[prompts["llm"] == name].groupby("donor", sort=False)
    ]


def _mismatch(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Return why two subjects are not the same questions in the same order, or nothing."""
    if not len(theirs):
        return "the server has no such subject"
    common = min(len(ours), len(theirs))
    known = ~np.isnan(ours[:common]) & ~np.isnan(theirs[:common])
    differ = np.flatnonzero(known & (ours[:common] != theirs[:common]))
    if differ.size:
        return "the right answers differ"
    if len(ours) != len(theirs) and known.sum() < MIN_ANSWERS:
        return "the number of rows differs and the answers do not show which are missing"
    return ""
