"""What looks at every prediction while a split is scored: pictures, AUC, Dice by threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from loops.adaptation.points import DiceCurves
from loops.measuring.overlays import CASES, Overlays
from loops.measuring.panels import Worst
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.data.volumes import Volume
from salearn.metrics.auc_levels import AucTable
from salearn.store import write_lines


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Looks at every case of a split, and writes what it saw into the store entry.

    Attributes:
        areas, points: None where the run asks for none.
    """

    worst: Worst
    slices: Overlays
    areas: AucTable | None
    points: DiceCurves | None

    @classmethod
    def of(cls, bench: Workbench, pictured: bool) -> Watch:
        """What a run asks for; pictures only where they are shown."""
        config, classes = bench.config, bench.dataset.classes
        return cls(
            worst=Worst(config.panels if pictured else 0),
            slices=Overlays(config.data.axis, CASES if pictured else 0),
            areas=AucTable(classes, config.auc) if config.auc.levels else None,
            points=DiceCurves(classes) if config.operating else None,
        )

    def look(
        self,
        case: CaseId,
        volume: Volume,
        reference: UInt8[np.ndarray, "x y z"],
        probabilities: Float[np.ndarray, "class x y z"],
        found: list[dict[str, Any]],
    ) -> None:
        """Take note of one case.

        Args:
            found: its scores, one row for each class.
        """
        labels = probabilities.argmax(axis=0).astype(np.uint8)
        self.worst.offer(found, volume, reference, labels)
        self.slices.offer(case, volume.image[0], reference, labels)
        if self.areas is not None:
            self.areas.update(str(case), probabilities, reference)
        if self.points is not None:
            self.points.update(str(case), probabilities, reference)

    def write(self, work: Path, say: Callable[[str], None]) -> None:
        """Tables and pictures; a picture that cannot be drawn is said and stops nothing."""
        if self.points is not None:
            write_lines(work / "points.jsonl", self.points.rows)
        if self.areas is not None:
            write_lines(work / "auc_rows.jsonl", self.areas.rows())
            write_lines(work / "auc_cases.jsonl", self.areas.cases)
        if cause := self.worst.write(work / "panels"):
            say(f"no pictures of the worst cases ({cause})")
        if cause := self.slices.write(work / "overlays"):
            say(f"no slices with overlay ({cause})")
