"""What to predict: an LLM, a device, and two token counts for each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from t2m_bayes.blocks import block_names
from t2m_bayes.cards import catalog
from t2m_bayes.errors import DataError
from t2m_bayes.precisions import BYTES_PER_PARAM, llm_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from t2m_bayes.design import Coords

    Floats = NDArray[np.floating[Any]]


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

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return what it predicts."""
        ...

    @property
    def usable(self) -> bool:
        """Return whether it can be trusted."""
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
        block: Name of what each is measured together with (:func:`t2m_bayes.blocks.block_names`),
            with ``session="same"``; empty for a block that nobody has measured.
    """

    llm: tuple[str, ...]
    device: tuple[str, ...]
    input_tokens: Floats
    output_tokens: Floats
    session: tuple[str | None, ...]
    params_b: Floats
    weights_gb: Floats
    block: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.llm)

    def keys(self) -> Iterator[tuple[str, str, str | None, float, float]]:
        """Yield for each request what its coefficients depend on."""
        return zip(
            self.llm,
            self.device,
            self.session,
            np.where(np.isnan(self.params_b), 0.0, self.params_b).tolist(),
            np.where(np.isnan(self.weights_gb), 0.0, self.weights_gb).tolist(),
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
    usual_bytes = dict(llms.values())
    found = {name: find_device(fit, name) for name in dict.fromkeys(devices)}
    cards = {label: catalog().llm(label.partition("@")[0]) for label in usual_bytes}
    llm_column = tuple(llms[name][0] for name in (names * n if len(names) == 1 else names))
    device_column = tuple(found[name] for name in (devices * n if len(devices) == 1 else devices))
    params = np.array(
        [
            own if np.isfinite(own) else card.params_b if (card := cards[label]) else np.nan
            for label, own in zip(llm_column, size.tolist(), strict=True)
        ]
    )
    unsized = {label for label, p in zip(llm_column, params, strict=True) if not p > 0}
    for label in usual_bytes.keys() - set(fit.coords.llms):
        if label in unsized:
            raise DataError(
                f"no LLM {label!r}: the fit knows {', '.join(fit.coords.llms)}; "
                f"{catalog().suggest(label)} "
                "For an LLM without a card, give its size with --params-b or a params_b column"
            )
        if bytes_per_param is None and usual_bytes[label] is None:
            raise DataError(
                f"no LLM {label!r}, and nothing is known of its precision: use one of "
                f"{', '.join(BYTES_PER_PARAM)}, or give --bytes-per-param"
            )
    per_param = [bytes_per_param or usual_bytes[label] or np.nan for label in llm_column]
    return Requests(
        llm=llm_column,
        device=device_column,
        input_tokens=np.broadcast_to(columns["input_tokens"], n),
        output_tokens=np.broadcast_to(columns["output_tokens"], n),
        session=tuple(session) if session is not None else (None,) * n,
        params_b=params,
        weights_gb=params * np.array(per_param),
        block=("",) * n,
    )


def requests_of(frame: pd.DataFrame) -> Requests:
    """Return a run table's rows as requests, without anything that was measured."""
    params = frame["params_b"].to_numpy(float)
    return Requests(
        llm=tuple(frame["llm"].astype(str)),
        device=tuple(frame["device"].astype(str)),
        input_tokens=frame["input_tokens"].to_numpy(float),
        output_tokens=frame["output_tokens"].to_numpy(float),
        session=tuple(frame["session"].astype(str)),
        params_b=params,
        weights_gb=params * frame["bytes_per_param"].to_numpy(float),
        block=tuple(block_names(frame)),
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


def _llm(fit: Known, name: str) -> tuple[str, float | None]:
    """Return an LLM's label, as the fit or a card has it, and the bytes of a parameter."""
    label, usual_bytes = llm_label(name)
    return name if name in fit.coords.llms else label, usual_bytes
