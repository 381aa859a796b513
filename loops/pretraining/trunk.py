"""The trunk of a run's SAM3, trained by a pretext on images alone; found by its content key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loops.pretraining.pool import PoolPictures
from loops.progress import Report
from loops.stitch import Stitcher, StitchSettings
from salearn.cases import CaseId
from salearn.errors import DataError
from salearn.models.pretexts.drift import drift
from salearn.models.pretexts.registry import PRETEXTS, Pretext, Shown
from salearn.models.pretexts.trunk import load_trunk, save_trunk
from salearn.models.sam3 import Sam, sam_key
from salearn.settings import dump, keyed
from salearn.store import content_key, read_json, write_json

if TYPE_CHECKING:
    from loops.workbench import Workbench

KIND = "trunks"
CODE_VERSION = 1  # raise when the same settings give another trunk
RECORD, DRIFT, FIT, SHOWN = "record.json", "drift.json", "fit.json", "pretext.json"
DRIFT_IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Whose images a pretext learns from, and whose it is looked at with.

    Attributes:
        scored: those of either that are validation or test cases of the run.
    """

    fit: tuple[CaseId, ...]
    held_out: tuple[CaseId, ...]
    scored: tuple[CaseId, ...]


class TrunkStage:
    """The pretext of one run.

    Args:
        bench: its images are read; no mask is.
    """

    def __init__(self, bench: Workbench, pretext: Pretext) -> None:
        self.bench, self.pretext = bench, pretext
        self.cases = cases_of(bench, pretext)

    @property
    def key(self) -> str:
        """Content key: base weights, settings, stitching, images of the pool."""
        config = self.bench.config
        parts = [dump(self.pretext), keyed(config.stitch), config.data.axis]
        images = [
            [self.bench.key(case) for case in group]
            for group in (self.cases.fit, self.cases.held_out)
        ]
        name = PRETEXTS.name_of(self.pretext)
        return content_key("trunk", CODE_VERSION, sam_key(config.sam), name, parts, images)

    def beneath(self, base: Sam) -> Sam:
        """The base with the trained trunk; what was trained is told in the run folder."""
        folder = self.fitted(base)
        told = read_json(folder / RECORD) | {"drift": read_json(folder / DRIFT)}
        write_json(self.bench.out / SHOWN, told)
        return load_trunk(base, folder)

    def fitted(self, base: Sam) -> Path:
        """Folder of the trained trunk, from the store or trained now."""
        self.pretext.shown(base)  # refuses before a work folder is made
        return self.bench.train_once(
            KIND, self.key, 0, lambda work, report: self._fit(base, work, report)
        )

    def _fit(self, base: Sam, work: Path, report: Report) -> None:
        shown = self.pretext.shown(base)
        pool, held_out = (
            self.pictures(cases, base, shown) for cases in (self.cases.fit, self.cases.held_out)
        )
        state = self.pretext.fit(base, pool, held_out, work, report)
        save_trunk(base, state, work)
        write_json(work / RECORD, self.record() | {"fit": read_json(work / FIT)})
        write_json(work / DRIFT, self.drift(base, load_trunk(base, work)))

    def drift(self, old: Sam, new: Sam) -> dict[str, Any]:
        """How far the trunk has moved, on held-out images as the run shows them to SAM3."""
        if not self.cases.held_out:
            return {"images": 0}
        shown = Shown(side=old.resolution, single=False)
        pictures = self.pictures(self.cases.held_out, old, shown)
        return drift(old, new, pictures.plain(DRIFT_IMAGES))

    def pictures(self, cases: Sequence[CaseId], sam: Sam, shown: Shown) -> PoolPictures:
        """Images of these cases as mosaics of the run, or slice by slice."""
        config = self.bench.config
        how = StitchSettings(policy="single") if shown.single else config.stitch
        return PoolPictures(
            [self.bench.volume(case).image for case in cases],
            Stitcher(how, config.data.axis),
            shown.side,
            sam.patch,
            self.pretext.crop,
            self.pretext.flips,
        )

    def record(self) -> dict[str, Any]:
        """What was learned from, with hashes; no times."""
        groups = {"fit": self.cases.fit, "held_out": self.cases.held_out}
        images = {
            name: {str(case): self.bench.key(case) for case in cases}
            for name, cases in groups.items()
        }
        return {
            "pretext": PRETEXTS.name_of(self.pretext),
            "settings": dump(self.pretext),
            "key": self.key,
            "images": images,
            "images_hash": content_key(images),
            "transductive": bool(self.cases.scored),
            "scored": list(self.cases.scored),
        }

    def briefly(self) -> dict[str, Any]:
        """What run.json says, known before anything is trained."""
        record = self.record()
        counts = {name: len(images) for name, images in record["images"].items()}
        shown = {k: record[k] for k in ("pretext", "key", "images_hash", "scored")}
        return {"pretext": shown | counts, "transductive": record["transductive"]}


def cases_of(bench: Workbench, pretext: Pretext) -> Cases:
    """Cases of the pool (or of all parts), some patients of them held out.

    Raises:
        DataError: too few patients to hold any out.
    """
    split = bench.split
    later = {*split.validation, *split.test}
    cases = set(split.pool) if pretext.pool == "train" else set(bench.cases)
    owner = {case: bench.patients.get(case, str(case)) for case in cases}
    patients = sorted(set(owner.values()))
    count = max(1, round(pretext.hold_out * len(patients))) if pretext.hold_out else 0
    if count >= len(patients):
        raise DataError(
            f"pretext.hold_out: {count} of {len(patients)} patients of the pool would be held out "
            "and none learned from; add images, or set hold_out to 0"
        )
    order = np.random.default_rng(pretext.seed).permutation(len(patients))
    held = {patients[i] for i in order[:count]}
    return Cases(
        fit=tuple(sorted(case for case in cases if owner[case] not in held)),
        held_out=tuple(sorted(case for case in cases if owner[case] in held)),
        scored=tuple(sorted(cases & later)),
    )
