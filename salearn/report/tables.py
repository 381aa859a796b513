"""Tidy tables of runs: one row per case and metric set, per metric, per round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salearn.metrics.evaluate import METRICS
from salearn.metrics.surface import OPTIONAL
from salearn.report.case_lines import CASE_LABELS
from salearn.report.runs import Run
from salearn.store import atomic

if TYPE_CHECKING:
    import pandas as pd

ARM = ("dataset", "unit", "strategy", "learner", "variant")
BASELINES = ("random", "supervised")
COSTS = ("cases", "slices", "voxels", "seconds")
COUNTS = ("n_used", "n_missed", "n_false", "n_absent")


def case_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per cell, round, split, stage, class and case.

    Columns: cell, the factors, variant, unit, round, num_labeled, split, stage, class, case, every
    metric of salearn.metrics.evaluate and status. Rounds that are not finished are left out.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if not runs:
        return pd.DataFrame()
    joined = pa.concat_tables([run.cases for run in runs]).unify_dictionaries()
    frame: pd.DataFrame = joined.to_pandas()
    index = np.repeat(np.arange(len(runs)), [run.cases.num_rows for run in runs])
    facts = pd.DataFrame([_facts(run) for run in runs])
    for place, name in enumerate(facts.columns):
        frame.insert(place, name, _spread(facts[name], index))
    return frame.drop_duplicates(["cell", "round", *CASE_LABELS], keep="last", ignore_index=True)


def _facts(run: Run) -> dict[str, Any]:
    return {"cell": run.key, **run.factors, "unit": run.record.get("unit", "volume")}


def _spread(column: pd.Series, index: Any) -> Any:
    """A fact of each run on all of its rows; texts as categories, which take little memory."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()[index]
    codes, names = pd.factorize(column.astype(str), sort=True)
    return pd.Categorical.from_codes(codes[index], categories=names)


def round_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per cell and round: cell, round, num_labeled and what had been spent (cost_*)."""
    import pandas as pd

    rows = [
        {
            "cell": run.key,
            "round": record["round"],
            "num_labeled": record["num_labeled"],
            **{f"cost_{name}": (record.get("cost") or {}).get(name) for name in COSTS},
        }
        for run in runs
        for record in run.rounds
    ]
    columns = ["cell", "round", "num_labeled", *(f"cost_{name}" for name in COSTS)]
    return pd.DataFrame(rows, columns=columns)


def metric_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row per cell, round, split, stage, class and metric, as plain JSON (NaN = None).

    Values are the means over cases that the run itself recorded; class "mean" is the mean over
    classes. Every row carries the factors, the counts n_used, n_missed, n_false, n_absent and what
    a distance is counted in ("mm", or "px" for pictures, whatever its column is called).
    """
    return [row for run in runs for record in run.rounds for row in _round_rows(run, record)]


def _round_rows(run: Run, record: Any) -> list[dict[str, Any]]:
    head = _facts(run) | {"round": record["round"], "num_labeled": record["num_labeled"]}
    head |= {"length_unit": run.record.get("length_unit", "mm")}
    rows = []
    for means in record.get("metrics", []):
        place = {name: means[name] for name in ("split", "stage", "class")}
        counts = {name: means.get(name) for name in COUNTS}
        for metric in (*METRICS, *OPTIONAL):
            if metric in means:
                value = {"metric": metric, "value": plain(means[metric])}
                rows.append(head | place | value | counts)
    return [*rows, *_area_rows(record, head)]


def _area_rows(record: Any, head: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """AUC and average precision with their level, where a run stored any."""
    for found in record.get("auc") or ():
        place = {name: found[name] for name in ("split", "stage", "class")}
        counts = dict.fromkeys(COUNTS) | {"n_used": found["n_used"]}
        for short, key in (("auc", "auc"), ("ap", "average_precision")):
            value = {"metric": f"{short}_{found['level']}", "value": plain(found[key])}
            yield head | place | value | counts | {"bound": plain(found["bound"])}


def ordered(names: Iterable[Any]) -> list[str]:
    """Names of strategies or learners, baselines first, then by name: the same everywhere."""
    return sorted({str(name) for name in names}, key=lambda name: (name not in BASELINES, name))


def plain(value: Any) -> Any:
    """A number as JSON allows it: NaN and infinities become None."""
    return value if value is None or math.isfinite(value) else None


def write_table(frame: pd.DataFrame, stem: Path) -> dict[str, Path]:
    """Write STEM.csv and STEM.parquet, each in one step; returns the two paths."""
    paths = {"csv": stem.with_suffix(".csv"), "parquet": stem.with_suffix(".parquet")}
    with atomic(paths["csv"]) as temporary:
        _write_csv(frame, temporary)
    with atomic(paths["parquet"]) as temporary:
        frame.to_parquet(temporary, index=False)
    return paths


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    """By Arrow, which is ten times faster than pandas; that counts for a million rows."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    table = pa.Table.from_pandas(frame, preserve_index=False)
    texts = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    for name in texts:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(pa.string()))
    arrow_csv.write_csv(table, path)
