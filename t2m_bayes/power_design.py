"""From a run table to power readings: which sensor, which window, which runs were in it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.blocks import block_names, find_blocks
from t2m_bayes.cards import catalog, machine_of
from t2m_bayes.errors import DataError
from t2m_bayes.schema import ENERGIES
from t2m_bayes.sensor import Sensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from t2m_bayes.schema import Runs

    Floats = NDArray[np.floating[Any]]
    Ints = NDArray[np.integer[Any]]

LONG_S: Final = 20.0
"""Decode time from which a run's mean power hardly depends on the window's ends, in seconds."""

SAME_RAILS: Final = 1.2
"""Factor within which the long readings of one LLM on one device lie if the rails are the same."""

REPEATED: Final = 3
"""Rows of one subject or file that share a reading, from which it counts as their common mean."""

UNSTATED: Final = "unstated rails"

SHOWING: Final = 5
"""Windows of a slow sensor that show a phase, from which a series has a level of its own for it.
Fewer cannot tell more power from a sample more, and two explanations are two modes that no chain
passes between."""

STALLED: Final = 1.5
"""Prefill time over the median of runs with prompts at least as long, from which it stalled."""

WHOLE_RUN, PREFILL, DECODE = 2, 0, 1
"""What a reading is of."""

PHASES: Final = ("prefill", "decode")
"""Names of :data:`PREFILL` and :data:`DECODE`."""

NUMBERS: Final = (
    *("input_tokens", "output_tokens", "prefill_s", "decode_s", "total_s", "energy_j", "power_w"),
    *("prefill_energy_j", "decode_energy_j", "n_power_samples", "sensor_period_s"),
)


@dataclass(frozen=True)
class PowerReadings:
    """Every run behind a power reading; runs with the same reading were read once, together.

    Attributes:
        sensors: The sensors.
        offsets: Rails whose level is stated against the usual ones', by an explicit offset.
        row: Row of the run table. shape: (entry,)
        series: Series of the run. shape: (entry,)
        sensor: Sensor of the reading. shape: (entry,)
        reading: Number of the entry's reading; equal for runs read together. shape: (entry,)
        power_w: The reading, in watts. shape: (entry,)
        samples: Samples in its window, 0 where unknown. shape: (entry,)
        part: :data:`PREFILL`, :data:`DECODE` or :data:`WHOLE_RUN`. shape: (entry,)
        block: Block of a reading of one phase, -1 where it has none. shape: (entry,)
        blocks: Group and name of each block; a group is twice the series plus the phase.
        input_tokens: Prompt length, NaN where unknown. shape: (entry,)
        output_tokens: Generated tokens. shape: (entry,)
        prefill_s: Prefill time, NaN where unknown. shape: (entry,)
        decode_s: Decode time. shape: (entry,)
    """

    sensors: tuple[Sensor, ...]
    offsets: tuple[str, ...]
    row: Ints
    series: Ints
    sensor: Ints
    reading: Ints
    power_w: Floats
    samples: Floats
    part: Ints
    block: Ints
    blocks: tuple[tuple[int, str], ...]
    input_tokens: Floats
    output_tokens: Floats
    prefill_s: Floats
    decode_s: Floats

    def subset(self, rows: NDArray[np.bool_]) -> PowerReadings:
        """Return the readings of some rows of the run table.

        Args:
            rows: Which rows to keep. shape: (row,)
        """
        return self.take(rows[self.row])

    def take(self, keep: NDArray[np.bool_]) -> PowerReadings:
        """Return some of the entries.

        Args:
            keep: Which. shape: (entry,)
        """
        arrays: dict[str, Any] = {
            f.name: value[keep]
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), np.ndarray)
        }
        return replace(self, **arrays)

    def kind(self, *kinds: str) -> NDArray[np.bool_]:
        """Return which entries were read by sensors of these kinds. shape: (entry,)."""
        return np.array([s.kind in kinds for s in self.sensors], dtype=bool)[self.sensor]

    def busy(self, series: int) -> Ints:
        """Return how many readings pin the power of each phase of each series.

        Windows of a slow sensor do so only where :data:`SHOWING` of them show the phase.

        Args:
            series: Number of series.

        Returns:
            Counts. shape: (series, 2)
        """
        return self._counts(self._shows() & ~self.loose(series), series)

    def loose(self, series: int) -> NDArray[np.bool_]:
        """Return which windows show a phase that too few others of their series show.

        Args:
            series: Number of series.

        Returns:
            Of each phase. shape: (entry, 2)
        """
        windows = self._shows() & self.kind("window")[:, None]
        return windows & (self._counts(windows, series) < SHOWING)[self.series]

    def _shows(self) -> NDArray[np.bool_]:
        """Return which readings show each phase busy. shape: (entry, 2).

        A slow sensor sees a phase only where its time has room for a whole sample, and a prefill
        that stalled shows a chip that waits; a mean over whole runs is decode's but for a per cent.
        """
        period = np.array([s.period_s for s in self.sensors])[self.sensor]
        seconds = np.c_[np.nan_to_num(self.prefill_s), self.decode_s]
        shows = np.array((seconds > 0) & (seconds >= period[:, None]))
        shows &= self.part[:, None] != [DECODE, PREFILL]
        shows[:, PREFILL] &= ~self.kind("mean") | (self.decode_s == 0)
        shows[:, PREFILL] &= ~self.stalled()
        return shows

    def stalled(self) -> NDArray[np.bool_]:
        """Return in which windows prefill took far longer than that of prompts at least as long.

        Returns:
            Of each entry; ``False`` for other kinds of reading. shape: (entry,)
        """
        import pandas as pd

        read = {"series": self.series, "tokens": self.input_tokens, "prefill_s": self.prefill_s}
        runs = pd.DataFrame(read)[self.kind("window")].dropna()
        runs = runs.sort_values(["series", "tokens"], ascending=[True, False])
        longer = runs.groupby("series")["prefill_s"].expanding().median().droplevel(0)
        # Of prompts of one length, the last has all of them behind it.
        usual = longer.groupby([runs["series"], runs["tokens"]]).transform("last")
        held = np.zeros(self.series.size, dtype=bool)
        held[runs.index] = runs["prefill_s"] > STALLED * usual
        return held

    def _counts(self, entries: NDArray[np.bool_], series: int) -> Ints:
        """Return how many of some entries each series has. shape: (series, 2)."""
        return np.stack([np.bincount(self.series[of], minlength=series) for of in entries.T], -1)

    def idle(self, series: int) -> Ints:
        """Return how many readings show each series idle. shape: (series,).

        A window holds idle samples; what a fast sensor shows of a phase begins at idling.

        Args:
            series: Number of series.
        """
        return np.bincount(self.series[self.kind("window", "phase")], minlength=series)


def make_power_readings(
    frame: pd.DataFrame, series: Ints, *, rail_offset: bool = False
) -> PowerReadings | None:
    """Find the power readings of a run table.

    A reading is, of what a row has: its energy by phase; its energy over the samples of its
    window; its mean power; its energy over its time. A mean that a column ``power_window`` calls
    the subject's or the file's, or that repeats over one, is one reading of all its runs.

    Args:
        frame: A validated run table, with rows numbered from 0.
        series: Series of each row. shape: (row,)
        rail_offset: Pool readings of different rails, with an offset of its own for each.

    Returns:
        The readings; ``None`` where no run has any.

    Raises:
        DataError: Readings of one device are of different rails and ``rail_offset`` is off.
    """
    table = _timed(frame)
    entries = _entries(frame, table)
    if entries.empty:
        return None
    of_row = entries["row"].to_numpy()
    machine = np.array([machine_of(str(d)) for d in frame["device"]])[of_row]
    rails = np.array(_rails(frame, rail_offset))[of_row]
    period = np.where(entries["kind"] == "window", table["sensor_period_s"].to_numpy()[of_row], 0.0)
    described = list(
        zip(
            machine.tolist(), rails.tolist(), entries["kind"].tolist(), period.tolist(), strict=True
        )
    )
    sensors = {key: Sensor(*key) for key in dict.fromkeys(described)}
    number = {key: i for i, key in enumerate(sensors)}
    part = entries["part"].to_numpy(np.int32)
    prompts, names = block_names(frame.assign(output_tokens=0)), block_names(frame)
    # A fast sensor reads each phase by itself; a slow one has noise enough of its own.
    phased = (entries["kind"] == "phase").to_numpy()
    shared = np.where(part == PREFILL, prompts[of_row], names[of_row])
    blocks, block = find_blocks(2 * series[of_row] + part, np.where(phased, shared, ""))
    readings = PowerReadings(
        sensors=tuple(sensors.values()),
        offsets=(),
        row=of_row,
        series=series[of_row].astype(np.int32),
        sensor=np.array([number[key] for key in described], dtype=np.int32),
        reading=entries.groupby("key", sort=False).ngroup().to_numpy(np.int32),
        power_w=entries["power_w"].to_numpy(float),
        samples=np.nan_to_num(table["n_power_samples"].to_numpy(float)[of_row]),
        part=part,
        block=block,
        blocks=blocks,
        input_tokens=table["input_tokens"].to_numpy(float)[of_row],
        output_tokens=table["output_tokens"].to_numpy(float)[of_row],
        prefill_s=table["prefill_s"].to_numpy(float)[of_row],
        decode_s=table["decode_s"].to_numpy(float)[of_row],
    )
    if not rail_offset:
        _refuse_mixed_rails(frame, readings)
    return replace(readings, offsets=_offsets(readings))


def parse_rails(pairs: Sequence[str]) -> dict[str, str]:
    """Return source to rails of texts ``SOURCE=NAME``.

    Raises:
        DataError: A text has no ``=``, or nothing on a side of it.
    """
    named = {}
    for pair in pairs:
        source, _, rails = pair.rpartition("=")
        if not source or not rails:
            raise DataError(f"--rails must be SOURCE=NAME, such as sweep=GPU+SOC; found {pair!r}")
        named[source] = rails
    return named


def named_rails(runs: Runs, rails: Mapping[str, str]) -> Runs:
    """Return runs with the rails that their sources sum; rows that name their own keep them.

    Args:
        runs: The runs.
        rails: Source (the run table's column ``source``) to rails.

    Raises:
        DataError: No row is of a source.
    """
    if not rails:
        return runs
    known = set(runs.frame["source"])
    if unknown := sorted(set(rails) - known):
        raise DataError(
            f"no rows of the source {', '.join(unknown)}: the sources are "
            f"{', '.join(sorted(known))}"
        )
    said = runs.frame["source"].map(dict(rails)).astype(object)
    if "rails" in runs.frame:
        said = runs.frame["rails"].where(runs.frame["rails"].notna(), said)
    return replace(runs, frame=runs.frame.assign(rails=said))


def without_power(runs: Runs) -> Runs:
    """Return runs without their readings of energy and power."""
    return replace(runs, frame=runs.frame.drop(columns=list(ENERGIES), errors="ignore"))


def measured_energy(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the columns of energy and power with only what a sensor reported of a single run.

    A power that is the mean of many runs is no reading of each; nor is an energy that somebody
    computed as power times time, where the sensor sums samples of a window with idle time in it.

    Args:
        frame: A run table, or some of its rows.

    Returns:
        Those of ``energy_j, power_w, prefill_energy_j, decode_energy_j`` that the table has, NaN
        where there is no reading. shape: (row,)
    """
    rows = frame.reset_index(drop=True)
    table = _timed(rows)
    phased = table[["prefill_energy_j", "decode_energy_j"]].notna().any(axis=1)
    counted = table["n_power_samples"].notna()
    shared = _shared(rows, table)
    own = np.array([key is None for key in shared], dtype=bool)
    summed = phased | counted | table["sensor_period_s"].isna()
    keep = {"energy_j": own & summed, "power_w": own}
    return {
        name: np.where(keep.get(name, True), table[name], np.nan)
        for name in ENERGIES
        if name in frame
    }


def with_windows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a run table that says of which runs a power that repeats is the mean.

    A part of a table can hold one run of a subject, whose power then looks like its own.

    Args:
        frame: A validated run table, with rows numbered from 0.

    Returns:
        The table, with ``power_window`` filled in where it was not stated.
    """
    shared = _shared(frame, _timed(frame))
    if not any(shared):
        return frame
    stated = frame["power_window"] if "power_window" in frame else [None] * len(frame)
    windows = [key[0] if key else said for key, said in zip(shared, stated, strict=True)]
    return frame.assign(power_window=windows)


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of each row, with phases completed from totals and periods from cards."""
    import pandas as pd

    table = pd.DataFrame(
        {
            n: frame[n].to_numpy(float) if n in frame else np.full(len(frame), np.nan)
            for n in NUMBERS
        }
    )
    table["decode_s"] = table["decode_s"].fillna(0.0)
    table["prefill_s"] = table["prefill_s"].fillna(table["total_s"] - table["decode_s"])
    for name in frame["device"].unique():
        card = catalog().device(machine_of(str(name)))
        if card is not None and card.sensor_period_s:
            own = (frame["device"] == name).to_numpy()
            table.loc[own, "sensor_period_s"] = table.loc[own, "sensor_period_s"].fillna(
                card.sensor_period_s
            )
    return table


def _entries(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return ``row, kind, part, power_w, key`` of each run behind a reading."""
    import pandas as pd

    found = []
    phased = np.zeros(len(table), dtype=bool)
    for part, phase in ((PREFILL, "prefill"), (DECODE, "decode")):
        power = table[f"{phase}_energy_j"] / table[f"{phase}_s"].where(table[f"{phase}_s"] > 0)
        rows = np.flatnonzero(power > 0)
        phased[rows] = True
        keys = [(part, r) for r in rows.tolist()]
        found.append((rows, "phase", part, power.to_numpy()[rows], keys))

    seconds = table["prefill_s"].fillna(0.0) + table["decode_s"]
    window = table["energy_j"] / (table["n_power_samples"] * table["sensor_period_s"])
    power = window.fillna(table["power_w"]).fillna(table["energy_j"] / seconds.where(seconds > 0))
    usable = (power > 0).to_numpy() & ~phased
    shared = _shared(frame, table)
    own = np.array([key is None for key in shared], dtype=bool)
    slow = own & table["sensor_period_s"].notna().to_numpy()
    timed = (seconds > 0).to_numpy()
    for rows, kind in (
        (np.flatnonzero(usable & slow), "window"),
        (np.flatnonzero(usable & ~slow & timed), "mean"),
    ):
        keys = [shared[r] or (WHOLE_RUN, r) for r in rows.tolist()]
        found.append((rows, kind, WHOLE_RUN, power.to_numpy()[rows], keys))
    return pd.concat(
        [
            pd.DataFrame(
                {"row": r, "kind": k, "part": p, "power_w": w, "key": pd.Series(keys, dtype=object)}
            )
            for r, k, p, w, keys in found
        ],
        ignore_index=True,
    )


def _rails(frame: pd.DataFrame, rail_offset: bool) -> list[str]:
    """Return each row's rails; with offsets, unstated ones go by the source they came from."""
    stated = frame["rails"] if "rails" in frame else [None] * len(frame)
    sources = frame["source"] if "source" in frame else [UNSTATED] * len(frame)
    return [
        str(rails) if isinstance(rails, str) and rails else str(source) if rail_offset else UNSTATED
        for rails, source in zip(stated, sources, strict=True)
    ]


def _shared(frame: pd.DataFrame, table: pd.DataFrame) -> list[tuple[Any, ...] | None]:
    """Return what names the common window of a row's reading; ``None`` for a window of its own."""
    power_w = table["power_w"].where(table["n_power_samples"].isna())
    shared: list[tuple[Any, ...] | None] = [None] * len(frame)
    said = frame["power_window"].to_numpy() if "power_window" in frame else [None] * len(frame)
    series = [frame[k].to_numpy() for k in ("device", "llm", "session")]
    by_subject = [*series, frame["subject"].to_numpy()] if "subject" in frame else None
    for by, keys in (("subject", by_subject), ("file", series)):
        if keys is None:
            continue
        for key, rows in power_w.groupby(keys, dropna=True).indices.items():
            values = power_w.to_numpy()[rows]
            repeats = (
                np.isfinite(values).sum() >= REPEATED and np.ptp(values[np.isfinite(values)]) == 0
            )
            for r in rows:
                if shared[r] is None and (
                    said[r] == by or (repeats and not isinstance(said[r], str))
                ):
                    shared[r] = (by, key)
    return shared


def _offsets(readings: PowerReadings) -> tuple[str, ...]:
    """Return all rails but those with the most readings, whose level the others are offset from."""
    counts: dict[str, int] = {}
    for i, sensor in enumerate(readings.sensors):
        read = np.unique(readings.reading[readings.sensor == i]).size
        counts[sensor.rails] = counts.get(sensor.rails, 0) + read
    usual = max(counts, key=lambda rails: counts[rails])
    return tuple(rails for rails in counts if rails != usual)


def _refuse_mixed_rails(frame: pd.DataFrame, readings: PowerReadings) -> None:
    """Raise where readings of different rails would be pooled in absolute terms.

    Raises:
        DataError: The rails of one machine differ by name; or, unstated, the long readings of
            one LLM differ between sources by more than a sensor's error.
    """
    way_out = (
        "Power of different rails is never pooled in absolute terms. Fit them apart; or say which "
        "rails each source sums, with --rails SOURCE=NAME or a `rails` column, and add "
        "--rail-offset to give each its own level; or fit times alone with --no-power"
    )
    for machine in {s.machine for s in readings.sensors}:
        names = sorted({s.rails for s in readings.sensors if s.machine == machine})
        if len(names) > 1:
            raise DataError(
                f"power of {machine} was read on different rails: {', '.join(names)}. {way_out}"
            )
    if "source" not in frame:
        return
    long = readings.take((readings.decode_s >= LONG_S) & (readings.part != PREFILL))
    source = frame["source"].to_numpy(str)[long.row]
    cell = (frame["llm"] + " on " + frame["device"]).to_numpy(str)[long.row]
    for name in np.unique(cell):
        typical = {
            s: float(np.median(long.power_w[of]))
            for s in np.unique(source)
            if (of := (cell == name) & (source == s)).sum() >= REPEATED
        }
        if len(typical) > 1 and max(typical.values()) > SAME_RAILS * min(typical.values()):
            said = ", ".join(f"{w:.1f} W in {s}" for s, w in typical.items())
            raise DataError(f"long runs of {name} read {said}: not the same rails. {way_out}")
