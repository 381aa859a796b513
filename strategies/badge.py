"""BADGE: a batch of large and different gradients, drawn as k-means++ draws its centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from salearn.cases import Selection, UnitId, by_rows
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.maps import checked
from strategies.registry import register
from strategies.scene import has_adapted, rows_of
from strategies.scoring import ColdStart
from strategies.terms import snap


@register("badge")
@settings
class Badge(ColdStart):
    """k-means++ over gradient embeddings a_i (x) z_i in a logit-space form that needs no network.

    a_i[k, c] = mean over voxels of [y^ = k] (p_c - [c = k]), y^ = likeliest class; z_i = embedding
    of the unit. That is the gradient of the mean cross-entropy against y^ in the weights of a last
    layer whose features are z_i, kept apart by y^ so that voxels of one class do not cancel those
    of another. Distances come from the two factors; the product is never built.

    The first pick has the largest gradient, the others are drawn with probability proportional to
    the squared distance to the nearest pick. Scores are those distances (the first: its norm),
    in units of the largest squared norm of a_i.
    """

    SOURCE = "BADGE (Ash et al., ICLR 2020); form for segmentation: reconstruction"

    def choose(
        self,
        units: Sequence[UnitId],
        labeled: Sequence[UnitId],
        n: int,
        evidence: Evidence,
        rng: np.random.Generator,
    ) -> Selection:
        """Draw n units."""
        a = np.array([residual(checked(evidence.probabilities(u), u)) for u in units])
        z = rows_of(evidence, units, has_adapted(evidence))
        rows, scores = plus_plus(a, z, n, rng)
        return by_rows(units, rows, scores)


def residual(p: Float[np.ndarray, "class x y z"]) -> Float[np.ndarray, " cells"]:
    """a[k, c] of one map, flattened."""
    flat = p.reshape(len(p), -1).astype(np.float64)
    likeliest = flat.argmax(axis=0)
    a = np.stack([flat[:, likeliest == k].sum(axis=1) for k in range(len(p))])
    a -= np.diag(np.bincount(likeliest, minlength=len(p)))
    return (a / flat.shape[1]).ravel()


def plus_plus(
    a: Float[np.ndarray, "unit cells"],
    z: Float[np.ndarray, "unit dim"],
    n: int,
    rng: np.random.Generator,
) -> tuple[list[int], Float[np.ndarray, " unit"]]:
    """Rows drawn by k-means++ among the products a_i (x) z_i, and everybody's score."""
    largest = np.sqrt(np.einsum("uc,uc->u", a, a).max())
    a = a / (largest or 1.0)  # so that rounding below is relative to the largest gradient
    norms: np.ndarray = snap(np.einsum("uc,uc->u", a, a) * np.einsum("ud,ud->u", z, z))
    nearest, scores, picks = norms.copy(), norms.copy(), list[int]()
    blank = np.asarray(~z.any(axis=1), dtype=bool)
    free = np.logical_not(blank)
    while len(picks) < n:
        if not free.any():  # units without an embedding come last
            free = blank.copy()
            free[picks] = False
        row = _draw(np.where(free, nearest, 0), free, not picks, rng)
        picks.append(row)
        free[row] = False
        scores[row] = nearest[row]
        cross = (a @ a[row]) * (z @ z[row])
        apart = snap(np.maximum(norms + norms[row] - 2 * cross, 0))
        nearest = np.minimum(nearest, apart) if len(picks) > 1 else apart
    left = np.setdiff1d(np.arange(len(a)), picks)
    scores[left] = np.where(blank[left], -1.0, nearest[left])
    return picks, scores


def _draw(weights: np.ndarray, free: np.ndarray, largest: bool, rng: np.random.Generator) -> int:
    """The largest weight, or one drawn by weight; evenly among the free where all are alike."""
    if largest:
        weights = (free & (weights == weights[free].max())).astype(float)
    elif not weights.any():
        weights = free.astype(float)
    return int(rng.choice(len(weights), p=weights / weights.sum()))
