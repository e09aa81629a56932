"""A seeded mechanistic simulator of LLM requests on a server and on a Jetson.

It shares no formula with the statistical model: it cuts matrices into tiles, launches layers, moves
bytes token by token, heats up, drifts, stalls, and reads power once a second.
"""

from t2m_bayes.simulator.runs import expected, replicate
from t2m_bayes.simulator.samples import SHIPPED_SEED, SimulatedSet, simulate, write_samples
from t2m_bayes.simulator.tables import Table
from t2m_bayes.simulator.world import World, draw_world

__all__ = [
    "SHIPPED_SEED",
    "SimulatedSet",
    "Table",
    "World",
    "draw_world",
    "expected",
    "replicate",
    "simulate",
    "write_samples",
]
