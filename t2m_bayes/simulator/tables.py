"""The two tables users keep, filled with simulated requests, and then dirtied like real ones."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from t2m_bayes.simulator.machines import LLMS
from t2m_bayes.simulator.runs import State, measure
from t2m_bayes.simulator.workload import (
    ANSWERING,
    INVALID,
    LETTERS,
    PER_SUBJECT,
    SUBJECTS,
    Question,
    answer_text,
    output_tokens,
    predicted_choice,
)
from t2m_bayes.simulator.world import World

TEGRA_LLMS: Final = ("DSR1-Qwen-1.5B", "DSR1-Llama-8B", "DSR1-Qwen-14B")
"""LLMs that were run on the Tegra; the fourth is on the server alone."""

LATIN_1_LLM: Final = "DSR1-Llama-8B"
"""LLM whose CSV holds accented letters and is encoded as latin-1."""

MISSING: Final = {"DSR1-Llama-8B": "formal_logic"}
"""Subject of an LLM's CSV that skips a question: from there on, order says nothing of tokens."""

REVERSED: Final = {"DSR1-Qwen-14B": "anatomy"}
"""Subject of an LLM's CSV whose questions come in reverse order."""

_PER_SUBJECT_TEGRA: Final = 10
_SKIPPED: Final = 4
_PAUSE_S: Final = 2.0
"""Time between two requests."""
_INERTIA: Final = 0.9
"""Correlation of the slow drift from one request to the next."""
_SERVER_TEXT: Final = 900
_TEGRA_TEXT: Final = 240
"""Characters of an answer that are kept."""


@dataclass(frozen=True)
class Table:
    """One sheet or CSV file.

    Attributes:
        frame: Its rows, in the users' columns.
        dirty: Kind of dirt to the 1-based data rows that have it.
        input_tokens: True prompt length of each row.
    """

    frame: pd.DataFrame
    dirty: dict[str, list[int]]
    input_tokens: list[int]


def _run_file(
    world: World, llm: str, device: str, questions: list[Question], rng: np.random.Generator
) -> pd.DataFrame:
    """Return the questions run one after another in the session of a file."""
    machine = world.machines[device]
    session = [world.sessions[llm, device]]
    rest = machine.idle_w / machine.rated_w
    state = State(np.array([rest]), machine.wander_sd * rng.standard_normal(1))
    runs: list[dict[str, float]] = []
    counts: list[tuple[int, int]] = []
    for question in questions:
        tokens = ANSWERING[llm].prompt_tokens(question)
        generated = output_tokens(llm, question, rng)
        run, state = measure(machine, LLMS[llm], tokens, generated, session, state, rng)
        runs.append({name: value.item() for name, value in run.items()})
        counts.append((tokens, generated))
        kick = machine.wander_sd * np.sqrt(1 - _INERTIA**2) * rng.standard_normal(1)
        state = State(
            rest + (state.heat - rest) * np.exp(-_PAUSE_S / machine.heat_tau_s),
            _INERTIA * state.wander + kick,
        )
    tokens_of = pd.DataFrame(counts, columns=["input_tokens", "output_tokens"])
    return pd.DataFrame(runs).join(tokens_of)


def server_table(
    world: World, llm: str, questions: list[Question], rng: np.random.Generator
) -> Table:
    """Return an LLM's sheet of the server workbook: times in seconds, their total in ms.

    Args:
        world: The simulated world.
        llm: Name of the LLM.
        questions: All questions, in order.
        rng: Source of everything that varies.
    """
    runs = _run_file(world, llm, "server", questions, rng)
    texts = [answer_text(tokens, _SERVER_TEXT, rng) for tokens in runs["output_tokens"]]
    predicted = [predicted_choice(llm, question, rng) for question in questions]
    correct = [LETTERS[question.answer] for question in questions]
    frame = pd.DataFrame(
        {
            "subject": [question.subject for question in questions],
            "question_id": [question.number for question in questions],
            "question": [question.text for question in questions],
            "choices": [str(list(question.choices)) for question in questions],
            "correct_answer": correct,
            "predicted_choice": predicted,
            "is_correct": [a == b for a, b in zip(predicted, correct, strict=True)],
            "generated_text": [text for text, _ in texts],
            "ttft": runs["prefill_s"].round(6),
            "decode_time": runs["decode_s"].round(6),
            "total_time_ms": (1e3 * runs["total_s"]).round(3),
            "tokens_per_second": (runs["output_tokens"] / runs["total_s"]).round(3),
            "input_tokens": runs["input_tokens"],
            "output_tokens": runs["output_tokens"],
            "generated_text_length": [length for _, length in texts],
        }
    )
    return _soil(frame, runs["input_tokens"], ("ttft", "decode_time", "predicted_choice"), rng)


