"""The simulator: repeatable, physical, as dirty as it says, and the source of what ships."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from t2m_bayes import simulator
from t2m_bayes.resources import shipped
from t2m_bayes.simulator import SHIPPED_SEED, SimulatedSet, World, draw_world, expected, replicate
from t2m_bayes.simulator.machines import LLMS, RANGES
from t2m_bayes.simulator.samples import SERVER_FILE
from t2m_bayes.simulator.tables import MISSING, REVERSED, TEGRA_LLMS
from t2m_bayes.simulator.workload import LETTERS


@pytest.fixture(scope="module")
def world() -> World:
    return draw_world(SHIPPED_SEED)


@pytest.fixture(scope="module")
def simulated() -> SimulatedSet:
    return simulator.simulate(SHIPPED_SEED)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("samples")
    simulator.write_samples(directory)
    return directory


@pytest.fixture(scope="module")
def truth(written: Path) -> dict:
    return json.loads((written / "truth.json").read_text())


def test_another_seed_is_another_world_within_the_stated_ranges() -> None:
    assert draw_world(3) == draw_world(3)
    machines = [draw_world(seed).machines["tegra"] for seed in range(5)]
    assert len({machine.bandwidth_fraction for machine in machines}) == 5
    for key, (low, high) in RANGES["tegra"].items():
        assert all(low <= getattr(machine, key) <= high for machine in machines)


def test_sizes_follow_from_the_architectures() -> None:
    sizes = [round(llm.params_b, 2) for llm in LLMS.values()]
    assert sizes == [1.78, 8.03, 14.77, 1.78]


@pytest.mark.parametrize("device", ["server", "tegra"])
@pytest.mark.parametrize("llm", LLMS)
def test_more_output_and_bigger_models_take_longer(world: World, llm: str, device: str) -> None:
    runs = [expected(world, llm, device, 128, output) for output in (1, 2, 100, 1000, 4000)]
    for metric in ("total_s", "energy_j"):
        assert np.all(np.diff([run[metric] for run in runs]) > 0)
    small, medium, large = (expected(world, name, device, 300, 300) for name in TEGRA_LLMS)
    assert small["total_s"] < medium["total_s"] < large["total_s"]


def test_prefill_makes_the_first_token(world: World) -> None:
    one, two, many = (
        expected(world, "DSR1-Llama-8B", "tegra", 128, output) for output in (1, 2, 11)
    )
    assert one["decode_s"] == 0
    assert many["decode_s"] == pytest.approx(10 * two["decode_s"], rel=1e-3)


def test_decode_reads_a_growing_context(world: World) -> None:
    near, far = (expected(world, "DSR1-Llama-8B", "tegra", tokens, 2) for tokens in (64, 4000))
    assert 1.01 < far["decode_s"] / near["decode_s"] < 1.2


def test_prefill_has_a_floor_and_stairs(world: World) -> None:
    def prefill_s(llm: str, tokens: int) -> float:
        return expected(world, llm, "tegra", tokens, 1)["prefill_s"]

    floor_s = prefill_s("DSR1-Qwen-1.5B", 3)
    assert prefill_s("DSR1-Qwen-1.5B", 100) == pytest.approx(floor_s, rel=0.001)
    for llm in ("DSR1-Llama-8B", "DSR1-Qwen-14B"):
        within = prefill_s(llm, 256) - prefill_s(llm, 255)
        assert prefill_s(llm, 257) - prefill_s(llm, 256) > 20 * within > 0


def test_times_are_those_of_a_jetson(world: World) -> None:
    steps = [expected(world, llm, "tegra", 128, 2)["decode_s"] for llm in TEGRA_LLMS]
    np.testing.assert_allclose(steps, [0.024, 0.100, 0.187], rtol=0.12)


@pytest.mark.parametrize("device", ["server", "tegra"])
def test_runs_scatter_around_what_is_expected(world: World, device: str) -> None:
    rng = np.random.default_rng(0)
    request = ("DSR1-Llama-8B", device, 200, 300)
    known = expected(world, *request, session="same")
    same = replicate(world, *request, 300, rng, session="same")
    new = replicate(world, *request, 300, rng, session="new")
    for metric in ("prefill_s", "decode_s", "total_s", "energy_j", "power_w"):
        assert same[metric].median() == pytest.approx(known[metric], rel=0.01)
    assert same["decode_s"].quantile(0.84) / same["decode_s"].median() < 1.01
    assert new["decode_s"].std() > 2 * np.diff(same["decode_s"].quantile([0.16, 0.84])).item() / 2


def test_sensor_misses_a_short_prefill(world: World) -> None:
    runs = replicate(world, "DSR1-Llama-8B", "tegra", 128, 1, 100, np.random.default_rng(0))
    idle_w = world.machines["tegra"].idle_w
    assert runs["sensor_power_w"].median() == pytest.approx(idle_w, rel=0.03)
    assert runs["power_w"].median() > 4 * idle_w
    assert runs["n_power_samples"].median() == 2


def test_sensor_sees_a_long_run_and_two_idle_samples(world: World) -> None:
    runs = replicate(world, "DSR1-Llama-8B", "tegra", 128, 600, 50, np.random.default_rng(0))
    idle_w = world.machines["tegra"].idle_w
    busy_j = runs["sensor_energy_j"] - 2 * idle_w
    assert (busy_j / runs["energy_j"]).median() == pytest.approx(1, abs=0.03)


def test_tables_have_the_users_columns_and_sizes(simulated: SimulatedSet) -> None:
    assert tuple(simulated.server) == tuple(LLMS)
    assert tuple(simulated.tegra) == TEGRA_LLMS
    for table in simulated.server.values():
        assert len(table.frame) == 301
        assert " ".join(table.frame.columns) == (
            "subject question_id question choices correct_answer predicted_choice is_correct "
            "generated_text ttft decode_time total_time_ms tokens_per_second input_tokens "
            "output_tokens generated_text_length"
        )
    for table in simulated.tegra.values():
        assert len(table.frame) == len(table.input_tokens) == 151
        assert " ".join(table.frame.columns[:10]) == (
            "subset ground_truth_index predicted_choice_letter full_output inference_time "
            "output_tokens prefill decode correct tokens_per_second"
        )


def test_dirt_is_where_the_truth_says(simulated: SimulatedSet) -> None:
    names = {"server": ("ttft", "decode_time"), "tegra": ("prefill", "decode")}
    for device, tables in (("server", simulated.server), ("tegra", simulated.tegra)):
        prefill, decode = names[device]
        for table in tables.values():
            frame = table.frame
            choice = "predicted_choice" if device == "server" else "predicted_choice_letter"
            found = {
                "empty prefill": frame[prefill].isna(),
                "empty output tokens": frame["output_tokens"].isna(),
                "text in decode": frame[decode] == "timeout",
                "zero output tokens": frame["output_tokens"] == 0,
                "negative prefill": pd.to_numeric(frame[prefill]) < 0,
                "exact duplicate": frame.duplicated(),
                "invalid choice": frame[choice] == "Invalid",
            }
            dirty = {
                kind: [int(row) + 1 for row in np.flatnonzero(at)] for kind, at in found.items()
            }
            assert dirty == table.dirty
            assert all(dirty.values())


def test_order_matches_the_server_but_in_the_stated_subjects(simulated: SimulatedSet) -> None:
    for llm, table in simulated.tegra.items():
        tegra = table.frame.assign(tokens=table.input_tokens).drop_duplicates()
        server = simulated.server[llm].frame.assign(tokens=simulated.server[llm].input_tokens)
        server = server.drop_duplicates(["subject", "question_id"])
        broken = {
            subject
            for subject, rows in tegra.groupby("subset")
            for first in [server[server["subject"] == subject].head(len(rows))]
            if rows["tokens"].tolist() != first["tokens"].tolist()
        }
        assert broken == {names[llm] for names in (MISSING, REVERSED) if llm in names}
        for subject, rows in tegra.groupby("subset"):
            answers = server.loc[server["subject"] == subject, "correct_answer"].head(len(rows))
            agree = [LETTERS[i] for i in rows["ground_truth_index"]] == answers.tolist()
            assert agree == (subject not in broken)


def test_shipped_samples_are_what_the_seed_gives(written: Path, truth: dict) -> None:
    datasets = shipped("datasets")
    stale = "run `t2m simulate --output datasets --seed 20`"
    for path in sorted((written / "tegra").iterdir()):
        assert (datasets / "tegra" / path.name).read_bytes() == path.read_bytes(), stale
    assert json.loads((datasets / "truth.json").read_text()) == truth, stale
    # Cells, not bytes: the compressed bytes of a workbook depend on the zlib at hand.
    made, kept = (
        pd.read_excel(folder / SERVER_FILE, sheet_name=None, engine="calamine")
        for folder in (written, datasets)
    )
    assert list(kept) == list(made) == [llm.sheet for llm in LLMS.values()]
    for sheet, frame in made.items():
        pd.testing.assert_frame_equal(kept[sheet], frame)


def test_same_seed_same_bytes(written: Path, tmp_path: Path) -> None:
    for path in simulator.write_samples(tmp_path):
        assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_files_are_small_and_one_is_latin_1(written: Path) -> None:
    assert (written / SERVER_FILE).stat().st_size < 1_200_000
    assert (written / "truth.json").stat().st_size < 200_000
    content = (written / "tegra" / "profiling_combined_DSR1-Llama-8B.csv").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        content.decode("utf-8")
    assert "é" in content.decode("latin-1")


def test_truth_tells_runs_from_expectation(truth: dict) -> None:
    assert len(truth["grid"]) == 2 * 4 * 5 * 3
    for point in truth["grid"]:
        for session in ("same", "new"):
            low, _, high = point[session]["runs"]["total_s"]
            assert low < point[session]["expected"]["total_s"] < high


def test_simulator_shares_nothing_with_the_model() -> None:
    folder = Path(simulator.__file__).parent
    for path in folder.glob("*.py"):
        imports = [line for line in path.read_text().splitlines() if "import" in line.split()]
        ours = [line for line in imports if "t2m_bayes" in line]
        assert all("t2m_bayes.simulator" in line for line in ours)
        assert not any("pymc" in line for line in imports)
