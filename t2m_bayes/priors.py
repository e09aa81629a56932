"""Priors as read from ``models/priors.toml``, and what a datasheet leads one to expect."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from t2m_bayes.cards import machine_of
from t2m_bayes.errors import CardError
from t2m_bayes.formulas import PADS
from t2m_bayes.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from t2m_bayes.cards import Catalog

REFERENCE_PARAMS_B: Final = 8.0
"""Size at which the coefficients are stated, in billions of parameters."""

REFERENCE_GB: Final = 16.0
"""Weights of the reference size at two bytes a parameter, in GB."""

KV_SHARE: Final = 131_072 / 16e9
"""Keys and values of one context token of an 8B LLM (32 layers x 8 heads x 128 x 2 x 2 bytes,
the published configuration of Llama-3.1-8B), as a share of its weights."""

WORK: Final = ("token", *(f"block_{width}" for width in PADS))
"""How prefill's work grows: token by token, or in blocks of prompt tokens."""

WORK_CONCENTRATION: Final = 3.0
"""Concentration of the Dirichlet prior of the shares of that work: mild, equal shares."""

TYPICAL: Final = {"server": (1000.0, 150.0), "tegra": (120.0, 25.0)}
"""Memory bandwidth in GB/s and dense FP16 TFLOP/s of a device without a card, by its role: the
middle of what A40 to H100 and Orin Nano to AGX Orin offer."""

TYPICAL_POWER: Final = {"server": (60.0, 250.0), "tegra": (7.0, 30.0)}
"""Idle power and power while running an LLM, in watts, by role: the middle of boards rated at 250
to 400 W and of modules rated at 15 to 60 W."""

POWER_SPREAD: Final = 0.7
"""Standard deviation of the log of both between devices of a role and between sums of rails."""

SESSION_TAIL: Final = 2
"""Degrees of freedom with which idle power differs between sessions: those of one board idle alike
but for one now and then, of another power mode or with samples that read nothing."""


@dataclass(frozen=True)
class Prior:
    """One prior.

    Attributes:
        kind: ``normal`` or ``lognormal``.
        centre: Mean of a normal, median of a lognormal.
        sd: Standard deviation, of the logarithm for a lognormal.
        about: What the coefficient is, and where the numbers come from.
    """

    kind: Literal["normal", "lognormal"]
    centre: float
    sd: float
    about: str

    @classmethod
    def from_table(cls, name: str, table: dict[str, Any], path: Path) -> Prior:
        """Parse one table of the file.

        Raises:
            CardError: A key is missing, unknown or impossible.
        """
        where = f"{path.name}: [{name}]"
        kind = table.get("kind")
        if kind not in ("normal", "lognormal"):
            raise CardError(f"{where} kind is {kind!r}; it must be 'normal' or 'lognormal'")
        centre = "mean" if kind == "normal" else "median"
        if set(table) != {"kind", centre, "sd", "about"}:
            raise CardError(f"{where} has {sorted(table)}; a {kind} has kind, {centre}, sd, about")
        values = [table[centre], table["sd"]]
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
            raise CardError(f"{where} {centre} and sd must be numbers, found {values}")
        if table["sd"] <= 0 or (kind == "lognormal" and table[centre] <= 0):
            raise CardError(
                f"{where} sd (and a lognormal's median) must be above 0, found {values}"
            )
        return cls(kind, float(table[centre]), float(table["sd"]), str(table["about"]))

    @property
    def near_middle(self) -> float:
        """A value a little above the middle: where a chain starts that nothing tells of scale."""
        above = 0.2 * self.sd
        return self.centre + above if self.kind == "normal" else self.centre * math.exp(above)


def load_priors(path: Path | None = None) -> dict[str, Prior]:
    """Read the priors.

    Args:
        path: A TOML file; the shipped one by default.

    Returns:
        The priors by name.

    Raises:
        CardError: The file cannot be parsed or a prior is impossible.
    """
    path = path or shipped("models") / "priors.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CardError(f"{path}: cannot be read as TOML: {error}") from error
    return {name: Prior.from_table(name, table, path) for name, table in tables.items()}


@dataclass(frozen=True)
class DeviceRates:
    """What a datasheet promises at full efficiency.

    Attributes:
        stream_s: Time to stream the reference weights once, in seconds.
        token_s: Time to push one token through the reference LLM, in seconds.
        spread: Name of the prior that says how far the device may lie from this.
        idle_w: Idle power, in watts.
        busy_w: Power while running an LLM, in watts.
    """

    stream_s: float
    token_s: float
    spread: str
    idle_w: float
    busy_w: float


def device_rates(device: str, cards: Catalog) -> DeviceRates:
    """Return what to expect of a device: from its card, else what is typical of its role.

    A device label may name its engine after a plus; the card is the machine's. Streaming is
    bytes over bandwidth; a prompt token costs two FLOPs a parameter (the usual count for a
    forward pass).
    """
    machine = machine_of(device)
    card = cards.device(machine)
    if card is not None:
        bandwidth, tflops, spread = card.memory_bandwidth_gb_s, card.peak_tflops, "device_spread"
    else:
        (bandwidth, tflops), spread = (
            TYPICAL[device_role(device, cards)],
            "device_spread_without_card",
        )
    idle_w, busy_w = TYPICAL_POWER[device_role(device, cards)]
    return DeviceRates(
        stream_s=REFERENCE_GB / bandwidth,
        token_s=2 * REFERENCE_PARAMS_B * 1e9 / (tflops * 1e12),
        spread=spread,
        idle_w=idle_w,
        busy_w=busy_w,
    )


def device_role(device: str, cards: Catalog) -> str:
    """Return ``server`` or ``tegra``: the card's word, else by whether it calls itself a server."""
    machine = machine_of(device)
    card = cards.device(machine)
    if card is not None:
        return card.role
    return "server" if machine.startswith("server") else "tegra"


def usual_target(device: pd.Series[str], roles: Mapping[str, str]) -> str:
    """Return the device that predictions are for unless one is named: the slow, scarce one.

    Args:
        device: Device of each run.
        roles: ``server`` or ``tegra`` for each device.

    Returns:
        The Jetson with the most runs; without one, the device with the fewest.
    """
    counts = device.value_counts()
    edge = [d for d in counts.index if roles[d] == "tegra"]
    return str(edge[0] if edge else counts.index[-1])
