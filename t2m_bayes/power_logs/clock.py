"""Times as people and programs write them, put on one clock.

A time is read as two numbers: what the clock on the wall showed, in seconds since 1970, and the
UTC offset written beside it, if one was. Which zone the others are in is settled later, from
both files that are joined.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from t2m_bayes.errors import DataError

Floats = NDArray[np.floating[Any]]

EPOCH: Final = re.compile(r"(\d{10}|\d{13}|\d{16}|\d{19})(\.\d*)?")
"""Seconds since 1970, or thousandths, millionths or billionths of them: the digits say which."""

MONTH_FIRST: Final = re.compile(r"(\d\d)-(\d\d)-(\d{4})(?=[ T]\d)")
"""The date that tegrastats writes: month, day, year."""

SLASHES: Final = re.compile(r"(\d{4})/(\d\d)/(\d\d)(?=[ T]\d)")
"""The date that nvidia-smi writes: year, month, day."""

SPACED_OFFSET: Final = re.compile(r" (?=[+-]\d\d:?\d\d$)")
"""The space that ``date`` puts before an offset."""

DATE_LENGTH: Final = len("2025-04-16")
"""ISO 8601 texts that are no longer name a day, but no time of it."""


@dataclass(frozen=True)
class Stamps:
    """Times as a file gives them.

    Attributes:
        wall_s: Seconds since 1970 on the clock as written; NaN without a time. shape: (stamp,)
        offset_s: UTC offset written beside it; NaN where none is. shape: (stamp,)
    """

    wall_s: Floats
    offset_s: Floats

    @property
    def naive(self) -> NDArray[np.bool_]:
        """Which times name no zone.

        shape: (stamp,)
        """
        return np.isfinite(self.wall_s) & np.isnan(self.offset_s)


NO_TIME: Final = (math.nan, math.nan)


def parse_stamp(text: str) -> tuple[float, float]:
    """Return a time as (wall clock, UTC offset), in seconds; the offset is NaN without one.

    Args:
        text: ISO 8601, tegrastats' ``MM-DD-YYYY HH:MM:SS``, nvidia-smi's
            ``YYYY/MM/DD HH:MM:SS.fff`` or time since 1970, perhaps in brackets.

    Returns:
        The time; :data:`NO_TIME` if the text is none with a date.
    """
    text = text.strip(' \t[]",')
    if match := EPOCH.fullmatch(text):
        thousands = (len(match[1]) - 10) // 3
        return float(text) / 1000.0**thousands, 0.0
    if len(text) <= DATE_LENGTH:
        return NO_TIME
    text = SLASHES.sub(r"\1-\2-\3", MONTH_FIRST.sub(r"\3-\1-\2", text, count=1), count=1)
    try:
        moment = datetime.fromisoformat(SPACED_OFFSET.sub("", text))
    except ValueError:
        return NO_TIME
    offset = moment.utcoffset()
    wall_s = moment.replace(tzinfo=UTC).timestamp()
    return wall_s, math.nan if offset is None else offset.total_seconds()


def as_stamps(times: Sequence[tuple[float, float]]) -> Stamps:
    """Return times as :func:`parse_stamp` gives them, in columns."""
    columns = np.array(times, dtype=float).reshape(-1, 2)
    return Stamps(columns[:, 0], columns[:, 1])


def utc_seconds(stamps: Stamps, zone: tzinfo | None) -> Floats:
    """Return times as seconds since 1970, UTC.

    Where clocks are set back an hour is lived twice. A time in it is taken as its first pass,
    unless the time before it in the file says that this has gone by.

    Args:
        stamps: The times, in the order of the file.
        zone: Zone of those that name none; without one they count as if they were UTC.

    Returns:
        Seconds; NaN without a time. shape: (stamp,)
    """
    seconds = stamps.wall_s - stamps.offset_s
    zone = zone or UTC
    fixed = zone.utcoffset(None)
    if fixed is not None:
        return np.where(stamps.naive, stamps.wall_s - fixed.total_seconds(), seconds)
    before = -math.inf
    for i in np.flatnonzero(stamps.naive):
        moment = datetime.fromtimestamp(float(stamps.wall_s[i]), UTC).replace(tzinfo=zone)
        first_pass = moment.timestamp()
        seconds[i] = first_pass if first_pass >= before else moment.replace(fold=1).timestamp()
        before = seconds[i]
    return seconds


def named_zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name such as ``Europe/Berlin``.

    Raises:
        DataError: There is none of that name, or no database of zones on this machine.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise DataError(
            f"no time zone {name!r}: give a name such as Europe/Berlin, America/New_York or UTC "
            "(a machine without a time-zone database needs `pip install tzdata`)"
        ) from error


def settle_zone(
    log: Stamps, requests: Stamps | None, name: str | None
) -> tuple[tzinfo | None, str]:
    """Decide in which zone the times are that name none.

    Args:
        log: Times of the log.
        requests: Times of the requests, if they have any.
        name: The user's choice.

    Returns:
        The zone, None where nobody knows it; and a sentence that says what was decided, empty if
        nothing was to decide.

    Raises:
        DataError: There is no zone of that name, or the times that name one name several.
    """
    sides = {"log": log} if requests is None else {"log": log, "requests": requests}
    silent = [side for side, stamps in sides.items() if stamps.naive.any()]
    said = f"times of the {' and the '.join(silent)} name no zone: taken as"
    if name is not None:
        return named_zone(name), f"{said} {name}, as given" if silent else ""
    if not silent:
        return None, ""
    offsets = np.unique(np.concatenate([stamps.offset_s for stamps in sides.values()]))
    zones = [timezone(timedelta(seconds=float(s))) for s in offsets if np.isfinite(s)]
    if not zones:
        return None, f"{said} they stand"
    if len(zones) > 1:
        raise DataError(
            f"times of the {' and the '.join(silent)} name no zone, and the others name several "
            f"({', '.join(map(str, zones))}): say with --time-zone which it is"
        )
    return zones[0], f"{said} {zones[0]}, like the others"


def moment_text(seconds: float) -> str:
    """Return seconds since 1970 as a date and time of day, to the millisecond where it has any."""
    moment = datetime.fromtimestamp(round(seconds, 3), UTC).replace(tzinfo=None)
    return moment.isoformat(" ", "milliseconds" if moment.microsecond else "seconds")
