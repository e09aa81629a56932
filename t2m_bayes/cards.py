"""Model cards: what is known of an LLM or a device before anything is measured.

Nothing heavy is imported here: predicting from a shipped fit starts by reading cards.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, Literal, Self, cast

from t2m_bayes.errors import CardError
from t2m_bayes.resources import shipped

Role = Literal["server", "tegra"]
ROLES: Final = ("server", "tegra")

RESERVED: Final = ROLES
"""Device names that stay what they are: they name a place in the data, not a product."""


@dataclass(frozen=True)
class _Card:
    """A named TOML table; subclasses list its keys as fields."""

    name: str

    @classmethod
    def from_table(cls, name: str, table: Mapping[str, Any], path: Path) -> Self:
        """Return the card a TOML table describes.

        Args:
            name: The table's name.
            table: Its keys and values.
            path: The file, for the messages.

        Raises:
            CardError: A key is missing or unknown, or a value has the wrong type or is impossible.
        """
        known = {f.name: f for f in fields(cls) if f.name != "name"}
        where = f"{path.name}: card {name!r}"
        if unknown := sorted(set(table) - set(known)):
            raise CardError(f"{where}: unknown key {unknown[0]!r}; known keys: {', '.join(known)}")
        required = {key for key, f in known.items() if f.default is MISSING} | {"source"}
        if missing := sorted(required - set(table)):
            raise CardError(f"{where}: key {missing[0]!r} is missing")
        values = {
            key: _parse(value, str(known[key].type), f"{where}: key {key!r}")
            for key, value in table.items()
        }
        return cls(name=name, **values)


@dataclass(frozen=True)
class LLMCard(_Card):
    """What is known of an LLM.

    Attributes:
        name: The name used everywhere.
        params_b: Parameters, in billions.
        aliases: Other names it answers to.
        precision: Number format of the weights.
        bytes_per_param: Bytes one parameter takes in memory.
        layers: Transformer layers.
        kv_heads: Key and value heads of a layer.
        head_dim: Width of a head.
        tokenizer: LLMs with the same value count the same prompt alike; empty where unknown.
        source: Where the facts come from.
    """

    params_b: float
    aliases: tuple[str, ...] = ()
    precision: str = "fp16"
    bytes_per_param: float = 2.0
    layers: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    tokenizer: str = ""
    source: str = ""


@dataclass(frozen=True)
class DeviceCard(_Card):
    """What is known of a device.

    Attributes:
        name: The name used everywhere.
        role: ``server`` or ``tegra``.
        memory_bandwidth_gb_s: Peak memory bandwidth, in GB/s.
        peak_tflops: Dense FP16 tensor throughput of the GPU, in TFLOP/s.
        sensor_period_s: Time between two samples of its usual power log, in seconds.
        aliases: Other names it answers to.
        source: Where the facts come from.
    """

    role: Role
    memory_bandwidth_gb_s: float
    peak_tflops: float
    sensor_period_s: float | None = None
    aliases: tuple[str, ...] = ()
    source: str = ""


def _parse(value: object, kind: str, where: str) -> Any:
    """Return ``value`` as a field of the annotated ``kind``, or say why it cannot be one."""
    if kind == "Role":
        if value not in ROLES:
            raise CardError(f"{where} must be one of {', '.join(ROLES)}; found {value!r}")
        return value
    if kind == "str":
        if not isinstance(value, str) or not value.strip():
            raise CardError(f"{where} must be a text that is not empty; found {value!r}")
        return value
    if kind.startswith("tuple"):
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise CardError(f"{where} must be a list of texts; found {value!r}")
        return tuple(value)
    whole = kind.startswith("int")
    allowed = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not 0 < value < float("inf"):
        noun = "whole number" if whole else "number"
        raise CardError(f"{where} must be a {noun} above zero; found {value!r}")
    return value if whole else float(cast("float", value))


def machine_of(device: str) -> str:
    """Return the machine that a device is: its name, but for the engine behind a plus.

    Args:
        device: A device as the run table spells it, such as ``jetson-agx-orin-32gb+trtllm``.
    """
    return device.partition("+")[0]


def normalised(name: str) -> str:
    """Return a name as names are compared: ``DSR1_Qwen 1_5B`` is ``dsr1-qwen-1.5b``."""
    dotted = re.sub(r"(?<=\d)_5(?!\d)", ".5", name.casefold())
    return re.sub(r"[^a-z0-9.]", "", dotted)


def _index[CardT: _Card](cards: Mapping[str, CardT], reserved: tuple[str, ...]) -> dict[str, CardT]:
    """Map every normalised name and alias to its card."""
    index: dict[str, CardT] = {}
    for card in cards.values():
        aliases = cast("tuple[str, ...]", getattr(card, "aliases", ()))
        for name in (card.name, *aliases):
            key = normalised(name)
            if key in reserved:
                raise CardError(f"card {card.name!r}: {name!r} is a reserved name")
            other = index.setdefault(key, card)
            if other is not card:
                raise CardError(
                    f"the name {name!r} is claimed by two cards, {other.name!r} and {card.name!r}"
                )
    return index


@dataclass(frozen=True)
class Catalog:
    """All cards, found by name or alias.

    Attributes:
        llms: LLM cards by name.
        devices: Device cards by name.
    """

    llms: Mapping[str, LLMCard]
    devices: Mapping[str, DeviceCard]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read ``llms.toml`` and ``devices.toml``.

        Raises:
            CardError: A file is missing or is not TOML, a card is wrong, or two share a name.
        """
        found = cls(
            llms=_read(directory / "llms.toml", LLMCard),
            devices=_read(directory / "devices.toml", DeviceCard),
        )
        _ = found._llm_index, found._device_index
        return found

    @cached_property
    def _llm_index(self) -> dict[str, LLMCard]:
        return _index(self.llms, ())

    @cached_property
    def _device_index(self) -> dict[str, DeviceCard]:
        return _index(self.devices, RESERVED)

    def llm(self, name: str) -> LLMCard | None:
        """Return the card that answers to an LLM's name or alias, or None."""
        return self._llm_index.get(normalised(name))

    def device(self, name: str) -> DeviceCard | None:
        """Return the card that answers to a device's name or alias, or None."""
        return self._device_index.get(normalised(name))

    def suggest(self, name: str) -> str:
        """Return a sentence that helps whoever wrote the LLM ``name``, which no card answers to."""
        import difflib

        near = difflib.get_close_matches(normalised(name), self._llm_index, n=3, cutoff=0.6)
        names = list(dict.fromkeys(self._llm_index[key].name for key in near))
        if names:
            return f"did you mean {' or '.join(names)}?"
        return f"known LLMs: {', '.join(self.llms)}."


def _read[CardT: _Card](path: Path, card: type[CardT]) -> dict[str, CardT]:
    """Return the cards of one file, by name."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CardError(f"no card file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{path.name} is not TOML: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise CardError(f"{path.name}: {name!r} is not a table; a card starts with [its-name]")
    return {name: card.from_table(name, table, path) for name, table in tables.items()}


@lru_cache(maxsize=8)
def catalog(directory: Path | None = None) -> Catalog:
    """Return the cards of a directory, by default those that ship with the package.

    Args:
        directory: Where ``llms.toml`` and ``devices.toml`` are.

    Raises:
        CardError: See :meth:`Catalog.read`.
    """
    return Catalog.read(shipped("models") if directory is None else directory)
