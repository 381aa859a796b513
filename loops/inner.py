"""SFR as four calls: stitch, fine-tune, pseudo-label, retrain. Every result is found by its key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loops.finetune import finetune
from loops.look import RoundEvidence
from loops.measure import measure
from loops.progress import Report
from loops.pseudo import (
    SamSegmenter,
    read_pseudo_labels,
    select_reliable,
    write_pseudo_labels,
)
from loops.stitch import Stitcher
from loops.student import load_student, train_student
from loops.workbench import Workbench
from salearn.cases import CaseId, Pool, parse_unit
from salearn.evidence import Evidence
from salearn.models.sam3 import sam_key
from salearn.segmenter import PseudoLabels, Segmenter
from salearn.settings import dump
from salearn.store import content_key, read_json

CODE_VERSION = 1  # raise when a stage computes something else from the same settings
STREAMS = {"adapters": 1, "students": 2, "unlabeled": 3}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a round has made: files and their keys."""

    student: Path
    student_key: str
    adapter: Path | None
    adapter_key: str | None
    pseudo: tuple[PseudoLabels, ...]


class Inner:
    """Trains a student on the labeled part of a pool, with or without SFR, and measures it."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.config = bench.config

    def evidence(self, pool: Pool, round: int) -> Evidence:
        """Embeddings always; predictions and the adapted encoder from round 1 on."""
        if round == 0:
            return RoundEvidence(self.bench, round)
        trained = self._trained(pool, round - 1)
        return RoundEvidence(
            self.bench,
            round,
            segmenter=load_student(trained.student, self.config.evidence.stage),
            adapter=trained.adapter,
            adapter_key=trained.adapter_key,
        )

    def train(self, pool: Pool, round: int) -> dict[str, Any]:
        """Train what is missing, measure every stage, and give the fields of the record."""
        trained = self._trained(pool, round)
        record = read_json(trained.student / "record.json")
        return {
            "keys": {"student": trained.student_key, "adapter": trained.adapter_key},
            "pseudo": self._pseudo_summary(trained.pseudo),
            "parameters": {"student": record["parameters"], "adapter": self._counts(trained)},
            "dead_classes": record["dead_classes"],
            **measure(self.bench, self._stages(trained), round),
        }

    def _counts(self, trained: Trained) -> dict[str, int] | None:
        """Exact numbers of parameters of the adapter and its base."""
        if trained.adapter is None:
            return None
        record = read_json(trained.adapter / "record.json")
        return {name: value for name, value in record.items() if name.endswith("_parameters")}

    def _stages(self, trained: Trained) -> dict[str, tuple[Segmenter, str]]:
        """Every model that is evaluated: SAM3 alone, the student, its EMA teacher."""
        stages: dict[str, tuple[Segmenter, str]] = {}
        if trained.adapter is not None and trained.adapter_key is not None:
            stages["sam"] = self._sam(trained.adapter), trained.adapter_key
        for stage in ("student", "teacher"):
            stages[stage] = load_student(trained.student, stage), trained.student_key
        return stages

    # --- the four calls -------------------------------------------------------------------

    def _trained(self, pool: Pool, round: int) -> Trained:
        adapter = adapter_key = None
        pseudo: tuple[PseudoLabels, ...] = ()
        if self.config.sfr:
            adapter, adapter_key = self._finetuned(pool, round)
            pseudo = self._pseudo_labeled(adapter, adapter_key, self._unlabeled(pool, round), round)
        student, student_key = self._retrained(pool, pseudo, adapter_key, round)
        return Trained(
            student=student,
            student_key=student_key,
            adapter=adapter,
            adapter_key=adapter_key,
            pseudo=pseudo,
        )

    def _finetuned(self, pool: Pool, round: int) -> tuple[Path, str]:
        config, seed = self.config, self._seed("adapters", round)
        parts = [dump(part) for part in (config.lora, config.stitch, config.finetune)]
        key = self._key("adapter", sam_key(config.sam), parts, self.bench.prompts, seed, pool)

        def make(work: Path, report: Report) -> None:
            labeled = [self.bench.labeled(case) for case in self._labeled(pool)]
            finetune(
                labeled,
                self.bench.sam,
                config.lora,
                self._stitcher(),
                config.finetune,
                work,
                seed,
                report,
            )

        return self.bench.train_once("adapters", key, round, make), key

    def _pseudo_labeled(
        self, adapter: Path, adapter_key: str, cases: list[CaseId], round: int
    ) -> tuple[PseudoLabels, ...]:
        bench = self.bench
        keys = {
            case: content_key("pseudo", CODE_VERSION, adapter_key, bench.key(case))
            for case in cases
        }
        missing = [case for case in cases if not bench.store.has("pseudo", keys[case])]
        if missing:
            with (
                bench.progress.stage(f"round {round} pseudo") as report,
                bench.timed("pseudo", round),
            ):
                images = ((case, bench.volume(case).image) for case in missing)
                write_pseudo_labels(
                    self._sam(adapter), images, bench.store, keys, self.config.pseudo, report
                )
        return tuple(
            read_pseudo_labels(case, bench.store.path("pseudo", keys[case]), self.config.pseudo)
            for case in cases
        )

    def _retrained(
        self, pool: Pool, pseudo: tuple[PseudoLabels, ...], adapter_key: str | None, round: int
    ) -> tuple[Path, str]:
        config, host, seed = self.config, self.config.build_host(), self._seed("students", round)
        believed = select_reliable(pseudo, config.pseudo)
        cases = self._unlabeled(pool, round) if host.unlabeled or config.sfr else []
        images = [self.bench.key(case) for case in cases]
        student = {k: v for k, v in dump(config.student).items() if k != "device"}
        extra = [config.learner_name, dump(host), student, seed, images]
        if config.sfr:
            extra += [adapter_key, dump(config.pseudo_loss), [p.case_id for p in believed]]
        key = self._key("student", extra, pool)

        def make(work: Path, report: Report) -> None:
            soft = {p.case_id: p for p in believed}
            train_student(
                [self.bench.labeled(case) for case in self._labeled(pool)],
                [self.bench.unlabeled(case, soft.get(case)) for case in cases],
                len(self.bench.dataset.classes) + 1,
                config.student,
                host,
                config.pseudo_loss if config.sfr else None,
                work,
                seed,
                report,
            )

        return self.bench.train_once("students", key, round, make), key

    # --- small parts ----------------------------------------------------------------------

    def _sam(self, adapter: Path) -> SamSegmenter:
        return SamSegmenter.load(self.bench.sam, adapter, self._stitcher())

    def _stitcher(self) -> Stitcher:
        return Stitcher(self.config.stitch, self.config.data.axis)

    def _labeled(self, pool: Pool) -> list[CaseId]:
        return sorted({parse_unit(unit)[0] for unit in pool.labeled})

    def _unlabeled(self, pool: Pool, round: int) -> list[CaseId]:
        """Cases that are not wholly labeled, the unmasked ones too; at most `max_unlabeled`."""
        cases = sorted({parse_unit(u)[0] for u in pool.unlabeled} | set(self.bench.split.unmasked))
        most = self.config.max_unlabeled
        if most is None or len(cases) <= most:
            return cases
        rng = np.random.default_rng([self.config.train_seed, round, STREAMS["unlabeled"]])
        return sorted(cases[i] for i in rng.choice(len(cases), most, replace=False))

    def _seed(self, stage: str, round: int) -> int:
        entropy = [self.config.train_seed, round, STREAMS[stage]]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def _key(self, stage: str, *parts: Any) -> str:
        *values, pool = parts
        labeled = [
            (case, self.bench.key(case), self.bench.oracle.digest(case))
            for case in self._labeled(pool)
        ]
        return content_key(stage, CODE_VERSION, values, sorted(pool.labeled), labeled)

    def _pseudo_summary(self, pseudo: tuple[PseudoLabels, ...]) -> dict[str, Any] | None:
        if not pseudo:
            return None
        confidence = [p.confidence for p in pseudo]
        believed = select_reliable(pseudo, self.config.pseudo)
        return {
            "num_cases": len(pseudo),
            "num_believed": len(believed),
            "confidence_mean": round(float(np.mean(confidence)), 6),
            "confidence_min": round(float(np.min(confidence)), 6),
        }
