"""The comparison with other estimators, from the long table that ``t2m compare`` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

NEEDED: Final = (
    *("protocol", "seed", "estimator", "metric", "llm", "device"),
    *("mape", "crps", "coverage_90", "interval_score"),
)
"""Columns of the long table that the report reads."""

PAIRED: Final = ["seed", "llm", "device"]
"""What the estimators of a protocol and metric share row by row."""

OURS: Final = "bayes"
"""The estimator that others are held against."""

TIE: Final = 2.0
"""Standard errors of the mean log ratio below which two estimators are called a tie."""


def read(folder: Path) -> dict[str, Any]:
    """Read a comparison and sum it up for the page.

    Args:
        folder: Folder with ``comparison.csv``, or with one CSV of any name; or the file itself.

    Returns:
        ``text``, and ``blocks``: for each protocol and metric a title, a caption, a table of the
        estimators from best to worst CRPS, and pictures.

    Raises:
        DataError: There is no such table, or it lacks a column.
    """
    import pandas as pd

    path = _find(folder)
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    if missing := [name for name in NEEDED if name not in table]:
        raise DataError(
            f"{path} is no comparison: it has no column {', '.join(missing)}; found "
            f"{', '.join(map(str, table))}"
        )
    if table.empty:
        raise DataError(f"{path} holds no rows")
    blocks = [
        _block(str(protocol), str(metric), rows)
        for (protocol, metric), rows in table.groupby(["protocol", "metric"], sort=False)
    ]
    return {"blocks": blocks, "text": _text(table)}


def _find(folder: Path) -> Path:
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise DataError(f"no comparison at {folder}: name the folder that `t2m compare` wrote")
    if (folder / "comparison.csv").is_file():
        return folder / "comparison.csv"
    found = sorted(folder.glob("*.csv"))
    if len(found) != 1:
        raise DataError(
            f"{folder} holds {len(found)} CSV files; expected comparison.csv or a single one"
        )
    return found[0]


def _text(table: pd.DataFrame) -> str:
    seeds, estimators = table["seed"].nunique(), table["estimator"].nunique()
    return (
        f"{estimators} estimators on the same splits, {seeds} seed{'' if seeds == 1 else 's'} "
        "each. CRPS and interval score judge the whole prediction, lower being better; they are "
        f"shown relative to {_reference(table)}, as geometric means over seeds, LLMs and devices. "
        f"A tie is a difference of less than {TIE:g} standard errors from the best."
    )


def _reference(table: pd.DataFrame) -> str:
    names = list(dict.fromkeys(table["estimator"]))
    return OURS if OURS in names else str(names[0])


def _block(protocol: str, metric: str, rows: pd.DataFrame) -> dict[str, Any]:
    from t2m_bayes.report.calculator import NAMES

    against = _reference(rows)
    means = rows.groupby("estimator", sort=False)[["mape", "coverage_90"]].mean()
    logs = {
        score: rows.assign(log=np.log(rows[score])).pivot_table(
            index=PAIRED, columns="estimator", values="log", sort=False
        )
        for score in ("crps", "interval_score")
    }
    ratios = {
        score: np.exp(log.sub(log[against], axis=0).mean())
        for score, log in logs.items()
        if against in log
    }
    crps = ratios.get("crps", means["mape"])
    order = [name for name in crps.sort_values().index if name in means.index]
    order += [name for name in means.index if name not in order]
    best = order[0]
    return {
        "title": f"{NAMES.get(metric, metric)}, {protocol}",
        "caption": f"{NAMES.get(metric, metric)}, protocol {protocol}; best CRPS first",
        "head": (
            "Estimator",
            "MAPE",
            "In 90 % band",
            f"CRPS / {against}",
            f"Interval score / {against}",
            "Standing",
        ),
        "rows": [
            (
                name,
                f"{means.loc[name, 'mape']:.2%}",
                _shown(means.loc[name, "coverage_90"], "{:.1%}"),
                *(
                    _shown(ratios[s].get(name, np.nan) if s in ratios else np.nan, "{:.2f}")
                    for s in ("crps", "interval_score")
                ),
                _standing(logs["crps"], best, name),
            )
            for name in order
        ],
        "pictures": [],
    }


def _standing(logs: pd.DataFrame, best: str, name: str) -> str:
    """Return ``best``, ``tie`` where the difference from the best is within its error, or none."""
    if name == best:
        return "best"
    if name not in logs or best not in logs:
        return ""
    difference = (logs[name] - logs[best]).dropna()
    if len(difference) < 2:
        return ""
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return "tie" if difference.mean() <= TIE * error else ""


def _shown(value: float, form: str) -> str:
    return form.format(value) if np.isfinite(value) else "none"
