"""The toy of the selection notes: 18 000 slices, 40 contexts of Zipf frequencies, 3 % outliers.

Every registered strategy that needs embeddings and views alone chooses 20 and 60 slices from a cold
start; the table says how many contexts it covers, what share of its picks are outliers, and how
often a slice shares the context of its nearest pick. Evidence for the shape of a rule, not for any
Dice. Strategies that need a trained model, or a true mask, are named and left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import one_thread
from salearn.cases import Pool, Selection, UnitId
from salearn.features.rows import unit_rows

SLICES, VOLUMES, CONTEXTS, DIM = 18_000, 300, 40, 64
OUTLIERS = 0.03
BUDGETS = (20, 60)
SEEDS = 5
VIEWS = 4
# Settings of a strategy that are compared too: the gate on distance-greedy rules, and DKD without.
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("coreset", {"gate": 0.05}),
    ("dkd", {"gate": 0, "gamma": 0}),
    ("dkd", {"gamma": 0}),
)


@dataclass
class Toy:
    """The pool as evidence in round 0: frozen embeddings and views, nothing else.

    Each volume has two to five contexts; the slices of one lie together, and lie around its
    centre. The contexts differ in how much a slice moves under views: strange ones move more.
    """

    seed: int
    round: int = 0
    adapted: bool = False
    trained: bool = False

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        per_volume = SLICES // VOLUMES
        frequency = 1 / np.arange(1, CONTEXTS + 1)
        chosen = rng.choice(CONTEXTS, (VOLUMES, 5), p=frequency / frequency.sum())
        place = np.arange(per_volume) * rng.integers(2, 6, (VOLUMES, 1)) // per_volume
        self.context = np.take_along_axis(chosen, place, axis=1).ravel()
        centres = rng.standard_normal((CONTEXTS, DIM))
        volume = 0.2 * np.repeat(rng.standard_normal((VOLUMES, DIM)), per_volume, axis=0)
        z = centres[self.context] + volume + 0.25 * rng.standard_normal((SLICES, DIM))
        outlier = rng.random(SLICES) < OUTLIERS
        z[outlier] = rng.standard_normal((int(outlier.sum()), DIM))
        self.context[outlier] = -1
        self.z = unit_rows(z)
        size = rng.uniform(0.05, 0.3, CONTEXTS + 1)[self.context] / DIM**0.5
        moved = size[:, None, None] * rng.standard_normal((SLICES, VIEWS, DIM))
        self.views = unit_rows((self.z[:, None] + moved).reshape(-1, DIM)).reshape(moved.shape)
        self.units = [UnitId(f"{i // per_volume:03d}@{i % per_volume:03d}") for i in range(SLICES)]
        self.row = {unit: i for i, unit in enumerate(self.units)}

    @property
    def pool(self) -> Pool:
        """Nothing is labeled."""
        return Pool(labeled=(), unlabeled=tuple(self.units))

    def embeddings(self, units: Sequence[UnitId], adapted: bool = False) -> np.ndarray:
        return self.z[[self.row[unit] for unit in units]]

    def view_embeddings(self, units: Sequence[UnitId]) -> np.ndarray:
        return self.views[[self.row[unit] for unit in units]]

    def reference_bank(self) -> None:
        return None

    def score(self, answer: Selection) -> tuple[float, float, float]:
        """Share of contexts covered, share of outliers among the picks, 1-NN accuracy."""
        rows = [self.row[unit] for unit in answer.unit_ids]
        found = self.context[rows]
        inside = self.context >= 0
        nearest = found[(self.z[inside] @ self.z[rows].T).argmax(axis=1)]
        return (
            len(set(found.tolist()) - {-1}) / len(set(self.context[inside].tolist())),
            float(np.mean(found == -1)),
            float(np.mean(nearest == self.context[inside])),
        )


def arms(names: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """The registered strategies, or those named, and their variants."""
    from strategies.registry import available

    chosen = [name for name in available() if not names or name in names]
    return [(name, {}) for name in chosen] + [v for v in VARIANTS if v[0] in chosen]


def table(names: Sequence[str], seeds: int) -> Iterator[dict[str, Any]]:
    """One row per strategy: means over the seeds."""
    toys = [Toy(seed) for seed in range(seeds)]
    for name, given in arms(names):
        row: dict[str, Any] = {"strategy": name, "settings": given}
        try:
            yield row | measured(name, given, toys)
        except Exception as error:  # of whatever kind a plug-in raises when evidence is missing
            yield row | {"left_out": f"{type(error).__name__}: {error}"[:120]}


def measured(name: str, given: dict[str, Any], toys: Sequence[Toy]) -> dict[str, Any]:
    """Coverage, outliers and accuracy at each budget, CPU-seconds of a query."""
    from strategies.registry import build

    made, found = build(name, given), {}
    if hasattr(made, "cold_start"):
        return {"left_out": "needs a trained model; before that its cold start chooses"}
    for budget in BUDGETS:
        scores, start = [], time.process_time()
        for toy in toys:
            evidence: Any = toy
            answer = made.select(toy.pool, budget, evidence, np.random.default_rng(toy.seed))
            scores.append(toy.score(answer))
        seconds = (time.process_time() - start) / len(toys)
        covered, outliers, accuracy = np.mean(scores, axis=0)
        found[f"at_{budget}"] = {
            "covered": round(float(covered), 3),
            "outliers": round(float(outliers), 3),
            "accuracy": round(float(accuracy), 3),
            "cpu_s": round(seconds, 2),
        }
    return found


def main() -> None:
    """Print a JSON line per strategy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="strategies; default: all registered")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    with one_thread(torch=False):
        for row in table(given.names, given.seeds):
            print(json.dumps(row), flush=True, file=sys.stdout)


if __name__ == "__main__":
    main()
