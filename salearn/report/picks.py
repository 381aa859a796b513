"""What was chosen, in numbers: coverage, redundancy, balance, outliers, cost. From logs alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from salearn.cases import UnitId, parse_unit
from salearn.report.embedded import Embedded, embedded
from salearn.report.runs import Run
from salearn.store import read_json, read_lines

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 20
DUPLICATE = 0.98  # cosine
OUTLIER = 0.05  # rank of typicality
BLOCK = 4096  # rows of the pool that are compared at a time

# name -> (what it is, where the definition comes from)
DIAGNOSTICS = {
    "coverage": (
        "share of the pool with an annotated unit at cosine >= delta, delta = median cosine of a "
        "unit to its 20th neighbour",
        "ProbCover's ball cover; delta is ours",
    ),
    "near duplicates": (
        "share of the annotated units with cosine > 0.98 to one annotated before",
        "ours",
    ),
    "redundancy": (
        "mean over annotated units of the largest cosine to one annotated before",
        "ours",
    ),
    "outliers": (
        "share of the annotated units among the 5 % least typical, typicality = mean cosine to the "
        "20 nearest units of the pool",
        "TypiClust's typicality, by cosine",
    ),
    "patients": ("different patients among the annotated units, as a share of them", "ours"),
    "foreground": ("share of the annotated units that show any foreground", "nnActive"),
    "class balance": (
        "entropy of the annotated foreground voxels over classes, over log(classes); 1 = equal",
        "nnActive's class shares as one number",
    ),
    "seconds per unit": ("declared seconds of annotation per annotated unit", "the cost model"),
}


def pick_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Tidy rows: cell, factors, unit, round, num_labeled, diagnostic, value (cumulative)."""
    import pandas as pd

    return pd.DataFrame([row for run in runs for row in _rows(run)])


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    paid = _paid(run)
    patients = _patients(run)
    space = embedded(run)
    chosen: list[str] = []
    for record in run.rounds:
        chosen = [*chosen, *map(str, record.get("selected", ()))]
        place = {"unit": run.record.get("unit", "volume"), "round": record["round"]}
        head = {"cell": run.key, **run.factors, **place, "num_labeled": record["num_labeled"]}
        found = _spent(chosen, paid, patients, len(run.record["classes"]))
        if space is not None:
            found |= _geometry(chosen, space)
        for name, value in found.items():
            yield head | {"diagnostic": name, "value": value}


def _paid(run: Run) -> dict[str, Mapping[str, Any]]:
    lines = read_lines(run.path / "queries.jsonl")
    return {str(line["unit"]): line for line in lines if line["purpose"] == "annotate"}


def _patients(run: Run) -> Mapping[str, str]:
    file = run.path / "split.json"
    return (read_json(file).get("patients") or {}) if file.is_file() else {}


def _spent(
    chosen: Sequence[str],
    paid: Mapping[str, Mapping[str, Any]],
    patients: Mapping[str, str],
    num_classes: int,
) -> dict[str, float]:
    """What the query log says of the units annotated so far."""
    cases = [str(parse_unit(UnitId(unit))[0]) for unit in chosen]
    lines = [paid[unit] for unit in chosen if unit in paid]
    found = {"patients": len({patients.get(case, case) for case in cases}) / max(len(cases), 1)}
    if not lines:
        return found
    found["foreground"] = float(np.mean([line["voxels"] > 0 for line in lines]))
    found["seconds per unit"] = float(np.mean([line["seconds"] for line in lines]))
    if all("classes" in line for line in lines):
        found["class balance"] = _balance([line["classes"] for line in lines], num_classes)
    return found


def _balance(counts: Sequence[Mapping[str, int]], num_classes: int) -> float:
    total: dict[str, int] = {}
    for line in counts:
        for name, voxels in line.items():
            total[name] = total.get(name, 0) + voxels
    share = np.array([voxels for voxels in total.values() if voxels], dtype=float)
    if not share.size or num_classes < 2:
        return math.nan
    share = share / share.sum()
    return float(-(share * np.log(share)).sum() / math.log(num_classes)) + 0.0


def _geometry(chosen: Sequence[str], space: Embedded) -> dict[str, float]:
    """What the embeddings say of the units annotated so far."""
    rows = space.rows(chosen)
    if not rows:
        return {}
    delta, isolated = _neighbourhood(space)
    picked = space.z[rows]
    covered = sum(
        int(((space.z[start : start + BLOCK] @ picked.T).max(axis=1) >= delta - 1e-6).sum())
        for start in range(0, len(space.z), BLOCK)
    )
    before = np.tri(len(rows), k=-1, dtype=bool)
    earlier = np.where(before, picked @ picked.T, -1).max(axis=1)[1:]
    found = {"coverage": covered / len(space.z), "outliers": float(isolated[rows].mean())}
    found["near duplicates"] = float((earlier > DUPLICATE).sum() / len(rows))
    if earlier.size:
        found["redundancy"] = float(earlier.mean())
    return found


_KNOWN: dict[str, tuple[float, np.ndarray]] = {}


def _neighbourhood(space: Embedded) -> tuple[float, np.ndarray]:
    """delta, and which units are among the least typical; measured once for a pool."""
    if space.key not in _KNOWN:
        _KNOWN[space.key] = _measured(space.z)
    return _KNOWN[space.key]


def _measured(z: np.ndarray) -> tuple[float, np.ndarray]:
    from salearn.features.index import VectorIndex

    k = min(NEIGHBOURS, len(z) - 1)
    if k < 1:
        return 1.0, np.zeros(len(z), dtype=bool)
    similarity, _ = VectorIndex(z).neighbours(k)
    rank = np.argsort(np.argsort(similarity.mean(axis=1), kind="stable"), kind="stable")
    return float(np.median(similarity[:, -1])), rank / max(len(z) - 1, 1) < OUTLIER
