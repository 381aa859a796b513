"""Means of the runs of a curve over their cases, in every resample of runs and cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from salearn.stats.bootstrap import Hierarchy, nanmean

BLOCK = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Resampled:
    """Means over all cases, and over the cases of each resample, of every run of a curve.

    Attributes:
        draws: the draw seed of each run.
        points, drawn: axes replicate, run, budget, class; of points there is one "replicate".
        cases: over how many.
        block: how many replicates to work on at a time, so that what is made of them stays in the
            processor's cache: half the time and memory.
    """

    draws: tuple[int, ...]
    points: Float[np.ndarray, "1 run budget class"]
    drawn: Float[np.ndarray, "b run budget class"]
    cases: int
    seed: int
    block: int

    @classmethod
    def of(
        cls,
        values: Float[np.ndarray, "budget run case class"],
        draws: Sequence[int],
        replicates: int,
        seed: int,
    ) -> Resampled:
        """Resample the cases of all runs alike; NaN values are left out."""
        steps, runs, cases, classes = values.shape
        tree = _tree(tuple(draws), cases, replicates, seed)
        table = np.moveaxis(values, 0, 2).reshape(runs, cases, steps * classes)
        points, drawn = (
            one.case_means(table).reshape(-1, runs, steps, classes)
            for one in (tree.identity(), tree)
        )
        complete = bool(np.isfinite(table).all())  # if not, how to add up depends on all rows
        return cls(
            draws=tuple(draws), points=points, drawn=drawn, cases=cases, seed=seed,
            block=BLOCK if complete else replicates,
        )  # fmt: skip

    def tree(self, chosen: Bool[np.ndarray, " run"]) -> Hierarchy:
        """Resamples of some of the runs; the cases are drawn alike for all."""
        draws = tuple(draw for draw, use in zip(self.draws, chosen, strict=True) if use)
        return _tree(draws, self.cases, len(self.drawn), self.seed)

    def over(
        self, chosen: Bool[np.ndarray, " run"], steps: slice
    ) -> tuple[Float[np.ndarray, "budget column"], Float[np.ndarray, "b budget column"]]:
        """Means over the chosen runs at some budgets, and their replicates.

        Columns are the classes, then their mean.
        """
        tree = self.tree(chosen)
        runs = slice(None) if chosen.all() else chosen
        places = range(0, len(self.drawn), self.block)
        parts = [slice(place, place + self.block) for place in places]
        found = [_over_runs(tree.part(part), self.drawn[part, runs, steps]) for part in parts]
        return _over_runs(tree.identity(), self.points[:, runs, steps])[0], np.concatenate(found)


def _over_runs(tree: Hierarchy, means: np.ndarray) -> np.ndarray:
    """Means over runs, axes replicate, budget, column."""
    b, runs, steps, classes = means.shape
    wide = np.empty((b, runs, steps, classes + 1))
    for k in range(classes):  # column by column: an inner loop over two classes takes twice as long
        wide[..., k] = means[..., k]
    wide[..., -1] = nanmean(means)
    return tree.over_runs(wide.reshape(b, runs, -1)).reshape(b, steps, classes + 1)


@lru_cache(maxsize=64)
def _tree(draws: tuple[int, ...], num_cases: int, replicates: int, seed: int) -> Hierarchy:
    """Arms with the same seeds and cases share their resamples: made once."""
    return Hierarchy.make(draws, num_cases, replicates, seed)
