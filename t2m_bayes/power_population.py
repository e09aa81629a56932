"""The power of one LLM on one device, as draws, and what a sensor would show of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from t2m_bayes.cards import catalog, machine_of
from t2m_bayes.errors import DataError
from t2m_bayes.formulas import decode_power, paced_power
from t2m_bayes.power_design import DECODE, PHASES, PREFILL
from t2m_bayes.priors import POWER_SPREAD, REFERENCE_PARAMS_B, SESSION_TAIL, device_rates
from t2m_bayes.sensor import (
    lagged_phases,
    window_error_w,
    window_offset,
    window_sum_sd_w,
    window_sum_w,
)
from t2m_bayes.sessions import block_spread, device_draws, prior_draws, same_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit
    from t2m_bayes.sensor import Sensor

    Floats = NDArray[np.floating[Any]]

MOST_SAMPLES: Final = 1e9
"""Samples at which a window is cut: thirty years of one a second."""

MOST_IDLE: Final = np.log(5)
"""Most by which a session's idle power differs from its device's, in logs: beyond, it is busy."""

View = Literal["chip", "sensor"]
"""Whose energy is predicted: what the chip uses, or what its sensor would report."""


@dataclass(frozen=True)
class SensorDraws:
    """Draws of how a device's sensor reads. Arrays have shape (sample,).

    Attributes:
        sensor: The sensor.
        rails: What its rails sum, relative to the usual ones.
        tail: Degrees of freedom of its error.
        noise: Relative scale of its error.
        error: Absolute scale of a window's sum that is due to the run's ends, in watts times
            samples.
        idle_error: The same, due to idle samples.
        ends_w: What the samples at a run's ends add to a window's sum, in watts.
        phase: Median offset of a window, in periods.
        drift: By how much that of a long run is larger, in periods.
        jitter: Scale of the offset of a long run, in periods.
        slip: Length of run at which half of that has come about, in periods.
        idle_share: Share of windows by their idle samples. shape: (sample, idle_samples)
        prefill_lag_s: Time constant of a fast sensor in prefill.
        decode_lag_s: The same in decode.
        keep: Share of what prefill had reached with which decode begins.
    """

    sensor: Sensor
    rails: Floats
    tail: Floats
    noise: Floats
    error: Floats
    idle_error: Floats
    ends_w: Floats
    phase: Floats
    drift: Floats
    jitter: Floats
    slip: Floats
    idle_share: Floats
    prefill_lag_s: Floats
    decode_lag_s: Floats
    keep: Floats


@dataclass(frozen=True)
class PowerDraws:
    """Draws of the power of one LLM on one device in one session. Arrays have shape (sample,).

    Attributes:
        idle_w: Idle power, in watts.
        prefill_w: Power of prefill.
        decode_w: Power of decode at ``formulas.REFERENCE_CONTEXT`` tokens.
        prefill_block: What the block of these runs multiplies prefill's power by; 1 where no fast
            sensor could show it.
        decode_block: The same of decode.
        exponent: Exponent by which that changes with the mean context.
        dynamic: Share of it that is the energy of steps, however long they last.
        shown: The sensor whose readings are predicted; ``None`` for the chip's own power.
        warnings: What limits the trust in these draws.
    """

    idle_w: Floats
    prefill_w: Floats
    decode_w: Floats
    prefill_block: Floats
    decode_block: Floats
    exponent: Floats
    dynamic: Floats
    shown: SensorDraws | None
    warnings: tuple[str, ...] = ()

    def single(self) -> PowerDraws:
        """Return the same draws in single precision."""
        shown = self.shown and _single(self.shown)
        return replace(_single(self), shown=shown)

    def metrics(
        self,
        prefill_s: Floats,
        decode_s: Floats,
        context: Floats,
        usual_decode_s: Floats,
        z: PowerNoise | None,
        *,
        blocks: bool,
    ) -> dict[str, Floats]:
        """Return the energy and power of runs.

        Args:
            prefill_s: Prefill times. shape: (request, sample)
            decode_s: Decode times, 0 where there is no decode. Same shape.
            context: Mean context, in tokens. shape: (request, 1 or sample)
            usual_decode_s: Decode times at the usual pace of their block. shape: (request, sample)
            z: Noise of the sensor; ``None`` for expected values, and for the chip.
            blocks: Whether to include what the runs' block adds.

        Returns:
            ``energy_j, power_w, prefill_energy_j, decode_energy_j``. shape: (request, sample)
        """
        pace = usual_decode_s / np.maximum(decode_s, np.finfo(decode_s.dtype).tiny)
        decode_w = decode_power(self.decode_w, self.exponent, context)
        decode_w = paced_power(decode_w, self.dynamic, pace)
        if self.shown is not None and self.shown.sensor.kind == "window":
            return self._window(self.shown, prefill_s, decode_s, decode_w, z)
        prefill_w = self.prefill_w
        if self.shown is not None:
            prefill_w, decode_w = self._shown(self.shown, prefill_s, decode_s, decode_w, z)
        if blocks:
            prefill_w, decode_w = prefill_w * self.prefill_block, decode_w * self.decode_block
        prefill_j = prefill_w * prefill_s
        decode_j = decode_w * decode_s
        energy_j = prefill_j + decode_j
        return {
            "energy_j": energy_j,
            "power_w": energy_j / (prefill_s + decode_s),
            "prefill_energy_j": prefill_j,
            "decode_energy_j": decode_j,
        }

    def _shown(
        self,
        shown: SensorDraws,
        prefill_s: Floats,
        decode_s: Floats,
        decode_w: Floats,
        z: PowerNoise | None,
    ) -> tuple[Floats, Floats]:
        """Return what a sensor that follows the chip shows of both phases, in watts."""
        prefill_w = self.prefill_w
        if shown.sensor.kind == "phase":
            prefill_w, decode_w = lagged_phases(
                self.idle_w,
                prefill_w,
                decode_w,
                prefill_s,
                np.maximum(decode_s, np.finfo(decode_s.dtype).tiny),
                (shown.prefill_lag_s, shown.decode_lag_s),
                shown.keep,
            )
        factor = shown.rails
        if z is not None:
            factor = factor * np.exp(np.clip(shown.noise * z.reading, -5, 5))
        return prefill_w * factor, decode_w * factor

    def _window(
        self,
        shown: SensorDraws,
        prefill_s: Floats,
        decode_s: Floats,
        decode_w: Floats,
        z: PowerNoise | None,
    ) -> dict[str, Floats]:
        """Return what a slow sensor shows: sums of whole samples, idle ones among them."""
        period = shown.sensor.period_s
        prefill, busy = (
            np.minimum(x / period, MOST_SAMPLES) for x in (prefill_s, prefill_s + decode_s)
        )
        median, scale = window_offset(busy, shown.phase, shown.drift, shown.jitter, shown.slip)
        if z is None:
            # A floor of a number whose fraction is spread evenly loses half on average.
            offset = median - 0.5
            split, whole = (np.maximum(x + offset, 0) for x in (prefill, busy))
            idle = np.asarray(shown.idle_share @ np.arange(shown.idle_share.shape[1], dtype=float))
        else:
            offset = median + scale * z.offset
            split, whole = (np.maximum(np.floor(x + offset), 0) for x in (prefill, busy))
            below = z.idle[..., None] > np.cumsum(shown.idle_share, axis=1)
            idle = below.sum(axis=-1).astype(prefill.dtype)
        split = np.where(decode_s > 0, np.minimum(split, whole), whole)
        idle = np.where(idle + whole > 0, idle, 1)
        samples = idle + whole
        parts = self.idle_w, self.prefill_w, decode_w, shown.ends_w
        total = window_sum_w(idle, split, whole - split, *parts)
        if z is not None:
            error = window_error_w(whole, shown.error, shown.idle_error)
            total = total + window_sum_sd_w(shown.noise, error, total) * z.reading
            total = np.maximum(total, 0)
        total = total * shown.rails
        return {
            "energy_j": total * period,
            "power_w": total / samples,
            "prefill_energy_j": split * self.prefill_w * shown.rails * period,
            "decode_energy_j": (whole - split) * decode_w * shown.rails * period,
        }


@dataclass(frozen=True)
class PowerNoise:
    """Noise of a sensor's readings. Arrays have shape (request, sample).

    Attributes:
        reading: Student-t.
        offset: Logistic.
        idle: Uniform.
    """

    reading: Floats
    offset: Floats
    idle: Floats


def sensed(fit: Fit, devices: Iterable[str]) -> bool:
    """Return whether a fit knows a power sensor of each of some devices."""
    machines = {machine_of(device) for device in devices}
    return bool(fit.sensors) and machines <= {s.machine for s in fit.sensors}


def power_draws(
    fit: Fit,
    llm: str,
    device: str,
    *,
    params_b: float,
    series: Sequence[int],
    session: str,
    label: str | None,
    view: View,
    normal: Callable[[], Floats],
) -> PowerDraws | None:
    """Return the power draws of one LLM on one device.

    Args:
        fit: The fit.
        llm: The LLM.
        device: The device.
        params_b: Its size, in billions of parameters.
        series: Series of the cell in the fit; none for a new cell.
        session: ``new`` or ``same``.
        label: With ``same``: the session's name; without one the session with the most readings.
        view: ``chip``, or ``sensor`` for what the device's sensor would report.
        normal: Draws standard normals. shape: (sample,)

    Returns:
        The draws; ``None`` where the fit has no power at all.

    Raises:
        DataError: ``sensor`` is asked for and the fit knows no sensor of the device.
    """
    if not fit.sensors:
        if view == "sensor":
            raise DataError("the fit has no power readings, so it knows no sensor")
        return None
    coords = fit.coords
    m = coords.llms.index(llm) if llm in coords.llms else None
    d = coords.devices.index(device) if device in coords.devices else None
    cell = coords.cells.index((m, d)) if series and m is not None and d is not None else None
    size = np.log(params_b / REFERENCE_PARAMS_B)
    rates = device_rates(device, catalog())

    def of_device(name: str, expected: float) -> Floats:
        if d is not None:
            return np.asarray(fit.flat(name)[:, d])
        return np.asarray(np.log(expected) + POWER_SPREAD * normal())

    def pick(count: str) -> int | None:
        return same_session(fit, series, count, session, label)

    machine = machine_of(device)
    fast = any(s.kind == "phase" and s.machine == machine for s in fit.sensors)
    noise = np.exp(fit.flat("log_noise_power") + fit.flat("spread_noise_power") * normal())

    def busy(phase: str) -> tuple[Floats, Floats]:
        level = of_device(f"log_{phase}_w_device", rates.busy_w)
        slope, tau = fit.flat(f"slope_{phase}_w"), fit.flat(f"tau_{phase}_w")
        own = fit.flat(f"log_{phase}_w")[:, cell] if cell is not None else None
        usual = own if own is not None else level + slope * size + tau * normal()
        chosen = pick(f"{phase}_power")
        at = None if chosen is None else (chosen, PHASES.index(phase))
        spread = block_spread(fit, "power", at, noise, normal) if fast else np.zeros_like(noise)
        block = np.exp(spread * normal())
        if chosen is not None:
            return np.exp(fit.flat(f"log_{phase}_w_series")[:, chosen]), block
        return np.exp(usual + fit.flat("tau_session_power") * normal()), block

    chosen = pick("idle_power")
    idle = (
        fit.flat("log_idle_series")[:, chosen]
        if chosen is not None
        else of_device("log_idle", rates.idle_w)
        + np.clip(fit.flat("tau_session_idle") * _session_deviate(normal), -MOST_IDLE, MOST_IDLE)
    )
    exponent = (
        fit.flat("power_context_cell")[:, cell]
        if cell is not None
        else fit.flat("power_context") + fit.flat("tau_power_context") * normal()
    )
    logit_dynamic = (
        fit.flat("logit_dynamic")[:, cell]
        if cell is not None
        else prior_draws(fit, "logit_dynamic", normal)
    )
    (prefill_w, prefill_block), (decode_w, decode_block) = busy("prefill"), busy("decode")
    return PowerDraws(
        idle_w=np.exp(idle),
        prefill_w=prefill_w,
        decode_w=decode_w,
        prefill_block=prefill_block,
        decode_block=decode_block,
        exponent=exponent,
        dynamic=1 / (1 + np.exp(-logit_dynamic)),
        shown=None if view == "chip" else _sensor_draws(fit, device, pick, noise, normal),
        warnings=_warnings(fit, llm, device, series),
    )


def _session_deviate(normal: Callable[[], Floats]) -> Floats:
    """Return draws of Student's t of :data:`t2m_bayes.priors.SESSION_TAIL` degrees of freedom."""
    squares = sum(normal() ** 2 for _ in range(SESSION_TAIL))
    return np.asarray(normal() / np.sqrt(squares / SESSION_TAIL))


