"""``t2m reference``: rebuild the fit that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

EXAMPLES: Final = """\b
Example:
  t2m reference measurements --output models/reference
"""


def reference(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the public run tables.")],
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the fit; by default the shipped one."),
    ] = None,
) -> None:
    """Rebuild the shipped reference fit.

    The run tables it needs are public measurements that are not shipped.
    """
    from t2m_bayes.reference import build

    typer.echo(f"fit written to {build(data, output)}")
