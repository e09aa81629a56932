"""What a power sensor shows of a run, once, in plain arithmetic for NumPy and PyTensor alike.

A slow sensor (tegrastats) takes whole samples of a window that holds idle time as well; a fast one
integrates each phase, but follows the chip with a lag. Fits that take either for the chip find a
power that depends on the prompt; most of that is the sensor.
"""

from dataclasses import dataclass
from math import e
from typing import Any, Final, Literal

IDLE_SAMPLES: Final = 5
"""Ways of a slow sensor's window to hold idle samples: 0 to 4."""

USUAL_IDLE: Final = 2
"""Idle samples of a window: one before the run and one after."""

IN_STEP: Final = 0.1
"""Scale of a slow sensor's offset at the start of a run, as a share of its scale in long ones."""

STEP_W: Final = 0.39
"""Step in which a slow sensor reads a sample, in watts: the amplifier's 20 mA at the 19.7 V of the
rail of a Jetson AGX Orin; the public sweeps' sums of samples lie on its multiples. Readings that
come out equal are then no proof of a sensor without error."""

LEAST_STEP: Final = 0.1
"""Step of power, as a share of it, below which its size makes no difference to what is known of a
fast sensor's lag."""


@dataclass(frozen=True)
class Sensor:
    """How the power of some runs was read.

    Attributes:
        machine: The device, without its engine.
        rails: The supply rails that were summed.
        kind: ``window``, whole samples of a window with idle time in it; ``phase``, an integral
            over prefill or decode; ``mean``, an average over a whole run or many of them.
        period_s: Time between two samples; 0 where it does not matter.
    """

    machine: str
    rails: str
    kind: Literal["window", "phase", "mean"]
    period_s: float

    def name(self) -> str:
        """Return a name for tables."""
        period = f", {self.period_s:g} s" if self.period_s else ""
        return f"{self.machine}, {self.rails}: {self.kind}{period}"


def window_offset(busy: Any, phase: Any, drift: Any, jitter: Any, slip: Any) -> tuple[Any, Any]:
    """Return median and scale of a window's offset.

    A run of ``b`` periods shows in ``floor(b + offset)`` whole samples. The logger starts with the
    run, and their clocks slip: both grow by ``b / (b + slip)``.

    Args:
        busy: Length of the run, in sensor periods.
        phase: Median of the offset of a run of no length, in periods.
        drift: By how much that of a long run is larger, in periods.
        jitter: Scale of the offset of a long run, in periods.
        slip: Length of run at which half of that has come about, in periods.
    """
    grown = busy / (busy + slip)
    return phase + drift * grown, jitter * (IN_STEP + (1 - IN_STEP) * grown)


def offset_probability(lowest: Any, highest: Any, phase: Any, jitter: Any) -> Any:
    """Return the probability that a window's offset, which is logistic, lies in a range.

    Args:
        lowest: Lower end of the range, in sensor periods.
        highest: Upper end.
        phase: Median of the offset, in periods.
        jitter: Scale of the offset, in periods.
    """
    return _logistic((highest - phase) / jitter) - _logistic((lowest - phase) / jitter)


