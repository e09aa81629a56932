"""What several test files share: one small fit of simulated runs, made once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import settings

from t2m_bayes import fits
from t2m_bayes.api import reference_fit
from t2m_bayes.loading import load
from t2m_bayes.resources import shipped
from t2m_bayes.schema import Runs

if TYPE_CHECKING:
    from xarray import DataTree

    from t2m_bayes.inference import Models
    from t2m_bayes.sampling import Sampling

# A busy machine is no failure, and the first example of a test may import for seconds.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

SMALL_SHEETS = ("DeepSeek-R1-Distill-Qwen-1_5B", "DeepSeek-R1-Distill-Llama-8B")
SMALL_CSVS = ("DSR1-Qwen-1.5B", "DSR1-Llama-8B")
SMALL_ROWS = 30
"""Rows of a Tegra CSV: ten questions of three subjects. A server sheet has the same questions."""

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"


@pytest.hookimpl(tryfirst=True)  # before the plugin reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the compiled model in one process, so that it is compiled once."""
    for item in items:
        if "small_models" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("compiled"))


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first runs of two LLMs on both devices, from the shipped samples and in their formats."""
    folder, samples = tmp_path_factory.mktemp("small"), shipped("datasets")
    (folder / "server").mkdir()
    (folder / "tegra").mkdir()
    subjects: set[str] = set()
    for llm in SMALL_CSVS:
        name = f"profiling_combined_{llm}.csv"
        rows = pd.read_csv(samples / "tegra" / name, encoding="latin-1").head(SMALL_ROWS)
        rows.to_csv(folder / "tegra" / name, index=False)
        subjects |= set(rows["subset"])
    book = samples / "server" / "server_mmlu.xlsx"
    with pd.ExcelWriter(folder / "server" / book.name, engine="xlsxwriter") as writer:
        for sheet in SMALL_SHEETS:
            rows = pd.read_excel(book, sheet_name=sheet, engine="calamine")
            asked = rows["subject"].isin(subjects) & rows["question_id"].lt(10)
            rows[asked].to_excel(writer, sheet_name=sheet, index=False)
    return folder


@pytest.fixture(scope="session")
def small_runs(small_files: Path) -> Runs:
    """The run table of the small files; every prompt length is known."""
    runs = load(small_files / "server", small_files / "tegra")
    assert runs.frame["input_tokens"].notna().all()
    return runs


@pytest.fixture(scope="session")
def small_models(small_runs: Runs) -> Models:
    """The models of the small runs."""
    from t2m_bayes.inference import make_models

    return make_models(small_runs)


@pytest.fixture(scope="session")
def small_posterior(small_models: Models) -> tuple[DataTree, Sampling]:
    """The whole posterior of the small runs, and how it was sampled."""
    from t2m_bayes.sampling import Sampling

    sampling = Sampling(draws=300, tune=300, target_accept=0.9, progress=False)
    return small_models.sample(sampling=sampling), sampling


@pytest.fixture(scope="session")
def small_fit(small_models: Models, small_posterior: tuple[DataTree, Sampling]) -> fits.Fit:
    """A fit of the small runs: good enough to predict from, too short to be marked as usable."""
    posterior, sampling = small_posterior
    return small_models.condense(posterior, None, sampling)


@pytest.fixture(scope="session")
def small_fit_folder(small_fit: fits.Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the small fit is saved in; tests leave it as it is."""
    return fits.save(small_fit, tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="session")
def wide_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """The models of two LLMs with prompts wide enough for octaves of context."""
    from t2m_bayes.inference import make_models

    rows = [
        {
            "device": "wide-board",
            "llm": llm,
            "input_tokens": i,
            "output_tokens": o,
            "prefill_s": 0.05 + 2e-4 * size * i,
            "decode_s": (o - 1) * 0.012 * size * (1 + 2e-5 * (i + o / 2)),
        }
        for llm, size in (("DSR1-Qwen-1.5B", 1.8), ("DSR1-Llama-8B", 8.0))
        for i in (64, 128, 512, 2_048)
        for o in (1, 32, 128, 1_024)
    ]
    path = tmp_path_factory.mktemp("wide") / "wide.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return make_models(load(path))


@pytest.fixture(scope="session")
def wide_prior(wide_models: Models) -> DataTree:
    """Draws of that model's prior, in the shape of a posterior."""
    import pymc as pm
    import xarray as xr

    with wide_models.time.model:
        drawn = pm.sample_prior_predictive(
            200, random_seed=1, compile_kwargs={"mode": "FAST_COMPILE"}
        )
    sample = drawn["prior"].to_dataset()
    diverging = xr.zeros_like(sample["tau_step"], dtype=bool).rename("diverging")
    return xr.DataTree.from_dict({"posterior": sample, "sample_stats": diverging.to_dataset()})


@pytest.fixture(scope="session")
def wide_fit(wide_models: Models, wide_prior: DataTree) -> fits.Fit:
    """A fit of those draws, which knows nothing of the rows."""
    from t2m_bayes.sampling import Sampling

    return wide_models.condense(wide_prior, None, Sampling(draws=200, chains=1))


@pytest.fixture(scope="session")
def shipped_fit() -> fits.Fit:
    """The reference fit: there at once, for what needs a fit but no particular one."""
    return reference_fit()


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of public measurements, which are not part of the project."""
    if not REAL.is_dir():
        pytest.skip(f"the public measurements are not at {REAL}")
    return REAL
