"""The public names: there, lazily loaded, and light where predicting is all there is to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import t2m_bayes
from t2m_bayes import api
from t2m_bayes.fits import Fit

HEAVY = ("arviz", "matplotlib", "nutpie", "pandas", "pymc", "pytensor", "scipy", "xarray")

LIBRARY = """
import sys
import t2m_bayes, t2m_bayes.fits, t2m_bayes.prediction
fit = t2m_bayes.load_fit(sys.argv[1])
bands = t2m_bayes.predict(fit, "8B", [100, 200], 50).interval(0.9)
assert bands["total_s"].shape == (2, 2)
"""

PROGRAM = """
import sys
from t2m_bayes.cli import app
words = "predict --model 8B --input-tokens 100 --output-tokens 50 --json --fit".split()
try:
    app([*words, sys.argv[1]], standalone_mode=False)
except SystemExit as ended:
    assert not ended.code
"""


def test_every_public_name_is_there() -> None:
    for name in t2m_bayes.__all__:
        assert getattr(t2m_bayes, name) is not None
    assert sorted(t2m_bayes.__all__) == dir(t2m_bayes)
    assert issubclass(t2m_bayes.T2MError, ValueError)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = t2m_bayes.nothing


@pytest.mark.parametrize("program", [LIBRARY, PROGRAM], ids=["library", "command line"])
def test_predicting_imports_nothing_heavy(program: str, small_fit_folder: Path) -> None:
    report = f"""
import json
found = [name for name in {HEAVY!r} if name in sys.modules]
print("\\n" + json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", program + report, str(small_fit_folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_a_fit_is_saved_loaded_and_predicts_the_same(small_fit: Fit, tmp_path: Path) -> None:
    t2m_bayes.save(small_fit, tmp_path)
    loaded = t2m_bayes.load_fit(tmp_path)
    before, after = (
        t2m_bayes.predict(fit, ["8B", "1.5B"], [100, 200], 50, device="server")
        for fit in (small_fit, loaded)
    )
    for metric, values in before.median().items():
        np.testing.assert_allclose(after.median()[metric], values, rtol=1e-5)
    assert list(after.to_frame()["llm"]) == ["DSR1-Llama-8B", "DSR1-Qwen-1.5B"]


def test_predict_passes_on_what_it_is_given(small_fit: Fit) -> None:
    new, same = (
        t2m_bayes.predict(small_fit, "8B", 100, 300, session=session).interval(0.9)["decode_s"][0]
        for session in ("new", "same")
    )
    assert same[1] - same[0] < new[1] - new[0]
    half, whole = (
        t2m_bayes.predict(small_fit, "My-8B", 100, 300, params_b=8, bytes_per_param=size).median()[
            "decode_s"
        ][0]
        for size in (1, 2)
    )
    assert half < 0.7 * whole


def test_the_reference_fit_is_read_from_what_ships(
    monkeypatch: pytest.MonkeyPatch, small_fit: Fit, tmp_path: Path
) -> None:
    monkeypatch.setattr(api, "shipped", lambda folder: tmp_path / folder)
    with pytest.raises(t2m_bayes.T2MError, match="no fit at"):
        t2m_bayes.reference_fit()
    t2m_bayes.save(small_fit, tmp_path / "models" / "reference")
    assert t2m_bayes.reference_fit().coords == small_fit.coords


def test_asking_again_gives_the_same_answer(shipped_fit: Fit) -> None:
    ask = {"input_tokens": [100, 9000], "output_tokens": [50, 1]}
    first, again = (t2m_bayes.predict(shipped_fit, "8B", **ask) for _ in range(2))
    for metric, draws in first.draws.items():
        np.testing.assert_array_equal(again.draws[metric], draws)
    assert again.warnings == first.warnings
