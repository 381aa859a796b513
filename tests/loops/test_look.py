"""What strategies may look at: passes, means, extents, the oracle's door for audits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny

from loops.cell import run_cell
from loops.config import EvidenceSettings, parse_run
from loops.look import RoundEvidence
from loops.measuring.predictions import CHUNK, LOOK, _parts
from loops.student import Student, StudentSettings
from loops.workbench import Workbench
from salearn.cases import CaseId, UnitId, parse_unit, patch_id, unit_id
from salearn.errors import ConfigError, NotTrainedError
from salearn.models.vnet import VNet
from salearn.oracle import CostModel, Oracle
from salearn.segmenter import DropoutSegmenter, Segmenter
from salearn.store import read_lines

SHAPE = (4, 5, 6)


@dataclass
class Threshold:
    """Foreground probability = image, cut to 0..1; counts the volumes that it is shown."""

    shown: list[int] = field(default_factory=list)

    def predict(self, volumes: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        self.shown.append(len(volumes))
        for volume in volumes:
            q = np.clip(volume[0], 0, 1)
            yield np.stack([1 - q, q]).astype(np.float32)

    def save(self, path: Path) -> None:
        raise NotImplementedError


class Bench(Workbench):
    """A workbench over made-up images, with a real oracle."""

    def __init__(self, out: Path, evidence: EvidenceSettings, num_cases: int = 3) -> None:
        rng = np.random.default_rng(0)
        names = [CaseId(f"c{i:02d}") for i in range(num_cases)]
        self.images = {c: rng.uniform(size=(1, *SHAPE)).astype(np.float32) for c in names}
        self.config: Any = SimpleNamespace(evidence=evidence, data=SimpleNamespace(axis=2))
        self.out = out
        self.split: Any = SimpleNamespace(pool=tuple(names), unmasked=())  # type: ignore[misc]
        self.dataset: Any = SimpleNamespace(classes=("a",))  # type: ignore[misc]
        read = Reader(self.images)
        self.oracle = Oracle(read, out / "queries.jsonl", CostModel(), 2)  # type: ignore[misc]

    def volume(self, case: CaseId) -> Any:
        return SimpleNamespace(image=self.images[case])


@dataclass
class Reader:
    images: dict[CaseId, np.ndarray]

    def __call__(self, case: CaseId) -> np.ndarray:
        return (self.images[case][0] > 0.5).astype(np.uint8)


def look(
    out: Path, segmenter: Segmenter | None = None, num_cases: int = 3, **settings: Any
) -> tuple[Bench, RoundEvidence]:
    bench = Bench(out, EvidenceSettings(**settings), num_cases)
    return bench, RoundEvidence(bench, 1, segmenter=segmenter)


def test_the_mean_is_that_of_the_passes_and_units_are_parts_of_their_case(tmp_path: Path) -> None:
    _, evidence = look(tmp_path, Threshold(), views=3, jitter=0.3)
    volume, flat = UnitId("c01"), unit_id(CaseId("c01"), 2)
    patch = patch_id(CaseId("c01"), (1, 0, 3), (2, 2, 3))
    passes = list(evidence.passes(volume, "views"))
    assert len(passes) == 3
    assert np.abs(passes[0] - passes[1]).max() > 0.01
    whole = evidence.probabilities(volume)
    assert np.allclose(whole, np.mean(passes, axis=0), atol=2e-3)
    assert np.array_equal(evidence.probabilities(flat), whole[..., 2:3])
    assert np.array_equal(evidence.probabilities(patch), whole[:, 1:3, 0:2, 3:6])
    assert np.array_equal(next(evidence.passes(flat, "views")), passes[0][..., 2:3])
    assert evidence.extent(volume) == SHAPE
    assert evidence.extent(flat) == (4, 5, 1)
    assert evidence.extent(patch) == (2, 2, 3)
    assert whole.dtype == np.float32


def test_nothing_is_predicted_twice_and_the_files_go_with_the_look(tmp_path: Path) -> None:
    segmenter = Threshold()
    _, evidence = look(tmp_path, segmenter, num_cases=CHUNK + 2, views=2)
    for case in ("c01", "c00", "c01"):
        evidence.probabilities(UnitId(case))
    assert segmenter.shown == [CHUNK, CHUNK]  # a whole chunk, two views
    list(evidence.passes(UnitId("c09"), "views"))
    evidence.probabilities(UnitId("c08"))  # the mean came with the passes
    assert segmenter.shown == [CHUNK, CHUNK, 2, 2]
    assert len(list(tmp_path.glob(f"{LOOK}*"))) == 1
    del evidence
    assert not list(tmp_path.glob(f"{LOOK}*"))


def test_chunks_keep_to_the_memory_and_depend_on_the_pool_alone() -> None:
    assert _parts([3, 3, 3, 9, 1, 1], 6) == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6)]
    assert _parts([1] * (CHUNK + 1), 100) == [slice(0, CHUNK), slice(CHUNK, CHUNK + 1)]


def test_untrained_and_lonely_passes_are_refused(tmp_path: Path) -> None:
    _, cold = look(tmp_path)
    with pytest.raises(NotTrainedError, match="c00"):
        list(cold.passes(UnitId("c00"), "views"))
    _, one = look(tmp_path, Threshold(), views=1)
    with pytest.raises(ConfigError, match=r"evidence\.views=4"):
        list(one.passes(UnitId("c00"), "views"))
    with pytest.raises(ConfigError, match="no dropout"):
        list(one.passes(UnitId("c00"), "dropout"))


def test_an_audit_is_logged_as_one_and_is_no_budget(tmp_path: Path) -> None:
    bench, evidence = look(tmp_path)
    flat = unit_id(CaseId("c02"), 3)
    expected = bench.images[CaseId("c02")][0][..., 3:4] > 0.5
    assert np.array_equal(evidence.audit_mask(flat), expected)
    evidence.audit_mask(UnitId("c02"))
    lines = read_lines(tmp_path / "queries.jsonl")
    assert [(x["purpose"], x["unit"], x["round"]) for x in lines] == [("audit", "c02", 1)]
    assert bench.oracle.spent()["seconds"] == 0


def test_dropout_passes_differ_and_come_again(tmp_path: Path) -> None:
    import torch

    settings = StudentSettings(width=2, depth=1, patch=(4, 4, 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = VNet(1, 2, settings.net)
    student = Student(net, settings)
    assert isinstance(student, DropoutSegmenter)
    unit = UnitId("c00")

    def passes() -> list[np.ndarray]:
        _, evidence = look(tmp_path, student, dropout=0.5, dropout_passes=3)
        return list(evidence.passes(unit, "dropout"))

    before = torch.random.get_rng_state()
    first, again = passes(), passes()
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(first, again)
    assert np.abs(first[0] - first[1]).max() > 1e-3
    _, evidence = look(tmp_path, student, jitter=0.0, views=2)
    views = list(evidence.passes(unit, "views"))  # dropout is off again
    assert np.array_equal(views[0], views[1])
    with pytest.raises(ConfigError, match=r"evidence\.dropout=0\.2"):
        list(evidence.passes(unit, "dropout"))


@pytest.mark.slow
def test_a_run_may_choose_by_dropout_and_an_oracle_run_says_so(tmp_path: Path) -> None:
    bald = {"name": "bald", "passes": "dropout", "cold_start": "stratified_random"}
    drop = {"dropout": 0.3, "dropout_passes": 2}
    config = tiny.values(tmp_path, strategy=bald, evidence=drop)
    run_cell(parse_run(config, "test"))
    records = read_lines(tmp_path / "run" / "rounds.jsonl")
    assert len({*records[1]["scores"].values()}) > 1
    purposes = {x["purpose"] for x in read_lines(tmp_path / "run" / "queries.jsonl")}
    assert "audit" not in purposes
    config = tiny.values(tmp_path, strategy="oracle_loss", out=str(tmp_path / "oracle"))
    run_cell(parse_run(config, "test"))
    lines = read_lines(tmp_path / "oracle" / "queries.jsonl")
    audited = [x["unit"] for x in lines if x["purpose"] == "audit"]
    assert len(audited) == 5  # 9 cases - 2 test - 1 validation - 1 labeled
    annotated = [x["unit"] for x in lines if x["purpose"] == "annotate"]
    assert parse_unit(annotated[1])[0] in audited
    assert len(annotated) == 2
