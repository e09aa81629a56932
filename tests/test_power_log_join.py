"""Power and energy of requests from a log, and what is said of those that get none."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from power_log_files import BEGIN, nvidia_smi_lines, tegrastats_log, write_lines

from t2m_bayes.errors import DataError
from t2m_bayes.loading import load_runs
from t2m_bayes.power_logs import Joined, Options, join_power_log, joined_dict, joined_text
from t2m_bayes.power_logs.log import PowerLog
from t2m_bayes.power_logs.readings import run_readings
from t2m_bayes.power_logs.timeline import gaps
from t2m_bayes.schema import COLUMNS

OTHER_RAILS_W = 1.2 + 4.032
"""What the rails beside the GPU's draw in the composed logs."""

WRITTEN = ["power_w", "energy_j", "sensor_period_s", "n_power_samples", "rails", "power_window"]


def after(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """One sample a second for a minute, the GPU drawing as many W as seconds have gone by."""
    return write_lines(tmp_path / "t.log", tegrastats_log([1000 * i for i in range(60)]))


def join(log: Path, table: pd.DataFrame, *, whole_file: bool = False, **options: object) -> Joined:
    return join_power_log(log, table, Options(**options), whole_file=whole_file)  # type: ignore[arg-type]


def requests(*windows: tuple[float, float], **columns: object) -> pd.DataFrame:
    rows = {"start": [after(a) for a, _ in windows], "end": [after(b) for _, b in windows]}
    return pd.DataFrame(rows | columns)


def test_each_request_gets_the_samples_of_its_window(log: Path) -> None:
    table = requests((10, 20), (20, 20.5), (30.2, 33.9), note=["a", "", "c"])
    joined = join(log, table)
    assert list(joined.table) == ["start", "end", "note", *WRITTEN]
    pd.testing.assert_frame_equal(joined.table[["start", "end", "note"]], table)
    power = pd.to_numeric(joined.table["power_w"])
    np.testing.assert_allclose(power, np.array([14.5, 20, 32]) + OTHER_RAILS_W, rtol=1e-5)
    assert joined.table["n_power_samples"].tolist() == ["10", "1", "3"]
    energy = pd.to_numeric(joined.table["energy_j"])
    np.testing.assert_allclose(energy, power * [10, 1, 3], rtol=1e-5)
    assert set(joined.table["rails"]) == {"VDD_CPU_CV+VDD_GPU_SOC+VIN_SYS_5V0"}
    assert set(joined.table["power_window"]) == {"run"}
    assert set(joined.table["sensor_period_s"]) == {"1"}
    assert set(WRITTEN) <= set(COLUMNS)


def test_an_end_is_the_start_and_the_total_time(log: Path) -> None:
    by_end = join(log, requests((10, 20), (30, 33)))
    table = requests((10, 20), (30, 33)).drop(columns="end").assign(total_s=["10", "3.0"])
    np.testing.assert_array_equal(join(log, table).readings.power_w, by_end.readings.power_w)
    mixed = requests((10, 20), (30, 33), total_s=["99", "3.0"])
    mixed.loc[1, "end"] = ""
    np.testing.assert_array_equal(join(log, mixed).readings.power_w, by_end.readings.power_w)


def test_seconds_since_1970_and_parquet_types(log: Path) -> None:
    begin_s = 1744797600.25
    table = pd.DataFrame(
        {"start": [begin_s + 10, begin_s + 20], "total_s": [10.0, 2.0], "k": [1, 2]}
    )
    joined = join(log, table)
    assert joined.table["power_w"].tolist() == pytest.approx([20.732, 26.732])
    assert joined.table["n_power_samples"].tolist() == [10, 2]
    assert joined.table["start"].tolist() == table["start"].tolist()
    stamps = pd.to_datetime(table["start"], unit="s", utc=True)
    again = join(log, table.assign(start=stamps))
    assert again.table["power_w"].tolist() == joined.table["power_w"].tolist()


def test_requests_without_a_sample_get_no_reading(log: Path) -> None:
    table = requests((10, 20), (20.2, 20.7), (-10, -5), (90, 95), (0, 1))
    table.loc[4, ["start", "end"]] = ["", "NaT"]
    joined = join(log, table)
    assert joined.readings.without == {
        "no start, or neither an end nor a duration": (5,),
        "outside of the log": (3, 4),
        "no sample in the window": (2,),
    }
    assert (joined.table.loc[1:, WRITTEN] == "").all(axis=None)
    text = joined_text(joined)
    assert "1 of 5 requests have a power, 1 of them an energy" in text
    assert "without a reading 2: outside of the log (data rows 3, 4)" in text


def test_a_window_with_a_gap_has_a_power_and_no_energy(tmp_path: Path) -> None:
    lines = tegrastats_log([5000] * 60)
    del lines[20:25]
    log = write_lines(tmp_path / "t.log", lines)
    joined = join(log, requests((15, 30), (19, 19.9), (25, 30), (55, 62), (-1, 5), (-0.5, 60.5)))
    assert np.isfinite(joined.readings.power_w).all()
    whole = np.isfinite(joined.readings.energy_j)
    assert whole.tolist() == [False, True, True, False, False, False]
    assert joined.readings.incomplete == (1, 4, 5, 6)
    text = joined_text(joined)
    assert "without an energy 4: samples are missing in the window (data rows 1, 4, 5, 6)" in text
    assert "gap of 6 s after 2025-04-16 10:00:19 (line 20)" in text
    assert joined_dict(joined)["log"]["gaps"] == [
        {"after": "2025-04-16 10:00:19", "after_line": 20, "seconds": 6.0}
    ]


def test_windows_that_overlap_are_named(log: Path) -> None:
    joined = join(log, requests((10, 20), (20, 30), (25, 28), (40, 50)))
    (warning,) = joined.readings.warnings
    assert warning.startswith("data rows 2, 3: windows overlap")


def test_as_one_window_the_requests_share_the_logs_mean(log: Path) -> None:
    table = pd.DataFrame({"llm": ["8B", "8B"], "total_s": ["1.5", "2"]})
    joined = join(log, table, whole_file=True)
    assert list(joined.table) == ["llm", "total_s", *(c for c in WRITTEN if c != "energy_j")]
    assert set(joined.table["power_w"]) == {f"{29.5 + OTHER_RAILS_W:.6g}"}
    assert set(joined.table["power_window"]) == {"file"}
    assert set(joined.table["n_power_samples"]) == {"60"}
    assert "one mean over the whole log" in joined.readings.warnings[0]
    asked = join(log, requests((10, 20)), whole_file=True)
    assert asked.table["power_window"].tolist() == ["file"]


def test_a_log_without_times_serves_as_a_whole_only(tmp_path: Path) -> None:
    log = write_lines(tmp_path / "t.log", tegrastats_log([5000, 6000], begin=None))
    with pytest.raises(DataError, match=r"the log has no times.*--whole-file"):
        join(log, requests((0, 1)))
    joined = join(log, requests((0, 1)), whole_file=True)
    assert joined.table["power_w"].tolist() == ["10.732"]
    assert joined.table["sensor_period_s"].tolist() == [""]
    given_s = join(log, requests((0, 1)), whole_file=True, period_s=0.5)
    assert given_s.table["sensor_period_s"].tolist() == ["0.5"]


def test_the_zone_of_the_requests_serves_the_log(log: Path) -> None:
    table = requests((10, 20))
    plain = join(log, table).readings.power_w
    zoned = table.apply(lambda column: column + "+02:00")
    np.testing.assert_array_equal(join(log, zoned).readings.power_w, plain)
    away = table.apply(lambda column: column.str.replace("T10", "T14") + "Z")
    by_name = join(log, away, time_zone="America/New_York")
    np.testing.assert_array_equal(by_name.readings.power_w, plain)
    assert by_name.log.clock == "utc"


def test_an_offset_aligns_the_clocks(log: Path) -> None:
    late = requests((15, 25))
    joined = join(log, late, clock_offset_s=5)
    assert joined.readings.power_w[0] == pytest.approx(14.5 + OTHER_RAILS_W)


def test_no_overlap_is_an_error_with_both_ranges(log: Path) -> None:
    away = requests((7200, 7210))
    with pytest.raises(DataError) as error:
        join(log, away)
    message = str(error.value)
    assert "log:      2025-04-16 10:00:00 to 2025-04-16 10:00:59 in no zone" in message
    assert "requests: 2025-04-16 12:00:00 to 2025-04-16 12:00:10" in message
    assert "begin 2 h after" in message
    assert "7200 s would align" in message
    aligned = join(log, away, clock_offset_s=7200)
    assert aligned.readings.samples.tolist() == [10]


def test_rows_that_hold_a_reading_keep_it(log: Path) -> None:
    table = requests((10, 20), (20, 30), power_w=["40.50", ""], rails=["VDD_IN", ""], z=["", "k"])
    joined = join(log, table)
    assert list(joined.table) == [
        *("start", "end", "power_w", "rails", "z"),
        *("energy_j", "sensor_period_s", "n_power_samples", "power_window"),
    ]
    assert joined.table["power_w"].tolist() == ["40.50", f"{24.5 + OTHER_RAILS_W:.6g}"]
    assert joined.table["rails"].tolist() == ["VDD_IN", "VDD_CPU_CV+VDD_GPU_SOC+VIN_SYS_5V0"]
    assert joined.readings.without == {"they had a reading and keep it": (1,)}
    with pytest.raises(DataError, match="nothing to fill"):
        join(log, joined.table)


def test_rails_that_read_nothing_give_no_reading(tmp_path: Path) -> None:
    powers = [{0: 0.0}] * 5 + [{0: 50.0}] * 5
    log = write_lines(tmp_path / "gpu.csv", nvidia_smi_lines(powers))
    joined = join(log, requests((0, 4), (5, 9)))
    assert joined.readings.without == {"the rails read 0 W": (1,)}
    assert joined.table["power_w"].tolist() == ["", "50"]
    idle = write_lines(tmp_path / "idle.csv", nvidia_smi_lines(powers[:5]))
    with pytest.raises(DataError, match="read 0 W throughout"):
        join(idle, requests((0, 4)), whole_file=True)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (pd.DataFrame({"start": [after(0)]}), "no end or total_s (in seconds); found: start."),
        (pd.DataFrame({"end": [after(0)]}), "no start; found: end."),
        (pd.DataFrame({"llm": ["8B"]}), "no start, and no end or total_s (in seconds)"),
        (pd.DataFrame({"total_s": ["2"]}), "give every request the mean of the whole log"),
        (pd.DataFrame({"start": ["noon"], "end": [after(9)]}), "column start, data row 1: no time"),
        (pd.DataFrame({"start": ["12.5"], "total_s": ["1"]}), "found '12.5'"),
        (pd.DataFrame({"start": [after(0)], "total_s": ["-1"]}), "column total_s, data row 1"),
        (pd.DataFrame({"start": [after(9)], "end": [after(3)]}), "does not end after it starts"),
        (requests((0, 9), (0, 9)).assign(start=["?", "2025-04-16"]), "data rows 1, 2"),
    ],
)
def test_times_of_requests_that_cannot_be_used(log: Path, table: pd.DataFrame, words: str) -> None:
    with pytest.raises(DataError) as error:
        join(log, table)
    assert words in str(error.value)


