"""Where strategies' cold starts fall among all first masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.first_mask import Results, Spread, Units, spread_of
from salearn.cases import UnitId


def cold_picks(bench: Any, sizes: Sequence[int], draws: int) -> dict[str, dict[int, list[Units]]]:
    """What each strategy asks for before anything is known: name -> size -> units by draw seed.

    The same draw seeds give the same picks as a run's first round.
    """
    from loops.look import RoundEvidence
    from strategies.registry import available

    pool, evidence = bench.pool(), Remembered(RoundEvidence(bench, 0))
    found: dict[str, dict[int, list[Units]]] = {}
    for name in available():
        if name == "replay":
            continue
        try:
            made = _with(bench.config, name).build_strategy(bench.patients)
            found[name] = {
                size: [
                    _sorted(made.select(pool, size, evidence, np.random.default_rng([seed, 0])))
                    for seed in range(draws)
                ]
                for size in sizes
            }
        except Exception as error:  # one that cannot start cold says so in the table
            print(f"{name}: no cold start ({type(error).__name__}: {error})")
    return found


class Remembered:
    """Evidence that reads each embedding once, for all strategies and draw seeds."""

    def __init__(self, evidence: Any) -> None:
        self._evidence = evidence
        self._kept: dict[Any, np.ndarray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evidence, name)

    def embeddings(self, units: Sequence[UnitId], adapted: bool = False) -> np.ndarray:
        """As the evidence gives them."""
        return np.stack([self._row("embeddings", unit) for unit in units])

    def view_embeddings(self, units: Sequence[UnitId]) -> np.ndarray:
        """As the evidence gives them."""
        return np.stack([self._row("view_embeddings", unit) for unit in units])

    def _row(self, what: str, unit: UnitId) -> np.ndarray:
        if (what, unit) not in self._kept:
            self._kept[what, unit] = getattr(self._evidence, what)([unit])[0]
        return self._kept[what, unit]


def _with(config: Any, name: str) -> Any:
    return replace(config, strategy={"name": name})


def _sorted(selection: Any) -> Units:
    return tuple(sorted(str(UnitId(unit)) for unit in selection.unit_ids))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the cold-start picks of a strategy fall among all first masks.

    Attributes:
        known, draws: picks whose Dice is known, of how many draw seeds.
        distinct: how many different picks the draw seeds gave.
        percentile: share of all first masks that are not better, mean over draws.
        gain: mean Dice of the picks - mean of all first masks.
        share: gain over what the best first mask is believed to gain.
    """

    name: str
    known: int
    draws: int
    distinct: int
    dice: float
    low: float
    high: float
    percentile: float
    gain: float
    share: float
    like_random: bool = False


def place_of(
    name: str, picks: Sequence[Units], values: Mapping[Units, float], spread: Spread
) -> Place:
    """The place of one strategy; NaN where none of its picks was trained on."""
    got = np.array([values[units] for units in picks if units in values])
    every = np.array(list(values.values()))
    nothing = float("nan")
    percentile = float(np.mean([(every <= v).mean() for v in got])) if got.size else nothing
    dice = float(got.mean()) if got.size else nothing
    possible = spread.believed - spread.typical
    return Place(
        name=name,
        known=len(got),
        draws=len(picks),
        distinct=len(set(picks)),
        dice=dice,
        low=float(got.min()) if got.size else nothing,
        high=float(got.max()) if got.size else nothing,
        percentile=percentile,
        gain=dice - spread.typical,
        share=(dice - spread.typical) / possible if possible > 0 else nothing,
    )


def places_of(
    picks: Mapping[str, Mapping[int, list[Units]]], results: Results, size: int
) -> list[Place]:
    """Every strategy, best first; those that ask for random's own picks are marked."""
    values, spread = results.of_size(size), spread_of(results.dice, size)
    bar = picks.get("random", {}).get(size)
    found = []
    for name, by_size in picks.items():
        place = place_of(name, by_size[size], values, spread)
        found.append(replace(place, like_random=name != "random" and by_size[size] == bar))
    return sorted(found, key=lambda place: (np.isnan(place.dice), -place.dice, place.name))


def missing(picks: Mapping[str, Mapping[int, list[Units]]], results: Results, size: int,
            draws: int) -> list[Units]:  # fmt: skip
    """Picks of the first draw seeds that nobody trained on yet."""
    wanted = {units for by_size in picks.values() for units in by_size[size][:draws]}
    return sorted(wanted - set(results.dice))
