"""Requests as they are measured: heat, drift, jitter, stalls, and power through a slow sensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd

from t2m_bayes.simulator.machines import LLMS, Machine, Transformer
from t2m_bayes.simulator.mechanics import FloatArray, Phase, decode, prefill
from t2m_bayes.simulator.world import Session, World, draw_session

SessionKind = Literal["new", "same"]
SESSION_KINDS: Final[tuple[SessionKind, ...]] = ("same", "new")

_LEAD: Final = (1.0, 1.3)
"""The power logger starts this many sensor periods before the request, and stops with it: two
samples of every window see the machine idle."""

_WARM: Final = (0.5, 1.0)
"""Heat at the start of a run picked at random, relative to what its decode settles at."""


@dataclass(frozen=True)
class State:
    """What a machine carries from one request to the next; arrays of shape (run,).

    Attributes:
        heat: Heat, 1 being the equilibrium at rated power.
        wander: Slow drift of speed, as a share.
    """

    heat: FloatArray
    wander: FloatArray


def _power(machine: Machine, phase: Phase, seconds: FloatArray) -> FloatArray:
    """Return the true power of each step, in watts, of shape (session, step)."""
    return machine.idle_w + machine.active_w + phase.dynamic_j / seconds


def expected(
    world: World,
    llm: str,
    device: str,
    input_tokens: int,
    output_tokens: int,
    session: SessionKind = "new",
) -> dict[str, float]:
    """Return what a request takes on a warm machine without noise or stalls.

    Args:
        world: The simulated world.
        llm: Name of the LLM.
        device: Name of the machine.
        input_tokens: Prompt length.
        output_tokens: Tokens generated, at least 1.
        session: ``same``, the session of the file, or ``new``, a session with the usual clocks.

    Returns:
        ``prefill_s, decode_s, total_s`` in seconds, ``energy_j`` in joules, and in watts the mean
        ``power_w`` and that of each phase, ``prefill_w`` and ``decode_w`` (0 without decode). All
        of it is what the chip does, not what a sensor shows.
    """
    machine, transformer = world.machines[device], LLMS[llm]
    where = [world.sessions[llm, device] if session == "same" else Session()]
    first = prefill(machine, transformer, input_tokens, where)
    rest = decode(machine, transformer, input_tokens, output_tokens, where)
    heat = _settled_heat(machine, first, rest)
    slowdown = 1 + machine.heat_droop * heat[0]
    base_w = machine.idle_w + machine.active_w
    prefill_s, decode_s = first.seconds.sum() * slowdown, rest.seconds.sum() * slowdown
    prefill_j = base_w * prefill_s + first.dynamic_j.sum()
    decode_j = base_w * decode_s + rest.dynamic_j.sum()
    values = {
        "prefill_s": prefill_s,
        "decode_s": decode_s,
        "total_s": prefill_s + decode_s,
        "energy_j": prefill_j + decode_j,
        "power_w": (prefill_j + decode_j) / (prefill_s + decode_s),
        "prefill_w": prefill_j / prefill_s,
        "decode_w": decode_j / decode_s if decode_s else 0.0,
    }
    return {name: float(value) for name, value in values.items()}


def _settled_heat(machine: Machine, first: Phase, rest: Phase) -> FloatArray:
    """Return the heat that decode, or prefill where there is none, settles at in each session."""
    phase = rest if rest.dynamic_j.size else first
    return _power(machine, phase, phase.seconds).mean(axis=1) / machine.rated_w


def _stalls(probability: float, machine: Machine, n: int, rng: np.random.Generator) -> FloatArray:
    """Return seconds lost to stalls in each of n runs."""
    return (rng.random(n) < probability) * rng.exponential(machine.stall_s, n)


def measure(
    machine: Machine,
    llm: Transformer,
    input_tokens: int,
    output_tokens: int,
    sessions: Sequence[Session],
    state: State,
    rng: np.random.Generator,
) -> tuple[dict[str, FloatArray], State]:
    """Return the same request run once in each session, as it would be measured.

    Args:
        machine: The machine.
        llm: The language model.
        input_tokens: Prompt length.
        output_tokens: Tokens generated.
        sessions: One session for each run.
        state: What the machine carries into each run.
        rng: Source of the noise.

    Returns:
        The columns of :func:`replicate`, each of shape (run,), and the state after the run.
    """
    n = len(sessions)
    first = prefill(machine, llm, input_tokens, sessions)
    rest = decode(machine, llm, input_tokens, output_tokens, sessions)
    drift = 1 + state.wander[:, None]

    prefill_s = first.seconds[:, 0] * drift[:, 0] * (1 + machine.heat_droop * state.heat)
    prefill_s *= np.exp(machine.prefill_sd * rng.standard_normal(n))
    prefill_s += _stalls(machine.stall_request, machine, n, rng)

    # Heat follows from the power of the undisturbed steps: the disturbance is of second order.
    settled = _settled_heat(machine, first, rest)
    elapsed = np.cumsum(rest.seconds, axis=1)
    cooling = np.exp(-elapsed / machine.heat_tau_s)
    heat = settled[:, None] + (state.heat - settled)[:, None] * cooling
    steps = rest.seconds * drift * (1 + machine.heat_droop * heat)
    decode_w = _power(machine, rest, steps)
    steps *= np.exp(machine.step_sd * rng.standard_normal(steps.shape))
    stalled = 1 - (1 - machine.stall_step) ** steps.shape[1]
    decode_s = steps.sum(axis=1) + _stalls(stalled, machine, n, rng)

    base_w = machine.idle_w + machine.active_w
    total_s = prefill_s + decode_s
    energy_j = base_w * total_s + first.dynamic_j.sum() + rest.dynamic_j.sum()
    prefill_w = _power(machine, first, prefill_s[:, None])
    ends_w = decode_w[:, [0, -1]] if decode_w.size else np.repeat(prefill_w, 2, axis=1)
    sensor_w, samples = _sense(machine, prefill_s, total_s, prefill_w, ends_w, rng)
    read_prefill_s = prefill_s + machine.timer_sd_s * rng.standard_normal(n)
    read_decode_s = np.zeros(n)
    if output_tokens > 1:
        read_decode_s = decode_s + machine.timer_sd_s * rng.standard_normal(n)
    columns = {
        "prefill_s": read_prefill_s,
        "decode_s": read_decode_s,
        "total_s": read_prefill_s + read_decode_s,
        "energy_j": energy_j,
        "power_w": energy_j / total_s,
        "sensor_energy_j": sensor_w * samples * machine.sensor_period_s,
        "sensor_power_w": sensor_w,
        "n_power_samples": samples,
    }
    left = heat[:, -1] if heat.size else state.heat
    return columns, State(left, state.wander)


def _sense(
    machine: Machine,
    prefill_s: FloatArray,
    total_s: FloatArray,
    prefill_w: FloatArray,
    ends_w: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Return the mean of the power samples of each run's window, and how many there were.

    Args:
        machine: The machine.
        prefill_s: End of prefill after the start of the request. shape: (run,)
        total_s: End of the request. shape: (run,)
        prefill_w: Power of prefill. shape: (run, 1)
        ends_w: Power of the first and last decode step; linear between. shape: (run, 2)
        rng: Source of the sampling phase and of each sample's error.
    """
    period = machine.sensor_period_s
    start = -period * rng.uniform(*_LEAD, total_s.size)
    count = int(np.ceil(total_s.max() / period + _LEAD[1]))
    at = start[:, None] + period * np.arange(count)
    share = (at - prefill_s[:, None]) / np.maximum(total_s - prefill_s, 1e-9)[:, None]
    decode_w = ends_w[:, :1] + (ends_w[:, 1:] - ends_w[:, :1]) * np.clip(share, 0, 1)
    busy_w = np.where(at < prefill_s[:, None], prefill_w, decode_w)
    true_w = np.where(at < 0, machine.idle_w, busy_w)
    read_w = true_w * (1 + machine.sensor_sd * rng.standard_normal(at.shape))
    inside = at < total_s[:, None]
    samples = inside.sum(axis=1).astype(np.float64)
    return (read_w * inside).sum(axis=1) / samples, samples


