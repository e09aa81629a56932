"""Sampling runs in the background, in turn, and ends when it is told to."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from t2m_bayes import sampling
from t2m_bayes.sampling import Sampling, Task, sample_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

    from t2m_bayes.inference import Models

ENDLESS = Sampling(draws=50_000, tune=100, progress=False)
"""Takes far longer than any of these tests."""


def test_the_next_is_compiled_while_one_is_sampled_and_begins_after_it() -> None:
    happened: list[str] = []

    def task(name: str) -> SimpleNamespace:
        @contextmanager
        def begun(sampling: Sampling) -> Iterator[Callable[[], str]]:
            def wait() -> str:
                happened.append(f"end {name}")
                return name

            happened.append(f"begin {name}")
            yield wait

        return SimpleNamespace(
            prepare=lambda sampling: happened.append(f"compile {name}"), begun=begun
        )

    assert sample_in_turn([task("a"), task("b")], Sampling()) == ["a", "b"]
    assert happened == ["begin a", "compile b", "end a", "begin b", "end b"]


def test_power_comes_first_since_its_windows_take_the_longest(small_models: Models) -> None:
    assert [task.graph for task in small_models.tasks()] == [small_models.power, small_models.time]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The samplers that a test starts."""
    samplers: list[Any] = []
    start = sampling.nutpie.sample

    def sample(*args: Any, **kwargs: Any) -> Any:
        samplers.append(start(*args, **kwargs))
        return samplers[-1]

    monkeypatch.setattr(sampling.nutpie, "sample", sample)
    return samplers


def test_an_interrupted_sampler_stops_and_leaves_no_posterior(
    small_models: Models, started: list[Any]
) -> None:
    """nutpie's own function would return the draws that it has, as if they were all."""

    class Interrupted(Task):
        @contextmanager
        def begun(self, sampling: Sampling) -> Iterator[Callable[[], xr.DataTree]]:
            with super().begun(sampling) as wait:
                started[-1].wait = _interrupt
                yield wait

    task = small_models.tasks()[0]
    with pytest.raises(KeyboardInterrupt):
        sample_in_turn([Interrupted(task.graph, task.data, task.start)], ENDLESS)
    assert [s.is_finished for s in started] == [True]


def test_what_fails_meanwhile_ends_the_sampler(small_models: Models, started: list[Any]) -> None:
    def fail(sampling: Sampling) -> None:
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        sample_in_turn([small_models.tasks()[0], SimpleNamespace(prepare=fail)], ENDLESS)
    assert [s.is_finished for s in started] == [True]


def _interrupt() -> None:
    raise KeyboardInterrupt
