"""Data frames of requests: the same bands in pandas, in Dask and on a cluster."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import t2m_bayes
from t2m_bayes.dataframes import predict_dataframe
from t2m_bayes.errors import DataError
from t2m_bayes.fits import Fit
from t2m_bayes.prediction import predict_bands
from t2m_bayes.requests import make_requests


def table(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "llm": rng.choice(["8B", "1.5B"], rows),
            "input_tokens": rng.integers(1, 900, rows),
            "output_tokens": rng.integers(1, 300, rows),
            "note": "x",
        },
        index=np.arange(rows) * 3,
    )


def test_pandas(shipped_fit: Fit) -> None:
    frame = table()
    answered = t2m_bayes.predict_dataframe(shipped_fit, frame)
    pd.testing.assert_frame_equal(answered[list(frame)], frame)
    requests = make_requests(
        shipped_fit, frame.llm.tolist(), frame.input_tokens, frame.output_tokens
    )
    bands, _ = predict_bands(shipped_fit, requests)
    for metric in shipped_fit.metrics:
        names = [f"{metric}_{part}" for part in ("median", "lower", "upper")]
        np.testing.assert_allclose(answered[names], bands[metric], rtol=1e-6)
    assert list(predict_dataframe(shipped_fit, frame.head(0)).columns) == list(answered.columns)


def test_what_a_data_frame_must_have(shipped_fit: Fit) -> None:
    with pytest.raises(DataError, match="no column llm"):
        predict_dataframe(shipped_fit, table().drop(columns="llm"))
    with pytest.raises(DataError, match="answers already: total_s_p95"):
        predict_dataframe(shipped_fit, table().assign(total_s_p95=1), columns=["total_s_p95"])
    with pytest.raises(DataError, match="output_tokens, data row 1"):
        predict_dataframe(shipped_fit, table().assign(output_tokens=0))


def test_dask_is_lazy_and_the_same(shipped_fit: Fit) -> None:
    dask = pytest.importorskip("dask.dataframe", reason="dask is not installed: t2m-bayes[dask]")
    frame = table()
    lazy = predict_dataframe(shipped_fit, dask.from_pandas(frame, npartitions=3), columns=["p95"])
    assert lazy.npartitions == 3
    computed = lazy.compute(scheduler="synchronous")
    expected = predict_dataframe(shipped_fit, frame, columns=["p95"])
    pd.testing.assert_frame_equal(computed, expected, check_dtype=False)
    wrong = dask.from_pandas(frame.assign(llm="9000B"), npartitions=2)
    with pytest.raises(DataError, match="no LLM '9000B'"):
        predict_dataframe(shipped_fit, wrong).compute(scheduler="synchronous")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cluster_of_two_workers(shipped_fit: Fit) -> None:
    dask = pytest.importorskip("dask.dataframe", reason="dask is not installed: t2m-bayes[dask]")
    distributed = pytest.importorskip("distributed", reason="there is no dask cluster")
    frame = table(400)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two,
        distributed.Client(two) as client,
    ):
        assert len(client.scheduler_info()["workers"]) == 2
        asked = dask.from_pandas(frame, npartitions=6)
        computed = predict_dataframe(shipped_fit, asked).compute()
    pd.testing.assert_frame_equal(
        computed, predict_dataframe(shipped_fit, frame), check_dtype=False
    )
