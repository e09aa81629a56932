"""``t2m demo``: the whole way on the shipped samples, checked against their truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from t2m_bayes.cli.options import sample_paths
from t2m_bayes.cli.output import duration, log, print_table
from t2m_bayes.resources import shipped
from t2m_bayes.schema import TIMES
from t2m_bayes.writing import write_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from t2m_bayes.fits import Fit

PROB: Final = 0.9
"""Probability of the bands; the truth's runs have quantiles for the same one."""

SHOWN: Final = (200, 200)
"""Input and output tokens of the request that is shown for each LLM."""

DRAWS: Final = 4000
"""Draws of each chain: the short prompts of the samples leave chains that mix slowly."""

PICTURE: Final = "predictions.png"

EXAMPLES: Final = """\b
Example:
  t2m demo --output outputs/demo
"""


def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the fit and picture.")],
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the chains.")] = 1,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
) -> None:
    """Train, predict and compare with the truth.

    All of it with the shipped samples: they are simulated, so the truth is known.
    """
    from t2m_bayes.loading import load

    runs = load(*sample_paths())
    log.info("read %d simulated runs of the shipped samples", len(runs))
    from t2m_bayes import fits, inference
    from t2m_bayes.sampling import Sampling

    log.info("compiling the model and sampling")
    fit = inference.fit(runs, Sampling(draws=DRAWS, seed=seed, progress=not no_progress))
    folder = fits.save(fit, output)
    truth = json.loads((shipped("datasets") / "truth.json").read_text(encoding="utf-8"))
    picture = _draw(fit, runs.frame, folder / PICTURE)
    _show_requests(fit, truth["grid"])
    _show_coverage(fit, truth["grid"])
    if not fit.usable:
        log.warning("%s", fit.provenance["diagnostics"]["verdict"])
    typer.echo(
        f"\nfit      {folder}\npicture  {picture}\n\n"
        f"Next: t2m predict --fit {folder} --model 8B --input-tokens 100 --output-tokens 50"
    )


def _show_requests(fit: Fit, grid: Sequence[dict[str, Any]]) -> None:
    """Print one request for each LLM: the prediction, and how runs truly come out."""
    points = [
        point
        for point in grid
        if point["device"] == fit.target_device
        and (point["input_tokens"], point["output_tokens"]) == SHOWN
    ]
    medians, bounds = _predicted(fit, points)
    typer.echo(
        f"Total time of {SHOWN[0]} input and {SHOWN[1]} output tokens on {fit.target_device}, "
        f"in a new session, with {100 * PROB:g} % bands:\n"
    )
    print_table(
        ("LLM", "predicted", "from", "to", "truly", "from", "to"),
        [
            (
                point["llm"],
                *(duration(x) for x in (medians["total_s"][i], *bounds["total_s"][i])),
                *(duration(point["new"]["runs"]["total_s"][q]) for q in (1, 0, 2)),
            )
            for i, point in enumerate(points)
        ],
    )


def _show_coverage(fit: Fit, grid: Sequence[dict[str, Any]]) -> None:
    """Print how often the bands hold the truth, and how wide they are beside it."""
    import numpy as np

    measured = {(fit.coords.llms[m], fit.coords.devices[d]) for m, d in fit.coords.cells}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for point in grid:
        groups.setdefault((point["device"], point["llm"]), []).append(point)
    rows = []
    for (device, llm), points in groups.items():
        _, bounds = _predicted(fit, points)
        cells = []
        for metric, band in ((m, bounds[m]) for m in (*TIMES, "energy_j") if m in bounds):
            expected = np.array([p["new"]["expected"][metric] for p in points])
            fresh = np.array([p["new"]["runs"][metric] for p in points])
            inside = int(np.sum((band[:, 0] <= expected) & (expected <= band[:, 1])))
            wider = np.median((band[:, 1] - band[:, 0]) / (fresh[:, 2] - fresh[:, 0]))
            cells += [f"{inside} of {len(points)}", f"x {wider:.1f}"]
        name = llm if (llm, device) in measured else f"{llm} (never run there)"
        rows.append((name, device, *cells))
    typer.echo(
        f"\nWhere the truth is known ({len(grid)} requests): how many {100 * PROB:g} % bands hold "
        "the expected value,\nand how wide they are, relative to the true spread of runs:\n"
    )
    names = ("prefill", "decode", "total", "energy")[: (len(rows[0]) - 2) // 2]
    print_table(("LLM", "device", *(x for name in names for x in (name, "width"))), rows, left=2)


def _predicted(fit: Fit, points: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the medians and bounds of points of the grid."""
    from t2m_bayes.prediction import predict
    from t2m_bayes.requests import make_requests

    requests = make_requests(
        fit,
        [point["llm"] for point in points],
        [point["input_tokens"] for point in points],
        [point["output_tokens"] for point in points],
        device=[point["device"] for point in points],
    )
    predicted = predict(fit, requests)
    return predicted.median(), predicted.interval(PROB)


def _draw(fit: Fit, frame: pd.DataFrame, path: Path) -> Path:
    """Save prefill and decode on the target device against tokens, with the runs read."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from t2m_bayes.figures import fan

    read = frame[frame["device"] == fit.target_device]
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    usual = int(read["input_tokens"].median())
    panels = (
        ("prefill_s", "input_tokens", "output_tokens", 100, "Prefill"),
        ("decode_s", "output_tokens", "input_tokens", usual, f"Decode, {usual} input tokens"),
    )
    for ax, (metric, against, other, at, title) in zip(axes, panels, strict=True):
        bands = _bands(fit, read, metric, against, other, at)
        fan(ax, bands, metric, against, measured=read)
        ax.set_title(title, fontsize=10)
    figure.suptitle(
        f"{fit.target_device}: medians and {100 * PROB:g} % bands for a new session; "
        "points are simulated runs",
        fontsize=10,
    )
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return write_picture(figure, path)


def _bands(
    fit: Fit, read: pd.DataFrame, metric: str, against: str, other: str, at: int
) -> pd.DataFrame:
    """Return the bands of every LLM over the range of tokens that was read."""
    import numpy as np

    from t2m_bayes.prediction import predict_bands
    from t2m_bayes.requests import make_requests

    span = read[against].min(), read[against].max()
    tokens = np.unique(np.geomspace(max(span[0], 2), span[1], 400).round())
    llms = sorted(fit.coords.llms, key=lambda llm: fit.coords.params_b[fit.coords.llms.index(llm)])
    varied = np.tile(tokens, len(llms))
    columns = {against: varied, other: np.full(varied.size, float(at))}
    requests = make_requests(
        fit,
        np.repeat(llms, tokens.size).tolist(),
        columns["input_tokens"],
        columns["output_tokens"],
    )
    bands, _ = predict_bands(fit, requests, prob=PROB)
    return requests.with_bands({metric: bands[metric]})
