"""The benchmark that is answered: subjects, questions, their token counts, and filler text."""

from dataclasses import dataclass
from typing import Final

import numpy as np

SUBJECTS: Final = (
    "econometrics",
    "college_physics",
    "business_ethics",
    "formal_logic",
    "anatomy",
    "clinical_knowledge",
    "college_chemistry",
    "electrical_engineering",
    "virology",
    "high_school_geography",
    "philosophy",
    "logical_fallacies",
    "high_school_physics",
    "professional_law",
    "machine_learning",
)
"""Subjects in the order in which they are run."""

PER_SUBJECT: Final = 20
"""Questions of each subject."""

LETTERS: Final = "ABCD"
"""Names of the four choices."""

_TEXT: Final = """
the a of to in and is that which following best describes result value when under model system
process change rate effect cause state between force current given assume first second so we
need consider option answer because then however wait check again step if not all some each
other more less than equal line point case rule claim evidence theory sample error energy field
charge cell tissue market price demand cost contract duty court argument premise conclusion
method data test function layer network river region climate population pressure temperature
reaction acid bond circuit voltage signal therefore maybe let me think about this question
again carefully now since it would be likely correct compare both terms
"""
_WORDS: Final = _TEXT.split()

_CHARACTERS_PER_TOKEN: Final = 4.4
_WORDS_PER_TOKEN: Final = 0.75


@dataclass(frozen=True)
class Question:
    """A question with four choices.

    Attributes:
        subject: Subject it belongs to.
        number: Place within its subject, from 0.
        text: The question, filler words.
        choices: The four choices, filler words.
        answer: Index of the right choice.
        tokens: Prompt length with its template, in tokens of the Qwen vocabulary.
        difficulty: How much longer than usual an answer is, on the log scale.
    """

    subject: str
    number: int
    text: str
    choices: tuple[str, ...]
    answer: int
    tokens: int
    difficulty: float


@dataclass(frozen=True)
class Answering:
    """How an LLM answers.

    Attributes:
        median_tokens: Median output length.
        spread: Spread of the output length for one question, on the log scale.
        prompt_ratio: Prompt tokens relative to the Qwen vocabulary.
        extra_tokens: Tokens its own instructions add to the prompt.
        accuracy: Share of right answers.
    """

    median_tokens: float
    spread: float
    prompt_ratio: float
    extra_tokens: int
    accuracy: float

    def prompt_tokens(self, question: Question) -> int:
        """Return the prompt length of a question in this LLM's tokens."""
        return round(question.tokens * self.prompt_ratio) + self.extra_tokens


ANSWERING: Final = {
    "DSR1-Qwen-1.5B": Answering(190.0, 0.9, 1.0, 0, 0.38),
    "DSR1-Llama-8B": Answering(520.0, 0.9, 0.97, 1, 0.62),
    "DSR1-Qwen-14B": Answering(480.0, 0.8, 1.0, 0, 0.80),
    "L1-Qwen-1.5B-Max": Answering(420.0, 0.5, 1.0, 14, 0.45),
}
"""How each simulated LLM answers."""

INVALID: Final = "Invalid"
"""What stands for the choice of an answer that names none."""

_INVALID_SHARE: Final = 0.025
_DIFFICULTY_SD: Final = 0.6
_OUTPUT_TOKENS: Final = (7, 4000)
_TEMPLATE_TOKENS: Final = 78
_LONGEST_PROMPT: Final = 1050


def filler(words: int, rng: np.random.Generator) -> str:
    """Return a sentence of so many words that means nothing."""
    return " ".join(rng.choice(_WORDS, max(words, 1))).capitalize() + "."


def draw_questions(rng: np.random.Generator) -> list[Question]:
    """Return the questions of all subjects, in order."""
    questions = []
    for subject in SUBJECTS:
        for number in range(PER_SUBJECT):
            tokens = _TEMPLATE_TOKENS + round(float(rng.lognormal(np.log(48), 0.85)))
            tokens = min(tokens, _LONGEST_PROMPT)
            words = int((tokens - _TEMPLATE_TOKENS) * _WORDS_PER_TOKEN)
            choices = tuple(filler(words // 12 + 1, rng) for _ in LETTERS)
            questions.append(
                Question(
                    subject=subject,
                    number=number,
                    text=filler(words * 2 // 3, rng)[:-1] + "?",
                    choices=choices,
                    answer=int(rng.integers(len(LETTERS))),
                    tokens=tokens,
                    difficulty=float(rng.normal(0, _DIFFICULTY_SD)),
                )
            )
    return questions


def output_tokens(llm: str, question: Question, rng: np.random.Generator) -> int:
    """Return how many tokens an LLM answers with this time: sampling differs from run to run."""
    habit = ANSWERING[llm]
    log_tokens = np.log(habit.median_tokens) + question.difficulty
    return int(np.clip(rng.lognormal(log_tokens, habit.spread), *_OUTPUT_TOKENS))


def predicted_choice(llm: str, question: Question, rng: np.random.Generator) -> str:
    """Return the letter an LLM picks this time, or `INVALID`."""
    if rng.random() < _INVALID_SHARE:
        return INVALID
    if rng.random() < ANSWERING[llm].accuracy:
        return LETTERS[question.answer]
    return LETTERS[(question.answer + int(rng.integers(1, len(LETTERS)))) % len(LETTERS)]


def answer_text(tokens: int, limit: int, rng: np.random.Generator) -> tuple[str, int]:
    """Return an answer's text cut to a limit, and its whole length; both in characters."""
    length = round(tokens * _CHARACTERS_PER_TOKEN)
    words = int(min(tokens, limit / 4) * _WORDS_PER_TOKEN)
    return filler(words, rng)[:limit], length
