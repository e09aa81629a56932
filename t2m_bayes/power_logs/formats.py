"""From a file to its recording: which program wrote it is told from what is in it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final

from t2m_bayes.errors import DataError
from t2m_bayes.power_logs.jtop import is_jtop_header, parse_jtop
from t2m_bayes.power_logs.nvidia_smi import is_nvidia_smi, parse_nvidia_smi
from t2m_bayes.power_logs.recording import Draft, Recording
from t2m_bayes.power_logs.tegrastats import MEMORY, parse_tegrastats

UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
"""How a file begins that Windows PowerShell wrote by ``>``."""

HEADING_LENGTH: Final = 20_000
"""Characters of a first line that are looked at: a file of bytes may have no lines."""


def read_recording(path: Path) -> Recording:
    """Read a power log of any format.

    Args:
        path: Log of tegrastats, nvidia-smi or jtop.

    Returns:
        Its samples.

    Raises:
        DataError: There is no such file, it is empty or no power log, or it holds no power.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    content = path.read_bytes()
    text = content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig", "replace")
    lines = text.splitlines()
    draft = Draft(lines, cut_line=0 if text.endswith(("\n", "\r")) else len(lines))
    first = next(draft.numbered(), None)
    if first is None:
        raise DataError(f"{path}: the power log is empty")
    parse = _parser(draft, first[1])
    if parse is None:
        raise DataError(
            f"{path}: not a power log. It begins with {first[1][:120]!r}.\n"
            "  expected one of:\n"
            "    tegrastats: lines such as 'RAM 4321/62801MB ... VDD_GPU_SOC 2340mW/2340mW'\n"
            "    nvidia-smi: CSV of --query-gpu=timestamp,index,power.draw --format=csv\n"
            "    jtop: CSV of its logger, with the columns time, uptime and Power ..."
        )
    try:
        recording = parse(draft)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if not recording.rail_w:
        why = "; ".join(
            f"{reason} ({len(rows)} lines)" for reason, rows in recording.rejected.items()
        )
        raise DataError(
            f"{path}: the log of {recording.format} holds no power rails: {why or 'no samples'}.\n"
            "  tegrastats may need sudo to show them; nvidia-smi needs power.draw in its query, "
            "and a GPU that measures it"
        )
    return recording


def _parser(draft: Draft, first: str) -> Callable[[Draft], Recording] | None:
    """Return what reads a log, from its lines."""
    if any(MEMORY.search(line.replace(",", " ")) for line in draft.lines):
        return parse_tegrastats
    cells = next(csv.reader([first[:HEADING_LENGTH]]), [])
    if is_jtop_header(cells):
        return parse_jtop
    return parse_nvidia_smi if is_nvidia_smi(cells) else None
