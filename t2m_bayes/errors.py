"""Errors a user can act on. The command line prints them without a traceback and exits with 2."""

from __future__ import annotations

import re
from collections import Counter
from importlib.metadata import PackageNotFoundError, requires


class T2MError(ValueError):
    """Something given to the program cannot be used: the message says what, and what to do."""


class DataError(T2MError):
    """Run data that cannot be read, decided or used."""


class CardError(T2MError):
    """A model card with a missing, unknown or impossible value, or a name no card answers to."""


class FitError(T2MError):
    """A saved fit that cannot be read, or cannot answer what was asked."""


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """Return how to install a module that one of this package's extras brings.

    Args:
        error: What importing it raised.

    Returns:
        A sentence; ``None`` for a module that is none of theirs.
    """
    module = (error.name or "").partition(".")[0]
    try:
        wanted = requires("t2m-bayes") or []
    except PackageNotFoundError:
        return None
    lines = [re.match(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"]", line) for line in wanted]
    extras = [(found[1].replace("-", "_"), found[2]) for found in lines if found]
    sizes = Counter(extra for _, extra in extras)
    bringing = [extra for name, extra in extras if name == module]
    if not bringing:
        return None
    smallest = min(bringing, key=lambda extra: sizes[extra])
    return f"this needs {module}, which predicting does not: pip install 't2m-bayes[{smallest}]'"
