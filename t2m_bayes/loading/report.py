"""What was read, decided and turned away, for people and for programs."""

from __future__ import annotations

from typing import Any, Final

from t2m_bayes.schema import TIMES, Runs, SourceReport

ROWS_SHOWN: Final = 8
"""Row numbers listed of each reason; programs get all of them."""


def report_text(runs: Runs) -> str:
    """Return the story of a loaded table as text: a paragraph a file, then a line a group."""
    lines = [line for report in runs.reports for line in _paragraph(report)]
    lines.append(f"{len(runs)} runs in all")
    for group in _groups(runs):
        counts = ", ".join(f"{group[metric]} {metric}" for metric in TIMES if metric in group)
        lines.append(f"  {group['llm']} on {group['device']}: {group['runs']} runs ({counts})")
    return "\n".join(lines)


def as_dict(runs: Runs) -> dict[str, Any]:
    """Return the story of a loaded table as plain data, ready for JSON."""
    return {
        "runs": len(runs),
        "groups": _groups(runs),
        "sources": [
            {
                "path": report.path,
                "format": report.format,
                "rows_read": report.rows_read,
                "rows_kept": report.rows_kept,
                "decisions": list(report.decisions),
                "rejected": {reason: list(rows) for reason, rows in report.rejected.items()},
            }
            for report in runs.reports
        ],
    }


def rejection_lines(report: SourceReport) -> list[str]:
    """Return one line for each reason, with the first row numbers."""
    lines = []
    for reason, rows in report.rejected.items():
        shown = ", ".join(str(row) for row in rows[:ROWS_SHOWN])
        more = ", ..." if len(rows) > ROWS_SHOWN else ""
        lines.append(f"rejected {len(rows)}: {reason} (data rows {shown}{more})")
    return lines


def _paragraph(report: SourceReport) -> list[str]:
    head = f"{report.path} ({report.format}): {report.rows_kept} of {report.rows_read} rows kept"
    return [head, *(f"  {line}" for line in (*report.decisions, *rejection_lines(report)))]


def _groups(runs: Runs) -> list[dict[str, Any]]:
    """Return the number of runs and of each measured time, by device and LLM."""
    groups = []
    for (device, llm), rows in runs.frame.groupby(["device", "llm"], sort=True):
        measured = {m: int(rows[m].notna().sum()) for m in TIMES if m in rows}
        groups.append({"device": str(device), "llm": str(llm), "runs": len(rows), **measured})
    return groups
