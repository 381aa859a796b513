"""Pairwise penalty matrix: which strategy beats which, at how many budgets (as in nnActive)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from salearn.stats.multiplicity import Correction, adjust

Curves = Mapping[str, Mapping[int, Sequence[float] | np.ndarray]]
FLAT = 1e-12  # a spread of differences below this is rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class PenaltyMatrix:
    """Rows beat columns.

    Attributes:
        names: the strategies, in the order of rows and columns.
        wins: share of budgets (summed over settings if merged) at which the row is better.
        p: adjusted p-values, NaN where no test was possible.
        seeds: how many common seeds each pair was tested on.
        note: what a reader must know.
    """

    names: tuple[str, ...]
    wins: Float[np.ndarray, "row column"]
    p: Float[np.ndarray, "row column budget"]
    seeds: Float[np.ndarray, "row column"]
    note: str = ""

    def penalty(self) -> dict[str, float]:
        """Mean of each column: how often a strategy is beaten; lower is better."""
        others = max(len(self.names) - 1, 1)
        return {
            name: float(losses) / others
            for name, losses in zip(self.names, self.wins.sum(axis=0), strict=True)
        }


def penalty_matrix(
    curves: Curves,
    *,
    alpha: float = 0.05,
    correction: Correction | None = "holm",
    higher_is_better: bool = True,
) -> PenaltyMatrix:
    """Two-sided paired t-tests between all strategies at every budget, paired by seed id.

    A win adds 1 / number of budgets. The family of the correction is all pairs and budgets.

    Args:
        curves: metric after each budget, by strategy and seed; all curves of one length.
        correction: None = unadjusted, as published.

    Raises:
        ValueError: curves of different lengths, or fewer than two strategies.
    """
    names = tuple(curves)
    lengths = {len(curve) for runs in curves.values() for curve in runs.values()}
    if len(names) < 2 or len(lengths) != 1:
        raise ValueError(f"need two strategies with curves of one length, got {sorted(lengths)}")
    pairs = list(combinations(range(len(names)), 2))
    tests = [_tests(curves[names[i]], curves[names[j]], lengths.copy().pop()) for i, j in pairs]
    raw = np.stack([p for p, _, _ in tests])
    p = adjust(raw.ravel(), correction).reshape(raw.shape) if correction else raw
    means = np.stack([mean for _, mean, _ in tests]) * (1 if higher_is_better else -1)
    return _matrix(names, pairs, p, means, [n for _, _, n in tests], alpha)


def _tests(
    first: Mapping[int, Sequence[float] | np.ndarray],
    second: Mapping[int, Sequence[float] | np.ndarray],
    budgets: int,
) -> tuple[np.ndarray, np.ndarray, int]:
    """P-value and mean difference at each budget over the seeds that both have."""
    from scipy.special import stdtr  # scipy.stats calls it too, but takes a second to import

    common = sorted(set(first) & set(second))
    n = len(common)
    if n < 2:
        return np.full(budgets, np.nan), np.full(budgets, np.nan), n
    gaps = np.array([np.subtract(first[seed], second[seed]) for seed in common], dtype=float)
    mean, error = gaps.mean(axis=0), gaps.std(axis=0, ddof=1) / math.sqrt(n)
    # The same difference on every seed has no spread to test against: no decision.
    flat = error <= FLAT
    p = 2 * stdtr(n - 1, -np.abs(mean) / np.where(flat, 1, error))
    return np.where(flat, np.nan, p), mean, n


def _matrix(
    names: tuple[str, ...],
    pairs: Sequence[tuple[int, int]],
    p: np.ndarray,
    means: np.ndarray,
    seeds: Sequence[int],
    alpha: float,
) -> PenaltyMatrix:
    size, budgets = len(names), p.shape[1]
    wins, counts = np.zeros((size, size)), np.zeros((size, size))
    table = np.full((size, size, budgets), np.nan)
    for (i, j), values, mean, n in zip(pairs, p, means, seeds, strict=True):
        wins[i, j] = np.sum((values < alpha) & (mean > 0)) / budgets
        wins[j, i] = np.sum((values < alpha) & (mean < 0)) / budgets
        table[i, j] = table[j, i] = values
        counts[i, j] = counts[j, i] = n
    return PenaltyMatrix(
        names=names, wins=wins, p=table, seeds=counts, note=_note(min(seeds), alpha)
    )


def _note(seeds: int, alpha: float) -> str:
    """How large a difference must be, in units of its spread over seeds."""
    from scipy.special import stdtrit

    if seeds < 2:
        return "Some pairs share fewer than 2 seeds: no test."
    needed = float(stdtrit(seeds - 1, 1 - alpha / 2)) / math.sqrt(seeds)
    return (
        f"With {seeds} common seeds a mean difference must exceed {needed:.2f} of its standard "
        "deviation over seeds, before any correction."
    )


def merge(matrices: Sequence[PenaltyMatrix]) -> PenaltyMatrix:
    """The sum over settings (data sets, label regimes) of matrices with the same strategies.

    Raises:
        ValueError: nothing to merge, or different strategies.
    """
    if not matrices or len({matrix.names for matrix in matrices}) != 1:
        raise ValueError("merging needs matrices of the same strategies in the same order")
    return PenaltyMatrix(
        names=matrices[0].names,
        wins=np.sum([matrix.wins for matrix in matrices], axis=0),
        p=np.concatenate([matrix.p for matrix in matrices], axis=2),
        seeds=np.min([matrix.seeds for matrix in matrices], axis=0),
        note=" ".join(dict.fromkeys(matrix.note for matrix in matrices if matrix.note)),
    )
