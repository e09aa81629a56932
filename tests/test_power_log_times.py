"""When samples were taken: what is read as a time, zones, clocks that are set back, periods."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from power_log_files import BEGIN, jtop_lines, tegrastats_line, tegrastats_log, write_lines

from t2m_bayes.errors import DataError
from t2m_bayes.power_logs import Options, PowerLog, load_power_log
from t2m_bayes.power_logs.clock import (
    Stamps,
    as_stamps,
    moment_text,
    parse_stamp,
    settle_zone,
    utc_seconds,
)
from t2m_bayes.power_logs.timeline import lived_once, spread

BEGIN_S = 1744797600.0
"""2025-04-16 10:00:00 UTC in seconds since 1970."""

BERLIN = ZoneInfo("Europe/Berlin")
SET_BACK = datetime(2025, 10, 26, 0, 0, tzinfo=UTC)
"""One hour before clocks in Berlin are set from 03:00 to 02:00."""


def load(path: Path, **options: object) -> PowerLog:
    return load_power_log(path, Options(**options))  # type: ignore[arg-type]


def stamps(*texts: str) -> Stamps:
    return as_stamps([parse_stamp(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "seconds", "offset_s"),
    [
        ("04-16-2025 10:00:00", BEGIN_S, math.nan),
        ("2025/04/16 10:00:00.250", BEGIN_S + 0.25, math.nan),
        ("2025-04-16 10:00:00.398586", BEGIN_S + 0.398586, math.nan),
        ("2025-04-16T10:00:00Z", BEGIN_S, 0),
        ("[2025-04-16T10:00:00+02:00]", BEGIN_S, 7200),
        ("2025-04-16 10:00:00.5 -05:00", BEGIN_S + 0.5, -18000),
        ("20250416T100000", BEGIN_S, math.nan),
        ("1744797600", BEGIN_S, 0),
        ("1744797600.25,", BEGIN_S + 0.25, 0),
        ("1744797600250", BEGIN_S + 0.25, 0),
        ("1744797600250000", BEGIN_S + 0.25, 0),
        ("1744797600250000000", BEGIN_S + 0.25, 0),
    ],
)
def test_times_in_every_spelling(text: str, seconds: float, offset_s: float) -> None:
    found = parse_stamp(text)
    assert found[0] == pytest.approx(seconds, rel=0, abs=1e-6)
    assert found[1] == pytest.approx(offset_s, nan_ok=True)


@pytest.mark.parametrize(
    "text",
    ["", "10:00:00", "2025-04-16", "20250416", "16-04-2025 10:00:00", "12.5", "174479760", "RAM"],
)
def test_what_has_no_date_or_no_time_of_day_is_no_time(text: str) -> None:
    assert math.isnan(parse_stamp(text)[0])


@given(st.datetimes(datetime(2001, 9, 10), datetime(2200, 1, 1)), st.integers(-14, 14))
def test_iso_times_are_read_back(moment: datetime, hours: int) -> None:
    zoned = moment.replace(tzinfo=ZoneInfo("Etc/UTC")) - timedelta(hours=hours)
    wall_s, offset_s = parse_stamp(f"{moment.isoformat()}{hours:+03d}:00")
    assert wall_s - offset_s == pytest.approx(zoned.timestamp(), rel=0, abs=2e-6)
    assert parse_stamp(moment_text(round(zoned.timestamp(), 3)))[0] == pytest.approx(
        zoned.timestamp(), rel=0, abs=1e-3
    )


def test_the_zone_of_times_without_one() -> None:
    silent = stamps("2025-04-16 10:00:00")
    summer, winter = stamps("2025-04-16 10:00:00+02:00"), stamps("2025-01-16 10:00:00+01:00")
    zone, said = settle_zone(silent, summer, None)
    assert utc_seconds(silent, zone)[0] == BEGIN_S - 7200
    assert said == "times of the log name no zone: taken as UTC+02:00, like the others"
    zone, said = settle_zone(summer, silent, None)
    assert utc_seconds(silent, zone)[0] == BEGIN_S - 7200
    assert said.startswith("times of the requests name no zone")
    zone, said = settle_zone(silent, silent, None)
    assert zone is None
    assert said == "times of the log and the requests name no zone: taken as they stand"
    zone, said = settle_zone(silent, stamps("1744797600"), None)
    assert "taken as UTC, like the others" in said
    assert settle_zone(summer, winter, None) == (None, "")
    both = Stamps(
        np.append(summer.wall_s, winter.wall_s), np.append(summer.offset_s, winter.offset_s)
    )
    with pytest.raises(DataError, match=r"several \(UTC\+01:00, UTC\+02:00\).*--time-zone"):
        settle_zone(silent, both, None)
    zone, said = settle_zone(silent, both, "America/New_York")
    assert utc_seconds(silent, zone)[0] == BEGIN_S + 4 * 3600
    assert "taken as America/New_York, as given" in said


@pytest.mark.parametrize("name", ["Nowhere/Land", "Europe", "", "../etc/passwd"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="no time zone"):
        settle_zone(stamps("2025-04-16 10:00:00"), None, name)


@given(st.integers(1, 900), st.integers(0, 7200))
def test_an_hour_lived_twice_is_told_apart_in_a_known_zone(step_s: int, begin_s: int) -> None:
    true_s = np.arange(SET_BACK.timestamp() - begin_s, SET_BACK.timestamp() + 9000, step_s)
    walls = [datetime.fromtimestamp(s, BERLIN).replace(tzinfo=None) for s in true_s]
    found = utc_seconds(stamps(*(f"{wall:%m-%d-%Y %H:%M:%S}" for wall in walls)), BERLIN)
    np.testing.assert_array_equal(found, true_s)


def test_an_hour_lived_twice_is_left_out_in_an_unknown_zone(tmp_path: Path) -> None:
    moments = [SET_BACK + timedelta(seconds=600 * i) for i in range(18)]
    walls = [f"{moment.astimezone(BERLIN):%m-%d-%Y %H:%M:%S}" for moment in moments]
    lines = [tegrastats_line({"VDD_IN": 1000 + i}, wall) for i, wall in enumerate(walls)]
    log = load(write_lines(tmp_path / "t.log", lines))
    np.testing.assert_allclose(log.power_w, np.arange(1012, 1018) / 1e3)
    assert log.rejected == {"its time comes twice": tuple(range(1, 13))}
    assert any("set back by 3000 s at line 7" in said for said in log.decisions)
    known = load(tmp_path / "t.log", time_zone="Europe/Berlin")
    assert len(known) == len(lines)
    assert known.clock == "utc"
    np.testing.assert_array_equal(known.time_s, [moment.timestamp() for moment in moments])


def test_midnight_and_summer_time_are_no_gap(tmp_path: Path) -> None:
    begin = datetime(2025, 3, 30, 0, 59, 58, tzinfo=UTC)
    walls = [(begin + timedelta(seconds=i)).astimezone(BERLIN) for i in range(5)]
    lines = [tegrastats_line({"VDD_IN": 1}, f"{wall:%m-%d-%Y %H:%M:%S}") for wall in walls]
    path = write_lines(tmp_path / "t.log", lines)
    assert load(path, time_zone="Europe/Berlin").gaps.size == 0
    assert load(path).gaps.size == 1
    midnight = tegrastats_log([1] * 5, begin=datetime(2025, 12, 31, 23, 59, 58))
    assert load(write_lines(tmp_path / "m.log", midnight)).gaps.size == 0


def test_logs_put_together_in_the_wrong_order_are_sorted(tmp_path: Path) -> None:
    late = tegrastats_log([7000, 8000], begin=BEGIN + timedelta(hours=1))
    log = load(write_lines(tmp_path / "t.log", [*late, *tegrastats_log([5000, 6000])]))
    np.testing.assert_allclose(log.power_w, [10.232, 11.232, 12.232, 13.232])
    np.testing.assert_array_equal(log.line, [3, 4, 1, 2])
    assert log.gaps.tolist() == [1]
    assert log.rejected == {}


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_times_lived_once(times: list[int]) -> None:
    passes: list[list[int]] = [[times[0]]]
    for time in times[1:]:
        if time < passes[-1][-1]:
            passes.append([])
        passes[-1].append(time)
    expected = [sum(p[0] <= time <= p[-1] for p in passes) == 1 for time in times]
    assert lived_once(np.array(times, dtype=float)).tolist() == expected


@given(st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.4, 0.5]), st.floats(0, 1), st.integers(30, 300))
def test_samples_that_share_a_stamp_are_spread(period_s: float, phase: float, count: int) -> None:
    true_s = BEGIN_S + phase + period_s * np.arange(count)
    found, usual_s = spread(np.floor(true_s))
    assert np.all(np.diff(found) >= 0)
    assert np.max(np.abs(found - true_s)) <= 1 + 1e-6
    full = np.unique(np.floor(true_s)).size - 2
    if full >= 1:
        assert usual_s == pytest.approx(period_s, rel=1.01 / full)


def test_the_period_is_the_median_spacing(tmp_path: Path) -> None:
    slow = load(write_lines(tmp_path / "a.log", tegrastats_log([1] * 5, step_s=2)))
    assert slow.period_s == 2
    fast = load(write_lines(tmp_path / "b.log", tegrastats_log([1] * 50, step_s=0.2)))
    assert fast.period_s == 0.2
    np.testing.assert_allclose(fast.time_s, BEGIN_S + 0.2 * np.arange(50), rtol=0, atol=1e-6)
    assert any("several samples share" in said for said in fast.decisions)
    jtop = load(write_lines(tmp_path / "c.csv", jtop_lines([{"TOT": 1}] * 5, step_s=0.5)))
    assert jtop.period_s == 0.5
    uneven = load(write_lines(tmp_path / "d.log", tegrastats_log([1] * 40, step_s=1.5)))
    assert any("varies: --period gives it exactly" in said for said in uneven.decisions)
    given_s = load(tmp_path / "d.log", period_s=1.5)
    assert given_s.period_s == 1.5
    wrong = load(tmp_path / "a.log", period_s=0.1)
    assert any("though samples are 2 s apart" in said for said in wrong.decisions)


def test_one_missing_sample_is_a_gap_where_stamps_are_fine(tmp_path: Path) -> None:
    lines = jtop_lines([{"TOT": 1}] * 20)
    del lines[8]
    log = load(write_lines(tmp_path / "j.csv", lines))
    assert log.gaps.tolist() == [6]
    np.testing.assert_allclose(log.missing_s[1] - BEGIN_S, 7.398586, rtol=0, atol=1e-5)


def test_two_missing_samples_are_a_gap_where_stamps_are_whole_seconds(tmp_path: Path) -> None:
    lines = tegrastats_log([1] * 20)
    del lines[15:18], lines[5]
    log = load(write_lines(tmp_path / "t.log", lines))
    assert log.gaps.tolist() == [13]
    missing = log.missing_s - BEGIN_S
    np.testing.assert_array_equal(missing, [[-np.inf, -1], [15, 17], [20, np.inf]])


def test_a_log_without_times(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.log", tegrastats_log([5000, 6000], begin=None))
    log = load(path)
    assert (log.clock, log.period_s, log.gaps.size) == ("elapsed", None, 0)
    assert any("no times in the log" in said for said in log.decisions)
    np.testing.assert_array_equal(load(path, period_s=0.5).time_s, [0, 0.5])
    lines = [f"[10:00:0{i}] {line}" for i, line in enumerate(tegrastats_log([1, 2], begin=None))]
    log = load(write_lines(tmp_path / "ts.log", lines))
    assert any("'[10:00:00]' before RAM is not read as a time" in said for said in log.decisions)


def test_one_sample_has_no_period(tmp_path: Path) -> None:
    log = load(write_lines(tmp_path / "t.log", tegrastats_log([5000])))
    assert log.period_s is None
    assert any("--period" in said for said in log.decisions)


def test_the_clock_offset_moves_the_log(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.log", tegrastats_log([1] * 20, step_s=0.5))
    moved = load(path, clock_offset_s=-2.5)
    np.testing.assert_allclose(moved.time_s, load(path).time_s - 2.5, rtol=0, atol=1e-6)
    assert any("-2.5 s added" in said for said in moved.decisions)


@pytest.mark.parametrize(
    "options",
    [{"period_s": 0.0}, {"period_s": math.nan}, {"period_s": -1.0}, {"clock_offset_s": math.inf}],
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(DataError, match="--"):
        Options(**options)  # type: ignore[arg-type]
