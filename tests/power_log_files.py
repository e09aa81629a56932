"""Power logs in each of the three formats, composed for the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

ORIN = {"VDD_GPU_SOC": 5474, "VDD_CPU_CV": 1200, "VIN_SYS_5V0": 4032, "VDDQ_VDD2_1V8AO": 301}
"""Rails of an AGX Orin, in mW."""

BEGIN = datetime(2025, 4, 16, 10, 0, 0)


def tegrastats_line(
    rails: Mapping[str, int], when: str = "", *, unit: str = "mW", readings: int = 2
) -> str:
    """One line, with the placeholders of unused channels where the board has them."""
    shown = [f"{rail} {'/'.join([f'{mw}{unit}'] * readings)}" for rail, mw in rails.items()]
    if "VDDQ_VDD2_1V8AO" in rails:
        shown.insert(3, "NC 0mW/0mW")
        shown.append("NC 0mW/0mW")
    head = (
        "RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
        "CPU [0%@729,12%@1190,off] EMC_FREQ 0%@2133 GR3D_FREQ 61%@[305,0] VIC_FREQ 729 APE 174 "
        "MTS fg 0% bg 1% CV0@-256C CPU@44.562C Tboard@32C tj@44.343C/45C"
    )
    return " ".join([*([when] if when else []), head, *shown])


def tegrastats_log(
    gpu_mw: Sequence[int],
    *,
    begin: datetime | None = BEGIN,
    step_s: float = 1.0,
    rails: Mapping[str, int] = ORIN,
) -> list[str]:
    """Lines whose first rail reads what is given; without ``begin``, without times."""
    first = next(iter(rails))
    lines = []
    for i, mw in enumerate(gpu_mw):
        when = ""
        if begin is not None:
            when = f"{begin + timedelta(seconds=i * step_s):%m-%d-%Y %H:%M:%S}"
        lines.append(tegrastats_line({**rails, first: mw}, when))
    return lines


def nvidia_smi_lines(
    watts: Sequence[Mapping[int, float | None]],
    *,
    step_s: float = 1.0,
    units: bool = True,
    index: bool = True,
    begin: datetime = BEGIN,
) -> list[str]:
    """Lines of some GPUs at each sample; a power that is None is not known."""
    names = ["timestamp", *(["index"] if index else []), "utilization.gpu [%]", "power.draw [W]"]
    lines = [", ".join(names)]
    for i, sample in enumerate(watts):
        for gpu, power in sample.items():
            when = begin + timedelta(seconds=i * step_s, milliseconds=2 * gpu)
            stamp = f"{when:%Y/%m/%d %H:%M:%S}.{when.microsecond // 1000:03d}"
            unit = " W" if units else ""
            cell = "[N/A]" if power is None else f"{power:.2f}{unit}"
            load = "97 %" if units else "97"
            lines.append(", ".join([stamp, *([str(gpu)] if index else []), load, cell]))
    return lines


def jtop_lines(
    rails: Sequence[Mapping[str, int]], *, step_s: float = 1.0, begin: datetime = BEGIN
) -> list[str]:
    """Lines of jtop's logger, release 4, with power in mW."""
    names = [f"Power {rail}" for rail in rails[0]]
    lines = [",".join(["time", "uptime", "CPU1", "RAM", "Temp tj", *names, "jetson_clocks"])]
    for i, sample in enumerate(rails):
        when = begin + timedelta(seconds=i * step_s, microseconds=398586)
        power = [str(sample[rail]) for rail in rails[0]]
        cells = [f"{when}", '"1 day, 0:15:31.41"', "18", "0.4574", "47.906", *power, "OFF"]
        lines.append(",".join(cells))
    return lines


def write_lines(path: Path, lines: Sequence[str], end: str = "\n") -> Path:
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path
