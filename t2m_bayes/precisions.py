"""Number formats of weights: their names, their bytes, and the LLM labels that carry them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from t2m_bayes.cards import catalog

USUAL_PRECISION: Final = "fp16"
"""Precision of weights of which nothing is said."""

BYTES_PER_PARAM: Final = {
    "fp32": 4.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.07,
    "q8_0": 1.06,
    "q6_k": 0.82,
    "q5_k_m": 0.71,
    "q4_k_m": 0.61,
    "q4_k_s": 0.58,
    "q4_0": 0.58,
    "int4": 0.58,
    "int4-awq": 0.58,
    "int4-gptq": 0.58,
    "nvfp4": 0.62,
}
"""Bytes one parameter takes, averaged over an 8B LLM.

llama.cpp formats: bits per weight of the file as its own table gives them. The others assume
weights in blocks of 128 (NVFP4: 16) with a scale each, and an output layer left in FP16.
"""

SAME_PRECISION: Final = {
    "f32": "fp32",
    "f16": "fp16",
    "bf16": "fp16",
    "float16": "fp16",
    "bfloat16": "fp16",
    "half": "fp16",
    "w8a16": "int8",
    "q8": "q8_0",
    "q4": "q4_0",
    "awq": "int4-awq",
    "gptq": "int4-gptq",
    "w4a16": "int4",
}
"""Other spellings of a precision; FP16 and BF16 move the same bytes."""


def precision_key(text: str) -> str:
    """Return a precision as :data:`BYTES_PER_PARAM` spells it, or in lower case if it has none."""
    key = text.strip().casefold()
    for known in (*BYTES_PER_PARAM, *SAME_PRECISION):
        if re.sub(r"\W|_", "", known) == re.sub(r"\W|_", "", key):
            return SAME_PRECISION.get(known, known)
    return key


@lru_cache(maxsize=1024)
def llm_label(name: str) -> tuple[str, float | None]:
    """Return an LLM's name as the run table spells it, and the bytes one parameter takes.

    Args:
        name: A name or alias, with a precision after an ``@`` if not its usual: ``8B@awq``.

    Returns:
        The card's name, or the name as it is, with the precision unless it is the usual one; and
        bytes per parameter, ``None`` for a precision nothing is known of.
    """
    base, _, precision = (part.strip() for part in name.partition("@"))
    card = catalog().llm(base)
    label = card.name if card else base
    usual = precision_key(card.precision if card else USUAL_PRECISION)
    key = precision_key(precision) if precision else usual
    if key == usual:
        return label, card.bytes_per_param if card else BYTES_PER_PARAM.get(usual)
    return f"{label}@{key.upper()}", BYTES_PER_PARAM.get(key)
