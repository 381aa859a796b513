"""What one run works with, opened once: data, oracle, store, counters, SAM3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from loops.config import RunConfig
from loops.progress import Progress, Report
from salearn.cases import Case, CaseId, Pool, UnitId, patch_id, unit_id
from salearn.data.cache import VolumeCache
from salearn.data.formats import Dataset, DataSource, read_dataset
from salearn.data.patches import Example
from salearn.data.phantoms import CODE_VERSION as PHANTOMS
from salearn.data.phantoms import write_phantoms
from salearn.data.references import one_kind
from salearn.data.splits import Split, make_split
from salearn.data.volumes import Volume, read_mask
from salearn.errors import DataError
from salearn.generic_prompts import Candidates, candidates
from salearn.hard_negatives import NegativeSettings
from salearn.oracle import Oracle
from salearn.segmenter import PseudoLabels
from salearn.settings import dump
from salearn.store import Store, append_line, content_key, file_hash, read_json, read_lines

if TYPE_CHECKING:
    from loops.pretraining.trunk import TrunkStage
    from salearn.features.embed import Embedder
    from salearn.models.sam3 import Sam


class Workbench:
    """Data, oracle, store and models of one run; everything heavy is opened when first used."""

    def __init__(self, config: RunConfig, progress: Progress) -> None:
        self.config = config
        self.out = Path(config.out)
        self.progress = progress
        self.store = Store(config.store_path)
        self.cache = VolumeCache(self.store, config.data.recipe)

    @cached_property
    def dataset(self) -> Dataset:
        """The data set; phantoms are written into the store where no root is named."""
        data = self.config.data
        fields = {name: getattr(data, name) for name in DataSource.__dataclass_fields__}
        if data.root is None:
            fields["root"] = str(self._phantoms())
        return read_dataset(DataSource(**fields))

    def _phantoms(self) -> Path:
        data = self.config.data
        key = content_key("phantoms", PHANTOMS, data.phantom_cases, dump(data.phantom))
        return self.store.get(
            "phantoms", key, lambda out: write_phantoms(out, data.phantom_cases, data.phantom)
        )

    @property
    def log(self) -> Path:
        """The record of finished rounds."""
        return self.out / "rounds.jsonl"

    def finished_rounds(self) -> list[dict[str, Any]]:
        """The records of the rounds that are done."""
        return read_lines(self.log)

    @cached_property
    def split(self) -> Split:
        """Pool, validation and test cases."""
        return make_split(self.dataset, self.config.data.split)

    @property
    def reference_kind(self) -> str | None:
        """What validation and test masks are (drawn, made from boxes, ...).

        Raises:
            DataError: they are of several kinds.
        """
        scored = (*self.split.validation, *self.split.test)
        return one_kind(self.dataset.reference_kinds, scored, str(self.dataset.root))

    @cached_property
    def cases(self) -> dict[CaseId, Case]:
        """Every case by id."""
        return {case.id: case for case in self.dataset.cases}

    @property
    def patients(self) -> dict[CaseId, str]:
        """Patient of each case of which it is known."""
        return {case.id: case.patient for case in self.dataset.cases if case.patient is not None}

    @cached_property
    def oracle(self) -> Oracle:
        """The holder of masks, its log in the run folder."""
        log = self.out / "queries.jsonl"
        cost, axis = self.config.cost, self.config.data.axis
        return Oracle(self._mask, log, cost, axis, self._returned)

    def _mask(self, case: CaseId) -> UInt8[np.ndarray, "x y z"]:
        if case not in self.dataset.masks:
            raise DataError(
                f"case {case}: the data set has no mask of it; ask a person with `salearn query`"
            )
        return self.read_mask(case, self.dataset.masks[case])

    def _returned(self, case: CaseId, file: str, sha256: str) -> UInt8[np.ndarray, "x y z"]:
        """A mask that a person returned, as it was when it was accepted."""
        path = self.out / file
        if not path.exists() or file_hash(path) != sha256:
            raise DataError(
                f"case {case}: {path} is not the mask that was accepted (SHA-256 {sha256[:12]}); "
                "put that file back, nothing in the run folder's masks/ may be edited"
            )
        return self.read_mask(case, path)

    def read_mask(self, case: CaseId, file: Path) -> UInt8[np.ndarray, "x y z"]:
        """A mask file on the grid of the case's image: classes 1..K, 255 = not annotated."""
        return read_mask(file, case, self.dataset.values, self.volume(case), self.dataset.ignore)

    def volume(self, case: CaseId) -> Volume:
        """Normalised image of a case, memory-mapped."""
        return self.cache.open(self.cases[case])

    def key(self, case: CaseId) -> str:
        """Content key of a case's normalised image."""
        return self.cache.key(self.cases[case])

    def pool(self) -> Pool:
        """All units that can be annotated from the mask files, none of them labeled."""
        masked = [case for case in self.split.pool if case in self.dataset.masks]
        return Pool(labeled=(), unlabeled=tuple(self.units(masked)))

    def whole_pool(self) -> Pool:
        """All units that files or people can annotate, none of them labeled."""
        return Pool(labeled=(), unlabeled=tuple(self.units(self.split.pool)))

    def units(self, cases: Sequence[CaseId]) -> list[UnitId]:
        """The units of these cases: volumes, every slice along the axis, or every patch."""
        if self.config.unit == "volume":
            return [unit_id(case) for case in cases]
        return [unit for case in cases for unit in self._parts(case)]

    def _parts(self, case: CaseId) -> list[UnitId]:
        x, y, z = self.volume(case).image.shape[1:]
        if self.config.unit == "slice":
            return [unit_id(case, index) for index in range((x, y, z)[self.config.data.axis])]
        return [patch_id(case, *patch) for patch in self.config.patches.patches((x, y, z))]

    def labeled(self, case: CaseId) -> Example:
        """Image and annotated mask of a case."""
        volume = self.volume(case)
        return Example(
            case_id=case, image=volume.image, mask=self.oracle.mask(case), spacing=volume.spacing
        )

    def unlabeled(self, case: CaseId, soft: PseudoLabels | None = None) -> Example:
        """Image of a case without its mask, with a pseudo-label where one is believed."""
        image = self.volume(case).image
        if soft is None:
            return Example(case_id=case, image=image, mask=None)
        return Example(
            case_id=case, image=image, mask=None, pseudo=soft.load(), confidence=soft.confidence
        )

    @property
    def prompts(self) -> tuple[str, ...]:
        """One text prompt per class."""
        return tuple(self.config.data.prompts.get(name, name) for name in self.dataset.classes)

    def generic(self, mining: NegativeSettings | None) -> Candidates | None:
        """Texts that no image shows, for hard negatives; None where they are off."""
        if mining is None:
            return None
        return candidates(mining.generic, self.prompts, self.dataset.classes)

    @cached_property
    def sam(self) -> Sam:
        """SAM3 without an adapter, its trunk that of the pretext; loaded when first needed."""
        from salearn.models.sam3 import load_sam

        pool = self.generic(self.config.finetune.mining)
        base = load_sam(self.config.sam, self.prompts, pool)
        return base if self.trunk is None else self.trunk.beneath(base)

    @cached_property
    def trunk(self) -> TrunkStage | None:
        """The stage that trains SAM3's trunk first, if the run has a pretext."""
        pretext = self.config.build_pretext()
        if pretext is None:
            return None
        from loops.pretraining.trunk import TrunkStage

        return TrunkStage(self, pretext)

    @cached_property
    def sam_key(self) -> str:
        """Content key of SAM3 without an adapter; nothing is trained to know it."""
        from salearn.models.sam3 import sam_key

        key = sam_key(self.config.sam)
        return key if self.trunk is None else content_key(key, self.trunk.key)

    def embedder(self, adapter: Path | None = None, adapter_key: str = "") -> Embedder:
        """Embeds with the frozen encoder, or with an adapter."""
        from salearn.features.embed import Embedder
        from salearn.models.adapted import load_adapted

        def sam() -> Sam:
            return self.sam if adapter is None else load_adapted(self.sam, adapter)

        config, key = self.config, self.sam_key
        return Embedder(sam, self.store, config.embed, config.data.axis, key, adapter_key)

    def train_once(
        self, stage: str, key: str, round: int, make: Callable[[Path, Report], None]
    ) -> Path:
        """A trained result from the store, or trained now and counted in trainings.jsonl."""

        def counted(work: Path) -> None:
            with self.progress.stage(f"round {round} {stage}") as report, self.timed(stage, round):
                make(work, report)
            self._count(stage, key, round, work / "record.json")

        return self.store.get(stage, key, counted)

    def _count(self, stage: str, key: str, round: int, record: Path) -> None:
        path = self.out / "trainings.jsonl"
        line: dict[str, Any] = {"stage": stage, "key": key, "round": round}
        if record.exists() and (oom := read_json(record).get("oom")):  # the card was full
            line["oom"] = oom
        if line not in read_lines(path):
            append_line(path, line)

    def timed(self, stage: str, round: int) -> Any:
        """Context manager that appends the seconds of a stage to timings.jsonl."""
        return _Timer(self.out / "timings.jsonl", stage, round)


class _Timer:
    """CPU and wall seconds of a block, as one JSON line; nothing that decides a result."""

    def __init__(self, path: Path, stage: str, round: int) -> None:
        self._path, self._stage, self._round = path, stage, round

    def __enter__(self) -> None:
        import time

        self._start = (time.process_time(), time.monotonic())

    def __exit__(self, *error: object) -> None:
        import time

        if error[0] is None:
            cpu, wall = time.process_time() - self._start[0], time.monotonic() - self._start[1]
            line = {"round": self._round, "stage": self._stage}
            seconds = {"cpu_seconds": round(cpu, 2), "wall_seconds": round(wall, 2)}
            append_line(self._path, line | seconds)
