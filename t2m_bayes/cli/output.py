"""How the command line speaks: results to standard output, messages to standard error."""

from __future__ import annotations

import json
import logging
import math
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

log: Final = logging.getLogger("t2m_bayes")

PIPE_WIDTH: Final = 160
"""Columns of a table that goes to a file or another program, which tell no width."""


class _Stderr(logging.Handler):
    """Writes each record to whatever standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, with its level where it is more than news."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        typer.echo(f"{level}{record.getMessage()}", err=True)


def log_to_stderr() -> None:
    """Send this package's messages to standard error, once."""
    if not any(isinstance(handler, _Stderr) for handler in log.handlers):
        log.addHandler(_Stderr())
    log.setLevel(logging.INFO)


def print_json(value: Any) -> None:
    """Print plain data as JSON, with null for what is not known: JSON has no NaN."""
    typer.echo(json.dumps(_known(value), indent=1, ensure_ascii=False, allow_nan=False))


def _known(value: Any) -> Any:
    """Return plain data with ``None`` in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_known(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """Print a table.

    Args:
        header: Its headings.
        rows: Its cells.
        left: How many columns are text, aligned to the left; the others are numbers.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, title in enumerate(header):
        table.add_column(title, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show a progress bar on standard error, where a person sees it.

    Args:
        what: What is done, in a word.
        total: How much there is to do.

    Yields:
        What to call with how much of it was done.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), "{task.percentage:>3.0f} %")
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, advance=done)


def duration(seconds: float) -> str:
    """Return a time with units a person would choose: ``140 ms``, ``3 min 12 s``, ``5 d 12 h``."""
    if math.isnan(seconds):
        return "unknown"
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{_digits(seconds * 1e3)} ms"
    if seconds < 119.5:
        return f"{_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    hours, rest = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {rest:02d} min"
    days, rest = divmod(round(seconds / 3600), 24)
    return f"{days} d {rest:02d} h"


def amount(metric: str, value: float) -> str:
    """Return a metric's value with a unit a person would choose, by the suffix of its name."""
    if metric.endswith("_s"):
        return duration(value)
    unit = metric[-1].upper()
    for prefix, scale in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * scale:
            return f"{_digits(value / scale)} {prefix}{unit}"
    return f"{_digits(value)} {unit}"


def _digits(value: float) -> str:
    """Return three significant digits, without an exponent."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.{digits}f} %"
