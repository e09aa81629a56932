"""The comparison with other estimators, from the long table that ``t2m compare`` writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from t2m_bayes.errors import DataError
from t2m_bayes.figures import MARKERS, OKABE_ITO
from t2m_bayes.report.calculator import NAMES
from t2m_bayes.report.svg import SIZE, Picture, picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

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


@dataclass(frozen=True)
class Block:
    """The estimators' scores of one metric in one protocol.

    Attributes:
        title: The metric and the protocol.
        head: Headings of the table.
        rows: A row for each estimator, from best to worst CRPS; those that did not answer every
            split are last.
    """

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Compared:
    """A comparison, summed up.

    Attributes:
        text: What was compared, and how to read it.
        blocks: Its tables.
        pictures: The same as figures, one a metric.
    """

    text: str
    blocks: list[Block]
    pictures: list[Picture]


def read(folder: Path) -> Compared:
    """Read a comparison and sum it up for the page.

    Args:
        folder: Folder with ``comparison.csv``, or with one CSV of any name as ``t2m compare``
            leaves it; or the file itself.

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
    groups = table.groupby(["metric", "protocol"], sort=False)
    return Compared(
        text=_text(table),
        blocks=[_block(str(metric), str(protocol), rows) for (metric, protocol), rows in groups],
        pictures=list(_pictures(table)),
    )


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


def _block(metric: str, protocol: str, rows: pd.DataFrame) -> Block:
    against = _reference(rows)
    grouped = rows.groupby("estimator", sort=False)
    mape, coverage = (grouped[score].mean() for score in ("mape", "coverage_90"))
    ratios = {score: _ratios(rows, score) for score in ("crps", "interval_score")}
    logs = _logs(rows, "crps")
    splits = logs.count()
    ranked = ratios["crps"].dropna().sort_values()
    partial_last = sorted(ranked.index, key=lambda name: splits[name] < splits.max())
    order = [str(name) for name in partial_last]
    order += [str(name) for name in mape.index if name not in order]
    return Block(
        title=f"{NAMES.get(metric, metric)}, {protocol}",
        head=(
            *("Estimator", "MAPE", "In 90 % band"),
            *(f"CRPS / {against}", f"Interval score / {against}", "Standing"),
        ),
        rows=[
            (
                name,
                _shown(mape[name], "{:.2%}"),
                _shown(coverage[name], "{:.1%}"),
                *(_shown(ratios[s].get(name, np.nan), "{:.2f}") for s in ratios),
                _standing(logs, order[0], name),
            )
            for name in order
        ],
    )


def _logs(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Return the logarithm of a score: a row for each split, a column for each estimator."""
    positive = rows[score].where(rows[score] > 0)
    return rows.assign(log=np.log(positive)).pivot_table(
        index=PAIRED, columns="estimator", values="log", sort=False
    )


def _ratios(rows: pd.DataFrame, score: str) -> pd.Series:
    """Return each estimator's score relative to the reference's, on the splits both have."""
    logs, against = _logs(rows, score), _reference(rows)
    if against not in logs:
        return logs.mean() * np.nan
    return logs.sub(logs[against], axis=0).mean().map(np.exp)


def _pictures(table: pd.DataFrame) -> Iterator[Picture]:
    """Draw the CRPS of all estimators and protocols, relative to the reference."""
    against = _reference(table)
    for i, (metric, rows) in enumerate(table.groupby("metric", sort=False)):
        ratios = {
            str(protocol): found
            for protocol, group in rows.groupby("protocol", sort=False)
            if not (found := _ratios(group, "crps").dropna()).empty
        }
        if not ratios:
            continue
        name = NAMES.get(str(metric), str(metric))
        yield picture(
            partial(_draw, ratios=ratios, against=against),
            f"compared-{i}",
            f"{name}: CRPS of every estimator relative to {against}",
            f"{name}: CRPS relative to {against}, by protocol. To the right of the line is worse.",
            (SIZE[0], 1.6 + 0.27 * rows["estimator"].nunique()),
        )


def _draw(figure: Figure, ratios: dict[str, pd.Series], against: str) -> None:
    import pandas as pd
    from matplotlib.ticker import LogLocator, NullFormatter

    ax = figure.subplots()
    order = pd.DataFrame(ratios).median(axis=1).sort_values(ascending=False)
    place = {name: i for i, name in enumerate(order.index)}
    for k, (protocol, found) in enumerate(ratios.items()):
        ax.plot(
            found.to_numpy(),
            [place[name] for name in found.index],
            MARKERS[k % len(MARKERS)],
            color=OKABE_ITO[k % len(OKABE_ITO)],
            markersize=5,
            label=protocol,
        )
    ax.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, 0.45), max(high, 2.2))
    ax.set_yticks(list(place.values()), list(place), fontsize=9)
    ax.set_xlabel(f"CRPS / that of {against}")
    ax.grid(visible=True, axis="x", linewidth=0.4, alpha=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def _standing(logs: pd.DataFrame, best: str, name: str) -> str:
    """Return ``best``; ``tie`` where the difference is within its error; ``partial`` or nothing.

    Args:
        logs: Logarithm of the CRPS. shape: (split, estimator)
        best: The estimator with the smallest CRPS among those that answered every split.
        name: The estimator.
    """
    if name not in logs:
        return "no band"
    if logs[name].count() < logs.count().max():
        return "partial"
    if name == best:
        return "best"
    difference = (logs[name] - logs[best]).dropna()
    if len(difference) < 2:
        return ""
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return "tie" if difference.mean() <= TIE * error else ""


def _shown(value: float, form: str) -> str:
    return form.format(value) if np.isfinite(value) else "none"
