"""Bootstrap replicates of AUCs: pairs are counted once, then only weighted."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int


def auc_replicates(
    scores: Float[np.ndarray, "arm unit"],
    truth: Bool[np.ndarray, " unit"],
    clusters: Int[np.ndarray, " unit"],
    replicates: int = 2_000,
    seed: int = 0,
) -> Float[np.ndarray, "b arm"]:
    """AUC of each arm in resamples of the clusters; NaN where one has no positive or negative.

    With w_i copies of cluster i the AUC is w' P w / (w' m)(w' n), P_ij the sum of psi over
    positives of i and negatives of j: pairs are counted once for all replicates.
    """
    _, of = np.unique(clusters, return_inverse=True)
    total = int(of.max()) + 1
    m, n = (np.bincount(of[side], minlength=total) for side in (truth, ~truth))
    shares = np.full(total, 1 / total)
    w = np.random.default_rng(seed).multinomial(total, shares, size=replicates).astype(float)
    pairs = (w @ m) * (w @ n)
    wins = [
        np.einsum("bi,ij,bj->b", w, _wins(row, truth, of, total), w, optimize=True)
        for row in scores
    ]
    safe = np.where(pairs > 0, pairs, 1)
    return np.where(pairs > 0, np.stack(wins) / safe, np.nan).T


def _wins(scores: np.ndarray, truth: np.ndarray, of: np.ndarray, total: int) -> np.ndarray:
    """Pairs that a positive of cluster i wins against a negative of cluster j, ties half."""
    found = np.zeros((total, total))
    positives, start = scores[truth], of[truth]
    for j in range(total):
        against = np.sort(scores[~truth & (of == j)])
        sides = [np.searchsorted(against, positives, side) for side in ("left", "right")]
        found[:, j] = np.bincount(start, weights=(sides[0] + sides[1]) / 2, minlength=total)
    return found
