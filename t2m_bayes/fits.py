"""A fit: thinned posterior draws, what they are indexed by, and where they come from.

Reading one needs NumPy and h5py only. The file is netCDF-4, so xarray and ArviZ open it as well.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from t2m_bayes.design import Coords
from t2m_bayes.errors import FitError
from t2m_bayes.schema import ENERGIES, TIMES
from t2m_bayes.sensor import Sensor
from t2m_bayes.writing import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Draws = NDArray[np.floating[Any]]

FORMAT: Final = 4
"""Version of the file's layout; a reader turns away what it does not know."""

POSTERIOR, PROVENANCE = "posterior.nc", "fit.json"

EVIDENCE: Final = "evidence"
"""Variable of the file that holds the evidence, as the bytes of a JSON text."""

REGRESSION: Final = "regression.skops"
"""What a point regressor leaves in place of a posterior; a folder holds one of the two."""


@dataclass(frozen=True)
class Reads:
    """How much was read of a series, and in what range.

    Attributes:
        prefill: Prefill readings.
        decode: Decode readings.
        input_tokens: Shortest and longest prompt; ``None`` where none is known.
        output_tokens: Fewest and most generated tokens.
        prefill_power: Power readings that show prefill busy.
        decode_power: Power readings that show decode busy.
        idle_power: Power readings that show the series idle.
    """

    prefill: int
    decode: int
    input_tokens: tuple[float, float] | None
    output_tokens: tuple[float, float] | None
    prefill_power: int = 0
    decode_power: int = 0
    idle_power: int = 0


