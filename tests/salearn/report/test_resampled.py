import numpy as np

from salearn.report.resampled import BLOCK, Resampled


def test_replicates_worked_on_in_blocks_are_those_worked_on_at_once():
    values = np.random.default_rng(0).random((3, 4, 7, 2))  # budget run case class
    draws = [0, 0, 1, 1]
    found = Resampled.of(values, draws, replicates=2 * BLOCK + 3, seed=5)
    assert found.block == BLOCK
    some = np.array([True, True, True, False])
    whole, cut = np.ones(4, dtype=bool), slice(1, 2)
    for runs, steps in ((whole, slice(None)), (some, cut)):
        points, drawn = found.over(runs, steps)
        tree = found.tree(runs)
        table = np.moveaxis(values[steps][:, runs], 0, 2)  # run case budget class
        for step in range(table.shape[2]):
            for k, columns in enumerate((slice(0, 1), slice(1, 2), slice(0, 2))):
                part = table[:, :, step, columns]
                np.testing.assert_allclose(drawn[:, step, k], tree.replicates(part), rtol=1e-12)
                np.testing.assert_allclose(points[step, k], tree.estimate(part), rtol=1e-12)


def test_a_table_with_holes_is_worked_on_at_once():
    values = np.random.default_rng(0).random((2, 3, 5, 2))
    values[0, 0, 0, 0] = np.nan
    found = Resampled.of(values, [0, 1, 2], replicates=300, seed=0)
    assert found.block == 300
    _, drawn = found.over(np.ones(3, dtype=bool), slice(None))
    want = found.tree(np.ones(3, dtype=bool)).replicates(values[0][:, :, :1])
    np.testing.assert_allclose(drawn[:, 0, 0], want, rtol=1e-12)
