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

STEP_W: Final = 0.39
"""Step in which a slow sensor reads a sample, in watts: the amplifier's 20 mA at the 19.7 V of the
rail of a Jetson AGX Orin; the public sweeps' sums of samples lie on its multiples. Readings that
come out equal are then no proof of a sensor without error."""


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


def offset_probability(lowest: Any, highest: Any, phase: Any, jitter: Any) -> Any:
    """Return the probability that a window's offset lies in a range.

    A run of ``b`` periods shows in ``floor(b + offset)`` whole samples: the logger does not start
    in step with the run. The offset is logistic.

    Args:
        lowest: Lower end of the range, in sensor periods.
        highest: Upper end.
        phase: Median of the offset, in periods.
        jitter: Scale of the offset, in periods.
    """
    below = 1 / (1 + e ** ((phase - highest) / jitter))
    return below - 1 / (1 + e ** ((phase - lowest) / jitter))


def window_sum_w(
    idle_samples: Any,
    prefill_samples: Any,
    decode_samples: Any,
    idle_w: Any,
    prefill_w: Any,
    decode_w: Any,
) -> Any:
    """Return the sum of a window's samples, in watts.

    Args:
        idle_samples: Samples before and after the run.
        prefill_samples: Samples that show prefill.
        decode_samples: Samples that show decode.
        idle_w: Idle power.
        prefill_w: Power of prefill.
        decode_w: Power of decode.
    """
    return idle_samples * idle_w + prefill_samples * prefill_w + decode_samples * decode_w


def window_sum_sd_w(noise: Any, error_w: Any, sum_w: Any) -> Any:
    """Return the error of the sum of a window's samples, in watts.

    Args:
        noise: Relative error.
        error_w: Absolute error: parts of samples at the ends of the run.
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


def lagged_phases(
    idle_w: Any,
    prefill_w: Any,
    decode_w: Any,
    prefill_s: Any,
    decode_s: Any,
    lag_s: tuple[Any, Any],
    pause_w: Any,
    carry: Any,
) -> tuple[Any, Any]:
    """Return what a lagging sensor shows of a run's prefill and decode, in watts.

    Args:
        idle_w: Power before the run.
        prefill_w: Power of prefill.
        decode_w: Power of decode.
        prefill_s: Length of prefill.
        decode_s: Length of decode.
        lag_s: Time constants of prefill and of decode.
        pause_w: Power between prefill and decode, where the chip waits for its host.
        carry: Share of what prefill had reached beyond that power with which decode begins: some
            engines keep a chip waiting longer than others.
    """
    of_prefill, of_decode = lag_s
    reached = prefill_w - (prefill_w - idle_w) * e ** (-prefill_s / of_prefill)
    start = pause_w + carry * (reached - pause_w)
    return (
        lagged_mean(prefill_w, idle_w, prefill_s, of_prefill),
        lagged_mean(decode_w, start, decode_s, of_decode),
    )
