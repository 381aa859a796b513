"""What arms of SAM3 cost, at which threshold they cut, and what another place does to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from salearn.report.aggregate import CurveSettings
from salearn.report.arms import INSIDE, NOTHING, OUTSIDE, REFERENCE, ArmRuns, false_areas
from salearn.report.auc_cells import LEVELS
from salearn.report.blocks import Table
from salearn.stats.hierarchical import gap

MIB = 2**20
FAILED = 0.1  # Dice below which a patient counts as a failure
POINTS = ("dice_half", "dice_val", "dice_best", "threshold_val", "threshold_best", "area_bias")


def cost_table(arms: Sequence[ArmRuns], name: str) -> Table:
    """Trained parameters, seconds, memory, size on disk and chosen rates of each arm."""
    base = [line["cpu_seconds"] for arm in arms if arm.kind == REFERENCE for line in arm.costs()]
    rows = []
    for arm in arms:
        lines = arm.costs()
        counts = next((p["adapter"] for p in arm.said("parameters") if p and p["adapter"]), None)
        trained, whole = _parameters(counts)
        rows.append([
            arm.name, trained, whole,
            _spread([line["cpu_seconds"] for line in lines], base),
            _most([line["peak_mb"] for line in lines]),
            _middle([line["extra_mb"] for line in lines]),
            _size([line["checkpoint_bytes"] for line in lines]),
            _rates(arm), str(len(lines)),
        ])  # fmt: skip
    return Table(
        name=name,
        caption="What an arm costs",
        headers=["arm", "trained parameters", "of all", "CPU-seconds a training (of full)",
                 "peak MiB", "on top MiB", "checkpoint MiB", "learning rates", "trainings"],
        rows=rows,
        note="Seconds: median over all trainings, candidate rates included. Peak: of the process "
        "(on CUDA of torch's allocator) during a training; on top: median of what came on top of "
        "what it held before. Seconds of a shared machine compare arms only roughly.",
    )  # fmt: skip


def _parameters(counts: dict[str, int] | None) -> tuple[str, str]:
    if not counts:
        return "0", "0 %"
    trained, whole = counts["trainable_parameters"], counts["base_parameters"]
    return f"{trained:,}", f"{100 * trained / whole:.2f} % of {whole:,}"


def _spread(seconds: Sequence[float], base: Sequence[float]) -> str:
    if not seconds:
        return "-"
    middle = float(np.median(seconds))
    return f"{middle:.1f} ({middle / np.median(base):.2f})" if base else f"{middle:.1f}"


def _most(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known)}" if known else "-"


def _middle(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.median(known):.0f}" if known else "-"


def _size(values: Sequence[int]) -> str:
    return f"{max(values) / MIB:.2f}" if values else "-"


def _rates(arm: ArmRuns) -> str:
    """Rates of the last round, with how often each was chosen."""
    found = [told["chosen"] for told in arm.said("rate") if told and told["chosen"] is not None]
    return ", ".join(f"{rate:g} x {found.count(rate)}" for rate in sorted(set(found))) or "-"


def point_table(arms: Sequence[ArmRuns], name: str) -> Table | None:
    """Dice at 0.5, at the validation threshold and at each set's own best one, last budget."""
    rows = []
    for arm in arms:
        inside, outside = (_points(arm, split) for split in (INSIDE, OUTSIDE))
        for split, found in ((INSIDE, inside), (OUTSIDE, outside)):
            if found:
                ranking = inside["dice_best"] - outside["dice_best"] if outside else math.nan
                shown = [_three(found[key]) for key in POINTS]
                gap_here = _three(found["dice_best"] - found["dice_val"])
                rest = _three(ranking) if split == OUTSIDE else "-"
                rows.append([arm.name, split, *shown, gap_here, rest])
    if not rows:
        return None
    return Table(
        name=name,
        caption="Dice by threshold at the last budget, mean over seeds",
        headers=["arm", "on", "D(0.5)", "D(t_val)", "D(t*)", "t_val", "t*", "area bias at t_val",
                 "calibration gap", "ranking gap"],
        rows=rows,
        fixed=2,
        note="t_val: best on the validation cases, frozen; t*: best on the set itself, known only "
        "to an oracle. Calibration gap D(t*) - D(t_val): lost by the threshold. Ranking gap: D(t*) "
        "internal - external, lost however the threshold is set. Means over images that show it.",
    )  # fmt: skip


def _points(arm: ArmRuns, split: str) -> dict[str, float]:
    """Means over classes and runs; {} where nothing was kept."""
    rows = [row for told in arm.said("points") for row in told or () if row["split"] == split]
    return {
        key: float(np.mean([math.nan if row[key] is None else row[key] for row in rows]))
        for key in POINTS
        if rows
    }


