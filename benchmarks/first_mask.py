"""The value of the first mask: every volume as the only mask, and where strategies' picks fall.

python -m benchmarks.first_mask plan CONFIG OUT [key=value ...]      study files for `salearn sweep`
python -m benchmarks.first_mask analyse STUDY CONFIG [key=value ...] table and figure into docs/
`analyse` may be run while cells are still coming in. See docs/first_mask.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from salearn.store import read_json, read_lines, write_json, write_text

ORDER_SEED = 7
REPEATED, SEEDS, PAIRS = 8, 3, 40  # volumes with more train seeds, how many more; random pairs
DRAWS = 10  # draw seeds of a strategy's cold start
BEGIN, END = "<!-- begin: benchmarks.first_mask -->", "<!-- end: benchmarks.first_mask -->"
Units = tuple[str, ...]


def plan(config: Path, out: Path, changes: Sequence[str]) -> list[Path]:
    """Write singles.yaml, repeats.yaml, pairs.yaml: replay studies over the pool of a config."""
    import yaml

    from salearn.config import override, read_yaml

    pool = sorted(_bench(config, changes, out / "plan").pool().unlabeled)
    rng = np.random.default_rng(ORDER_SEED)
    order = [str(pool[i]) for i in rng.permutation(len(pool))]
    drawn = [rng.choice(len(order), 2, replace=False) for _ in range(PAIRS)]
    studies: dict[str, tuple[list[Units], list[int]]] = {
        "singles": ([(unit,) for unit in order], [0]),
        "repeats": ([(unit,) for unit in order[:REPEATED]], list(range(1, SEEDS + 1))),
        "pairs": ([(order[int(i)], order[int(j)]) for i, j in drawn], [0]),
    }
    base = override(read_yaml(config), changes)
    paths = []
    for name, (orders, seeds) in studies.items():
        paths.append(out / f"{name}.yaml")
        text = yaml.safe_dump(_replays(base, name, out, orders, seeds), sort_keys=False)
        write_text(paths[-1], text)
    return paths


def _replays(
    base: Mapping[str, Any], name: str, out: Path, orders: Sequence[Units], seeds: Sequence[int]
) -> dict[str, Any]:
    """A study that trains on each of these sets of units alone."""
    factors = {
        "train_seed": list(seeds),
        "strategy": [{"name": "replay", "order": list(units)} for units in orders],
    }
    study = {"name": name, "out": str(out), "backend": "serial", "factors": factors}
    return {**base, "budget": [len(orders[0])], "study": study}


def _bench(config: Path, changes: Sequence[str], out: Path) -> Any:
    from loops.config import load_run
    from loops.progress import Progress
    from loops.workbench import Workbench

    run = load_run(config, [*changes, f"out={out}", f"store={out.parent / 'store'}"])
    return Workbench(run, Progress(enabled=False))


# --- what came of it ------------------------------------------------------------------------


@dataclass
class Results:
    """Test Dice (mean over cases, then classes; the student) by units and train seed."""

    dice: dict[Units, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    voxels: dict[str, int] = field(default_factory=dict)

    def of_size(self, size: int) -> dict[Units, float]:
        """Units -> mean over the train seeds."""
        found = {u: float(np.mean(list(v.values()))) for u, v in self.dice.items()}
        return {units: value for units, value in sorted(found.items()) if len(units) == size}


def read_results(study: Path) -> Results:
    """Every finished cell below a folder that annotated its units in one round."""
    found = Results()
    for path in sorted(study.rglob("rounds.jsonl")):
        rounds = read_lines(path)
        record = path.parent / "run.json"
        if len(rounds) != 1 or not record.is_file():
            continue
        means = [
            row["dice"]
            for row in rounds[0]["metrics"]
            if (row["split"], row["stage"], row["class"]) == ("test", "student", "mean")
        ]
        units = tuple(sorted(map(str, rounds[0]["selected"])))
        found.dice[units][int(read_json(record)["factors"]["train_seed"])] = float(means[0])
        for line in read_lines(path.parent / "queries.jsonl"):
            if line["purpose"] == "annotate":
                found.voxels[str(line["unit"])] = int(line["voxels"])
    return found


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far first masks lie apart, and how much of it is the training's own noise.

    Attributes:
        between, within: standard deviation between volumes (noise taken off) and between train
            seeds of one volume; NaN without repeats.
        lent: no set of this size was repeated, so `within` is that of the others.
        best, typical: largest and mean observed Dice; `believed` is the best brought back towards
            the mean by the share of the variance that is between volumes.
    """

    count: int
    quantiles: tuple[float, ...]
    typical: float
    best: float
    between: float
    within: float
    lent: bool = False

    @property
    def reliability(self) -> float:
        """Share of the variance of a single-seed result that is between volumes."""
        total = self.between**2 + self.within**2
        return self.between**2 / total if total > 0 else 1.0

    @property
    def believed(self) -> float:
        """What the best volume would be expected to give again."""
        share = 1.0 if np.isnan(self.within) else self.reliability
        return self.typical + share * (self.best - self.typical)


