"""Seconds or milliseconds: decided by what a row says twice.

Three redundancies, each of which a wrong unit breaks by a factor of 1000:

* ``total = prefill + decode`` ties the units of the three to each other;
* ``tokens_per_second = output_tokens / time`` (total or decode) ties them to the second;
* ``energy_j = power_w * total`` does too.

Every combination of units is tried. One that most rows refute is out; of the others the column
names (``_s``, ``_ms``) choose, then the user's option. What stays open is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

import numpy as np
import pandas as pd

from t2m_bayes.errors import DataError
from t2m_bayes.loading.sieve import Sieve

Unit = Literal["s", "ms"]

SECONDS: Final[dict[Unit, float]] = {"s": 1.0, "ms": 1e-3}
"""Seconds in a unit."""

STEMS: Final = {
    "prefill": "prefill_s",
    "prefill_time": "prefill_s",
    "ttft": "prefill_s",
    "decode": "decode_s",
    "decode_time": "decode_s",
    "total": "total_s",
    "total_time": "total_s",
    "inference_time": "total_s",
}
"""Names a time column goes by, with or without ``_s`` or ``_ms`` after them."""

HALFWAY: Final = 30.0
"""A ratio further than this from 1 is nearer to a wrong unit (1000) than to a right one."""

WRONG_UNIT: Final = (300.0, 3000.0)
"""A ratio between these is a factor of 1000, give or take."""

CLOSES: Final = 0.5
"""``total - prefill - decode`` confirms both parts when below this share of the smaller one."""

TOTAL_OFF: Final = 2.0
"""A total further than this factor from ``prefill + decode`` refutes them."""

PROMPT_BLOCK: Final = 256
"""Prompt tokens over which a prefill is compared with others: below it, prefill hardly grows."""


@dataclass(frozen=True)
class TimeColumn:
    """A column of the file that holds a time.

    Attributes:
        name: Its heading.
        metric: The column of the run table it becomes.
        unit: What its name says, if anything.
    """

    name: str
    metric: str
    unit: Unit | None


def time_columns(columns: Iterable[str]) -> list[TimeColumn]:
    """Return the time columns among the headings of a table."""
    found = []
    for name in columns:
        for suffix, unit in (("_ms", "ms"), ("_s", "s"), ("", None)):
            stem = name.removesuffix(suffix) if suffix else name
            if name.endswith(suffix) and stem in STEMS:
                found.append(TimeColumn(name, STEMS[stem], unit))  # type: ignore[arg-type]
                break
    return found


def settle_times(sieve: Sieve, unit: Unit | None) -> None:
    """Replace the time columns of a table by ``prefill_s``, ``decode_s`` and ``total_s``.

    Args:
        sieve: The table; its time columns, token counts, energy and power are numbers.
        unit: The user's choice, for what names and rows leave open.

    Raises:
        DataError: The unit is open or contradicted, or rows of one column are in different units.
    """
    columns = [c for c in time_columns(sieve.frame.columns) if sieve.frame[c.name].notna().any()]
    sieve.frame = sieve.frame.drop(
        columns=[c.name for c in time_columns(sieve.frame.columns) if c not in columns]
    )
    by_metric: dict[str, TimeColumn] = {}
    for column in columns:
        other = by_metric.setdefault(column.metric, column)
        if other is not column:
            raise DataError(
                f"{other.name!r} and {column.name!r} both give {column.metric}: keep one"
            )
    if not columns or sieve.frame.empty:
        return
    raw = sieve.frame.rename(columns={c.name: c.metric for c in columns})
    choice = _choose(raw, by_metric, unit)
    sieve.frame = _scaled(raw, choice)
    read = ", ".join(f"{c.name} in {choice[c.metric]}" for c in columns)
    sieve.decisions.append(f"times read as {read} ({_evidence(raw) or 'by name'})")
    _same_scale(sieve.frame)


Choice = dict[str, Unit]


def _scaled(raw: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    return raw.assign(**{metric: raw[metric] * SECONDS[u] for metric, u in choice.items()})


def _choose(raw: pd.DataFrame, columns: dict[str, TimeColumn], unit: Unit | None) -> Choice:
    """Return the unit of each metric."""
    choices: list[Choice] = [
        dict(zip(columns, units, strict=True)) for units in product(SECONDS, repeat=len(columns))
    ]
    refuted = [_refuted(_scaled(raw, choice)) for choice in choices]
    shares = [float(r.mean()) if r.notna().any() else 0.0 for r in refuted]
    best = int(np.argmin(shares))
    rescued = pd.concat(refuted, axis=1).eq(0.0).any(axis=1) & refuted[best].eq(1.0)
    if rescued.any():
        raise DataError(_mixed_message(raw.index[rescued]))
    open_ = [c for c, share in zip(choices, shares, strict=True) if share < 0.5]
    closing = [c for c in open_ if _closes(_scaled(raw, c))]
    open_ = closing or open_
    named = [c for c in open_ if all(t.unit in (None, c[m]) for m, t in columns.items())]
    pool = named
    if not named and unit is not None:
        pool = [c for c in open_ if set(c.values()) == {unit}]
    if len(pool) > 1 and unit is not None:
        free = [m for m in columns if len({c[m] for c in pool}) > 1]
        pool = [c for c in pool if all(c[m] == unit for m in free)]
    if len(pool) == 1:
        return pool[0]
    names = ", ".join(t.name for t in columns.values())
    if not open_:
        what = "the rows contradict every choice of seconds and milliseconds"
    elif not named:
        what = "the rows contradict the units in the column names"
    else:
        what = "neither the names nor the rows say whether these are seconds or milliseconds"
    raise DataError(
        f"unit of {names}: {what}.\n"
        f"  as written: {_evidence(raw) or 'nothing in a row is said twice'}; "
        f"medians {_medians(raw, columns)}\n"
        '  Say which with --unit s or --unit ms (in Python: unit="s" or unit="ms"), '
        "or end the column names in _s or _ms."
    )


def _ratios(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return what should be 1 in every row, by name, where it can be computed."""
    found: dict[str, pd.Series] = {}
    parts = {"prefill_s", "decode_s", "total_s"} <= set(frame)
    if parts:
        found["total / (prefill + decode)"] = frame.total_s / (frame.prefill_s + frame.decode_s)
    if {"tokens_per_second", "output_tokens"} <= set(frame):
        for metric in ("total_s", "decode_s"):
            if metric in frame:
                ratio = frame.tokens_per_second * frame[metric] / frame.output_tokens
                found[f"tokens_per_second * {metric.removesuffix('_s')} / output_tokens"] = ratio
    if {"energy_j", "power_w", "total_s"} <= set(frame):
        found["energy / (power * total)"] = frame.energy_j / (frame.power_w * frame.total_s)
    return {name: ratio.where(np.isfinite(ratio) & (ratio > 0)) for name, ratio in found.items()}


