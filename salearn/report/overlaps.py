"""How alike the choices of strategies are, against what chance gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from salearn.report.runs import Run, settings_of_text

if TYPE_CHECKING:
    import pandas as pd


@lru_cache(maxsize=4096)
def chance_jaccard(a: int, b: int, units: int) -> float:
    """Expected Jaccard index of two random sets of a and b out of `units`, exactly.

    The intersection k is hypergeometric; E[k / (a + b - k)]. 1 for two empty sets.
    """
    if a + b == 0:
        return 1.0
    # Whole numbers, divided once: exact, and without the second that importing scipy.stats takes.
    ways = math.comb(units, b)
    return math.fsum(
        math.comb(a, k) * math.comb(units - a, b - k) * k / (ways * (a + b - k))
        for k in range(max(0, a + b - units), min(a, b) + 1)
    )


def overlap_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Jaccard index of what two strategies had annotated, at each budget, under the same seeds.

    Columns: dataset, unit, learner, variant, draw_seed, train_seed, budget, a, b, jaccard, chance.
    A shared start set is left out of both sets.
    """
    import pandas as pd

    alike: dict[tuple[Any, ...], list[Run]] = {}
    names = ("dataset", "learner", "variant", "draw_seed", "train_seed")
    for run in runs:
        place = (run.record.get("unit", "volume"), *(run.factors[name] for name in names))
        alike.setdefault(place, []).append(run)
    rows = []
    for place, members in alike.items():
        head = dict(zip(("unit", *names), place, strict=True))
        ordered = sorted(members, key=lambda run: str(run.factors["strategy"]))
        for i, first in enumerate(ordered):
            rows += [head | row for other in ordered[i + 1 :] for row in _overlaps(first, other)]
    return pd.DataFrame(rows)


def _overlaps(first: Run, other: Run) -> Iterator[dict[str, Any]]:
    mine, theirs = _sets(first), _sets(other)
    start = _shared_start(first, other)
    units = len((first.rounds[0].get("scores") or ()) if first.rounds else ()) - len(start)
    for budget in sorted(set(mine) & set(theirs)):
        a, b = mine[budget] - start, theirs[budget] - start
        if a | b and units >= max(len(a), len(b)):
            yield {
                "a": first.factors["strategy"],
                "b": other.factors["strategy"],
                "budget": budget,
                "jaccard": len(a & b) / len(a | b),
                "chance": chance_jaccard(len(a), len(b), units),
            }


def _sets(run: Run) -> dict[int, set[str]]:
    """Annotated units at each budget."""
    found: dict[int, set[str]] = {}
    chosen: set[str] = set()
    for record in run.rounds:
        chosen = chosen | set(map(str, record.get("selected", ())))
        found[int(record["num_labeled"])] = chosen
    return found


def _shared_start(first: Run, other: Run) -> set[str]:
    """The start set that both were given, and did not choose."""
    if not (first.rounds and other.rounds and _started(first.config) and _started(other.config)):
        return set()
    starts = [set(map(str, run.rounds[0].get("selected", ()))) for run in (first, other)]
    return starts[0] & starts[1]


@lru_cache(maxsize=4096)
def _started(config: str) -> bool:
    """Whether a start set was given; reading YAML is slow, so each text is read once."""
    return settings_of_text(config).get("start.units", "0") not in ("0", "None")
