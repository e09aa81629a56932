"""Latency of a language model on an edge device, from token counts, with calibrated error bars.

The names below are the public API. Each is imported when it is first used, so that
``import t2m_bayes`` is quick and predicting never imports the sampler.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from t2m_bayes.api import predict, reference_fit
    from t2m_bayes.dataframes import predict_dataframe
    from t2m_bayes.errors import T2MError
    from t2m_bayes.fits import Fit, save
    from t2m_bayes.fits import load as load_fit
    from t2m_bayes.inference import fit
    from t2m_bayes.loading import load, load_runs, load_server_excel, load_tegra_csv
    from t2m_bayes.prediction import Prediction
    from t2m_bayes.schema import Runs
    from t2m_bayes.simulator import simulate

    __version__: str

_HOMES: Final = {
    "Fit": ("fits", "Fit"),
    "Prediction": ("prediction", "Prediction"),
    "Runs": ("schema", "Runs"),
    "T2MError": ("errors", "T2MError"),
    "fit": ("inference", "fit"),
    "load": ("loading", "load"),
    "load_fit": ("fits", "load"),
    "load_runs": ("loading", "load_runs"),
    "load_server_excel": ("loading", "load_server_excel"),
    "load_tegra_csv": ("loading", "load_tegra_csv"),
    "predict": ("api", "predict"),
    "predict_dataframe": ("dataframes", "predict_dataframe"),
    "reference_fit": ("api", "reference_fit"),
    "save": ("fits", "save"),
    "simulate": ("simulator", "simulate"),
}
"""Public name to the module that holds it and its name there."""

__all__ = [
    "Fit",
    "Prediction",
    "Runs",
    "T2MError",
    "__version__",
    "fit",
    "load",
    "load_fit",
    "load_runs",
    "load_server_excel",
    "load_tegra_csv",
    "predict",
    "predict_dataframe",
    "reference_fit",
    "save",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        module, attribute = _HOMES[name]
        try:
            value = getattr(import_module(f"{__name__}.{module}"), attribute)
        except ModuleNotFoundError as error:
            from t2m_bayes.errors import missing_extra

            raise ImportError(missing_extra(error) or str(error)) from error
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("t2m-bayes")
    except PackageNotFoundError:
        return "not installed"
