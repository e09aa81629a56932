"""Sampling runs in the background, in turn, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from t2m_bayes.sampling import Sampling, sample_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from t2m_bayes.inference import Models


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
    assert happened == ["compile a", "begin a", "compile b", "end a", "begin b", "end b"]


def test_an_interrupted_sampler_stops_and_leaves_no_posterior(small_models: Models) -> None:
    """nutpie by itself would return the draws that it has, as if they were all."""
    endless = Sampling(draws=10_000_000, tune=100, progress=False)
    task = small_models.tasks()[0]
    task.prepare(endless)
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        sample_in_turn([task], endless)
    assert time.perf_counter() - started < 20


def test_what_fails_meanwhile_ends_the_sampler(small_models: Models) -> None:
    def fail(sampling: Sampling) -> None:
        raise RuntimeError("no compiler")

    endless = Sampling(draws=10_000_000, tune=100, progress=False)
    with pytest.raises(RuntimeError, match="no compiler"):
        sample_in_turn([small_models.tasks()[0], SimpleNamespace(prepare=fail)], endless)
