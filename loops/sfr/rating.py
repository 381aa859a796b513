"""Predictions that are kept in the store, and the confidence that is read off them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from loops.measuring.predictions import jitter
from loops.pseudo import SamSegmenter, read_pseudo_labels, write_probabilities, write_pseudo_labels
from loops.sfr.confidence import PseudoSettings, between_views, mean_dice
from loops.sfr.given import Cases
from loops.sfr.selective import sure_voxels
from salearn.cases import CaseId
from salearn.segmenter import PseudoLabels, Segmenter
from salearn.store import content_key, read_json, write_json

CODE_VERSION = 1  # of pseudo-labels
STAND_IN = PseudoSettings(estimator="foreground")


class Rating(Cases):
    """Stored predictions of any segmenter of a run, and numbers about them."""

    def pseudo_keys(self, maker_key: str, cases: Sequence[CaseId]) -> dict[CaseId, str]:
        """Content key of what a maker predicts of each case."""
        return {
            case: content_key("pseudo", CODE_VERSION, maker_key, self.bench.key(case))
            for case in cases
        }

    def rated(
        self,
        maker: Callable[[], Segmenter],
        keys: Mapping[CaseId, str],
        round: int,
        how: PseudoSettings | None,
        others: Mapping[CaseId, PseudoLabels] | None,
    ) -> tuple[PseudoLabels, ...]:
        """Predictions of all cases, made where they are missing, with their confidence.

        Args:
            maker: called only if something is missing.
            others: predictions that the estimator "agreement" compares with.
        """
        bench, shown = self.bench, how or STAND_IN
        missing = [case for case in keys if not bench.store.has("pseudo", keys[case])]
        if missing:
            with (
                bench.progress.stage(f"round {round} pseudo") as report,
                bench.timed("pseudo", round),
            ):
                images = ((case, bench.volume(case).image) for case in missing)
                write_pseudo_labels(maker(), images, bench.store, keys, shown, report)
        views = {}
        if shown.estimator == "views":
            views = self._views(maker, keys, shown)
        return tuple(
            self._read(case, key, shown, views.get(case), (others or {}).get(case))
            for case, key in keys.items()
        )

    def _read(
        self,
        case: CaseId,
        key: str,
        how: PseudoSettings,
        views: float | None,
        other: PseudoLabels | None,
    ) -> PseudoLabels:
        folder = self.bench.store.path("pseudo", key)
        if how.estimator == "agreement":
            if other is None:
                raise ValueError(f"case {case}: nothing to agree with")
            plain = read_pseudo_labels(case, folder, STAND_IN)
            return read_pseudo_labels(case, folder, how, self.dice_between(plain, other))
        return read_pseudo_labels(case, folder, how, views)

    def _views(
        self, maker: Callable[[], Segmenter], keys: Mapping[CaseId, str], how: PseudoSettings
    ) -> dict[CaseId, float]:
        """Mean Dice between the predictions of intensity views; made once, one case at a time."""
        segmenter: list[Segmenter] = []

        def make(case: CaseId, work: Path) -> None:
            segmenter.extend([maker()] if not segmenter else [])
            image = self.bench.volume(case).image
            changed = [jitter(image, view, how.jitter) for view in range(how.views)]
            write_json(work / "value.json", between_views(list(segmenter[0].predict(changed))))

        values = {}
        for case, key in keys.items():
            name = content_key("views", CODE_VERSION, key, how.views, how.jitter)
            entry = self.bench.store.get("ratings", name, partial(make, case))
            values[case] = float(read_json(entry / "value.json"))
        return values

    def dice_between(self, one: PseudoLabels, other: PseudoLabels) -> float:
        """Mean Dice over classes of two stored predictions of a case; computed once."""
        name = content_key("dice", CODE_VERSION, *(_name(p) for p in (one, other)))

        def make(work: Path) -> None:
            a, b = (p.load().argmax(axis=0).astype(np.uint8) for p in (one, other))
            write_json(work / "value.json", mean_dice(a, b, self.num_classes))

        return float(read_json(self.bench.store.get("ratings", name, make) / "value.json"))

    def masked(
        self,
        label: PseudoLabels,
        least: Float[np.ndarray, " class"] | None,
        other: PseudoLabels | None,
    ) -> PseudoLabels:
        """A pseudo-label with probabilities of 0 at the voxels that are not believed.

        Args:
            least: threshold of the greatest probability, class by class.
            other: voxels where its class is another one are not believed.
        """
        thresholds = None if least is None else [float(v) for v in least]
        compared = None if other is None else _name(other)
        key = content_key("masked", CODE_VERSION, _name(label), thresholds, compared)

        def make(work: Path) -> None:
            p = label.load()
            believed = np.ones(p.shape[1:], dtype=bool)
            if least is not None:
                believed &= sure_voxels(p, least)
            if other is not None:
                believed &= p.argmax(axis=0) == other.load().argmax(axis=0)
            write_probabilities(work, np.where(believed, p, np.float16(0)))

        folder = self.bench.store.get("pseudo", key, make)
        return read_pseudo_labels(label.case_id, folder, STAND_IN, label.confidence)


class Labeler:
    """Labels the crops of a training step with frozen SAM3, as SFR's code does."""

    def __init__(self, sam: SamSegmenter) -> None:
        self._sam = sam

    def __call__(
        self, crops: Float[Tensor, "u channel x y z"]
    ) -> Float[Tensor, "u all_classes x y z"]:
        """Class probabilities of the crops, on their grid."""
        found = self._sam.predict([crop.cpu().numpy() for crop in crops])
        return torch.from_numpy(np.stack(list(found))).to(crops.device)


def _name(label: PseudoLabels) -> str:
    return label.probabilities.parent.name
