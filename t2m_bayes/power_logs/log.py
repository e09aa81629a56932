"""A power log ready for use: one power for each sample, on one clock that only goes forward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from t2m_bayes.errors import DataError
from t2m_bayes.power_logs.clock import Floats, Stamps, settle_zone, utc_seconds
from t2m_bayes.power_logs.formats import read_recording
from t2m_bayes.power_logs.rails import counted_twice
from t2m_bayes.power_logs.recording import Format, Recording
from t2m_bayes.power_logs.timeline import gaps, lived_once, settle_period, whole_seconds

Clock = Literal["utc", "local", "elapsed"]

STEPS_SHOWN: Final = 3


@dataclass(frozen=True)
class Options:
    """What a user decides about a log.

    Attributes:
        rails: Rails to sum; none for those that make up the total.
        period_s: Time between two samples; None for what the times tell.
        clock_offset_s: Seconds to add to the log's times.
        time_zone: IANA name of the zone of times that name none; None for that of the others.

    Raises:
        DataError: A number cannot be what it stands for.
    """

    rails: tuple[str, ...] = ()
    period_s: float | None = None
    clock_offset_s: float = 0.0
    time_zone: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible numbers."""
        if self.period_s is not None and not 0 < self.period_s < math.inf:
            raise DataError(f"--period must be seconds above 0; found {self.period_s:g}")
        if not math.isfinite(self.clock_offset_s):
            raise DataError(f"--clock-offset must be seconds; found {self.clock_offset_s:g}")


