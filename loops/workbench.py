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
from salearn.cases import Case, CaseId, Pool, UnitId, unit_id
from salearn.data.cache import VolumeCache
from salearn.data.formats import Dataset, DataSource, read_dataset
from salearn.data.patches import Example
from salearn.data.phantoms import CODE_VERSION as PHANTOMS
from salearn.data.phantoms import write_phantoms
from salearn.data.splits import Split, make_split
from salearn.data.volumes import Volume, read_mask
from salearn.oracle import Oracle
from salearn.segmenter import PseudoLabels
from salearn.settings import dump
from salearn.store import Store, append_line, content_key, read_lines

if TYPE_CHECKING:
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

    @cached_property
    def cases(self) -> dict[CaseId, Case]:
        """Every case by id."""
        return {case.id: case for case in self.dataset.cases}

    @cached_property
    def oracle(self) -> Oracle:
        """The holder of masks, its log in the run folder."""
        log = self.out / "queries.jsonl"
        return Oracle(self._mask, log, self.config.cost, self.config.data.axis)

    def _mask(self, case: CaseId) -> UInt8[np.ndarray, "x y z"]:
        file = self.dataset.masks[case]
        return read_mask(file, case, self.dataset.values, self.volume(case), self.dataset.ignore)

    def volume(self, case: CaseId) -> Volume:
        """Normalised image of a case, memory-mapped."""
        return self.cache.open(self.cases[case])

    def key(self, case: CaseId) -> str:
        """Content key of a case's normalised image."""
        return self.cache.key(self.cases[case])

    def pool(self) -> Pool:
        """All units that can be annotated, none of them labeled."""
        masked = [case for case in self.split.pool if case in self.dataset.masks]
        return Pool(labeled=(), unlabeled=tuple(self.units(masked)))

    def units(self, cases: Sequence[CaseId]) -> list[UnitId]:
        """The units of these cases: volumes, or every slice along the axis."""
        if self.config.unit == "volume":
            return [unit_id(case) for case in cases]
        axis = self.config.data.axis + 1
        return [
            unit_id(case, index)
            for case in cases
            for index in range(self.volume(case).image.shape[axis])
        ]

    def labeled(self, case: CaseId) -> Example:
        """Image and annotated mask of a case."""
        return Example(case_id=case, image=self.volume(case).image, mask=self.oracle.mask(case))

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

    @cached_property
    def sam(self) -> Sam:
        """SAM3 without an adapter, built or loaded when first needed."""
        from salearn.models.sam3 import load_sam

        return load_sam(self.config.sam, self.prompts)

    def embedder(self, adapter: Path | None = None, adapter_key: str = "") -> Embedder:
        """Embeds with the frozen encoder, or with an adapter."""
        from salearn.features.embed import Embedder
        from salearn.models.lora import load_adapter
        from salearn.models.sam3 import sam_key

        def sam() -> Sam:
            return self.sam if adapter is None else load_adapter(self.sam, adapter)

        key = sam_key(self.config.sam)
        config = self.config
        return Embedder(sam, self.store, config.embed, config.data.axis, key, adapter_key)

    def train_once(
        self, stage: str, key: str, round: int, make: Callable[[Path, Report], None]
    ) -> Path:
        """A trained result from the store, or trained now and counted in trainings.jsonl."""

        def counted(work: Path) -> None:
            with self.progress.stage(f"round {round} {stage}") as report, self.timed(stage, round):
                make(work, report)
            self._count(stage, key, round)

        return self.store.get(stage, key, counted)

    def _count(self, stage: str, key: str, round: int) -> None:
        path = self.out / "trainings.jsonl"
        line = {"stage": stage, "key": key, "round": round}
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
