"""Simulated data sets with their truth, in memory or written in the users' formats."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from t2m_bayes.simulator.machines import LLMS
from t2m_bayes.simulator.runs import SESSION_KINDS, expected, replicate
from t2m_bayes.simulator.tables import (
    LATIN_1_LLM,
    MISSING,
    REVERSED,
    TEGRA_LLMS,
    Table,
    server_table,
    tegra_table,
)
from t2m_bayes.simulator.workload import draw_questions
from t2m_bayes.simulator.world import DEVICES, World, draw_world

SHIPPED_SEED: Final = 20
"""Seed of the samples that ship with the package."""

SERVER_FILE: Final = "server/server_mmlu.xlsx"
"""Path of the server workbook below the folder of a simulated set."""

GRID_INPUT_TOKENS: Final = (64, 128, 200, 400, 1000)
GRID_OUTPUT_TOKENS: Final = (16, 200, 1500)
"""Requests whose truth is recorded, for each LLM and device."""

REPLICATES: Final = 200
"""Fresh runs behind each recorded quantile."""

PROBABILITIES: Final = (0.05, 0.5, 0.95)
"""Quantiles recorded of the fresh runs."""

_DIGITS: Final = 5
_CREATED: Final = datetime(2025, 1, 1)
"""Written as the workbook's date, so that its bytes repeat."""


@dataclass(frozen=True)
class SimulatedSet:
    """A simulated data set and the world it was measured in.

    Attributes:
        world: What is true.
        server: The sheets of the server workbook, by name of the LLM.
        tegra: The Tegra CSVs, by name of the LLM.
    """

    world: World
    server: Mapping[str, Table]
    tegra: Mapping[str, Table]

    def truth(self) -> dict[str, Any]:
        """Return all that is true of the set, ready for JSON; its README explains the keys."""
        world = self.world
        return {
            "about": "What the simulator knows of the samples beside this file; see README.md.",
            "seed": world.seed,
            "params_b": {name: round(llm.params_b, 6) for name, llm in LLMS.items()},
            "machines": {name: _rounded(asdict(m)) for name, m in world.machines.items()},
            "sessions": {
                device: {llm: _rounded(asdict(world.sessions[llm, device])) for llm in LLMS}
                for device in DEVICES
            },
            "dirty_rows": {
                "server": {llm: table.dirty for llm, table in self.server.items()},
                "tegra": {llm: table.dirty for llm, table in self.tegra.items()},
            },
            "unmatched_subjects": MISSING | REVERSED,
            "tegra_input_tokens": {llm: table.input_tokens for llm, table in self.tegra.items()},
            "replicates": REPLICATES,
            "probabilities": list(PROBABILITIES),
            "grid": _grid(world),
        }


def simulate(seed: int) -> SimulatedSet:
    """Return a simulated world and its measurements: another seed is another world.

    Args:
        seed: Any non-negative integer.
    """
    world = draw_world(seed)
    questions = draw_questions(np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])
    return SimulatedSet(
        world=world,
        server={llm: server_table(world, llm, questions, rng) for llm in LLMS},
        tegra={llm: tegra_table(world, llm, questions, rng) for llm in TEGRA_LLMS},
    )


def write_samples(directory: Path, seed: int = SHIPPED_SEED) -> tuple[Path, ...]:
    """Write a simulated set: a server workbook, Tegra CSVs and the truth.

    Each file is written under a temporary name and then renamed, so none is ever half there.

    Args:
        directory: Folder to write to; made if need be.
        seed: Seed of the set.

    Returns:
        The files written.
    """
    simulated = simulate(seed)
    contents = {SERVER_FILE: _workbook(simulated.server)}
    for llm, table in simulated.tegra.items():
        encoding = "latin-1" if llm == LATIN_1_LLM else "utf-8"
        text = table.frame.to_csv(index=False, lineterminator="\n")
        contents[f"tegra/profiling_combined_{llm}.csv"] = text.encode(encoding)
    contents["truth.json"] = _readable(simulated.truth()).encode()
    return tuple(_write(directory / name, content) for name, content in contents.items())


def _grid(world: World) -> list[dict[str, Any]]:
    """Return the truth of each request of the grid: without noise, and as fresh runs vary."""
    rng = np.random.default_rng([world.seed, 3])
    points: list[dict[str, Any]] = []
    for device, llm, asked, made in product(DEVICES, LLMS, GRID_INPUT_TOKENS, GRID_OUTPUT_TOKENS):
        point: dict[str, Any] = {
            "llm": llm,
            "device": device,
            "input_tokens": asked,
            "output_tokens": made,
        }
        for session in SESSION_KINDS:
            runs = replicate(world, llm, device, asked, made, REPLICATES, rng, session)
            quantiles = runs.drop(columns="n_power_samples").quantile(list(PROBABILITIES))
            point[session] = {
                "expected": _rounded(expected(world, llm, device, asked, made, session)),
                "runs": {
                    str(name): [_round(q) for q in column] for name, column in quantiles.items()
                },
            }
        points.append(point)
    return points


def _round(value: float) -> float:
    """Return a number rounded to significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with its floats rounded; infinities become None, which JSON can write."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return _rounded(value)
        if isinstance(value, tuple):
            return [plain(part) for part in value]
        if isinstance(value, float):
            return _round(value) if np.isfinite(value) else None
        return value

    return {name: plain(value) for name, value in values.items()}


def _readable(truth: Mapping[str, Any]) -> str:
    """Return JSON with one line for each entry of the top level's tables and lists."""
    blocks = []
    for key, value in truth.items():
        if isinstance(value, dict):
            entries = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
            body = "{\n" + ",\n".join(entries) + "\n }"
        elif key == "grid":
            body = "[\n" + ",\n".join(f"  {json.dumps(point)}" for point in value) + "\n ]"
        else:
            body = json.dumps(value)
        blocks.append(f" {json.dumps(key)}: {body}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _workbook(tables: Mapping[str, Table]) -> bytes:
    """Return an Excel workbook with one sheet for each LLM, the same bytes each time."""
    buffer = BytesIO()
    with pd.ExcelWriter(buffer, engine="xlsxwriter") as writer:
        writer.book.set_properties({"created": _CREATED})
        for llm, table in tables.items():
            table.frame.to_excel(writer, sheet_name=LLMS[llm].sheet, index=False)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> Path:
    """Write a file under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    draft.replace(path)
    return path
