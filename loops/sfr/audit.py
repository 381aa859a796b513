"""How good admitted and refused pseudo-labels really are, against masks that nobody learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from loops.sfr.confidence import mean_dice
from salearn.segmenter import PseudoLabels
from salearn.store import read_lines, write_lines

if TYPE_CHECKING:
    from loops.workbench import Workbench

Row = dict[str, Any]


def audit(
    bench: Workbench,
    round: int,
    made: Sequence[PseudoLabels],
    admitted: Sequence[PseudoLabels],
    num_classes: int,
    taught: Sequence[PseudoLabels] = (),
) -> dict[str, Any]:
    """Precision and Dice of what was admitted and of what was refused; rows go to audit.jsonl.

    Masks come through the oracle's heading "audit"; call it when the round's training is over.

    Args:
        taught: the student's predictions that SAM3 learned from.

    Returns:
        {"admitted": {"num_cases", "voxel_precision", "voxel_accuracy", "dice"}, "refused": same},
        and "taught" if SAM3 learned from any.
    """
    let_in = {p.case_id: p for p in admitted}
    shown = [(let_in.get(p.case_id, p), p.case_id in let_in) for p in made]
    rows = [
        {"round": round, "admitted": inside, **_judged(bench, round, label, num_classes)}
        for label, inside in shown
        if label.case_id in bench.dataset.masks
    ]
    path = bench.out / "audit.jsonl"
    write_lines(path, [line for line in read_lines(path) if line["round"] < round] + rows)
    found = {
        "admitted": _summary([row for row in rows if row["admitted"]]),
        "refused": _summary([row for row in rows if not row["admitted"]]),
    }
    known = [p for p in taught if p.case_id in bench.dataset.masks]
    if known:
        found["taught"] = _summary([_judged(bench, round, p, num_classes) for p in known])
    return found


def _judged(bench: Workbench, round: int, label: PseudoLabels, num_classes: int) -> Row:
    mask = bench.oracle.reveal(label.case_id, "audit", round)
    about = {"case": label.case_id, "confidence": label.confidence}
    return about | judge(label.load(), mask, num_classes)


def judge(
    probabilities: Float[np.ndarray, "class x y z"],
    mask: UInt8[np.ndarray, "x y z"],
    num_classes: int,
) -> Row:
    """A pseudo-label against the truth; voxels of probability 0 (not believed) are left out.

    Returns:
        foreground (believed voxels labeled as foreground), right (those of the true class),
        voxels (all believed), agreed (those of the true class, background too), dice.
    """
    p = np.asarray(probabilities, dtype=np.float32)
    labels = p.argmax(axis=0).astype(np.uint8)
    known = (p.sum(axis=0) > 0.5) & (mask < num_classes)
    front, same = known & (labels > 0), labels == mask
    return {
        "foreground": int(front.sum()),
        "right": int((front & same).sum()),
        "voxels": int(known.sum()),
        "agreed": int((known & same).sum()),
        "dice": mean_dice(labels, mask, num_classes),
    }


def _summary(rows: Sequence[Row]) -> Row:
    """Voxels pooled, Dice averaged over cases; None where nothing is counted."""
    total = {name: sum(row[name] for row in rows)
             for name in ("foreground", "right", "voxels", "agreed")}  # fmt: skip
    return {
        "num_cases": len(rows),
        "voxel_precision": _share(total["right"], total["foreground"]),
        "voxel_accuracy": _share(total["agreed"], total["voxels"]),
        "dice": round(float(np.mean([row["dice"] for row in rows])), 6) if rows else None,
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
