"""What was compared and how the numbers came about, as plain lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salearn.report.figures import UNITS
from salearn.report.parts import HEADLINE, Report
from salearn.report.runs import Run


def compared_rows(report: Report) -> list[list[str]]:
    """Name and values of each factor, the budgets, and how far the cells are; [] without a run."""
    runs = report.found.runs
    if not runs:
        return []
    names = {key: sorted({str(run.factors[key]) for run in runs}) for key in runs[0].factors}
    rows = [
        [key.replace("_", " "), ", ".join(values)] for key, values in names.items() if any(values)
    ]
    budgets = sorted({n for run in runs for n in run.record["budget"]})
    tested = sorted({(run.record.get("split") or {}).get("test", "?") for run in runs}, key=str)
    done = sum(cell["status"] == "done" for cell in report.found.cells)
    rows += [
        ["budgets", ", ".join(map(str, budgets))],
        ["unit", ", ".join(sorted({UNITS.get(str(r.record.get("unit")), "units") for r in runs}))],
        ["test cases", ", ".join(map(str, tested))],
        ["cells done", f"{done} of {len(report.found.cells)}"],
    ]
    return rows


def provenance_lines(report: Report) -> list[str]:
    """Split, versions, seeds, intervals, and the rules that were fixed beforehand."""
    runs, how = report.found.runs, report.how
    hashes = sorted({str((run.record.get("split") or {}).get("hash")) for run in runs})
    return [
        f"Split hash: {', '.join(hashes) or 'none'}",
        f"Versions: {_versions(runs) or 'not recorded'}",
        f"Seeds (draw / train): {_seeds(runs) or 'none'}",
        f"Annotation cost model: {_costs(runs)}",
        f"Intervals: percentile, {how.replicates} replicates, level {how.level}, seed "
        f"{how.seed}; train seeds inside draw seeds, crossed with cases; not corrected for "
        "the number of comparisons.",
        f"Stage of the headline: {HEADLINE}, fixed beforehand; all stages are in curve.csv.",
        "Selection rule: the model after the last training step; no checkpoint is chosen by a "
        "validation or test score.",
        "Post-processing: none.",
        "Empty masks: absent classes are left out and counted; a missed or false class has "
        "Dice 0 and the distance that the metric settings of the run give it.",
    ]


def _versions(runs: Sequence[Run]) -> str:
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, value in (run.record.get("versions") or {}).items():
            versions.setdefault(name, set()).add(str(value))
    return ", ".join(
        f"{name} {'/'.join(sorted(found))}" for name, found in sorted(versions.items())
    )


def _seeds(runs: Sequence[Run]) -> str:
    pairs = sorted({(run.factors["draw_seed"], run.factors["train_seed"]) for run in runs})
    return ", ".join(f"{draw} / {train}" for draw, train in pairs)


def _costs(runs: Sequence[Run]) -> str:
    """Every declared model of annotation seconds; they are conventions, not measurements."""
    found: list[Any] = []
    for run in runs:
        model = run.record.get("cost_model")
        if model is not None and model not in found:
            found.append(model)
    texts = [", ".join(f"{name} {value:g} s" for name, value in sorted(m.items())) for m in found]
    return "; ".join(texts).replace("_", " ") + " (declared, not measured)" if texts else "none"
