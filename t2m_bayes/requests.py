"""What to predict: an LLM, a device, and two token counts for each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from t2m_bayes.cards import catalog
from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from t2m_bayes.design import Coords

    Floats = NDArray[np.floating[Any]]


USUAL_BYTES: Final = 2.0
"""Bytes of a parameter of an LLM without a card: 16-bit weights."""


class Known(Protocol):
    """What predicts: a fit of the model, or a regression; here, the names it knows."""

    @property
    def coords(self) -> Coords:
        """Return its LLMs, devices and sessions."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Return where it comes from."""
        ...

    @property
    def target_device(self) -> str:
        """Return the device that is meant unless one is named."""
        ...


@dataclass(frozen=True)
class Requests:
    """Requests in columns of equal length.

    Attributes:
        llm: LLM of each, as the fit or a card names it.
        device: Device of each.
        input_tokens: Prompt lengths, 1 or more. shape: (request,)
        output_tokens: Generated tokens, 1 or more. shape: (request,)
        session: Session of each; ``None`` where it is not said.
        params_b: Billions of parameters; NaN where the fit or a card knows.
        weights_gb: Bytes of the weights in GB; NaN likewise.
    """

    llm: tuple[str, ...]
    device: tuple[str, ...]
    input_tokens: Floats
    output_tokens: Floats
    session: tuple[str | None, ...]
    params_b: Floats
    weights_gb: Floats

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.llm)

    def keys(self) -> Iterator[tuple[str, str, str | None, float, float]]:
        """Yield for each request what its coefficients depend on."""
        return zip(
            self.llm,
            self.device,
            self.session,
            np.nan_to_num(self.params_b).tolist(),
            np.nan_to_num(self.weights_gb).tolist(),
            strict=True,
        )

    def with_bands(self, bands: Mapping[str, Floats]) -> pd.DataFrame:
        """Return a table of the requests with median, lower and upper bound of each metric.

        Args:
            bands: Metric to bands. shape: (request, 3)
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "llm": self.llm,
                "device": self.device,
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
            }
            | {
                f"{metric}_{name}": values[:, i]
                for metric, values in bands.items()
                for i, name in enumerate(("median", "lower", "upper"))
            }
        )


def make_requests(
    fit: Known,
    llm: str | Sequence[str],
    input_tokens: float | Sequence[float] | Floats,
    output_tokens: float | Sequence[float] | Floats,
    *,
    device: str | Sequence[str] | None = None,
    session: Sequence[str | None] | None = None,
    params_b: float | Sequence[float] | Floats | None = None,
    bytes_per_param: float | None = None,
    empty_prompts: bool = False,
) -> Requests:
    """Make requests, resolving names through the fit and the cards.

    Args:
        fit: The fit that will predict them; its target device is the default.
        llm: LLM names or aliases; one for all, or one each.
        input_tokens: Prompt lengths, likewise.
        output_tokens: Generated tokens, likewise.
        device: Device names or aliases, likewise.
        session: Measuring session of each, with ``session="same"``.
        params_b: Billions of parameters, for LLMs without a card.
        bytes_per_param: Bytes a parameter takes in memory; the card's by default, 2 without one.
        empty_prompts: Accept prompts of 0 tokens, as rows of decode alone have them.

    Returns:
        The requests.

    Raises:
        DataError: A token count is not a whole number above 0, or a name is unknown.
    """
    tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    columns = {name: np.atleast_1d(np.asarray(v, dtype=float)) for name, v in tokens.items()}
    names = [llm] if isinstance(llm, str) else list(llm)
    devices = (
        [device or fit.target_device] if device is None or isinstance(device, str) else list(device)
    )
    n = max(len(names), len(devices), *(c.size for c in columns.values()))
    for name, values in columns.items():
        least = 0 if empty_prompts and name == "input_tokens" else 1
        wrong = ~(np.isfinite(values) & (values >= least) & (values == np.floor(values)))
        if wrong.any():
            where = np.flatnonzero(wrong)
            raise DataError(
                f"{name} must be whole numbers of {least} or more: found {values[where[0]]:g} in "
                f"request {where[0] + 1}"
                + (f" and {where.size - 1} more" if where.size > 1 else "")
            )
    size = np.broadcast_to(np.asarray(np.nan if params_b is None else params_b, dtype=float), n)
    if np.any(size <= 0):
        raise DataError("params_b must be above 0, in billions of parameters")
    llms = {name: _llm(fit, name) for name in dict.fromkeys(names)}
    found = {name: find_device(fit, name) for name in dict.fromkeys(devices)}
    of_card = {
        name: (card.params_b, card.params_b * (bytes_per_param or card.bytes_per_param))
        for name in llms.values()
        if (card := catalog().llm(name.partition("@")[0])) is not None
    }
    llm_column = tuple(llms[name] for name in (names * n if len(names) == 1 else names))
    device_column = tuple(found[name] for name in (devices * n if len(devices) == 1 else devices))
    sizes = [(p, p * (bytes_per_param or USUAL_BYTES)) for p in size.tolist()]
    known = np.array(
        [
            own if np.isfinite(own[0]) else of_card.get(name, own)
            for name, own in zip(llm_column, sizes, strict=True)
        ]
    )
    for name, (params, _) in zip(llm_column, known, strict=True):
        if name not in fit.coords.llms and not params > 0:
            raise DataError(
                f"no LLM {name!r}: the fit knows {', '.join(fit.coords.llms)}; "
                f"{catalog().suggest(name)} "
                "For an LLM without a card, give its size with --params-b or a params_b column"
            )
    return Requests(
        llm=llm_column,
        device=device_column,
        input_tokens=np.broadcast_to(columns["input_tokens"], n),
        output_tokens=np.broadcast_to(columns["output_tokens"], n),
        session=tuple(session) if session is not None else (None,) * n,
        params_b=known[:, 0],
        weights_gb=known[:, 1],
    )


def find_device(fit: Known, name: str) -> str:
    """Return the fit's device that a name means, or a carded device new to the fit.

    ``tegra`` and ``server`` mean the fit's only device of that role.

    Raises:
        DataError: The name means no device, or more than one.
    """
    if name in fit.coords.devices:
        return name
    roles = fit.provenance["roles"]
    if name in ("tegra", "server"):
        means = [d for d in fit.coords.devices if roles[d] == name]
        if len(means) == 1:
            return means[0]
        raise DataError(
            f"{name!r} means {len(means)} devices of this fit "
            f"({', '.join(fit.coords.devices)}); name one"
        )
    card = catalog().device(name)
    if card is not None:
        return card.name
    raise DataError(
        f"no device {name!r}: the fit knows {', '.join(fit.coords.devices)}, and no card does"
    )


def _llm(fit: Known, name: str) -> str:
    if name in fit.coords.llms:
        return name
    base, at, precision = name.partition("@")
    card = catalog().llm(base)
    return name if card is None else f"{card.name}{at}{precision}"
