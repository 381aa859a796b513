"""What a training is given: cases, masks, seeds, and the keys that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from loops.sfr.holdout import Fold
from loops.workbench import Workbench
from salearn.cases import IGNORE, CaseId, Pool, parse_unit
from salearn.data.patches import Example
from salearn.store import content_key

CODE_VERSION = 1  # raise when a stage computes something else from the same settings
STREAMS = {"adapters": 1, "students": 2, "unlabeled": 3}


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a training is given: the labeled part of a pool, all of it or all but a fold.

    Attributes:
        turn: of SFR+, from 0; later turns draw anew.
    """

    pool: Pool
    round: int
    turn: int = 0
    fold: Fold | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained adapter or student: its folder and its content key."""

    path: Path
    key: str


@dataclass(frozen=True, kw_only=True)
class Start:
    """From where a training goes on; the default is from the beginning.

    Attributes:
        model: the training to go on from, or None.
        iterations: of this training; None = as configured.
        carry: keep the moments of the optimiser for the next training, and use those kept.
        extra: cases with labels that are not masks, as (case, key of the labels, labels on call).
    """

    model: Model | None = None
    iterations: int | None = None
    carry: bool = False
    extra: tuple[tuple[CaseId, str, Callable[[], UInt8[np.ndarray, "x y z"]]], ...] = ()

    @property
    def parts(self) -> list[Any]:
        """What enters the content key; nothing by default."""
        if self == Start():
            return []
        model = None if self.model is None else self.model.key
        extra = [(case, key) for case, key, _ in self.extra]
        return [["start", model, self.iterations, self.carry, extra]]


FROM_NOTHING = Start()


class Cases:
    """The cases of a run as trainings see them."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.config = bench.config

    @property
    def num_classes(self) -> int:
        """Background included."""
        return len(self.bench.dataset.classes) + 1

    def labeled_cases(self, given: Given) -> list[CaseId]:
        """Cases that anything is annotated of, without those held out."""
        cases = {parse_unit(unit)[0] for unit in given.pool.labeled}
        if given.fold is not None and given.fold.whole:
            cases -= set(given.fold.cases)
        return sorted(cases)

    def labeled(self, given: Given, start: Start = FROM_NOTHING) -> list[Example]:
        """Images and what may be seen of their masks, then the extra cases."""
        known = {case: self._example(given, case) for case in self.labeled_cases(given)}
        for case, _, make in start.extra:
            labels = make()
            if case in known and (mask := known[case].mask) is not None:  # annotated in part
                labels = np.where(mask == IGNORE, labels, mask)
            volume = self.bench.volume(case)
            known[case] = Example(
                case_id=case, image=volume.image, mask=labels, spacing=volume.spacing
            )
        return list(known.values())

    def _example(self, given: Given, case: CaseId) -> Example:
        example = self.bench.labeled(case)
        if given.fold is None or given.fold.whole or example.mask is None:
            return example
        return replace(example, mask=given.fold.shown(example.mask))

    def masks(self, given: Given) -> list[UInt8[np.ndarray, "x y z"]]:
        """What may be seen of the masks of the labeled cases."""
        return [e.mask for e in self.labeled(given) if e.mask is not None]

    def unlabeled(self, given: Given) -> list[CaseId]:
        """Cases that are not wholly labeled, the unmasked ones too; at most `max_unlabeled`."""
        cases = sorted({parse_unit(u)[0] for u in given.pool.unlabeled})
        most = self.config.max_unlabeled
        if most is None or len(cases) <= most:
            return cases
        rng = np.random.default_rng([self.config.train_seed, given.round, STREAMS["unlabeled"]])
        return sorted(cases[i] for i in rng.choice(len(cases), most, replace=False))

    def embedded(
        self, cases: Sequence[CaseId], adapter: Model | None
    ) -> Float[np.ndarray, "case dim"]:
        """Unit rows of volumes, frozen or adapted encoder."""
        path, key = (None, "") if adapter is None else (adapter.path, adapter.key)
        embedder = self.bench.embedder(path, key)
        return np.stack(
            [embedder.volume(self.bench.key(c), self.bench.volume(c).image) for c in cases]
        )

    def seed(self, stage: str, given: Given) -> int:
        """Of a stage in a round and a turn."""
        entropy = [self.config.train_seed, given.round, STREAMS[stage]]
        entropy += [given.turn] if given.turn else []
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def key(self, stage: str, given: Given, values: list[Any]) -> str:
        """Content key of a training: settings, annotated units, images and masks."""
        cases = self.labeled_cases(given)
        known = set(cases)
        units = sorted(u for u in given.pool.labeled if parse_unit(u)[0] in known)
        labeled = [(case, self.bench.key(case), self.bench.oracle.digest(case)) for case in cases]
        slabs = [] if given.fold is None or given.fold.whole else [given.fold.slabs]
        return content_key(stage, CODE_VERSION, values, units, labeled, *slabs)
