"""What a reader must know before believing a table: warnings found in the runs themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from salearn.report.runs import Run, Runs
from salearn.stats.bootstrap import ENOUGH_SEEDS, FEW_CLUSTERS
from salearn.store import read_json

if TYPE_CHECKING:
    import pandas as pd

# Dice by which seeds, devices and versions alone move a semi-supervised result, as the maintainers
# of DTC report of their own (issue 14).
NOISE = 0.008


def warnings_of(found: Runs, curve: pd.DataFrame) -> list[str]:
    """One sentence for each thing that weakens what the tables say."""
    return [
        *_cells_lost(found.cells),
        *_splits(found.runs),
        *_leaks(found.runs),
        *_transductive(found.runs),
        *_references(found.runs),
        *_dead(found.runs),
        *_same_draws(found.runs),
        *_too_few(curve),
        *_uneven(curve),
        *_empty(curve),
        *_ceiling(curve),
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


def _transductive(runs: Sequence[Run]) -> Iterator[str]:
    """Images that are scored must not be trained on, not even without their masks."""
    for run in runs:
        file = run.path / "split.json"
        parts = (read_json(file).get("parts") or {}) if file.is_file() else {}
        unlabeled = {c for name in ("pool", "unmasked") for c in _cases(parts.get(name))}
        scored = {c for name in ("validation", "test") for c in _cases(parts.get(name))}
        if run.record.get("transductive") or unlabeled & scored:
            names = ", ".join(sorted(unlabeled & scored)[:5]) or "as its settings say"
            yield f"{_name(run)}: TRANSDUCTIVE, scored images are trained on unlabeled: {names}."


def _references(runs: Sequence[Run]) -> Iterator[str]:
    """What lengths and references are where they are not mm and drawn masks."""
    pixels = {str(r.factors["dataset"]) for r in runs if r.record.get("length_unit") == "px"}
    for dataset in sorted(pixels):
        yield f"{dataset}: the size of a pixel is unknown; distances (columns *_mm) are pixels."
    kinds = {(str(r.factors["dataset"]), r.record.get("reference_kind")) for r in runs}
    for dataset, kind in sorted((d, k) for d, k in kinds if k not in (None, "manual_mask")):
        yield f"{dataset}: references are of kind {kind}, not drawn masks."


def _cases(part: Any) -> Sequence[str]:
    return part.get("cases", ()) if isinstance(part, Mapping) else ()


def _dead(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        names = run.record["classes"]
        for record in run.rounds:
            dead = sorted(_labels(record.get("dead_classes")))
            if dead:
                which = ", ".join(names[k - 1] if 0 < k <= len(names) else str(k) for k in dead)
                place = f"{_name(run)}, {record['num_labeled']} annotated"
                yield f"{place}: dead class {which} (the network cannot predict it any more)."


def _same_draws(runs: Sequence[Run]) -> Iterator[str]:
    """A strategy without randomness picks alike under every draw seed: one run, counted twice."""
    arms: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        names = ("dataset", "strategy", "learner", "train_seed")
        arms.setdefault(tuple(str(run.factors.get(name)) for name in names), []).append(run)
    for (dataset, strategy, learner, seed), members in arms.items():
        picks = {str([record.get("selected") for record in run.rounds]) for run in members}
        if len(members) > len(picks):
            yield (
                f"{dataset}, {strategy} x {learner}, train seed {seed}: {len(members)} draw seeds "
                f"gave {len(picks)} different selections; equal ones are one run, not several "
                "seeds, so its intervals are too narrow. Vary the train seed as well."
            )


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


def _ceiling(curve: pd.DataFrame) -> Iterator[str]:
    """Arms that end within the noise of training: what they differ by ranks nothing."""
    if curve.empty:
        return
    rows = curve[(curve["split"] == "test") & (curve["metric"] == "dice")]
    rows = rows[(rows["class"] == "mean") & (rows["stage"] == "student")]
    for (dataset, budget), part in rows.groupby(["dataset", "budget"], observed=True):
        last = rows.loc[rows["dataset"] == dataset, "budget"].max()
        spread = float(part["mean"].max() - part["mean"].min())
        if budget == last and len(part) > 1 and spread < NOISE:
            yield (
                f"Ceiling: on {dataset} at {budget} annotated all {len(part)} arms end within "
                f"{spread:.3f} Dice, less than one training differs from the next ({NOISE}); "
                "differences there rank nothing."
            )


def _name(run: Run) -> str:
    factors = run.factors
    seeds = f"draw {factors['draw_seed']}, train {factors['train_seed']}"
    return f"{factors['strategy']} x {factors['learner']} ({seeds})"
