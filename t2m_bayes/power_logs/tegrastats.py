"""The text log of tegrastats.

A line holds ``RAM 4321/62801MB``, then memory, clocks and temperatures, then the rails:
``VDD_GPU_SOC 2340mW/2340mW``, or ``VDD_IN 2532/2698`` from older releases, in mW. The first number
is the present reading, the second the mean since tegrastats began; release 39 writes a third.
Newer releases begin the line with local time, ``MM-DD-YYYY HH:MM:SS``; where they do not, people
put a time before it. A channel without a rail is called ``NC``.
"""

from __future__ import annotations

import re
from typing import Final

from t2m_bayes.power_logs.clock import NO_TIME
from t2m_bayes.power_logs.rails import default_rails
from t2m_bayes.power_logs.recording import Draft, Recording

MEMORY: Final = re.compile(r"(?<!\S)\"?RAM \d+/\d+MB")
"""What every line of tegrastats has, and what the rest of it follows."""

RAIL: Final = re.compile(
    r"(?<!\S)(?P<rail>[A-Za-z]\w*) +(?P<now>\d+(?:\.\d+)?)"
    r"(?:mW(?:/\d+(?:\.\d+)?mW)*|(?:/\d+(?:\.\d+)?)+)(?=[\s\",]|$)"
)
"""A rail and its readings: one or more with a unit, or two or more without."""

NOT_CONNECTED: Final = "NC"


def parse_tegrastats(draft: Draft) -> Recording:
    """Read the lines of a tegrastats log."""
    foreign = ""
    for number, line in draft.numbered():
        memory = MEMORY.search(line.replace(",", " "))
        if memory is None:
            draft.reject(number, "not a line of tegrastats")
            continue
        readings = [m for m in RAIL.finditer(line) if m["rail"] != NOT_CONNECTED]
        watts = {m["rail"]: float(m["now"]) / 1e3 for m in readings}
        if len(watts) < len(readings):
            draft.reject(number, "a rail is there twice")
            continue
        if not watts:
            draft.reject(number, "no power rail")
            continue
        before = line[: memory.start()].strip()
        draft.add(number, before, watts)
        if before and draft.stamps[-1] is NO_TIME:
            foreign = foreign or before
    note = f"{foreign!r} before RAM is not read as a time: it has no date" if foreign else ""
    return draft.recording("tegrastats", default_rails(draft.usual_rails()), note)
