"""The two shortest ways in: the fit that ships with the package, and a prediction in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from t2m_bayes import fits, prediction
from t2m_bayes.requests import make_requests
from t2m_bayes.resources import shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from t2m_bayes.fits import Fit
    from t2m_bayes.power_population import View
    from t2m_bayes.prediction import Prediction

    Counts = float | Sequence[float] | NDArray[np.floating[Any]]


def reference_fit() -> Fit:
    """Return the fit that ships with the package, made from public Jetson AGX Orin runs.

    Raises:
        FitError: This copy of the package ships none.
    """
    return fits.load(shipped("models") / "reference")


def predict(
    fit: Fit,
    llm: str | Sequence[str],
    input_tokens: Counts,
    output_tokens: Counts,
    *,
    device: str | Sequence[str] | None = None,
    session: Literal["new", "same"] = "new",
    view: View = "chip",
    params_b: Counts | None = None,
    bytes_per_param: float | None = None,
    seed: int = 0,
) -> Prediction:
    """Predict time, and energy and power where the fit knows them, as draws.

    Single values serve all requests; sequences give one value each.

    Args:
        fit: The fit: from :func:`t2m_bayes.fit`, :func:`t2m_bayes.load_fit` or
            :func:`reference_fit`.
        llm: LLM names or aliases, such as ``"8B"``.
        input_tokens: Prompt lengths.
        output_tokens: Generated tokens.
        device: Device names or aliases; the fit's target device by default.
        session: ``new``, what a run in a session of its own will do; ``same``, the session that
            the training rows came from.
        view: Energy and power as the ``chip`` uses them, or as its ``sensor`` would report them.
        params_b: Billions of parameters, for LLMs without a card.
        bytes_per_param: Bytes a parameter takes in memory; the card's by default, 2 without one.
        seed: Seed of what is drawn here.

    Returns:
        The draws; ``.interval(0.9)``, ``.median()`` and ``.to_frame()`` sum them up.

    Raises:
        DataError: A token count is not a whole number of 1 or more, or a name is unknown.
    """
    requests = make_requests(
        fit,
        llm,
        input_tokens,
        output_tokens,
        device=device,
        params_b=params_b,
        bytes_per_param=bytes_per_param,
    )
    return prediction.predict(fit, requests, session=session, view=view, seed=seed)