def _three(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def area_table(arms: Sequence[ArmRuns], name: str) -> Table | None:
    """AUC at the levels that were asked for, internal beside external, last budget."""
    rows = []
    for arm in arms:
        for level in LEVELS:
            inside, outside = (_area(arm, split, level) for split in (INSIDE, OUTSIDE))
            if not (math.isnan(inside) and math.isnan(outside)):
                rows.append([arm.name, LEVELS[level], _three(inside), _three(outside)])
    if not rows:
        return None
    return Table(
        name=name,
        caption="AUC at the last budget, mean over classes and seeds",
        headers=["arm", "level", "internal", "external"],
        rows=rows,
        fixed=2,
        note="The levels are different questions; none is comparable with another.",
    )


def _area(arm: ArmRuns, split: str, level: str) -> float:
    rows = [row for told in arm.said("auc") for row in told or ()]
    mine = [r["auc"] for r in rows if (r["split"], r["level"]) == (split, level)]
    values = [float(v) for v in mine if v is not None and math.isfinite(v)]
    return float(np.mean(values)) if values else math.nan


def outside_table(arms: Sequence[ArmRuns], how: CurveSettings, name: str) -> Table | None:
    """Internal against external Dice at the last budget: gap, failures, the worst tenth."""
    rows = []
    for arm in arms:
        inside, outside = arm.scores(INSIDE), arm.scores(OUTSIDE)
        if inside is None or outside is None:
            continue
        here, there = inside.values[-1], outside.values[-1]
        found = gap(here, there, arm.draws, how.replicates, how.seed)
        wrong = [false_areas(arm, split) for split in (INSIDE, OUTSIDE)]
        rows.append([
            arm.name, f"{here.mean():.3f}", f"{there.mean():.3f}",
            f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]",
            _both(here, there, lambda v: float((v < FAILED).mean())),
            _both(here, there, _worst_tenth),
            " / ".join(f"{bad} of {n}" for bad, n in wrong),
        ])  # fmt: skip
    if not rows:
        return None
    order = rank_words(arms)
    return Table(
        name=name,
        caption="Another place: Dice at the last budget",
        headers=["arm", "internal", "external", "gap", f"Dice < {FAILED:g}", "worst tenth",
                 "false finds without structure"],
        rows=rows,
        note="Weights, prompts, normalisation and thresholds were frozen before. The gap resamples "
        f"the patients of the two places apart. {order}",
    )  # fmt: skip


def _both(here: np.ndarray, there: np.ndarray, what: Callable[[np.ndarray], float]) -> str:
    return f"{what(here):.3f} / {what(there):.3f}"


def _worst_tenth(values: np.ndarray) -> float:
    """Mean over runs of the mean of each run's worst tenth of the patients."""
    count = max(1, values.shape[1] // 10)
    return float(np.sort(values, axis=1)[:, :count].mean())


def rank_words(arms: Sequence[ArmRuns]) -> str:
    """Kendall's tau between internal and external order of the arms, as a description."""
    from scipy.stats import kendalltau

    both: list[tuple[Any, Any]] = [(a.scores(INSIDE), a.scores(OUTSIDE)) for a in arms]
    means = [(x.means[-1], y.means[-1]) for x, y in both if x is not None and y is not None]
    if len(means) < 3:
        return "Too few arms for a rank correlation."
    tau = float(kendalltau(*zip(*means, strict=True)).statistic)
    return (
        f"Kendall's tau of the {len(means)} arms' order inside and outside: {tau:.2f} "
        "(a description: below five arms it cannot be significant)."
    )


def trivial_table(arms: Sequence[ArmRuns], name: str) -> Table | None:
    """Dice of predictors that look at no image, by budget: what an arm must beat."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for run in {run.factors["draw_seed"]: run for arm in arms for run in arm.runs}.values():
        for k, record in enumerate(run.rounds):
            for row in record.get("trivial") or ():
                if row["dice"] is not None:
                    empty: list[list[float]] = [[] for _ in run.rounds]
                    found.setdefault((row["predictor"], row["split"]), empty)[k].append(row["dice"])
    if not found:
        return None
    return Table(
        name=name,
        caption="Predictors that look at no image: Dice, mean over patients and draws",
        headers=["predictor", "on", *map(arms[0].words, arms[0].budgets)],
        rows=[
            [*place, *(_three(float(np.mean(v))) if v else "-" for v in rounds)]
            for place, rounds in found.items()
        ],
        fixed=2,
        note="everything: the whole image; centre: an ellipsoid in the middle, as large as the "
        "class is in the annotated masks. An arm that is not above both has shown nothing.",
    )


def zero_shot_first(arms: Sequence[ArmRuns]) -> bool:
    """Whether there is an arm that trains nothing, which every comparison needs."""
    return any(arm.kind == NOTHING for arm in arms)
