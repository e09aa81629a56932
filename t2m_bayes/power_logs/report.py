"""What was read from a power log and what became of the requests, for people and programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from t2m_bayes.power_logs.clock import moment_text
from t2m_bayes.power_logs.join import Joined
from t2m_bayes.power_logs.log import PowerLog
from t2m_bayes.power_logs.windows import NUMBERS_SHOWN, numbered


def log_text(log: PowerLog) -> str:
    """Return the story of a log as text."""
    lines = [f"{log.path} ({log.format}): {len(log)} samples{_span(log)}"]
    lines.append(
        f"  {log.power_w.mean():.4g} W on average, {log.power_w.min():.4g} to "
        f"{log.power_w.max():.4g} W"
    )
    lines += [f"  {said}" for said in log.decisions]
    lines += [
        f"  turned away {len(numbers)}: {reason} ({numbered('line', numbers)})"
        for reason, numbers in log.rejected.items()
    ]
    gaps = _gaps(log)
    lines += [
        f"  gap of {gap['seconds']:.4g} s after {gap['after']} (line {gap['after_line']})"
        for gap in gaps[:NUMBERS_SHOWN]
    ]
    if len(gaps) > NUMBERS_SHOWN:
        lines.append(f"  and {len(gaps) - NUMBERS_SHOWN} gaps more")
    return "\n".join(lines)


def joined_text(joined: Joined) -> str:
    """Return the story of a log and of the requests joined to it as text."""
    readings = joined.readings
    given = np.isfinite(readings.power_w)
    if readings.window == "run":
        energy = np.count_nonzero(np.isfinite(readings.energy_j))
        lines = [
            f"{np.count_nonzero(given)} of {given.size} requests have a power, {energy} of them an "
            "energy, each over its own window"
        ]
    else:
        lines = [
            f"{np.count_nonzero(given)} of {given.size} requests have the mean power of the whole "
            "log, as they share it as one window"
        ]
    lines += [
        f"  without a reading {len(rows)}: {reason} ({numbered('data row', rows)})"
        for reason, rows in readings.without.items()
    ]
    if rows := readings.incomplete:
        why = "samples are missing in the window"
        lines.append(f"  without an energy {len(rows)}: {why} ({numbered('data row', rows)})")
    return "\n".join([log_text(joined.log), *lines])


def log_dict(log: PowerLog) -> dict[str, Any]:
    """Return the story of a log as plain data, ready for JSON."""
    timed = log.clock != "elapsed"
    return {
        "path": log.path,
        "format": log.format,
        "samples": len(log),
        "clock": log.clock,
        "first": moment_text(log.time_s[0]) if timed else None,
        "last": moment_text(log.time_s[-1]) if timed else None,
        "period_s": log.period_s,
        "rails": list(log.rails),
        "rails_found": list(log.rail_w),
        "mean_power_w": float(log.power_w.mean()),
        "gaps": _gaps(log),
        "decisions": list(log.decisions),
        "rejected": {reason: list(lines) for reason, lines in log.rejected.items()},
    }


def joined_dict(joined: Joined) -> dict[str, Any]:
    """Return the story of a log and of the requests joined to it as plain data."""
    readings = joined.readings
    return {
        "log": log_dict(joined.log),
        "requests": {
            "rows": readings.power_w.size,
            "window": readings.window,
            "with_power": int(np.isfinite(readings.power_w).sum()),
            "with_energy": int(np.isfinite(readings.energy_j).sum()),
            "without": {reason: list(rows) for reason, rows in readings.without.items()},
            "incomplete": list(readings.incomplete),
            "warnings": list(readings.warnings),
        },
    }


def _span(log: PowerLog) -> str:
    if log.clock == "elapsed":
        return ""
    zone = " UTC" if log.clock == "utc" else ""
    return f", {moment_text(log.time_s[0])} to {moment_text(log.time_s[-1])}{zone}"


def _gaps(log: PowerLog) -> list[dict[str, Any]]:
    return [
        {
            "after": moment_text(log.time_s[i]),
            "after_line": int(log.line[i]),
            "seconds": round(float(log.time_s[i + 1] - log.time_s[i]), 3),
        }
        for i in log.gaps
    ]
