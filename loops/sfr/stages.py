"""The calls of SFR on one workbench. Every result is found by its content key, never made twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from loops.finetune import finetune
from loops.progress import Report
from loops.pseudo import SamSegmenter
from loops.sfr.given import FROM_NOTHING, Given, Model, Start
from loops.sfr.keys import told
from loops.sfr.rating import Labeler, Rating
from loops.ssl.registry import HOSTS, Host
from loops.stitch import Stitcher
from loops.student import Student, Watch, load_student, train_student
from loops.tuning.record import queue_reviews
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.segmenter import PseudoLabels, Segmenter
from salearn.store import content_key

Which = Literal["student", "teacher"]


class Stages(Rating):
    """Adapters, pseudo-labels and students of one run."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self.host = bench.config.build_host()
        self.arm = bench.config.build_arm()
        self.watch: Watch | None = None  # looks at a student while it is trained, see loops.student

    # --- fine-tuning ----------------------------------------------------------------------

    def adapter(self, given: Given, start: Start = FROM_NOTHING) -> Model:
        """SAM3 fine-tuned on the labeled cases, and on extra ones where `start` names some."""
        config, seed = self.config, self.seed("adapters", given)
        parts: list[Any] = [config.arm["name"]]
        parts += [told(part) for part in (self.arm, config.stitch, config.finetune)]
        settings = config.finetune
        if start.iterations is not None:
            settings = replace(settings, iterations=start.iterations)
        values = [self.bench.sam_key, parts, self.bench.prompts, seed, *start.parts]
        if pool := self.bench.generic(config.finetune.mining):
            values.append(["generic", pool.texts])
        key = self.key("adapter", given, values)

        def make(work: Path, report: Report) -> None:
            finetune(
                self.labeled(given, start),
                self.bench.sam,
                self.arm,
                self.stitcher,
                settings,
                work,
                seed,
                report,
                start=None if start.model is None else start.model.path,
                carry=start.carry,
            )

        path = self.bench.train_once("adapters", key, given.round, make)
        queue_reviews(path, self.bench.out, given.round, self.bench.dataset.classes)
        return Model(path=path, key=key)

    def sam(self, adapter: Model) -> SamSegmenter:
        """SAM3 with an adapter."""
        return SamSegmenter.load(self.bench.sam, adapter.path, self.stitcher)

    @property
    def stitcher(self) -> Stitcher:
        """Stitches along the slice axis of the data."""
        return Stitcher(self.config.stitch, self.config.data.axis)

    # --- pseudo-labels --------------------------------------------------------------------

    def pseudo(
        self, given: Given, adapter: Model, cases: Sequence[CaseId]
    ) -> tuple[PseudoLabels, ...]:
        """SAM3's pseudo-labels, with the confidence that `pseudo` asks for."""
        keys = self.pseudo_keys(adapter.key, cases)

        def maker() -> Segmenter:
            return self.sam(adapter)

        other = None
        if self.config.pseudo.estimator == "agreement":
            other = self.supervised_predictions(given, cases)
        return self.rated(maker, keys, given.round, self.config.pseudo, other)

    def sam_of(self, given: Given, cases: Sequence[CaseId]) -> dict[CaseId, PseudoLabels]:
        """SAM3's pseudo-labels where SFR+ compares the student with them; else nothing is made."""
        if self.config.sfr_plus.reliable.estimator != "agreement":
            return {}
        return {p.case_id: p for p in self.pseudo(given, self.adapter(given), cases)}

    def supervised(self, given: Given) -> Model:
        """The student that learns from masks alone; the one of the learner "supervised"."""
        host = HOSTS.build("supervised", {})
        given = replace(given, turn=0)  # masks alone: turns change nothing for it
        return self._train("supervised", host, given, (), [], FROM_NOTHING)

    def supervised_predictions(
        self, given: Given, cases: Sequence[CaseId]
    ) -> dict[CaseId, PseudoLabels]:
        """What the supervised student predicts."""
        model = self.supervised(given)
        found = self.student_predictions(given, model, cases, self.config.gate.stage)
        return {p.case_id: p for p in found}

    def student_predictions(
        self, given: Given, model: Model, cases: Sequence[CaseId], which: Which
    ) -> tuple[PseudoLabels, ...]:
        """What a student predicts, stored like pseudo-labels."""
        keys = self.pseudo_keys(content_key(model.key, which), cases)
        return self.rated(lambda: load_student(model.path, which), keys, given.round, None, None)

    def agreement(self, given: Given, labels: Sequence[PseudoLabels]) -> dict[CaseId, float]:
        """Dice of each pseudo-label with the prediction of the supervised student."""
        others = self.supervised_predictions(given, [p.case_id for p in labels])
        return {p.case_id: self.dice_between(p, others[p.case_id]) for p in labels}

    # --- re-training ----------------------------------------------------------------------

    def student(
        self,
        given: Given,
        pseudo: Sequence[PseudoLabels],
        adapter: Model | None,
        weight: float,
        start: Start = FROM_NOTHING,
    ) -> Model:
        """The student of the configured host with this weight of the pseudo-labels.

        Without a weight or pseudo-labels it is the student of the bare host, bit for bit.
        """
        online = self.config.pseudo.source == "online"
        if adapter is None or not weight or not (pseudo or online):
            name = self.config.host_name
            cases = self.unlabeled(given) if self.host.unlabeled else []
            return self._train(name, self.host, given, cases, [], start)
        loss = replace(self.config.pseudo_loss, weight=weight)
        extra: list[Any] = [adapter.key, told(loss), [p.case_id for p in pseudo]]
        if not self._plain(pseudo, adapter) or loss.case_confidence:
            extra.append([(p.probabilities.parent.name, round(p.confidence, 9)) for p in pseudo])
        if online:
            extra.append("online")
        name, cases = self.config.learner_name, self.unlabeled(given)
        return self._train(
            name,
            self.host,
            given,
            cases,
            extra,
            start,
            {p.case_id: p for p in pseudo},
            loss,
            adapter,
        )

    def _plain(self, pseudo: Sequence[PseudoLabels], adapter: Model) -> bool:
        """Whether these are stored pseudo-labels of the adapter, as they are."""
        keys = self.pseudo_keys(adapter.key, [p.case_id for p in pseudo])
        return all(p.probabilities.parent.name == keys[p.case_id] for p in pseudo)

    def _train(
        self,
        name: str,
        host: Host,
        given: Given,
        cases: Sequence[CaseId],
        extra: list[Any],
        start: Start,
        soft: Mapping[CaseId, PseudoLabels] | None = None,
        loss: Any = None,
        adapter: Model | None = None,
    ) -> Model:
        bench, seed = self.bench, self.seed("students", given)
        settings = self.config.student
        if start.iterations is not None:
            settings = replace(settings, iterations=start.iterations)
        shown = {k: v for k, v in told(settings).items() if k != "device"}
        images = [bench.key(case) for case in cases]
        values = [[name, told(host), shown, seed, images, *extra, *start.parts]]
        key = self.key("student", given, values)
        online = loss is not None and self.config.pseudo.source == "online"

        def make(work: Path, report: Report) -> None:
            train_student(
                self.labeled(given),
                [bench.unlabeled(case, (soft or {}).get(case)) for case in cases],
                self.num_classes,
                settings,
                host,
                loss,
                work,
                seed,
                report,
                start=None if start.model is None else start.model.path,
                carry=start.carry,
                label=Labeler(self.sam(adapter)) if online and adapter else None,
                watch=self.watch,
            )

        return Model(path=bench.train_once("students", key, given.round, make), key=key)

    def load(self, model: Model, which: Which) -> Student:
        """A trained student or its EMA teacher."""
        return load_student(model.path, which)
