"""``t2m simulate``: sample files with a known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

EXAMPLES: Final = """\b
Example:
  t2m simulate --output elsewhere --seed 7
"""


def simulate(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")],
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed is another world.")],
) -> None:
    """Write sample files and their truth.

    A server Excel, Tegra CSVs, and what the simulator knows of them.
    """
    from t2m_bayes.simulator import write_samples

    for path in write_samples(output, seed):
        typer.echo(str(path))
