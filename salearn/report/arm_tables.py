"""Arms of SAM3 under a budget: Dice, retention, and where an arm meets full fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from salearn.metrics.crossover import MATCH_MARGIN, Crossover, crossover
from salearn.report.aggregate import CurveSettings
from salearn.report.arms import (
    INSIDE,
    NOTHING,
    OUTSIDE,
    REFERENCE,
    ArmRuns,
    Scores,
    paired,
    pairs,
)
from salearn.report.blocks import Table
from salearn.stats.bootstrap import FEW_CLUSTERS, Hierarchy, percentile_intervals
from salearn.stats.equivalence import tost
from salearn.stats.hierarchical import (
    compare_methods,
    curve_replicates,
    retention,
)
from salearn.stats.multiplicity import family

Row = dict[str, Any]
Say = Callable[[float], str]
NAMES = {INSIDE: "test cases", OUTSIDE: "external cases"}


def curve_row(arm: ArmRuns, scores: Scores, how: CurveSettings) -> Row:
    """Mean, low and high of each budget; patients x seeds resampled."""
    tree = Hierarchy.make(arm.draws, len(scores.units), how.replicates, how.seed)
    lows, highs = percentile_intervals(curve_replicates(scores.values, tree), how.level)
    return {"mean": scores.means, "low": lows, "high": highs, "over": tree.over}


def curve_table(arms: Sequence[ArmRuns], split: str, how: CurveSettings, name: str) -> Table | None:
    """Dice of every arm at every budget, with intervals."""
    rows, over, counts = [], set(), set()
    for arm in arms:
        scores = arm.scores(split)
        if scores is None:
            continue
        found = curve_row(arm, scores, how)
        over.add(found["over"].replace("cases", "patients"))
        counts.add(len(scores.units))
        ends = zip(found["mean"], found["low"], found["high"], strict=True)
        cells = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in ends]
        rows.append([arm.name, *cells, str(len(arm.runs))])
    if not rows:
        return None
    units = "/".join(str(n) for n in sorted(counts))
    return Table(
        name=name,
        caption=f"Dice of {NAMES[split]} by annotated share, {units} patients",
        headers=["arm", *map(arms[0].words, arms[0].budgets), "runs"],
        rows=rows,
        note=f"Mean over patients of the images that show the structure, then over seeds; "
        f"{how.level:.0%} intervals over {' or '.join(sorted(over))}.",
    )


def retention_table(arms: Sequence[ArmRuns], how: CurveSettings, name: str) -> Table:
    """R_b = Dice at a budget over Dice at the last one, by arm, with the interval of the ratio."""
    rows = []
    for arm in arms:
        scores = arm.scores(INSIDE)
        if scores is None or arm.kind == NOTHING or scores.means[-1] <= 0:
            continue
        full = scores.values[-1]
        found = [
            retention(part, full, arm.draws, how.replicates, how.seed)
            for part in scores.values[:-1]
        ]
        rows.append([arm.name, *(f"{r.estimate:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in found)])
    last = arms[0].words(arms[0].budgets[-1])
    return Table(
        name=name,
        caption=f"Retention: Dice as a share of that at {last}, test cases",
        headers=["arm", *map(arms[0].words, arms[0].budgets[:-1])],
        rows=rows,
        note="Both sides of the ratio are resampled alike (seeds x patients).",
    )


def crossing_rows(arms: Sequence[ArmRuns], how: CurveSettings) -> list[Row]:
    """One row for each arm, split and budget curve of differences to full fine-tuning."""
    found = []
    for arm, base in pairs(arms, REFERENCE):
        for split in (INSIDE, OUTSIDE):
            gaps = paired(arm, base, split)
            if arm.kind != NOTHING and gaps is not None and gaps[0].shape[2] > 1:
                reading = _crossing(arm, *gaps, how)
                place = {"arm": arm.name, "base": base.name, "split": split}
                found.append(place | {"all": reading, "say": arm.words})
    return found


def _crossing(arm: ArmRuns, gaps: np.ndarray, draws: list[int], how: CurveSettings) -> Crossover:
    tree = Hierarchy.make(draws, gaps.shape[2], how.replicates, how.seed)
    drawn = curve_replicates(gaps, tree)
    return crossover(arm.budgets, gaps.mean(axis=(1, 2)), drawn, seeds=len(draws))


def one_seed(rows: Sequence[Row]) -> bool:
    """Whether some reading rests on a single seed: then nothing is called a crossover."""
    return any(row["all"].seeds < 2 for row in rows)


def delta_table(rows: Sequence[Row], arms: Sequence[ArmRuns], name: str) -> Table:
    """The whole curve of differences; what Holm's match test supports is marked."""
    cells = []
    for row in rows:
        found: Crossover = row["all"]
        ends = zip(found.delta, found.interval, found.p_match, found.p_superior, strict=True)
        line = [
            f"{delta:+.3f} [{low:+.3f}, {high:+.3f}]{_marks(match, better, found.seeds)}"
            for delta, (low, high), match, better in ends
        ]
        cells.append([f"{row['arm']} minus {row['base']}", NAMES[row["split"]], *line])
    return Table(
        name=name,
        caption="Dice minus full fine-tuning, paired by seed and patient",
        headers=["difference", "on", *map(arms[0].words, arms[0].budgets)],
        rows=cells,
        fixed=2,
        note=f"=: a match within {MATCH_MARGIN:g} is supported, +: better is supported (one-sided "
        "bootstrap, Holm over the budgets, 5 %). With fewer than five draw seeds the bootstrap "
        "understates the spread between draws: a mark is a hint; of one seed there are none.",
    )


