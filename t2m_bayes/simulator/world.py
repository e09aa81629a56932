"""A simulated world: its machines, and the session in which each LLM was measured on each."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from t2m_bayes.simulator.machines import LLMS, RANGES, Machine, draw_machine

DEVICES: Final = tuple(RANGES)
"""Names of the simulated machines."""

_COMMON: Final = 0.8
"""Share of a session's clock spread that memory, cores and host have in common; the part of its
own is 0.6, so that the variances add up to one."""
_OWN: Final = 0.6


@dataclass(frozen=True)
class Session:
    """One boot or engine start: speeds relative to the machine's usual, 1 being usual.

    Attributes:
        memory: Speed of memory.
        core: Speed of the compute cores.
        host: Speed of the host's launches and bookkeeping.
    """

    memory: float = 1.0
    core: float = 1.0
    host: float = 1.0


@dataclass(frozen=True)
class World:
    """Everything that is true of one simulated world.

    Attributes:
        seed: What it was drawn from.
        machines: The machines by name.
        sessions: The session of each file, by ``(llm, device)``. A pair that no file holds has one
            too, so that a prediction for it can be compared with something.
    """

    seed: int
    machines: dict[str, Machine]
    sessions: dict[tuple[str, str], Session]


def draw_session(machine: Machine, rng: np.random.Generator) -> Session:
    """Return a fresh session of a machine."""
    common, *own = rng.standard_normal(4)
    memory, core, host = (
        float(np.exp(machine.session_sd * (_COMMON * common + _OWN * part))) for part in own
    )
    return Session(memory, core, host)


def draw_world(seed: int) -> World:
    """Return the world that a seed stands for.

    Args:
        seed: Any non-negative integer; another seed is another world.
    """
    rng = np.random.default_rng([seed, 0])
    machines = {name: draw_machine(name, rng) for name in DEVICES}
    sessions = {
        (llm, device): draw_session(machines[device], rng) for device in DEVICES for llm in LLMS
    }
    return World(seed, machines, sessions)
