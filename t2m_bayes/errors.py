"""Errors a user can act on. The command line prints them without a traceback and exits with 2."""

from __future__ import annotations

import re
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
    for line in wanted:
        found = re.match(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"]", line)
        if found and found[1].replace("-", "_") == module:
            return (
                f"this needs {module}, which predicting does not: "
                f"pip install 't2m-bayes[{found[2]}]'"
            )
    return None
