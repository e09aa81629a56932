"""What a power log holds, before rails are chosen and times are put on one clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from t2m_bayes.power_logs.clock import Floats, Stamps, as_stamps, parse_stamp

Format = Literal["tegrastats", "nvidia-smi", "jtop"]

CUT: Final = "the last line is cut short"
"""Reason for turning away a line without an end that cannot be read."""

USUAL: Final = 0.5
"""A rail that more than this share of the samples have belongs to the board."""


@dataclass(frozen=True)
class Recording:
    """The samples of a log.

    Attributes:
        format: Program that wrote it.
        stamps: Time of each sample, as written.
        rail_w: Rail to power in W; NaN where a sample lacks it. shape: (sample,)
        line: 1-based line of each sample.
        default_rails: Rails to sum unless the user says which.
        default_reason: Why these.
        rejected: Reason to the 1-based lines it turned away.
        notes: Sentences on what was decided to read it.
        cut_line: The last line, if it has no end; 0 otherwise.
    """

    format: Format
    stamps: Stamps
    rail_w: dict[str, Floats]
    line: NDArray[np.int64]
    default_rails: tuple[str, ...]
    default_reason: str
    rejected: dict[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()
    cut_line: int = 0

    @property
    def timed(self) -> bool:
        """Whether any sample has a time."""
        return bool(np.isfinite(self.stamps.wall_s).any())

    def without(self, where: NDArray[np.bool_], reason: str) -> Recording:
        """Return the recording with some of its samples turned away.

        Args:
            where: The samples to leave out. shape: (sample,)
            reason: Why.
        """
        rejected = {why: list(lines) for why, lines in self.rejected.items()}
        for line in self.line[where].tolist():
            rejected.setdefault(CUT if line == self.cut_line else reason, []).append(line)
        return replace(
            self,
            stamps=Stamps(self.stamps.wall_s[~where], self.stamps.offset_s[~where]),
            rail_w={rail: watts[~where] for rail, watts in self.rail_w.items()},
            line=self.line[~where],
            rejected={why: tuple(sorted(lines)) for why, lines in rejected.items()},
        )


@dataclass
class Draft:
    """A log that is being read: its lines, and the samples found so far.

    Attributes:
        lines: Lines of the log, without their ends.
        cut_line: The last line, if it has no end; 0 otherwise.
        rejected: Reason to the lines it turned away.
        line: 1-based line of each sample.
        stamps: Time of each, as :func:`~t2m_bayes.power_logs.clock.parse_stamp` gives it.
        watts: Power by rail of each, in W.
    """

    lines: list[str]
    cut_line: int
    rejected: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    line: list[int] = field(default_factory=list)
    stamps: list[tuple[float, float]] = field(default_factory=list)
    watts: list[dict[str, float]] = field(default_factory=list)

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that hold something, with their 1-based numbers."""
        return ((i, line) for i, line in enumerate(self.lines, 1) if line.strip(" \t\r\0"))

    def add(self, line: int, stamp: str, watts: dict[str, float]) -> None:
        """Add the sample of a line; its time is text, empty without one."""
        self.line.append(line)
        self.stamps.append(parse_stamp(stamp))
        self.watts.append(watts)

    def reject(self, line: int, reason: str) -> None:
        """Turn a line away; one without an end, for having none."""
        self.rejected[CUT if line == self.cut_line else reason].append(line)

    def usual_rails(self) -> list[str]:
        """Return the rails that most samples have, in the order in which they appear."""
        counts: dict[str, int] = defaultdict(int)
        for watts in self.watts:
            for rail in watts:
                counts[rail] += 1
        return [rail for rail, count in counts.items() if count > USUAL * len(self.watts)]

    def recording(
        self, format_name: Format, default: tuple[tuple[str, ...], str], *notes: str
    ) -> Recording:
        """Return what was read."""
        rails = list(dict.fromkeys(rail for watts in self.watts for rail in watts))
        return Recording(
            format=format_name,
            stamps=as_stamps(self.stamps),
            rail_w={
                rail: np.array([watts.get(rail, np.nan) for watts in self.watts], dtype=float)
                for rail in rails
            },
            line=np.array(self.line, dtype=np.int64),
            default_rails=default[0],
            default_reason=default[1],
            rejected={reason: tuple(lines) for reason, lines in self.rejected.items()},
            notes=tuple(note for note in notes if note),
            cut_line=self.cut_line,
        )
