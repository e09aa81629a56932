"""Regressions as files: skops, which stores structure and numbers, and runs nothing when read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from t2m_bayes.baselines.regression import Regression
from t2m_bayes.errors import FitError
from t2m_bayes.fits import POSTERIOR, PROVENANCE, REGRESSION
from t2m_bayes.writing import replacing

TRUSTED: Final = ("t2m_bayes.", "mapie.", "sklearn.", "numpy.", "pandas.", "xgboost.", "builtins.")
"""Packages whose types a file may hold; one with any other is turned away unread."""


def save(regression: Regression, directory: Path | str) -> Path:
    """Write a regression into a folder, beside a readable ``fit.json``.

    Both are written under temporary names and renamed; a posterior that was there is replaced.

    Args:
        regression: A fitted regression.
        directory: The folder; made if it is missing.

    Returns:
        The folder.
    """
    from zipfile import ZIP_DEFLATED

    from skops import io

    directory = Path(directory)
    header = {"provenance": regression.provenance}
    with replacing(directory / PROVENANCE) as text, replacing(directory / REGRESSION) as part:
        io.dump(regression, part, compression=ZIP_DEFLATED, compresslevel=6)
        text.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
    (directory / POSTERIOR).unlink(missing_ok=True)
    return directory


def load(path: Path) -> Regression:
    """Read a regression.

    Args:
        path: The file that :func:`save` wrote.

    Raises:
        FitError: It is damaged, no regression, needs a package that is not installed, or holds
            types that are not :data:`TRUSTED`.
    """
    from skops import io

    try:
        types = io.get_untrusted_types(file=path)
        if foreign := [name for name in types if not name.startswith(TRUSTED)]:
            raise FitError(
                f"{path} holds types that no regression of this program has, and was not read: "
                f"{', '.join(foreign)}"
            )
        regression = io.load(path, trusted=types)
    except FitError:
        raise
    except ImportError as error:
        raise FitError(f"{path} needs a package that is not installed: {error}") from error
    except Exception as error:  # a damaged archive may fail anywhere inside the reader
        raise FitError(f"{path} cannot be read, it is damaged or cut short: {error}") from error
    if not isinstance(regression, Regression):
        raise FitError(f"{path} is a skops file but holds no regression of this program")
    return regression
