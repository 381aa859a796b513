"""From 4-D scans to internal target volumes: choose phases, train, predict, filter, measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loops.cell import budgets, claimed, describe, set_threads
from loops.itv.bench import PhaseBench
from loops.itv.config import Arm, ItvConfig
from loops.itv.measure import Model, measure_model, summarise, with_retention
from loops.itv.train import Masks, PhaseTrainer
from loops.itv.write import write_targets
from loops.look import RoundEvidence
from loops.outer import run
from loops.progress import Progress
from salearn.budget import Schedule
from salearn.cases import Pool, parse_unit
from salearn.evidence import Evidence
from salearn.store import write_json, write_lines

SCORES, TRACKS, SUMMARY, PAGE = "itv.jsonl", "tracks.json", "itv_summary.json", "report.html"
SHOWN = (
    "dice", "hd95_mm", "nsd", "coverage", "excess", "false_positive_ml", "phase_dice",
    "consistency", "volume_cv", "itv_ml", "reference_itv_ml",
    "excursion_z_mm", "reference_excursion_z_mm",
)  # fmt: skip
FULL = "all"


class ItvInner:
    """What the active loop asks of a 4-D job."""

    def __init__(self, bench: PhaseBench) -> None:
        self.bench = bench
        self.trainer = PhaseTrainer(bench)

    def evidence(self, pool: Pool, round: int) -> Evidence:
        """Embeddings of phases always; predictions of the last round's model from round 1 on."""
        if round == 0:
            return RoundEvidence(self.bench, round)
        segmenter = self.model(pool, round - 1, self.bench.config.mining[-1]).segmenter
        return RoundEvidence(self.bench, round, segmenter=segmenter)

    def train(self, pool: Pool, round: int) -> dict[str, Any]:
        """Train every arm, measure it, and write the files of the last one."""
        rows: list[dict[str, Any]] = []
        tracks: dict[str, Any] = {}
        keys = {}
        for arm in self.bench.config.mining:
            model = self.model(pool, round, arm)
            found, tracks = measure_model(self.bench, model)
            rows += found
            keys[arm] = model.key
        folder = self.bench.out / "itv" / f"round_{round:03d}"
        write_targets(self.bench, model, folder)
        return {"keys": keys, "itv": rows, "tracks": tracks, "metrics": []}

    def model(self, pool: Pool, round: int, arm: Arm) -> Model:
        """The segmenter of an arm, trained on the labeled phases of a pool."""
        cases = sorted({parse_unit(unit)[0] for unit in pool.labeled})
        masks = {case: self.bench.oracle.mask(case) for case in cases}
        return self._model(masks, arm, round, len(cases))

    def full(self, round: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Rows and tracks of models that learnt from every annotated phase of the pool."""
        bench = self.bench
        rows: list[dict[str, Any]] = []
        tracks: dict[str, Any] = {}
        cases = [case for case in bench.split.pool if case in bench.dataset.masks]
        masks = {case: bench.oracle.reveal(case, "audit", round) for case in cases}
        for arm in bench.config.mining:
            found, tracks = measure_model(bench, self._model(masks, arm, round, FULL))
            rows += found
        return rows, tracks

    def _model(self, masks: Masks, arm: Arm, round: int, budget: int | str) -> Model:
        segmenter, key = self.trainer.trained(masks, arm, round)
        return Model(segmenter=segmenter, key=key, arm=arm, round=round, budget=budget)


def run_itv(config: ItvConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Run all rounds of a 4-D job; started again it goes on where it was.

    Returns:
        {"out", "key", "rounds", "ran", "summary": means over test patients, "files", "report"}.

    Raises:
        ConfigError: a class has no entry in `structures`, or the folder holds another run.
        DataError: phases are missing or lie on different grids.
    """
    progress = progress or Progress()
    set_threads(config.threads)
    out = Path(config.out)
    with claimed(out):
        bench = PhaseBench(config, progress)
        _ = bench.scans  # refuses what cannot be before anything is written
        describe(bench)
        inner, done = ItvInner(bench), len(bench.finished_rounds())
        records = []
        for record in _rounds(bench, inner):
            records.append(record)
            if record["round"] >= done:
                progress.say(f"round {record['round']}: {record['num_labeled']} phases annotated")
        rows = [row for record in records for row in record["itv"]]
        tracks = records[-1]["tracks"]
        if config.full:
            rows += inner.full(len(records) - 1)[0]
        summary = with_retention(summarise(rows, SHOWN))
        _write(bench, rows, tracks, summary)
    return {
        "out": str(out), "key": config.key, "rounds": len(records), "ran": len(records) - done,
        "summary": summary, "report": str(out / PAGE),
        "files": str(out / "itv" / f"round_{len(records) - 1:03d}"),
    }  # fmt: skip


def _rounds(bench: PhaseBench, inner: ItvInner) -> Any:
    return run(
        strategy=bench.config.build_strategy(bench.patients),
        inner=inner,
        oracle=bench.oracle,
        pool=bench.pool(),
        schedule=Schedule.of_totals(budgets(bench)),
        log=bench.log,
        seed=bench.config.draw_seed,
    )


def _write(bench: PhaseBench, rows: list[Any], tracks: dict[str, Any], summary: list[Any]) -> None:
    """Tables, tracks and the page."""
    from loops.itv.pictures import pictures_of
    from salearn.report.motion import MotionReport, write_motion_page

    write_lines(bench.out / SCORES, rows)
    write_json(bench.out / TRACKS, tracks)
    write_json(bench.out / SUMMARY, summary)
    config = bench.config
    report = MotionReport(
        title=f"Internal target volumes: {bench.dataset.name}",
        summary=summary,
        rows=rows,
        tracks=tracks,
        pictures=pictures_of(bench, len(bench.finished_rounds()) - 1),
        facts={
            "phases": f"{len(bench.scans.phases)} ({bench.scans.kind}): "
            + ", ".join(bench.scans.phases),
            "test patients": ", ".join(bench.test_patients),
            "reference contours": config.data.reference_kind,
            "model": f"{config.segmenter}, {config.mode}, weights {config.sam.weights}",
            "filter of pictures and files": config.filters[-1],
            "phases annotated (seconds under the cost model)": f"{bench.oracle.spent()['cases']}"
            f" ({bench.oracle.spent()['seconds']:.0f} s)",
        },
    )
    write_motion_page(report, bench.out / PAGE)
