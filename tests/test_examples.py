from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_example_runs(path: Path, tmp_path: Path, small_files: Path) -> None:
    # The files of `small_runs`: the model is then the one the other tests have compiled, and the
    # second process takes it from the cache.
    files = ["--server", str(small_files / "server"), "--tegra", str(small_files / "tegra")]
    arguments = {"fit_your_device.py": [*files, "--draws", "20", "--tune", "20"]}
    result = subprocess.run(
        [sys.executable, str(path), *arguments.get(path.name, [])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert " s" in result.stdout
