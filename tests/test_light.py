"""The light install: what runs on the device itself, without the sampler and all it brings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = """
import subprocess, sys
from pathlib import Path

asked = Path("asked.csv")
asked.write_text("llm,input_tokens,output_tokens\\n8B,100,50\\n1.5B,100,50\\n")
one = ["--model", "8B", "--input-tokens", "100"]
for words in (
    ["predict", *one, "--output-tokens", "50", "--json"],
    ["predict", "--requests", "asked.csv", "--output", "answered.csv"],
    ["budget", *one, "--deadline", "5s", "--json"],
    ["workload", "--requests", "asked.csv", "--json"],
):
    assert run(*words) == 0, words
assert len(Path("answered.csv").read_text().splitlines()) == 3
"""

BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())

def run(*words):
    from typer.testing import CliRunner
    from t2m_bayes.cli import app
    global result
    result = CliRunner().invoke(app, list(words))
    return result.exit_code
"""

HINTS = """
assert run("train", "--output", "out") == 2
assert "pip install 't2m-bayes[fit]'" in result.stderr, result.stderr
assert run("predict", "--requests", "asked.csv", "--output", "answered.parquet") == 2
assert "pip install 't2m-bayes[parquet]'" in result.stderr, result.stderr
import t2m_bayes
try:
    t2m_bayes.fit
except ImportError as error:
    assert "t2m-bayes[fit]" in str(error), error
else:
    raise AssertionError
print("done")
"""


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]


def test_deciding_needs_no_extra(tmp_path: Path) -> None:
    lines = [line for extra in extras().values() for line in extra]
    names = {re.split(r"[\[>]", line)[0].replace("-", "_") for line in lines}
    blocked = sorted({*names, "pytensor", "scipy"})
    program = BLOCKED.format(blocked=blocked) + COMMANDS + HINTS
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.endswith("done\n"), done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answered.csv", "asked.csv"]


@pytest.mark.slow
def test_the_wheel_predicts_in_a_fresh_environment(tmp_path: Path) -> None:
    def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=False, cwd=tmp_path
        )

    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    built = call(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist", ROOT)
    if built.returncode:
        pytest.skip(f"no wheel could be built here: {built.stderr[-300:]}")
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith((".so", ".pyd"))]
    call(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    installed = call(
        python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel
    )
    if installed.returncode:
        pytest.skip(f"its dependencies could not be installed here: {installed.stderr[-300:]}")
    for heavy in ("pymc", "pandas", "pyarrow", "xarray", "scipy", "matplotlib"):
        assert call(python, "-c", f"import {heavy}").returncode != 0
    program = (
        "import subprocess, sys\n"
        "def run(*words):\n"
        "    global result\n"
        "    words = [sys.executable, '-m', 't2m_bayes', *words]\n"
        "    result = subprocess.run(words, capture_output=True, text=True)\n"
        "    return result.returncode\n"
    )
    done = call(python, "-c", program + COMMANDS + HINTS)
    assert done.stdout.endswith("done\n"), done.stderr
