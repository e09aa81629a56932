"""What is read from the logs of each program, and what is turned away."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from power_log_files import (
    BEGIN,
    ORIN,
    jtop_lines,
    nvidia_smi_lines,
    tegrastats_line,
    tegrastats_log,
    write_lines,
)

from t2m_bayes.errors import DataError
from t2m_bayes.power_logs import Options, PowerLog, load_power_log
from t2m_bayes.power_logs.formats import read_recording

BEGIN_S = 1744797600.0
"""2025-04-16 10:00:00 UTC in seconds since 1970."""

BOARDS = [
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"),
    ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"),
    ("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VIN"),
]

anywhere = settings(max_examples=50, suppress_health_check=list(HealthCheck))
milliwatts = st.integers(0, 150_000)


def load(path: Path, *rails: str, period_s: float | None = None) -> PowerLog:
    return load_power_log(path, Options(rails, period_s))


def refused(path: Path, *rails: str) -> str:
    with pytest.raises(DataError) as error:
        load(path, *rails)
    return str(error.value)


@anywhere
@given(data=st.data(), board=st.sampled_from(BOARDS), layout=st.sampled_from(["mW", "", "triple"]))
def test_every_layout_of_tegrastats_is_read_back(
    tmp_path: Path, data: st.DataObject, board: tuple[str, ...], layout: str
) -> None:
    samples = data.draw(
        st.lists(st.fixed_dictionaries(dict.fromkeys(board, milliwatts)), min_size=1, max_size=8)
    )
    stamp = data.draw(st.sampled_from(["", "%m-%d-%Y %H:%M:%S", "[%Y-%m-%dT%H:%M:%S.%f]", "epoch"]))
    lines = []
    for i, sample in enumerate(samples):
        when = BEGIN + timedelta(seconds=i)
        text = f"{BEGIN_S + i:.3f}" if stamp == "epoch" else f"{when:{stamp}}" if stamp else ""
        unit = "" if layout == "" else "mW"
        readings = 3 if layout == "triple" else 2
        lines.append(tegrastats_line(sample, text, unit=unit, readings=readings))
    recording = read_recording(write_lines(tmp_path / "t.log", lines))
    assert recording.format == "tegrastats"
    assert set(recording.rail_w) == set(board)
    for rail in board:
        np.testing.assert_allclose(recording.rail_w[rail], [s[rail] / 1e3 for s in samples])
    assert recording.timed == bool(stamp)
    if stamp:
        np.testing.assert_allclose(
            recording.stamps.wall_s, BEGIN_S + np.arange(len(samples)), rtol=0, atol=1e-6
        )
    assert recording.rejected == {}


@anywhere
@given(
    watts=st.lists(
        st.lists(st.floats(0, 700).map(lambda w: round(w, 2)), min_size=3, max_size=3),
        min_size=2,
        max_size=6,
    ),
    gpus=st.integers(1, 3),
    units=st.booleans(),
)
def test_every_layout_of_nvidia_smi_is_read_back(
    tmp_path: Path, watts: list[list[float]], gpus: int, units: bool
) -> None:
    samples = [dict(enumerate(sample[:gpus])) for sample in watts]
    lines = nvidia_smi_lines(samples, units=units, step_s=0.5)
    recording = read_recording(write_lines(tmp_path / "gpu.csv", lines))
    assert recording.format == "nvidia-smi"
    assert recording.default_rails == tuple(f"gpu{i}" for i in range(gpus))
    for gpu in range(gpus):
        np.testing.assert_allclose(recording.rail_w[f"gpu{gpu}"], [s[gpu] for s in samples])
    np.testing.assert_allclose(
        recording.stamps.wall_s, BEGIN_S + 0.5 * np.arange(len(samples)), rtol=0, atol=1e-6
    )


@anywhere
@given(
    names=st.lists(st.sampled_from([*ORIN, "GPU", "TOT"]), min_size=1, unique=True),
    data=st.data(),
)
def test_jtop_is_read_back(tmp_path: Path, names: list[str], data: st.DataObject) -> None:
    samples = data.draw(
        st.lists(st.fixed_dictionaries(dict.fromkeys(names, milliwatts)), min_size=1, max_size=8)
    )
    recording = read_recording(write_lines(tmp_path / "jtop.csv", jtop_lines(samples)))
    assert recording.format == "jtop"
    for rail in names:
        np.testing.assert_allclose(recording.rail_w[rail], [s[rail] / 1e3 for s in samples])
    assert recording.stamps.wall_s[0] == pytest.approx(BEGIN_S + 0.398586, abs=1e-5)


@pytest.mark.parametrize(
    ("board", "rails"),
    [
        (BOARDS[0], ("VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0")),
        (BOARDS[1], ("VDD_IN",)),
        (BOARDS[2], ("POM_5V_IN",)),
        (BOARDS[3], ("CPU", "CV", "GPU", "SOC", "SYS5V", "VDDRQ")),
        (BOARDS[4], ("VDD_IN",)),
        (BOARDS[5], ("VIN",)),
        (BOARDS[5][:3], ("VDD_CPU_SOC_MSS", "VDD_GPU", "VIN_SYS_5V0")),
    ],
)
def test_by_default_no_watt_counts_twice(
    tmp_path: Path, board: tuple[str, ...], rails: tuple[str, ...]
) -> None:
    powers = {rail: 1000 * 2**i for i, rail in enumerate(board)}
    lines = [tegrastats_line(powers, f"{BEGIN:%m-%d-%Y %H:%M:%S}")]
    log = load(write_lines(tmp_path / "t.log", lines))
    assert log.rails == rails
    assert log.power_w[0] == sum(powers[rail] for rail in rails) / 1e3
    assert any(", ".join(rails) in said and "the log has" in said for said in log.decisions)


def test_rails_can_be_chosen(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.log", tegrastats_log([5000, 7000]))
    log = load(path, "VIN_SYS_5V0", "VDD_GPU_SOC", "VDD_GPU_SOC")
    assert log.rails == ("VDD_GPU_SOC", "VIN_SYS_5V0")
    np.testing.assert_allclose(log.power_w, [9.032, 11.032])
    assert "no rail VDD_IN; the log has VDD_GPU_SOC, VDD_CPU_CV" in refused(path, "VDD_IN")
    both = load(path, "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    assert any("VDDQ_VDD2_1V8AO counted twice" in said for said in both.decisions)
    one = write_lines(tmp_path / "nx.log", [tegrastats_line({"VDD_IN": 5000, "VDD_SOC": 900})])
    assert any("VDD_SOC counted twice" in said for said in load(one, "VDD_IN", "VDD_SOC").decisions)


def test_jtops_total_counts_unless_it_counts_a_rail_twice(tmp_path: Path) -> None:
    nano = jtop_lines([{"VDD_CPU_GPU_CV": 1064, "VDD_SOC": 1540, "TOT": 5133}])
    assert load(write_lines(tmp_path / "a.csv", nano)).rails == ("TOT",)
    agx = jtop_lines([{**ORIN, "TOT": sum(ORIN.values())}])
    log = load(write_lines(tmp_path / "b.csv", agx))
    assert log.rails == ("VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0")
    assert log.power_w[0] == pytest.approx(5.474 + 1.2 + 4.032)
    nameless = jtop_lines([{"tj": 900, "TOT": 5133}])
    log = load(write_lines(tmp_path / "c.csv", nameless))
    assert list(log.rail_w) == ["TOT"]
    assert any("'Power tj' names no rail" in said for said in log.decisions)


def test_the_total_of_jtop_3(tmp_path: Path) -> None:
    lines = ["time,uptime,GPU,power cur,power avg", "2020-09-03 10:28:30.003209,1:02:03,0,4859,1"]
    log = load(write_lines(tmp_path / "j.csv", lines))
    assert log.rails == ("TOT",)
    np.testing.assert_allclose(log.power_w, [4.859])


def test_lines_of_other_boards_and_programs_are_turned_away(tmp_path: Path) -> None:
    lines = tegrastats_log([5000, 6000, 7000])
    lines.insert(1, "sudo: a password is required")
    lines.insert(2, "")
    lines.append(lines[-1] + " VDD_GPU_SOC 1mW/1mW")
    lines.append(tegrastats_line({"VDD_GPU_SOC": 1, "VDD_CPU_CV": 1}, "04-16-2025 10:00:09"))
    lines.append("04-16-2025 10:00:10 RAM 1/2MB (lfb 1x4MB) CPU [0%@729] APE 174")
    lines.append(tegrastats_line(ORIN))
    log = load(write_lines(tmp_path / "t.log", lines))
    assert len(log) == 3
    assert log.rejected == {
        "not a line of tegrastats": (2,),
        "a rail is there twice": (6,),
        "no reading of VIN_SYS_5V0": (7,),
        "no power rail": (8,),
        "no time": (9,),
    }


@pytest.mark.parametrize("cut", [2, 30, 80, 260, 290, 315])
def test_a_last_line_that_is_cut_short_is_named(tmp_path: Path, cut: int) -> None:
    lines = tegrastats_log([5000, 6000, 7000])
    lines[-1] = lines[-1][:cut]
    log = load(write_lines(tmp_path / "t.log", lines, end=""))
    np.testing.assert_allclose(log.power_w, [10.232, 11.232])
    assert log.rejected == {"the last line is cut short": (3,)}


def test_a_last_line_without_an_end_counts_if_nothing_is_missing(tmp_path: Path) -> None:
    for name, lines in {
        "t.log": tegrastats_log([5000, 6000]),
        "gpu.csv": nvidia_smi_lines([{0: 5.0}, {0: 6.0}], units=False),
        "jtop.csv": jtop_lines([{"TOT": 1}, {"TOT": 2}]),
    }.items():
        assert len(load(write_lines(tmp_path / name, lines, end=""))) == 2


def test_a_last_number_that_may_be_cut_does_not_count(tmp_path: Path) -> None:
    gpu = nvidia_smi_lines([{0: 150.25}, {0: 160.25}], units=False)
    gpu[-1] = gpu[-1][:-1]
    log = load(write_lines(tmp_path / "gpu.csv", gpu, end=""))
    np.testing.assert_allclose(log.power_w, [150.25])
    assert log.rejected == {"the last line is cut short": (3,)}
    jtop = ["time,uptime,Power TOT", "2025-04-16 10:00:00,1:00:00,5133"]
    jtop.append("2025-04-16 10:00:01,1:00:01,51")
    log = load(write_lines(tmp_path / "jtop.csv", jtop, end=""))
    np.testing.assert_allclose(log.power_w, [5.133])


def test_a_gpu_that_cannot_tell_its_power(tmp_path: Path) -> None:
    samples = [{0: 100.0, 1: 50.0}, {0: 110.0, 1: None}, {0: None, 1: 60.0}, {0: 120.0, 1: 70.0}]
    path = write_lines(tmp_path / "gpu.csv", nvidia_smi_lines(samples))
    log = load(path)
    np.testing.assert_allclose(log.power_w, [150, 190])
    assert log.rejected == {"no reading of gpu0": (6,), "no reading of gpu1": (4,)}
    np.testing.assert_allclose(load(path, "gpu0").power_w, [100, 110, 120])
    silent = nvidia_smi_lines([{0: None}, {0: None}])
    message = refused(write_lines(tmp_path / "none.csv", silent))
    assert "holds no power rails: no power reading (2 lines)" in message


def test_other_power_columns_of_nvidia_smi(tmp_path: Path) -> None:
    lines = [
        "timestamp, uuid, power.draw.average [W], power.draw.instant [W], power.limit [W]",
        "2025/04/16 10:00:00.000, GPU-1a, 50.00 W, 60.00 W, 450.00 W",
        "2025/04/16 10:00:00.001, GPU-2b, 5.00 W, [Not Supported], 450.00 W",
        "2025/04/16 10:00:01.000, GPU-1a, 51.00 W, 61.00 W, 450.00 W",
        "2025/04/16 10:00:01.001, GPU-2b, 6.00 W, [Not Supported], 450.00 W",
    ]
    log = load(write_lines(tmp_path / "gpu.csv", lines))
    assert list(log.rail_w) == ["gpu0.instant", "gpu0.average", "gpu1.average"]
    assert log.rails == ("gpu0.instant",)
    wanted = load(tmp_path / "gpu.csv", "gpu0.average", "gpu1.average")
    np.testing.assert_allclose(wanted.power_w, [55, 57])


def test_gpus_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    samples = [{0: 100.0 + i, 1: 50.0} for i in range(20)]
    message = refused(write_lines(tmp_path / "g.csv", nvidia_smi_lines(samples, index=False)))
    assert "several GPUs" in message
    assert "index, uuid" in message


def test_columns_without_headings_are_not_guessed(tmp_path: Path) -> None:
    lines = ["2025/04/16 10:00:00.000, 50.00, 450.00", "2025/04/16 10:00:01.000, 51.00, 450.00"]
    message = refused(write_lines(tmp_path / "g.csv", lines))
    assert "without headings, beginning with '2025/04/16 10:00:00.000, 50.00, 450.00'" in message
    named = ["timestamp,power.draw,power.limit", *lines]
    np.testing.assert_allclose(load(write_lines(tmp_path / "h.csv", named)).power_w, [50, 51])


def test_headings_that_come_again_are_skipped(tmp_path: Path) -> None:
    for lines in (nvidia_smi_lines([{0: 5.0}]), jtop_lines([{"TOT": 5000}])):
        log = load(write_lines(tmp_path / "log.csv", lines + lines), period_s=1.0)
        np.testing.assert_allclose(log.power_w, [5.0, 5.0])
        assert log.rejected == {}


def test_powershells_utf16_and_a_tail_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "gpu.csv"
    path.write_bytes("\r\n".join(nvidia_smi_lines([{0: 5.0}, {0: 6.0}])).encode("utf-16"))
    np.testing.assert_allclose(load(path).power_w, [5, 6])
    path.write_bytes("\n".join(tegrastats_log([5000])).encode() + b"\n" + bytes(500))
    assert len(load(path)) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"device,llm\ntegra,8B\n", "not a power log. It begins with 'device,llm'"),
        (b"hello.world\n", "not a power log"),
        (b"PK\x03\x04\xff\xfe" + bytes(range(256)) * 200, "not a power log"),
        (b"timestamp, utilization.gpu [%]\n2025/04/16 10:00:00.000, 5 %\n", "no power rails"),
        (b"time,uptime,CPU1\n2025-04-16 10:00:00,1:00:00,5\n", "no power rails"),
        (b"RAM 1/2MB (lfb 1x4MB) CPU [0%@729] APE 174\n", "no power rails"),
    ],
)
def test_what_is_no_power_log_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    assert words in refused(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.log")


def test_rails_of_two_boards_in_one_log_are_refused(tmp_path: Path) -> None:
    lines = [tegrastats_line({"VDD_IN": 5000}), tegrastats_line({"POM_5V_IN": 5000})]
    message = refused(write_lines(tmp_path / "t.log", lines))
    assert "no rail is in most samples" in message
    assert "VDD_IN, POM_5V_IN" in message


@anywhere
@given(st.lists(st.text(max_size=60), max_size=10))
def test_no_text_ends_in_anything_but_a_log_or_an_error(tmp_path: Path, lines: list[str]) -> None:
    heads = ["", "RAM 1/2MB VDD_IN 5mW/5mW", "time,uptime,Power TOT", "timestamp, power.draw [W]"]
    for head in heads:
        path = tmp_path / "any"
        path.write_text("\n".join([head, *lines]), encoding="utf-8", errors="surrogatepass")
        with suppress(DataError):
            assert len(load(path)) > 0