def test_the_result_is_a_run_table(log: Path, tmp_path: Path) -> None:
    table = requests(
        (10, 20),
        (20.2, 20.7),
        device=["tegra"] * 2,
        llm=["8B"] * 2,
        input_tokens=["100", "90"],
        output_tokens=["60", "5"],
        total_s=["10", "0.5"],
    )
    path = tmp_path / "runs.csv"
    join(log, table).table.to_csv(path, index=False)
    runs = load_runs(path)
    assert len(runs) == 2
    first = runs.frame.iloc[0]
    assert first["power_w"] == pytest.approx(14.5 + OTHER_RAILS_W)
    assert first["energy_j"] == pytest.approx(10 * first["power_w"], rel=1e-5)
    assert (first["rails"], first["power_window"]) == ("VDD_CPU_CV+VDD_GPU_SOC+VIN_SYS_5V0", "run")
    assert runs.frame.loc[1, ["power_w", "energy_j", "n_power_samples", "rails"]].isna().all()


@settings(suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_readings_agree_with_counting_one_by_one(data: st.DataObject) -> None:
    ticks = st.integers(0, 60)
    times = np.array(sorted(data.draw(st.sets(ticks, min_size=3, max_size=40)))) / 2
    power_w = np.array(data.draw(st.lists(st.integers(1, 60), min_size=60, max_size=60)))
    power_w = power_w[: times.size].astype(float)
    windows = data.draw(st.lists(st.tuples(st.integers(-9, 70), st.integers(1, 30)), min_size=1))
    start_s = np.array([a for a, _ in windows]) / 2 + data.draw(st.sampled_from([0, 0.1]))
    end_s = start_s + np.array([n for _, n in windows]) / 2
    log = _log(times, power_w)
    inside = [a <= times[-1] and b > times[0] for a, b in zip(start_s, end_s, strict=True)]
    held = np.zeros(start_s.size, dtype=bool)
    if not any(inside):
        with pytest.raises(DataError, match="do not overlap"):
            run_readings(log, start_s, end_s, held)
        return
    found = run_readings(log, start_s, end_s, held)
    for i, (a, b) in enumerate(zip(start_s, end_s, strict=True)):
        in_window = [w for t, w in zip(times, power_w, strict=True) if a <= t < b]
        assert found.samples[i] == len(in_window)
        if not in_window:
            assert np.isnan([found.power_w[i], found.energy_j[i]]).all()
            continue
        assert found.power_w[i] == pytest.approx(sum(in_window) / len(in_window))
        # A sample is due one period before the first, after the last, and in each gap.
        due = [times[0] - 0.5, times[-1] + 0.5]
        for before, behind in pairwise(times):
            if behind - before > 0.75:
                due += np.arange(before + 0.5, behind, 0.5).tolist()
        if any(a <= t < b for t in due):
            assert np.isnan(found.energy_j[i])
        else:
            assert found.energy_j[i] == pytest.approx(0.5 * sum(in_window))
        others = [j for j in range(start_s.size) if j != i and start_s[j] < b and end_s[j] > a]
        shared = [said for said in found.warnings if "overlap" in said]
        assert bool(others) <= bool(shared)


@given(st.lists(st.integers(1, 100), min_size=4, max_size=60), st.data())
def test_windows_side_by_side_share_out_the_logs_energy(
    power_w: list[int], data: st.DataObject
) -> None:
    log = _log(np.arange(len(power_w)) / 2, np.array(power_w, dtype=float))
    cuts = data.draw(st.sets(st.floats(0.25, log.time_s[-1]), max_size=6))
    edges = np.array([0, *sorted(cuts), log.time_s[-1] + 0.25])
    found = run_readings(log, edges[:-1], edges[1:], np.zeros(edges.size - 1, dtype=bool))
    assert found.samples.sum() == len(power_w)
    assert np.nansum(found.energy_j) == pytest.approx(0.5 * sum(power_w))


def _log(time_s: np.ndarray, power_w: np.ndarray) -> PowerLog:
    """A log of a sample each half second."""
    return PowerLog(
        path="t.log",
        format="tegrastats",
        clock="utc",
        zone=None,
        time_s=time_s,
        power_w=power_w,
        rails=("VDD_IN",),
        rail_w={"VDD_IN": power_w},
        period_s=0.5,
        gaps=gaps(time_s, 0.5, whole=False),
        line=np.arange(1, time_s.size + 1),
        decisions=(),
        rejected={},
    )