def _refuted(frame: pd.DataFrame) -> pd.Series:
    """Return 1 for a row its own redundancy refutes, 0 for one it does not, NaN without any."""
    checks = []
    for name, ratio in _ratios(frame).items():
        limit = TOTAL_OFF if name.startswith("total") else HALFWAY
        checks.append((np.abs(np.log(ratio)) > np.log(limit)).astype(float).where(ratio.notna()))
    if (gap := _gap(frame)) is not None:
        # A part three orders too small hardly moves the sum, but leaves a gap of its true size.
        other_unit = gap.between(WRONG_UNIT[0], WRONG_UNIT[1])
        checks.append(other_unit.astype(float).where(gap.notna()))
    if not checks:
        return pd.Series(np.nan, index=frame.index)
    verdict: pd.Series = pd.concat(checks, axis=1).max(axis=1)
    return verdict


def _gap(frame: pd.DataFrame) -> pd.Series | None:
    """Return ``total - prefill - decode`` as a share of the smaller part, where all are there."""
    if not {"prefill_s", "decode_s", "total_s"} <= set(frame):
        return None
    smaller = frame[["prefill_s", "decode_s"]].min(axis=1)
    gap = (frame.total_s - frame.prefill_s - frame.decode_s).abs() / smaller
    return gap.where(smaller > 0)


def _closes(frame: pd.DataFrame) -> bool:
    """Return whether most totals are their parts' sum, closely enough to confirm the smaller."""
    gap = _gap(frame)
    return gap is not None and bool(gap.notna().any()) and bool(gap.median() <= CLOSES)


def _same_scale(frame: pd.DataFrame) -> None:
    """Refuse a table whose rows are a factor of 1000 apart where they should be alike.

    Where all times of a row are in the wrong unit its redundancy holds; the time of a decode
    step, or of a block of the prompt, still gives it away among rows of the same LLM and device.
    """
    pace = {}
    if "decode_s" in frame:
        pace["decode_s"] = frame.decode_s / (frame.output_tokens - 1).where(frame.output_tokens > 1)
    if {"prefill_s", "input_tokens"} <= set(frame):
        pace["prefill_s"] = frame.prefill_s / (1 + frame.input_tokens.fillna(0) / PROMPT_BLOCK)
    odd = pd.Series(False, index=frame.index)
    for values in pace.values():
        values = values.where(values > 0)
        usual = values.groupby([frame.device, frame.llm]).transform(
            "quantile", interpolation="lower"
        )
        ratio = values / usual
        odd |= ratio.between(*WRONG_UNIT) | (1 / ratio).between(*WRONG_UNIT)
    if odd.any():
        raise DataError(_mixed_message(frame.index[odd]))


def _mixed_message(rows: pd.Index) -> str:
    shown = ", ".join(str(row) for row in rows[:10])
    more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
    return (
        f"seconds and milliseconds are mixed within a column: {len(rows)} rows are a factor of "
        f"1000 from the others (data rows {shown}{more}). Bring them to one unit."
    )


def _evidence(raw: pd.DataFrame) -> str:
    """Return the median of every redundancy, of the numbers as written."""
    medians = {name: ratio.median() for name, ratio in _ratios(raw).items() if ratio.notna().any()}
    return "; ".join(f"median of {name} = {value:.3g}" for name, value in medians.items())


def _medians(raw: pd.DataFrame, columns: dict[str, TimeColumn]) -> str:
    return ", ".join(f"{t.name} {raw[metric].median():.4g}" for metric, t in columns.items())
