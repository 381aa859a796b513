"""The scalar maths that query strategies share: ranks, typicality, coverage, schedules, gaps.

Definitions are an ASFDA-style reconstruction (arXiv 2509.10784 publishes no equations).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from salearn.features.index import (
    IndexSettings,
    VectorIndex,
    all_neighbours,
    spherical_kmeans,
    unit_rows,
)
from salearn.features.rows import OneReading, Rows, blank_rows, blocks

DECIMALS = 6  # float32 dot products differ in the 7th decimal; equal things must stay equal
EXACT = IndexSettings(factory="Flat")  # for searches among few rows: labeled ones, centres
QUERIES = 1024  # rows whose cosines to labeled ones are held at a time
BANK_SEED = 0  # the same reference bank gives the same centres in every round


def snap(similarity: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Similarities on a grid of 1e-6, so that rounding noise is never taken for an order."""
    snapped: np.ndarray = np.round(similarity.astype(np.float64), DECIMALS) + 0.0
    return snapped


def ranks(values: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " unit"]:
    """R(x): rank of each value scaled to 0..1, ties averaged; equal values or one unit give 0.5.

    Unchanged by any strictly rising function of the values.
    """
    if len(values) == 1:
        return np.full(1, 0.5)
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2
    scaled: np.ndarray = middle[group] / max(len(values) - 1, 1)
    return scaled


def diversity(nearest: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " unit"]:
    """v = (1 - largest cosine to anything covered) / 2, 0..1; with nothing covered (-1) it is 1."""
    value: np.ndarray = (1 - snap(nearest)) / 2
    return value


def neighbourhood(
    z: Float[np.ndarray, "unit dim"] | Rows, k: int, settings: IndexSettings | None = None
) -> tuple[Float[np.ndarray, " unit"], float]:
    """Typicality rho (mean cosine to the k nearest others) and delta (median cosine to the k-th).

    k is capped by the number of others; a lone unit has rho 0 and delta 1. A zero row (blank
    slice) gets rho -1: it is less typical than anything with a direction, and leaves delta alone.
    Large pools are searched approximately (`all_neighbours`).
    """
    seen = ~blank_rows(z)
    rho = np.where(seen, 0.0, -1.0)
    k = min(k, int(seen.sum()) - 1)
    if k < 1:
        return rho, 1.0
    similarity, rows = all_neighbours(z if seen.all() else z[np.flatnonzero(seen)], k, settings)
    known = np.maximum((rows >= 0).sum(axis=1), 1)
    total = np.where(rows >= 0, similarity, 0).sum(axis=1, dtype=np.float64)
    rho[seen] = snap(total / known)
    return rho, float(np.median(snap(similarity[:, -1])))


def nearest_labeled(
    z: Float[np.ndarray, "unit dim"] | Rows, labeled: Float[np.ndarray, "labeled dim"] | Rows
) -> Float[np.ndarray, " unit"]:
    """Largest cosine of each unit to a labeled one; -1 if there is none."""
    if not len(labeled):
        return np.full(len(z), -1.0, dtype=np.float32)
    nearest = np.full(len(z), -1.0, dtype=np.float32)
    for known in blocks(len(labeled)):
        centres = labeled[known].T
        for part in blocks(len(z), QUERIES):
            np.maximum(nearest[part], (z[part] @ centres).max(axis=1), out=nearest[part])
    return np.clip(nearest, -1, 1, out=nearest)


def competence(nearest: Float[np.ndarray, " unit"], delta: float) -> float:
    """c_t: share of the pool with a labeled unit at cosine >= delta; 0 for an empty pool."""
    return float(np.mean(snap(nearest) >= delta)) if len(nearest) else 0.0


def density_exponent(round_: int, coverage: float, end: float) -> float:
    """Gamma: 1 in round 0, then falling linearly with the coverage c_t to 0 at c_t = end."""
    return 1.0 if round_ == 0 else max(0.0, 1.0 - coverage / end)


