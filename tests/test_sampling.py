"""Sampling runs in the background, in turn, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from t2m_bayes.sampling import Sampling, sample_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from t2m_bayes.inference import Models


def test_the_next_is_compiled_while_one_is_sampled_and_begins_after_it() -> None:
    happened: list[str] = []

    def task(name: str) -> SimpleNamespace:
        def begin(sampling: Sampling) -> Callable[[], str]:
            happened.append(f"begin {name}")

            def wait() -> str:
                happened.append(f"end {name}")
                return name

            return wait

        return SimpleNamespace(
            prepare=lambda sampling: happened.append(f"compile {name}"), begin=begin
        )

    assert sample_in_turn([task("a"), task("b")], Sampling()) == ["a", "b"]
    assert happened == ["compile a", "begin a", "compile b", "end a", "begin b", "end b"]


def test_an_interrupted_sampler_stops_and_leaves_no_posterior(small_models: Models) -> None:
    """nutpie by itself would return the draws that it has, as if they were all."""
    endless = Sampling(draws=10_000_000, tune=100, progress=False)
    wait = small_models.tasks()[0].begin(endless)
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        wait()
    assert time.perf_counter() - started < 20
