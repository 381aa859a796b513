"""BADGE, CLUE and DCoM: what joins predictions with embeddings, by hand and by brute force."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.cases import Pool, UnitId
from salearn.features.index import IndexSettings
from strategies.badge import Badge, plus_plus, residual
from strategies.clue import Clue, nearest_to_centres
from strategies.dcom import Dcom, Near
from tests.strategies.stand_in import StandIn, unit_length, world

FEW = settings(max_examples=8, deadline=None, derandomize=True)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plane(*degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def voxels(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32).T[:, :, None, None]


# --- badge --------------------------------------------------------------------------------------


def test_the_residual_by_hand_and_opposite_errors_do_not_cancel() -> None:
    # voxel 1 is taken for class 0 (p_1 = 0.4), voxel 2 for class 1 (p_0 = 0.3), divided by 2
    a = residual(voxels([0.6, 0.4], [0.3, 0.7])).reshape(2, 2)
    assert np.allclose(a, np.array([[-0.4, 0.4], [0.3, -0.3]]) / 2)
    assert np.allclose(residual(voxels([1, 0], [0, 1])), 0)


def test_the_residual_is_the_gradient_of_the_cross_entropy() -> None:
    # features onehot(y^) (x) z, logits W f: dCE/dW by differences at logits = log p
    p, z = voxels([0.6, 0.4], [0.3, 0.7], [0.9, 0.1]), np.array([0.6, 0.8])
    y = p.argmax(axis=0).ravel()
    f = np.stack([np.kron(np.eye(2)[k], z) for k in y])  # voxel x 4
    logits = np.log(p.reshape(2, -1).T.astype(np.float64))

    def loss(W: np.ndarray) -> float:
        x = logits + f @ W.T
        return float(np.mean(np.log(np.exp(x).sum(axis=1)) - x[np.arange(len(y)), y]))

    numeric = np.zeros((2, 4))
    for place in np.ndindex(2, 4):
        step = np.zeros((2, 4))
        step[place] = 1e-5
        numeric[place] = (loss(step) - loss(-step)) / 2e-5
    a = residual(p).reshape(2, 2)  # [k, c]
    assert np.allclose(numeric, np.einsum("kc,d->ckd", a, z).reshape(2, 4), atol=1e-6)


@FEW
@given(st.integers(0, 10_000))
def test_distances_from_two_factors_are_those_of_the_products(seed: int) -> None:
    a, z = rng(seed).standard_normal((9, 4)), unit_length(rng(seed).standard_normal((9, 5)))
    rows, scores = plus_plus(a, z, 4, rng(seed))
    full = np.einsum("uc,ud->ucd", a, z).reshape(9, -1) / np.linalg.norm(a, axis=1).max()
    assert rows[0] == np.linalg.norm(full, axis=1).argmax()
    for count in range(1, 4):
        apart = ((full[rows[count]] - full[rows[:count]]) ** 2).sum(axis=1).min()
        assert scores[rows[count]] == pytest.approx(apart, abs=5e-6)


def test_badge_draws_by_squared_distance() -> None:
    # gradients along one direction: 4, 3, 0 -> after the first pick squared distances 1 and 16
    a, z = np.array([[4.0], [3.0], [0.0]]), plane(0, 0, 0)
    second = [plus_plus(a, z, 2, rng(s))[0][1] for s in range(300)]
    assert np.mean(np.array(second) == 2) == pytest.approx(16 / 17, abs=0.04)


def test_badge_takes_certain_and_equal_units_evenly_and_blank_ones_last() -> None:
    a, z = np.zeros((4, 2)), plane(0, 0, 0, 0)
    z[1] = 0
    firsts = {tuple(plus_plus(a, z, 4, rng(s))[0]) for s in range(20)}
    assert len(firsts) > 3
    assert all(order[-1] == 1 for order in firsts)


def test_badge_uses_predictions_and_the_current_encoder() -> None:
    pool, evidence = world("slice", 2)
    Badge().select(pool, 4, evidence, rng())
    assert set(evidence.asked) == {"probabilities", "tuned"}


# --- clue ---------------------------------------------------------------------------------------


def test_clue_takes_the_middle_of_each_group_heaviest_first() -> None:
    z = plane(0, 2, 4, 90, 92, 94, 180, 182, 184)
    weights = np.array([1, 1, 1, 5, 5, 5, 2, 2, 2.0])
    rows, scores = nearest_to_centres(z, weights, 3, rng())
    assert rows == [4, 7, 1]
    assert scores[4] == pytest.approx(3, abs=1e-4)  # its cosine, and 2 for who was taken


def test_doubt_draws_the_centre_of_a_cluster() -> None:
    z = plane(0, 10, 20)
    assert nearest_to_centres(z, np.array([1.0, 1, 1]), 1, rng())[0] == [1]
    assert nearest_to_centres(z, np.array([1.0, 1, 50]), 1, rng())[0] == [2]


def test_the_weighted_clusters_are_the_best_of_all_pairs() -> None:
    # brute force: the best split of six rows in two by weighted squared distance
    draw = rng(3)
    z = unit_length(
        np.concatenate([draw.normal([3, 0], 0.5, (3, 2)), draw.normal([0, 3], 0.5, (3, 2))])
    )
    weights = draw.uniform(0.1, 1, 6)

    def cost(rows: tuple[int, ...]) -> float:
        total = 0.0
        for part in (list(rows), [i for i in range(6) if i not in rows]):
            centre = np.average(z[part], axis=0, weights=weights[part])
            total += float((weights[part] * ((z[part] - centre) ** 2).sum(axis=1)).sum())
        return total

    best = min((c for k in (1, 2, 3) for c in combinations(range(6), k)), key=cost)
    rows, _ = nearest_to_centres(z, weights, 2, rng())
    assert len({row in best for row in rows}) == 2  # one pick on each side of the best split


def test_copies_and_blank_units_do_not_break_clue() -> None:
    z = np.concatenate([plane(*[0] * 5), np.zeros((2, 2), dtype=np.float32)])
    weights = np.array([1.0] * 5 + [0, 0])
    rows, scores = nearest_to_centres(z, weights, 7, rng())
    assert set(rows[:5]) == set(range(5))
    assert np.isfinite(scores).all()
    pool, evidence = world("slice", 2)
    Clue().select(pool, 4, evidence, rng())
    assert set(evidence.asked) == {"probabilities", "tuned"}


# --- dcom ---------------------------------------------------------------------------------------


def test_near_and_density_by_hand() -> None:
    # nearest neighbours: 1 degree three times, then 60: median cosine = cos 1
    z = plane(0, 1, 61, 180, 181)
    near = Near(z, np.full(5, -1.0, dtype=np.float32), 1, IndexSettings())
    assert near.delta == pytest.approx(np.cos(np.deg2rad(1)), abs=1e-5)
    assert near.density().tolist() == [2, 2, 1, 2, 2]
    near.cover(0)
    assert near.density().tolist() == [0, 0, 1, 2, 2]
    labeled = np.array([1, 1, 0, 0, 0], dtype=np.float32)
    assert Near(z, labeled, 1, IndexSettings()).share == pytest.approx(2 / 5)


def groups(sizes: tuple[int, ...], trained: bool) -> tuple[Pool, StandIn]:
    """Tight groups far from each other; the last unit of all is in the greatest doubt."""
    angle = np.concatenate([70.0 * g + 0.01 * np.arange(s) for g, s in enumerate(sizes)])
    units = tuple(UnitId(f"u{i:02d}") for i in range(len(angle)))
    z = dict(zip(units, plane(*angle), strict=True))
    doubt = {u: 0.5 if u == units[-1] else 0.1 for u in units}
    maps = {u: voxels([1 - q, q]) for u, q in doubt.items()}
    evidence = StandIn(frozen=z, maps=maps, trained=trained, round=int(trained))
    return Pool(labeled=(), unlabeled=units), evidence


def test_dcom_covers_the_largest_group_first_while_nothing_is_trained() -> None:
    pool, evidence = groups((6, 5, 4), trained=False)
    made = Dcom(neighbours=3)
    chosen = made.select(pool, 3, evidence, rng()).unit_ids
    assert [0 if u < "u06" else 1 if u < "u11" else 2 for u in chosen] == [0, 1, 2]
    assert "probabilities" not in evidence.asked


def test_dcom_goes_by_doubt_once_the_pool_is_covered() -> None:
    pool, evidence = groups((6, 5, 4), trained=True)
    made = Dcom(neighbours=3)
    # nothing is covered: s(0) / s(1) = 2e-12 and density decides
    assert made.select(pool, 1, evidence, rng()).unit_ids[0] < "u06"
    known = (UnitId("u00"), UnitId("u06"), UnitId("u11"))
    rest = Pool(labeled=known, unlabeled=tuple(u for u in pool.unlabeled if u not in known))
    answer = made.select(rest, 1, evidence, rng())
    assert answer.unit_ids == ("u14",)  # everything is covered: c = 1
    assert answer.scores[UnitId("u14")] == pytest.approx(1)


def test_a_blank_unit_is_dcoms_last_whatever_the_model_says() -> None:
    pool, evidence = groups((4, 4), trained=True)
    blank = {**evidence.frozen, UnitId("u07"): np.zeros(2, dtype=np.float32)}
    chosen = Dcom().select(pool, 8, replace(evidence, frozen=blank), rng()).unit_ids
    assert chosen[-1] == "u07"