def difficulty_weight(coverage: float, largest: float, slope: float, middle: float) -> float:
    """alpha_t = largest * s(c_t) / s(1), s(c) = 1 / (1 + exp(-slope (c - middle)))."""

    def rise(c: float) -> float:
        return float(1 / (1 + np.exp(-slope * (c - middle))))

    return largest * rise(coverage) / rise(1.0)


def gate(rho_rank: Float[np.ndarray, " unit"], threshold: float) -> Bool[np.ndarray, " unit"]:
    """Units that are too isolated to be selected: rank of typicality below the threshold."""
    shut: np.ndarray = rho_rank < threshold
    return shut


def drift_gap(
    frozen: Float[np.ndarray, "unit dim"] | Rows | OneReading,
    adapted: Float[np.ndarray, "unit dim"] | Rows,
) -> Float[np.ndarray, " unit"]:
    """1 - cosine between the frozen and the adapted embedding: how far adaptation moved a unit."""
    cosine = np.empty(len(frozen), dtype=np.float32)
    for part in blocks(len(frozen), QUERIES):
        cosine[part] = np.einsum("ud,ud->u", frozen[part], adapted[part])
    return snap(1 - cosine)


def stability_gap(
    frozen: Float[np.ndarray, "unit dim"], views: Float[np.ndarray, "unit view dim"]
) -> Float[np.ndarray, " unit"]:
    """1 - mean cosine between a unit and its label-preserving views."""
    return snap(1 - np.einsum("ud,uvd->uv", frozen, views).mean(axis=1))


def bank_gap(
    frozen: Float[np.ndarray, "unit dim"] | Rows,
    bank: Float[np.ndarray, "row dim"],
    centres: int,
    k: int,
) -> Float[np.ndarray, " unit"]:
    """1 - mean cosine to the k nearest spherical k-means centres of the reference bank.

    A bank of at most `centres` rows is used as it is; k is capped by what there is.
    """
    rows = unit_rows(bank)
    if len(rows) > centres:
        rows, _ = spherical_kmeans(rows, centres, BANK_SEED)
    similarity, _ = VectorIndex(rows, EXACT).search(frozen, min(k, len(rows)))
    return snap(1 - similarity.mean(axis=1, dtype=np.float64))


def expected_foreground(
    z: Float[np.ndarray, "unit dim"],
    labeled: Float[np.ndarray, "labeled dim"],
    present: Bool[np.ndarray, " labeled"],
    k: int,
    temperature: float,
) -> Float[np.ndarray, " unit"]:
    """pi: softmax(cosine / temperature)-weighted share of the k labeled neighbours with foreground.

    0 where nothing is labeled.
    """
    if not len(labeled):
        return np.zeros(len(z))
    similarity, rows = VectorIndex(labeled).search(z, min(k, len(labeled)))
    weight = np.exp((similarity.astype(np.float64) - similarity[:, :1]) / temperature)
    share: np.ndarray = (weight * present[rows]).sum(axis=1) / weight.sum(axis=1)
    return share


def noise_factor(
    count: int, round_: int, beta: tuple[float, float], loops: int, rng: np.random.Generator
) -> Float[np.ndarray, " unit"]:
    """exp(Gumbel(0, 1/beta_t)), beta_t geometric from beta[0] to beta[1] over the loops."""
    factor: np.ndarray = np.exp(rng.gumbel(0.0, 1.0 / beta_at(round_, beta, loops), size=count))
    return factor


def beta_at(round_: int, beta: tuple[float, float], loops: int) -> float:
    """beta_t: geometric from beta[0] in round 0 to beta[1] in the last loop and after it."""
    step = min(round_, loops - 1) / max(loops - 1, 1)
    return float(beta[0] * (beta[1] / beta[0]) ** step)


def group_rows(names: list[str]) -> Int[np.ndarray, " unit"]:
    """A number for each distinct name, in the order of the sorted names."""
    codes = {name: code for code, name in enumerate(sorted(set(names)))}
    return np.fromiter((codes[name] for name in names), dtype=np.int64, count=len(names))
