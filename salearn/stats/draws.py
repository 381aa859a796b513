"""What a bootstrap draws: cases, and runs within draw seeds, as weights of each replicate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float


def case_weights(rng: np.random.Generator, n: int, replicates: int) -> Float[np.ndarray, "b case"]:
    """How often each of n members is drawn in each replicate."""
    return rng.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float64)


# Every table of a study resamples the same runs and cases by the same seed; drawing them takes
# several times longer than using them, so the last few draws are kept (3 MB each at 200 cases).
@lru_cache(maxsize=8)
def drawn_runs(seed: int, draws: tuple[int, ...], replicates: int) -> Float[np.ndarray, "b run"]:
    """Share of each run in each replicate; read-only."""
    return _kept(_run_weights(np.random.default_rng([seed, 0]), draws, replicates))


@lru_cache(maxsize=8)
def drawn_cases(seed: int, num_cases: int, replicates: int) -> Float[np.ndarray, "b case"]:
    """How often each case is drawn in each replicate; read-only."""
    return _kept(case_weights(np.random.default_rng([seed, 1]), num_cases, replicates))


def _kept(weights: np.ndarray) -> np.ndarray:
    """Nobody may write to what others will be given too."""
    weights.setflags(write=False)
    return weights


def _run_weights(rng: np.random.Generator, draws: Sequence[int], replicates: int) -> np.ndarray:
    """Draw seeds with replacement; in each copy of one, its runs with replacement."""
    names, index = np.unique(draws, return_inverse=True)
    copies = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
    weights = np.zeros((replicates, len(draws)))
    for draw in range(len(names)):
        members = np.flatnonzero(index == draw)
        n = len(members)
        picked = rng.multinomial(copies[:, draw] * n, np.full(n, 1 / n))
        weights[:, members] = picked / (n * len(names))
    return weights
