"""How runs are split into those that an estimator sees and those it is scored on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """One division of a run table.

    Attributes:
        name: What is held out, where that has a name.
        train: Rows an estimator sees. shape: (row,)
        test: Rows it is scored on. shape: (row,)
    """

    name: str
    train: Mask
    test: Mask


Splitter = Callable[["pd.DataFrame", str, str, np.random.Generator], list[Split]]
"""Run table, target device, the protocol's argument and a random generator to splits."""


@dataclass(frozen=True)
class Protocol:
    """A named way to split runs; the same seed gives every estimator the same splits.

    Attributes:
        text: As it was written, such as ``few-shot:5``.
        argument: What stands after the colon.
        splitter: Makes the splits.
        random: Whether splits differ by seed; if not, one seed says it all.
        session: Whether test rows come from sessions that were trained on (``same``) or not.
    """

    text: str
    argument: str
    splitter: Splitter
    random: bool
    session: Literal["new", "same"]

    def splits(self, frame: pd.DataFrame, target: str, seed: int) -> list[Split]:
        """Return the splits of one seed.

        Args:
            frame: The run table.
            target: The device that few-shot, leave-llm-out, extrapolation and order are about.
            seed: Seed of what is random.

        Raises:
            DataError: The table cannot be split this way.
        """
        found = self.splitter(frame, target, self.argument, np.random.default_rng(seed))
        kept = [s for s in found if s.train.any() and s.test.any()]
        if not kept:
            raise DataError(
                f"--protocol {self.text} leaves nothing to train on or to test: {len(frame)} runs, "
                f"{int(frame['device'].eq(target).sum())} of them on {target}"
            )
        return kept


def protocol(text: str) -> Protocol:
    """Return the protocol that a text such as ``few-shot:5`` means.

    Raises:
        DataError: It means none; the message lists them.
    """
    name, _, argument = text.partition(":")
    if name not in PROTOCOLS:
        raise DataError(f"no protocol {text!r}; there are {', '.join(FORMS)}")
    splitter, random, session = PROTOCOLS[name]
    return Protocol(text, argument, splitter, random, session)


def _count(argument: str, what: str, least: int = 1) -> int:
    if not argument.isdigit() or int(argument) < least:
        raise DataError(f"{what} needs a whole number of {least} or more after the colon")
    return int(argument)


def _cells(frame: pd.DataFrame, rows: Mask) -> list[NDArray[np.intp]]:
    """Return the positions of each LLM's rows on each device, among some rows."""
    where = np.flatnonzero(rows)
    cell = frame["llm"].astype(str).to_numpy() + "|" + frame["device"].astype(str).to_numpy()
    return [where[cell[where] == name] for name in sorted({*cell[where]})]


def _drawn(
    frame: pd.DataFrame, rows: Mask, argument: str, what: str, rng: np.random.Generator
) -> Mask:
    """Return so many rows, or such a share, of each LLM on each device, drawn at random."""
    share = float(argument) if argument.startswith("0.") and argument[2:].isdigit() else None
    count = None if share else _count(argument, f"{what}:K")
    chosen = np.zeros(len(frame), dtype=bool)
    for positions in _cells(frame, rows):
        n = round(share * positions.size) if share else int(count or 0)
        chosen[rng.choice(positions, min(n, positions.size), replace=False)] = True
    return chosen


def _random(frame: pd.DataFrame, target: str, argument: str, rng: Any) -> list[Split]:
    everything = np.ones(len(frame), dtype=bool)
    train = _drawn(frame, everything, argument, "random", rng)
    return [Split("", train, ~train)]


def _few_shot(frame: pd.DataFrame, target: str, argument: str, rng: Any) -> list[Split]:
    there = frame["device"].eq(target).to_numpy()
    few = _drawn(frame, there, argument, "few-shot", rng)
    return [Split("", ~there | few, there & ~few)]


def _kfold(frame: pd.DataFrame, target: str, argument: str, rng: Any) -> list[Split]:
    folds = _count(argument, "kfold:K", 2)
    fold = np.zeros(len(frame), dtype=int)
    for positions in _cells(frame, np.ones(len(frame), dtype=bool)):
        fold[positions] = rng.permutation(positions.size) % folds
    return [Split(f"fold {k + 1}", fold != k, fold == k) for k in range(folds)]


def _leave_llm_out(frame: pd.DataFrame, target: str, argument: str, rng: Any) -> list[Split]:
    """An LLM leaves in all its precisions; its rows on other devices stay."""
    there = frame["device"].eq(target).to_numpy()
    base = frame["llm"].str.partition("@")[0].to_numpy()
    return [
        Split(llm, ~(there & (base == llm)), there & (base == llm))
        for llm in sorted({*base[there]})
    ]


def _leave_out(column: str) -> Splitter:
    def split(frame: pd.DataFrame, target: str, argument: str, rng: Any) -> list[Split]:
        """Leave out each value in turn; sessions are those of the target device."""
        names = frame[column].astype(str).to_numpy()
        there = frame["device"].eq(target).to_numpy()
        if column == "device":
            there = np.ones(len(frame), dtype=bool)
        held = [there & (names == name) for name in sorted({*names[there]})]
        return [
            Split(str(names[out][0]), ~out, out)
            for out in held
            if (there & ~out).any() or column == "device"
        ]

    return split


def _extrapolate(frame: pd.DataFrame, target: str, argument: str, rng: Any) -> list[Split]:
    column, sign, limit = argument.partition("<=")
    if column not in ("input_tokens", "output_tokens") or not sign or not limit.isdigit():
        raise DataError(
            f"extrapolate:{argument} is not understood: write extrapolate:input_tokens<=641 or "
            "extrapolate:output_tokens<=256 (in quotes, for the shell)"
        )
    there = frame["device"].eq(target).to_numpy()
    tokens = frame[column].to_numpy(float)
    return [Split("", ~there | (tokens <= int(limit)), there & (tokens > int(limit)))]


def _time_order(frame: pd.DataFrame, target: str, argument: str, rng: Any) -> list[Split]:
    """The first half of each LLM's rows, in the order of the table, predicts the second."""
    there = frame["device"].eq(target).to_numpy()
    later = np.zeros(len(frame), dtype=bool)
    for positions in _cells(frame, there):
        later[positions[positions.size // 2 :]] = True
    return [Split("", ~later, later)]


PROTOCOLS: Final[dict[str, tuple[Splitter, bool, Literal["new", "same"]]]] = {
    "random": (_random, True, "same"),
    "kfold": (_kfold, True, "same"),
    "few-shot": (_few_shot, True, "same"),
    "leave-llm-out": (_leave_llm_out, False, "new"),
    "leave-device-out": (_leave_out("device"), False, "new"),
    "extrapolate": (_extrapolate, False, "same"),
    "leave-session-out": (_leave_out("session"), False, "new"),
    "time-order": (_time_order, False, "same"),
}
"""Name to splitter, whether it is random, and the session that the test rows are predicted in."""

FORMS: Final = (
    "random:K (K runs of each LLM and device, or a share such as random:0.5)",
    "kfold:K",
    "few-shot:K (K target-device runs of each LLM, everything else)",
    "leave-llm-out",
    "leave-device-out",
    "extrapolate:input_tokens<=N",
    "extrapolate:output_tokens<=N",
    "leave-session-out",
    "time-order",
)
"""How protocols are written."""
