"""Fresh runs of a simulated world that is known, against the bands of a fit to its samples.

    make test-slow

The simulator shares no formula with the model. Every seed is another world: other efficiencies,
overheads, session spreads and noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t2m_bayes.inference import Sampling, fit
from t2m_bayes.loading import load
from t2m_bayes.prediction import predict
from t2m_bayes.requests import make_requests
from t2m_bayes.simulator import draw_world, replicate, write_samples

WORLDS = 20
LLMS = ("DSR1-Qwen-1.5B", "DSR1-Llama-8B", "DSR1-Qwen-14B")
GRID = [(i, o) for i in (90, 150, 240, 400) for o in (20, 200, 1000)]


@pytest.mark.slow
@pytest.mark.parametrize("session", ["same", "new"])
def test_bands_cover_fresh_runs_of_known_worlds(
    session: str, worlds: dict[int, dict[str, dict[str, float]]]
) -> None:
    for metric in ("prefill_s", "decode_s", "total_s"):
        by_world = [covered[session][metric] for covered in worlds.values()]
        print(f"{session:4s} {metric:9s} {np.mean(by_world):.3f} over {len(by_world)} worlds")
        assert 0.80 <= np.mean(by_world) <= 0.98


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, dict[str, float]]]:
    """Coverage of 90 % bands by world, kind of session and metric."""
    return {
        seed: _coverage(seed, tmp_path_factory.mktemp(f"world{seed}")) for seed in range(WORLDS)
    }


def _coverage(seed: int, folder: Path) -> dict[str, dict[str, float]]:
    write_samples(folder, seed)
    fitted = fit(load(folder / "server", folder / "tegra"), Sampling(draws=800, progress=False))
    print(f"world {seed}: {fitted.provenance['diagnostics']['verdict']}")
    world, rng = draw_world(seed), np.random.default_rng(seed)
    covered: dict[str, dict[str, list[float]]] = {}
    for session in ("same", "new"):
        for llm in LLMS:
            requests = make_requests(
                fitted, llm, [i for i, _ in GRID], [o for _, o in GRID], device="tegra"
            )
            bands = predict(fitted, requests, session=session).interval(0.9)
            for k, (i, o) in enumerate(GRID):
                runs = replicate(world, llm, "tegra", i, o, 100, rng, session=session)
                for metric, band in bands.items():
                    inside = runs[metric].between(*band[k]).mean()
                    covered.setdefault(session, {}).setdefault(metric, []).append(inside)
    return {s: {m: float(np.mean(v)) for m, v in by.items()} for s, by in covered.items()}
