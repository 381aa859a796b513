"""Tables of the gate: what it let through, with what weight, how right that was, when it closed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from salearn.report.blocks import Table
from salearn.report.parts import learner_of
from salearn.report.runs import Run
from salearn.report.tables import ordered
from salearn.report.text import number

Place = tuple[str, str, int]
Records = list[dict[str, Any]]
NONE = "-"


def gate_cells(runs: Iterable[Run], name: str) -> Table | None:
    """Admitted share, chosen weight, agreement, precision and closings; None without a gate."""
    found = _by_place(runs, lambda record: bool(record.get("gate")))
    if not found:
        return None
    return Table(
        name=name,
        caption="The gate of the pseudo-labels",
        headers=["strategy", "learner", "annotated", "admitted / made", "weight", "closed",
                 "agreement", "precision admitted", "precision refused", "Dice admitted",
                 "Dice refused"],
        rows=[[*_names(place), *_gate(found[place])] for place in _sorted(found)],
        fixed=2,
        note="Means over seeds. Closed: runs whose student learned from no pseudo-label. "
        "Agreement: Dice with the supervised student, where it was asked. Precision (of voxels "
        "labeled as foreground) and Dice (mean over cases) are against hidden masks, opened for "
        "audit after the training, where audit=true; nothing learned from them.",
    )  # fmt: skip


def turn_cells(runs: Iterable[Run], name: str) -> Table | None:
    """The turns of SFR+: reliable cases, the others, confidence; None if no run took turns."""
    found = _by_place(runs, lambda record: bool(record.get("turns")))
    rows = []
    for place in _sorted(found):
        most = max(len(record["turns"]) for record in found[place])
        for number_ in range(most):
            turns = [r["turns"][number_] for r in found[place] if len(r["turns"]) > number_]
            rows.append([*_names(place), str(number_), *_turn(turns)])
    if not rows:
        return None
    return Table(
        name=name,
        caption="Turns of SFR+ between SAM3 and the student",
        headers=["strategy", "learner", "annotated", "turn", "runs", "to SAM3", "to the student",
                 "confidence, mean", "confidence, lowest"],
        rows=rows,
        fixed=2,
        note="Turn 0 is plain SFR. Later, cases that the student is sure of teach SAM3, the others "
        "go to the student. Fewer runs in a later turn: the others had stopped.",
    )  # fmt: skip


def _by_place(
    runs: Iterable[Run], wanted: Callable[[dict[str, Any]], bool]
) -> dict[Place, Records]:
    found: dict[Place, Records] = {}
    for run in runs:
        for record in run.rounds:
            if wanted(dict(record)):
                place = (str(run.factors["strategy"]), learner_of(run.factors),
                         int(record["num_labeled"]))  # fmt: skip
                found.setdefault(place, []).append(dict(record))
    return found


def _sorted(found: dict[Place, Records]) -> list[Place]:
    order = {label: k for k, label in enumerate(ordered({n for p in found for n in p[:2]}))}
    return sorted(found, key=lambda place: (order[place[0]], order[place[1]], place[2]))


def _names(place: Place) -> list[str]:
    return [place[0], place[1], str(place[2])]


def _gate(records: Records) -> list[str]:
    gates = [record["gate"] for record in records]
    closed = sum(bool(gate.get("closed")) for gate in gates)
    admitted = f"{_plain(gates, 'num_admitted')} / {_plain(gates, 'num_made')}"
    if any(gate.get("labels") == "online" for gate in gates):
        admitted = "online"
    audits = [record.get("audit") or {} for record in records]
    parts = [("admitted", "voxel_precision"), ("refused", "voxel_precision"),
             ("admitted", "dice"), ("refused", "dice")]  # fmt: skip
    judged = [_mean([(audit.get(who) or {}).get(what) for audit in audits]) for who, what in parts]
    return [
        admitted,
        _plain(gates, "weight"),
        f"{closed} of {len(gates)}",
        _shown(_mean([gate.get("agreement_mean") for gate in gates])),
        *(_shown(value) for value in judged),
    ]


def _turn(turns: Records) -> list[str]:
    shown = [_shown(_mean([t.get(key) for t in turns])) for key in ("confidence_mean",
                                                                   "confidence_min")]  # fmt: skip
    return [str(len(turns)), _plain(turns, "num_high"), _plain(turns, "num_low"), *shown]


def _plain(rows: Sequence[dict[str, Any]], key: str) -> str:
    value = _mean([row.get(key) for row in rows])
    return NONE if math.isnan(value) else f"{value:.4g}"


def _shown(value: float) -> str:
    return NONE if math.isnan(value) else number(value, "dice")


def _mean(values: Sequence[Any]) -> float:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan
