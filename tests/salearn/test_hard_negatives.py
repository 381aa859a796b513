import numpy as np
import pytest

from salearn.hard_negatives import NegativeSettings, hardness, pick_slices, volume_limit


def test_hardness_is_the_mean_of_the_highest_probabilities() -> None:
    p = np.zeros((2, 10, 10))
    p[0, 0, :2] = 0.9, 0.5
    p[1] = 0.2
    assert hardness(p, 0.02) == pytest.approx([0.7, 0.2])  # 2 of 100 pixels
    assert hardness(p, 1e-6) == pytest.approx([0.9, 0.2])  # at least one


def test_a_quarter_of_the_slices_are_negatives() -> None:
    present = np.arange(40) < 20
    rng = np.random.default_rng(0)
    draws = [pick_slices(present, None, 6, NegativeSettings(), rng) for _ in range(400)]
    assert all(len(set(d.tolist())) == 6 for d in draws)
    share = np.mean([(d >= 20).mean() for d in draws])
    assert share == pytest.approx(0.25, abs=0.02)  # 1.5 of 6: sometimes one, sometimes two


def test_hard_slices_are_drawn_as_softmax_says() -> None:
    present = np.array([True, False, False])
    hard = np.array([0.0, 0.3, 0.2])
    given = NegativeSettings(share=0.5, hard=1.0)
    rng = np.random.default_rng(1)
    first = [int(pick_slices(present, hard, 2, given, rng)[1]) for _ in range(3000)]
    # exp(3) / (exp(3) + exp(2)) = 0.731
    assert np.mean(np.array(first) == 1) == pytest.approx(0.731, abs=0.03)


def test_what_there_is_not_is_made_up_for() -> None:
    rng = np.random.default_rng(2)
    given = NegativeSettings()
    assert sorted(pick_slices(np.array([True] * 3), None, 3, given, rng).tolist()) == [0, 1, 2]
    assert sorted(pick_slices(np.array([False] * 3), None, 3, given, rng).tolist()) == [0, 1, 2]
    few = pick_slices(np.array([True, False, False, False]), None, 3, given, rng)
    assert 0 in few
    assert len(few) == 3


def test_hardness_is_measured_after_the_warm_up_and_again() -> None:
    given = NegativeSettings(warm=0.25, refresh=0.25)
    assert [i for i in range(100) if given.due(i, 100)] == [25, 50, 75]
    assert not given.due(0, 100)


def test_the_share_of_a_volume_is_a_quarter_but_one_slice_and_what_few_volumes_must_give() -> None:
    assert [volume_limit(n, 20, 0.25) for n in (1, 2, 4, 7, 8, 12)] == [1, 1, 1, 1, 2, 3]
    assert [volume_limit(8, v, 0.25) for v in (1, 2, 3, 4, 5)] == [8, 4, 3, 2, 2]  # ceil(8 / v)
    assert volume_limit(0, 3, 0.25) == 1
    assert volume_limit(10, 20, 0.3) == 3  # though 0.3 x 10 is not exact in binary