def replicate(
    world: World,
    llm: str,
    device: str,
    input_tokens: int,
    output_tokens: int,
    n: int,
    rng: np.random.Generator,
    session: SessionKind = "new",
) -> pd.DataFrame:
    """Return fresh runs of a request, noise, stalls and all: what a band should cover.

    Args:
        world: The simulated world.
        llm: Name of the LLM.
        device: Name of the machine.
        input_tokens: Prompt length.
        output_tokens: Tokens generated, at least 1.
        n: Number of runs.
        rng: Source of the sessions and the noise.
        session: ``same``, more runs of the session of the file; ``new``, each in a session of its
            own.

    Returns:
        One row a run: measured ``prefill_s, decode_s, total_s``; ``energy_j`` and ``power_w`` that
        the chip drew; ``sensor_energy_j, sensor_power_w, n_power_samples`` that its sensor shows.
    """
    machine = world.machines[device]
    same = world.sessions[llm, device]
    sessions = [same if session == "same" else draw_session(machine, rng) for _ in range(n)]
    warm = expected(world, llm, device, input_tokens, output_tokens)["power_w"] / machine.rated_w
    state = State(warm * rng.uniform(*_WARM, n), machine.wander_sd * rng.standard_normal(n))
    columns, _ = measure(machine, LLMS[llm], input_tokens, output_tokens, sessions, state, rng)
    return pd.DataFrame(columns)