def spread_of(dice: Mapping[Units, Mapping[int, float]], size: int) -> Spread:
    """Variance components of a one-way layout with few repeats (method of moments).

    within^2 = pooled variance over train seeds; between^2 = variance of the results of the lowest
    seed over all volumes - within^2, at least 0. Without repeats of this size training is taken to
    be as noisy as with the sizes that have some.
    """
    own = {units: seeds for units, seeds in sorted(dice.items()) if len(units) == size}
    first = np.array([dict(sorted(v.items()))[min(v)] for v in own.values()])
    lent = all(len(seeds) == 1 for seeds in own.values())
    within = _within([list(v.values()) for v in (dice if lent else own).values()])
    observed = float(np.var(first, ddof=1)) if len(first) > 1 else 0.0
    between = np.sqrt(max(0.0, observed - (0.0 if np.isnan(within) else within**2)))
    return Spread(
        count=len(first),
        quantiles=tuple(float(q) for q in np.quantile(first, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1))),
        typical=float(first.mean()),
        best=float(first.max()),
        between=float(between),
        within=within,
        lent=lent and not np.isnan(within),
    )


def _within(groups: Sequence[Sequence[float]]) -> float:
    """Pooled standard deviation within groups; NaN if none has two values."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(np.var(group, ddof=1) * (len(group) - 1) for group in groups if len(group) > 1)
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_mask", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("plan")
    one.add_argument("config", type=Path)
    one.add_argument("out", type=Path)
    two = verbs.add_parser("analyse")
    two.add_argument("study", type=Path)
    two.add_argument("config", type=Path)
    two.add_argument("--docs", type=Path, default=Path("docs"))
    two.add_argument("--draws", type=int, default=DRAWS)
    two.add_argument("--missing", type=Path, help="write a study of untrained pairs here")
    for verb in (one, two):
        verb.add_argument("changes", nargs="*", help="overrides, e.g. data.root=/path")
    given = parser.parse_args()
    if given.verb == "plan":
        print("\n".join(f"salearn sweep {path}" for path in
                        plan(given.config, given.out, given.changes)))  # fmt: skip
        return
    analyse(given)


def analyse(given: argparse.Namespace) -> None:
    """Read what is there, ask every strategy, write table and figure."""
    import logging

    logging.getLogger("strategies").setLevel(logging.ERROR)  # hundreds of cold starts
    from benchmarks.first_mask_page import write_page
    from benchmarks.first_mask_places import cold_picks, missing

    results = read_results(given.study)
    bench = _bench(given.config, given.changes, given.study / "look")
    picks = cold_picks(bench, (1, 2), given.draws)
    write_json(given.study / "cold_picks.json", picks)
    write_page(results, picks, bench, given.docs)
    if given.missing is not None:
        import yaml

        from salearn.config import override, read_yaml

        base = override(read_yaml(given.config), given.changes)
        pairs = missing(picks, results, 2, 3)
        if pairs:
            study = _replays(base, "cold_pairs", given.study, pairs, [0])
            write_text(given.missing, yaml.safe_dump(study, sort_keys=False))
        print(f"{len(pairs)} cold-start pairs are not trained yet")


if __name__ == "__main__":
    main()
