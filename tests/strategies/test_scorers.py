"""Scorers and their selectors: numbers by hand, second implementations, properties."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter
from scipy.stats import entropy as scipy_entropy

from salearn.cases import Pool, UnitId, unit_id
from salearn.errors import ConfigError
from strategies.asd import Asd
from strategies.bald import Bald
from strategies.clasp import Clasp
from strategies.entropy import Entropy
from strategies.foreground_random import ForegroundRandom
from strategies.foreground_random_oracle import ForegroundRandomOracle
from strategies.maps import largest_box_mean, mutual_information
from strategies.margin import Margin
from strategies.oracle_loss import OracleLoss, cross_entropy, dice_loss
from strategies.power import PowerOf
from strategies.power_entropy import PowerEntropy
from strategies.presence import PresenceSettings
from strategies.random_sampling import RandomSampling
from strategies.registry import build
from strategies.ripu import Ripu, impurity
from strategies.scoring import Scorer
from strategies.stochastic_batch import StochasticBatch
from strategies.stratified_random import StratifiedRandom
from tests.strategies.stand_in import StandIn, world

FEW = settings(max_examples=8, deadline=None, derandomize=True)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def voxels(*rows: Sequence[float]) -> np.ndarray:
    """A map of one line of voxels, given as class probabilities of each voxel."""
    return np.array(rows, dtype=np.float32).T[:, :, None, None]


def seen(**maps: np.ndarray) -> tuple[Pool, StandIn]:
    """A trained stand-in of volumes with these maps."""
    units = {UnitId(name): p for name, p in maps.items()}
    return Pool(labeled=(), unlabeled=tuple(units)), StandIn(
        frozen={}, maps=units, trained=True, round=1
    )


def bits(p: float) -> float:
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0


# --- entropy, margin, aggregation ---------------------------------------------------------------


def test_entropy_and_margin_of_a_unit_by_hand() -> None:
    pool, evidence = seen(a=voxels([0.5, 0.5], [1, 0]), b=voxels([0.8, 0.2], [0.8, 0.2]))
    answer = Entropy().select(pool, 1, evidence, rng())
    assert answer.scores["a"] == pytest.approx((1 + 0) / 2)
    assert answer.scores["b"] == pytest.approx(bits(0.2))  # 0.7219
    assert answer.unit_ids == ("b",)
    margin = Margin().select(pool, 1, evidence, rng())
    assert margin.scores["a"] == pytest.approx((1 + 0) / 2)  # margins 0 and 1
    assert margin.scores["b"] == pytest.approx(1 - 0.6)
    assert margin.unit_ids == ("a",)


def test_entropy_is_scipys_over_log_classes() -> None:
    pool, evidence = world("slice", 2)
    answer = Entropy().select(pool, 2, evidence, rng())
    for unit in pool.unlabeled:
        p = evidence.maps[unit].astype(np.float64)
        assert answer.scores[unit] == pytest.approx(
            scipy_entropy(p, base=len(p), axis=0).mean(), abs=1e-6
        )


def test_aggregations_by_hand() -> None:
    p = voxels(*[[1, 0]] * 6, [0.5, 0.5], [0.5, 0.5], [1, 0], [0.5, 0.5])
    h = [0, 0, 0, 0, 0, 0, 1, 1, 0, 1]
    pool, evidence = seen(a=p)
    for given_, expected in (
        ({}, 3 / 10),
        ({"aggregate": "top", "top_share": 0.4}, 3 / 4),  # 1 1 1 0
        ({"aggregate": "patch", "patch": (2, 1, 1)}, 1.0),  # the pair in the middle
        ({"aggregate": "patch", "patch": (4, 1, 1)}, 3 / 4),  # 1 1 0 1
        ({"aggregate": "patch", "patch": (99, 9, 9)}, 3 / 10),  # cut to the unit
    ):
        found = build("entropy", given_).select(pool, 1, evidence, rng()).scores[UnitId("a")]
        assert found == pytest.approx(expected), (given_, h)


@FEW
@given(st.integers(0, 10_000))
def test_the_largest_box_mean_is_scipys_filter_inside(seed: int) -> None:
    h = rng(seed).uniform(size=(7, 6, 5))
    size = tuple(int(s) for s in rng(seed).choice([1, 3, 5], 3))
    filtered = uniform_filter(h, size)
    inner = tuple(slice(s // 2, n - s // 2) for s, n in zip(size, h.shape, strict=True))
    expected = filtered[inner].max()
    assert largest_box_mean(h, (size[0], size[1], size[2])) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["entropy", "margin"])
def test_a_unit_in_more_doubt_scores_higher_wherever_the_doubt_is(name: str) -> None:
    pool, evidence = world("volume", 2)
    unit = pool.unlabeled[4]
    duller = 0.5 * evidence.maps[unit] + 0.5 / 3  # towards 1/3 everywhere
    for aggregate in ("mean", "top", "patch"):
        made = build(name, {"aggregate": aggregate})
        before = made.select(pool, 1, evidence, rng()).scores
        maps = {**evidence.maps, unit: duller}
        after = made.select(pool, 1, replace(evidence, maps=maps), rng()).scores
        assert after[unit] > before[unit] or (aggregate != "mean" and before[unit] > 0.99)
        assert all(after[u] == before[u] for u in pool.unlabeled if u != unit)


# --- bald ---------------------------------------------------------------------------------------


def test_mutual_information_by_hand() -> None:
    # passes that contradict each other with certainty: H(mean) = 1, mean H = 0
    # passes that agree on one half: H(mean) = 1, mean H = 1
    # 0.9 and 0.5: H(0.7) - (H(0.9) + H(0.5)) / 2
    passes = [
        voxels([1, 0], [0.5, 0.5], [0.9, 0.1]),
        voxels([0, 1], [0.5, 0.5], [0.5, 0.5]),
    ]
    found = mutual_information(passes, UnitId("a")).ravel()
    assert np.allclose(found, [1, 0, bits(0.7) - (bits(0.9) + 1) / 2], atol=1e-6)


def test_bald_is_the_mean_divergence_of_the_passes_from_their_mean() -> None:
    # another form of the same number: mean over passes of KL(p_pass || mean p)
    pool, evidence = world("slice", 2)
    scores = Bald().select(pool, 1, evidence, rng()).scores
    for unit in pool.unlabeled[:5]:
        stack = np.stack(list(evidence.passes(unit, "views"))).astype(np.float64)
        kl = scipy_entropy(stack, stack.mean(axis=0)[None], axis=1) / math.log(3)
        assert scores[unit] == pytest.approx(kl.mean(), abs=1e-6)


def test_bald_asks_for_the_passes_it_is_told_to() -> None:
    pool, evidence = world("slice", 2)
    Bald(passes="dropout").select(pool, 1, evidence, rng())
    assert set(evidence.asked) == {"dropout passes"}


def test_asd_can_read_disagreement_in_the_foreground() -> None:
    pool, evidence = world("volume", 2)
    found = Asd(asd_measure="bald").select(pool, 1, evidence, rng()).scores
    plain = Asd().select(pool, 1, evidence, rng()).scores
    assert found != plain
    assert all(0 <= found[u] <= plain[u] + 1e-6 for u in pool.unlabeled)  # a part of the entropy
    same = {u: np.stack([p, p]) for u, p in evidence.maps.items()}
    agreed = Asd(asd_measure="bald").select(pool, 1, replace(evidence, stacks=same), rng())
    assert max(agreed.scores.values()) == pytest.approx(0, abs=1e-6)


# --- cold start ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["entropy", "bald", "clasp", "badge", "clue", "stochastic_batch"])
def test_before_anything_is_trained_the_named_strategy_chooses(name: str) -> None:
    pool, evidence = world("slice", 0)
    cold = build(name).select(pool, 4, evidence, rng())
    assert cold == RandomSampling().select(pool, 4, evidence, rng())
    given_ = {"cold_start": "dkd", "cold_settings": {"gap": "none"}}
    told = build(name, given_).select(pool, 4, evidence, rng())
    assert told == build("dkd", {"gap": "none"}).select(pool, 4, evidence, rng())
    assert told != build("dkd").select(pool, 4, evidence, rng())
    with pytest.raises(ConfigError, match="own cold start"):
        build(name, {"cold_start": name}).select(pool, 1, evidence, rng())
    with pytest.raises(ConfigError, match="did you mean 'medoid'"):
        build(name, {"cold_start": "medoids"}).select(pool, 1, evidence, rng())


# --- power --------------------------------------------------------------------------------------


def test_power_draws_in_proportion_to_the_value_to_the_power_of_beta() -> None:
    # values 1 and 1/2 (two of four voxels undecided): chances 1 : (1/2)^beta
    one, half = voxels(*[[0.5, 0.5]] * 4), voxels(*[[0.5, 0.5], [1, 0]] * 2)
    pool, evidence = seen(a=one, b=half)
    for beta, chance in ((1.0, 2 / 3), (2.0, 4 / 5), (50.0, 1.0)):
        made = PowerEntropy(beta=(beta, beta))
        first = [made.select(pool, 1, evidence, rng(s)).unit_ids[0] == "a" for s in range(200)]
        assert np.mean(first) == pytest.approx(chance, abs=0.08)


def test_power_score_is_log_value_plus_gumbel_and_nothing_is_infinite() -> None:
    pool, evidence = seen(a=voxels([0.5, 0.5]), b=voxels([1, 0]))
    answer = PowerEntropy().select(pool, 2, evidence, rng(5))
    noise = rng(5).gumbel(size=2)
    assert answer.scores["a"] == pytest.approx(0 + noise[0])
    assert answer.scores["b"] == pytest.approx(math.log(1e-12) + noise[1])
    with pytest.raises(ConfigError, match="beta must be positive"):
        build("power_entropy", {"beta": [0, 1]})


def test_power_wraps_any_scorer_by_name_and_refuses_others() -> None:
    pool, evidence = world("volume", 2)
    direct = PowerEntropy(aggregate="top").select(pool, 5, evidence, rng())
    wrapped = PowerOf(scorer="entropy", scorer_settings={"aggregate": "top"})
    assert direct == wrapped.select(pool, 5, evidence, rng())
    sharp = PowerOf(scorer="asd", beta=(1e9, 1e9)).select(pool, 5, evidence, rng())
    assert sharp.unit_ids == Asd().select(pool, 5, evidence, rng()).unit_ids
    with pytest.raises(ConfigError, match=r"power\.scorer: 'dkd' does not value units"):
        PowerOf(scorer="dkd").select(pool, 1, evidence, rng())


def test_a_wrapped_scorer_gets_the_slice_axis() -> None:
    pool, evidence = world("slice", 2)
    turned = replace(evidence, maps={u: np.moveaxis(p, 3, 1) for u, p in evidence.maps.items()})
    made = PowerOf(scorer="asd", axis=0, beta=(1e9, 1e9))
    assert (
        made.select(pool, 3, turned, rng()).unit_ids
        == Asd().select(pool, 3, evidence, rng()).unit_ids
    )
    with pytest.raises(ValueError, match="axis 2"):
        PowerOf(scorer="asd").select(pool, 3, turned, rng())


def test_scorers_are_known_by_their_values() -> None:
    for name in ("entropy", "margin", "bald", "ripu", "asd", "oracle_loss"):
        assert isinstance(build(name), Scorer)
    assert not isinstance(build("random"), Scorer)


# --- clasp --------------------------------------------------------------------------------------


def test_clasp_columns_by_hand() -> None:
    p = voxels([0.5, 0.5, 0], [0, 0.5, 0.5], [1, 0, 0])
    _, evidence = seen(a=p)
    h = math.log(2) / math.log(3)  # of the first two voxels
    columns = Clasp().columns([UnitId("a")], evidence)
    # class 1: (0.5 h + 0.5 h) / 3; class 2: 0.5 h / 3; plain: 2 h / 3
    assert np.allclose(columns, [[h / 3, h / 6, 2 * h / 3]], atol=1e-6)


def test_clasp_splits_two_thirds_over_the_classes() -> None:
    turns = Clasp().turns(50, 3, rng())
    # floor(0.66 * 50) = 33 = 11 of each class, 17 by plain entropy (column 3)
    assert np.bincount(turns).tolist() == [11, 11, 11, 17]
    assert np.bincount(Clasp().turns(8, 3, rng()), minlength=4)[3] == 3  # 5 over 3 classes
    remainders = {tuple(np.bincount(Clasp().turns(8, 3, rng(s)))[:3]) for s in range(30)}
    assert remainders == {(2, 2, 1), (2, 1, 2), (1, 2, 2)}
    assert Clasp().turns(1, 3, rng()).tolist() == [3]


def test_clasp_without_noise_takes_the_best_of_each_class_then_plain_entropy() -> None:
    sure = voxels([1, 0, 0])
    pool, evidence = seen(
        one=voxels([0.2, 0.8, 0]), two=voxels([0.2, 0, 0.8]), out=voxels([0.4, 0.3, 0.3]), no=sure
    )
    made = Clasp(beta=(1e9, 1e9))
    answer = made.select(pool, 4, evidence, rng())
    # floor(0.66 * 4) = 2: 'one' and 'two' for their classes unless 'out' has more H * p_c:
    # H(.2, .8) / log 3 = 0.455 * 0.8 = 0.364 > H(.4, .3, .3) / log 3 = 0.991 * 0.3 = 0.297
    assert set(answer.unit_ids[:2]) == {"one", "two"}
    assert answer.unit_ids[2:] == ("out", "no")


# --- foreground-aware and stratified random -----------------------------------------------------


def test_presence_weights_by_hand() -> None:
    counts = np.array([[5, 0, 0], [5, 1, 0], [0, 0, 0], [0, 0, 0]])
    # class 1 is shown by 2, class 2 by 1, class 3 by none: mean over two classes of [shown] / N_c
    # = (1/2 + 0)/2, (1/2 + 1)/2, 0, 0; times 4 units * share 2/3, plus 1/3
    found = PresenceSettings().weights(counts.astype(float))
    assert np.allclose(found, [1 / 3 + 2 / 3, 1 / 3 + 2, 1 / 3, 1 / 3])
    assert found.mean() == pytest.approx(1)
    assert PresenceSettings(min_voxels=9).weights(counts.astype(float)).tolist() == [1] * 4


def test_foreground_random_draws_by_those_weights() -> None:
    pool, evidence = seen(a=voxels([0.4, 0.6]), b=voxels([0.6, 0.4]), c=voxels([1, 0]))
    # only a shows the class: 1/3 + 3 * 2/3 = 7/3 of 3, b and c 1/3 of 3 each
    drawn = [ForegroundRandom().select(pool, 1, evidence, rng(s)).unit_ids[0] for s in range(200)]
    assert np.mean([u == "a" for u in drawn]) == pytest.approx(7 / 9, abs=0.08)
    assert evidence.asked["audit"] == 0


def test_the_oracle_version_looks_at_true_masks_and_ignores_what_is_unknown() -> None:
    pool, evidence = seen(a=voxels([1, 0]), b=voxels([0, 1]), c=voxels([0, 1]))
    truth = {UnitId("a"): 1, UnitId("b"): 0, UnitId("c"): 255}
    masks = {u: np.full((1, 1, 1), v, dtype=np.uint8) for u, v in truth.items()}
    told = replace(evidence, truth=masks, trained=False, round=0)
    made = ForegroundRandomOracle(share=1.0)
    assert all(made.select(pool, 1, told, rng(s)).unit_ids == ("a",) for s in range(20))


def test_stratified_random_takes_one_of_each_part() -> None:
    units = tuple(unit_id(f"c{case}", z) for case in range(4) for z in range(10))  # type: ignore[arg-type]
    pool, evidence = Pool(labeled=(), unlabeled=units), StandIn(frozen={})
    for seed in range(5):
        chosen = StratifiedRandom().select(pool, 8, evidence, rng(seed)).unit_ids
        # 40 slices in 8 parts of 5: half a case each
        assert sorted(sorted(units).index(u) // 5 for u in chosen) == list(range(8))
    assert evidence.asked["extent"] == 0


def test_stratified_random_spreads_over_the_sizes_of_volumes() -> None:
    units = [UnitId(f"v{i}") for i in range(12)]
    sizes = {u: (i + 1, 1, 1) for i, u in enumerate(reversed(units))}
    pool, evidence = Pool(labeled=(), unlabeled=tuple(units)), StandIn(frozen={}, sizes=sizes)
    for seed in range(5):
        chosen = StratifiedRandom().select(pool, 4, evidence, rng(seed)).unit_ids
        assert sorted((sizes[u][0] - 1) // 3 for u in chosen) == [0, 1, 2, 3]
    counts = np.zeros(12)
    for seed in range(300):  # 5 does not divide 12, and still nobody is favoured much
        for u in StratifiedRandom().select(pool, 5, evidence, rng(seed)).unit_ids:
            counts[units.index(u)] += 1
    assert counts / 300 == pytest.approx(np.full(12, 5 / 12), abs=0.12)


# --- oracle loss --------------------------------------------------------------------------------


def test_oracle_losses_by_hand() -> None:
    p = voxels([0.9, 0.1, 0], [0.2, 0.8, 0], [0.2, 0.8, 0], [0.1, 0.2, 0.7])
    mask = np.array([1, 1, 0, 255], dtype=np.uint8)[:, None, None]
    # predicted 0 1 1 (2, unknown): class 1: 2 * 1 / (2 + 2) = 1/2; class 2 is in neither
    assert dice_loss(p, mask) == pytest.approx(1 / 2)
    expected = -(math.log(0.1) + math.log(0.8) + math.log(0.2)) / 3 / math.log(3)
    assert cross_entropy(p, mask) == pytest.approx(expected, rel=1e-5)
    empty = np.zeros((4, 1, 1), dtype=np.uint8)
    assert dice_loss(voxels(*[[1, 0]] * 4), empty) == 0
    assert cross_entropy(p, np.full((4, 1, 1), 255, dtype=np.uint8)) == 0


def test_oracle_loss_ranks_by_the_mean_dice_that_is_measured() -> None:
    from salearn.metrics.overlap import class_counts, confusion

    pool, evidence = world("volume", 2)
    masks = {u: np.roll(p.argmax(axis=0), 2, 0).astype(np.uint8) for u, p in evidence.maps.items()}
    scores = OracleLoss().select(pool, 3, replace(evidence, truth=masks), rng()).scores
    for unit in pool.unlabeled[:6]:
        labels = evidence.maps[unit].argmax(axis=0).astype(np.uint8)
        table = confusion(labels, masks[unit])
        per_class = [class_counts(table, c).dice for c in (1, 2)]
        assert scores[unit] == pytest.approx(1 - np.mean(per_class), abs=1e-6)


# --- ripu ---------------------------------------------------------------------------------------


def test_impurity_by_hand() -> None:
    p = voxels([0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6])
    found = impurity(p, 1).ravel()
    low, high = bits(0.2), bits(0.4)
    # likeliest 0 0 1 1; boxes cut at the border hold 00, 001, 011, 11
    expected = [0, bits(1 / 3) * (2 * low + high) / 3, bits(1 / 3) * (low + 2 * high) / 3, 0]
    assert np.allclose(found, expected, atol=1e-6)


@FEW
@given(st.integers(0, 10_000))
def test_impurity_is_what_loops_over_boxes_give(seed: int) -> None:
    p = rng(seed).dirichlet([0.3, 0.3, 0.3], size=(4, 3, 2)).transpose(3, 0, 1, 2)
    p = p.astype(np.float32)
    found = impurity(p, 1)
    for place in np.ndindex(p.shape[1:]):
        box = tuple(slice(max(0, i - 1), i + 2) for i in place)
        part = p[(slice(None), *box)].reshape(3, -1).astype(np.float64)
        shares = np.bincount(part.argmax(axis=0), minlength=3) / part.shape[1]
        expected = scipy_entropy(shares, base=3) * scipy_entropy(part, base=3, axis=0).mean()
        assert found[place] == pytest.approx(expected, abs=1e-5)


def test_ripu_prefers_a_border_in_doubt_to_doubt_alone() -> None:
    mixed = voxels([0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6])
    plain = voxels(*[[0.51, 0.49]] * 4)
    pool, evidence = seen(border=mixed, dull=plain)
    assert Ripu().select(pool, 1, evidence, rng()).unit_ids == ("border",)
    assert Entropy().select(pool, 1, evidence, rng()).unit_ids == ("dull",)


# --- stochastic batches -------------------------------------------------------------------------


def test_with_every_group_drawn_the_best_group_is_the_top_n() -> None:
    pool, evidence = world("volume", 2, num_cases=2, num_labeled=1)  # 5 units, 10 pairs
    made = StochasticBatch(groups=400)
    assert set(made.select(pool, 2, evidence, rng()).unit_ids) == set(
        Entropy().select(pool, 2, evidence, rng()).unit_ids
    )


def test_one_group_is_random_and_more_groups_are_more_uncertain() -> None:
    pool, evidence = world("slice", 2)
    scores = Entropy().select(pool, 0, evidence, rng()).scores

    def mean(groups: int) -> float:
        made = StochasticBatch(groups=groups)
        sets = [made.select(pool, 6, evidence, rng(s)).unit_ids for s in range(6)]
        return float(np.mean([scores[u] for chosen in sets for u in chosen]))

    assert mean(1) == pytest.approx(np.mean([scores[u] for u in pool.unlabeled]), rel=0.2)
    assert mean(1) < mean(10) < mean(200)


# --- asd ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["otsu", "peak", "argmax", "soft"])
@pytest.mark.parametrize("measure", ["entropy", "margin", "bald"])
def test_asd_reads_every_region_with_every_measure(region: str, measure: str) -> None:
    pool, evidence = world("volume", 2, num_cases=2, num_labeled=1)
    for slab in ("weighted", "max-slab"):
        made = build("asd", {"asd_region": region, "asd_measure": measure, "asd_volume": slab})
        answer = made.select(pool, 2, evidence, rng())
        scores = np.array([answer.scores[u] for u in pool.unlabeled])
        assert ((scores >= 0) & (scores <= 1)).all()
        assert len(set(scores.tolist())) == len(scores)  # nothing is missed, all differ
