"""Write files under a temporary name, so that a reader finds a whole one or the one before."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside a file, and rename what was written there when all is well.

    Whatever ends the writing before leaves an earlier file of that name, and nothing half-written.

    Args:
        path: The file; its folder is made if it is missing.

    Yields:
        Where to write. It has another ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_picture(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG file.

    Args:
        figure: The figure.
        path: The file; its folder is made if it is missing.

    Returns:
        The file.
    """
    with replacing(path) as part:
        figure.savefig(part, dpi=150, bbox_inches="tight", format="png")
    return path