def _sensor_draws(
    fit: Fit,
    device: str,
    pick: Callable[[str], int | None],
    noise: Floats,
    normal: Callable[[], Floats],
) -> SensorDraws:
    machine = machine_of(device)
    own = [i for i, s in enumerate(fit.sensors) if s.machine == machine]
    if not own:
        raise DataError(
            f"the fit knows no power sensor of {machine}: it knows "
            f"{', '.join(s.name() for s in fit.sensors)}"
        )
    # What a device reports of a run: its windows, else its phases, else its means.
    i = min(own, key=lambda i: ("window", "phase", "mean").index(fit.sensors[i].kind))
    sensor = fit.sensors[i]
    nothing = np.full(fit.shape[0] * fit.shape[1], np.nan)

    def whole(name: str) -> Floats:
        return fit.flat(name) if name in fit.draws else nothing

    def lag(part: int) -> Floats:
        if "log_sensor_lag" not in fit.draws:
            return nothing
        chosen = pick("decode_power")
        if chosen is not None:
            return np.exp(fit.flat(f"log_{PHASES[part]}_lag_series")[:, chosen])
        spread = fit.flat("spread_sensor_lag")
        return np.exp(fit.flat("log_sensor_lag")[:, part] + spread * normal())

    chosen = pick("idle_power" if sensor.kind == "window" else "decode_power")

    def level(name: str) -> Floats:
        if name not in fit.draws:
            return nothing
        if chosen is not None:
            return fit.flat(f"{name}_series")[:, chosen]
        spread = fit.flat(f"spread_{name.removeprefix('log_')}")
        return fit.flat(name) + spread * normal()

    def between(name: str) -> Floats:
        return device_draws(fit, name, device, normal) if name in fit.draws else nothing

    offsets = fit.rail_offsets
    return SensorDraws(
        sensor=sensor,
        rails=np.exp(fit.flat("rail_offset")[:, offsets.index(sensor.rails)])
        if sensor.rails in offsets
        else np.ones(nothing.size),
        tail=fit.flat("tail_power"),
        noise=noise if chosen is None else np.exp(level("log_noise_power")),
        error=np.exp(level("log_sample_error")),
        idle_error=np.exp(level("log_idle_error")),
        ends_w=level("ends_w"),
        phase=level("sample_phase"),
        drift=whole("sample_drift"),
        jitter=np.exp(level("log_sample_jitter")),
        slip=whole("sample_slip"),
        idle_share=fit.flat("idle_share")[:, i] if "idle_share" in fit.draws else nothing,
        prefill_lag_s=lag(PREFILL),
        decode_lag_s=lag(DECODE),
        keep=np.exp(between("log_keep")),
    )


def _warnings(fit: Fit, llm: str, device: str, series: Sequence[int]) -> tuple[str, ...]:
    """Say which phase too few readings show busy, and why that makes its band wide."""
    read = {phase: sum(getattr(fit.reads[s], f"{phase}_power") for s in series) for phase in PHASES}
    said = []
    for phase, count in read.items():
        if not count:
            said.append(
                f"too few power readings show {llm} on {device} busy in {phase}: its {phase} power "
                "is inferred from other LLMs and datasheets, and its band is wide"
            )
    return tuple(said)


def _single[T: (PowerDraws, SensorDraws)](draws: T) -> T:
    arrays: dict[str, Any] = {
        name: value.astype(np.float32)
        for name, value in vars(draws).items()
        if isinstance(value, np.ndarray)
    }
    return replace(draws, **arrays)
