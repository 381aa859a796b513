"""Means over draws and cases as words: with their interval, and two arms against each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from salearn.stats.bootstrap import Hierarchy
from salearn.stats.hierarchical import compare_methods


def alone(values: Float[np.ndarray, "run case"], draws: Sequence[int]) -> str:
    """The mean and its 95 % interval over draws x cases."""
    got = Hierarchy.make(draws, values.shape[1], 2_000, 0).interval(values[:, :, None])
    return f"{got.estimate:.3f} [{got.low:.3f}, {got.high:.3f}]"


def minus(
    one: Float[np.ndarray, "run case"],
    other: Float[np.ndarray, "_run _case"],
    draws: Sequence[int],
) -> str:
    """The mean difference, paired by draw and case, and its 95 % interval."""
    got = compare_methods(one[:, :, None], other[:, :, None], draws)
    low, high = got.interval or (np.nan, np.nan)
    return f"{got.estimate:+.3f} [{low:+.3f}, {high:+.3f}]"
