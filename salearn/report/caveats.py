"""What a reader must know before believing a table: warnings found in the runs themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from salearn.report.runs import Run, Runs
from salearn.stats.bootstrap import ENOUGH_SEEDS, FEW_CLUSTERS

if TYPE_CHECKING:
    import pandas as pd


def warnings_of(found: Runs, curve: pd.DataFrame) -> list[str]:
    """One sentence for each thing that weakens what the tables say."""
    return [
        *_cells_lost(found.cells),
        *_splits(found.runs),
        *_leaks(found.runs),
        *_dead(found.runs),
        *_too_few(curve),
        *_uneven(curve),
        *_empty(curve),
    ]


def _cells_lost(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for status in ("failed", "missing", "unreadable", "duplicate", "unfinished"):
        count = sum(cell["status"] == status for cell in cells)
        if count:
            yield f"{count} of {len(cells)} cells are {status}; they are listed under Cells."


def _splits(runs: Sequence[Run]) -> Iterator[str]:
    hashes: dict[str, set[Any]] = {}
    for run in runs:
        found = (run.record.get("split") or {}).get("hash")
        hashes.setdefault(str(run.factors["dataset"]), set()).add(found)
    for dataset, found in hashes.items():
        if len(found) > 1:
            yield (
                f"{dataset}: runs have {len(found)} different splits, so their test cases differ; "
                "means over all are not comparable, paired differences use shared cases only."
            )


def _leaks(runs: Sequence[Run]) -> Iterator[str]:
    """Cases that are scored must not be candidates for annotation."""
    for run in runs:
        scored = set(run.cases["case"].unique().to_pylist())
        candidates = {
            unit.rpartition("@")[0] or unit
            for record in run.rounds
            for unit in (*record.get("selected", ()), *(record.get("scores") or ()))
        }
        leaked = sorted(scored & candidates)
        if leaked:
            yield f"{_name(run)}: LEAK, scored cases are in the pool: {', '.join(leaked[:5])}."


def _dead(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        names = run.record["classes"]
        for record in run.rounds:
            dead = sorted(_labels(record.get("dead_classes")))
            if dead:
                which = ", ".join(names[k - 1] if 0 < k <= len(names) else str(k) for k in dead)
                place = f"{_name(run)}, {record['num_labeled']} annotated"
                yield f"{place}: dead class {which} (the network cannot predict it any more)."


def _labels(value: Any) -> set[int]:
    """Labels in a list, or in a mapping of lists by stage."""
    if isinstance(value, Mapping):
        return {label for part in value.values() for label in _labels(part)}
    return {int(label) for label in value or ()}


def _too_few(curve: pd.DataFrame) -> Iterator[str]:
    if curve.empty:
        return
    draws, seeds, cases = (int(curve[f"n_{name}"].max()) for name in ("draws", "seeds", "cases"))
    if seeds == 1:
        yield (
            "Single seed: intervals are over test cases only and say nothing about another draw "
            "or training; no claim about methods is supported."
        )
    elif draws == 1:
        yield "One draw seed: nothing is known about other draws, so no claim about strategies."
    if 1 < seeds < ENOUGH_SEEDS:
        share = f"{seeds - 1}/{seeds}"
        yield (
            f"{seeds} seeds: a bootstrap over so few shows only {share} of the variance between "
            f"seeds, so intervals are too narrow; take {ENOUGH_SEEDS} seeds or more for a claim."
        )
    if cases < FEW_CLUSTERS:
        yield f"{cases} test cases: fewer than {FEW_CLUSTERS}, intervals are descriptive only."


def _uneven(curve: pd.DataFrame) -> Iterator[str]:
    if curve.empty:
        return
    arms = curve.groupby(["dataset", "unit", "strategy", "learner", "variant"], observed=True)
    for names, part in arms:
        low, high = int(part["n_seeds"].min()), int(part["n_seeds"].max())
        if low != high:
            arm = " x ".join(str(name) for name in names[2:] if name)
            yield f"{arm}: {low} to {high} seeds by budget; its points are over different runs."


def _empty(curve: pd.DataFrame) -> Iterator[str]:
    if curve.empty:
        return
    metric = curve["metric"].iloc[0]
    rows = curve[(curve["split"] == "test") & (curve["metric"] == metric)]
    for name, part in rows[rows["class"] != "mean"].groupby("class", observed=True, sort=False):
        missed, false, absent = (int(part[f"n_{s}"].sum()) for s in ("missed", "false", "absent"))
        if missed or false or absent:
            yield (
                f"class {name}: of {int(part['n_total'].sum())} scored predictions {missed} missed "
                f"it, {false} found it where it is not, {absent} cases do not hold it (left out)."
            )


def _name(run: Run) -> str:
    factors = run.factors
    seeds = f"draw {factors['draw_seed']}, train {factors['train_seed']}"
    return f"{factors['strategy']} x {factors['learner']} ({seeds})"
