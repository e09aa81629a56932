"""Every check passes on what is sound, and fails on what is broken in its own way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from t2m_bayes import cli, fits
from t2m_bayes.checks import Check, checked, checks_of, failures
from t2m_bayes.evidence.calibration import LeftOut, calibration_checks, leave_one_out
from t2m_bayes.evidence.outliers import outlier_check
from t2m_bayes.evidence.prior import (
    range_check,
    sensitivities,
    sensitivity_check,
    unidentified_check,
)
from t2m_bayes.evidence.readings import Readings, read
from t2m_bayes.evidence.sampler import (
    DECISIVE,
    mendable,
    monte_carlo_check,
    sampler_checks,
    verdict,
)
from t2m_bayes.fits import Fit
from t2m_bayes.hierarchy import model_data
from t2m_bayes.inference import CAREFUL, Models, measured_predictions, sample_well
from t2m_bayes.priors import Prior
from t2m_bayes.sampling import Sampling

Posterior = tuple[xr.DataTree, Sampling]


@pytest.fixture(scope="module")
def checked_fit(small_models: Models, small_posterior: Posterior) -> Fit:
    posterior, sampling = small_posterior
    return small_models.condense(posterior, None, sampling, evidence=True)


def evaluate(
    models: Models, posterior: xr.DataTree, tampered: dict[str, np.ndarray] | None = None
) -> dict[str, Readings]:
    """Read the small rows at a few draws of a posterior, with some data exchanged."""
    few = xr.DataTree.from_dict(
        {"posterior": posterior["posterior"].to_dataset().isel(draw=slice(None, None, 6))}
    )
    data = model_data(models.design) | (tampered or {})
    rng = np.random.default_rng(0)
    return {r.name: r for r in read(models.time.model, models.design, data, few, rng)}


@pytest.fixture(scope="module")
def readings(small_models: Models, small_posterior: Posterior) -> dict[str, Readings]:
    return evaluate(small_models, small_posterior[0])


def failed(checks: list[Check]) -> set[str]:
    return {check.name for check in failures(checks)}


def sampled(posterior: xr.DataTree, models: Models) -> list[Check]:
    sample = posterior["posterior"].to_dataset()[["log_step"]]
    return [*sampler_checks(posterior, models.models), monte_carlo_check(sample)]


def tampered_draws(posterior: xr.DataTree, change: object) -> xr.DataTree:
    """Return a posterior with its draws changed, its sampler's statistics as they were."""
    sample = change(posterior["posterior"].to_dataset())
    draws = sample.sizes["draw"]
    kept = posterior["sample_stats"].to_dataset()[["diverging", "energy", "maxdepth_reached"]]
    return xr.DataTree.from_dict(
        {"posterior": sample, "sample_stats": kept.isel(draw=slice(0, draws))}
    )


def test_a_sound_fit_passes_all_but_the_sampler(checked_fit: Fit) -> None:
    """The small fit is too short on purpose, and three readings decide on a tile's level."""
    checks = checks_of(checked_fit)
    wrong = {c.name for c in failures(checks) if c.group != "sampler"}
    assert wrong <= {"prefill: PSIS-LOO"}
    assert {c.group for c in checks} == {"sampler", "fit", "prior", "data"}
    assert len({c.name for c in checks}) == len(checks)
    assert checked(checked_fit)


def test_the_verdict_is_that_of_the_sampler_checks(checked_fit: Fit) -> None:
    diagnostics = checked_fit.provenance["diagnostics"]
    sampler = [c for c in checks_of(checked_fit) if c.group == "sampler"]
    failed_ones = [check for check in failures(sampler) if check.name in DECISIVE]
    assert diagnostics["usable"] == (not failed_ones)
    assert diagnostics == verdict(sampler)
    for check in failed_ones:
        assert check.name in diagnostics["verdict"]


def independent(posterior: xr.DataTree, *, diverging: bool) -> xr.DataTree:
    """Return a posterior of the same variables whose draws have nothing to do with one another."""
    rng = np.random.default_rng(0)
    shape = (4, 400)
    drawn = {
        name: (variable.dims, rng.normal(size=shape + variable.shape[2:]))
        for name, variable in posterior["posterior"].to_dataset().items()
    }
    stats = {"diverging": (("chain", "draw"), np.full(shape, diverging))}
    return xr.DataTree.from_dict(
        {"posterior": xr.Dataset(drawn), "sample_stats": xr.Dataset(stats)}
    )


def test_independent_draws_pass_the_sampler_checks(
    small_models: Models, small_posterior: Posterior
) -> None:
    checks = sampled(independent(small_posterior[0], diverging=False), small_models)
    assert failed(checks) == set()
    assert verdict(checks)["usable"]
    divergent = independent(small_posterior[0], diverging=True)
    assert failed(sampled(divergent, small_models)) == {"divergences"}