def _logistic(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))`` from the smaller exponential, whose gradient is a number too."""
    small = e ** -abs(x)
    return ((x >= 0) + (x < 0) * small) / (1 + small)


def window_sum_w(
    idle_samples: Any,
    prefill_samples: Any,
    decode_samples: Any,
    idle_w: Any,
    prefill_w: Any,
    decode_w: Any,
    ends_w: Any,
) -> Any:
    """Return the sum of a window's samples, in watts.

    Args:
        idle_samples: Samples before and after the run.
        prefill_samples: Samples that show prefill.
        decode_samples: Samples that show decode.
        idle_w: Idle power.
        prefill_w: Power of prefill.
        decode_w: Power of decode.
        ends_w: What the samples at the run's ends show of it beyond that: a part of the run, or a
            clock that is still rising. Without a busy sample there is nothing of it.
    """
    busy = prefill_samples * prefill_w + decode_samples * decode_w
    return idle_samples * idle_w + busy + ends_w * (prefill_samples + decode_samples > 0)


def window_error_w(busy_samples: Any, of_ends: Any, of_idle: Any) -> Any:
    """Return the absolute error of the sum of a window's samples, in watts.

    Args:
        busy_samples: Samples that show the run: without one, the window has none of its ends.
        of_ends: Error of the parts of samples at the ends of the run.
        of_idle: Error of the idle samples: other processes, samples that read nothing.
    """
    return ((busy_samples > 0) * of_ends**2 + of_idle**2) ** 0.5


def window_sum_sd_w(noise: Any, error_w: Any, sum_w: Any) -> Any:
    """Return the error of the sum of a window's samples, in watts.

    Args:
        noise: Relative error.
        error_w: Absolute error.
        sum_w: The sum.
    """
    return ((noise * sum_w) ** 2 + error_w**2 + STEP_W**2 / 12) ** 0.5


def lagged_mean(level: Any, start: Any, seconds: Any, lag_s: Any) -> Any:
    """Return the mean over a phase of a sensor that follows its level with a first-order lag.

    The average over ``[0, T]`` of ``level - (level - start) * exp(-t / lag)``.

    Args:
        level: Power in the phase.
        start: What the sensor shows when the phase begins.
        seconds: Length T of the phase.
        lag_s: Time constant.
    """
    missing = (1 - e ** (-seconds / lag_s)) * lag_s / seconds
    return level - (level - start) * missing


def reached_w(idle_w: Any, prefill_w: Any, prefill_s: Any, lag_s: Any) -> Any:
    """Return what a lagging sensor shows at the end of prefill, in watts.

    Args:
        idle_w: Power before the run.
        prefill_w: Power of prefill.
        prefill_s: Length of prefill.
        lag_s: Time constant.
    """
    return prefill_w - (prefill_w - idle_w) * e ** (-prefill_s / lag_s)


def prefill_lag_open(idle_w: Any, prefill_w: Any, settles: Any) -> Any:
    """Return by what prefill's lag must be multiplied for what readings of prefill pin.

    A prefill that settles shows the product of its lag and its step of power; of a short one the
    sensor shows the step over the lag.

    Args:
        idle_w: Power before the run.
        prefill_w: Power of prefill.
        settles: 1 where a sensor gets near the power of the longest prefill, else 0.
    """
    return _step(prefill_w / idle_w - 1) ** (2 * settles - 1)


def decode_lag_open(began_w: Any, decode_w: Any) -> Any:
    """Return by what decode's lag must be multiplied for what readings of decode pin.

    They show the product of the lag and the step from what decode began with.

    Args:
        began_w: What the sensor shows when decode begins.
        decode_w: Power of decode.
    """
    return _step(1 - began_w / decode_w)


def _step(share: Any) -> Any:
    """Return the size of a step of power, smoothly no less than the least that shows a lag."""
    return (share**2 + LEAST_STEP**2) ** 0.5


def lagged_phases(
    idle_w: Any,
    prefill_w: Any,
    decode_w: Any,
    prefill_s: Any,
    decode_s: Any,
    lag_s: tuple[Any, Any],
    keep: Any,
) -> tuple[Any, Any]:
    """Return what a lagging sensor shows of a run's prefill and decode, in watts.

    Args:
        idle_w: Power before the run.
        prefill_w: Power of prefill.
        decode_w: Power of decode.
        prefill_s: Length of prefill.
        decode_s: Length of decode.
        lag_s: Time constants of prefill and of decode.
        keep: Share of what prefill had reached with which decode begins: between them a chip waits
            for its host, with some engines longer than with others.
    """
    of_prefill, of_decode = lag_s
    reached = reached_w(idle_w, prefill_w, prefill_s, of_prefill)
    return (
        lagged_mean(prefill_w, idle_w, prefill_s, of_prefill),
        lagged_mean(decode_w, keep * reached, decode_s, of_decode),
    )