def tegra_table(
    world: World, llm: str, questions: list[Question], rng: np.random.Generator
) -> Table:
    """Return an LLM's Tegra CSV: phases in ms, their total in s, power through a 1 Hz sensor.

    Args:
        world: The simulated world.
        llm: Name of the LLM.
        questions: All questions, in order; the first of each subject are run.
        rng: Source of everything that varies.
    """
    asked = _asked_on_tegra(llm, questions)
    runs = _run_file(world, llm, "tegra", asked, rng)
    predicted = [predicted_choice(llm, question, rng) for question in asked]
    texts = [answer_text(tokens, _TEGRA_TEXT, rng)[0] for tokens in runs["output_tokens"]]
    if llm == LATIN_1_LLM:
        texts = [text.replace("evidence", "évidence à 20 °C ± 1") for text in texts]
    frame = pd.DataFrame(
        {
            "subset": [question.subject for question in asked],
            "ground_truth_index": [question.answer for question in asked],
            "predicted_choice_letter": predicted,
            "full_output": texts,
            "inference_time": runs["total_s"].round(4),
            "output_tokens": runs["output_tokens"],
            "prefill": (1e3 * runs["prefill_s"]).round(3),
            "decode": (1e3 * runs["decode_s"]).round(3),
            "correct": [
                int(letter == LETTERS[question.answer])
                for letter, question in zip(predicted, asked, strict=True)
            ],
            "tokens_per_second": (runs["output_tokens"] / runs["total_s"]).round(3),
            "energy_j": runs["sensor_energy_j"].round(2),
            "power_w": runs["sensor_power_w"].round(3),
            "sensor_period_s": world.machines["tegra"].sensor_period_s,
            "n_power_samples": runs["n_power_samples"].astype(int),
        }
    )
    return _soil(
        frame,
        runs["input_tokens"],
        ("prefill", "decode", "predicted_choice_letter"),
        rng,
    )


def _asked_on_tegra(llm: str, questions: list[Question]) -> list[Question]:
    """Return the questions an LLM answers on the Tegra, in the order of its file."""
    asked = []
    for place, subject in enumerate(SUBJECTS):
        pool = questions[place * PER_SUBJECT : (place + 1) * PER_SUBJECT]
        chosen = pool[:_PER_SUBJECT_TEGRA]
        if MISSING.get(llm) == subject:
            chosen = pool[:_SKIPPED] + pool[_SKIPPED + 1 : _PER_SUBJECT_TEGRA + 1]
        if REVERSED.get(llm) == subject:
            chosen.reverse()
        asked.extend(chosen)
    return asked


def _soil(
    frame: pd.DataFrame,
    input_tokens: pd.Series,
    names: tuple[str, str, str],
    rng: np.random.Generator,
) -> Table:
    """Return a table with the dirt that real ones have, and where it is.

    Args:
        frame: Clean rows.
        input_tokens: Prompt length of each row.
        names: Columns of prefill time, decode time and predicted choice.
        rng: Source of the choice of rows.
    """
    prefill, decode, choice = names
    rows = rng.permutation(len(frame))
    twice = int(rows[0])
    order = np.sort(np.append(np.arange(len(frame)), twice))
    at = [int(row) + int(row > twice) for row in rows[1:]]
    dirty = {
        "empty prefill": at[0:2],
        "empty output tokens": at[2:3],
        "text in decode": at[3:4],
        "zero output tokens": at[4:5],
        "negative prefill": at[5:6],
    }
    soiled = frame.iloc[order].reset_index(drop=True).astype(object)
    soiled.loc[dirty["empty prefill"], prefill] = None
    soiled.loc[dirty["empty output tokens"], "output_tokens"] = None
    soiled.loc[dirty["text in decode"], decode] = "timeout"
    soiled.loc[dirty["zero output tokens"], "output_tokens"] = 0
    soiled.loc[dirty["negative prefill"], prefill] *= -1
    dirty["exact duplicate"] = [twice + 1]
    dirty["invalid choice"] = [int(row) for row in np.flatnonzero(soiled[choice] == INVALID)]
    numbered = {kind: sorted(row + 1 for row in found) for kind, found in dirty.items()}
    return Table(soiled, numbered, [int(tokens) for tokens in input_tokens.iloc[order]])