def test_sampling_again_mends_chains_that_agree_and_no_others() -> None:
    def found(**measured: float) -> list[Check]:
        limits = {"r-hat": (1.01, 1), "bulk ESS": (400, -1), "tail ESS": (400, -1)}
        values = {"r-hat": 1.0, "bulk ESS": 900, "tail ESS": 900, "divergences": 0} | measured
        return [
            Check(n, "sampler", v, limit, sign * v <= sign * limit, "", "")
            for n, v in values.items()
            for limit, sign in [limits.get(n, (0, 1))]
        ]

    assert not mendable(found())
    assert mendable(found(**{"r-hat": 1.013})) == {"r-hat"}
    assert mendable(found(**{"bulk ESS": 200})) == {"bulk ESS"}
    assert mendable(found(**{"r-hat": 1.013, "divergences": 1})) == {"r-hat", "divergences"}
    assert not mendable(found(**{"r-hat": 1.3, "bulk ESS": 8, "divergences": 1}))


def test_what_diverged_is_sampled_again_with_care_and_what_mixed_slowly_for_longer(
    small_models: Models, small_posterior: Posterior
) -> None:
    whole = small_posterior[0]
    names = {v.name for v in small_models.models[0].free_RVs}

    def part(diverging: bool, each: int, *, of_time: bool) -> xr.DataTree:
        drawn = independent(whole, diverging=diverging)
        slowly = np.repeat(np.arange(400 // each), each)
        posterior = drawn["posterior"].to_dataset().isel(draw=slowly)
        kept = [name for name in posterior if (name in names) == of_time]
        return xr.DataTree.from_dict(
            {"posterior": posterior[kept], "sample_stats": drawn["sample_stats"].to_dataset()}
        )

    asked: dict[str, list[Sampling]] = {"time": [], "power": []}
    # Power diverges, then stays where it is for five draws at a time.
    found = {
        "time": [part(False, 1, of_time=True), part(False, 1, of_time=True)],
        "power": [
            part(True, 1, of_time=False),
            part(False, 5, of_time=False),
            part(False, 1, of_time=False),
        ],
    }

    def task(name: str) -> SimpleNamespace:
        @contextmanager
        def begun(sampling: Sampling) -> Iterator[Callable[[], xr.DataTree]]:
            asked[name].append(sampling)
            yield lambda: found[name][len(asked[name]) - 1]

        return SimpleNamespace(prepare=lambda sampling: None, begun=begun)

    stand_in = SimpleNamespace(
        models=small_models.models, tasks=lambda rows: (task("power"), task("time"))
    )
    first = Sampling(draws=300, target_accept=0.8)
    _, used, checks = sample_well(stand_in, first)
    careful = replace(first, target_accept=CAREFUL)
    longer = replace(careful, draws=600)
    assert asked == {"time": [first, longer], "power": [first, careful, longer]}
    assert used == longer
    assert verdict(checks)["usable"]


def test_too_few_draws_are_noticed(small_models: Models, small_posterior: Posterior) -> None:
    short = tampered_draws(small_posterior[0], lambda sample: sample.isel(draw=slice(0, 20)))
    found = failed(sampled(short, small_models))
    assert {"bulk ESS", "tail ESS", "Monte Carlo error"} <= found


def test_bounds_of_energy_are_checked_where_a_sensor_showed_it(small_fit: Fit) -> None:
    """The prior's are wide and have a long tail: all of the server's, which has no power, and of
    prefill on the Jetson, whose means of whole subjects show decode.
    """
    predictions = measured_predictions(small_fit)
    cells = len(small_fit.coords.cells)
    on_server = sum(small_fit.coords.devices[d] == "server" for _, d in small_fit.coords.cells)
    assert 0 < on_server < cells
    assert predictions.sizes["total_s_request"] == 4 * cells
    assert predictions.sizes["decode_energy_j_request"] == 4 * (cells - on_server)
    assert not {"energy_j", "power_w", "prefill_energy_j"} & set(predictions)
    both = tuple(replace(reads, prefill_power=reads.decode_power) for reads in small_fit.reads)
    with_prefill = measured_predictions(replace(small_fit, reads=both))
    assert with_prefill.sizes["energy_j_request"] == 4 * (cells - on_server)


def test_a_stuck_chain_is_noticed(small_models: Models, small_posterior: Posterior) -> None:
    def stick(sample: xr.Dataset) -> xr.Dataset:
        return sample.where(sample["chain"] != 0, sample.isel(chain=0, draw=0, drop=True))

    checks = {c.name: c for c in sampled(tampered_draws(small_posterior[0], stick), small_models)}
    assert not checks["r-hat"].passed
    assert float(checks["r-hat"].measured) > 1.2


@pytest.mark.parametrize("factor", [1 / 3, 3.0])
def test_wrong_noise_is_noticed(
    factor: float, small_models: Models, small_posterior: Posterior
) -> None:
    """Bands a third or three times as wide as the readings ask for."""

    def scale(sample: xr.Dataset) -> xr.Dataset:
        # Read cells are centred, so their own noise is what the model uses.
        raw = sample["log_noise_prefill_cell_raw"] + np.log(factor)
        return sample.assign(log_noise_prefill_cell_raw=raw)

    broken = evaluate(small_models, tampered_draws(small_posterior[0], scale))
    left_out = [leave_one_out(r) for r in broken.values()]
    found = failed(calibration_checks(left_out, small_models.design.coords))
    assert "prefill: LOO-PIT" in found
    assert not any(name.startswith("decode") for name in found)


def test_an_outlier_is_named(
    small_models: Models, small_posterior: Posterior, readings: dict[str, Readings]
) -> None:
    design, frame = small_models.design, small_models.frame
    for one in readings.values():
        assert outlier_check(one, design.coords, frame).passed
    stalled = np.log(design.prefill_s)
    stalled[17] += np.log(9.0)
    broken = evaluate(small_models, small_posterior[0], {"log_prefill": stalled})
    check = outlier_check(broken["prefill"], design.coords, frame)
    assert not check.passed
    assert check.where.startswith(f"row {design.prefill_row[17] + 1} (")
    assert f"{9 * design.prefill_s[17]:.3g} where" in check.where
    assert broken["prefill"].weight[17] < 0.02
    assert outlier_check(broken["decode"], design.coords, frame).passed


def test_an_outlier_that_is_no_stall_is_counted_and_let_pass(
    small_models: Models, readings: dict[str, Readings]
) -> None:
    one = readings["prefill"]
    value, weight = one.value.copy(), one.weight.copy()
    value[17], weight[17] = one.expected[17] + np.log(1.1), 0.001
    rare = replace(one, value=value, weight=weight)
    before, after = (
        outlier_check(r, small_models.design.coords, small_models.frame) for r in (one, rare)
    )
    assert after.passed
    assert int(str(after.measured).split()[0]) == int(str(before.measured).split()[0]) + 1
    assert "row 18" not in after.where


def test_a_reading_beyond_the_prior_is_noticed(readings: dict[str, Readings]) -> None:
    one = readings["decode"]
    drawn = one.value + np.random.default_rng(0).normal(size=(1, 500, one.value.size))
    prior = xr.DataTree.from_dict(
        {"prior_predictive": xr.Dataset({"decode": (("chain", "draw", "row"), drawn)})}
    )
    assert range_check(one, prior).passed
    assert not range_check(replace(one, value=one.value + np.log(1000.0)), prior).passed


@pytest.mark.parametrize(("reading", "passes"), [(0.05, True), (3.0, False)])
def test_a_prior_fighting_the_data_is_noticed(
    reading: float, passes: bool, readings: dict[str, Readings]
) -> None:
    """One coefficient with a prior N(0, 0.1) and one reading of it, as exact as the prior."""
    rng = np.random.default_rng(1)
    draws = rng.normal(reading / 2, 0.1 / np.sqrt(2), size=400)
    likelihood = -0.5 * ((reading - draws) / 0.1) ** 2
    posterior = xr.Dataset({"slope": (("chain", "draw"), draws[None])})
    one = replace(readings["decode"], log_likelihood=likelihood)
    pulls = sensitivities(posterior, {"slope": Prior("normal", 0.0, 0.1, "")}, [one])
    assert pulls[0]["z"] == pytest.approx(reading / 0.2, abs=0.1)
    check = sensitivity_check(pulls)
    assert check.passed is passes
    assert "slope" in check.where


def test_quantities_without_readings_are_named(checked_fit: Fit) -> None:
    coords = checked_fit.coords
    shape = (2, 500, len(coords.cells))
    rng = np.random.default_rng(0)
    dims = ("chain", "draw", "cell")
    prior = xr.Dataset({n: (dims, rng.normal(size=shape)) for n in ("log_a", "log_b", "log_c")})
    read = np.ones(len(coords.cells), dtype=bool)
    known = prior * np.array([0.1, 0.1, 0.1, 0.1])
    assert unidentified_check(known, prior, coords, read).passed
    half = known.assign(log_a=prior["log_a"])
    check = unidentified_check(half, prior, coords, read)
    assert check.passed
    assert "log_a of" in check.where
    assert not unidentified_check(prior, prior, coords, read).passed


@given(st.integers(200, 1500), st.integers(0, 10**6))
def test_uniform_probabilities_pass_and_others_do_not(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranks = (rng.permutation(n) + 0.5) / n
    assert checks_by_pit(ranks).passed
    assert not checks_by_pit(ranks**2).passed
    assert not checks_by_pit(0.5 + (ranks - 0.5) * 0.6).passed


def test_readings_left_out_are_those_of_a_refit() -> None:
    """A normal mean with known noise and a flat prior, where leaving out is a formula."""
    rng = np.random.default_rng(0)
    n, draws = 30, 4000
    value = rng.normal(size=n)
    mean = rng.normal(value.mean(), 1 / np.sqrt(n), size=(draws, 1))
    index, nothing = np.arange(n), np.zeros(n)
    one = Readings(
        name="decode", row=index, series=index, value=value, logarithm=True,
        expected=nothing, weight=nothing, log_likelihood=nothing, sampled=index,
        log_density=stats.norm.logpdf(value, mean, 1.0), probability=stats.norm.cdf(value, mean),
        location=np.broadcast_to(mean, (draws, n)), scale=np.ones((draws, n)),
        tails=np.full((2, draws, n), np.inf),
    )  # fmt: skip
    left_out = leave_one_out(one)
    others = (value.sum() - value) / (n - 1)
    exact = stats.norm(others, np.sqrt(1 + 1 / (n - 1)))
    np.testing.assert_allclose(left_out.pit, exact.cdf(value), atol=0.01)
    np.testing.assert_allclose(left_out.elpd, exact.logpdf(value), atol=0.03)
    whole = stats.norm(value.mean(), np.sqrt(1 + 1 / n)).logpdf(value)
    assert left_out.p.sum() == pytest.approx((whole - exact.logpdf(value)).sum(), abs=0.1)
    assert left_out.k.max() < 0.5


def checks_by_pit(pit: np.ndarray) -> Check:
    from t2m_bayes.evidence.calibration import uniform_check

    nothing = np.zeros(pit.size)
    empty = np.zeros((1, pit.size))
    index = np.arange(pit.size)
    one = Readings(
        "decode", index, index, nothing, True, nothing, nothing, nothing, index,
        *[empty] * 5,
    )  # fmt: skip
    return uniform_check(LeftOut(one, pit, nothing, nothing, nothing))


def test_evidence_comes_back_and_holds_no_rows(checked_fit: Fit, tmp_path: Path) -> None:
    again = fits.load(fits.save(checked_fit, tmp_path))
    assert again.evidence == json.loads(json.dumps(checked_fit.evidence))
    assert checks_of(again) == checks_of(checked_fit)
    assert set(again.evidence) == {
        "pit", "cover", "loo", "ppc", "ranks", "priors", "levels",
    }  # fmt: skip
    assert len(json.dumps(checked_fit.evidence)) < 100_000


def test_refits_do_not_pay_for_evidence(small_fit: Fit) -> None:
    assert not checked(small_fit)
    assert small_fit.evidence == {}
    assert {c.group for c in checks_of(small_fit)} == {"sampler", "data"}


def test_narrow_tokens_are_noticed(small_fit: Fit) -> None:
    def named(fit: Fit) -> Check:
        return next(c for c in checks_of(fit) if c.name == "token range")

    assert named(small_fit).passed
    one_length = tuple(replace(r, input_tokens=(100.0, 110.0)) for r in small_fit.reads)
    assert not named(replace(small_fit, reads=one_length)).passed


def diagnose(*words: object) -> object:
    return CliRunner().invoke(cli.app, ["diagnose", *(str(word) for word in words)])


def test_diagnose_fails_with_its_checks(checked_fit: Fit, tmp_path: Path) -> None:
    folder = fits.save(checked_fit, tmp_path / "fit")
    found = tmp_path / "checks.json"
    result = diagnose("--fit", folder, "--json", found, "--figures", tmp_path / "figures")
    assert result.exit_code == 1
    assert "FAILED bulk ESS" in result.stdout
    assert [Check.from_dict(c) for c in json.loads(found.read_text())] == checks_of(checked_fit)
    pictures = {p.name for p in (tmp_path / "figures").iterdir()}
    assert pictures == {
        "offsets.png", "slopes.png", "residuals.png", "pit.png", "coverage.png", "ranks.png",
    }  # fmt: skip


def test_diagnose_passes_a_sound_fit(checked_fit: Fit, tmp_path: Path) -> None:
    sound = [c.to_dict() | {"passed": True} for c in checks_of(checked_fit) if c.group != "data"]
    fit = replace(checked_fit, provenance={**checked_fit.provenance, "checks": sound})
    result = diagnose("--fit", fits.save(fit, tmp_path))
    assert result.exit_code == 0, result.output
    assert "checks passed" in result.stdout


def test_diagnose_refuses_what_it_cannot_do(small_fit_folder: Path, tmp_path: Path) -> None:
    for words in (
        ("--fit", tmp_path / "nothing"),
        ("--fit", small_fit_folder, "--figures", tmp_path / "none"),
        ("--fit", small_fit_folder, "--json", tmp_path),
    ):
        result = diagnose(*words)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