@dataclass(frozen=True)
class Fit:
    """Posterior draws that predictions are made of.

    Attributes:
        coords: What the draws are indexed by.
        draws: Variable name to draws. shape: (chain, draw, ...)
        dims: Variable name to the names of its dimensions after ``chain`` and ``draw``.
        reads: What was read of each series, in the order of ``coords.series``.
        provenance: Data hash, versions, seed, priors, diagnostics and checks; plain JSON values.
        sensors: What power was read with; empty where none was read.
        rail_offsets: Rails whose level is stated against the usual ones'.
        blocks: Series and name of each block with a level of its own
            (:mod:`t2m_bayes.blocks`).
        evidence: What the checks were made of, for figures (:mod:`t2m_bayes.evidence`): plain JSON
            values, no row of the data among them; empty where it was not computed.
        remembered: What predictions have read off the draws, to be read again at once.
    """

    coords: Coords
    draws: Mapping[str, Draws]
    dims: Mapping[str, tuple[str, ...]]
    reads: tuple[Reads, ...]
    provenance: Mapping[str, Any]
    sensors: tuple[Sensor, ...] = ()
    rail_offsets: tuple[str, ...] = ()
    blocks: tuple[tuple[int, str], ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remembered: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of chains and of draws in each."""
        chains, draws = next(iter(self.draws.values())).shape[:2]
        return chains, draws

    @property
    def target_device(self) -> str:
        """Return the device that predictions are for unless one is named: the slow, scarce one."""
        return str(self.provenance["target_device"])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return what the fit can predict, in the order in which it is reported."""
        return (*TIMES, *ENERGIES) if self.sensors else TIMES

    @property
    def usable(self) -> bool:
        """Return whether the sampler's diagnostics were good."""
        return bool(self.provenance["diagnostics"]["usable"])

    def flat(self, name: str) -> Draws:
        """Return a variable's draws with the chains joined. shape: (sample, ...)."""
        values = self.draws[name]
        return values.reshape(-1, *values.shape[2:])


def save(fit: Fit, directory: Path | str) -> Path:
    """Write a fit into a folder as ``posterior.nc`` and a readable ``fit.json``.

    Both are written under temporary names and renamed, so an interruption leaves an earlier fit.

    Args:
        fit: The fit.
        directory: The folder; made if it is missing.

    Returns:
        The folder.
    """
    import xarray as xr

    directory = Path(directory)
    header = {
        "format": FORMAT,
        "coords": asdict(fit.coords),
        "reads": [asdict(r) for r in fit.reads],
        "sensors": [asdict(s) for s in fit.sensors],
        "rail_offsets": list(fit.rail_offsets),
        "blocks": list(fit.blocks),
        "provenance": dict(fit.provenance),
    }
    names = {
        "llm": list(fit.coords.llms),
        "device": list(fit.coords.devices),
        "cell": fit.coords.cell_names(),
        "series": fit.coords.series_names(),
        "stair": fit.coords.stair_names(),
        "octave": list(fit.coords.octaves),
    }
    used = {dim for dims in fit.dims.values() for dim in dims}
    dataset = xr.Dataset(
        {
            name: (("chain", "draw", *fit.dims[name]), values.astype(np.float32))
            for name, values in fit.draws.items()
        },
        coords={dim: values for dim, values in names.items() if dim in used},
        attrs={"t2m_bayes": json.dumps(header)},
    )
    if fit.evidence:
        # A variable, since attributes end at 64 kB; in this file, since one file has one story.
        text_bytes = json.dumps(dict(fit.evidence), separators=(",", ":")).encode()
        dataset[EVIDENCE] = ("byte", np.frombuffer(text_bytes, dtype=np.uint8))
    encoding = {str(name): {"zlib": True, "complevel": 4} for name in dataset.data_vars}
    with replacing(directory / PROVENANCE) as text, replacing(directory / POSTERIOR) as part:
        dataset.to_netcdf(part, engine="h5netcdf", encoding=encoding)
        text.write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
    (directory / REGRESSION).unlink(missing_ok=True)
    return directory


def find(path: Path | str) -> Path:
    """Return the posterior file that a path means: the file itself, or a folder that holds one.

    Args:
        path: A ``posterior.nc``, the folder with it, or a folder with exactly one such folder.

    Raises:
        FitError: There is none, or more than one.
    """
    path = Path(path)
    if path.is_file():
        return path.with_name(POSTERIOR) if path.name == PROVENANCE else path
    if (path / POSTERIOR).is_file():
        return path / POSTERIOR
    below = sorted(path.glob(f"*/{POSTERIOR}")) if path.is_dir() else []
    if len(below) == 1:
        return below[0]
    if below:
        raise FitError(
            f"{path} holds {len(below)} fits ({', '.join(p.parent.name for p in below)}); name one"
        )
    raise FitError(
        f"no fit at {path}: expected a folder with {POSTERIOR}, as `t2m train` writes it"
    )


def load(path: Path | str) -> Fit:
    """Read a fit.

    Args:
        path: See :func:`find`.

    Returns:
        The fit.

    Raises:
        FitError: The file is missing, cut short, not a fit, or of another format.
    """
    import h5py

    file = find(path)
    try:
        with h5py.File(file, "r") as handle:
            if "t2m_bayes" not in handle.attrs:
                raise FitError(f"{file} is a netCDF file but not a fit of this program")
            raw = handle.attrs["t2m_bayes"]
            header = json.loads(raw if isinstance(raw, str) else bytes(raw).decode())
            if header["format"] != FORMAT:
                raise FitError(
                    f"{file} has fit format {header['format']}, this program reads {FORMAT}: "
                    "train it again with this version, or predict with the one that made it "
                    f"({header['provenance'].get('versions', {}).get('t2m-bayes', 'unknown')})"
                )
            draws, dims = {}, {}
            for name in handle:
                item = handle[name]
                if item.ndim < 2 or not np.issubdtype(item.dtype, np.floating):
                    continue
                draws[name] = item[...].astype(np.float64)
                dims[name] = _dimension_names(handle, item)[2:]
            if not draws:
                raise FitError(f"{file} holds no posterior draws")
            raw = handle[EVIDENCE][...].tobytes() if EVIDENCE in handle else b"{}"
            return _fit(header, draws, dims, json.loads(raw))
    except FitError:
        raise
    # What h5py raises depends on which byte is damaged: all of it means the same here.
    except (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise FitError(f"{file} cannot be read, it is damaged or cut short: {error}") from error


def _fit(
    header: dict[str, Any],
    draws: dict[str, Draws],
    dims: dict[str, tuple[str, ...]],
    evidence: dict[str, Any],
) -> Fit:
    coords = header["coords"]
    return Fit(
        coords=Coords(
            llms=tuple(coords["llms"]),
            params_b=tuple(coords["params_b"]),
            weights_gb=tuple(coords["weights_gb"]),
            devices=tuple(coords["devices"]),
            cells=tuple((c[0], c[1]) for c in coords["cells"]),
            series=tuple((s[0], s[1]) for s in coords["series"]),
            tiles=tuple(coords["tiles"]),
            stairs=tuple((s[0], s[1]) for s in coords["stairs"]),
            device_tiles=tuple((t[0], t[1]) for t in coords["device_tiles"]),
            octaves=tuple(coords.get("octaves", ())),
        ),
        draws=draws,
        dims=dims,
        reads=tuple(
            Reads(
                **r
                | {
                    what: tuple(r[what]) if r[what] else None
                    for what in ("input_tokens", "output_tokens")
                }
            )
            for r in header["reads"]
        ),
        sensors=tuple(Sensor(**s) for s in header.get("sensors", ())),
        rail_offsets=tuple(header.get("rail_offsets", ())),
        blocks=tuple((b[0], b[1]) for b in header.get("blocks", ())),
        provenance=header["provenance"],
        evidence=evidence,
    )


def _dimension_names(handle: Any, item: Any) -> tuple[str, ...]:
    return tuple(
        handle[reference[0]].name.rsplit("/", 1)[-1] for reference in item.attrs["DIMENSION_LIST"]
    )