def _marks(match: float, better: float, seeds: int) -> str:
    """Nothing of a single seed: its interval knows nothing of another training."""
    if seeds < 2:
        return ""
    return (" =" if match <= 0.05 else "") + (" +" if better <= 0.05 else "")


def crossing_table(rows: Sequence[Row], name: str) -> Table:
    """C_first, C_last, C_root and C_supported with their bootstrap distributions."""
    cells = []
    for row in rows:
        found: Crossover = row["all"]
        say = row["say"]
        at = ", ".join(
            f"{say(b)}: {share:.2f}"
            for b, share in zip(found.budgets, found.last_at_least, strict=True)
        )
        roots = ", ".join(say(r) for r in found.point.roots) or "none"
        first, last, mode, sure = (
            _at(b, say)
            for b in (found.point.first, found.point.last, found.modal_last, found.supported)
        )
        sure = sure if found.seeds > 1 else "one seed"
        arms = [f"{row['arm']} against {row['base']}", NAMES[row["split"]]]
        root = f"{roots}{_root_interval(found, say)}"
        cells.append([*arms, first, f"{last} (mode {mode})", at, root, sure, str(found.seeds)])
    single = one_seed(rows)
    chance = rows[0]["all"].chance
    return Table(
        name=name,
        caption="Point matches (one seed: no claim where the arms meet)"
        if single
        else "Crossover: where an arm still matches full fine-tuning",
        headers=["arms", "on", "C_first", "C_last", "P(C_last >= budget)", "C_root",
                 "C_supported", "seeds"],
        rows=cells,
        fixed=2,
        note="C_first and C_last: smallest and largest budget with a difference >= 0; C_root: "
        "changes of sign, linear in the logarithm of the budget; C_supported: largest budget with "
        f"a supported match within {MATCH_MARGIN:g}. Without any true difference C_first exists in "
        f"{100 * chance:.4g} % of studies, so only C_supported is a finding.",
    )  # fmt: skip


def _at(budget: float | None, say: Say) -> str:
    return "none" if budget is None else say(budget)


def _root_interval(found: Crossover, say: Say) -> str:
    if found.root_interval is None:
        return f" (in {found.root_share:.0%} of resamples)"
    low, high = (say(end) for end in found.root_interval)
    return f" [{low}, {high}]"


def family_table(arms: Sequence[ArmRuns], how: CurveSettings, name: str) -> Table | None:
    """Families that were declared beforehand: arms against full at each budget (F1), two LoRA
    ranks at each budget (F2, with equivalence), each adapted arm against zero-shot (F3).

    Source: adaptation notes 7.7.
    """
    rows: list[list[str]] = []
    families: dict[str, list[tuple[ArmRuns, ArmRuns, int | None]]] = {
        "F1": [(a, b, None) for a, b in pairs(arms, REFERENCE) if a.kind != NOTHING],
        "F2": [(a, b, None) for a, b in _neighbours(arms)],
        "F3": [(a, b, -1) for a, b in pairs(arms, NOTHING)],
    }
    for title, members in families.items():
        found = [row for a, b, at in members for row in _tests(a, b, at, how)]
        for row, result in zip(found, family([row[-1] for row in found]), strict=True):
            holm, bonferroni = (result.details[f"p_{k}"] for k in ("holm", "bonferroni"))
            rows.append([title, *row[:-1], f"{result.p_value:.4f}", f"{holm:.4f}",
                         f"{bonferroni:.4f}"])  # fmt: skip
    if not rows:
        return None
    return Table(
        name=name,
        caption="Declared comparisons on test cases",
        headers=["family", "arms", "at", "difference", "within 0.01 (TOST)", "p", "Holm",
                 "Bonferroni"],
        rows=rows,
        fixed=3,
        note="Two-sided hierarchical bootstrap, seeds x patients. Holm decides within a family; "
        "Bonferroni is there for comparison with the source. A large p is no equivalence: that "
        "is what TOST over patients (seeds averaged) says.",
    )  # fmt: skip


def _neighbours(arms: Sequence[ArmRuns]) -> list[tuple[ArmRuns, ArmRuns]]:
    """Arms of one kind with other settings: LoRA of two ranks."""
    return [
        (b, a)
        for i, a in enumerate(arms)
        for b in arms[i + 1 :]
        if (a.kind, a.rest, a.budgets) == (b.kind, b.rest, b.budgets)
    ]


def _tests(a: ArmRuns, b: ArmRuns, at: int | None, how: CurveSettings) -> list[list[Any]]:
    """Cells of a comparison at every budget (or at one), the test last."""
    gaps = paired(a, b, INSIDE)
    if gaps is None or gaps[0].shape[2] < FEW_CLUSTERS:
        return []
    found = []
    for budget, table in list(zip(a.budgets, gaps[0], strict=True))[slice(at, None)]:
        values = table[:, :, None]
        test = compare_methods(
            values, np.zeros_like(values), gaps[1], unit="patient",
            replicates=how.replicates, seed=how.seed,
        )  # fmt: skip
        low, high = test.interval or (np.nan, np.nan)
        same = tost(table.mean(axis=0), unit="patient")
        alike = "yes" if same.p_value < 0.05 else "not shown"
        cells = [f"{a.name} minus {b.name}", a.words(budget)]
        found.append([*cells, f"{test.estimate:+.3f} [{low:+.3f}, {high:+.3f}]", alike, test])
    return found