@dataclass(frozen=True)
class PowerLog:
    """The power that a log shows over time.

    Attributes:
        path: The file.
        format: Program that wrote it.
        clock: What the times count from: ``utc``, 1970 in UTC; ``local``, 1970 on a clock whose
            zone nobody names; ``elapsed``, the first sample.
        zone: Zone of the times that name none, in the log and in what it is joined to.
        time_s: Time of each sample, never falling; NaN where neither the log nor the user tells.
            shape: (sample,)
        power_w: Sum over the rails. shape: (sample,)
        rails: The rails summed, in alphabetical order.
        rail_w: Power of every rail in the log; NaN where a sample lacks it. shape: (sample,)
        period_s: Usual time between two samples; None where nothing tells it.
        gaps: Positions of the samples after which some are missing. shape: (gap,)
        line: 1-based line of each sample. shape: (sample,)
        decisions: Sentences on what was decided, with evidence.
        rejected: Reason to the 1-based lines it turned away.

    Raises:
        DataError: No sample is left.
    """

    path: str
    format: Format
    clock: Clock
    zone: tzinfo | None
    time_s: Floats
    power_w: Floats
    rails: tuple[str, ...]
    rail_w: dict[str, Floats]
    period_s: float | None
    gaps: NDArray[np.int64]
    line: NDArray[np.int64]
    decisions: tuple[str, ...]
    rejected: dict[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        """Refuse a log without samples."""
        if not len(self):
            why = "; ".join(f"{reason} ({len(rows)})" for reason, rows in self.rejected.items())
            raise DataError(
                f"{self.path}: no sample is left of {', '.join(self.rails)}. Lines turned away: "
                f"{why}"
            )

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.power_w.size

    @property
    def missing_s(self) -> Floats:
        """Times of the first and last missing sample of each gap, and beyond the log's ends.

        shape: (gap + 2, 2)
        """
        period_s = self.period_s or 0.0
        before = np.concatenate([[-np.inf], self.time_s[self.gaps], self.time_s[-1:]])
        after = np.concatenate([self.time_s[:1], self.time_s[self.gaps + 1], [np.inf]])
        return np.column_stack([before + period_s, after - period_s])


def load_power_log(path: Path, options: Options | None = None) -> PowerLog:
    """Read a power log.

    Args:
        path: Log of tegrastats, nvidia-smi or jtop.
        options: What the user decides.

    Raises:
        DataError: It is no power log, or lacks a rail.
    """
    return power_log(read_recording(path), path, options or Options())


def power_log(
    recording: Recording, path: Path, options: Options, others: Stamps | None = None
) -> PowerLog:
    """Sum the rails of a recording and put its samples on one clock.

    Args:
        recording: What the file holds.
        path: The file, for messages.
        options: What the user decides.
        others: Times that the log's are compared with.

    Raises:
        DataError: A rail is not in the log, no sample has all of them, or the zone is open.
    """
    rails, *decisions = _choose_rails(recording, options.rails, path)
    zone, named = settle_zone(recording.stamps, others, options.time_zone)
    decisions += [*recording.notes, named]
    for rail in rails:
        recording = recording.without(np.isnan(recording.rail_w[rail]), f"no reading of {rail}")
    clock: Clock = "elapsed"
    period_s = options.period_s
    if recording.timed:
        recording = recording.without(np.isnan(recording.stamps.wall_s), "no time")
        clock = "local" if zone is None and recording.stamps.naive.any() else "utc"
        time_s = utc_seconds(recording.stamps, zone)
        decisions.append(_steps_back(time_s, recording.line))
        once = lived_once(time_s)
        recording = recording.without(~once, "its time comes twice")
        order = np.argsort(time_s[once], kind="stable")
        written_s = time_s[once][order]
        time_s, period_s, how = settle_period(written_s, period_s)
        missing = gaps(time_s, period_s, whole=whole_seconds(written_s))
        time_s = time_s + options.clock_offset_s
        if options.clock_offset_s:
            how += f"; {options.clock_offset_s:+g} s added to its times"
    else:
        order = np.arange(recording.line.size)
        time_s = order * (np.nan if period_s is None else period_s)
        apart = "nothing says how far" if period_s is None else f"{period_s:g} s as given"
        how = f"no times in the log: its samples are taken as evenly apart, {apart}"
        missing = np.empty(0, dtype=np.int64)
    rail_w = {rail: watts[order] for rail, watts in recording.rail_w.items()}
    return PowerLog(
        path=str(path),
        format=recording.format,
        clock=clock,
        zone=zone,
        time_s=time_s,
        power_w=np.sum([rail_w[rail] for rail in rails], axis=0),
        rails=rails,
        rail_w=rail_w,
        period_s=period_s,
        gaps=missing,
        line=recording.line[order],
        decisions=tuple(said for said in (*decisions, how) if said),
        rejected=recording.rejected,
    )


def _choose_rails(
    recording: Recording, wanted: Sequence[str], path: Path
) -> tuple[tuple[str, ...], *tuple[str, ...]]:
    """Return the rails to sum, in alphabetical order, and sentences on why these."""
    found = ", ".join(recording.rail_w)
    if absent := [rail for rail in wanted if rail not in recording.rail_w]:
        raise DataError(f"{path}: no rail {', '.join(absent)}; the log has {found}")
    rails = tuple(sorted(set(wanted or recording.default_rails)))
    if not rails:
        raise DataError(f"{path}: no rail is in most samples; name with --rail one of {found}")
    reason = "as asked for" if wanted else recording.default_reason
    said = f"power is the sum of {', '.join(rails)}: {reason} (the log has {found})"
    if twice := counted_twice(rails):
        return rails, said, f"{', '.join(twice)} counted twice: another rail holds that power too"
    return rails, said


def _steps_back(time_s: Floats, line: NDArray[np.int64]) -> str:
    """Return a sentence on where the clock was set back, empty if it never was."""
    back_s = -np.diff(time_s)
    steps = np.flatnonzero(back_s > 0)
    shown = [f"by {back_s[i]:.6g} s at line {line[i + 1]}" for i in steps[:STEPS_SHOWN]]
    more = f" and {steps.size - STEPS_SHOWN} times more" if steps.size > STEPS_SHOWN else ""
    return f"the clock was set back {', '.join(shown)}{more}" if shown else ""
